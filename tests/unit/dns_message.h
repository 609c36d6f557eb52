/* tests/unit/dns_message.h: DNS messages made by hand, for the parsers. After <cmocka.h>. */
#ifndef TESTS_UNIT_DNS_MESSAGE_H
#define TESTS_UNIT_DNS_MESSAGE_H

#include <arpa/nameser.h>
#include <stdint.h>
#include <string.h>

enum { QR = 0x8000, OP_STATUS = 0x1000, AA = 0x0400, TC = 0x0200, RD = 0x0100, RA = 0x0080 };

struct message {
	unsigned char bytes[4096];
	size_t len;
};

static inline void
put(struct message *m, const void *bytes, size_t len)
{
	assert_true(len <= sizeof(m->bytes) - m->len);
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

static inline void
put16(struct message *m, unsigned v)
{
	put(m, (unsigned char[]){(unsigned char)(v >> 8), (unsigned char)v}, 2);
}

static inline void
put32(struct message *m, uint32_t v)
{
	put16(m, v >> 16);
	put16(m, v & 0xffff);
}

static inline void
put_name(struct message *m, const char *name)
{
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		put(m, (unsigned char[]){(unsigned char)n}, 1);
		put(m, name, n);
		name += n + (name[n] == '.');
	}
	put(m, "", 1);
}

static inline struct message
message(unsigned flags, const char *name, unsigned type)
{
	struct message m = {.len = 0};

	put16(&m, 4711);
	put16(&m, flags);
	put16(&m, 1);
	for (int i = 0; i < 3; i++)
		put16(&m, 0);
	put_name(&m, name);
	put16(&m, type);
	put16(&m, ns_c_in);
	return m;
}

/* section: 1 answer, 2 authority */
static inline void
put_rr(struct message *m, int section, const char *name, unsigned type, uint32_t ttl_s,
    const void *rdata, size_t len)
{
	m->bytes[4 + 2 * section + 1]++;
	put_name(m, name);
	put16(m, type);
	put16(m, ns_c_in);
	put32(m, ttl_s);
	put16(m, (unsigned)len);
	put(m, rdata, len);
}

static inline void
put_txt(struct message *m, const char *name, uint32_t ttl_s, const char *text)
{
	struct message rdata = {.len = 0};

	put(&rdata, (unsigned char[]){(unsigned char)strlen(text)}, 1);
	put(&rdata, text, strlen(text));
	put_rr(m, 1, name, ns_t_txt, ttl_s, rdata.bytes, rdata.len);
}

static inline void
put_cname(struct message *m, const char *name, uint32_t ttl_s, const char *to)
{
	struct message rdata = {.len = 0};

	put_name(&rdata, to);
	put_rr(m, 1, name, ns_t_cname, ttl_s, rdata.bytes, rdata.len);
}

static inline void
put_soa(struct message *m, uint32_t ttl_s, uint32_t minimum_s)
{
	struct message rdata = {.len = 0};

	put_name(&rdata, "ns.test");
	put_name(&rdata, "root.test");
	for (int i = 0; i < 4; i++)
		put32(&rdata, 1);
	put32(&rdata, minimum_s);
	put_rr(m, 2, "test", ns_t_soa, ttl_s, rdata.bytes, rdata.len);
}

static inline void
assert_text(const struct errmsg *em, const char *part)
{
	if (strstr(em->text, part) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", em->text, part);
}

#endif
