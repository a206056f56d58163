#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "netlink.h"

enum { MAC_SIZE = 6, ADDRESSES_LIMIT = 64 };

static size_t size_of(int family)
{
	return family == AF_INET ? 4 : 16;
}

bool net_parse_address(const char *text, bool prefix_wanted, struct net_address *address)
{
	char copy[INET6_ADDRSTRLEN + 8];
	if (strlen(text) >= sizeof copy)
		return false;
	strcpy(copy, text);
	char *slash = strchr(copy, '/');
	if (!slash != !prefix_wanted)
		return false;
	memset(address, 0, sizeof *address);
	if (slash) {
		size_t digits = strspn(slash + 1, "0123456789");
		if (!digits || digits > 3 || slash[1 + digits])
			return false;
		address->prefix = (unsigned)atoi(slash + 1);
		*slash = '\0';
	}
	address->family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	return address->prefix <= 8 * size_of(address->family) &&
		inet_pton(address->family, copy, address->bytes) == 1;
}

bool net_parse_mac(const char *text, unsigned char mac[6])
{
	char after;
	return strlen(text) == 17 &&
		sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2],
		       &mac[3], &mac[4], &mac[5], &after) == MAC_SIZE;
}

struct search {
	const unsigned char *mac;
	int index;
};

static void compare_mac(const struct nlmsghdr *header, void *context)
{
	struct search *search = context;
	const struct ifinfomsg *link = NLMSG_DATA(header);
	const struct rtattr *mac = netlink_attribute(header, sizeof *link, IFLA_ADDRESS);
	if (!search->index && mac && RTA_PAYLOAD(mac) == MAC_SIZE &&
	    memcmp(RTA_DATA(mac), search->mac, MAC_SIZE) == 0)
		search->index = link->ifi_index;
}

int net_find(int fd, const unsigned char mac[6], int *index)
{
	struct netlink_message message;
	struct search search = { .mac = mac };
	netlink_begin(&message, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	int error = netlink_dump(fd, &message, compare_mac, &search);
	*index = search.index;
	return error ? error : search.index ? 0 : ENODEV;
}

static int change_link(int fd, int index, bool up, int attribute, const void *data, size_t length)
{
	struct netlink_message message;
	struct ifinfomsg *link = netlink_begin(&message, RTM_NEWLINK, 0, sizeof *link);
	link->ifi_index = index;
	link->ifi_change = attribute == IFLA_ADDRESS && up ? 0 : IFF_UP;
	link->ifi_flags = up ? IFF_UP : 0;
	if (length)
		netlink_put(&message, attribute, data, length);
	return netlink_do(fd, &message);
}

int net_set_mac(int fd, int index, const unsigned char mac[6])
{
	int error = change_link(fd, index, true, IFLA_ADDRESS, mac, MAC_SIZE);
	/* A driver that can't do it live; whoever calls sets the link up again. */
	if (error == EBUSY)
		error = change_link(fd, index, false, IFLA_UNSPEC, NULL, 0);
	else
		return error;
	return error ? error : change_link(fd, index, true, IFLA_ADDRESS, mac, MAC_SIZE);
}

int net_set_up(int fd, int index, uint32_t mtu)
{
	return change_link(fd, index, true, IFLA_MTU, &mtu, mtu ? sizeof mtu : 0);
}

struct present {
	int index;
	const struct net_address *wanted;
	int wanted_count;
	struct net_address extra[ADDRESSES_LIMIT];
	int extra_count;
};

static bool same(const struct net_address *a, const struct net_address *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
		memcmp(a->bytes, b->bytes, size_of(a->family)) == 0;
}

static void note_address(const struct nlmsghdr *header, void *context)
{
	struct present *present = context;
	const struct ifaddrmsg *message = NLMSG_DATA(header);
	const struct rtattr *value = netlink_attribute(header, sizeof *message, IFA_LOCAL);
	if (!value)
		value = netlink_attribute(header, sizeof *message, IFA_ADDRESS);
	if ((int)message->ifa_index != present->index || message->ifa_scope == RT_SCOPE_LINK || !value ||
	    (message->ifa_family != AF_INET && message->ifa_family != AF_INET6) ||
	    RTA_PAYLOAD(value) != size_of(message->ifa_family) ||
	    present->extra_count == ADDRESSES_LIMIT)
		return;
	struct net_address address = { .family = message->ifa_family, .prefix = message->ifa_prefixlen };
	memcpy(address.bytes, RTA_DATA(value), RTA_PAYLOAD(value));
	for (int i = 0; i < present->wanted_count; i++)
		if (same(&address, &present->wanted[i]))
			return;
	present->extra[present->extra_count++] = address;
}

static int change_address(int fd, int type, int flags, int index, const struct net_address *address)
{
	struct netlink_message message;
	struct ifaddrmsg *header = netlink_begin(&message, type, flags, sizeof *header);
	size_t size = size_of(address->family);
	header->ifa_family = (unsigned char)address->family;
	header->ifa_prefixlen = (unsigned char)address->prefix;
	header->ifa_index = (unsigned)index;
	netlink_put(&message, IFA_LOCAL, address->bytes, size);
	netlink_put(&message, IFA_ADDRESS, address->bytes, size);
	if (type == RTM_NEWADDR && address->family == AF_INET && address->prefix < 31) {
		uint32_t host = htonl(0xffffffffu >> address->prefix), broadcast;
		if (!address->prefix)
			host = 0xffffffffu;
		memcpy(&broadcast, address->bytes, 4);
		broadcast |= host;
		netlink_put(&message, IFA_BROADCAST, &broadcast, 4);
	}
	/* Addresses come from the host, which knows that they are unique: usable at once. */
	if (type == RTM_NEWADDR && address->family == AF_INET6)
		header->ifa_flags = IFA_F_NODAD;
	return netlink_do(fd, &message);
}

int net_keep_only(int fd, int index, const struct net_address *wanted, int count)
{
	struct netlink_message message;
	struct present present = { .index = index, .wanted = wanted, .wanted_count = count };
	netlink_begin(&message, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
	int error = netlink_dump(fd, &message, note_address, &present);
	for (int i = 0; i < present.extra_count; i++) {
		int failed = change_address(fd, RTM_DELADDR, 0, index, &present.extra[i]);
		/* A secondary address goes together with its primary. */
		if (failed && failed != EADDRNOTAVAIL)
			error = failed;
	}
	return error;
}

int net_add_address(int fd, int index, const struct net_address *address)
{
	int error = change_address(fd, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, address);
	return error == EEXIST ? 0 : error;
}

int net_set_default_route(int fd, int index, const struct net_address *gateway)
{
	struct netlink_message message;
	uint32_t out = (uint32_t)index;
	struct rtmsg *route = netlink_begin(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE,
					    sizeof *route);
	route->rtm_family = (unsigned char)gateway->family;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = RTPROT_STATIC;
	route->rtm_scope = RT_SCOPE_UNIVERSE;
	route->rtm_type = RTN_UNICAST;
	/* Also a gateway outside of the interface's own prefix. */
	route->rtm_flags = RTNH_F_ONLINK;
	netlink_put(&message, RTA_GATEWAY, gateway->bytes, size_of(gateway->family));
	netlink_put(&message, RTA_OIF, &out, sizeof out);
	return netlink_do(fd, &message);
}

void net_set_up_loopback(void)
{
	int fd = netlink_open();
	if (fd < 0)
		return;
	/* The kernel gives it its addresses when it comes up; its index is 1 in every namespace. */
	net_set_up(fd, 1, 0);
	close(fd);
}
