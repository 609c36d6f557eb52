/* test_describe.c: the object that `mtastsctl query --json` prints: members and types are an
 * interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "site/describe.h"

enum { NOW = 1790000000 }; /* 2026-09-21T14:13:20Z */

static json_t *object;

/* One member as JSON text, "" when it is not there. */
static const char *
member(const char *name)
{
	static char text[512];
	json_t *value = json_object_get(object, name);
	char *dump = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	snprintf(text, sizeof(text), "%s", dump == NULL ? "" : dump);
	free(dump);
	return text;
}

static void
describe(const struct entry *e, const struct rules *rules, bool pushed)
{
	object = describe_entry("good.example", e, rules, pushed, NOW);
	assert_non_null(object);
}

static int
forget(void **state UNUSED)
{
	json_decref(object);
	object = NULL;
	return 0;
}

static struct entry
enforce(void)
{
	static const char *const mx[] = {"mx1.good.example", "*.good.example"};

	return (struct entry){.state = ENTRY_POLICY,
	    .policy = policy_new(MODE_ENFORCE, 86400, 2, mx),
	    .id = "20260901",
	    .fetched = NOW - 3600,
	    .expires = NOW + 82800,
	    .confirmed = NOW - 60,
	    .recheck = NOW + 60,
	    .refetch = NOW + 3600,
	    .used = NOW - 400,
	    .first = NOW - 4400,
	    .look = {.row = ROW_KEPT_NO_RECORD,
		.at = NOW - 60,
		.txt = TXT_ABSENT,
		.reason = "no TXT record"}};
}

static void
an_enforced_policy_has_every_member(void **state UNUSED)
{
	static const struct {
		const char *name, *want;
	} t[] = {{"domain", "\"good.example\""}, {"verdict", "\"enforce\""}, {"id", "\"20260901\""},
	    {"mode", "\"enforce\""}, {"max_age", "86400"},
	    {"mx", "[\"mx1.good.example\",\"*.good.example\"]"},
	    {"fetched", "\"2026-09-21T13:13:20Z\""}, {"expires", "\"2026-09-22T13:13:20Z\""},
	    {"pushed", "true"}, {"failure", "null"}, {"confirmed", "\"2026-09-21T14:12:20Z\""},
	    {"recheck", "\"2026-09-21T14:14:20Z\""}, {"refetch", "\"2026-09-21T15:13:20Z\""},
	    {"used", "\"2026-09-21T14:06:40Z\""}, {"wanted", "null"}, {"override", "null"},
	    {"unmet", "null"}, {"pattern", "null"}, {"first", "\"2026-09-21T13:00:00Z\""},
	    {"map", "{\"says\":\"enforce\",\"until\":\"2026-09-22T13:13:20Z\"}"},
	    {"look",
		"{\"at\":\"2026-09-21T14:12:20Z\",\"row\":\"policy kept: no valid record\",\"text\":"
		"\"there is no valid TXT record any more; the cached policy stays in force until it expires, so that nobody can strip it\","
		"\"section\":\"3.1\",\"txt\":\"absent\",\"id\":null,\"reason\":\"no TXT record\",\"fetch\":\"not tried\"}"},
	    {"why", "\"the policy that the domain publishes\""}};
	struct entry e = enforce();

	describe(&e, NULL, true);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (strcmp(member(t[i].name), t[i].want) != 0)
			fail_msg("%s: %s, want %s", t[i].name, member(t[i].name), t[i].want);
	assert_int_equal(json_object_size(object), sizeof(t) / sizeof(t[0]));
	entry_clear(&e);
}

static void
an_unknown_domain_has_the_same_members_and_is_undecided(void **state UNUSED)
{
	static const struct {
		const char *name, *want;
	} t[] = {{"verdict", "\"undecided\""}, {"id", "null"}, {"mode", "null"},
	    {"max_age", "null"}, {"mx", "[]"}, {"fetched", "null"}, {"expires", "null"},
	    {"pushed", "false"}, {"failure", "null"}, {"first", "null"}, {"look", "null"},
	    {"map", "null"}};

	describe(NULL, NULL, true); /* what is undecided is never pushed */
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (strcmp(member(t[i].name), t[i].want) != 0)
			fail_msg("%s: %s, want %s", t[i].name, member(t[i].name), t[i].want);
	assert_int_equal(json_object_size(object), 22);
	assert_non_null(strstr(member("why"), "never asked for"));
}

static void
a_failure_has_type_reason_and_time(void **state UNUSED)
{
	struct entry e = {.state = ENTRY_NONE,
	    .expires = NOW + 300,
	    .failure = {.type = STS_WEBPKI_INVALID,
		.at = NOW - 10,
		.retry = NOW + 290,
		.id = "7",
		.reason = "certificate expired"}};

	describe(&e, NULL, true);
	assert_string_equal(member("verdict"), "\"none\"");
	assert_string_equal(member("failure"),
	    "{\"type\":\"sts-webpki-invalid\",\"reason\":\"certificate expired\","
	    "\"at\":\"2026-09-21T14:13:10Z\",\"id\":\"7\",\"retry\":\"2026-09-21T14:18:10Z\"}");
	assert_non_null(strstr(member("why"), "RFC 8461 section 3.3"));
}

static void
an_expired_policy_is_not_shown_as_one_in_force(void **state UNUSED)
{
	struct entry e = enforce();

	e.expires = NOW;
	describe(&e, NULL, true);
	assert_string_equal(member("verdict"), "\"undecided\"");
	assert_string_equal(member("mode"), "null");
	assert_string_equal(member("mx"), "[]");
	assert_string_equal(member("pushed"), "false");
	assert_string_equal(member("map"), "null");
	assert_non_null(strstr(member("look"), "policy kept: no valid record"));
	entry_clear(&e);
}

static struct rules *
rule_for(const char *pattern, enum rule rule)
{
	struct rules *rules = rules_new();

	assert_non_null(rules);
	assert_true(rules_add(rules, pattern, rule, NULL));
	return rules;
}

static void
a_policy_that_the_site_requires_is_named_as_such(void **state UNUSED)
{
	static const char *const mx[] = {"mx1.good.example"};
	struct entry testing = enforce(),
		     none = {.state = ENTRY_NONE, .confirmed = NOW, .expires = NOW + 60};
	struct rules *rules = rule_for(".example", RULE_REFUSE);

	policy_free(testing.policy);
	testing.policy = policy_new(MODE_TESTING, 86400, 1, mx);
	describe(&testing, rules, true);
	assert_string_equal(member("verdict"), "\"enforce\"");
	assert_string_equal(member("mode"), "\"testing\"");
	assert_string_equal(member("override"), "\"require\"");
	assert_string_equal(member("unmet"), "\"refuse\"");
	assert_string_equal(member("pattern"), "\".example\"");
	assert_non_null(strstr(member("why"), "takes it for enforce"));
	json_decref(object);
	describe(&none, rules, true);
	assert_string_equal(member("verdict"), "\"none\"");
	assert_non_null(strstr(member("why"), "requires a policy: mail is refused"));
	rules_free(&rules);
	entry_clear(&testing);
}

static void
a_disabled_domain_is_none_and_says_so(void **state UNUSED)
{
	struct entry e = enforce();
	struct rules *rules = rule_for("good.example", RULE_DISABLE);

	describe(&e, rules, true);
	rules_free(&rules);
	assert_string_equal(member("verdict"), "\"none\"");
	assert_string_equal(member("mode"), "null");
	assert_string_equal(member("override"), "\"disable\"");
	assert_string_equal(member("pushed"), "true");
	entry_clear(&e);
}

static void
maps_that_are_behind_are_not_pushed(void **state UNUSED)
{
	struct entry e = enforce();

	describe(&e, NULL, false);
	assert_string_equal(member("verdict"), "\"enforce\"");
	assert_string_equal(member("pushed"), "false");
	entry_clear(&e);
}

/* Each reason for a verdict is a sentence of its own. */
static void
why_tells_the_row_of_the_table(void **state UNUSED)
{
	struct entry undecided = {.state = ENTRY_UNDECIDED, .expires = NOW + 60, .wanted = NOW};
	struct entry ended = {.state = ENTRY_NONE, .expires = NOW + 60, .wanted = NOW - 1800};
	struct entry none = {.state = ENTRY_NONE, .expires = NOW + 60, .confirmed = NOW - 60};
	struct entry imported = enforce(), kept = enforce();
	const struct {
		const struct entry *e;
		const char *verdict, *says;
	} t[] = {{&undecided, "\"undecided\"", "DNS does not say"},
	    {&ended, "\"none\"", "longest hold"}, {&none, "\"none\"", "no policy"},
	    {&imported, "\"enforce\"", "taken over from the map"},
	    {&kept, "\"enforce\"", "the last attempt to fetch it again failed"}};

	imported.id[0] = '\0';
	kept.failure.type = STS_POLICY_FETCH_ERROR;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		describe(t[i].e, NULL, true);
		if (strcmp(member("verdict"), t[i].verdict) != 0 ||
		    strstr(member("why"), t[i].says) == NULL)
			fail_msg("row %zu: why %s", i, member("why"));
		forget(NULL);
	}
	entry_clear(&imported);
	entry_clear(&kept);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_teardown(test, forget)
	    TEST(an_enforced_policy_has_every_member),
	    TEST(an_unknown_domain_has_the_same_members_and_is_undecided),
	    TEST(a_failure_has_type_reason_and_time),
	    TEST(an_expired_policy_is_not_shown_as_one_in_force),
	    TEST(a_disabled_domain_is_none_and_says_so),
	    TEST(a_policy_that_the_site_requires_is_named_as_such),
	    TEST(maps_that_are_behind_are_not_pushed), TEST(why_tells_the_row_of_the_table)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
