/* first_boot: commands run once per root disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "command.h"
#include "log.h"
#include "parts.h"
#include "state.h"

static int run(const struct json *argv, char **env)
{
	struct command command = { .env = env };
	int status = -1;
	command.argv = calloc(argv->count + 1, sizeof *command.argv);
	if (!command.argv || user_find("root", &command.user) != 0)
		return -1;
	user_load_groups(&command.user);
	char **next = command.argv;
	for (struct json *item = argv->first; item; item = item->next)
		*next++ = item->text;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
		int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
		/* Nobody reads the report: a failure is the exit code 127. */
		int nobody = open("/dev/null", O_WRONLY | O_CLOEXEC);
		command_become(&command, null, console, console, nobody);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	free(command.argv);
	return status;
}

/* The marker is made before the commands run: one that restarts the guest must not do so for ever. */
static void run_all(const struct json *commands)
{
	struct user root;
	mkdir("/var", 0755);
	mkdir("/var/lib", 0755);
	mkdir("/var/lib/banger", 0755);
	int marker = open("/var/lib/banger/first-boot", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (marker < 0)
		return;
	user_find("root", &root);
	char **env = command_environment(&root, false, NULL, 0);
	for (struct json *argv = commands->first; argv && env; argv = argv->next) {
		int status = run(argv, env);
		dprintf(marker, "%#x %s\n", (unsigned)status, argv->first->text);
		if (status)
			log_line("banger-agent: first boot: %s: wait status %#x", argv->first->text,
				 (unsigned)status);
	}
}

static bool is_sound(const struct json *value, struct report *report)
{
	if (!part_is_list(value, report))
		return false;
	for (struct json *argv = value->first; argv; argv = argv->next) {
		if (!part_is_strings(argv, report))
			return false;
		if (!argv->count) {
			report_fail(report, EINVAL, "an empty command");
			return false;
		}
	}
	return value->count > 0;
}

void part_first_boot(const struct json *root, const struct json *value, struct report *report)
{
	(void)root;
	if (!is_sound(value, report))
		return;
	pid_t pid = fork();
	if (pid < 0)
		report_fail(report, errno, "can't fork: %s", strerror(errno));
	if (pid != 0)
		return;
	/* The environment's memfd stays; all else belongs to the parent (its port, its pipes). */
	state_close_others();
	children_reset_signals();
	state_wait_system_stage();
	run_all(value);
	_exit(0);
}
