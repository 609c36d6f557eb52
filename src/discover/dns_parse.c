#include "discover/dns.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/domain.h"
#include "policy/tlsrpt.h"
#include "util/ascii.h"
#include "util/cursor.h"

enum {
	CNAMES_MAX = 8, /* links of one chain */

	/* addresses of one family, so that neither displaces the other */
	FAMILY_MAX = DNS_ADDRESSES_MAX / 2
};

struct reading {
	ns_msg msg;
	char owner[NS_MAXDNAME]; /* the end of the CNAME chain */
	unsigned cnames;
	bool has_ttl;
	uint32_t ttl_s;
};

static void
reading_ttl(struct reading *r, uint32_t ttl_s)
{
	if (ttl_s > INT32_MAX) /* RFC 2181 section 8 */
		ttl_s = 0;
	if (!r->has_ttl || ttl_s < r->ttl_s)
		r->ttl_s = ttl_s;
	r->has_ttl = true;
}

/* The next record of this owner (NULL: any) and type from *i on. 1: in rr; 0: none; -1: damaged. */
static int
next_rr(struct reading *r, ns_sect section, int *i, const char *owner, ns_type type, ns_rr *rr)
{
	for (; *i < ns_msg_count(r->msg, section); ++*i) {
		if (ns_parserr(&r->msg, section, *i, rr) != 0)
			return -1;
		if (ns_rr_type(*rr) == type && ns_rr_class(*rr) == ns_c_in &&
		    (owner == NULL || domain_equal(ns_rr_name(*rr), owner))) {
			++*i;
			return 1;
		}
	}
	return 0;
}

static const char *
rcode_name(unsigned rcode)
{
	static const char *const names[] = {
	    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};

	return rcode < sizeof(names) / sizeof(names[0]) ? names[rcode] : "an unknown error";
}

/* Is this a whole answer to the question that we asked? */
static bool
check_header(struct reading *r, const char *name, ns_type type, struct errmsg *em)
{
	int rcode = ns_msg_getflag(r->msg, ns_f_rcode);
	ns_rr rr;

	if (!ns_msg_getflag(r->msg, ns_f_qr) || ns_msg_getflag(r->msg, ns_f_opcode) != ns_o_query)
		errmsg_set(em, "%s: malformed DNS answer: not an answer to a query", name);
	else if (rcode != ns_r_noerror && rcode != ns_r_nxdomain)
		errmsg_set(em, "%s: the DNS server answered %s", name, rcode_name((unsigned)rcode));
	else if (ns_msg_getflag(r->msg, ns_f_tc))
		errmsg_set(em, "%s: the DNS answer came cut short", name);
	else if (ns_msg_count(r->msg, ns_s_qd) != 1 || ns_parserr(&r->msg, ns_s_qd, 0, &rr) != 0 ||
		 ns_rr_type(rr) != type || ns_rr_class(rr) != ns_c_in ||
		 !domain_equal(ns_rr_name(rr), name))
		errmsg_set(em, "%s: malformed DNS answer: to another question", name);
	else
		return true;
	return false;
}

/* Goes from r->owner to the end of its CNAME chain, in whatever order the records are. */
static bool
follow_cnames(struct reading *r, const char *name, struct errmsg *em)
{
	ns_rr rr;
	int i = 0, found;

	while ((found = next_rr(r, ns_s_an, &i, r->owner, ns_t_cname, &rr)) == 1) {
		if (r->cnames++ == CNAMES_MAX) {
			errmsg_set(em, "%s: more than %d CNAMEs in a chain", name, CNAMES_MAX);
			return false;
		}
		if (ns_name_uncompress(ns_msg_base(r->msg), ns_msg_end(r->msg), ns_rr_rdata(rr),
			r->owner, sizeof(r->owner)) != ns_rr_rdlen(rr))
			found = -1;
		if (found < 0)
			break;
		reading_ttl(r, ns_rr_ttl(rr));
		i = 0;
	}
	if (found < 0)
		errmsg_set(em, "%s: malformed DNS answer: a damaged record", name);
	return found == 0;
}

/* False with a reason: the bytes decide nothing (TXT_TEMPFAIL). */
static bool
reading_begin(struct reading *r, const unsigned char *msg, size_t len, const char *name,
    ns_type type, struct errmsg *em)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->owner, sizeof(r->owner), "%s", name);
	if (len > NS_MAXMSG || ns_initparse(msg, (int)len, &r->msg) != 0) {
		errmsg_set(em, "%s: malformed DNS answer", name);
		return false;
	}
	return check_header(r, name, type, em) && follow_cnames(r, name, em);
}

/*
 * The negative TTL, RFC 2308 section 5: the lesser of the SOA's own TTL and its MINIMUM field.
 * False: no SOA, or a damaged one.
 */
static bool
reading_soa(struct reading *r)
{
	const unsigned char *p, *end;
	int i = 0;
	ns_rr rr;

	if (next_rr(r, ns_s_ns, &i, NULL, ns_t_soa, &rr) != 1)
		return false;
	p = ns_rr_rdata(rr);
	end = p + ns_rr_rdlen(rr);
	if (ns_name_skip(&p, end) != 0 || ns_name_skip(&p, end) != 0 || end - p != 5 * NS_INT32SZ)
		return false;
	reading_ttl(r, ns_rr_ttl(rr));
	reading_ttl(r, (uint32_t)ns_get32(p + 4 * NS_INT32SZ));
	return true;
}

/*
 * No record of the type was found: does the server say that there is none? A referral, or a CNAME
 * that an authoritative server did not follow, says nothing. Caches may leave out the SOA (RFC 2308
 * section 5), so a recursive server is believed without.
 */
static bool
reading_negative(struct reading *r, const char *name, const char *type, struct errmsg *em)
{
	bool nxdomain = ns_msg_getflag(r->msg, ns_f_rcode) == ns_r_nxdomain;
	bool soa = reading_soa(r);

	if (soa || nxdomain || ns_msg_getflag(r->msg, ns_f_ra) ||
	    (ns_msg_getflag(r->msg, ns_f_aa) && r->cnames == 0)) {
		errmsg_set(em, nxdomain ? "%s: no such name in DNS" : "%s: no %s record in DNS",
		    name, type);
		if (!soa)
			r->ttl_s = 0;
		return true;
	}
	errmsg_set(em, "%s: the DNS server does not resolve: want a recursive one", name);
	return false;
}

/* Appends the strings of one TXT record to *to; false when their lengths do not add up. */
static bool
join_strings(const ns_rr *rr, unsigned char **to)
{
	const unsigned char *p = ns_rr_rdata(*rr), *end = p + ns_rr_rdlen(*rr);

	if (p == end) /* RFC 1035 section 3.3.14: one or more */
		return false;
	while (p < end) {
		size_t n = *p++;

		if (n > (size_t)(end - p))
			return false;
		memcpy(*to, p, n);
		*to += n;
		p += n;
	}
	return true;
}

/* Fills records with views into bytes, which is as large as the message. -1: malformed. */
static int
read_txt(struct reading *r, struct cursor *records, unsigned char *bytes)
{
	int i = 0, n = 0, found;
	ns_rr rr;

	while ((found = next_rr(r, ns_s_an, &i, r->owner, ns_t_txt, &rr)) == 1) {
		records[n].p = bytes;
		if (!join_strings(&rr, &bytes))
			return -1;
		records[n++].end = bytes;
		reading_ttl(r, ns_rr_ttl(rr));
	}
	return found < 0 ? -1 : n;
}

/* What the records of a TXT question come to; txt_select() or tlsrpt_select(). */
typedef enum txt_result select_fn(
    const struct cursor *records, size_t n, char *out, struct errmsg *em);

static enum txt_result
judge_txt(struct reading *r, const char *name, select_fn *select, char *out, struct errmsg *why)
{
	size_t count = ns_msg_count(r->msg, ns_s_an);
	struct cursor *records = calloc(count + 1, sizeof(*records));
	unsigned char *bytes = malloc((size_t)(ns_msg_end(r->msg) - ns_msg_base(r->msg)));
	enum txt_result result = TXT_TEMPFAIL;
	int n;

	if (records == NULL || bytes == NULL)
		errmsg_set(why, "%s: out of memory", name);
	else if ((n = read_txt(r, records, bytes)) < 0)
		errmsg_set(why, "%s: malformed DNS answer: a damaged TXT record", name);
	else if (n > 0)
		result = select(records, (size_t)n, out, why);
	else if (reading_negative(r, name, "TXT", why))
		result = TXT_ABSENT;
	free(records);
	free(bytes);
	return result;
}

void
dns_parse_txt(const unsigned char *msg, size_t len, const char *name, struct dns_txt_answer *out)
{
	struct reading r;

	memset(out, 0, sizeof(*out));
	out->result = TXT_TEMPFAIL;
	if (!reading_begin(&r, msg, len, name, ns_t_txt, &out->why))
		return;
	out->result = judge_txt(&r, name, txt_select, out->id, &out->why);
	if (out->result != TXT_TEMPFAIL)
		out->ttl_s = r.ttl_s;
	if (r.cnames > 0)
		snprintf(out->alias, sizeof(out->alias), "%.*s", HOST_MAX, r.owner);
}

void
dns_parse_tlsrpt(
    const unsigned char *msg, size_t len, const char *name, struct dns_tlsrpt_answer *out)
{
	struct reading r;

	memset(out, 0, sizeof(*out));
	out->result = TXT_TEMPFAIL;
	if (reading_begin(&r, msg, len, name, ns_t_txt, &out->why))
		out->result = judge_txt(&r, name, tlsrpt_select, out->rua, &out->why);
}

void
dns_parse_addresses(const unsigned char *msg, size_t len, const char *name, bool ipv6,
    struct dns_address_answer *out)
{
	ns_type type = ipv6 ? ns_t_aaaa : ns_t_a;
	int i = 0, n = 0, found = 0;
	struct reading r;
	ns_rr rr;

	if (!reading_begin(&r, msg, len, name, type, &out->why))
		return;
	while (n < FAMILY_MAX && out->n < DNS_ADDRESSES_MAX &&
	       (found = next_rr(&r, ns_s_an, &i, r.owner, type, &rr)) == 1) {
		if (ns_rr_rdlen(rr) != (ipv6 ? NS_IN6ADDRSZ : NS_INADDRSZ)) {
			found = -1;
			break;
		}
		inet_ntop(ipv6 ? AF_INET6 : AF_INET, ns_rr_rdata(rr), out->text[out->n++],
		    sizeof(out->text[0]));
		n++;
	}
	if (found < 0)
		errmsg_set(&out->why, "%s: malformed DNS answer: a damaged address record", name);
	else if (n == 0 && reading_negative(&r, name, "address", &out->why))
		out->families_without++;
}

/* A whole name in lower case; ".": the root. False: longer than a host's can be. */
static bool
read_host(struct reading *r, const unsigned char *at, size_t len, char host[HOST_MAX + 1])
{
	char name[NS_MAXDNAME];
	size_t i;

	if (ns_name_uncompress(ns_msg_base(r->msg), ns_msg_end(r->msg), at, name, sizeof(name)) !=
		(int)len ||
	    strlen(name) > HOST_MAX)
		return false;
	for (i = 0; name[i] != '\0'; i++)
		host[i] = (char)ascii_lower((unsigned char)name[i]);
	host[i] = '\0';
	return true;
}

/* Insertion keeps the order of the answer among equals, and the best when there are too many. */
static void
insert_mx(struct dns_mx_answer *out, const struct dns_mx *mx)
{
	size_t at = out->n;

	while (at > 0 && out->mx[at - 1].preference > mx->preference)
		at--;
	if (out->n == DNS_MX_MAX)
		out->more++;
	else
		out->n++;
	if (at == DNS_MX_MAX)
		return;
	memmove(&out->mx[at + 1], &out->mx[at], (out->n - 1 - at) * sizeof(*mx));
	out->mx[at] = *mx;
}

/* True: all of them were read. "." is no host, but alone it is the null MX (RFC 7505 section 3). */
static bool
read_mx(struct reading *r, struct dns_mx_answer *out, bool *null_mx)
{
	struct dns_mx mx;
	int i = 0, found;
	ns_rr rr;

	while ((found = next_rr(r, ns_s_an, &i, r->owner, ns_t_mx, &rr)) == 1) {
		if (ns_rr_rdlen(rr) < NS_INT16SZ + 1 || !read_host(r, ns_rr_rdata(rr) + NS_INT16SZ,
							    ns_rr_rdlen(rr) - NS_INT16SZ, mx.host))
			return false;
		mx.preference = (uint16_t)ns_get16(ns_rr_rdata(rr));
		reading_ttl(r, ns_rr_ttl(rr));
		if (strcmp(mx.host, ".") == 0 || mx.host[0] == '\0')
			*null_mx = true;
		else
			insert_mx(out, &mx);
	}
	return found == 0;
}

static enum dns_mx_result
judge_mx(struct reading *r, const char *name, struct dns_mx_answer *out)
{
	bool null_mx = false;

	if (!read_mx(r, out, &null_mx)) {
		errmsg_set(&out->why, "%s: malformed DNS answer: a damaged MX record", name);
		out->n = out->more = 0;
		return DNS_MX_TEMPFAIL;
	}
	if (out->n > 0)
		return DNS_MX_FOUND;
	if (null_mx) {
		errmsg_set(&out->why, "%s: its MX record says that it takes no mail", name);
		return DNS_MX_NULL;
	}
	if (!reading_negative(r, name, "MX", &out->why))
		return DNS_MX_TEMPFAIL;
	return ns_msg_getflag(r->msg, ns_f_rcode) == ns_r_nxdomain ? DNS_MX_NO_DOMAIN
								   : DNS_MX_IMPLICIT;
}

void
dns_parse_mx(const unsigned char *msg, size_t len, const char *name, struct dns_mx_answer *out)
{
	struct reading r;

	memset(out, 0, sizeof(*out));
	out->result = DNS_MX_TEMPFAIL;
	if (!reading_begin(&r, msg, len, name, ns_t_mx, &out->why))
		return;
	out->result = judge_mx(&r, name, out);
	out->authentic = ns_msg_getflag(r.msg, ns_f_ad) != 0;
	if (out->result != DNS_MX_TEMPFAIL)
		out->ttl_s = r.ttl_s;
}

static bool
read_tlsa(struct reading *r, struct dns_tlsa_answer *out)
{
	int i = 0, found = 0;
	ns_rr rr;

	while (out->n < DNS_TLSA_MAX &&
	       (found = next_rr(r, ns_s_an, &i, r->owner, ns_t_tlsa, &rr)) == 1) {
		const unsigned char *p = ns_rr_rdata(rr);
		struct dns_tlsa *t = &out->tlsa[out->n];

		if (ns_rr_rdlen(rr) <= 3)
			return false;
		t->usage = p[0];
		t->selector = p[1];
		t->matching = p[2];
		t->len = ns_rr_rdlen(rr) - 3U;
		if (t->len > sizeof(t->data))
			t->len = sizeof(t->data);
		memcpy(t->data, p + 3, t->len);
		out->n++;
	}
	return found >= 0;
}

void
dns_parse_tlsa(const unsigned char *msg, size_t len, const char *name, struct dns_tlsa_answer *out)
{
	struct reading r;

	memset(out, 0, sizeof(*out));
	out->result = DNS_TLSA_TEMPFAIL;
	if (!reading_begin(&r, msg, len, name, ns_t_tlsa, &out->why))
		return;
	out->authentic = ns_msg_getflag(r.msg, ns_f_ad) != 0;
	if (!read_tlsa(&r, out)) {
		out->n = 0;
		errmsg_set(&out->why, "%s: malformed DNS answer: a damaged TLSA record", name);
	} else if (out->n > 0)
		out->result = DNS_TLSA_FOUND;
	else if (reading_negative(&r, name, "TLSA", &out->why))
		out->result = DNS_TLSA_ABSENT;
}
