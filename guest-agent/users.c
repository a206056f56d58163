#include "users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"
#include "rootpath.h"

enum { DATABASE_LIMIT = 4 * 1024 * 1024 };

static void load(struct buffer *text, const char *path)
{
	int fd = rootpath_open(path, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return;
	if (buffer_read_file(text, fd, DATABASE_LIMIT) != 0)
		buffer_free(text);
	close(fd);
}

/* Splits a line at ':' into exactly `count` fields. */
static bool split(char *line, char **fields, int count)
{
	for (int i = 0; i < count; i++)
		fields[i] = strsep(&line, ":");
	return fields[count - 1] && !line;
}

static bool number(const char *text, unsigned *value)
{
	size_t digits = strspn(text, "0123456789");
	if (!digits || text[digits] || digits > 10)
		return false;
	unsigned long long wide = strtoull(text, NULL, 10);
	*value = (unsigned)wide;
	return wide < 0xffffffffULL;
}

static bool take_entry(char *line, const char *name, bool numeric, unsigned wanted, struct user *user)
{
	char *field[7];
	unsigned uid, gid;
	if (!split(line, field, 7) || !number(field[2], &uid) || !number(field[3], &gid))
		return false;
	if (strcmp(field[0], name) != 0 && !(numeric && uid == wanted))
		return false;
	user->uid = uid;
	user->gid = gid;
	snprintf(user->name, sizeof user->name, "%s", field[0]);
	snprintf(user->home, sizeof user->home, "%s", field[5][0] == '/' ? field[5] : "/");
	snprintf(user->shell, sizeof user->shell, "%s", field[6][0] == '/' ? field[6] : "/bin/sh");
	return true;
}

int user_find(const char *name, struct user *user)
{
	unsigned wanted = 0;
	bool numeric = number(name, &wanted), found = false;
	struct buffer text = { 0 };
	memset(user, 0, sizeof *user);
	load(&text, "/etc/passwd");
	char *rest = text.data;
	for (char *line; !found && (line = strsep(&rest, "\n"));)
		found = take_entry(line, name, numeric, wanted, user);
	buffer_free(&text);
	if (found)
		return 0;
	if (strcmp(name, "root") == 0 || (numeric && wanted == 0)) {
		strcpy(user->name, "root");
		strcpy(user->home, "/root");
	} else if (numeric) {
		user->uid = user->gid = wanted;
		snprintf(user->name, sizeof user->name, "%u", wanted);
		strcpy(user->home, "/");
	} else {
		return ENOENT;
	}
	strcpy(user->shell, "/bin/sh");
	return 0;
}

static bool is_member(char *members, const char *name)
{
	for (char *member; (member = strsep(&members, ","));)
		if (strcmp(member, name) == 0)
			return true;
	return false;
}

void user_load_groups(struct user *user)
{
	struct buffer text = { 0 };
	user->groups[0] = user->gid;
	user->group_count = 1;
	load(&text, "/etc/group");
	char *rest = text.data;
	for (char *line; (line = strsep(&rest, "\n")) && user->group_count < USER_GROUPS_LIMIT;) {
		char *field[4];
		unsigned gid;
		if (split(line, field, 4) && number(field[2], &gid) && gid != user->gid &&
		    is_member(field[3], user->name))
			user->groups[user->group_count++] = gid;
	}
	buffer_free(&text);
}
