#include "store/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/mx.h"
#include "store/checksum.h"
#include "util/ascii.h"

enum {
	VERSION = 2,
	N_TIMES = 10,
	HEAD_1_LEN = 8 + 8 * N_TIMES + 8 + 8,
	LOOK_LEN = 2 * 8 + 8, /* what version 2 added to the head */
	HEAD_LEN = HEAD_1_LEN + LOOK_LEN,
	SUM_LEN = 8
};

/* ---- numbers ---- */

static void
put_le(unsigned char **p, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*(*p)++ = (unsigned char)(value >> (8 * i));
}

static void
put_bytes(unsigned char **p, const void *bytes, size_t n)
{
	memcpy(*p, bytes, n);
	*p += n;
}

/* The caller has made sure that n bytes are there. */
static uint64_t
get_le(struct cursor *c, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)*c->p++ << (8 * i);
	return value;
}

static uint64_t
record_sum(const char *domain, const unsigned char *bytes, size_t len)
{
	return checksum(checksum(0, domain, strlen(domain)), bytes, len);
}

/* ---- the rules that hold for what is written and for what is read ---- */

static bool
time_valid(int64_t t)
{
	return t >= 0 && t <= RECORD_TIME_MAX;
}

static bool
id_valid(const char *id, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!ascii_alnum((unsigned char)id[i]))
			return false;
	return len <= TXT_ID_MAX;
}

/* Reasons are one line for people; errmsg_set() made them so. */
static bool
reason_valid(const char *reason, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)reason[i] < 0x20 || reason[i] == 0x7f)
			return false;
	return len < FAILURE_REASON_MAX;
}

/* The alphabet of mx_pattern_normalize(); the checksum vouches for the rest. */
static bool
pattern_valid(const char *pattern, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)pattern[i];

		if (!ascii_digit(c) && (!ascii_alpha(c) || c != ascii_lower(c)) &&
		    (c == '\0' || strchr("-_.*", c) == NULL))
			return false;
	}
	return len > 0 && len <= MX_PATTERN_MAX;
}

/* ---- encode ---- */

static bool
policy_valid(const struct entry *e)
{
	if ((e->state == ENTRY_POLICY) != (e->policy != NULL) || e->state > ENTRY_POLICY)
		return false;
	if (e->policy == NULL)
		return true;
	for (size_t i = 0; i < e->policy->n_mx; i++)
		if (!pattern_valid(e->policy->mx[i], strlen(e->policy->mx[i])))
			return false;
	return e->policy->mode <= MODE_ENFORCE;
}

/* A look that was not noted is nothing but zero. */
static bool
look_numbers_valid(time_t at, uint64_t row, uint64_t txt, uint64_t fetch)
{
	return time_valid(at) && row <= ROW_LAST && txt <= TXT_TEMPFAIL && fetch <= FETCH_FAILED &&
	       (at != 0) == (row != ROW_NOT_NOTED);
}

static bool
look_valid(const struct entry *e)
{
	const struct look *l = &e->look;

	return time_valid(e->first) && look_numbers_valid(l->at, l->row, l->txt, l->fetch) &&
	       id_valid(l->id, strnlen(l->id, sizeof(l->id))) &&
	       reason_valid(l->reason, strnlen(l->reason, FAILURE_REASON_MAX));
}

static bool
entry_valid(const struct entry *e, time_t due)
{
	const time_t times[N_TIMES] = {due, e->fetched, e->expires, e->confirmed, e->recheck,
	    e->refetch, e->wanted, e->used, e->failure.at, e->failure.retry};

	for (size_t i = 0; i < N_TIMES; i++)
		if (!time_valid(times[i]))
			return false;
	return policy_valid(e) && look_valid(e) && e->failure.type <= STS_WEBPKI_INVALID &&
	       id_valid(e->id, strnlen(e->id, sizeof(e->id))) &&
	       id_valid(e->failure.id, strnlen(e->failure.id, sizeof(e->failure.id))) &&
	       reason_valid(e->failure.reason, strnlen(e->failure.reason, FAILURE_REASON_MAX));
}

static size_t
rest_len(const struct entry *e)
{
	size_t len = strlen(e->id) + strlen(e->failure.id) + strlen(e->failure.reason) +
		     strlen(e->look.id) + strlen(e->look.reason);

	for (size_t i = 0; e->policy != NULL && i < e->policy->n_mx; i++)
		len += 1 + strlen(e->policy->mx[i]);
	return len;
}

static void
put_head(unsigned char **p, const struct entry *e, time_t due, size_t rest)
{
	const struct policy *policy = e->policy;

	put_le(p, VERSION, 1);
	put_le(p, e->state, 1);
	put_le(p, policy == NULL ? 0 : policy->mode, 1);
	put_le(p, e->failure.type, 1);
	put_le(p, policy == NULL ? 0 : policy->max_age_s, 4);
	put_le(p, (uint64_t)due, 8);
	put_le(p, (uint64_t)e->fetched, 8);
	put_le(p, (uint64_t)e->expires, 8);
	put_le(p, (uint64_t)e->confirmed, 8);
	put_le(p, (uint64_t)e->recheck, 8);
	put_le(p, (uint64_t)e->refetch, 8);
	put_le(p, (uint64_t)e->wanted, 8);
	put_le(p, (uint64_t)e->used, 8);
	put_le(p, (uint64_t)e->failure.at, 8);
	put_le(p, (uint64_t)e->failure.retry, 8);
	put_le(p, e->failure.count, 4);
	put_le(p, policy == NULL ? 0 : policy->n_mx, 4);
	put_le(p, strlen(e->id), 1);
	put_le(p, strlen(e->failure.id), 1);
	put_le(p, strlen(e->failure.reason), 2);
	put_le(p, rest, 4);
	put_le(p, (uint64_t)e->first, 8);
	put_le(p, (uint64_t)e->look.at, 8);
	put_le(p, e->look.row, 1);
	put_le(p, e->look.txt, 1);
	put_le(p, e->look.fetch, 1);
	put_le(p, strlen(e->look.id), 1);
	put_le(p, strlen(e->look.reason), 2);
	put_le(p, 0, 2);
}

static void
put_rest(unsigned char **p, const struct entry *e)
{
	put_bytes(p, e->id, strlen(e->id));
	put_bytes(p, e->failure.id, strlen(e->failure.id));
	put_bytes(p, e->failure.reason, strlen(e->failure.reason));
	put_bytes(p, e->look.id, strlen(e->look.id));
	put_bytes(p, e->look.reason, strlen(e->look.reason));
	for (size_t i = 0; e->policy != NULL && i < e->policy->n_mx; i++) {
		put_le(p, strlen(e->policy->mx[i]), 1);
		put_bytes(p, e->policy->mx[i], strlen(e->policy->mx[i]));
	}
}

unsigned char *
record_encode(const char *domain, const struct entry *e, time_t due, size_t *len)
{
	size_t rest = entry_valid(e, due) ? rest_len(e) : SIZE_MAX;
	unsigned char *bytes, *p;

	if (rest > RECORD_MAX - HEAD_LEN - SUM_LEN) {
		errno = EINVAL;
		return NULL;
	}
	*len = HEAD_LEN + rest + SUM_LEN;
	p = bytes = malloc(*len);
	if (bytes == NULL)
		return NULL;
	put_head(&p, e, due, rest);
	put_rest(&p, e);
	put_le(&p, record_sum(domain, bytes, HEAD_LEN + rest), SUM_LEN);
	return bytes;
}

/* ---- decode ---- */

/* What the head says beside what goes straight into the entry. */
struct head {
	struct entry entry;
	enum mode mode;
	uint32_t max_age_s, n_mx;
	size_t id_len, failure_id_len, reason_len, rest_len, look_id_len, look_reason_len;
	int64_t due;
};

static bool
take_time(struct cursor *c, time_t *out)
{
	int64_t t = (int64_t)get_le(c, 8);

	*out = (time_t)t;
	return time_valid(t);
}

static bool
take_times(struct cursor *c, struct entry *e, time_t *due)
{
	time_t *const times[N_TIMES] = {due, &e->fetched, &e->expires, &e->confirmed, &e->recheck,
	    &e->refetch, &e->wanted, &e->used, &e->failure.at, &e->failure.retry};
	bool valid = true;

	for (size_t i = 0; i < N_TIMES; i++)
		valid &= take_time(c, times[i]);
	return valid;
}

static bool
take_look(struct cursor *c, struct head *h)
{
	struct look *l = &h->entry.look;
	uint64_t row, txt, fetch;

	if (cursor_len(c) < LOOK_LEN + SUM_LEN || !take_time(c, &h->entry.first))
		return false;
	l->at = (time_t)get_le(c, 8);
	row = get_le(c, 1);
	txt = get_le(c, 1);
	fetch = get_le(c, 1);
	h->look_id_len = get_le(c, 1);
	h->look_reason_len = get_le(c, 2);
	if (get_le(c, 2) != 0 || !look_numbers_valid(l->at, row, txt, fetch))
		return false;
	l->row = (enum row)row;
	l->txt = (enum txt_result)txt;
	l->fetch = (enum fetch_result)fetch;
	return true;
}

/* Nothing is owned by the entry yet, whatever is returned. */
static bool
take_head(struct cursor *c, struct head *h)
{
	uint64_t version = get_le(c, 1), state = get_le(c, 1), mode = get_le(c, 1),
		 type = get_le(c, 1);
	time_t due;

	h->max_age_s = (uint32_t)get_le(c, 4);
	if (!take_times(c, &h->entry, &due))
		return false;
	h->due = due;
	h->entry.failure.count = (uint32_t)get_le(c, 4);
	h->n_mx = (uint32_t)get_le(c, 4);
	h->id_len = get_le(c, 1);
	h->failure_id_len = get_le(c, 1);
	h->reason_len = get_le(c, 2);
	h->rest_len = get_le(c, 4);
	if (version < 1 || version > VERSION || state > ENTRY_POLICY || mode > MODE_ENFORCE ||
	    type > STS_WEBPKI_INVALID || (version > 1 && !take_look(c, h)))
		return false;
	h->entry.state = (enum entry_state)state;
	h->entry.failure.type = (enum sts_type)type;
	h->mode = (enum mode)mode;
	return h->entry.state == ENTRY_POLICY || (mode == 0 && h->max_age_s == 0 && h->n_mx == 0);
}

static bool
take_text(struct cursor *c, size_t len, char *out, bool (*valid)(const char *, size_t))
{
	if (len > cursor_len(c) || !valid((const char *)c->p, len))
		return false;
	memcpy(out, c->p, len);
	out[len] = '\0';
	c->p += len;
	return true;
}

/* Steps over one MX pattern; copy NULL: only check it. */
static bool
take_pattern(struct cursor *c, char **copy)
{
	size_t len;

	if (cursor_len(c) == 0)
		return false;
	len = *c->p++;
	if (len > cursor_len(c) || !pattern_valid((const char *)c->p, len))
		return false;
	if (copy != NULL && (*copy = strndup((const char *)c->p, len)) == NULL)
		return false;
	c->p += len;
	return true;
}

/* All checked before anything is allocated, so that a lie about n_mx costs nothing. */
static bool
patterns_valid(struct cursor c, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!take_pattern(&c, NULL))
			return false;
	return cursor_len(&c) == 0;
}

static struct policy *
take_policy(struct cursor *c, const struct head *h)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->mode = h->mode;
	p->max_age_s = h->max_age_s;
	p->mx = calloc(h->n_mx > 0 ? h->n_mx : 1, sizeof(*p->mx));
	while (p->mx != NULL && p->n_mx < h->n_mx && take_pattern(c, &p->mx[p->n_mx]))
		p->n_mx++;
	if (p->mx != NULL && p->n_mx == h->n_mx)
		return p;
	policy_free(p);
	return NULL;
}

static bool
sum_valid(const char *domain, struct cursor bytes)
{
	struct cursor sum = {bytes.end - SUM_LEN, bytes.end};

	return get_le(&sum, SUM_LEN) == record_sum(domain, bytes.p, cursor_len(&bytes) - SUM_LEN);
}

enum record_result
record_decode(const char *domain, struct cursor bytes, struct entry *out, time_t *due)
{
	struct head h = {.due = 0};
	struct cursor c = bytes;

	if (cursor_len(&bytes) < HEAD_1_LEN + SUM_LEN || cursor_len(&bytes) > RECORD_MAX ||
	    !sum_valid(domain, bytes) || !take_head(&c, &h))
		return RECORD_DAMAGED;
	c.end -= SUM_LEN;
	if (h.rest_len != cursor_len(&c) || !take_text(&c, h.id_len, h.entry.id, id_valid) ||
	    !take_text(&c, h.failure_id_len, h.entry.failure.id, id_valid) ||
	    !take_text(&c, h.reason_len, h.entry.failure.reason, reason_valid) ||
	    !take_text(&c, h.look_id_len, h.entry.look.id, id_valid) ||
	    !take_text(&c, h.look_reason_len, h.entry.look.reason, reason_valid) ||
	    !patterns_valid(c, h.n_mx))
		return RECORD_DAMAGED;
	if (out != NULL && h.entry.state == ENTRY_POLICY &&
	    (h.entry.policy = take_policy(&c, &h)) == NULL)
		return RECORD_NO_MEMORY;
	if (out != NULL)
		*out = h.entry;
	*due = (time_t)h.due;
	return RECORD_OK;
}
