/* Clients that go away. One at a time: the gateway is idle but for this request, so what is measured is how long
 * the news takes and not how long the queue is. */
#include "load.h"
#include <poll.h>
#include <time.h>

static void pause_ms(int64_t ms) {
    struct timespec t = {ms / 1000, ms % 1000 * MS};
    nanosleep(&t, NULL);
}

/* Waits until the upstream works on this request, and for a stream until the wanted tokens have come. */
static bool under_way(const struct plan *plan, struct client *c, int64_t active) {
    int64_t deadline = now_ns() + 5 * SECOND;
    struct counters seen;
    while (now_ns() < deadline) {
        if (plan->events == 0) {
            if (counters_read(&plan->target, -1, &seen) && seen.active > active) return true;
            pause_ms(2);
            continue;
        }
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, 100) == 1 && client_read(c) != REPLY_MORE) return false;
        if (c->answer.tokens >= plan->events) return true;
    }
    c->answer.fault = TIMEOUT;
    return false;
}

void run_leaving(const struct plan *plan) {
    struct samples seen_after = {0};
    struct tally tally = {0};
    struct counters before, after;
    int missed = 0, in_a_row = 0;
    for (int k = 0; k < plan->trials && in_a_row < 3; k++) {
        struct client c;
        client_init(&c, &plan->target);
        tally.begun++;
        if (!counters_read(&plan->target, -1, &before) || !client_begin(&c, &plan->target) ||
            !under_way(plan, &c, before.active)) {
            tally_add(&tally, &c.answer);
            client_close(&c);
            in_a_row++;
            continue;
        }
        pause_ms(5 + k % 10); /* not in step with the upstream's tokens */
        int64_t left = now_ns();
        client_close(&c);
        if (counters_read(&plan->target, before.gone, &after) && after.gone > before.gone) {
            samples_add(&seen_after, after.gone_at_ns - left);
            in_a_row = 0;
        } else {
            missed++;
            in_a_row++; /* three times nothing: it does not pass the news on, and each look costs two seconds */
        }
    }
    pause_ms(500);
    counters_read(&plan->target, -1, &after);
    printf("{");
    print_tally(&tally);
    print_samples("seen_after", &seen_after, true);
    printf(",\"missed\":%d,\"left_open\":%lld}\n", missed, (long long)after.active);
}
