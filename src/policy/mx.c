#include "policy/mx.h"

#include <string.h>

#include "util/ascii.h"

/* Length of a name without its one final dot. */
static size_t
name_len(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

static bool
same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
	if (a_len != b_len)
		return false;
	for (size_t i = 0; i < a_len; i++)
		if (ascii_lower((unsigned char)a[i]) != ascii_lower((unsigned char)b[i]))
			return false;
	return true;
}

/* What the pattern's name must be equal to: the host without its left-most label; NULL: it has no
 * other. */
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
	if (name_len(pattern) == 0 || strchr(pattern, '*') != NULL)
		return false;
	return same_name(pattern, name_len(pattern), host, name_len(host));
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
