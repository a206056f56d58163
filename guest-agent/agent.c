#include "agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "children.h"
#include "clock.h"
#include "freeze.h"
#include "log.h"
#include "memory.h"
#include "serial.h"
#include "state.h"
#include "uevents.h"
#include "virtio.h"
#include "vsock.h"

enum {
	BACKOFF_FIRST_MS = 100,
	BACKOFF_LAST_MS = 10000,
	HEALTHY_MS = 30000,	/* a worker that lived so long starts with the first backoff again */
	PORTS_STEP_MS = 5,	/* ports and their names come by messages of the device */
	PORTS_PATIENCE_MS = 200,
	SETTLED_MS = 15000,	/* a guest is up by then, emulated ones too */
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
static int uevents = -1;

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
		/* A template is stopped before it sees its client leave: the copy does, with the request
		   of its own host behind. Who had it frozen left nothing. */
		if (!freeze_was_last())
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
	if (uevents >= 0)
		close(uevents);
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

/* Opens a port if it has appeared. Is it open? */
static bool open_port(int index)
{
	struct worker *worker = &workers[index];
	char path[SERIAL_NAME_SIZE];
	if (worker->fd < 0 && serial_find(index, path)) {
		worker->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		worker->start_at = worker->backoff_ms = 0;
	}
	return worker->fd >= 0;
}

static int open_ports(void)
{
	int count = 0;
	for (int i = 0; i < STATE_SERIAL_PORTS; i++)
		count += open_port(i);
	return count;
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
		/* Another of that name may have come meanwhile. */
		open_port(slot);
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

static void open_first_ports(void)
{
	int64_t end = clock_ms() + PORTS_PATIENCE_MS;
	int before = 0, now = 0;
	if (!virtio_present(VIRTIO_CONSOLE, VIRTIO_ANY))
		return;
	/* Until there are some; with nothing to tell of later ones, until no more have come for a step. */
	while (now < STATE_SERIAL_PORTS && clock_ms() < end) {
		before = now;
		now = open_ports();
		if (now && (now == before || uevents >= 0))
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

/* Does what is due: starts workers, and once gives memory back. Milliseconds to the next, -1: nothing. */
static int do_due(int stage, int64_t *settled_at)
{
	int64_t now = clock_ms();
	if (*settled_at && *settled_at <= now) {
		memory_give_back();
		*settled_at = 0;
	}
	int64_t next = *settled_at ? *settled_at - now : -1;
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
	int stage = options->stage;
	int64_t settled_at = 0;
	for (int i = 0; i < STATE_SLOTS; i++)
		workers[i].fd = -1;
	/* Without the device, asking for the socket family makes the kernel look for its module. */
	if (!options->serial || virtio_present(VIRTIO_VSOCK, VIRTIO_ANY))
		listener = vsock_listen();
	if (options->serial) {
		uevents = uevents_open();
		open_first_ports();
	}
	do_due(stage, &settled_at);
	if (options->ready >= 0) {
		ssize_t written = write(options->ready, "R", 1);
		(void)written;
		close(options->ready);
	}
	for (;;) {
		struct pollfd fds[3] = { { .fd = listener, .events = POLLIN },
					 { .fd = stage, .events = POLLIN },
					 { .fd = uevents, .events = POLLIN } };
		if (children_poll(fds, 3, do_due(stage, &settled_at)) < 0) {
			reap();
			continue;
		}
		if (fds[0].revents)
			accept_one(stage);
		if (fds[1].revents) {
			close(stage);
			stage = -1;
			state_enter_system_stage();
			settled_at = clock_ms() + SETTLED_MS;
		}
		if (fds[2].revents && uevents_concern(uevents, "virtio-ports"))
			open_ports();
	}
}
