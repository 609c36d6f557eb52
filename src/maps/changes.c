#include "maps/changes.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

void
changes_clear(struct changes *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->v[i].key);
	free(c->v);
	memset(c, 0, sizeof(*c));
}

enum sink_result
changes_add(struct changes *c, const char *key, const char *value, struct errmsg *em)
{
	size_t room = c->room == 0 ? 64 : c->room * 2;
	struct change *v = c->v;

	if (c->n == c->room) {
		if ((v = realloc(c->v, room * sizeof(*v))) == NULL)
			goto no_memory;
		c->v = v;
		c->room = room;
	}
	if ((v[c->n].key = strdup(key)) == NULL)
		goto no_memory;
	assert(strlen(value) < MAPVALUE_MAX);
	strcpy(v[c->n].value, value);
	c->n++;
	return SINK_OK;
no_memory:
	errmsg_set(em, "a map change of %s is lost: out of memory; free some", key);
	return SINK_FAILED;
}

bool
changes_lists(const struct requirement *r, const char *pattern)
{
	if (r->kind == REQUIRE_ENFORCE)
		for (size_t i = 0; i < r->n_mx; i++)
			if (strcmp(r->mx[i], pattern) == 0)
				return true;
	return false;
}

/* value for each of r's patterns that `but` does not have. */
static enum sink_result
add_patterns(struct changes *c, const char *domain, const struct requirement *r,
    const struct requirement *but, const char *value, struct errmsg *em)
{
	char key[MAPKEY_MAX + 1];
	enum sink_result result = SINK_OK;

	if (r->kind != REQUIRE_ENFORCE)
		return SINK_OK;
	for (size_t i = 0; i < r->n_mx && result == SINK_OK; i++) {
		if (changes_lists(but, r->mx[i]))
			continue;
		if (mapkey_pattern(domain, r->mx[i], key))
			result = changes_add(c, key, value, em);
		else if (*value != '\0')
			log_line(LOG_WARNING,
			    "domain=%s pattern=%s map: left out, as Sendmail looks up no more than %d bytes; mail to such an MX waits",
			    domain, r->mx[i], MAPKEY_MAX);
	}
	return result;
}

enum sink_result
changes_require(struct changes *c, const char *domain, const struct requirement *old,
    const struct requirement *now, struct errmsg *em)
{
	char value[MAPVALUE_MAX] = "";
	enum sink_result r;

	assert(*domain != '\0' && strlen(domain) <= DOMAIN_MAX);
	assert(strchr(domain, ':') == NULL || mapkey_is_rule(domain));
	if (now->kind != REQUIRE_UNKNOWN)
		mapvalue_print(now, value);
	if ((r = add_patterns(c, domain, old, now, "", em)) != SINK_OK ||
	    (r = add_patterns(c, domain, now, old, MAPVALUE_MX, em)) != SINK_OK)
		return r;
	return changes_add(c, domain, value, em);
}
