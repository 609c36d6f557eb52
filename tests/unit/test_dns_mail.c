/* test_dns_mail.c: reading answers about MX hosts, TLSA records and where TLS reports go. */
#include "discover/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns_message.h"

enum { AD = 0x0020 };

/* A copy of its own size, so that a read past the end is seen. */
static unsigned char *
copy_of(const struct message *m)
{
	unsigned char *bytes = malloc(m->len + 1);

	assert_non_null(bytes);
	memcpy(bytes, m->bytes, m->len);
	return bytes;
}

static struct dns_mx_answer
parse_mx(const struct message *m)
{
	unsigned char *bytes = copy_of(m);
	struct dns_mx_answer out;

	dns_parse_mx(bytes, m->len, "a.test", &out);
	free(bytes);
	return out;
}

static void
put_mx(struct message *m, unsigned preference, const char *host)
{
	struct message rdata = {.len = 0};

	put16(&rdata, preference);
	put_name(&rdata, host);
	put_rr(m, 1, "a.test", ns_t_mx, 60, rdata.bytes, rdata.len);
}

static void
mx_hosts_come_in_order_of_preference_and_in_lower_case(void **state UNUSED)
{
	static const char *const want[] = {"a.mx.test", "b.mx.test", "c.mx.test", "d.mx.test"};
	struct message m = message(QR | RA | AD, "a.test", ns_t_mx);
	struct dns_mx_answer out;

	put_mx(&m, 20, "B.mx.TEST");
	put_mx(&m, 65535, "d.mx.test");
	put_mx(&m, 20, "c.mx.test");
	put_mx(&m, 0, "a.mx.test");
	out = parse_mx(&m);
	assert_int_equal(out.result, DNS_MX_FOUND);
	assert_true(out.authentic);
	assert_int_equal(out.n, 4);
	assert_int_equal(out.ttl_s, 60);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(out.mx[i].host, want[i]);
}

static void
of_too_many_mx_hosts_the_best_are_kept(void **state UNUSED)
{
	struct message m = message(QR | RA, "a.test", ns_t_mx);
	struct dns_mx_answer out;

	for (unsigned i = 0; i < DNS_MX_MAX + 8; i++) {
		char host[16];

		snprintf(host, sizeof(host), "m%u.test", i);
		put_mx(&m, 1000 - i, host);
	}
	out = parse_mx(&m);
	assert_int_equal(out.n, DNS_MX_MAX);
	assert_int_equal(out.more, 8);
	assert_string_equal(out.mx[0].host, "m39.test");
	assert_string_equal(out.mx[DNS_MX_MAX - 1].host, "m8.test");
	assert_false(out.authentic);
}

static void
a_single_root_is_the_null_mx_and_beside_others_it_is_nothing(void **state UNUSED) /* RFC 7505 */
{
	struct message m = message(QR | RA, "a.test", ns_t_mx);
	struct dns_mx_answer out;

	put_mx(&m, 0, "");
	out = parse_mx(&m);
	assert_int_equal(out.result, DNS_MX_NULL);
	assert_text(&out.why, "takes no mail");
	put_mx(&m, 10, "mx.test");
	out = parse_mx(&m);
	assert_int_equal(out.result, DNS_MX_FOUND);
	assert_int_equal(out.n, 1);
	assert_string_equal(out.mx[0].host, "mx.test");
}

static void
no_mx_record_is_not_the_same_as_no_domain(void **state UNUSED) /* RFC 5321 section 5.1 */
{
	struct message none = message(QR | RA, "a.test", ns_t_mx), gone = none, broken = none;

	assert_int_equal(parse_mx(&none).result, DNS_MX_IMPLICIT);
	gone.bytes[3] |= ns_r_nxdomain;
	assert_int_equal(parse_mx(&gone).result, DNS_MX_NO_DOMAIN);
	broken.bytes[3] |= ns_r_servfail;
	assert_int_equal(parse_mx(&broken).result, DNS_MX_TEMPFAIL);
}

static void
a_damaged_mx_record_spoils_the_answer(void **state UNUSED)
{
	static const unsigned char long_name[] = "\0\12\3mx1\4test\0more";
	struct message m = message(QR | RA, "a.test", ns_t_mx), cut = m;
	struct dns_mx_answer out;

	put_mx(&m, 10, "mx.test");
	put_rr(&m, 1, "a.test", ns_t_mx, 60, long_name, sizeof(long_name) - 1);
	out = parse_mx(&m);
	assert_int_equal(out.result, DNS_MX_TEMPFAIL);
	assert_int_equal(out.n, 0);
	put_rr(&cut, 1, "a.test", ns_t_mx, 60, "\0\1", 2);
	assert_int_equal(parse_mx(&cut).result, DNS_MX_TEMPFAIL);
}

static void
an_mx_answer_cut_anywhere_is_no_answer(void **state UNUSED)
{
	struct message m = message(QR | RA, "a.test", ns_t_mx);

	put_mx(&m, 10, "mx.test");
	while (m.len-- > 0)
		assert_int_equal(parse_mx(&m).result, DNS_MX_TEMPFAIL);
}

static struct dns_tlsa_answer
parse_tlsa(const struct message *m)
{
	unsigned char *bytes = copy_of(m);
	struct dns_tlsa_answer out;

	dns_parse_tlsa(bytes, m->len, "_25._tcp.mx.test", &out);
	free(bytes);
	return out;
}

static void
tlsa_records_are_read_and_the_resolvers_word_on_dnssec_is_kept(void **state UNUSED)
{
	struct message m = message(QR | RA | AD, "_25._tcp.mx.test", ns_t_tlsa);
	unsigned char whole_certificate[3 + 200] = {2, 0, 0, 0x30};
	struct dns_tlsa_answer out;

	put_rr(&m, 1, "_25._tcp.mx.test", ns_t_tlsa, 60, "\3\1\1abcdefgh", 11);
	put_rr(
	    &m, 1, "_25._tcp.mx.test", ns_t_tlsa, 60, whole_certificate, sizeof(whole_certificate));
	out = parse_tlsa(&m);
	assert_int_equal(out.result, DNS_TLSA_FOUND);
	assert_true(out.authentic);
	assert_int_equal(out.n, 2);
	assert_int_equal(out.tlsa[0].usage, 3);
	assert_int_equal(out.tlsa[0].selector, 1);
	assert_int_equal(out.tlsa[0].matching, 1);
	assert_int_equal(out.tlsa[0].len, 8);
	assert_memory_equal(out.tlsa[0].data, "abcdefgh", 8);
	assert_int_equal(out.tlsa[1].len, DNS_TLSA_DATA_MAX);
}

static void
no_tlsa_record_and_a_damaged_one_differ(void **state UNUSED)
{
	struct message m = message(QR | RA, "_25._tcp.mx.test", ns_t_tlsa);

	assert_int_equal(parse_tlsa(&m).result, DNS_TLSA_ABSENT);
	put_rr(&m, 1, "_25._tcp.mx.test", ns_t_tlsa, 60, "\3\1\1", 3);
	assert_int_equal(parse_tlsa(&m).result, DNS_TLSA_TEMPFAIL);
}

static void
reports_go_where_the_one_record_says(void **state UNUSED)
{
	struct message m = message(QR | RA, "_smtp._tls.a.test", ns_t_txt);
	struct dns_tlsrpt_answer out;

	put_txt(&m, "_smtp._tls.a.test", 60, "v=spf1 -all");
	dns_parse_tlsrpt(m.bytes, m.len, "_smtp._tls.a.test", &out);
	assert_int_equal(out.result, TXT_ABSENT);
	put_txt(&m, "_smtp._tls.a.test", 60, "v=TLSRPTv1; rua=mailto:a@b.test");
	dns_parse_tlsrpt(m.bytes, m.len, "_smtp._tls.a.test", &out);
	assert_int_equal(out.result, TXT_RECORD);
	assert_string_equal(out.rua, "mailto:a@b.test");
	put_txt(&m, "_smtp._tls.a.test", 60, "v=TLSRPTv1; rua=mailto:a@b.test");
	dns_parse_tlsrpt(m.bytes, m.len, "_smtp._tls.a.test", &out);
	assert_int_equal(out.result, TXT_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mx_hosts_come_in_order_of_preference_and_in_lower_case),
	    cmocka_unit_test(of_too_many_mx_hosts_the_best_are_kept),
	    cmocka_unit_test(a_single_root_is_the_null_mx_and_beside_others_it_is_nothing),
	    cmocka_unit_test(no_mx_record_is_not_the_same_as_no_domain),
	    cmocka_unit_test(a_damaged_mx_record_spoils_the_answer),
	    cmocka_unit_test(an_mx_answer_cut_anywhere_is_no_answer),
	    cmocka_unit_test(tlsa_records_are_read_and_the_resolvers_word_on_dnssec_is_kept),
	    cmocka_unit_test(no_tlsa_record_and_a_damaged_one_differ),
	    cmocka_unit_test(reports_go_where_the_one_record_says),
	};

	return cmocka_run_group_tests_name("dns_mail", tests, NULL, NULL);
}
