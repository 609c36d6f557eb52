/* test_choice.c: sets of rules for those who choose them, as keys of the map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "policy/choice.h"

static struct rules *set, *chosen;

static int
set_up(void **state UNUSED)
{
	set = rules_new();
	chosen = rules_new();
	assert_true(rules_add(set, "*", RULE_HOLD, NULL));
	assert_true(rules_add(set, ".below.example", RULE_DISABLE, NULL));
	assert_true(rules_add(set, "One.Example", RULE_REFUSE, NULL));
	return 0;
}

static int
tear_down(void **state UNUSED)
{
	rules_free(&set);
	rules_free(&chosen);
	return 0;
}

static bool
has(const char *key, enum rule want)
{
	enum rule rule;

	return rules_get(chosen, key, &rule) && rule == want;
}

static void
each_rule_has_a_key_for_each_who_chooses(void **state UNUSED)
{
	assert_true(choice_add(chosen, CHOICE_USER, "Bob+x@Corp.Example", set, NULL));
	assert_true(choice_add(chosen, CHOICE_SENDER, "A.Example.", set, NULL));
	assert_true(choice_add(chosen, CHOICE_LISTENER, "MTA-v4", NULL, NULL));
	assert_int_equal(rules_count(chosen), 1 + 3 + 3 + 1);
	assert_true(has(":sets:", RULE_OPTIONAL));
	assert_true(has(":user:bob+2bx@corp.example:", RULE_HOLD));
	assert_true(has(":user:bob+2bx@corp.example:one.example", RULE_REFUSE));
	assert_true(has(":from:a.example:.below.example", RULE_DISABLE));
	assert_true(has(":port:mta-v4:", RULE_OPTIONAL));
	for (size_t i = 0; i < rules_count(chosen); i++) {
		const char *key = rules_pattern(chosen, i, NULL);

		assert_true(choice_is_key(cursor_of(key, strlen(key))));
	}
	assert_false(choice_is_key(cursor_of(":site:a.example", 15)));
	assert_false(choice_is_key(cursor_of(":ready:", 7)));
}

static void
a_message_is_under_one_set(void **state UNUSED)
{
	static const struct {
		const char *user, *sender, *listener, *domain;
		enum rule want;
	} t[] = {{NULL, NULL, NULL, "other.example", RULE_REFUSE},
	    {"", "", "", "x.example", RULE_OPTIONAL},
	    {"BOB+2bx", "u@b.example", "msa", "x.example", RULE_HOLD},
	    {"bob+2bx", NULL, NULL, "one.example", RULE_REFUSE},
	    {"bob+2bx", NULL, NULL, "a.b.below.example", RULE_DISABLE},
	    {"bob+2bx", NULL, NULL, "below.example", RULE_HOLD},
	    {"bob+2bx", NULL, NULL, "other.example", RULE_HOLD},
	    {"carol", "u@A.example", "msa", "x.example", RULE_HOLD},
	    {NULL, "\"a@b\"@a.example", NULL, "x.example", RULE_HOLD},
	    {NULL, "MAILER-DAEMON", "MSA", "one.example", RULE_OPTIONAL},
	    {NULL, "u@b.example", "msa", "other.example", RULE_OPTIONAL}};
	struct rules *others = rules_new();

	assert_true(rules_add(others, "other.example", RULE_REFUSE, NULL));
	assert_true(choice_add(chosen, CHOICE_USER, "bob+x", set, NULL));
	assert_true(choice_add(chosen, CHOICE_SENDER, "a.example", set, NULL));
	assert_true(choice_add(chosen, CHOICE_LISTENER, "MSA", NULL, NULL));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (choice_find(chosen, others, t[i].user, t[i].sender, t[i].listener,
			t[i].domain) != t[i].want)
			fail_msg("row %zu", i);
	rules_free(&others);
}

static void
what_cannot_choose_is_refused(void **state UNUSED)
{
	static const struct {
		enum choice who;
		const char *text, *why;
	} t[] = {{CHOICE_USER, "", "want letters"}, {CHOICE_USER, "bob smith", "want letters"},
	    {CHOICE_USER, "b:b", "want letters"}, {CHOICE_LISTENER, "x$", "want letters"},
	    {CHOICE_USER,
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"no more than 64"},
	    {CHOICE_SENDER, "single", "single"}, {CHOICE_SENDER, "a.example", "a set already"}};
	struct errmsg em;

	assert_true(choice_add(chosen, CHOICE_SENDER, "a.example", set, NULL));
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		em.text[0] = '\0';
		if (choice_add(chosen, t[i].who, t[i].text, set, &em) ||
		    strstr(em.text, t[i].why) == NULL)
			fail_msg("row %zu: %s", i, em.text);
	}
}

static void
a_key_that_is_too_long_for_the_map_is_refused(void **state UNUSED)
{
	struct errmsg em = {""};
	char domain[221];

	for (size_t i = 0; i < 220; i++)
		domain[i] = i % 50 == 49 ? '.' : 'a';
	domain[220] = '\0';
	assert_true(rules_add(set, domain, RULE_HOLD, NULL));
	assert_false(choice_add(chosen, CHOICE_USER, "a-user-with-a-name", set, &em));
	assert_non_null(strstr(em.text, "too long"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		each_rule_has_a_key_for_each_who_chooses, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_message_is_under_one_set, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_cannot_choose_is_refused, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_key_that_is_too_long_for_the_map_is_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
