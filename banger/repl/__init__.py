"""The shell: ``banger`` on a terminal. A prompt, and commands that run beside it."""
