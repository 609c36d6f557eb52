/* maps/parent.h: the directory that a file is in. */
#ifndef MAPS_PARENT_H
#define MAPS_PARENT_H

/* The caller frees it; NULL: no memory. */
char *parent_of(const char *path);

#endif
