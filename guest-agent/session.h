/* All processes that share a command's session. */
#ifndef SESSION_H
#define SESSION_H
#include <sys/types.h>

/* Signals every living process of the session; the number of processes. */
int session_signal(pid_t session, int number);
/* SIGHUP, and two seconds later SIGKILL, from a process of its own: returns at once. */
void session_hang_up(pid_t session);
#endif
