/* Telling services that keep the guest's identity in memory that it has changed. */
#ifndef TELL_H
#define TELL_H

/* Does it from a process of its own, when the guest has been idle for a moment, at the latest three
 * seconds from now: what the host asks next comes first. A later call takes the place of one that has
 * not acted yet. */
void tell_services(void);
/* What was to be told is not told any more. */
void tell_nothing_more(void);
#endif
