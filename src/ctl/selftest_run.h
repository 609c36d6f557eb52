/*
 * ctl/selftest_run.h: one selftest: hosts, mail to them, and what the site's own Sendmail did with
 * it. All of it happens in namespaces of their own; ctl/selftest_stage.h.
 */
#ifndef CTL_SELFTEST_RUN_H
#define CTL_SELFTEST_RUN_H

#include <stdbool.h>
#include <sys/types.h>

#include "ctl/cf.h"
#include "util/errmsg.h"

enum selftest_outcome {
	SELFTEST_DONE,  /* what is promised */
	SELFTEST_WOULD, /* the site observes: delivered, and the log tells the refusal */
	SELFTEST_NOTED, /* nothing was promised: found says why */
	SELFTEST_WRONG  /* found says what happened instead */
};

enum { SELFTEST_STEPS_MAX = 8, SELFTEST_FOUND_MAX = ERRMSG_MAX };

/* Written to the pipe whole, one a step. */
struct selftest_result {
	unsigned char step, outcome;
	char found[SELFTEST_FOUND_MAX];
};

struct selftest_site {
	const char *sendmail; /* its program */
	const char *cf_path;  /* NULL: its own */
	const struct cf *cf;
	const char *lookup; /* mtastsd's first socketmap socket; NULL: none */
	bool observes;      /* mtastsd says so */
};

size_t selftest_steps(void);
const char *selftest_step_name(size_t step);
const char *selftest_step_what(size_t step); /* what is promised, a sentence */

/*
 * Starts a selftest in a child. Results come from *results until its end; a stage that cannot be
 * set up is told as WRONG with the step's number SELFTEST_STEPS_MAX. -1 with a reason.
 */
pid_t selftest_start(const struct selftest_site *site, int *results, struct errmsg *em);

#endif
