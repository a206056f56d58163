#include "memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include "buffer.h"
#include "virtio.h"

enum { MIB = 1 << 20, CHUNK = 2 * MIB, MARGIN = 4 * MIB };

static void set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t written = write(fd, value, strlen(value));
	(void)written;
	close(fd);
}

void memory_give_back(void)
{
	if (!virtio_present(VIRTIO_BALLOON, VIRTIO_BALLOON_REPORTING) || fork() != 0)
		return;
	/* Pieces of 64 KiB; the standard, 2 MiB, leaves nearly all of a dropped cache unreported. Linux
	 * 6.1 ignores the kernel argument, as the balloon's driver sets this when it is loaded. */
	set("/sys/module/page_reporting/parameters/page_reporting_order", "4");
	set("/proc/sys/vm/drop_caches", "3");
	set("/proc/sys/vm/compact_memory", "1");
	_exit(0);
}

/* Below this the kernel begins to reclaim what is in use. */
static uint64_t reserve(void)
{
	struct buffer text = { 0 };
	uint64_t least = 0;
	if (buffer_read_path(&text, "/proc/sys/vm/min_free_kbytes", 64) == 0)
		least = strtoull(text.data, NULL, 10) * 1024;
	buffer_free(&text);
	return 2 * least + MARGIN;
}

/* The kernel clears every page it hands out; all are free again when this process ends. */
static uint64_t take_free(void)
{
	uint64_t taken = 0, least = reserve();
	struct sysinfo info;
	set("/proc/self/oom_score_adj", "1000");
	while (sysinfo(&info) == 0 && (uint64_t)info.freeram * info.mem_unit > least + CHUNK) {
		void *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (chunk == MAP_FAILED)
			break;
		taken += CHUNK;
	}
	return taken;
}

uint64_t memory_zero_free(void)
{
	int ends[2], status;
	uint64_t taken = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return 0;
	pid_t pid = fork();
	if (pid == 0) {
		taken = take_free();
		ssize_t written = write(ends[1], &taken, sizeof taken);
		(void)written;
		_exit(0);
	}
	close(ends[1]);
	if (pid > 0 && read(ends[0], &taken, sizeof taken) != (ssize_t)sizeof taken)
		taken = 0;
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return taken;
}
