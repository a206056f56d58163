#include "base64.h"

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

ssize_t base64_decode(char *text, size_t length)
{
	if (length % 4)
		return -1;
	size_t padding = 0;
	while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
		padding++;
	size_t out = 0;
	for (size_t i = 0; i < length; i += 4) {
		size_t known = i + 4 == length ? 4 - padding : 4;
		unsigned bits = 0;
		for (size_t j = 0; j < 4; j++) {
			int value = j < known ? value_of(text[i + j]) : 0;
			if (value < 0)
				return -1;
			bits = bits << 6 | (unsigned)value;
		}
		for (size_t j = 0; j + 1 < known; j++)
			text[out++] = (char)(bits >> (16 - 8 * j));
	}
	return (ssize_t)out;
}
