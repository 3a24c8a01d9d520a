/* conc.h's process pool. Its processes are forked, as they are by default in a program that does not say otherwise; in "conc,
 * spawned" they are the program itself, started anew. */

#define _POSIX_C_SOURCE 200809L
#include "conc.h"

#include "procpool_cases.h"

static conc_procpool *pool;

static void open_pool(int workers, conc_process_method method, size_t buffers) {
    conc_procpool_desc d;
    memset(&d, 0, sizeof d);
    d.method = method;
    d.buffer_size = buffers;
    BENCH_CHECK((pool = conc_procpool_new((unsigned)workers, &d)) != NULL);
}
static void close_pool(void) { BENCH_CHECK(conc_procpool_finish(pool) == CONC_OK); }

/* ---- empty tasks ---- */

static int nothing(void *arg) { return (void)arg, 0; }
static int nothing_mapped(const void *in, void *out, void *arg) {
    (void)arg;
    *(int *)out = *(const int *)in;
    return 0;
}

static int numbers[PROCPOOL_TASKS], answers[PROCPOOL_TASKS];
static conc_future *futures[PROCPOOL_TASKS];

static conc_future *submit(int *number) {
    conc_future *f = conc_procpool_submit(pool, nothing, number, sizeof *number);
    BENCH_CHECK(f != NULL);
    return f;
}
static void await(conc_future *f) {
    BENCH_CHECK(conc_future_wait(f, CONC_FOREVER) == CONC_OK);
    conc_future_release(f);
}

static double all(void) { /* one future for each */
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_TASKS; i++) futures[i] = submit(&numbers[i]);
    for (i = 0; i < PROCPOOL_TASKS; i++) await(futures[i]);
    return bench_clock() - start;
}

static double map(void) {
    double start = bench_clock();
    BENCH_CHECK(conc_procpool_map(pool, numbers, answers, PROCPOOL_TASKS, nothing_mapped, NULL, 0, 0) == CONC_OK);
    return bench_clock() - start;
}

static size_t chunk;
static double imap(void) {
    double start = bench_clock();
    int x, count = 0;
    conc_iter *it = conc_procpool_imap(pool, conc_iter_array(numbers, PROCPOOL_TASKS), nothing_mapped, int, 256, NULL, 0, chunk);
    while (conc_next(it, &x) == CONC_OK) count++;
    conc_iter_close(it);
    BENCH_CHECK(count == PROCPOOL_TASKS);
    return bench_clock() - start;
}

static void all_run(const bench_case *c) {
    open_pool(c->a, c->b != 0 ? CONC_PROCESS_SPAWN : CONC_PROCESS_FORK, 0);
    procpool_print_rate(c, PROCPOOL_TASKS, bench_turns(all));
    close_pool();
}
static void map_run(const bench_case *c) {
    open_pool(c->a, CONC_PROCESS_FORK, 0);
    procpool_print_rate(c, PROCPOOL_TASKS, bench_turns(map));
    close_pool();
}
static void imap_run(const bench_case *c) {
    open_pool(c->a, CONC_PROCESS_FORK, 0);
    chunk = (size_t)c->b;
    procpool_print_rate(c, PROCPOOL_TASKS, bench_turns(imap));
    close_pool();
}

/* ---- so many at a time ---- */

static int window;
static double windows(void) {
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_TRIPS + window; i++) {
        if (i >= window) await(futures[i - window]);
        if (i < PROCPOOL_TRIPS) futures[i] = submit(&numbers[i]);
    }
    return bench_clock() - start;
}

static void one_run(const bench_case *c) {
    open_pool(c->a, CONC_PROCESS_FORK, 0);
    window = 1;
    procpool_print_trip(c, PROCPOOL_TRIPS, bench_turns(windows));
    close_pool();
}
static double calls(void) {
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_TRIPS; i++) {
        BENCH_CHECK(conc_procpool_call(pool, nothing, &numbers[i], sizeof numbers[i], NULL) == CONC_OK);
    }
    return bench_clock() - start;
}
static void call_run(const bench_case *c) {
    open_pool(c->a, CONC_PROCESS_FORK, 0);
    procpool_print_trip(c, PROCPOOL_TRIPS, bench_turns(calls));
    close_pool();
}
static void window_run(const bench_case *c) {
    open_pool(c->a, CONC_PROCESS_FORK, 0);
    window = c->b;
    procpool_print_rate(c, PROCPOOL_TRIPS, bench_turns(windows));
    close_pool();
}

/* ---- a lot of bytes ---- */

static char *blocks[16]; /* one for each of those that are under way */
static int fill(void *arg) {
    char *bytes = (char *)arg;
    memset(bytes, bytes[0] + 1, PROCPOOL_BYTES);
    return 0;
}

static int reply(void *arg) {
    static char bytes[PROCPOOL_BYTES];
    memset(bytes, *(int *)arg, sizeof bytes);
    return conc_procpool_reply(bytes, sizeof bytes) != CONC_OK;
}

static conc_fn bytes_fn;
static double bytes(void) {
    conc_future *under_way[16];
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_BLOCKS + window; i++) {
        char *block = blocks[i % window];
        if (i >= window) {
            await(under_way[i % window]);
            BENCH_CHECK(bytes_fn == nothing || (block[0] == (char)(i / window) && block[PROCPOOL_BYTES - 1] == block[0]));
        }
        if (i < PROCPOOL_BLOCKS) {
            block[0] = (char)(i / window);
            under_way[i % window] = conc_procpool_submit(pool, bytes_fn, block, PROCPOOL_BYTES);
            BENCH_CHECK(under_way[i % window] != NULL);
        }
    }
    return bench_clock() - start;
}
static double replies(void) {
    conc_future *under_way[16];
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_BLOCKS + window; i++) {
        if (i >= window) {
            size_t size;
            const char *block;
            conc_future *f = under_way[i % window];
            BENCH_CHECK(conc_future_wait(f, CONC_FOREVER) == CONC_OK);
            block = (const char *)conc_procpool_replied(f, &size);
            BENCH_CHECK(size == PROCPOOL_BYTES && block[size - 1] == (char)numbers[i - window]);
            conc_future_release(f);
        }
        if (i < PROCPOOL_BLOCKS) {
            numbers[i] = i;
            under_way[i % window] = conc_procpool_submit(pool, reply, &numbers[i], sizeof numbers[i]);
            BENCH_CHECK(under_way[i % window] != NULL);
        }
    }
    return bench_clock() - start;
}

/* there and back */
static void trip_run(const bench_case *c) {
    int i;
    open_pool(2, CONC_PROCESS_FORK, 0);
    bytes_fn = nothing;
    window = c->a;
    for (i = 0; i < window; i++) BENCH_CHECK((blocks[i] = (char *)calloc(1, PROCPOOL_BYTES)) != NULL);
    procpool_print_bytes(c, bench_turns(bytes));
    close_pool();
}
/* made there, in the pool's own memory */
static void place_run(const bench_case *c) {
    int i;
    open_pool(2, CONC_PROCESS_FORK, 16 * (PROCPOOL_BYTES + 4096));
    bytes_fn = fill;
    window = c->a;
    for (i = 0; i < window; i++) BENCH_CHECK((blocks[i] = (char *)conc_procpool_buffer(pool, PROCPOOL_BYTES)) != NULL);
    procpool_print_bytes(c, bench_turns(bytes));
    close_pool();
}
static void reply_run(const bench_case *c) {
    open_pool(2, CONC_PROCESS_FORK, 0);
    window = c->a;
    procpool_print_bytes(c, bench_turns(replies));
    close_pool();
}

/* ---- the beginning and the end; a crash; nothing to do ---- */

static conc_process_method method;
static double start_stop(void) {
    double start = bench_clock();
    open_pool(2, method, 0);
    await(submit(&numbers[0]));
    close_pool();
    return bench_clock() - start;
}
static void start_run(const bench_case *c) {
    method = (conc_process_method)c->a;
    bench_print(c, bench_turns(start_stop) * 1e3, "ms", "");
}

static int die(void *arg) {
    (void)arg;
    _Exit(1);
}
/* both of two workers die; then a task is done by each that has come in their place */
static double crash(void) {
    double start = bench_clock();
    conc_future *f[4];
    int i;
    for (i = 0; i < 4; i++) BENCH_CHECK((f[i] = conc_procpool_submit(pool, i < 2 ? die : nothing, NULL, 0)) != NULL);
    for (i = 0; i < 4; i++) {
        BENCH_CHECK(conc_future_wait(f[i], CONC_FOREVER) == (i < 2 ? CONC_CRASHED : CONC_OK));
        conc_future_release(f[i]);
    }
    return bench_clock() - start;
}
static void crash_run(const bench_case *c) {
    open_pool(2, CONC_PROCESS_FORK, 0);
    bench_print(c, bench_turns(crash) * 1e3 / 2, "ms", "");
    close_pool();
}

static void idle_run(const bench_case *c) {
    double busy, start;
    long pids[16];
    int i;
    open_pool(c->a, CONC_PROCESS_FORK, 0);
    for (i = 0; i < 1000; i++) await(submit(&numbers[0]));
    for (i = 0; i < c->a; i++) pids[i] = conc_procpool_pid(pool, (unsigned)i + 1);
    bench_sleep_ms(50);
    busy = procpool_busy(pids, c->a);
    start = bench_clock();
    bench_sleep_ms(1000);
    busy = procpool_busy(pids, c->a) - busy;
    bench_print(c, busy * 100 / (bench_clock() - start), "% cpu", "");
    close_pool();
}

static const bench_case cases[] = {
    PROCPOOL_ALL_CASE(2, "conc", all_run, 2, 0),
    PROCPOOL_ALL_CASE(2, "conc, spawned", all_run, 2, 1),
    PROCPOOL_ALL_CASE(2, "conc imap, chunks of 1", imap_run, 2, 1),
    PROCPOOL_ALL_CASE(4, "conc", all_run, 4, 0),
    PROCPOOL_ALL_CASE(4, "conc, spawned", all_run, 4, 1),
    PROCPOOL_ALL_CASE(4, "conc imap, chunks of 1", imap_run, 4, 1),
    PROCPOOL_MAP_CASE(2, "conc", map_run, 2),
    PROCPOOL_MAP_CASE(4, "conc", map_run, 4),
    PROCPOOL_ONE_CASE("conc", one_run, 2),
    PROCPOOL_ONE_CASE("conc, 1 worker", one_run, 1),
    PROCPOOL_ONE_CASE("conc call", call_run, 2),
    PROCPOOL_WINDOW_CASE("conc", window_run, 2, 16),
    PROCPOOL_WINDOW_CASE("conc, 1 worker", window_run, 1, 16),
    PROCPOOL_TRIP_CASE(1, "conc", trip_run),
    PROCPOOL_TRIP_CASE(4, "conc", trip_run),
    PROCPOOL_MADE_CASE(1, "conc, in place", place_run),
    PROCPOOL_MADE_CASE(1, "conc reply", reply_run),
    PROCPOOL_MADE_CASE(4, "conc, in place", place_run),
    PROCPOOL_MADE_CASE(4, "conc reply", reply_run),
    PROCPOOL_START_CASE("conc", start_run, CONC_PROCESS_FORK),
    PROCPOOL_START_CASE("conc, spawned", start_run, CONC_PROCESS_SPAWN),
    {"procpool", "a worker dies, is told and replaced", "conc", crash_run, 0, 0},
    {"procpool", "2 workers idle", "conc", idle_run, 2, 0},
    {"procpool", "16 workers idle", "conc", idle_run, 16, 0},
};

int main(int argc, char **argv) {
    BENCH_CHECK(conc_process_register("nothing", nothing) == CONC_OK);
    conc_process_main(argc, argv);
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
