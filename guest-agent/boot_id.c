#include "boot_id.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"

#define KERNELS "/proc/sys/kernel/random/boot_id"
#define OURS "/run/banger/boot_id"

enum { UUID_LENGTH = 36 };

static bool is_uuid(const char *text)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	bool good = strlen(text) == UUID_LENGTH;
	for (size_t i = 0; good && i < UUID_LENGTH; i++)
		good = shape[i] == '-' ? text[i] == '-' : strchr("0123456789abcdef", text[i]) != NULL;
	return good;
}

int boot_id_set(const char *uuid)
{
	char line[UUID_LENGTH + 2];
	struct stat ours, shown;
	if (!is_uuid(uuid))
		return EINVAL;
	int length = snprintf(line, sizeof line, "%s\n", uuid);
	mkdir("/run/banger", 0755);
	/* In place: once it lies over the kernel's, there is never a moment without it. */
	int fd = open(OURS, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (fd < 0)
		return errno;
	int error = pwrite(fd, line, (size_t)length, 0) != length ? EIO :
		fstat(fd, &ours) < 0 || stat(KERNELS, &shown) < 0 ? errno : 0;
	close(fd);
	if (error || (shown.st_dev == ours.st_dev && shown.st_ino == ours.st_ino))
		return error;
	return mount(OURS, KERNELS, NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

int boot_id_cover(void)
{
	struct buffer text = { 0 };
	int error = buffer_read_path(&text, KERNELS, 64);
	if (!error) {
		text.data[strcspn(text.data, "\n")] = '\0';
		error = boot_id_set(text.data);
	}
	buffer_free(&text);
	return error;
}
