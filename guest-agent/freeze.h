/* POST /v1/freeze: makes the guest a template that copies can be started from. */
#ifndef FREEZE_H
#define FREEZE_H
#include "http.h"

void freeze_handle(struct request *request);
#endif
