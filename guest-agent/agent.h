/* The agent proper: one worker process a serial port, one a vsock connection. */
#ifndef AGENT_H
#define AGENT_H
#include <stdbool.h>

struct agent_options {
	bool serial;		/* serve virtio-serial ports */
	int ready;		/* a byte is written here once all transports are open; -1: nobody waits */
	int stage;		/* its end of file begins the system stage; -1: begun already */
};

/* Supervises the workers; never returns. */
void agent_run(const struct agent_options *options) __attribute__((noreturn));
/* Serves one connection on `fd` until its end of file. */
void agent_serve_stream(int fd, bool serial);
#endif
