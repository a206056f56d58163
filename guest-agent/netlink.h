/* Requests to the kernel's routing netlink, rtnetlink(7). */
#ifndef NETLINK_H
#define NETLINK_H
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

struct netlink_message {
	union {
		struct nlmsghdr header;
		char bytes[512];
	};
};

/* A routing socket, or -1 with errno. */
int netlink_open(void);
/* Begins a message with a family header (struct ifinfomsg, …); returns where that header is, zeroed. */
void *netlink_begin(struct netlink_message *message, int type, int flags, size_t size);
void netlink_put(struct netlink_message *message, int attribute, const void *data, size_t length);
/* Sends it and waits for the acknowledgement. 0 or an errno. */
int netlink_do(int fd, struct netlink_message *message);
/* Sends a dump request, calling `each` for every message of the answer. 0 or an errno. */
int netlink_dump(int fd, struct netlink_message *message,
		 void (*each)(const struct nlmsghdr *header, void *context), void *context);
/* An attribute of a message whose family header has `size` bytes, or NULL. */
const struct rtattr *netlink_attribute(const struct nlmsghdr *header, size_t size, int type);
#endif
