/* Faults in every order: while threads race, one of the calls that can fail does, or all from one on. Nothing is lost or
 * leaked, nobody hangs, and each result is the right one or says what failed. */

#define CONC_FAULTS
#include "sim.h"

/* A fault may come; after this the simulation has chosen which. */
static void choose_fault(unsigned most) {
    uint32_t n = conc_sim_choose(most + 1), which = conc_sim_choose(2);
    bool sticky = conc_sim_choose(2) != 0;
    conc__fault_plan(n, which, sticky);
}

static void failed_well(void) {
    CONC_SIM_ASSERT(conc_error_result() == CONC_NO_MEMORY || conc_error_result() == CONC_NO_THREADS);
    CONC_SIM_ASSERT(conc_error_detail()[0] != '\0');
}

/* ---- threads ---- */

static uint32_t ran; /* atomic */

static int count_run(void *arg) {
    (void)conc__add32(&ran, 1, CONC__RELAXED);
    return arg != NULL;
}

/* A thread that was started runs and can be joined; one that was not has never run. */
static int faults_threads(void *unused) {
    conc_thread *t[2];
    uint32_t started = 0;
    int i, result;
    (void)unused;
    ran = 0;
    choose_fault(8);
    for (i = 0; i < 2; i++) {
        t[i] = conc_thread_start(count_run, NULL, NULL);
        if (t[i] == NULL) failed_well();
        else started++;
    }
    for (i = 0; i < 2; i++) {
        if (t[i] != NULL) CONC_SIM_ASSERT(conc_thread_join(t[i], &result, CONC_FOREVER) == CONC_OK);
    }
    conc__fault_plan(0, 0, false);
    CONC_SIM_ASSERT(ran == started);
    return 0;
}

/* ---- thread-local values ---- */

static uint32_t set, gone; /* atomic */

static void destroy(void *value) {
    (void)value;
    (void)conc__add32(&gone, 1, CONC__RELAXED);
}

static conc_local key = { destroy, 0 };

static int set_local(void *arg) {
    if (conc_local_set(&key, arg) == CONC_OK) {
        (void)conc__add32(&set, 1, CONC__RELAXED);
        CONC_SIM_ASSERT(conc_local_get(&key) == arg);
    } else {
        failed_well();
        CONC_SIM_ASSERT(conc_local_get(&key) == NULL);
    }
    return 0;
}

/* Each value that was set is destroyed once. */
static int faults_locals(void *unused) {
    conc_thread *t[2];
    int i;
    (void)unused;
    set = gone = 0;
    choose_fault(10);
    for (i = 0; i < 2; i++) t[i] = conc_thread_start(set_local, &key, NULL);
    for (i = 0; i < 2; i++) {
        if (t[i] != NULL) CONC_SIM_ASSERT(conc_thread_join(t[i], NULL, CONC_FOREVER) == CONC_OK);
    }
    conc__fault_plan(0, 0, false);
    CONC_SIM_ASSERT(set == gone);
    return 0;
}

/* ---- queues ---- */

static conc_queue *q;
static uint32_t in; /* atomic */

static int put_some(void *unused) {
    int i;
    (void)unused;
    for (i = 0; i < 18; i++) {
        if (conc_queue_put(q, &i, CONC_NOW) == CONC_OK) (void)conc__add32(&in, 1, CONC__RELAXED);
        else failed_well();
    }
    return 0;
}

/* Items whose put said CONC_OK come out, and no others, though the array could not grow. */
static int faults_unbounded(void *unused) {
    conc_thread *t;
    uint32_t out = 0;
    int x;
    (void)unused;
    in = 0;
    choose_fault(8);
    q = conc_queue_new(sizeof(int), 0);
    if (q == NULL) {
        failed_well();
        conc__fault_plan(0, 0, false);
        return 0;
    }
    t = conc_thread_start(put_some, NULL, NULL);
    while (out < 3 && conc_queue_get(q, &x, CONC_NOW) == CONC_OK) out++;
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    conc__fault_plan(0, 0, false);
    while (conc_queue_get(q, &x, CONC_NOW) == CONC_OK) out++;
    CONC_SIM_ASSERT(out == in);
    SIM_OK(conc_queue_free(q));
    return 0;
}

/* ---- timers ---- */

static int ring(void *unused) {
    (void)unused;
    (void)conc__add32(&ran, 1, CONC__RELAXED);
    return 0;
}

static int start_timer(void *unused) {
    conc_timer *t = conc_timer_start(ring, NULL, conc_after(0.001));
    (void)unused;
    if (t == NULL) {
        failed_well();
        return 0;
    }
    SIM_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    conc_timer_release(t);
    (void)conc__add32(&set, 1, CONC__RELAXED);
    return 0;
}

/* Two first timers at once: the service may not start, and one that was started rings. */
static int faults_timers(void *unused) {
    conc_thread *t;
    (void)unused;
    ran = set = 0;
    choose_fault(12);
    t = conc_thread_start(start_timer, NULL, NULL);
    (void)start_timer(NULL);
    if (t != NULL) CONC_SIM_ASSERT(conc_thread_join(t, NULL, CONC_FOREVER) == CONC_OK);
    conc__fault_plan(0, 0, false);
    CONC_SIM_ASSERT(ran == set);
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(faults_threads, 2),
    SIM_TEST(faults_locals, 2),
    SIM_TEST(faults_unbounded, 2),
    SIM_TEST(faults_timers, 2),
};

#if CHECK_TSAN

int main(void) { /* without memory for its record a thread shares the emergency's: see core.c */
    (void)tests;
    return check_skip("sim_faults", "the emergency record is shared without synchronisation");
}

#else

int main(int argc, char **argv) {
    int r = sim_main(argc, argv, "sim_faults", tests, sizeof tests / sizeof *tests);
    const char *site;
    char error[40], path[1000];
    uint32_t i;
    FILE *f;
    snprintf(path, sizeof path, "%.900s.faults.log", argv[0]);
    f = fopen(path, "w");
    for (i = 0; f != NULL && conc__fault_made(i, &site, error, sizeof error); i++) {
        fprintf(f, "%s|%s|once\n%s|%s|sticky\n", site, error, site, error); /* both were, in thousands of schedules */
    }
    if (f != NULL) fclose(f);
    return r;
}

#endif
