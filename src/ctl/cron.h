/* ctl/cron.h: `mtastsctl refresh --once`: finds the domains, and has mtastsd --once do the rest. */
#ifndef CTL_CRON_H
#define CTL_CRON_H

#include "ctl/command.h"

/* Does not return when all went well: this process becomes mtastsd. */
command_fn command_refresh_once;

#endif
