/* Users and groups from /etc/passwd and /etc/group, without NSS. */
#ifndef USERS_H
#define USERS_H
#include <sys/types.h>

enum { USER_GROUPS_LIMIT = 256 };

struct user {
	uid_t uid;
	gid_t gid;
	char name[64];
	char home[1024];
	char shell[256];
	gid_t groups[USER_GROUPS_LIMIT];
	int group_count;
};

/* Finds a user by name or decimal number. A number without an entry is a user of its own, with
 * the group of the same number and home "/"; root needs no entry either. 0 or ENOENT. */
int user_find(const char *name, struct user *user);
/* Fills in `groups`: the primary group and those of /etc/group that list the name. */
void user_load_groups(struct user *user);
#endif
