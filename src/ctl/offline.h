/* ctl/offline.h: the commands that need no daemon. */
#ifndef CTL_OFFLINE_H
#define CTL_OFFLINE_H

#include "ctl/command.h"

command_fn command_parse_record, command_lint, command_match;

#endif
