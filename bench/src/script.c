#include "script.h"
#include <inttypes.h>

static const char OPEN_EVENT[] =
    "data: {\"id\":\"chatcmpl-C7xQm2vT9bLw4RkZs8YpNcHdJ1fGa\",\"object\":\"chat.completion.chunk\","
    "\"created\":1763650000,\"model\":\"";
static const char OPEN_CHOICES[] =
    "\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_7c2d19e5ab\",\"choices\":[";
static const char CLOSE_TOKEN[] = "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";

/* The value after `"key":`, found by its text: the gateway under test may order and space members as it likes,
 * but the messages that the generator sends contain no such text. */
static const char *member(const char *body, size_t len, const char *key) {
    const char *p = memmem(body, len, key, strlen(key)), *end = body + len;
    if (!p) return NULL;
    for (p += strlen(key); p < end && strchr(" :\r\n\t", *p); p++) {}
    return p < end ? p : NULL;
}

static bool is_true(const char *body, size_t len, const char *key) {
    const char *v = member(body, len, key);
    return v && body + len - v >= 4 && !memcmp(v, "true", 4);
}

bool script_begin(struct script *s, const char *body, size_t len) {
    const char *v = member(body, len, "\"model\""), *end = body + len, *quote;
    if (!v || *v++ != '"' || !(quote = memchr(v, '"', (size_t)(end - v)))) return false;
    if (!shape_parse(&s->shape, v, (size_t)(quote - v))) return false;
    s->model.len = 0;
    bytes_add(&s->model, v, (size_t)(quote - v));
    s->stream = is_true(body, len, "\"stream\"");
    s->usage = is_true(body, len, "\"include_usage\"");
    s->received_ns = now_ns();
    s->next = 0;
    s->steps = s->shape.tokens + (s->usage ? 4 : 3);
    return true;
}

int64_t script_due(const struct script *s) {
    int64_t gaps = s->next < 2 ? 0 : s->next - 1;
    if (gaps >= s->shape.tokens && s->shape.tokens) gaps = s->shape.tokens - 1; /* the end comes with the last token */
    return s->received_ns + (s->shape.first_us + gaps * s->shape.gap_us) * US;
}

void script_head(struct bytes *out) {
    bytes_str(out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
                   "Date: Thu, 20 Nov 2025 12:00:00 GMT\r\nx-request-id: req_8b1f6c2e90d74a35\r\n"
                   "openai-processing-ms: 14\r\nTransfer-Encoding: chunked\r\n\r\n");
}

static void stamp(struct bytes *out, int64_t ns) {
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64 ";", ns);
    bytes_add(out, text, (size_t)n);
}

static void token(const struct script *s, struct bytes *out) {
    size_t len;
    bytes_str(out, "{\"index\":0,\"delta\":{\"content\":\"");
    if (s->shape.stamp) { /* the first one also says when the request came */
        if (s->next == 1) stamp(out, s->received_ns);
        stamp(out, now_ns());
    }
    const char *text = text_escaped(s->next - 1, &len);
    bytes_add(out, text, len);
    bytes_add(out, CLOSE_TOKEN, sizeof CLOSE_TOKEN - 1);
}

static void usage(const struct script *s, struct bytes *out) {
    char text[128];
    int n = snprintf(text, sizeof text,
                     "\"usage\":{\"prompt_tokens\":240,\"completion_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}",
                     s->shape.tokens, s->shape.tokens + 240);
    bytes_add(out, text, (size_t)n);
}

static void event(const struct script *s, struct bytes *out) {
    bytes_add(out, OPEN_EVENT, sizeof OPEN_EVENT - 1);
    bytes_add(out, s->model.at, s->model.len);
    bytes_add(out, OPEN_CHOICES, sizeof OPEN_CHOICES - 1);
    if (s->next == 0) {
        bytes_str(out, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
                       "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    } else if (s->next <= s->shape.tokens) {
        token(s, out);
    } else if (s->next == s->shape.tokens + 1) {
        bytes_str(out, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
    } else {
        bytes_str(out, "],");
        usage(s, out);
        bytes_str(out, "}\n\n");
    }
}

void script_step(struct script *s, struct bytes *out) {
    static struct bytes scratch;
    char size[24];
    bool last = s->next == s->steps - 1;
    scratch.len = 0;
    if (last) bytes_str(&scratch, "data: [DONE]\n\n");
    else event(s, &scratch);
    int n = snprintf(size, sizeof size, "%zx\r\n", scratch.len);
    bytes_add(out, size, (size_t)n);
    bytes_add(out, scratch.at, scratch.len);
    bytes_str(out, last ? "\r\n0\r\n\r\n" : "\r\n");
    s->next++;
}

void reply_json(struct bytes *out, int status, const char *body, size_t len) {
    char head[256];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                     "Date: Thu, 20 Nov 2025 12:00:00 GMT\r\nx-request-id: req_8b1f6c2e90d74a35\r\n\r\n",
                     status, status == 200 ? "OK" : "Error", len);
    bytes_add(out, head, (size_t)n);
    bytes_add(out, body, len);
}

void script_whole(const struct script *s, struct bytes *out) {
    static struct bytes body;
    body.len = 0;
    bytes_str(&body, "{\"id\":\"chatcmpl-C7xQm2vT9bLw4RkZs8YpNcHdJ1fGa\",\"object\":\"chat.completion\","
                     "\"created\":1763650000,\"model\":\"");
    bytes_add(&body, s->model.at, s->model.len);
    bytes_str(&body, "\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (int64_t k = 0; k < s->shape.tokens; k++) {
        size_t len;
        const char *text = text_escaped(k, &len);
        bytes_add(&body, text, len);
    }
    bytes_str(&body, "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],");
    usage(s, &body);
    bytes_str(&body, ",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_7c2d19e5ab\"}");
    reply_json(out, 200, body.at, body.len);
}
