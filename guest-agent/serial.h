/* virtio-serial ports, found by name in sysfs: the agent starts before udev makes links. */
#ifndef SERIAL_H
#define SERIAL_H
#include <stdbool.h>

enum { SERIAL_NAME_SIZE = 32 };

/* Device path of port `org.banger.agent.<index>`; false when there is none (yet). */
bool serial_find(int index, char path[SERIAL_NAME_SIZE]);
/* Asks for SIGIO to this process when the host opens, closes or writes. */
void serial_own(int fd);
/* Sleeps until the host's end is open. False: the port is gone. */
bool serial_wait_host(int fd);
/* Discards what the departed host left unread. */
void serial_drain(int fd);
#endif
