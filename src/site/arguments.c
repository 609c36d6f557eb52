#include "site/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

#include "site/config.h"

static const struct option longopts[] = {
    {"config", required_argument, NULL, 'c'},
    {"test", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

int
arguments_read(const char *program, int argc, char **argv, struct arguments *out)
{
	int ch;

	*out = (struct arguments){.conf = CONFIG_FILE};
	while ((ch = getopt_long(argc, argv, "c:thV", longopts, NULL)) != -1)
		switch (ch) {
		case 'c':
			out->conf = optarg;
			break;
		case 't':
			out->test = true;
			break;
		case 'h':
			printf("usage: %s [-c FILE] [-t]\n"
			       "  -c, --config=FILE   read FILE (default: " CONFIG_FILE ")\n"
			       "  -t, --test          test the configuration and exit\n"
			       "  -h, --help          print this and exit\n"
			       "  -V, --version       print the version and exit\n",
			    program);
			return EX_OK;
		case 'V':
			printf("%s " PACKAGE_VERSION "\n", program);
			return EX_OK;
		default:
			fprintf(stderr, "try '%s --help'\n", program);
			return EX_USAGE;
		}
	if (optind < argc) {
		fprintf(stderr, "%s: takes no operands; try '%s --help'\n", program, program);
		return EX_USAGE;
	}
	return ARGUMENTS_RUN;
}
