// C++: every macro and every kind of call, as a C++ program would write them.
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

#include <string>
#include <vector>

namespace {

conc_mutex counter_lock; // zero is unlocked
long counter;

int count_up(void *arg) {
    for (int i = 0; i < *static_cast<int *>(arg); i++) {
        CONC_WITH_LOCK(&counter_lock) {
            if (i < 0) break;
            counter++;
        }
    }
    return 0;
}

void threads() {
    int n = check_rounds(20000);
    conc_thread_desc desc = conc_thread_desc();
    desc.name = "c++";
    std::vector<conc_thread *> all;
    counter = 0;
    for (int i = 0; i < 4; i++) all.push_back(conc_thread_start(count_up, &n, &desc));
    for (conc_thread *t : all) {
        CHECK(t != nullptr);
        CHECK_STR(conc_thread_name(t), "c++");
        CHECK_OK(conc_thread_join(t, nullptr, CONC_FOREVER));
    }
    CHECK_EQ(counter, 4L * n);
}

void lambda() { // one that captures nothing is a conc_fn
    int x = 1, result = 0;
    conc_thread *t = conc_thread_start(
        [](void *arg) -> int {
            *static_cast<int *>(arg) += 41;
            return 7;
        },
        &x, nullptr);
    CHECK_OK(conc_thread_join(t, &result, conc_after(60)));
    CHECK_EQ(x, 42);
    CHECK_EQ(result, 7);
}

struct point {
    double x, y;
};

void queues() {
    conc_queue *q = conc_queue_new(sizeof(point), 4);
    point p = {1.5, 2.5}, back = {0, 0};
    int wrong = 0;
    CHECK_OK(conc_queue_put(q, &p, CONC_NOW));
    CHECK_R(conc_queue_put(q, &wrong, CONC_NOW), CONC_INVALID);
    CHECK_OK(conc_queue_get(q, &back, CONC_FOREVER));
    CHECK(back.x > 1.4 && back.y > 2.4);
    point many[3] = {{1, 1}, {2, 2}, {3, 3}};
    size_t done = 0;
    CHECK_OK(conc_queue_put_many(q, many, 3, &done, CONC_FOREVER));
    CHECK_EQ(done, 3);
    CHECK_OK(conc_queue_get_many(q, many, 2, &done, CONC_FOREVER));
    CHECK_EQ(done, 2);
    CHECK_OK(conc_wait(conc_op_put(q, &p), CONC_FOREVER));
    CHECK_OK(conc_wait(conc_op_get(q, &back), CONC_FOREVER));
    CHECK(back.x > 2.9);
    CHECK_OK(conc_queue_close(q));
    int n = 0;
    CONC_FOR_QUEUE(point, each, q) {
        n++;
        CHECK(each.x < 1.6);
    }
    CHECK_EQ(n, 1);
    CHECK_OK(conc_queue_free(q));
}

int by_length(const void *a, const void *b) {
    std::string *const *x = static_cast<std::string *const *>(a);
    std::string *const *y = static_cast<std::string *const *>(b);
    return int((*x)->size()) - int((*y)->size());
}

void priority_queue_of_objects() { // objects with constructors travel as pointers
    conc_queue_desc desc = conc_queue_desc();
    desc.kind = CONC_PRIORITY;
    desc.compare = by_length;
    conc_queue *q = conc_queue_new_ex(sizeof(std::string *), 0, &desc);
    for (const char *word : {"pear", "fig", "banana"}) {
        std::string *s = new std::string(word);
        CHECK_OK(conc_queue_put(q, &s, CONC_FOREVER));
    }
    CHECK_OK(conc_queue_close(q));
    std::string all;
    CONC_FOR_QUEUE(std::string *, s, q) {
        all += *s + " ";
        delete s;
    }
    CHECK_STR(all.c_str(), "fig pear banana ");
    CHECK_OK(conc_queue_free(q));
}

conc_rwlock shared_lock;
conc_rmutex again;

int leave_by_return(bool write) {
    if (write) {
        CONC_WITH_WRITE_LOCK(&shared_lock) {
#if CONC_CC_GNU
            return 1;
#endif
        }
    } else {
        CONC_WITH_READ_LOCK(&shared_lock) {
#if CONC_CC_GNU
            return 1;
#endif
        }
    }
    return 1;
}

void scopes() {
    conc_mutex a = conc_mutex(), b = conc_mutex();
    conc_cancel token = conc_cancel();
    int runs = 0;
    CONC_WITH_LOCK(&a) CONC_WITH_LOCK(&b) runs++;
    CONC_WITH_RLOCK(&again) CONC_WITH_RLOCK(&again) runs++;
    for (int i = 0; i < 3; i++) {
        CONC_WITH_LOCK(&a) {
            if (i == 1) continue;
            CHECK(conc_mutex_is_mine(&a));
            runs++;
            if (i == 2) break;
        }
        CHECK(!conc_mutex_is_mine(&a));
    }
    CONC_WITH_READ_LOCK(&shared_lock) runs++;
    CONC_WITH_WRITE_LOCK(&shared_lock) runs++;
    CHECK_EQ(leave_by_return(true), 1);
    CHECK_EQ(leave_by_return(false), 1);
    CHECK_OK(conc_rwlock_destroy(&shared_lock));
    CHECK_OK(conc_cancel_fire(&token));
    CONC_WITH_CANCEL(&token) {
        CHECK_R(conc_canceled(), CONC_CANCELED);
        runs++;
    }
    CHECK_OK(conc_canceled());
    CHECK_EQ(runs, 7);
    CHECK_OK(conc_mutex_destroy(&a));
    CHECK_OK(conc_rmutex_destroy(&again));
}

#if CONC_CC_GNU && defined(__cpp_exceptions)
void thrown_through() { // a cleanup runs when an exception passes, too
    conc_mutex m = conc_mutex();
    bool caught = false;
    try {
        CONC_WITH_LOCK(&m) {
            throw 5;
        }
    } catch (int) {
        caught = true;
    }
    CHECK(caught);
    CHECK(!conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_destroy(&m));
}
#endif

conc_semaphore permits = CONC_SEMAPHORE_INIT(2, 3);
conc_latch latch = CONC_LATCH_INIT(1);

void initialisers_and_select() {
    conc_event e = conc_event();
    conc_op ops[3];
    CHECK_EQ(conc_semaphore_permits(&permits), 2);
    CHECK_EQ(conc_latch_count(&latch), 1);
    e.auto_reset = true;
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_latch(&latch);
    ops[2] = conc_op_acquire(&permits);
    CHECK_EQ(conc_select(ops, 3, CONC_FOREVER), 2);
    CHECK_OK(ops[2].result);
    ops[0] = conc_op_event(&e);
    ops[1] = conc_op_sleep(0.001);
    CHECK_EQ(conc_select(ops, 2, conc_deadline_min(conc_after(60), CONC_FOREVER)), 1);
    CHECK_OK(conc_latch_done(&latch));
    CHECK_OK(conc_try(conc_op_latch(&latch)));
    CHECK_R(conc_wait(conc_op_event(&e), conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_event_wait(&e, CONC_NOW), CONC_BUSY);
}

bool positive(void *arg) { return *static_cast<int *>(arg) > 0; }

struct shared_state {
    conc_mutex lock;
    conc_cond changed;
    conc_once once;
    conc_barrier barrier;
    int value;
};

int change(void *arg) {
    shared_state *s = static_cast<shared_state *>(arg);
    CHECK_OK(conc_barrier_wait(&s->barrier, nullptr, CONC_FOREVER));
    CONC_WITH_LOCK(&s->lock) {
        s->value = 3;
        CHECK_OK(conc_cond_signal(&s->changed));
    }
    return 0;
}

int set_once(void *arg) {
    ++*static_cast<int *>(arg);
    return 0;
}

void conditions_barriers_onces() {
    shared_state s = shared_state();
    int n = 0;
    s.barrier.parties = 2;
    conc_thread *t = conc_thread_start(change, &s, nullptr);
    CHECK_OK(conc_barrier_wait(&s.barrier, nullptr, CONC_FOREVER));
    CONC_WITH_LOCK(&s.lock) CHECK_OK(conc_cond_wait_for(&s.changed, &s.lock, positive, &s.value, CONC_FOREVER));
    CHECK_EQ(s.value, 3);
    CHECK_OK(conc_thread_join(t, nullptr, CONC_FOREVER));
    CHECK_OK(conc_once_do(&s.once, set_once, &n, CONC_FOREVER));
    CHECK_OK(conc_once_do(&s.once, set_once, &n, CONC_FOREVER));
    CHECK_EQ(n, 1);
}

conc_local number = { nullptr, 0 };

int locals(void *) {
    int mine = 5;
    CHECK(conc_local_get(&number) == nullptr);
    CHECK_OK(conc_local_set(&number, &mine));
    CHECK(conc_local_get(&number) == &mine);
    return 0;
}

void thread_locals_and_timers() {
    int here = 1, fired = 0;
    CHECK_OK(conc_local_set(&number, &here));
    CHECK_OK(conc_thread_join(conc_thread_start(locals, nullptr, nullptr), nullptr, CONC_FOREVER));
    CHECK(conc_local_get(&number) == &here);
    conc_timer *t = conc_timer_start(set_once, &fired, conc_after(0.001));
    CHECK_OK(conc_wait(conc_op_timer(t), CONC_FOREVER));
    CHECK_EQ(fired, 1);
    conc_timer_release(t);
}

// A class of one's own. (Before C++20 there are no designated initialisers.)
struct flag {
    conc_mutex lock;
    bool set;
    conc_waiters waiters;
};

conc_result flag_attempt(conc_op *op) {
    flag *f = static_cast<flag *>(op->object);
    bool set = false;
    CONC_WITH_LOCK(&f->lock) set = f->set;
    return set ? CONC_OK : CONC_PENDING;
}

bool flag_arm(conc_op *op, conc_node *node) {
    flag *f = static_cast<flag *>(op->object);
    conc_waiters_arm(&f->waiters, node);
    if (flag_attempt(op) == CONC_PENDING) return true;
    conc_waiters_disarm(node);
    return false;
}

const conc_op_class flag_class = { "flag", CONC_BUSY, flag_attempt, flag_arm, nullptr, nullptr };

int raise_flag(void *arg) {
    flag *f = static_cast<flag *>(arg);
    CONC_WITH_LOCK(&f->lock) f->set = true;
    (void)conc_waiters_wake(&f->waiters, CONC_ALL);
    return 0;
}

void own_op_class() {
    flag f = flag();
    CHECK_R(conc_try(conc_op_make(&flag_class, &f, nullptr)), CONC_BUSY);
    conc_thread *t = conc_thread_start(raise_flag, &f, nullptr);
    CHECK_OK(conc_wait(conc_op_make(&flag_class, &f, nullptr), CONC_FOREVER));
    CHECK_OK(conc_thread_join(t, nullptr, CONC_FOREVER));
}

} // namespace

int main() {
    check_begin("cxx");
    RUN(threads);
    RUN(lambda);
    RUN(queues);
    RUN(priority_queue_of_objects);
    RUN(scopes);
#if CONC_CC_GNU && defined(__cpp_exceptions)
    RUN(thrown_through);
#endif
    RUN(initialisers_and_select);
    RUN(conditions_barriers_onces);
    RUN(thread_locals_and_timers);
    RUN(own_op_class);
    return check_end();
}
