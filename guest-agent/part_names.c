/* resolvers, search, hosts: how the guest finds others by name. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"
#include "rootpath.h"

static void write_etc(const char *path, struct buffer *text, struct report *report)
{
	struct owner owner = { .uid = geteuid(), .gid = getegid() };
	int error = text->failed ? ENOMEM :
		rootpath_write(path, text->data ? text->data : "", text->length, 0644, owner);
	if (error)
		report_fail(report, error, "%s: %s", path, strerror(error));
}

void part_resolvers(const struct json *root, const struct json *value, struct report *report)
{
	struct json *search = json_get(root, "search");
	struct buffer text = { 0 };
	int before = report->failures;
	if (!part_is_strings(value, report) || (search && !part_is_strings(search, report)) ||
	    !value->count)
		return;
	for (struct json *item = search ? search->first : NULL; item; item = item->next) {
		buffer_printf(&text, item == search->first ? "search %s" : " %s", item->text);
		if (!part_is_name(item->text))
			report_fail(report, EINVAL, "not a domain: %.100s", item->text);
	}
	if (search && search->count)
		buffer_text(&text, "\n");
	for (struct json *item = value->first; item; item = item->next) {
		buffer_printf(&text, "nameserver %s\n", item->text);
		if (!part_is_address(item->text))
			report_fail(report, EINVAL, "not an address: %.100s", item->text);
	}
	if (report->failures == before)
		write_etc("/etc/resolv.conf", &text, report);
	buffer_free(&text);
}

static void add_host(struct buffer *text, const struct json *entry, struct report *report)
{
	const char *address = part_text(entry, "address");
	struct json *names = json_get(entry, "names");
	bool good = address && part_is_address(address) && names && names->type == JSON_ARRAY &&
		names->count;
	for (struct json *name = good ? names->first : NULL; name; name = name->next)
		good = good && name->type == JSON_STRING && part_is_name(name->text);
	if (!good) {
		report_fail(report, EINVAL, "a host needs an address and names (%.100s)",
			    address ? address : "no address");
		return;
	}
	buffer_text(text, address);
	for (struct json *name = names->first; name; name = name->next)
		buffer_printf(text, " %s", name->text);
	buffer_text(text, "\n");
}

void part_hosts(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	struct buffer text = { 0 };
	if (!part_is_list(value, report))
		return;
	buffer_text(&text, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
	for (struct json *entry = value->first; entry; entry = entry->next)
		add_host(&text, entry, report);
	write_etc("/etc/hosts", &text, report);
	buffer_free(&text);
}
