#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int netlink_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	/* The kernel answers at once; nothing here may hang on a surprise. */
	struct timeval patience = { .tv_sec = 5 };
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	return fd;
}

void *netlink_begin(struct netlink_message *message, int type, int flags, size_t size)
{
	static uint32_t sequence;
	memset(message, 0, sizeof *message);
	message->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
	message->header.nlmsg_type = (uint16_t)type;
	message->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	message->header.nlmsg_seq = ++sequence;
	return NLMSG_DATA(&message->header);
}

void netlink_put(struct netlink_message *message, int attribute, const void *data, size_t length)
{
	size_t at = NLMSG_ALIGN(message->header.nlmsg_len);
	if (at + RTA_SPACE(length) > sizeof message->bytes)
		return;
	struct rtattr *header = (struct rtattr *)(message->bytes + at);
	header->rta_type = (unsigned short)attribute;
	header->rta_len = (unsigned short)RTA_LENGTH(length);
	memcpy(RTA_DATA(header), data, length);
	message->header.nlmsg_len = (uint32_t)(at + RTA_LENGTH(length));
}

/* Reads answers until the one that ends the request with this sequence number. */
static int receive(int fd, uint32_t sequence,
		   void (*each)(const struct nlmsghdr *header, void *context), void *context)
{
	static _Alignas(struct nlmsghdr) char answer[32768];
	for (;;) {
		ssize_t got = recv(fd, answer, sizeof answer, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno;
		unsigned left = (unsigned)got;
		for (struct nlmsghdr *header = (struct nlmsghdr *)answer; NLMSG_OK(header, left);
		     header = NLMSG_NEXT(header, left)) {
			if (header->nlmsg_seq != sequence)
				continue;
			if (header->nlmsg_type == NLMSG_DONE)
				return 0;
			if (header->nlmsg_type == NLMSG_ERROR)
				return -((struct nlmsgerr *)NLMSG_DATA(header))->error;
			if (each)
				each(header, context);
		}
	}
}

int netlink_do(int fd, struct netlink_message *message)
{
	message->header.nlmsg_flags |= NLM_F_ACK;
	return netlink_dump(fd, message, NULL, NULL);
}

int netlink_dump(int fd, struct netlink_message *message,
		 void (*each)(const struct nlmsghdr *header, void *context), void *context)
{
	if (send(fd, message, message->header.nlmsg_len, 0) < 0)
		return errno;
	return receive(fd, message->header.nlmsg_seq, each, context);
}

const struct rtattr *netlink_attribute(const struct nlmsghdr *header, size_t size, int type)
{
	if (header->nlmsg_len < NLMSG_LENGTH(size))
		return NULL;
	unsigned left = (unsigned)(header->nlmsg_len - NLMSG_SPACE(size));
	const struct rtattr *attribute =
		(const struct rtattr *)((const char *)NLMSG_DATA(header) + NLMSG_ALIGN(size));
	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == type)
			return attribute;
	return NULL;
}
