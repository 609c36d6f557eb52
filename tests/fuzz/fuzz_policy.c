/* A policy body. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/mx.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_patterns(const struct policy *p)
{
	for (size_t i = 0; i < p->n_mx; i++) {
		char again[MX_PATTERN_MAX + 1];

		assert(mx_pattern_normalize(p->mx[i], strlen(p->mx[i]), again, NULL));
		assert(strcmp(p->mx[i], again) == 0);
		for (size_t j = 0; j < i && i < 64; j++)
			assert(strcmp(p->mx[i], p->mx[j]) != 0);
	}
}

/* Written in the shortest way and parsed again, it is the same policy. */
static void
check_round_trip(const struct policy *p)
{
	size_t room = 128 + p->n_mx * (MX_PATTERN_MAX + 8), len;
	char *text = malloc(room);
	struct policy *again;

	assert(text != NULL);
	len = (size_t)snprintf(text, room, "version:STSv1\r\nmode:%s\r\nmax_age:%u\r\n",
	    mode_name(p->mode), (unsigned)p->max_age_s);
	for (size_t i = 0; i < p->n_mx; i++)
		len += (size_t)snprintf(text + len, room - len, "mx:%s\n", p->mx[i]);
	again = len > POLICY_BODY_MAX ? NULL : policy_parse(cursor_of(text, len), NULL, NULL);
	assert(len > POLICY_BODY_MAX || again != NULL);
	if (again != NULL) {
		assert(again->mode == p->mode && again->max_age_s == p->max_age_s);
		assert(again->n_mx == p->n_mx);
		for (size_t i = 0; i < p->n_mx; i++)
			assert(strcmp(again->mx[i], p->mx[i]) == 0);
	}
	policy_free(again);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cursor body = cursor_of(data, size);
	struct findings findings = {0};
	struct errmsg em = {""}, em_alone = {""};
	struct policy *p = policy_parse(body, &findings, &em);
	struct policy *alone = policy_parse(body, NULL, &em_alone);

	assert((p == NULL) == (alone == NULL));
	assert((p == NULL) == (findings.n_errors > 0));
	assert(strcmp(em.text, em_alone.text) == 0);
	assert((p == NULL) == (em.text[0] != '\0'));
	if (p != NULL) {
		assert(size <= POLICY_BODY_MAX && memchr(data, '\0', size) == NULL);
		assert(p->max_age_s <= POLICY_MAX_AGE_MAX);
		assert(p->mode == MODE_NONE || p->n_mx > 0);
		check_patterns(p);
		check_round_trip(p);
	}
	policy_free(p);
	policy_free(alone);
	findings_clear(&findings);
	return 0;
}
