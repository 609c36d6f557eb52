#include "discover/trust.h"

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/x509.h>

/* What is configured counts alone; else the bundle that libcurl was built to use. */
X509_STORE *
trust_load(const char *ca_file, struct errmsg *em)
{
	const char *bundle = curl_version_info(CURLVERSION_NOW)->cainfo;
	const char *file = ca_file != NULL  ? ca_file
			   : bundle != NULL ? bundle
					    : X509_get_default_cert_file();
	X509_STORE *store = X509_STORE_new();
	const char *reason;

	ERR_clear_error();
	if (store != NULL && X509_STORE_load_locations(store, file, NULL) == 1)
		return store;
	reason = ERR_reason_error_string(ERR_peek_last_error());
	errmsg_set(em, "CA file %s: no certificate read: %s%s", file,
	    reason != NULL ? reason : "unknown reason",
	    ca_file != NULL ? "" : "; apt-get install ca-certificates");
	X509_STORE_free(store); /* NULL-safe */
	return NULL;
}
