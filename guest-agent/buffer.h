/* A growable byte buffer. Out of memory sets `failed`; later appends do nothing. */
#ifndef BUFFER_H
#define BUFFER_H
#include <stdbool.h>
#include <stddef.h>

struct buffer {
	char *data;
	size_t length;
	size_t capacity;
	bool failed;
};

/* Makes room for `extra` more bytes; false when there is no memory. */
bool buffer_reserve(struct buffer *buffer, size_t extra);
void buffer_append(struct buffer *buffer, const void *data, size_t length);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_printf(struct buffer *buffer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void buffer_free(struct buffer *buffer);

/* Reads a whole file of at most `limit` bytes. 0, or an errno (EFBIG: larger). */
int buffer_read_file(struct buffer *buffer, int fd, size_t limit);
/* The same for a path; text files of /proc and /sys included. */
int buffer_read_path(struct buffer *buffer, const char *path, size_t limit);
#endif
