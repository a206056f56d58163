#include "serial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"
#include "children.h"

bool serial_find(int index, char path[SERIAL_NAME_SIZE])
{
	char wanted[64];
	bool found = false;
	snprintf(wanted, sizeof wanted, "org.banger.agent.%d\n", index);
	DIR *ports = opendir("/sys/class/virtio-ports");
	for (struct dirent *entry; !found && ports && (entry = readdir(ports));) {
		char file[300];
		struct buffer name = { 0 };
		if (entry->d_name[0] == '.' || strlen(entry->d_name) > SERIAL_NAME_SIZE - 6)
			continue;
		snprintf(file, sizeof file, "/sys/class/virtio-ports/%s/name", entry->d_name);
		found = buffer_read_path(&name, file, 256) == 0 && strcmp(name.data, wanted) == 0;
		if (found)
			snprintf(path, SERIAL_NAME_SIZE, "/dev/%.26s", entry->d_name);
		buffer_free(&name);
	}
	if (ports)
		closedir(ports);
	return found;
}

void serial_own(int fd)
{
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC | O_NONBLOCK);
}

/* The kernel says HUP for an unplugged port as for an absent host; only a read tells. */
static bool is_gone(int fd)
{
	char byte;
	return read(fd, &byte, 0) < 0 && errno != EAGAIN && errno != EINTR;
}

bool serial_wait_host(int fd)
{
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGIO);
	sigaddset(&wanted, SIGCHLD);
	for (;;) {
		struct pollfd port = { .fd = fd, .events = POLLIN };
		struct timespec patience = { .tv_sec = 300 };
		if (poll(&port, 1, 0) < 0 || !(port.revents & (POLLHUP | POLLERR | POLLNVAL)))
			return true;
		if (is_gone(fd))
			return false;
		if (sigtimedwait(&wanted, NULL, &patience) == SIGCHLD)
			children_reap();
	}
}

void serial_drain(int fd)
{
	char scratch[4096];
	for (;;) {
		struct pollfd port = { .fd = fd, .events = POLLIN };
		/* Once the host is back, what comes is no longer its predecessor's. */
		if (poll(&port, 1, 0) < 0 || !(port.revents & POLLHUP) || !(port.revents & POLLIN) ||
		    read(fd, scratch, sizeof scratch) <= 0)
			return;
	}
}
