#ifndef TERMINAL_H
#define TERMINAL_H
#include <sys/types.h>

/* Opens a pseudo terminal of the given size, owned by the user. 0 or an errno. */
int terminal_open(int *master, int *slave, unsigned short rows, unsigned short cols, uid_t uid);
void terminal_resize(int master, unsigned short rows, unsigned short cols);
/* The character that ends input (VEOF). */
unsigned char terminal_eof(int master);
/* The foreground process group, or -1. */
pid_t terminal_foreground(int master);
/* In a guest whose init has not mounted devpts yet, do it. */
void terminal_mount_when_missing(void);
#endif
