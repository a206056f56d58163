#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"

static void become(char *const argv[], int output)
{
	static char *const environment[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0", NULL };
	int null = open("/dev/null", O_RDWR);
	children_reset_signals();
	dup2(null, 0);
	dup2(output, 1);
	dup2(null, 2);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	execvpe(argv[0], argv, environment);
	_exit(127);
}

/* Up to the end of file. False: too late, or too much. */
static bool read_all(int fd, struct buffer *output, int64_t deadline)
{
	char scratch[4096];
	for (size_t total = 0; total <= PROGRAM_OUTPUT_LIMIT;) {
		int64_t left = deadline - clock_ms();
		struct pollfd ready = { .fd = fd, .events = POLLIN };
		if (left <= 0)
			return false;
		if (poll(&ready, 1, left > 1000 ? 1000 : (int)left) <= 0)
			continue;
		ssize_t got = read(fd, scratch, sizeof scratch);
		if (got <= 0)
			return true;
		total += (size_t)got;
		if (output)
			buffer_append(output, scratch, (size_t)got);
	}
	return false;
}

int program_run(char *const argv[], struct buffer *output, int64_t deadline)
{
	int ends[2], status;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0)
		become(argv, ends[1]);
	close(ends[1]);
	bool whole = pid > 0 && read_all(ends[0], output, deadline);
	close(ends[0]);
	if (pid < 0)
		return -1;
	if (!whole)
		kill(pid, SIGKILL);
	/* It may have closed its output and live on: that is its end for us. */
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_ms() >= deadline)
			kill(pid, SIGKILL);
		clock_sleep_ms(1);
	}
	return whole && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
