/* GET and PUT of files and directories of the guest. */
#ifndef FILES_H
#define FILES_H
#include "http.h"
#include "rootpath.h"

void file_get(struct request *request);
void file_put(struct request *request);
void directory_get(struct request *request);
void directory_put(struct request *request);

enum { FILE_PATH_SIZE = 4096 };

/* The decoded `path` of the query. False when a reply with the reason was sent. */
bool file_path(struct request *request, char *path);
/* The decoded `mode` and `user` of the query, or their defaults. False: a reply was sent. */
bool file_mode_and_owner(struct request *request, unsigned standard, unsigned *mode,
			 struct owner *owner);
#endif
