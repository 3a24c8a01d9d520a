/* Does the compiler leave a program's own data alone across the library's calls?
 *
 * src/port.h tells of the trap: a compiler that believes that a function cannot come back into this file may
 * keep file-scope static data in registers across a call of it, and drop loads and stores, although another
 * thread changes that data. So here a second thread does nothing but change one static variable and watch
 * another, both of them plain, while the first runs each public function that synchronises like this:
 *
 *     a = in; out = 1; CALL; b = in; out = 2;
 *
 * and lets the other thread make a round after CALL. If the second load has been dropped, a and b are never seen to
 * differ: that must not be with a call that acquires (lock, get, wait, join). If the first store has been dropped, the
 * other thread never sees out == 1: not with a call that releases (unlock, put, set, start). Both are seen at the first
 * turn when the code is right; when it is not, the probe gives up after LAPS turns. There is no clock in it.
 *
 * The races on `in` and `out` are what is tested: this program is not for the thread sanitizer. Nothing may
 * take the addresses of the two, or the trap would not catch them.
 *
 * Built in one file with the library, and (CONC_TEST_TWO_FILES, with implementation.c) in two; with gcc and clang,
 * -O1 to -O3, without inlining, and with link-time optimisation. With CONC__TEST_LEAFY the guard is taken
 * out, and the test is that it is missed: the first probe that misses it ends the program. Exit code: 0 all is well, 1 something was dropped, 2 the test itself
 * did not work. */
#if !defined(CONC_TEST_TWO_FILES)
#define CONC_IMPLEMENTATION
#endif
#include "../../conc.h"

#include <stdio.h>
#include <string.h>

/* When it has been missed often enough. (Once would do, but for calls that block or yield, and the other thread with them.) */
#define LAPS 1000

/* Each in a cache line of its own, so that what one thread writes does not hold up the other. */
#define APART __attribute__((aligned(128)))
static APART int in;  /* written by the other thread */
static APART int out; /* written here */

static volatile APART int stop, seen_1;
static volatile APART uint32_t rounds;

static void nothing(void) {
}
static void (*volatile unknown)(void) = nothing; /* for all the compiler knows, a call of it may do anything */

static int other(void *arg) {
    (void)arg;
    while (!stop) {
        in++;
        if (out == 1) seen_1 = 1;
        rounds = rounds + 1;
        unknown();
    }
    return 0;
}

/* Between the call and the second load, and the second store: until the other thread has made a whole round. `rounds` is
 * volatile: that binds the compiler as to this one variable, and leaves it free to do with `in` and `out` what it would do
 * without this loop; but what is right is seen at once, however busy the machine is. */
static inline __attribute__((always_inline)) void let_other_run(void) {
    uint32_t start = rounds;
    while (rounds - start < 2) {
    }
}

static int dropped, wrong;

static void judge(const char *name, int loads, int stores, int failed) {
    if (failed) {
        printf("wrong: %s did not return what this test expects\n", name);
        wrong++;
        return;
    }
    if (!loads) printf("dropped: a load after %s\n", name);
    if (!stores) printf("dropped: a store before %s\n", name);
    dropped += !loads || !stores;
}

/* `prepare` brings the object into the state in which `call`, an expression that is true if it went well, does not
 * block; `undo` back. */
#define PROBE(name, acquires, releases, prepare, call, undo)                                       \
    static __attribute__((noinline)) void probe_##name(void) {                                     \
        int a, b, loads = !(acquires), failed = 0, laps = 0;                                       \
        if (CONC_TEST_ONLY_FIRST && dropped > 0) return;                                           \
        seen_1 = !(releases);                                                                      \
        do {                                                                                       \
            prepare;                                                                               \
            a = in;                                                                                \
            out = 1;                                                                               \
            if (!(call)) failed = 1;                                                               \
            let_other_run();                                                                       \
            b = in;                                                                                \
            out = 2;                                                                               \
            undo;                                                                                  \
            loads |= a != b;                                                                       \
            laps++;                                                                                \
        } while (!(loads && seen_1) && !failed && laps < LAPS);                                    \
        judge("conc_" #name, loads, seen_1, failed);                                               \
    }
#define ACQUIRES(name, prepare, call, undo) PROBE(name, 1, 0, prepare, call, undo)
#define RELEASES(name, prepare, call, undo) PROBE(name, 0, 1, prepare, call, undo)
#define BOTH(name, prepare, call, undo) PROBE(name, 1, 1, prepare, call, undo)

#if defined(CONC__TEST_LEAFY)
#define CONC_TEST_ONLY_FIRST 1
#else
#define CONC_TEST_ONLY_FIRST 0
#endif

#define IS_OK(r) ((r) == CONC_OK)
#define MUST(r) do { if ((r) != CONC_OK) failed = 1; } while (0)
#define NOTHING (void)0

static conc_mutex mutex;
static conc_rmutex rmutex;
static conc_cond cond;
static conc_rwlock rwlock;
static conc_brlock *brlock;
static conc_semaphore semaphore;
static conc_event event;
static conc_barrier barrier;
static conc_latch latch;
static conc_cancel token;
static conc_queue *queue, *ring;
static conc_waiters waiters;
static conc_thread *thread, *ended;
static conc_timer *timer;
static long item, items[2];
static size_t moved;

/* False, then true: so that there is a wait in between. */
static bool second_time(void *arg) {
    return ++*(int *)arg == 2;
}
static int succeed(void *arg) {
    (void)arg;
    return 0;
}
static void drop(void *dropped_item, void *arg) {
    (void)dropped_item;
    (void)arg;
}

ACQUIRES(mutex_lock, NOTHING, IS_OK(conc_mutex_lock(&mutex, CONC_FOREVER)), conc_mutex_unlock(&mutex))
ACQUIRES(mutex_try_lock, NOTHING, IS_OK(conc_mutex_try_lock(&mutex)), conc_mutex_unlock(&mutex))
RELEASES(mutex_unlock, MUST(conc_mutex_lock(&mutex, CONC_FOREVER)), IS_OK(conc_mutex_unlock(&mutex)), NOTHING)
ACQUIRES(op_lock, NOTHING, IS_OK(conc_wait(conc_op_lock(&mutex), CONC_FOREVER)), conc_mutex_unlock(&mutex))
ACQUIRES(_lock_enter, conc__lock_scope s, (s = conc__lock_enter(&mutex)).live, conc__lock_leave(&s))
RELEASES(_lock_leave, conc__lock_scope s = conc__lock_enter(&mutex), (conc__lock_leave(&s), 1), NOTHING)

ACQUIRES(rmutex_lock, NOTHING, IS_OK(conc_rmutex_lock(&rmutex, CONC_FOREVER)), conc_rmutex_unlock(&rmutex))
ACQUIRES(rmutex_try_lock, NOTHING, IS_OK(conc_rmutex_try_lock(&rmutex)), conc_rmutex_unlock(&rmutex))
RELEASES(rmutex_unlock, MUST(conc_rmutex_lock(&rmutex, CONC_FOREVER)), IS_OK(conc_rmutex_unlock(&rmutex)), NOTHING)
ACQUIRES(_rlock_enter, conc__rlock_scope s, (s = conc__rlock_enter(&rmutex)).live, conc__rlock_leave(&s))
RELEASES(_rlock_leave, conc__rlock_scope s = conc__rlock_enter(&rmutex), (conc__rlock_leave(&s), 1), NOTHING)

BOTH(cond_wait, MUST(conc_mutex_lock(&mutex, CONC_FOREVER)), conc_cond_wait(&cond, &mutex, CONC_NOW) == CONC_BUSY,
      conc_mutex_unlock(&mutex))
BOTH(cond_wait_for, int times = 0; MUST(conc_mutex_lock(&mutex, CONC_FOREVER)),
     IS_OK(conc_cond_wait_for(&cond, &mutex, second_time, &times, CONC_NOW)), conc_mutex_unlock(&mutex))
RELEASES(cond_signal, NOTHING, IS_OK(conc_cond_signal(&cond)), NOTHING)
RELEASES(cond_broadcast, NOTHING, IS_OK(conc_cond_broadcast(&cond)), NOTHING)

ACQUIRES(rwlock_read, NOTHING, IS_OK(conc_rwlock_read(&rwlock, CONC_FOREVER)), conc_rwlock_unlock(&rwlock))
ACQUIRES(rwlock_write, NOTHING, IS_OK(conc_rwlock_write(&rwlock, CONC_FOREVER)), conc_rwlock_unlock(&rwlock))
RELEASES(rwlock_unlock, MUST(conc_rwlock_write(&rwlock, CONC_FOREVER)), IS_OK(conc_rwlock_unlock(&rwlock)), NOTHING)
ACQUIRES(op_read, NOTHING, IS_OK(conc_wait(conc_op_read(&rwlock), CONC_FOREVER)), conc_rwlock_unlock(&rwlock))
ACQUIRES(op_write, NOTHING, IS_OK(conc_wait(conc_op_write(&rwlock), CONC_FOREVER)), conc_rwlock_unlock(&rwlock))
ACQUIRES(_rwlock_enter, conc__rwlock_scope s, (s = conc__rwlock_enter(&rwlock, 1)).live, conc__rwlock_leave(&s))
RELEASES(_rwlock_leave, conc__rwlock_scope s = conc__rwlock_enter(&rwlock, 0), (conc__rwlock_leave(&s), 1), NOTHING)

ACQUIRES(brlock_read, NOTHING, IS_OK(conc_brlock_read(brlock, CONC_FOREVER)), conc_brlock_read_unlock(brlock))
ACQUIRES(brlock_write, NOTHING, IS_OK(conc_brlock_write(brlock, CONC_FOREVER)), conc_brlock_write_unlock(brlock))
RELEASES(brlock_read_unlock, MUST(conc_brlock_read(brlock, CONC_FOREVER)), IS_OK(conc_brlock_read_unlock(brlock)), NOTHING)
RELEASES(brlock_write_unlock, MUST(conc_brlock_write(brlock, CONC_FOREVER)), IS_OK(conc_brlock_write_unlock(brlock)),
      NOTHING)
ACQUIRES(op_brlock_read, NOTHING, IS_OK(conc_wait(conc_op_brlock_read(brlock), CONC_FOREVER)),
      conc_brlock_read_unlock(brlock))
ACQUIRES(op_brlock_write, NOTHING, IS_OK(conc_wait(conc_op_brlock_write(brlock), CONC_FOREVER)),
      conc_brlock_write_unlock(brlock))

ACQUIRES(semaphore_acquire, MUST(conc_semaphore_release(&semaphore, 1)),
      IS_OK(conc_semaphore_acquire(&semaphore, CONC_FOREVER)), NOTHING)
RELEASES(semaphore_release, NOTHING, IS_OK(conc_semaphore_release(&semaphore, 1)),
      MUST(conc_semaphore_acquire(&semaphore, CONC_FOREVER)))
ACQUIRES(op_acquire, MUST(conc_semaphore_release(&semaphore, 1)), IS_OK(conc_try(conc_op_acquire(&semaphore))), NOTHING)

RELEASES(event_set, NOTHING, IS_OK(conc_event_set(&event)), conc_event_reset(&event))
ACQUIRES(event_is_set, MUST(conc_event_set(&event)), conc_event_is_set(&event), NOTHING)
ACQUIRES(event_wait, MUST(conc_event_set(&event)), IS_OK(conc_event_wait(&event, CONC_FOREVER)), NOTHING)
ACQUIRES(op_event, MUST(conc_event_set(&event)), IS_OK(conc_wait(conc_op_event(&event), CONC_FOREVER)), NOTHING)

BOTH(barrier_wait, NOTHING, IS_OK(conc_barrier_wait(&barrier, NULL, CONC_FOREVER)), NOTHING)
BOTH(op_barrier, NOTHING, IS_OK(conc_wait(conc_op_barrier(&barrier, NULL), CONC_FOREVER)), NOTHING)

ACQUIRES(once_do, conc_once once = { 0 }, IS_OK(conc_once_do(&once, succeed, NULL, CONC_FOREVER)), NOTHING)

RELEASES(latch_done, MUST(conc_latch_add(&latch, 1)), IS_OK(conc_latch_done(&latch)), NOTHING)
ACQUIRES(latch_wait, NOTHING, IS_OK(conc_latch_wait(&latch, CONC_FOREVER)), NOTHING)
ACQUIRES(op_latch, NOTHING, IS_OK(conc_try(conc_op_latch(&latch))), NOTHING)

ACQUIRES(select, conc_op ops[2];
      MUST(conc_event_set(&event)); ops[0] = conc_op_acquire(&semaphore); ops[1] = conc_op_event(&event),
      conc_select(ops, 2, CONC_FOREVER) == 1, NOTHING)
RELEASES(cancel_fire, NOTHING, IS_OK(conc_cancel_fire(&token)), NOTHING)
ACQUIRES(cancel_fired, MUST(conc_cancel_fire(&token)), conc_cancel_fired(&token), NOTHING)
ACQUIRES(op_canceled, MUST(conc_cancel_fire(&token)), IS_OK(conc_try(conc_op_canceled(&token))), NOTHING)
ACQUIRES(canceled, conc_cancel_use(&token); MUST(conc_cancel_fire(&token)), conc_canceled() == CONC_CANCELED,
      conc_cancel_use(NULL))
RELEASES(waiters_wake, NOTHING, conc_waiters_wake(&waiters, 1) == 0, NOTHING)

RELEASES(queue_put_bytes, NOTHING, IS_OK(conc_queue_put(queue, &item, CONC_FOREVER)),
      MUST(conc_queue_get(queue, &item, CONC_FOREVER)))
ACQUIRES(queue_get_bytes, MUST(conc_queue_put(queue, &item, CONC_FOREVER)),
      IS_OK(conc_queue_get(queue, &item, CONC_FOREVER)), NOTHING)
RELEASES(op_put_bytes, NOTHING, IS_OK(conc_try(conc_op_put(queue, &item))), MUST(conc_queue_get(queue, &item, CONC_NOW)))
ACQUIRES(op_get_bytes, MUST(conc_queue_put(queue, &item, CONC_NOW)), IS_OK(conc_try(conc_op_get(queue, &item))), NOTHING)
RELEASES(queue_put_many_bytes, NOTHING, IS_OK(conc_queue_put_many(ring, items, 2, &moved, CONC_FOREVER)),
      MUST(conc_queue_get_many(ring, items, 2, &moved, CONC_FOREVER)))
ACQUIRES(queue_get_many_bytes, MUST(conc_queue_put_many(ring, items, 2, &moved, CONC_FOREVER)),
      IS_OK(conc_queue_get_many(ring, items, 2, &moved, CONC_FOREVER)), NOTHING)
/* A bounded queue is another piece of code than an unbounded one. */
static conc_result ring_put(void) {
    return conc_queue_put(ring, &item, CONC_FOREVER);
}
static conc_result ring_get(void) {
    return conc_queue_get(ring, &item, CONC_FOREVER);
}
RELEASES(queue_put_bytes_bounded, NOTHING, IS_OK(ring_put()), MUST(ring_get()))
ACQUIRES(queue_get_bytes_bounded, MUST(ring_put()), IS_OK(ring_get()), NOTHING)
ACQUIRES(queue_is_closed, NOTHING, !conc_queue_is_closed(ring), NOTHING)
RELEASES(queue_close, conc_queue *q = conc_queue_new(1, 1), IS_OK(conc_queue_close(q)), conc_queue_free(q))
BOTH(queue_close_now, conc_queue *q = conc_queue_new(1, 1), IS_OK(conc_queue_close_now(q, drop, NULL)),
      conc_queue_free(q))
RELEASES(queue_task_done, MUST(ring_put()); MUST(ring_get()), IS_OK(conc_queue_task_done(ring)), NOTHING)
ACQUIRES(queue_join, conc_queue *q = conc_queue_new(1, 1), IS_OK(conc_queue_join(q, CONC_FOREVER)), conc_queue_free(q))
ACQUIRES(op_queue_join, conc_queue *q = conc_queue_new(1, 1), IS_OK(conc_try(conc_op_queue_join(q))), conc_queue_free(q))

RELEASES(thread_start, NOTHING, (thread = conc_thread_start(succeed, NULL, NULL)) != NULL,
      MUST(conc_thread_join(thread, NULL, CONC_FOREVER)))
ACQUIRES(thread_join, thread = conc_thread_start(succeed, NULL, NULL), IS_OK(conc_thread_join(thread, NULL, CONC_FOREVER)),
      NOTHING)
ACQUIRES(op_thread_end, thread = conc_thread_start(succeed, NULL, NULL),
      IS_OK(conc_wait(conc_op_thread_end(thread), CONC_FOREVER)), MUST(conc_thread_join(thread, NULL, CONC_FOREVER)))
ACQUIRES(thread_is_alive, NOTHING, !conc_thread_is_alive(ended), NOTHING)
RELEASES(timer_start, NOTHING, (timer = conc_timer_start(succeed, NULL, CONC_FOREVER)) != NULL,
      conc_timer_cancel(timer); conc_timer_release(timer))
ACQUIRES(timer_cancel, timer = conc_timer_start(succeed, NULL, CONC_FOREVER), IS_OK(conc_timer_cancel(timer)),
      conc_timer_release(timer))
ACQUIRES(op_timer, timer = conc_timer_start(succeed, NULL, CONC_NOW), IS_OK(conc_wait(conc_op_timer(timer), CONC_FOREVER)),
      conc_timer_release(timer))

static conc_socket *near_end, *far_end;
static char byte[1];
static bool connected(void) {
    conc_socket *l = conc_tcp_listen("127.0.0.1", 0, NULL);
    conc_address a;
    bool is = l != NULL && conc_socket_address(l, &a) == CONC_OK &&
              (near_end = conc_tcp_connect("127.0.0.1", a.port, CONC_FOREVER)) != NULL &&
              conc_accept(l, &far_end, CONC_FOREVER) == CONC_OK;
    return conc_socket_free(l) == CONC_OK && is;
}
ACQUIRES(receive, MUST(conc_send_all(far_end, "x", 1, NULL, CONC_FOREVER)),
         IS_OK(conc_receive(near_end, byte, 1, &moved, CONC_FOREVER)), NOTHING)
RELEASES(send_all, NOTHING, IS_OK(conc_send_all(far_end, "x", 1, NULL, CONC_FOREVER)),
         MUST(conc_receive_full(near_end, byte, 1, &moved, CONC_FOREVER)))
RELEASES(socket_close, conc_socket *s = conc_udp_open(4), IS_OK(conc_socket_close(s)), conc_socket_free(s))
ACQUIRES(op_readable, MUST(conc_send_all(far_end, "x", 1, NULL, CONC_FOREVER)),
         IS_OK(conc_wait(conc_op_readable(conc_socket_fd(near_end)), CONC_FOREVER)),
         MUST(conc_receive(near_end, byte, 1, &moved, CONC_FOREVER)))

/* Loops, which this thread runs. */
static conc_loop *loop;
static conc_group *group;
static conc_task *ended_task, *waiting_task;
CONC_CORO(ends, ) {
    CO_BEGIN;
    CO_END;
}
CONC_CORO(waits, ) {
    CO_BEGIN;
    CO_AWAIT(conc_op_never());
    CO_FINALLY;
    for (;;) CO_AWAIT(conc_op_never());
    CO_END;
}
static void posted(void *arg) {
    (void)arg;
}
static bool loops(void) {
    conc_loop_desc desc;
    memset(&desc, 0, sizeof desc);
    loop = conc_loop_new(&desc);
    group = conc_group_new(loop, NULL);
    ended_task = CONC_SPAWN(loop, ends);
    waiting_task = CONC_SPAWN(loop, waits);
    return loop != NULL && group != NULL && ended_task != NULL && waiting_task != NULL &&
           conc_loop_run(loop, CONC_NOW) == CONC_TIMEOUT && conc_task_has_ended(ended_task);
}
BOTH(loop_run, NOTHING, conc_loop_run(loop, CONC_NOW) == CONC_TIMEOUT, NOTHING)
RELEASES(loop_post, NOTHING, IS_OK(conc_loop_post(loop, posted, NULL)), (void)conc_loop_run(loop, CONC_NOW))
RELEASES(loop_stop, NOTHING, IS_OK(conc_loop_stop(loop)), (void)conc_loop_run(loop, CONC_NOW))
RELEASES(spawn, NOTHING, IS_OK(CONC_GO(loop, ends)), (void)conc_loop_run(loop, CONC_NOW))
RELEASES(task_cancel, NOTHING, IS_OK(conc_task_cancel(waiting_task)), NOTHING)
RELEASES(task_detach, conc_task *t = CONC_SPAWN(loop, ends); (void)conc_loop_run(loop, CONC_NOW), IS_OK(conc_task_detach(t)),
         NOTHING)
ACQUIRES(task_has_ended, NOTHING, conc_task_has_ended(ended_task), NOTHING)
ACQUIRES(op_task_end, NOTHING, IS_OK(conc_try(conc_op_task_end(ended_task))), NOTHING)
ACQUIRES(op_task_ends, NOTHING, IS_OK(conc_try(conc_op_task_ends(&ended_task, 1, 1))), NOTHING)
ACQUIRES(task_join_all, NOTHING, IS_OK(conc_task_join_all(&ended_task, 1, 1, CONC_NOW)), NOTHING)
ACQUIRES(task_join, conc_task *t = CONC_SPAWN(loop, ends); (void)conc_loop_run(loop, CONC_NOW),
         IS_OK(conc_task_join(t, NULL, CONC_NOW)), NOTHING)
ACQUIRES(op_join, conc_task *t = CONC_SPAWN(loop, ends); (void)conc_loop_run(loop, CONC_NOW),
         IS_OK(conc_try(conc_op_join(t, NULL))), NOTHING)
ACQUIRES(group_wait, NOTHING, IS_OK(conc_group_wait(group, CONC_FOREVER)), NOTHING)
ACQUIRES(op_group, NOTHING, IS_OK(conc_try(conc_op_group(group))), NOTHING)
static conc_pool *pool;
static conc_future *ended_future;
static conc_pool_group team;
static void noted(conc_future *f, void *arg) {
    (void)f;
    (void)arg;
}
static bool in_order(size_t a, size_t b) {
    return a <= b;
}
static int loop_body(size_t a, size_t b, void *arg) {
    (void)arg;
    return in_order(a, b) ? 0 : 1;
}
static bool pools(void) {
    pool = conc_pool_new(NULL);
    ended_future = conc_pool_submit(pool, succeed, NULL);
    return pool != NULL && IS_OK(conc_future_wait(ended_future, CONC_FOREVER)) && IS_OK(conc_pool_group_begin(&team, pool));
}
static int forks(void *unused) {
    conc_job job;
    (void)unused;
    conc_job_fork(&job, succeed, NULL);
    return conc_job_join(&job);
}
static conc_result completes(void) {
    conc_future *f = conc_future_new();
    conc_result r = conc_future_complete(f, 0);
    conc_future_release(f);
    return r;
}
static conc_result cancels(void) {
    conc_future *f = conc_future_new();
    conc_result r = conc_future_cancel(f);
    conc_future_release(f);
    return r;
}
RELEASES(pool_run, NOTHING, IS_OK(conc_pool_run(pool, succeed, NULL)), NOTHING)
RELEASES(pool_submit, conc_future *f, (f = conc_pool_submit(pool, succeed, NULL)) != NULL, conc_future_release(f))
RELEASES(op_pool_run, NOTHING, IS_OK(conc_wait(conc_op_pool_run(pool, succeed, NULL), CONC_FOREVER)), NOTHING)
BOTH(pool_call, NOTHING, IS_OK(conc_pool_call(pool, forks, NULL, NULL)), NOTHING)
RELEASES(job_fork, conc_job job, (conc_job_fork(&job, succeed, NULL), true), (void)conc_job_join(&job))
BOTH(job_join, conc_job job; conc_job_fork(&job, succeed, NULL), conc_job_join(&job) == 0, NOTHING)
BOTH(pool_for, NOTHING, IS_OK(conc_pool_for(pool, 0, 4, 1, loop_body, NULL)), NOTHING)
RELEASES(pool_group_run, NOTHING, IS_OK(conc_pool_group_run(&team, succeed, NULL)), NOTHING)
ACQUIRES(pool_group_wait, NOTHING, IS_OK(conc_pool_group_wait(&team, CONC_FOREVER)), NOTHING)
ACQUIRES(future_wait, NOTHING, IS_OK(conc_future_wait(ended_future, CONC_FOREVER)), NOTHING)
ACQUIRES(op_future, NOTHING, IS_OK(conc_try(conc_op_future(ended_future))), NOTHING)
ACQUIRES(future_is_done, NOTHING, conc_future_is_done(ended_future), NOTHING)
ACQUIRES(future_result, NOTHING, IS_OK(conc_future_result(ended_future)), NOTHING)
ACQUIRES(future_code, NOTHING, conc_future_code(ended_future) == 0, NOTHING)
ACQUIRES(future_then, NOTHING, IS_OK(conc_future_then(ended_future, noted, NULL)), NOTHING)
ACQUIRES(wait_all, NOTHING, IS_OK(conc_wait_all(&ended_future, 1, CONC_FOREVER)), NOTHING)
ACQUIRES(wait_any, NOTHING, conc_wait_any(&ended_future, 1, CONC_FOREVER) == 0, NOTHING)
RELEASES(future_complete, NOTHING, IS_OK(completes()), NOTHING)
RELEASES(future_cancel, NOTHING, IS_OK(cancels()), NOTHING)
RELEASES(pool_close, NOTHING, conc_pool_close(pool) != CONC_INVALID, NOTHING)
ACQUIRES(pool_join, NOTHING, IS_OK(conc_pool_join(pool, CONC_FOREVER)), NOTHING)
BOTH(op_offload, NOTHING, IS_OK(conc_wait(conc_op_offload_bytes(NULL, succeed, NULL, 0), CONC_FOREVER)), NOTHING)

/* Every other function of the library, and why it is not probed (compile/checks.sh looks for each name here).
 * Nothing of another thread's is seen or shown, or the header promises nothing of the kind, by
 *   conc_strerror conc_error_detail conc_error_result conc_set_error_hook conc_after conc_deadline_at
 *   conc_deadline_min conc_deadline_passed conc_deadline_left conc_clock_ns conc_clock conc_cpu_count
 *   conc_op_make conc_op_until conc_op_sleep conc_sleep conc_op_signal conc_cancel_use conc_cancel_current
 *   conc__cancel_enter conc__cancel_leave conc_mutex_is_mine conc_semaphore_permits conc_semaphore_init
 *   conc_event_reset conc_latch_add conc_latch_count conc_queue_length conc_queue_capacity
 *   conc_queue_item_size conc_thread_current conc_thread_main conc_thread_name conc_thread_id
 *   conc_thread_is_daemon conc_thread_set_name conc_thread_count conc_thread_yield
 *   conc_local_get conc_local_set conc_debug_name conc_address_parse conc_address_text conc_address_port
 *   conc_address_equal conc_lookup conc_tcp_listen conc_tcp_open conc_udp_bind conc_udp_open conc_socket_address
 *   conc_socket_peer conc_socket_set conc_socket_fd conc_socket_shutdown conc_op_writable conc_op_receive_full conc_op_send_all conc_op_lookup conc__co_check
 *   conc__frame_torn
 *   conc_next_bytes conc_next_n_bytes conc__next_ended conc_iter_close conc__each_enter conc__each_leave conc__each_next
 *   conc_iter_array_bytes conc_iter_range conc_iter_queue conc_iter_borrow conc_iter_failed conc_map_bytes conc_filter_bytes
 *   conc_take conc_skip conc_chain conc_chain_n conc_zip_bytes conc_enumerate_bytes conc_batch_bytes conc_fold_bytes
 *   conc_collect_bytes conc_free_items conc_collect_into_bytes conc_count conc_any_bytes
 *   conc_explain conc_op_never conc__frame_lost conc__frame_scribble conc__gen_refuse conc__gen_throw conc__gen_from conc__gen_drop conc__gen_yielded conc__gen_closed_running
 *   conc__gen_failed conc__gen_new conc__gen_free conc__gen_end (what is over a queue goes to conc_queue_get_many_bytes
 *   through the pointer conc_iter.next, which a compiler cannot see through);
 *   conc_loop_count conc_loop_current conc_task_current conc_task_name conc_group_code conc_group_count conc_dump
 *   conc_op_group_next conc_op_group_room conc__desc_later conc__desc_group conc_op_lookup
 *   conc_future_detail conc_future_arg conc_future_new conc_future_retain conc_as_completed conc_pool_stats_of conc_pool_desc_of
 *   conc_pool_name conc_pool_resize conc_pool_set_keep_alive conc_pool_prestart conc_pool_current conc_pool_is_closed conc_pool_group_code
 *   conc_pool_group_begin conc_pool_imap_bytes;
 * what another process does is seen in nothing but the argument that it is joined with, and in memory shared with it, which is nobody's
 * static data:
 *   conc_process_start conc_process_join conc_process_detach conc_op_process_end conc_process_terminate conc_process_kill conc_process_stop
 *   conc_process_pid conc_process_name conc_process_is_alive conc_process_is_daemon conc_process_register conc_process_main
 *   conc_process_channel conc_op_channel_put conc_channel_put conc_op_channel_get conc_channel_get conc_channel_close
 *   conc_shared_new conc_shared_data conc_shared_size conc_shared_free conc_process_shared
 *   conc_op_procpool_end conc_op_procpool_run conc_procpool_buffer conc_procpool_buffer_free conc_procpool_call
 *   conc_procpool_close conc_procpool_close_now conc_procpool_desc_of conc_procpool_finish conc_procpool_free
 *   conc_procpool_imap_bytes conc_procpool_is_closed conc_procpool_join conc_procpool_kill conc_procpool_map_bytes
 *   conc_procpool_name conc_procpool_new conc_procpool_pid conc_procpool_register_map conc_procpool_replied
 *   conc_procpool_reply conc_procpool_run conc_procpool_run_ex conc_procpool_stats_of conc_procpool_submit
 *   conc_procpool_submit_ex conc_procpool_terminate conc_procpool_worker;
 * in coroutines, which a loop resumes through a pointer, is the turn of
 *   conc__co_await conc__co_await_any conc__co_call conc__co_enter conc__co_return conc__co_timeout_enter conc__co_timeout_leave;
 * what is probed above is made of, or does more with the same,
 *   conc__co_new conc__co_start conc__co_go conc_loop_cancel conc_group_cancel conc_group_new
 *   conc_pool_run_ex conc_pool_submit_ex conc_pool_submit_at conc_pool_every conc_pool_close_now conc_op_pool_end conc_pool_finish
 *   conc_pool_group_cancel conc_pool_group_end conc_pool_invoke conc_pool_reduce_bytes conc_pool_map_bytes conc_pool_sort;
 * nobody else may be using the object when it is the turn of
 *   conc_mutex_destroy conc_rmutex_destroy conc_cond_destroy conc_rwlock_destroy conc_brlock_new
 *   conc_brlock_free conc_semaphore_destroy conc_event_destroy conc_barrier_destroy conc_latch_destroy
 *   conc_loop_new conc_loop_free conc_group_free conc_queue_new conc_queue_new_ex conc_queue_free conc_thread_detach conc_timer_release
 *   conc_socket_free conc_pool_new conc_pool_free conc_future_release;
 * a function of the caller's is called back by conc_thread_each; and these do what is probed above, and more:
 *   conc_waiters_arm conc_waiters_disarm conc_wait conc_try conc_thread_join_all conc_barrier_abort
 *   conc_barrier_reset conc__mutex_lock_at conc__mutex_try_lock_at conc__mutex_unlock_at
 *   conc__lock_enter_at conc_tcp_connect conc_accept conc_op_accept conc_op_connect conc_op_receive
 *   conc_receive_full conc_op_send conc_receive_from conc_op_receive_from conc_send_to conc_op_send_to */

int main(void) {
    conc_thread *t = conc_thread_start(other, NULL, NULL);
    barrier.parties = 1;
    brlock = conc_brlock_new();
    queue = conc_queue_new(sizeof item, 0);
    ring = conc_queue_new(sizeof item, 4);
    ended = conc_thread_start(succeed, NULL, NULL);
    if (t == NULL || brlock == NULL || queue == NULL || ring == NULL || ended == NULL ||
        conc_wait(conc_op_thread_end(ended), CONC_FOREVER) != CONC_OK) {
        printf("cannot begin: %s\n", conc_error_detail());
        return 2;
    }
    while (rounds == 0) conc_thread_yield(); /* it runs */

    probe_mutex_lock();
    probe_mutex_try_lock();
    probe_mutex_unlock();
    probe_op_lock();
    probe__lock_enter();
    probe__lock_leave();
    probe_rmutex_lock();
    probe_rmutex_try_lock();
    probe_rmutex_unlock();
    probe__rlock_enter();
    probe__rlock_leave();
    probe_cond_wait();
    probe_cond_wait_for();
    probe_cond_signal();
    probe_cond_broadcast();
    probe_rwlock_read();
    probe_rwlock_write();
    probe_rwlock_unlock();
    probe_op_read();
    probe_op_write();
    probe__rwlock_enter();
    probe__rwlock_leave();
    probe_brlock_read();
    probe_brlock_write();
    probe_brlock_read_unlock();
    probe_brlock_write_unlock();
    probe_op_brlock_read();
    probe_op_brlock_write();
    probe_semaphore_acquire();
    probe_semaphore_release();
    probe_op_acquire();
    probe_event_set();
    probe_event_is_set();
    probe_event_wait();
    probe_op_event();
    probe_barrier_wait();
    probe_op_barrier();
    probe_once_do();
    probe_latch_done();
    probe_latch_wait();
    probe_op_latch();
    probe_select();
    probe_cancel_fire();
    probe_cancel_fired();
    probe_op_canceled();
    probe_canceled();
    probe_waiters_wake();
    probe_queue_put_bytes();
    probe_queue_get_bytes();
    probe_op_put_bytes();
    probe_op_get_bytes();
    probe_queue_put_many_bytes();
    probe_queue_get_many_bytes();
    probe_queue_put_bytes_bounded();
    probe_queue_get_bytes_bounded();
    probe_queue_is_closed();
    probe_queue_close();
    probe_queue_close_now();
    probe_queue_task_done();
    probe_queue_join();
    probe_op_queue_join();
    probe_thread_start();
    probe_thread_join();
    probe_op_thread_end();
    probe_thread_is_alive();
    probe_timer_start();
    probe_timer_cancel();
    probe_op_timer();
    if (!connected()) {
        printf("cannot begin: %s\n", conc_error_detail());
        return 2;
    }
    probe_receive();
    probe_send_all();
    probe_socket_close();
    probe_op_readable();
    (void)conc_socket_free(near_end);
    (void)conc_socket_free(far_end);

    if (!loops()) {
        printf("no loop: %s\n", conc_error_detail());
        return 2;
    }
    probe_loop_run();
    probe_loop_post();
    probe_loop_stop();
    probe_spawn();
    probe_task_cancel();
    probe_task_detach();
    probe_task_has_ended();
    probe_op_task_end();
    probe_op_task_ends();
    probe_task_join_all();
    probe_task_join();
    probe_op_join();
    probe_group_wait();
    probe_op_group();
    probe_op_offload();

    if (!pools()) {
        printf("no pool: %s\n", conc_error_detail());
        return 2;
    }
    probe_pool_run();
    probe_pool_submit();
    probe_op_pool_run();
    probe_pool_call();
    probe_job_fork();
    probe_job_join();
    probe_pool_for();
    probe_pool_group_run();
    probe_pool_group_wait();
    probe_future_wait();
    probe_op_future();
    probe_future_is_done();
    probe_future_result();
    probe_future_code();
    probe_future_then();
    probe_wait_all();
    probe_wait_any();
    probe_future_complete();
    probe_future_cancel();
    (void)conc_pool_group_end(&team);
    probe_pool_close();
    probe_pool_join();
    conc_future_release(ended_future);
    (void)conc_pool_free(pool);

    stop = 1;
    if (conc_thread_join(t, NULL, CONC_FOREVER) != CONC_OK) wrong++;
    if (conc_thread_join(ended, NULL, CONC_FOREVER) != CONC_OK) wrong++;
    conc_brlock_free(brlock);
    conc_queue_free(queue);
    conc_queue_free(ring);
    printf("%d probes found something dropped, %d did not work\n", dropped, wrong);
    return wrong > 0 ? 2 : dropped > 0 ? 1 : 0;
}
