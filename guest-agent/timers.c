#include "timers.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "state.h"

enum { UNITS_LIMIT = 256, FIXED = 2 };

/* The names of the active calendar timers, each with its NUL. Points into `shown`. */
static void pick(char *shown, struct buffer *names)
{
	const char *id = NULL;
	bool active = false, calendar = false;
	for (char *line; (line = strsep(&shown, "\n"));) {
		if (strncmp(line, "Id=", 3) == 0)
			id = line + 3;
		active |= strcmp(line, "ActiveState=active") == 0;
		calendar |= strncmp(line, "TimersCalendar=", 15) == 0 && line[15];
		/* An empty line ends a unit. */
		if (*line && shown)
			continue;
		if (id && active && calendar)
			buffer_append(names, id, strlen(id) + 1);
		id = NULL;
		active = calendar = false;
	}
}

static void systemctl(char *verb, char *names, size_t length, int64_t deadline)
{
	char *argv[FIXED + UNITS_LIMIT + 1] = { "systemctl", verb };
	int count = FIXED;
	for (char *at = names; at < names + length && count < FIXED + UNITS_LIMIT; at += strlen(at) + 1)
		argv[count++] = at;
	program_run(argv, NULL, deadline);
}

/* systemd touches a stamp when a persistent timer is first started: left behind, it would make the
 * timer late, and fire, in every copy. */
static void remove_new_stamps(void)
{
	struct timespec now, up;
	DIR *stamps = opendir("/var/lib/systemd/timers");
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	for (struct dirent *entry; stamps && (entry = readdir(stamps));) {
		struct stat status;
		if (strncmp(entry->d_name, "stamp-", 6) == 0 &&
		    fstatat(dirfd(stamps), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
		    status.st_mtime >= now.tv_sec - up.tv_sec)
			unlinkat(dirfd(stamps), entry->d_name, 0);
	}
	if (stamps)
		closedir(stamps);
}

void timers_park(int64_t deadline)
{
	static char *const show[] = {
		"systemctl", "show", "--property=Id,ActiveState,TimersCalendar", "*.timer", NULL };
	struct buffer shown = { 0 }, names = { 0 };
	if (program_run(show, &shown, deadline) == 0 && shown.data)
		pick(shown.data, &names);
	if (names.length && !names.failed) {
		state_text_set(STATE_PARKED_TIMERS, names.data, names.length);
		systemctl("stop", names.data, names.length, deadline);
		remove_new_stamps();
	}
	buffer_free(&shown);
	buffer_free(&names);
}

void timers_resume(int64_t deadline)
{
	struct buffer names = { 0 };
	if (state_text_get(STATE_PARKED_TIMERS, &names) == 0 && names.length) {
		state_text_set(STATE_PARKED_TIMERS, "", 0);
		systemctl("start", names.data, names.length, deadline);
	}
	buffer_free(&names);
}
