#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "milter/outbound.h"

struct row {
	const char *mailer, *host, *addr;
	const char *domain; /* NULL: not outbound */
};

static void
check(const struct row *t, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct outbound_rcpt rcpt = {t[i].mailer, t[i].host, t[i].addr};
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
the_next_hop_of_an_smtp_mailer_is_the_policy_domain(void **state UNUSED)
{
	static const struct row t[] = {
	    {"esmtp", "good.test.", "u@good.test", "good.test"},
	    {"smtp", "GOOD.Test.", "u@good.test", "good.test"},
	    {"relay", "good.test.", "u@good.test", "good.test"},
	    {"tls-relay", "good.test.", "u@good.test", "good.test"},
	    {"esmtp", "good.test", "u@good.test", "good.test"}, /* mailertable: no dot */
	    {"esmtp", "[smart.test]", "u@mtable.test", "smart.test"},
	    {"relay", "[Smart.Test.]", "u@good.test", "smart.test"},
	    {"esmtp", "mx.shared.test", "u@relayed.test", "mx.shared.test"},
	    {"esmtp", "other.test.", "u@good.test", "other.test"},
	    {"esmtp", "xn--bcher-kva.test.",
		"u@b\xc3\xbc"
		"cher.test",
		"xn--bcher-kva.test"},
	    {"esmtp",
		"b\xc3\xbc"
		"cher.test.",
		"u@x.test", "xn--bcher-kva.test"},
	};
	CHECK(t);
}

static void
what_has_no_policy_is_not_asked_about(void **state UNUSED)
{
	static const struct row t[] = {
	    {"esmtp", "[10.99.1.1]", "u@[10.99.1.1]", NULL},
	    {"esmtp", "10.99.1.1", "u@good.test", NULL},
	    {"relay", "[IPv6:2001:db8::1]", "u@good.test", NULL},
	    {"relay", "[127.0.0.1]", "u@good.test", NULL},
	    {"relay", "[localhost.localdomain]", "u@good.test", NULL},
	    {"relay", "[mailhub]", "u@good.test", NULL}, /* a single label */
	    {"esmtp", "host.", "u@host", NULL},
	    {"esmtp", "[a.test]:[b.test]", "u@good.test", NULL}, /* several: checked at delivery */
	    {"esmtp", "a.test,b.test", "u@good.test", NULL},
	    {"esmtp", "[IPv6:2001:db8::1]:a.test", "u@good.test", NULL},
	    {"esmtp", "[a.test", "u@good.test", NULL},
	    {"esmtp", "good.test..", "u@good.test", NULL},
	    {"esmtp", ".", "u@good.test", NULL},
	    {"esmtp", "[]", "u@good.test", NULL},
	    {"esmtp", "[", "u@good.test", NULL},
	    {"esmtp", "", "u@good.test", NULL},
	    {"local", NULL, "u", NULL},
	    {"local", "", "ali", NULL},
	    {"local", "good.test.", "u@good.test", NULL},
	    {"lmtp", "good.test.", "u@good.test", NULL},
	    {"procmail", "/etc/x.rc", "u@good.test", NULL},
	    {"error", "5.1.1", "u", NULL},
	};
	CHECK(t);
}

static void
macros_that_the_mta_does_not_send_are_unknown_not_local(void **state UNUSED)
{
	static const struct outbound_rcpt t[] = {
	    {NULL, NULL, NULL},
	    {"", "", ""},
	    {NULL, "good.test.", "u@good.test"},
	    {"esmtp", "good.test.", NULL},
	    {"esmtp", "good.test.", ""},
	};
	char domain[DOMAIN_MAX + 1];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct errmsg why = {""};

		assert_int_equal(outbound_domain(&t[i], domain, &why), OUTBOUND_UNKNOWN);
		assert_non_null(strstr(why.text, "rcpt_addr"));
	}
}

static void
an_overlong_host_is_not_read_to_its_end(void **state UNUSED)
{
	static char host[4096];
	struct outbound_rcpt rcpt = {"esmtp", host, "u@good.test"};
	char domain[DOMAIN_MAX + 1];

	memset(host, 'a', sizeof(host) - 1);
	memcpy(host, "good.test.", 10);
	assert_int_equal(outbound_domain(&rcpt, domain, NULL), OUTBOUND_NO);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_next_hop_of_an_smtp_mailer_is_the_policy_domain),
	    cmocka_unit_test(what_has_no_policy_is_not_asked_about),
	    cmocka_unit_test(macros_that_the_mta_does_not_send_are_unknown_not_local),
	    cmocka_unit_test(an_overlong_host_is_not_read_to_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
