/* The mutex: exclusion, hand-over, time-outs, cancellation, in every order that can be found. */

#include "sim.h"
#include "linear.h"

static conc_mutex m;
static conc_event e;
static conc_cancel token;
static int counter; /* guarded by m */

static void setup(void) {
    memset(&m, 0, sizeof m);
    memset(&e, 0, sizeof e);
    memset(&token, 0, sizeof token);
    counter = 0;
}

/* Nobody is left: no flag may be. */
static int finish(sim_crew *crew, int count) {
    sim_join(crew);
    CONC_SIM_READ(counter);
    CONC_SIM_ASSERT(counter == count);
    SIM_OK(conc_mutex_destroy(&m));
    return 0;
}

static void use(void) {
    CONC_SIM_WRITE(counter);
    counter++;
    SIM_OK(conc_mutex_unlock(&m));
}

static int add_one(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    use();
    return 0;
}

static int add_slowly(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    use();
    return 0;
}

/* Two threads: one at a time is inside, and sees what the other did there. */
static int mutex_two(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    sim_start(&crew, add_one, NULL);
    (void)add_slowly(NULL);
    return finish(&crew, 2);
}

/* The same with three. */
static int mutex_excludes(void *unused) {
    sim_crew crew = {0};
    int i;
    (void)unused;
    setup();
    for (i = 0; i < 2; i++) sim_start(&crew, add_one, NULL);
    (void)add_slowly(NULL);
    return finish(&crew, 3);
}

/* A woken waiter that finds the mutex taken again goes back to sleep and is woken again. */
static int mutex_barging(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_one, NULL);
    use();
    (void)add_slowly(NULL);
    (void)add_slowly(NULL);
    return finish(&crew, 4);
}

/* ---- try -------------------------------------------------------------------------------------- */

static linear_history h;
enum { TRY, UNLOCK };

static bool apply(linear_state *s, const linear_op *op) {
    if (op->kind == UNLOCK) {
        s->v[0] = 0;
        return op->result == CONC_OK;
    }
    if (s->v[0] != 0) return op->result == CONC_BUSY;
    s->v[0] = 1;
    return op->result == CONC_OK;
}

static int try_twice(void *how) {
    int k;
    for (k = 0; k < 2; k++) {
        int i = linear_begin(&h, TRY, 0);
        conc_result r = how != NULL ? conc_mutex_lock(&m, CONC_NOW) : conc_mutex_try_lock(&m);
        linear_end(&h, i, r);
        if (r != CONC_OK) continue;
        CONC_SIM_WRITE(counter);
        i = linear_begin(&h, UNLOCK, 0);
        linear_end(&h, i, conc_mutex_unlock(&m));
    }
    return 0;
}

/* A try succeeds if the mutex is free and only then; so does a lock that must not wait. */
static int mutex_try(void *unused) {
    static int now;
    sim_crew crew = {0};
    linear_state first = {{0}};
    (void)unused;
    setup();
    linear_reset(&h);
    sim_start(&crew, try_twice, NULL);
    (void)try_twice(&now);
    finish(&crew, 0);
    CONC_SIM_ASSERT(linear_check(&h, &first, apply));
    return 0;
}

/* ---- giving up -------------------------------------------------------------------------------- */

static int add_in_time(void *unused) {
    conc_result r = conc_mutex_lock(&m, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m) == (r == CONC_OK));
    if (r == CONC_OK) use();
    return 0;
}

static int add_unless_canceled(void *unused) {
    conc_cancel *before = conc_cancel_use(&token);
    conc_result r = conc_mutex_lock(&m, CONC_FOREVER);
    (void)unused;
    (void)conc_cancel_use(before);
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m) == (r == CONC_OK));
    if (r == CONC_OK) use();
    return 0;
}

/* Whatever became of those that gave up, the mutex is free, and no flag says otherwise. */
static int finish_any(sim_crew *crew) {
    sim_join(crew);
    SIM_OK(conc_mutex_destroy(&m));
    return 0;
}

/* A lock that times out or, at the last moment, gets it: nothing is left behind. */
static int mutex_timeout(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_in_time, NULL);
    use();
    return finish_any(&crew);
}

/* Of two that wait one times out, and the other gets it. */
static int mutex_timeout_of_two(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_in_time, NULL);
    sim_start(&crew, add_one, NULL);
    use();
    (void)add_one(NULL); /* barges in, so that the woken one finds it taken */
    return finish_any(&crew);
}

/* A canceled lock: nothing is left behind. */
static int mutex_cancel(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_unless_canceled, NULL);
    (void)conc_cancel_fire(&token);
    use();
    return finish_any(&crew);
}

/* One waits and is canceled; beside it `other` waits. */
static int cancel_beside(conc_fn other) {
    sim_crew crew = {0};
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_unless_canceled, NULL);
    sim_start(&crew, other, NULL);
    use();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER)); /* the woken one finds it taken */
    (void)conc_cancel_fire(&token);
    use();
    return finish_any(&crew);
}

/* A woken waiter that is canceled wakes the next. */
static int mutex_cancel_passes_on(void *unused) {
    (void)unused;
    return cancel_beside(add_one);
}

/* A woken waiter that is canceled when no other is left leaves no flag. */
static int mutex_cancel_both(void *unused) {
    (void)unused;
    return cancel_beside(add_unless_canceled);
}

static int lock_or_event(void *unused) {
    conc_op ops[2];
    int i;
    (void)unused;
    ops[0] = conc_op_lock(&m);
    ops[1] = conc_op_event(&e);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT((i == 0 || i == 1) && ops[i].result == CONC_OK);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m) == (i == 0));
    if (i == 0) use();
    return 0;
}

/* The lock as one of a select's ops: when another wins, the wake that the lock had is passed on. */
static int mutex_select(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, lock_or_event, NULL);
    sim_start(&crew, add_one, NULL);
    use();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    SIM_OK(conc_event_set(&e));
    use();
    return finish_any(&crew);
}

/* ---- starving --------------------------------------------------------------------------------- */

static bool somebody_starves(void) {
    conc__bucket *b = conc__bucket_lock(&m.conc__word);
    bool any = conc__bucket_has(b, &m.conc__word, CONC__STARVING);
    conc__bucket_unlock(b);
    return any;
}

/* Keeps it for longer than one has to be patient, twice, and takes it again at once. */
static void hog(void) {
    int k;
    bool promised = false;
    for (k = 0; k < 3; k++) {
        int before;
        (void)conc_sleep(conc_after(0.002));
        promised = somebody_starves();
        before = counter;
        use();
        SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
        CONC_SIM_READ(counter);
        if (promised) CONC_SIM_ASSERT(counter > before + 1);
    }
    SIM_OK(conc_mutex_unlock(&m));
}

/* One that has waited for 1 ms, and lost, is handed the mutex at the next unlock. */
static int mutex_starving(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_one, NULL);
    hog();
    return finish(&crew, 4);
}

static int add_in_more_time(void *unused) {
    conc_result r = conc_mutex_lock(&m, conc_after(0.003));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    CONC_SIM_ASSERT(conc_mutex_is_mine(&m) == (r == CONC_OK));
    if (r == CONC_OK) use();
    return 0;
}

/* One that is handed the mutex while its time runs out has it. */
static int mutex_starving_timeout(void *unused) {
    sim_crew crew = {0};
    int k;
    (void)unused;
    setup();
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    sim_start(&crew, add_in_more_time, NULL);
    for (k = 0; k < 2; k++) {
        (void)conc_sleep(conc_after(0.002));
        use();
        SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    }
    SIM_OK(conc_mutex_unlock(&m));
    return finish_any(&crew);
}

/* ---- its end ---------------------------------------------------------------------------------- */

typedef struct shared {
    conc_mutex m;
    int users;
} shared;

/* Leaves `s`; the last one frees it. */
static int leave(void *p) {
    shared *s = (shared *)p;
    bool last;
    SIM_OK(conc_mutex_lock(&s->m, CONC_FOREVER));
    CONC_SIM_WRITE(s->users);
    last = --s->users == 0;
    SIM_OK(conc_mutex_unlock(&s->m));
    if (last) {
        SIM_OK(conc_mutex_destroy(&s->m));
        conc__free(s);
    }
    return 0;
}

static int leave_by(int threads) {
    sim_crew crew = {0};
    shared *s = (shared *)conc__alloc(1, sizeof *s, "a test");
    int k;
    CONC_SIM_ASSERT(s != NULL);
    s->users = threads + 1;
    SIM_OK(conc_mutex_lock(&s->m, CONC_FOREVER));
    for (k = 0; k < threads; k++) sim_start(&crew, leave, s);
    CONC_SIM_WRITE(s->users);
    s->users--;
    SIM_OK(conc_mutex_unlock(&s->m));
    sim_join(&crew);
    return 0;
}

/* An unlock does not touch the mutex once another can lock it: that one may destroy it and free its memory. */
static int mutex_end(void *unused) {
    (void)unused;
    return leave_by(1);
}

/* The same with two that wait. */
static int mutex_end_of_three(void *unused) {
    (void)unused;
    return leave_by(2);
}

/* What another holds is not unlocked, and what one holds is not locked again. */
static int mutex_misuse(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    sim_start(&crew, add_one, NULL);
    CONC_SIM_ASSERT(conc_mutex_unlock(&m) == CONC_NOT_OWNER);
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CONC_SIM_ASSERT(conc_mutex_lock(&m, conc_after(0.001)) == CONC_DEADLOCK);
    CONC_SIM_ASSERT(conc_mutex_try_lock(&m) == CONC_BUSY);
    use();
    return finish(&crew, 2);
}

static const sim_test tests[] = {
    SIM_TEST(mutex_two, 3),
    SIM_TEST(mutex_excludes, 3),
    SIM_TEST(mutex_barging, 3),
    SIM_TEST(mutex_try, 3),
    SIM_TEST(mutex_timeout, 3),
    SIM_TEST(mutex_timeout_of_two, 3),
    SIM_TEST(mutex_cancel, 3),
    SIM_TEST(mutex_cancel_passes_on, 3),
    SIM_TEST(mutex_cancel_both, 3),
    SIM_TEST(mutex_select, 3),
    SIM_TEST(mutex_starving, 3),
    SIM_TEST(mutex_starving_timeout, 3),
    SIM_TEST(mutex_end, 3),
    SIM_TEST(mutex_end_of_three, 3),
    {"mutex_misuse", mutex_misuse, 3, 0, true}, /* in debug mode the error hook is told */
};
SIM_MAIN("sim_mutex", tests)
