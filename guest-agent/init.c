#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "children.h"
#include "clock.h"
#include "cmdline.h"
#include "configure.h"
#include "drives.h"
#include "guest.h"
#include "initramfs.h"
#include "log.h"
#include "modules.h"
#include "net.h"
#include "power.h"
#include "state.h"
#include "terminal.h"
#include "title.h"

enum { ROOT_PATIENCE_MS = 20000, ROOT_STEP_MS = 5, READY_PATIENCE_MS = 60000 };

static void die(const char *step, const char *reason) __attribute__((noreturn));

static void die(const char *step, const char *reason)
{
	log_line("banger-init: FAILED: %s: %s", step, reason);
	power_cut(false);
}

static void mount_kernel_file_systems(void)
{
	static const char *const mounts[][2] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" } };
	for (size_t i = 0; i < 3; i++) {
		mkdir(mounts[i][1], 0755);
		if (mount(mounts[i][0], mounts[i][1], mounts[i][0], MS_NOSUID, NULL) < 0 && errno != EBUSY)
			die(mounts[i][1], strerror(errno));
	}
}

static void mount_root(void)
{
	char serial[DRIVE_PATH_SIZE] = "root", device[DRIVE_PATH_SIZE], given[DRIVE_PATH_SIZE];
	char reason[DRIVE_PATH_SIZE + 32];
	int64_t end = clock_ms() + ROOT_PATIENCE_MS;
	if (cmdline_get("banger.root", given, sizeof given) && *given)
		memcpy(serial, given, sizeof serial);
	while (!drive_find(serial, device)) {
		if (clock_ms() > end) {
			snprintf(reason, sizeof reason, "there is no drive \"%s\"", serial);
			die("root disk", reason);
		}
		clock_sleep_ms(ROOT_STEP_MS);
	}
	mkdir("/newroot", 0755);
	if (mount(device, "/newroot", "ext4", 0, NULL) < 0)
		die("mounting the root disk", strerror(errno));
	log_line("banger-init: root mounted");
}

/* Moves what is mounted into the new root, and makes it the root. */
static void enter_root(void)
{
	static const char *const names[] = { "proc", "sys", "dev" };
	if (chdir("/newroot") < 0)
		die("entering the root", strerror(errno));
	for (size_t i = 0; i < 3; i++) {
		char from[16];
		snprintf(from, sizeof from, "/%s", names[i]);
		mkdir(names[i], 0755);
		if (mount(from, names[i], NULL, MS_MOVE, NULL) < 0)
			die(from, strerror(errno));
	}
	mkdir("run", 0755);
	if (mount("tmpfs", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=20%") < 0)
		die("/run", strerror(errno));
	if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		die("entering the root", strerror(errno));
}

static void become_agent(struct buffer *config, int ready, int stage)
{
	struct buffer result = { 0 };
	bool identity;
	title_set("banger-agent");
	/* Out of init's session and off the console: nothing here may hang on either. */
	setsid();
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (score >= 0) {
		ssize_t written = write(score, "-1000", 5);
		(void)written;
		close(score);
	}
	guest_set(true);
	terminal_mount_when_missing();
	children_begin();
	net_set_up_loopback();
	if (config->length && configure_apply(config->data, config->length, &result, &identity) != 200)
		log_line("banger-init: configuration: %s", result.data ? result.data : "out of memory");
	buffer_free(&result);
	buffer_free(config);
	agent_run(&(struct agent_options){ .serial = true, .ready = ready, .stage = stage });
}

/* Starts the agent and waits until it answers. The pipe whose end tells it that we are done. */
static int start_agent(struct buffer *config, int initramfs)
{
	int ready[2], stage[2];
	if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(stage, O_CLOEXEC) < 0)
		die("agent", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		die("agent", strerror(errno));
	if (pid == 0) {
		close(initramfs);
		close(ready[0]);
		close(stage[1]);
		become_agent(config, ready[1], stage[0]);
	}
	close(ready[1]);
	close(stage[0]);
	struct pollfd poll_ready = { .fd = ready[0], .events = POLLIN };
	char byte;
	if (poll(&poll_ready, 1, READY_PATIENCE_MS) <= 0)
		die("agent", "does not get ready");
	if (read(ready[0], &byte, 1) != 1)
		die("agent", "ended at its start");
	close(ready[0]);
	log_line("banger-init: agent ready");
	return stage[1];
}

static bool find_init(char *path, size_t size)
{
	static const char *const candidates[] = {
		"/sbin/init", "/lib/systemd/systemd", "/etc/init", "/bin/init" };
	if (cmdline_get("banger.init", path, size) && *path)
		return strcmp(path, "agent") != 0;
	for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
		if (access(candidates[i], X_OK) == 0) {
			snprintf(path, size, "%s", candidates[i]);
			return true;
		}
	return false;
}

/* Pid 1 of an image without an init: reaps orphans until someone wants an end.
 * The signals are those of busybox' init. */
static void be_init(void)
{
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGUSR1);
	sigaddset(&wanted, SIGUSR2);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	reboot(RB_DISABLE_CAD);
	for (;;) {
		int number = sigwaitinfo(&wanted, NULL);
		if (number == SIGCHLD)
			children_reap();
		else if (number > 0)
			power_end(number == SIGTERM || number == SIGINT);
	}
}

static void mount_for_services(void)
{
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=620,ptmxmode=666");
	mkdir("/dev/shm", 01777);
	mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
}

void init_main(char **argv)
{
	struct buffer config = { 0 };
	char init[256];
	umask(022);
	mount_kernel_file_systems();
	log_to_console();
	if (cmdline_get("banger.probe", NULL, 0)) {
		log_line("banger-init: PROBE OK");
		power_cut(false);
	}
	modules_load();
	mount_root();
	buffer_read_path(&config, "/banger/guest.json", HTTP_JSON_LIMIT);
	int initramfs = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enter_root();
	int error = state_begin();
	if (error)
		die("agent", strerror(error));
	bool other = find_init(init, sizeof init);
	atomic_store(&state->agent_is_init, !other);
	if (!other)
		mount_for_services();
	int stage = start_agent(&config, initramfs);
	buffer_free(&config);
	initramfs_delete(initramfs);
	if (other) {
		argv[0] = init;
		execv(init, argv);
		die(init, strerror(errno));
	}
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	close(stage);
	be_init();
	power_cut(false);
}
