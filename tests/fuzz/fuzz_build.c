/* What a program in the place of Sendmail prints is read with an administrator's rights. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct build *b = build_parse(cursor_of(data, size), NULL);

	if (b == NULL)
		return 0;
	if (strlen(build_version(b)) >= BUILD_VERSION_MAX || build_has(b, " "))
		abort();
	(void)build_has(b, "SOCKETMAP");
	build_free(&b);
	return 0;
}
