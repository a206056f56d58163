#include "title.h"

#include <string.h>
#include <sys/prctl.h>

static char *start;
static size_t room;

void title_begin(char **argv, char **envp)
{
	start = argv[0];
	char *end = start;
	/* The kernel laid the texts of both out in one piece. */
	for (char **texts[] = { argv, envp, NULL }, ***list = texts; *list; list++)
		for (char **text = *list; *text && *text == end; text++)
			end += strlen(*text) + 1;
	room = start ? (size_t)(end - start) : 0;
}

void title_set(const char *title)
{
	prctl(PR_SET_NAME, title);
	size_t length = strlen(title);
	if (room < length + 1)
		return;
	memset(start, 0, room);
	memcpy(start, title, length);
}
