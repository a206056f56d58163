#include "cmdline.h"

#include <stdio.h>
#include <string.h>

#include "buffer.h"

bool cmdline_get(const char *name, char *value, size_t size)
{
	struct buffer text = { 0 };
	size_t length = strlen(name);
	bool found = false;
	if (value && size)
		*value = '\0';
	if (buffer_read_path(&text, "/proc/cmdline", 65536) == 0) {
		char *rest = text.data;
		for (char *word; !found && (word = strsep(&rest, " \n"));) {
			if (strncmp(word, name, length) != 0 || (word[length] && word[length] != '='))
				continue;
			found = true;
			if (value && word[length])
				snprintf(value, size, "%s", word + length + 1);
		}
	}
	buffer_free(&text);
	return found;
}
