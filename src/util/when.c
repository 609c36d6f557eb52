#include "util/when.h"

#include <stdint.h>

#include "util/ascii.h"

static const time_t duration_max_s = (time_t)100 * 365 * WHEN_DAY_S;

static time_t
unit_s(const char *unit)
{
	static const struct {
		char name;
		time_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', WHEN_DAY_S}, {'w', 7 * WHEN_DAY_S}};

	if (unit[0] == '\0')
		return 1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (unit[0] == units[i].name && unit[1] == '\0')
			return units[i].seconds;
	return 0;
}

bool
when_parse_duration(const char *text, time_t *seconds)
{
	time_t n = 0, unit;
	const char *p = text;

	for (; ascii_digit((unsigned char)*p); p++) {
		n = n * 10 + (*p - '0');
		if (n > duration_max_s)
			return false;
	}
	unit = unit_s(p);
	if (p == text || unit == 0 || n > duration_max_s / unit)
		return false;
	*seconds = n * unit;
	return true;
}

char *
when_print(time_t t, char out[WHEN_RFC3339_MAX])
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, WHEN_RFC3339_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

long
when_monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
