#include "text.h"

/* Sequences of one to four bytes, joiners, combining vowel signs, right-to-left, and the characters
 * that JSON must escape: what a relay breaks when it cuts or decodes carelessly. */
static const char *const TOKENS[] = {
    "Вода",   " течёт",  ", ",        "নদীর",  " জল", " বয়ে",  " যায়", "। ",      "水流", "不息",
    "。",     "川の",    "流れ",      "は",    " 강물", " 🌊",   "👩‍🔧",  " 🇧🇩",      " a",   " sluice",
    " \"gate\"", " up\\stream", "\n", "\tnaïve", " Größe", " ﻣﺎء", " שלום", " 𝄞",  " żółw", " and",
    " tokens", ".",
};
enum { COUNT = sizeof TOKENS / sizeof TOKENS[0] };

static struct bytes escaped[COUNT];
static size_t ends[COUNT + 1]; /* ends[k]: length of the first k tokens */
static struct bytes twice;     /* the cycle of all tokens two times: any window of one cycle is contiguous */

static void escape(struct bytes *out, const char *s) {
    for (; *s; s++) {
        switch (*s) {
        case '"': bytes_str(out, "\\\""); break;
        case '\\': bytes_str(out, "\\\\"); break;
        case '\n': bytes_str(out, "\\n"); break;
        case '\t': bytes_str(out, "\\t"); break;
        default: bytes_add(out, s, 1);
        }
    }
}

void text_init(void) {
    for (size_t k = 0; k < COUNT; k++) {
        escape(&escaped[k], TOKENS[k]);
        ends[k + 1] = ends[k] + strlen(TOKENS[k]);
        bytes_str(&twice, TOKENS[k]);
    }
    size_t cycle = twice.len;
    for (size_t k = 0; k < COUNT; k++) bytes_str(&twice, TOKENS[k]);
    if (twice.len != 2 * cycle) abort();
}

const char *text_escaped(int64_t k, size_t *len) {
    const struct bytes *e = &escaped[k % COUNT];
    *len = e->len;
    return e->at;
}

size_t text_length(int64_t tokens) {
    return (size_t)(tokens / COUNT) * ends[COUNT] + ends[tokens % COUNT];
}

bool text_matches(size_t pos, const char *p, size_t len) {
    size_t cycle = ends[COUNT];
    while (len) {
        size_t start = pos % cycle, n = len < cycle ? len : cycle;
        if (memcmp(twice.at + start, p, n) != 0) return false;
        pos += n, p += n, len -= n;
    }
    return true;
}

static bool word(const char *p, size_t len, const char *name, int64_t *value) {
    size_t n = strlen(name);
    if (len <= n || len - n > 15 || memcmp(p, name, n) != 0) return false;
    int64_t v = 0;
    for (size_t i = n; i < len; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        v = v * 10 + (p[i] - '0');
    }
    *value = v;
    return true;
}

bool shape_parse(struct shape *shape, const char *name, size_t len) {
    *shape = (struct shape){.tokens = 20, .burst = 1};
    if (len < 3 || memcmp(name, "sim", 3) != 0) return false;
    const char *p = name + 3, *end = name + len;
    while (p < end) {
        if (*p++ != '-') return false;
        const char *dash = memchr(p, '-', (size_t)(end - p));
        size_t n = (size_t)((dash ? dash : end) - p);
        if (n == 5 && !memcmp(p, "stamp", 5)) shape->stamp = true;
        else if (n == 4 && !memcmp(p, "late", 4)) shape->late = true;
        else if (!word(p, n, "tokens", &shape->tokens) && !word(p, n, "gap", &shape->gap_us) &&
                 !word(p, n, "first", &shape->first_us) && !word(p, n, "burst", &shape->burst))
            return false;
        p += n;
    }
    return true;
}
