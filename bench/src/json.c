#include "json.h"

/* Where in an answer a value stands; a step through a member leads from one place to the next. */
enum place { ROOT, CHOICES, CHOICE, MESSAGE, CONTENT, REASON, ERROR_OBJECT, ELSEWHERE };

static const struct {
    enum place from;
    const char *key;
    enum place to;
} STEPS[] = {
    {ROOT, "choices", CHOICES},   {ROOT, "error", ERROR_OBJECT},    {CHOICE, "delta", MESSAGE},
    {CHOICE, "message", MESSAGE}, {CHOICE, "finish_reason", REASON}, {MESSAGE, "content", CONTENT},
};

struct reader {
    const char *p, *end;
    struct found *found;
};

enum { DEEPEST = 32 };

static void space(struct reader *r) {
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')) r->p++;
}

static bool take(struct reader *r, char c) {
    if (r->p == r->end || *r->p != c) return false;
    r->p++;
    return true;
}

static bool word(struct reader *r, const char *w) {
    size_t n = strlen(w);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, w, n) != 0) return false;
    r->p += n;
    return true;
}

static bool hex4(struct reader *r, uint32_t *unit) {
    if (r->end - r->p < 4) return false;
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = *r->p++;
        uint32_t digit;
        if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f') digit = (uint32_t)((c | 32) - 'a') + 10;
        else return false;
        *unit = *unit << 4 | digit;
    }
    return true;
}

static void utf8(struct bytes *out, uint32_t c) {
    char b[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6) b[i] = (char)(0x80 | (c & 0x3f));
    b[0] = (char)(LEAD[n] | c);
    bytes_add(out, b, n);
}

/* After "\u". Half of a surrogate pair is a fault: no answer of ours contains one. */
static bool escape_unit(struct reader *r, struct bytes *out) {
    uint32_t c, low;
    if (!hex4(r, &c) || (c >= 0xdc00 && c < 0xe000)) return false;
    if (c >= 0xd800 && c < 0xdc00) {
        if (!take(r, '\\') || !take(r, 'u') || !hex4(r, &low) || low < 0xdc00 || low > 0xdfff) return false;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (out) utf8(out, c);
    return true;
}

static bool string(struct reader *r, struct bytes *out) {
    if (!take(r, '"')) return false;
    for (;;) {
        const char *run = r->p;
        while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (unsigned char)*r->p >= 0x20) r->p++;
        if (out) bytes_add(out, run, (size_t)(r->p - run));
        if (take(r, '"')) return true;
        if (!take(r, '\\') || r->p == r->end) return false;
        char c = *r->p++;
        if (c == 'u') {
            if (!escape_unit(r, out)) return false;
            continue;
        }
        static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
        const char *which = memchr(FROM, c, sizeof FROM - 1);
        if (!which) return false;
        if (out) bytes_add(out, &TO[which - FROM], 1);
    }
}

static bool digits(struct reader *r) {
    const char *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') r->p++;
    return r->p > start;
}

static bool number(struct reader *r) {
    take(r, '-');
    if (!take(r, '0') && !digits(r)) return false;
    if (take(r, '.') && !digits(r)) return false;
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) take(r, '-');
        return digits(r);
    }
    return true;
}

static bool value(struct reader *r, enum place place, int depth);

static enum place step(enum place from, const char *key, size_t len) {
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++)
        if (STEPS[i].from == from && strlen(STEPS[i].key) == len && !memcmp(STEPS[i].key, key, len))
            return STEPS[i].to;
    return ELSEWHERE;
}

static bool members(struct reader *r, enum place place, int depth) {
    if (take(r, '}')) return true;
    do {
        space(r);
        const char *key = r->p + 1;
        if (!string(r, NULL)) return false;
        enum place next = step(place, key, (size_t)(r->p - 1 - key));
        space(r);
        if (!take(r, ':') || !value(r, next, depth)) return false;
    } while (take(r, ','));
    return take(r, '}');
}

static bool elements(struct reader *r, enum place place, int depth) {
    if (take(r, ']')) return true;
    do {
        if (!value(r, place == CHOICES ? CHOICE : ELSEWHERE, depth)) return false;
    } while (take(r, ','));
    return take(r, ']');
}

/* One value with the white space around it. */
static bool value(struct reader *r, enum place place, int depth) {
    bool ok, null = false;
    space(r);
    if (r->p == r->end || depth == DEEPEST) return false;
    switch (*r->p) {
    case '{':
    case '[': {
        bool object = *r->p++ == '{';
        space(r);
        ok = object ? members(r, place, depth + 1) : elements(r, place, depth + 1);
        break;
    }
    case '"':
        if (place == CONTENT) r->found->has_content = true;
        ok = string(r, place == CONTENT ? &r->found->content : NULL);
        break;
    case 't': ok = word(r, "true"); break;
    case 'f': ok = word(r, "false"); break;
    case 'n': ok = null = word(r, "null"); break;
    default: ok = number(r);
    }
    if (place == REASON && !null) r->found->finished = true;
    if (place == ERROR_OBJECT && !null) r->found->error = true;
    space(r);
    return ok;
}

bool json_read(struct found *found, const char *p, size_t len) {
    found->content.len = 0;
    found->has_content = found->finished = found->error = false;
    struct reader r = {p, p + len, found};
    return value(&r, ROOT, 0) && r.p == r.end;
}
