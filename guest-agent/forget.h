/* Makes a template forget whose it was. */
#ifndef FORGET_H
#define FORGET_H

/* Removes what a boot made that no two machines may share: the machine id, SSH host keys, saved random
 * seeds, the credential secret, and the journal written under that machine id. 0 or an errno. */
int forget_identity(void);
#endif
