#include "discover/dns.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <dlfcn.h>
#include <event2/util.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "dns_message.h"
#include "loop.h"
#include "servers.h"

/* --- messages by hand, for dns_parse_txt() and dns_parse_addresses() --- */

static struct dns_txt_answer
parse(const struct message *m)
{
	/* a copy of its own size, so that a read past the end is seen */
	unsigned char *bytes = malloc(m->len);
	struct dns_txt_answer out;

	assert_non_null(bytes);
	memcpy(bytes, m->bytes, m->len);
	dns_parse_txt(bytes, m->len, "_mta-sts.a.test", &out);
	free(bytes);
	return out;
}

static void
a_chain_of_cnames_is_followed_in_any_order_of_records(void **state UNUSED)
{
	struct message m = message(QR | RD | RA, "_mta-sts.a.test", ns_t_txt);
	struct dns_txt_answer out;

	put_txt(&m, "C.test", 100, "v=STSv1; id=1;");
	put_cname(&m, "b.test", 50, "c.TEST");
	put_cname(&m, "_MTA-STS.a.test", 80, "b.test");
	out = parse(&m);
	assert_int_equal(out.result, TXT_RECORD);
	assert_string_equal(out.id, "1");
	assert_int_equal(out.ttl_s, 50);
	assert_string_equal(out.alias, "c.TEST");
}

static void
a_chain_that_loops_or_does_not_end_is_no_answer(void **state UNUSED)
{
	struct message loop = message(QR | RA, "_mta-sts.a.test", ns_t_txt), chain = loop;
	struct dns_txt_answer out;

	put_cname(&loop, "_mta-sts.a.test", 60, "b.test");
	put_cname(&loop, "b.test", 60, "_mta-sts.a.test");
	out = parse(&loop);
	assert_int_equal(out.result, TXT_TEMPFAIL);
	assert_text(&out.why, "CNAMEs");

	put_cname(&chain, "_mta-sts.a.test", 60, "0.test");
	for (int i = 0; i < 9; i++) {
		char from[32], to[32];

		snprintf(from, sizeof(from), "%d.test", i);
		snprintf(to, sizeof(to), "%d.test", i + 1);
		put_cname(&chain, from, 60, to);
	}
	put_txt(&chain, "9.test", 60, "v=STSv1; id=1;");
	assert_int_equal(parse(&chain).result, TXT_TEMPFAIL);
}

static void
records_of_other_names_do_not_count(void **state UNUSED)
{
	struct message m = message(QR | RA, "_mta-sts.a.test", ns_t_txt);

	put_txt(&m, "_mta-sts.evil.test", 60, "v=STSv1; id=evil;");
	put_soa(&m, 30, 600);
	assert_int_equal(parse(&m).result, TXT_ABSENT);
	assert_int_equal(parse(&m).ttl_s, 30);
}

static void
the_negative_ttl_is_the_lesser_of_the_soa_and_its_minimum(void **state UNUSED)
{
	/* RFC 2308 section 5 */
	static const struct {
		uint32_t ttl_s, minimum_s, want_s;
	} t[] = {
	    {600, 60, 60}, {60, 600, 60}, {0, 60, 0}, {0x80000001, 60, 0}, {60, 0xffffffff, 0}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (unsigned rcode = 0; rcode <= 3; rcode += 3) { /* NODATA, NXDOMAIN */
			struct message m = message(QR | RA | rcode, "_mta-sts.a.test", ns_t_txt);

			put_soa(&m, t[i].ttl_s, t[i].minimum_s);
			assert_int_equal(parse(&m).result, TXT_ABSENT);
			assert_int_equal(parse(&m).ttl_s, t[i].want_s);
		}
}

static void
a_negative_answer_without_soa_counts_from_who_can_know(void **state UNUSED)
{
	static const struct {
		unsigned flags;
		bool cname;
		enum txt_result want;
	} t[] = {
	    {RA, false, TXT_ABSENT}, /* a cache may leave the SOA out */
	    {RA, true, TXT_ABSENT},
	    {AA, false, TXT_ABSENT},  /* an authoritative server about its own name */
	    {AA, true, TXT_TEMPFAIL}, /* where the CNAME leads, it does not know */
	    {0, false, TXT_TEMPFAIL}, /* a referral */
	    {AA | 3, true,
		TXT_ABSENT}, /* NXDOMAIN is about the chain's end, RFC 2308 section 2.1 */
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct message m = message(QR | t[i].flags, "_mta-sts.a.test", ns_t_txt);

		if (t[i].cname)
			put_cname(&m, "_mta-sts.a.test", 60, "elsewhere.test");
		if (parse(&m).result != t[i].want || parse(&m).ttl_s != 0)
			fail_msg(
			    "row %zu: result %d, ttl %u", i, parse(&m).result, parse(&m).ttl_s);
	}
}

static void
an_error_or_a_strange_message_is_no_answer(void **state UNUSED)
{
	static const struct {
		unsigned flags;
		const char *name;
		unsigned type;
		const char *says;
	} t[] = {
	    {QR | RA | 1, "_mta-sts.a.test", ns_t_txt, "FORMERR"},
	    {QR | RA | 2, "_mta-sts.a.test", ns_t_txt, "SERVFAIL"},
	    {QR | RA | 5, "_mta-sts.a.test", ns_t_txt, "REFUSED"},
	    {QR | RA | 15, "_mta-sts.a.test", ns_t_txt, "unknown error"},
	    {QR | RA | TC, "_mta-sts.a.test", ns_t_txt, "cut short"},
	    {RA, "_mta-sts.a.test", ns_t_txt, "not an answer"},
	    {QR | RA | OP_STATUS, "_mta-sts.a.test", ns_t_txt, "not an answer"},
	    {QR | RA, "_mta-sts.b.test", ns_t_txt, "another question"},
	    {QR | RA, "_mta-sts.a.test", ns_t_a, "another question"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct message m = message(t[i].flags, t[i].name, t[i].type);
		struct dns_txt_answer out;

		put_txt(&m, "_mta-sts.a.test", 60, "v=STSv1; id=1;");
		out = parse(&m);
		assert_int_equal(out.result, TXT_TEMPFAIL);
		assert_text(&out.why, t[i].says);
		assert_int_equal(out.ttl_s, 0);
	}
}

/* The class of the question, which is the last of a message without records. */
static void
set_class(struct message *m, unsigned char class)
{
	m->bytes[m->len - 1] = class;
}

static void
another_class_is_another_question_and_its_records_do_not_count(void **state UNUSED)
{
	struct message m = message(QR | RA, "_mta-sts.a.test", ns_t_txt), record = m;
	size_t len;

	set_class(&m, ns_c_chaos);
	put_txt(&m, "_mta-sts.a.test", 60, "v=STSv1; id=1;");
	assert_int_equal(parse(&m).result, TXT_TEMPFAIL);

	len = record.len;
	put_txt(&record, "_mta-sts.a.test", 60, "v=STSv1; id=1;");
	assert_int_equal(parse(&record).result, TXT_RECORD);
	record.bytes[len + sizeof("?_mta-sts.a.test") + 3] = ns_c_chaos;
	assert_int_equal(parse(&record).result, TXT_ABSENT);
}

static void
strings_whose_lengths_do_not_add_up_are_malformed(void **state UNUSED)
{
	static const struct {
		const char *rdata;
		size_t len;
	} t[] = {{"", 0},
	    {"\x05"
	     "abc",
		4},
	    {"\x01"
	     "a"
	     "\xff",
		3},
	    {"\x01", 1}};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct message m = message(QR | RA, "_mta-sts.a.test", ns_t_txt);
		struct dns_txt_answer out;

		put_rr(&m, 1, "_mta-sts.a.test", ns_t_txt, 60, t[i].rdata, t[i].len);
		out = parse(&m);
		if (out.result != TXT_TEMPFAIL || strstr(out.why.text, "malformed") == NULL)
			fail_msg("row %zu: result %d, %s", i, out.result, out.why.text);
	}
}

static void
a_message_cut_anywhere_is_no_answer(void **state UNUSED)
{
	struct message m = message(QR | RA, "_mta-sts.a.test", ns_t_txt);

	put_cname(&m, "_mta-sts.a.test", 60, "b.test");
	put_txt(&m, "b.test", 60, "v=STSv1; id=1;");
	assert_int_equal(parse(&m).result, TXT_RECORD);
	while (m.len > 0) {
		m.len--;
		assert_int_equal(parse(&m).result, TXT_TEMPFAIL);
	}
}

static void
an_address_of_the_wrong_length_is_malformed(void **state UNUSED)
{
	for (int ipv6 = 0; ipv6 <= 1; ipv6++) {
		unsigned type = ipv6 ? ns_t_aaaa : ns_t_a;
		struct message m = message(QR | RA, "a.test", type);
		struct dns_address_answer out = {.n = 0};

		put_rr(&m, 1, "a.test", type, 60, "0123456789", 10);
		dns_parse_addresses(m.bytes, m.len, "a.test", ipv6, &out);
		assert_int_equal(out.n, 0);
		assert_text(&out.why, "damaged");
	}
}

/* --- a real DNS server, behind a wire that may lose and damage packets --- */

struct wire {
	evutil_socket_t near, far; /* towards the client, towards the server */
	struct event *near_event, *far_event;
	struct sockaddr_in at;
	struct sockaddr_in client[65536]; /* by query id */
	in_port_t port;                   /* of the client, last */
	unsigned ports;                   /* how often it was another */
	const char *lose;                 /* queries with these bytes; NULL: none */
	unsigned damage;                  /* the answers' rcode becomes this; 0: none */
	unsigned ids[4096];
	size_t queries;
};

struct lab {
	char dir[64];
	int port;
	pid_t nsd;
	struct event_base *base;
	struct wire wire;
};

static struct lab lab;

static void
wire_near(evutil_socket_t fd, short what UNUSED, void *arg)
{
	struct wire *w = arg;
	unsigned char packet[1500];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t n;

	while ((n = recvfrom(fd, packet, sizeof(packet), MSG_DONTWAIT, (struct sockaddr *)&from,
		    &from_len)) >= 12) {
		unsigned id = ns_get16(packet);

		w->ids[w->queries++ % 4096] = id;
		w->client[id] = from;
		w->ports += w->port != from.sin_port;
		w->port = from.sin_port;
		if (w->lose == NULL || memmem(packet, (size_t)n, w->lose, strlen(w->lose)) == NULL)
			send(w->far, packet, (size_t)n, 0);
	}
}

static void
wire_far(evutil_socket_t fd, short what UNUSED, void *arg)
{
	struct wire *w = arg;
	unsigned char packet[1500];
	ssize_t n;

	while ((n = recv(fd, packet, sizeof(packet), MSG_DONTWAIT)) >= 12) {
		const struct sockaddr_in *to = &w->client[ns_get16(packet)];

		if (w->damage != 0)
			packet[3] = (unsigned char)((packet[3] & 0xf0) | w->damage);
		sendto(w->near, packet, (size_t)n, 0, (const struct sockaddr *)to, sizeof(*to));
	}
}

static void
wire_open(struct wire *w, int server_port)
{
	struct sockaddr_in any = {.sin_port = 0}, server = {.sin_family = AF_INET};

	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server.sin_port = htons((uint16_t)server_port);
	w->near = bound_socket(SOCK_DGRAM, &w->at);
	w->far = bound_socket(SOCK_DGRAM, &any);
	assert_true(w->near >= 0 && w->far >= 0);
	assert_int_equal(connect(w->far, (struct sockaddr *)&server, sizeof(server)), 0);
	w->near_event = event_new(lab.base, w->near, EV_READ | EV_PERSIST, wire_near, w);
	w->far_event = event_new(lab.base, w->far, EV_READ | EV_PERSIST, wire_far, w);
	event_add(w->near_event, NULL);
	event_add(w->far_event, NULL);
}

static int
lab_open(void **state UNUSED)
{
	char conf[128];
	const char *argv[] = {"nsd", "-d", "-c", conf, NULL};

	if (!have_program("nsd"))
		return 0;
	make_dir(lab.dir);
	lab.port = free_port();
	lab.base = event_base_new();
	snprintf(conf, sizeof(conf), "%s/nsd.conf", lab.dir);
	if (lab.base == NULL || !prepare("dns", lab.dir, lab.port))
		return -1;
	lab.nsd = start(lab.dir, "nsd", argv);
	if (!wait_tcp(lab.port))
		return -1;
	wire_open(&lab.wire, lab.port);
	return 0;
}

static int
lab_close(void **state UNUSED)
{
	if (lab.base == NULL)
		return 0;
	event_free(lab.wire.near_event);
	event_free(lab.wire.far_event);
	close(lab.wire.near);
	close(lab.wire.far);
	event_base_free(lab.base);
	stop(lab.nsd);
	remove_dir(lab.dir);
	return 0;
}

static int
need_server(void **state UNUSED)
{
	lab.wire.lose = NULL;
	lab.wire.damage = 0;
	lab.wire.queries = 0;
	lab.wire.ports = 0;
	return 0;
}

static void
skip_without_server(void)
{
	if (lab.base != NULL)
		return;
	print_message("skipped: no DNS server to ask: apt-get install nsd\n");
	skip();
}

static struct dns *
ask_at(const char *const *servers, size_t n, int timeout_ms, int tries)
{
	struct dns_config config = {
	    .n_servers = n, .servers = servers, .timeout_ms = timeout_ms, .tries = tries};
	struct errmsg em = {""};
	struct dns *dns = dns_new(lab.base, &config, &em);

	if (dns == NULL)
		fail_msg("%s", em.text);
	return dns;
}

static const char *
at_port(char text[32], int port)
{
	snprintf(text, 32, "127.0.0.1:%d", port);
	return text;
}

struct heard {
	unsigned n;
	struct dns_txt_answer txt;
	struct dns_address_answer address;
};

static void
hear_txt(const struct dns_txt_answer *answer, void *arg)
{
	struct heard *h = arg;

	h->n++;
	h->txt = *answer;
}

static void
hear_address(const struct dns_address_answer *answer, void *arg)
{
	struct heard *h = arg;

	h->n++;
	h->address = *answer;
}

static struct dns_txt_answer
txt_of(struct dns *dns, const char *domain)
{
	struct heard h = {.n = 0};

	assert_true(dns_txt(dns, domain, hear_txt, &h));
	assert_int_equal(h.n, 0); /* never from within the call */
	loop_until(lab.base, &h.n, 1);
	return h.txt;
}

static struct dns_address_answer
addresses_of(struct dns *dns, const char *host)
{
	struct heard h = {.n = 0};

	assert_true(dns_addresses(dns, host, hear_address, &h));
	assert_int_equal(h.n, 0);
	loop_until(lab.base, &h.n, 1);
	return h.address;
}

static void
a_server_is_asked_for_the_policy_id(void **state UNUSED)
{
	static const struct {
		const char *domain;
		enum txt_result result;
		const char *id;
		uint32_t ttl_s;
	} t[] = {
	    {"good.test", TXT_RECORD, "20260101T000000", 300},
	    {"split.test", TXT_RECORD, "abc123", 300}, {"alias.test", TXT_RECORD, "viaCNAME", 50},
	    {"x.wild.test", TXT_RECORD, "viaCNAME", 70}, {"mixed.test", TXT_RECORD, "mixed", 300},
	    {"several.test", TXT_INVALID, "", 300}, {"bad.test", TXT_INVALID, "", 300},
	    {"other.test", TXT_ABSENT, "", 77}, {"nodata.test", TXT_ABSENT, "", 120},
	    {"nothing.test", TXT_ABSENT, "", 120}, {"dangling.test", TXT_ABSENT, "", 120},
	    {"outside.test", TXT_TEMPFAIL, "", 0}, /* a CNAME to where this server cannot look */
	    {"x.broken", TXT_TEMPFAIL, "", 0},     /* SERVFAIL */
	    {"elsewhere.example", TXT_TEMPFAIL, "", 0}, /* REFUSED */
	};
	char at[32];
	const char *servers[] = {at_port(at, lab.port)};
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct dns_txt_answer a = txt_of(dns, t[i].domain);

		if (a.result != t[i].result || strcmp(a.id, t[i].id) != 0 || a.ttl_s != t[i].ttl_s)
			fail_msg("%s: %d, id %s, ttl %u: %s", t[i].domain, a.result, a.id, a.ttl_s,
			    a.why.text);
		if (a.result != TXT_RECORD)
			assert_true(a.why.text[0] != '\0');
	}
	dns_free(&dns);
	assert_null(dns);
}

static void
hear_mx(const struct dns_mx_answer *answer, void *arg)
{
	*(struct dns_mx_answer *)arg = *answer;
	event_base_loopbreak(lab.base);
}

static void
hear_tlsa(const struct dns_tlsa_answer *answer, void *arg)
{
	*(struct dns_tlsa_answer *)arg = *answer;
	event_base_loopbreak(lab.base);
}

static void
hear_tlsrpt(const struct dns_tlsrpt_answer *answer, void *arg)
{
	*(struct dns_tlsrpt_answer *)arg = *answer;
	event_base_loopbreak(lab.base);
}

static void
a_server_is_asked_for_mx_hosts_tlsa_and_where_reports_go(void **state UNUSED)
{
	static const struct {
		const char *domain;
		enum dns_mx_result result;
		const char *first;
	} t[] = {
	    {"mail.test", DNS_MX_FOUND, "mx1.mail.test"},
	    {"nullmx.test", DNS_MX_NULL, ""},
	    {"both.test", DNS_MX_IMPLICIT, ""},
	    {"nothing.test", DNS_MX_NO_DOMAIN, ""},
	    {"x.broken", DNS_MX_TEMPFAIL, ""},
	};
	char at[32];
	const char *servers[] = {at_port(at, lab.port)};
	struct dns_tlsrpt_answer tlsrpt;
	struct dns_tlsa_answer tlsa;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct dns_mx_answer mx = {.n = 99};

		assert_true(dns_mx(dns, t[i].domain, hear_mx, &mx));
		event_base_dispatch(lab.base);
		if (mx.result != t[i].result || strcmp(mx.mx[0].host, t[i].first) != 0)
			fail_msg(
			    "%s: %d, %s: %s", t[i].domain, mx.result, mx.mx[0].host, mx.why.text);
		assert_true(mx.result == DNS_MX_FOUND || mx.why.text[0] != '\0');
	}
	assert_true(dns_tlsa(dns, "mx1.mail.test", hear_tlsa, &tlsa));
	event_base_dispatch(lab.base);
	assert_int_equal(tlsa.result, DNS_TLSA_FOUND);
	assert_int_equal(tlsa.tlsa[0].usage, 3);
	assert_true(dns_tlsrpt(dns, "mail.test", hear_tlsrpt, &tlsrpt));
	event_base_dispatch(lab.base);
	assert_int_equal(tlsrpt.result, TXT_RECORD);
	assert_string_equal(tlsrpt.rua, "mailto:tls@mail.test");
	dns_free(&dns);
}

static void
a_refusal_is_told(void **state UNUSED)
{
	char at[32];
	const char *servers[] = {at_port(at, lab.port)};
	struct dns_txt_answer a;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	a = txt_of(dns, "x.broken");
	assert_text(&a.why, "_mta-sts.x.broken: ");
	assert_text(&a.why, "SERVFAIL");
	a = txt_of(dns, "elsewhere.example");
	assert_text(&a.why, "REFUSED");
	dns_free(&dns);
}

static void
a_truncated_answer_is_fetched_by_tcp(void **state UNUSED)
{
	char at[32];
	const char *servers[] = {at_port(at, lab.port)};
	struct dns_txt_answer a;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	a = txt_of(dns, "long.test");
	assert_int_equal(a.result, TXT_RECORD);
	assert_string_equal(a.id, "long");
	dns_free(&dns);
}

static void
an_unreachable_or_failing_first_server_is_passed_over(void **state UNUSED)
{
	char nobody[32], at[32], wire[32];
	const char *servers[] = {at_port(nobody, free_port()),
	    at_port(wire, ntohs(lab.wire.at.sin_port)), at_port(at, lab.port)};
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 3, 2000, 2);
	lab.wire.damage = ns_r_servfail;
	assert_int_equal(txt_of(dns, "good.test").result, TXT_RECORD);
	assert_int_not_equal(lab.wire.queries, 0);
	dns_free(&dns);
}

static void
no_server_is_a_temporary_failure_and_soon_known(void **state UNUSED)
{
	char nobody[32];
	const char *servers[] = {at_port(nobody, free_port())};
	struct dns_txt_answer a;
	double begin = now_s();
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	a = txt_of(dns, "good.test");
	assert_int_equal(a.result, TXT_TEMPFAIL);
	assert_text(&a.why, "no DNS server could be reached");
	assert_true(now_s() - begin < 5); /* 2 tries of 2 s, twice as long, if it were silence */
	dns_free(&dns);
}

static void
silence_is_a_temporary_failure_after_all_tries(void **state UNUSED)
{
	char wire[32];
	const char *servers[] = {at_port(wire, ntohs(lab.wire.at.sin_port))};
	struct dns_txt_answer a;
	double begin;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 300, 2);
	lab.wire.lose = "good";
	begin = now_s();
	a = txt_of(dns, "good.test");
	assert_int_equal(a.result, TXT_TEMPFAIL);
	assert_text(&a.why, "no DNS server answered in time");
	assert_int_equal(lab.wire.queries, 2);
	assert_true(now_s() - begin > 0.5);
	dns_free(&dns);
}

static void
both_families_of_a_host_are_found(void **state UNUSED)
{
	static const struct {
		const char *host;
		size_t n;
		const char *first, *second;
	} t[] = {
	    {"both.test", 2, "192.0.2.1", "2001:db8::1"},
	    {"cname.test", 2, "192.0.2.1", "2001:db8::1"},
	    {"four.test", 1, "192.0.2.4", NULL},
	    {"six.test", 1, "2001:db8::6", NULL},
	};
	char at[32];
	const char *servers[] = {at_port(at, lab.port)};
	struct dns_address_answer a;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bool swapped;

		a = addresses_of(dns, t[i].host);
		assert_int_equal(a.n, t[i].n);
		swapped = strcmp(a.text[0], t[i].first) != 0;
		assert_string_equal(a.text[swapped && a.n == 2], t[i].first);
		if (t[i].second != NULL)
			assert_string_equal(a.text[!swapped], t[i].second);
	}
	a = addresses_of(dns, "text.test");
	assert_int_equal(a.n, 0);
	assert_text(&a.why, "no address record");
	a = addresses_of(dns, "nothing.test");
	assert_int_equal(a.n, 0);
	assert_text(&a.why, "no such name");
	a = addresses_of(dns, "x.broken");
	assert_int_equal(a.n, 0);
	assert_text(&a.why, "SERVFAIL");
	dns_free(&dns);
}

static void
neither_family_of_a_host_displaces_the_other(void **state UNUSED)
{
	char at[32];
	const char *servers[] = {at_port(at, lab.port)};
	struct dns_address_answer a;
	size_t ipv6 = 0;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 2000, 2);
	a = addresses_of(dns, "many.test"); /* 12 of each */
	for (size_t i = 0; i < a.n; i++)
		ipv6 += strchr(a.text[i], ':') != NULL;
	assert_int_equal(ipv6, DNS_ADDRESSES_MAX / 2);
	assert_int_equal(a.n, DNS_ADDRESSES_MAX);
	dns_free(&dns);
}

static void
a_family_whose_answer_is_lost_does_not_hold_up_the_other(void **state UNUSED)
{
	char wire[32];
	const char *servers[] = {at_port(wire, ntohs(lab.wire.at.sin_port))};
	struct dns_address_answer a;
	double begin;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 3000, 3);
	lab.wire.lose = "\x1c"; /* type AAAA = 28, as no other byte here is but perhaps the id's */
	begin = now_s();
	do { /* the random id holds the byte once in 128 queries */
		a = addresses_of(dns, "both.test");
	} while (a.n == 0);
	assert_int_equal(a.n, 1);
	assert_string_equal(a.text[0], "192.0.2.1");
	assert_true(now_s() - begin < 2.5);
	dns_free(&dns); /* while the other family is still asked for */
}

static void
thousands_of_silent_lookups_do_not_delay_one_that_is_answered(void **state UNUSED)
{
	enum { SILENT = 2000 };
	char wire[32];
	const char *servers[] = {at_port(wire, ntohs(lab.wire.at.sin_port))};
	struct heard silent = {.n = 0};
	struct dns_txt_answer a;
	double begin, took;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 3000, 2);
	lab.wire.lose = "silent";
	for (unsigned i = 0; i < SILENT; i++) {
		char domain[32];

		snprintf(domain, sizeof(domain), "x%u.silent.test", i);
		assert_true(dns_txt(dns, domain, hear_txt, &silent));
		if (i % 100 == 99) /* the wire's socket buffer does not hold them all */
			event_base_loop(lab.base, EVLOOP_NONBLOCK);
	}
	begin = now_s();
	a = txt_of(dns, "good.test");
	took = now_s() - begin;
	print_message("answered after %.0f ms beside %d outstanding lookups\n", took * 1000,
	    SILENT - (int)silent.n);
	assert_int_equal(a.result, TXT_RECORD);
	assert_int_equal(silent.n, 0);
	assert_true(took < 3); /* the first try of the others alone takes as long */
	loop_until(lab.base, &silent.n, SILENT);
	assert_int_equal(silent.n, SILENT);
	assert_int_equal(silent.txt.result, TXT_TEMPFAIL);
	dns_free(&dns);
	assert_int_equal(silent.n, SILENT); /* each once */
}

static unsigned ids_drawn;

void
evutil_secure_rng_get_bytes(void *bytes, size_t n)
{
	ids_drawn += n == 2;
	assert_int_equal(getrandom(bytes, n, 0), n);
}

static void
query_ids_are_random(void **state UNUSED)
{
	enum { N = 64 };
	char wire[32];
	const char *servers[] = {at_port(wire, ntohs(lab.wire.at.sin_port))};
	struct heard h = {.n = 0};
	unsigned near = 0;
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 3000, 1);
	ids_drawn = 0;
	for (int i = 0; i < N; i++)
		assert_true(dns_txt(dns, "good.test", hear_txt, &h));
	loop_until(lab.base, &h.n, N);
	assert_int_equal(ids_drawn, N); /* the C library's own come from the clock */
	assert_int_equal(lab.wire.queries, N);
	for (int i = 1; i < N; i++)
		near += abs((int)lab.wire.ids[i] - (int)lab.wire.ids[i - 1]) < 256;
	assert_true(near < 8); /* 0.5 expected of random ones, nearly all of a counter or a clock */
	dns_free(&dns);
}

static unsigned destroyed;

void
ares_destroy(ares_channel channel)
{
	void (*real)(ares_channel);

	destroyed++;
	*(void **)&real = dlsym(RTLD_NEXT, "ares_destroy");
	real(channel);
}

static void
the_source_port_changes_while_a_lookup_is_outstanding(void **state UNUSED)
{
	enum { N = 400 };
	char wire[32];
	const char *servers[] = {at_port(wire, ntohs(lab.wire.at.sin_port))};
	struct heard silent = {.n = 0};
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 1000, 1);
	destroyed = 0;
	lab.wire.lose = "silent";
	for (int i = 0; i < N; i++) { /* one is always outstanding */
		if (i % 50 == 0)
			assert_true(dns_txt(dns, "silent.test", hear_txt, &silent));
		assert_int_equal(txt_of(dns, "good.test").result, TXT_RECORD);
	}
	assert_true(lab.wire.ports >= N / 100);
	loop_until(lab.base, &silent.n, N / 50);
	assert_int_equal(txt_of(dns, "good.test").result, TXT_RECORD);
	assert_in_range(destroyed, N / 100, N / 100 + 1); /* all but the last */
	dns_free(&dns);
}

static void
closing_fails_what_is_outstanding(void **state UNUSED)
{
	enum { N = 100 };
	char wire[32];
	const char *servers[] = {at_port(wire, ntohs(lab.wire.at.sin_port))};
	struct heard txt = {.n = 0}, address = {.n = 0};
	struct dns *dns;

	skip_without_server();
	dns = ask_at(servers, 1, 3000, 3);
	lab.wire.lose = "test";
	for (int i = 0; i < N; i++) {
		assert_true(dns_txt(dns, "good.test", hear_txt, &txt));
		assert_true(dns_addresses(dns, "both.test", hear_address, &address));
	}
	dns_free(&dns);
	assert_int_equal(txt.n, N);
	assert_int_equal(address.n, N);
	assert_int_equal(txt.txt.result, TXT_TEMPFAIL);
	assert_text(&txt.txt.why, "given up");
	assert_int_equal(address.address.n, 0);
	dns_free(&dns); /* NULL-safe */
}

static void
a_malformed_server_is_refused_at_start(void **state UNUSED)
{
	static const char *const bad[] = {"", "resolver.example.com", "192.0.2.1:99999",
	    "192.0.2.1,192.0.2.2", "[::1", "fe80::1%lo", "[fe80::1%lo]:53"};
	struct event_base *base = event_base_new();

	assert_non_null(base);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dns_config config = {
		    .n_servers = 1, .servers = &bad[i], .timeout_ms = 1000, .tries = 1};
		struct errmsg em = {""};

		if (dns_new(base, &config, &em) != NULL)
			fail_msg("\"%s\" was taken for a server", bad[i]);
		assert_text(&em, bad[i]);
	}
	event_base_free(base);
}

static void
a_server_is_written_with_or_without_a_port(void **state UNUSED)
{
	static const char *const good[] = {
	    "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5353"};
	struct dns_config config = {.n_servers = sizeof(good) / sizeof(good[0]),
	    .servers = good,
	    .timeout_ms = 1000,
	    .tries = 1};
	struct event_base *base = event_base_new();
	struct errmsg em = {""};
	struct dns *dns = dns_new(base, &config, &em);

	if (dns == NULL)
		fail_msg("%s", em.text);
	dns_free(&dns);
	event_base_free(base);
}

static void
the_servers_of_the_system_are_the_default(void **state UNUSED)
{
	struct event_base *base = event_base_new();
	struct dns_config config = {.timeout_ms = 1000, .tries = 1};
	struct errmsg em = {""};
	struct dns *dns = dns_new(base, &config, &em);

	if (dns == NULL)
		fail_msg("%s", em.text);
	dns_free(&dns);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_chain_of_cnames_is_followed_in_any_order_of_records),
	    cmocka_unit_test(a_chain_that_loops_or_does_not_end_is_no_answer),
	    cmocka_unit_test(records_of_other_names_do_not_count),
	    cmocka_unit_test(the_negative_ttl_is_the_lesser_of_the_soa_and_its_minimum),
	    cmocka_unit_test(a_negative_answer_without_soa_counts_from_who_can_know),
	    cmocka_unit_test(an_error_or_a_strange_message_is_no_answer),
	    cmocka_unit_test(another_class_is_another_question_and_its_records_do_not_count),
	    cmocka_unit_test(strings_whose_lengths_do_not_add_up_are_malformed),
	    cmocka_unit_test(a_message_cut_anywhere_is_no_answer),
	    cmocka_unit_test(an_address_of_the_wrong_length_is_malformed),
	    cmocka_unit_test_setup(a_server_is_asked_for_the_policy_id, need_server),
	    cmocka_unit_test_setup(
		a_server_is_asked_for_mx_hosts_tlsa_and_where_reports_go, need_server),
	    cmocka_unit_test_setup(a_refusal_is_told, need_server),
	    cmocka_unit_test_setup(a_truncated_answer_is_fetched_by_tcp, need_server),
	    cmocka_unit_test_setup(
		an_unreachable_or_failing_first_server_is_passed_over, need_server),
	    cmocka_unit_test_setup(no_server_is_a_temporary_failure_and_soon_known, need_server),
	    cmocka_unit_test_setup(silence_is_a_temporary_failure_after_all_tries, need_server),
	    cmocka_unit_test_setup(both_families_of_a_host_are_found, need_server),
	    cmocka_unit_test_setup(neither_family_of_a_host_displaces_the_other, need_server),
	    cmocka_unit_test_setup(
		a_family_whose_answer_is_lost_does_not_hold_up_the_other, need_server),
	    cmocka_unit_test_setup(
		thousands_of_silent_lookups_do_not_delay_one_that_is_answered, need_server),
	    cmocka_unit_test_setup(query_ids_are_random, need_server),
	    cmocka_unit_test_setup(
		the_source_port_changes_while_a_lookup_is_outstanding, need_server),
	    cmocka_unit_test_setup(closing_fails_what_is_outstanding, need_server),
	    cmocka_unit_test(a_malformed_server_is_refused_at_start),
	    cmocka_unit_test(a_server_is_written_with_or_without_a_port),
	    cmocka_unit_test(the_servers_of_the_system_are_the_default),
	};

	return cmocka_run_group_tests_name("dns", tests, lab_open, lab_close);
}
