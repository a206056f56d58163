#ifndef VSOCK_H
#define VSOCK_H

/* A non-blocking listening socket on AF_VSOCK port VSOCK_PORT, or -1 where there is no vsock. */
int vsock_listen(void);
/* A connection from the host, or -1. Others (the guest's own users) are closed at once. */
int vsock_accept(int listener);
#endif
