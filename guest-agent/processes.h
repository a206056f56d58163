/* Other processes of the guest. */
#ifndef PROCESSES_H
#define PROCESSES_H

/* Sends a signal to every process of the first name space called `name` (at most 15 bytes are
 * compared, as many as the kernel keeps) whose parent is pid 1. How many there were. */
int processes_signal(const char *name, int number);
#endif
