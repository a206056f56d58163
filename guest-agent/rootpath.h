/* Paths of the guest: absolute, without "..", resolved inside the guest's root. */
#ifndef ROOTPATH_H
#define ROOTPATH_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct owner { uid_t uid; gid_t gid; };

/* Tests lay a configuration down below a directory instead of "/". */
void rootpath_set(const char *directory);
bool rootpath_is_set(void);

/* open(2) below the root; symlinks can't lead out of it. A descriptor, or -1 with errno. */
int rootpath_open(const char *path, int flags);
/* Opens the directory that holds `path`, with `*leaf` its last component.
 * With `make` missing parents are made, 0755. A descriptor, or -1 with errno. */
int rootpath_open_parent(const char *path, bool make, const char **leaf);
/* Opens the directory `path`, made with its parents (0755) when missing. */
int rootpath_open_directory(const char *path);

/* A file that appears under its name when complete. */
struct draft { int directory; int fd; char name[32]; const char *leaf; };

/* Starts a file named `leaf` in `directory` (stays the caller's). 0 or an errno. */
int draft_begin(struct draft *draft, int directory, const char *leaf);
/* Sets owner and mode, then renames. 0 or an errno; the draft is gone either way. */
int draft_commit(struct draft *draft, mode_t mode, struct owner owner);
void draft_abandon(struct draft *draft);

/* Writes a whole file, replacing a symlink; never seen in parts. Parents are made. 0 or an errno. */
int rootpath_write(const char *path, const void *data, size_t length, mode_t mode,
		   struct owner owner);
/* write(2) until all is written. 0 or an errno. */
int write_whole(int fd, const void *data, size_t length);
#endif
