/* tests/unit/loop.h: an event loop that runs until a test has heard enough. After <cmocka.h>. */
#ifndef TESTS_UNIT_LOOP_H
#define TESTS_UNIT_LOOP_H

#include <event2/event.h>
#include <time.h>

static inline double
now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Runs the loop until *n, which callbacks count, is `want`; fails after a minute. */
static inline void
loop_until(struct event_base *base, const unsigned *n, unsigned want)
{
	const struct timeval step = {0, 20000};
	double end = now_s() + 60;

	while (*n < want) {
		if (now_s() > end)
			fail_msg("%u of %u answers in 60 s", *n, want);
		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
}

#endif
