#include "milter/filter.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <libmilter/mfapi.h>

#include "milter/message.h"
#include "milter/outbound.h"
#include "milter/quarantine.h"
#include "milter/spare.h"
#include "site/reason.h"
#include "site/sock.h"
#include "util/log.h"
#include "util/when.h"

enum {
	ANSWER_MS = 100, /* mtastsd tells at once what it knows */
	STOP_MS = 2000,  /* for messages at their end when we stop */
	PROGRESS_MS =
	    4000 /* between two signs of life; an MTA waits for 10 s, by FEATURE(`mtasts') 20 s */
};

static const struct config *cf;
static atomic_int ending; /* messages in xxfi_eom */
static sfsistat go_on;    /* to RCPT: no reply of ours, unless some may be refused there */

/* --- one message: kept with libmilter's context, thrown away at its end --- */

static struct message *
current(SMFICTX *ctx)
{
	return smfi_getpriv(ctx);
}

static void
drop(SMFICTX *ctx)
{
	struct message *m = current(ctx);

	message_free(&m);
	smfi_setpriv(ctx, NULL);
}

static char *
macro(SMFICTX *ctx, const char *name)
{
	return smfi_getsymval(ctx, (char *)(uintptr_t)name); /* libmilter does not write to it */
}

/* MAIL, header and mostly RCPT get no reply of ours: SMFIP_NR_*. Without a message all goes unseen. */
static sfsistat
on_mail(SMFICTX *ctx, char **argv UNUSED)
{
	struct message *m;

	drop(ctx);
	m = message_new(cf->control.listen.item[0], cf->milter_header);
	if (m == NULL)
		log_line(LOG_ERR, "out of memory: a message goes through unseen and untagged");
	else if (smfi_setpriv(ctx, m) != MI_SUCCESS)
		message_free(&m);
	else
		message_from(
		    m, macro(ctx, "{auth_authen}"), macro(ctx, "f"), macro(ctx, "{daemon_name}"));
	return SMFIS_NOREPLY;
}

static void
log_unknown(const char *why)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&said))
		log_line(LOG_ERR,
		    "%s; add them to confMILTER_MACROS_ENVRCPT. Until then mail is not tagged and "
		    "waits in the queue instead of here. Said once",
		    why);
}

/* In the configuration that we started with; what counts now, mtastsd tells. */
static bool
has_rule(enum rule want)
{
	const struct rules *all[] = {cf->rules, cf->chosen};
	enum rule rule;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (size_t j = 0; j < rules_count(all[i]); j++) {
			(void)rules_pattern(all[i], j, &rule);
			if (rule == want)
				return true;
		}
	return false;
}

/* Whether a rule may refuse a recipient here, instead of a bounce later. */
static bool
refuses(enum rule rule)
{
	return rule == RULE_REFUSE || (rule == RULE_HOLD && cf->milter_hold == HOLD_TEMPFAIL);
}

/* A site that requires a policy tells the client at once when it is known that there is none. */
static sfsistat
judge(SMFICTX *ctx, struct message *m, const char *domain)
{
	char text[DOMAIN_MAX + 96];
	enum rule rule;
	bool for_good;

	if (go_on == SMFIS_NOREPLY || !message_unmet(m, domain, ANSWER_MS, &rule) || !refuses(rule))
		return go_on;
	for_good = rule == RULE_REFUSE;
	snprintf(text, sizeof(text),
	    "mtasts: this site requires an MTA-STS policy, and %s has none that is valid", domain);
	if (smfi_setreply(ctx, for_good ? (char[]){"550"} : (char[]){"450"},
		for_good ? (char[]){"5.7.1"} : (char[]){"4.7.1"}, text) != MI_SUCCESS)
		log_line(LOG_ERR, "libmilter does not take the reply \"%s\"", text);
	message_refused(m);
	log_line(LOG_INFO, "qid=%s domain=%s refused=%s", message_qid(m), domain,
	    for_good ? "5.7.1" : "4.7.1");
	return for_good ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}

static sfsistat
on_rcpt(SMFICTX *ctx, char **argv)
{
	struct message *m = current(ctx);
	struct outbound_rcpt rcpt = {
	    .mailer = macro(ctx, "{rcpt_mailer}"),
	    .host = macro(ctx, "{rcpt_host}"),
	    .addr = macro(ctx, "{rcpt_addr}"),
	};
	char domain[DOMAIN_MAX + 1];
	struct errmsg why = {""};

	if (m == NULL)
		return go_on;
	message_queue_id(m, macro(ctx, "i"));
	switch (outbound_domain(&rcpt, domain, &why)) {
	case OUTBOUND_YES:
		message_rcpt(m, domain, rcpt.addr);
		return judge(ctx, m, domain);
	case OUTBOUND_NO:
		log_line(LOG_DEBUG, "rcpt=%s no policy to ask for: %s", argv[0], why.text);
		break;
	case OUTBOUND_UNKNOWN:
		log_unknown(why.text);
		break;
	}
	return go_on;
}

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
	struct message *m = current(ctx);

	if (m != NULL)
		message_header(m, name, value);
	return SMFIS_NOREPLY;
}

struct patience {
	SMFICTX *ctx;
	long next_progress; /* when_monotonic_ms() */
};

static bool
on_waiting(void *arg)
{
	struct patience *p = arg;
	long now = when_monotonic_ms();

	spare_worker();
	if (now < p->next_progress)
		return true;
	p->next_progress = now + PROGRESS_MS;
	return smfi_progress(p->ctx) == MI_SUCCESS;
}

/* Takes forged copies away, from the last to the first, so that no index moves; then adds ours. */
static void
write_tag(SMFICTX *ctx, const struct message *m)
{
	const char *value = tag_value(message_tag(m));
	bool failed = false;

	for (int n = message_forged(m); n > 0; n--)
		failed |= smfi_chgheader(ctx, cf->milter_header, n, NULL) != MI_SUCCESS;
	if (value[0] != '\0')
		failed |=
		    smfi_addheader(ctx, cf->milter_header, (char *)(uintptr_t)value) != MI_SUCCESS;
	if (failed)
		log_line(LOG_ERR, "the MTA did not let us change %s", cf->milter_header);
}

/* The whole message: its client keeps it and comes again. */
static sfsistat
refuse(SMFICTX *ctx, const struct message *m)
{
	const char *domain;
	char text[DOMAIN_MAX + 64];

	if (message_unsettled(m, &domain, 1) == 0)
		return SMFIS_CONTINUE;
	snprintf(text, sizeof(text), "mtasts: policy of %s not known yet, try again soon", domain);
	if (smfi_setreply(ctx, (char[]){"451"}, (char[]){"4.7.0"}, text) != MI_SUCCESS)
		log_line(LOG_ERR, "libmilter does not take the reply \"%s\"", text);
	log_line(LOG_INFO, "qid=%s hold=tempfail domain=%s", message_qid(m), domain);
	return SMFIS_TEMPFAIL;
}

/*
 * Keeps the whole message in the MTA's queue, where only mtasts-release lets it go. When that does
 * not answer, or somebody else's quarantine would be covered by ours, it stays out.
 */
static void
quarantine(SMFICTX *ctx, const struct message *m)
{
	const char *domains[REASON_DOMAINS_MAX], *other = macro(ctx, "{quarantine}");
	size_t n = message_unsettled(m, domains, REASON_DOMAINS_MAX);
	char reason[REASON_MAX];
	const char *why = NULL;

	if (n == 0)
		return;
	reason_print(domains, n, reason);
	if (other != NULL && other[0] != '\0')
		why = "in another quarantine";
	else if (!quarantine_possible(message_qid(m)))
		why = "mtasts-release does not answer";
	else if (smfi_quarantine(ctx, reason) != MI_SUCCESS)
		why = "the MTA does not let us";
	if (why != NULL) {
		log_line(LOG_WARNING, "qid=%s hold=queue instead=quarantine why=\"%s\"",
		    message_qid(m), why);
		return;
	}
	quarantine_add(message_qid(m), domains, n);
	log_line(LOG_INFO, "qid=%s hold=quarantine reason=\"%s\"", message_qid(m), reason);
}

static sfsistat
on_end(SMFICTX *ctx)
{
	struct message *m = current(ctx);
	sfsistat answer = SMFIS_CONTINUE;
	struct patience patience = {ctx, when_monotonic_ms() + PROGRESS_MS};

	if (m != NULL && message_outbound(m)) {
		atomic_fetch_add(&ending, 1);
		message_queue_id(m, macro(ctx, "i"));
		message_settle(m, (long)cf->milter_wait_s * 1000, on_waiting, &patience);
		message_log(m);
		if (cf->milter_hold == HOLD_TEMPFAIL)
			answer = refuse(ctx, m);
		if (cf->milter_header != NULL && answer == SMFIS_CONTINUE)
			write_tag(ctx, m);
		if (cf->milter_hold == HOLD_QUARANTINE)
			quarantine(ctx, m);
		atomic_fetch_sub(&ending, 1);
	}
	drop(ctx);
	return answer;
}

static sfsistat
on_abort(SMFICTX *ctx)
{
	drop(ctx);
	return SMFIS_CONTINUE;
}

static sfsistat
on_close(SMFICTX *ctx)
{
	drop(ctx);
	return SMFIS_CONTINUE;
}

/*
 * Asks only for the steps that we need: MAIL, RCPT, headers when there is a tag, the end. The
 * answers to all but the end are left out (libmilter gives them itself to an MTA that wants them),
 * so that we cost the client no time at RCPT. The same for every connection: libmilter's table of
 * steps is shared by all.
 */
static sfsistat
on_negotiate(SMFICTX *ctx, unsigned long actions, unsigned long steps, unsigned long f2 UNUSED,
    unsigned long f3 UNUSED, unsigned long *our_actions, unsigned long *our_steps,
    unsigned long *our_f2, unsigned long *our_f3)
{
	bool tags = cf->milter_header != NULL;
	unsigned long skip = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOBODY | SMFIP_NOEOH |
			     SMFIP_NODATA | SMFIP_NOUNKNOWN | (tags ? 0 : SMFIP_NOHDRS);

	*our_actions = actions & ((tags ? SMFIF_ADDHDRS | SMFIF_CHGHDRS : 0) |
				     (cf->milter_hold == HOLD_QUARANTINE ? SMFIF_QUARANTINE : 0));
	if ((actions & SMFIF_SETSYMLIST) != 0) {
		*our_actions |= SMFIF_SETSYMLIST;
		smfi_setsymlist(ctx, SMFIM_ENVFROM, (char[]){"i f {auth_authen} {daemon_name}"});
		smfi_setsymlist(
		    ctx, SMFIM_ENVRCPT, (char[]){"{rcpt_mailer} {rcpt_host} {rcpt_addr}"});
		/* Sendmail heeds a list for EOM only where there is one for EOH. */
		smfi_setsymlist(ctx, SMFIM_EOH, (char[]){"{quarantine}"});
		smfi_setsymlist(ctx, SMFIM_EOM, (char[]){"{quarantine}"});
	}
	*our_steps = (steps & skip) | SMFIP_NR_MAIL | SMFIP_NR_HDR |
		     (go_on == SMFIS_NOREPLY ? SMFIP_NR_RCPT : 0);
	*our_f2 = *our_f3 = 0;
	return SMFIS_CONTINUE;
}

static const struct smfiDesc callbacks = {
    .xxfi_name = (char[]){"mtasts-milter"},
    .xxfi_version = SMFI_VERSION,
    .xxfi_flags = SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_QUARANTINE,
    .xxfi_negotiate = on_negotiate,
    .xxfi_envfrom = on_mail,
    .xxfi_envrcpt = on_rcpt,
    .xxfi_header = on_header,
    .xxfi_eom = on_end,
    .xxfi_abort = on_abort,
    .xxfi_close = on_close,
};

static bool
open_socket(const struct sock_address *a, struct errmsg *em)
{
	const char *path = sock_unix_path(a);
	mode_t before;
	bool opened;

	if (!sock_clear_stale(a, em))
		return false;
	before = umask(0177); /* nobody connects before sock_set_access() */
	opened = smfi_opensocket(0) == MI_SUCCESS;
	umask(before);
	if (!opened) {
		errmsg_set(em,
		    "%s: cannot listen: %s; is the directory writable by this user, the port free?",
		    cf->milter_socket, strerror(errno));
		return false;
	}
	return path == NULL ||
	       sock_set_access(path, cf->milter_mode, cf->milter_owner, cf->milter_group, em);
}

bool
filter_open(const struct config *config, struct errmsg *em)
{
	struct sock_address a;
	char text[SOCK_TEXT_MAX];

	cf = config;
	go_on = (has_rule(RULE_REFUSE) && refuses(RULE_REFUSE)) ||
			(has_rule(RULE_HOLD) && refuses(RULE_HOLD))
		    ? SMFIS_CONTINUE
		    : SMFIS_NOREPLY;
	if (!sock_parse(cf->milter_socket, &a, em))
		return false;
	spare_init(&a);
	sock_print(&a, text);
	if (smfi_setconn(text) != MI_SUCCESS || smfi_register(callbacks) != MI_SUCCESS) {
		errmsg_set(em, "%s: libmilter does not take this socket", text);
		return false;
	}
	return open_socket(&a, em);
}

bool
filter_run(struct errmsg *em)
{
	const struct timespec moment = {.tv_nsec = 50 * 1000 * 1000};
	bool ok = smfi_main() == MI_SUCCESS;

	message_stop();
	for (int ms = 0; ms < STOP_MS && atomic_load(&ending) > 0; ms += 50)
		nanosleep(&moment, NULL);
	if (!ok)
		errmsg_set(em, "libmilter stopped serving; its reason is in the log");
	return ok;
}
