#ifndef MACHINE_CLOCK_H
#define MACHINE_CLOCK_H
#include "http.h"

/* PUT /v1/clock */
void machine_clock_handle(struct request *request);
#endif
