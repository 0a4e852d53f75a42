#ifndef LOAD_H
#define LOAD_H
#include "client.h"

struct plan {
    struct target target;
    int connections;
    double seconds, grace; /* no request begins after `seconds`; unfinished ones get `grace` more */
    int64_t each;          /* requests of a connection; 0: as many as go */
    int64_t spread_us;     /* connection k begins k times this later */
    int64_t events;        /* tokens to read before leaving or holding */
    int trials;
    bool stall;
};

struct tally {
    int64_t right, begun, events, faults[FAULTS];
};
void tally_add(struct tally *t, const struct answer *a);
void print_tally(const struct tally *t); /* members, without the braces around them */
void print_samples(const char *name, struct samples *s, bool all); /* microseconds */

void run_closed_loop(const struct plan *plan);
void run_leaving(const struct plan *plan);
void run_holding(const struct plan *plan);
#endif
