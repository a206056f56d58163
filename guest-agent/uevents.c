#include "uevents.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	GROUP_KERNEL = 1,	/* udev sends its own to group 2 */
	MESSAGE_SIZE = 4096,	/* the kernel's are at most 2 KiB and a header */
	MESSAGES_AT_ONCE = 64,
};

int uevents_open(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = GROUP_KERNEL };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* A message is "<action>@<path>", then "NAME=value" texts, each with its NUL. */
static bool is_about(const char *message, size_t length, const char *subsystem)
{
	static const char name[] = "SUBSYSTEM=";
	for (const char *text = message; text < message + length; text += strlen(text) + 1)
		if (strncmp(text, name, sizeof name - 1) == 0)
			return strcmp(text + sizeof name - 1, subsystem) == 0;
	return false;
}

bool uevents_concern(int fd, const char *subsystem)
{
	bool concerned = false;
	for (int i = 0; i < MESSAGES_AT_ONCE; i++) {
		char message[MESSAGE_SIZE];
		struct sockaddr_nl sender = { 0 };
		socklen_t size = sizeof sender;
		ssize_t got = recvfrom(fd, message, sizeof message - 1, 0, (struct sockaddr *)&sender, &size);
		if (got >= 0) {
			message[got] = '\0';
			/* Only the kernel is number 0. */
			concerned |= sender.nl_pid == 0 && is_about(message, (size_t)got, subsystem);
		} else if (errno == ENOBUFS) {
			concerned = true;	/* some were lost */
		} else if (errno != EINTR) {
			break;
		}
	}
	return concerned;
}
