/* A binary heap of things that are due: the earliest is at the top, and any can be taken out. */
#ifndef TIMERS_H
#define TIMERS_H
#include "base.h"

struct timer {
    int64_t due;
    size_t slot; /* position in the heap plus one; 0: not in it */
    void *owner;
};

void timer_set(struct timer *t, int64_t due); /* puts it in, or moves it */
void timer_clear(struct timer *t);
struct timer *timer_first(void); /* NULL if there is none */
#endif
