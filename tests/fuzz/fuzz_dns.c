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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_txt(data, size);
	check_addresses(data, size, false);
	check_addresses(data, size, true);
	return 0;
}
