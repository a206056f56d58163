#include "machine_clock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "guest.h"
#include "json.h"
#include "parts.h"

static bool is_time(const struct json *value, struct timespec *when)
{
	if (!value || value->type != JSON_INT || value->integer < 0)
		return false;
	*when = (struct timespec){ .tv_sec = value->integer / 1000000000,
				   .tv_nsec = value->integer % 1000000000 };
	return true;
}

static const char *read_time(struct buffer *body, struct timespec *when)
{
	const char *why = NULL;
	struct json_document *document = json_parse(body->data, body->length, &why);
	if (!document)
		return why;
	struct json *root = json_root(document);
	if (root->count != 1 || !is_time(json_get(root, "unix_ns"), when))
		why = "the body must be {\"unix_ns\": N}";
	json_free(document);
	return why;
}

void machine_clock_handle(struct request *request)
{
	struct buffer body = { 0 };
	struct timespec when = { 0 };
	if (!http_json_body(request, &body))
		return;
	const char *why = read_time(&body, &when);
	buffer_free(&body);
	if (why)
		http_error(request, 400, 0, "%s", why);
	else if (is_guest() && clock_settime(CLOCK_REALTIME, &when) < 0)
		http_error(request, 422, errno, "can't set the clock: %s", strerror(errno));
	else
		http_head(request, 204, NULL, -1, NULL);
}

void part_unix_ns(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	struct timespec when;
	if (!is_time(value, &when))
		report_fail(report, EINVAL, "not a time in nanoseconds since 1970");
	else if (clock_settime(CLOCK_REALTIME, &when) < 0)
		report_fail(report, errno, "can't set the clock: %s", strerror(errno));
}
