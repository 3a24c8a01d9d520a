/* Two files of one program, this one with the implementation; both say that they talk of the same types. */
#define CONC_IMPLEMENTATION
#include "../../conc.h"

extern int pair_b(conc_queue *q, size_t size_of_op);

int main(void) {
    conc_queue *q = conc_queue_new(sizeof(int), 1);
    int x = 0;
    if (q == NULL || pair_b(q, sizeof(conc_op)) != 0) return 1;
    if (conc_queue_get(q, &x, CONC_FOREVER) != CONC_OK || x != 42) return 2;
    return conc_queue_free(q) == CONC_OK ? 0 : 3;
}
