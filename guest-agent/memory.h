/* The guest's memory, as far as the host pays for it. */
#ifndef MEMORY_H
#define MEMORY_H
#include <stdint.h>

/* Drops what the boot left in caches, and lets the balloon report the free memory to the host. Does
 * nothing when the host takes no such reports. From a process of its own: returns at once. */
void memory_give_back(void);

/* Fills the memory that is free with zeros, but for what the kernel must keep at hand. Returns the number of bytes so filled. */
uint64_t memory_zero_free(void);
#endif
