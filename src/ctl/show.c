#include "ctl/show.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

enum { WRAP_COLUMN = 78, LABEL_WIDTH = 14, SPAN_TEXT_MAX = 40 };

static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL ? text : "";
}

static bool
is_true(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

/* Words of text, broken between columns; *column is where the line stands. */
static void
put_words(FILE *out, const char *text, size_t *column)
{
	while (*(text += strspn(text, " ")) != '\0') {
		size_t n = strcspn(text, " ");

		if (*column > 0 && *column + 1 + n > WRAP_COLUMN) {
			fputc('\n', out);
			*column = 0;
		}
		*column += (size_t)fprintf(out, *column == 0 ? "  %.*s" : " %.*s", (int)n, text);
		text += n;
	}
}

void
show_paragraph(FILE *out, const char *text)
{
	size_t column = 0;

	put_words(out, text, &column);
	fputc('\n', out);
}

/* A number of seconds in the largest unit that says enough: "45 s", "3 h", "12 d". */
static void
span_text(double seconds, char out[SPAN_TEXT_MAX])
{
	if (seconds < 120)
		snprintf(out, SPAN_TEXT_MAX, "%.0f s", seconds);
	else if (seconds < 2 * 3600)
		snprintf(out, SPAN_TEXT_MAX, "%.0f min", seconds / 60);
	else if (seconds < 2 * 86400)
		snprintf(out, SPAN_TEXT_MAX, "%.0f h", seconds / 3600);
	else
		snprintf(out, SPAN_TEXT_MAX, "%.0f d", seconds / 86400);
}

static void
put_label(FILE *out, const char *label)
{
	fprintf(out, "  %-*s", LABEL_WIDTH, label);
}

void
show_field(FILE *out, const char *label, const char *value)
{
	if (*value == '\0')
		return;
	put_label(out, label);
	fprintf(out, "%s\n", value);
}

/* A time with its distance from now. */
void
show_time(FILE *out, const char *label, const json_t *object, const char *name)
{
	const char *text = text_of(object, name);
	char span[SPAN_TEXT_MAX];
	struct tm tm = {0};
	double away;

	if (*text == '\0')
		return;
	put_label(out, label);
	if (strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) == NULL) {
		fprintf(out, "%s\n", text);
		return;
	}
	away = difftime(timegm(&tm), time(NULL));
	span_text(away < 0 ? -away : away, span);
	if (away < 0)
		fprintf(out, "%s (%s ago)\n", text, span);
	else
		fprintf(out, "%s (in %s)\n", text, span);
}

static void
put_number(FILE *out, const char *label, const json_t *object, const char *name)
{
	const json_t *number = json_object_get(object, name);

	if (!json_is_integer(number))
		return;
	put_label(out, label);
	fprintf(out, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(number));
}

const char *
show_consequence(const json_t *entry)
{
	const char *verdict = text_of(entry, "verdict"), *unmet = text_of(entry, "unmet");
	bool observe = strcmp(text_of(entry, "enforcement"), "observe") == 0;

	if (strcmp(text_of(entry, "override"), "disable") == 0)
		return "This site's configuration switches policies off for it: mail is delivered as without one.";
	if (strcmp(verdict, "enforce") == 0 && observe)
		return "This site only observes: mail is delivered whether or not the policy is met, and the log tells what would have been held up.";
	if (strcmp(verdict, "enforce") == 0)
		return !json_is_false(json_object_get(entry, "pushed"))
			   ? "Mail goes only to the MX hosts below, over TLS with a certificate that is valid for the host; until that succeeds it stays in the queue."
			   : "The policy is known but not in the MTA's map yet: mail waits in the queue until it is.";
	if (strcmp(verdict, "testing") == 0)
		return "The policy is in testing mode: mail is delivered whether or not it is met.";
	if (strcmp(verdict, "none") == 0 && !observe && *unmet != '\0')
		return strcmp(unmet, "hold") == 0
			   ? "This site requires a policy, and there is none: mail waits in the queue."
			   : "This site requires a policy, and there is none: mail is refused.";
	if (strcmp(verdict, "none") == 0)
		return "There is no policy to follow: mail is delivered as always.";
	if (*text_of(entry, "wanted") == '\0')
		return *text_of(entry, "expires") == '\0'
			   ? "Nothing is known of it."
			   : "What was known of it is over: its policy is looked for anew when mail asks.";
	return observe
		   ? "Not settled yet; as this site only observes, mail is delivered all the same."
		   : "Not settled yet: mail waits in the queue, where nothing is lost.";
}

void
show_text(FILE *out, const char *text)
{
	size_t column = 0;

	put_words(out, text, &column);
	fputc('\n', out);
}

static void
put_failure(FILE *out, const json_t *failure, size_t *column)
{
	const char *words[] = {"The last try to get the policy, at", text_of(failure, "at"),
	    "failed with", text_of(failure, "type"), "-", text_of(failure, "reason")};

	for (size_t i = 0; json_is_object(failure) && i < sizeof(words) / sizeof(words[0]); i++)
		put_words(out, words[i], column);
}

static void
put_paragraph(FILE *out, const json_t *entry)
{
	size_t column = 0;

	put_words(out, show_consequence(entry), &column);
	if (*text_of(entry, "why") != '\0') {
		put_words(out, "Why:", &column);
		put_words(out, text_of(entry, "why"), &column);
		fputc('.', out);
		column++;
	}
	put_failure(out, json_object_get(entry, "failure"), &column);
	fputs("\n\n", out);
}

void
show_entry(FILE *out, const json_t *entry)
{
	const json_t *mx;
	size_t i;

	fprintf(out, "%s: %s\n\n", text_of(entry, "domain"), text_of(entry, "verdict"));
	put_paragraph(out, entry);
	show_field(out, "id", text_of(entry, "id"));
	show_field(out, "mode", text_of(entry, "mode"));
	put_number(out, "max_age", entry, "max_age");
	json_array_foreach (json_object_get(entry, "mx"), i, mx)
		show_field(out, i == 0 ? "mx" : "",
		    json_string_value(mx) != NULL ? json_string_value(mx) : "");
	show_field(out, "in the maps", is_true(entry, "pushed") ? "yes" : "no");
	show_time(out, "fetched", entry, "fetched");
	show_time(out, "expires", entry, "expires");
	show_time(out, "confirmed", entry, "confirmed");
	show_time(out, "TXT again", entry, "recheck");
	show_time(out, "fetch again", entry, "refetch");
	show_time(out, "last used", entry, "used");
	show_time(out, "waits since", entry, "wanted");
	show_field(out, "override", text_of(entry, "override"));
	show_field(out, "for", text_of(entry, "pattern"));
	show_field(out, "unmet", text_of(entry, "unmet"));
}

static void
put_list_columns(FILE *out, const char *domain, const char *verdict, const char *map,
    const char *expires, const char *why)
{
	fprintf(out, "%-32s %-9s %-4s %-20s %s\n", domain, verdict, map, expires, why);
}

void
show_list_head(FILE *out)
{
	put_list_columns(out, "DOMAIN", "VERDICT", "MAPS", "EXPIRES", "WHY");
}

void
show_list_line(FILE *out, const json_t *entry)
{
	const char *expires = text_of(entry, "expires");

	put_list_columns(out, text_of(entry, "domain"), text_of(entry, "verdict"),
	    is_true(entry, "pushed") ? "yes" : "no", *expires != '\0' ? expires : "-",
	    text_of(entry, "why"));
}

/* What the daemon has counted and not told. */
static void
put_more(FILE *out, const char *indent, const json_t *object, const char *member)
{
	json_int_t n = json_integer_value(json_object_get(object, member));

	if (n > 0)
		fprintf(out, "%sand %" JSON_INTEGER_FORMAT " more\n", indent, n);
}

void
show_held(FILE *out, const json_t *answer)
{
	const json_t *held = json_object_get(answer, "held"), *domain, *queue_id;
	size_t i, j;

	if (json_array_size(held) == 0)
		fputs("no mail waits for a policy\n", out);
	json_array_foreach (held, i, domain) {
		fprintf(out, "%s\n", text_of(domain, "domain"));
		show_time(out, "since", domain, "since");
		show_time(out, "at most until", domain, "until");
		show_field(out, "why", text_of(domain, "why"));
		json_array_foreach (json_object_get(domain, "queue_ids"), j, queue_id)
			show_field(out, j == 0 ? "queue ids" : "",
			    json_string_value(queue_id) != NULL ? json_string_value(queue_id) : "");
		put_more(out, "    ", domain, "more_queue_ids");
	}
	put_more(out, "", answer, "more_domains");
}

/* The store, or a map. */
static void
put_place(FILE *out, const char *what, const json_t *place)
{
	fprintf(out, "  %s%s: %s, %s", what, text_of(place, "kind"), text_of(place, "path"),
	    text_of(place, "state"));
	if (*text_of(place, "last_commit") != '\0')
		fprintf(out, ", last commit %s", text_of(place, "last_commit"));
	if (*text_of(place, "error") != '\0')
		fprintf(out, "\n    %s", text_of(place, "error"));
	fputc('\n', out);
}

void
show_status(FILE *out, const json_t *answer)
{
	static const char *const numbers[] = {
	    "pid", "entries", "held", "discoveries", "queued", "lookups", "fetches", "commits"};
	const json_t *map;
	size_t i;

	fprintf(out, "mtastsd %s: %s, enforcement %s\n", text_of(answer, "version"),
	    is_true(answer, "ready") ? "ready"
				     : "not ready: its maps do not agree with its store yet",
	    text_of(answer, "enforcement"));
	show_time(out, "started", answer, "started");
	show_time(out, "alive until", answer, "alive_until");
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		put_number(out, numbers[i], answer, numbers[i]);
	put_place(out, "store", json_object_get(answer, "store"));
	json_array_foreach (json_object_get(answer, "maps"), i, map)
		put_place(out, "map ", map);
}
