/* A sendmail.cf is read with an administrator's rights: any bytes must be survived. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cf.h"
#include "ctl/doctor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All that the doctor makes of it: judged as both files, and printed. */
static void
examine(struct cf *cf)
{
	static char user[] = "mtasts", path[] = "/m/policy", live[] = "unix:/l",
		    milter[] = "unix:/m", group[] = "root", type[] = "hash";
	char *listen[] = {live};
	const struct config config = {.user = user,
	    .map_path = path,
	    .map_group = group,
	    .map_type = type,
	    .socketmap = {.listen = {1, listen}},
	    .milter_socket = milter,
	    .nudge_address = path,
	    .hold_max_s = 1800};
	const struct doctor_facts facts = {
	    .config = &config, .cf_path = "c", .submit_path = "s", .cf = cf, .submit = cf};
	struct doctor_finding f[DOCTOR_MAX];
	size_t n = doctor_examine(&facts, f);

	for (size_t i = 0; i < n; i++)
		if (strlen(f[i].found.text) >= sizeof(f[i].found.text) ||
		    strlen(f[i].remedy) >= sizeof(f[i].remedy))
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errmsg em;
	struct cf *cf = cf_parse(cursor_of(data, size), &em);
	const char *value;
	char text[64];

	if (cf == NULL)
		return 0;
	(void)cf_option_true(cf, "DontExpandCnames");
	for (size_t at = 0; (value = cf_next_option(cf, "DaemonPortOptions", &at)) != NULL;)
		(void)cf_equate(value, 'I', text, sizeof(text));
	if ((value = cf_map(cf, "mtasts")) != NULL) {
		(void)cf_map_flag(value, 'o');
		if (cf_map_file(value, text, sizeof(text)) && strlen(text) >= sizeof(text))
			abort();
	}
	if ((value = cf_milter(cf, "mtasts")) != NULL) {
		if (cf_equate(value, 'S', text, sizeof(text)) && strlen(text) >= sizeof(text))
			abort();
		(void)cf_list_has(value, "mtasts");
	}
	for (size_t at = 0; (value = cf_next_rule(cf, "check_compat", &at)) != NULL;)
		if (strpbrk(value, "\t\n") != NULL)
			abort();
	examine(cf);
	cf_free(&cf);
	return 0;
}
