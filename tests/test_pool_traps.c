/* Traps of pools, futures and groups, found by reading: each of these once waited for ever, or did the wrong thing. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"
#include "pooled.h"
#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

/* ---- a period that begins now ---- */

static void every_from_now(void) {
    conc_pool *p = pool_of(1);
    tally t = { { 0 }, 0 };
    conc_future *f = a_future(__FILE__, __LINE__, conc_pool_every(p, count_up, &t, CONC_NOW, 1000, false));
    while (tally_of(&t) == 0) CHECK_OK(conc_sleep(conc_after(0.001)));
    CHECK_OK(conc_sleep(conc_after(0.02)));
    CHECK_EQ(tally_of(&t), 1); /* the next is due in 1000 s */
    (void)conc_future_cancel(f);
    conc_future_release(f);
    FINISH(p);
}

int main(void) {
    check_begin("pool_traps");
    conc_set_error_hook(count_report, NULL);
    RUN(every_from_now);
    CHECK_EQ(reports_now(), 0);
    conc_set_error_hook(NULL, NULL);
    return check_end();
}
