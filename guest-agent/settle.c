#include "settle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "guest.h"
#include "program.h"
#include "state.h"

enum { STEP_MS = 200, WINDOW_MS = 1000, IDLE_PERCENT = 90 };

/* Jiffies of all CPUs since the boot, proc(5): all of them, and those with nothing to do. */
static bool read_jiffies(uint64_t *all, uint64_t *idle)
{
	struct buffer text = { 0 };
	uint64_t n[8] = { 0 };
	bool good = buffer_read_path(&text, "/proc/stat", 1 << 20) == 0 &&
		sscanf(text.data, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		       " %" SCNu64 " %" SCNu64 " %" SCNu64, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5],
		       &n[6], &n[7]) == 8;
	buffer_free(&text);
	*idle = n[3];
	*all = 0;
	for (int i = 0; i < 8; i++)
		*all += n[i];
	return good;
}

bool settle_is_idle(int window_ms)
{
	uint64_t all, idle, all_before, idle_before;
	if (!read_jiffies(&all_before, &idle_before))
		return true;
	clock_sleep_ms(window_ms);
	return read_jiffies(&all, &idle) &&
		(idle - idle_before) * 100 >= (all - all_before) * IDLE_PERCENT;
}

/* systemd has reached its default target and has no job left, whether all went well or not. */
static bool systemd_is_up(int64_t deadline, char *why, size_t size)
{
	static char *const argv[] = { "systemctl", "is-system-running", "--wait", NULL };
	struct buffer said = { 0 };
	program_run(argv, &said, deadline);
	if (said.data)
		said.data[strcspn(said.data, "\n")] = '\0';
	const char *word = said.data ? said.data : "";
	bool up = strcmp(word, "running") == 0 || strcmp(word, "degraded") == 0;
	if (!up)
		snprintf(why, size, "systemd is not up yet: %.32s", *word ? word : "it does not answer");
	buffer_free(&said);
	return up;
}

bool settle_wait(int64_t deadline, char *why, size_t size)
{
	snprintf(why, size, "the image's init has not been started yet");
	while (!atomic_load(&state->system_stage)) {
		if (clock_ms() >= deadline)
			return false;
		clock_sleep_ms(STEP_MS);
	}
	/* The directory appears when systemd has set itself up. */
	if (strcmp(guest_init(), "agent") == 0)
		return true;
	for (;;) {
		bool up = strcmp(guest_init(), "systemd") != 0 || systemd_is_up(deadline, why, size);
		if (up && settle_is_idle(WINDOW_MS))
			return true;
		if (clock_ms() >= deadline)
			return false;
		if (up)
			snprintf(why, size, "the guest is still busy");
		else
			clock_sleep_ms(STEP_MS);
	}
}
