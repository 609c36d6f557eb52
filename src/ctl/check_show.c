#include "ctl/check_show.h"

#include <stdarg.h>
#include <string.h>

#include "ctl/show.h"
#include "util/when.h"

enum { LABEL_WIDTH = 8, MARK_WIDTH = 6, NAMES_SHOWN_MAX = 400 };

enum mark { MARK_OK, MARK_NOTE, MARK_WARN, MARK_FAIL };

struct page {
	FILE *out;
	bool colour;
	time_t now;
};

static const char *
colour_of(enum mark mark)
{
	static const char *const codes[] = {"\033[32m", "\033[2m", "\033[33m", "\033[1;31m"};

	return codes[mark];
}

static void put(const struct page *page, const char *label, enum mark mark, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void
put(const struct page *page, const char *label, enum mark mark, const char *fmt, ...)
{
	static const char *const words[] = {"ok", "note", "warn", "FAIL"};
	va_list ap;

	fprintf(page->out, "  %-*s %s%s%s%*s", LABEL_WIDTH, label,
	    page->colour ? colour_of(mark) : "", words[mark], page->colour ? "\033[0m" : "",
	    MARK_WIDTH - (int)strlen(words[mark]), "");
	va_start(ap, fmt);
	vfprintf(page->out, fmt, ap);
	va_end(ap);
	fputc('\n', page->out);
}

static enum mark
mark_of(enum check_result r)
{
	return r == CHECK_OK                                  ? MARK_OK
	       : r == CHECK_NO_POLICY                         ? MARK_NOTE
	       : r == CHECK_WARNING || r == CHECK_DNS_TROUBLE ? MARK_WARN
							      : MARK_FAIL;
}

/* --- the domain's DNS and policy host --- */

static void
put_txt(const struct page *page, const struct survey_domain *d)
{
	const struct dns_txt_answer *txt = &d->txt;

	if (txt->result == TXT_RECORD)
		put(page, "TXT", MARK_OK, "_mta-sts.%s: id %s, TTL %lu s", d->name, txt->id,
		    (unsigned long)txt->ttl_s);
	else
		put(page, "TXT",
		    txt->result == TXT_INVALID    ? MARK_FAIL
		    : txt->result == TXT_TEMPFAIL ? MARK_WARN
						  : MARK_NOTE,
		    "%s", txt->why.text);
	if (txt->alias[0] != '\0')
		put(page, "", MARK_NOTE, "by CNAME from %s", txt->alias);
}

/* When a certificate ends, in words. */
static void
put_cert(const struct page *page, const struct cert *cert, bool fits)
{
	long days = (long)(cert->not_after - page->now) / WHEN_DAY_S;
	bool over = cert->not_after <= page->now;
	enum mark mark = !fits || over                             ? MARK_FAIL
			 : days < CHECK_EXPIRY_WARN_S / WHEN_DAY_S ? MARK_WARN
								   : MARK_OK;
	char names[NAMES_SHOWN_MAX] = "";
	size_t len = 0, i;

	for (i = 0; i < cert->n_names && len + HOST_MAX + 2 < sizeof(names); i++)
		len += (size_t)snprintf(
		    names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "", cert->name[i]);
	put(page, "", mark, "certificate of %s: %s%s; %s %ld days%s",
	    cert->issuer[0] != '\0' ? cert->issuer : "nobody",
	    cert->n_names > 0 ? names : "no DNS name",
	    i < cert->n_names || cert->more > 0 ? ", ..." : "", over ? "expired" : "valid for",
	    over ? -days : days, over ? " ago" : "");
}

static void
put_addresses(FILE *out, const struct dns_address_answer *a)
{
	for (size_t i = 0; i < a->n; i++)
		fprintf(out, "%s%s", i > 0 ? ", " : "", a->text[i]);
}

static void
put_policy(const struct page *page, const struct policy *p)
{
	put(page, "", MARK_OK, "mode %s, max_age %lu s", mode_name(p->mode),
	    (unsigned long)p->max_age_s);
	for (size_t i = 0; i < p->n_mx; i++)
		put(page, "", MARK_OK, "mx %s", p->mx[i]);
}

static void
put_policy_host(const struct page *page, const struct survey_domain *d)
{
	if (!d->fetched)
		return;
	if (d->fetch_type == STS_OK)
		put(page, "policy", MARK_OK, "https://mta-sts.%s/.well-known/mta-sts.txt", d->name);
	else
		put(page, "policy", MARK_FAIL, "%s (%s)", d->fetch_why.text,
		    sts_type_name(d->fetch_type));
	if (d->policy_addresses.n > 0) {
		fprintf(page->out, "  %*sat ", LABEL_WIDTH + 1 + MARK_WIDTH, "");
		put_addresses(page->out, &d->policy_addresses);
		fputc('\n', page->out);
	}
	if (d->has_cert)
		put_cert(page, &d->policy_cert, d->fetch_type != STS_WEBPKI_INVALID);
	if (d->policy != NULL)
		put_policy(page, d->policy);
	for (size_t i = 0; i < d->findings.n_errors; i++)
		put(page, "", MARK_FAIL, "%s", d->findings.errors[i]);
	for (size_t i = 0; i < d->findings.n_warnings; i++)
		put(page, "", MARK_WARN, "%s", d->findings.warnings[i]);
}

/* --- MX hosts --- */

static void
put_probe(const struct page *page, const char *address, const struct probe_answer *a, bool rules)
{
	bool away = a->result == PROBE_UNREACHABLE || a->result == PROBE_NO_SMTP;
	enum mark mark = a->result == PROBE_OK ? MARK_OK : !rules || away ? MARK_NOTE : MARK_FAIL;

	if (a->banner[0] != '\0')
		put(page, "", MARK_OK, "%s: %s", address, a->banner);
	if (a->tls_version[0] != '\0')
		put(page, "", MARK_OK, "%s, %s", a->tls_version, a->cipher);
	if (a->has_cert)
		put_cert(page, &a->cert, a->result == PROBE_OK || !rules);
	if (a->result != PROBE_OK)
		put(page, "", mark, "%s: %s%s%s%s", address, a->why.text, away ? "" : " (",
		    away ? "" : probe_result_name(a->result), away ? "" : ")");
}

static void
put_tlsa(const struct page *page, const struct dns_tlsa_answer *answer)
{
	for (size_t i = 0; i < answer->n; i++) {
		const struct dns_tlsa *t = &answer->tlsa[i];
		char hex[17] = "";

		for (size_t j = 0; j < t->len && j < sizeof(hex) / 2; j++)
			snprintf(hex + 2 * j, 3, "%02x", t->data[j]);
		put(page, "", MARK_NOTE, "TLSA %u %u %u %s..., %s", t->usage, t->selector,
		    t->matching, hex,
		    answer->authentic ? "DNSSEC: the resolver vouches for it"
				      : "no DNSSEC by this resolver: senders ignore it");
	}
	if (answer->result == DNS_TLSA_TEMPFAIL)
		put(page, "", MARK_NOTE, "%s", answer->why.text);
}

static void
put_host(const struct page *page, const struct survey_domain *d, size_t i, const struct check *c)
{
	const struct survey_host *h = d->host[i];
	const struct check_host *v = &c->host[i];
	bool rules = c->verdict == VERDICT_ENFORCE || c->verdict == VERDICT_TESTING;
	char label[LABEL_WIDTH + 1] = "MX";

	if (d->mx.result == DNS_MX_FOUND)
		snprintf(label, sizeof(label), "MX %u", (unsigned)d->mx.mx[i].preference);
	if (v->pattern != NULL)
		put(page, label, MARK_OK, "%s, by mx %s", h->name, v->pattern);
	else
		put(page, label, rules ? MARK_FAIL : MARK_OK, "%s%s", h->name,
		    rules ? ": no mx of the policy matches it" : "");
	if (h->addresses.n == 0)
		put(page, "", MARK_WARN, "%s", h->addresses.why.text);
	for (size_t j = 0; j < h->addresses.n; j++)
		put_probe(page, h->addresses.text[j], &h->probe[j], rules);
	put_tlsa(page, &h->tlsa);
}

static void
put_mx(const struct page *page, const struct survey_domain *d, const struct check *c)
{
	if (d->mx.result != DNS_MX_FOUND)
		put(page, "MX",
		    d->mx.result == DNS_MX_IMPLICIT   ? MARK_NOTE
		    : d->mx.result == DNS_MX_TEMPFAIL ? MARK_WARN
						      : MARK_FAIL,
		    "%s%s", d->mx.why.text,
		    d->mx.result == DNS_MX_IMPLICIT ? ": mail goes to the domain itself" : "");
	for (size_t i = 0; i < d->n_hosts; i++)
		put_host(page, d, i, c);
	if (d->mx.more > 0)
		put(page, "", MARK_NOTE, "%zu more MX records were left out", d->mx.more);
}

static void
put_reports(const struct page *page, const struct survey_domain *d)
{
	if (d->tlsrpt.result == TXT_RECORD)
		put(page, "TLSRPT", MARK_OK, "reports go to %s", d->tlsrpt.rua);
	else
		put(page, "TLSRPT", MARK_NOTE, "%s", d->tlsrpt.why.text);
}

void
check_show(FILE *out, bool colour, const struct survey_domain *d, const struct check *c,
    const struct check_site *site, time_t now)
{
	const struct page page = {out, colour, now};
	enum mark mark = mark_of(c->result);
	char text[ERRMSG_MAX + 64];

	fprintf(out, "%s: %s%s%s\n\n", d->name, colour ? colour_of(mark) : "",
	    check_result_name(c->result), colour ? "\033[0m" : "");
	put_txt(&page, d);
	put_policy_host(&page, d);
	put_mx(&page, d, c);
	put_reports(&page, d);
	if (site->rule != RULE_OPTIONAL)
		put(&page, "site", MARK_NOTE, "mtasts.conf: policy = %s%s",
		    rule_requires(site->rule) ? "require, unmet = " : "", rule_name(site->rule));
	fputc('\n', out);
	for (size_t i = 0; i < c->n_warnings; i++) {
		snprintf(text, sizeof(text), "Warning: %s.", c->warning[i].text);
		show_paragraph(out, text);
	}
	snprintf(text, sizeof(text), "Mail from here would be %s.", c->text.text);
	show_paragraph(out, text);
}

void
check_show_head(FILE *out)
{
	fprintf(out, "%-32s %-15s %-9s %s\n", "DOMAIN", "RESULT", "MAIL", "WHY");
}

void
check_show_line(FILE *out, bool colour, const struct survey_domain *d, const struct check *c)
{
	fprintf(out, "%-32s %s%-15s%s %-9s %s\n", d->name,
	    colour ? colour_of(mark_of(c->result)) : "", check_result_name(c->result),
	    colour ? "\033[0m" : "", check_mail_name(c->mail),
	    c->result == CHECK_WARNING ? c->warning[0].text : c->text.text);
}
