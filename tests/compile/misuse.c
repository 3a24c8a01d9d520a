/* What the compiler must refuse. Compiled once as it stands, which must do, and once for each MISUSE, which must
 * not. With CONC_MUST_CHECK that takes -Werror=unused-result. */
#include "../../conc.h"

int misuse(conc_queue *q, conc_mutex *m, int *x);
int misuse(conc_queue *q, conc_mutex *m, int *x) {
#if !defined(MISUSE)
    return conc_queue_get(q, x, conc_after(5)) == CONC_OK && conc_mutex_lock(m, CONC_NOW) == CONC_OK;
#elif MISUSE == 1
    (void)m;
    return conc_queue_get(q, x, 5); /* a number is not a deadline */
#elif MISUSE == 2
    (void)q, (void)x;
    return conc_mutex_lock(m, 0.5);
#elif MISUSE == 3
    (void)q, (void)x;
    conc_mutex_lock(m, CONC_NOW); /* nobody looks whether it is held */
    return 0;
#elif MISUSE == 4
    (void)m;
    return conc_queue_get(q, *x, CONC_NOW); /* the item, not a pointer to it */
#elif MISUSE == 5
    (void)x;
    return conc_mutex_unlock(q); /* a queue is not a mutex */
#elif MISUSE == 6
    (void)m;
    return conc_wait(conc_queue_get(q, x, CONC_NOW), CONC_FOREVER); /* a result is not an op */
#endif
}
