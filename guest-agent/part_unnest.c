/* unnest: homes that an older version left one level too deep. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"
#include "rootpath.h"
#include "unnest.h"

static void repair(const char *path, struct report *report)
{
	char where[4096] = "";
	const char *name;
	int parent = rootpath_open_parent(path, false, &name);
	if (parent >= 0)
		close(parent);
	int top = parent < 0 ? -1 : rootpath_open(path, O_RDONLY | O_DIRECTORY);
	if (top < 0) {
		report_fail(report, errno, "%.128s: %s", path, strerror(errno));
		return;
	}
	switch (unnest(top, name, where, sizeof where)) {
	case UNNEST_NOTHING:
		break;
	case UNNEST_DONE:
		report_note(report, "what an older version had left in %.128s/%.64s was moved up", path,
			    name);
		break;
	case UNNEST_BLOCKED:
		report_note(report, "%.128s/%.64s, left by an older version, was not moved up: "
			    "%.128s/%.128s is in the way", path, name, path, where);
		break;
	case UNNEST_FAILED:
		report_note(report, "%.128s/%.64s, left by an older version, could not be moved up: %s",
			    path, name, strerror(errno));
	}
	close(top);
}

void part_unnest(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	if (!part_is_strings(value, report))
		return;
	for (struct json *path = value->first; path; path = path->next)
		repair(path->text, report);
}
