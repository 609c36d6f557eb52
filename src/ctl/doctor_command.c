#include "ctl/doctor_command.h"

#include <sysexits.h>

#include "ctl/doctor.h"
#include "ctl/doctor_gather.h"

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

	struct build *build = doctor_look_at_program(&(struct errmsg){""});

	doctor_snippet(config, build, sendmail_mc, submit_mc);
	build_free(&build);
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
	int code;

	if (config == NULL)
		return command_fail(inv, EX_CONFIG, "%s", em.text);
	if (inv->snippet) {
		code = print_snippet(inv, config);
		config_free(&config);
		return code;
	}
	doctor_gather(config, &facts);
	code = examine(inv, &facts);
	doctor_forget(&facts);
	config_free(&config);
	return code;
}
