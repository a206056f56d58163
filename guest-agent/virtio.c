#include "virtio.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "buffer.h"

static void read_attribute(const char *device, const char *name, struct buffer *text)
{
	char path[300];
	snprintf(path, sizeof path, "/sys/bus/virtio/devices/%.200s/%s", device, name);
	buffer_read_path(text, path, 256);
}

static bool matches(const char *device, unsigned type, int feature)
{
	struct buffer id = { 0 }, features = { 0 };
	read_attribute(device, "device", &id);
	bool found = id.length && strtoul(id.data, NULL, 16) == type;
	if (found && feature != VIRTIO_ANY) {
		/* One digit a feature, from number 0 on. */
		read_attribute(device, "features", &features);
		found = features.length > (size_t)feature && features.data[feature] == '1';
	}
	buffer_free(&id);
	buffer_free(&features);
	return found;
}

bool virtio_present(unsigned type, int feature)
{
	bool found = false;
	DIR *devices = opendir("/sys/bus/virtio/devices");
	for (struct dirent *entry; !found && devices && (entry = readdir(devices));)
		found = entry->d_name[0] != '.' && matches(entry->d_name, type, feature);
	if (devices)
		closedir(devices);
	return found;
}
