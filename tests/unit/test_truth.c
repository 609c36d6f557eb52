/* test_truth.c: what a repair compares the maps with, and what it brings home. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/truth.h"
#include "daemon_room.h"

static struct room room;
static struct truth truth;

static int
open_room(void **state UNUSED)
{
	room_open(&room, "domain \"off.example\" { policy = disable }");
	truth = (struct truth){.store = room.store, .config = room.config};
	return 0;
}

static int
close_room(void **state UNUSED)
{
	room_close(&room);
	return 0;
}

/* An enforced policy of n MX patterns, the first of them `first`. */
static void
put(const char *domain, size_t n, const char *first)
{
	struct store_txn *txn = NULL;
	struct errmsg em = {""};
	struct entry e = room_enforce(first);
	char text[100][16];
	const char *mx[100] = {first};

	for (size_t i = 1; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "m%d.example", (int)i % 1000);
		mx[i] = text[i];
	}
	policy_free(e.policy);
	e.policy = policy_new(MODE_ENFORCE, 864000, n, mx);
	assert_non_null(e.policy);
	if (store_begin(room.store, &txn, &em) != STORE_OK ||
	    store_put(txn, domain, &e, time(NULL), &em) != STORE_OK ||
	    store_commit(&txn, &em) != STORE_OK)
		fail_msg("%s", em.text);
	entry_clear(&e);
}

static void
assert_first(const struct sink_truth *st, const char *domain, const char *first)
{
	struct requirement r;

	assert_true(st->lookup(domain, &r, st->arg));
	assert_int_equal(r.kind, REQUIRE_ENFORCE);
	assert_string_equal(r.mx[0], first);
}

static void
the_override_comes_before_the_entry(void **state UNUSED)
{
	struct sink_truth st = truth_begin(&truth);
	struct requirement r;

	put("off.example", 1, "mx.example");
	put("on.example", 1, "mx.example");
	assert_first(&st, "on.example", "mx.example");
	assert_true(st.lookup("off.example", &r, st.arg));
	assert_int_equal(r.kind, REQUIRE_UNKNOWN);
	assert_true(st.lookup(":site:off.example", &r, st.arg));
	assert_int_equal(r.kind, REQUIRE_SITE_DISABLE);
	assert_true(st.lookup(":site:", &r, st.arg));
	assert_int_equal(r.kind, REQUIRE_SITE_OPTIONAL);
	assert_false(st.lookup(":site:on.example", &r, st.arg));
	assert_false(st.lookup("unknown.example", &r, st.arg));
	assert_true(truth_end(&truth, NULL));
}

/* Each pattern in the map asks for its domain's policy: seen here by a change that goes unseen. */
static void
a_long_policy_is_read_once_in_a_repair(void **state UNUSED)
{
	struct sink_truth st = truth_begin(&truth);

	put("long.example", 100, "old.example");
	put("short.example", 2, "old.example");
	assert_first(&st, "long.example", "old.example");
	assert_first(&st, "short.example", "old.example");
	put("long.example", 100, "new.example");
	put("short.example", 2, "new.example");
	assert_first(&st, "long.example", "old.example");
	assert_first(&st, "short.example", "new.example");
	assert_true(truth_end(&truth, NULL));
	st = truth_begin(&truth);
	assert_first(&st, "long.example", "new.example");
	assert_true(truth_end(&truth, NULL));
}

static void
what_is_imported_is_enforced_until_its_time_and_looked_at_soon(void **state UNUSED)
{
	struct sink_truth st = truth_begin(&truth);
	struct errmsg em = {""};
	struct entry e = {0};
	char pattern[] = "*.far.example", *mx[] = {pattern};
	time_t now = time(NULL);
	struct requirement r = {REQUIRE_ENFORCE, now + 1000, 1, mx};

	assert_true(st.import("far.example", &r, st.arg));
	assert_true(st.import(NULL, NULL, st.arg)); /* on disk from now on */
	assert_true(room_stored(&room, "far.example", &e));
	assert_true(truth_end(&truth, &em));
	assert_int_equal(entry_verdict(&e, now), VERDICT_ENFORCE);
	assert_int_equal(e.expires, now + 1000);
	assert_true(entry_due(&e, now) <= now + 1);
	entry_clear(&e);
}

/* Also when others were saved since, and by a map that somebody else wrote. */
static void
an_import_that_failed_is_not_taken_for_saved(void **state UNUSED)
{
	struct sink_truth st = truth_begin(&truth);
	struct errmsg em = {""};
	struct entry e = {0};
	char right[] = "mx.far.example", wrong[300], *mx[] = {wrong}, *mx_right[] = {right};
	time_t now = time(NULL);
	struct requirement bad = {REQUIRE_ENFORCE, now + 1000, 1, mx};
	struct requirement good = {REQUIRE_ENFORCE, INT64_C(999999999999), 1, mx_right};

	memset(wrong, 'x', sizeof(wrong) - 1);
	wrong[sizeof(wrong) - 1] = '\0'; /* no record holds so long a pattern */
	assert_true(st.import("bad.example", &bad, st.arg));
	assert_false(st.import(NULL, NULL, st.arg));
	assert_false(truth_end(&truth, &em));
	st = truth_begin(&truth);
	assert_true(st.import("good.example", &good, st.arg));
	assert_true(st.import(NULL, NULL, st.arg));
	assert_true(truth_end(&truth, &em));
	assert_true(room_stored(&room, "good.example", &e));
	assert_in_range(e.expires, now + POLICY_MAX_AGE_MAX, now + POLICY_MAX_AGE_MAX + 60);
	entry_clear(&e);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define ROOM(test) cmocka_unit_test_setup_teardown(test, open_room, close_room)
	    ROOM(the_override_comes_before_the_entry), ROOM(a_long_policy_is_read_once_in_a_repair),
	    ROOM(what_is_imported_is_enforced_until_its_time_and_looked_at_soon),
	    ROOM(an_import_that_failed_is_not_taken_for_saved)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
