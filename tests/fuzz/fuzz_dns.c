#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "discover/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_txt(const uint8_t *data, size_t size)
{
	struct dns_txt_answer txt;

	dns_parse_txt(data, size, "_mta-sts.a.test", &txt);
	assert((txt.result == TXT_RECORD) == (txt.id[0] != '\0'));
	assert(txt.result == TXT_RECORD || txt.why.text[0] != '\0');
	assert(txt.result != TXT_TEMPFAIL || txt.ttl_s == 0);
	assert(txt.ttl_s <= INT32_MAX);
}

static void
check_addresses(const uint8_t *data, size_t size, bool ipv6)
{
	struct dns_address_answer address = {.n = 0};

	dns_parse_addresses(data, size, "a.test", ipv6, &address);
	assert(address.n <= DNS_ADDRESSES_MAX);
	assert(address.n > 0 || address.why.text[0] != '\0');
	for (size_t i = 0; i < address.n; i++)
		assert((strchr(address.text[i], ':') != NULL) == ipv6);
}

static void
check_mx(const uint8_t *data, size_t size)
{
	struct dns_mx_answer mx;

	dns_parse_mx(data, size, "a.test", &mx);
	assert(mx.n <= DNS_MX_MAX && (mx.more == 0 || mx.n == DNS_MX_MAX));
	assert((mx.result == DNS_MX_FOUND) == (mx.n > 0));
	assert(mx.result == DNS_MX_FOUND || mx.why.text[0] != '\0');
	for (size_t i = 0; i < mx.n; i++) {
		assert(mx.mx[i].host[0] != '\0' && strlen(mx.mx[i].host) <= HOST_MAX);
		assert(i == 0 || mx.mx[i - 1].preference <= mx.mx[i].preference);
	}
}

static void
check_tlsa(const uint8_t *data, size_t size)
{
	struct dns_tlsa_answer tlsa;

	dns_parse_tlsa(data, size, "_25._tcp.a.test", &tlsa);
	assert(tlsa.n <= DNS_TLSA_MAX);
	assert((tlsa.result == DNS_TLSA_FOUND) == (tlsa.n > 0));
	assert(tlsa.result == DNS_TLSA_FOUND || tlsa.why.text[0] != '\0');
	for (size_t i = 0; i < tlsa.n; i++)
		assert(tlsa.tlsa[i].len > 0 && tlsa.tlsa[i].len <= DNS_TLSA_DATA_MAX);
}

static void
check_tlsrpt(const uint8_t *data, size_t size)
{
	struct dns_tlsrpt_answer tlsrpt;

	dns_parse_tlsrpt(data, size, "_smtp._tls.a.test", &tlsrpt);
	assert((tlsrpt.result == TXT_RECORD) == (tlsrpt.rua[0] != '\0'));
	assert(tlsrpt.result == TXT_RECORD || tlsrpt.why.text[0] != '\0');
	assert(strlen(tlsrpt.rua) < TLSRPT_RUA_MAX);
	for (const char *p = tlsrpt.rua; *p != '\0'; p++)
		assert(*p >= 0x20 && *p < 0x7f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_txt(data, size);
	check_mx(data, size);
	check_tlsa(data, size);
	check_tlsrpt(data, size);
	check_addresses(data, size, false);
	check_addresses(data, size, true);
	return 0;
}
