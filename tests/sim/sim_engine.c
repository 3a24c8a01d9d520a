/* The simulator itself: it finds what is wrong, has nothing against what is right, sees each weak outcome that it should
 * and none that C11 forbids, and plays a failure again exactly. */

#include "sim.h"

#if !defined(CONC_SIM)

int main(void) {
    return check_skip("sim_engine", "it is about CONC_SIM");
}

#else

/* ---- running ---------------------------------------------------------------------------------------- */

static bool sequential;

static conc_sim_report simulate(conc_fn body, const char *strategies, uint64_t schedules) {
    conc_sim_desc d;
    memset(&d, 0, sizeof d);
    d.sequential = sequential;
    d.strategies = strategies;
    d.schedules = schedules;
    d.quiet = true;
    d.max_points = 3000;
    return conc_sim_run(body, NULL, &d);
}

static void wish(const char *schedule) {
#if defined(_WIN32)
    char text[700];
    snprintf(text, sizeof text, "CONC_SIM=%s", schedule != NULL ? schedule : "");
    _putenv(text);
#else
    if (schedule != NULL) setenv("CONC_SIM", schedule, 1);
    else unsetenv("CONC_SIM");
#endif
}

static void two_threads(conc_fn a, conc_fn b) {
    sim_crew crew = {0};
    sim_start(&crew, a, NULL);
    sim_start(&crew, b, NULL);
    sim_join(&crew);
}

/* ---- what it finds ------------------------------------------------------------------------------------ */

static conc_mutex m1, m2;
static conc_cond c1;
static conc_queue *q;
static conc_event e1;
static int data;
static bool ready;

static void clear(void) {
    memset(&m1, 0, sizeof m1);
    memset(&m2, 0, sizeof m2);
    memset(&c1, 0, sizeof c1);
    memset(&e1, 0, sizeof e1);
    data = 0;
    ready = false;
}

static int lock_12(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m1, CONC_FOREVER));
    SIM_OK(conc_mutex_lock(&m2, CONC_FOREVER));
    SIM_OK(conc_mutex_unlock(&m2));
    SIM_OK(conc_mutex_unlock(&m1));
    return 0;
}

static int lock_21(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m2, CONC_FOREVER));
    SIM_OK(conc_mutex_lock(&m1, CONC_FOREVER));
    SIM_OK(conc_mutex_unlock(&m1));
    SIM_OK(conc_mutex_unlock(&m2));
    return 0;
}

static int abba(void *unused) {
    (void)unused;
    clear();
    two_threads(lock_12, lock_21);
    return 0;
}

static int same_order(void *unused) {
    (void)unused;
    clear();
    two_threads(lock_12, lock_12);
    return 0;
}

/* The signal comes between the look at the flag and the wait, because the flag is not guarded by the mutex. */
static int set_and_signal(void *unused) {
    (void)unused;
    ready = true;
    SIM_OK(conc_cond_signal(&c1));
    return 0;
}

static int wait_if_not_ready(void *unused) {
    bool wait = !ready;
    (void)unused;
    SIM_OK(conc_mutex_lock(&m1, CONC_FOREVER));
    if (wait) (void)conc_cond_wait(&c1, &m1, CONC_FOREVER);
    SIM_OK(conc_mutex_unlock(&m1));
    return 0;
}

static int lost_wake(void *unused) {
    (void)unused;
    clear();
    two_threads(set_and_signal, wait_if_not_ready);
    return 0;
}

static int spin_on_yield(void *unused) {
    (void)unused;
    for (;;) conc_thread_yield();
    return 0;
}

static int spins_for_ever(void *unused) {
    (void)unused;
    clear();
    two_threads(spin_on_yield, lock_12);
    return 0;
}

static int write_data(void *locked) {
    if (locked != NULL) SIM_OK(conc_mutex_lock(&m1, CONC_FOREVER));
    CONC_SIM_WRITE(data);
    data++;
    if (locked != NULL) SIM_OK(conc_mutex_unlock(&m1));
    return 0;
}

static int races(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    clear();
    sim_start(&crew, write_data, &m1);
    sim_start(&crew, write_data, NULL);
    sim_join(&crew);
    return 0;
}

static int leaks_queue(void *unused) {
    (void)unused;
    (void)conc_queue_new(4, 1);
    return 0;
}

static int leaks_thread(void *unused) {
    (void)unused;
    clear();
    CONC_SIM_ASSERT(conc_thread_start(lock_12, NULL, NULL) != NULL);
    return 0;
}

static int put_one(void *unused) {
    int x = 1;
    (void)unused;
    SIM_OK(conc_queue_put(q, &x, CONC_FOREVER));
    return 0;
}

static int frees_too_early(void *unused) {
    int x;
    conc_thread *t;
    (void)unused;
    q = conc_queue_new(sizeof(int), 1);
    t = conc_thread_start(put_one, NULL, NULL);
    SIM_OK(conc_queue_get(q, &x, CONC_FOREVER));
    (void)conc_queue_free(q); /* the putter may still be looking for sleepers */
    SIM_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    return 0;
}

static int fails(void *unused) {
    (void)unused;
    return 7;
}

static int reports(void *unused) {
    (void)unused;
    SIM_OK(conc_thread_detach(conc_thread_start(fails, NULL, NULL)));
    return 0;
}

static int asserts(void *unused) {
    (void)unused;
    clear();
    two_threads(lock_12, write_data);
    CONC_SIM_ASSERT(conc_sim_choose(50) != 13);
    return 0;
}

static int grows(void *unused) { /* depends on what is outside the schedule */
    static int calls;
    (void)unused;
    clear();
    calls++;
    CONC_SIM_ASSERT(calls % 3 != 0);
    return 0;
}

static int start_many(void *unused) {
    int i;
    (void)unused;
    for (i = 0; i < 40; i++) SIM_OK(conc_thread_detach(conc_thread_start(same_order, NULL, NULL)));
    return 0;
}

static void found(conc_fn body, conc_sim_verdict verdict, const char *strategies, const char *says) {
    conc_sim_report r = simulate(body, strategies, 100000);
    CHECK_EQ(r.verdict, verdict);
    CHECK_HAS(r.text, says);
    if (r.verdict != verdict) fprintf(stderr, "  %s: %s\n", r.replay, r.text);
}

static void finds(void) {
    static const char *const ways[] = { NULL, "random", "pct2", "pct3", "depth1", "depth2" };
    size_t i;
    for (i = 0; i < sizeof ways / sizeof *ways; i++) {
        found(abba, CONC_SIM_DEADLOCK, ways[i], "nobody can go on");
        found(lost_wake, CONC_SIM_DEADLOCK, ways[i], "nobody can go on");
        found(races, CONC_SIM_RACE, ways[i], "nothing orders the two");
        if (i != 4) found(frees_too_early, CONC_SIM_FREED, ways[i], "freed"); /* takes two preemptions */
        found(asserts, CONC_SIM_CHECK, ways[i], "conc_sim_choose(50) != 13");
    }
    found(spins_for_ever, CONC_SIM_LIVELOCK, NULL, "3000 points");
    found(leaks_queue, CONC_SIM_LEAK, NULL, "conc_queue_new(4, 1)");
    found(leaks_thread, CONC_SIM_LEAK, NULL, "conc_thread_start(lock_12, NULL, NULL)");
    found(fails, CONC_SIM_CHECK, NULL, "returned 7");
    found(reports, CONC_SIM_REPORT, NULL, "returned 7");
    found(grows, CONC_SIM_UNSTABLE, NULL, "depends on more than the schedule");
    found(start_many, CONC_SIM_LIMIT, NULL, "threads");
}

#if defined(CONC_DEBUG)
/* With CONC_DEBUG an order of locks is told when it is first possible that it strikes, though it does not; and told again
 * in each schedule in which it is so, by its names. */
static void finds_lock_orders(void) {
    conc_sim_report r = simulate(abba, "depth0", 1000);
    CHECK_EQ(r.verdict, CONC_SIM_REPORT);
    CHECK_HAS(r.text, "opposite");
    conc_debug_name(&m1, "the first");
    r = simulate(abba, NULL, 1000);
    CHECK(r.verdict == CONC_SIM_REPORT || r.verdict == CONC_SIM_DEADLOCK);
    r = simulate(abba, "depth0", 1000);
    CHECK_HAS(r.text, "the first");
    CHECK_EQ(simulate(same_order, NULL, 3000).verdict, CONC_SIM_PASSED);
}
#endif

static void has_nothing_against(void) {
    uint64_t schedules = (uint64_t)check_rounds(30000);
    conc_sim_report r = simulate(same_order, NULL, schedules);
    CHECK_EQ(r.verdict, CONC_SIM_PASSED);
    CHECK_EQ(r.schedules, schedules);
    CHECK(!r.exhausted);
    r = simulate(same_order, "depth2", 1000000);
    CHECK_EQ(r.verdict, CONC_SIM_PASSED);
    CHECK(r.exhausted);
    CHECK(r.schedules > 100);
}

/* ---- replay -------------------------------------------------------------------------------------------- */

static void same_again(conc_fn body, const char *strategies) {
    conc_sim_report first = simulate(body, strategies, 100000), r;
    int i;
    if (!CHECK(first.verdict != CONC_SIM_PASSED)) return;
    wish(first.replay);
    for (i = 0; i < 100; i++) {
        r = simulate(body, "random", 10); /* whatever else it was told */
        if (!CHECK_EQ(r.verdict, first.verdict) || !CHECK_STR(r.text, first.text) || !CHECK_STR(r.replay, first.replay) ||
            !CHECK_EQ(r.schedules, 1)) {
            break;
        }
    }
    wish(NULL);
}

static void replays(void) {
    static const char *const ways[] = { "random", "pct2", "pct3", "depth2" };
    size_t i;
    for (i = 0; i < sizeof ways / sizeof *ways; i++) {
        same_again(abba, ways[i]);
        same_again(lost_wake, ways[i]);
        same_again(frees_too_early, ways[i]);
        same_again(races, ways[i]);
        same_again(asserts, ways[i]);
    }
    wish("somebody_else@1:random:3"); /* of another run: this one is not concerned */
    CHECK_EQ(simulate(same_order, NULL, 50).schedules, 50);
    wish("nonsense");
    CHECK_EQ(simulate(same_order, NULL, 50).schedules, 50);
    wish("1:depth2:nonsense");
    CHECK_EQ(simulate(same_order, NULL, 50).verdict, CONC_SIM_LIMIT);
    wish(NULL);
}

/* ---- misuse ---------------------------------------------------------------------------------------------- */

static int nested(void *unused) {
    conc_sim_report r = simulate(same_order, NULL, 1);
    (void)unused;
    CONC_SIM_ASSERT(r.verdict == CONC_SIM_LIMIT);
    return 0;
}

static int wait_for_go(void *event) {
    return conc_event_wait((conc_event *)event, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

static void misuse(void) {
    static const char *const lists[] = { "", "rando", "pct", "pct1", "pct10", "depth", "random,", ",random", "random pct2",
                                         "random,random,random,random,random,random,random,random,random" };
    conc_event go = { 0 };
    conc_thread *t;
    size_t i;
    CHECK_EQ(simulate(NULL, NULL, 1).verdict, CONC_SIM_LIMIT);
    for (i = 0; i < sizeof lists / sizeof *lists; i++) {
        conc_sim_report r = simulate(same_order, lists[i], 1);
        CHECK_EQ(r.verdict, CONC_SIM_LIMIT);
        CHECK_HAS(r.text, "strategies");
    }
    CHECK_EQ(simulate(nested, NULL, 10).verdict, CONC_SIM_PASSED);
    t = conc_thread_start(wait_for_go, &go, NULL); /* outside, everything is native */
    CHECK_EQ(simulate(same_order, NULL, 1).verdict, CONC_SIM_LIMIT);
    CHECK_OK(conc_event_set(&go));
    CHECK_OK(conc_thread_join(t, NULL, CONC_FOREVER));
    CHECK_EQ(simulate(same_order, NULL, 1).verdict, CONC_SIM_PASSED);
    CHECK(!conc_sim_is_running());
    CHECK_EQ(conc_sim_choose(9), 0);
}

/* ---- litmus tests ------------------------------------------------------------------------------------------
 * Small programs on raw atomics, with what C11 allows them and what not (names after J. Alglave, L. Maranget, M.
 * Tautschnig, "Herding Cats", 2014). `order` is that of all their operations, or of the pair that is tested. */

static uint32_t x, y, z; /* atomic */
static uint32_t r1, r2, r3, r4;
static int load_order, store_order;
static uint64_t weak_seen;

static uint32_t load(uint32_t *a) {
    return load_order == CONC__ACQUIRE ? conc__load32(a, CONC__ACQUIRE)
           : load_order == CONC__SEQ_CST ? conc__load32(a, CONC__SEQ_CST)
                                         : conc__load32(a, CONC__RELAXED);
}

static void store(uint32_t *a, uint32_t v) {
    if (store_order == CONC__RELEASE) conc__store32(a, v, CONC__RELEASE);
    else if (store_order == CONC__SEQ_CST) conc__store32(a, v, CONC__SEQ_CST);
    else conc__store32(a, v, CONC__RELAXED);
}

static int nothing(void *unused) {
    (void)unused;
    return 0;
}

static int sb_1(void *u) { (void)u; store(&x, 1); r1 = load(&y); return 0; }
static int sb_2(void *u) { (void)u; store(&y, 1); r2 = load(&x); return 0; }
static bool sb_weak(void) { return r1 == 0 && r2 == 0; }

static int sb_swap_1(void *u) { (void)u; (void)conc__swap32(&x, 1, CONC__SEQ_CST); r1 = load(&y); return 0; }
static int sb_swap_2(void *u) { (void)u; (void)conc__swap32(&y, 1, CONC__SEQ_CST); r2 = load(&x); return 0; }

static int sb_light_1(void *u) { (void)u; store(&x, 1); r1 = load(&y); return 0; }
static int sb_heavy_2(void *u) { (void)u; store(&y, 1); conc__port_heavy_fence(); r2 = load(&x); return 0; }

static int mp_1(void *u) { (void)u; conc__store32(&x, 1, CONC__RELAXED); store(&y, 1); return 0; }
static int mp_2(void *u) { (void)u; r1 = load(&y); r2 = conc__load32(&x, CONC__RELAXED); return 0; }
static bool mp_weak(void) { return r1 == 1 && r2 == 0; }

/* A read-modify-write, though relaxed, continues the release sequence; a plain store by another does not. */
static int mp_rmw_3(void *u) { (void)u; (void)conc__add32(&y, 1, CONC__RELAXED); return 0; }
static int mp_rmw_2(void *u) { (void)u; r1 = load(&y); r2 = conc__load32(&x, CONC__RELAXED); r1 = r1 == 2; return 0; }
static int mp_store_3(void *u) { (void)u; if (conc__load32(&y, CONC__RELAXED) == 1) conc__store32(&y, 2, CONC__RELAXED); return 0; }

static int corr_1(void *u) { (void)u; conc__store32(&x, 1, CONC__RELAXED); conc__store32(&x, 2, CONC__RELAXED); return 0; }
static int corr_2(void *u) { (void)u; r1 = conc__load32(&x, CONC__RELAXED); r2 = conc__load32(&x, CONC__RELAXED); return 0; }
static bool corr_weak(void) { return r1 > r2; }

static int wrc_1(void *u) { (void)u; conc__store32(&x, 1, CONC__RELAXED); return 0; }
static int wrc_2(void *u) { (void)u; r1 = conc__load32(&x, CONC__RELAXED); store(&y, 1); return 0; }
static int wrc_3(void *u) { (void)u; r2 = load(&y); r3 = conc__load32(&x, CONC__RELAXED); return 0; }
static bool wrc_weak(void) { return r1 == 1 && r2 == 1 && r3 == 0; }

static int iriw_1(void *u) { (void)u; store(&x, 1); return 0; }
static int iriw_2(void *u) { (void)u; store(&y, 1); return 0; }
static int iriw_3(void *u) { (void)u; r1 = load(&x); r2 = load(&y); return 0; }
static int iriw_4(void *u) { (void)u; r3 = load(&y); r4 = load(&x); return 0; }
static bool iriw_weak(void) { return r1 == 1 && r2 == 0 && r3 == 1 && r4 == 0; }

static int add_1(void *u) { (void)u; r1 = conc__add32(&x, 1, CONC__RELAXED); return 0; }
static int add_2(void *u) { (void)u; r2 = conc__add32(&x, 1, CONC__RELAXED); return 0; }
static bool add_weak(void) { return r1 == r2; }

static int cas_1(void *u) { uint32_t v = 0; (void)u; r1 = conc__cas32(&x, &v, 1, CONC__RELAXED); return 0; }
static int cas_2(void *u) { uint32_t v = 0; (void)u; r2 = conc__cas32(&x, &v, 2, CONC__RELAXED); return 0; }
static bool cas_weak(void) { return r1 == r2; } /* both, or neither */

/* A failing compare-and-swap is a load, and may be an old one. */
static int old_1(void *u) { (void)u; conc__store32(&x, 1, CONC__RELAXED); conc__store32(&y, 1, CONC__RELAXED); return 0; }
static int old_2(void *u) { uint32_t v = 5; (void)u; r1 = conc__load32(&y, CONC__RELAXED); (void)conc__cas32(&x, &v, 9, CONC__ACQ_REL); r2 = v; return 0; }

static int lb_1(void *u) { (void)u; r1 = conc__load32(&x, CONC__RELAXED); conc__store32(&y, 1, CONC__RELAXED); return 0; }
static int lb_2(void *u) { (void)u; r2 = conc__load32(&y, CONC__RELAXED); conc__store32(&x, 1, CONC__RELAXED); return 0; }
static bool lb_weak(void) { return r1 == 1 && r2 == 1; }

/* Peterson's lock, one turn each: r3 is 1 if both were inside. */
static int peterson_1(void *u) {
    (void)u;
    store(&x, 1);
    store(&z, 2);
    if (load(&y) == 0 || load(&z) == 1) r1 = 1;
    return 0;
}
static int peterson_2(void *u) {
    (void)u;
    store(&y, 1);
    store(&z, 1);
    if (load(&x) == 0 || load(&z) == 2) r2 = 1;
    return 0;
}
static bool peterson_weak(void) { return r1 == 1 && r2 == 1; }

typedef struct litmus {
    const char *name;
    conc_fn run[4];
    bool (*weak)(void);
    int store, load;
    bool allowed;
} litmus;

static const litmus *now;

static int litmus_body(void *unused) {
    sim_crew crew = {0};
    int i;
    (void)unused;
    x = y = z = r1 = r2 = r3 = r4 = 0;
    for (i = 0; i < 4; i++) {
        if (now->run[i] != nothing) sim_start(&crew, now->run[i], NULL);
    }
    sim_join(&crew);
    weak_seen += now->weak();
    return 0;
}

#define RLX CONC__RELAXED
#define ACQ CONC__ACQUIRE
#define REL CONC__RELEASE
#define SC CONC__SEQ_CST
static const litmus tests_of_memory[] = {
    { "SB relaxed", { sb_1, sb_2, nothing, nothing }, sb_weak, RLX, RLX, true },
    { "SB release, acquire", { sb_1, sb_2, nothing, nothing }, sb_weak, REL, ACQ, true },
    { "SB seq_cst", { sb_1, sb_2, nothing, nothing }, sb_weak, SC, SC, false },
    { "SB seq_cst stores, relaxed loads", { sb_1, sb_2, nothing, nothing }, sb_weak, SC, RLX, true },
    { "SB exchanges, seq_cst loads", { sb_swap_1, sb_swap_2, nothing, nothing }, sb_weak, SC, SC, false },
    { "SB relaxed with a heavy fence on one side", { sb_light_1, sb_heavy_2, nothing, nothing }, sb_weak, RLX, RLX, false },
    { "MP relaxed", { mp_1, mp_2, nothing, nothing }, mp_weak, RLX, RLX, true },
    { "MP release, acquire", { mp_1, mp_2, nothing, nothing }, mp_weak, REL, ACQ, false },
    { "MP release, relaxed", { mp_1, mp_2, nothing, nothing }, mp_weak, REL, RLX, true },
    { "MP relaxed, acquire", { mp_1, mp_2, nothing, nothing }, mp_weak, RLX, ACQ, true },
    { "MP through a relaxed add", { mp_1, mp_rmw_2, mp_rmw_3, nothing }, mp_weak, REL, ACQ, false },
    { "MP through another's relaxed store", { mp_1, mp_rmw_2, mp_store_3, nothing }, mp_weak, REL, ACQ, true },
    { "CoRR relaxed", { corr_1, corr_2, nothing, nothing }, corr_weak, RLX, RLX, false },
    { "WRC relaxed", { wrc_1, wrc_2, wrc_3, nothing }, wrc_weak, RLX, RLX, true },
    { "WRC release, acquire", { wrc_1, wrc_2, wrc_3, nothing }, wrc_weak, REL, ACQ, false },
    { "IRIW acquire", { iriw_1, iriw_2, iriw_3, iriw_4 }, iriw_weak, REL, ACQ, true },
    { "IRIW seq_cst", { iriw_1, iriw_2, iriw_3, iriw_4 }, iriw_weak, SC, SC, false },
    { "two adds", { add_1, add_2, nothing, nothing }, add_weak, RLX, RLX, false },
    { "two compare-and-swaps", { cas_1, cas_2, nothing, nothing }, cas_weak, RLX, RLX, false },
    { "a failed compare-and-swap sees an old value", { old_1, old_2, nothing, nothing }, mp_weak, RLX, RLX, true },
    { "Peterson release, acquire", { peterson_1, peterson_2, nothing, nothing }, peterson_weak, REL, ACQ, true },
    { "Peterson seq_cst", { peterson_1, peterson_2, nothing, nothing }, peterson_weak, SC, SC, false },
    { "LB relaxed (allowed, and not covered)", { lb_1, lb_2, nothing, nothing }, lb_weak, RLX, RLX, false },
};

static void memory(void) {
    size_t i;
    int schedules = check_rounds_least(30000, 3000);
    for (i = 0; i < sizeof tests_of_memory / sizeof *tests_of_memory; i++) {
        const litmus *t = now = &tests_of_memory[i];
        conc_sim_report r;
        load_order = t->load;
        store_order = t->store;
        weak_seen = 0;
        check_watchdog();
        r = simulate(litmus_body, "random,pct2,pct3", (uint64_t)schedules);
        CHECK_EQ(r.verdict, CONC_SIM_PASSED);
        printf("    %-46s %6.0f of %d weak%s\n", t->name, (double)weak_seen, schedules, t->allowed ? "" : ", none may be");
        if (t->allowed) CHECK(weak_seen > 0);
        else CHECK_EQ(weak_seen, 0);
        weak_seen = 0; /* without weak memory no outcome is weak */
        sequential = true;
        r = simulate(litmus_body, t->run[2] == nothing && check_scale() > 0.9 ? "depth2" : "depth1", 1000000);
        sequential = false;
        CHECK_EQ(r.verdict, CONC_SIM_PASSED);
        CHECK_EQ(weak_seen, 0);
    }
}

/* ---- speed: printed, not judged --------------------------------------------------------------------------- */

static uint32_t bumped; /* atomic */

static int bump(void *unused) {
    int i;
    (void)unused;
    for (i = 0; i < 5; i++) (void)conc__add32(&bumped, 1, CONC__RELAXED);
    return 0;
}

static void start_bare(conc__port_thread *t, void (*fn)(void *)) {
    CONC_SIM_ASSERT(conc__port_thread_start(t, fn, NULL, 0) == 0);
}

static void bump_bare(void *unused) {
    (void)bump(unused);
}

static int fifty_points(void *unused) { /* four threads of the port, without the library's own above it */
    conc__port_thread t[3];
    int i;
    (void)unused;
    bumped = 0;
    for (i = 0; i < 3; i++) start_bare(&t[i], bump_bare);
    for (i = 0; i < 15; i++) (void)conc__load32(&bumped, CONC__ACQUIRE);
    for (i = 0; i < 3; i++) conc__port_thread_join(&t[i]);
    CONC_SIM_ASSERT(bumped == 15);
    return 0;
}

static void speed(void) {
    static const char *const ways[] = { "random", "pct3", "depth2" };
    size_t i;
    int weak;
    for (i = 0; i < 3; i++) {
        for (weak = i < 2; weak >= 0; weak--) {
            conc_sim_desc d;
            conc_sim_report r;
            memset(&d, 0, sizeof d);
            d.strategies = ways[i];
            d.schedules = (uint64_t)check_rounds(100000);
            d.sequential = weak == 0;
            r = conc_sim_run(fifty_points, NULL, &d);
            CHECK_EQ(r.verdict, CONC_SIM_PASSED);
            printf("    4 threads, %.0f points, %s, %s: %.0f schedules a second\n", (double)r.points / (double)r.schedules,
                   ways[i], weak ? "weak memory" : "sequential", (double)r.schedules / r.seconds);
        }
    }
}

int main(void) {
    check_begin("sim_engine");
#if defined(CONC_DEBUG)
    RUN(finds_lock_orders);
    return check_end();
#endif
    if (!CHECK_TSAN) RUN(finds); /* it would find the same, and end the program */
    RUN(has_nothing_against);
    if (!CHECK_TSAN) {
        RUN(replays);
        RUN(memory); /* there all loads see the latest */
    }
    RUN(misuse);
    RUN(speed);
    return check_end();
}

#endif
