#include "exec_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t room(struct exec *exec)
{
	if (exec->out_start && exec->out_end > OUT_SIZE / 2) {
		memmove(exec->out, exec->out + exec->out_start, exec->out_end - exec->out_start);
		exec->out_end -= exec->out_start;
		exec->out_start = 0;
	}
	return OUT_SIZE - exec->out_end;
}

static void put_frame(struct exec *exec, enum frame_type type, const void *payload, size_t length)
{
	if (room(exec) < FRAME_HEADER + length)
		return;
	frame_put_header(exec->out + exec->out_end, type, (uint32_t)length);
	memcpy(exec->out + exec->out_end + FRAME_HEADER, payload, length);
	exec->out_end += FRAME_HEADER + length;
}

void exec_tell_credit(struct exec *exec)
{
	unsigned char payload[4];
	bool drained = exec->input_start == exec->input_end;
	if (exec->credit <= 0 || (exec->credit < CREDIT_STEP && !drained) || room(exec) < OUT_RESERVE / 2)
		return;
	frame_put_number(payload, (uint32_t)exec->credit);
	put_frame(exec, FRAME_STDIN_CREDIT, payload, sizeof payload);
	exec->credit = 0;
}

static void end_output(struct exec *exec, struct output *output)
{
	if (!exec->tty)
		close(output->fd);
	else
		exec_close_input(exec);
	output->fd = -1;
}

bool exec_wants_output(struct exec *exec, const struct output *output)
{
	return output->fd >= 0 && room(exec) > FRAME_HEADER + CHUNK + OUT_RESERVE;
}

void exec_take_output(struct exec *exec, struct output *output)
{
	unsigned char *frame = exec->out + exec->out_end;
	size_t limit = exec->ended && output->last_words < CHUNK ? output->last_words : CHUNK;
	ssize_t got = limit ? read(output->fd, frame + FRAME_HEADER, limit) : 0;
	if (got < 0 && (errno == EINTR || (errno == EAGAIN && !exec->ended)))
		return;
	/* A terminal's master says EIO when no process has the other side open any more. */
	if (got <= 0) {
		end_output(exec, output);
		return;
	}
	frame_put_header(frame, output->type, (uint32_t)got);
	exec->out_end += FRAME_HEADER + (size_t)got;
	if (exec->ended)
		output->last_words -= (size_t)got;
}

void exec_flush(struct exec *exec)
{
	exec->out_start += connection_write_some(exec->connection, exec->out + exec->out_start,
						 exec->out_end - exec->out_start);
	if (exec->out_start == exec->out_end)
		exec->out_start = exec->out_end = 0;
}

void exec_finish(struct exec *exec)
{
	char text[96];
	bool signalled = WIFSIGNALED(exec->status);
	int length = snprintf(text, sizeof text, "{\"code\":%d,\"signal\":%d,\"timed_out\":%s}",
			      signalled ? -1 : WEXITSTATUS(exec->status),
			      signalled ? WTERMSIG(exec->status) : 0,
			      exec->timed_out ? "true" : "false");
	put_frame(exec, FRAME_EXIT, text, (size_t)length);
	connection_write(exec->connection, exec->out + exec->out_start, exec->out_end - exec->out_start);
}
