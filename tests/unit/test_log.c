#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/log.h"

/* What one call writes to stderr. */
static void
logged(int priority, const char *text, char out[4096])
{
	int ends[2], saved = dup(2);
	ssize_t n;

	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], 2);
	close(ends[1]);
	log_line(priority, "text=\"%s\"", text);
	dup2(saved, 2); /* closes the last writing end */
	close(saved);
	n = read(ends[0], out, 4095);
	close(ends[0]);
	assert_true(n >= 0);
	out[n] = '\0';
}

static void
an_event_is_one_line_whatever_a_peer_put_into_it(void **state UNUSED)
{
	char out[4096], text[3000];

	log_open("test", true, false);
	logged(LOG_INFO, "a\r\nmtastsd: forged\033[1m\x7f", out);
	assert_string_equal(out, "test: text=\"a??mtastsd: forged?[1m?\"\n");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	logged(LOG_INFO, text, out);
	assert_in_range(strlen(out), 2000, 2100);
	assert_int_equal(out[strlen(out) - 1], '\n');
}

static void
debug_and_the_terminal_are_asked_for(void **state UNUSED)
{
	char out[4096];

	log_open("test", true, false);
	logged(LOG_DEBUG, "a", out);
	assert_string_equal(out, "");
	log_open("test", true, true);
	logged(LOG_DEBUG, "a", out);
	assert_string_equal(out, "test: text=\"a\"\n");
	log_open("test", false, true);
	logged(LOG_ERR, "a", out);
	assert_string_equal(out, "");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_event_is_one_line_whatever_a_peer_put_into_it),
	    cmocka_unit_test(debug_and_the_terminal_are_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
