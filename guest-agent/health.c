#include "health.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "json.h"
#include "state.h"
#include "version.h"

enum { SSH_PORT = 22, TCP_ESTABLISHED = 1, TCP_LISTEN = 10, TABLE_LIMIT = 4 * 1024 * 1024 };

/* Counts the lines of /proc/net/tcp or tcp6 about local port 22. */
static void count_ssh(const char *table, int *listening, int *established)
{
	struct buffer text = { 0 };
	if (buffer_read_path(&text, table, TABLE_LIMIT) == 0) {
		char *rest = text.data;
		for (char *line; (line = strsep(&rest, "\n"));) {
			unsigned port, status;
			if (sscanf(line, "%*d: %*[0-9A-Fa-f]:%x %*s %x", &port, &status) != 2 ||
			    port != SSH_PORT)
				continue;
			*listening += status == TCP_LISTEN;
			*established += status == TCP_ESTABLISHED;
		}
	}
	buffer_free(&text);
}

void health_handle(struct request *request)
{
	struct buffer body = { 0 }, boot = { 0 };
	char host[256] = "";
	int listening = 0, established = 0;
	struct timespec uptime = { 0 };
	gethostname(host, sizeof host - 1);
	clock_gettime(CLOCK_BOOTTIME, &uptime);
	count_ssh("/proc/net/tcp", &listening, &established);
	count_ssh("/proc/net/tcp6", &listening, &established);
	if (buffer_read_path(&boot, "/proc/sys/kernel/random/boot_id", 100) == 0)
		boot.data[strcspn(boot.data, "\n")] = '\0';
	buffer_printf(&body, "{\"status\":\"ok\",\"version\":\"%s\",\"protocol\":%d,\"stage\":\"%s\",\"hostname\":",
		      AGENT_VERSION, PROTOCOL_VERSION,
		      atomic_load(&state->system_stage) ? "system" : "early");
	json_write_string(&body, host);
	buffer_text(&body, ",\"boot_id\":");
	json_write_string(&body, boot.data ? boot.data : "");
	buffer_printf(&body, ",\"uptime_ms\":%" PRId64 ",\"init\":\"%s\",\"sessions\":%d,\"ssh\":%s}",
		      (int64_t)uptime.tv_sec * 1000 + uptime.tv_nsec / 1000000, guest_init(),
		      state_sessions() + established, listening ? "true" : "false");
	buffer_free(&boot);
	http_reply(request, 200, &body);
}
