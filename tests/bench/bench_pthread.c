/* The peers that every system has: POSIX threads, and what people build from them by hand. */

#define _POSIX_C_SOURCE 200809L
#include <semaphore.h>

#include "bench.h"

/* ---- mutex, rwlock, condition ------------------------------------------------------------------- */

#define LOCK pthread
#define LOCK_TYPE pthread_mutex_t
#define LOCK_INIT(l) pthread_mutex_init((l), NULL)
#define LOCK_TAKE(l) pthread_mutex_lock(l)
#define LOCK_GIVE(l) pthread_mutex_unlock(l)
#include "lock_cases.h"

#define RW pthread
#define RW_TYPE pthread_rwlock_t
#define RW_INIT(l) pthread_rwlock_init((l), NULL)
#define RW_READ(l) pthread_rwlock_rdlock(l)
#define RW_READ_END(l) pthread_rwlock_unlock(l)
#define RW_WRITE(l) pthread_rwlock_wrlock(l)
#define RW_WRITE_END(l) pthread_rwlock_unlock(l)
#include "rwlock_cases.h"

#define PP_COND pthread
#define PP_LOCK_TYPE pthread_mutex_t
#define PP_COND_TYPE pthread_cond_t
#define PP_LOCK_INIT(l) pthread_mutex_init((l), NULL)
#define PP_COND_INIT(c) pthread_cond_init((c), NULL)
#define PP_TAKE(l) pthread_mutex_lock(l)
#define PP_GIVE(l) pthread_mutex_unlock(l)
#define PP_WAIT(c, l) pthread_cond_wait((c), (l))
#define PP_SIGNAL(c) pthread_cond_signal(c)
#include "pingpong_cases.h"

/* ---- an event that resets itself, by hand; the semaphore of POSIX -------------------------------- */

typedef struct hand_event {
    pthread_mutex_t lock;
    pthread_cond_t raised;
    int is_raised;
} hand_event;

static void hand_event_init(hand_event *e) {
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->raised, NULL);
    e->is_raised = 0;
}

static void hand_event_set(hand_event *e) {
    pthread_mutex_lock(&e->lock);
    e->is_raised = 1;
    pthread_cond_signal(&e->raised);
    pthread_mutex_unlock(&e->lock);
}

static void hand_event_wait(hand_event *e) {
    pthread_mutex_lock(&e->lock);
    while (!e->is_raised) pthread_cond_wait(&e->raised, &e->lock);
    e->is_raised = 0;
    pthread_mutex_unlock(&e->lock);
}

#define PP_FLAG hand
#define PP_TYPE hand_event
#define PP_INIT(f) hand_event_init(f)
#define PP_RAISE(f) hand_event_set(f)
#define PP_AWAIT(f) hand_event_wait(f)
#include "pingpong_cases.h"

#define PP_FLAG posix
#define PP_TYPE sem_t
#define PP_INIT(f) sem_init((f), 0, 0)
#define PP_RAISE(f) sem_post(f)
#define PP_AWAIT(f) sem_wait(f)
#include "pingpong_cases.h"

/* ---- a queue: a ring, a mutex, two conditions ----------------------------------------------------- */

typedef struct hand_queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    size_t head, count, capacity;
    uint64_t *items;
} hand_queue;

static void hand_queue_init(hand_queue *q, size_t capacity) {
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->not_empty, NULL);
    pthread_cond_init(&q->not_full, NULL);
    q->head = q->count = 0;
    q->capacity = capacity;
    q->items = (uint64_t *)calloc(capacity, sizeof *q->items);
    BENCH_CHECK(q->items != NULL);
}

static void hand_queue_put(hand_queue *q, uint64_t item) {
    pthread_mutex_lock(&q->lock);
    while (q->count == q->capacity) pthread_cond_wait(&q->not_full, &q->lock);
    q->items[(q->head + q->count++) % q->capacity] = item;
    pthread_cond_signal(&q->not_empty);
    pthread_mutex_unlock(&q->lock);
}

static uint64_t hand_queue_get(hand_queue *q) {
    uint64_t item;
    pthread_mutex_lock(&q->lock);
    while (q->count == 0) pthread_cond_wait(&q->not_empty, &q->lock);
    item = q->items[q->head];
    q->head = (q->head + 1) % q->capacity;
    q->count--;
    pthread_cond_signal(&q->not_full);
    pthread_mutex_unlock(&q->lock);
    return item;
}

#define QUEUE hand
#define QUEUE_TYPE hand_queue
#define QUEUE_NEW(q) hand_queue_init((q), QUEUE_CAPACITY)
#define QUEUE_PUT(q, v) hand_queue_put((q), (v))
#define QUEUE_GET(q, v) ((v) = hand_queue_get(q))
#include "queue_cases.h"

/* ---- threads -------------------------------------------------------------------------------------- */

#define THREAD pthread
#define THREAD_TYPE pthread_t
#define THREAD_FN(name, arg) static void *name(void *arg)
#define THREAD_END return NULL
#define THREAD_START(t, fn, arg) BENCH_CHECK(pthread_create(&(t), NULL, fn, arg) == 0)
#define THREAD_JOIN(t) pthread_join((t), NULL)
#include "thread_cases.h"

static const bench_case cases[] = {
    LOCK_CASES(pthread, "pthread"),
    RW_CASES(pthread, "pthread"),
    PP_COND_CASES(pthread, "pthread"),
    PP_FLAG_CASE(hand, "event", "pthread, by hand"),
    PP_FLAG_CASE(posix, "semaphore", "POSIX sem_t"),
    PP_ALONE_CASE(posix, "semaphore", "POSIX sem_t"),
    QUEUE_CASES(hand, "pthread, by hand"),
    THREAD_CASES(pthread, "pthread"),
};

BENCH_MAIN(cases)
