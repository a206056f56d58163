/* One byte stream to the host: a virtio-serial port, a vsock connection or a socket. */
#ifndef CONNECTION_H
#define CONNECTION_H
#include <stdbool.h>
#include <stddef.h>

enum {
	/* Holds a whole frame (5 + 65,536 bytes) or request head (16 KiB). */
	CONNECTION_BUFFER = 80 * 1024,
	/* A request or frame whose bytes stop coming for so long is dropped. */
	CONNECTION_STALL_MS = 10000,
	/* When it holds a whole GET /healthz at its end, its sender is another client by then. */
	CONNECTION_QUIET_MS = 250,
	CONNECTION_TAIL = 512,
	/* A host that stays connected and reads nothing for so long is given up. */
	CONNECTION_WRITE_STALL_MS = 60000,
};

enum arrival { ARRIVAL_DATA, ARRIVAL_NOTHING, ARRIVAL_CLOSED };

struct connection {
	int fd;			/* non-blocking */
	bool serial;		/* a virtio-serial port: it outlives its clients */
	bool closed;		/* the host's end is closed */
	bool resync;		/* discard everything up to the next GET /healthz */
	size_t start, end;	/* unread bytes: in[start..end) */
	size_t tail_length;	/* the last bytes that came, consumed or not */
	unsigned char tail[CONNECTION_TAIL];
	unsigned char in[CONNECTION_BUFFER];
};

void connection_begin(struct connection *connection, int fd, bool serial);
size_t connection_buffered(const struct connection *connection);
/* Waits up to `timeout_ms` (-1: for ever) for more bytes and buffers them. Children that
 * end meanwhile are reaped. ARRIVAL_NOTHING: the time is over, or the buffer is full. */
enum arrival connection_fill(struct connection *connection, int timeout_ms);
/* Until `wanted` bytes are buffered; false when the stream closed, stalled or was rewound. */
bool connection_want(struct connection *connection, size_t wanted);
/* When the last bytes that came are a whole GET /healthz, only they are left in the buffer. */
bool connection_rewind(struct connection *connection);
void connection_consume(struct connection *connection, size_t length);
/* Reads what is there, without waiting. */
enum arrival connection_read(struct connection *connection);
/* Writes what fits, without waiting. Bytes written; sets `closed` when the host is gone. */
size_t connection_write_some(struct connection *connection, const void *data, size_t length);
/* Writes everything; false when the host's end closed or reads nothing. */
bool connection_write(struct connection *connection, const void *data, size_t length);
#endif
