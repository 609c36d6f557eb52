#include "ctl/cause.h"

#include <string.h>

#include "site/reason.h"
#include "util/cursor.h"

static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

/* The texts are those of the rules: sendmail/feature/mtasts.m4. */
enum cause
cause_of(const char *reason)
{
	static const struct {
		const char *text;
		enum cause cause;
	} t[] = {
	    {"mtasts: policy of ", CAUSE_UNKNOWN},
	    {"mtasts: starttls-not-supported", CAUSE_CHECK},
	    {"mtasts: validation-failure", CAUSE_CHECK},
	    {"mtasts: certificate-host-mismatch", CAUSE_CHECK},
	    {"mtasts: mx-mismatch", CAUSE_CHECK},
	    {"mtasts: policy map", CAUSE_MAP},
	};

	if (*reason == '\0')
		return CAUSE_UNTRIED;
	if (strcmp(reason, "Operating system error") == 0)
		return CAUSE_SYSTEM;
	if (strstr(reason, "mtasts: ") == NULL)
		return CAUSE_OTHER;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (strstr(reason, t[i].text) != NULL)
			return t[i].cause;
	return CAUSE_OURS;
}

enum cause
cause_of_quarantine(const char *reason)
{
	return strncmp(reason, REASON_PREFIX, strlen(REASON_PREFIX)) == 0 ? CAUSE_QUARANTINE
									  : CAUSE_ISOLATED;
}

bool
cause_domain(const char *reason, char out[DOMAIN_MAX + 1])
{
	static const char *const before[] = {"mtasts: policy of ", " for "};
	enum cause cause = cause_of(reason);
	const char *name = NULL;

	if (cause == CAUSE_UNKNOWN || cause == CAUSE_CHECK)
		name = strstr(reason, before[cause == CAUSE_CHECK]);
	if (name == NULL)
		return false;
	name += strlen(before[cause == CAUSE_CHECK]);
	return domain_normalize(name, strcspn(name, " :"), out, NULL) == DOMAIN_OK;
}

const char *
cause_name(enum cause cause)
{
	static const char *const names[] = {[CAUSE_UNTRIED] = "untried",
	    [CAUSE_UNKNOWN] = "policy not known",
	    [CAUSE_CHECK] = "check failed",
	    [CAUSE_MAP] = "policy map",
	    [CAUSE_OURS] = "policy",
	    [CAUSE_QUARANTINE] = "quarantine",
	    [CAUSE_ISOLATED] = "other quarantine",
	    [CAUSE_SYSTEM] = "system error",
	    [CAUSE_OTHER] = "other"};

	return names[cause];
}

bool
cause_is_ours(enum cause cause)
{
	return cause != CAUSE_UNTRIED && cause != CAUSE_ISOLATED && cause != CAUSE_SYSTEM &&
	       cause != CAUSE_OTHER;
}

static json_t *
answer_unknown(const struct cause_facts *f)
{
	const char *domain = text_of(f->entry, "domain"), *verdict = text_of(f->entry, "verdict"),
		   *until = text_of(f->entry, "expires");

	if (strcmp(verdict, "undecided") != 0)
		return json_sprintf(
		    "It waited for the policy of %s, which is known now (%s): the next run of the queue tries it.",
		    domain, verdict);
	if (!f->daemon)
		return json_sprintf(
		    "It waits for the policy of %s to be known, and mtastsd does not run: nobody finds out, and it goes unchecked when away_limit says so.",
		    domain);
	if (*until == '\0')
		return json_sprintf(
		    "It waits until the policy of %s is known: mtastsd is finding out.", domain);
	return json_sprintf(
	    "It waits because DNS does not say whether %s has a policy. mtastsd asks again and again, next at %s; at %s at the latest (hold_max) it goes without a policy.",
	    domain, text_of(f->entry, "recheck"), until);
}

static json_t *
answer_check(const struct cause_facts *f)
{
	const char *domain = text_of(f->entry, "domain"), *verdict = text_of(f->entry, "verdict");

	if (strcmp(verdict, "enforce") != 0)
		return json_sprintf(
		    "The policy of %s forbade the connection; what is known of it now is %s: the next run of the queue tries it.",
		    domain, verdict);
	return json_sprintf(
	    "It waits because the policy of %s forbids the connections that were tried. It goes when one of its MX hosts passes the check, when %s publishes another policy, or when this one ends at %s; Sendmail sends it back at %s.",
	    domain, domain, text_of(f->entry, "expires"), f->gives_up);
}

json_t *
cause_answer(enum cause cause, const struct cause_facts *f)
{
	switch (cause) {
	case CAUSE_UNKNOWN:
		return answer_unknown(f);
	case CAUSE_CHECK:
		return answer_check(f);
	case CAUSE_MAP:
		return json_string(
		    "It waits because Sendmail cannot use the policy map: nobody knows which domains are enforced. mtastsd mends the map by itself, or its log and mtastsctl status tell why not.");
	case CAUSE_OURS:
		return json_sprintf(
		    "It waits because of the policy rules of this site: %s", f->reason);
	case CAUSE_QUARANTINE:
		return json_string(
		    "It is in quarantine, where mtasts-milter put it until the policies of its domains are known; mtasts-release lets it out.");
	case CAUSE_ISOLATED:
		return json_sprintf(
		    "It is in quarantine, where somebody else put it, not mtasts: %s. No run of the queue tries it.",
		    f->reason);
	case CAUSE_UNTRIED:
		return json_sprintf(
		    "It has not been tried yet, or no reason was noted: the next run of the queue tries it; Sendmail sends it back at %s.",
		    f->gives_up);
	case CAUSE_SYSTEM:
		return json_string(
		    "Sendmail noted a system error only; its log has the ruleset= line with the true reason, which may be ours.");
	case CAUSE_OTHER:
		break;
	}
	return json_sprintf(
	    "It waits for another reason, not for mtasts. Sendmail noted: %s. It is sent back at %s.",
	    f->reason, f->gives_up);
}

json_t *
cause_advice(enum cause cause, const struct cause_facts *f)
{
	const char *domain = text_of(f->entry, "domain");

	switch (cause) {
	case CAUSE_UNKNOWN:
		if (!f->daemon)
			return json_string(
			    "Start mtastsd, or without a daemon: mtastsctl refresh --once --from-queue");
		return json_sprintf(
		    "See whether the resolver answers: dig TXT _mta-sts.%s; then mtastsctl refresh %s. To let it go: domain \"%s\" { policy = disable } in mtasts.conf and SIGHUP.",
		    domain, domain, domain);
	case CAUSE_CHECK:
		return json_sprintf(
		    "The other side has to mend it: see mtastsctl check %s. To deliver against its policy: domain \"%s\" { policy = disable } in mtasts.conf and SIGHUP.",
		    domain, domain);
	case CAUSE_QUARANTINE:
		return json_string(
		    "Nothing, mostly: seconds. mtastsctl held tells what is waited for, mtastsctl doctor whether mtasts-release runs.");
	case CAUSE_ISOLATED:
		return json_string("mailq -qQ lists it; sendmail(8) tells of -Q and -qQ.");
	case CAUSE_MAP:
	case CAUSE_SYSTEM:
		return json_string("mtastsctl doctor, as root, finds what is wrong.");
	default:
		return json_null();
	}
}
