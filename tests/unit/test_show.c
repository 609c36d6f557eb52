/* test_show.c: what the verdict of an entry does to mail, in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "ctl/show.h"
#include "util/errmsg.h"

static void
each_verdict_has_its_consequence(void **state UNUSED)
{
	static const struct {
		const char *entry, *want;
	} t[] = {
	    {"{'verdict':'enforce','pushed':true}", "Mail goes only to the MX hosts below"},
	    {"{'verdict':'enforce','pushed':null}", "Mail goes only to the MX hosts below"},
	    {"{'verdict':'enforce','pushed':false}", "not in the MTA's map yet"},
	    {"{'verdict':'enforce','enforcement':'observe'}", "only observes"},
	    {"{'verdict':'testing'}", "testing mode"},
	    {"{'verdict':'none'}", "delivered as always"},
	    {"{'verdict':'none','override':'disable'}", "switches policies off"},
	    {"{'verdict':'none','unmet':'hold'}",
		"requires a policy, and there is none: mail waits"},
	    {"{'verdict':'none','unmet':'refuse'}", "mail is refused"},
	    {"{'verdict':'undecided','wanted':'2026-01-01T00:00:00Z'}", "mail waits in the queue"},
	    {"{'verdict':'undecided','wanted':null,'expires':null}", "Nothing is known of it."},
	    {"{'verdict':'undecided','wanted':null,'expires':'2026-01-01T00:00:00Z'}",
		"What was known of it is over"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char text[256];
		json_t *entry;

		strcpy(text, t[i].entry);
		for (char *p = text; *p != '\0'; p++)
			if (*p == '\'')
				*p = '"';
		entry = json_loads(text, 0, NULL);
		assert_non_null(entry);
		if (strstr(show_consequence(entry), t[i].want) == NULL)
			fail_msg("row %zu: %s", i, show_consequence(entry));
		json_decref(entry);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_verdict_has_its_consequence)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
