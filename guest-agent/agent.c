#include "agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "children.h"
#include "clock.h"
#include "log.h"
#include "serial.h"
#include "state.h"
#include "vsock.h"

enum {
	BACKOFF_FIRST_MS = 100,
	BACKOFF_LAST_MS = 10000,
	HEALTHY_MS = 30000,	/* a worker that lived so long starts with the first backoff again */
	PORTS_STEP_MS = 5,	/* ports and their names come by messages of the device */
	PORTS_PATIENCE_MS = 200,
};

enum { EXIT_PORT_GONE = 3 };

struct worker {
	int fd;			/* a serial port, kept open over its workers' lives; -1: none */
	pid_t pid;		/* 0: not running */
	int64_t started;
	int64_t start_at;	/* when to start it again; 0: not due */
	int backoff_ms;
};

/* The first are the serial ports', by index; the others those of vsock connections. */
static struct worker workers[STATE_SLOTS];
static int listener = -1;

static struct connection connection;

void agent_serve_stream(int fd, bool serial)
{
	connection_begin(&connection, fd, serial);
	api_serve(&connection);
}

static void serve_port(int fd)
{
	serial_own(fd);
	while (serial_wait_host(fd)) {
		agent_serve_stream(fd, true);
		serial_drain(fd);
	}
	_exit(EXIT_PORT_GONE);
}

/* A worker keeps nothing of its siblings': a port stays busy as long as anyone has it open. */
static void close_others(int slot)
{
	for (int i = 0; i < STATE_SLOTS; i++)
		if (i != slot && workers[i].fd >= 0)
			close(workers[i].fd);
	if (listener >= 0)
		close(listener);
}

static void start(int slot, int stage)
{
	struct worker *worker = &workers[slot];
	bool serial = slot < STATE_SERIAL_PORTS;
	worker->start_at = 0;
	worker->started = clock_ms();
	worker->pid = fork();
	if (worker->pid == 0) {
		close_others(slot);
		if (stage >= 0)
			close(stage);
		state_use_slot(slot);
		if (serial)
			serve_port(worker->fd);
		agent_serve_stream(worker->fd, false);
		_exit(0);
	}
	if (worker->pid < 0) {
		worker->pid = 0;
		worker->start_at = clock_ms() + BACKOFF_LAST_MS;
	}
	if (!serial) {
		close(worker->fd);
		worker->fd = -1;
	}
}

static void ended(struct worker *worker, int status)
{
	int64_t now = clock_ms();
	int slot = (int)(worker - workers);
	worker->pid = 0;
	atomic_store(&state->in_slot[slot], false);
	if (slot >= STATE_SERIAL_PORTS)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_PORT_GONE) {
		close(worker->fd);
		worker->fd = -1;
		return;
	}
	if (now - worker->started > HEALTHY_MS || !worker->backoff_ms)
		worker->backoff_ms = BACKOFF_FIRST_MS;
	else if (worker->backoff_ms < BACKOFF_LAST_MS)
		worker->backoff_ms *= 2;
	worker->start_at = now + worker->backoff_ms;
	log_line("banger-agent: the worker of port %d ended (status %#x); again in %d ms", slot,
		 (unsigned)status, worker->backoff_ms);
}

static void reap(void)
{
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (int i = 0; i < STATE_SLOTS; i++)
			if (workers[i].pid == pid)
				ended(&workers[i], status);
}

/* Opens the ports that have appeared. */
static int open_ports(void)
{
	int count = 0;
	char path[SERIAL_NAME_SIZE];
	for (int i = 0; i < STATE_SERIAL_PORTS; i++) {
		if (workers[i].fd < 0 && serial_find(i, path))
			workers[i].fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		count += workers[i].fd >= 0;
	}
	return count;
}

static void open_first_ports(void)
{
	int64_t end = clock_ms() + PORTS_PATIENCE_MS;
	int before = 0, now = 0;
	if (!serial_expected())
		return;
	/* Until there are some, and no more have come for a step. */
	while (now < STATE_SERIAL_PORTS && clock_ms() < end) {
		before = now;
		now = open_ports();
		if (now && now == before)
			return;
		clock_sleep_ms(PORTS_STEP_MS);
	}
}

static void accept_one(int stage)
{
	int fd = vsock_accept(listener);
	if (fd < 0)
		return;
	for (int i = STATE_SERIAL_PORTS; i < STATE_SLOTS; i++)
		if (!workers[i].pid) {
			workers[i].fd = fd;
			start(i, stage);
			return;
		}
	close(fd);
}

/* Starts the workers that are due. Milliseconds to the next, -1: none. */
static int start_due(int stage)
{
	int64_t next = -1, now = clock_ms();
	for (int i = 0; i < STATE_SERIAL_PORTS; i++) {
		struct worker *worker = &workers[i];
		if (worker->fd < 0 || worker->pid)
			continue;
		if (worker->start_at <= now)
			start(i, stage);
		else if (next < 0 || worker->start_at - now < next)
			next = worker->start_at - now;
	}
	return (int)next;
}

void agent_run(const struct agent_options *options)
{
	/* When to look for ports that came late, since the start; then never again. */
	static const int looks_ms[] = { 50, 250, 1000, 5000, 30000 };
	size_t look = options->serial ? 0 : sizeof looks_ms / sizeof *looks_ms;
	int64_t begun = clock_ms();
	int stage = options->stage;
	for (int i = 0; i < STATE_SLOTS; i++)
		workers[i].fd = -1;
	listener = vsock_listen();
	if (options->serial)
		open_first_ports();
	start_due(stage);
	if (options->ready >= 0) {
		ssize_t written = write(options->ready, "R", 1);
		(void)written;
		close(options->ready);
	}
	for (;;) {
		int timeout = start_due(stage);
		if (look < sizeof looks_ms / sizeof *looks_ms) {
			int64_t left = begun + looks_ms[look] - clock_ms();
			if (left <= 0) {
				open_ports();
				look++;
				continue;
			}
			if (timeout < 0 || left < timeout)
				timeout = (int)left;
		}
		struct pollfd fds[2] = { { .fd = listener, .events = POLLIN },
					 { .fd = stage, .events = POLLIN } };
		if (children_poll(fds, 2, timeout) < 0) {
			reap();
			continue;
		}
		if (fds[0].revents)
			accept_one(stage);
		if (fds[1].revents) {
			close(stage);
			stage = -1;
			state_enter_system_stage();
		}
	}
}
