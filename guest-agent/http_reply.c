#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "json.h"

static const char *reason_of(int status)
{
	static const struct { int status; const char *reason; } reasons[] = {
		{ 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" },
		{ 202, "Accepted" }, { 204, "No Content" }, { 207, "Multi-Status" },
		{ 400, "Bad Request" }, { 404, "Not Found" }, { 405, "Method Not Allowed" },
		{ 408, "Request Timeout" }, { 409, "Conflict" }, { 411, "Length Required" },
		{ 413, "Content Too Large" }, { 422, "Unprocessable Content" },
		{ 426, "Upgrade Required" }, { 431, "Request Header Fields Too Large" },
	};
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Internal Server Error";
}

static void write_head(struct buffer *out, const struct request *request, int status,
		       const char *type, int64_t length, const char *extra)
{
	buffer_printf(out, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
	if (length >= 0)
		buffer_printf(out, "Content-Type: %s\r\nContent-Length: %" PRId64 "\r\n", type, length);
	if (request->id[0])
		buffer_printf(out, "X-Request-Id: %s\r\n", request->id);
	if (request->close && !request->connection->serial)
		buffer_text(out, "Connection: close\r\n");
	buffer_printf(out, "%s\r\n", extra ? extra : "");
}

void http_head(struct request *request, int status, const char *type, int64_t length,
	       const char *extra)
{
	struct buffer out = { 0 };
	write_head(&out, request, status, type, length, extra);
	if (out.failed)
		request->connection->closed = true;
	else
		connection_write(request->connection, out.data, out.length);
	buffer_free(&out);
}

void http_reply(struct request *request, int status, struct buffer *body)
{
	if (body->failed) {
		buffer_free(body);
		buffer_text(body, "{\"error\":\"out of memory\",\"errno\":12}");
		status = 422;
	}
	struct buffer out = { 0 };
	write_head(&out, request, status, "application/json", (int64_t)body->length, NULL);
	buffer_append(&out, body->data ? body->data : "", body->length);
	if (out.failed)
		request->connection->closed = true;
	else
		connection_write(request->connection, out.data, out.length);
	buffer_free(&out);
	buffer_free(body);
}

void http_reply_empty_object(struct request *request, int status)
{
	struct buffer body = { 0 };
	buffer_text(&body, "{}");
	http_reply(request, status, &body);
}

void http_error(struct request *request, int status, int number, const char *format, ...)
{
	char message[1024];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	struct buffer body = { 0 };
	buffer_text(&body, "{\"error\":");
	json_write_string(&body, message);
	buffer_printf(&body, ",\"errno\":%d}", number);
	http_reply(request, status, &body);
}

int http_status_of(int number)
{
	switch (number) {
	case ENOENT:
		return 404;
	case EISDIR:
	case ENOTDIR:
	case EEXIST:
		return 409;
	case EFBIG:
		return 413;
	default:
		return 422;
	}
}
