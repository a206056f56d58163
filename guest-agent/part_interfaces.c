/* interfaces: found by MAC address, given their addresses and routes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "net.h"
#include "netlink.h"
#include "parts.h"

enum { INTERFACES_LIMIT = 64, PATIENCE_MS = 1000, STEP_MS = 10, LEAST_MTU = 68, MOST_MTU = 65535 };

struct interface {
	const char *name;	/* its MAC address as text */
	unsigned char mac[6];
	unsigned char template_mac[6];
	bool has_template, has_gateway;
	struct net_address address, gateway;
	uint32_t mtu;
};

static const char *read_interface(const struct json *entry, struct interface *interface)
{
	const char *mac = part_text(entry, "mac"), *address = part_text(entry, "address");
	const char *gateway = part_text(entry, "gateway"), *template = part_text(entry, "template_mac");
	int64_t mtu = part_number(entry, "mtu", 0);
	memset(interface, 0, sizeof *interface);
	interface->name = mac;
	if (!mac || !net_parse_mac(mac, interface->mac))
		return "a mac is needed";
	if (!address || !net_parse_address(address, true, &interface->address))
		return "an address with its prefix length is needed";
	if (template && !net_parse_mac(template, interface->template_mac))
		return "bad template_mac";
	if (gateway && (!net_parse_address(gateway, false, &interface->gateway) ||
			interface->gateway.family != interface->address.family))
		return "bad gateway";
	if (mtu && (mtu < LEAST_MTU || mtu > MOST_MTU))
		return "bad mtu";
	interface->has_template = template != NULL;
	interface->has_gateway = gateway != NULL;
	interface->mtu = (uint32_t)mtu;
	return NULL;
}

static int find(int fd, const struct interface *interface, int *index)
{
	int64_t end = clock_ms() + PATIENCE_MS;
	for (;;) {
		int error = net_find(fd, interface->mac, index);
		if (error == ENODEV && interface->has_template) {
			error = net_find(fd, interface->template_mac, index);
			if (!error)
				error = net_set_mac(fd, *index, interface->mac);
		}
		if (error != ENODEV || clock_ms() >= end)
			return error;
		clock_sleep_ms(STEP_MS);
	}
}

static const char *set_up(int fd, const struct interface *all, int count, int which, int *error)
{
	const struct interface *interface = &all[which];
	struct net_address wanted[INTERFACES_LIMIT];
	int index, wanted_count = 0;
	/* An interface may have several entries, one an address. */
	for (int i = 0; i < count; i++)
		if (memcmp(all[i].mac, interface->mac, sizeof interface->mac) == 0)
			wanted[wanted_count++] = all[i].address;
	if ((*error = find(fd, interface, &index)))
		return "finding it";
	if ((*error = net_keep_only(fd, index, wanted, wanted_count)))
		return "removing other addresses";
	if ((*error = net_set_up(fd, index, interface->mtu)))
		return "setting it up";
	if ((*error = net_add_address(fd, index, &interface->address)))
		return "adding its address";
	if (interface->has_gateway && (*error = net_set_default_route(fd, index, &interface->gateway)))
		return "setting the default route";
	return NULL;
}

void part_interfaces(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	struct interface all[INTERFACES_LIMIT];
	int count = 0, error;
	if (!part_is_list(value, report))
		return;
	for (struct json *entry = value->first; entry; entry = entry->next) {
		const char *why = count == INTERFACES_LIMIT ? "too many interfaces" :
			read_interface(entry, &all[count]);
		if (!why)
			count++;
		else
			report_fail(report, EINVAL, "%s", why);
	}
	int fd = netlink_open();
	if (fd < 0) {
		report_fail(report, errno, "netlink: %s", strerror(errno));
		return;
	}
	for (int i = 0; i < count; i++) {
		const char *step = set_up(fd, all, count, i, &error);
		if (step)
			report_fail(report, error, "%s: %s: %s", all[i].name, step, strerror(error));
	}
	close(fd);
}
