/* A sendmail.cf is read with an administrator's rights: any bytes must be survived. */
#include <stddef.h>
#include <stdint.h>

#include "ctl/cf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errmsg em;
	struct cf *cf = cf_parse(cursor_of(data, size), &em);
	const char *milter;
	char socket[64];

	if (cf == NULL)
		return 0;
	(void)cf_option_true(cf, "DontExpandCnames");
	(void)cf_map(cf, "mtasts");
	if ((milter = cf_milter(cf, "mtasts")) != NULL) {
		(void)cf_equate(milter, 'S', socket, sizeof(socket));
		(void)cf_list_has(milter, "mtasts");
	}
	for (size_t i = 0; cf_rule(cf, "check_compat", i) != NULL; i++)
		;
	cf_free(&cf);
	return 0;
}
