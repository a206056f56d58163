/* The kernel's messages about devices that come, change and go. */
#ifndef UEVENTS_H
#define UEVENTS_H
#include <stdbool.h>

/* A non-blocking socket that is readable when there are some, or -1 with errno. */
int uevents_open(void);
/* Takes what is there; true when something may have happened to the devices of a subsystem. */
bool uevents_concern(int fd, const char *subsystem);
#endif
