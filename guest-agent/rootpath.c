#include "rootpath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { REWRITE_LIMIT = 4096 };

static const char *root = "/";
static bool root_is_set;

void rootpath_set(const char *directory)
{
	root = directory;
	root_is_set = true;
}

bool rootpath_is_set(void)
{
	return root_is_set;
}

/* 0, or the errno for a path we don't take. */
static int check(const char *path)
{
	if (path[0] != '/')
		return EINVAL;
	if (strlen(path) >= 4096)
		return ENAMETOOLONG;
	for (const char *at = path; *at;) {
		at += strspn(at, "/");
		size_t length = strcspn(at, "/");
		if (length == 2 && at[0] == '.' && at[1] == '.')
			return EINVAL;
		at += length;
	}
	return 0;
}

static int open_in(int directory, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
				.resolve = RESOLVE_IN_ROOT };
	int fd, tries = 0;
	do	/* EAGAIN: a rename elsewhere raced with the scoped lookup */
		fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
	while (fd < 0 && errno == EAGAIN && ++tries < 100);
	return fd;
}

int rootpath_open(const char *path, int flags)
{
	int error = check(path);
	if (error) {
		errno = error;
		return -1;
	}
	int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -1;
	int fd = open_in(directory, path, flags);
	error = errno;
	close(directory);
	errno = error;
	return fd;
}

/* Opens the directory `path[0..length)`, making what is missing. */
static int make_directories(const char *path, size_t length)
{
	char prefix[4096];
	int parent = rootpath_open("/", O_PATH | O_DIRECTORY);
	for (size_t at = 0; parent >= 0;) {
		at += strspn(path + at, "/");
		if (at >= length)
			return parent;
		size_t size = strcspn(path + at, "/");
		memcpy(prefix, path, at + size);
		prefix[at + size] = '\0';
		int next = rootpath_open(prefix, O_PATH | O_DIRECTORY);
		if (next < 0 && errno == ENOENT &&
		    (mkdirat(parent, prefix + at, 0755) == 0 || errno == EEXIST))
			next = rootpath_open(prefix, O_PATH | O_DIRECTORY);
		int error = errno;
		close(parent);
		errno = error;
		parent = next;
		at += size;
	}
	return -1;
}

int rootpath_open_directory(const char *path)
{
	int error = check(path);
	if (error) {
		errno = error;
		return -1;
	}
	return make_directories(path, strlen(path));
}

int rootpath_open_parent(const char *path, bool make, const char **leaf)
{
	int error = check(path);
	const char *slash = strrchr(path, '/');
	if (!error && (!slash[1] || strcmp(slash, "/.") == 0))
		error = EISDIR;
	if (!error && strlen(slash + 1) > 255)
		error = ENAMETOOLONG;
	if (error) {
		errno = error;
		return -1;
	}
	*leaf = slash + 1;
	size_t length = (size_t)(slash - path);
	if (make)
		return make_directories(path, length);
	char prefix[4096] = "/";
	memcpy(prefix, path, length);
	prefix[length ? length : 1] = '\0';
	return rootpath_open(prefix, O_PATH | O_DIRECTORY);
}

int draft_begin(struct draft *draft, int directory, const char *leaf)
{
	static unsigned serial;
	draft->directory = directory;
	draft->leaf = leaf;
	do {
		snprintf(draft->name, sizeof draft->name, ".banger-%x-%x", (unsigned)getpid(), serial++);
		draft->fd = openat(directory, draft->name,
				   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	} while (draft->fd < 0 && errno == EEXIST);
	return draft->fd < 0 ? errno : 0;
}

void draft_abandon(struct draft *draft)
{
	close(draft->fd);
	unlinkat(draft->directory, draft->name, 0);
}

int draft_commit(struct draft *draft, mode_t mode, struct owner owner)
{
	struct stat status;
	int error = 0;
	if (fstat(draft->fd, &status) < 0)
		error = errno;
	bool owned = !error && status.st_uid == owner.uid && status.st_gid == owner.gid;
	if (!error && !owned && fchown(draft->fd, owner.uid, owner.gid) < 0)
		error = errno;
	if (!error && fchmod(draft->fd, mode) < 0)
		error = errno;
	if (!error && renameat(draft->directory, draft->name, draft->directory, draft->leaf) < 0)
		error = errno;
	if (error)
		draft_abandon(draft);
	else
		close(draft->fd);
	return error;
}

int write_whole(int fd, const void *data, size_t length)
{
	const char *at = data;
	while (length) {
		ssize_t written = write(fd, at, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return errno;
		at += written;
		length -= (size_t)written;
	}
	return 0;
}

/* Writes into a small file that is there and already as it should be but for its content, by one write; what
 * is left of a longer one is cut off next. It takes a third of what making and renaming a file takes a copy
 * of a template, where all the kernel's code for that is still to be translated. */
static bool rewrite(int directory, const char *leaf, const void *data, size_t length, mode_t mode,
		    struct owner owner)
{
	struct stat status;
	int fd = openat(directory, leaf, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool same = length <= REWRITE_LIMIT && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
		status.st_nlink == 1 && status.st_size <= REWRITE_LIMIT && status.st_uid == owner.uid &&
		status.st_gid == owner.gid && (status.st_mode & 07777) == mode;
	bool written = same && pwrite(fd, data, length, 0) == (ssize_t)length &&
		((size_t)status.st_size <= length || ftruncate(fd, (off_t)length) == 0);
	close(fd);
	return written;
}

int rootpath_write(const char *path, const void *data, size_t length, mode_t mode,
		   struct owner owner)
{
	const char *leaf;
	struct draft draft;
	int directory = rootpath_open_parent(path, true, &leaf);
	if (directory < 0)
		return errno;
	if (rewrite(directory, leaf, data, length, mode, owner)) {
		close(directory);
		return 0;
	}
	int error = draft_begin(&draft, directory, leaf);
	if (!error) {
		error = write_whole(draft.fd, data, length);
		if (error)
			draft_abandon(&draft);
		else
			error = draft_commit(&draft, mode, owner);
	}
	close(directory);
	return error;
}
