#ifndef UTF8_H
#define UTF8_H
#include <stddef.h>
#include <stdint.h>

/* Length of the valid UTF-8 sequence (RFC 3629) at `text`, 1 to 4; 0 when there is none. */
size_t utf8_sequence(const char *text, size_t available);
/* Writes a code point below 0x110000; returns the 1 to 4 bytes written. */
size_t utf8_encode(uint32_t code, char *out);
#endif
