/* The boot id that the guest shows. The kernel keeps its own until a reboot: a file is laid over it. */
#ifndef BOOT_ID_H
#define BOOT_ID_H

/* From now on this one is shown: a UUID in lower case. 0 or an errno, EINVAL when it is none. */
int boot_id_set(const char *uuid);
/* Lays the file over the kernel's boot id with the same id in it, ahead of a `boot_id_set`: a mount makes
 * systemd look through all mounts. 0 or an errno. */
int boot_id_cover(void);
#endif
