/* An entry as bytes: what goes in comes out, and nothing else comes out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/checksum.h"
#include "store/record.h"

#define DOMAIN "good.test"

static const char *const patterns[] = {"mx1.good.test", "*.example.net", "xn--bcher-kva.test"};

/* An entry with a value of its own in every field; the caller clears it. */
static struct entry
full_entry(void)
{
	struct entry e = {.state = ENTRY_POLICY,
	    .id = "20260101T010101",
	    .fetched = 1000000001,
	    .expires = 1000000002,
	    .confirmed = 1000000003,
	    .recheck = 1000000004,
	    .refetch = 1000000005,
	    .wanted = 1000000006,
	    .used = 1000000007,
	    .first = 1000000010,
	    .look = {.row = ROW_KEPT_FETCH_FAILED,
		.at = 1000000011,
		.txt = TXT_INVALID,
		.id = "seen",
		.reason = "two records",
		.fetch = FETCH_FAILED},
	    .failure = {.type = STS_WEBPKI_INVALID,
		.at = 1000000008,
		.retry = 1000000009,
		.count = 70000,
		.id = "newid",
		.reason = "certificate of mta-sts.good.test: b\xc3\xbc"
			  "cher"}};

	e.policy = policy_new(MODE_ENFORCE, 31557600, 3, patterns);
	assert_non_null(e.policy);
	return e;
}

static void
assert_same_entry(const struct entry *a, const struct entry *b)
{
	assert_int_equal(a->state, b->state);
	assert_string_equal(a->id, b->id);
	assert_int_equal(a->fetched, b->fetched);
	assert_int_equal(a->expires, b->expires);
	assert_int_equal(a->confirmed, b->confirmed);
	assert_int_equal(a->recheck, b->recheck);
	assert_int_equal(a->refetch, b->refetch);
	assert_int_equal(a->wanted, b->wanted);
	assert_int_equal(a->used, b->used);
	assert_int_equal(a->failure.type, b->failure.type);
	assert_int_equal(a->failure.at, b->failure.at);
	assert_int_equal(a->failure.retry, b->failure.retry);
	assert_int_equal(a->failure.count, b->failure.count);
	assert_string_equal(a->failure.id, b->failure.id);
	assert_string_equal(a->failure.reason, b->failure.reason);
	assert_int_equal(a->first, b->first);
	assert_int_equal(a->look.row, b->look.row);
	assert_int_equal(a->look.at, b->look.at);
	assert_int_equal(a->look.txt, b->look.txt);
	assert_int_equal(a->look.fetch, b->look.fetch);
	assert_string_equal(a->look.id, b->look.id);
	assert_string_equal(a->look.reason, b->look.reason);
	assert_int_equal(a->policy == NULL, b->policy == NULL);
	if (a->policy == NULL)
		return;
	assert_int_equal(a->policy->mode, b->policy->mode);
	assert_int_equal(a->policy->max_age_s, b->policy->max_age_s);
	assert_int_equal(a->policy->n_mx, b->policy->n_mx);
	for (size_t i = 0; i < a->policy->n_mx; i++)
		assert_string_equal(a->policy->mx[i], b->policy->mx[i]);
}

static void
assert_round_trip(struct entry *e, time_t due)
{
	struct entry back = {0};
	time_t due_back = -1;
	size_t len = 0;
	unsigned char *bytes = record_encode(DOMAIN, e, due, &len);

	assert_non_null(bytes);
	assert_int_equal(record_decode(DOMAIN, cursor_of(bytes, len), &back, &due_back), RECORD_OK);
	assert_same_entry(e, &back);
	assert_int_equal(due_back, due);
	free(bytes);
	entry_clear(&back);
	entry_clear(e);
}

static void
every_field_comes_back(void **state UNUSED)
{
	struct entry full = full_entry(), none = {.state = ENTRY_NONE, .expires = 5},
		     empty = {.state = ENTRY_UNDECIDED};

	assert_round_trip(&full, 1234567890);
	assert_round_trip(&none, 0);
	assert_round_trip(&empty, (time_t)RECORD_TIME_MAX);
}

static void
a_policy_of_64_KiB_comes_back(void **state UNUSED) /* RFC 8461 section 3.3 */
{
	enum { N = POLICY_BODY_MAX / 5 }; /* "mx:a" and LF */
	struct entry e = {.state = ENTRY_POLICY};
	char *names = calloc(N, 16);
	const char **mx = calloc(N, sizeof(*mx));

	assert_true(names != NULL && mx != NULL);
	for (size_t i = 0; i < N; i++) {
		mx[i] = names + 16 * i;
		snprintf(names + 16 * i, 16, "xn--%zu", i);
	}
	e.policy = policy_new(MODE_TESTING, 86400, N, mx);
	assert_non_null(e.policy);
	free(mx);
	free(names);
	assert_round_trip(&e, 1);
}

static void
any_changed_byte_is_damage(void **state UNUSED)
{
	struct entry e = full_entry(), out;
	size_t len;
	time_t due;
	unsigned char *bytes = record_encode(DOMAIN, &e, 77, &len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= (unsigned char)(1 << bit);
			if (record_decode(DOMAIN, cursor_of(bytes, len), &out, &due) !=
			    RECORD_DAMAGED)
				fail_msg("byte %zu bit %u was not missed", i, bit);
			bytes[i] ^= (unsigned char)(1 << bit);
		}
	free(bytes);
	entry_clear(&e);
}

static void
any_other_length_is_damage(void **state UNUSED)
{
	struct entry e = full_entry(), out;
	size_t len;
	time_t due;
	unsigned char *bytes = record_encode(DOMAIN, &e, 77, &len), *cut;

	assert_non_null(bytes);
	for (size_t n = 0; n <= len + 1; n++) {
		cut = calloc(1, n > 0 ? n : 1); /* so that a sanitizer sees a read beyond it */
		assert_non_null(cut);
		memcpy(cut, bytes, n < len ? n : len);
		if (n != len &&
		    record_decode(DOMAIN, cursor_of(cut, n), &out, &due) != RECORD_DAMAGED)
			fail_msg("%zu of %zu bytes were taken for whole", n, len);
		free(cut);
	}
	free(bytes);
	entry_clear(&e);
}

static void
a_record_under_another_domain_is_damage(void **state UNUSED)
{
	struct entry e = full_entry(), out;
	size_t len;
	time_t due;
	unsigned char *bytes = record_encode(DOMAIN, &e, 77, &len);

	assert_non_null(bytes);
	assert_int_equal(
	    record_decode("evil.test", cursor_of(bytes, len), &out, &due), RECORD_DAMAGED);
	assert_int_equal(
	    record_decode("good.tes", cursor_of(bytes, len), &out, &due), RECORD_DAMAGED);
	free(bytes);
	entry_clear(&e);
}

/*
 * The checksum made right again over a field that is wrong: only a writer with a fault does that.
 */
static void
a_wrong_field_is_damage_even_with_a_right_checksum(void **state UNUSED)
{
	enum { HEAD = 128, PATTERNS = HEAD + 15 + 5 + 41 + 4 + 11 };
	static const struct {
		const char *what;
		size_t at;
		unsigned char value;
	} t[] = {
	    {"version", 0, 3},
	    {"version 0", 0, 0},
	    {"version 1 with the head of 2", 0, 1},
	    {"state", 1, 3},
	    {"state without a policy", 1, ENTRY_NONE},
	    {"mode", 2, 3},
	    {"failure type", 3, 4},
	    {"negative due", 15, 0x80},
	    {"expires after the year 9999", 30, 0xff},
	    {"fewer patterns", 92, 2},
	    {"more patterns", 92, 4},
	    {"a billion patterns", 95, 0x40},
	    {"id longer than 32", 96, 33},
	    {"id shorter than it is", 96, 14},
	    {"failure id longer", 97, 200},
	    {"reason longer than all", 99, 0xff},
	    {"rest longer", 100, 0xff},
	    {"first after the year 9999", 110, 0xff},
	    {"negative look", 119, 0x80},
	    {"row", 120, ROW_LAST + 1},
	    {"a look without a row", 120, ROW_NOT_NOTED},
	    {"look's record", 121, TXT_TEMPFAIL + 1},
	    {"look's fetch", 122, FETCH_FAILED + 1},
	    {"look's id longer", 123, 33},
	    {"look's reason longer", 124, 200},
	    {"look's spare bytes", 126, 1},
	    {"look's reason with a control byte", PATTERNS - 1, '\n'},
	    {"id with a control byte", HEAD, '\n'},
	    {"reason with a NUL", HEAD + 25, '\0'},
	    {"pattern with a NUL", PATTERNS + 1, '\0'},
	    {"pattern in upper case", PATTERNS + 1, 'M'},
	    {"empty pattern", PATTERNS, 0},
	};
	struct entry e = full_entry(), out;
	size_t len;
	time_t due;
	unsigned char *bytes = record_encode(DOMAIN, &e, 77, &len);

	assert_non_null(bytes);
	assert_int_equal(strlen(e.failure.reason), 41);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		unsigned char *copy = malloc(len);
		uint64_t sum;

		assert_non_null(copy);
		memcpy(copy, bytes, len);
		if (copy[t[i].at] == t[i].value)
			fail_msg("%s: the byte has that value already", t[i].what);
		copy[t[i].at] = t[i].value;
		sum = checksum(checksum(0, DOMAIN, strlen(DOMAIN)), copy, len - 8);
		for (size_t k = 0; k < 8; k++)
			copy[len - 8 + k] = (unsigned char)(sum >> (8 * k));
		if (record_decode(DOMAIN, cursor_of(copy, len), &out, &due) != RECORD_DAMAGED)
			fail_msg("%s: accepted", t[i].what);
		free(copy);
	}
	free(bytes);
	entry_clear(&e);
}

/* As the first release wrote it. */
static void
version_1_is_read_and_its_look_is_not_noted(void **state UNUSED)
{
	enum { HEAD_1 = 104, LOOK = 24 };
	struct entry e = full_entry(), back = {0};
	size_t len;
	time_t due = 0;
	unsigned char *bytes;
	uint64_t sum;

	e.first = 0;
	e.look = (struct look){.row = ROW_NOT_NOTED};
	bytes = record_encode(DOMAIN, &e, 77, &len);
	assert_non_null(bytes);
	memmove(bytes + HEAD_1, bytes + HEAD_1 + LOOK, len - HEAD_1 - LOOK);
	len -= LOOK;
	bytes[0] = 1;
	sum = checksum(checksum(0, DOMAIN, strlen(DOMAIN)), bytes, len - 8);
	for (size_t k = 0; k < 8; k++)
		bytes[len - 8 + k] = (unsigned char)(sum >> (8 * k));
	assert_int_equal(record_decode(DOMAIN, cursor_of(bytes, len), &back, &due), RECORD_OK);
	assert_same_entry(&e, &back);
	assert_int_equal(due, 77);
	free(bytes);
	entry_clear(&back);
	entry_clear(&e);
}

static void
an_entry_that_breaks_its_own_rules_is_not_encoded(void **state UNUSED)
{
	static const char *const upper[] = {"MX.good.test"};
	struct entry e[] = {{.state = ENTRY_POLICY}, {.state = ENTRY_NONE, .expires = -1},
	    {.state = ENTRY_NONE, .used = (time_t)RECORD_TIME_MAX + 1},
	    {.state = ENTRY_NONE, .id = "no spaces"},
	    {.state = ENTRY_NONE, .failure = {.reason = "two\nlines"}}, {.state = ENTRY_POLICY}};
	size_t len, last = sizeof(e) / sizeof(e[0]) - 1;

	e[last].policy = policy_new(MODE_ENFORCE, 1, 1, upper);
	for (size_t i = 0; i <= last; i++) {
		errno = 0;
		if (record_encode(DOMAIN, &e[i], 1, &len) != NULL || errno != EINVAL)
			fail_msg("row %zu was encoded", i);
	}
	entry_clear(&e[last]);
}

static void
the_checksum_is_SipHash_2_4(void **state UNUSED) /* the vector of its paper, appendix A */
{
	unsigned char in[15];

	for (unsigned i = 0; i < sizeof(in); i++)
		in[i] = (unsigned char)i;
	assert_true(checksum(0, in, sizeof(in)) == UINT64_C(0xa129ca6149be45e5));
	assert_true(checksum(1, in, sizeof(in)) != checksum(0, in, sizeof(in)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_field_comes_back),
	    cmocka_unit_test(a_policy_of_64_KiB_comes_back),
	    cmocka_unit_test(any_changed_byte_is_damage),
	    cmocka_unit_test(any_other_length_is_damage),
	    cmocka_unit_test(a_record_under_another_domain_is_damage),
	    cmocka_unit_test(a_wrong_field_is_damage_even_with_a_right_checksum),
	    cmocka_unit_test(version_1_is_read_and_its_look_is_not_noted),
	    cmocka_unit_test(an_entry_that_breaks_its_own_rules_is_not_encoded),
	    cmocka_unit_test(the_checksum_is_SipHash_2_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
