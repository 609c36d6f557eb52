/* test_rules.c: the site's own rules: which of several rules a domain gets, and what is no rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/ruling.h"

static struct rules *rules;

static int
make(void **state UNUSED)
{
	rules = rules_new();
	return rules == NULL ? -1 : 0;
}

static int
unmake(void **state UNUSED)
{
	rules_free(&rules);
	return 0;
}

static void
add(const char *pattern, enum rule rule)
{
	struct errmsg em = {""};

	if (!rules_add(rules, pattern, rule, &em))
		fail_msg("%s: %s", pattern, em.text);
}

static void
a_site_without_rules_leaves_it_to_the_domain(void **state UNUSED)
{
	assert_int_equal(rules_find(NULL, "a.example", NULL), RULE_OPTIONAL);
	assert_int_equal(rules_find(rules, "a.example", NULL), RULE_OPTIONAL);
	assert_int_equal(rules_count(NULL), 0);
}

static void
the_longest_pattern_wins(void **state UNUSED)
{
	static const struct {
		const char *domain;
		enum rule want;
	} t[] = {
	    {"a.example", RULE_DISABLE}, {"other.example", RULE_OPTIONAL},
	    {"b.test", RULE_DISABLE},           /* * */
	    {"corp.test", RULE_DISABLE},        /* .corp.test is what is below it */
	    {"x.corp.test", RULE_OPTIONAL},     /* .corp.test */
	    {"y.x.corp.test", RULE_OPTIONAL},   /* at any depth */
	    {"lab.corp.test", RULE_DISABLE},    /* itself */
	    {"z.lab.corp.test", RULE_OPTIONAL}, /* a domain alone is not what is below it */
	    {"xcorp.test", RULE_DISABLE},       /* whole labels only */
	};

	const char *pattern;

	add("*", RULE_DISABLE);
	add(".example", RULE_OPTIONAL);
	add("A.Example.", RULE_DISABLE);
	add(".Corp.Test", RULE_OPTIONAL);
	add("lab.corp.test", RULE_DISABLE);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (rules_find(rules, t[i].domain, NULL) != t[i].want)
			fail_msg("row %zu: %s: want %s", i, t[i].domain, rule_name(t[i].want));
	(void)rules_find(rules, "y.x.corp.test", &pattern);
	assert_string_equal(pattern, ".corp.test");
}

static void
they_stand_in_order_and_are_found_by_their_pattern(void **state UNUSED)
{
	enum rule rule = RULE_OPTIONAL;

	add("b.example", RULE_OPTIONAL);
	add("*", RULE_OPTIONAL);
	add("a.example", RULE_DISABLE);
	assert_int_equal(rules_count(rules), 3);
	assert_string_equal(rules_pattern(rules, 0, &rule), "*");
	assert_string_equal(rules_pattern(rules, 1, &rule), "a.example");
	assert_int_equal(rule, RULE_DISABLE);
	assert_string_equal(rules_pattern(rules, 2, &rule), "b.example");
	assert_true(rules_get(rules, "a.example", &rule));
	assert_int_equal(rule, RULE_DISABLE);
	assert_false(rules_get(rules, ".a.example", &rule));
}

static void
what_is_no_pattern_or_there_twice_is_refused(void **state UNUSED)
{
	static const char *const bad[] = {"", ".", "[192.0.2.1]", "192.0.2.1", "localhost",
	    "*.example", "a..example", "a b.example", "B.example."};

	add("b.example", RULE_DISABLE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct errmsg em = {""};

		if (rules_add(rules, bad[i], RULE_OPTIONAL, &em) || em.text[0] == '\0')
			fail_msg("\"%s\" was taken, or refused without a reason", bad[i]);
	}
	assert_int_equal(rules_count(rules), 1);
	assert_int_equal(rules_find(rules, "b.example", NULL), RULE_DISABLE);
}

/* What a rule makes of what we know of a domain: of the mail (verdict) and of the map. */
static void
a_required_policy_is_one_that_is_in_force(void **state UNUSED)
{
	static const char *const mx[] = {"mx.example"};
	enum { NOW = 1000000 };
	struct policy *enforced = policy_new(MODE_ENFORCE, 86400, 1, mx),
		      *testing = policy_new(MODE_TESTING, 86400, 1, mx),
		      *none = policy_new(MODE_NONE, 86400, 0, NULL);
	const struct {
		const char *what;
		struct entry e;
		enum verdict optional, required;
		enum requirement_kind optional_map, required_map;
	} t[] = {
	    {"enforce",
		{.state = ENTRY_POLICY, .policy = enforced, .expires = NOW + 9, .confirmed = NOW},
		VERDICT_ENFORCE, VERDICT_ENFORCE, REQUIRE_ENFORCE, REQUIRE_ENFORCE},
	    {"testing",
		{.state = ENTRY_POLICY, .policy = testing, .expires = NOW + 9, .confirmed = NOW},
		VERDICT_TESTING, VERDICT_ENFORCE, REQUIRE_NONE, REQUIRE_ENFORCE},
	    {"expired testing",
		{.state = ENTRY_POLICY, .policy = testing, .expires = NOW, .confirmed = NOW},
		VERDICT_UNDECIDED, VERDICT_UNDECIDED, REQUIRE_UNKNOWN, REQUIRE_UNKNOWN},
	    {"mode none",
		{.state = ENTRY_POLICY, .policy = none, .expires = NOW + 9, .confirmed = NOW},
		VERDICT_NONE, VERDICT_NONE, REQUIRE_NONE, REQUIRE_UNKNOWN},
	    {"no record", {.state = ENTRY_NONE, .expires = NOW + 9, .confirmed = NOW}, VERDICT_NONE,
		VERDICT_NONE, REQUIRE_NONE, REQUIRE_UNKNOWN},
	    {"a fetch that failed",
		{.state = ENTRY_NONE,
		    .expires = NOW + 9,
		    .failure = {.type = STS_POLICY_FETCH_ERROR}},
		VERDICT_NONE, VERDICT_NONE, REQUIRE_NONE, REQUIRE_UNKNOWN},
	    {"DNS that did not say", {.state = ENTRY_NONE, .expires = NOW + 9}, VERDICT_NONE,
		VERDICT_UNDECIDED, REQUIRE_NONE, REQUIRE_UNKNOWN},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		const struct entry *e = &t[i].e;

		if (ruling_verdict(RULE_OPTIONAL, e, NOW) != t[i].optional ||
		    ruling_verdict(RULE_HOLD, e, NOW) != t[i].required ||
		    ruling_verdict(RULE_REFUSE, e, NOW) != t[i].required ||
		    ruling_verdict(RULE_DISABLE, e, NOW) != VERDICT_NONE)
			fail_msg("%s: another verdict", t[i].what);
		if (ruling_requirement(RULE_OPTIONAL, e, NOW).kind != t[i].optional_map ||
		    ruling_requirement(RULE_HOLD, e, NOW).kind != t[i].required_map ||
		    ruling_requirement(RULE_DISABLE, e, NOW).kind != REQUIRE_UNKNOWN)
			fail_msg("%s: another requirement", t[i].what);
	}
	assert_int_equal(
	    ruling_requirement(RULE_HOLD, &t[2].e, 0).kind, REQUIRE_ENFORCE); /* still in a map */
	assert_int_equal(ruling_verdict(RULE_HOLD, NULL, NOW), VERDICT_UNDECIDED);
	policy_free(enforced);
	policy_free(testing);
	policy_free(none);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	    TEST(a_site_without_rules_leaves_it_to_the_domain), TEST(the_longest_pattern_wins),
	    TEST(they_stand_in_order_and_are_found_by_their_pattern),
	    TEST(a_required_policy_is_one_that_is_in_force),
	    TEST(what_is_no_pattern_or_there_twice_is_refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
