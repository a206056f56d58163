/* A running command and its streams: what exec.c, exec_input.c and exec_output.c share. */
#ifndef EXEC_SESSION_H
#define EXEC_SESSION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"
#include "connection.h"
#include "frames.h"

enum {
	OUT_SIZE = 160 * 1024,		/* frames on their way to the host */
	OUT_RESERVE = 1024,		/* kept free for credit and exit frames */
	CHUNK = 32 * 1024,		/* of output read at once */
	CREDIT_STEP = 32 * 1024,	/* consumed input is told in steps of this */
	VEOF_ROOM = 64,			/* typed by us, outside the host's window */
	KILL_GRACE_MS = 2000,
	LAST_WORDS = 1024 * 1024,	/* at most so much is still sent from a dead command's terminal */
};

/* One of the command's output streams. */
struct output {
	int fd;			/* -1: at its end */
	enum frame_type type;
	size_t last_words;	/* once the command is gone: bytes still to be sent */
};

struct exec {
	struct connection *connection;
	struct running running;
	bool tty;
	bool ended;		/* the command is gone, with `status` */
	int status;
	bool timed_out;
	bool lost;		/* the stream makes no sense any more */
	int64_t deadline;	/* of the next signal for lateness; 0: none */
	size_t frame_part;	/* so much of an incomplete frame has come */
	int64_t frame_since;	/* since then; 0: no frame is incomplete */
	bool frame_quiet;	/* for CONNECTION_QUIET_MS already */
	struct output outputs[2];
	bool input_eof;		/* the host has sent its last byte */
	int64_t credit;		/* consumed and not told yet; a VEOF we typed counts -1 */
	size_t input_start, input_end;
	size_t out_start, out_end;
	unsigned char input[FRAME_STDIN_WINDOW + VEOF_ROOM];
	unsigned char out[OUT_SIZE];
};

/* exec_input.c: from the host to the command. */

/* Handles the complete frames that have arrived. False when something else than a frame
 * has: a new client's request, or (with `resync` set) rubbish. */
bool exec_take_frames(struct exec *exec);
/* Writes buffered input to the command, which can take some. */
void exec_feed_input(struct exec *exec);
/* No more input; what is buffered counts as consumed. */
void exec_close_input(struct exec *exec);

/* exec_output.c: from the command to the host. */

/* Does the stream have a descriptor, and the buffer room for a chunk of it? */
bool exec_wants_output(struct exec *exec, const struct output *output);
/* Reads one chunk, if there is any, into a frame. */
void exec_take_output(struct exec *exec, struct output *output);
/* Tells the host how much input was consumed, once it is worth a frame. */
void exec_tell_credit(struct exec *exec);
/* Sends what the connection takes. */
void exec_flush(struct exec *exec);
/* Sends all the rest and the exit frame. */
void exec_finish(struct exec *exec);
#endif
