#include "log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool console;

void log_to_console(void)
{
	console = true;
}

void log_line(const char *format, ...)
{
	char line[512];
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	size_t size = (size_t)length < sizeof line - 1 ? (size_t)length : sizeof line - 2;
	line[size++] = '\n';
	int fd = console ? open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC) : STDERR_FILENO;
	ssize_t written = write(fd < 0 ? STDERR_FILENO : fd, line, size);
	(void)written;
	if (console && fd >= 0)
		close(fd);
}
