#include "util/errmsg.h"

#include <stdarg.h>
#include <stdio.h>

void
errmsg_set(struct errmsg *em, const char *fmt, ...)
{
	char text[ERRMSG_MAX]; /* an argument may be em->text itself */
	va_list ap;
	size_t i;

	if (em == NULL)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (i = 0; text[i] != '\0'; i++)
		em->text[i] = text[i] < 0x20 || text[i] >= 0x7f ? '?' : text[i];
	em->text[i] = '\0';
}
