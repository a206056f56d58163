#include "unnest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_LIMIT = 64 };

/* Two directories that become one, `from` into `to`. */
struct merge {
	int from, to;
	const char *path;	/* below the top, "" for the top itself */
	int depth;
};

struct blockage {
	char *where;
	size_t size;
};

typedef bool (*visitor)(const struct merge *merge, const char *name, struct blockage *blockage);

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool exists(int directory, const char *name)
{
	struct stat status;
	return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_directory(int directory, const char *name)
{
	struct stat status;
	return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

static int open_directory(int parent, const char *name)
{
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Calls `visit` for each entry of merge->from until one says false. */
static bool each(const struct merge *merge, visitor visit, struct blockage *blockage)
{
	int fd = open_directory(merge->from, ".");
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	bool good = true;
	while (good) {
		errno = 0;
		struct dirent *entry = readdir(directory);
		if (!entry) {
			good = errno == 0;
			break;
		}
		if (!is_dots(entry->d_name))
			good = visit(merge, entry->d_name, blockage);
	}
	int error = errno;
	closedir(directory);
	errno = error;
	return good;
}

/* Visits a directory that both sides have. */
static bool descend(const struct merge *merge, const char *name, visitor visit,
		    struct blockage *blockage)
{
	char path[4096];
	snprintf(path, sizeof path, "%.3800s%.255s/", merge->path, name);
	struct merge below = { open_directory(merge->from, name), open_directory(merge->to, name),
			       path, merge->depth + 1 };
	errno = below.depth > DEPTH_LIMIT ? ELOOP : errno;
	bool good = below.from >= 0 && below.to >= 0 && below.depth <= DEPTH_LIMIT &&
		each(&below, visit, blockage);
	int error = errno;
	if (below.from >= 0)
		close(below.from);
	if (below.to >= 0)
		close(below.to);
	errno = error;
	return good;
}

static const char *name_above(const struct merge *merge, const char *name)
{
	bool keys = strcmp(merge->path, ".ssh/") == 0 && strcmp(name, "authorized_keys") == 0;
	return keys ? UNNEST_KEYS : name;
}

/* errno is 0 when it is a file in the way that makes this false. */
static bool is_free(const struct merge *merge, const char *name, struct blockage *blockage)
{
	const char *above = name_above(merge, name);
	if (!exists(merge->to, above))
		return errno == ENOENT;
	if (is_directory(merge->from, name) && is_directory(merge->to, above))
		return descend(merge, name, is_free, blockage);
	snprintf(blockage->where, blockage->size, "%s%s", merge->path, above);
	errno = 0;
	return false;
}

static bool move_up(const struct merge *merge, const char *name, struct blockage *blockage)
{
	if (renameat2(merge->from, name, merge->to, name_above(merge, name), RENAME_NOREPLACE) == 0)
		return true;
	return errno == EEXIST && is_directory(merge->from, name) &&
		descend(merge, name, move_up, blockage) &&
		unlinkat(merge->from, name, AT_REMOVEDIR) == 0;
}

/* False for what only a home has. */
static bool is_no_mark(const struct merge *merge, const char *name, struct blockage *blockage)
{
	static const char *const marks[] = { ".bashrc", ".profile", ".bash_profile", ".bash_history",
					     ".zshrc", ".tmux.conf", ".ssh" };
	(void)merge;
	(void)blockage;
	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
		if (strcmp(name, marks[i]) == 0)
			return false;
	return true;
}

static bool looks_like_a_home(int directory)
{
	struct merge merge = { .from = directory, .path = "" };
	return !each(&merge, is_no_mark, NULL);
}

/* The directory of this name, of the same file system as `top`. -1 when there is none. */
static int open_nested(int top, const char *name)
{
	struct stat here, there;
	int nested = open_directory(top, name);
	if (nested >= 0 && (fstat(top, &here) < 0 || fstat(nested, &there) < 0 ||
			    here.st_dev != there.st_dev)) {
		close(nested);
		return -1;
	}
	return nested;
}

/* `/root` itself gets the owner and mode that it has inside. */
static bool copy_owner(int from, int to)
{
	struct stat status;
	return fstat(from, &status) == 0 && fchown(to, status.st_uid, status.st_gid) == 0 &&
		fchmod(to, status.st_mode & 07777) == 0;
}

enum unnest unnest(int top, const char *name, char *where, size_t size)
{
	struct blockage blockage = { where, size };
	/* A repair that was interrupted has set it aside already. */
	bool aside = is_directory(top, UNNEST_ASIDE);
	int nested = open_nested(top, aside ? UNNEST_ASIDE : name);
	if (nested < 0)
		return UNNEST_NOTHING;
	enum unnest result = UNNEST_FAILED;
	struct merge merge = { nested, top, "", 0 };
	if (!aside && !looks_like_a_home(nested)) {
		result = UNNEST_NOTHING;
		goto done;
	}
	/* Set aside first: it may itself hold something of its name. */
	if (!aside && renameat2(top, name, top, UNNEST_ASIDE, RENAME_NOREPLACE) < 0)
		goto done;
	if (!each(&merge, is_free, &blockage)) {
		int error = errno;
		result = error ? UNNEST_FAILED : UNNEST_BLOCKED;
		/* Back under the name that it is known by; nothing of it has moved. */
		renameat2(top, UNNEST_ASIDE, top, name, RENAME_NOREPLACE);
		errno = error;
		goto done;
	}
	if (each(&merge, move_up, &blockage) && copy_owner(nested, top) &&
	    unlinkat(top, UNNEST_ASIDE, AT_REMOVEDIR) == 0)
		result = UNNEST_DONE;
done:;
	int error = errno;
	close(nested);
	errno = error;
	return result;
}
