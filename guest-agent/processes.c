#include "processes.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"

enum { NAME_LENGTH = 15 };

/* Fields 2 and 4 of /proc/PID/stat, proc(5); the name in field 2 may hold anything, ')' too. */
static bool is_service(const char *process, const char *name)
{
	char path[300], status;
	int parent;
	struct buffer text = { 0 };
	bool found = false;
	snprintf(path, sizeof path, "/proc/%s/stat", process);
	if (buffer_read_path(&text, path, 4096) == 0) {
		char *start = strchr(text.data, '('), *end = strrchr(text.data, ')');
		size_t length = strnlen(name, NAME_LENGTH);
		found = start && end && (size_t)(end - start - 1) == length &&
			memcmp(start + 1, name, length) == 0 &&
			sscanf(end + 1, " %c %d", &status, &parent) == 2 && parent == 1;
	}
	buffer_free(&text);
	return found;
}

int processes_signal(const char *name, int number)
{
	int count = 0;
	DIR *processes = opendir("/proc");
	for (struct dirent *entry; processes && (entry = readdir(processes));)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    is_service(entry->d_name, name) && kill(atoi(entry->d_name), number) == 0)
			count++;
	if (processes)
		closedir(processes);
	return count;
}
