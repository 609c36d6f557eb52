/* test_mapkey.c: keys and values of the Sendmail policy map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "maps/mapkey.h"

#define LABEL "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" /* 60 */

static void
a_key_is_of_a_kind_that_we_write_or_strange(void **state UNUSED)
{
	static const struct {
		const char *key;
		enum mapkey_kind kind;
		const char *domain, *pattern;
	} t[] = {
	    {"good.test", MAPKEY_DOMAIN, "good.test", ""},
	    {"good.test:mxa.good.test", MAPKEY_PATTERN, "good.test", "mxa.good.test"},
	    {"good.test:.example.net", MAPKEY_PATTERN, "good.test", "*.example.net"},
	    {":ready:", MAPKEY_STATE, "", ""},
	    {":site:", MAPKEY_SITE, ":site:", ""},
	    {":site:.example.net", MAPKEY_SITE, ":site:.example.net", ""},
	    {":user:bob@corp.test:.example.net", MAPKEY_SITE, ":user:bob@corp.test:.example.net",
		""},
	    {":sets:", MAPKEY_SITE, ":sets:", ""},
	    {":sets:x", MAPKEY_STRANGE, NULL, NULL},
	    {":site:a b", MAPKEY_STRANGE, NULL, NULL},
	    {":other:", MAPKEY_STRANGE, NULL, NULL},
	    {"", MAPKEY_STRANGE, NULL, NULL},
	    /* no policy domain, so nothing that a store takes over */
	    {"..", MAPKEY_STRANGE, NULL, NULL},
	    {"good.test.", MAPKEY_STRANGE, NULL, NULL},
	    {"Good.test", MAPKEY_STRANGE, NULL, NULL},
	    {"localhost", MAPKEY_STRANGE, NULL, NULL},
	    {LABEL "." LABEL "." LABEL "." LABEL ".y", MAPKEY_STRANGE, NULL, NULL}, /* 245 */
	    {LABEL "." LABEL "." LABEL "." LABEL, MAPKEY_DOMAIN,
		LABEL "." LABEL "." LABEL "." LABEL, ""},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct mapkey k;

		if (mapkey_parse(cursor_of(t[i].key, strlen(t[i].key)), &k) != t[i].kind)
			fail_msg("%s: another kind", t[i].key);
		if (t[i].kind == MAPKEY_STRANGE)
			continue;
		assert_string_equal(k.domain, t[i].domain);
		assert_string_equal(k.pattern, t[i].pattern);
	}
}

static void
a_value_is_read_as_it_is_written(void **state UNUSED)
{
	static const struct requirement r = {REQUIRE_ENFORCE, 2000000000, 0, NULL};
	static const char *const none[] = {"", "enforce", "enforce ", "enforce x", "enforce -1",
	    "mx", "Enforce 1", "enforce 1234567890123"};
	char text[MAPVALUE_MAX];

	mapvalue_print(&r, text);
	assert_string_equal(text, "enforce 2000000000");
	assert_int_equal(mapvalue_parse(cursor_of(text, strlen(text))).until, r.until);
	mapvalue_print(&(struct requirement){.kind = REQUIRE_SITE_HOLD}, text);
	assert_string_equal(text, "hold");
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_int_equal(
		    mapvalue_parse(cursor_of(none[i], strlen(none[i]))).kind, REQUIRE_UNKNOWN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_key_is_of_a_kind_that_we_write_or_strange),
	    cmocka_unit_test(a_value_is_read_as_it_is_written)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
