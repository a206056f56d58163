/* hostname, machine_id, boot_id, entropy: what makes this guest another than its template's other copies. */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base64.h"
#include "boot_id.h"
#include "guest.h"
#include "parts.h"
#include "rootpath.h"

enum { HOSTNAME_LIMIT = 64 };	/* of sethostname(2) */

static const struct owner root_user = { .uid = 0, .gid = 0 };

static struct owner system_owner(void)
{
	/* Tests may run as anyone. */
	return geteuid() == 0 ? root_user : (struct owner){ .uid = geteuid(), .gid = getegid() };
}

void part_hostname(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	char line[HOSTNAME_LIMIT + 2];
	if (value->type != JSON_STRING || value->length > HOSTNAME_LIMIT || !part_is_name(value->text)) {
		report_fail(report, EINVAL, "not a host name");
		return;
	}
	if (is_guest() && sethostname(value->text, value->length) < 0)
		report_fail(report, errno, "sethostname: %s", strerror(errno));
	int length = snprintf(line, sizeof line, "%s\n", value->text);
	int error = rootpath_write("/etc/hostname", line, (size_t)length, 0644, system_owner());
	if (error)
		report_fail(report, error, "/etc/hostname: %s", strerror(error));
}

static bool is_regular(const char *path)
{
	struct stat status;
	int fd = rootpath_open(path, O_PATH | O_NOFOLLOW);
	bool regular = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
	if (fd >= 0)
		close(fd);
	return regular;
}

void part_machine_id(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	char line[34];
	if (value->type != JSON_STRING || value->length != 32 ||
	    strspn(value->text, "0123456789abcdef") != 32) {
		report_fail(report, EINVAL, "not a machine id of 32 lower case hexadecimal digits");
		return;
	}
	snprintf(line, sizeof line, "%s\n", value->text);
	int error = rootpath_write("/etc/machine-id", line, 33, 0444, system_owner());
	/* systemd covers a read-only machine-id with a mount of its own. */
	if (error == EBUSY && is_guest() && umount2("/etc/machine-id", MNT_DETACH) == 0)
		error = rootpath_write("/etc/machine-id", line, 33, 0444, system_owner());
	if (error)
		report_fail(report, error, "/etc/machine-id: %s", strerror(error));
	/* Often a symlink to the other; a copy must not keep the old one. */
	if (is_regular("/var/lib/dbus/machine-id"))
		rootpath_write("/var/lib/dbus/machine-id", line, 33, 0444, system_owner());
}

void part_boot_id(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	int error = value->type == JSON_STRING ? boot_id_set(value->text) : EINVAL;
	if (error)
		report_fail(report, error, "boot id: %s", error == EINVAL ? "not a UUID in lower case" :
			    strerror(error));
}

void part_entropy(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	enum { LEAST = 32, MOST = 512 };
	ssize_t length = value->type == JSON_STRING ? base64_decode(value->text, value->length) : -1;
	if (length < LEAST || length > MOST) {
		report_fail(report, EINVAL, "entropy must be %d to %d bytes of base64", LEAST, MOST);
		return;
	}
	struct rand_pool_info *pool = malloc(sizeof *pool + MOST);
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC), error = fd < 0 ? errno : pool ? 0 : ENOMEM;
	if (!error) {
		pool->entropy_count = (int)length * 8;
		pool->buf_size = (int)length;
		memcpy(pool->buf, value->text, (size_t)length);
		/* Adding alone leaves the generator's present key in use for up to five minutes. */
		if (ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
			error = errno;
		explicit_bzero(pool->buf, (size_t)length);
	}
	if (error)
		report_fail(report, error, "/dev/urandom: %s", strerror(error));
	if (fd >= 0)
		close(fd);
	free(pool);
}
