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
	TICK_MS = 100,     /* how exactly c-ares's time-outs are kept */
	PATIENCE_MS = 500, /* how long the addresses of one family wait for the other's */
	CARRIER_QUESTIONS_MAX = 100,
	AUTHENTIC_DATA = 0x20, /* in byte 3 of a header */
	QUESTION_MAX = NS_HFIXEDSZ + NS_MAXCDNAME + NS_QFIXEDSZ
};

struct lookup;
struct carrier;

struct question {
	struct lookup *lookup;
	ns_type type;
	struct carrier *carrier;
};

/* What kinds of lookup differ in. */
struct kind {
	size_t answer_size;
	ns_type type[2]; /* questions; 0: none */
	bool authentic;  /* ask the resolver whether DNSSEC vouches for it, RFC 6840 section 5.7 */
	void (*parse)(
	    const unsigned char *msg, size_t len, const char *name, ns_type type, void *answer);
	struct errmsg *(*fail)(void *answer); /* and where the reason goes */
	void (*deliver)(const struct lookup *l);
};

/* One call of dns_txt(), dns_addresses() and so on. */
struct lookup {
	TAILQ_ENTRY(lookup) link; /* in dns->done, or in dns->asked */
	struct dns *dns;
	char name[HOST_MAX + 1];
	struct question question[2];
	unsigned waiting; /* questions without an answer yet */
	bool done, delivered;
	struct event *patience; /* NULL: not armed */
	const struct kind *kind;
	union {
		dns_txt_cb *txt;
		dns_address_cb *address;
		dns_mx_cb *mx;
		dns_tlsa_cb *tlsa;
		dns_tlsrpt_cb *tlsrpt;
	} cb;
	void *arg;
	void *answer; /* of the kind's size */
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

/* --- asking --- */

static void
lookup_free(struct lookup *l)
{
	if (l->patience != NULL)
		event_free(l->patience);
	free(l->answer);
	free(l);
}

static const struct kind address_kind;

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
	else if (l->kind == &address_kind && ((struct dns_address_answer *)l->answer)->n > 0)
		lookup_hurry(l);
}

static void
set_failure(struct lookup *l, const char *why)
{
	errmsg_set(l->kind->fail(l->answer), "%s: %s", l->name, why);
}

/* Nobody was asked: the lookup was not told of yet. */
static void
question_refused(struct question *q, const char *why)
{
	struct lookup *l = q->lookup;

	set_failure(l, why);
	if (--l->waiting == 0)
		lookup_done(l);
}

static void
question_failed(struct question *q, const char *why)
{
	set_failure(q->lookup, why);
	lookup_step(q->lookup);
}

static void
question_answered(struct question *q, const unsigned char *msg, size_t len)
{
	struct lookup *l = q->lookup;

	l->kind->parse(msg, len, l->name, q->type, l->answer);
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
		question_refused(q,
		    dns->closing ? failure_text(ARES_EDESTRUCTION) : "no name that DNS can carry");
		return;
	}
	randomize_id(msg);
	if (q->lookup->kind->authentic)
		msg[3] |= AUTHENTIC_DATA;
	if (!event_pending(dns->tick, EV_TIMEOUT, NULL))
		event_add(dns->tick, &tick);
	q->carrier = carrier_for(dns);
	ares_send(q->carrier->channel, msg, len, on_answer, q);
}

static struct lookup *
lookup_new(
    struct dns *dns, const struct kind *kind, const char *prefix, const char *name, void *arg)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (l == NULL || (l->answer = calloc(1, kind->answer_size)) == NULL) {
		free(l);
		return NULL;
	}
	l->dns = dns;
	l->kind = kind;
	l->arg = arg;
	snprintf(l->name, sizeof(l->name), "%s%s", prefix, name);
	TAILQ_INSERT_TAIL(&dns->asked, l, link);
	return l;
}

static void
lookup_ask(struct lookup *l)
{
	unsigned n = l->kind->type[1] != 0 ? 2 : 1;

	l->waiting = n; /* before the first question, which may fail at once */
	for (unsigned i = 0; i < n; i++)
		l->question[i] = (struct question){.lookup = l, .type = l->kind->type[i]};
	for (unsigned i = 0; i < n; i++)
		question_ask(&l->question[i]);
}

/* --- the kinds --- */

static void
txt_parse(const unsigned char *msg, size_t len, const char *name, ns_type type UNUSED, void *answer)
{
	dns_parse_txt(msg, len, name, answer);
}

static struct errmsg *
txt_fail(void *answer)
{
	struct dns_txt_answer *out = answer;

	out->result = TXT_TEMPFAIL;
	return &out->why;
}

static void
txt_deliver(const struct lookup *l)
{
	l->cb.txt(l->answer, l->arg);
}

static const struct kind txt_kind = {
    .answer_size = sizeof(struct dns_txt_answer),
    .type = {ns_t_txt},
    .parse = txt_parse,
    .fail = txt_fail,
    .deliver = txt_deliver,
};

bool
dns_txt(struct dns *dns, const char *domain, dns_txt_cb *cb, void *arg)
{
	struct lookup *l = lookup_new(dns, &txt_kind, "_mta-sts.", domain, arg);

	if (l == NULL)
		return false;
	l->cb.txt = cb;
	lookup_ask(l);
	return true;
}

static void
address_parse(const unsigned char *msg, size_t len, const char *name, ns_type type, void *answer)
{
	dns_parse_addresses(msg, len, name, type == ns_t_aaaa, answer);
}

static struct errmsg *
address_fail(void *answer)
{
	struct dns_address_answer *out = answer;

	return &out->why;
}

static void
address_deliver(const struct lookup *l)
{
	struct dns_address_answer *out = l->answer;

	if (out->n > 0)
		out->why.text[0] = '\0';
	l->cb.address(out, l->arg);
}

static const struct kind address_kind = {
    .answer_size = sizeof(struct dns_address_answer),
    .type = {ns_t_aaaa, ns_t_a},
    .parse = address_parse,
    .fail = address_fail,
    .deliver = address_deliver,
};

bool
dns_addresses(struct dns *dns, const char *host, dns_address_cb *cb, void *arg)
{
	struct lookup *l = lookup_new(dns, &address_kind, "", host, arg);

	if (l == NULL)
		return false;
	l->cb.address = cb;
	lookup_ask(l);
	return true;
}

static void
mx_parse(const unsigned char *msg, size_t len, const char *name, ns_type type UNUSED, void *answer)
{
	dns_parse_mx(msg, len, name, answer);
}

static struct errmsg *
mx_fail(void *answer)
{
	struct dns_mx_answer *out = answer;

	out->result = DNS_MX_TEMPFAIL;
	return &out->why;
}

static void
mx_deliver(const struct lookup *l)
{
	l->cb.mx(l->answer, l->arg);
}

static const struct kind mx_kind = {
    .answer_size = sizeof(struct dns_mx_answer),
    .type = {ns_t_mx},
    .authentic = true,
    .parse = mx_parse,
    .fail = mx_fail,
    .deliver = mx_deliver,
};

bool
dns_mx(struct dns *dns, const char *domain, dns_mx_cb *cb, void *arg)
{
	struct lookup *l = lookup_new(dns, &mx_kind, "", domain, arg);

	if (l == NULL)
		return false;
	l->cb.mx = cb;
	lookup_ask(l);
	return true;
}

static void
tlsa_parse(
    const unsigned char *msg, size_t len, const char *name, ns_type type UNUSED, void *answer)
{
	dns_parse_tlsa(msg, len, name, answer);
}

static struct errmsg *
tlsa_fail(void *answer)
{
	struct dns_tlsa_answer *out = answer;

	out->result = DNS_TLSA_TEMPFAIL;
	return &out->why;
}

static void
tlsa_deliver(const struct lookup *l)
{
	l->cb.tlsa(l->answer, l->arg);
}

static const struct kind tlsa_kind = {
    .answer_size = sizeof(struct dns_tlsa_answer),
    .type = {ns_t_tlsa},
    .authentic = true,
    .parse = tlsa_parse,
    .fail = tlsa_fail,
    .deliver = tlsa_deliver,
};

bool
dns_tlsa(struct dns *dns, const char *host, dns_tlsa_cb *cb, void *arg)
{
	struct lookup *l = lookup_new(dns, &tlsa_kind, "_25._tcp.", host, arg);

	if (l == NULL)
		return false;
	l->cb.tlsa = cb;
	lookup_ask(l);
	return true;
}

static void
tlsrpt_parse(
    const unsigned char *msg, size_t len, const char *name, ns_type type UNUSED, void *answer)
{
	dns_parse_tlsrpt(msg, len, name, answer);
}

static struct errmsg *
tlsrpt_fail(void *answer)
{
	struct dns_tlsrpt_answer *out = answer;

	out->result = TXT_TEMPFAIL;
	return &out->why;
}

static void
tlsrpt_deliver(const struct lookup *l)
{
	l->cb.tlsrpt(l->answer, l->arg);
}

static const struct kind tlsrpt_kind = {
    .answer_size = sizeof(struct dns_tlsrpt_answer),
    .type = {ns_t_txt},
    .parse = tlsrpt_parse,
    .fail = tlsrpt_fail,
    .deliver = tlsrpt_deliver,
};

bool
dns_tlsrpt(struct dns *dns, const char *domain, dns_tlsrpt_cb *cb, void *arg)
{
	struct lookup *l = lookup_new(dns, &tlsrpt_kind, "_smtp._tls.", domain, arg);

	if (l == NULL)
		return false;
	l->cb.tlsrpt = cb;
	lookup_ask(l);
	return true;
}

/* --- the loop --- */

static void
lookup_deliver(struct lookup *l)
{
	l->delivered = true;
	l->kind->deliver(l);
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
