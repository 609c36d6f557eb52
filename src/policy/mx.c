#include "policy/mx.h"

#include <string.h>

/* The host without its left-most label; NULL: it has no other. */
static const char *
parent_of(const char *host)
{
	const char *dot = strchr(host, '.');

	return dot == NULL || dot == host ? NULL : dot + 1;
}

bool
mx_match(const char *pattern, const char *host)
{
	if (pattern[0] == '*' && pattern[1] == '.') {
		pattern += 2;
		host = parent_of(host);
		if (host == NULL)
			return false;
	}
	if (domain_equal(pattern, "") || strchr(pattern, '*') != NULL)
		return false;
	return domain_equal(pattern, host);
}

bool
mx_pattern_normalize(const char *text, size_t len, char out[MX_PATTERN_MAX + 1], struct errmsg *em)
{
	char name[HOST_MAX + 1];
	size_t star = len >= 2 && text[0] == '*' && text[1] == '.' ? 2 : 0;

	if (host_normalize(text + star, len - star, name, em) != DOMAIN_OK)
		return false;
	memcpy(out, "*.", star);
	memcpy(out + star, name, strlen(name) + 1);
	return true;
}
