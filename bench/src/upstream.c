/* A fake LLM upstream: one thread, epoll, HTTP/1.1 with keep-alive, on the loopback.
 *
 *     upstream [SECONDS]        prints its port; ends after SECONDS (900), or with its parent
 *
 * POST /v1/chat/completions   an answer of the shape that the model name says (text.h), streamed or not
 * GET  /v1/models             no models: the name is judged when it is used
 * GET  /stats                 counters
 * GET  /gone/N                answers when more than N unfinished answers have lost their client, with the
 *                             time at which the closing was seen; after two seconds it answers anyway
 *
 * Each event of a stream is one write. A stream whose socket is full waits until it drains; the others go on. */
#include "net.h"
#include "script.h"
#include "timers.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441 /* Linux 5.11; the same number on every architecture */
#endif

enum { BATCH = 256, HEAD_MAX = 64 << 10, BODY_MAX = 64 << 20, WATCH_MS = 2000 };

struct conn {
    int fd;
    enum { RESTING, ANSWERING, WATCHING, BURIED } doing;
    bool draining; /* waits for the socket to take more */
    bool opened;   /* the head of the stream has been written */
    struct bytes in, out;
    size_t written;
    struct script script;
    struct timer timer;
    int64_t watch; /* /gone/N: the N */
    struct conn *next_watcher, *next_buried;
};

static int poller;
static struct conn *watchers, *buried;
static struct {
    int64_t open, active, started, completed, gone, gone_at, bad;
} stats;

static void interest(struct conn *c, bool draining) {
    if (c->draining == draining) return;
    c->draining = draining;
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | (draining ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void stats_reply(struct conn *c) {
    char text[256];
    int n = snprintf(text, sizeof text,
                     "{\"open\":%" PRId64 ",\"active\":%" PRId64 ",\"started\":%" PRId64 ",\"completed\":%" PRId64
                     ",\"gone\":%" PRId64 ",\"gone_at_ns\":%" PRId64 ",\"bad\":%" PRId64 "}",
                     stats.open, stats.active, stats.started, stats.completed, stats.gone, stats.gone_at, stats.bad);
    reply_json(&c->out, 200, text, (size_t)n);
}

static void unwatch(struct conn *c) {
    struct conn **w = &watchers;
    while (*w != c) w = &(*w)->next_watcher;
    *w = c->next_watcher;
}

static void bury(struct conn *c) {
    if (c->doing == BURIED) return;
    bool lost = c->doing == ANSWERING;
    if (c->doing == WATCHING) unwatch(c);
    c->doing = BURIED;
    timer_clear(&c->timer);
    close(c->fd);
    stats.open--;
    c->next_buried = buried; /* freed after the batch: an event for it may still be in hand */
    buried = c;
    if (lost) {
        stats.active--, stats.gone++;
        stats.gone_at = now_ns();
        for (struct conn *w = watchers; w; w = w->next_watcher)
            if (stats.gone > w->watch) timer_set(&w->timer, 0);
    }
}

/* True when everything has left. */
static bool flush(struct conn *c) {
    while (c->written < c->out.len) {
        ssize_t n = send(c->fd, c->out.at + c->written, c->out.len - c->written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            interest(c, true);
            return false;
        }
        if (n < 0) {
            bury(c);
            return false;
        }
        c->written += (size_t)n;
    }
    c->written = c->out.len = 0;
    interest(c, false);
    return true;
}

static void begin(struct conn *c, const char *body, size_t len) {
    static const char REFUSAL[] = "{\"error\":{\"message\":\"no such model\",\"type\":\"invalid_request_error\","
                                  "\"param\":\"model\",\"code\":\"model_not_found\"}}";
    if (!script_begin(&c->script, body, len)) {
        stats.bad++;
        reply_json(&c->out, 404, REFUSAL, sizeof REFUSAL - 1);
        return;
    }
    stats.started++, stats.active++;
    c->doing = ANSWERING;
    c->opened = false;
    if (c->script.stream && !c->script.shape.late) {
        script_head(&c->out);
        c->opened = true;
    }
    timer_set(&c->timer, script_due(&c->script));
}

static void dispatch(struct conn *c, const char *head, const char *body, size_t len) {
    if (!strncmp(head, "POST ", 5)) {
        begin(c, body, len);
    } else if (!strncmp(head, "GET /gone/", 10)) {
        c->watch = strtoll(head + 10, NULL, 10);
        c->doing = WATCHING;
        c->next_watcher = watchers;
        watchers = c;
        timer_set(&c->timer, stats.gone > c->watch ? 0 : now_ns() + (int64_t)WATCH_MS * MS);
    } else if (!strncmp(head, "GET /stats", 10)) {
        stats_reply(c);
    } else {
        static const char NONE[] = "{\"object\":\"list\",\"data\":[]}";
        reply_json(&c->out, 200, NONE, sizeof NONE - 1);
    }
}

/* The value of Content-Length, 0 if there is none, -1 for a head that this server does not take. */
static int64_t body_length(const char *head) {
    int64_t len = 0;
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "transfer-encoding:", 18)) return -1;
        if (!strncasecmp(line + 2, "content-length:", 15)) len = strtoll(line + 17, NULL, 10);
    }
    return len < 0 || len > BODY_MAX ? -1 : len;
}

/* Take whole requests out of what has been received, as long as nothing is being answered. */
static void requests(struct conn *c) {
    while (c->doing == RESTING && c->in.len) {
        char *end = memmem(c->in.at, c->in.len, "\r\n\r\n", 4);
        if (!end && c->in.len < HEAD_MAX) return;
        int64_t body = -1;
        if (end) {
            end[2] = 0; /* the head as a string, its last line ended */
            body = body_length(c->in.at);
            end[2] = '\r';
        }
        if (body < 0) {
            stats.bad++;
            bury(c);
            return;
        }
        size_t head = (size_t)(end + 4 - c->in.at);
        if (c->in.len < head + (size_t)body) return;
        dispatch(c, c->in.at, c->in.at + head, (size_t)body);
        bytes_drop(&c->in, head + (size_t)body);
        flush(c);
    }
}

static void completed(struct conn *c) {
    stats.active--, stats.completed++;
    c->doing = RESTING;
    requests(c);
}

/* The timer of a connection has run out: say what is due. */
static void proceed(struct conn *c) {
    if (c->doing == WATCHING) {
        unwatch(c);
        stats_reply(c);
        c->doing = RESTING;
        if (flush(c)) requests(c);
        return;
    }
    if (!c->script.stream) {
        script_whole(&c->script, &c->out);
        c->script.next = c->script.steps;
    } else {
        if (!c->opened) script_head(&c->out);
        c->opened = true;
        int64_t burst = c->script.shape.gap_us ? 1 : c->script.shape.burst, last = c->script.steps - 1;
        do script_step(&c->script, &c->out);
        while (--burst > 0 && c->script.next < last);
        if (c->script.next == last) script_step(&c->script, &c->out); /* [DONE] goes with the finish */
    }
    if (!flush(c)) return;
    if (c->script.next == c->script.steps) completed(c);
    else {
        int64_t due = script_due(&c->script), now = now_ns();
        timer_set(&c->timer, c->script.shape.gap_us || due > now ? due : now); /* without gaps: take turns */
    }
}

static void drained(struct conn *c) {
    if (!flush(c) || c->doing != ANSWERING || c->timer.slot) return;
    if (c->script.next == c->script.steps) completed(c);
    else timer_set(&c->timer, now_ns());
}

static void readable(struct conn *c) {
    char piece[64 << 10];
    for (;;) {
        ssize_t n = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0) { /* the end, half-closed or reset: nobody wants the rest */
            bury(c);
            return;
        }
        bytes_add(&c->in, piece, (size_t)n);
        if (c->in.len > HEAD_MAX + BODY_MAX) {
            bury(c);
            return;
        }
        if ((size_t)n < sizeof piece) break;
    }
    requests(c);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        net_nodelay(fd);
        struct conn *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        c->timer.owner = c;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
        stats.open++;
    }
}

static int wait_for(struct epoll_event *events, int64_t until) {
    int64_t left = until - now_ns();
    if (left < 0) left = 0;
    struct timespec t = {left / SECOND, left % SECOND};
    return (int)syscall(SYS_epoll_pwait2, poller, events, BATCH, &t, NULL, (size_t)0);
}

int main(int argc, char **argv) {
    static struct epoll_event events[BATCH];
    int port, listener = net_listen(&port);
    int64_t end = now_ns() + (argc > 1 ? atoll(argv[1]) : 900) * SECOND;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    net_raise_file_limit();
    text_init();
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e)) die("epoll");
    printf("%d\n", port);
    fflush(stdout);
    while (now_ns() < end) {
        struct timer *first = timer_first();
        int n = wait_for(events, first && first->due < end ? first->due : end);
        if (n < 0 && errno != EINTR) die("epoll_pwait2");
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (c->doing != BURIED && events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readable(c);
            if (c->doing != BURIED && events[i].events & EPOLLOUT) drained(c);
        }
        int64_t now = now_ns();
        for (int i = 0; i < BATCH && (first = timer_first()) && first->due <= now; i++) {
            timer_clear(first);
            proceed(first->owner);
        }
        while (buried) {
            struct conn *c = buried;
            buried = c->next_buried;
            bytes_free(&c->in), bytes_free(&c->out), bytes_free(&c->script.model);
            free(c);
        }
    }
    return 0;
}
