#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/asn1.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "discover/cert.h"
#include "util/errmsg.h"

enum { NOT_AFTER = 1900000000 };

static void
add_name(GENERAL_NAMES *names, const char *bytes, size_t len)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	assert_true(ASN1_STRING_set(text, bytes, (int)len) == 1);
	GENERAL_NAME_set0_value(name, GEN_DNS, text);
	sk_GENERAL_NAME_push(names, name);
}

static X509 *
certificate(const char *common_name, const char *san, size_t san_len)
{
	X509 *x509 = X509_new();
	X509_NAME *subject = X509_NAME_new(), *issuer = X509_NAME_new();
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

	X509_set_version(x509, 2);
	X509_NAME_add_entry_by_txt(
	    subject, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_subject_name(x509, subject);
	X509_NAME_add_entry_by_txt(
	    issuer, "O", MBSTRING_ASC, (const unsigned char *)"An Org", -1, -1, 0);
	X509_NAME_add_entry_by_txt(
	    issuer, "CN", MBSTRING_UTF8, (const unsigned char *)"R\xc3\xa9", -1, -1, 0);
	X509_set_issuer_name(x509, issuer);
	ASN1_TIME_set(X509_getm_notBefore(x509), 1000000000);
	ASN1_TIME_set(X509_getm_notAfter(x509), NOT_AFTER);
	if (san != NULL) {
		add_name(names, san, san_len);
		X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, 0);
	}
	GENERAL_NAMES_free(names);
	X509_NAME_free(subject);
	X509_NAME_free(issuer);
	return x509;
}

static void
a_host_is_named_by_its_san_or_a_wildcard_for_one_label(void **state UNUSED)
{
	static const struct {
		const char *san;
		size_t len;
		bool want;
	} t[] = {
#define ROW(s) s, sizeof(s) - 1
	    {ROW("mx1.a.test"), true},
	    {ROW("MX1.A.test"), true},
	    {ROW("*.a.test"), true},
	    {ROW("a.test"), false},
	    {ROW("*.test"), false},
	    {ROW("*"), false},
	    {ROW("mx*.a.test"), false},
	    {ROW("*.*.test"), false},
	    {ROW("mx2.a.test"), false},
	    {ROW("mx1.a.test\0.evil.test"), false},
	    {ROW("mx1.a.test\0"), false},
	    {ROW("mx1.a.test "), false},
	    {ROW(""), false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		X509 *x509 = certificate("mx1.a.test", t[i].san, t[i].len);
		struct cert cert;

		cert_read(x509, "mx1.a.test", &cert);
		if (cert.names_host != t[i].want)
			fail_msg("row %zu: %s", i, t[i].san);
		assert_int_equal(cert.n_names, 1);
		X509_free(x509);
	}
}

static void
a_common_name_names_nobody(void **state UNUSED) /* RFC 8461 section 4.2 */
{
	X509 *x509 = certificate("mx1.a.test", NULL, 0);
	struct cert cert;

	cert_read(x509, "mx1.a.test", &cert);
	assert_false(cert.names_host);
	assert_int_equal(cert.n_names, 0);
	assert_string_equal(cert.subject, "mx1.a.test");
	X509_free(x509);
}

static void
issuer_and_times_are_told_in_printable_ascii(void **state UNUSED)
{
	X509 *x509 = certificate("x\ny", "a.test\x1b[0m", 10);
	struct cert cert;

	cert_read(x509, "a.test", &cert);
	assert_string_equal(cert.issuer, "An Org, R??");
	assert_string_equal(cert.subject, "x?y");
	assert_string_equal(cert.name[0], "a.test?[0m");
	assert_int_equal(cert.not_before, 1000000000);
	assert_int_equal(cert.not_after, NOT_AFTER);
	X509_free(x509);
}

static void
names_beyond_the_limit_still_count(void **state UNUSED)
{
	X509 *x509 = certificate("x", NULL, 0);
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	struct cert cert;

	for (int i = 0; i < CERT_NAMES_MAX + 3; i++)
		add_name(names, "other.test", 10);
	add_name(names, "mx.a.test", 9);
	X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, 0);
	GENERAL_NAMES_free(names);
	cert_read(x509, "mx.a.test", &cert);
	assert_true(cert.names_host);
	assert_int_equal(cert.n_names, CERT_NAMES_MAX);
	assert_int_equal(cert.more, 4);
	X509_free(x509);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_host_is_named_by_its_san_or_a_wildcard_for_one_label),
	    cmocka_unit_test(a_common_name_names_nobody),
	    cmocka_unit_test(issuer_and_times_are_told_in_printable_ascii),
	    cmocka_unit_test(names_beyond_the_limit_still_count),
	};

	return cmocka_run_group_tests_name("cert", tests, NULL, NULL);
}
