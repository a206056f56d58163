/* A guest configuration, delivered cold (from the initramfs) or warm (POST /v1/configure). */
#ifndef CONFIGURE_H
#define CONFIGURE_H
#include "http.h"

/* Applies a document and appends the JSON result to `result`. The status to answer with: 200 when all
 * went well, 207 when parts failed, 400 when it isn't a configuration (nothing was applied). `identity`
 * is set when it had parts that running services keep in memory. */
int configure_apply(char *text, size_t length, struct buffer *result, bool *identity);

void configure_handle(struct request *request);
/* GET /v1/configured */
void configured_handle(struct request *request);
#endif
