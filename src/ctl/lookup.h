/*
 * ctl/lookup.h: one live lookup, as Sendmail's socket map does it, for a Sendmail built without
 * SOCKETMAP: its program map runs `mtastsctl lookup -- KEY`; mtasts-control(5).
 */
#ifndef CTL_LOOKUP_H
#define CTL_LOOKUP_H

#include "ctl/command.h"

command_fn command_lookup;

#endif
