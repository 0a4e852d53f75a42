/* The text that every answer carries, and the model name that says what shape the answer has.
 *
 * Token k of an answer is a fixed function of k, so that the generator knows what has to arrive
 * without being told. A model name is words joined by "-":
 *
 *     sim-tokens100-gap20000-first100000-stamp
 *
 *   tokensN  length of the answer (20)       gapN    microseconds from token to token (0: as fast as it goes)
 *   firstN   microseconds to the first token  stamp   tokens begin with the time of their sending
 *   late     no response head before the first token       burstN  events to a write, where there is no gap (1)
 */
#ifndef TEXT_H
#define TEXT_H
#include "base.h"

struct shape {
    int64_t tokens, gap_us, first_us, burst;
    bool stamp, late;
};

bool shape_parse(struct shape *shape, const char *name, size_t len);

/* Must be called once before the others. */
void text_init(void);
/* Token k as it stands inside a JSON string. */
const char *text_escaped(int64_t k, size_t *len);
/* Length of the first `tokens` tokens, and whether `p` is what stands at `pos` of the endless text. */
size_t text_length(int64_t tokens);
bool text_matches(size_t pos, const char *p, size_t len);
#endif
