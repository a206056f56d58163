#ifndef INITRAMFS_H
#define INITRAMFS_H

/* Deletes the files of the initramfs whose root `fd` is, to free their memory; closes it. Does nothing
 * when that isn't a file system in memory. */
void initramfs_delete(int fd);
#endif
