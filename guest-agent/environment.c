#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "state.h"

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct environment {
	char **texts;
	size_t count;
	size_t room;
	bool failed;
};

static void put(struct environment *environment, const char *text)
{
	size_t name = strcspn(text, "=") + 1;
	char *copy = strdup(text);
	if (environment->count + 1 >= environment->room) {
		environment->room = environment->room * 2 + 16;
		char **texts = realloc(environment->texts, environment->room * sizeof *texts);
		if (!texts) {
			free(copy);
			copy = NULL;
		} else {
			environment->texts = texts;
		}
	}
	if (!copy) {
		environment->failed = true;
		return;
	}
	for (size_t i = 0; i < environment->count; i++)
		if (strncmp(environment->texts[i], text, name) == 0) {
			free(environment->texts[i]);
			environment->texts[i] = copy;
			return;
		}
	environment->texts[environment->count++] = copy;
	environment->texts[environment->count] = NULL;
}

static void put_pair(struct environment *environment, const char *name, const char *value)
{
	char text[1200];
	snprintf(text, sizeof text, "%s=%s", name, value);
	put(environment, text);
}

char **command_environment(const struct user *user, bool tty, char **extra, size_t count)
{
	struct environment environment = { 0 };
	put_pair(&environment, "HOME", user->home);
	put_pair(&environment, "USER", user->name);
	put_pair(&environment, "LOGNAME", user->name);
	put_pair(&environment, "SHELL", user->shell);
	put_pair(&environment, "PATH", default_path);
	if (tty)
		put_pair(&environment, "TERM", "xterm-256color");
	struct buffer configured = { 0 };
	if (state_text_get(STATE_ENVIRONMENT, &configured) == 0)
		for (size_t at = 0; at < configured.length; at += strlen(configured.data + at) + 1)
			put(&environment, configured.data + at);
	buffer_free(&configured);
	for (size_t i = 0; i < count; i++)
		put(&environment, extra[i]);
	if (!environment.failed)
		return environment.texts;
	command_environment_free(environment.texts);
	return NULL;
}

void command_environment_free(char **env)
{
	for (char **text = env; text && *text; text++)
		free(*text);
	free(env);
}
