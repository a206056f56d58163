#include "drives.h"

#include <dirent.h>
#include <endian.h>
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

/* "/dev/NAME" of what a link in /sys/dev/block leads to. */
static bool device_name(const char *link, char device[DRIVE_PATH_SIZE])
{
	char target[256];
	ssize_t length = readlink(link, target, sizeof target - 1);
	if (length <= 0)
		return false;
	target[length] = '\0';
	const char *slash = strrchr(target, '/');
	snprintf(device, DRIVE_PATH_SIZE, "/dev/%.50s", slash ? slash + 1 : target);
	return true;
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

/* The blocks of the ext4 on a device, as its superblock in the kernel's cache has them: little endian,
 * Linux Documentation/filesystems/ext4/super.rst. */
static int ext4_blocks(dev_t number, uint64_t *blocks)
{
	enum { SUPERBLOCK = 1024, LOW = 0x4, HIGH = 0x150 };
	char path[64], device[DRIVE_PATH_SIZE];
	unsigned char block[1024];
	uint32_t low, high;
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(number), minor(number));
	if (!device_name(path, device))
		return ENODEV;
	int fd = open(device, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	ssize_t got = pread(fd, block, sizeof block, SUPERBLOCK);
	int error = got == (ssize_t)sizeof block ? 0 : got < 0 ? errno : EIO;
	close(fd);
	memcpy(&low, block + LOW, sizeof low);
	memcpy(&high, block + HIGH, sizeof high);
	*blocks = (uint64_t)le32toh(high) << 32 | le32toh(low);
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
	uint64_t blocks = error ? 0 : bytes / (uint64_t)system.f_bsize, present = 0;
	/* To set the same size again is no error, but flushes the journal. */
	bool fits = !error && ext4_blocks(status.st_dev, &present) == 0 && present == blocks;
	if (!error && !fits && ioctl(fd, EXT4_IOC_RESIZE_FS, &blocks) < 0)
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

/* Is the file system there that of the drive with this serial? Cheaper than finding the drive. */
static bool has_serial(int directory, const char *serial)
{
	struct stat status;
	char path[64];
	struct buffer text = { 0 };
	if (fstat(directory, &status) < 0)
		return false;
	snprintf(path, sizeof path, "/sys/dev/block/%u:%u/serial", major(status.st_dev),
		 minor(status.st_dev));
	bool same = buffer_read_path(&text, path, 256) == 0 &&
		strcspn(text.data, "\n") == strlen(serial) &&
		strncmp(text.data, serial, strlen(serial)) == 0;
	buffer_free(&text);
	return same;
}

int drive_mount(const char *serial, const char *path, const char *type)
{
	char device[DRIVE_PATH_SIZE], target[64];
	int directory = rootpath_open_directory(path);
	if (directory < 0)
		return errno;
	int error = 0;
	if (has_serial(directory, serial)) {
		close(directory);
		return 0;
	}
	if (!drive_find(serial, device)) {
		error = ENODEV;
	} else if (!is_mounted(directory, device)) {
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
