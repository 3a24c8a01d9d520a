/* Peer: C++20 coroutines, with the generator that std::generator is in C++23 but for its recursion. */

#include <coroutine>
#include <exception>
#include <utility>

#include "bench.h"

template <class T> class generator {
public:
    struct promise_type {
        T value;
        generator get_return_object() { return generator(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(T v) noexcept {
            value = v;
            return {};
        }
        void return_void() noexcept {}
        void unhandled_exception() { std::terminate(); }
    };
    explicit generator(std::coroutine_handle<promise_type> h) : handle(h) {}
    generator(generator &&other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
    ~generator() {
        if (handle) handle.destroy();
    }
    struct end_of {};
    struct iterator {
        std::coroutine_handle<promise_type> handle;
        T operator*() const { return handle.promise().value; }
        iterator &operator++() {
            handle.resume();
            return *this;
        }
        bool operator!=(end_of) const { return !handle.done(); }
    };
    iterator begin() {
        handle.resume();
        return {handle};
    }
    end_of end() { return {}; }

private:
    std::coroutine_handle<promise_type> handle;
};

#define ITER_ITEMS 10000
static volatile uint64_t iter_first;

static generator<uint64_t> fibonacci(uint64_t a, uint64_t n) {
    uint64_t b = 1;
    for (uint64_t i = 0; i < n; i++) {
        co_yield a;
        uint64_t next = a + b;
        a = b;
        b = next;
    }
}

static generator<int64_t> numbers(int64_t a, int64_t n) {
    for (int64_t x = a; x < n; x++) co_yield x;
}
static generator<int64_t> not_three(generator<int64_t> from) {
    for (int64_t x : from)
        if (x % 3 != 0) co_yield x;
}
static generator<uint64_t> squares(generator<int64_t> from) {
    for (int64_t x : from) co_yield uint64_t(x) * uint64_t(x);
}

__attribute__((noinline)) static uint64_t fib(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t x : fibonacci(a, n)) sum += x;
    return sum;
}
__attribute__((noinline)) static uint64_t pipe(uint64_t a, uint64_t n) {
    uint64_t sum = 0;
    for (uint64_t x : squares(not_three(numbers(int64_t(a), int64_t(n))))) sum += x;
    return sum;
}

static void iter_turns(bench_thread *t) {
    uint64_t (*fn)(uint64_t, uint64_t) = t->number ? pipe : fib;
    uint64_t ops = 0, want = fn(0, ITER_ITEMS);
    uint32_t phase;
    while ((phase = bench_phase()) != BENCH_OVER) {
        BENCH_CHECK(fn(iter_first, ITER_ITEMS) == want);
        ops += phase * uint64_t(ITER_ITEMS);
    }
    t->ops = ops;
}

static void iter_run(const bench_case *c) {
    bench_start(0, iter_turns, nullptr, c->a);
    bench_window w = bench_measure();
    bench_join(0, 1);
    bench_print(c, w.seconds * 1e9 / double(bench_team[0].ops), "ns", "");
}

static const bench_case cases[] = {
    {"iter", "fibonacci, by name", "C++20 coroutine", iter_run, 0, 0},
    {"iter", "fibonacci, iterator", "C++20 coroutine", iter_run, 0, 0},
    {"iter", "filter, map, sum", "C++20 coroutine", iter_run, 1, 0},
};

BENCH_MAIN(cases)
