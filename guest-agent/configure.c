#include "configure.h"

#include <errno.h>
#include <string.h>

#include "guest.h"
#include "json.h"
#include "parts.h"
#include "rootpath.h"
#include "state.h"
#include "tell.h"

/* A part may change the running machine, and is then applied in a guest only; or it may be something
 * that services keep in memory. */
enum { MACHINE = 1, IDENTITY = 2 };

/* In the order in which they are applied: first what others are written onto. */
static const struct part {
	const char *name;
	void (*apply)(const struct json *root, const struct json *value, struct report *report);
	int kind;
} parts[] = {
	{ "unix_ns", part_unix_ns, MACHINE },
	{ "entropy", part_entropy, MACHINE },
	{ "mounts", part_mounts, MACHINE },
	{ "unnest", part_unnest, 0 },
	{ "grow_root", part_grow_root, MACHINE },
	{ "hostname", part_hostname, 0 },
	{ "machine_id", part_machine_id, IDENTITY },
	{ "boot_id", part_boot_id, MACHINE | IDENTITY },
	{ "interfaces", part_interfaces, MACHINE },
	{ "resolvers", part_resolvers, 0 },
	{ "hosts", part_hosts, 0 },
	{ "authorized_keys", part_authorized_keys, 0 },
	{ "files", part_files, 0 },
	{ "environment", part_environment, 0 },
	{ "first_boot", part_first_boot, MACHINE },
};

enum { PARTS = sizeof parts / sizeof *parts };

static bool is_known(const char *name)
{
	for (size_t i = 0; i < PARTS; i++)
		if (strcmp(name, parts[i].name) == 0)
			return true;
	return strcmp(name, "version") == 0 || strcmp(name, "search") == 0;
}

/* Was anything applied that services keep in memory? */
static bool apply_parts(const struct json *root, struct report *report, struct buffer *applied)
{
	bool identity = false;
	for (struct json *member = root->first; member; member = member->next) {
		report->part = member->key;
		if (!is_known(member->key))
			report_fail(report, EINVAL, "unknown field");
	}
	for (size_t i = 0; i < PARTS; i++) {
		struct json *value = json_get(root, parts[i].name);
		if (!value || ((parts[i].kind & MACHINE) && !is_guest()))
			continue;
		int before = report->failures;
		report->part = parts[i].name;
		parts[i].apply(root, value, report);
		identity |= parts[i].kind & IDENTITY;
		if (report->failures == before)
			buffer_printf(applied, applied->length ? ",\"%s\"" : "\"%s\"", parts[i].name);
	}
	return identity;
}

static int refuse(struct buffer *result, const char *why)
{
	buffer_text(result, "{\"error\":");
	json_write_string(result, why);
	buffer_text(result, ",\"errno\":0}");
	return 400;
}

int configure_apply(char *text, size_t length, struct buffer *result, bool *identity)
{
	const char *why;
	struct report report = { 0 };
	struct buffer applied = { 0 };
	struct json_document *document = json_parse(text, length, &why);
	if (!document)
		return refuse(result, why);
	struct json *root = json_root(document), *version = json_get(root, "version");
	if (!version || version->type != JSON_INT || version->integer != 1) {
		json_free(document);
		return refuse(result, "a configuration of version 1 is expected");
	}
	state_lock();
	*identity = apply_parts(root, &report, &applied);
	buffer_printf(result, "{\"applied\":[%s]", applied.data ? applied.data : "");
	if (report.failures)
		buffer_printf(result, ",\"failed\":[%s]", report.failed.data ? report.failed.data : "");
	if (report.notes.length)
		buffer_printf(result, ",\"notes\":[%s]", report.notes.data);
	buffer_text(result, "}");
	if (!result->failed)
		state_text_set(STATE_CONFIGURED, result->data, result->length);
	state_unlock();
	buffer_free(&applied);
	buffer_free(&report.failed);
	buffer_free(&report.notes);
	json_free(document);
	return report.failures ? 207 : 200;
}

void configure_handle(struct request *request)
{
	struct buffer body = { 0 }, result = { 0 };
	if (!is_guest() && !rootpath_is_set()) {
		http_error(request, 422, EPERM, "this agent does not run in a guest");
		return;
	}
	if (!http_json_body(request, &body))
		return;
	bool identity = false;
	int status = configure_apply(body.data, body.length, &result, &identity);
	buffer_free(&body);
	http_reply(request, status, &result);
	if (identity && is_guest())
		tell_services();
}

void configured_handle(struct request *request)
{
	struct buffer result = { 0 };
	state_lock();
	int error = state_text_get(STATE_CONFIGURED, &result);
	state_unlock();
	if (error || !result.length) {
		buffer_free(&result);
		http_error(request, 404, error, "nothing has been configured");
		return;
	}
	http_reply(request, 200, &result);
}
