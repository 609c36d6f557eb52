#include "ctl/check_show.h"

#include <stdio.h>

#include "ctl/command.h"
#include "site/describe.h"

/* JSON null for the empty text. */
static json_t *
text_or_null(const char *text)
{
	return command_text(text[0] != '\0' ? text : NULL);
}

static const char *
txt_result_name(enum txt_result r)
{
	static const char *const names[] = {"record", "absent", "invalid", "tempfail"};

	return names[r];
}

static json_t *
cert_json(const struct cert *cert, time_t now)
{
	json_t *names = json_array();

	for (size_t i = 0; i < cert->n_names; i++)
		json_array_append_new(names, command_text(cert->name[i]));
	return json_pack("{s:o, s:o, s:o, s:I, s:o, s:o, s:I, s:b}", "subject",
	    text_or_null(cert->subject), "issuer", text_or_null(cert->issuer), "names", names,
	    "more_names", (json_int_t)cert->more, "not_before", describe_time(cert->not_before),
	    "not_after", describe_time(cert->not_after), "days_left",
	    (json_int_t)((cert->not_after - now) / WHEN_DAY_S), "names_host", cert->names_host);
}

static json_t *
txt_json(const struct dns_txt_answer *txt)
{
	return json_pack("{s:s, s:o, s:I, s:o, s:o}", "result", txt_result_name(txt->result), "id",
	    text_or_null(txt->id), "ttl", (json_int_t)txt->ttl_s, "cname", text_or_null(txt->alias),
	    "reason", text_or_null(txt->why.text));
}

static json_t *
addresses_json(const struct dns_address_answer *a)
{
	json_t *array = json_array();

	for (size_t i = 0; i < a->n; i++)
		json_array_append_new(array, json_string(a->text[i]));
	return array;
}

static json_t *
policy_host_json(const struct survey_domain *d, time_t now)
{
	char host[HOST_MAX + 1];

	if (!d->fetched)
		return json_null();
	snprintf(host, sizeof(host), "mta-sts.%s", d->name);
	return json_pack("{s:s, s:o, s:s, s:o, s:o}", "host", host, "addresses",
	    addresses_json(&d->policy_addresses), "result",
	    d->fetch_type == STS_OK ? "ok" : sts_type_name(d->fetch_type), "reason",
	    text_or_null(d->fetch_type == STS_OK ? "" : d->fetch_why.text), "certificate",
	    d->has_cert ? cert_json(&d->policy_cert, now) : json_null());
}

static json_t *
policy_json(const struct survey_domain *d)
{
	const struct policy *p = d->policy;

	if (p == NULL && d->findings.n_errors == 0)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "mode",
	    command_text(p != NULL ? mode_name(p->mode) : NULL), "max_age",
	    p != NULL ? json_integer(p->max_age_s) : json_null(), "mx",
	    p != NULL ? command_texts(p->n_mx, p->mx) : json_array(), "errors",
	    command_texts(d->findings.n_errors, d->findings.errors), "warnings",
	    command_texts(d->findings.n_warnings, d->findings.warnings));
}

static json_t *
tlsa_json(const struct dns_tlsa_answer *answer)
{
	static const char *const results[] = {"found", "absent", "tempfail"};
	json_t *records = json_array();

	for (size_t i = 0; i < answer->n; i++) {
		const struct dns_tlsa *t = &answer->tlsa[i];
		char text[16 + 2 * DNS_TLSA_DATA_MAX];
		int len =
		    snprintf(text, sizeof(text), "%u %u %u ", t->usage, t->selector, t->matching);

		for (size_t j = 0; j < t->len; j++)
			len += snprintf(text + len, sizeof(text) - (size_t)len, "%02x", t->data[j]);
		json_array_append_new(records, json_string(text));
	}
	return json_pack("{s:s, s:b, s:o, s:o}", "result", results[answer->result], "authentic",
	    answer->authentic, "records", records, "reason", text_or_null(answer->why.text));
}

static json_t *
probe_json(const char *address, const struct probe_answer *a, time_t now)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:b, s:o, s:o, s:b, s:o}", "address", address,
	    "result", probe_result_name(a->result), "reason", text_or_null(a->why.text), "banner",
	    text_or_null(a->banner), "starttls", a->starttls, "tls", text_or_null(a->tls_version),
	    "cipher", text_or_null(a->cipher), "trusted", a->trusted, "certificate",
	    a->has_cert ? cert_json(&a->cert, now) : json_null());
}

static json_t *
host_json(const struct survey_domain *d, size_t i, const struct check_host *v, time_t now)
{
	const struct survey_host *h = d->host[i];
	json_t *addresses = json_array();

	for (size_t j = 0; j < h->addresses.n; j++)
		json_array_append_new(
		    addresses, probe_json(h->addresses.text[j], &h->probe[j], now));
	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "host", h->name, "preference",
	    d->mx.result == DNS_MX_FOUND ? json_integer(d->mx.mx[i].preference) : json_null(),
	    "state", check_host_state_name(v->state), "type", command_text(v->type), "reason",
	    text_or_null(v->why.text), "pattern", command_text(v->pattern), "addresses", addresses,
	    "tlsa", tlsa_json(&h->tlsa));
}

static json_t *
hosts_json(const struct survey_domain *d, const struct check *c, time_t now)
{
	json_t *array = json_array();

	for (size_t i = 0; i < d->n_hosts; i++)
		json_array_append_new(array, host_json(d, i, &c->host[i], now));
	return array;
}

static json_t *
mx_lookup_json(const struct dns_mx_answer *mx)
{
	static const char *const results[] = {"found", "implicit", "null", "no-domain", "tempfail"};

	return json_pack("{s:s, s:b, s:I, s:o}", "result", results[mx->result], "authentic",
	    mx->authentic, "ttl", (json_int_t)mx->ttl_s, "reason", text_or_null(mx->why.text));
}

static json_t *
warnings_json(const struct check *c)
{
	json_t *array = json_array();

	for (size_t i = 0; i < c->n_warnings; i++)
		json_array_append_new(array, json_string(c->warning[i].text));
	return array;
}

static json_t *
tlsrpt_json(const struct dns_tlsrpt_answer *tlsrpt)
{
	return json_pack("{s:s, s:o, s:o}", "result", txt_result_name(tlsrpt->result), "rua",
	    text_or_null(tlsrpt->rua), "reason", text_or_null(tlsrpt->why.text));
}

json_t *
check_json(
    const struct survey_domain *d, const struct check *c, const struct check_site *site, time_t now)
{
	bool requires = rule_requires(site->rule);
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:s, s:o, s:o}", "domain",
	    d->name, "result", check_result_name(c->result), "mail", check_mail_name(c->mail),
	    "verdict", verdict_name(c->verdict), "why", command_text(c->why), "text", c->text.text,
	    "warnings", warnings_json(c), "enforcement", site->observe ? "observe" : "on",
	    "override",
	    site->rule == RULE_OPTIONAL ? json_null()
					: json_string(requires ? "require" : rule_name(site->rule)),
	    "unmet", requires ? json_string(rule_name(site->rule)) : json_null());
	json_t *seen = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "txt", txt_json(&d->txt),
	    "policy_host", policy_host_json(d, now), "policy", policy_json(d), "mx_lookup",
	    mx_lookup_json(&d->mx), "mx", hosts_json(d, c, now), "tlsrpt", tlsrpt_json(&d->tlsrpt));

	if (o == NULL || seen == NULL || json_object_update(o, seen) != 0) {
		json_decref(o); /* NULL-safe */
		o = NULL;
	}
	json_decref(seen);
	return o;
}
