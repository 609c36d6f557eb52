/* test_held.c: domains that mail waits for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/held.h"
#include "util/errmsg.h"

struct seen {
	size_t n;
	struct held_domain d[3];
};

static void
see(const struct held_domain *d, void *arg)
{
	struct seen *seen = arg;

	if (seen->n < sizeof(seen->d) / sizeof(seen->d[0]))
		seen->d[seen->n] = *d;
	seen->n++;
}

static void
ids_are_kept_once_and_in_order(void **state UNUSED)
{
	struct held *h = held_new();
	struct seen seen = {0};
	time_t now = time(NULL);

	held_note(h, "a.example", "AAA1");
	held_note(h, "b.example", NULL);
	held_note(h, "a.example", "AAA2");
	held_note(h, "a.example", "AAA1");
	held_note(h, "a.example", "");
	assert_int_equal(held_count(h), 2);
	held_each(h, see, &seen);
	assert_int_equal(seen.n, 2);
	assert_string_equal(seen.d[0].domain, "a.example");
	assert_int_equal(seen.d[0].n_ids, 2);
	assert_int_equal(seen.d[0].n_more, 0);
	assert_string_equal(seen.d[0].ids[0], "AAA1");
	assert_string_equal(seen.d[0].ids[1], "AAA2");
	assert_in_range(seen.d[0].since, now, now + 1);
	assert_int_equal(seen.d[1].n_ids, 0);
	held_free(&h);
	assert_null(h);
}

static void
more_ids_than_are_kept_are_counted(void **state UNUSED)
{
	struct held *h = held_new();
	struct seen seen = {0};
	char id[QUEUE_ID_MAX + 2];

	for (int i = 0; i < HELD_QUEUE_IDS_MAX + 7; i++) {
		snprintf(id, sizeof(id), "Q%d", i);
		held_note(h, "a.example", id);
	}
	memset(id, 'x', sizeof(id));
	id[sizeof(id) - 1] = '\0'; /* one too long to be kept */
	held_note(h, "a.example", id);
	held_each(h, see, &seen);
	assert_int_equal(seen.d[0].n_ids, HELD_QUEUE_IDS_MAX);
	assert_int_equal(seen.d[0].n_more, 8);
	assert_string_equal(seen.d[0].ids[HELD_QUEUE_IDS_MAX - 1], "Q49");
	held_free(&h);
}

static void
release_tells_once_whether_mail_was_told_to_wait(void **state UNUSED)
{
	struct held *h = held_new();

	assert_false(held_release(h, "a.example"));
	held_note(h, "a.example", "AAA1");
	assert_true(held_release(h, "a.example"));
	assert_false(held_release(h, "a.example"));
	assert_int_equal(held_count(h), 0);
	held_free(&h);
}

static void
the_list_is_bounded_and_has_room_again_after_a_release(void **state UNUSED)
{
	struct held *h = held_new();
	char domain[32];
	size_t full;

	for (int i = 0; i < 25000; i++) {
		snprintf(domain, sizeof(domain), "d%d.example", i);
		held_note(h, domain, "AAA1");
	}
	full = held_count(h);
	assert_in_range(full, 1000, 24999);
	assert_false(held_release(h, "d24999.example"));
	assert_true(held_release(h, "d0.example"));
	held_note(h, "d24999.example", "AAA1");
	assert_int_equal(held_count(h), full);
	assert_true(held_release(h, "d24999.example"));
	held_free(&h);
}

static void
mail_that_nobody_tries_any_more_is_held_no_longer(void **state UNUSED)
{
	struct held *h = held_new();
	time_t now = time(NULL);

	held_note(h, "a.example", "AAA1");
	held_expire(h, now - 60);
	assert_int_equal(held_count(h), 1);
	held_expire(h, now + 60);
	assert_int_equal(held_count(h), 0);
	assert_false(held_release(h, "a.example"));
	held_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_kept_once_and_in_order),
	    cmocka_unit_test(more_ids_than_are_kept_are_counted),
	    cmocka_unit_test(release_tells_once_whether_mail_was_told_to_wait),
	    cmocka_unit_test(the_list_is_bounded_and_has_room_again_after_a_release),
	    cmocka_unit_test(mail_that_nobody_tries_any_more_is_held_no_longer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
