#include "ctl/survey.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discover/https.h"
#include "util/tree.h"

enum {
	DOMAINS_MAX = 8, /* under way at once */
	KEPT_MAX = 64,   /* domains begun and not told yet: a slow one holds up those behind it */
	PROBES_MAX = 64, /* connections to MX hosts at once */
	PROGRESS_MS = 100
};

struct survey;

struct job {
	struct survey_domain domain; /* first: a host's or a lookup's callback has the job */
	struct survey *survey;
	unsigned lookups; /* TXT, fetch, MX, TLSRPT: outstanding */
	bool done;
};

struct survey {
	const struct survey_callbacks *callbacks;
	struct event_base *base;
	struct dns *dns;
	struct https *https;
	struct prober *prober;
	struct event *progress;
	const char *const *names;
	size_t n, begun, told, running;
	struct job *jobs[KEPT_MAX];       /* by index % KEPT_MAX, from told to begun */
	void *tree;                       /* of struct survey_host, by name */
	struct survey_host *hosts;        /* all of them */
	struct survey_host *first, *last; /* those with addresses not probed yet */
	size_t probes;                    /* running */
};

static void *
needed(void *memory)
{
	if (memory == NULL)
		abort(); /* out of memory */
	return memory;
}

static void
must(bool ok)
{
	if (!ok)
		abort(); /* out of memory */
}

/* --- hosts --- */

/* What a callback of a probe or a lookup needs to know. */
struct errand {
	struct survey *survey;
	struct survey_host *host;
	size_t address;
};

static void settle(struct survey *s);

static bool
host_done(const struct survey_host *h)
{
	return h->lookups == 0 && h->done == h->addresses.n;
}

static struct errand *
errand_new(struct survey *s, struct survey_host *h, size_t address)
{
	struct errand *e = needed(malloc(sizeof(*e)));

	*e = (struct errand){s, h, address};
	return e;
}

static void probe_more(struct survey *s);

static void
on_probe(const struct probe_answer *answer, void *arg)
{
	struct errand *e = arg;
	struct survey *s = e->survey;

	e->host->probe[e->address] = *answer;
	e->host->done++;
	s->probes--;
	free(e);
	probe_more(s);
	settle(s);
}

/* Starts probes, as many as may run, host by host. */
static void
probe_more(struct survey *s)
{
	while (s->first != NULL && s->probes < PROBES_MAX) {
		struct survey_host *h = s->first;

		if (h->begun == h->addresses.n) {
			s->first = h->next_queued;
			continue;
		}
		s->probes++;
		must(probe_start(s->prober, h->addresses.text[h->begun], h->name, on_probe,
		    errand_new(s, h, h->begun)));
		h->begun++;
	}
}

static void
on_host_addresses(const struct dns_address_answer *answer, void *arg)
{
	struct errand *e = arg;
	struct survey *s = e->survey;
	struct survey_host *h = e->host;

	free(e);
	h->lookups--;
	h->addresses = *answer;
	h->probe = needed(calloc(answer->n + 1, sizeof(*h->probe)));
	if (s->first == NULL)
		s->first = h;
	else
		s->last->next_queued = h;
	s->last = h;
	probe_more(s);
	settle(s);
}

static void
on_tlsa(const struct dns_tlsa_answer *answer, void *arg)
{
	struct errand *e = arg;
	struct survey *s = e->survey;

	e->host->tlsa = *answer;
	e->host->lookups--;
	free(e);
	settle(s);
}

static const struct survey_host *
host_of(struct survey *s, const char *name)
{
	struct survey_host *h = tree_find(&s->tree, name);

	if (h != NULL)
		return h;
	h = needed(calloc(1, sizeof(*h)));
	snprintf(h->name, sizeof(h->name), "%s", name);
	(void)tree_insert(&s->tree, h);
	h->next = s->hosts;
	s->hosts = h;
	h->lookups = 2;
	must(dns_addresses(s->dns, name, on_host_addresses, errand_new(s, h, 0)));
	must(dns_tlsa(s->dns, name, on_tlsa, errand_new(s, h, 0)));
	return h;
}

static void
hosts_free(struct survey *s)
{
	struct survey_host *h;

	tree_clear(&s->tree);
	while ((h = s->hosts) != NULL) {
		s->hosts = h->next;
		free(h->probe);
		free(h);
	}
}

/* --- domains --- */

static void
job_free(struct job *job)
{
	policy_free(job->domain.policy);
	findings_clear(&job->domain.findings);
	free(job);
}

static void
on_fetched(const struct https_answer *answer, void *arg)
{
	struct job *job = arg;
	struct survey_domain *d = &job->domain;
	char host[HOST_MAX + 1];

	job->lookups--;
	d->fetched = true;
	d->fetch_type = answer->policy != NULL ? STS_OK : answer->type;
	d->fetch_why = answer->why;
	d->policy_addresses = *answer->addresses;
	d->has_cert = answer->certificate != NULL;
	snprintf(host, sizeof(host), "mta-sts.%s", d->name);
	if (d->has_cert)
		cert_read(answer->certificate, host, &d->policy_cert);
	if (answer->body.p != NULL) {
		struct errmsg em;

		d->policy = policy_parse(answer->body, &d->findings, &em);
	}
	settle(job->survey);
}

static void
on_txt(const struct dns_txt_answer *answer, void *arg)
{
	struct job *job = arg;

	job->lookups--;
	job->domain.txt = *answer;
	if (answer->result == TXT_RECORD) {
		job->lookups++;
		must(https_fetch(job->survey->https, job->domain.name, on_fetched, job));
	}
	settle(job->survey);
}

static void
on_tlsrpt(const struct dns_tlsrpt_answer *answer, void *arg)
{
	struct job *job = arg;

	job->lookups--;
	job->domain.tlsrpt = *answer;
	settle(job->survey);
}

static void
on_mx(const struct dns_mx_answer *answer, void *arg)
{
	struct job *job = arg;
	struct survey_domain *d = &job->domain;

	job->lookups--;
	d->mx = *answer;
	if (answer->result == DNS_MX_IMPLICIT)
		d->host[d->n_hosts++] = host_of(job->survey, d->name);
	for (size_t i = 0; i < answer->n; i++)
		d->host[d->n_hosts++] = host_of(job->survey, answer->mx[i].host);
	settle(job->survey);
}

static void
begin(struct survey *s)
{
	struct job *job = needed(calloc(1, sizeof(*job)));
	struct survey_domain *d = &job->domain;

	job->survey = s;
	snprintf(d->name, sizeof(d->name), "%s", s->names[s->begun]);
	s->jobs[s->begun++ % KEPT_MAX] = job;
	s->running++;
	job->lookups = 3;
	must(dns_txt(s->dns, d->name, on_txt, job) && dns_mx(s->dns, d->name, on_mx, job) &&
	     dns_tlsrpt(s->dns, d->name, on_tlsrpt, job));
}

/* What a job waits for, one of them; NULL: it is done. */
static const char *
waits_for(const struct job *job)
{
	const struct survey_domain *d = &job->domain;

	if (job->lookups > 0)
		return job->domain.txt.result == TXT_RECORD && !d->fetched && d->txt.id[0] != '\0'
			   ? "the policy host"
			   : "DNS";
	for (size_t i = 0; i < d->n_hosts; i++)
		if (!host_done(d->host[i]))
			return d->host[i]->name;
	return NULL;
}

/* After each event: which jobs are done, which can be told, which may begin. */
static void
settle(struct survey *s)
{
	for (size_t i = s->told; i < s->begun; i++) {
		struct job *job = s->jobs[i % KEPT_MAX];

		if (!job->done && waits_for(job) == NULL) {
			job->done = true;
			s->running--;
		}
	}
	for (; s->told < s->begun && s->jobs[s->told % KEPT_MAX]->done; s->told++) {
		struct job *job = s->jobs[s->told % KEPT_MAX];

		s->callbacks->done(&job->domain, s->callbacks->arg);
		job_free(job);
	}
	while (s->begun < s->n && s->running < DOMAINS_MAX && s->begun - s->told < KEPT_MAX)
		begin(s);
	if (s->told == s->n)
		event_base_loopbreak(s->base);
}

static void
on_progress(evutil_socket_t fd UNUSED, short what UNUSED, void *arg)
{
	struct survey *s = arg;
	const char *name = NULL;

	for (size_t i = s->told; i < s->begun && name == NULL; i++)
		name = waits_for(s->jobs[i % KEPT_MAX]);
	s->callbacks->progress(s->told, name != NULL ? name : "", s->callbacks->arg);
}

/* --- the whole --- */

static bool
open_all(struct survey *s, const struct survey_config *config, struct errmsg *em)
{
	const struct https_config https = {
	    .ca_file = config->ca_file,
	    .timeout_s = config->timeout_s,
	    .user_agent = "mtastsctl/" PACKAGE_VERSION,
	};
	const struct prober_config prober = {
	    .ca_file = config->ca_file,
	    .timeout_s = config->timeout_s,
	    .helo = config->helo,
	    .port = PROBE_PORT,
	};

	s->base = needed(event_base_new());
	return (s->dns = dns_new(s->base, &config->dns, em)) != NULL &&
	       (s->https = https_new(s->base, s->dns, &https, em)) != NULL &&
	       (s->prober = prober_new(s->base, &prober, em)) != NULL;
}

static void
close_all(struct survey *s)
{
	if (s->progress != NULL)
		event_free(s->progress);
	prober_free(&s->prober);
	https_free(&s->https);
	dns_free(&s->dns);
	event_base_free(s->base);
	hosts_free(s);
}

bool
survey_run(const struct survey_config *config, size_t n, const char *const *domains,
    const struct survey_callbacks *callbacks, struct errmsg *em)
{
	const struct timeval tv = {0, PROGRESS_MS * 1000L};
	struct survey s = {.callbacks = callbacks, .names = domains, .n = n};
	bool ok = open_all(&s, config, em);

	if (ok && n > 0) {
		if (callbacks->progress != NULL) {
			s.progress = needed(event_new(s.base, -1, EV_PERSIST, on_progress, &s));
			must(evtimer_add(s.progress, &tv) == 0);
		}
		settle(&s);
		event_base_dispatch(s.base);
	}
	close_all(&s);
	return ok;
}
