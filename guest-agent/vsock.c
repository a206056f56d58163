#include "vsock.h"

#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "version.h"

int vsock_listen(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
				       .svm_port = VSOCK_PORT };
	if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
			listen(fd, 32) < 0)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int vsock_accept(int listener)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t length = sizeof peer;
	int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
	/* With the loopback transport any user of the guest could connect, and become root. */
	if (fd >= 0 && peer.svm_cid != VMADDR_CID_HOST) {
		close(fd);
		fd = -1;
	}
	return fd;
}
