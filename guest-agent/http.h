/* HTTP/1.1 requests and replies on a connection, and how to find the way back after a mess. */
#ifndef HTTP_H
#define HTTP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buffer.h"
#include "connection.h"

enum { HTTP_HEAD_LIMIT = 16 * 1024, HTTP_JSON_LIMIT = 4 * 1024 * 1024, HTTP_ID_LIMIT = 64 };

struct request {
	struct connection *connection;
	char *method;		/* these point into `head` */
	char *path;		/* not decoded, without the query */
	char *query;		/* not decoded, "" when there is none */
	bool close;		/* Connection: close */
	bool upgrade;		/* Upgrade: banger-exec */
	bool has_length;
	bool chunked;
	uint64_t body_left;	/* bytes of the body not yet taken from the connection */
	char id[HTTP_ID_LIMIT + 1];
	char head[HTTP_HEAD_LIMIT + 1];
};

/* Waits for the next request, answering PINGs and malformed heads itself. False: closed. */
bool http_next(struct connection *connection, struct request *request);

/* Reads a JSON body of at most HTTP_JSON_LIMIT bytes into a new NUL-terminated text.
 * False when a reply with the reason was sent or the connection closed. */
bool http_json_body(struct request *request, struct buffer *body);
/* Takes up to `size` bytes of the body; 0 at its end; -1 when the connection closed or stalled. */
ssize_t http_body_read(struct request *request, void *data, size_t size);
/* Discards what is left of the body. False when the stream is no longer usable. */
bool http_body_skip(struct request *request);

/* A query parameter, percent-decoded into `value`. 0: present, ENOENT: absent,
 * EINVAL: malformed (a bad escape, a NUL, or longer than `size`). */
int http_parameter(const struct request *request, const char *name, char *value, size_t size);

/* Sends status line and headers; `length` < 0: no body can follow. `extra` is whole header lines. */
void http_head(struct request *request, int status, const char *type, int64_t length,
	       const char *extra);
/* Sends a JSON reply and frees `body`. */
void http_reply(struct request *request, int status, struct buffer *body);
void http_reply_empty_object(struct request *request, int status);
void http_error(struct request *request, int status, int number, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* The status the protocol gives to an errno: 404, 409, 413 or 422. */
int http_status_of(int number);
#endif
