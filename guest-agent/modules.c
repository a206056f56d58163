#include "modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "buffer.h"
#include "log.h"
#include "virtio.h"

enum { COMPRESSED = 4 };	/* MODULE_INIT_COMPRESSED_FILE of finit_module(2) */

static int load(const char *name)
{
	char path[512];
	size_t length = strlen(name);
	snprintf(path, sizeof path, "/banger/modules.d/%.400s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	bool plain = length > 3 && strcmp(name + length - 3, ".ko") == 0;
	int error = syscall(SYS_finit_module, fd, "", plain ? 0 : COMPRESSED) < 0 ? errno : 0;
	close(fd);
	return error == EEXIST ? 0 : error;
}

/* The socket family is of no use without its device, which costs 30 ms to load for nothing. */
static bool is_idle(const char *name)
{
	return strstr(name, "vsock") && !virtio_present(VIRTIO_VSOCK, VIRTIO_ANY);
}

void modules_load(void)
{
	struct buffer list = { 0 };
	if (buffer_read_path(&list, "/banger/modules", 65536) == 0) {
		char *rest = list.data;
		for (char *name; (name = strsep(&rest, "\n"));) {
			int error = *name && !strchr(name, '/') && !is_idle(name) ? load(name) : 0;
			if (error)
				log_line("banger-init: module %s: %s", name, strerror(error));
		}
	}
	buffer_free(&list);
}
