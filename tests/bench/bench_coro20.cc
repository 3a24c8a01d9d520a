// Peer: the coroutines of C++20, with the same small list of those ready as bench_duff.c. No loop and no timers.

#include "bench.h"
#include "memory.h"

#include <coroutine>

#define BLOCK 256

static uint64_t ops_on;
static const bench_case *the_case;

// ---- the scheduler: a ring of those ready

static const size_t ring_size = 2048;
static std::coroutine_handle<> ring[ring_size];
static size_t ring_head, ring_tail;

static void append(std::coroutine_handle<> h) { ring[ring_tail++ % ring_size] = h; }

static void run_all() {
    while (ring_head != ring_tail) ring[ring_head++ % ring_size].resume();
}

struct task { // detached: frees itself at its end
    struct promise_type {
        task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { abort(); }
    };
    std::coroutine_handle<promise_type> handle;
};

struct yield {
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> h) { append(h); }
    void await_resume() {}
};

// ---- resume and yield

static task yields() {
    uint64_t ops = 0;
    while (bench_phase() != BENCH_OVER) {
        for (int i = 0; i < BLOCK; i++) co_await yield{};
        ops += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    ops_on += ops;
}

static bool direct_over;
static task yields_direct() {
    while (bench_phase() != BENCH_OVER) {
        for (int i = 0; i < BLOCK; i++) co_await std::suspend_always{};
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    direct_over = true;
}

// ---- spawn and finish

static uint64_t finished;
static task empty() {
    finished++;
    co_return;
}

static task spawns() {
    uint64_t all = 0;
    while (bench_phase() != BENCH_OVER) {
        for (int i = 0; i < 64; i++) append(empty().handle);
        all += 64;
        co_await yield{};
        BENCH_CHECK(finished == all);
        ops_on += bench_phase() == BENCH_ON ? 64 : 0;
    }
}

// ---- awaiting what is there

struct event {
    uint32_t set;
    __attribute__((noinline)) bool await_ready() { return __atomic_load_n(&set, __ATOMIC_ACQUIRE) != 0; }
    void await_suspend(std::coroutine_handle<>) { abort(); }
    void await_resume() {}
};
static event the_event = {1};

static task awaits_ready() {
    while (bench_phase() != BENCH_OVER) {
        for (int i = 0; i < BLOCK; i++) co_await the_event;
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
}

// ---- a queue for coroutines of one thread, 64 places

struct queue {
    uint64_t items[64], head = 0, tail = 0;
    std::coroutine_handle<> getter, putter;

    struct put_op {
        queue *q;
        uint64_t item;
        bool await_ready() { return q->tail - q->head < 64; }
        void await_suspend(std::coroutine_handle<> h) { q->putter = h; }
        void await_resume() {
            q->items[q->tail++ % 64] = item;
            if (q->getter) append(q->getter);
            q->getter = nullptr;
        }
    };
    struct get_op {
        queue *q;
        bool await_ready() { return q->tail != q->head; }
        void await_suspend(std::coroutine_handle<> h) { q->getter = h; }
        uint64_t await_resume() {
            uint64_t item = q->items[q->head++ % 64];
            if (q->putter) append(q->putter);
            q->putter = nullptr;
            return item;
        }
    };
    put_op put(uint64_t item) { return {this, item}; }
    get_op get() { return {this}; }
};

static task ping(queue *there, queue *back) {
    uint64_t item = 0;
    while (bench_phase() != BENCH_OVER) {
        for (int i = 0; i < BLOCK; i++) {
            co_await there->put(++item);
            uint64_t got = co_await back->get();
            BENCH_CHECK(got == item);
        }
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
    co_await there->put(0);
}

static task pong(queue *there, queue *back) {
    for (;;) {
        uint64_t item = co_await there->get();
        if (item == 0) break;
        co_await back->put(item);
    }
}

// ---- calling another

struct callee {
    struct promise_type {
        int value = 0;
        std::coroutine_handle<> caller;
        callee get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct back {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
                return h.promise().caller;
            }
            void await_resume() noexcept {}
        };
        back final_suspend() noexcept { return {}; }
        void return_value(int v) { value = v; }
        void unhandled_exception() { abort(); }
    };
    std::coroutine_handle<promise_type> handle;
    bool await_ready() { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) {
        handle.promise().caller = h;
        return handle;
    }
    int await_resume() {
        int v = handle.promise().value;
        handle.destroy();
        return v;
    }
};

__attribute__((noinline)) static callee called() { co_return 1; }

static task calls() {
    while (bench_phase() != BENCH_OVER) {
        uint64_t sum = 0;
        for (int i = 0; i < BLOCK; i++) sum += (uint64_t)co_await called();
        BENCH_CHECK(sum == BLOCK);
        ops_on += bench_phase() == BENCH_ON ? BLOCK : 0;
    }
}

// ---- memory: with a place in a timer wheel, as the others

struct sleeping {
    void *next = nullptr, *prev = nullptr;
    int64_t until = 0;
    std::coroutine_handle<> who;
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> h);
    void await_resume() {}
};
static sleeping *asleep;
void sleeping::await_suspend(std::coroutine_handle<> h) {
    who = h;
    next = asleep;
    asleep = this;
}

static task sleeps() { co_await sleeping{}; }

static void memory_run(const bench_case *c) {
    double before = memory_rss();
    for (int i = 0; i < c->a; i++) sleeps().handle.resume();
    double after = memory_rss();
    char extra[100];
    snprintf(extra, sizeof extra, "MB=%.1f", (after - before) * 1e-6);
    bench_print(c, (after - before) / c->a, "bytes", extra);
}

// ---- running them

enum { YIELDS, SPAWNS, READY, QUEUES, CALLS, DIRECT };

static void body(bench_thread *t) {
    static queue there, back;
    switch (the_case->a) {
    case DIRECT: {
        auto h = yields_direct().handle;
        while (!direct_over) h.resume();
        break;
    }
    case YIELDS:
        for (int i = 0; i < the_case->b; i++) append(yields().handle);
        break;
    case SPAWNS: append(spawns().handle); break;
    case READY: append(awaits_ready().handle); break;
    case QUEUES:
        append(ping(&there, &back).handle);
        append(pong(&there, &back).handle);
        break;
    default: append(calls().handle); break;
    }
    run_all();
    t->ops = ops_on;
}

static void timed_run(const bench_case *c) {
    the_case = c;
    bench_start(0, body, NULL, 0);
    bench_window w = bench_measure();
    bench_join(0, 1);
    BENCH_CHECK(bench_team[0].ops > 0);
    bench_print(c, w.cpu * w.seconds * 1e9 / (double)bench_team[0].ops, "ns of CPU", "");
}

static const bench_case cases[] = {
    {"coro", "resume and yield, 1 task", "C++20, direct", timed_run, DIRECT, 1},
    {"coro", "resume and yield, 1 task", "C++20", timed_run, YIELDS, 1},
    {"coro", "resume and yield, 2 tasks", "C++20", timed_run, YIELDS, 2},
    {"coro", "resume and yield, 1000 tasks", "C++20", timed_run, YIELDS, 1000},
    {"coro", "spawn and finish", "C++20", timed_run, SPAWNS, 0},
    {"coro", "await what is ready", "C++20", timed_run, READY, 0},
    {"coro", "there and back through two queues", "C++20", timed_run, QUEUES, 0},
    {"coro", "call and return", "C++20", timed_run, CALLS, 0},
    {"coro", "memory of one of 1,000,000 that sleep", "C++20", memory_run, 1000000, 0},
};

BENCH_MAIN(cases)
