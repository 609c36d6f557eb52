#include "ctl/command.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int
command_fail(const struct invocation *inv, int code, const char *fmt, ...)
{
	va_list ap;

	fputs("mtastsctl: ", inv->err);
	va_start(ap, fmt);
	vfprintf(inv->err, fmt, ap);
	va_end(ap);
	fputc('\n', inv->err);
	return code;
}

int
command_print_json(const struct invocation *inv, json_t *object)
{
	if (object == NULL)
		return command_fail(inv, EX_OSERR, "out of memory");
	json_dumpf(object, inv->out, JSON_COMPACT);
	fputc('\n', inv->out);
	json_decref(object);
	return EX_OK;
}

json_t *
command_text(const char *text)
{
	json_t *string;
	char *copy;

	if (text == NULL)
		return json_null();
	if ((string = json_string(text)) != NULL || (copy = strdup(text)) == NULL)
		return string;
	for (char *p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

json_t *
command_texts(size_t n, char *const *text)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, command_text(text[i]));
	return array;
}
