#include "stats.h"

#include <dirent.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

enum { DISKS_LIMIT = 16, TABLE_LIMIT = 64 * 1024 };

/* A line of /proc/meminfo in bytes; 0 when it is not there. */
static uint64_t memory_line(const char *table, const char *name)
{
	const char *line = table ? strstr(table, name) : NULL;
	uint64_t kib;
	if (!line || sscanf(line + strlen(name), ": %" SCNu64 " kB", &kib) != 1)
		return 0;
	return kib * 1024;
}

static void write_memory(struct buffer *body)
{
	struct buffer table = { 0 };
	buffer_read_path(&table, "/proc/meminfo", TABLE_LIMIT);
	const char *text = table.data;
	buffer_printf(body,
		      ",\"memory\":{\"total_bytes\":%" PRIu64 ",\"available_bytes\":%" PRIu64
		      ",\"swap_total_bytes\":%" PRIu64 ",\"swap_free_bytes\":%" PRIu64 "}",
		      memory_line(text, "MemTotal"), memory_line(text, "MemAvailable"),
		      memory_line(text, "SwapTotal"), memory_line(text, "SwapFree"));
	buffer_free(&table);
}

/* Processes, the kernel's own included. */
static int count_processes(void)
{
	int count = 0;
	DIR *directory = opendir("/proc");
	if (!directory)
		return 0;
	for (struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] >= '1' && entry->d_name[0] <= '9';
	closedir(directory);
	return count;
}

/* Whether the device was met already; else it is remembered. */
static bool seen_before(dev_t *seen, int count, dev_t device)
{
	for (int i = 0; i < count; i++)
		if (seen[i] == device)
			return true;
	seen[count] = device;
	return false;
}

/* File systems on block devices, each once, by the first place it is mounted at. Those that a process
 * serves are left out: they may say what they like, or nothing for ever. */
static void write_disks(struct buffer *body)
{
	dev_t seen[DISKS_LIMIT];
	int count = 0;
	struct mntent entry;
	char line[4096];
	FILE *table = setmntent("/proc/self/mounts", "re");
	buffer_text(body, ",\"disks\":[");
	while (table && count < DISKS_LIMIT && getmntent_r(table, &entry, line, sizeof line)) {
		struct statvfs disk;
		struct stat place;
		if (strncmp(entry.mnt_fsname, "/dev/", 5) != 0 ||
		    strncmp(entry.mnt_type, "fuse", 4) == 0 || statvfs(entry.mnt_dir, &disk) != 0 ||
		    stat(entry.mnt_dir, &place) != 0 || seen_before(seen, count, place.st_dev))
			continue;
		buffer_text(body, count++ ? ",{\"path\":" : "{\"path\":");
		json_write_string(body, entry.mnt_dir);
		buffer_printf(body,
			      ",\"size_bytes\":%" PRIu64 ",\"used_bytes\":%" PRIu64
			      ",\"available_bytes\":%" PRIu64 "}",
			      (uint64_t)disk.f_blocks * disk.f_frsize,
			      (uint64_t)(disk.f_blocks - disk.f_bfree) * disk.f_frsize,
			      (uint64_t)disk.f_bavail * disk.f_frsize);
	}
	if (table)
		endmntent(table);
	buffer_text(body, "]");
}

void stats_handle(struct request *request)
{
	struct buffer body = { 0 };
	struct timespec uptime = { 0 };
	double load[3] = { 0 };
	clock_gettime(CLOCK_BOOTTIME, &uptime);
	if (getloadavg(load, 3) != 3)
		load[0] = load[1] = load[2] = 0;
	buffer_printf(&body, "{\"uptime_ms\":%" PRId64 ",\"load\":[%.2f,%.2f,%.2f],\"processes\":%d",
		      (int64_t)uptime.tv_sec * 1000 + uptime.tv_nsec / 1000000, load[0], load[1],
		      load[2], count_processes());
	write_memory(&body);
	write_disks(&body);
	buffer_text(&body, "}");
	http_reply(request, 200, &body);
}
