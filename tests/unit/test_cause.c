/* test_cause.c: why a recipient waits, from Sendmail's own words; whose reason it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "ctl/cause.h"
#include "util/errmsg.h"

#define DEFERRED "Deferred: 451 4.4.3 "

static void
a_reason_is_ours_only_when_our_rules_gave_it(void **state UNUSED)
{
	static const struct {
		const char *reason;
		enum cause want;
		bool ours;
	} t[] = {
	    {"", CAUSE_UNTRIED, false},
	    {"mtasts: policy of a.test not known yet", CAUSE_UNKNOWN, true},
	    {DEFERRED "mtasts: policy of a.test not known: mtastsd does not answer", CAUSE_UNKNOWN,
		true},
	    {"mtasts: policy of a.test is being pushed", CAUSE_UNKNOWN, true},
	    {"mtasts: validation-failure verify=FAIL at mx.a.test for a.test", CAUSE_CHECK, true},
	    {"mtasts: mx-mismatch at mx.b.test for a.test", CAUSE_CHECK, true},
	    {"mtasts: certificate-host-mismatch at mx.a.test for a.test", CAUSE_CHECK, true},
	    {"mtasts: starttls-not-supported by mx.a.test for a.test", CAUSE_CHECK, true},
	    {"mtasts: policy map /var/lib/mtasts/map/policy is not complete", CAUSE_MAP, true},
	    {"mtasts: something that a later version says", CAUSE_OURS, true},
	    {"Operating system error", CAUSE_SYSTEM, false},
	    {"Deferred: Connection refused by mx.a.test.", CAUSE_OTHER, false},
	    {"Deferred: 450 4.7.1 host not known here", CAUSE_OTHER, false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (cause_of(t[i].reason) != t[i].want || cause_is_ours(t[i].want) != t[i].ours)
			fail_msg("row %zu: %s", i, cause_name(cause_of(t[i].reason)));
}

static void
a_reason_names_the_domain_whose_policy_it_is_about(void **state UNUSED)
{
	static const struct {
		const char *reason, *want;
	} t[] = {
	    {DEFERRED "mtasts: policy of A.test not known yet", "a.test"},
	    {"mtasts: policy of a.test not known: mtastsd does not answer", "a.test"},
	    {"mtasts: mx-mismatch at mx.b.test for a.test", "a.test"},
	    {"mtasts: policy map /var/lib/mtasts/map/policy is not complete", NULL},
	    {"mtasts: mx-mismatch", NULL},
	    {"Deferred: 450 4.7.1 no time for a.test", NULL},
	    {"", NULL},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char domain[DOMAIN_MAX + 1] = "";

		if (cause_domain(t[i].reason, domain) != (t[i].want != NULL) ||
		    (t[i].want != NULL && strcmp(domain, t[i].want) != 0))
			fail_msg("row %zu: %s", i, domain);
	}
}

static void
the_answer_says_what_is_waited_for_and_until_when(void **state UNUSED)
{
	static const struct {
		enum cause cause;
		const char *verdict, *expires;
		bool daemon;
		const char *want, *advice;
	} t[] = {
	    {CAUSE_UNKNOWN, "undecided", "2026-01-02T00:00:00Z", true,
		"next at RECHECK; at 2026-01-02T00:00:00Z at the latest",
		"dig TXT _mta-sts.a.test"},
	    {CAUSE_UNKNOWN, "undecided", "", true, "is finding out", "dig"},
	    {CAUSE_UNKNOWN, "undecided", "", false, "mtastsd does not run", "Start mtastsd"},
	    {CAUSE_UNKNOWN, "none", "", true, "is known now (none)", "dig"},
	    {CAUSE_CHECK, "enforce", "2026-01-02T00:00:00Z", true,
		"ends at 2026-01-02T00:00:00Z; Sendmail sends it back at GIVES-UP",
		"policy = disable"},
	    {CAUSE_CHECK, "testing", "", true, "now is testing: the next run", "disable"},
	    {CAUSE_MAP, "enforce", "", true, "policy map", "doctor"},
	    {CAUSE_OTHER, "none", "", true,
		"another reason, not for mtasts. Sendmail noted: REASON", NULL},
	    {CAUSE_OTHER, NULL, NULL, false, "sent back at GIVES-UP", NULL},
	    {CAUSE_QUARANTINE, "undecided", "", true, "mtasts-release lets it out", "held"},
	    {CAUSE_ISOLATED, NULL, NULL, true, "somebody else put it, not mtasts: REASON",
		"mailq -qQ"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		json_t *entry =
		    t[i].verdict == NULL
			? json_null()
			: json_pack("{s:s,s:s,s:s,s:s}", "domain", "a.test", "verdict",
			      t[i].verdict, "expires", t[i].expires, "recheck", "RECHECK");
		struct cause_facts f = {"REASON", entry, t[i].daemon, "GIVES-UP"};
		json_t *answer = cause_answer(t[i].cause, &f),
		       *advice = cause_advice(t[i].cause, &f);

		if (strstr(json_string_value(answer), t[i].want) == NULL)
			fail_msg("row %zu: %s", i, json_string_value(answer));
		if (t[i].advice == NULL ? !json_is_null(advice)
					: strstr(json_string_value(advice), t[i].advice) == NULL)
			fail_msg("row %zu: advice %s", i, json_string_value(advice));
		json_decref(answer);
		json_decref(advice);
		json_decref(entry);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_reason_names_the_domain_whose_policy_it_is_about),
	    cmocka_unit_test(a_reason_is_ours_only_when_our_rules_gave_it),
	    cmocka_unit_test(the_answer_says_what_is_waited_for_and_until_when)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
