/* A program of the image, run to its end for what it prints. */
#ifndef PROGRAM_H
#define PROGRAM_H
#include <stdint.h>

#include "buffer.h"

enum { PROGRAM_OUTPUT_LIMIT = 256 * 1024 };

/* Runs `argv` as root with nothing to read, its errors thrown away. What it printed is appended to
 * `output` (NULL: thrown away too). Its exit code; -1 when it couldn't be started, was killed,
 * printed too much, or had not ended at `deadline` (of clock_ms; it is killed then). */
int program_run(char *const argv[], struct buffer *output, int64_t deadline);
#endif
