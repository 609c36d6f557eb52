/* util/when.h: times and durations as people write them. */
#ifndef UTIL_WHEN_H
#define UTIL_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum { WHEN_DAY_S = 86400 };
enum { WHEN_RFC3339_MAX = sizeof("2026-01-31T12:00:00Z") };

/*
 * Reads a duration: a decimal number and a unit s, m, h, d or w; a bare number counts seconds
 * ("5s", "30m", "2h", "90"). False (seconds untouched) for anything else and for more than 100
 * years.
 */
bool when_parse_duration(const char *text, time_t *seconds);

/* Writes a time of the years 0 to 9999 as RFC 3339, "2026-01-31T12:00:00Z"; returns out. */
char *when_print(time_t t, char out[WHEN_RFC3339_MAX]);

/* Milliseconds of a clock that nobody sets, for time-outs. */
long when_monotonic_ms(void);

#endif
