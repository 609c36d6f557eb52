#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policy/domain.h"

#define X63 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* text of exactly len bytes in labels of at most 63, ending in ".test" */
static char *
name_of(size_t len, char *out)
{
	for (size_t i = 0; i < len - 5; i++)
		out[i] = i % 60 == 59 && i + 1 < len - 5 ? '.' : 'a';
	memcpy(out + len - 5, ".test", 6);
	return out;
}

static void
names_become_lower_case_a_labels_without_a_final_dot(void **state UNUSED)
{
	static const struct {
		const char *text, *want;
	} t[] = {
	    {"good.test", "good.test"},
	    {"GOOD.Test.", "good.test"},
	    {"a.b-c.d--e.f3", "a.b-c.d--e.f3"},
	    {"r3---sn-x.test", "r3---sn-x.test"}, /* no IDNA rule for what is plain LDH already */
	    {"XN--Bcher-KVA.example", "xn--bcher-kva.example"},
	    {"xn--nothing-real-99999.test", "xn--nothing-real-99999.test"},
	    {"b\xc3\xbc\x63her.example", "xn--bcher-kva.example"},
	    {"B\xc3\x9c\x43HER.Example.", "xn--bcher-kva.example"},
	    {"bu\xcc\x88\x63her.example", "xn--bcher-kva.example"}, /* not NFC */
	    {"fa\xc3\x9f.de", "xn--fa-hia.de"},                     /* IDNA 2008, not fass.de */
	    {"\xe4\xbe\x8b\xe3\x80\x82test", "xn--fsq.test"},       /* ideographic full stop */
	    {"\xe4\xbe\x8b.test\xe3\x80\x82", "xn--fsq.test"},
	    {X63 ".test", X63 ".test"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char out[DOMAIN_MAX + 1] = "", host[HOST_MAX + 1] = "";
		struct errmsg em = {""};

		if (domain_normalize(t[i].text, strlen(t[i].text), out, &em) != DOMAIN_OK ||
		    strcmp(out, t[i].want) != 0)
			fail_msg("row %zu: \"%s\" %s", i, out, em.text);
		if (host_normalize(t[i].text, strlen(t[i].text), host, &em) != DOMAIN_OK ||
		    strcmp(host, t[i].want) != 0)
			fail_msg("row %zu: host \"%s\" %s", i, host, em.text);
	}
}

static void
some_destinations_cannot_have_a_policy(void **state UNUSED)
{
	static const char *const t[] = {"[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1",
	    "192.0.2.1.", "10.1", "2001:db8::1", "::1", "::ffff:192.0.2.1", "localhost",
	    "LOCALHOST.", "a.1", "1", "x" X63 ".test", "b\xc3\xbc\x63her", "foo_bar.test",
	    "_smtp.foo.test", "-a.test", "a-.test",
	    "\xef\xbc\x91.\xef\xbc\x92" /* fullwidth digits become "1.2" */};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char out[DOMAIN_MAX + 1] = "untouched";
		struct errmsg em = {""};

		if (domain_normalize(t[i], strlen(t[i]), out, &em) != DOMAIN_NO_POLICY)
			fail_msg("%s", t[i]);
		assert_string_equal(out, "untouched");
		if (em.text[0] == '\0')
			fail_msg("%s: no reason", t[i]);
	}
}

static void
what_is_no_name_is_invalid(void **state UNUSED)
{
	static const struct {
		const char *text;
		size_t len;
	} t[] = {
#define ROW(s) {s, sizeof(s) - 1}
	    ROW(""), ROW("."), ROW(".."), ROW("a..test"), ROW(".a.test"), ROW("a.test.."),
	    ROW("a b.test"), ROW(" a.test"), ROW("a.test\n"), ROW("a.te\0st"),
	    ROW("b\xc3\xbc\0.test"), ROW("a.test\0"), ROW("a\x7f.test"), ROW("a@b.test"),
	    ROW("a/b.test"), ROW("*.test"), ROW("a\"b.test"), ROW("a:b.test"), ROW("\xff\xfe.test"),
	    ROW("\xc0\xae.test"), ROW("\xed\xa0\x80.test"), ROW("b\xc3\xbc\x63her..test"),
	    ROW("\xe2\x80\x8b.test"), ROW("[1.2.3.4"), ROW("[1.2\n.3.4]"), ROW("_foo..test"),
	    ROW("\xe2\x84\x80.test") /* maps to "a/c" */
#undef ROW
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char out[DOMAIN_MAX + 1] = "untouched";
		struct errmsg em = {""};

		if (domain_normalize(t[i].text, t[i].len, out, &em) != DOMAIN_INVALID)
			fail_msg("row %zu: %s", i, t[i].text);
		assert_string_equal(out, "untouched");
		assert_int_not_equal(em.text[0], '\0');
	}
}

static void
a_policy_domain_leaves_room_for_its_policy_host(void **state UNUSED)
{
	char text[400], out[DOMAIN_MAX + 1];

	assert_int_equal(
	    domain_normalize(name_of(DOMAIN_MAX, text), DOMAIN_MAX, out, NULL), DOMAIN_OK);
	assert_int_equal(strlen(out), DOMAIN_MAX);
	for (size_t len = DOMAIN_MAX + 1; len < 300; len++)
		assert_int_equal(
		    domain_normalize(name_of(len, text), len, out, NULL), DOMAIN_NO_POLICY);
}

static void
a_host_has_up_to_253_characters_and_perhaps_one_label(void **state UNUSED)
{
	char text[400], out[HOST_MAX + 1];

	assert_int_equal(host_normalize(name_of(HOST_MAX, text), HOST_MAX, out, NULL), DOMAIN_OK);
	assert_int_equal(strlen(out), HOST_MAX);
	text[HOST_MAX] = '.';
	assert_int_equal(host_normalize(text, HOST_MAX + 1, out, NULL), DOMAIN_OK);
	assert_int_not_equal(
	    host_normalize(name_of(HOST_MAX + 1, text), HOST_MAX + 1, out, NULL), DOMAIN_OK);
	assert_int_equal(host_normalize("MX", 2, out, NULL), DOMAIN_OK);
	assert_string_equal(out, "mx");
}

static void
names_are_equal_but_for_case_and_one_final_dot(void **state UNUSED)
{
	static const struct {
		const char *a, *b;
		bool want;
	} t[] = {{"a.test", "a.test", true}, {"A.test", "a.TEST", true},
	    {"a.test.", "a.test", true}, {"a.test.", "a.test.", true}, {"", ".", true},
	    {"", "", true}, {"a.test..", "a.test", false}, {"a.test", "b.test", false},
	    {"a.test", "a.tes", false}, {"a.test", "a.test.x", false},
	    {"a[.test", "a{.test", false}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (domain_equal(t[i].a, t[i].b) != t[i].want ||
		    domain_equal(t[i].b, t[i].a) != t[i].want)
			fail_msg("row %zu: %s and %s", i, t[i].a, t[i].b);
}

static void
megabytes_of_name_are_refused_before_they_are_parsed(void **state UNUSED)
{
	static char big[1 << 20];
	char out[DOMAIN_MAX + 1];

	memset(big, 'a', sizeof(big));
	assert_int_equal(domain_normalize(big, sizeof(big), out, NULL), DOMAIN_NO_POLICY);
	for (size_t i = 0; i + 1 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xbc", 2);
	assert_int_equal(domain_normalize(big, sizeof(big), out, NULL), DOMAIN_NO_POLICY);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_become_lower_case_a_labels_without_a_final_dot),
	    cmocka_unit_test(some_destinations_cannot_have_a_policy),
	    cmocka_unit_test(what_is_no_name_is_invalid),
	    cmocka_unit_test(a_policy_domain_leaves_room_for_its_policy_host),
	    cmocka_unit_test(a_host_has_up_to_253_characters_and_perhaps_one_label),
	    cmocka_unit_test(names_are_equal_but_for_case_and_one_final_dot),
	    cmocka_unit_test(megabytes_of_name_are_refused_before_they_are_parsed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
