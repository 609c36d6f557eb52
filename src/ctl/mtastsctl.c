/* mtastsctl: the administrator's hand; mtastsctl(8). */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "ctl/ask.h"
#include "ctl/check_command.h"
#include "ctl/command.h"
#include "ctl/doctor_command.h"
#include "ctl/explain.h"
#include "ctl/lookup.h"
#include "ctl/offline.h"
#include "ctl/selftest_command.h"
#include "site/config.h"

enum {
	OPT_JSON = 256,
	OPT_ALL,
	OPT_CF,
	OPT_SUBMIT_CF,
	OPT_SNIPPET,
	OPT_ONCE,
	OPT_DOMAINS,
	OPT_FROM_QUEUE,
	OPT_FROM_LOG,
	OPT_REQUIRE
};

/* Which options besides --json and --config a command takes. */
enum { TAKES_ALL = 1, TAKES_CF = 2, TAKES_SNIPPET = 4, TAKES_ONCE = 8, TAKES_REQUIRE = 16 };

static const struct command {
	const char *name;
	command_fn *function;
	const char *synopsis; /* operands and options of its own */
	int min, max;         /* operands */
	unsigned takes;
} commands[] = {
    {"query", command_query, "DOMAIN", 1, 1, 0},
    {"explain", command_explain, "DOMAIN | QUEUE-ID", 1, 1, TAKES_CF},
    {"list", command_list, "", 0, 0, 0},
    {"refresh", command_refresh,
	"DOMAIN | --all | --once [--domains FILE] [--from-queue] [--from-log FILE]", 0, 1,
	TAKES_ALL | TAKES_ONCE | TAKES_CF},
    {"forget", command_forget, "DOMAIN", 1, 1, 0},
    {"held", command_held, "", 0, 0, 0},
    {"status", command_status, "", 0, 0, 0},
    {"lookup", command_lookup, "[--] KEY", 1, 1, 0},
    {"doctor", command_doctor, "[--snippet] [--cf FILE] [--submit-cf FILE]", 0, 0,
	TAKES_CF | TAKES_SNIPPET},
    {"selftest", command_selftest, "[--cf FILE]", 0, 0, TAKES_CF},
    {"check", command_check, "[--require] DOMAIN ... | --all", 0, INT_MAX,
	TAKES_ALL | TAKES_REQUIRE},
    {"parse-record", command_parse_record, "FILE | -", 1, 1, 0},
    {"lint", command_lint, "FILE | -", 1, 1, 0},
    {"match", command_match, "PATTERN HOST", 2, 2, 0},
};

static const char help[] =
    "usage: mtastsctl [-c FILE] [--json] COMMAND\n"
    "  query DOMAIN          what is known of a domain's policy, and why\n"
    "  explain DOMAIN|ID     the whole story of a domain, or why a message of Sendmail's queue waits\n"
    "  list                  every domain known\n"
    "  refresh DOMAIN|--all  look at TXT record and policy again; --all: of every domain\n"
    "  refresh --once        without a daemon, from cron: look at what is due, push it\n"
    "  forget DOMAIN         drop what is known of a domain, its requirement too\n"
    "  held                  domains that mail waits for\n"
    "  status                the daemon and its maps\n"
    "  lookup [--] KEY       one live lookup, for Sendmail's program map\n"
    "  doctor                check sendmail.cf, submit.cf, files and sockets\n"
    "  selftest              send mail through Sendmail to hosts that break a policy, in private\n"
    "no daemon needed:\n"
    "  check DOMAIN ...      look at TXT record, policy and every MX host, live; --all: of\n"
    "                        every domain with a policy that mtastsd knows\n"
    "  parse-record FILE|-   judge the TXT records of one name, one a line\n"
    "  lint FILE|-           judge a policy body\n"
    "  match PATTERN HOST    does an MX host match an MX pattern?\n"
    "options:\n"
    "  -c, --config=FILE     read FILE (default: " CONFIG_FILE ")\n"
    "      --json            print JSON\n"
    "      --all             refresh, check: every domain\n"
    "      --require         check: no policy is a failure\n"
    "      --once            refresh without a daemon what is due, and what these name:\n"
    "      --domains=FILE    domains, one a line; - is standard input\n"
    "      --from-queue      domains that mail in Sendmail's queues is for\n"
    "      --from-log=FILE   domains that Sendmail's log has deliveries to\n"
    "      --snippet         doctor: print the lines for sendmail.mc and submit.mc alone\n"
    "      --cf=FILE         read FILE (default: /etc/mail/sendmail.cf)\n"
    "      --submit-cf=FILE  read FILE (default: /etc/mail/submit.cf)\n"
    "  -h, --help            print this\n"
    "  -V, --version         print the version\n";

static const struct option longopts[] = {
    {"config", required_argument, NULL, 'c'},
    {"json", no_argument, NULL, OPT_JSON},
    {"all", no_argument, NULL, OPT_ALL},
    {"require", no_argument, NULL, OPT_REQUIRE},
    {"snippet", no_argument, NULL, OPT_SNIPPET},
    {"once", no_argument, NULL, OPT_ONCE},
    {"domains", required_argument, NULL, OPT_DOMAINS},
    {"from-queue", no_argument, NULL, OPT_FROM_QUEUE},
    {"from-log", required_argument, NULL, OPT_FROM_LOG},
    {"cf", required_argument, NULL, OPT_CF},
    {"submit-cf", required_argument, NULL, OPT_SUBMIT_CF},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static int
misuse(const struct command *command, const char *what)
{
	fprintf(stderr, "mtastsctl: %s", what);
	if (command != NULL)
		fprintf(stderr, "; usage: mtastsctl %s %s", command->name, command->synopsis);
	fputs("\ntry 'mtastsctl --help'\n", stderr);
	return EX_USAGE;
}

static const struct command *
command_named(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* argv from the command's name on. */
static int
run(struct invocation *inv, int n, char **argv)
{
	const struct command *command;

	if (n == 0)
		return misuse(NULL, "a command is wanted");
	if ((command = command_named(argv[0])) == NULL) {
		fprintf(
		    stderr, "mtastsctl: no such command: %s\ntry 'mtastsctl --help'\n", argv[0]);
		return EX_USAGE;
	}
	inv->n = n - 1;
	inv->operand = argv + 1;
	if (inv->n < command->min || inv->n > command->max)
		return misuse(
		    command, inv->n < command->min ? "operand missing" : "too many operands");
	if (inv->all && (command->takes & TAKES_ALL) == 0)
		return misuse(command, "--all is not for this command");
	if ((command->takes & TAKES_ALL) != 0 && inv->all + inv->once + (inv->n > 0) != 1)
		return misuse(command, "a domain is wanted, or what may stand in its place");
	if (inv->once && (command->takes & TAKES_ONCE) == 0)
		return misuse(command, "--once is not for this command");
	if ((inv->from_queue || inv->domains_path != NULL || inv->log_path != NULL) && !inv->once)
		return misuse(command, "--domains, --from-queue and --from-log go with --once");
	if ((inv->cf_path != NULL || inv->submit_path != NULL) && (command->takes & TAKES_CF) == 0)
		return misuse(command, "--cf and --submit-cf are not for this command");
	if (inv->snippet && (command->takes & TAKES_SNIPPET) == 0)
		return misuse(command, "--snippet is not for this command");
	if (inv->require && (command->takes & TAKES_REQUIRE) == 0)
		return misuse(command, "--require is not for this command");
	return command->function(inv);
}

int
main(int argc, char **argv)
{
	struct invocation inv = {.conf = CONFIG_FILE, .in = stdin, .out = stdout, .err = stderr};
	int ch, code;

	while ((ch = getopt_long(argc, argv, "c:hV", longopts, NULL)) != -1)
		switch (ch) {
		case 'c':
			inv.conf = optarg;
			break;
		case OPT_JSON:
			inv.json = true;
			break;
		case OPT_ALL:
			inv.all = true;
			break;
		case OPT_SNIPPET:
			inv.snippet = true;
			break;
		case OPT_ONCE:
			inv.once = true;
			break;
		case OPT_DOMAINS:
			inv.domains_path = optarg;
			break;
		case OPT_FROM_QUEUE:
			inv.from_queue = true;
			break;
		case OPT_FROM_LOG:
			inv.log_path = optarg;
			break;
		case OPT_REQUIRE:
			inv.require = true;
			break;
		case OPT_CF:
			inv.cf_path = optarg;
			break;
		case OPT_SUBMIT_CF:
			inv.submit_path = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return EX_OK;
		case 'V':
			puts("mtastsctl " PACKAGE_VERSION);
			return EX_OK;
		default:
			fputs("try 'mtastsctl --help'\n", stderr);
			return EX_USAGE;
		}
	code = run(&inv, argc - optind, argv + optind);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("mtastsctl: standard output");
		return EX_IOERR;
	}
	return code;
}
