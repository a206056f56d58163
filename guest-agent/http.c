#include "http.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "frames.h"
#include "http_head.h"

static const char resync_mark[] = "GET /healthz";

/* Discards everything before the next resync mark. */
static bool resynchronise(struct connection *connection)
{
	size_t mark = sizeof resync_mark - 1;
	while (connection->resync) {
		size_t size = connection_buffered(connection);
		unsigned char *start = connection->in + connection->start;
		unsigned char *found = size ? memmem(start, size, resync_mark, mark) : NULL;
		if (found) {
			connection_consume(connection, (size_t)(found - start));
			connection->resync = false;
		} else {
			if (size >= mark)
				connection_consume(connection, size - (mark - 1));
			if (connection_fill(connection, -1) == ARRIVAL_CLOSED)
				return false;
		}
	}
	return true;
}

/* A frame that crossed the command's exit on its way here. */
static bool skip_stale_frame(struct connection *connection)
{
	if (!connection_want(connection, FRAME_HEADER))
		return false;
	uint32_t length = frame_length(connection->in + connection->start);
	if (length > FRAME_LIMIT || !connection_want(connection, FRAME_HEADER + length)) {
		connection->resync = true;
		return false;
	}
	connection_consume(connection, FRAME_HEADER + length);
	return true;
}

/* Buffers a whole head. Its length, or 0 with `*status` set to what is wrong with it. */
static size_t take_head(struct connection *connection, int *status)
{
	for (;;) {
		unsigned char *start = connection->in + connection->start;
		size_t size = connection_buffered(connection);
		unsigned char *end = memmem(start, size, "\r\n\r\n", 4);
		if (end && (size_t)(end - start) + 4 <= HTTP_HEAD_LIMIT)
			return (size_t)(end - start) + 4;
		if (size >= HTTP_HEAD_LIMIT) {
			*status = 431;
			return 0;
		}
		enum arrival arrival = connection_fill(connection, CONNECTION_STALL_MS);
		if (arrival != ARRIVAL_DATA) {
			*status = 408;
			return 0;
		}
	}
}

enum ping { PING_NONE, PING_PARTIAL, PING_ANSWERED };

static enum ping take_ping(struct connection *connection)
{
	static const char *const forms[] = { "PING\n", "PING\r\n" };
	enum ping result = PING_NONE;
	for (size_t i = 0; i < 2; i++) {
		size_t length = strlen(forms[i]), size = connection_buffered(connection);
		size_t known = size < length ? size : length;
		if (memcmp(connection->in + connection->start, forms[i], known) != 0)
			continue;
		if (known == length) {
			connection_consume(connection, length);
			connection_write(connection, "PONG\n", 5);
			return PING_ANSWERED;
		}
		result = PING_PARTIAL;
	}
	return result;
}

/* A bad head is answered; then only GET /healthz is listened to, and a stream socket is closed. */
static void refuse_head(struct request *request, int status, const char *why)
{
	struct connection *connection = request->connection;
	request->close = true;
	http_error(request, status, 0, "%s", why);
	connection->resync = true;
}

static bool parse_request(struct connection *connection, struct request *request)
{
	int status = 0;
	enum ping ping;
	/* It holds no blank line, so look for it before waiting for a head's. */
	while ((ping = take_ping(connection)) == PING_PARTIAL)
		if (connection_fill(connection, CONNECTION_STALL_MS) != ARRIVAL_DATA)
			break;
	if (ping == PING_ANSWERED)
		return false;
	size_t length = take_head(connection, &status);
	if (!length) {
		refuse_head(request, status, status == 431 ? "request head too large" :
			    "the request's head stopped in the middle");
		/* Or the mark that begins this head would be found again. */
		connection_consume(connection, connection_buffered(connection) ? 1 : 0);
		return false;
	}
	char *start = (char *)connection->in + connection->start;
	/* The head of a client that went away, with its successor's first request in the middle. */
	char *torn = memmem(start + 1, length - 1, "GET /healthz HTTP/1.1", 21);
	if (torn) {
		connection_consume(connection, (size_t)(torn - start));
		return false;
	}
	memcpy(request->head, start, length);
	request->head[length] = '\0';
	connection_consume(connection, length);
	const char *why = http_head_parse(request, length);
	if (why) {
		refuse_head(request, 400, why);
		return false;
	}
	if (request->chunked) {
		refuse_head(request, 411, "chunked bodies are not supported");
		return false;
	}
	return true;
}

bool http_next(struct connection *connection, struct request *request)
{
	for (;;) {
		memset(request, 0, offsetof(struct request, head));
		request->connection = connection;
		if (connection->closed || (connection->resync && !connection->serial))
			return false;
		if (!resynchronise(connection))
			return false;
		if (!connection_buffered(connection)) {
			connection_fill(connection, -1);
			continue;
		}
		unsigned char first = connection->in[connection->start];
		if (first == '\r' || first == '\n') {
			connection_consume(connection, 1);
		} else if (frame_is_to_guest(first)) {
			skip_stale_frame(connection);
		} else if (first >= 'A' && first <= 'Z') {
			if (parse_request(connection, request))
				return true;
		} else {
			refuse_head(request, 400, "not an HTTP request");
		}
	}
}

ssize_t http_body_read(struct request *request, void *data, size_t size)
{
	struct connection *connection = request->connection;
	if (!request->body_left)
		return 0;
	/* Once given up, what is buffered is another client's. */
	if (connection->resync)
		return -1;
	if (!connection_want(connection, 1)) {
		connection->resync = true;
		return -1;
	}
	size_t length = connection_buffered(connection);
	if (length > size)
		length = size;
	if (length > request->body_left)
		length = (size_t)request->body_left;
	memcpy(data, connection->in + connection->start, length);
	connection_consume(connection, length);
	request->body_left -= length;
	return (ssize_t)length;
}

bool http_body_skip(struct request *request)
{
	enum { WORTH_READING = 64 * 1024 * 1024 };
	char scratch[16384];
	if (request->body_left > WORTH_READING) {
		request->connection->resync = true;
		return false;
	}
	ssize_t got;
	while ((got = http_body_read(request, scratch, sizeof scratch)) > 0)
		;
	return got == 0;
}

bool http_json_body(struct request *request, struct buffer *body)
{
	if (!request->has_length) {
		http_error(request, 411, 0, "Content-Length is missing");
		return false;
	}
	if (request->body_left > HTTP_JSON_LIMIT) {
		http_error(request, 413, EFBIG, "the body is over %d bytes", HTTP_JSON_LIMIT);
		return false;
	}
	if (!buffer_reserve(body, (size_t)request->body_left)) {
		http_error(request, 422, ENOMEM, "no memory for the body");
		return false;
	}
	ssize_t got;
	while ((got = http_body_read(request, body->data + body->length,
				     body->capacity - body->length - 1)) > 0)
		body->length += (size_t)got;
	if (got < 0) {
		http_error(request, 408, 0, "the request's body stopped in the middle");
		buffer_free(body);
		return false;
	}
	body->data[body->length] = '\0';
	return true;
}
