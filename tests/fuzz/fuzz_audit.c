/* The input is a data file of the store, of which nothing may be believed. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "store/audit.h"
#include "store/datafile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("data.mdb", MFD_CLOEXEC);
	struct datafile_head head;
	struct audit audit;
	struct errmsg em = {""};

	assert(fd >= 0);
	assert(write(fd, data, size) == (ssize_t)size);
	if (datafile_head(fd, &head, &em) == DATAFILE_OK) {
		enum audit_result r = audit_file(fd, &head, &audit, &em);

		assert(r == AUDIT_OK || em.text[0] != '\0');
		assert(r != AUDIT_MEND || audit.damaged > 0 || audit.index_wrong);
		assert(audit.damaged <= audit.entries);
	} else {
		assert(em.text[0] != '\0');
	}
	close(fd);
	return 0;
}
