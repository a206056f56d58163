#include "exec_session.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "terminal.h"

void exec_close_input(struct exec *exec)
{
	exec->credit += (int64_t)(exec->input_end - exec->input_start);
	exec->input_start = exec->input_end = 0;
	if (exec->running.in >= 0 && !exec->tty)
		close(exec->running.in);
	exec->running.in = -1;
}

void exec_feed_input(struct exec *exec)
{
	ssize_t written = write(exec->running.in, exec->input + exec->input_start,
				exec->input_end - exec->input_start);
	if (written < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (written < 0) {
		exec_close_input(exec);
		return;
	}
	exec->input_start += (size_t)written;
	exec->credit += written;
	if (exec->input_start == exec->input_end) {
		exec->input_start = exec->input_end = 0;
		if (exec->input_eof && !exec->tty)
			exec_close_input(exec);
	}
}

/* False when the host exceeds the window: it has lost its way. */
static bool take_stdin(struct exec *exec, const unsigned char *payload, size_t length)
{
	size_t unconsumed = exec->input_end - exec->input_start;
	if (exec->running.in < 0 || (exec->input_eof && !exec->tty)) {
		exec->credit += (int64_t)length;
		return true;
	}
	if (unconsumed + length > sizeof exec->input)
		return false;
	memmove(exec->input, exec->input + exec->input_start, unconsumed);
	memcpy(exec->input + unconsumed, payload, length);
	exec->input_start = 0;
	exec->input_end = unconsumed + length;
	return true;
}

static void take_eof(struct exec *exec)
{
	if (exec->tty && exec->running.in >= 0) {
		unsigned char eof = terminal_eof(exec->running.in);
		if (take_stdin(exec, &eof, 1))
			exec->credit--;
		return;
	}
	exec->input_eof = true;
	if (exec->input_start == exec->input_end)
		exec_close_input(exec);
}

static void take_signal(struct exec *exec, int number)
{
	pid_t group = exec->tty ? terminal_foreground(exec->outputs[0].fd) : -1;
	if (!exec->ended && number > 0 && number < NSIG)
		kill(group > 0 ? -group : -exec->running.pid, number);
}

static bool take_frame(struct exec *exec, const unsigned char *frame, size_t length)
{
	const unsigned char *payload = frame + FRAME_HEADER;
	switch (frame[0]) {
	case FRAME_STDIN:
		return take_stdin(exec, payload, length);
	case FRAME_STDIN_EOF:
		take_eof(exec);
		return length == 0;
	case FRAME_RESIZE:
		if (length == 4 && exec->tty && exec->outputs[0].fd >= 0) {
			uint32_t size = frame_number(payload);
			terminal_resize(exec->outputs[0].fd, (unsigned short)(size >> 16),
					(unsigned short)size);
		}
		return length == 4;
	default:
		if (length == 1)
			take_signal(exec, payload[0]);
		return length == 1;
	}
}

bool exec_take_frames(struct exec *exec)
{
	struct connection *connection = exec->connection;
	while (connection_buffered(connection)) {
		const unsigned char *frame = connection->in + connection->start;
		if (!frame_is_to_guest(frame[0]))
			return false;
		size_t size = connection_buffered(connection), length = 0;
		if (size >= FRAME_HEADER)
			length = frame_length(frame);
		if (length > FRAME_LIMIT) {
			connection->resync = true;
			return false;
		}
		if (size < FRAME_HEADER + length) {
			if (!exec->frame_since || exec->frame_part != size) {
				exec->frame_since = clock_ms();
				exec->frame_part = size;
				exec->frame_quiet = false;
			}
			return true;
		}
		exec->frame_since = 0;
		bool good = take_frame(exec, frame, length);
		connection_consume(connection, FRAME_HEADER + length);
		if (!good) {
			connection->resync = true;
			return false;
		}
	}
	exec->frame_since = 0;
	return true;
}
