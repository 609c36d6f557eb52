/*
 * ctl/survey.h: looks, live, at all that lies between this host and the mailboxes of a domain: TXT
 * record, policy host, MX records, each address of each MX host. Gathers and judges nothing; the
 * loop is its own.
 */
#ifndef CTL_SURVEY_H
#define CTL_SURVEY_H

#include <stdbool.h>
#include <stddef.h>

#include "discover/cert.h"
#include "discover/dns.h"
#include "discover/probe.h"
#include "policy/entry.h"
#include "policy/policy.h"
#include "util/errmsg.h"

struct survey_config {
	struct dns_config dns;
	const char *ca_file; /* NULL: the system's bundle */
	int timeout_s;       /* of the policy's fetch, and of each MX session */
	const char *helo;
};

/* An MX host; domains may share it, and it is asked once. */
struct survey_host {
	char name[HOST_MAX + 1]; /* first: util/tree.h */
	struct dns_address_answer addresses;
	struct dns_tlsa_answer tlsa;
	struct probe_answer *probe; /* one for each address */
	/* of survey.c alone: */
	struct survey_host *next_queued, *next;
	size_t begun, done; /* probes */
	unsigned lookups;   /* outstanding */
};

struct survey_domain {
	char name[DOMAIN_MAX + 1];
	struct dns_txt_answer txt;
	struct dns_mx_answer mx;
	struct dns_tlsrpt_answer tlsrpt;

	bool fetched; /* the policy host was asked, as TXT has a record; then: */
	enum sts_type fetch_type;
	struct errmsg fetch_why;
	struct dns_address_answer policy_addresses;
	bool has_cert;
	struct cert policy_cert;
	struct policy *policy;    /* NULL: none that is valid */
	struct findings findings; /* of a body that came whole */

	size_t n_hosts; /* in order of preference; as mx.mx[], or the domain itself */
	const struct survey_host *host[DNS_MX_MAX];
};

/*
 * Called for each domain, in the order in which they were given, as soon as it and all before it
 * are done. d is borrowed for the call.
 */
typedef void survey_done_cb(const struct survey_domain *d, void *arg);

/* Called ten times a second: domains done, and one thing that is waited for. */
typedef void survey_progress_cb(size_t done, const char *waits_for, void *arg);

struct survey_callbacks {
	survey_done_cb *done;
	survey_progress_cb *progress; /* or NULL */
	void *arg;
};

/*
 * Surveys n normalised domains, several at once; returns when all are done. False with a reason
 * when it cannot begin: no DNS server, no CA certificates. When memory is out the process ends.
 * SIGPIPE must be ignored.
 */
MUST_USE bool survey_run(const struct survey_config *config, size_t n, const char *const *domains,
    const struct survey_callbacks *callbacks, struct errmsg *em);

#endif
