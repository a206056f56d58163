#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "rootpath.h"
#include "users.h"

bool file_path(struct request *request, char *path)
{
	int error = http_parameter(request, "path", path, FILE_PATH_SIZE);
	if (error == ENOENT)
		http_error(request, 400, 0, "the parameter path is missing");
	else if (error)
		http_error(request, 400, 0, "the parameter path is malformed");
	else if (path[0] != '/')
		http_error(request, 400, 0, "the path must be absolute: %.256s", path);
	return !error && path[0] == '/';
}

bool file_mode_and_owner(struct request *request, unsigned standard, unsigned *mode,
			 struct owner *owner)
{
	char text[64];
	struct user user;
	*mode = standard;
	*owner = (struct owner){ 0 };
	int error = http_parameter(request, "mode", text, sizeof text);
	if (!error) {
		size_t digits = strspn(text, "01234567");
		if (!digits || text[digits] || digits > 5 || strtoul(text, NULL, 8) > 07777)
			error = EINVAL;
		else
			*mode = (unsigned)strtoul(text, NULL, 8);
	}
	if (error && error != ENOENT) {
		http_error(request, 400, 0, "mode must be octal, at most 7777");
		return false;
	}
	error = http_parameter(request, "user", text, sizeof text);
	if (error == ENOENT)
		return true;
	if (error) {
		http_error(request, 400, 0, "the parameter user is malformed");
		return false;
	}
	if (user_find(text, &user) != 0) {
		http_error(request, 422, ENOENT, "unknown user %s", text);
		return false;
	}
	*owner = (struct owner){ .uid = user.uid, .gid = user.gid };
	return true;
}
