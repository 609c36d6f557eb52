/* test_config.c: mtasts.conf: defaults, every option, and errors that name file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "site/config.h"

static char path[] = "/tmp/test_config.XXXXXX";

static struct config *
read_text(const char *text, struct errmsg *em)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	return config_read(path, em);
}

static void
an_empty_file_means_the_defaults(void **state UNUSED)
{
	struct errmsg em = {""};
	struct config *c = read_text("", &em);

	assert_non_null(c);
	assert_string_equal(c->user, "mtasts");
	assert_false(c->observe);
	assert_int_equal(c->hold_max_s, 1800);
	assert_int_equal(c->failed_check_s, 300);
	assert_int_equal(c->away_limit_s, 7200);
	assert_int_equal(c->milter_wait_s, 5);
	assert_int_equal(c->milter_hold, HOLD_QUEUE);
	assert_int_equal(c->release_queue.n, 1);
	assert_string_equal(c->release_queue.item[0], "/var/spool/mqueue");
	assert_string_equal(c->release_sendmail, "/usr/sbin/sendmail");
	assert_string_equal(c->milter_header, "X-MTA-STS");
	assert_int_equal(c->fetch_timeout_s, 60);
	assert_int_equal(c->socketmap.listen.n, 1);
	assert_int_equal(c->socketmap.mode, 0660);
	assert_null(c->socketmap.owner);
	assert_int_equal(c->dns_servers.n, 0);
	assert_null(c->access_path);
	assert_null(c->ca_file);
	assert_non_null(c->map_path);
	assert_int_equal(rules_count(c->rules), 0);
	config_free(&c);
	assert_null(c);
}

static void
every_option_is_read(void **state UNUSED)
{
	struct errmsg em = {""};
	struct config *c = read_text(
	    "user = nobody\nenforcement = observe\nhold_max = 10m\nfailed_check = 20s\naway_limit = never\n"
	    "discoveries_max = 7\ndebug = true\n"
	    "store { dir = /s  max_mib = 64 }\n"
	    "control { listen = \"unix:/c\" mode = 0600 owner = root group = adm }\n"
	    "socketmap { listen = {\"unix:/m\", \"inet:127.0.0.1:8461\"} mode = 0606 owner = daemon }\n"
	    "dns { servers = {\"127.0.0.1:5353\", \"::1\", \"[::1]:53\", \"192.0.2.1\"} timeout = 1s }\n"
	    "https { ca_file = \"/etc/passwd\" timeout = 20s }\n"
	    "sendmail_map { path = /p.db none_max = 9 makemap = /m type = btree }\n"
	    "access_map { path = /frag }\n"
	    "nudge { address = \"[::1]:25\" per_minute = 3 }\n"
	    "milter { socket = \"inet:8462@localhost\" mode = 0666 owner = root group = adm wait = 45s hold = quarantine header = \"\" }\n"
	    "release { socket = \"unix:/r\" queue = {\"/q/1\", \"/q/q*\"} sendmail = \"/s\" }\n"
	    "domain \"B.Example.\" { policy = disable }\n"
	    "domain \"a.example\" { policy = disable }\n"
	    "domain \"c.example\" { policy = optional }\n"
	    "domain \".c.example\" { policy = require unmet = refuse }\n"
	    "domain \"*\" { policy = require }\n",
	    &em);

	if (c == NULL)
		fail_msg("%s", em.text);
	assert_string_equal(c->user, "nobody");
	assert_true(c->observe);
	assert_int_equal(c->hold_max_s, 600);
	assert_int_equal(c->failed_check_s, 20);
	assert_int_equal(c->away_limit_s, AWAY_NEVER);
	assert_int_equal(c->discoveries_max, 7);
	assert_true(c->debug);
	assert_string_equal(c->store_dir, "/s");
	assert_int_equal(c->store_max_bytes, 64 << 20);
	assert_string_equal(c->control.listen.item[0], "unix:/c");
	assert_int_equal(c->control.mode, 0600);
	assert_string_equal(c->control.owner, "root");
	assert_string_equal(c->control.group, "adm");
	assert_int_equal(c->socketmap.listen.n, 2);
	assert_string_equal(c->socketmap.listen.item[1], "inet:127.0.0.1:8461");
	assert_int_equal(c->socketmap.mode, 0606);
	assert_string_equal(c->map_makemap, "/m");
	assert_string_equal(c->map_type, "btree");
	assert_string_equal(c->socketmap.owner, "daemon");
	assert_null(c->socketmap.group);
	assert_int_equal(c->dns_servers.n, 4);
	assert_int_equal(c->dns_timeout_s, 1);
	assert_string_equal(c->ca_file, "/etc/passwd");
	assert_int_equal(c->fetch_timeout_s, 20);
	assert_string_equal(c->map_path, "/p.db");
	assert_int_equal(c->map_none_max, 9);
	assert_string_equal(c->access_path, "/frag");
	assert_string_equal(c->nudge_address, "[::1]:25");
	assert_int_equal(c->nudge_per_minute, 3);
	assert_string_equal(c->milter_socket, "inet:8462@localhost");
	assert_int_equal(c->milter_mode, 0666);
	assert_string_equal(c->milter_owner, "root");
	assert_string_equal(c->milter_group, "adm");
	assert_int_equal(c->milter_wait_s, 45);
	assert_int_equal(c->milter_hold, HOLD_QUARANTINE);
	assert_string_equal(c->release_socket, "unix:/r");
	assert_int_equal(c->release_queue.n, 2);
	assert_string_equal(c->release_queue.item[1], "/q/q*");
	assert_string_equal(c->release_sendmail, "/s");
	assert_null(c->milter_header);
	assert_int_equal(rules_find(c->rules, "a.example", NULL), RULE_DISABLE);
	assert_int_equal(rules_find(c->rules, "b.example", NULL), RULE_DISABLE);
	assert_int_equal(rules_find(c->rules, "c.example", NULL), RULE_OPTIONAL);
	assert_int_equal(rules_find(c->rules, "x.c.example", NULL), RULE_REFUSE);
	assert_int_equal(rules_find(c->rules, "d.example", NULL), RULE_HOLD);
	config_free(&c);
}

static void
sets_of_rules_are_kept_by_who_chooses_them(void **state UNUSED)
{
	struct errmsg em = {""};
	struct config *c = read_text(
	    "domain \"a.example\" { policy = disable }\n"
	    "rules \"one\" { user = {\"bob\", \"carol\"} domain \"a.example\" { policy = require unmet = refuse } }\n"
	    "rules \"two\" { sender = {\"b.example\"} listener = {MSA} domain \"*\" { policy = require } }\n",
	    &em);
	enum rule rule;

	if (c == NULL)
		fail_msg("%s", em.text);
	assert_int_equal(rules_count(c->rules), 1);
	assert_int_equal(rules_count(c->chosen), 1 + 4 + 2);
	assert_true(rules_get(c->chosen, ":user:carol:a.example", &rule) && rule == RULE_REFUSE);
	assert_true(rules_get(c->chosen, ":user:bob:", &rule) && rule == RULE_OPTIONAL);
	assert_true(rules_get(c->chosen, ":port:msa:", &rule) && rule == RULE_HOLD);
	config_free(&c);
}

static void
errors_name_file_line_and_remedy(void **state UNUSED)
{
	static const struct {
		const char *text;
		int line;
		const char *word;
	} t[] = {
	    {"\nhold_max = soon\n", 2, "want a duration from 0s to 30d"},
	    {"hold_max = 31d\n", 1, "from 0s to 30d"},
	    {"failed_check = 0s\n", 1, "from 1s to 1d"},
	    {"away_limit = 400d\n", 1, "from 0s to 365d"},
	    {"dns {\n timeout = 0s\n}\n", 2, "from 1s to 30s"},
	    {"dns {\n timeout = 30d\n}\n", 2, "from 1s to 30s"},
	    {"https {\n timeout = 0s\n}\n", 2, "from 1s to 10m"},
	    {"https {\n timeout = 11m\n}\n", 2, "from 1s to 10m"},
	    {"store {\n max_mib = 17592186044416\n}\n", 2, "want 1 to"},
	    {"store {\n max_mib = 0\n}\n", 2, "want 1 to"},
	    {"https {\n ca_file = \"/nosuch/ca.pem\"\n}\n", 2, "/nosuch/ca.pem"},
	    {"user = nosuch\n", 1, "no user \"nosuch\"; make it: adduser"},
	    {"control {\n owner = nosuch\n}\n", 2, "no user \"nosuch\""},
	    {"socketmap {\n group = nosuch\n}\n", 2, "no group \"nosuch\""},
	    {"milter {\n group = nosuch\n}\n", 2, "no group \"nosuch\""},
	    {"control {\n listen = \"inet:127.0.0.1:8463\"\n}\n", 2, "want unix:/path"},
	    {"rules \"x\" {\n user = {\"a b\"}\n}\n", 3, "user \"a b\": want letters"},
	    {"rules \"x\" {\n user = {bob}\n}\nrules \"y\" {\n user = {Bob}\n}\n", 6,
		"a set already"},
	    {"rules \"x\" {\n domain \"a.b\" {\n  policy = maybe\n }\n}\n", 3,
		"want optional, require or disable"},
	    {"rules \"x\" {\n domain \"a_b\" {\n }\n}\n", 3, "domain \"a_b\""},
	    {"milter {\n hold = later\n}\n", 2, "want queue, tempfail or quarantine"},
	    {"release {\n socket = \"inet:127.0.0.1:8464\"\n}\n", 2, "want unix:/path"},
	    {"release {\n queue = {\"mqueue\"}\n}\n", 2, "begins with /"},
	    {"nudge {\n address = \"127.0.0.1\"\n}\n", 2, "address and port"},
	    {"nudge {\n address = \"mail.example:25\"\n}\n", 2, "address and port"},
	    {"nudge {\n address = \"::1:25\"\n}\n", 2, "address and port"},
	    {"nudge {\n address = \"[::1]25\"\n}\n", 2, "address and port"},
	    {"nudge {\n address = \"127.0.0.1:65536\"\n}\n", 2, "address and port"},
	    {"dns {\n servers = {\"::1\", \"ns.example\"}\n}\n", 2, "ns.example"},
	    {"dns {\n servers = {\"[::1]:\"}\n}\n", 2, "[::1]:"},
	    {"hold_max = 1h\nunknown_thing = 1\n", 2, "unknown_thing"},
	    {"milter {\n wait = 46s\n}\n", 2, "45s"},
	    {"milter {\n header = \"X-A B\"\n}\n", 2, "header field name"},
	    {"milter {\n header = \"X-\xc3\xa4\"\n}\n", 2, "header field name"},
	    {"milter {\n header = \"X-A:\"\n}\n", 2, "header field name"},
	    {"milter {\n header = X-23456789012345678901234567890123456789012345678901234567890123"
	     "4567\n}\n",
		2, "64 bytes"},
	    {"milter {\n header = To\n}\n", 2, "begins with X-"},
	    {"milter {\n header = Received\n}\n", 2, "begins with X-"},
	    {"enforcement = off\n", 1, "want on or observe"},
	    /* a section is checked when it is whole */
	    {"\n\ndomain \"[1.2.3.4]\" {\n policy = disable\n}\n", 5, "1.2.3.4"},
	    {"domain \"a.example\" { policy = disable }\n\ndomain \"A.example.\" {\n}\n", 4,
		"keep one"},
	    {"domain \"a.example\" { policy = disable }\n\ndomain \"a.example\" {\n}\n", 3,
		"a.example"},
	    {"\ninclude(\"/nonexistent/file\")\n", 2, "/nonexistent/file: cannot be read"},
	    {"\ninclude(\"/tmp\")\n", 2, "/tmp is a directory"},
	    {"\ninclude(\"relative\")\n", 2, "begins with /"},
	    {"domain \"a.example\" {\n policy = maybe\n}\n", 2, "optional, require or disable"},
	    {"domain \"a.example\" {\n unmet = bounce\n}\n", 2, "hold or refuse"},
	    {"domain \"a.example\" {\n unmet = refuse\n}\n", 3, "policy = require"},
	    {"socketmap {\n listen = {\"inet:192.0.2.1:25\"}\n}\n", 2, "loopback"},
	    {"control {\n listen = \"/run/x\"\n}\n", 2, "unix:/path"},
	    {"milter {\n socket = banana\n}\n", 2, "unix:/path"},
	    {"milter {\n socket = \"\"\n}\n", 2, "unix:/path"},
	    {"milter {\n socket = \"unix:rel\"\n}\n", 2, "begin with /"},
	    {"milter {\n socket = \"inet:99999@localhost\"\n}\n", 2, "loopback"},
	    {"milter {\n socket = \"inet:8462@192.0.2.1\"\n}\n", 2, "loopback"},
	    {"control {\n mode = 1000\n}\n", 2, "octal"},
	    {"discoveries_max = 0\n", 1, "greater than 0"},
	    {"discoveries_max = many\n", 1, "discoveries_max"},
	    {"sendmail_map {\n path = relative\n}\n", 2, "begins with /"},
	    {"sendmail_map {\n type = cdb\n}\n", 2, "want hash or btree"},
	    {"sendmail_map {\n type = btree\n}\n", 3, "wants makemap"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct errmsg em = {""};
		struct config *c = read_text(t[i].text, &em);
		char want[64];

		snprintf(want, sizeof(want), "%s:%d: ", path, t[i].line);
		if (c != NULL)
			fail_msg("row %zu was accepted", i);
		if (strncmp(em.text, want, strlen(want)) != 0 || strstr(em.text, t[i].word) == NULL)
			fail_msg("row %zu: want \"%s...%s...\", have \"%s\"", i, want, t[i].word,
			    em.text);
	}
}

/* What is wrong in a file is told with its own name and line, and the next reading is as good. */
static void
included_files_hold_sections_of_domains(void **state UNUSED)
{
	static const struct {
		const char *text;
		const char *want; /* after the file's name */
	} t[] = {
	    {"domain \"b.example\" { policy = disable }\n", NULL},
	    {"\n\ndomain \"b.example\" {\n policy = banana\n}\n", ":4: policy = \"banana\""},
	    {"\ndomain \"A.example\" { policy = optional }\n",
		":2: domain \"A.example\": there is a"},
	    {"debug = true\n", ":1: no such option"},
	    {"domain \"b.example\" { policy = disable }\n", NULL},
	};
	char file[] = "/tmp/test_config_included.XXXXXX", text[200];
	int fd = mkstemp(file);

	assert_true(fd >= 0 && close(fd) == 0);
	snprintf(text, sizeof(text),
	    "include(\"%s\")\nhold_max = 7m\ndomain \"a.example\" { policy = disable }\n", file);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct errmsg em = {""};
		FILE *f = fopen(file, "w");
		struct config *c;

		assert_non_null(f);
		assert_true(fputs(t[i].text, f) >= 0);
		assert_int_equal(fclose(f), 0);
		c = read_text(text, &em);
		if ((c == NULL) != (t[i].want != NULL) ||
		    (c == NULL && (strncmp(em.text, file, strlen(file)) != 0 ||
				      strstr(em.text, t[i].want) != em.text + strlen(file))))
			fail_msg("row %zu: \"%s\"", i, em.text);
		if (c != NULL) {
			assert_int_equal(c->hold_max_s, 420);
			assert_int_equal(rules_find(c->rules, "a.example", NULL), RULE_DISABLE);
			assert_int_equal(rules_find(c->rules, "b.example", NULL), RULE_DISABLE);
		}
		config_free(&c);
	}
	assert_int_equal(unlink(file), 0);
}

static void
a_file_that_cannot_be_read_is_an_error_with_its_name(void **state UNUSED)
{
	struct errmsg em = {""};

	assert_null(config_read("/nonexistent/mtasts.conf", &em));
	assert_non_null(strstr(em.text, "/nonexistent/mtasts.conf"));
	assert_non_null(strstr(em.text, "No such file"));
	assert_non_null(strstr(em.text, "an empty file means"));
}

/* The scanner of libconfuse calls exit() when it cannot read: the test would end here. */
static void
a_directory_is_an_error_with_its_name(void **state UNUSED)
{
	struct errmsg em = {""};

	assert_null(config_read("/tmp", &em));
	assert_non_null(strstr(em.text, "/tmp is a directory; "));
}

static void
a_file_closed_to_this_user_is_an_error_with_its_name(void **state UNUSED)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		struct errmsg em = {""};
		bool told;

		if (chmod(path, 0600) != 0 || (geteuid() == 0 && setuid(65534) != 0) ||
		    (geteuid() != 65534 && chmod(path, 0) != 0))
			_exit(2);
		told = config_read(path, &em) == NULL &&
		       strncmp(em.text, path, strlen(path)) == 0 &&
		       strstr(em.text, "let its user read it") != NULL;
		_exit(told ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int
make_file(void **state UNUSED)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int
remove_file(void **state UNUSED)
{
	return unlink(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_file_means_the_defaults),
	    cmocka_unit_test(every_option_is_read),
	    cmocka_unit_test(sets_of_rules_are_kept_by_who_chooses_them),
	    cmocka_unit_test(errors_name_file_line_and_remedy),
	    cmocka_unit_test(included_files_hold_sections_of_domains),
	    cmocka_unit_test(a_file_that_cannot_be_read_is_an_error_with_its_name),
	    cmocka_unit_test(a_directory_is_an_error_with_its_name),
	    cmocka_unit_test(a_file_closed_to_this_user_is_an_error_with_its_name),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
