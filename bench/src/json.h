/* A strict reader of one JSON value that keeps only what an answer is judged by. */
#ifndef JSON_H
#define JSON_H
#include "base.h"

struct found {
    struct bytes content; /* choices[*].delta.content or .message.content, decoded */
    bool has_content, finished, error;
};

/* False if the bytes are not exactly one JSON value. `found` keeps its buffer from call to call. */
bool json_read(struct found *found, const char *p, size_t len);
#endif
