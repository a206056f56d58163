/* Whether the image's init has done what it does at a boot. */
#ifndef SETTLE_H
#define SETTLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Waits until the guest has settled, at the latest until `deadline` (of clock_ms). False: it has not,
 * `why` says what is still under way. */
bool settle_wait(int64_t deadline, char *why, size_t size);
/* Have the CPUs nothing to do for nine tenths of the next `window_ms`? */
bool settle_is_idle(int window_ms);
#endif
