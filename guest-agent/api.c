#include "api.h"

#include <stdlib.h>
#include <string.h>

#include "configure.h"
#include "exec.h"
#include "files.h"
#include "freeze.h"
#include "health.h"
#include "http.h"
#include "machine_clock.h"
#include "power.h"
#include "stats.h"

static void poweroff_handle(struct request *request)
{
	power_handle(request, false);
}

static void reboot_handle(struct request *request)
{
	power_handle(request, true);
}

static const struct route {
	const char *method;
	const char *path;
	void (*handle)(struct request *request);
} routes[] = {
	{ "GET", "/healthz", health_handle },
	{ "GET", "/v1/stats", stats_handle },
	{ "POST", "/v1/exec", exec_handle },
	{ "GET", "/v1/files", file_get },
	{ "PUT", "/v1/files", file_put },
	{ "GET", "/v1/directory", directory_get },
	{ "PUT", "/v1/directory", directory_put },
	{ "POST", "/v1/configure", configure_handle },
	{ "GET", "/v1/configured", configured_handle },
	{ "POST", "/v1/freeze", freeze_handle },
	{ "PUT", "/v1/clock", machine_clock_handle },
	{ "POST", "/v1/poweroff", poweroff_handle },
	{ "POST", "/v1/reboot", reboot_handle },
};

static void dispatch(struct request *request)
{
	bool known = false;
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
		if (strcmp(request->path, routes[i].path) != 0)
			continue;
		known = true;
		if (strcmp(request->method, routes[i].method) == 0) {
			routes[i].handle(request);
			return;
		}
	}
	if (known)
		http_error(request, 405, 0, "%.16s is not supported here", request->method);
	else
		http_error(request, 404, 0, "there is no %.256s", request->path);
}

void api_serve(struct connection *connection)
{
	struct request *request = malloc(sizeof *request);
	while (request && http_next(connection, request)) {
		dispatch(request);
		if (!http_body_skip(request))
			continue;
		if (request->close && !connection->serial)
			break;
	}
	free(request);
}
