/* What the fake upstream says: one request's answer as a row of steps, each of them one write.
 *
 * Step 0 is the event with the role, steps 1 to N are the tokens, step N+1 the finish reason, step N+2
 * (if the request asked for it) the usage, and the last is [DONE] with the end of the HTTP body. */
#ifndef SCRIPT_H
#define SCRIPT_H
#include "text.h"

struct script {
    struct shape shape;
    bool stream, usage;
    int64_t received_ns; /* when the request was whole */
    int64_t next, steps;
    struct bytes model;
};

/* False if the request's model is none of ours. */
bool script_begin(struct script *s, const char *body, size_t len);
int64_t script_due(const struct script *s); /* when the next step is to be sent */
void script_head(struct bytes *out);
void script_step(struct script *s, struct bytes *out); /* the next one, as one HTTP chunk */
void script_whole(const struct script *s, struct bytes *out); /* not streamed: head and JSON */
void reply_json(struct bytes *out, int status, const char *body, size_t len);
#endif
