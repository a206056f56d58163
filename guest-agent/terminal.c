#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { TTY_GROUP = 5 };

static bool may_mount;

void terminal_mount_when_missing(void)
{
	may_mount = true;
}

static int open_master(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[32];
	int number;
	/* devtmpfs has a /dev/ptmx, but it leads nowhere before devpts is mounted beside it. */
	bool usable = master >= 0 && ioctl(master, TIOCGPTN, &number) == 0;
	if (usable) {
		snprintf(name, sizeof name, "/dev/pts/%d", number);
		usable = access(name, F_OK) == 0;
	}
	if (usable || !may_mount)
		return master;
	if (master >= 0)
		close(master);
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
	return posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
}

int terminal_open(int *master, int *slave, unsigned short rows, unsigned short cols, uid_t uid)
{
	int unlock = 0;
	*slave = -1;
	*master = open_master();
	if (*master < 0)
		return errno;
	if (ioctl(*master, TIOCSPTLCK, &unlock) == 0)
		*slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0) {
		int error = errno;
		close(*master);
		return error;
	}
	terminal_resize(*master, rows, cols);
	if (uid != geteuid() && fchown(*slave, uid, TTY_GROUP) == 0)
		(void)fchmod(*slave, 0620);
	return 0;
}

void terminal_resize(int master, unsigned short rows, unsigned short cols)
{
	struct winsize size = { .ws_row = rows, .ws_col = cols };
	ioctl(master, TIOCSWINSZ, &size);
}

unsigned char terminal_eof(int master)
{
	struct termios settings;
	return tcgetattr(master, &settings) == 0 ? settings.c_cc[VEOF] : 4;
}

pid_t terminal_foreground(int master)
{
	pid_t group;
	return ioctl(master, TIOCGPGRP, &group) == 0 && group > 0 ? group : -1;
}
