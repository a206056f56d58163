/* files, authorized_keys, environment. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base64.h"
#include "parts.h"
#include "rootpath.h"
#include "state.h"
#include "users.h"

enum { ENVIRONMENT_LIMIT = 1024 };

static void write_file(const struct json *entry, struct report *report)
{
	const char *path = part_text(entry, "path");
	struct json *data = json_get(entry, "data");
	int64_t mode = part_number(entry, "mode", 0644);
	int64_t uid = part_number(entry, "uid", 0), gid = part_number(entry, "gid", 0);
	if (!path || !data || data->type != JSON_STRING || mode < 0 || mode > 07777 || uid < 0 ||
	    uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX) {
		report_fail(report, EINVAL, "a file needs path and data, and a sound mode, uid and gid");
		return;
	}
	ssize_t length = base64_decode(data->text, data->length);
	if (length < 0) {
		report_fail(report, EINVAL, "%.256s: the data is not base64", path);
		return;
	}
	struct owner owner = { .uid = (uid_t)uid, .gid = (gid_t)gid };
	int error = rootpath_write(path, data->text, (size_t)length, (mode_t)mode, owner);
	if (error)
		report_fail(report, error, "%.256s: %s", path, strerror(error));
}

void part_files(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	if (!part_is_list(value, report))
		return;
	for (struct json *entry = value->first; entry; entry = entry->next)
		write_file(entry, report);
}

static int own(int fd, mode_t mode, struct owner owner)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return errno;
	if ((status.st_uid != owner.uid || status.st_gid != owner.gid) &&
	    fchown(fd, owner.uid, owner.gid) < 0)
		return errno;
	return fchmod(fd, mode) < 0 ? errno : 0;
}

/* The user's own directory may hold anything: nothing in it is followed. */
static int open_ssh_directory(const struct user *user, struct owner owner, int *fd)
{
	int home = rootpath_open(user->home, O_PATH | O_DIRECTORY);
	if (home < 0 && errno == ENOENT) {
		home = rootpath_open_directory(user->home);
		if (home >= 0 && geteuid() == 0 &&
		    fchownat(home, "", owner.uid, owner.gid, AT_EMPTY_PATH) < 0)
			return close(home), EPERM;
	}
	if (home < 0)
		return errno;
	int error = mkdirat(home, ".ssh", 0700) < 0 && errno != EEXIST ? errno : 0;
	if (!error) {
		*fd = openat(home, ".ssh", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		error = *fd < 0 ? errno : own(*fd, 0700, owner);
		if (error && *fd >= 0)
			close(*fd);
	}
	close(home);
	return error;
}

static int write_keys(const struct user *user, const struct buffer *text)
{
	struct owner owner = { .uid = user->uid, .gid = user->gid };
	struct draft draft;
	int directory = -1;
	int error = open_ssh_directory(user, owner, &directory);
	if (error)
		return error;
	error = draft_begin(&draft, directory, "authorized_keys");
	if (!error) {
		error = write_whole(draft.fd, text->data ? text->data : "", text->length);
		if (error)
			draft_abandon(&draft);
		else
			error = draft_commit(&draft, 0600, owner);
	}
	close(directory);
	return error;
}

static void authorize(const struct json *entry, struct report *report)
{
	const char *name = part_text(entry, "user");
	struct json *keys = json_get(entry, "keys");
	struct buffer text = { 0 };
	struct user user;
	bool good = name && keys && keys->type == JSON_ARRAY;
	for (struct json *key = good ? keys->first : NULL; key && good; key = key->next) {
		good = key->type == JSON_STRING && !strpbrk(key->text, "\r\n");
		if (good)
			buffer_printf(&text, "%s\n", key->text);
	}
	if (!good) {
		report_fail(report, EINVAL, "an entry needs a user and a list of one-line keys");
	} else if (user_find(name, &user) != 0) {
		report_fail(report, ENOENT, "unknown user %.64s", name);
	} else {
		int error = text.failed ? ENOMEM : write_keys(&user, &text);
		if (error)
			report_fail(report, error, "keys of %.64s: %s", name, strerror(error));
	}
	buffer_free(&text);
}

void part_authorized_keys(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	if (!part_is_list(value, report))
		return;
	for (struct json *entry = value->first; entry; entry = entry->next)
		authorize(entry, report);
}

void part_environment(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	struct buffer text = { 0 };
	bool good = value->type == JSON_OBJECT && value->count <= ENVIRONMENT_LIMIT;
	for (struct json *item = good ? value->first : NULL; item && good; item = item->next) {
		good = item->type == JSON_STRING && *item->key && !strchr(item->key, '=');
		if (good) {
			buffer_printf(&text, "%s=%s", item->key, item->text);
			buffer_append(&text, "", 1);
		}
	}
	int error = !good ? EINVAL : text.failed ? ENOMEM :
		state_text_set(STATE_ENVIRONMENT, text.data, text.length);
	if (error)
		report_fail(report, error, good ? "can't keep the environment" :
			    "environment must be an object of strings");
	buffer_free(&text);
}
