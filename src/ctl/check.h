/*
 * ctl/check.h: what a survey of a domain means for mail from here: the verdict of the daemon's own
 * functions, host by host and in all. Pure: the clock is an argument.
 */
#ifndef CTL_CHECK_H
#define CTL_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "ctl/survey.h"
#include "policy/entry.h"
#include "policy/rules.h"
#include "util/errmsg.h"

enum { CHECK_EXPIRY_WARN_S = 14 * WHEN_DAY_S, CHECK_WARNINGS_MAX = 64 };

/* From the best to the worst: of several domains the worst counts. */
enum check_result {
	CHECK_OK,
	CHECK_NO_POLICY, /* DNS says that there is none, or its mode does: mail flows as always */
	CHECK_WARNING,   /* fine today, but a certificate is about to expire or a host is away */
	CHECK_DNS_TROUBLE,
	CHECK_NO_MAIL,         /* no such domain, or it takes no mail */
	CHECK_UNREACHABLE,     /* no MX host takes mail from here, policy or not */
	CHECK_POLICY_UNUSABLE, /* announced, but not valid or not to be had */
	CHECK_MX_FAILS         /* an MX host does not meet the policy */
};

enum check_mail {
	CHECK_DELIVERED,
	CHECK_PARTLY, /* delivered, but not by every MX host */
	CHECK_DEFERRED,
	CHECK_BOUNCED
};

enum check_host_state {
	CHECK_FITS,
	CHECK_FITS_PARTLY, /* at some of its addresses */
	CHECK_FAILS,
	CHECK_AWAY /* no address of it takes mail from here */
};

struct check_host {
	enum check_host_state state;
	const char *pattern; /* of the policy, which the host matches; NULL: none, or no policy */
	const char *type;    /* of the failure, RFC 8460 section 4.3; NULL: none */
	struct errmsg why;   /* unless CHECK_FITS */
};

/* What the site's configuration says. */
struct check_site {
	enum rule rule; /* for the domain */
	bool observe;
};

struct check {
	enum check_result result;
	enum check_mail mail;
	enum verdict verdict; /* the daemon's, were it to look now and knew nothing yet */
	const char *why;      /* row of the decision table */
	struct errmsg text;   /* what becomes of mail from here, a sentence or two */
	struct check_host host[DNS_MX_MAX];
	size_t n_warnings;
	struct errmsg warning[CHECK_WARNINGS_MAX];
};

void check_judge(
    const struct survey_domain *d, const struct check_site *site, time_t now, struct check *out);

const char *check_result_name(enum check_result r); /* "ok", "warning", ... */
const char *check_mail_name(enum check_mail m);     /* "delivered", ... */
const char *check_host_state_name(enum check_host_state s);

#endif
