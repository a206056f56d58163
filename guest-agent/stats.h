#ifndef STATS_H
#define STATS_H
#include "http.h"

/* GET /v1/stats */
void stats_handle(struct request *request);
#endif
