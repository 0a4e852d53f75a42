#include "client.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void bound_waiting(int fd) {
    struct timeval t = {5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

void client_init(struct client *c, const struct target *t) {
    *c = (struct client){.fd = -1};
    c->answer.shape = t->shape;
    c->answer.stream = t->stream;
}

void client_close(struct client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

bool client_begin(struct client *c, const struct target *t) {
    answer_reset(&c->answer);
    reply_reset(&c->reply);
    c->requests++;
    if (c->fd < 0) {
        /* On the loopback to connect takes microseconds; waiting for it keeps the loop simple. */
        c->fd = net_connect(&t->address, true);
        if (c->fd < 0) {
            c->answer.fault = CONNECT;
            return false;
        }
        bound_waiting(c->fd);
    }
    c->answer.sent_ns = now_ns();
    ssize_t n = send(c->fd, t->request.at, t->request.len, MSG_NOSIGNAL);
    if (n == (ssize_t)t->request.len) return true;
    c->answer.fault = RESET;
    client_close(c);
    return false;
}

static enum reply_state over(struct client *c, enum reply_state state) {
    struct answer *a = &c->answer;
    if (a->fault == RIGHT && c->reply.status && c->reply.status != 200) a->fault = STATUS;
    else if (a->fault == RIGHT && state == REPLY_WHOLE && a->stream && !c->reply.event_stream) a->fault = TYPE;
    if (a->fault == RIGHT && state == REPLY_WHOLE) answer_end(a);
    if (a->fault == RIGHT && state == REPLY_BAD) a->fault = HTTP;
    if (a->fault != RIGHT || c->reply.close_after) client_close(c);
    return state;
}

enum reply_state client_read(struct client *c) {
    char piece[64 << 10];
    ssize_t n = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return REPLY_MORE;
    c->answer.read_ns = now_ns();
    if (n <= 0) {
        bool begun = c->reply.phase != HEAD;
        enum reply_state state = n == 0 ? reply_closed(&c->reply) : REPLY_BAD;
        if (state == REPLY_BAD) c->answer.fault = n == 0 && begun ? TRUNCATED : RESET;
        return over(c, state);
    }
    enum reply_state state = reply_feed(&c->reply, piece, (size_t)n, answer_bytes, &c->answer);
    if (c->reply.phase != HEAD && c->reply.status != 200) {
        if (state == REPLY_MORE) return state; /* read the error body to its end */
    } else if (state == REPLY_MORE && c->answer.fault == RIGHT) return state;
    return over(c, state == REPLY_MORE ? REPLY_BAD : state);
}

static int64_t counter(const char *text, const char *key) {
    const char *p = strstr(text, key);
    return p ? strtoll(p + strlen(key), NULL, 10) : -1;
}

bool counters_read(const struct target *t, int64_t gone_above, struct counters *out) {
    char text[2048];
    size_t len = 0;
    int fd = net_connect(&t->upstream, true);
    if (fd < 0) return false;
    bound_waiting(fd);
    int n = gone_above < 0 ? snprintf(text, sizeof text, "GET /stats HTTP/1.1\r\n\r\n")
                           : snprintf(text, sizeof text, "GET /gone/%" PRId64 " HTTP/1.1\r\n\r\n", gone_above);
    bool ok = send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
    while (ok && len < sizeof text - 1) {
        ssize_t got = recv(fd, text + len, sizeof text - 1 - len, 0);
        if (got <= 0) break;
        len += (size_t)got;
        text[len] = 0;
        if (text[len - 1] == '}') break;
    }
    close(fd);
    text[len] = 0;
    *out = (struct counters){counter(text, "\"active\":"), counter(text, "\"gone\":"), counter(text, "\"gone_at_ns\":")};
    return ok && out->active >= 0;
}
