/* ctl/check_command.h: `mtastsctl check`: which domains, how it is told, and the exit code. */
#ifndef CTL_CHECK_COMMAND_H
#define CTL_CHECK_COMMAND_H

#include "ctl/command.h"

command_fn command_check;

#endif
