/*
 * ctl/doctor_checks.h: the checks that doctor.c puts into order: of the .cf files (doctor_cf.c) and
 * of the host (doctor_host.c). True, or false and what was found instead.
 */
#ifndef CTL_DOCTOR_CHECKS_H
#define CTL_DOCTOR_CHECKS_H

#include "ctl/doctor.h"

typedef bool doctor_check_fn(const struct doctor_facts *facts, struct errmsg *found);

/* FEATURE(`mtasts', `live=none'): no mtastsd is wanted, cron does its work. */
bool doctor_without_daemon(const struct doctor_facts *facts);

doctor_check_fn check_cf_readable, check_submit_readable, check_rules_whole, check_maps_whole,
    check_map_agrees, check_live_agrees, check_milter_agrees, check_macros_sent, check_compat_first,
    check_rcpt_first, check_sni_sent, check_cache_off, check_cnames_kept, check_submit_cnames_kept,
    check_altnames_read, check_no_stock_sts, check_defined_once, check_names_fit,
    check_same_version, check_client_tls, check_queue_time, check_filter_time, check_nudges;

doctor_check_fn check_ca_set, check_run_as_reads, check_user_exists, check_map_dir_closed,
    check_map_closed, check_daemon_there, check_maps_in_step, check_enforcing, check_lookup_there,
    check_milter_there, check_release_there, check_build, check_build_enough, check_built,
    check_running, check_map_parents, check_socket_parents, check_clock, check_clock_kept,
    check_heartbeat, check_resolver, check_validation, check_dane, check_fetches, check_units;

#endif
