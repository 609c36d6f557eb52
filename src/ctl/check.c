#include "ctl/check.h"

#include <stdio.h>
#include <string.h>

#include "policy/decide.h"
#include "policy/mx.h"
#include "policy/ruling.h"

enum { HOLD_S = 1800, LIST_MAX = 256 };

const char *
check_result_name(enum check_result r)
{
	static const char *const names[] = {"ok", "no-policy", "warning", "dns-trouble", "no-mail",
	    "unreachable", "policy-unusable", "mx-fails"};

	return names[r];
}

const char *
check_mail_name(enum check_mail m)
{
	static const char *const names[] = {"delivered", "partly", "deferred", "bounced"};

	return names[m];
}

const char *
check_host_state_name(enum check_host_state s)
{
	static const char *const names[] = {"fits", "fits-partly", "fails", "away"};

	return names[s];
}

static void
at_least(struct check *c, enum check_result result)
{
	if (c->result < result)
		c->result = result;
}

/* --- the daemon's verdict --- */

/* What the daemon would make of the same evidence, knowing nothing yet. */
static void
decide_now(const struct survey_domain *d, enum rule rule, time_t now, struct check *c)
{
	const struct decide_limits limits = {.hold_max_s = HOLD_S};
	struct evidence ev = {.txt = d->txt.result, .ttl_s = d->txt.ttl_s};
	struct entry next;

	snprintf(ev.id, sizeof(ev.id), "%s", d->txt.id);
	snprintf(
	    ev.txt_reason, sizeof(ev.txt_reason), "%.*s", FAILURE_REASON_MAX - 1, d->txt.why.text);
	if (d->fetched) {
		ev.fetch = d->policy != NULL ? FETCH_POLICY : FETCH_FAILED;
		ev.policy = d->policy;
		ev.type = d->fetch_type;
		snprintf(ev.reason, sizeof(ev.reason), "%.*s", FAILURE_REASON_MAX - 1,
		    d->fetch_why.text);
	}
	(void)!decide(NULL, &ev, now, &limits, &next, &c->why);
	c->verdict = ruling_verdict(rule, &next, now);
	entry_clear(&next);
}

static bool
has_rules(const struct check *c)
{
	return c->verdict == VERDICT_ENFORCE || c->verdict == VERDICT_TESTING;
}

/* --- hosts --- */

static const char *
matching_pattern(const struct policy *p, const char *host)
{
	for (size_t i = 0; p != NULL && i < p->n_mx; i++)
		if (mx_match(p->mx[i], host))
			return p->mx[i];
	return NULL;
}

static bool
is_away(enum probe_result r)
{
	return r == PROBE_UNREACHABLE || r == PROBE_NO_SMTP;
}

static void
judge_host(const struct survey_host *h, bool rules, struct check_host *out)
{
	const struct probe_answer *bad = NULL, *away = NULL;
	size_t n_good = 0, bad_at = 0;

	for (size_t i = 0; i < h->addresses.n; i++) {
		const struct probe_answer *a = &h->probe[i];

		if (is_away(a->result))
			away = away != NULL ? away : a;
		else if (a->result == PROBE_OK || !rules)
			n_good++;
		else if (bad == NULL) {
			bad = a;
			bad_at = i;
		}
	}
	if (rules && out->pattern == NULL) {
		out->state = CHECK_FAILS;
		out->type = "validation-failure";
		errmsg_set(&out->why, "no mx of the policy matches it");
	} else if (bad != NULL) {
		out->state = n_good > 0 ? CHECK_FITS_PARTLY : CHECK_FAILS;
		out->type = probe_result_name(bad->result);
		errmsg_set(&out->why, "%s: %s", h->addresses.text[bad_at], bad->why.text);
	} else if (n_good == 0) {
		out->state = CHECK_AWAY;
		errmsg_set(&out->why, "%s", away != NULL ? away->why.text : h->addresses.why.text);
	}
}

/* --- warnings --- */

static void
warn_expiry(struct check *c, const char *whose, const struct cert *cert, time_t now)
{
	if (cert->not_after <= now || cert->not_after >= now + CHECK_EXPIRY_WARN_S ||
	    c->n_warnings == CHECK_WARNINGS_MAX)
		return;
	errmsg_set(&c->warning[c->n_warnings++], "%s: the certificate expires in %ld days", whose,
	    (long)(cert->not_after - now) / WHEN_DAY_S);
}

static void
warn(const struct survey_domain *d, time_t now, struct check *c)
{
	char whose[HOST_MAX + 64];

	snprintf(whose, sizeof(whose), "mta-sts.%s", d->name);
	if (d->has_cert)
		warn_expiry(c, whose, &d->policy_cert, now);
	for (size_t i = 0; i < d->n_hosts; i++) {
		const struct survey_host *h = d->host[i];

		for (size_t j = 0; has_rules(c) && j < h->addresses.n; j++) {
			snprintf(whose, sizeof(whose), "%s at %s", h->name, h->addresses.text[j]);
			if (h->probe[j].has_cert)
				warn_expiry(c, whose, &h->probe[j].cert, now);
		}
		if (c->host[i].state == CHECK_AWAY && c->n_warnings < CHECK_WARNINGS_MAX)
			errmsg_set(
			    &c->warning[c->n_warnings++], "%s: %s", h->name, c->host[i].why.text);
	}
	if (c->n_warnings > 0)
		at_least(c, CHECK_WARNING);
}

/* --- the verdict in all --- */

/* The names of hosts that are usable, or not, with commas. */
static void
list_hosts(const struct survey_domain *d, const struct check *c, char out[LIST_MAX])
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < d->n_hosts && len < LIST_MAX; i++)
		if (c->host[i].state <= CHECK_FITS_PARTLY)
			len += (size_t)snprintf(out + len, LIST_MAX - len, "%s%s%s",
			    len > 0 ? ", " : "", d->host[i]->name,
			    c->host[i].state == CHECK_FITS_PARTLY ? " (some addresses)" : "");
}

static size_t
count(const struct survey_domain *d, const struct check *c, enum check_host_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_hosts; i++)
		n += c->host[i].state == state;
	return n;
}

static const struct check_host *
first_failing(const struct survey_domain *d, const struct check *c, const char **name)
{
	for (size_t i = 0; i < d->n_hosts; i++)
		if (c->host[i].type != NULL) {
			*name = d->host[i]->name;
			return &c->host[i];
		}
	return NULL;
}

/* What a policy that rules does to mail. */
static void
weigh_policy(const struct survey_domain *d, const struct check_site *site, struct check *c)
{
	const char *name = "";
	const struct check_host *bad = first_failing(d, c, &name);
	bool testing = c->verdict == VERDICT_TESTING;
	char hosts[LIST_MAX];

	if (bad == NULL) {
		errmsg_set(&c->text, "delivered: %s",
		    count(d, c, CHECK_AWAY) > 0 ? "every MX host that takes mail meets the policy"
						: "every MX host meets the policy");
		return;
	}
	at_least(c, CHECK_MX_FAILS);
	list_hosts(d, c, hosts);
	if (hosts[0] != '\0') {
		c->mail = CHECK_PARTLY;
		errmsg_set(&c->text, "delivered by these MX hosts only: %s; not by %s: %s (%s)",
		    hosts, name, bad->why.text, bad->type);
	} else {
		c->mail = CHECK_DEFERRED;
		errmsg_set(&c->text, "deferred, as no MX host meets the policy; %s: %s (%s)", name,
		    bad->why.text, bad->type);
	}
	if (testing || site->observe) {
		struct errmsg under = c->text;

		c->mail = CHECK_DELIVERED;
		errmsg_set(&c->text, "delivered, since %s; if it were enforced: %.400s",
		    testing ? "the policy is in testing mode" : "this site only observes",
		    under.text);
	}
}

static void
weigh_none(const struct survey_domain *d, struct check *c)
{
	if (d->policy != NULL) {
		at_least(c, CHECK_NO_POLICY);
		errmsg_set(&c->text, "delivered as without a policy, since its mode is none");
	} else if (d->txt.result == TXT_ABSENT) {
		at_least(c, CHECK_NO_POLICY);
		errmsg_set(&c->text, "delivered as always: the domain has no policy");
	} else {
		at_least(c, CHECK_POLICY_UNUSABLE);
		errmsg_set(&c->text,
		    "delivered as without a policy, unless one from before is in force: %.300s",
		    d->fetched ? d->fetch_why.text : d->txt.why.text);
	}
}

/* The site wants a policy, and none counts. */
static void
weigh_required(const struct survey_domain *d, const struct check_site *site, struct check *c)
{
	const char *why = d->policy != NULL ? "its mode is none"
			  : d->fetched      ? d->fetch_why.text
					    : d->txt.why.text;

	at_least(c, CHECK_POLICY_UNUSABLE);
	c->mail = site->observe               ? CHECK_DELIVERED
		  : site->rule == RULE_REFUSE ? CHECK_BOUNCED
					      : CHECK_DEFERRED;
	errmsg_set(&c->text, "%s%s: mtasts.conf requires a policy for it: %.400s",
	    check_mail_name(c->mail), site->observe ? ", since this site only observes" : "", why);
}

/* True: mail goes nowhere, whatever the policy. */
static bool
no_way(const struct survey_domain *d, struct check *c)
{
	if (d->mx.result == DNS_MX_TEMPFAIL) {
		at_least(c, CHECK_DNS_TROUBLE);
		c->mail = CHECK_DEFERRED;
		errmsg_set(&c->text, "deferred: %s", d->mx.why.text);
	} else if (d->n_hosts == 0 || (d->mx.result == DNS_MX_IMPLICIT &&
					  d->host[0]->addresses.families_without == 2)) {
		at_least(c, CHECK_NO_MAIL);
		c->mail = CHECK_BOUNCED;
		errmsg_set(&c->text, "bounced: %s",
		    d->n_hosts == 0 ? d->mx.why.text : d->host[0]->addresses.why.text);
	} else if (count(d, c, CHECK_AWAY) == d->n_hosts) {
		at_least(c, CHECK_UNREACHABLE);
		c->mail = CHECK_DEFERRED;
		errmsg_set(&c->text, "deferred: no MX host takes mail from here; %s: %s",
		    d->host[0]->name, c->host[0].why.text);
	}
	return c->text.text[0] != '\0';
}

/* The policy counts for the result even where mail goes nowhere for other reasons. */
static void
weigh(const struct survey_domain *d, const struct check_site *site, struct check *c)
{
	bool stopped = no_way(d, c);
	enum check_mail mail = c->mail;
	struct errmsg text = c->text;

	if (site->rule == RULE_DISABLE)
		errmsg_set(&c->text,
		    "delivered: this site's configuration switches policies off for the domain");
	else if (c->verdict == VERDICT_UNDECIDED) {
		at_least(c, CHECK_DNS_TROUBLE);
		c->mail = site->observe ? CHECK_DELIVERED : CHECK_DEFERRED;
		errmsg_set(&c->text, "%s: whether there is a policy is not known: %s",
		    check_mail_name(c->mail), d->txt.why.text);
	} else if (has_rules(c))
		weigh_policy(d, site, c);
	else if (rule_requires(site->rule))
		weigh_required(d, site, c);
	else
		weigh_none(d, c);
	if (stopped) {
		c->mail = mail;
		c->text = text;
	}
}

void
check_judge(
    const struct survey_domain *d, const struct check_site *site, time_t now, struct check *out)
{
	memset(out, 0, sizeof(*out));
	decide_now(d, site->rule, now, out);
	for (size_t i = 0; i < d->n_hosts; i++) {
		out->host[i].pattern = matching_pattern(d->policy, d->host[i]->name);
		judge_host(d->host[i], has_rules(out), &out->host[i]);
	}
	warn(d, now, out);
	weigh(d, site, out);
}
