#include "policy/domain.h"

#include <idn2.h>
#include <stdint.h>
#include <string.h>

#include "util/ascii.h"

enum {
	LABEL_MAX = 63,         /* octets, RFC 1035 section 2.3.4 */
	UTF8_MAX = 4 * HOST_MAX /* bytes for libidn2: no longer name comes out short enough */
};

/* A name in ASCII, lower case, no final dot, not judged yet. */
struct name {
	char text[HOST_MAX + 1];
	size_t len;
};

static bool
has_control(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f)
			return true;
	return false;
}

static bool
is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] >= 0x80)
			return false;
	return true;
}

/* IPv6 in text, with or without an IPv4 tail: no domain name has a colon. */
static bool
is_ipv6(const char *text, size_t len)
{
	size_t colons = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == ':')
			colons++;
		else if (text[i] != '.' && strchr("0123456789abcdefABCDEF", text[i]) == NULL)
			return false;
	}
	return colons >= 2;
}

/* No top-level domain is a number, so this is an IPv4 address in one of its spellings. */
static bool
last_label_is_number(const struct name *n)
{
	size_t i = n->len;

	while (i > 0 && ascii_digit((unsigned char)n->text[i - 1]))
		i--;
	return i < n->len && (i == 0 || n->text[i - 1] == '.');
}

static enum domain_result
name_from_ascii(struct name *n, const char *text, size_t len, struct errmsg *em)
{
	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len > HOST_MAX) {
		errmsg_set(em, "a name of %zu bytes; a domain name has at most %d", len, HOST_MAX);
		return DOMAIN_NO_POLICY;
	}
	for (size_t i = 0; i < len; i++)
		n->text[i] = (char)ascii_lower((unsigned char)text[i]);
	n->text[len] = '\0';
	n->len = len;
	return DOMAIN_OK;
}

/* UTS 46 mapping without the transitional characters: "ß" stays itself, as in IDNA 2008. */
static enum domain_result
name_from_utf8(struct name *n, const char *text, size_t len, struct errmsg *em)
{
	char copy[UTF8_MAX + 1], *ascii = NULL;
	enum domain_result result;
	int rc;

	if (len > UTF8_MAX) {
		errmsg_set(em, "a name of %zu bytes; a domain name is shorter", len);
		return DOMAIN_NO_POLICY;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	rc = idn2_to_ascii_8z(copy, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
	if (rc == IDN2_TOO_BIG_DOMAIN || rc == IDN2_TOO_BIG_LABEL) {
		errmsg_set(em, "%s: %s", copy, idn2_strerror(rc));
		return DOMAIN_NO_POLICY;
	}
	if (rc != IDN2_OK) {
		errmsg_set(em, "not an internationalized domain name: %s", idn2_strerror(rc));
		return DOMAIN_INVALID;
	}
	result = name_from_ascii(n, ascii, strlen(ascii), em);
	idn2_free(ascii);
	return result;
}

/*
 * Let-dig [Ldh-str], RFC 5321 section 4.1.2. DNS itself allows more, and mail to such names flows
 * today: a label with "_" or a hyphen at its end names a fine destination, but no certificate
 * authority certifies a policy host below it.
 */
static enum domain_result
label_check(const char *label, size_t len, struct errmsg *em)
{
	bool hostname = true;

	if (len == 0) {
		errmsg_set(em, "an empty label");
		return DOMAIN_INVALID;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)label[i];

		if (!ascii_alnum(c) && c != '-' && c != '_') {
			errmsg_set(em, "a label with \"%c\"", c);
			return DOMAIN_INVALID;
		}
		hostname = hostname && c != '_';
	}
	if (len > LABEL_MAX) {
		errmsg_set(em, "a label of %zu bytes; %d is the most", len, LABEL_MAX);
		return DOMAIN_NO_POLICY;
	}
	if (!hostname || label[0] == '-' || label[len - 1] == '-') {
		errmsg_set(em, "label \"%.*s\" is not that of a host name", (int)len, label);
		return DOMAIN_NO_POLICY;
	}
	return DOMAIN_OK;
}

/* Judges every label; the worst finding wins. */
static enum domain_result
labels_check(const struct name *n, size_t *labels, struct errmsg *em)
{
	enum domain_result worst = DOMAIN_OK;
	const char *p = n->text, *end = n->text + n->len;

	for (*labels = 0;; ++*labels) {
		const char *dot = memchr(p, '.', (size_t)(end - p));
		size_t len = (size_t)((dot != NULL ? dot : end) - p);
		enum domain_result r = label_check(p, len, em);

		if (r > worst)
			worst = r;
		if (r == DOMAIN_INVALID || dot == NULL)
			break;
		p = dot + 1;
	}
	++*labels;
	return worst;
}

static enum domain_result
name_parse(struct name *n, size_t *labels, const char *text, size_t len, struct errmsg *em)
{
	enum domain_result result;

	if (len == 0 || has_control(text, len)) {
		errmsg_set(em, len == 0 ? "an empty name" : "a control byte or blank in a name");
		return DOMAIN_INVALID;
	}
	result = is_ascii(text, len) ? name_from_ascii(n, text, len, em)
				     : name_from_utf8(n, text, len, em);
	return result == DOMAIN_OK ? labels_check(n, labels, em) : result;
}

static bool
is_address(const char *text, size_t len)
{
	return (len >= 2 && text[0] == '[' && text[len - 1] == ']') || is_ipv6(text, len);
}

enum domain_result
domain_normalize(const char *text, size_t len, char out[DOMAIN_MAX + 1], struct errmsg *em)
{
	struct name n = {.len = 0};
	size_t labels = 0;
	enum domain_result result;

	if (!has_control(text, len) && is_address(text, len)) {
		errmsg_set(em, "an address literal has no policy domain");
		return DOMAIN_NO_POLICY;
	}
	result = name_parse(&n, &labels, text, len, em);
	if (result != DOMAIN_OK)
		return result;
	if (labels < 2 || last_label_is_number(&n) || n.len > DOMAIN_MAX) {
		errmsg_set(em, "%s cannot have a policy: %s", n.text,
		    labels < 2           ? "a single label"
		    : n.len > DOMAIN_MAX ? "too long for a policy host below it"
					 : "an IP address");
		return DOMAIN_NO_POLICY;
	}
	memcpy(out, n.text, n.len + 1);
	return DOMAIN_OK;
}

enum domain_result
host_normalize(const char *text, size_t len, char out[HOST_MAX + 1], struct errmsg *em)
{
	struct name n = {.len = 0};
	size_t labels;
	enum domain_result result = name_parse(&n, &labels, text, len, em);

	if (result == DOMAIN_OK)
		memcpy(out, n.text, n.len + 1);
	return result;
}

bool
domain_equal(const char *a, const char *b)
{
	for (; *a != '\0' && ascii_lower((unsigned char)*a) == ascii_lower((unsigned char)*b);
	     a++, b++)
		;
	if (*a == '.' && a[1] == '\0')
		a++;
	if (*b == '.' && b[1] == '\0')
		b++;
	return *a == '\0' && *b == '\0';
}
