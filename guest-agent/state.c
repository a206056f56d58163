#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct state *state;

static int texts[STATE_TEXTS];
static int own_slot;

int state_begin(void)
{
	state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (state == MAP_FAILED)
		return errno;
	for (int i = 0; i < STATE_TEXTS; i++) {
		texts[i] = memfd_create("banger-state", MFD_CLOEXEC);
		if (texts[i] < 0)
			return errno;
	}
	return 0;
}

void state_close_others(void)
{
	/* They were opened one after the other, so they may have others below, between and above. */
	unsigned from = 3;
	for (int i = 0; i < STATE_TEXTS; i++) {
		if ((unsigned)texts[i] > from)
			close_range(from, (unsigned)texts[i] - 1, 0);
		from = (unsigned)texts[i] + 1;
	}
	close_range(from, ~0U, 0);
}

void state_use_slot(int slot)
{
	own_slot = slot;
}

void state_set_busy(bool busy)
{
	atomic_store(&state->in_slot[own_slot], busy);
}

int state_sessions(void)
{
	int count = 0;
	for (int i = 0; i < STATE_SLOTS; i++)
		count += atomic_load(&state->in_slot[i]);
	return count;
}

void state_enter_system_stage(void)
{
	atomic_store(&state->system_stage, 1);
	syscall(SYS_futex, &state->system_stage, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void state_wait_system_stage(void)
{
	while (!atomic_load(&state->system_stage))
		syscall(SYS_futex, &state->system_stage, FUTEX_WAIT, 0, NULL, NULL, 0);
}

/* POSIX record locks belong to a process, so they work on a memfd inherited by fork. */
static void lock(short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };
	while (fcntl(texts[STATE_CONFIGURED], F_SETLKW, &lock) < 0 && errno == EINTR)
		;
}

void state_lock(void)
{
	lock(F_WRLCK);
}

void state_unlock(void)
{
	lock(F_UNLCK);
}

int state_text_set(enum state_text text, const void *data, size_t length)
{
	if (ftruncate(texts[text], 0) < 0)
		return errno;
	const char *at = data;
	for (size_t done = 0; done < length;) {
		ssize_t written = pwrite(texts[text], at + done, length - done, (off_t)done);
		if (written < 0)
			return errno;
		done += (size_t)written;
	}
	return 0;
}

int state_text_get(enum state_text text, struct buffer *out)
{
	for (;;) {
		if (!buffer_reserve(out, 4096))
			return ENOMEM;
		ssize_t got = pread(texts[text], out->data + out->length, 4096, (off_t)out->length);
		if (got < 0)
			return errno;
		out->length += (size_t)got;
		out->data[out->length] = '\0';
		if (got == 0)
			return 0;
	}
}
