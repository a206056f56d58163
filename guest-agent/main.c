/* banger's guest agent, and the initramfs' init: one program, the mode chosen by how it is called. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "children.h"
#include "guest.h"
#include "init.h"
#include "rootpath.h"
#include "state.h"
#include "title.h"
#include "version.h"

static int usage(void)
{
	fputs("usage: banger-agent --fd N [--root DIR] | --vsock | --version\n"
	      "  --fd N      serve one connection on descriptor N until its end (for tests)\n"
	      "  --root DIR  lay configurations down below DIR; the machine is left alone\n"
	      "  --vsock     serve AF_VSOCK port 7400\n", stderr);
	return 2;
}

int main(int argc, char **argv, char **envp)
{
	int fd = -1;
	bool vsock = false;
	title_begin(argv, envp);
	if (getpid() == 1 && strcmp(argv[0], "/init") == 0)
		init_main(argv);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--version") == 0) {
			puts("banger-agent " AGENT_VERSION);
			return 0;
		} else if (strcmp(argv[i], "--vsock") == 0) {
			vsock = true;
		} else if (strcmp(argv[i], "--fd") == 0 && i + 1 < argc) {
			fd = atoi(argv[++i]);
		} else if (strcmp(argv[i], "--root") == 0 && i + 1 < argc) {
			rootpath_set(argv[++i]);
		} else {
			return usage();
		}
	}
	if (vsock == (fd >= 0))
		return usage();
	int error = state_begin();
	if (error) {
		fprintf(stderr, "banger-agent: %s\n", strerror(error));
		return 1;
	}
	children_begin();
	state_enter_system_stage();
	if (vsock)
		agent_run(&(struct agent_options){ .ready = -1, .stage = -1 });
	agent_serve_stream(fd, true);
	return 0;
}
