#include "forget.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buffer.h"
#include "guest.h"
#include "rootpath.h"

enum { DEPTH_LIMIT = 16, ID_LENGTH = 32 };

/* Directories, and what in them is forgotten. */
static const struct secret { const char *directory, *pattern; bool emptied; } secrets[] = {
	/* Empty ones count as missing for `ssh-keygen -A`, and can be written into. */
	{ "/etc/ssh", "ssh_host_*key*", true },
	{ "/etc/dropbear", "dropbear_*_host_key", false },
	{ "/run", "machine-id", false },
	{ "/var/lib/systemd", "random-seed", false },
	{ "/var/lib/systemd", "credential.secret", false },
	{ "/var/lib/urandom", "random-seed", false },
	{ "/var/lib/seedrng", "seed.*", false },
	{ "/var/lib", "random-seed", false },
	{ "/var/lib/misc", "random-seed", false },
	/* Where journald is in the kernel's messages: its successor is to read them from the start. */
	{ "/run/systemd/journal", "kernel-seqnum", false },
};

static int note(int error, int another)
{
	return error ? error : another == ENOENT ? 0 : another;
}

static DIR *open_in(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (fd >= 0 && !directory)
		close(fd);
	return directory;
}

/* Removes a file, or a directory with all that is in it, of this file system. */
static int remove_entry(int parent, const char *name, int depth)
{
	if (unlinkat(parent, name, 0) == 0)
		return 0;
	if (errno != EISDIR)
		return errno;
	if (depth == DEPTH_LIMIT)
		return ELOOP;
	DIR *directory = open_in(parent, name);
	if (!directory)
		return errno;
	int error = 0;
	for (struct dirent *entry; (entry = readdir(directory));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			error = note(error, remove_entry(dirfd(directory), entry->d_name, depth + 1));
	closedir(directory);
	return note(error, unlinkat(parent, name, AT_REMOVEDIR) < 0 ? errno : 0);
}

static int empty_file(int parent, const char *name)
{
	int fd = openat(parent, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int error = fd < 0 ? errno : ftruncate(fd, 0) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	return error;
}

static int forget_matching(const char *path, const char *pattern, bool emptied)
{
	int error = 0, fd = rootpath_open(path, O_RDONLY | O_DIRECTORY);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return note(0, error);
	}
	for (struct dirent *entry; (entry = readdir(directory));)
		if (fnmatch(pattern, entry->d_name, FNM_PERIOD) == 0)
			error = note(error, emptied && empty_file(dirfd(directory), entry->d_name) == 0 ? 0 :
				     remove_entry(dirfd(directory), entry->d_name, 0));
	closedir(directory);
	return error;
}

/* Reads the machine id in use; empty when there is none. */
static void read_machine_id(char id[ID_LENGTH + 1])
{
	struct buffer text = { 0 };
	int fd = rootpath_open("/etc/machine-id", O_RDONLY | O_NOFOLLOW);
	bool good = fd >= 0 && buffer_read_file(&text, fd, 256) == 0 && text.length >= ID_LENGTH &&
		strspn(text.data, "0123456789abcdef") == ID_LENGTH;
	snprintf(id, ID_LENGTH + 1, "%s", good ? text.data : "");
	buffer_free(&text);
	if (fd >= 0)
		close(fd);
}

/* An empty file: systemd would take a missing one for the first boot of all. */
static int empty_machine_id(void)
{
	if (is_guest())
		umount2("/etc/machine-id", MNT_DETACH);
	int etc = rootpath_open("/etc", O_PATH | O_DIRECTORY);
	int error = etc < 0 ? errno : empty_file(etc, "machine-id");
	if (etc >= 0)
		close(etc);
	return note(0, error);
}

int forget_identity(void)
{
	char id[ID_LENGTH + 1], journals[ID_LENGTH + 4];
	int error = 0;
	read_machine_id(id);
	/* A journal's namespace is named behind the id. */
	snprintf(journals, sizeof journals, "%s*", id);
	if (*id) {
		error = note(error, forget_matching("/run/log/journal", journals, false));
		error = note(error, forget_matching("/var/log/journal", journals, false));
	}
	for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
		error = note(error, forget_matching(secrets[i].directory, secrets[i].pattern,
						    secrets[i].emptied));
	return note(error, empty_machine_id());
}
