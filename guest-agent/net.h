/* Interfaces, addresses and routes of the guest. */
#ifndef NET_H
#define NET_H
#include <stdbool.h>
#include <stdint.h>

struct net_address {
	int family;		/* AF_INET or AF_INET6 */
	unsigned prefix;
	unsigned char bytes[16];
};

/* "172.31.0.5/22" or, with `prefix_wanted` false, "172.31.0.1". */
bool net_parse_address(const char *text, bool prefix_wanted, struct net_address *address);
bool net_parse_mac(const char *text, unsigned char mac[6]);

/* All take a netlink socket, and return 0 or an errno. */
int net_find(int fd, const unsigned char mac[6], int *index);
int net_set_mac(int fd, int index, const unsigned char mac[6]);
/* `mtu` 0 leaves it alone. */
int net_set_up(int fd, int index, uint32_t mtu);
/* Removes all addresses but link-local ones and these. */
int net_keep_only(int fd, int index, const struct net_address *wanted, int count);
int net_add_address(int fd, int index, const struct net_address *address);
int net_set_default_route(int fd, int index, const struct net_address *gateway);

/* The loopback interface; nothing works without. */
void net_set_up_loopback(void);
#endif
