#include "buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool buffer_reserve(struct buffer *buffer, size_t extra)
{
	if (buffer->failed)
		return false;
	/* One byte more than asked for: the text is always NUL-terminated. */
	size_t needed = buffer->length + extra + 1;
	if (needed <= buffer->capacity)
		return true;
	size_t capacity = buffer->capacity ? buffer->capacity : 256;
	while (capacity < needed)
		capacity *= 2;
	char *data = realloc(buffer->data, capacity);
	if (!data) {
		buffer->failed = true;
		return false;
	}
	buffer->data = data;
	buffer->capacity = capacity;
	return true;
}

void buffer_append(struct buffer *buffer, const void *data, size_t length)
{
	if (!buffer_reserve(buffer, length))
		return;
	if (length)
		memcpy(buffer->data + buffer->length, data, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
}

void buffer_text(struct buffer *buffer, const char *text)
{
	buffer_append(buffer, text, strlen(text));
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	if (length < 0 || !buffer_reserve(buffer, (size_t)length))
		return;
	va_start(arguments, format);
	vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, arguments);
	va_end(arguments);
	buffer->length += (size_t)length;
}

void buffer_free(struct buffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof *buffer);
}

int buffer_read_file(struct buffer *buffer, int fd, size_t limit)
{
	for (;;) {
		if (!buffer_reserve(buffer, 4096))
			return ENOMEM;
		size_t room = buffer->capacity - buffer->length - 1;
		ssize_t got = read(fd, buffer->data + buffer->length, room);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno;
		buffer->length += (size_t)got;
		buffer->data[buffer->length] = '\0';
		if (buffer->length > limit)
			return EFBIG;
		if (got == 0)
			return 0;
	}
}

int buffer_read_path(struct buffer *buffer, const char *path, size_t limit)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return errno;
	int error = buffer_read_file(buffer, fd, limit);
	close(fd);
	return error;
}
