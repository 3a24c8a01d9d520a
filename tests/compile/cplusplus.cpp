// A C++ program uses the library with its own means: lambdas as tasks, members as locks, exceptions through a
// locked block. Runs and returns 0; otherwise the line of the first check that failed is printed.
#define CONC_IMPLEMENTATION
#include "../../conc.h"

#include <cstdio>
#include <stdexcept>
#include <string>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            std::printf("cplusplus.cpp:%d: not so: %s\n", __LINE__, #x);                           \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

namespace {

struct Account {
    long balance = 0;
    conc_mutex lock = {};

    void pay(long amount) {
        CONC_WITH_LOCK(&lock) {
            if (amount < 0) throw std::invalid_argument("amount");
            balance += amount;
        }
    }
};

struct Job {
    Account *account;
    conc_queue *log;
};

int work(void *arg) {
    Job *job = static_cast<Job *>(arg);
    for (int i = 0; i < 1000; i++) job->account->pay(1);
    std::string *line = new std::string("paid by ");
    *line += conc_thread_name(nullptr);
    return conc_queue_put(job->log, &line, CONC_FOREVER) == CONC_OK ? 0 : 1;
}

CONC_GENERATOR(Numbers, int, int i, end;) {
    CONC_BEGIN;
    for (; self->i < self->end; self->i++) CONC_YIELD(self->i);
    CONC_END;
}
CONC_MAP_FN(text_of, int, x, const char *, x % 2 ? "odd" : "even")

// What a coroutine keeps is copied bytes; what has a destructor it holds by pointer, and deletes in its clean-up part.
CONC_CORO(Adder, conc_queue *numbers; std::string *text; int x; long *sum;) {
    CO_BEGIN;
    self->text = new std::string;
    for (;;) {
        CO_AWAIT(conc_op_get(self->numbers, &self->x));
        if (self->co.result != CONC_OK) break;
        *self->sum += self->x;
        {
            std::string digits = std::to_string(self->x); // in braces of its own, and no suspension after it in them
            *self->text += digits;
        }
        CO_YIELD;
    }
    if (*self->text != "123") CO_RETURN(1);
    CO_FINALLY;
    delete self->text;
    CO_END;
}

} // namespace

int main() {
    Account account;
    Job job = { &account, conc_queue_new(sizeof(std::string *), 0) };
    CHECK(job.log != nullptr);

    conc_thread_desc desc = conc_thread_desc();
    desc.name = "payer";
    conc_thread *payers[4];
    for (conc_thread *&t : payers) {
        t = conc_thread_start(work, &job, &desc);
        CHECK(t != nullptr);
    }
    int flag = 0;
    conc_thread *lambda = conc_thread_start([](void *arg) { *static_cast<int *>(arg) = 5; return 0; }, &flag, nullptr);
    CHECK(conc_thread_join(lambda, nullptr, CONC_FOREVER) == CONC_OK && flag == 5);
    for (conc_thread *t : payers) {
        int result = -1;
        CHECK(conc_thread_join(t, &result, CONC_FOREVER) == CONC_OK && result == 0);
    }
    CHECK(conc_queue_close(job.log) == CONC_OK);
    int lines = 0;
    CONC_FOR_QUEUE(std::string *, line, job.log) {
        lines += *line == "paid by payer";
        delete line;
    }
    CHECK(lines == 4 && account.balance == 4000);

    bool thrown = false;
    try {
        account.pay(-1);
    } catch (const std::invalid_argument &) {
        thrown = true;
    }
    CHECK(thrown && conc_mutex_destroy(&account.lock) == CONC_OK); // the exception unlocked it
    CHECK(conc_queue_free(job.log) == CONC_OK);

    Numbers numbers = CONC_GEN_ZERO(Numbers);
    numbers.end = 5;
    std::string all;
    CONC_FOREACH(const char *, text, conc_map(conc_iter_borrow(&numbers.iter), text_of, nullptr)) all += text;
    CHECK(all == "evenoddevenoddeven");
    int sum = 0;
#if __cplusplus >= 202002L
    CONC_FOR_GEN(Numbers, x, .i = 1, .end = 4) sum += x;
    CONC_FOREACH(int, x, CONC_GEN_NEW(Numbers, .i = 0, .end = 4)) sum += x;
    numbers = CONC_GEN(Numbers, .i = 0, .end = 4);
    CHECK(sum == 12);
#else
    numbers = CONC_GEN_ZERO(Numbers);
    numbers.end = 4;
#endif
    thrown = false;
    try {
        CONC_FOREACH(int, x, &numbers.iter) {
            sum += x;
            if (x == 2) throw std::out_of_range("two");
        }
    } catch (const std::out_of_range &) {
        thrown = true;
    }
    CHECK(thrown && CONC_NEXT(Numbers, &numbers, &sum) == CONC_CLOSED); // the exception closed it
    CHECK(CONC_IS_ITERABLE(&numbers.iter) && !CONC_IS_ITERABLE(numbers));

    conc_loop *loop = conc_loop_new(nullptr);
    conc_queue *ints = conc_queue_new(sizeof(int), 0);
    CHECK(loop != nullptr && ints != nullptr);
    for (int n = 1; n <= 3; n++) CHECK(conc_queue_put(ints, &n, CONC_FOREVER) == CONC_OK);
    CHECK(conc_queue_close(ints) == CONC_OK);
    long total = 0;
#if __cplusplus >= 202002L
    conc_task *adder = CONC_SPAWN(loop, Adder, .numbers = ints, .text = nullptr, .x = 0, .sum = &total); // (g++ wants all named)
#else
    Adder frame = CONC_FRAME_ZERO(Adder);
    frame.numbers = ints;
    frame.sum = &total;
    conc_task *adder = CONC_SPAWN_FRAME(loop, nullptr, Adder, frame);
#endif
    int code = -1;
    CHECK(conc_task_join(adder, &code, CONC_FOREVER) == CONC_OK && code == 0 && total == 6);
    CHECK(conc_loop_free(loop) == CONC_OK && conc_queue_free(ints) == CONC_OK);
    return 0;
}
