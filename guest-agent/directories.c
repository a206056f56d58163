#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "json.h"
#include "rootpath.h"

enum { ENTRIES_LIMIT = 65536 };

static const char *type_of(mode_t mode)
{
	return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "symlink" : "other";
}

/* 0, EFBIG with too many entries, or an errno. */
static int list(DIR *directory, struct buffer *body)
{
	int count = 0;
	struct stat status;
	buffer_text(body, "{\"entries\":[");
	for (;;) {
		errno = 0;
		struct dirent *entry = readdir(directory);
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (++count > ENTRIES_LIMIT)
			return EFBIG;
		buffer_text(body, count > 1 ? ",{\"name\":" : "{\"name\":");
		json_write_string(body, entry->d_name);
		buffer_printf(body, ",\"type\":\"%s\",\"mode\":%u,\"size\":%" PRId64 "}",
			      type_of(status.st_mode), status.st_mode & 07777, (int64_t)status.st_size);
	}
	buffer_text(body, "]}");
	return errno;
}

void directory_get(struct request *request)
{
	char path[FILE_PATH_SIZE];
	struct buffer body = { 0 };
	if (!file_path(request, path))
		return;
	int fd = rootpath_open(path, O_RDONLY | O_DIRECTORY);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	int error = directory ? list(directory, &body) : errno;
	if (directory)
		closedir(directory);
	else if (fd >= 0)
		close(fd);
	if (!error) {
		http_reply(request, 200, &body);
		return;
	}
	buffer_free(&body);
	http_error(request, http_status_of(error), error, "can't list %s: %s", path, strerror(error));
}

static int make(const char *path, unsigned mode, struct owner owner)
{
	const char *leaf;
	struct stat status;
	int fd = rootpath_open(path, O_PATH | O_DIRECTORY);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	int parent = rootpath_open_parent(path, false, &leaf);
	if (parent < 0)
		return errno;
	int error = 0;
	if (mkdirat(parent, leaf, 0700) < 0) {
		error = errno;
	} else if ((fd = openat(parent, leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0) {
		error = errno;
	} else {
		if (fstat(fd, &status) == 0 &&
		    (status.st_uid != owner.uid || status.st_gid != owner.gid) &&
		    fchown(fd, owner.uid, owner.gid) < 0)
			error = errno;
		if (!error && fchmod(fd, mode) < 0)
			error = errno;
		close(fd);
		if (error)
			unlinkat(parent, leaf, AT_REMOVEDIR);
	}
	close(parent);
	return error;
}

void directory_put(struct request *request)
{
	char path[FILE_PATH_SIZE];
	unsigned mode;
	struct owner owner;
	if (!file_path(request, path) || !file_mode_and_owner(request, 0755, &mode, &owner))
		return;
	for (size_t length = strlen(path); length > 1 && path[length - 1] == '/'; length--)
		path[length - 1] = '\0';
	int error = make(path, mode, owner);
	if (!error)
		http_reply_empty_object(request, 201);
	else
		http_error(request, http_status_of(error), error, "can't make %s: %s", path, strerror(error));
}
