/*
 * tests/lab/mapwriter.c: commits to the Sendmail policy map as mtastsd does, by the same code, but
 * without its pace of one a second, until it is ended by SIGTERM; then prints how many there were.
 * SIGUSR1 turns DOMAIN, enforced with the one pattern MX at the beginning, to none, and back.
 * mapwriter FILE PAUSE_MS DOMAIN MX
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "maps/bdb.h"
#include "util/log.h"

enum { DOMAINS = 300, FAR = 100000 };

static volatile sig_atomic_t stopping, turned;

static void
stop(int sig)
{
	stopping = sig;
}

static void
turn(int sig UNUSED)
{
	turned = !turned;
}

/* Each commit turns one domain from nothing to enforce, to none, and to nothing again, in turn. */
static enum sink_result
change(struct sink *s, unsigned long n, struct errmsg *em)
{
	char pattern[] = "*.mx.filler.test", *mx[] = {pattern}, domain[64];
	time_t until = time(NULL) + FAR;
	struct requirement states[] = {{.kind = REQUIRE_UNKNOWN}, {REQUIRE_ENFORCE, until, 1, mx},
	    {REQUIRE_NONE, until, 0, NULL}};
	unsigned long turn = n / DOMAINS;

	snprintf(domain, sizeof(domain), "filler%lu.test", n % DOMAINS);
	return s->ops->set(s, domain, &states[turn % 3], &states[(turn + 1) % 3], em);
}

/* The one domain that somebody looks at. */
static enum sink_result
flip(struct sink *s, char **argv, bool to_none, struct errmsg *em)
{
	time_t until = time(NULL) + FAR;
	struct requirement enforce = {REQUIRE_ENFORCE, until, 1, &argv[4]},
			   none = {REQUIRE_NONE, until, 0, NULL};

	return to_none ? s->ops->set(s, argv[3], &enforce, &none, em)
		       : s->ops->set(s, argv[3], &none, &enforce, em);
}

int
main(int argc, char **argv)
{
	struct errmsg em = {""};
	struct bdb_config config = {.path = argc == 5 ? argv[1] : NULL, .none_max = 100000};
	struct sink_state state = {.alive_until = time(NULL) + FAR};
	struct sigaction end = {.sa_handler = stop}, change_it = {.sa_handler = turn};
	enum sink_result rc = SINK_OK;
	unsigned long n = 0;
	bool is_none = false;
	struct sink *s;

	if (config.path == NULL) {
		fputs("usage: mapwriter FILE PAUSE_MS DOMAIN MX\n", stderr);
		return EX_USAGE;
	}
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGUSR1, &change_it, NULL);
	log_open("mapwriter", false, false);
	s = bdb_open(&config, &em);
	while (s != NULL && rc == SINK_OK && !stopping) {
		bool want_none = turned;

		rc = s->ops->begin(s, &em);
		if (rc == SINK_OK)
			rc = want_none == is_none ? change(s, n, &em)
						  : flip(s, argv, want_none, &em);
		if (rc == SINK_OK)
			rc = s->ops->commit(s, &state, &em);
		n += rc == SINK_OK && want_none == is_none; /* change() counts on it */
		is_none = want_none;
		usleep((useconds_t)atoi(argv[2]) * 1000);
	}
	if (s == NULL || rc != SINK_OK) {
		fprintf(stderr, "mapwriter: %s\n", em.text);
		return EX_SOFTWARE;
	}
	s->ops->close(s);
	printf("%lu\n", n);
	return EX_OK;
}
