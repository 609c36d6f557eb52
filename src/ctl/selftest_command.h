/* ctl/selftest_command.h: `mtastsctl selftest`: does this host enforce? Mail through its Sendmail to
 * hosts that are right and wrong. */
#ifndef CTL_SELFTEST_COMMAND_H
#define CTL_SELFTEST_COMMAND_H

#include "ctl/command.h"

command_fn command_selftest;

#endif
