/* One client connection: sends the request again and again and judges what comes back. */
#ifndef CLIENT_H
#define CLIENT_H
#include "answer.h"
#include "net.h"
#include "reply.h"

struct target {
    struct sockaddr_in address, upstream;
    struct bytes request;
    struct shape shape;
    bool stream;
};

struct client {
    int fd; /* -1: not connected */
    struct reply reply;
    struct answer answer;
    int64_t requests; /* begun */
};

void client_init(struct client *c, const struct target *t);
/* Connects if need be and sends the request. False: answer.fault says why not. */
bool client_begin(struct client *c, const struct target *t);
/* Takes what the socket holds. REPLY_WHOLE and REPLY_BAD both end the request: answer.fault is the verdict. */
enum reply_state client_read(struct client *c);
void client_close(struct client *c);

/* A counter of the upstream, asked for over a connection of its own; -1 if it does not answer. With `gone_above` >= 0
 * the upstream answers when more than that many clients have gone (or after its two seconds). */
struct counters {
    int64_t active, gone, gone_at_ns;
};
bool counters_read(const struct target *t, int64_t gone_above, struct counters *out);
#endif
