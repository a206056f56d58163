#include "guest.h"

#include <unistd.h>

#include "state.h"

static bool guest;

void guest_set(bool yes)
{
	guest = yes;
}

bool is_guest(void)
{
	return guest;
}

const char *guest_init(void)
{
	if (atomic_load(&state->agent_is_init))
		return "agent";
	return access("/run/systemd/system", F_OK) == 0 ? "systemd" : "other";
}
