/* Repairs a home whose content an older version put one level too deep: /root/root/… */
#ifndef UNNEST_H
#define UNNEST_H
#include <stddef.h>

enum unnest { UNNEST_NOTHING, UNNEST_DONE, UNNEST_BLOCKED, UNNEST_FAILED };

/* Moves what is in `top`/`name` up into `top`, all of it or nothing.
 *
 * Nothing is done unless `name` is a directory of the same file system that looks like a home.
 * UNNEST_BLOCKED: `top` has another file of that name, and nothing was moved;
 * `where` then has its path below `top`. UNNEST_FAILED: see errno; what was not moved is in
 * `top`/UNNEST_ASIDE, and the next call goes on with it. No file is ever overwritten or removed. */
enum unnest unnest(int top, const char *name, char *where, size_t size);

#define UNNEST_ASIDE ".banger-unnest"
/* The agent writes authorized_keys anew, so one that is moved up gets this name instead. */
#define UNNEST_KEYS "authorized_keys.nested"
#endif
