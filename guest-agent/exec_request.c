#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "exec.h"
#include "json.h"

enum { ARGUMENTS_LIMIT = 32768, ENVIRONMENT_LIMIT = 4096 };

struct reading {
	struct exec_request *exec;
	const char *user;
	char *why;
	size_t size;
	char **extra;		/* "NAME=value" of the request's env */
	size_t extra_count;
};

static bool wrong(struct reading *reading, const char *text)
{
	snprintf(reading->why, reading->size, "%s", text);
	return false;
}

static bool take_argv(struct reading *reading, const struct json *value)
{
	if (value->type != JSON_ARRAY || !value->count || value->count > ARGUMENTS_LIMIT)
		return wrong(reading, "argv must be a non-empty list of strings");
	char **argv = calloc(value->count + 1, sizeof *argv);
	free(reading->exec->command.argv);
	reading->exec->command.argv = argv;
	for (struct json *item = value->first; argv && item; item = item->next) {
		if (item->type != JSON_STRING)
			return wrong(reading, "argv must be a non-empty list of strings");
		*argv++ = item->text;
	}
	return argv || wrong(reading, "out of memory");
}

static bool take_env(struct reading *reading, const struct json *value)
{
	if (value->type != JSON_OBJECT || value->count > ENVIRONMENT_LIMIT || reading->extra)
		return wrong(reading, "env must be an object of strings");
	reading->extra = calloc(value->count + 1, sizeof *reading->extra);
	for (struct json *item = value->first; reading->extra && item; item = item->next) {
		if (item->type != JSON_STRING || !*item->key || strchr(item->key, '='))
			return wrong(reading, "env must be an object of strings");
		if (asprintf(&reading->extra[reading->extra_count], "%s=%s", item->key, item->text) < 0)
			return wrong(reading, "out of memory");
		reading->extra_count++;
	}
	return reading->extra || wrong(reading, "out of memory");
}

static bool take_size(struct reading *reading, const struct json *value, unsigned short *size)
{
	if (value->type != JSON_INT || value->integer < 1 || value->integer > 65535)
		return wrong(reading, "rows and cols must be numbers from 1 to 65535");
	*size = (unsigned short)value->integer;
	return true;
}

static bool take_member(struct reading *reading, const struct json *value)
{
	struct exec_request *exec = reading->exec;
	if (strcmp(value->key, "argv") == 0)
		return take_argv(reading, value);
	if (strcmp(value->key, "env") == 0)
		return take_env(reading, value);
	if (strcmp(value->key, "rows") == 0)
		return take_size(reading, value, &exec->command.rows);
	if (strcmp(value->key, "cols") == 0)
		return take_size(reading, value, &exec->command.cols);
	if (strcmp(value->key, "cwd") == 0) {
		if (value->type != JSON_STRING || value->text[0] != '/')
			return wrong(reading, "cwd must be an absolute path");
		exec->command.cwd = value->text;
	} else if (strcmp(value->key, "user") == 0) {
		if (value->type != JSON_STRING)
			return wrong(reading, "user must be a string");
		reading->user = value->text;
	} else if (strcmp(value->key, "tty") == 0) {
		if (value->type != JSON_BOOL)
			return wrong(reading, "tty must be true or false");
		exec->command.tty = value->boolean;
	} else if (strcmp(value->key, "timeout_ms") == 0) {
		if (value->type != JSON_INT || value->integer < 0 || value->integer > INT32_MAX)
			return wrong(reading, "timeout_ms must be a number from 0 to 2147483647");
		exec->timeout_ms = value->integer;
	} else {
		snprintf(reading->why, reading->size, "unknown field %.64s", value->key);
		return false;
	}
	return true;
}

int exec_request_parse(char *body, size_t length, struct exec_request *exec, char *why,
		       size_t size, int *number)
{
	struct reading reading = { .exec = exec, .user = "root", .why = why, .size = size };
	const char *reason;
	int status = 400;
	*number = 0;
	memset(exec, 0, sizeof *exec);
	exec->command.rows = 24;
	exec->command.cols = 80;
	struct json_document *document = json_parse(body, length, &reason);
	if (!document) {
		snprintf(why, size, "bad JSON: %s", reason);
		return 400;
	}
	struct json *root = json_root(document);
	bool good = root->type == JSON_OBJECT || wrong(&reading, "the body must be an object");
	for (struct json *member = root->first; good && member; member = member->next)
		good = take_member(&reading, member);
	if (good && !exec->command.argv)
		good = wrong(&reading, "argv is missing");
	if (good && user_find(reading.user, &exec->command.user) != 0) {
		snprintf(why, size, "unknown user %.64s", reading.user);
		*number = ENOENT;
		status = 422;
	} else if (good) {
		struct command *command = &exec->command;
		user_load_groups(&command->user);
		command->env = command_environment(&command->user, command->tty, reading.extra,
						   reading.extra_count);
		status = command->env ? 0 : 422;
		*number = command->env ? 0 : ENOMEM;
		if (status)
			wrong(&reading, "out of memory");
	}
	for (size_t i = 0; i < reading.extra_count; i++)
		free(reading.extra[i]);
	free(reading.extra);
	json_free(document);
	return status;
}

void exec_request_free(struct exec_request *exec)
{
	free(exec->command.argv);
	command_environment_free(exec->command.env);
}
