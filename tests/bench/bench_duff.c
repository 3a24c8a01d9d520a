/* Peer: coroutines as one writes them by hand in C: a switch on the place where the function stopped (Duff's device), a
 * struct for what lives on, and, where there are several, the small list of those that are ready. No loop, no timers, no
 * sockets, no cancels: what the language itself costs. */

#define _POSIX_C_SOURCE 200809L
#include "bench.h"
#include "memory.h"

#define BLOCK 256

static uint64_t ops_on;
static const bench_case *the_case;

/* ---- the scheduler: a list of those ready ---- */

enum { ENDED, YIELDED, WAITS };
typedef struct task task;
struct task {
    int (*resume)(task *self);
    task *next;
    int place;
};
static task *ready, **ready_end = &ready;

static void append(task *t) {
    t->next = NULL;
    *ready_end = t;
    ready_end = &t->next;
}

static void run_all(void) {
    while (ready != NULL) {
        task *t = ready;
        ready = t->next;
        if (ready == NULL) ready_end = &ready;
        switch (t->resume(t)) {
        case YIELDED: append(t); break;
        case ENDED: free(t); break;
        default: break;
        }
    }
}

static task *new_task(size_t size, int (*resume)(task *self)) {
    task *t = (task *)malloc(size);
    BENCH_CHECK(t != NULL);
    memset(t, 0, size);
    t->resume = resume;
    return t;
}

/* ---- resume and yield ---- */

typedef struct yields {
    task head;
    int i;
    uint64_t ops;
} yields;

static int yields_resume(task *t) {
    yields *self = (yields *)t;
    switch (t->place) {
    case 0:
        while (bench_phase() != BENCH_OVER) {
            for (self->i = 0; self->i < BLOCK; self->i++) {
                t->place = 1;
                return YIELDED;
    case 1:;
            }
            self->ops += bench_phase() == BENCH_ON ? BLOCK : 0;
        }
        ops_on += self->ops;
    }
    return ENDED;
}

/* ---- spawn and finish ---- */

static uint64_t finished;

static int empty_resume(task *t) {
    switch (t->place) {
    case 0: finished++;
    }
    return ENDED;
}

typedef struct spawns {
    task head;
    uint64_t all;
} spawns;

static int spawns_resume(task *t) {
    spawns *self = (spawns *)t;
    switch (t->place) {
    case 0:
        while (bench_phase() != BENCH_OVER) {
            int i;
            for (i = 0; i < 64; i++) append(new_task(sizeof(task), empty_resume));
            self->all += 64;
            t->place = 1;
            return YIELDED;
    case 1:
            BENCH_CHECK(finished == self->all);
            ops_on += bench_phase() == BENCH_ON ? 64 : 0;
        }
    }
    return ENDED;
}

/* ---- a queue for tasks of one thread, 64 places ---- */

typedef struct queue {
    uint64_t items[64], head, tail;
    task *getter, *putter;
} queue;

/* NULL-free: 1, done; 0: the task waits and is to try again. */
__attribute__((noinline)) static int queue_put(queue *q, task *t, uint64_t item) {
    if (q->tail - q->head == 64) {
        q->putter = t;
        return 0;
    }
    q->items[q->tail++ % 64] = item;
    if (q->getter != NULL) {
        append(q->getter);
        q->getter = NULL;
    }
    return 1;
}

__attribute__((noinline)) static int queue_get(queue *q, task *t, uint64_t *item) {
    if (q->tail == q->head) {
        q->getter = t;
        return 0;
    }
    *item = q->items[q->head++ % 64];
    if (q->putter != NULL) {
        append(q->putter);
        q->putter = NULL;
    }
    return 1;
}

typedef struct player {
    task head;
    queue *there, *back;
    uint64_t item, got;
    int i;
} player;

static int ping_resume(task *t) {
    player *self = (player *)t;
    switch (t->place) {
    case 0:
        while (bench_phase() != BENCH_OVER) {
            for (self->i = 0; self->i < BLOCK; self->i++) {
                self->item++;
                t->place = 1;
    case 1:
                if (!queue_put(self->there, t, self->item)) return WAITS;
                t->place = 2;
    case 2:
                if (!queue_get(self->back, t, &self->got)) return WAITS;
                BENCH_CHECK(self->got == self->item);
            }
            ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
        }
        t->place = 3;
    case 3:
        if (!queue_put(self->there, t, 0)) return WAITS;
    }
    return ENDED;
}

static int pong_resume(task *t) {
    player *self = (player *)t;
    switch (t->place) {
    case 0:
        for (;;) {
            t->place = 1;
    case 1:
            if (!queue_get(self->there, t, &self->item)) return WAITS;
            if (self->item == 0) break;
            t->place = 2;
    case 2:
            if (!queue_put(self->back, t, self->item)) return WAITS;
        }
    }
    return ENDED;
}

/* ---- calling another: its frame lies in the caller's ---- */

typedef struct calls {
    task head, called;
    int i;
    uint64_t sum;
} calls;

static int called_resume(task *t) {
    switch (t->place) {
    case 0: break;
    }
    return ENDED;
}
static int (*volatile called_function)(task *t) = called_resume;

static int calls_resume(task *t) {
    calls *self = (calls *)t;
    switch (t->place) {
    case 0:
        while (bench_phase() != BENCH_OVER) {
            self->sum = 0;
            for (self->i = 0; self->i < BLOCK; self->i++) {
                memset(&self->called, 0, sizeof self->called);
                self->called.resume = called_function;
                t->place = 1;
    case 1:
                if (self->called.resume(&self->called) != ENDED) return WAITS;
                self->sum++;
            }
            BENCH_CHECK(self->sum == BLOCK);
            ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
        }
    }
    return ENDED;
}

/* ---- memory: what it is in any case, a place in a timer wheel with it ---- */

typedef struct sleeps {
    task head;
    task *timer_next, *timer_prev;
    int64_t until;
} sleeps;

static void memory_run(const bench_case *c) {
    sleeps *all = NULL;
    double before = memory_rss(), after;
    char extra[100];
    int i;
    for (i = 0; i < c->a; i++) {
        sleeps *t = (sleeps *)new_task(sizeof(sleeps), called_resume);
        t->timer_next = (task *)all;
        all = t;
    }
    after = memory_rss();
    snprintf(extra, sizeof extra, "frame=%d MB=%.1f", (int)sizeof(sleeps), (after - before) * 1e-6);
    bench_sink = (uintptr_t)all;
    bench_print(c, (after - before) / c->a, "bytes", extra);
}

/* ---- running them ---- */

enum { YIELDS, SPAWNS, QUEUES, CALLS, DIRECT };

static void body(bench_thread *t) {
    static queue there, back;
    player *p;
    int i;
    switch (the_case->a) {
    case DIRECT: { /* no list: the caller resumes it again and again */
        task *one = new_task(sizeof(yields), yields_resume);
        while (one->resume(one) != ENDED) {
        }
        free(one);
        break;
    }
    case YIELDS:
        for (i = 0; i < the_case->b; i++) append(new_task(sizeof(yields), yields_resume));
        break;
    case SPAWNS: append(new_task(sizeof(spawns), spawns_resume)); break;
    case QUEUES:
        for (i = 0; i < 2; i++) {
            p = (player *)new_task(sizeof(player), i == 0 ? ping_resume : pong_resume);
            p->there = &there;
            p->back = &back;
            append(&p->head);
        }
        break;
    default: append(new_task(sizeof(calls), calls_resume)); break;
    }
    run_all();
    t->ops = ops_on;
}

static void timed_run(const bench_case *c) {
    bench_window w;
    the_case = c;
    bench_start(0, body, NULL, 0);
    w = bench_measure();
    bench_join(0, 1);
    BENCH_CHECK(bench_team[0].ops > 0);
    bench_print(c, w.cpu * w.seconds * 1e9 / (double)bench_team[0].ops, "ns of CPU", "");
}

static const bench_case cases[] = {
    {"coro", "resume and yield, 1 task", "Duff, direct", timed_run, DIRECT, 1},
    {"coro", "resume and yield, 1 task", "Duff, scheduler", timed_run, YIELDS, 1},
    {"coro", "resume and yield, 2 tasks", "Duff, scheduler", timed_run, YIELDS, 2},
    {"coro", "resume and yield, 1000 tasks", "Duff, scheduler", timed_run, YIELDS, 1000},
    {"coro", "spawn and finish", "Duff, scheduler", timed_run, SPAWNS, 0},
    {"coro", "there and back through two queues", "Duff, scheduler", timed_run, QUEUES, 0},
    {"coro", "call and return", "Duff, direct", timed_run, CALLS, 0},
    {"coro", "memory of one of 1,000,000 that sleep", "Duff, scheduler", memory_run, 1000000, 0},
};

BENCH_MAIN(cases)
