/* Whether this process may change the machine it runs on, and what that machine's init is. */
#ifndef GUEST_H
#define GUEST_H
#include <stdbool.h>

/* Tests run the agent on the host: there the machine itself (clock, hostname, network, power) is
 * left alone, whatever is asked. */
void guest_set(bool is_guest);
bool is_guest(void);
/* "systemd", "agent" or "other". */
const char *guest_init(void);
#endif
