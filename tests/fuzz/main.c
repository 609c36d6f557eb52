/*
 * Runs a fuzz target over files, without a fuzzer: each file and, if it is short, each of its
 * beginnings. Arguments are files or directories; without any, the seeds of the target, which are
 * in tests/fuzz/corpus/ under the source directory ($srcdir) by the name of the program.
 */
#include <dirent.h>
#include <err.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	FILE_MAX = 1 << 20,    /* bytes read of one file */
	PREFIX_FILE_MAX = 1024 /* a longer file is not cut at every byte */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t files_run;

/* An exact heap copy, so that a sanitizer sees one byte too far. */
static void
run_bytes(const unsigned char *bytes, size_t len)
{
	unsigned char *copy = malloc(len == 0 ? 1 : len);

	if (copy == NULL)
		err(1, "malloc");
	memcpy(copy, bytes, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static void
run_file(const char *path)
{
	static unsigned char bytes[FILE_MAX];
	FILE *f = fopen(path, "rb");
	size_t len;

	if (f == NULL)
		err(1, "%s", path);
	len = fread(bytes, 1, sizeof(bytes), f);
	if (ferror(f))
		err(1, "%s", path);
	fclose(f);
	for (size_t n = len <= PREFIX_FILE_MAX ? 0 : len; n < len; n++)
		run_bytes(bytes, n);
	run_bytes(bytes, len);
	files_run++;
}

static void
run_path(const char *path)
{
	struct stat st;
	struct dirent *entry;
	DIR *dir;

	if (stat(path, &st) != 0)
		err(1, "%s", path);
	if (!S_ISDIR(st.st_mode)) {
		run_file(path);
		return;
	}
	dir = opendir(path);
	if (dir == NULL)
		err(1, "%s", path);
	while ((entry = readdir(dir)) != NULL) {
		char name[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		if (snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) >= (int)sizeof(name))
			errx(1, "%s: path too long", path);
		run_path(name);
	}
	closedir(dir);
}

static void
run_seeds(const char *program)
{
	const char *srcdir = getenv("srcdir"), *slash = strrchr(program, '/');
	const char *name = slash == NULL ? program : slash + 1;
	char path[PATH_MAX];

	if (strncmp(name, "fuzz_", 5) != 0)
		errx(1, "usage: %s file-or-directory ...", name);
	if (snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", srcdir == NULL ? "." : srcdir,
		name + 5) >= (int)sizeof(path))
		errx(1, "srcdir: path too long");
	run_path(path);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	if (argc < 2)
		run_seeds(argv[0]);
	printf("%zu files\n", files_run);
	return files_run == 0;
}
