#include "drives.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "buffer.h"
#include "rootpath.h"

#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#endif

bool drive_find(const char *serial, char device[DRIVE_PATH_SIZE])
{
	bool found = false;
	if (strncmp(serial, "/dev/", 5) == 0) {
		snprintf(device, DRIVE_PATH_SIZE, "%s", serial);
		return access(device, F_OK) == 0;
	}
	DIR *blocks = opendir("/sys/block");
	for (struct dirent *entry; !found && blocks && (entry = readdir(blocks));) {
		char path[300];
		struct buffer text = { 0 };
		snprintf(path, sizeof path, "/sys/block/%s/serial", entry->d_name);
		if (entry->d_name[0] != '.' && buffer_read_path(&text, path, 256) == 0) {
			text.data[strcspn(text.data, "\n")] = '\0';
			snprintf(device, DRIVE_PATH_SIZE, "/dev/%.50s", entry->d_name);
			found = strcmp(text.data, serial) == 0 && access(device, F_OK) == 0;
		}
		buffer_free(&text);
	}
	if (blocks)
		closedir(blocks);
	return found;
}

static int device_size(dev_t number, uint64_t *bytes)
{
	char path[64];
	struct buffer text = { 0 };
	unsigned long long sectors = 0;
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/size", major(number), minor(number));
	int error = buffer_read_path(&text, path, 64);
	if (!error && sscanf(text.data, "%llu", &sectors) != 1)
		error = EINVAL;
	buffer_free(&text);
	*bytes = sectors * 512;
	return error;
}

int drive_grow_ext4(const char *path)
{
	struct stat status;
	struct statfs system;
	uint64_t bytes = 0;
	int fd = rootpath_open(path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return errno;
	int error = fstat(fd, &status) < 0 || fstatfs(fd, &system) < 0 ? errno : 0;
	if (!error)
		error = device_size(status.st_dev, &bytes);
	/* The size in blocks of the file system; the same size again is no error. */
	uint64_t blocks = error ? 0 : bytes / (uint64_t)system.f_bsize;
	if (!error && ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		error = errno;
	close(fd);
	return error;
}

static bool is_mounted(int directory, const char *device)
{
	struct stat here, there;
	return fstat(directory, &here) == 0 && stat(device, &there) == 0 &&
		S_ISBLK(there.st_mode) && here.st_dev == there.st_rdev;
}

int drive_mount(const char *serial, const char *path, const char *type)
{
	char device[DRIVE_PATH_SIZE], target[64];
	if (!drive_find(serial, device))
		return ENODEV;
	int directory = rootpath_open_directory(path);
	if (directory < 0)
		return errno;
	int error = 0;
	if (!is_mounted(directory, device)) {
		/* What was read of a placeholder before its drive was exchanged must not be trusted. */
		int block = open(device, O_RDONLY | O_CLOEXEC);
		if (block >= 0) {
			ioctl(block, BLKFLSBUF, 0);
			close(block);
		}
		snprintf(target, sizeof target, "/proc/self/fd/%d", directory);
		if (mount(device, target, type, 0, NULL) < 0)
			error = errno;
	}
	close(directory);
	return error;
}
