#ifndef CLOCK_H
#define CLOCK_H
#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC: stands still while the machine is paused. */
int64_t clock_ms(void);
void clock_sleep_ms(int64_t ms);
#endif
