/* test_maillog.c: deliveries in a log of Sendmail 8.17. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ctl/maillog.h"
#include "util/errmsg.h"

#define REST \
	", ctladdr=<alice@sender.test> (1000/1000), delay=00:00:01, xdelay=00:00:01, " \
	"mailer=esmtp, pri=30144, relay=mx1.good.test. [10.99.10.1], dsn=2.0.0, stat=Sent\n"
#define HEAD "Nov 25 09:20:32 mail sm-mta[151]: 6AP9KVvV000143: to="

static void
only_deliveries_by_smtp_count(void **state UNUSED)
{
	static const struct {
		const char *line, *first, *second;
	} t[] = {
	    {HEAD "<u@good.test>" REST, "good.test", NULL},
	    {HEAD "<u@Good.Test>,<v@none.test>" REST, "good.test", "none.test"},
	    {HEAD "u@good.test,carol,v@none.test" REST, "good.test", "none.test"},
	    {HEAD "carol" REST, NULL, NULL},
	    {HEAD "<u@a.test>, delay=00:00:01, mailer=dsmtp, relay=x", "a.test", NULL},
	    {HEAD "<u@a.test>, delay=00:00:01, mailer=smtp8, relay=x", "a.test", NULL},
	    {HEAD "<u@a.test>, delay=00:00:01, mailer=relay, relay=x", NULL, NULL},
	    {HEAD "<u@a.test>, delay=00:00:01, mailer=local, relay=x", NULL, NULL},
	    {HEAD "<u@a.test>, delay=00:00:01, mailer=esmtp, pri=1", NULL, NULL}, /* queued only */
	    {HEAD "<u@a.test>", NULL, NULL},
	    {"Nov 25 sm-mta[1]: 6AP9KVvV000143: from=<u@a.test>" REST, NULL, NULL},
	    {"Nov 25 sm-mta[1]: 6AP: to=<u@a.test>" REST, NULL, NULL},
	    {"Nov 25 other: 6AP9KVvV000143: to=<u@a.test>" REST, NULL, NULL},
	    {"", NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct cursor rcpts = {NULL, NULL};
		char domain[DOMAIN_MAX + 1];
		const char *want[] = {t[i].first, t[i].second, NULL};
		bool more = maillog_parse(cursor_of(t[i].line, strlen(t[i].line)), &rcpts);

		for (size_t j = 0; j < 3; j++) {
			more = more && maillog_next(&rcpts, domain);
			if (more != (want[j] != NULL) || (more && strcmp(domain, want[j]) != 0))
				fail_msg("row %zu, recipient %zu", i, j);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(only_deliveries_by_smtp_count)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
