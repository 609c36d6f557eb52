/* ctl/output.h: what a program prints, bounded in size and time. */
#ifndef CTL_OUTPUT_H
#define CTL_OUTPUT_H

#include <stdbool.h>

#include "ctl/input.h"

/*
 * Runs a program with an empty input and takes up to max bytes of its standard output; one that goes
 * on for longer than timeout_ms is killed. Its exit status does not count.
 *   out  the caller frees it with input_clear(); set when the result is true
 */
MUST_USE bool output_of(
    const char *const *argv, size_t max, int timeout_ms, struct input *out, struct errmsg *em);

#endif
