#include "frames.h"

bool frame_is_to_guest(unsigned char type)
{
	return type >= FRAME_STDIN && type <= FRAME_SIGNAL;
}

uint32_t frame_number(const unsigned char *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

uint32_t frame_length(const unsigned char *header)
{
	return frame_number(header + 1);
}

void frame_put_number(unsigned char *bytes, uint32_t number)
{
	bytes[0] = (unsigned char)(number >> 24);
	bytes[1] = (unsigned char)(number >> 16);
	bytes[2] = (unsigned char)(number >> 8);
	bytes[3] = (unsigned char)number;
}

void frame_put_header(unsigned char *header, enum frame_type type, uint32_t length)
{
	header[0] = (unsigned char)type;
	frame_put_number(header + 1, length);
}
