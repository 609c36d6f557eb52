/*
 * ctl/show.h: answers of mtastsd for people; mtasts-control(5) tells their members. Missing members
 * show as nothing.
 */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H

#include <stdio.h>

#include <jansson.h>

/* Text as a paragraph, indented, its lines broken between words. */
void show_paragraph(FILE *out, const char *text);

/* A paragraph that answers "why", then the facts. */
void show_entry(FILE *out, const json_t *entry);
void show_list_head(FILE *out);
void show_list_line(FILE *out, const json_t *entry);
void show_held(FILE *out, const json_t *answer);
void show_status(FILE *out, const json_t *answer);

/* What the verdict of an entry does to mail, in a sentence. */
const char *show_consequence(const json_t *entry);

/* Parts of answers that more than one command prints. A text is wrapped; an absent or empty value
 * prints nothing. */
void show_text(FILE *out, const char *text);
void show_field(FILE *out, const char *label, const char *value);
void show_time(FILE *out, const char *label, const json_t *object, const char *name);

#endif
