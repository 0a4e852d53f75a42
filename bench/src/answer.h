/* Judges one answer as it arrives: every byte of its text, its finish reason, its end marker. */
#ifndef ANSWER_H
#define ANSWER_H
#include "json.h"
#include "text.h"

/* Why an answer is not right; the names stand in answer.c. */
enum fault {
    RIGHT, CONNECT, RESET, HTTP, STATUS, TYPE, SSE, JSON, CONTENT, IN_BAND, TRUNCATED, TIMEOUT, FAULTS,
};
extern const char *const FAULT_NAMES[FAULTS];

struct samples { /* durations in ns */
    int64_t *at;
    size_t count, room;
};
void samples_add(struct samples *s, int64_t ns);
int64_t samples_quantile(struct samples *s, double q); /* sorts; there must be some */

struct answer {
    struct shape shape;
    bool stream;
    enum fault fault;
    struct found found;
    struct bytes held; /* an unfinished line, or the JSON body */
    bool in_event, finished, done;
    size_t text; /* how much of it has come */
    int64_t tokens, sent_ns, read_ns;
    struct samples *first, *each; /* added latency, of stamped answers */
};

void answer_reset(struct answer *a);
void answer_bytes(void *answer, const char *p, size_t len); /* a reply_sink */
void answer_end(struct answer *a);                          /* the body is over: is anything missing? */
#endif
