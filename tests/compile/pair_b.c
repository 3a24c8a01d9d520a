/* The other file of pair_a.c. */
#include "../../conc.h"

extern int pair_b(conc_queue *q, size_t size_of_op);

int pair_b(conc_queue *q, size_t size_of_op) {
    int x = 42;
    if (size_of_op != sizeof(conc_op)) return 1;
    return conc_queue_put(q, &x, CONC_FOREVER) == CONC_OK ? 0 : 2;
}
