#include "ctl/doctor_command.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "ctl/doctor.h"
#include "ctl/mta.h"
#include "site/client.h"
#include "site/sock.h"
#include "util/ascii.h"

enum { DAEMON_WAIT_MS = 5000 };

static struct doctor_file
look_at(const char *path)
{
	struct stat st;

	if (path == NULL || stat(path, &st) != 0)
		return (struct doctor_file){.error = path == NULL ? ENOENT : errno};
	return (struct doctor_file){0, st.st_mode, st.st_uid, st.st_gid};
}

static void
look_at_map(struct doctor_facts *facts)
{
	char file[PATH_MAX], dir[PATH_MAX];
	const struct passwd *pw = getpwnam(facts->config->user);

	facts->map_uid = pw != NULL ? pw->pw_uid : (uid_t)-1;
	facts->map = facts->map_dir = look_at(NULL);
	if (facts->config->map_path == NULL ||
	    !doctor_map_file(facts->config->map_path, file, sizeof(file)))
		return;
	facts->map = look_at(file);
	memcpy(dir, file, sizeof(dir));
	facts->map_dir = look_at(dirname(dir));
}

/* The uid or gid that a number or a name stands for; -1: none. */
static id_t
id_of(const char *text, bool group)
{
	const struct passwd *pw = group ? NULL : getpwnam(text);
	const struct group *gr = group ? getgrnam(text) : NULL;

	if (ascii_digit((unsigned char)*text))
		return (id_t)strtoul(text, NULL, 10);
	return pw != NULL ? pw->pw_uid : gr != NULL ? gr->gr_gid : (id_t)-1;
}

/* "user", or "user:group" with '.' or '/' for the ':' as well; without a group it is the user's. */
static void
look_at_run_as(struct doctor_facts *facts)
{
	const char *value = facts->cf != NULL ? cf_option(facts->cf, "RunAsUser") : NULL;
	const struct passwd *pw;
	char user[128];
	size_t len;

	facts->run_as_uid = (uid_t)-1;
	facts->run_as_gid = (gid_t)-1;
	if (value == NULL)
		return;
	len = strcspn(value, ":./");
	snprintf(user, sizeof(user), "%.*s", (int)len, value);
	facts->run_as_uid = id_of(user, false);
	if (value[len] != '\0')
		facts->run_as_gid = id_of(value + len + 1, true);
	else if ((pw = getpwnam(user)) != NULL)
		facts->run_as_gid = pw->pw_gid;
}

/* What a status answer tells of the maps; mtasts-control(5). */
static void
note_status(const json_t *status, struct doctor_facts *facts)
{
	const char *enforcement = json_string_value(json_object_get(status, "enforcement"));
	const json_t *map;
	size_t i;

	facts->daemon_observes = enforcement != NULL && strcmp(enforcement, "observe") == 0;
	facts->maps_agree = json_is_true(json_object_get(status, "ready"));
	errmsg_set(&facts->maps_error, "not ready: the maps do not agree with the store yet");
	json_array_foreach (json_object_get(status, "maps"), i, map) {
		const char *path = json_string_value(json_object_get(map, "path")),
			   *state = json_string_value(json_object_get(map, "state")),
			   *error = json_string_value(json_object_get(map, "error"));

		if (state != NULL && strcmp(state, "ready") == 0 && error == NULL)
			continue;
		facts->maps_agree = false;
		errmsg_set(&facts->maps_error, "map %s is %s%s%s", path != NULL ? path : "?",
		    state != NULL ? state : "?", error != NULL ? ": " : "",
		    error != NULL ? error : "");
	}
}

/* A status answer is the proof that it is mtastsd, and that it is alive. */
static void
ask_daemon(struct doctor_facts *facts)
{
	struct errmsg *em = &facts->daemon_error;
	struct client *client = client_open(facts->config->control.listen.item[0], em);
	json_t *request, *answer = NULL;

	if (client == NULL)
		return;
	request = json_pack("{s:s}", "cmd", "status");
	if (client_send(client, request, em) == CLIENT_OK &&
	    client_wait(client, DAEMON_WAIT_MS, &answer, em) == CLIENT_AGAIN)
		errmsg_set(em, "no answer within %d s", DAEMON_WAIT_MS / 1000);
	facts->daemon_answers = json_is_boolean(json_object_get(answer, "ready"));
	if (facts->daemon_answers)
		note_status(answer, facts);
	else if (answer != NULL)
		errmsg_set(em, "what listens there is not mtastsd");
	client_close(&client);
	json_decref(request);
	json_decref(answer);
}

/* Being able to connect is all that is seen without a message. */
static bool
takes_connections(const char *address, struct errmsg *em)
{
	int fd = sock_connect(address, em);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void
look_at_sockets(struct doctor_facts *facts)
{
	const struct config *config = facts->config;

	ask_daemon(facts);
	if (config->socketmap.listen.n > 0)
		facts->lookup_answers =
		    takes_connections(config->socketmap.listen.item[0], &facts->lookup_error);
	else
		errmsg_set(&facts->lookup_error, "mtasts.conf has no socketmap socket");
	facts->milter_answers = takes_connections(config->milter_socket, &facts->milter_error);
}

static json_t *
finding_json(const struct doctor_finding *f)
{
	bool silent = f->found.text[0] == '\0';

	return json_pack("{s:s, s:s, s:b, s:o, s:o}", "check", f->check, "what", f->what, "ok",
	    f->ok, "found", command_text(silent ? NULL : f->found.text), "remedy",
	    command_text(silent ? NULL : f->remedy));
}

/* The lines of a remedy stand below each other, whole, so that they can be copied. */
static void
print_finding(FILE *out, const struct doctor_finding *f)
{
	const char *rest = f->remedy;
	bool silent = f->found.text[0] == '\0';

	fprintf(out, "%-8s%s\n", silent ? "ok" : f->ok ? "note" : "MISSING", f->what);
	if (silent)
		return;
	fprintf(out, "        found:  %s\n        remedy: ", f->found.text);
	for (size_t n; *rest != '\0'; rest += n + (rest[n] != '\0')) {
		n = strcspn(rest, "\n");
		fprintf(out, "%s%.*s\n", rest == f->remedy ? "" : "                ", (int)n, rest);
	}
}

static void
print_findings(const struct invocation *inv, const struct doctor_finding *f, size_t n, size_t bad)
{
	if (inv->json) {
		json_t *array = json_array();

		for (size_t i = 0; i < n; i++)
			json_array_append_new(array, finding_json(&f[i]));
		command_print_json(inv, json_pack("{s:b, s:o}", "ok", bad == 0, "checks", array));
		return;
	}
	for (size_t i = 0; i < n; i++)
		print_finding(inv->out, &f[i]);
	fprintf(inv->out, "%zu checks, %zu to mend\n", n, bad);
}

static int
examine(const struct invocation *inv, const struct doctor_facts *facts)
{
	struct doctor_finding findings[DOCTOR_MAX];
	size_t n = doctor_examine(facts, findings), bad = 0;

	for (size_t i = 0; i < n; i++)
		bad += !findings[i].ok;
	print_findings(inv, findings, n, bad);
	return bad == 0 ? EX_OK : EX_CONFIG;
}

/* Comments for m4 say where each line belongs, so that the whole may be pasted. */
static int
print_snippet(const struct invocation *inv, const struct config *config)
{
	char sendmail_mc[DOCTOR_REMEDY_MAX], submit_mc[DOCTOR_REMEDY_MAX];

	doctor_snippet(config, sendmail_mc, submit_mc);
	if (inv->json)
		return command_print_json(
		    inv, json_pack("{s:o, s:o}", "sendmail_mc", command_text(sendmail_mc),
			     "submit_mc", command_text(submit_mc)));
	fprintf(inv->out,
	    "dnl in sendmail.mc, before the MAILER lines:\n%s\n"
	    "dnl in submit.mc, before the line of FEATURE(msp):\n%s\n",
	    sendmail_mc, submit_mc);
	return EX_OK;
}

int
command_doctor(const struct invocation *inv)
{
	struct doctor_facts facts = {
	    .cf_path = inv->cf_path != NULL ? inv->cf_path : MTA_CF,
	    .submit_path = inv->submit_path != NULL ? inv->submit_path : MTA_SUBMIT_CF,
	};
	struct errmsg em;
	struct config *config = config_read(inv->conf, &em);
	struct cf *cf, *submit;
	int code;

	if (config == NULL)
		return command_fail(inv, EX_CONFIG, "%s", em.text);
	if (inv->snippet) {
		code = print_snippet(inv, config);
		config_free(&config);
		return code;
	}
	facts.config = config;
	facts.cf = cf = mta_read_cf(facts.cf_path, &facts.cf_error);
	facts.submit = submit = mta_read_cf(facts.submit_path, &facts.submit_error);
	look_at_map(&facts);
	facts.ca_file = look_at(cf != NULL ? cf_option(cf, "CACertFile") : NULL);
	facts.ca_path = look_at(cf != NULL ? cf_option(cf, "CACertPath") : NULL);
	look_at_run_as(&facts);
	look_at_sockets(&facts);
	code = examine(inv, &facts);
	cf_free(&submit);
	cf_free(&cf);
	config_free(&config);
	return code;
}
