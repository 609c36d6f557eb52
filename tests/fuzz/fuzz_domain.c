/* A domain name, an MX host and an MX pattern. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "policy/domain.h"
#include "policy/mx.h"
#include "util/ascii.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Let-dig [Ldh-str] in lower case, between dots. */
static void
check_name(const char *name, size_t max)
{
	size_t label = 0, len = strlen(name);

	assert(len >= 1 && len <= max);
	for (size_t i = 0; i <= len; i++) {
		if (name[i] != '.' && name[i] != '\0') {
			assert(name[i] == '-' || ascii_digit((unsigned char)name[i]) ||
			       (name[i] >= 'a' && name[i] <= 'z'));
			label++;
			continue;
		}
		assert(label >= 1 && label <= 63);
		assert(name[i - 1] != '-' && name[i - label] != '-');
		label = 0;
	}
}

static void
check_domain(const char *text, size_t len)
{
	char domain[DOMAIN_MAX + 1] = "", again[DOMAIN_MAX + 1], host[HOST_MAX + 1];
	struct errmsg em = {""};
	enum domain_result result = domain_normalize(text, len, domain, &em);

	if (result != DOMAIN_OK) {
		assert(em.text[0] != '\0' && domain[0] == '\0');
		return;
	}
	check_name(domain, DOMAIN_MAX);
	assert(strchr(domain, '.') != NULL);
	assert(domain_normalize(domain, strlen(domain), again, NULL) == DOMAIN_OK);
	assert(strcmp(domain, again) == 0);
	assert(host_normalize(text, len, host, NULL) == DOMAIN_OK); /* a domain is a host's name */
	assert(strcmp(domain, host) == 0);
}

static void
check_pattern(const char *text, size_t len)
{
	char pattern[MX_PATTERN_MAX + 1], host[MX_PATTERN_MAX + 1];
	struct errmsg em = {""};

	if (!mx_pattern_normalize(text, len, pattern, &em)) {
		assert(em.text[0] != '\0');
		return;
	}
	check_name(pattern + (pattern[0] == '*' ? 2 : 0), HOST_MAX);
	memcpy(host, pattern, sizeof(host));
	if (host[0] == '*') {
		host[0] = 'x';
		assert(!mx_match(pattern, host + 2)); /* one label, not none */
	}
	assert(mx_match(pattern, host));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	char raw[300];

	check_domain(text, size);
	check_pattern(text, size);
	/* mx_match() as the DNS gives */
	if (size < sizeof(raw) && memchr(data, '\0', size) == NULL) {
		memcpy(raw, data, size);
		raw[size] = '\0';
		assert(!mx_match("*.example.com", raw) || size >= sizeof("x.example.com") - 1);
		if (mx_match(raw, "mx.example.com"))
			assert(strncasecmp(raw, "mx.example.com", 14) == 0 ||
			       strncasecmp(raw, "*.example.com", 13) == 0);
	}
	return 0;
}
