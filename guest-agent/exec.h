/* POST /v1/exec: run a command, with its streams as frames on the connection. */
#ifndef EXEC_H
#define EXEC_H
#include <stdint.h>

#include "command.h"
#include "http.h"

struct exec_request {
	struct command command;
	int64_t timeout_ms;
};

/* Fills in a request from its JSON body; argv and env are allocated, cwd points into the body.
 * 0, or the status to answer with and a reason (and errno) to go with it. */
int exec_request_parse(char *body, size_t length, struct exec_request *exec, char *why,
		       size_t size, int *number);
void exec_request_free(struct exec_request *exec);

void exec_handle(struct request *request);
#endif
