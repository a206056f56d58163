#ifndef INIT_H
#define INIT_H

/* The initramfs' /init: pid 1 until the image's own init takes over. */
void init_main(char **argv) __attribute__((noreturn));
#endif
