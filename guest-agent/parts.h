/* The parts of a guest configuration. Each lays its own down and reports what fails; a list's
 * entries are independent of each other. */
#ifndef PARTS_H
#define PARTS_H
#include "buffer.h"
#include "json.h"

struct report {
	const char *part;	/* the one at work */
	struct buffer failed;	/* JSON objects, comma-separated */
	int failures;
	struct buffer notes;	/* JSON strings, comma-separated */
};

/* Notes that the part at work failed, with an errno. */
void report_fail(struct report *report, int number, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Something that went well and that somebody should hear of. */
void report_note(struct report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The text of a member, or NULL. Missing and of another type are the same. */
const char *part_text(const struct json *object, const char *key);
int64_t part_number(const struct json *object, const char *key, int64_t standard);
/* Is it an array (of strings)? If not, that is reported. */
bool part_is_list(const struct json *value, struct report *report);
bool part_is_strings(const struct json *value, struct report *report);
/* A host name or DNS name, safe to write into a file. */
bool part_is_name(const char *text);
bool part_is_address(const char *text);

void part_unix_ns(const struct json *root, const struct json *value, struct report *report);
void part_entropy(const struct json *root, const struct json *value, struct report *report);
void part_mounts(const struct json *root, const struct json *value, struct report *report);
void part_unnest(const struct json *root, const struct json *value, struct report *report);
void part_grow_root(const struct json *root, const struct json *value, struct report *report);
void part_hostname(const struct json *root, const struct json *value, struct report *report);
void part_machine_id(const struct json *root, const struct json *value, struct report *report);
void part_boot_id(const struct json *root, const struct json *value, struct report *report);
void part_interfaces(const struct json *root, const struct json *value, struct report *report);
void part_resolvers(const struct json *root, const struct json *value, struct report *report);
void part_hosts(const struct json *root, const struct json *value, struct report *report);
void part_authorized_keys(const struct json *root, const struct json *value, struct report *report);
void part_files(const struct json *root, const struct json *value, struct report *report);
void part_environment(const struct json *root, const struct json *value, struct report *report);
void part_first_boot(const struct json *root, const struct json *value, struct report *report);
#endif
