/* ctl/check_show.h: a check of a domain, for people and for scripts. */
#ifndef CTL_CHECK_SHOW_H
#define CTL_CHECK_SHOW_H

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include <jansson.h>

#include "ctl/check.h"
#include "ctl/survey.h"

/* All that was seen, and the verdict. */
void check_show(FILE *out, bool colour, const struct survey_domain *d, const struct check *c,
    const struct check_site *site, time_t now);

/* A line of a table. */
void check_show_head(FILE *out);
void check_show_line(FILE *out, bool colour, const struct survey_domain *d, const struct check *c);

/* One object; mtastsctl(8) tells its members. NULL: out of memory. */
json_t *check_json(const struct survey_domain *d, const struct check *c,
    const struct check_site *site, time_t now);

#endif
