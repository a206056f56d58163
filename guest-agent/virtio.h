/* The machine's virtio devices. */
#ifndef VIRTIO_H
#define VIRTIO_H
#include <stdbool.h>

/* Device types and features of the VIRTIO specification, chapter 5. */
enum { VIRTIO_CONSOLE = 3, VIRTIO_BALLOON = 5, VIRTIO_VSOCK = 19 };
enum { VIRTIO_ANY = -1, VIRTIO_BALLOON_REPORTING = 5 };

/* Is there a device of that type, with that feature agreed on with its driver (or VIRTIO_ANY)? */
bool virtio_present(unsigned type, int feature);
#endif
