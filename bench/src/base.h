/* What both programs stand on: the clock, a growable run of bytes, a way to give up.
 * Allocation failure ends the program: a benchmark that swaps has nothing left to say. */
#ifndef BASE_H
#define BASE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { US = 1000, MS = 1000 * US };
#define SECOND ((int64_t)1000 * MS)

/* The monotonic clock is one for all processes of a machine: a stamp that the upstream writes
 * into a token can be subtracted from the moment at which the generator reads it. */
static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

static inline _Noreturn void die(const char *what) {
    perror(what);
    exit(2);
}

static inline void *grown(void *old, size_t size) {
    void *p = realloc(old, size);
    if (p == NULL) die("realloc");
    return p;
}

struct bytes {
    char *at;
    size_t len, cap;
};

static inline void bytes_add(struct bytes *b, const char *p, size_t n) {
    if (b->len + n > b->cap) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap < b->len + n) cap *= 2;
        b->at = grown(b->at, cap);
        b->cap = cap;
    }
    if (n) memcpy(b->at + b->len, p, n);
    b->len += n;
}

static inline void bytes_str(struct bytes *b, const char *s) { bytes_add(b, s, strlen(s)); }

static inline void bytes_drop(struct bytes *b, size_t n) {
    memmove(b->at, b->at + n, b->len - n);
    b->len -= n;
}

static inline void bytes_free(struct bytes *b) {
    free(b->at);
    *b = (struct bytes){0};
}
#endif
