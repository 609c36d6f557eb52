#include "milter/outbound.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { HOSTS_MAX = 1024 }; /* bytes of a next hop that are looked at */

/* The names of Sendmail's own SMTP mailers (cf/mailer/smtp.m4), and of a site's like them, but not lmtp: as
 * FEATURE(`mtasts') takes them. */
static bool
is_smtp(const char *mailer)
{
	return strcasestr(mailer, "smtp") != NULL || strcasestr(mailer, "relay") != NULL;
}

/* [192.0.2.1]:[b.test], a.test,b.test: Sendmail tries one after the other. */
static bool
is_list(const char *host, size_t len)
{
	const char *end = host[0] == '[' ? memchr(host, ']', len) : host;

	return end != NULL && strpbrk(end, ":,") != NULL;
}

enum outbound_result
outbound_domain(const struct outbound_rcpt *rcpt, char domain[DOMAIN_MAX + 1], struct errmsg *why)
{
	static const char this_host[] = "localhost.localdomain";
	const char *host = rcpt->host == NULL ? "" : rcpt->host;
	size_t len = strnlen(host, HOSTS_MAX + 1);
	char own[DOMAIN_MAX + 1];

	if (rcpt->mailer == NULL || rcpt->mailer[0] == '\0') {
		errmsg_set(why, "the MTA does not send {rcpt_mailer}, {rcpt_host} and {rcpt_addr}");
		return OUTBOUND_UNKNOWN;
	}
	if (!is_smtp(rcpt->mailer) || len == 0 || len > HOSTS_MAX) {
		errmsg_set(why, "mailer %s is not SMTP to a host", rcpt->mailer);
		return OUTBOUND_NO;
	}
	if (rcpt->addr == NULL || rcpt->addr[0] == '\0') {
		errmsg_set(why, "the MTA does not send {rcpt_addr}");
		return OUTBOUND_UNKNOWN;
	}
	if (is_list(host, len)) {
		errmsg_set(why, "next hop %s is one of several", host);
		return OUTBOUND_NO;
	}
	/* In brackets: no MX lookup; the policy is that of the name all the same. */
	if (host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	if (domain_normalize(host, len, own, why) != DOMAIN_OK)
		return OUTBOUND_NO;
	if (strcmp(own, this_host) == 0) {
		errmsg_set(why, "next hop %s is this host", own);
		return OUTBOUND_NO;
	}
	strcpy(domain, own);
	return OUTBOUND_YES;
}
