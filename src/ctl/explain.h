/* ctl/explain.h: `mtastsctl explain`: the story of a domain, or of a message in the queue. */
#ifndef CTL_EXPLAIN_H
#define CTL_EXPLAIN_H

#include "ctl/command.h"

command_fn command_explain;

#endif
