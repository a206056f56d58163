/* POST /v1/freeze: makes the guest a template that copies can be started from. */
#ifndef FREEZE_H
#define FREEZE_H
#include <stdbool.h>

#include "http.h"

void freeze_handle(struct request *request);
/* Whether that has happened in this process; once. */
bool freeze_was_last(void);
#endif
