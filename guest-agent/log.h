/* One-line messages to the person at the console (in a guest) or on stderr (in tests). */
#ifndef LOG_H
#define LOG_H

/* From now on messages go to /dev/console, opened anew for each: nothing keeps it busy. */
void log_to_console(void);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
#endif
