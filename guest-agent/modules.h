#ifndef MODULES_H
#define MODULES_H

/* Loads the kernel modules named in /banger/modules, in that order, from /banger/modules.d; those
 * of vsock only where there is such a device, so they come after their bus'. A module that can't be
 * loaded is reported and passed over: the kernel may have it built in. */
void modules_load(void);
#endif
