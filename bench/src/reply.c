#include "reply.h"
#include <strings.h>

enum { HEAD_MAX = 64 << 10, LINE_MAX = 4 << 10 };

void reply_reset(struct reply *r) {
    r->phase = HEAD;
    r->status = 0;
    r->event_stream = r->close_after = false;
    r->line.len = 0;
}

static bool has(const char *value, const char *word) {
    size_t n = strlen(word);
    for (; *value && *value != '\r' && *value != '\n'; value++)
        if (!strncasecmp(value, word, n)) return true;
    return false;
}

static bool head(struct reply *r) {
    bytes_add(&r->line, "", 1);
    const char *p = r->line.at;
    bool chunked = false;
    r->left = -1;
    if (sscanf(p, "HTTP/1.%*1[01] %3d", &r->status) != 1) return false;
    while ((p = strstr(p, "\r\n")) && p[2]) {
        p += 2;
        if (!strncasecmp(p, "transfer-encoding:", 18)) chunked = has(p + 18, "chunked");
        else if (!strncasecmp(p, "content-length:", 15)) r->left = strtoll(p + 15, NULL, 10);
        else if (!strncasecmp(p, "content-type:", 13)) r->event_stream = has(p + 13, "text/event-stream");
        else if (!strncasecmp(p, "connection:", 11)) r->close_after = has(p + 11, "close");
    }
    r->line.len = 0;
    if (chunked && r->left >= 0) return false;
    r->phase = chunked ? CHUNK_SIZE : r->left < 0 ? UNTIL_CLOSE : r->left ? SIZED : WHOLE;
    return true;
}

/* Move bytes into `line` through the next LF; true when it is there. */
static bool line(struct reply *r, const char **p, const char *end, size_t most, bool *bad) {
    const char *lf = memchr(*p, '\n', (size_t)(end - *p));
    size_t n = (size_t)((lf ? lf + 1 : end) - *p);
    bytes_add(&r->line, *p, n);
    *p += n;
    *bad = r->line.len > most;
    return lf && !*bad;
}

static bool chunk_size(struct reply *r) {
    char *end;
    if (r->line.len < 3 || r->line.at[r->line.len - 2] != '\r') return false;
    bytes_add(&r->line, "", 1);
    r->left = strtoll(r->line.at, &end, 16);
    bool ok = end > r->line.at && r->left >= 0 && (*end == '\r' || *end == ';' || *end == ' ');
    r->line.len = 0;
    r->phase = r->left ? CHUNK_DATA : TRAILERS;
    return ok;
}

enum reply_state reply_feed(struct reply *r, const char *p, size_t len, reply_sink *sink, void *to) {
    const char *end = p + len;
    bool bad = false;
    while (p < end && !bad) {
        size_t n = (size_t)(end - p);
        switch (r->phase) {
        case HEAD:
            if (!line(r, &p, end, HEAD_MAX, &bad)) break;
            if (r->line.len >= 4 && !memcmp(r->line.at + r->line.len - 4, "\r\n\r\n", 4)) bad = !head(r);
            break;
        case SIZED:
        case CHUNK_DATA:
            if ((int64_t)n > r->left) n = (size_t)r->left;
            /* fall through */
        case UNTIL_CLOSE:
            sink(to, p, n);
            p += n;
            if (r->phase != UNTIL_CLOSE && (r->left -= (int64_t)n) == 0) r->phase = r->phase == SIZED ? WHOLE : CHUNK_END;
            break;
        case CHUNK_SIZE:
            if (line(r, &p, end, LINE_MAX, &bad)) bad = !chunk_size(r);
            break;
        case CHUNK_END:
            if (!line(r, &p, end, LINE_MAX, &bad)) break;
            bad = r->line.len != 2 || r->line.at[0] != '\r';
            r->line.len = 0;
            r->phase = CHUNK_SIZE;
            break;
        case TRAILERS:
            if (!line(r, &p, end, LINE_MAX, &bad)) break;
            if (r->line.len == 2) r->phase = WHOLE;
            r->line.len = 0;
            break;
        case WHOLE: bad = true; break;
        }
    }
    return bad ? REPLY_BAD : r->phase == WHOLE ? REPLY_WHOLE : REPLY_MORE;
}

enum reply_state reply_closed(struct reply *r) {
    r->close_after = true;
    if (r->phase == UNTIL_CLOSE) r->phase = WHOLE;
    return r->phase == WHOLE ? REPLY_WHOLE : REPLY_BAD;
}
