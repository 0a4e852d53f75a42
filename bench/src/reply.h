/* The client's side of HTTP/1.1: one response at a time, its head read and its transfer coding taken off. */
#ifndef REPLY_H
#define REPLY_H
#include "base.h"

enum reply_state { REPLY_MORE, REPLY_WHOLE, REPLY_BAD };

struct reply {
    enum { HEAD, SIZED, UNTIL_CLOSE, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILERS, WHOLE } phase;
    int status;
    bool event_stream, close_after;
    int64_t left;       /* of the sized body, or of the chunk */
    struct bytes line;  /* an unfinished head or line */
};

typedef void reply_sink(void *to, const char *p, size_t len);

void reply_reset(struct reply *r);
/* Body bytes go to `sink`. Bytes after the end of the response are a fault: nobody asked for more. */
enum reply_state reply_feed(struct reply *r, const char *p, size_t len, reply_sink *sink, void *to);
/* The connection has ended. */
enum reply_state reply_closed(struct reply *r);
#endif
