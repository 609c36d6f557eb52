/*
 * maps/access.h: TLS_Rcpt: lines as a text fragment that the administrator's own access build
 * includes. Off by default. What this form cannot check (the MX pattern, SNI, SAN beyond the CN
 * rules) is told in mtasts.conf(5).
 *
 * The fragment, a whole new file at each commit:
 *     # mtastsd: ...                        the first line
 *     # until 1800000000                    epoch seconds; belongs to the next line
 *     TLS_Rcpt:good.test<TAB>TEMP+...       sorted by domain; in observe mode behind a '#'
 *     # end                                 the last line: without it the file is not whole
 * Its lines have no patterns, so nothing is imported from it: access_open()'s repair takes all from
 * the truth.
 */
#ifndef MAPS_ACCESS_H
#define MAPS_ACCESS_H

#include "maps/sink.h"

struct access_config {
	const char *path;    /* the fragment; replaced by rename(), as nobody keeps it open */
	const char *require; /* right-hand side; NULL: ACCESS_REQUIRE */
};

/*
 * The strictest that stock rules check per recipient: a chain to a trusted CA, 128 bits, and the
 * server's name in the CN (with FEATURE(`check_cert_altnames') in SAN or CN). A failure is
 * temporary, so that mail waits and does not bounce.
 */
#define ACCESS_REQUIRE "TEMP+VERIFY:128+CN"

/*
 * NULL: em has the remedy. The file may be absent: verify then says DAMAGED, and repair makes it.
 */
MUST_USE struct sink *access_open(const struct access_config *config, struct errmsg *em);

#endif
