/* systemd's calendar timers of a template: a copy is thawed at another time of day, or year. */
#ifndef TIMERS_H
#define TIMERS_H
#include <stdint.h>

/* Stops them all, so that none fires when the clock jumps. What was stopped is remembered. */
void timers_park(int64_t deadline);
/* Starts again what was parked, once. */
void timers_resume(int64_t deadline);
#endif
