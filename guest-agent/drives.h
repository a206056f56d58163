/* Block devices by their virtio serial, and the file systems on them. */
#ifndef DRIVES_H
#define DRIVES_H
#include <stdbool.h>
#include <stddef.h>

enum { DRIVE_PATH_SIZE = 64 };

/* The device path ("/dev/vdb") of the drive with this virtio serial. A serial that begins
 * with "/dev/" is the path itself, for VMMs without serials. False: not there (yet). */
bool drive_find(const char *serial, char device[DRIVE_PATH_SIZE]);
/* Grows the mounted ext4 at `path` to the size of its device. 0 or an errno. */
int drive_grow_ext4(const char *path);
/* Mounts the drive with this serial on `path`, made when missing; nothing when it is mounted there
 * already. 0 or an errno. */
int drive_mount(const char *serial, const char *path, const char *type);
#endif
