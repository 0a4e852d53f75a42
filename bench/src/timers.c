#include "timers.h"

static struct timer **heap;
static size_t count, room;

static void put(size_t i, struct timer *t) {
    heap[i] = t;
    t->slot = i + 1;
}

static void rise(size_t i, struct timer *t) {
    while (i && t->due < heap[(i - 1) / 2]->due) {
        put(i, heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(i, t);
}

static void sink(size_t i, struct timer *t) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= count) break;
        if (child + 1 < count && heap[child + 1]->due < heap[child]->due) child++;
        if (t->due <= heap[child]->due) break;
        put(i, heap[child]);
        i = child;
    }
    put(i, t);
}

static void settle(size_t i, struct timer *t) {
    if (i && t->due < heap[(i - 1) / 2]->due) rise(i, t);
    else sink(i, t);
}

void timer_set(struct timer *t, int64_t due) {
    t->due = due;
    if (t->slot) {
        settle(t->slot - 1, t);
        return;
    }
    if (count == room) {
        room = room ? room * 2 : 64;
        heap = grown(heap, room * sizeof *heap);
    }
    rise(count++, t);
}

void timer_clear(struct timer *t) {
    if (!t->slot) return;
    size_t i = t->slot - 1;
    t->slot = 0;
    struct timer *last = heap[--count];
    if (last != t) settle(i, last);
}

struct timer *timer_first(void) { return count ? heap[0] : NULL; }
