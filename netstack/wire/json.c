/* SPDX-License-Identifier: MIT */
/* The pass before cJSON: check, walk, locate, and the prepared copy that cJSON gets. The getters are in
 * json_in.c, the writer in json_w.c. */
#include "wire/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

/* A reason that json_err_code() knows by its address. */
static const char no_memory[] = "out of memory";

/* Where the check stands between two tokens. */
enum want {
	WANT_VALUE,     /* after ':' or at the top */
	WANT_FIRST,     /* after '[': a value or the end */
	WANT_ELEMENT,   /* after ',' in an array: a value, in HuJSON also the end */
	WANT_NAME_0,    /* after '{': a name or the end */
	WANT_NAME,      /* after ',' in an object: a name, in HuJSON also the end */
	WANT_SEPARATOR, /* after a value: ',' or the end of the container */
	WANT_NOTHING,   /* after the top value: only white space */
};

enum { FEW_NAMES = 32, EXACT_DIGITS = 15 /* of an integer that a double holds */ };

struct name {
	size_t at, size; /* between the quotes */
	bool is_plain;   /* equal names have equal bytes */
};

/* Names of all open objects, so that a closing object can look for duplicates among its own. */
struct names {
	struct name *list; /* owned */
	size_t n, cap;
	size_t first[JSON_DEPTH_MAX + 1]; /* per level: where its names begin */
};

struct scan {
	const char *text;
	size_t size, at;
	unsigned flags;
	const char *reason; /* set when something is refused; 'at' is the place */
	bool needs_copy;    /* cJSON gets a prepared copy: see there */
	uint64_t is_object; /* bit per open level */
	size_t depth;
	struct names names; /* JSON_UNIQUE only */
};

static bool refuse(struct scan *s, const char *reason)
{
	s->reason = reason;
	return false;
}

static int deny(struct scan *s, const char *reason)
{
	s->reason = reason;
	return -EBADMSG;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits at 'p', or -1. */
static int32_t hex4(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int d = hex_digit(p[i]);

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* End of the comment that begins at 'p' ("//" or "/ *"), or null if it is none or has no end. */
static const char *comment_end(const char *p, const char *end)
{
	if (end - p < 2 || p[0] != '/')
		return NULL;
	if (p[1] == '/') {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		return nl ? nl + 1 : end;
	}
	if (p[1] != '*')
		return NULL;
	for (p += 2; end - p >= 2; p++)
		if (p[0] == '*' && p[1] == '/')
			return p + 2;
	return NULL;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* First byte that is neither space nor comment; used on checked text, where '/' outside a string can only
 * begin a comment. */
static const char *skip_space(const char *p, const char *end)
{
	while (p < end) {
		if (is_space(*p)) {
			p++;
		} else {
			const char *after = comment_end(p, end);

			if (!after)
				break;
			p = after;
		}
	}
	return p;
}

static bool scan_space(struct scan *s)
{
	while (s->at < s->size) {
		const char *after;

		if (is_space(s->text[s->at])) {
			s->at++;
			continue;
		}
		if (s->text[s->at] != '/')
			break;
		if (!(s->flags & JSON_HUJSON))
			return refuse(s, "comments are not allowed here");
		s->needs_copy = true;
		after = comment_end(s->text + s->at, s->text + s->size);
		if (!after)
			return refuse(s, "a comment without an end, or a stray '/'");
		s->at = (size_t)(after - s->text);
	}
	return true;
}

/* 'at' is on the opening quote; afterwards behind the closing one. */
static bool scan_string(struct scan *s)
{
	const size_t start = ++s->at;
	const size_t limit = s->size - start > JSON_STRING_MAX ? start + JSON_STRING_MAX + 1 : s->size;

	for (; s->at < s->size; s->at++) {
		unsigned char c;

		if (s->at < limit)
			s->at += json_plain(s->text + s->at, s->text + limit);
		if (s->at - start > JSON_STRING_MAX)
			return refuse(s, "a string is too long");
		if (s->at == s->size)
			break;
		c = (unsigned char)s->text[s->at];
		if (c == '"') {
			s->at++;
			return true;
		}
		if (c < 0x20)
			return refuse(s, "a control character in a string");
		s->needs_copy |= c == '\\' || c >= 0x80;
		if (c != '\\')
			continue;
		if (++s->at >= s->size)
			break;
		if (s->text[s->at] == 'u') {
			if (hex4(s->text + s->at + 1, s->text + s->size) < 0)
				return refuse(s, "\\u needs four hex digits");
			s->at += 4;
		} else if (!memchr("\"\\/bfnrt", s->text[s->at], 8)) {
			return refuse(s, "an unknown escape in a string");
		}
	}
	return refuse(s, "a string without an end");
}

static size_t scan_digits(struct scan *s)
{
	const size_t start = s->at;

	while (s->at < s->size && is_digit(s->text[s->at]))
		s->at++;
	return s->at - start;
}

static bool scan_number(struct scan *s)
{
	const size_t start = s->at;
	size_t digits;
	char c;

	if (s->text[s->at] == '-')
		s->at++;
	c = s->at < s->size ? s->text[s->at] : 0;
	digits = scan_digits(s);
	if (digits == 0 || (c == '0' && digits > 1))
		return refuse(s, "a malformed number");
	if (s->at < s->size && s->text[s->at] == '.') {
		s->at++;
		if (scan_digits(s) == 0)
			return refuse(s, "a malformed number");
	}
	if (s->at < s->size && (s->text[s->at] == 'e' || s->text[s->at] == 'E')) {
		s->at++;
		if (s->at < s->size && (s->text[s->at] == '+' || s->text[s->at] == '-'))
			s->at++;
		if (scan_digits(s) == 0)
			return refuse(s, "a malformed number");
	}
	if (s->at - start > JSON_STRING_MAX)
		return refuse(s, "a number is too long");
	s->needs_copy |= s->at - start > EXACT_DIGITS;
	return true;
}

static bool scan_word(struct scan *s, const char *word, size_t len)
{
	if (s->size - s->at < len || memcmp(s->text + s->at, word, len) != 0)
		return refuse(s, "expected a value");
	s->at += len;
	return true;
}

/* 1: needs a look. */
static const uint8_t special[256] = {
	[0 ... 0x1f] = 1, ['"'] = 1, ['\\'] = 1, ['<'] = 1, ['>'] = 1, ['&'] = 1, [0x80 ... 0xff] = 1,
};

size_t json_plain(const char *p, const char *end)
{
	const char *q = p;

	while (q < end && !special[(uint8_t)*q])
		q++;
	return (size_t)(q - p);
}

size_t json_utf8(const char *text, const char *end, uint32_t *cp)
{
	const unsigned char *p = (const unsigned char *)text;
	const size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	uint32_t v = p[0] & (n == 1 ? 0x7fu : 0x7fu >> n);

	if ((n > 1 && p[0] < 0xc2) || p[0] > 0xf4 || (size_t)(end - text) < n)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3fu);
	}
	if ((n == 3 && v < 0x800) || (n == 4 && v < 0x10000) || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 0;
	*cp = v;
	return n;
}

/* The two halves of an escaped surrogate pair at 'p', or 0. */
static uint32_t surrogate_pair(const char *p, const char *end)
{
	int32_t high, low;

	if (end - p < 12 || p[0] != '\\' || p[1] != 'u' || p[6] != '\\' || p[7] != 'u')
		return 0;
	high = hex4(p + 2, end);
	low = hex4(p + 8, end);
	if (high < 0xd800 || high > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return 0;
	return 0x10000u + ((uint32_t)(high - 0xd800) << 10 | (uint32_t)(low - 0xdc00));
}

/* One character of a checked string, however it is spelled; '*p' moves on. Bytes that are not UTF-8 count
 * as themselves. */
static uint32_t next_char(const char **p, const char *end)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *q = *p;
	uint32_t cp = (unsigned char)*q;

	if (*q != '\\') {
		const size_t n = json_utf8(q, end, &cp);

		*p = q + (n ? n : 1);
		return cp;
	}
	if (q[1] != 'u') {
		*p = q + 2;
		return (unsigned char)to[(const char *)memchr(from, q[1], 8) - from];
	}
	cp = surrogate_pair(q, end);
	*p = q + (cp ? 12 : 6);
	return cp ? cp : (uint32_t)hex4(q + 2, end);
}

static int name_cmp(const char *text, const struct name *a, const struct name *b)
{
	const char *p = text + a->at, *p_end = p + a->size;
	const char *q = text + b->at, *q_end = q + b->size;

	while (p < p_end && q < q_end) {
		const uint32_t x = next_char(&p, p_end), y = next_char(&q, q_end);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return p < p_end ? 1 : q < q_end ? -1 : 0;
}

/* Heap sort by name: bounded time on any input, no recursion, no allocation. */
static void names_sift(const char *text, struct name *v, size_t root, size_t n)
{
	for (;;) {
		size_t child = 2 * root + 1;
		struct name tmp;

		if (child >= n)
			return;
		if (child + 1 < n && name_cmp(text, &v[child], &v[child + 1]) < 0)
			child++;
		if (name_cmp(text, &v[root], &v[child]) >= 0)
			return;
		tmp = v[root];
		v[root] = v[child];
		v[child] = tmp;
		root = child;
	}
}

static void names_sort(const char *text, struct name *v, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		names_sift(text, v, i, n);
	for (size_t end = n; end-- > 1;) {
		const struct name tmp = v[0];

		v[0] = v[end];
		v[end] = tmp;
		names_sift(text, v, 0, end);
	}
}

static bool names_are_plain(const struct name *v, size_t n)
{
	bool are = true;

	for (size_t i = 0; i < n; i++)
		are = are && v[i].is_plain;
	return are;
}

/* Each with each: for the usual object that is a tenth of the cost of sorting. */
static bool few_are_distinct(struct scan *s, const struct name *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		const char *p = s->text + v[i].at;

		for (size_t k = 0; k < i; k++) {
			if (v[k].size != v[i].size || memcmp(p, s->text + v[k].at, v[i].size) != 0)
				continue;
			s->at = v[i].at - 1;
			return refuse(s, "a name that the object already has");
		}
	}
	return true;
}

/* The innermost object ends: are its names distinct? */
static bool names_close(struct scan *s)
{
	const size_t first = s->names.first[s->depth];
	const size_t n = s->names.n - first;
	struct name *v;

	s->names.n = first;
	if (n < 2)
		return true;
	v = s->names.list + first;
	if (n <= FEW_NAMES && names_are_plain(v, n))
		return few_are_distinct(s, v, n);
	names_sort(s->text, v, n);
	for (size_t i = 1; i < n; i++) {
		if (name_cmp(s->text, &v[i - 1], &v[i]) != 0)
			continue;
		/* The later of the two is the mistake to show. */
		s->at = (v[i].at > v[i - 1].at ? v[i].at : v[i - 1].at) - 1;
		return refuse(s, "a name that the object already has");
	}
	return true;
}

static int names_add(struct scan *s, size_t at, size_t size)
{
	struct names *m = &s->names;

	if (m->n == m->cap) {
		const size_t cap = m->cap ? 2 * m->cap : 64;
		struct name *list = realloc(m->list, cap * sizeof(*list));

		if (!list)
			return -ENOMEM;
		m->list = list;
		m->cap = cap;
	}
	m->list[m->n++] = (struct name){
		.at = at, .size = size, .is_plain = json_plain(s->text + at, s->text + at + size) == size
	};
	return 0;
}

static bool scan_open(struct scan *s, bool is_object)
{
	if (s->depth == JSON_DEPTH_MAX)
		return refuse(s, "nested too deeply");
	s->is_object = s->is_object << 1 | is_object;
	s->depth++;
	s->names.first[s->depth] = s->names.n;
	s->at++;
	return true;
}

static bool scan_close(struct scan *s)
{
	if ((s->flags & JSON_UNIQUE) && (s->is_object & 1) && !names_close(s))
		return false;
	s->is_object >>= 1;
	s->depth--;
	s->at++;
	return true;
}

/* A value begins at 'at'. Containers are only opened. */
static bool scan_value(struct scan *s, enum want *want)
{
	const char c = s->text[s->at];

	*want = WANT_SEPARATOR;
	switch (c) {
	case '{':
		*want = WANT_NAME_0;
		return scan_open(s, true);
	case '[':
		*want = WANT_FIRST;
		return scan_open(s, false);
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true", 4);
	case 'f':
		return scan_word(s, "false", 5);
	case 'n':
		return scan_word(s, "null", 4);
	default:
		if (c == '-' || is_digit(c))
			return scan_number(s);
		return refuse(s, "expected a value");
	}
}

/* A name begins at 'at'; reads the colon too. Returns 0, -EBADMSG or -ENOMEM. */
static int scan_name(struct scan *s)
{
	const size_t at = s->at + 1;

	if (s->text[s->at] != '"')
		return deny(s, "expected a name in quotes or '}'");
	if (!scan_string(s))
		return -EBADMSG;
	if ((s->flags & JSON_UNIQUE) && names_add(s, at, s->at - 1 - at) != 0)
		return -ENOMEM;
	if (!scan_space(s))
		return -EBADMSG;
	if (s->at >= s->size || s->text[s->at] != ':')
		return deny(s, "expected ':' after a name");
	s->at++;
	return 0;
}

/* One token at 'at', which is inside the text and not white space. */
static int scan_token(struct scan *s, enum want *want)
{
	const char c = s->text[s->at];
	const bool in_object = s->is_object & 1;
	int err;

	switch (*want) {
	case WANT_NAME_0:
	case WANT_NAME:
		if (c == '}' && (*want == WANT_NAME_0 || (s->flags & JSON_HUJSON))) {
			s->needs_copy |= *want == WANT_NAME;
			break;
		}
		err = scan_name(s);
		*want = WANT_VALUE;
		return err;
	case WANT_FIRST:
	case WANT_ELEMENT:
		if (c == ']' && (*want == WANT_FIRST || (s->flags & JSON_HUJSON))) {
			s->needs_copy |= *want == WANT_ELEMENT;
			break;
		}
		return scan_value(s, want) ? 0 : -EBADMSG;
	case WANT_VALUE:
		return scan_value(s, want) ? 0 : -EBADMSG;
	case WANT_SEPARATOR:
		if (c == ',') {
			s->at++;
			*want = in_object ? WANT_NAME : WANT_ELEMENT;
			return 0;
		}
		if (c == (in_object ? '}' : ']'))
			break;
		return deny(s, in_object ? "expected a comma or '}'" : "expected a comma or ']'");
	case WANT_NOTHING:
		return deny(s, "something follows the value");
	}
	*want = WANT_SEPARATOR;
	return scan_close(s) ? 0 : -EBADMSG;
}

static int scan_text(struct scan *s)
{
	enum want want = WANT_VALUE;

	if (s->size > JSON_TEXT_MAX)
		return deny(s, "the text is too long");
	for (;;) {
		int err;

		if (!scan_space(s))
			return -EBADMSG;
		if (s->at >= s->size)
			break;
		err = scan_token(s, &want);
		if (err)
			return err;
		if (want == WANT_SEPARATOR && s->depth == 0)
			want = WANT_NOTHING;
	}
	if (want != WANT_NOTHING)
		return deny(s, "the text ends too early");
	return 0;
}

int json_check(const char *text, size_t size, unsigned flags, struct json_err *err)
{
	bool is_prepared;

	return json_check_prepared(text, size, flags, err, &is_prepared);
}

int json_check_prepared(const char *text, size_t size, unsigned flags, struct json_err *err, bool *is_prepared)
{
	struct scan s = { .text = text, .size = size, .flags = flags };
	int res = scan_text(&s);

	free(s.names.list);
	*is_prepared = !res && !s.needs_copy;
	if (res && err) {
		*err = (struct json_err){ .reason = res == -ENOMEM ? no_memory : s.reason,
					  .offset = res == -ENOMEM ? 0 : s.at };
		json_position(text, size, err->offset, &err->line, &err->col);
	}
	return res;
}

int json_err_code(const struct json_err *e)
{
	return e->reason == no_memory ? -ENOMEM : -EBADMSG;
}

void json_position(const char *text, size_t size, size_t offset, uint32_t *line, uint32_t *col)
{
	*line = 1;
	*col = 1;
	for (size_t i = 0; i < offset && i < size; i++) {
		if (text[i] == '\n') {
			++*line;
			*col = 1;
		} else {
			++*col;
		}
	}
}

/* --- walking checked text --- */

static const char *string_end(const char *p, const char *end)
{
	for (p++; (p += json_plain(p, end)) < end && *p != '"'; p++)
		if (*p == '\\' && end - p > 1)
			p++;
	return p < end ? p + 1 : end;
}

/* Behind the value that begins at 'p'. */
static const char *value_end(const char *p, const char *end)
{
	size_t depth = 0;

	do {
		if (*p == '"') {
			p = string_end(p, end);
		} else if (*p == '{' || *p == '[') {
			depth++;
			p++;
		} else if (*p == '}' || *p == ']') {
			depth--;
			p++;
		} else if (*p == '/') {
			p = skip_space(p, end);
		} else if (depth > 0) {
			p++;
		} else { /* a number or a word alone */
			while (p < end && !is_space(*p) && !memchr(",]}/", *p, 4))
				p++;
		}
	} while (depth > 0 && p < end);
	return p;
}

bool json_iter_init(struct json_iter *it, struct json_span value)
{
	*it = (struct json_iter){ .p = value.p, .end = value.p + value.size };
	it->p = skip_space(it->p, it->end);
	if (it->p >= it->end || (*it->p != '{' && *it->p != '[')) {
		it->p = it->end;
		return false;
	}
	it->is_object = *it->p == '{';
	it->p++;
	return true;
}

bool json_iter_next(struct json_iter *it, struct json_span *name, struct json_span *value)
{
	const char *p = skip_space(it->p, it->end), *after;

	if (p < it->end && *p == ',')
		p = skip_space(p + 1, it->end);
	if (p >= it->end || *p == '}' || *p == ']') {
		it->p = it->end;
		return false;
	}
	if (it->is_object) {
		after = string_end(p, it->end);
		if (name)
			*name = (struct json_span){ .p = p + 1, .size = (size_t)(after - p) - 2 };
		p = skip_space(after, it->end);
		p = skip_space(p + 1, it->end); /* the colon */
	} else if (name) {
		*name = (struct json_span){ .p = p, .size = 0 };
	}
	after = value_end(p, it->end);
	*value = (struct json_span){ .p = p, .size = (size_t)(after - p) };
	it->p = after;
	return true;
}

bool json_span_is(struct json_span s, const char *text)
{
	const size_t len = strlen(text);

	return s.size == len && memcmp(s.p, text, len) == 0;
}

char json_span_kind(struct json_span s)
{
	if (s.size == 0)
		return 0;
	return *s.p == '-' || is_digit(*s.p) ? '0' : *s.p;
}

size_t json_locate(const char *text, size_t size, const size_t *steps, size_t n_steps, bool want_name)
{
	const char *start = skip_space(text, text + size);
	struct json_span value = { .p = start, .size = (size_t)(text + size - start) };
	size_t at = (size_t)(start - text);

	for (size_t i = 0; i < n_steps; i++) {
		struct json_span name = { 0 }, v = { 0 };
		struct json_iter it;
		bool found;

		if (!json_iter_init(&it, value))
			break;
		found = json_iter_next(&it, &name, &v);
		for (size_t k = 0; found && k < steps[i]; k++)
			found = json_iter_next(&it, &name, &v);
		if (!found)
			break;
		value = v;
		at = (size_t)(v.p - text);
		if (want_name && i + 1 == n_steps && it.is_object)
			at = (size_t)(name.p - text) - 1;
	}
	return at;
}

/* --- the prepared copy for cJSON --- */

/* Copies one "\uXXXX" (or a pair). NUL would cut the string in C, U+0001 is our mark and a lone surrogate is
 * no character: they become U+FFFD, as the reference parser does with the latter. Returns bytes read and
 * written. */
static size_t copy_unicode(char *dst, const char *p, const char *end)
{
	const int32_t v = hex4(p + 2, end);

	if (surrogate_pair(p, end)) {
		memcpy(dst, p, 12);
		return 12;
	}
	memcpy(dst, v <= 1 || (v >= 0xd800 && v <= 0xdfff) ? "\\ufffd" : p, 6);
	return 6;
}

/* Copies the string that begins at 'p' (its size stays) and returns its end. */
static const char *copy_string(char *dst, const char *p, const char *end)
{
	const char *const stop = string_end(p, end);
	uint32_t cp;
	size_t n;

	*dst++ = *p++;
	for (; p < stop; p += n, dst += n) {
		const unsigned char c = (unsigned char)*p;

		n = json_plain(p, stop);
		if (n) {
			memcpy(dst, p, n);
			continue;
		}
		n = 1;
		if (c == '\\' && p[1] == 'u') {
			n = copy_unicode(dst, p, stop);
		} else if (c == '\\') {
			memcpy(dst, p, 2);
			n = 2;
		} else if (c < 0x80) {
			*dst = *p;
		} else {
			n = json_utf8(p, stop, &cp);
			if (n)
				memcpy(dst, p, n);
			else
				*dst = '?';
			n = n ? n : 1;
		}
	}
	return stop;
}

/* Copies the number at 'p', quoted behind JSON_BIG_MARK if it is an integer that a double may not hold. */
static const char *copy_number(char **dst, const char *p, const char *end)
{
	const char *q = p + (*p == '-');
	size_t digits = 0;
	bool is_int = true;

	for (; q < end && (is_digit(*q) || memchr(".eE+-", *q, 5)); q++) {
		is_int = is_int && is_digit(*q);
		digits++;
	}
	if (is_int && digits > EXACT_DIGITS) {
		memcpy(*dst, "\"" JSON_BIG_MARK, 2);
		memcpy(*dst + 2, p, (size_t)(q - p));
		*dst += 2 + (q - p);
		*(*dst)++ = '"';
	} else {
		memcpy(*dst, p, (size_t)(q - p));
		*dst += q - p;
	}
	return q;
}

cJSON *json_tree(struct json_span value)
{
	/* A quoted integer of 16 bytes or more grows by three. */
	const size_t cap = value.size + value.size / 5 + 4;
	const char *p = value.p, *const end = p + value.size;
	char *buf, *dst, *comma = NULL;
	cJSON *tree;

	buf = dst = malloc(cap);
	if (!buf)
		return NULL;
	while ((p = skip_space(p, end)) < end) {
		if (comma && (*p == '}' || *p == ']'))
			*comma = ' '; /* it was a trailing one */
		comma = *p == ',' ? dst : NULL;
		if (*p == '"') {
			const char *stop = copy_string(dst, p, end);

			dst += stop - p;
			p = stop;
		} else if (*p == '-' || is_digit(*p)) {
			p = copy_number(&dst, p, end);
		} else {
			*dst++ = *p++;
		}
	}
	*dst = 0;
	tree = cJSON_ParseWithLength(buf, (size_t)(dst - buf));
	sodium_memzero(buf, (size_t)(dst - buf)); /* an auth key or a private one, perhaps */
	free(buf);
	return tree;
}

cJSON *json_tree_prepared(struct json_span value)
{
	return cJSON_ParseWithLength(value.p, value.size);
}

cJSON *json_parse(const char *text, size_t size, unsigned flags, struct json_err *err)
{
	const struct json_span all = { .p = text, .size = size };
	bool is_prepared;
	cJSON *tree;

	if (json_check_prepared(text, size, flags, err, &is_prepared) != 0)
		return NULL;
	tree = is_prepared ? json_tree_prepared(all) : json_tree(all);
	if (!tree && err)
		*err = (struct json_err){ .reason = no_memory, .line = 1, .col = 1 };
	return tree;
}
