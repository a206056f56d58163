#include "parts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

void report_fail(struct report *report, int number, const char *format, ...)
{
	char message[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	buffer_text(&report->failed, report->failures++ ? ",{\"part\":" : "{\"part\":");
	json_write_string(&report->failed, report->part);
	buffer_text(&report->failed, ",\"error\":");
	json_write_string(&report->failed, message);
	buffer_printf(&report->failed, ",\"errno\":%d}", number);
}

void report_note(struct report *report, const char *format, ...)
{
	char message[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	log_line("banger: %s", message);
	if (report->notes.length)
		buffer_text(&report->notes, ",");
	json_write_string(&report->notes, message);
}

const char *part_text(const struct json *object, const char *key)
{
	struct json *value = json_get(object, key);
	return value && value->type == JSON_STRING ? value->text : NULL;
}

int64_t part_number(const struct json *object, const char *key, int64_t standard)
{
	struct json *value = json_get(object, key);
	return value && value->type == JSON_INT ? value->integer : standard;
}

bool part_is_list(const struct json *value, struct report *report)
{
	if (value->type == JSON_ARRAY)
		return true;
	report_fail(report, EINVAL, "%s must be a list", report->part);
	return false;
}

bool part_is_strings(const struct json *value, struct report *report)
{
	bool good = value && value->type == JSON_ARRAY;
	for (struct json *item = good ? value->first : NULL; item; item = item->next)
		good = good && item->type == JSON_STRING;
	if (!good)
		report_fail(report, EINVAL, "%s must be a list of strings", report->part);
	return good;
}

bool part_is_name(const char *text)
{
	size_t length = strlen(text);
	for (size_t i = 0; i < length; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-._", text[i]))
			return false;
	return length > 0 && length <= 253 && text[0] != '-' && text[0] != '.';
}

bool part_is_address(const char *text)
{
	unsigned char bytes[16];
	return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}
