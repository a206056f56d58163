#include "freeze.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "boot_id.h"
#include "clock.h"
#include "forget.h"
#include "guest.h"
#include "json.h"
#include "memory.h"
#include "processes.h"
#include "rootpath.h"
#include "settle.h"
#include "state.h"
#include "tell.h"
#include "timers.h"

enum { TIMEOUT_LIMIT_MS = 3600 * 1000, TIMERS_PATIENCE_MS = 60000 };

/* Of this worker, whose client had the guest frozen. */
static bool frozen;

bool freeze_was_last(void)
{
	bool was = frozen;
	frozen = false;
	return was;
}

static const char *read_timeout(struct buffer *body, int64_t *timeout_ms)
{
	const char *why = NULL;
	struct json_document *document = json_parse(body->data, body->length, &why);
	if (!document)
		return why;
	struct json *root = json_root(document), *value = json_get(root, "timeout_ms");
	if (!value || root->count != 1 || value->type != JSON_INT || value->integer < 0 ||
	    value->integer > TIMEOUT_LIMIT_MS)
		why = "the body must be {\"timeout_ms\": N}, at most an hour";
	else
		*timeout_ms = value->integer;
	json_free(document);
	return why;
}

/* What runs on would write the template's identity anew. */
static void stop_services(void)
{
	boot_id_cover();
	if (strcmp(guest_init(), "systemd") != 0)
		return;
	timers_park(clock_ms() + TIMERS_PATIENCE_MS);
	tell_nothing_more();
	processes_signal("systemd-journald", SIGSTOP);
}

void freeze_handle(struct request *request)
{
	struct buffer body = { 0 };
	char reason[128];
	int64_t timeout_ms = 0, start = clock_ms();
	uint64_t zeroed = 0;
	if (!is_guest() && !rootpath_is_set()) {
		http_error(request, 422, EPERM, "this agent does not run in a guest");
		return;
	}
	if (!http_json_body(request, &body))
		return;
	const char *why = read_timeout(&body, &timeout_ms);
	buffer_free(&body);
	if (why) {
		http_error(request, 400, 0, "%s", why);
		return;
	}
	if (is_guest() && !settle_wait(start + timeout_ms, reason, sizeof reason)) {
		http_error(request, 409, EBUSY, "%s", reason);
		return;
	}
	if (is_guest())
		stop_services();
	int error = forget_identity();
	if (error) {
		http_error(request, 422, error, "can't forget the template's identity: %s", strerror(error));
		return;
	}
	if (is_guest()) {
		sync();
		zeroed = memory_zero_free();
	}
	buffer_printf(&body, "{\"settled\":true,\"zeroed_bytes\":%" PRIu64 ",\"took_ms\":%" PRId64 "}",
		      zeroed, clock_ms() - start);
	frozen = true;
	http_reply(request, 200, &body);
}
