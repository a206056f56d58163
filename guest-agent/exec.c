#include "exec.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"
#include "exec_session.h"
#include "session.h"
#include "state.h"

static void reap(struct exec *exec)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != exec->running.pid)
			continue;
		exec->ended = true;
		exec->status = status;
		exec->deadline = 0;
		for (int i = 0; i < 2; i++) {
			int waiting = 0;
			struct output *output = &exec->outputs[i];
			output->last_words = LAST_WORDS;
			/* A child left behind may write for ever: send only what is there now. */
			if (!exec->tty && output->fd >= 0 && ioctl(output->fd, FIONREAD, &waiting) == 0)
				output->last_words = (size_t)waiting;
		}
	}
}

static void check_deadline(struct exec *exec)
{
	int64_t now = clock_ms();
	if (!exec->deadline || now < exec->deadline)
		return;
	session_signal(exec->running.pid, exec->timed_out ? SIGKILL : SIGTERM);
	exec->timed_out = true;
	exec->deadline = now + KILL_GRACE_MS;
}

static int until(int64_t first, int64_t second)
{
	if (!first || (second && second < first))
		first = second;
	int64_t left = first ? first - clock_ms() : -1;
	return !first ? -1 : left < 0 ? 0 : (int)left;
}

static void wait_for_something(struct exec *exec)
{
	struct connection *connection = exec->connection;
	struct pollfd fds[4] = { { .fd = connection->fd, .events = POLLIN } };
	bool input = exec->running.in >= 0 && exec->input_end > exec->input_start;
	int64_t stall = !exec->frame_since ? 0 : exec->frame_since +
		(exec->frame_quiet ? CONNECTION_STALL_MS : CONNECTION_QUIET_MS);
	if (exec->out_end > exec->out_start)
		fds[0].events |= POLLOUT;
	for (int i = 0; i < 2; i++)
		fds[1 + i] = (struct pollfd){
			.fd = exec_wants_output(exec, &exec->outputs[i]) ? exec->outputs[i].fd : -1,
			.events = POLLIN };
	fds[3] = (struct pollfd){ .fd = input ? exec->running.in : -1, .events = POLLOUT };
	int timeout = until(exec->deadline, stall);
	/* What a dead command left behind is read without waiting for more of it. */
	bool last_words = exec->ended && (fds[1].fd >= 0 || fds[2].fd >= 0);
	int ready = children_poll(fds, 4, last_words ? 0 : timeout);
	if (ready < 0)
		return;
	if ((fds[0].revents & (POLLERR | POLLNVAL)) ||
	    ((fds[0].revents & POLLHUP) && (connection->serial || !(fds[0].revents & POLLIN))))
		connection->closed = true;
	else if (fds[0].revents & POLLIN)
		connection_read(connection);
	for (int i = 0; i < 2; i++)
		if (fds[1 + i].fd >= 0 && (fds[1 + i].revents || last_words) &&
		    exec_wants_output(exec, &exec->outputs[i]))
			exec_take_output(exec, &exec->outputs[i]);
	if (fds[3].revents && exec->running.in >= 0)
		exec_feed_input(exec);
	if (stall && clock_ms() >= stall && !(fds[0].revents & POLLIN)) {
		if (exec->frame_quiet || connection_rewind(connection))
			exec->lost = connection->resync = true;
		exec->frame_quiet = true;
	}
}

static void run(struct exec *exec)
{
	for (;;) {
		reap(exec);
		check_deadline(exec);
		exec->lost |= !exec_take_frames(exec);
		exec_tell_credit(exec);
		if (exec->out_end > exec->out_start)
			exec_flush(exec);
		if (exec->lost || exec->connection->closed)
			break;
		if (exec->ended && exec->outputs[0].fd < 0 && exec->outputs[1].fd < 0) {
			exec_finish(exec);
			break;
		}
		wait_for_something(exec);
	}
	if (!exec->ended)
		session_hang_up(exec->running.pid);
}

static void begin(struct exec *exec, struct request *request, const struct exec_request *wanted,
		  const struct running *running)
{
	exec->connection = request->connection;
	exec->running = *running;
	exec->tty = wanted->command.tty;
	exec->outputs[0] = (struct output){ .fd = running->out, .type = FRAME_STDOUT };
	exec->outputs[1] = (struct output){ .fd = exec->tty ? -1 : running->err, .type = FRAME_STDERR };
	if (wanted->timeout_ms)
		exec->deadline = clock_ms() + wanted->timeout_ms;
}

static void serve(struct request *request, const struct exec_request *wanted)
{
	struct running running;
	char why[512];
	struct exec *exec = calloc(1, sizeof *exec);
	if (!exec) {
		http_error(request, 422, ENOMEM, "no memory for a command");
		return;
	}
	int error = command_start(&wanted->command, &running, why, sizeof why);
	if (error) {
		http_error(request, 422, error, "%s", why);
	} else {
		state_set_busy(true);
		begin(exec, request, wanted, &running);
		http_head(request, 101, NULL, -1, "Connection: Upgrade\r\nUpgrade: banger-exec\r\n");
		run(exec);
		state_set_busy(false);
		if (exec->running.in >= 0 && !exec->tty)
			close(exec->running.in);
		for (int i = 0; i < 2; i++)
			if (exec->outputs[i].fd >= 0)
				close(exec->outputs[i].fd);
		if (exec->tty && exec->outputs[0].fd < 0)
			close(running.in);
	}
	free(exec);
}

void exec_handle(struct request *request)
{
	struct exec_request wanted;
	struct buffer body = { 0 };
	char why[512];
	int number;
	if (!http_json_body(request, &body))
		return;
	int status = exec_request_parse(body.data, body.length, &wanted, why, sizeof why, &number);
	if (!status && !request->upgrade) {
		status = 426;
		snprintf(why, sizeof why, "exec needs the header Upgrade: banger-exec");
	}
	if (status)
		http_error(request, status, number, "%s", why);
	else
		serve(request, &wanted);
	exec_request_free(&wanted);
	buffer_free(&body);
}
