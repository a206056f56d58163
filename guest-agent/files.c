#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rootpath.h"

/* Files of /proc and /sys say they are empty: read up to so much to learn better. */
enum { UNSIZED_LIMIT = 1024 * 1024, COPY_SIZE = 32 * 1024 };

static void send_unsized(struct request *request, int fd, const char *path, const char *extra)
{
	struct buffer text = { 0 };
	int error = buffer_read_file(&text, fd, UNSIZED_LIMIT);
	if (error) {
		http_error(request, http_status_of(error), error, "can't read %s: %s", path, strerror(error));
	} else {
		http_head(request, 200, "application/octet-stream", (int64_t)text.length, extra);
		connection_write(request->connection, text.data, text.length);
	}
	buffer_free(&text);
}

/* Sends exactly `size` bytes, the length that was promised: a file that shrinks is padded. */
static void send_sized(struct request *request, int fd, int64_t size)
{
	char data[COPY_SIZE];
	while (size > 0 && !request->connection->closed) {
		size_t want = size < COPY_SIZE ? (size_t)size : COPY_SIZE;
		ssize_t got = read(fd, data, want);
		if (got <= 0) {
			memset(data, 0, want);
			got = (ssize_t)want;
		}
		connection_write(request->connection, data, (size_t)got);
		size -= got;
	}
}

void file_get(struct request *request)
{
	char path[FILE_PATH_SIZE], extra[256];
	struct stat status;
	if (!file_path(request, path))
		return;
	/* Non-blocking, or a FIFO would hold us. */
	int fd = rootpath_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &status) < 0) {
		int error = errno;
		http_error(request, http_status_of(error), error, "can't open %s: %s", path, strerror(error));
	} else if (!S_ISREG(status.st_mode)) {
		http_error(request, 409, S_ISDIR(status.st_mode) ? EISDIR : 0, "not a regular file: %s", path);
	} else {
		snprintf(extra, sizeof extra, "X-Mode: %04o\r\nX-Uid: %u\r\nX-Gid: %u\r\nX-Mtime: %" PRId64 "\r\n",
			 status.st_mode & 07777, status.st_uid, status.st_gid,
			 (int64_t)status.st_mtime);
		if (status.st_size) {
			http_head(request, 200, "application/octet-stream", status.st_size, extra);
			send_sized(request, fd, status.st_size);
		} else {
			send_unsized(request, fd, path, extra);
		}
	}
	if (fd >= 0)
		close(fd);
}

static int receive(struct request *request, int fd)
{
	char data[COPY_SIZE];
	ssize_t got;
	while ((got = http_body_read(request, data, sizeof data)) > 0) {
		int error = write_whole(fd, data, (size_t)got);
		if (error)
			return error;
	}
	return got < 0 ? ECONNABORTED : 0;
}

static int put(struct request *request, const char *path, unsigned mode, struct owner owner)
{
	const char *leaf;
	struct draft draft;
	struct stat status;
	int directory = rootpath_open_parent(path, false, &leaf);
	if (directory < 0)
		return errno;
	int error = 0;
	if (fstatat(directory, leaf, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
		error = EISDIR;
	if (!error)
		error = draft_begin(&draft, directory, leaf);
	if (!error) {
		error = receive(request, draft.fd);
		if (error)
			draft_abandon(&draft);
		else
			error = draft_commit(&draft, mode, owner);
	}
	close(directory);
	return error;
}

void file_put(struct request *request)
{
	char path[FILE_PATH_SIZE];
	unsigned mode;
	struct owner owner;
	if (!request->has_length) {
		http_error(request, 411, 0, "Content-Length is missing");
		return;
	}
	if (!file_path(request, path) || !file_mode_and_owner(request, 0644, &mode, &owner))
		return;
	int error = put(request, path, mode, owner);
	if (!error)
		http_reply_empty_object(request, 201);
	else if (error == ECONNABORTED)
		http_error(request, 408, 0, "the request's body stopped in the middle");
	else
		http_error(request, http_status_of(error), error, "can't write %s: %s", path, strerror(error));
}
