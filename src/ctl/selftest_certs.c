#include "ctl/selftest_certs.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

enum {
	KEY_BITS = 2048, /* RSA: what the most restrictive CipherList still takes */
	VALID_S = 86400, /* before and after now */
	VERSION_3 = 2    /* of X.509: counted from 0 */
};

struct selftest_certs {
	EVP_PKEY *key;
	X509 *ca;
};

static bool
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

static bool
add_name(X509 *cert, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_txt(
		   subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) == 1;
}

/*
 * issuer NULL: signs itself. extensions: those of an authority, or the one name of a host.
 */
static X509 *
certificate(EVP_PKEY *key, X509 *issuer, const char *name, const char *host)
{
	X509 *cert = X509_new();
	X509 *from = issuer != NULL ? issuer : cert;
	char san[300];
	uint32_t serial;

	snprintf(san, sizeof(san), "DNS:%s", host != NULL ? host : "");
	if (cert != NULL && RAND_bytes((unsigned char *)&serial, sizeof(serial)) == 1 &&
	    X509_set_version(cert, VERSION_3) == 1 &&
	    ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial | 1U) == 1 &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -VALID_S) != NULL &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), VALID_S) != NULL &&
	    X509_set_pubkey(cert, key) == 1 && add_name(cert, name) &&
	    X509_set_issuer_name(cert, X509_get_subject_name(from)) == 1 &&
	    (host != NULL ? add_extension(cert, from, NID_subject_alt_name, san)
			  : add_extension(cert, from, NID_basic_constraints, "critical,CA:TRUE")) &&
	    X509_sign(cert, key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static EVP_PKEY *
new_key(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
	EVP_PKEY *key = NULL;

	if (ctx != NULL && EVP_PKEY_keygen_init(ctx) == 1 &&
	    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, KEY_BITS) == 1)
		(void)!EVP_PKEY_keygen(ctx, &key);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

struct selftest_certs *
selftest_certs_new(struct errmsg *em)
{
	struct selftest_certs *c = calloc(1, sizeof(*c));

	if (c != NULL && (c->key = new_key()) != NULL &&
	    (c->ca = certificate(c->key, NULL, "mtasts selftest", NULL)) != NULL)
		return c;
	errmsg_set(em, "no certificates: OpenSSL: %s", ERR_reason_error_string(ERR_peek_error()));
	selftest_certs_free(&c);
	return NULL;
}

void
selftest_certs_free(struct selftest_certs **c)
{
	if (*c == NULL)
		return;
	X509_free((*c)->ca);
	EVP_PKEY_free((*c)->key);
	free(*c);
	*c = NULL;
}

bool
selftest_certs_print(const struct selftest_certs *c, FILE *out)
{
	return PEM_write_X509(out, c->ca) == 1;
}

SSL_CTX *
selftest_certs_server(const struct selftest_certs *c, const char *name, bool self_signed)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	X509 *cert = certificate(c->key, self_signed ? NULL : c->ca, name, name);

	if (ctx == NULL || cert == NULL || SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, c->key) != 1) {
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
	X509_free(cert);
	return ctx;
}
