/* A certificate in DER, as a server shows it; OpenSSL has read it before we do. */
#include <assert.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "discover/cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *text, size_t max)
{
	assert(strlen(text) < max);
	for (; *text != '\0'; text++)
		assert(*text >= 0x20 && *text < 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const unsigned char *p = data;
	X509 *x509 = d2i_X509(NULL, &p, (long)size);
	struct cert cert;

	if (x509 == NULL)
		return 0;
	cert_read(x509, "mx.a.test", &cert);
	check_text(cert.subject, CERT_TEXT_MAX);
	check_text(cert.issuer, CERT_TEXT_MAX);
	assert(
	    cert.n_names <= CERT_NAMES_MAX && (cert.more == 0 || cert.n_names == CERT_NAMES_MAX));
	for (size_t i = 0; i < cert.n_names; i++)
		check_text(cert.name[i], HOST_MAX + 1);
	assert(cert.not_before >= 0 && cert.not_after >= 0);
	X509_free(x509);
	return 0;
}
