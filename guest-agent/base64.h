#ifndef BASE64_H
#define BASE64_H
#include <stddef.h>
#include <sys/types.h>

/* Decodes RFC 4648 base64 (padding required, no white space) in place. Bytes decoded, or -1. */
ssize_t base64_decode(char *text, size_t length);
#endif
