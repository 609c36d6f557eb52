#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "discover/smtp.h"

/* Reads text in pieces of n bytes; *left is what was not taken. */
static enum smtp_result
read_all(struct smtp_reader *reader, const char *text, size_t n, size_t *left, struct errmsg *em)
{
	enum smtp_result result = SMTP_MORE;
	size_t len = strlen(text), at = 0;

	memset(reader, 0, sizeof(*reader));
	while (result == SMTP_MORE && at < len) {
		size_t piece = n < len - at ? n : len - at;
		unsigned char *copy = malloc(piece); /* so that a read past the end is seen */
		struct cursor c;

		assert_non_null(copy);
		memcpy(copy, text + at, piece);
		c = cursor_of(copy, piece);
		result = smtp_read(reader, &c, em);
		at += piece - cursor_len(&c);
		free(copy);
	}
	*left = len - at;
	return result;
}

static void
a_reply_has_a_code_and_lines_however_it_arrives(void **state UNUSED) /* RFC 5321 section 4.2 */
{
	static const struct {
		const char *text;
		enum smtp_result result;
		int code;
		const char *first;
		bool starttls;
	} t[] = {
	    {"220 mx.test ESMTP\r\n", SMTP_REPLY, 220, "mx.test ESMTP", false},
	    {"220\r\n", SMTP_REPLY, 220, "", false},
	    {"220 \n", SMTP_REPLY, 220, "", false},
	    {"220-mx.test\r\n220 wait\r\n", SMTP_REPLY, 220, "mx.test", false},
	    {"250-mx.test\r\n250-SIZE\r\n250 STARTTLS\r\n", SMTP_REPLY, 250, "mx.test", true},
	    {"250-mx.test\r\n250-StartTLS\r\n250 HELP\r\n", SMTP_REPLY, 250, "mx.test", true},
	    {"250-mx.test\r\n250 STARTTLS x\r\n", SMTP_REPLY, 250, "mx.test", true},
	    {"250-STARTTLS\r\n250 HELP\r\n", SMTP_REPLY, 250, "STARTTLS",
		false}, /* a host's name */
	    {"250-mx.test\r\n250 XSTARTTLS\r\n", SMTP_REPLY, 250, "mx.test", false},
	    {"250-mx.test\r\n250 STARTTLSX\r\n", SMTP_REPLY, 250, "mx.test", false},
	    {"554 \x1b[31mred\xff\r\n", SMTP_REPLY, 554, "?[31mred?", false},
	    {"220-mx.test\r\n", SMTP_MORE, 0, "", false},
	    {"220 mx.test", SMTP_MORE, 0, "", false},
	    {"220-mx.test\r\n221 wait\r\n", SMTP_BAD, 0, "", false},
	    {"220mx.test\r\n", SMTP_BAD, 0, "", false},
	    {"120 mx.test\r\n", SMTP_BAD, 0, "", false},
	    {"620 mx.test\r\n", SMTP_BAD, 0, "", false},
	    {"22 mx.test\r\n", SMTP_BAD, 0, "", false},
	    {"SSH-2.0-OpenSSH_9.2\r\n", SMTP_BAD, 0, "", false},
	    {"\r\n", SMTP_BAD, 0, "", false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		for (size_t n = 1; n <= strlen(t[i].text); n++) {
			struct smtp_reader reader;
			struct errmsg em = {""};
			size_t left;
			enum smtp_result got = read_all(&reader, t[i].text, n, &left, &em);

			if (got != t[i].result ||
			    (got == SMTP_REPLY && (reader.reply.code != t[i].code ||
						      strcmp(reader.reply.text, t[i].first) != 0 ||
						      reader.reply.starttls != t[i].starttls)))
				fail_msg("row %zu by %zu: %d, %d \"%s\" %d: %s", i, n, got,
				    reader.reply.code, reader.reply.text, reader.reply.starttls,
				    em.text);
			assert_true((got == SMTP_BAD) == (em.text[0] != '\0'));
		}
}

static void
what_follows_a_reply_is_left(void **state UNUSED)
{
	struct smtp_reader reader;
	size_t left;

	assert_int_equal(read_all(&reader, "220 a\r\n250 b\r\n", 100, &left, NULL), SMTP_REPLY);
	assert_int_equal(left, strlen("250 b\r\n"));
}

static void
a_line_and_a_reply_have_a_limit(void **state UNUSED)
{
	char line[SMTP_LINE_MAX + 3];
	struct smtp_reader reader;
	struct errmsg em;
	size_t left;

	memset(line, 'x', sizeof(line));
	memcpy(line, "220 ", 4);
	line[SMTP_LINE_MAX] = '\n';
	line[SMTP_LINE_MAX + 1] = '\0';
	assert_int_equal(read_all(&reader, line, 100, &left, &em), SMTP_REPLY);
	assert_int_equal(strlen(reader.reply.text), SMTP_TEXT_MAX - 1);
	memcpy(line + SMTP_LINE_MAX, "x\n", 3);
	assert_int_equal(read_all(&reader, line, 100, &left, &em), SMTP_BAD);
	assert_non_null(strstr(em.text, "2048 bytes"));

	memset(&reader, 0, sizeof(reader));
	for (int i = 0; i < SMTP_LINES_MAX; i++) {
		struct cursor c = cursor_of("220-endless\r\n", 13);

		assert_int_equal(
		    smtp_read(&reader, &c, &em), i < SMTP_LINES_MAX - 1 ? SMTP_MORE : SMTP_BAD);
	}
	assert_non_null(strstr(em.text, "128 lines"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_reply_has_a_code_and_lines_however_it_arrives),
	    cmocka_unit_test(what_follows_a_reply_is_left),
	    cmocka_unit_test(a_line_and_a_reply_have_a_limit),
	};

	return cmocka_run_group_tests_name("smtp", tests, NULL, NULL);
}
