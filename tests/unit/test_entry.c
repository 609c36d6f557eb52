#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/entry.h"

enum { NOW = 1700000000, HOUR_S = 3600, DAY_S = 86400 };

static char mx_test[] = "mx.test", b_test[] = "*.b.test", c_test[] = "*.c.test";
static char *patterns[] = {mx_test, b_test};
static struct policy policies[] = {
    [MODE_NONE] = {MODE_NONE, 30 * DAY_S, 0, NULL},
    [MODE_TESTING] = {MODE_TESTING, 30 * DAY_S, 2, patterns},
    [MODE_ENFORCE] = {MODE_ENFORCE, 30 * DAY_S, 2, patterns},
};

/* A policy of 30 days, fetched and confirmed an hour ago, in use. */
static struct entry
policy_entry(enum mode mode)
{
	return (struct entry){.state = ENTRY_POLICY,
	    .policy = &policies[mode],
	    .id = "a",
	    .fetched = NOW - HOUR_S,
	    .expires = NOW - HOUR_S + 30 * DAY_S,
	    .confirmed = NOW - HOUR_S,
	    .recheck = NOW,
	    .refetch = NOW + 20 * HOUR_S,
	    .used = NOW - HOUR_S};
}

static struct entry
none_entry(void)
{
	return (struct entry){.state = ENTRY_NONE,
	    .expires = NOW + HOUR_S,
	    .confirmed = NOW,
	    .recheck = NOW + HOUR_S / 2,
	    .used = NOW};
}

static struct entry
failed_entry(void)
{
	return (struct entry){.state = ENTRY_NONE,
	    .expires = NOW + 420,
	    .recheck = NOW + 300,
	    .used = NOW,
	    .failure = {.type = STS_WEBPKI_INVALID, .at = NOW, .retry = NOW + 300, .count = 1}};
}

static struct entry
ended_hold_entry(void)
{
	return (struct entry){.state = ENTRY_NONE,
	    .expires = NOW + 600,
	    .recheck = NOW + 480,
	    .wanted = NOW - 1800,
	    .used = NOW};
}

static struct entry
undecided_entry(void)
{
	return (struct entry){.state = ENTRY_UNDECIDED,
	    .wanted = NOW,
	    .expires = NOW + 1800,
	    .recheck = NOW + 15,
	    .used = NOW};
}

static void
the_verdict_is_the_mode_until_the_entry_expires(void **state UNUSED)
{
	static const enum verdict want[] = {[MODE_NONE] = VERDICT_NONE,
	    [MODE_TESTING] = VERDICT_TESTING,
	    [MODE_ENFORCE] = VERDICT_ENFORCE};
	struct entry e;

	for (enum mode m = MODE_NONE; m <= MODE_ENFORCE; m++) {
		e = policy_entry(m);
		assert_int_equal(entry_verdict(&e, e.expires - 1), want[m]);
		assert_int_equal(entry_verdict(&e, e.expires), VERDICT_UNDECIDED);
	}
	e = none_entry();
	assert_int_equal(entry_verdict(&e, e.expires - 1), VERDICT_NONE);
	assert_int_equal(entry_verdict(&e, e.expires), VERDICT_UNDECIDED);
	e = undecided_entry();
	assert_int_equal(entry_verdict(&e, NOW), VERDICT_UNDECIDED);
	assert_int_equal(entry_verdict(NULL, NOW), VERDICT_UNDECIDED);
}

static void
check_requirement(const struct entry *e, enum requirement_kind kind, time_t until)
{
	struct requirement r = entry_requirement(e, NOW);

	assert_int_equal(r.kind, kind);
	assert_int_equal(r.until, until);
	if (kind != REQUIRE_UNKNOWN) { /* its last second, and the one after */
		assert_int_equal(entry_requirement(e, until - 1).kind, kind);
		assert_int_equal(entry_requirement(e, until).kind, REQUIRE_UNKNOWN);
	}
	if (kind != REQUIRE_ENFORCE)
		assert_int_equal(r.n_mx, 0);
}

static void
enforce_is_required_with_its_patterns_until_it_expires(void **state UNUSED)
{
	struct entry e = policy_entry(MODE_ENFORCE);
	struct requirement r = entry_requirement(&e, NOW);

	check_requirement(&e, REQUIRE_ENFORCE, e.expires);
	assert_int_equal(r.n_mx, 2);
	assert_ptr_equal(r.mx, patterns);
	e.confirmed = e.fetched = 0; /* imported from a map */
	check_requirement(&e, REQUIRE_ENFORCE, e.expires);
	e.failure = failed_entry().failure;
	check_requirement(&e, REQUIRE_ENFORCE, e.expires);
}

static void
a_policy_that_requires_nothing_is_none_for_a_week_after_it_was_confirmed(void **state UNUSED)
{
	for (enum mode m = MODE_NONE; m <= MODE_TESTING; m++) {
		struct entry e = policy_entry(m);

		check_requirement(&e, REQUIRE_NONE, e.confirmed + 7 * DAY_S);
		e.confirmed = 0; /* TXT went, the body was fetched an hour ago */
		check_requirement(&e, REQUIRE_NONE, e.fetched + 7 * DAY_S);
		e.expires = NOW + 60;
		check_requirement(&e, REQUIRE_NONE, NOW + 60);
		e.expires = NOW + 30 * DAY_S;
		e.fetched = NOW - 8 * DAY_S;
		check_requirement(&e, REQUIRE_UNKNOWN, 0);
	}
}

static void
only_a_confirmed_none_outlives_its_expiry(void **state UNUSED)
{
	struct entry e = none_entry();

	check_requirement(&e, REQUIRE_NONE, NOW + 7 * DAY_S);
	e.expires = NOW - 1;
	check_requirement(&e, REQUIRE_NONE, NOW + 7 * DAY_S);
	e = failed_entry();
	check_requirement(&e, REQUIRE_NONE, e.expires);
	e = ended_hold_entry();
	check_requirement(&e, REQUIRE_NONE, e.expires);
	e = none_entry();
	e.failure = failed_entry().failure;
	check_requirement(&e, REQUIRE_NONE, e.expires);
}

static void
what_is_not_known_requires_nothing_of_the_map(void **state UNUSED)
{
	struct entry e = undecided_entry();

	check_requirement(&e, REQUIRE_UNKNOWN, 0);
	check_requirement(NULL, REQUIRE_UNKNOWN, 0);
}

static void
requirements_differ_in_kind_time_and_patterns(void **state UNUSED)
{
	char b_copy[] = "*.b.test", *same[] = {mx_test, b_copy}, *other[] = {mx_test, c_test};
	char *first[] = {c_test, b_test};
	struct requirement a = {REQUIRE_ENFORCE, NOW, 2, patterns},
			   b = {REQUIRE_ENFORCE, NOW, 2, same};

	assert_true(requirement_equal(&a, &b));
	b.mx = other;
	assert_false(requirement_equal(&a, &b));
	b.mx = first;
	assert_false(requirement_equal(&a, &b));
	b = a;
	b.n_mx = 1;
	assert_false(requirement_equal(&a, &b));
	b = a;
	b.until++;
	assert_false(requirement_equal(&a, &b));
	b = a;
	b.kind = REQUIRE_NONE;
	assert_false(requirement_equal(&a, &b));
}

static void
a_policy_in_use_is_due_at_its_refetch_or_the_retry_of_a_failed_one(void **state UNUSED)
{
	struct entry e = policy_entry(MODE_ENFORCE);

	assert_int_equal(entry_due(&e, NOW), e.refetch);
	e.failure.retry = NOW + 60; /* earlier than the refetch: does not count */
	assert_int_equal(entry_due(&e, NOW), e.refetch);
	e.refetch = NOW - 60;
	assert_int_equal(entry_due(&e, NOW), NOW + 60);
	e.expires = NOW + 60;
	e.failure.retry = NOW + 61;
	assert_int_equal(entry_due(&e, NOW), e.expires);
}

/* Everything of an entry as a clock that was ahead_s ahead wrote it. */
static void
shift(struct entry *e, time_t ahead_s)
{
	time_t *const times[] = {&e->fetched, &e->expires, &e->confirmed, &e->recheck, &e->refetch,
	    &e->wanted, &e->used, &e->failure.at, &e->failure.retry};

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		if (*times[i] != 0)
			*times[i] += ahead_s;
}

static void
what_a_clock_that_was_ahead_called_none_counts_as_expired(void **state UNUSED)
{
	const struct entry nones[] = {none_entry(), failed_entry(), ended_hold_entry(),
	    policy_entry(MODE_NONE), policy_entry(MODE_TESTING)};

	for (size_t i = 0; i < sizeof(nones) / sizeof(nones[0]); i++) {
		struct entry e = nones[i];

		shift(&e, 365 * DAY_S);
		if (entry_verdict(&e, NOW) != VERDICT_UNDECIDED)
			fail_msg("row %zu: verdict %s", i, verdict_name(entry_verdict(&e, NOW)));
		check_requirement(&e, REQUIRE_UNKNOWN, 0);
		assert_true(entry_stale(&e, NOW));
		assert_int_equal(entry_due(&e, NOW), NOW);
		assert_int_equal(entry_requirement(&e, 0).kind, REQUIRE_NONE); /* in the map yet */
		e = nones[i];
		shift(&e, 60); /* no clock is exact */
		assert_int_not_equal(entry_verdict(&e, NOW), VERDICT_UNDECIDED);
		assert_int_equal(entry_requirement(&e, NOW).kind, REQUIRE_NONE);
	}
}

static void
each_time_of_a_none_tells_that_the_clock_was_ahead(void **state UNUSED)
{
	struct entry e = none_entry();

	e.confirmed = NOW + ENTRY_AHEAD_MAX_S + 1;
	assert_true(entry_ahead(&e, NOW));
	e.confirmed--;
	assert_false(entry_ahead(&e, NOW));
	e.expires = NOW + ENTRY_AHEAD_MAX_S + 1;
	assert_true(entry_ahead(&e, NOW));
	e.expires--;
	assert_false(entry_ahead(&e, NOW));
	e = policy_entry(MODE_TESTING);
	e.fetched = NOW + ENTRY_AHEAD_MAX_S + 1;
	assert_true(entry_ahead(&e, NOW));
}

static void
an_enforce_policy_of_a_clock_that_was_ahead_stands_and_is_looked_at(void **state UNUSED)
{
	struct entry e = policy_entry(MODE_ENFORCE);

	e.recheck = NOW + ENTRY_AHEAD_MAX_S;
	assert_false(entry_stale(&e, NOW));
	e.recheck = NOW + ENTRY_AHEAD_MAX_S + 1;
	assert_true(entry_stale(&e, NOW));
	e.failure.retry = NOW + ENTRY_AHEAD_MAX_S + 1;
	e.refetch = NOW + ENTRY_REFETCH_S;
	assert_int_equal(entry_due(&e, NOW), e.refetch);
	e.refetch++;
	assert_int_equal(entry_due(&e, NOW), NOW);
	shift(&e, 365 * DAY_S);
	assert_int_equal(entry_verdict(&e, NOW), VERDICT_ENFORCE);
	check_requirement(&e, REQUIRE_ENFORCE, e.expires);
	assert_int_equal(entry_due(&e, NOW), NOW);
}

static void
the_hold_of_a_clock_that_was_ahead_is_looked_at(void **state UNUSED)
{
	struct entry e = undecided_entry();

	shift(&e, 365 * DAY_S);
	assert_int_equal(entry_due(&e, NOW), NOW);
}

static void
what_nobody_asks_for_is_due_at_its_end_and_then_forgotten(void **state UNUSED)
{
	struct {
		struct entry e;
		time_t in_use, end;
	} t[] = {
	    {policy_entry(MODE_TESTING), 180 * DAY_S, NOW - HOUR_S + 30 * DAY_S},
	    {none_entry(), 7 * DAY_S, NOW + 7 * DAY_S},
	    {failed_entry(), DAY_S, NOW + 420},
	    {ended_hold_entry(), DAY_S, NOW + 600},
	    {undecided_entry(), DAY_S, NOW + 1800},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct entry *e = &t[i].e;

		e->used = NOW - t[i].in_use + 1;
		if (entry_due(e, NOW) >= t[i].end)
			fail_msg("row %zu: in use, but due at its end", i);
		e->used--;
		if (entry_due(e, NOW) != t[i].end)
			fail_msg("row %zu: due %ld s after its end", i,
			    (long)(entry_due(e, NOW) - t[i].end));
		assert_false(entry_forgettable(e, t[i].end - 1));
		assert_true(entry_forgettable(e, t[i].end));
		e->used = t[i].end;
		assert_false(entry_forgettable(e, t[i].end));
	}
}

static void
a_policy_of_minutes_is_not_fetched_for_months_after_one_message(void **state UNUSED)
{
	struct entry e = policy_entry(MODE_ENFORCE);

	e.fetched = NOW;
	e.expires = NOW + 300;
	e.refetch = NOW + 150;
	e.used = NOW - 2 * HOUR_S + 1;
	assert_int_equal(entry_due(&e, NOW), e.refetch);
	e.used--;
	assert_int_equal(entry_due(&e, NOW), e.expires);
	assert_true(entry_forgettable(&e, e.expires));
	e.expires = NOW + DAY_S; /* a day is no short life */
	e.used = NOW - 2 * DAY_S;
	assert_int_equal(entry_due(&e, NOW), e.refetch);
	e.expires--;
	e.used = NOW - DAY_S + 1;
	assert_int_equal(entry_due(&e, NOW), e.expires);
	e.used = NOW - 2 * HOUR_S;
	e.expires = NOW + 10 * HOUR_S;
	assert_int_equal(entry_due(&e, NOW), e.refetch);
	e.used = NOW - 10 * HOUR_S;
	assert_int_equal(entry_due(&e, NOW), e.expires);
}

static void
a_none_in_use_is_confirmed_daily_or_retried(void **state UNUSED)
{
	struct entry e = none_entry();

	assert_int_equal(entry_due(&e, NOW), NOW + DAY_S);
	e.confirmed = NOW - 2 * DAY_S; /* DNS trouble since */
	assert_int_equal(entry_due(&e, NOW), e.recheck);
	e.confirmed = NOW - 7 * DAY_S + 60;
	e.expires = NOW + 30;
	assert_int_equal(entry_due(&e, NOW), NOW + 60);
	e = failed_entry();
	assert_int_equal(entry_due(&e, NOW), e.failure.retry);
	e = ended_hold_entry();
	assert_int_equal(entry_due(&e, NOW), e.recheck);
	e = undecided_entry();
	assert_int_equal(entry_due(&e, NOW), e.recheck);
	e.recheck = e.expires + 1;
	assert_int_equal(entry_due(&e, NOW), e.expires);
}

static void
a_copy_shares_nothing_and_clear_leaves_zeros(void **state UNUSED)
{
	struct entry from = policy_entry(MODE_ENFORCE), to = {0}, zero = {0};

	from.failure = failed_entry().failure;
	assert_true(entry_copy(&to, &from));
	assert_ptr_not_equal(to.policy, from.policy);
	assert_string_equal(to.policy->mx[1], "*.b.test");
	assert_int_equal(to.failure.retry, from.failure.retry);
	entry_clear(&to);
	assert_memory_equal(&to, &zero, sizeof(to));
	from = none_entry();
	assert_true(entry_copy(&to, &from));
	assert_null(to.policy);
	entry_clear(&to);
}

static void
names_are_those_of_the_standards(void **state UNUSED)
{
	assert_string_equal(verdict_name(VERDICT_UNDECIDED), "undecided");
	assert_string_equal(verdict_name(VERDICT_NONE), "none");
	assert_string_equal(verdict_name(VERDICT_TESTING), "testing");
	assert_string_equal(verdict_name(VERDICT_ENFORCE), "enforce");
	assert_string_equal(sts_type_name(STS_OK), "");
	assert_string_equal(sts_type_name(STS_POLICY_FETCH_ERROR), "sts-policy-fetch-error");
	assert_string_equal(sts_type_name(STS_POLICY_INVALID), "sts-policy-invalid");
	assert_string_equal(sts_type_name(STS_WEBPKI_INVALID), "sts-webpki-invalid");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_verdict_is_the_mode_until_the_entry_expires),
	    cmocka_unit_test(enforce_is_required_with_its_patterns_until_it_expires),
	    cmocka_unit_test(
		a_policy_that_requires_nothing_is_none_for_a_week_after_it_was_confirmed),
	    cmocka_unit_test(only_a_confirmed_none_outlives_its_expiry),
	    cmocka_unit_test(what_is_not_known_requires_nothing_of_the_map),
	    cmocka_unit_test(requirements_differ_in_kind_time_and_patterns),
	    cmocka_unit_test(a_policy_in_use_is_due_at_its_refetch_or_the_retry_of_a_failed_one),
	    cmocka_unit_test(what_a_clock_that_was_ahead_called_none_counts_as_expired),
	    cmocka_unit_test(each_time_of_a_none_tells_that_the_clock_was_ahead),
	    cmocka_unit_test(an_enforce_policy_of_a_clock_that_was_ahead_stands_and_is_looked_at),
	    cmocka_unit_test(the_hold_of_a_clock_that_was_ahead_is_looked_at),
	    cmocka_unit_test(what_nobody_asks_for_is_due_at_its_end_and_then_forgotten),
	    cmocka_unit_test(a_policy_of_minutes_is_not_fetched_for_months_after_one_message),
	    cmocka_unit_test(a_none_in_use_is_confirmed_daily_or_retried),
	    cmocka_unit_test(a_copy_shares_nothing_and_clear_leaves_zeros),
	    cmocka_unit_test(names_are_those_of_the_standards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
