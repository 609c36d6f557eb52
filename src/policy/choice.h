/*
 * policy/choice.h: a set of rules (policy/rules.h) for the messages of one authenticated user, from
 * one sender domain, or that came by one listener, in the form in which Sendmail's rules look it up:
 * each rule of the set under a key of its own. No I/O.
 *
 *   :sets:                            there is any set
 *   :user:bob:  :user:bob:.example.com      of the set that bob chooses: for all the rest, for a pattern
 *   :from:a.example:...  :port:msa:...      the same for a sender domain, for a listener
 */
#ifndef POLICY_CHOICE_H
#define POLICY_CHOICE_H

#include "policy/rules.h"
#include "util/cursor.h"

#define CHOICE_ANY ":sets:"

/* From the strongest to the weakest: a message is under one set only. */
enum choice { CHOICE_USER, CHOICE_SENDER, CHOICE_LISTENER };
enum { CHOICES = CHOICE_LISTENER + 1 };

enum {
	CHOICE_TEXT_MAX = 64, /* bytes of a user or listener */
	CHOICE_KEYS_MAX = 100000
};

/*
 * Adds the keys of a set, and CHOICE_ANY, to chosen.
 *   text  the user: letters, digits and ._@-+; the sender's domain; the listener's name
 * False with a reason: no such name can be, it chooses a set already, a key is too long for the MTA.
 */
MUST_USE bool choice_add(struct rules *chosen, enum choice who, const char *text,
    const struct rules *set, struct errmsg *em);

/*
 * The rule for a message and a normalised domain: of the set that the message is under, else of
 * others. What chooses may be NULL or empty:
 *   user      as Sendmail's {auth_authen} has it
 *   sender    the envelope sender's address, without brackets
 *   listener  {daemon_name}
 */
enum rule choice_find(const struct rules *chosen, const struct rules *others, const char *user,
    const char *sender, const char *listener, const char *domain);

/* Is this a key of that kind, whether it is in use or not? */
bool choice_is_key(struct cursor key);

#endif
