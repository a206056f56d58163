/* Starting a command as a user, in a session of its own. */
#ifndef COMMAND_H
#define COMMAND_H
#include <stdbool.h>
#include <sys/types.h>

#include "buffer.h"
#include "users.h"

struct command {
	char **argv;		/* NULL-terminated */
	char **env;		/* NULL-terminated "NAME=value" texts: the whole environment */
	const char *cwd;	/* NULL: the home, or "/" when there is none */
	struct user user;
	bool tty;
	unsigned short rows, cols;
};

/* Our ends are non-blocking. With a TTY all three are the terminal's master side, else `in` can
 * only be written, `out` and `err` only read. */
struct running {
	pid_t pid;
	int in, out, err;
};

/* 0, or an errno with a one-line reason in `why`. */
int command_start(const struct command *command, struct running *running, char *why, size_t size);

/* Runs in a fresh child: becomes `command` with the given standard descriptors, or writes
 * a struct command_failure to `report` and exits. */
struct command_failure { int error; enum { FAILED_USER, FAILED_CWD, FAILED_EXEC } what; };
void command_become(const struct command *command, int in, int out, int err, int report)
	__attribute__((noreturn));

/* The environment: the user's basic variables, the guest configuration's, then `extra` (`count`
 * "NAME=value" texts). A later one replaces an earlier one. NULL: no memory. Free with
 * command_environment_free. */
char **command_environment(const struct user *user, bool tty, char **extra, size_t count);
void command_environment_free(char **env);
#endif
