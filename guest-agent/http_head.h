#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H
#include "http.h"

/* Parses `request->head` in place. NULL, or what is wrong with it. */
const char *http_head_parse(struct request *request, size_t length);
#endif
