#include "discover/dns.h"

/* ares_send() is deprecated since 1.28; 1.18 does not know its successor. */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <assert.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "policy/domain.h"
#include "util/cursor.h"

enum {
	CNAMES_MAX = 8, /* links of one chain */

	/* addresses of one family, so that neither displaces the other */
	FAMILY_MAX = DNS_ADDRESSES_MAX / 2,

	TICK_MS = 100,     /* how exactly c-ares's time-outs are kept */
	PATIENCE_MS = 500, /* how long the addresses of one family wait for the other's */
	CARRIER_QUESTIONS_MAX = 100,
	QUESTION_MAX = NS_HFIXEDSZ + NS_MAXCDNAME + NS_QFIXEDSZ
};

struct lookup;
struct carrier;

struct question {
	struct lookup *lookup;
	ns_type type;
	struct carrier *carrier;
};

/* One call of dns_txt() or dns_addresses(). */
struct lookup {
	TAILQ_ENTRY(lookup) link; /* in dns->done, or in dns->asked */
	struct dns *dns;
	char name[HOST_MAX + 1];
	struct question question[2];
	unsigned waiting; /* questions without an answer yet */
	bool done, delivered;
	struct event *patience; /* NULL: not armed */
	dns_txt_cb *txt_cb;     /* or address_cb */
	dns_address_cb *address_cb;
	void *arg;
	union {
		struct dns_txt_answer txt;
		struct dns_address_answer address;
	} answer;
};

/* A socket of c-ares. */
struct watch {
	LIST_ENTRY(watch) link;
	struct carrier *carrier;
	struct event *event;
};

TAILQ_HEAD(lookups, lookup);

/*
 * A channel of c-ares. As long as one of its questions is open it asks from the same source port,
 * which an attacker could find out, so each carries a bounded number of them.
 */
struct carrier {
	LIST_ENTRY(carrier) link;
	struct dns *dns;
	ares_channel channel;
	unsigned asked, open; /* questions: in all; without an answer yet */
	LIST_HEAD(, watch) watches;
};

struct dns {
	struct event_base *base;
	struct ares_addr_port_node *servers; /* NULL: the system's */
	int timeout_ms, tries;
	LIST_HEAD(, carrier) carriers; /* the first one takes questions, the others end theirs */
	struct __res_state res;
	bool library, res_ready, closing;
	struct event *tick, *deliver;
	struct lookups asked, done;
};

/* --- reading an answer --- */

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

static enum txt_result
judge_txt(struct reading *r, const char *name, struct dns_txt_answer *out)
{
	size_t count = ns_msg_count(r->msg, ns_s_an);
	struct cursor *records = calloc(count + 1, sizeof(*records));
	unsigned char *bytes = malloc((size_t)(ns_msg_end(r->msg) - ns_msg_base(r->msg)));
	enum txt_result result = TXT_TEMPFAIL;
	int n;

	if (records == NULL || bytes == NULL)
		errmsg_set(&out->why, "%s: out of memory", name);
	else if ((n = read_txt(r, records, bytes)) < 0)
		errmsg_set(&out->why, "%s: malformed DNS answer: a damaged TXT record", name);
	else if (n > 0)
		result = txt_select(records, (size_t)n, out->id, &out->why);
	else if (reading_negative(r, name, "TXT", &out->why))
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
	out->result = judge_txt(&r, name, out);
	if (out->result != TXT_TEMPFAIL)
		out->ttl_s = r.ttl_s;
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
	else if (n == 0)
		(void)reading_negative(&r, name, "address", &out->why);
}

/* --- asking --- */

static void
lookup_free(struct lookup *l)
{
	if (l->patience != NULL)
		event_free(l->patience);
	free(l);
}

/* The answer is whole: the callback runs from the loop. */
static void
lookup_done(struct lookup *l)
{
	if (l->done)
		return;
	l->done = true;
	TAILQ_REMOVE(&l->dns->asked, l, link);
	TAILQ_INSERT_TAIL(&l->dns->done, l, link);
	event_active(l->dns->deliver, EV_TIMEOUT, 0);
}

static void
on_patience_over(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	lookup_done(arg);
}

/* One family has addresses: the other may follow for a short while (compare RFC 8305 section 3). */
static void
lookup_hurry(struct lookup *l)
{
	const struct timeval tv = {0, PATIENCE_MS * 1000L};

	if (l->patience == NULL)
		l->patience = evtimer_new(l->dns->base, on_patience_over, l);
	if (l->patience == NULL || evtimer_add(l->patience, &tv) != 0)
		lookup_done(l);
}

/* After one of its questions has come to its end. */
static void
lookup_step(struct lookup *l)
{
	l->waiting--;
	if (l->delivered) {
		if (l->waiting == 0)
			lookup_free(l);
	} else if (l->waiting == 0)
		lookup_done(l);
	else if (l->answer.address.n > 0)
		lookup_hurry(l);
}

static void
question_failed(struct question *q, const char *why)
{
	struct lookup *l = q->lookup;

	if (l->txt_cb != NULL) {
		l->answer.txt.result = TXT_TEMPFAIL;
		errmsg_set(&l->answer.txt.why, "%s: %s", l->name, why);
	} else {
		errmsg_set(&l->answer.address.why, "%s: %s", l->name, why);
	}
	lookup_step(l);
}

static void
question_answered(struct question *q, const unsigned char *msg, size_t len)
{
	struct lookup *l = q->lookup;

	if (l->txt_cb != NULL)
		dns_parse_txt(msg, len, l->name, &l->answer.txt);
	else
		dns_parse_addresses(msg, len, l->name, q->type == ns_t_aaaa, &l->answer.address);
	lookup_step(l);
}

static const char *
failure_text(int status)
{
	switch (status) {
	case ARES_ETIMEOUT:
		return "no DNS server answered in time";
	case ARES_ECONNREFUSED: /* so says c-ares 1.18; newer ones know which */
		return "no DNS server could be reached, or all answered SERVFAIL or REFUSED";
	case ARES_ESERVFAIL:
		return "the DNS server answered SERVFAIL";
	case ARES_EREFUSED:
		return "the DNS server answered REFUSED";
	case ARES_ENOTIMP:
		return "the DNS server answered NOTIMP";
	case ARES_EDESTRUCTION:
	case ARES_ECANCELLED:
		return "the lookup was given up because this program stops";
	default:
		return ares_strerror(status);
	}
}

static void
on_answer(void *arg, int status, int timeouts UNUSED, unsigned char *msg, int len)
{
	struct question *q = arg;

	q->carrier->open--;
	if (status == ARES_ENOMEM)
		abort();
	if (msg != NULL && len > 0)
		question_answered(q, msg, (size_t)len);
	else
		question_failed(q, failure_text(status));
}

/* c-ares 1.18 sends the id that it gets, and res_nmkquery()'s comes from the clock. */
static void
randomize_id(unsigned char *msg)
{
	evutil_secure_rng_get_bytes(msg, 2);
}

static bool carrier_new(struct dns *dns, struct errmsg *em);

/* The carrier of the next question: a fresh one in time; a full one when there is no other. */
static struct carrier *
carrier_for(struct dns *dns)
{
	struct carrier *c = LIST_FIRST(&dns->carriers);

	if (c->asked >= CARRIER_QUESTIONS_MAX && carrier_new(dns, NULL))
		c = LIST_FIRST(&dns->carriers);
	c->asked++;
	c->open++;
	return c;
}

static void
question_ask(struct question *q)
{
	const struct timeval tick = {0, TICK_MS * 1000L};
	struct dns *dns = q->lookup->dns;
	unsigned char msg[QUESTION_MAX];
	int len = res_nmkquery(&dns->res, ns_o_query, q->lookup->name, ns_c_in, q->type, NULL, 0,
	    NULL, msg, sizeof(msg));

	if (dns->closing || len < 0) {
		question_failed(q,
		    dns->closing ? failure_text(ARES_EDESTRUCTION) : "no name that DNS can carry");
		return;
	}
	randomize_id(msg);
	if (!event_pending(dns->tick, EV_TIMEOUT, NULL))
		event_add(dns->tick, &tick);
	q->carrier = carrier_for(dns);
	ares_send(q->carrier->channel, msg, len, on_answer, q);
}

static struct lookup *
lookup_new(struct dns *dns, const char *prefix, const char *name, void *arg)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->dns = dns;
	l->arg = arg;
	snprintf(l->name, sizeof(l->name), "%s%s", prefix, name);
	TAILQ_INSERT_TAIL(&dns->asked, l, link);
	return l;
}

static void
lookup_ask(struct lookup *l, const ns_type *types, unsigned n)
{
	l->waiting = n; /* before the first question, which may fail at once */
	for (unsigned i = 0; i < n; i++)
		l->question[i] = (struct question){.lookup = l, .type = types[i]};
	for (unsigned i = 0; i < n; i++)
		question_ask(&l->question[i]);
}

bool
dns_txt(struct dns *dns, const char *domain, dns_txt_cb *cb, void *arg)
{
	static const ns_type types[] = {ns_t_txt};
	struct lookup *l = lookup_new(dns, "_mta-sts.", domain, arg);

	if (l == NULL)
		return false;
	l->txt_cb = cb;
	lookup_ask(l, types, 1);
	return true;
}

bool
dns_addresses(struct dns *dns, const char *host, dns_address_cb *cb, void *arg)
{
	static const ns_type types[] = {ns_t_aaaa, ns_t_a};
	struct lookup *l = lookup_new(dns, "", host, arg);

	if (l == NULL)
		return false;
	l->address_cb = cb;
	lookup_ask(l, types, 2);
	return true;
}

/* --- the loop --- */

static void
lookup_deliver(struct lookup *l)
{
	l->delivered = true;
	if (l->txt_cb != NULL)
		l->txt_cb(&l->answer.txt, l->arg);
	else {
		if (l->answer.address.n > 0)
			l->answer.address.why.text[0] = '\0';
		l->address_cb(&l->answer.address, l->arg);
	}
	if (l->waiting == 0)
		lookup_free(l);
}

static void
on_deliver(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct dns *dns = arg;
	struct lookup *l;

	while ((l = TAILQ_FIRST(&dns->done)) != NULL) {
		TAILQ_REMOVE(&dns->done, l, link);
		lookup_deliver(l);
	}
}

static void carrier_free(struct carrier *c);

/* Asking c-ares for its next time-out costs a walk over all questions; a tick does not. */
static void
on_tick(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct dns *dns = arg;
	struct carrier *c, *next, *first = LIST_FIRST(&dns->carriers);

	for (c = first; c != NULL; c = next) {
		next = LIST_NEXT(c, link);
		ares_process_fd(c->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		if (c != first && c->open == 0)
			carrier_free(c);
	}
	if (first->open == 0 && LIST_NEXT(first, link) == NULL)
		event_del(dns->tick);
}

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg; /* may be gone after the call */

	ares_process_fd(w->carrier->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
	    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
}

static void
watch_free(struct watch *w)
{
	LIST_REMOVE(w, link);
	event_free(w->event);
	free(w);
}

static void
watch_new(struct carrier *c, evutil_socket_t fd, short what)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL || (w->event = event_new(c->dns->base, fd, what, on_socket, w)) == NULL ||
	    event_add(w->event, NULL) != 0)
		abort(); /* out of memory: no fault of the servers that would seem silent */
	w->carrier = c;
	LIST_INSERT_HEAD(&c->watches, w, link);
}

static void
on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct carrier *c = arg;
	struct watch *w;

	LIST_FOREACH (w, &c->watches, link)
		if (event_get_fd(w->event) == fd)
			break;
	if (w != NULL)
		watch_free(w);
	if (readable || writable)
		watch_new(c, fd,
		    (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0) | EV_PERSIST));
}

/* --- opening and closing --- */

/* c-ares would leave out what it cannot read, so every server is read here. */
static bool
server_parse(struct ares_addr_port_node *node, const char *text, struct errmsg *em)
{
	struct sockaddr_storage ss;
	const struct sockaddr_in *in = (struct sockaddr_in *)&ss;
	const struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;
	int len = sizeof(ss);

	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&ss, &len) != 0 ||
	    strchr(text, '%') != NULL) { /* c-ares 1.18 has no place for a zone */
		errmsg_set(em,
		    "DNS server \"%s\": want an address, with or without a port: 192.0.2.1:53, [2001:db8::1]:53",
		    text);
		return false;
	}
	node->family = ss.ss_family;
	if (ss.ss_family == AF_INET)
		node->addr.addr4 = in->sin_addr;
	else
		memcpy(&node->addr.addr6, &in6->sin6_addr, sizeof(node->addr.addr6));
	node->udp_port = node->tcp_port =
	    ntohs(ss.ss_family == AF_INET ? in->sin_port : in6->sin6_port); /* 0: 53 */
	return true;
}

static bool
servers_parse(struct dns *dns, const struct dns_config *config, struct errmsg *em)
{
	if (config->n_servers == 0)
		return true;
	dns->servers = calloc(config->n_servers, sizeof(*dns->servers));
	if (dns->servers == NULL) {
		errmsg_set(em, "out of memory");
		return false;
	}
	for (size_t i = 0; i < config->n_servers; i++) {
		if (!server_parse(&dns->servers[i], config->servers[i], em))
			return false;
		if (i > 0)
			dns->servers[i - 1].next = &dns->servers[i];
	}
	return true;
}

/* Messages are built here, without EDNS: answers are small, and a longer one comes by TCP. */
static int
channel_open(struct carrier *c)
{
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
	struct ares_options options;
	int rc;

	memset(&options, 0, sizeof(options));
	options.timeout = c->dns->timeout_ms;
	options.tries = c->dns->tries;
	options.sock_state_cb = on_socket_state;
	options.sock_state_cb_data = c;
#ifdef ARES_OPT_QUERY_CACHE
	/* off: RFC 8461 section 5 wants a fresh look after a failed delivery */
	mask |= ARES_OPT_QUERY_CACHE;
	options.qcache_max_ttl = 0;
#endif
	rc = ares_init_options(&c->channel, &options, mask);
	if (rc == ARES_SUCCESS && c->dns->servers != NULL)
		rc = ares_set_servers_ports(c->channel, c->dns->servers);
	return rc;
}

static void
carrier_free(struct carrier *c)
{
	LIST_REMOVE(c, link);
	if (c->channel != NULL)
		ares_destroy(c->channel); /* fails what it holds */
	assert(LIST_EMPTY(&c->watches));
	free(c);
}

static bool
carrier_new(struct dns *dns, struct errmsg *em)
{
	struct carrier *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL) {
		errmsg_set(em, "out of memory");
		return false;
	}
	c->dns = dns;
	LIST_INIT(&c->watches);
	LIST_INSERT_HEAD(&dns->carriers, c, link);
	if ((rc = channel_open(c)) == ARES_SUCCESS)
		return true;
	errmsg_set(em, "DNS cannot start: %s", ares_strerror(rc));
	carrier_free(c);
	return false;
}

static bool
dns_open(struct dns *dns, const struct dns_config *config, struct errmsg *em)
{
	errmsg_set(em, "DNS cannot start: out of memory");
	dns->library = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
	dns->res_ready = res_ninit(&dns->res) == 0;
	dns->tick = event_new(dns->base, -1, EV_PERSIST, on_tick, dns);
	dns->deliver = event_new(dns->base, -1, 0, on_deliver, dns);
	if (!dns->library || !dns->res_ready || dns->tick == NULL || dns->deliver == NULL)
		return false;
	dns->res.options |= RES_RECURSE;
	dns->timeout_ms = config->timeout_ms;
	dns->tries = config->tries;
	return servers_parse(dns, config, em) && carrier_new(dns, em);
}

struct dns *
dns_new(struct event_base *base, const struct dns_config *config, struct errmsg *em)
{
	struct dns *dns = calloc(1, sizeof(*dns));

	if (dns == NULL) {
		errmsg_set(em, "out of memory");
		return NULL;
	}
	dns->base = base;
	TAILQ_INIT(&dns->asked);
	TAILQ_INIT(&dns->done);
	LIST_INIT(&dns->carriers);
	if (!dns_open(dns, config, em))
		dns_free(&dns);
	return dns;
}

void
dns_free(struct dns **dnsp)
{
	struct dns *dns = *dnsp;
	struct carrier *c, *next;

	if (dns == NULL)
		return;
	*dnsp = NULL;
	dns->closing = true;
	for (c = LIST_FIRST(&dns->carriers); c != NULL; c = next) {
		next = LIST_NEXT(c, link);
		carrier_free(c);
	}
	on_deliver(-1, 0, dns);
	assert(TAILQ_EMPTY(&dns->asked));
	if (dns->tick != NULL)
		event_free(dns->tick);
	if (dns->deliver != NULL)
		event_free(dns->deliver);
	if (dns->res_ready)
		res_nclose(&dns->res);
	if (dns->library)
		ares_library_cleanup();
	free(dns->servers);
	free(dns);
}
