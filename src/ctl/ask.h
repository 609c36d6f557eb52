/* ctl/ask.h: the commands that ask mtastsd over its control socket; mtasts-control(5). */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include "ctl/command.h"

command_fn command_query, command_list, command_refresh, command_forget, command_held,
    command_status;

#endif
