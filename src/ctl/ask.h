/* ctl/ask.h: the commands that ask mtastsd over its control socket; mtasts-control(5). */
#ifndef CTL_ASK_H
#define CTL_ASK_H

#include "ctl/command.h"

/*
 * Hands over the entries that the daemon knows, page by page, in order of domain; a command's exit
 * code.
 */
typedef void ask_page_fn(
    const struct invocation *inv, const json_t *entries, bool first, void *arg);
int ask_list(const struct invocation *inv, ask_page_fn *page, void *arg);

command_fn command_query, command_list, command_refresh, command_forget, command_held,
    command_status;

#endif
