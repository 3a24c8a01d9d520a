/* Ping-pongs between two threads, in microseconds there and back: templates, included once for each
 * implementation.
 *
 * With a lock and two conditions. Define before it:
 *     PP_COND                    a name
 *     PP_LOCK_TYPE  PP_COND_TYPE, PP_LOCK_INIT(l)  PP_COND_INIT(c)
 *     PP_TAKE(l)  PP_GIVE(l)  PP_WAIT(c, l)  PP_SIGNAL(c)
 * and list PP_COND_CASES(name, "implementation").
 *
 * With anything that is raised in one thread and waited for, and used up, in another (a semaphore, an event
 * that resets itself):
 *     PP_FLAG                    a name
 *     PP_TYPE, PP_INIT(f)  PP_RAISE(f)  PP_AWAIT(f)
 * and list PP_FLAG_CASE(name, "what", "implementation"), PP_ALONE_CASE(...): raise and await in one thread, ns. */

#include "bench.h"

#ifndef PP_COND_CASES
#define PP_COND_CASES(name, impl) {"pingpong", "condition", impl, name##_cond_run, 0, 0}
#define PP_FLAG_CASE(name, what, impl) {"pingpong", what, impl, name##_flag_run, 0, 0}
#define PP_ALONE_CASE(name, what, impl) {"pingpong", what " alone", impl, name##_flag_alone, 0, 0}

static void pingpong_print(const bench_case *c, const bench_window *w, uint64_t turns) {
    char extra[100];
    snprintf(extra, sizeof extra, "switches=%.2f cpu=%.2f", w->switches / (double)turns, w->cpu);
    bench_print(c, w->seconds * 1e6 / (double)turns, "us", extra);
}
#endif

#if defined(PP_COND)
#define PP_NAME(suffix) BENCH_CAT(PP_COND, suffix)

static struct {
    PP_LOCK_TYPE lock;
    PP_COND_TYPE there;
    PP_COND_TYPE back;
    int turn; /* 1: the ball is there */
    int over;
} PP_NAME(_table);

static void PP_NAME(_cond_ping)(bench_thread *t) {
    uint64_t ops = 0;
    uint32_t phase;
    PP_TAKE(&PP_NAME(_table).lock);
    while ((phase = bench_phase()) != BENCH_OVER) {
        PP_NAME(_table).turn = 1;
        PP_SIGNAL(&PP_NAME(_table).there);
        while (PP_NAME(_table).turn == 1) PP_WAIT(&PP_NAME(_table).back, &PP_NAME(_table).lock);
        ops += phase;
    }
    PP_NAME(_table).over = 1;
    PP_SIGNAL(&PP_NAME(_table).there);
    PP_GIVE(&PP_NAME(_table).lock);
    t->ops = ops;
}

static void PP_NAME(_cond_pong)(bench_thread *t) {
    (void)t;
    PP_TAKE(&PP_NAME(_table).lock);
    while (!PP_NAME(_table).over) {
        if (PP_NAME(_table).turn == 1) {
            PP_NAME(_table).turn = 0;
            PP_SIGNAL(&PP_NAME(_table).back);
        } else {
            PP_WAIT(&PP_NAME(_table).there, &PP_NAME(_table).lock);
        }
    }
    PP_GIVE(&PP_NAME(_table).lock);
}

static void PP_NAME(_cond_run)(const bench_case *c) {
    bench_window w;
    PP_LOCK_INIT(&PP_NAME(_table).lock);
    PP_COND_INIT(&PP_NAME(_table).there);
    PP_COND_INIT(&PP_NAME(_table).back);
    bench_start(0, PP_NAME(_cond_ping), NULL, 0);
    bench_start(1, PP_NAME(_cond_pong), NULL, 0);
    w = bench_measure();
    bench_join(0, 2);
    pingpong_print(c, &w, bench_team[0].ops);
}
#undef PP_NAME
#undef PP_COND
#undef PP_LOCK_TYPE
#undef PP_COND_TYPE
#undef PP_LOCK_INIT
#undef PP_COND_INIT
#undef PP_TAKE
#undef PP_GIVE
#undef PP_WAIT
#undef PP_SIGNAL
#endif

#if defined(PP_FLAG)
#define PP_NAME(suffix) BENCH_CAT(PP_FLAG, suffix)

static struct {
    PP_TYPE there;
    char apart[64];
    PP_TYPE back;
    int over; /* set before the last raise of `there` */
} PP_NAME(_flags);

static void PP_NAME(_flag_ping)(bench_thread *t) {
    uint64_t ops = 0;
    uint32_t phase;
    while ((phase = bench_phase()) != BENCH_OVER) {
        PP_RAISE(&PP_NAME(_flags).there);
        PP_AWAIT(&PP_NAME(_flags).back);
        ops += phase;
    }
    PP_NAME(_flags).over = 1;
    PP_RAISE(&PP_NAME(_flags).there);
    t->ops = ops;
}

static void PP_NAME(_flag_pong)(bench_thread *t) {
    (void)t;
    for (;;) {
        PP_AWAIT(&PP_NAME(_flags).there);
        if (PP_NAME(_flags).over) break;
        PP_RAISE(&PP_NAME(_flags).back);
    }
}

static void PP_NAME(_flag_run)(const bench_case *c) {
    bench_window w;
    PP_INIT(&PP_NAME(_flags).there);
    PP_INIT(&PP_NAME(_flags).back);
    bench_start(0, PP_NAME(_flag_ping), NULL, 0);
    bench_start(1, PP_NAME(_flag_pong), NULL, 0);
    w = bench_measure();
    bench_join(0, 2);
    pingpong_print(c, &w, bench_team[0].ops);
}

static BENCH_UNUSED void PP_NAME(_flag_alone_turns)(bench_thread *t) {
    uint64_t ops = 0;
    uint32_t phase;
    int i;
    while ((phase = bench_phase()) != BENCH_OVER) {
        for (i = 0; i < 256; i++) {
            PP_RAISE(&PP_NAME(_flags).there);
            PP_AWAIT(&PP_NAME(_flags).there);
        }
        ops += phase * 256;
    }
    t->ops = ops;
}

static BENCH_UNUSED void PP_NAME(_flag_alone)(const bench_case *c) {
    bench_window w;
    PP_INIT(&PP_NAME(_flags).there);
    bench_start(0, PP_NAME(_flag_alone_turns), NULL, 0);
    w = bench_measure();
    bench_join(0, 1);
    bench_print(c, w.seconds * 1e9 / (double)bench_team[0].ops, "ns", "");
}
#undef PP_NAME
#undef PP_FLAG
#undef PP_TYPE
#undef PP_INIT
#undef PP_RAISE
#undef PP_AWAIT
#endif
