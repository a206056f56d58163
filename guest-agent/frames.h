/* The frames of an exec: type (1 byte), length (4 bytes, big endian), payload. */
#ifndef FRAMES_H
#define FRAMES_H
#include <stdbool.h>
#include <stdint.h>

enum frame_type {
	FRAME_STDIN = 0x01,
	FRAME_STDIN_EOF = 0x02,
	FRAME_RESIZE = 0x03,
	FRAME_SIGNAL = 0x04,
	FRAME_STDOUT = 0x11,
	FRAME_STDERR = 0x12,
	FRAME_STDIN_CREDIT = 0x13,
	FRAME_EXIT = 0x14,
};

enum { FRAME_HEADER = 5, FRAME_LIMIT = 65536, FRAME_STDIN_WINDOW = 262144 };

bool frame_is_to_guest(unsigned char type);
uint32_t frame_number(const unsigned char *bytes);
uint32_t frame_length(const unsigned char *header);
void frame_put_number(unsigned char *bytes, uint32_t number);
void frame_put_header(unsigned char *header, enum frame_type type, uint32_t length);
#endif
