/* A strict JSON reader (RFC 8259) with limits, and helpers to write JSON.
 *
 * Stricter than the RFC: at most 32 levels, 100,000 values, no NUL in a string, valid UTF-8. */
#ifndef JSON_H
#define JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
	enum json_type type;
	const char *key;	/* of a member of an object */
	struct json *next;	/* sibling */
	struct json *first;	/* child of an array or object */
	size_t count;		/* children */
	bool boolean;
	int64_t integer;
	char *text;		/* of a string, NUL-terminated */
	size_t length;
};

struct json_document;

/* Parses in place: strings point into `text`, which must outlive the document.
 * NULL with a reason in `*why` when the text isn't JSON or exceeds a limit. */
struct json_document *json_parse(char *text, size_t length, const char **why);
struct json *json_root(struct json_document *document);
void json_free(struct json_document *document);

/* The member called `key`, or NULL (also when `object` isn't an object). */
struct json *json_get(const struct json *object, const char *key);

/* Appends `text` as a JSON string with its quotes. Bytes that aren't UTF-8 become U+FFFD. */
void json_write_string(struct buffer *buffer, const char *text);
#endif
