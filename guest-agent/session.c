#include "session.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"

/* Field 6 of /proc/PID/stat, proc(5); the name in field 2 may hold anything, ')' too. */
static pid_t session_of(const char *process)
{
	char path[300], text[1024], status;
	int parent, group, session;
	snprintf(path, sizeof path, "/proc/%s/stat", process);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t got = read(fd, text, sizeof text - 1);
	close(fd);
	if (got <= 0)
		return -1;
	text[got] = '\0';
	char *fields = strrchr(text, ')');
	if (!fields || sscanf(fields + 1, " %c %d %d %d", &status, &parent, &group, &session) != 4)
		return -1;
	return status == 'Z' || status == 'X' ? -1 : session;
}

int session_signal(pid_t session, int number)
{
	int count = 0;
	DIR *processes = opendir("/proc");
	for (struct dirent *entry; processes && (entry = readdir(processes));) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		if (session_of(entry->d_name) == session && kill(atoi(entry->d_name), number) == 0)
			count++;
	}
	if (processes)
		closedir(processes);
	return count;
}

void session_hang_up(pid_t session)
{
	enum { GRACE_MS = 2000, STEP_MS = 100 };
	pid_t janitor = fork();
	if (janitor > 0)
		return;
	if (janitor == 0) {
		children_reset_signals();
		close_range(0, ~0U, 0);
	}
	/* Without a second process there is no patience. */
	int left = session_signal(session, janitor == 0 ? SIGHUP : SIGKILL);
	if (janitor < 0)
		return;
	/* A stopped process handles its SIGHUP only when it goes on. */
	session_signal(session, SIGCONT);
	for (int waited = 0; left && waited < GRACE_MS; waited += STEP_MS) {
		clock_sleep_ms(STEP_MS);
		left = session_signal(session, 0);
	}
	for (int tries = 0; left && tries < 10; tries++)
		left = session_signal(session, SIGKILL);
	_exit(0);
}
