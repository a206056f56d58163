#include "tell.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"
#include "guest.h"
#include "processes.h"
#include "settle.h"
#include "state.h"
#include "timers.h"

enum { PATIENCE_MS = 3000, STEP_MS = 300, TIMERS_PATIENCE_MS = 60000 };

/* Services, and the signal that makes them look again. */
static const struct service { const char *name; int number; } services[] = {
	/* Stopped in a template, so it can't end in an orderly way; systemd starts it again and hands
	 * it the streams it had. What was sent to it meanwhile waits in its sockets. */
	{ "systemd-journald", SIGKILL },
	/* Its DHCP identity comes of the machine id. */
	{ "systemd-networkd", SIGKILL },
	{ "rsyslogd", SIGHUP },
};

static void tell(unsigned turn)
{
	int64_t end = clock_ms() + PATIENCE_MS;
	while (clock_ms() < end && !settle_is_idle(STEP_MS))
		;
	if (atomic_load(&state->telling) != turn)
		return;
	for (size_t i = 0; i < sizeof services / sizeof *services; i++)
		processes_signal(services[i].name, services[i].number);
	if (strcmp(guest_init(), "systemd") == 0)
		timers_resume(clock_ms() + TIMERS_PATIENCE_MS);
}

void tell_services(void)
{
	unsigned turn = atomic_fetch_add(&state->telling, 1) + 1;
	if (fork() != 0)
		return;
	state_close_others();
	children_reset_signals();
	tell(turn);
	_exit(0);
}

void tell_nothing_more(void)
{
	atomic_fetch_add(&state->telling, 1);
}
