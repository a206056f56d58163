#include "power.h"

#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "children.h"
#include "clock.h"
#include "cmdline.h"
#include "guest.h"
#include "log.h"
#include "state.h"

enum { PATIENCE_MS = 3000, STEP_MS = 20 };

void power_cut(bool reboot_it)
{
	char off[16];
	sync();
	cmdline_get("banger.off", off, sizeof off);
	reboot(reboot_it || strcmp(off, "reset") == 0 ? RB_AUTOBOOT : RB_POWER_OFF);
	for (;;)
		pause();
}

/* Unmounts the last mounted first; what is busy, and the root, becomes read-only. */
static void unmount_all(void)
{
	struct buffer text = { 0 };
	if (buffer_read_path(&text, "/proc/self/mounts", 1 << 20) != 0)
		return;
	for (char *line; text.length; *line = '\0', text.length = (size_t)(line - text.data)) {
		if (text.data[text.length - 1] == '\n')
			text.data[text.length - 1] = '\0';
		line = strrchr(text.data, '\n');
		line = line ? line + 1 : text.data;
		char *fields = line, *device = strsep(&fields, " "), *where = strsep(&fields, " ");
		char *type = strsep(&fields, " ");
		if (!device || !where || !type)
			break;
		bool kernels = strcmp(type, "proc") == 0 || strcmp(type, "devtmpfs") == 0;
		if (!kernels && (strcmp(where, "/") == 0 || umount2(where, 0) < 0))
			mount(NULL, where, NULL, MS_REMOUNT | MS_RDONLY, NULL);
	}
	buffer_free(&text);
}

void power_end(bool reboot_it)
{
	const int signals[] = { SIGTERM, SIGKILL };
	for (int i = 0; i < 2; i++) {
		kill(-1, signals[i]);
		kill(-1, SIGCONT);
		for (int waited = 0; waited < PATIENCE_MS; waited += STEP_MS) {
			pid_t pid;
			while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
				;
			/* Orphans are pid 1's children, so without children there is nobody left. */
			if (pid < 0)
				break;
			clock_sleep_ms(STEP_MS);
		}
	}
	sync();
	unmount_all();
	power_cut(reboot_it);
}

/* Runs the image's own command; false when there is none or it fails. */
static bool run_command(bool reboot_it)
{
	static const char *const directories[] = { "/sbin", "/usr/sbin", "/bin", "/usr/bin" };
	char *const clean[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
		char path[32];
		snprintf(path, sizeof path, "%s/%s", directories[i], reboot_it ? "reboot" : "poweroff");
		if (access(path, X_OK) < 0)
			continue;
		int status = 0;
		pid_t pid = fork();
		if (pid == 0) {
			execle(path, path, (char *)NULL, clean);
			_exit(127);
		}
		if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
			return true;
	}
	return false;
}

/* In a process of its own: it outlives the request, and the request's connection. */
static void ask_init(bool reboot_it)
{
	enum { TRIES = 20, RETRY_MS = 3000 };
	/* Nothing to be orderly about before there is an init. */
	if (!atomic_load(&state->system_stage))
		power_cut(reboot_it);
	bool asked = false;
	for (int i = 0; i < TRIES; i++) {
		const char *init = guest_init();
		if (strcmp(init, "agent") == 0)
			kill(1, reboot_it ? SIGTERM : SIGUSR2);
		else if (strcmp(init, "systemd") == 0)
			kill(1, SIGRTMIN + (reboot_it ? 5 : 4));
		else if (run_command(reboot_it))
			asked = true;
		/* An init that is still starting may not have heard us. runit takes the command in
		 * its stage 1, says yes, and forgets it. */
		clock_sleep_ms(RETRY_MS);
	}
	if (asked || strcmp(guest_init(), "other") != 0)
		_exit(0);
	log_line("banger-agent: the image's init can't be asked to end; cutting the power");
	power_cut(reboot_it);
}

void power_handle(struct request *request, bool reboot_it)
{
	if (!is_guest()) {
		http_error(request, 422, EPERM, "this agent does not run in a guest");
		return;
	}
	http_reply_empty_object(request, 202);
	if (fork() != 0)
		return;
	children_reset_signals();
	close_range(0, ~0U, 0);
	open("/dev/null", O_RDWR);
	dup2(0, 1);
	dup2(0, 2);
	setsid();
	/* Let the reply leave. */
	clock_sleep_ms(50);
	ask_init(reboot_it);
	_exit(0);
}
