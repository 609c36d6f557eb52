#include "discover/cert.h"

#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "policy/mx.h"

/* Printable ASCII of untrusted bytes, cut to size. */
static void
copy_text(const unsigned char *bytes, int len, char *out, size_t size)
{
	size_t n = len < 0 ? 0 : (size_t)len < size - 1 ? (size_t)len : size - 1;

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(bytes[i] < 0x20 || bytes[i] >= 0x7f ? '?' : bytes[i]);
	out[n] = '\0';
}

static void
copy_entry(const X509_NAME *name, int nid, char *out, size_t size)
{
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	const ASN1_STRING *text =
	    at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));

	if (text == NULL)
		out[0] = '\0';
	else
		copy_text(ASN1_STRING_get0_data(text), ASN1_STRING_length(text), out, size);
}

static void
read_issuer(const X509_NAME *name, char out[CERT_TEXT_MAX])
{
	char organisation[CERT_TEXT_MAX / 2 - 1], common[CERT_TEXT_MAX / 2];

	copy_entry(name, NID_organizationName, organisation, sizeof(organisation));
	copy_entry(name, NID_commonName, common, sizeof(common));
	snprintf(out, CERT_TEXT_MAX, "%s%s%s", organisation,
	    organisation[0] != '\0' && common[0] != '\0' ? ", " : "", common);
}

static time_t
read_time(const ASN1_TIME *asn1)
{
	struct tm tm;
	time_t t;

	if (asn1 == NULL || ASN1_TIME_to_tm(asn1, &tm) != 1)
		return 0;
	t = timegm(&tm);
	return t < 0 ? 0 : t;
}

/* Odd bytes come out as '?', which no host has in its name: a NUL hides nothing. */
static void
read_name(const ASN1_STRING *text, const char *host, struct cert *out)
{
	int len = ASN1_STRING_length(text);
	char name[HOST_MAX + 1];

	copy_text(ASN1_STRING_get0_data(text), len, name, sizeof(name));
	if (len <= HOST_MAX && mx_match(name, host))
		out->names_host = true;
	if (out->n_names < CERT_NAMES_MAX)
		memcpy(out->name[out->n_names++], name, sizeof(name));
	else
		out->more++;
}

void
cert_read(X509 *x509, const char *host, struct cert *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);

	memset(out, 0, sizeof(*out));
	copy_entry(X509_get_subject_name(x509), NID_commonName, out->subject, sizeof(out->subject));
	read_issuer(X509_get_issuer_name(x509), out->issuer);
	out->not_before = read_time(X509_get0_notBefore(x509));
	out->not_after = read_time(X509_get0_notAfter(x509));
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) { /* NULL: -1 */
		int type;
		const ASN1_STRING *text =
		    GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

		if (type == GEN_DNS)
			read_name(text, host, out);
	}
	GENERAL_NAMES_free(names); /* NULL-safe */
}
