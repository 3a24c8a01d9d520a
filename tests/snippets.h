/* Names that the fragments of README.md and of the manual take for granted, so that a fragment can show one thing.
 * Only declared: fragments are compiled, not run. See snippets.sh. */
#define CONC_WITH_CURL /* declarations alone: wants no libcurl */
#include "../conc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int work(void *arg);
extern void use(const void *p, ...);
extern conc_queue *q;
extern conc_thread *t;
extern conc_queue *q2;
extern long x, y;
struct job {
    int id;
};
