/* SPDX-License-Identifier: MIT */
/* Calendar arithmetic in the proleptic Gregorian calendar (days from civil and back). */
#include "wire/rfc3339.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { DAY_S = 86400 };

/* Days since 1970-01-01. */
static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (153 * ((int64_t)m + (m > 2 ? -3 : 9)) + 2) / 5 + (int64_t)d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_of(int64_t days, int64_t *y, int64_t *m, int64_t *d)
{
	int64_t era, doe, yoe, doy, mp;

	days += 719468;
	era = (days >= 0 ? days : days - 146096) / 146097;
	doe = days - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = yoe + era * 400 + (*m <= 2);
}

static unsigned month_days(int64_t y, unsigned m)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	const bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);

	return m == 2 && leap ? 29 : days[m - 1];
}

/* Exactly 'n' digits followed by 'after' (0: anything), or false. */
static bool number(const char **p, const char *end, size_t n, char after, unsigned *out)
{
	*out = 0;
	if ((size_t)(end - *p) < n)
		return false;
	for (; n > 0; n--, ++*p) {
		if (**p < '0' || **p > '9')
			return false;
		*out = *out * 10 + (unsigned)(**p - '0');
	}
	if (!after)
		return true;
	return *p < end && *(*p)++ == after;
}

static bool fraction(const char **p, const char *end, int32_t *ns)
{
	int32_t unit = 100000000;
	size_t n = 0;

	*ns = 0;
	if (*p >= end || **p != '.')
		return true;
	for (++*p; *p < end && **p >= '0' && **p <= '9'; ++*p, n++) {
		*ns += (**p - '0') * unit;
		unit /= 10;
	}
	return n >= 1 && n <= 9;
}

/* 'Z' or an offset, up to the end. */
static bool zone(const char *p, const char *end, int64_t *offset_s)
{
	unsigned h, m;
	bool west;

	*offset_s = 0;
	if (end - p == 1 && *p == 'Z')
		return true;
	if (end - p != 6 || (*p != '+' && *p != '-'))
		return false;
	west = *p++ == '-';
	if (!number(&p, end, 2, ':', &h) || !number(&p, end, 2, 0, &m) || h > 23 || m > 59)
		return false;
	*offset_s = (west ? -1 : 1) * ((int64_t)h * 3600 + m * 60);
	return true;
}

int rfc3339_parse(int64_t *s, int32_t *ns, const char *text, size_t len)
{
	const char *p = text, *const end = text + len;
	unsigned year, mon, day, h, m, sec;
	int64_t offset;
	int32_t frac;

	if (!number(&p, end, 4, '-', &year) || !number(&p, end, 2, '-', &mon) ||
	    !number(&p, end, 2, 'T', &day) || !number(&p, end, 2, ':', &h) ||
	    !number(&p, end, 2, ':', &m) || !number(&p, end, 2, 0, &sec))
		return -EBADMSG;
	if (year < 1 || mon < 1 || mon > 12 || day < 1 || day > month_days(year, mon) || h > 23 || m > 59 ||
	    sec > 59)
		return -EBADMSG;
	if (!fraction(&p, end, &frac) || !zone(p, end, &offset))
		return -EBADMSG;
	*s = days_of(year, mon, day) * DAY_S + (int64_t)h * 3600 + (int64_t)m * 60 + (int64_t)sec - offset;
	if (ns)
		*ns = frac;
	return 0;
}

char *rfc3339_write(char text[static RFC3339_TEXT_MAX], int64_t s, int32_t ns)
{
	static const int64_t last_s = INT64_C(253402300799); /* 9999-12-31T23:59:59Z */
	int64_t days, rest, y, m, d;
	size_t n;

	s = s < RFC3339_ZERO_S ? RFC3339_ZERO_S : s > last_s ? last_s : s;
	days = s / DAY_S - (s % DAY_S < 0);
	rest = s - days * DAY_S;
	civil_of(days, &y, &m, &d);
	n = (size_t)snprintf(text, RFC3339_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)y, (int)m, (int)d,
			     (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
	if (ns > 0 && ns < 1000000000) {
		n += (size_t)snprintf(text + n, RFC3339_TEXT_MAX - n, ".%09d", ns);
		while (text[n - 1] == '0')
			n--;
	}
	memcpy(text + n, "Z", 2);
	return text;
}
