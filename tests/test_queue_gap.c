/* The ring's gap: a putter is held, by a signal, between moving the tail and storing the stamp. Those who then
 * wait for the gap to close and those who wait for an item must not take each other's wakes. (They did: two
 * getters met the gap, one wake came for two items, and one getter slept on beside an item.) */

#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#endif
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

#if defined(CONC_TEST_SPLIT) /* it looks into the queue */
#define CANNOT_LOOK 1
#else
#define CANNOT_LOOK 0
#endif

#if CANNOT_LOOK || defined(_WIN32) /* and wants signals */

int main(void) {
    return CHECK_SKIPPED;
}

#else

#include <pthread.h>
#include <sched.h>

#define BIG ((size_t)8 << 20) /* long enough in its memcpy to be caught there */

typedef struct big {
    unsigned char bytes[BIG];
} big;

static conc_queue *q;
static pthread_t held_thread;
static uint32_t held_ready, hold, holding, back; /* atomic */

static void hold_here(int signal_number) {
    (void)signal_number;
    conc__store32(&holding, 1, CONC__SEQ_CST);
    while (conc__load32(&hold, CONC__SEQ_CST) != 0) (void)sched_yield(); /* bounded by the watchdog */
}

static int put_held(void *arg) {
    held_thread = pthread_self();
    conc__store32(&held_ready, 1, CONC__SEQ_CST);
    CHECK_OK(conc_queue_put(q, (big *)arg, CONC_FOREVER));
    return 0;
}

static int get_forever(void *arg) {
    big *x = (big *)malloc(sizeof *x);
    (void)arg;
    CHECK_OK(conc_queue_get(q, x, CONC_FOREVER));
    (void)conc__add32(&back, 1, CONC__SEQ_CST);
    free(x);
    return 0;
}

static size_t asleep_to_get(void) {
    return check_standing(conc__sleepers_of(&q->get_asleep, CONC__SLEEPERS)) +
           check_standing(conc__sleepers_of(&q->get_asleep, CONC__SETTLERS));
}

/* Starts a put and holds it in the gap; false: it was not caught there, and has ended. */
static bool put_into_gap(big *item, conc_thread **t) {
    conc__store32(&held_ready, 0, CONC__SEQ_CST);
    conc__store32(&holding, 0, CONC__SEQ_CST);
    conc__store32(&hold, 1, CONC__SEQ_CST);
    *t = conc_thread_start(put_held, item, NULL);
    if (!CHECK(*t != NULL)) return false;
    /* The tail, not the length: a sleeping getter may have taken the item before we look. */
    while (conc__load32(&held_ready, CONC__SEQ_CST) == 0 || conc__loadz(&q->tail, CONC__SEQ_CST) == 0) {
        conc_thread_yield();
    }
    CHECK(pthread_kill(held_thread, SIGUSR1) == 0);
    while (conc__load32(&holding, CONC__SEQ_CST) == 0 && !conc__ring_get_is_settled(q)) conc_thread_yield();
    if (conc__load32(&holding, CONC__SEQ_CST) != 0 && !conc__ring_get_is_settled(q)) return true;
    conc__store32(&hold, 0, CONC__SEQ_CST);
    CHECK_OK(conc_thread_join(*t, NULL, CONC_FOREVER));
    return false;
}

/* `before` getters sleep before the gap, `after` come while it is there; an item for each, the first of them in the
 * gap. When it closes every one of them has to come back. */
static bool scene(unsigned before, unsigned after) {
    unsigned attempt, i, n;
    big *item = (big *)calloc(1, sizeof *item);
    bool caught = false;
    for (attempt = 0; attempt < 30 && !caught; attempt++) {
        conc_thread *held = NULL, *getters[8];
        q = conc_queue_new(sizeof(big), 4);
        if (!CHECK(q != NULL)) break;
        conc__store32(&back, 0, CONC__SEQ_CST);
        for (n = 0; n < before; n++) getters[n] = conc_thread_start(get_forever, NULL, NULL);
        while (asleep_to_get() < before) conc_thread_yield();
        caught = put_into_gap(item, &held);
        for (i = 1; i < before + after; i++) CHECK_OK(conc_queue_put(q, item, CONC_FOREVER)); /* complete, behind it */
        for (i = 0; i < after; i++) getters[n++] = conc_thread_start(get_forever, NULL, NULL);
        if (caught) {
            while (asleep_to_get() < n) conc_thread_yield(); /* the gap is all they wait for */
            conc__store32(&hold, 0, CONC__SEQ_CST);
            CHECK_OK(conc_thread_join(held, NULL, CONC_FOREVER));
        }
        for (i = 0; i < n; i++) CHECK_OK(conc_thread_join(getters[i], NULL, CONC_FOREVER));
        CHECK_EQ(conc__load32(&back, CONC__SEQ_CST), before + after);
        CHECK_EQ(conc_queue_length(q), 0);
        CHECK_OK(conc_queue_free(q));
    }
    free(item);
    return caught;
}

static bool caught_once;

static void two_getters_meet_the_gap(void) {
    caught_once |= scene(0, 2);
}

static void sleeping_getter_and_one_that_meets_the_gap(void) {
    caught_once |= scene(1, 1);
}

static void many(void) {
    caught_once |= scene(2, 2);
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = hold_here;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    check_begin("queue_gap");
    RUN(two_getters_meet_the_gap);
    RUN(sleeping_getter_and_one_that_meets_the_gap);
    RUN(many);
    if (!caught_once && check_failures == 0) return CHECK_SKIPPED; /* the thread sanitizer delivers signals later */
    return check_end();
}

#endif
