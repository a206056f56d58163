#ifndef CMDLINE_H
#define CMDLINE_H
#include <stdbool.h>
#include <stddef.h>

/* The kernel argument `name` or `name=value`; `value` may be NULL. Needs /proc. */
bool cmdline_get(const char *name, char *value, size_t size);
#endif
