#include "milter/outbound.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "util/cursor.h"

/*
 * Bytes of an address or host that are looked at; RFC 5321 section 4.5.3.1 allows 64 + 1 + 255, and
 * a source route comes on top.
 */
enum { ADDRESS_MAX = 2048 };

/* Sendmail's own names (cf/mailer/smtp.m4) and a site's like them, but not lmtp. */
static bool
is_smtp(const char *mailer)
{
	return strcasestr(mailer, "smtp") != NULL || strcasecmp(mailer, "relay") == 0;
}

/* Steps over '"...'" whose first quote was taken. */
static void
skip_quoted(struct cursor *c)
{
	while (c->p < c->end) {
		unsigned char b = *c->p++;

		if (b == '"')
			return;
		if (b == '\\' && c->p < c->end)
			c->p++;
	}
}

/*
 * What follows the last '@' outside of quotes: the domain of "a@b"@dom, and of the source route
 * @relay:u@dom, whose hosts are not to be heeded (RFC 5321 appendix F.2). Empty without an '@'.
 */
static struct cursor
domain_part(const char *addr, size_t len)
{
	struct cursor c = cursor_of(addr, len), domain = cursor_of(addr + len, 0);

	while (c.p < c.end) {
		unsigned char b = *c.p++;

		if (b == '"')
			skip_quoted(&c);
		else if (b == '\\' && c.p < c.end)
			c.p++;
		else if (b == '@')
			domain = c;
	}
	if (cursor_len(&domain) > 0 && domain.end[-1] == '>')
		domain.end--;
	return domain;
}

static enum outbound_result
domain_of(const char *addr, char domain[DOMAIN_MAX + 1], struct errmsg *why)
{
	size_t len = strnlen(addr, ADDRESS_MAX + 1);
	struct cursor part = domain_part(addr, len);

	if (len > ADDRESS_MAX || cursor_len(&part) == 0) {
		errmsg_set(why, len > ADDRESS_MAX ? "over-long address" : "no domain in it");
		return OUTBOUND_NO;
	}
	if (domain_normalize((const char *)part.p, cursor_len(&part), domain, why) != DOMAIN_OK)
		return OUTBOUND_NO;
	return OUTBOUND_YES;
}

/* True when host is "domain.": an unnormalised name with the dot that the routing rules leave. */
static bool
is_own_hop(const char *host, const char *domain)
{
	size_t len = strnlen(host, ADDRESS_MAX + 1);
	char hop[DOMAIN_MAX + 1];

	return len > 1 && len <= ADDRESS_MAX && host[len - 1] == '.' &&
	       domain_normalize(host, len, hop, NULL) == DOMAIN_OK && strcmp(hop, domain) == 0;
}

enum outbound_result
outbound_domain(const struct outbound_rcpt *rcpt, char domain[DOMAIN_MAX + 1], struct errmsg *why)
{
	char own[DOMAIN_MAX + 1];

	if (rcpt->mailer == NULL || rcpt->mailer[0] == '\0') {
		errmsg_set(why, "the MTA does not send {rcpt_mailer}, {rcpt_host} and {rcpt_addr}");
		return OUTBOUND_UNKNOWN;
	}
	if (!is_smtp(rcpt->mailer) || rcpt->host == NULL || rcpt->host[0] == '\0') {
		errmsg_set(why, "mailer %s is not SMTP to a host", rcpt->mailer);
		return OUTBOUND_NO;
	}
	if (rcpt->addr == NULL || rcpt->addr[0] == '\0') {
		errmsg_set(why, "the MTA does not send {rcpt_addr}");
		return OUTBOUND_UNKNOWN;
	}
	if (domain_of(rcpt->addr, own, why) != OUTBOUND_YES)
		return OUTBOUND_NO;
	if (!is_own_hop(rcpt->host, own)) {
		errmsg_set(why, "next hop %s is not %s itself (RCPT %s)", rcpt->host, own,
		    rcpt->envelope == NULL ? "?" : rcpt->envelope);
		return OUTBOUND_NO;
	}
	strcpy(domain, own);
	return OUTBOUND_YES;
}
