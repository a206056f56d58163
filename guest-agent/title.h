#ifndef TITLE_H
#define TITLE_H

/* Remembers where the arguments lie. Call first in main. */
void title_begin(char **argv, char **envp);
/* Names this process, in ps and /proc/PID/comm. */
void title_set(const char *title);
#endif
