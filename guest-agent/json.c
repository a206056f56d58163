#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

enum { MAX_DEPTH = 32, MAX_VALUES = 100000, CHUNK_VALUES = 128 };

struct chunk {
	struct chunk *next;
	size_t used;
	struct json values[CHUNK_VALUES];
};

struct json_document {
	struct chunk *chunks;
	size_t values;
	struct json *root;
};

struct parser {
	struct json_document *document;
	char *at;
	char *end;
	const char *why;
};

static struct json *fail(struct parser *parser, const char *why)
{
	if (!parser->why)
		parser->why = why;
	return NULL;
}

static struct json *new_value(struct parser *parser, enum json_type type)
{
	struct json_document *document = parser->document;
	if (++document->values > MAX_VALUES)
		return fail(parser, "too many values");
	if (!document->chunks || document->chunks->used == CHUNK_VALUES) {
		struct chunk *chunk = calloc(1, sizeof *chunk);
		if (!chunk)
			return fail(parser, "out of memory");
		chunk->next = document->chunks;
		document->chunks = chunk;
	}
	struct json *value = &document->chunks->values[document->chunks->used++];
	value->type = type;
	return value;
}

static void skip_space(struct parser *parser)
{
	while (parser->at < parser->end && (*parser->at == ' ' || *parser->at == '\t' ||
					    *parser->at == '\n' || *parser->at == '\r'))
		parser->at++;
}

static bool take(struct parser *parser, char c)
{
	skip_space(parser);
	if (parser->at == parser->end || *parser->at != c)
		return false;
	parser->at++;
	return true;
}

static bool take_word(struct parser *parser, const char *word)
{
	size_t length = strlen(word);
	if ((size_t)(parser->end - parser->at) < length || memcmp(parser->at, word, length) != 0)
		return false;
	parser->at += length;
	return true;
}

static bool take_hex4(struct parser *parser, uint32_t *code)
{
	if (parser->end - parser->at < 4)
		return false;
	*code = 0;
	for (int i = 0; i < 4; i++) {
		char c = *parser->at++;
		int digit = c >= '0' && c <= '9' ? c - '0' :
			c >= 'a' && c <= 'f' ? c - 'a' + 10 :
			c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
		if (digit < 0)
			return false;
		*code = *code << 4 | (uint32_t)digit;
	}
	return true;
}

/* After "\u". The result is never longer than the escape, so decoding in place is safe. */
static bool take_unicode(struct parser *parser, char **out)
{
	uint32_t code, low;
	if (!take_hex4(parser, &code) || code == 0 || (code >= 0xdc00 && code <= 0xdfff))
		return false;
	if (code >= 0xd800 && code <= 0xdbff) {
		if (!take_word(parser, "\\u") || !take_hex4(parser, &low) ||
		    low < 0xdc00 || low > 0xdfff)
			return false;
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
	}
	*out += utf8_encode(code, *out);
	return true;
}

static bool take_escape(struct parser *parser, char **out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (parser->at == parser->end)
		return false;
	char c = *parser->at++;
	if (c == 'u')
		return take_unicode(parser, out);
	const char *found = c ? strchr(from, c) : NULL;
	if (!found)
		return false;
	*(*out)++ = to[found - from];
	return true;
}

/* After the opening quote. Returns the decoded text, its length in `*length`. */
static char *take_string(struct parser *parser, size_t *length)
{
	char *start = parser->at, *out = start;
	while (parser->at < parser->end) {
		unsigned char c = (unsigned char)*parser->at;
		if (c == '"') {
			*length = (size_t)(out - start);
			*out = '\0';
			parser->at++;
			return start;
		}
		if (c == '\\') {
			parser->at++;
			if (!take_escape(parser, &out)) {
				fail(parser, "bad escape in a string");
				return NULL;
			}
			continue;
		}
		size_t sequence = utf8_sequence(parser->at, (size_t)(parser->end - parser->at));
		if (c < 0x20 || !sequence) {
			fail(parser, "a string with control characters or bad UTF-8");
			return NULL;
		}
		memmove(out, parser->at, sequence);
		out += sequence;
		parser->at += sequence;
	}
	fail(parser, "unterminated string");
	return NULL;
}

static bool digits(struct parser *parser)
{
	char *start = parser->at;
	while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9')
		parser->at++;
	return parser->at > start;
}

static struct json *parse_number(struct parser *parser)
{
	bool negative = take_word(parser, "-"), real = false;
	char *first = parser->at;
	if (!digits(parser) || (*first == '0' && parser->at - first > 1))
		return fail(parser, "bad number");
	char *last = parser->at;
	if (take_word(parser, ".")) {
		real = true;
		if (!digits(parser))
			return fail(parser, "bad number");
	}
	if (take_word(parser, "e") || take_word(parser, "E")) {
		real = true;
		if (!take_word(parser, "-"))
			take_word(parser, "+");
		if (!digits(parser))
			return fail(parser, "bad number");
	}
	struct json *value = new_value(parser, real ? JSON_REAL : JSON_INT);
	for (char *c = first; value && !real && c < last; c++)
		if (__builtin_mul_overflow(value->integer, 10, &value->integer) ||
		    __builtin_sub_overflow(value->integer, *c - '0', &value->integer))
			return fail(parser, "number out of range");
	/* Counted downwards, because the smallest number has no positive twin. */
	if (value && !real && !negative && __builtin_sub_overflow(0, value->integer, &value->integer))
		return fail(parser, "number out of range");
	return value;
}

static struct json *parse_value(struct parser *parser, int depth);

/* After the opening bracket of an array or brace of an object. */
static struct json *parse_children(struct parser *parser, enum json_type type, int depth)
{
	char close = type == JSON_OBJECT ? '}' : ']';
	struct json *parent = new_value(parser, type), **link = parent ? &parent->first : NULL;
	if (!parent || take(parser, close))
		return parent;
	do {
		char *key = NULL;
		size_t length;
		if (type == JSON_OBJECT) {
			if (!take(parser, '"'))
				return fail(parser, "an object's key must be a string");
			key = take_string(parser, &length);
			if (!key)
				return NULL;
			if (!take(parser, ':'))
				return fail(parser, "':' expected");
		}
		struct json *child = parse_value(parser, depth + 1);
		if (!child)
			return NULL;
		child->key = key;
		*link = child;
		link = &child->next;
		parent->count++;
	} while (take(parser, ','));
	return take(parser, close) ? parent : fail(parser, "',' or a closing bracket expected");
}

static struct json *parse_value(struct parser *parser, int depth)
{
	struct json *value;
	if (depth > MAX_DEPTH)
		return fail(parser, "nested too deeply");
	if (take(parser, '{'))
		return parse_children(parser, JSON_OBJECT, depth);
	if (take(parser, '['))
		return parse_children(parser, JSON_ARRAY, depth);
	if (take(parser, '"')) {
		value = new_value(parser, JSON_STRING);
		if (value)
			value->text = take_string(parser, &value->length);
		return value && value->text ? value : NULL;
	}
	if (take_word(parser, "null"))
		return new_value(parser, JSON_NULL);
	bool yes = take_word(parser, "true");
	if (yes || take_word(parser, "false")) {
		value = new_value(parser, JSON_BOOL);
		if (value)
			value->boolean = yes;
		return value;
	}
	if (parser->at < parser->end && (*parser->at == '-' || (*parser->at >= '0' && *parser->at <= '9')))
		return parse_number(parser);
	return fail(parser, "a value expected");
}

struct json_document *json_parse(char *text, size_t length, const char **why)
{
	struct parser parser = { .at = text, .end = text + length };
	parser.document = calloc(1, sizeof *parser.document);
	if (!parser.document) {
		*why = "out of memory";
		return NULL;
	}
	parser.document->root = parse_value(&parser, 1);
	skip_space(&parser);
	if (parser.document->root && parser.at != parser.end)
		fail(&parser, "text after the document");
	if (!parser.why)
		return parser.document;
	*why = parser.why;
	json_free(parser.document);
	return NULL;
}

struct json *json_root(struct json_document *document)
{
	return document->root;
}

void json_free(struct json_document *document)
{
	while (document && document->chunks) {
		struct chunk *chunk = document->chunks;
		document->chunks = chunk->next;
		free(chunk);
	}
	free(document);
}

struct json *json_get(const struct json *object, const char *key)
{
	if (!object || object->type != JSON_OBJECT)
		return NULL;
	for (struct json *member = object->first; member; member = member->next)
		if (strcmp(member->key, key) == 0)
			return member;
	return NULL;
}

void json_write_string(struct buffer *buffer, const char *text)
{
	size_t left = strlen(text);
	buffer_text(buffer, "\"");
	while (left) {
		unsigned char c = (unsigned char)*text;
		size_t sequence = utf8_sequence(text, left);
		if (!sequence) {
			buffer_text(buffer, "\\ufffd");
			sequence = 1;
		} else if (c == '"' || c == '\\') {
			buffer_printf(buffer, "\\%c", c);
		} else if (c < 0x20 || c == 0x7f) {
			buffer_printf(buffer, "\\u%04x", c);
		} else {
			buffer_append(buffer, text, sequence);
		}
		text += sequence;
		left -= sequence;
	}
	buffer_text(buffer, "\"");
}
