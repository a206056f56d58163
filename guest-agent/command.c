#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "children.h"
#include "terminal.h"

/* As the agent is protected from the OOM killer, its commands must be given up again. */
static void reset_oom_score(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t written = write(fd, "0", 1);
	(void)written;
	close(fd);
}

static bool become_user(const struct user *user)
{
	if (geteuid() != 0)
		return user->uid == geteuid() || (errno = EPERM, false);
	return setgroups((size_t)user->group_count, user->groups) == 0 &&
		setgid(user->gid) == 0 && setuid(user->uid) == 0;
}

/* execvpe(3), but with the PATH of the command's own environment. */
static void search_and_execute(const struct command *command)
{
	const char *name = command->argv[0], *path = "/bin:/usr/bin";
	if (strchr(name, '/')) {
		execve(name, command->argv, command->env);
		return;
	}
	for (char **text = command->env; *text; text++)
		if (strncmp(*text, "PATH=", 5) == 0)
			path = *text + 5;
	int error = ENOENT;
	for (;;) {
		char candidate[4096];
		int length = (int)strcspn(path, ":");
		/* An empty item means the current directory. */
		int size = snprintf(candidate, sizeof candidate, "%.*s%s%s", length, path,
				    length ? "/" : "./", name);
		if (size < (int)sizeof candidate) {
			execve(candidate, command->argv, command->env);
			if (errno != ENOENT && errno != ENOTDIR)
				error = errno;
			if (error != EACCES && error != ENOENT)
				break;
		}
		if (!path[length])
			break;
		path += length + 1;
	}
	errno = *name ? error : ENOENT;
}

static void fail(int report, int what)
{
	struct command_failure failure = { .error = errno, .what = what };
	ssize_t written = write(report, &failure, sizeof failure);
	(void)written;
	_exit(127);
}

void command_become(const struct command *command, int in, int out, int err, int report)
{
	setsid();
	children_reset_signals();
	if (command->tty)
		ioctl(in, TIOCSCTTY, 0);
	/* First out of the way of 0, 1 and 2, which an agent without them may have handed us. */
	in = fcntl(in, F_DUPFD, 3);
	out = fcntl(out, F_DUPFD, 3);
	err = fcntl(err, F_DUPFD, 3);
	report = fcntl(report, F_DUPFD, 3);
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	reset_oom_score();
	umask(022);
	if (!become_user(&command->user))
		fail(report, FAILED_USER);
	const char *cwd = command->cwd ? command->cwd : command->user.home;
	if (chdir(cwd) < 0 && (command->cwd || chdir("/") < 0))
		fail(report, FAILED_CWD);
	search_and_execute(command);
	fail(report, FAILED_EXEC);
	_exit(127);
}

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void give_to(int fd, const struct user *user)
{
	/* So that the command can open its own /dev/stdout. */
	if (geteuid() == 0 && user->uid != 0 && fchown(fd, user->uid, user->gid) < 0)
		return;
}

static int open_streams(const struct command *command, struct running *running, int *theirs)
{
	int pipes[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	if (command->tty) {
		int slave, error = terminal_open(&running->in, &slave, command->rows,
						 command->cols, command->user.uid);
		running->out = running->err = running->in;
		theirs[0] = theirs[1] = theirs[2] = slave;
		return error;
	}
	for (int i = 0; i < 3; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0) {
			int error = errno;
			close_all(pipes[0], 6);
			return error;
		}
		give_to(pipes[i][0], &command->user);
	}
	running->in = pipes[0][1];
	running->out = pipes[1][0];
	running->err = pipes[2][0];
	theirs[0] = pipes[0][0];
	theirs[1] = pipes[1][1];
	theirs[2] = pipes[2][1];
	return 0;
}

static void describe(const struct command *command, const struct command_failure *failure,
		     char *why, size_t size)
{
	const char *reason = strerror(failure->error);
	if (failure->what == FAILED_USER)
		snprintf(why, size, "can't become user %s: %s", command->user.name, reason);
	else if (failure->what == FAILED_CWD)
		snprintf(why, size, "can't enter cwd %s: %s",
			 command->cwd ? command->cwd : command->user.home, reason);
	else
		snprintf(why, size, "can't execute %s: %s", command->argv[0], reason);
}

int command_start(const struct command *command, struct running *running, char *why, size_t size)
{
	int theirs[3], report[2];
	struct command_failure failure = { 0 };
	if (pipe2(report, O_CLOEXEC) < 0) {
		failure.error = errno;
		snprintf(why, size, "can't make a pipe: %s", strerror(failure.error));
		return failure.error;
	}
	failure.error = open_streams(command, running, theirs);
	if (failure.error) {
		close_all(report, 2);
		snprintf(why, size, "can't open the command's %s: %s",
			 command->tty ? "terminal" : "pipes", strerror(failure.error));
		return failure.error;
	}
	running->pid = fork();
	if (running->pid == 0)
		command_become(command, theirs[0], theirs[1], theirs[2], report[1]);
	close(report[1]);
	close_all(theirs, command->tty ? 1 : 3);
	if (running->pid < 0) {
		failure.error = errno;
		snprintf(why, size, "can't fork: %s", strerror(failure.error));
	} else if (read(report[0], &failure, sizeof failure) == (ssize_t)sizeof failure) {
		describe(command, &failure, why, size);
	} else {
		failure.error = 0;
	}
	close(report[0]);
	int ours[3] = { running->in, running->out, running->err };
	for (int i = 0; i < (command->tty ? 1 : 3) && !failure.error; i++)
		fcntl(ours[i], F_SETFL, fcntl(ours[i], F_GETFL) | O_NONBLOCK);
	if (failure.error)
		close_all(ours, command->tty ? 1 : 3);
	return failure.error;
}
