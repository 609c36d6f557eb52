/* site/config.h: mtasts.conf, read by all programs. Errors name file and line. */
#ifndef SITE_CONFIG_H
#define SITE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "policy/choice.h"
#include "util/errmsg.h"

#define CONFIG_FILE SYSCONFDIR "/mtasts/mtasts.conf"

enum {
	AWAY_NEVER = -1, /* away_limit_s: unknown domains are never delivered unchecked */
	AWAY_KEEP = -2   /* in no file: this process answers nobody, the heartbeat is left alone */
};

/* What becomes of a message whose domains are not settled when its wait is over. */
enum config_hold {
	HOLD_QUEUE,     /* accepted; check_compat defers those recipients */
	HOLD_TEMPFAIL,  /* refused for now; the client keeps it */
	HOLD_QUARANTINE /* accepted into quarantine until they are; mtasts-release */
};

struct config_list {
	size_t n;
	char **item;
};

/* Where we listen, in the forms of site/sock.h. */
struct config_sockets {
	struct config_list listen;
	mode_t mode;
	char *owner, *group; /* NULL: those of the daemon */
};

struct config {
	char *user;   /* runs as, when started as root */
	bool observe; /* enforcement = observe */
	char *store_dir;
	size_t store_max_bytes;

	struct config_sockets control; /* one unix socket */
	struct config_sockets socketmap;

	struct config_list dns_servers;
	time_t dns_timeout_s;
	char *ca_file; /* NULL: the system's */
	time_t fetch_timeout_s;
	size_t discoveries_max; /* at once */

	char *map_path; /* the Sendmail policy map; NULL: off */
	size_t map_none_max;
	char *map_group;   /* of its directory and file: of the user that Sendmail reads it as */
	char *map_makemap; /* the program that makes the map; NULL: libdb */
	char *map_type;    /* of map: "hash", "btree" */
	char *access_path; /* the access fragment; NULL: off */

	time_t hold_max_s;
	time_t failed_check_s; /* between two looks at TXT while mail fails its checks */
	time_t away_limit_s;   /* or AWAY_NEVER, AWAY_KEEP */
	char *nudge_address;   /* host:port of the MTA for ETRN; NULL: off */
	size_t nudge_per_minute;

	struct rules *rules;  /* the `domain` sections, those of included files too */
	struct rules *chosen; /* the `rules` sections, by the keys of policy/choice.h */

	char *milter_socket; /* sock_parse() reads it, as all others */
	mode_t milter_mode;
	char *milter_owner, *milter_group; /* NULL: those of the milter */
	time_t milter_wait_s;              /* at end-of-message, 0..45 */
	enum config_hold milter_hold;
	char *milter_header; /* NULL: no tag */

	char *release_socket;             /* a unix socket */
	struct config_list release_queue; /* directories, with wildcards */
	char *release_sendmail;

	bool debug;
};

/* Reads a file; missing options have their defaults. NULL with "file:line: what; remedy". */
MUST_USE struct config *config_read(const char *path, struct errmsg *em);
void config_free(struct config **config); /* NULL-safe */

#endif
