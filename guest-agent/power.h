/* Ends of a guest: the orderly one of its init, and the direct one. */
#ifndef POWER_H
#define POWER_H
#include <stdbool.h>

#include "http.h"

/* POST /v1/poweroff and /v1/reboot */
void power_handle(struct request *request, bool reboot_it);

/* For pid 1: ends all processes, syncs, unmounts, and powers off or reboots. */
void power_end(bool reboot_it) __attribute__((noreturn));
/* The kernel's command alone. On machines without a power switch (kernel argument
 * `banger.off=reset`) off is a reset, at which the VMM ends. */
void power_cut(bool reboot_it) __attribute__((noreturn));
#endif
