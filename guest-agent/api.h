#ifndef API_H
#define API_H
#include "connection.h"

/* Serves requests until the host's end closes (or, on a socket, the stream is no longer usable). */
void api_serve(struct connection *connection);
#endif
