/* policy/row.h: the rows of the table that decide() goes by, by name: kept in the entry, logged,
 * and told to people. */
#ifndef POLICY_ROW_H
#define POLICY_ROW_H

/* Stored as numbers: new ones go to the end. */
enum row {
	ROW_NOT_NOTED, /* stored by a version that did not note it */
	ROW_POLICY_FETCHED,
	ROW_POLICY_REPLACED,
	ROW_KEPT_SAME_ID,
	ROW_KEPT_BACKS_OFF,
	ROW_KEPT_FETCH_FAILED,
	ROW_KEPT_DNS_TROUBLE,
	ROW_KEPT_NO_RECORD,
	ROW_NONE_FETCH_FAILED,
	ROW_NONE_BACKS_OFF,
	ROW_NONE_NO_RECORD,
	ROW_NONE_INVALID_RECORD,
	ROW_TROUBLE_NONE_KEPT,
	ROW_TROUBLE_FAILED_KEPT,
	ROW_TROUBLE_HELD,
	ROW_TROUBLE_HOLD_ENDED,
	ROW_IMPORTED, /* not decide()'s: taken over from a map */
	ROW_LAST = ROW_IMPORTED
};

const char *row_name(enum row row);    /* for the log: "policy kept: same id" */
const char *row_text(enum row row);    /* a sentence for people, without the final dot */
const char *row_section(enum row row); /* of RFC 8461: "3.3"; NULL: the RFC leaves it to us */

#endif
