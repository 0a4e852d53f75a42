/* The closed loop: each connection sends its next request when the last answer is over. */
#include "load.h"
#include <sys/epoll.h>
#include <sys/resource.h>

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

struct loop {
    const struct plan *plan;
    int poller, started, under_way;
    int64_t begin, stop;
    struct client *clients;
    struct samples first, each, whole;
    struct tally tally;
};

static void next_request(struct loop *l, struct client *c) {
    const struct plan *plan = l->plan;
    /* A peer that refuses everything must not turn the loop into a spin: a fault ends the connection's turn. */
    if (now_ns() >= l->stop || (plan->each && c->requests >= plan->each) || c->answer.fault != RIGHT) return;
    bool fresh = c->fd < 0;
    l->tally.begun++;
    if (!client_begin(c, &plan->target)) {
        tally_add(&l->tally, &c->answer);
        return;
    }
    if (fresh) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(l->poller, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    }
    l->under_way++;
}

static void on_readable(struct loop *l, struct client *c) {
    if (client_read(c) == REPLY_MORE) return;
    l->under_way--;
    tally_add(&l->tally, &c->answer);
    samples_add(&l->whole, c->answer.read_ns - c->answer.sent_ns);
    next_request(l, c);
}

/* Begins what is due to begin; returns milliseconds until the next one. */
static int start_due(struct loop *l) {
    const struct plan *plan = l->plan;
    int64_t now = now_ns();
    while (l->started < plan->connections) {
        int64_t due = l->begin + l->started * plan->spread_us * US;
        if (due > now) return (int)((due - now) / MS) + 1;
        next_request(l, &l->clients[l->started++]);
    }
    return 50;
}

void run_closed_loop(const struct plan *plan) {
    static struct epoll_event events[256];
    struct loop l = {.plan = plan, .poller = epoll_create1(EPOLL_CLOEXEC), .begin = now_ns()};
    l.stop = l.begin + (int64_t)(plan->seconds * (double)SECOND);
    int64_t deadline = l.stop + (int64_t)(plan->grace * (double)SECOND);
    l.clients = grown(NULL, (size_t)plan->connections * sizeof *l.clients);
    for (int i = 0; i < plan->connections; i++) {
        client_init(&l.clients[i], &plan->target);
        l.clients[i].answer.first = &l.first;
        l.clients[i].answer.each = &l.each;
    }
    do {
        int wait = start_due(&l), n = epoll_wait(l.poller, events, 256, wait);
        for (int i = 0; i < n; i++) on_readable(&l, events[i].data.ptr);
    } while ((l.under_way || (l.started < plan->connections && now_ns() < l.stop)) && now_ns() < deadline);
    double seconds = (double)(now_ns() - l.begin) / (double)SECOND;
    for (int i = 0; i < plan->connections; i++)
        if (l.clients[i].fd >= 0 && l.clients[i].reply.phase != WHOLE) {
            l.clients[i].answer.fault = TIMEOUT;
            tally_add(&l.tally, &l.clients[i].answer);
        }
    printf("{");
    print_tally(&l.tally);
    printf(",\"seconds\":%.4f,\"cpu_s\":%.4f", seconds, cpu_seconds());
    print_samples("answer", &l.whole, false);
    print_samples("first_added", &l.first, true);
    print_samples("token_added", &l.each, false);
    printf("}\n");
}
