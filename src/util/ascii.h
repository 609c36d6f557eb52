/* util/ascii.h: character classes of protocols; <ctype.h> obeys the locale, protocols do not. */
#ifndef UTIL_ASCII_H
#define UTIL_ASCII_H

#include <stdbool.h>

static inline bool
ascii_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
ascii_alpha(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool
ascii_alnum(unsigned char c)
{
	return ascii_digit(c) || ascii_alpha(c);
}

static inline unsigned char
ascii_lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c + ('a' - 'A')) : c;
}

#endif
