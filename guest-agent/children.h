/* Child processes of this process, noticed while it waits for something else. */
#ifndef CHILDREN_H
#define CHILDREN_H
#include <poll.h>
#include <sys/types.h>

/* Blocks SIGCHLD except inside children_poll, where it interrupts. Also ignores SIGPIPE. */
void children_begin(void);
/* poll(2); -1 with EINTR as soon as a child has ended. */
int children_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
/* Reaps every child that has ended. */
void children_reap(void);
/* Default dispositions and an empty mask, in a child that will execute a command. */
void children_reset_signals(void);
#endif
