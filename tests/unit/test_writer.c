/* test_writer.c: one thread, store first, map second, answer last; with a real store and map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon_room.h"
#include "servers.h"

static struct room room;

/* ---- a sink around the real one: looks at the store when a commit begins, and fails when told
 * ---- */

struct watched {
	struct sink sink;
	struct sink *real;
	_Atomic(const char *) expect; /* a domain that must be in the store by then */
	atomic_bool seen, fails;      /* the writer's thread calls the sink */
	atomic_uint commits, repairs;
};

static struct watched watched;

static enum sink_result
w_begin(struct sink *s UNUSED, struct errmsg *em)
{
	return watched.real->ops->begin(watched.real, em);
}

static enum sink_result
w_set(struct sink *s UNUSED, const char *domain, const struct requirement *old,
    const struct requirement *now, struct errmsg *em)
{
	return watched.real->ops->set(watched.real, domain, old, now, em);
}

static enum sink_result
w_commit(struct sink *s UNUSED, const struct sink_state *state, struct errmsg *em)
{
	struct entry e = {0};

	watched.commits++;
	if (watched.expect != NULL) {
		watched.seen = room_stored(&room, watched.expect, &e) &&
			       room_map(&room, watched.expect)[0] == '\0';
		entry_clear(&e);
	}
	if (!watched.fails)
		return watched.real->ops->commit(watched.real, state, em);
	errmsg_set(em, "told to fail");
	return SINK_FAILED;
}

static enum sink_result
w_verify(struct sink *s UNUSED, struct errmsg *em)
{
	return watched.real->ops->verify(watched.real, em);
}

static enum sink_result
w_repair(struct sink *s UNUSED, const struct sink_truth *truth, const struct sink_state *state,
    struct errmsg *em)
{
	watched.repairs++;
	if (!watched.fails)
		return watched.real->ops->repair(watched.real, truth, state, em);
	errmsg_set(em, "told to fail");
	return SINK_FAILED;
}

static void
w_close(struct sink *s UNUSED)
{
	watched.real->ops->close(watched.real);
}

static const struct sink_ops watched_ops = {
    "watched", w_begin, w_set, w_commit, w_verify, w_repair, w_close};

static int
open_room(void **state UNUSED)
{
	room_open(&room, "");
	watched.sink.ops = &watched_ops;
	watched.real = room.sink;
	watched.expect = NULL;
	watched.seen = watched.fails = false;
	watched.commits = watched.repairs = 0;
	room.sink = &watched.sink;
	room_start_writer(&room);
	return 0;
}

static int
close_room(void **state UNUSED)
{
	room_close(&room);
	return 0;
}

/* ---- waiting for answers ---- */

struct answers {
	size_t n, stored, refused, pushed;
	size_t want;
};

static void
on_answer(const struct writer_result *result, void *arg)
{
	struct answers *a = arg;

	a->n++;
	a->stored += result->stored;
	a->refused += result->refused;
	a->pushed += result->pushed;
}

static bool
all_answered(void *arg)
{
	const struct answers *a = arg;

	return a->n >= a->want;
}

static bool
in_step(void *arg UNUSED)
{
	return writer_in_step(room.writer);
}

static void
save(const char *domain, struct entry e, struct answers *a)
{
	writer_save(room.writer, domain, &e, true, on_answer, a);
	entry_clear(&e);
}

static void
the_store_has_it_before_the_map_and_the_map_before_the_answer(void **state UNUSED)
{
	struct answers a = {.want = 1};

	watched.expect = "a.example";
	save("a.example", room_enforce("mx.a.example"), &a);
	room_run(&room, all_answered, &a);
	assert_true(watched.seen);
	assert_int_equal(a.stored, 1);
	assert_int_equal(a.pushed, 1);
	assert_memory_equal(room_map(&room, "a.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, "a.example:mx.a.example"), "mx");
}

static void
the_first_repair_makes_the_map_ready_and_alive(void **state UNUSED)
{
	struct writer_status status;
	time_t alive, now = time(NULL);

	assert_string_equal(room_map(&room, ":ready:"), "yes");
	alive = atol(room_map(&room, ":alive:"));
	assert_in_range(alive, now + 7100, now + 7200); /* away_limit is 2h by default */
	writer_status(room.writer, &status);
	assert_true(status.ready);
	assert_int_equal(status.n, 1);
	assert_string_equal(status.sink[0].kind, "watched");
	assert_true(status.sink[0].in_step);
	assert_int_equal(status.alive_until, alive);
}

static void
a_map_that_fails_is_no_push_and_the_repair_catches_up(void **state UNUSED)
{
	struct answers a = {.want = 1};
	struct writer_status status;

	watched.fails = true;
	save("b.example", room_enforce("mx.b.example"), &a);
	room_run(&room, all_answered, &a);
	assert_int_equal(a.stored, 1);
	assert_int_equal(a.pushed, 0);
	assert_false(writer_in_step(room.writer));
	assert_string_equal(room_map(&room, "b.example"), "");
	writer_status(room.writer, &status);
	assert_string_equal(status.sink[0].error.text, "told to fail");
	watched.fails = false;
	room_run(&room, in_step, NULL); /* it tries again by itself */
	assert_memory_equal(room_map(&room, "b.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, "b.example:mx.b.example"), "mx");
}

static void
writes_of_one_domain_in_one_batch_leave_no_pattern_of_the_first(void **state UNUSED)
{
	struct answers a = {.want = 4};

	save("pace.example", room_none(), &a); /* the next ones gather behind it */
	save("c.example", room_enforce("mx1.c.example"), &a);
	save("c.example", room_enforce("mx2.c.example"), &a);
	save("d.example", room_none(), &a);
	room_run(&room, all_answered, &a);
	assert_int_equal(a.pushed, 4);
	assert_string_equal(room_map(&room, "c.example:mx1.c.example"), "");
	assert_string_equal(room_map(&room, "c.example:mx2.c.example"), "mx");
	assert_memory_equal(room_map(&room, "d.example"), "none ", 5);
}

static void
what_is_forgotten_leaves_store_and_map(void **state UNUSED)
{
	struct answers a = {.want = 1};
	struct entry e = {0};

	room_save(&room, "e.example", room_enforce("mx.e.example"));
	assert_string_equal(room_map(&room, "e.example:mx.e.example"), "mx");
	writer_forget(room.writer, "e.example", on_answer, &a);
	room_run(&room, all_answered, &a);
	assert_int_equal(a.pushed, 1);
	assert_false(room_stored(&room, "e.example", &e));
	assert_string_equal(room_map(&room, "e.example"), "");
	assert_string_equal(room_map(&room, "e.example:mx.e.example"), "");
}

static void
to_forget_an_unknown_domain_loses_nothing_else(void **state UNUSED)
{
	struct answers a = {.want = 101};
	char domain[32];

	save("pace.example", room_none(), &a); /* the next ones gather behind it */
	for (int i = 0; i < 50; i++) {
		snprintf(domain, sizeof(domain), "s%d.example", i);
		save(domain, room_none(), &a);
		snprintf(domain, sizeof(domain), "typo%d.example", i);
		writer_forget(room.writer, domain, on_answer, &a);
	}
	room_run(&room, all_answered, &a);
	assert_int_equal(a.stored, a.want);
	assert_int_equal(a.pushed, a.want);
	assert_true(writer_store_works(room.writer));
	assert_memory_equal(room_map(&room, "s49.example"), "none ", 5);
}

static void
what_is_forgotten_while_the_map_fails_is_not_imported_again(void **state UNUSED)
{
	struct answers a = {.want = 1};
	struct entry e = {0};

	room_save(&room, "e.example", room_enforce("mx.e.example"));
	watched.fails = true;
	writer_forget(room.writer, "e.example", on_answer, &a);
	room_run(&room, all_answered, &a);
	assert_int_equal(a.stored, 1);
	assert_int_equal(a.pushed, 0);
	assert_memory_equal(room_map(&room, "e.example"), "enforce ", 8);
	if (room_stored(&room, "e.example", &e)) /* a stone on its grave */
		assert_int_equal(entry_verdict(&e, time(NULL)), VERDICT_UNDECIDED);
	entry_clear(&e);
	watched.fails = false;
	room_run(&room, in_step, NULL);
	assert_string_equal(room_map(&room, "e.example"), "");
	assert_string_equal(room_map(&room, "e.example:mx.e.example"), "");
	writer_drop(room.writer, "e.example"); /* as the schedule does */
	save("pace.example", room_none(), &a);
	a.want = 2;
	room_run(&room, all_answered, &a);
	assert_false(room_stored(&room, "e.example", &e));
}

static void
a_repush_puts_back_what_the_map_lost_and_one_serves_all_who_ask(void **state UNUSED)
{
	struct answers a = {.want = 1};
	struct sink_state sink_state = {.alive_until = time(NULL) + 7200};
	struct entry e = room_enforce("mx.f.example");
	struct requirement was = entry_requirement(&e, 0), gone = {.kind = REQUIRE_UNKNOWN};
	unsigned before;

	room_save(&room, "f.example", e);
	e = room_enforce("mx.f.example");
	was = entry_requirement(&e, 0);
	assert_int_equal(watched.real->ops->begin(watched.real, NULL), SINK_OK);
	assert_int_equal(
	    watched.real->ops->set(watched.real, "f.example", &was, &gone, NULL), SINK_OK);
	assert_int_equal(watched.real->ops->commit(watched.real, &sink_state, NULL), SINK_OK);
	entry_clear(&e);
	assert_string_equal(room_map(&room, "f.example"), "");
	before = watched.commits;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(writer_repush(room.writer, "f.example", on_answer, &a), i == 0);
	room_run(&room, all_answered, &a);
	assert_int_equal(a.n, 1);
	assert_int_equal(watched.commits, before + 1);
	assert_memory_equal(room_map(&room, "f.example"), "enforce ", 8);
	assert_true(writer_repush(room.writer, "f.example", on_answer, &a)); /* again, later */
	a.want = 2;
	room_run(&room, all_answered, &a);
}

static bool
used_lately(void *arg)
{
	struct entry e = {0};
	bool lately = room_stored(&room, arg, &e) && e.used > time(NULL) - 100;

	entry_clear(&e);
	return lately;
}

static void
a_touch_is_saved_once_an_hour_and_changes_no_map(void **state UNUSED)
{
	struct entry e = room_enforce("mx.g.example");
	time_t now = time(NULL);
	struct answers a = {.want = 1};
	unsigned commits;

	e.used = now - 7200;
	room_save(&room, "g.example", e);
	commits = watched.commits;
	for (int i = 0; i < 1000; i++)
		writer_touch(room.writer, "g.example", now);
	room_run(&room, used_lately, (void *)(uintptr_t) "g.example");
	writer_touch(room.writer, "g.example", now + 50); /* within the hour: not worth a write */
	writer_touch(room.writer, "unknown.example", now);
	assert_int_equal(watched.commits, commits);
	save("h.example", room_none(), &a); /* comes behind the touches */
	room_run(&room, all_answered, &a);
	assert_true(room_stored(&room, "g.example", &e));
	assert_int_equal(e.used, now);
	entry_clear(&e);
	assert_false(room_stored(&room, "unknown.example", &e));
}

static void
a_new_configuration_is_pushed_and_nothing_else_looked_at(void **state UNUSED)
{
	struct answers a = {.want = 1};
	struct config *old = room.config;
	unsigned repairs = watched.repairs;

	room_save(&room, "i.example", room_enforce("mx.i.example"));
	room.config = room_config(&room,
	    "enforcement = observe\naway_limit = never\ndomain \"i.example\" { policy = disable }");
	writer_configure(room.writer, room.config, on_answer, &a);
	room_run(&room, all_answered, &a);
	config_free(&old); /* nothing of it is used any more */
	assert_string_equal(room_map(&room, ":ready:"), "obs");
	assert_string_equal(room_map(&room, ":alive:"), "9999999999");
	assert_string_equal(room_map(&room, ":site:"), "optional");
	assert_string_equal(room_map(&room, ":site:i.example"), "disable");
	assert_string_equal(room_map(&room, "i.example"), "");
	assert_string_equal(room_map(&room, "i.example:mx.i.example"), "");
	room_save(&room, "i.example", room_enforce("mx2.i.example"));
	assert_string_equal(room_map(&room, "i.example"), ""); /* the override stays */
	old = room.config;
	room.config = room_config(&room, "domain \"other.example\" { policy = disable }");
	writer_configure(room.writer, room.config, on_answer, &a);
	a.want = 2;
	room_run(&room, all_answered, &a);
	config_free(&old);
	assert_int_equal(a.pushed, 2);
	assert_string_equal(room_map(&room, ":ready:"), "yes");
	assert_memory_equal(room_map(&room, "i.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, "i.example:mx2.i.example"), "mx");
	assert_string_equal(room_map(&room, "i.example:mx.i.example"), "");
	assert_string_equal(room_map(&room, ":site:i.example"), "");
	assert_string_equal(room_map(&room, ":site:other.example"), "disable");
	assert_int_equal(watched.repairs, repairs); /* nobody waits for that */
}

static void
reconfigure(const char *text)
{
	struct answers a = {.want = 1};
	struct config *old = room.config;

	room.config = room_config(&room, text);
	writer_configure(room.writer, room.config, on_answer, &a);
	room_run(&room, all_answered, &a);
	config_free(&old);
}

/* A rule for many domains changes what the map says of each of them, there and back. */
static void
a_required_policy_of_mode_testing_is_enforced_while_it_is_required(void **state UNUSED)
{
	static const char *const mx[] = {"mx.testing.example"};
	struct entry testing = room_enforce("mx.testing.example");

	policy_free(testing.policy);
	testing.policy = policy_new(MODE_TESTING, 864000, 1, mx);
	room_save(&room, "testing.example", testing);
	room_save(&room, "none.example", room_none());
	assert_memory_equal(room_map(&room, "testing.example"), "none ", 5);
	reconfigure("domain \".example\" { policy = require }");
	assert_string_equal(room_map(&room, ":site:"), "optional");
	assert_string_equal(room_map(&room, ":site:.example"), "hold");
	assert_memory_equal(room_map(&room, "testing.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, "testing.example:mx.testing.example"), "mx");
	assert_string_equal(room_map(&room, "none.example"), "");
	reconfigure("domain \"testing.example\" { policy = require unmet = refuse }\n"
		    "domain \"*\" { policy = require }");
	assert_string_equal(room_map(&room, ":site:"), "hold");
	assert_string_equal(room_map(&room, ":site:.example"), "");
	assert_string_equal(room_map(&room, ":site:testing.example"), "refuse");
	assert_memory_equal(room_map(&room, "testing.example"), "enforce ", 8);
	reconfigure("");
	assert_string_equal(room_map(&room, ":site:"), "");
	assert_string_equal(room_map(&room, ":site:testing.example"), "");
	assert_memory_equal(room_map(&room, "testing.example"), "none ", 5);
	assert_string_equal(room_map(&room, "testing.example:mx.testing.example"), "");
	assert_memory_equal(room_map(&room, "none.example"), "none ", 5);
}

static void
repairs_asked_for_together_are_done_as_one(void **state UNUSED)
{
	struct answers a = {.want = 501};
	unsigned repairs = watched.repairs;

	save("pace.example", room_none(), &a); /* the next ones gather behind it */
	save("pace2.example", room_none(), &a);
	for (int i = 0; i < 499; i++)
		writer_repair(room.writer, on_answer, &a);
	room_run(&room, all_answered, &a);
	assert_in_range(watched.repairs, repairs + 1, repairs + 2);
}

static void
the_end_comes_after_all_that_was_asked_for(void **state UNUSED)
{
	struct answers a = {.want = 300};
	char domain[32];

	for (size_t i = 0; i < a.want; i++) {
		snprintf(domain, sizeof(domain), "n%zu.example", i % 290); /* some twice */
		save(domain, room_enforce("mx.example"), &a);
	}
	writer_free(&room.writer); /* waits, and calls back */
	assert_null(room.writer);
	assert_int_equal(a.n, a.want);
	assert_int_equal(a.stored, a.want);
	assert_int_equal(a.pushed, a.want);
	assert_memory_equal(room_map(&room, "n289.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, ":ready:"), "yes");
}

static void
a_requirement_that_only_the_map_knows_is_imported(void **state UNUSED)
{
	struct entry e = room_enforce("*.far.example");
	struct answers a = {.want = 1};
	char store[96];

	room_save(&room, "far.example", e);
	room_stop(&room);
	snprintf(store, sizeof(store), "%s/store", room.dir);
	remove_dir(store);
	room_reopen(&room, "");
	room_start_writer(&room);
	assert_true(room_stored(&room, "far.example", &e));
	assert_int_equal(entry_verdict(&e, time(NULL)), VERDICT_ENFORCE);
	assert_int_equal(e.policy->n_mx, 1);
	assert_string_equal(e.policy->mx[0], "*.far.example");
	entry_clear(&e);
	save("z.example", room_none(), &a);
	room_run(&room, all_answered, &a);
	assert_memory_equal(room_map(&room, "far.example"), "enforce ", 8);
}

static void
a_save_that_did_not_see_the_live_policy_is_refused(void **state UNUSED)
{
	struct answers a = {.want = 2};
	struct entry none = room_none(), expired = room_enforce("mx.old.example");

	room_save(&room, "live.example", room_enforce("mx.live.example"));
	expired.expires = time(NULL) - 1;
	room_save(&room, "old.example", expired);
	writer_save(room.writer, "live.example", &none, false, on_answer, &a);
	writer_save(room.writer, "old.example", &none, false, on_answer, &a);
	room_run(&room, all_answered, &a);
	assert_int_equal(a.refused, 1);
	assert_int_equal(a.stored, 1);
	assert_int_equal(a.pushed, 1);
	assert_memory_equal(room_map(&room, "live.example"), "enforce ", 8);
	assert_memory_equal(room_map(&room, "old.example"), "none ", 5);
}

/* ---- beside a sink that is never well ---- */

static atomic_uint ill_repairs;

static enum sink_result
ill_repair(struct sink *s UNUSED, const struct sink_truth *truth UNUSED,
    const struct sink_state *state UNUSED, struct errmsg *em)
{
	ill_repairs++;
	errmsg_set(em, "never well");
	return SINK_FAILED;
}

static void
ill_close(struct sink *s UNUSED)
{
}

static int
open_ill_room(void **state UNUSED)
{
	static const struct sink_ops ops = {
	    .kind = "ill", .repair = ill_repair, .close = ill_close};
	static struct sink ill = {&ops};
	struct sink *sinks[2];
	struct errmsg em = {""};

	room_open(&room, "away_limit = 36s"); /* a heartbeat in 12 s */
	ill_repairs = 0;
	sinks[0] = room.sink;
	sinks[1] = &ill;
	room.sink = NULL;
	room.writer = writer_new(room.base, room.store, room.config, sinks, 2, NULL, NULL, &em);
	assert_non_null(room.writer);
	return 0;
}

static bool
alive_is_not(void *arg)
{
	return strcmp(room_map(&room, ":alive:"), arg) != 0;
}

static void
a_map_that_fails_does_not_stop_the_heart_of_the_other(void **state UNUSED)
{
	struct writer_status status;
	char alive[32];

	room_flush(&room);
	snprintf(alive, sizeof(alive), "%s", room_map(&room, ":alive:"));
	room_run(&room, alive_is_not, alive);
	assert_int_equal(ill_repairs, 2); /* at once and after 5 s; the next is due after 15 s */
	room_flush(&room);
	writer_status(room.writer, &status);
	assert_int_equal(status.alive_until, atol(room_map(&room, ":alive:")));
	assert_int_equal(status.commits, 2); /* the first repair, and the heartbeat */
	assert_true(writer_imported(room.writer));
	assert_false(writer_in_step(room.writer));
}

static int
open_small_room(void **state UNUSED)
{
	room_open(&room, "store { max_mib = 1 }");
	room_start_writer(&room);
	return 0;
}

static void
what_a_full_store_cannot_keep_is_not_pushed(void **state UNUSED)
{
	struct answers a = {0};
	char domain[32];

	room_save(&room, "first.example", room_enforce("mx.example"));
	assert_true(writer_store_works(room.writer));
	for (a.want = 0; a.want < 5000; a.want++) {
		snprintf(domain, sizeof(domain), "full%zu.example", a.want);
		save(domain, room_enforce("mx.example"), &a);
	}
	room_run(&room, all_answered, &a);
	assert_true(a.stored < a.n);
	assert_int_equal(a.stored, a.pushed);
	assert_false(writer_store_works(room.writer));
	assert_string_equal(room_map(&room, domain), "");
	assert_memory_equal(room_map(&room, "first.example"), "enforce ", 8);
	assert_string_equal(room_map(&room, ":ready:"), "yes");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define ROOM(test) cmocka_unit_test_setup_teardown(test, open_room, close_room)
	    ROOM(the_first_repair_makes_the_map_ready_and_alive),
	    ROOM(the_store_has_it_before_the_map_and_the_map_before_the_answer),
	    ROOM(a_map_that_fails_is_no_push_and_the_repair_catches_up),
	    ROOM(writes_of_one_domain_in_one_batch_leave_no_pattern_of_the_first),
	    ROOM(what_is_forgotten_leaves_store_and_map),
	    ROOM(to_forget_an_unknown_domain_loses_nothing_else),
	    ROOM(what_is_forgotten_while_the_map_fails_is_not_imported_again),
	    ROOM(a_repush_puts_back_what_the_map_lost_and_one_serves_all_who_ask),
	    ROOM(a_touch_is_saved_once_an_hour_and_changes_no_map),
	    ROOM(a_new_configuration_is_pushed_and_nothing_else_looked_at),
	    ROOM(a_required_policy_of_mode_testing_is_enforced_while_it_is_required),
	    ROOM(repairs_asked_for_together_are_done_as_one),
	    ROOM(the_end_comes_after_all_that_was_asked_for),
	    ROOM(a_requirement_that_only_the_map_knows_is_imported),
	    ROOM(a_save_that_did_not_see_the_live_policy_is_refused),
	    cmocka_unit_test_setup_teardown(
		a_map_that_fails_does_not_stop_the_heart_of_the_other, open_ill_room, close_room),
	    cmocka_unit_test_setup_teardown(
		what_a_full_store_cannot_keep_is_not_pushed, open_small_room, close_room)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
