#include "policy/row.h"

#include <stddef.h>

static const struct {
	const char *name, *section, *text;
} rows[] = {
    [ROW_NOT_NOTED] = {"not noted", NULL,
	"an older version of mtasts decided it and did not note how"},
    [ROW_POLICY_FETCHED] = {"policy fetched", "3.3",
	"the TXT record announced a policy, and the policy host served a valid one"},
    [ROW_POLICY_REPLACED] = {"policy replaced", "5.1",
	"a policy was in force, and a newer look at it took its place"},
    [ROW_KEPT_SAME_ID] = {"policy kept: same id", "5.1",
	"a policy is in force, and the TXT record still has its id"},
    [ROW_KEPT_BACKS_OFF] = {"policy kept: new id backs off", "5.1",
	"the TXT record has a new id whose policy could not be had a moment ago; the cached policy stays in force meanwhile"},
    [ROW_KEPT_FETCH_FAILED] = {"policy kept: fetch failed", "5.1",
	"the policy could not be fetched again; the cached one stays in force until it expires"},
    [ROW_KEPT_DNS_TROUBLE] = {"policy kept: DNS trouble", "3.1",
	"DNS did not say whether there is a record; the cached policy stays in force until it expires"},
    [ROW_KEPT_NO_RECORD] = {"policy kept: no valid record", "3.1",
	"there is no valid TXT record any more; the cached policy stays in force until it expires, so that nobody can strip it"},
    [ROW_NONE_FETCH_FAILED] = {"fetch failed: none", "3.3",
	"the TXT record announces a policy that cannot be had, and none is cached: mail must be delivered as though there were no policy"},
    [ROW_NONE_BACKS_OFF] = {"fetch backs off: none", "3.3",
	"the announced policy could not be had a moment ago and is not asked for again at once: mail goes as though there were no policy"},
    [ROW_NONE_NO_RECORD] = {"no record: none", "3.1",
	"DNS says that there is no TXT record: the domain has no policy"},
    [ROW_NONE_INVALID_RECORD] = {"invalid record: none", "3.1",
	"the TXT record is not valid, or there are several: the domain counts as one without policy"},
    [ROW_TROUBLE_NONE_KEPT] = {"DNS trouble: none kept", NULL,
	"DNS does not answer now, but said within the last days that there is no policy: that is believed meanwhile"},
    [ROW_TROUBLE_FAILED_KEPT] = {"DNS trouble: none of the failed fetch kept", NULL,
	"DNS does not answer now; the policy could not be had before, and mail goes as though there were none a little longer"},
    [ROW_TROUBLE_HELD] = {"DNS trouble: held", NULL,
	"DNS does not say whether there is a policy: that is not \"no policy\", so mail waits, until hold_max at most"},
    [ROW_TROUBLE_HOLD_ENDED] = {"DNS trouble: hold ended, none", NULL,
	"DNS has not said for as long as hold_max lets mail wait: mail goes unchecked for a while"},
    [ROW_IMPORTED] = {"imported from the map", NULL,
	"the store had lost it, and the MTA's map still required it: in force until it expires"},
};

const char *
row_name(enum row row)
{
	return rows[row].name;
}

const char *
row_text(enum row row)
{
	return rows[row].text;
}

const char *
row_section(enum row row)
{
	return rows[row].section;
}
