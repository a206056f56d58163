#ifndef HEALTH_H
#define HEALTH_H
#include "http.h"

/* GET /healthz */
void health_handle(struct request *request);
#endif
