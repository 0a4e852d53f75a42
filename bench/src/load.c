/* A load generator that reads every answer to the last byte and says which were not right.
 *
 *     load run    closed loop: each connection sends its next request when the last answer is over
 *     load leave  one client at a time goes away in the middle; how long until the upstream sees it?
 *     load hold   opens many streams, says so, and keeps them (--stall: unread) until a line comes on stdin
 *
 * Prints JSON objects, one a line. Everything is bounded by --seconds and --grace, or by a time of its own. */
#include "load.h"
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>

void tally_add(struct tally *t, const struct answer *a) {
    t->events += a->tokens;
    if (a->fault == RIGHT) t->right++;
    else t->faults[a->fault]++;
}

void print_tally(const struct tally *t) {
    printf("\"requests\":%" PRId64 ",\"begun\":%" PRId64 ",\"events\":%" PRId64 ",\"faults\":{", t->right, t->begun,
           t->events);
    const char *comma = "";
    for (int f = RIGHT + 1; f < FAULTS; f++)
        if (t->faults[f]) {
            printf("%s\"%s\":%" PRId64, comma, FAULT_NAMES[f], t->faults[f]);
            comma = ",";
        }
    printf("}");
}

/* A member of its own, or nothing if there are no samples. */
void print_samples(const char *name, struct samples *s, bool all) {
    if (!s->count) return;
    printf(",\"%s\":{\"count\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f", name, s->count,
           (double)samples_quantile(s, 0.5) / US, (double)samples_quantile(s, 0.99) / US);
    if (all) {
        printf(",\"all_us\":[");
        for (size_t i = 0; i < s->count; i++) printf("%s%.1f", i ? "," : "", (double)s->at[i] / US);
        printf("]");
    }
    printf("}");
}

/* About a kilobyte, as chat clients send it: a system prompt, some turns, several scripts. */
static void request(struct target *t, const char *model, const char *headers) {
    static const char MESSAGES[] =
        "[{\"role\":\"system\",\"content\":\"You answer questions about canals, mills and sluices. Be brief, name your "
        "sources, keep to the language of the question, and say so when you do not know. Units are metric; dates are "
        "ISO 8601; lists have at most five items.\"},{\"role\":\"user\",\"content\":\"Как работает шлюз на канале, и "
        "зачем ему два затвора?\"},{\"role\":\"assistant\",\"content\":\"Между двумя затворами — камера. Её наполняют "
        "или опорожняют, и лодка поднимается или опускается вместе с водой.\"},{\"role\":\"user\",\"content\":\"আর "
        "জলকলের পেনস্টক কী কাজ করে? 请也用中文说一遍。 🌊 Then give the \\\"short\\\" version in English.\"}]";
    struct bytes body = {0};
    char text[512];
    int n = snprintf(text, sizeof text, "{\"model\":\"%s\",\"messages\":", model);
    if (n < 0 || (size_t)n >= sizeof text) die("--model");
    bytes_add(&body, text, (size_t)n);
    bytes_add(&body, MESSAGES, sizeof MESSAGES - 1);
    bytes_str(&body, ",\"temperature\":0.2,\"max_tokens\":512");
    bytes_str(&body, t->stream ? ",\"stream\":true}" : "}");
    n = snprintf(text, sizeof text,
                 "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
                 "Content-Type: application/json\r\nUser-Agent: bench-load/1\r\nAccept-Encoding: identity\r\n"
                 "Content-Length: %zu\r\n",
                 ntohs(t->address.sin_port), body.len);
    bytes_add(&t->request, text, (size_t)n);
    bytes_str(&t->request, headers);
    bytes_str(&t->request, "\r\n");
    bytes_add(&t->request, body.at, body.len);
    bytes_free(&body);
}

static void usage(const char *why) {
    fprintf(stderr, "%s\nusage: load run|leave|hold --to HOST:PORT --upstream HOST:PORT --model SHAPE [--prefix P]\n"
                    "  [--header 'K: V']... [--stream] [--connections N] [--seconds S] [--grace S] [--each N]\n"
                    "  [--spread US] [--events N] [--trials N] [--stall]\n", why);
    exit(2);
}

enum option_key {
    TO, UPSTREAM, MODEL, PREFIX, HEADER, STREAM, CONNECTIONS, SECONDS, GRACE, EACH, SPREAD, EVENTS, TRIALS, STALL,
};

int main(int argc, char **argv) {
    static const struct option OPTIONS[] = {
        {"to", 1, NULL, TO}, {"upstream", 1, NULL, UPSTREAM}, {"model", 1, NULL, MODEL}, {"prefix", 1, NULL, PREFIX},
        {"header", 1, NULL, HEADER}, {"stream", 0, NULL, STREAM}, {"connections", 1, NULL, CONNECTIONS},
        {"seconds", 1, NULL, SECONDS}, {"grace", 1, NULL, GRACE}, {"each", 1, NULL, EACH}, {"spread", 1, NULL, SPREAD},
        {"events", 1, NULL, EVENTS}, {"trials", 1, NULL, TRIALS}, {"stall", 0, NULL, STALL}, {0},
    };
    struct plan plan = {.connections = 1, .seconds = 2, .grace = 5, .events = 1, .trials = 10};
    const char *to = NULL, *upstream = NULL, *shape = NULL, *prefix = "";
    char model[256];
    struct bytes headers = {0};
    if (argc < 2) usage("what to do?");
    for (int key; (key = getopt_long(argc - 1, argv + 1, "", OPTIONS, NULL)) != -1;) {
        switch (key) {
        case TO: to = optarg; break;
        case UPSTREAM: upstream = optarg; break;
        case MODEL: shape = optarg; break;
        case PREFIX: prefix = optarg; break;
        case HEADER: bytes_str(&headers, optarg), bytes_str(&headers, "\r\n"); break;
        case STREAM: plan.target.stream = true; break;
        case CONNECTIONS: plan.connections = atoi(optarg); break;
        case SECONDS: plan.seconds = atof(optarg); break;
        case GRACE: plan.grace = atof(optarg); break;
        case EACH: plan.each = atoll(optarg); break;
        case SPREAD: plan.spread_us = atoll(optarg); break;
        case EVENTS: plan.events = atoll(optarg); break;
        case TRIALS: plan.trials = atoi(optarg); break;
        case STALL: plan.stall = true; break;
        default: usage("unknown option");
        }
    }
    if (!to || !upstream) usage("--to and --upstream are needed");
    if (!shape || !shape_parse(&plan.target.shape, shape, strlen(shape))) usage("--model: no such shape");
    if ((size_t)snprintf(model, sizeof model, "%s%s", prefix, shape) >= sizeof model) usage("--prefix: too long");
    if (plan.connections < 1) usage("--connections: at least one");
    bytes_add(&headers, "", 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    net_raise_file_limit();
    text_init();
    plan.target.address = net_address(to);
    plan.target.upstream = net_address(upstream);
    request(&plan.target, model, headers.at);
    if (!strcmp(argv[1], "run")) run_closed_loop(&plan);
    else if (!strcmp(argv[1], "leave")) run_leaving(&plan);
    else if (!strcmp(argv[1], "hold")) run_holding(&plan);
    else usage(argv[1]);
    return 0;
}
