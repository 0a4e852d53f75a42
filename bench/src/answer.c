#include "answer.h"

const char *const FAULT_NAMES[FAULTS] = {"right", "connect", "reset",   "http",    "status",    "type",
                                         "sse",   "json",    "content", "in_band", "truncated", "timeout"};

void samples_add(struct samples *s, int64_t ns) {
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 1024;
        s->at = grown(s->at, s->room * sizeof *s->at);
    }
    s->at[s->count++] = ns;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t samples_quantile(struct samples *s, double q) {
    qsort(s->at, s->count, sizeof *s->at, ascending);
    return s->at[(size_t)(q * (double)(s->count - 1) + 0.5)];
}

void answer_reset(struct answer *a) {
    a->fault = RIGHT;
    a->held.len = 0;
    a->in_event = a->finished = a->done = false;
    a->text = 0;
    a->tokens = 0;
}

static bool stamp(const char **p, const char *end, int64_t *ns) {
    const char *start = *p;
    *ns = 0;
    while (*p < end && **p >= '0' && **p <= '9') *ns = *ns * 10 + (*(*p)++ - '0');
    if (*p == start || *p == end || **p != ';') return false;
    ++*p;
    return true;
}

/* Added latency is what passed between the two clocks' readings less what the upstream says it used itself. */
static bool stamps(struct answer *a, const char **p, const char *end) {
    int64_t received = 0, sent;
    if (a->tokens == 0 && !stamp(p, end, &received)) return false;
    if (!stamp(p, end, &sent)) return false;
    if (a->tokens == 0 && a->first) samples_add(a->first, a->read_ns - a->sent_ns - (sent - received));
    if (a->each) samples_add(a->each, a->read_ns - sent);
    return true;
}

static void content(struct answer *a) {
    const char *p = a->found.content.at, *end = p + a->found.content.len;
    if (p == end) return;
    if (a->stream && a->shape.stamp && !stamps(a, &p, end)) {
        a->fault = CONTENT;
        return;
    }
    if (!text_matches(a->text, p, (size_t)(end - p))) a->fault = CONTENT;
    a->text += (size_t)(end - p);
    a->tokens++;
}

static void payload(struct answer *a, const char *p, size_t len) {
    while (len && *p == ' ') p++, len--;
    if (len == 6 && !memcmp(p, "[DONE]", 6)) {
        a->done = true;
        return;
    }
    if (a->done) a->fault = SSE; /* nothing may follow the end marker */
    else if (!json_read(&a->found, p, len)) a->fault = JSON;
    else if (a->found.error) a->fault = IN_BAND;
    else if (a->found.has_content) content(a);
    if (a->found.finished) a->finished = true;
}

static void line(struct answer *a, const char *p, size_t len) {
    if (len && p[len - 1] == '\r') len--;
    if (!len) a->in_event = false;
    else if (*p == ':') return;
    else if (len >= 5 && !memcmp(p, "data:", 5)) {
        if (a->in_event) a->fault = SSE; /* the upstream never sends two data lines in an event */
        a->in_event = true;
        payload(a, p + 5, len - 5);
    } else if (!(len >= 6 && !memcmp(p, "event:", 6)) && !(len >= 3 && !memcmp(p, "id:", 3))) a->fault = SSE;
}

void answer_bytes(void *answer, const char *p, size_t len) {
    struct answer *a = answer;
    const char *end = p + len, *lf;
    if (!a->stream) {
        bytes_add(&a->held, p, len);
        return;
    }
    while (a->fault == RIGHT && (lf = memchr(p, '\n', (size_t)(end - p)))) {
        if (a->held.len) {
            bytes_add(&a->held, p, (size_t)(lf - p));
            line(a, a->held.at, a->held.len);
            a->held.len = 0;
        } else line(a, p, (size_t)(lf - p));
        p = lf + 1;
    }
    if (a->fault == RIGHT && p < end) bytes_add(&a->held, p, (size_t)(end - p));
}

void answer_end(struct answer *a) {
    if (a->fault != RIGHT) return;
    if (!a->stream) {
        if (!json_read(&a->found, a->held.at, a->held.len)) a->fault = JSON;
        else if (a->found.error) a->fault = IN_BAND;
        else if (a->found.has_content) content(a);
        a->finished = a->done = a->found.finished;
        a->held.len = 0;
    }
    if (a->fault != RIGHT) return;
    if (!a->done || !a->finished || a->held.len || a->in_event) a->fault = TRUNCATED;
    else if (a->text != text_length(a->shape.tokens)) a->fault = CONTENT;
}
