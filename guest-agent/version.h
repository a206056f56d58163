#ifndef VERSION_H
#define VERSION_H
#define AGENT_VERSION "0.1.0"
enum { PROTOCOL_VERSION = 1, VSOCK_PORT = 7400 };
#endif
