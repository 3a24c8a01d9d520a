/* The process pool without its patrol: nothing here may depend on the look that it takes each second anyway. */

#if !defined(CONC_TEST_SPLIT)
#define CONC__PP_PATROL_NS ((int64_t)1000 * 1000000000)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"

#include "check.h"

#define PATIENCE conc_after(60) /* far more than anything here takes */

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static int hangs_in_the_first(void *arg) {
    (void)arg;
    while (conc_procpool_worker() == 1) (void)conc_sleep(CONC_FOREVER);
    return 0;
}

static conc_procpool *make(unsigned workers, conc_fn initialize) {
    conc_procpool_desc d;
    conc_procpool *pool;
    memset(&d, 0, sizeof d);
    d.initialize = initialize;
    pool = conc_procpool_new(workers, &d);
    if (!CHECK(pool != NULL)) {
        fprintf(stderr, "cannot make a pool: %s\n", conc_error_detail());
        exit(1);
    }
    return pool;
}

/* The second worker may be ready before there is a task, or after the first one, which never begins, has been given it. */
static void getting_ready(void) {
    int rounds = check_rounds_least(40, 5), i;
    for (i = 0; i < rounds; i++) {
        conc_procpool *pool = make(2, hangs_in_the_first);
        conc_future *f = conc_procpool_submit(pool, nothing, NULL, 0);
        if (CHECK(f != NULL)) CHECK_OK(conc_future_wait(f, PATIENCE));
        conc_future_release(f);
        CHECK_OK(conc_procpool_terminate(pool));
        CHECK_OK(conc_procpool_join(pool, PATIENCE));
        CHECK_OK(conc_procpool_free(pool));
    }
}

static void sets(conc_future *f, void *event) {
    CHECK_OK(conc_future_result(f));
    (void)conc_event_set((conc_event *)event);
}

/* Nobody waits for the future, and helps: the pool's own thread has to see each end. */
static void told_by_the_keeper(void) {
    conc_procpool *pool = make(2, NULL);
    int rounds = check_rounds_least(2000, 50), i;
    uint32_t random = 7;
    for (i = 0; i < rounds; i++) {
        static conc_event told;
        conc_future *f = conc_procpool_submit(pool, nothing, NULL, 0);
        volatile uint32_t laps = check_random(&random) % 3 == 0 ? check_random(&random) % 50000 : 0;
        conc_event_reset(&told);
        if (!CHECK(f != NULL)) break;
        CHECK_OK(conc_future_then(f, sets, &told));
        conc_future_release(f);
        if (!CHECK_OK(conc_event_wait(&told, PATIENCE))) break;
        while (laps != 0) laps = laps - 1; /* so that both sides are at any point of going to sleep */
    }
    CHECK_OK(conc_procpool_finish(pool));
}

int main(int argc, char **argv) {
    CHECK_OK(conc_process_register("nothing", nothing));
    CHECK_OK(conc_process_register("hangs_in_the_first", hangs_in_the_first));
    /* (An emulated program that is started anew would be one of the machine below.) */
    if (getenv("CONC_TEST_EMULATED") == NULL) conc_process_main(argc, argv);
    check_begin("procpool_wakes");
    RUN(getting_ready);
    RUN(told_by_the_keeper);
    return check_end();
}
