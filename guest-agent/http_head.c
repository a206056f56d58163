#include "http_head.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_token(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (!isalnum((unsigned char)*text) && !strchr("!#$%&'*+-.^_`|~", *text))
			return false;
	return true;
}

static bool is_visible(const char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
			return false;
	return true;
}

/* Does a comma-separated header value hold this word? */
static bool lists(const char *value, const char *word)
{
	size_t length = strlen(word);
	while (*value) {
		value += strspn(value, " \t,");
		size_t item = strcspn(value, " \t,");
		if (item == length && strncasecmp(value, word, length) == 0)
			return true;
		value += item;
	}
	return false;
}

static const char *take_length(struct request *request, const char *value)
{
	size_t digits = strspn(value, "0123456789");
	if (!digits || value[digits] || digits > 18)
		return "bad Content-Length";
	uint64_t length = strtoull(value, NULL, 10);
	if (request->has_length && length != request->body_left)
		return "contradicting Content-Length headers";
	request->has_length = true;
	request->body_left = length;
	return NULL;
}

static const char *take_id(struct request *request, const char *value)
{
	size_t length = strlen(value);
	if (!length || length > HTTP_ID_LIMIT)
		return "bad X-Request-Id";
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)value[i]) && value[i] != '-')
			return "bad X-Request-Id";
	strcpy(request->id, value);
	return NULL;
}

static const char *take_header(struct request *request, char *line)
{
	char *value = strchr(line, ':');
	if (!value)
		return "a header line without a colon";
	*value++ = '\0';
	value += strspn(value, " \t");
	for (size_t n = strlen(value); n && (value[n - 1] == ' ' || value[n - 1] == '\t'); n--)
		value[n - 1] = '\0';
	if (!is_token(line) || !is_visible(value))
		return "a malformed header";
	if (strcasecmp(line, "content-length") == 0)
		return take_length(request, value);
	if (strcasecmp(line, "x-request-id") == 0)
		return take_id(request, value);
	if (strcasecmp(line, "transfer-encoding") == 0)
		request->chunked = true;
	if (strcasecmp(line, "connection") == 0 && lists(value, "close"))
		request->close = true;
	if (strcasecmp(line, "upgrade") == 0 && lists(value, "banger-exec"))
		request->upgrade = true;
	return NULL;
}

static const char *take_request_line(struct request *request, char *line)
{
	char *target = strchr(line, ' ');
	char *version = target ? strchr(target + 1, ' ') : NULL;
	if (!version)
		return "a malformed request line";
	*target++ = *version++ = '\0';
	if (!is_token(line) || *target != '/' || !is_visible(target) || strchr(target, '\t'))
		return "a malformed request line";
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return "not HTTP/1.1";
	if (version[7] == '0')
		request->close = true;
	request->method = line;
	request->path = target;
	request->query = strchr(target, '?');
	if (request->query)
		*request->query++ = '\0';
	else
		request->query = target + strlen(target);
	return NULL;
}

const char *http_head_parse(struct request *request, size_t length)
{
	if (memchr(request->head, '\0', length))
		return "a NUL in the head";
	const char *why = NULL;
	char *line = request->head;
	while (!why) {
		char *end = strstr(line, "\r\n");
		if (!end || end == line)
			break;
		*end = '\0';
		why = line == request->head ? take_request_line(request, line) :
			take_header(request, line);
		line = end + 2;
	}
	if (!why && !request->method)
		why = "a malformed request line";
	return why;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *from, size_t length, char *value, size_t size)
{
	size_t out = 0;
	for (size_t i = 0; i < length; i++) {
		char c = from[i];
		if (c == '%') {
			if (length - i < 3 || hex(from[i + 1]) < 0 || hex(from[i + 2]) < 0)
				return EINVAL;
			c = (char)(hex(from[i + 1]) << 4 | hex(from[i + 2]));
			i += 2;
		}
		if (!c || out + 1 >= size)
			return EINVAL;
		value[out++] = c;
	}
	value[out] = '\0';
	return 0;
}

int http_parameter(const struct request *request, const char *name, char *value, size_t size)
{
	size_t name_length = strlen(name);
	for (const char *at = request->query; *at;) {
		size_t length = strcspn(at, "&");
		if (length > name_length && at[name_length] == '=' && !memcmp(at, name, name_length))
			return decode(at + name_length + 1, length - name_length - 1, value, size);
		at += length;
		at += *at == '&';
	}
	return ENOENT;
}
