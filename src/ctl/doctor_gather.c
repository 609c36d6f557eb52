#include "ctl/doctor_gather.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "ctl/output.h"
#include "ctl/peers.h"
#include "site/client.h"
#include "site/sock.h"
#include "util/ascii.h"

enum {
	DAEMON_WAIT_MS = 5000,
	PROGRAM_WAIT_MS = 20000, /* Sendmail looks its own names up in DNS */
	UNIT_BYTES_MAX = 256,
	CA_BYTES_MAX = 16 * 1024 * 1024
};

static struct doctor_file
look_at(const char *path)
{
	struct stat st;

	if (path == NULL || stat(path, &st) != 0)
		return (struct doctor_file){.error = path == NULL ? ENOENT : errno};
	return (struct doctor_file){0, st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime};
}

static void
look_at_map(struct doctor_facts *facts)
{
	char file[PATH_MAX], dir[PATH_MAX];
	const struct passwd *pw = getpwnam(facts->config->user);
	const struct group *gr = getgrnam(facts->config->map_group);

	facts->map_gid = gr != NULL ? gr->gr_gid : (gid_t)-1;
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
	const char *alive = json_string_value(json_object_get(status, "alive_until"));
	const json_t *map;
	size_t i;

	struct tm tm = {.tm_sec = 0};

	if (alive != NULL && strptime(alive, "%Y-%m-%dT%H:%M:%SZ", &tm) != NULL)
		facts->alive_until = timegm(&tm);
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

/* The answer to a request; NULL with a reason. */
static json_t *
ask(struct client *client, json_t *request, struct errmsg *em)
{
	json_t *answer = NULL;

	if (client_send(client, request, em) == CLIENT_OK &&
	    client_wait(client, DAEMON_WAIT_MS, &answer, em) == CLIENT_AGAIN)
		errmsg_set(em, "no answer within %d s", DAEMON_WAIT_MS / 1000);
	json_decref(request);
	return answer;
}

/*
 * Policies that came, and those that did not, tell whether policy hosts can be reached. Times of one
 * form compare as texts.
 */
static void
note_fetches(const json_t *entries, struct doctor_facts *facts)
{
	const char *fetched = "", *failed = "", *reason = "";
	const json_t *entry;
	size_t i;

	json_array_foreach (entries, i, entry) {
		const char *at = json_string_value(json_object_get(entry, "fetched"));
		const json_t *failure = json_object_get(entry, "failure");
		const char *when = json_string_value(json_object_get(failure, "at")),
			   *type = json_string_value(json_object_get(failure, "type"));

		if (at != NULL && strcmp(at, fetched) > 0)
			fetched = at;
		if (when == NULL || type == NULL || strcmp(type, "sts-policy-fetch-error") != 0 ||
		    strcmp(when, failed) <= 0)
			continue;
		failed = when;
		reason = json_string_value(json_object_get(failure, "reason"));
	}
	if (failed[0] != '\0' && strcmp(failed, fetched) > 0)
		errmsg_set(&facts->fetch_error,
		    "no policy has been fetched since %s; the last failure: %s", failed,
		    reason != NULL ? reason : "");
}

/* A status answer is the proof that it is mtastsd, and that it is alive. */
static void
ask_daemon(struct doctor_facts *facts)
{
	struct errmsg *em = &facts->daemon_error;
	struct client *client = client_open(facts->config->control.listen.item[0], em);
	json_t *answer;

	if (client == NULL)
		return;
	answer = ask(client, json_pack("{s:s}", "cmd", "status"), em);
	facts->daemon_answers = json_is_boolean(json_object_get(answer, "ready"));
	if (facts->daemon_answers)
		note_status(answer, facts);
	else if (answer != NULL)
		errmsg_set(em, "what listens there is not mtastsd");
	json_decref(answer);
	if (facts->daemon_answers) {
		answer = ask(client, json_pack("{s:s}", "cmd", "list"), em);
		note_fetches(json_object_get(answer, "entries"), facts);
		json_decref(answer);
	}
	client_close(&client);
}

static bool
connects(const char *address, struct errmsg *em)
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
		    peer_is_lookup(config->socketmap.listen.item[0], &facts->lookup_error);
	else
		errmsg_set(&facts->lookup_error, "mtasts.conf has no socketmap socket");
	facts->milter_answers = peer_is_filter(config->milter_socket, &facts->milter_error);
	if (config->milter_hold == HOLD_QUARANTINE)
		facts->release_answers = connects(config->release_socket, &facts->release_error);
}

struct build *
doctor_look_at_program(struct errmsg *em)
{
	const char *program = mta_program();
	const char *const argv[] = {program, "-d0.13", "-bt", NULL};
	struct input output;
	struct errmsg why;
	struct build *build;

	if (program == NULL) {
		errmsg_set(em, "no program sendmail");
		return NULL;
	}
	if (!output_of(argv, BUILD_BYTES_MAX, PROGRAM_WAIT_MS, &output, em))
		return NULL;
	if ((build = build_parse(input_cursor(&output), &why)) == NULL)
		errmsg_set(em, "%s: %s", program, why.text);
	input_clear(&output);
	return build;
}

/* "/etc/mail/sendmail.mc" beside "/etc/mail/sendmail.cf". */
static struct doctor_file
look_at_mc(const char *cf_path)
{
	char path[PATH_MAX];
	size_t len = strlen(cf_path);

	if (len < 3 || len >= sizeof(path) || strcmp(cf_path + len - 3, ".cf") != 0)
		return look_at(NULL);
	memcpy(path, cf_path, len + 1);
	path[len - 2] = 'm';
	path[len - 1] = 'c';
	return look_at(path);
}

/*
 * Sendmail uses no map and no socket below a directory that its group or others may write to, unless
 * it is sticky. The first such one above path, or NULL.
 */
static char *
find_open_parent(const char *path)
{
	char dir[PATH_MAX];
	struct stat st;

	if (path == NULL || strlen(path) >= sizeof(dir))
		return NULL;
	strcpy(dir, path);
	for (char *slash; (slash = strrchr(dir, '/')) != NULL;) {
		slash[slash == dir] = '\0'; /* "/" stays */
		if (stat(dir, &st) == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) != 0 &&
		    (st.st_mode & S_ISVTX) == 0)
			return strdup(dir);
		if (slash == dir)
			break;
	}
	return NULL;
}

/* NULL for TCP as well. */
static char *
find_open_socket_parent(const char *address)
{
	return address != NULL ? find_open_parent(strchr(address, '/')) : NULL;
}

static bool
has_certificates(const char *path)
{
	static const char mark[] = "-----BEGIN CERTIFICATE-----";
	struct input input;
	bool has;

	if (path == NULL || input_read(path, stdin, CA_BYTES_MAX, &input, NULL) != INPUT_OK)
		return false;
	has = input.len > 0 && memmem(input.bytes, input.len, mark, strlen(mark)) != NULL;
	input_clear(&input);
	return has;
}

static void
look_at_clock(struct doctor_facts *facts)
{
	struct timex clock = {.modes = 0};
	int state = adjtimex(&clock);

	facts->now = time(NULL);
	facts->clock_synchronized = state != -1 && state != TIME_ERROR;
}

static bool
ask_resolver(struct doctor_facts *facts, const char *server)
{
	struct errmsg why;

	facts->resolver_answers =
	    peer_is_resolver(server, &facts->resolver_validates, &facts->resolver_is_local, &why);
	snprintf(facts->resolver, sizeof(facts->resolver), "%s", server);
	if (!facts->resolver_answers)
		errmsg_set(&facts->resolver_error, "DNS server %s: %s", server, why.text);
	return facts->resolver_answers;
}

/* Those of mtasts.conf, or the system's; the first that answers is what counts. */
static void
look_at_resolvers(struct doctor_facts *facts)
{
	const struct config_list *servers = &facts->config->dns_servers;
	char line[256], server[DOCTOR_SERVER_MAX];
	bool any = false;
	FILE *f;

	for (size_t i = 0; i < servers->n; i++)
		if (ask_resolver(facts, servers->item[i]))
			return;
	if (servers->n > 0)
		return;
	f = fopen("/etc/resolv.conf", "re");
	while (f != NULL && !facts->resolver_answers && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, " nameserver %63s", server) == 1) {
			any = true;
			(void)ask_resolver(facts, server);
		}
	if (f != NULL)
		fclose(f);
	if (!any)
		(void)ask_resolver(facts, "127.0.0.1");
}

static void
look_at_unit(struct doctor_facts *facts, const char *unit)
{
	static const char *const wanted[][2] = {{"is-enabled", "enabled"}, {"is-active", "active"}};
	struct input output;

	for (size_t i = 0; i < 2; i++) {
		const char *const argv[] = {"systemctl", wanted[i][0], unit, NULL};

		if (!output_of(argv, UNIT_BYTES_MAX, PROGRAM_WAIT_MS, &output, &facts->unit))
			return;
		if (output.len < strlen(wanted[i][1]) ||
		    memcmp(output.bytes, wanted[i][1], strlen(wanted[i][1])) != 0)
			errmsg_set(&facts->unit, "%s is not %s", unit, wanted[i][1]);
		input_clear(&output);
	}
}

/* Where systemd runs, what does not start with the host is gone after its next start. */
static void
look_at_units(struct doctor_facts *facts)
{
	if (access("/run/systemd/system", F_OK) != 0)
		return;
	look_at_unit(facts, "mtasts-milter.service");
	look_at_unit(facts, "mtastsd.service");
}

void
doctor_gather(const struct config *config, struct doctor_facts *facts)
{
	struct cf *cf;

	facts->config = config;
	facts->cf = cf = mta_read_cf(facts->cf_path, &facts->cf_error);
	facts->submit = mta_read_cf(facts->submit_path, &facts->submit_error);
	facts->cf_file = look_at(facts->cf_path);
	facts->mc_file = look_at_mc(facts->cf_path);
	facts->submit_file = look_at(facts->submit_path);
	facts->submit_mc_file = look_at_mc(facts->submit_path);
	look_at_clock(facts);
	look_at_map(facts);
	facts->map_parent = find_open_parent(config->map_path);
	facts->socket_parent = find_open_socket_parent(config->milter_socket);
	if (facts->socket_parent == NULL && config->socketmap.listen.n > 0)
		facts->socket_parent = find_open_socket_parent(config->socketmap.listen.item[0]);
	facts->ca_file = look_at(cf != NULL ? cf_option(cf, "CACertFile") : NULL);
	facts->ca_path = look_at(cf != NULL ? cf_option(cf, "CACertPath") : NULL);
	facts->ca_has_certificates =
	    has_certificates(cf != NULL ? cf_option(cf, "CACertFile") : NULL);
	facts->ca_parent = find_open_parent(cf != NULL ? cf_option(cf, "CACertFile") : NULL);
	facts->build = doctor_look_at_program(&facts->build_error);
	facts->mta_runs = cf != NULL && mta_daemon(cf, &facts->mta, &facts->mta_error);
	look_at_run_as(facts);
	look_at_sockets(facts);
	look_at_resolvers(facts);
	look_at_units(facts);
}

void
doctor_forget(struct doctor_facts *facts)
{
	cf_free(&facts->cf);
	cf_free(&facts->submit);
	build_free(&facts->build);
	free(facts->map_parent);
	free(facts->socket_parent);
	free(facts->ca_parent);
}
