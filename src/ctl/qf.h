/*
 * ctl/qf.h: a queue file of Sendmail (qf, or hf when quarantined), as far as `mtastsctl` looks at
 * it: for whom it waits, and the reasons that Sendmail noted. Pure: bytes in, answers out.
 */
#ifndef CTL_QF_H
#define CTL_QF_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "policy/domain.h"
#include "util/cursor.h"
#include "util/errmsg.h"

enum {
	QF_BYTES_MAX = 1024 * 1024, /* of a file; the rest of a longer one is not looked at */
	QF_RCPTS_MAX = 10000,
	QF_TEXT_MAX = 512 /* bytes with the NUL of an address or a reason; longer ones are cut */
};

struct qf_rcpt {
	char address[QF_TEXT_MAX];   /* as it stands there, without angle brackets */
	char domain[DOMAIN_MAX + 1]; /* policy domain; empty: none, a local name for one */
	char reason[QF_TEXT_MAX];    /* the last try's, for this recipient; empty: none noted */
};

struct qf {
	time_t created, tried; /* 0: not noted */
	unsigned long tries;
	char reason[QF_TEXT_MAX];     /* of the whole message */
	char quarantine[QF_TEXT_MAX]; /* why it is in quarantine; empty: it is not */
	size_t n_rcpts, n_more;       /* n_more: beyond QF_RCPTS_MAX */
	struct qf_rcpt *rcpts;
};

/* False: out of memory. The caller clears out. Text is made one line of printable ASCII. */
MUST_USE bool qf_parse(struct cursor bytes, struct qf *out);
void qf_clear(struct qf *qf);

/* The policy domain of an address; false: it has none. */
bool qf_domain(struct cursor address, char out[DOMAIN_MAX + 1]);

#endif
