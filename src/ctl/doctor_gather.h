/* ctl/doctor_gather.h: looks at this host for the doctor. */
#ifndef CTL_DOCTOR_GATHER_H
#define CTL_DOCTOR_GATHER_H

#include "ctl/doctor.h"

/* Fills in all of facts but cf_path and submit_path, which are set before; config is borrowed. */
void doctor_gather(const struct config *config, struct doctor_facts *facts);
void doctor_forget(struct doctor_facts *facts); /* frees what was gathered */

/* What the Sendmail program says of itself; NULL with a reason. For the caller to build_free(). */
struct build *doctor_look_at_program(struct errmsg *em);

#endif
