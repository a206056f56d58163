#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"

void connection_begin(struct connection *connection, int fd, bool serial)
{
	connection->fd = fd;
	connection->serial = serial;
	connection->closed = connection->resync = false;
	connection->start = connection->end = connection->tail_length = 0;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

size_t connection_buffered(const struct connection *connection)
{
	return connection->end - connection->start;
}

void connection_consume(struct connection *connection, size_t length)
{
	connection->start += length;
	if (connection->start == connection->end)
		connection->start = connection->end = 0;
}

static void remember(struct connection *connection, const unsigned char *data, size_t length)
{
	if (length >= CONNECTION_TAIL) {
		memcpy(connection->tail, data + length - CONNECTION_TAIL, CONNECTION_TAIL);
		connection->tail_length = CONNECTION_TAIL;
		return;
	}
	size_t kept = CONNECTION_TAIL - length;
	if (kept > connection->tail_length)
		kept = connection->tail_length;
	memmove(connection->tail, connection->tail + connection->tail_length - kept, kept);
	memcpy(connection->tail + kept, data, length);
	connection->tail_length = kept + length;
}

bool connection_rewind(struct connection *connection)
{
	static const char mark[] = "GET /healthz HTTP/1.1\r\n";
	unsigned char *tail = connection->tail, *found = NULL;
	size_t length = connection->tail_length;
	if (length < 4 || memcmp(tail + length - 4, "\r\n\r\n", 4) != 0)
		return false;
	for (size_t at = 0; at + sizeof mark - 1 <= length; at++)
		if (memcmp(tail + at, mark, sizeof mark - 1) == 0)
			found = tail + at;
	if (!found)
		return false;
	connection->start = 0;
	connection->end = length - (size_t)(found - tail);
	memcpy(connection->in, found, connection->end);
	return true;
}

enum arrival connection_read(struct connection *connection)
{
	if (connection->start) {
		memmove(connection->in, connection->in + connection->start,
			connection_buffered(connection));
		connection->end -= connection->start;
		connection->start = 0;
	}
	size_t room = sizeof connection->in - connection->end;
	if (!room)
		return ARRIVAL_NOTHING;
	ssize_t got = read(connection->fd, connection->in + connection->end, room);
	if (got > 0) {
		remember(connection, connection->in + connection->end, (size_t)got);
		connection->end += (size_t)got;
		return ARRIVAL_DATA;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return ARRIVAL_NOTHING;
	connection->closed = true;
	return ARRIVAL_CLOSED;
}

/* A serial port says HUP while bytes of the departed client are left; a socket's bytes count. */
static bool hung_up(const struct connection *connection, short events)
{
	if (events & (POLLERR | POLLNVAL))
		return true;
	return (events & POLLHUP) && (connection->serial || !(events & POLLIN));
}

enum arrival connection_fill(struct connection *connection, int timeout_ms)
{
	int64_t deadline = clock_ms() + timeout_ms;
	while (!connection->closed) {
		if (connection->end - connection->start == sizeof connection->in)
			return ARRIVAL_NOTHING;
		int64_t left = timeout_ms < 0 ? -1 : deadline - clock_ms();
		struct pollfd poll = { .fd = connection->fd, .events = POLLIN };
		int ready = children_poll(&poll, 1, left < 0 && timeout_ms >= 0 ? 0 : (int)left);
		if (ready < 0)
			children_reap();
		else if (ready == 0)
			return ARRIVAL_NOTHING;
		else if (hung_up(connection, poll.revents))
			connection->closed = true;
		else if (connection_read(connection) == ARRIVAL_DATA)
			return ARRIVAL_DATA;
	}
	return ARRIVAL_CLOSED;
}

bool connection_want(struct connection *connection, size_t wanted)
{
	while (connection_buffered(connection) < wanted) {
		enum arrival arrival = connection_fill(connection, CONNECTION_QUIET_MS);
		if (arrival == ARRIVAL_NOTHING && connection_rewind(connection))
			return false;
		if (arrival == ARRIVAL_NOTHING)
			arrival = connection_fill(connection, CONNECTION_STALL_MS - CONNECTION_QUIET_MS);
		if (arrival != ARRIVAL_DATA)
			return false;
	}
	return true;
}

size_t connection_write_some(struct connection *connection, const void *data, size_t length)
{
	ssize_t written = write(connection->fd, data, length);
	if (written >= 0)
		return (size_t)written;
	if (errno != EAGAIN && errno != EINTR)
		connection->closed = true;
	return 0;
}

bool connection_write(struct connection *connection, const void *data, size_t length)
{
	const char *at = data;
	while (length && !connection->closed) {
		size_t written = connection_write_some(connection, at, length);
		at += written;
		length -= written;
		if (written || connection->closed)
			continue;
		struct pollfd poll = { .fd = connection->fd, .events = POLLOUT };
		int ready = children_poll(&poll, 1, CONNECTION_WRITE_STALL_MS);
		if (ready < 0)
			children_reap();
		else if (ready == 0 || (poll.revents & (POLLERR | POLLHUP | POLLNVAL)))
			connection->closed = true;
	}
	return !connection->closed;
}
