/* mounts, grow_root. */
#include <errno.h>
#include <string.h>

#include "drives.h"
#include "parts.h"

static void mount_one(const struct json *entry, struct report *report)
{
	const char *serial = part_text(entry, "serial"), *path = part_text(entry, "path");
	const char *type = part_text(entry, "type");
	struct json *grow = json_get(entry, "grow");
	if (!serial || !path || !type || (grow && grow->type != JSON_BOOL)) {
		report_fail(report, EINVAL, "a mount needs serial, path and type");
		return;
	}
	int error = drive_mount(serial, path, type);
	if (error) {
		report_fail(report, error, "mounting drive %.64s on %.128s: %s", serial, path, strerror(error));
		return;
	}
	if (!grow || !grow->boolean || strcmp(type, "ext4") != 0)
		return;
	error = drive_grow_ext4(path);
	if (error)
		report_fail(report, error, "growing %.128s: %s", path, strerror(error));
}

void part_mounts(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	if (!part_is_list(value, report))
		return;
	for (struct json *entry = value->first; entry; entry = entry->next)
		mount_one(entry, report);
}

void part_grow_root(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	if (value->type != JSON_BOOL) {
		report_fail(report, EINVAL, "grow_root must be true or false");
		return;
	}
	int error = value->boolean ? drive_grow_ext4("/") : 0;
	if (error)
		report_fail(report, error, "growing the root: %s", strerror(error));
}
