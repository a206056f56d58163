#include "initramfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static void empty(int fd, dev_t device)
{
	DIR *directory = fdopendir(fd);
	struct stat status;
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    fstatat(fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
		    status.st_dev != device)
			continue;
		if (!S_ISDIR(status.st_mode)) {
			unlinkat(fd, entry->d_name, 0);
			continue;
		}
		int child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child >= 0)
			empty(child, device);
		unlinkat(fd, entry->d_name, AT_REMOVEDIR);
	}
	if (directory)
		closedir(directory);
	else
		close(fd);
}

void initramfs_delete(int fd)
{
	struct statfs system;
	struct stat status;
	bool in_memory = fd >= 0 && fstatfs(fd, &system) == 0 &&
		((unsigned long)system.f_type == RAMFS_MAGIC || (unsigned long)system.f_type == TMPFS_MAGIC);
	if (in_memory && fstat(fd, &status) == 0)
		empty(fd, status.st_dev);
	else if (fd >= 0)
		close(fd);
}
