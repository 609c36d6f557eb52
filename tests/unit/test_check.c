/* test_check.c: what a survey comes to, and how it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/check_show.h"

enum { NOW = 1800000000, DAY = WHEN_DAY_S };

/* A domain with two MX hosts, one address each, and a policy that lists both; all is well. */
struct scene {
	struct survey_domain d;
	struct survey_host host[2];
	struct probe_answer probe[2][2];
	struct check_site site;
	struct check check;
};

static void
set_probe(struct scene *s, size_t i, size_t j, enum probe_result result, const char *why)
{
	struct probe_answer *a = &s->probe[i][j];

	a->result = result;
	errmsg_set(&a->why, "%s", why);
	a->has_cert = result != PROBE_UNREACHABLE && result != PROBE_NO_SMTP &&
		      result != PROBE_NO_STARTTLS && result != PROBE_TLS_FAILED;
	a->cert.not_after = NOW + 90 * DAY;
}

static struct scene *
scene_new(enum mode mode)
{
	static const char *const mx[] = {"mx1.a.test", "*.b.test"};
	static const char *const names[] = {"mx1.a.test", "mx2.b.test"};
	struct scene *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	strcpy(s->d.name, "a.test");
	s->d.txt.result = TXT_RECORD;
	strcpy(s->d.txt.id, "1");
	s->d.txt.ttl_s = 300;
	s->d.fetched = true;
	s->d.policy = policy_new(mode, 86400, 2, mx);
	s->d.mx.result = DNS_MX_FOUND;
	s->d.mx.n = s->d.n_hosts = 2;
	s->d.tlsrpt.result = TXT_ABSENT;
	for (size_t i = 0; i < 2; i++) {
		strcpy(s->d.mx.mx[i].host, names[i]);
		strcpy(s->host[i].name, names[i]);
		s->d.host[i] = &s->host[i];
		s->host[i].probe = s->probe[i];
		s->host[i].addresses.n = 1;
		strcpy(s->host[i].addresses.text[0], "192.0.2.1");
		set_probe(s, i, 0, PROBE_OK, "");
	}
	return s;
}

static void
scene_free(struct scene *s)
{
	policy_free(s->d.policy);
	free(s);
}

static void
drop_policy(struct scene *s)
{
	policy_free(s->d.policy);
	s->d.policy = NULL;
}

static const struct check *
judge(struct scene *s)
{
	check_judge(&s->d, &s->site, NOW, &s->check);
	return &s->check;
}

static void
expect(struct scene *s, enum check_result result, enum check_mail mail, const char *text)
{
	const struct check *c = judge(s);

	if (c->result != result || c->mail != mail || strstr(c->text.text, text) == NULL)
		fail_msg("%s, %s: %s", check_result_name(c->result), check_mail_name(c->mail),
		    c->text.text);
}

static void
every_host_meets_the_policy(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	expect(s, CHECK_OK, CHECK_DELIVERED, "every MX host meets the policy");
	assert_int_equal(s->check.verdict, VERDICT_ENFORCE);
	assert_string_equal(s->check.host[1].pattern, "*.b.test");
	scene_free(s);
}

static void
a_host_that_fails_leaves_the_others(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	set_probe(s, 0, 0, PROBE_EXPIRED, "it has expired");
	expect(
	    s, CHECK_MX_FAILS, CHECK_PARTLY, "these MX hosts only: mx2.b.test; not by mx1.a.test");
	assert_string_equal(s->check.host[0].type, "certificate-expired");
	set_probe(s, 1, 0, PROBE_NO_STARTTLS, "none");
	expect(s, CHECK_MX_FAILS, CHECK_DEFERRED, "no MX host meets the policy");
	s->site.observe = true;
	expect(s, CHECK_MX_FAILS, CHECK_DELIVERED, "only observes; if it were enforced: deferred");
	scene_free(s);
}

static void
a_host_outside_the_policy_fails_however_good_it_is(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	strcpy(s->host[1].name, "x.mx2.b.test");
	expect(
	    s, CHECK_MX_FAILS, CHECK_PARTLY, "no mx of the policy matches it (validation-failure)");
	scene_free(s);
}

static void
a_host_may_fit_at_some_addresses_only(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	s->host[0].addresses.n = 2;
	strcpy(s->host[0].addresses.text[1], "192.0.2.9");
	set_probe(s, 0, 1, PROBE_HOST_MISMATCH, "another name");
	expect(s, CHECK_MX_FAILS, CHECK_PARTLY, "mx1.a.test (some addresses), mx2.b.test");
	assert_int_equal(s->check.host[0].state, CHECK_FITS_PARTLY);
	/* one that nobody can reach says nothing against the host */
	set_probe(s, 0, 1, PROBE_UNREACHABLE, "no route");
	expect(s, CHECK_OK, CHECK_DELIVERED, "every MX host");
	scene_free(s);
}

static void
a_host_that_is_away_is_a_warning_and_all_of_them_are_more(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	set_probe(s, 0, 0, PROBE_UNREACHABLE, "Connection refused");
	expect(s, CHECK_WARNING, CHECK_DELIVERED, "every MX host that takes mail");
	assert_string_equal(s->check.warning[0].text, "mx1.a.test: Connection refused");
	set_probe(s, 1, 0, PROBE_NO_SMTP, "554 no");
	expect(s, CHECK_UNREACHABLE, CHECK_DEFERRED, "no MX host takes mail from here");
	drop_policy(s);
	s->d.fetched = false;
	s->d.txt.result = TXT_ABSENT;
	expect(s, CHECK_UNREACHABLE, CHECK_DEFERRED, "no MX host takes mail from here");
	scene_free(s);
}

static void
testing_tells_what_enforce_would_do(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_TESTING);

	set_probe(s, 0, 0, PROBE_NOT_TRUSTED, "self-signed");
	expect(
	    s, CHECK_MX_FAILS, CHECK_DELIVERED, "testing mode; if it were enforced: delivered by");
	scene_free(s);
}

static void
without_a_policy_hosts_may_be_as_they_like(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_NONE);

	set_probe(s, 0, 0, PROBE_NOT_TRUSTED, "self-signed");
	s->probe[1][0].cert.not_after = NOW + DAY;
	expect(s, CHECK_NO_POLICY, CHECK_DELIVERED, "mode is none");
	drop_policy(s);
	s->d.fetched = false;
	s->d.txt.result = TXT_ABSENT;
	expect(s, CHECK_NO_POLICY, CHECK_DELIVERED, "has no policy");
	assert_int_equal(s->check.n_warnings, 0);
	scene_free(s);
}

static void
a_policy_that_is_announced_and_cannot_be_had_is_unusable(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	drop_policy(s);
	s->d.fetch_type = STS_WEBPKI_INVALID;
	errmsg_set(&s->d.fetch_why, "bad certificate");
	expect(s, CHECK_POLICY_UNUSABLE, CHECK_DELIVERED, "bad certificate");
	s->d.fetched = false;
	s->d.txt.result = TXT_INVALID;
	errmsg_set(&s->d.txt.why, "two records");
	expect(s, CHECK_POLICY_UNUSABLE, CHECK_DELIVERED, "two records");
	scene_free(s);
}

static void
dns_trouble_defers(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	s->d.mx.result = DNS_MX_TEMPFAIL;
	s->d.n_hosts = 0;
	errmsg_set(&s->d.mx.why, "SERVFAIL");
	expect(s, CHECK_DNS_TROUBLE, CHECK_DEFERRED, "SERVFAIL");
	scene_free(s);
	s = scene_new(MODE_ENFORCE);
	drop_policy(s);
	s->d.fetched = false;
	s->d.txt.result = TXT_TEMPFAIL;
	errmsg_set(&s->d.txt.why, "timed out");
	expect(s, CHECK_DNS_TROUBLE, CHECK_DEFERRED, "not known: timed out");
	assert_int_equal(s->check.verdict, VERDICT_UNDECIDED);
	scene_free(s);
}

static void
a_domain_that_takes_no_mail_bounces_it(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	s->d.mx.result = DNS_MX_IMPLICIT;
	s->d.n_hosts = 1;
	strcpy(s->host[0].name, "a.test");
	s->host[0].addresses.n = 0;
	s->host[0].addresses.families_without = 1; /* the other question failed */
	expect(s, CHECK_MX_FAILS, CHECK_DEFERRED, "");
	s->host[0].addresses.families_without = 2;
	errmsg_set(&s->host[0].addresses.why, "no address");
	expect(s, CHECK_MX_FAILS, CHECK_BOUNCED, "no address");
	s->d.mx.result = DNS_MX_NULL;
	s->d.n_hosts = 0;
	errmsg_set(&s->d.mx.why, "takes no mail");
	expect(s, CHECK_NO_MAIL, CHECK_BOUNCED, "takes no mail");
	scene_free(s);
}

static void
a_rule_of_the_site_comes_first(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);

	set_probe(s, 0, 0, PROBE_NO_STARTTLS, "none");
	set_probe(s, 1, 0, PROBE_NO_STARTTLS, "none");
	s->site.rule = RULE_DISABLE;
	expect(s, CHECK_OK, CHECK_DELIVERED, "configuration switches policies off");
	s->d.policy->mode = MODE_TESTING;
	s->site.rule = RULE_HOLD;
	expect(s, CHECK_MX_FAILS, CHECK_DEFERRED, "no MX host meets the policy");
	drop_policy(s);
	s->d.fetched = false;
	s->d.txt.result = TXT_ABSENT;
	errmsg_set(&s->d.txt.why, "no record");
	expect(s, CHECK_POLICY_UNUSABLE, CHECK_DEFERRED, "requires a policy for it: no record");
	s->site.rule = RULE_REFUSE;
	expect(s, CHECK_POLICY_UNUSABLE, CHECK_BOUNCED, "requires a policy for it");
	s->site.observe = true;
	expect(s, CHECK_POLICY_UNUSABLE, CHECK_DELIVERED, "only observes");
	scene_free(s);
}

static void
a_certificate_that_expires_within_a_fortnight_is_a_warning(void **state UNUSED)
{
	static const struct {
		long left_s;
		bool warned;
	} t[] = {{14 * DAY, false}, {14 * DAY - 1, true}, {1, true}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct scene *s = scene_new(MODE_ENFORCE);

		s->probe[1][0].cert.not_after = NOW + t[i].left_s;
		expect(s, t[i].warned ? CHECK_WARNING : CHECK_OK, CHECK_DELIVERED, "every MX host");
		s->probe[1][0].cert.not_after = NOW + 90 * DAY;
		s->d.has_cert = true;
		s->d.policy_cert.not_after = NOW + t[i].left_s;
		expect(s, t[i].warned ? CHECK_WARNING : CHECK_OK, CHECK_DELIVERED, "every MX host");
		scene_free(s);
	}
}

/* --- how it is told --- */

static char *
shown(struct scene *s, bool colour)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	check_show(out, colour, &s->d, judge(s), &s->site, NOW);
	fclose(out);
	return text;
}

static void
assert_shows(const char *text, const char *part, bool want)
{
	if ((strstr(text, part) != NULL) != want)
		fail_msg("\"%s\": want %d in:\n%s", part, want, text);
}

static void
a_page_has_colour_only_when_asked(void **state UNUSED)
{
	struct scene *s = scene_new(MODE_ENFORCE);
	char *text;

	s->host[0].tlsa.n = 1;
	s->host[0].tlsa.tlsa[0] =
	    (struct dns_tlsa){.usage = 3, .selector = 1, .matching = 1, .len = 2};
	set_probe(s, 1, 0, PROBE_EXPIRED, "over");
	s->probe[1][0].cert.not_after = NOW - 3 * DAY;
	text = shown(s, false);
	assert_shows(text, "\033", false);
	assert_shows(text, "a.test: mx-fails\n", true);
	assert_shows(text, "FAIL  192.0.2.1: over (certificate-expired)\n", true);
	assert_shows(text, "expired 3 days ago\n", true);
	assert_shows(text, "TLSA 3 1 1 0000..., no DNSSEC", true);
	assert_shows(text, "Mail from here would be delivered by these MX hosts only:", true);
	free(text);
	text = shown(s, true);
	assert_shows(text, "\033[1;31mFAIL\033[0m", true);
	free(text);
	scene_free(s);
}

static void
an_object_has_the_members_of_the_manual_even_when_little_was_seen(void **state UNUSED)
{
	static const char *const members[] = {"domain", "result", "mail", "verdict", "why", "text",
	    "warnings", "enforcement", "override", "unmet", "txt", "policy_host", "policy",
	    "mx_lookup", "mx", "tlsrpt"};
	struct scene *s = scene_new(MODE_ENFORCE);

	for (int round = 0; round < 2; round++) {
		json_t *o = check_json(&s->d, judge(s), &s->site, NOW);

		assert_non_null(o);
		assert_int_equal(json_object_size(o), sizeof(members) / sizeof(members[0]));
		for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
			if (json_object_get(o, members[i]) == NULL)
				fail_msg("%s", members[i]);
		json_decref(o);
		drop_policy(s);
		s->d.fetched = false;
		s->d.n_hosts = s->d.mx.n = 0;
		s->d.txt.result = TXT_TEMPFAIL;
		s->d.mx.result = DNS_MX_TEMPFAIL;
	}
	scene_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_host_meets_the_policy),
	    cmocka_unit_test(a_host_that_fails_leaves_the_others),
	    cmocka_unit_test(a_host_outside_the_policy_fails_however_good_it_is),
	    cmocka_unit_test(a_host_may_fit_at_some_addresses_only),
	    cmocka_unit_test(a_host_that_is_away_is_a_warning_and_all_of_them_are_more),
	    cmocka_unit_test(testing_tells_what_enforce_would_do),
	    cmocka_unit_test(without_a_policy_hosts_may_be_as_they_like),
	    cmocka_unit_test(a_policy_that_is_announced_and_cannot_be_had_is_unusable),
	    cmocka_unit_test(dns_trouble_defers),
	    cmocka_unit_test(a_domain_that_takes_no_mail_bounces_it),
	    cmocka_unit_test(a_rule_of_the_site_comes_first),
	    cmocka_unit_test(a_certificate_that_expires_within_a_fortnight_is_a_warning),
	    cmocka_unit_test(a_page_has_colour_only_when_asked),
	    cmocka_unit_test(an_object_has_the_members_of_the_manual_even_when_little_was_seen),
	};

	return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
