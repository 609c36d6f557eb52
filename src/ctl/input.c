#include "ctl/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static enum input_result
read_stream(const char *name, FILE *f, size_t max, struct input *out, struct errmsg *em)
{
	unsigned char *bytes = malloc(max + 1); /* malloc(0) may be NULL */
	size_t len;

	if (bytes == NULL) {
		errmsg_set(em, "%s: out of memory", name);
		return INPUT_FAILED;
	}
	len = fread(bytes, 1, max, f);
	if (ferror(f)) {
		errmsg_set(em, "%s: cannot be read: %s", name, strerror(errno));
		free(bytes);
		return INPUT_FAILED;
	}
	*out = (struct input){bytes, len};
	return INPUT_OK;
}

enum input_result
input_read(const char *path, FILE *in, size_t max, struct input *out, struct errmsg *em)
{
	enum input_result result;
	FILE *f;

	if (strcmp(path, "-") == 0)
		return read_stream("standard input", in, max, out, em);
	if ((f = fopen(path, "re")) == NULL) {
		errmsg_set(em, "%s: cannot be opened: %s", path, strerror(errno));
		return INPUT_ABSENT;
	}
	result = read_stream(path, f, max, out, em);
	fclose(f);
	return result;
}

void
input_clear(struct input *input)
{
	free(input->bytes);
	*input = (struct input){NULL, 0};
}
