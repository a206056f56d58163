/* What all processes of the agent share: a small mapping and a few texts behind memfds. */
#ifndef STATE_H
#define STATE_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"

enum {
	STATE_SERIAL_PORTS = 8,
	STATE_VSOCK_CONNECTIONS = 32,
	STATE_SLOTS = STATE_SERIAL_PORTS + STATE_VSOCK_CONNECTIONS,
};

struct state {
	atomic_int system_stage;	/* 0: early; a futex */
	atomic_bool agent_is_init;
	atomic_uint telling;		/* counts up when services are to be told of an identity */
	atomic_bool in_slot[STATE_SLOTS];	/* a command runs in that worker */
};

/* `STATE_ENVIRONMENT` holds "NAME=value" texts, `STATE_PARKED_TIMERS` names of units, each with its NUL. */
enum state_text { STATE_ENVIRONMENT, STATE_CONFIGURED, STATE_PARKED_TIMERS, STATE_TEXTS };

extern struct state *state;

/* Call once, before any fork. 0 or an errno. */
int state_begin(void);
/* Closes every descriptor above 2 except the state's own, in a child that lives on its own. */
void state_close_others(void);
/* How this process marks that it runs a command. */
void state_use_slot(int slot);
void state_set_busy(bool busy);
int state_sessions(void);

void state_enter_system_stage(void);
void state_wait_system_stage(void);

/* Serialises configurations, between processes too. */
void state_lock(void);
void state_unlock(void);
int state_text_set(enum state_text text, const void *data, size_t length);
int state_text_get(enum state_text text, struct buffer *out);
#endif
