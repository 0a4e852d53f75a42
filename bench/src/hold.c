/* Many streams at once, kept open while somebody weighs the gateway. */
#include "load.h"
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { OPENING_AT_ONCE = 32 };

struct crowd {
    const struct plan *plan;
    int poller, opened, opening, held;
    struct client *clients;
    struct tally tally;
};

static void open_more(struct crowd *w) {
    while (w->opened < w->plan->connections && w->opening < OPENING_AT_ONCE) {
        struct client *c = &w->clients[w->opened++];
        client_init(c, &w->plan->target);
        w->tally.begun++;
        if (!client_begin(c, &w->plan->target)) {
            tally_add(&w->tally, &c->answer);
            continue;
        }
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(w->poller, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
        w->opening++;
    }
}

static void on_readable(struct crowd *w, struct client *c) {
    bool was_held = c->answer.tokens >= w->plan->events;
    int fd = c->fd;
    if (client_read(c) != REPLY_MORE) {
        if (was_held) w->held--;
        else w->opening--;
        tally_add(&w->tally, &c->answer);
        client_close(c);
        return;
    }
    if (was_held || c->answer.tokens < w->plan->events) return;
    w->opening--, w->held++;
    if (w->plan->stall) epoll_ctl(w->poller, EPOLL_CTL_DEL, fd, NULL); /* and never reads again */
}

static void turn(struct crowd *w, int timeout_ms) {
    static struct epoll_event events[256];
    int n = epoll_wait(w->poller, events, 256, timeout_ms);
    for (int i = 0; i < n; i++) on_readable(w, events[i].data.ptr);
}

static bool told(void) {
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}

void run_holding(const struct plan *plan) {
    struct crowd w = {.plan = plan, .poller = epoll_create1(EPOLL_CLOEXEC)};
    w.clients = grown(NULL, (size_t)plan->connections * sizeof *w.clients);
    int64_t deadline = now_ns() + (int64_t)(plan->seconds * (double)SECOND);
    do {
        open_more(&w);
        turn(&w, 50);
    } while ((w.opening || w.opened < plan->connections) && now_ns() < deadline);
    printf("{\"held\":%d}\n", w.held);
    fflush(stdout);
    deadline = now_ns() + (int64_t)(plan->grace * (double)SECOND);
    while (!told() && now_ns() < deadline) turn(&w, 20);
    int held = w.held;
    for (int i = 0; i < w.opened; i++) {
        if (w.clients[i].answer.fault != RIGHT || w.clients[i].fd < 0) continue;
        w.tally.events += w.clients[i].answer.tokens;
        client_close(&w.clients[i]);
    }
    struct timespec settle = {1, 500 * MS};
    nanosleep(&settle, NULL);
    struct counters after = {-1, -1, -1};
    counters_read(&plan->target, -1, &after);
    printf("{");
    print_tally(&w.tally);
    printf(",\"held\":%d,\"left_open\":%lld}\n", held, (long long)after.active);
}
