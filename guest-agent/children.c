#include "children.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static void noticed(int number)
{
	(void)number;
}

void children_begin(void)
{
	sigset_t mask;
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGIO);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	struct sigaction action = { .sa_handler = noticed };
	sigaction(SIGCHLD, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int children_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
	sigset_t mask;
	sigprocmask(SIG_BLOCK, NULL, &mask);
	sigdelset(&mask, SIGCHLD);
	struct timespec timeout = { .tv_sec = timeout_ms / 1000,
				    .tv_nsec = timeout_ms % 1000 * 1000000L };
	return ppoll(fds, count, timeout_ms < 0 ? NULL : &timeout, &mask);
}

void children_reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

void children_reset_signals(void)
{
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
