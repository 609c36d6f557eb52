#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "milter/outbound.h"

struct row {
	const char *mailer, *host, *addr, *envelope;
	const char *domain; /* NULL: not outbound */
};

static void
check(const struct row *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct outbound_rcpt rcpt = {t[i].mailer, t[i].host, t[i].addr, t[i].envelope};
		char domain[DOMAIN_MAX + 1] = "untouched";
		struct errmsg why = {""};
		enum outbound_result r = outbound_domain(&rcpt, domain, &why);

		if (t[i].domain != NULL && (r != OUTBOUND_YES || strcmp(domain, t[i].domain) != 0))
			fail_msg("row %zu: %s: got %d, %s, %s", i, t[i].addr, r, domain, why.text);
		if (t[i].domain == NULL && (r != OUTBOUND_NO || why.text[0] == '\0'))
			fail_msg("row %zu: %s: got %d, %s", i, t[i].addr, r, domain);
		if (t[i].domain == NULL)
			assert_string_equal(domain, "untouched");
	}
}

#define CHECK(t) check(t, sizeof(t) / sizeof(t[0]))

static void
outbound_is_an_smtp_mailer_to_the_domain_itself_with_a_final_dot(void **state UNUSED)
{
	static const struct row t[] = {
	    {"esmtp", "good.test.", "u@good.test", "<u@good.test>", "good.test"},
	    {"smtp", "good.test.", "u@good.test", "<u@good.test>", "good.test"},
	    {"relay", "good.test.", "u@good.test", "<u@good.test>", "good.test"},
	    {"esmtp", "good.test.", "u@GOOD.Test", "<u@GOOD.Test>", "good.test"},
	    {"esmtp", "good.test.", "u@good.test.", "<u@good.test.>", "good.test"},
	    {"esmtp", "xn--bcher-kva.test.",
		"u@b\xc3\xbc"
		"cher.test",
		"<u@x>", "xn--bcher-kva.test"},
	};
	CHECK(t);
}

static void
other_next_hops_are_not_measured_by_the_domains_policy(void **state UNUSED)
{
	static const struct row t[] = {
	    {"esmtp", "[smart.test]", "u@mtable.test", "<u@mtable.test>", NULL},
	    {"relay", "[smart.test]", "u@good.test", "<u@good.test>", NULL},
	    {"esmtp", "mx.shared.test", "u@relayed.test", "<u@relayed.test>", NULL},
	    {"esmtp", "good.test", "u@good.test", "<u@good.test>", NULL}, /* mailertable: no dot */
	    {"esmtp", "other.test.", "u@good.test", "<u@good.test>", NULL},
	    {"esmtp", "[10.99.1.1]", "u@[10.99.1.1]", "<u@[10.99.1.1]>", NULL},
	    {"esmtp", "good.test..", "u@good.test", "<u@good.test>", NULL},
	    {"esmtp", ".", "u@good.test", "<u@good.test>", NULL},
	    {"esmtp", "host.", "u@host", "<u@host>", NULL}, /* a single label has no policy */
	    {"local", NULL, "u", "<u@here.test>", NULL},
	    {"local", "", "ali", "<ali@here.test>", NULL},
	    {"local", "good.test.", "u@good.test", "<u@good.test>", NULL},
	    {"lmtp", "good.test.", "u@good.test", "<u@good.test>", NULL},
	    {"error", "5.1.1", "u", "<u@here.test>", NULL},
	    {"esmtp", "", "u@good.test", "<u@good.test>", NULL},
	};
	CHECK(t);
}

static void
the_domain_follows_the_last_at_sign_outside_of_quotes(void **state UNUSED)
{
	static const struct row t[] = {
	    {"esmtp", "good.test.", "\"a@b\"@good.test", "<\"a@b\"@good.test>", "good.test"},
	    {"esmtp", "good.test.", "\"a\\\"@b\"@good.test", "<x>", "good.test"},
	    {"esmtp", "good.test.", "a\\@b.test@good.test", "<x>", "good.test"},
	    {"esmtp", "good.test.", "<@relay.test:u@good.test>", "<x>", "good.test"},
	    {"esmtp", "relay.test.", "@relay.test:u@good.test", "<x>", NULL},
	    {"esmtp", "relay.test.", "u%good.test@relay.test", "<x>", "relay.test"},
	    {"esmtp", "good.test.", "u@good.test", "<u%good.test@here.test>", "good.test"},
	    {"esmtp", "attacker.test.", "u@spoofed.test", "<u@spoofed.test>", NULL}, /* CNAME */
	    {"esmtp", "attacker.test.", "u@attacker.test", "<u@spoofed.test>", "attacker.test"},
	    {"esmtp", "good.test.", "\"u@good.test", "<x>", NULL},
	    {"esmtp", "good.test.", "u@", "<x>", NULL},
	    {"esmtp", "good.test.", "good.test", "<x>", NULL},
	    {"esmtp", "good.test.", "u@good.test\n", "<x>", NULL},
	};
	CHECK(t);
}

static void
macros_that_the_mta_does_not_send_are_unknown_not_local(void **state UNUSED)
{
	static const struct outbound_rcpt t[] = {
	    {NULL, NULL, NULL, "<u@good.test>"},
	    {"", "", "", "<u@good.test>"},
	    {NULL, "good.test.", "u@good.test", "<u@good.test>"},
	    {"esmtp", "good.test.", NULL, "<u@good.test>"},
	    {"esmtp", "good.test.", "", NULL},
	};
	char domain[DOMAIN_MAX + 1];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct errmsg why = {""};

		assert_int_equal(outbound_domain(&t[i], domain, &why), OUTBOUND_UNKNOWN);
		assert_non_null(strstr(why.text, "rcpt_addr"));
	}
}

static void
an_overlong_address_or_host_is_not_read_to_its_end(void **state UNUSED)
{
	static char local[4096], host[4096];
	struct outbound_rcpt rcpt = {"esmtp", "good.test.", local, NULL};
	char domain[DOMAIN_MAX + 1];

	memset(local, 'u', sizeof(local) - 1);
	memcpy(local + sizeof(local) - 11, "@good.test", 11);
	assert_int_equal(outbound_domain(&rcpt, domain, NULL), OUTBOUND_NO);
	/* Cut at the limit of 2048 bytes, this one would be an address of good.test. */
	memcpy(local + 2049 - 10, "@good.test.evil.test", sizeof("@good.test.evil.test"));
	assert_int_equal(outbound_domain(&rcpt, domain, NULL), OUTBOUND_NO);
	memset(host, 'a', sizeof(host) - 1);
	host[sizeof(host) - 2] = '.';
	rcpt = (struct outbound_rcpt){"esmtp", host, "u@good.test", NULL};
	assert_int_equal(outbound_domain(&rcpt, domain, NULL), OUTBOUND_NO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(outbound_is_an_smtp_mailer_to_the_domain_itself_with_a_final_dot),
	    cmocka_unit_test(other_next_hops_are_not_measured_by_the_domains_policy),
	    cmocka_unit_test(the_domain_follows_the_last_at_sign_outside_of_quotes),
	    cmocka_unit_test(macros_that_the_mta_does_not_send_are_unknown_not_local),
	    cmocka_unit_test(an_overlong_address_or_host_is_not_read_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
