/* mutex: exclusion, ownership, timed locking, destruction, CONC_WITH_LOCK. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static void size_and_zero(void) {
    static conc_mutex m; /* zero is unlocked */
    CHECK_EQ(sizeof(conc_mutex), 4);
    CHECK(!conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CHECK(conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK(!conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_destroy(&m));
}

static void relock_and_try(void) {
    conc_mutex m = { 0 };
    CHECK_OK(conc_mutex_try_lock(&m));
    CHECK_R(conc_mutex_try_lock(&m), CONC_BUSY); /* also if the caller itself holds it */
    CHECK_MISUSE(conc_mutex_lock(&m, CONC_FOREVER), CONC_DEADLOCK);
    CHECK_MISUSE(conc_mutex_lock(&m, conc_after(0.001)), CONC_DEADLOCK);
    CHECK_R(conc_mutex_destroy(&m), CONC_BUSY);
    CHECK(conc_mutex_is_mine(&m)); /* all that changed nothing */
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_MISUSE(conc_mutex_unlock(&m), CONC_NOT_OWNER);
    CHECK_OK(conc_mutex_lock(&m, CONC_NOW));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_try(conc_op_lock(&m)));
    CHECK(conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_unlock(&m));
    CHECK_OK(conc_mutex_destroy(&m));
}

static int stranger(void *arg) {
    conc_mutex *m = (conc_mutex *)arg;
    CHECK(!conc_mutex_is_mine(m));
    CHECK_MISUSE(conc_mutex_unlock(m), CONC_NOT_OWNER);
    CHECK_R(conc_mutex_try_lock(m), CONC_BUSY);
    CHECK_R(conc_mutex_lock(m, CONC_NOW), CONC_BUSY);
    CHECK_R(conc_mutex_lock(m, conc_after(0.001)), CONC_TIMEOUT);
    CHECK_R(conc_mutex_destroy(m), CONC_BUSY);
    return 0;
}

static void unlock_by_a_stranger(void) {
    conc_mutex m = { 0 };
    crew c = { 0 };
    CHECK_OK(conc_mutex_lock(&m, CONC_FOREVER));
    crew_add(&c, stranger, &m);
    crew_join(&c);
    CHECK(conc_mutex_is_mine(&m));
    CHECK_OK(conc_mutex_unlock(&m));
}

/* ---- exclusion: a plain counter, and a plain flag that two inside at once would see ---- */

typedef struct counter {
    conc_mutex lock;
    long value;
    int inside;
    int rounds;
} counter;

static int count_up(void *arg) {
    counter *c = (counter *)arg;
    int i;
    for (i = 0; i < c->rounds; i++) {
        CHECK_OK(conc_mutex_lock(&c->lock, CONC_FOREVER));
        CHECK_EQ(c->inside++, 0);
        c->value++;
        c->inside--;
        CHECK_OK(conc_mutex_unlock(&c->lock));
    }
    return 0;
}

static int count_up_mixed(void *arg) { /* all the ways of locking */
    counter *c = (counter *)arg;
    uint32_t seed = (uint32_t)conc_thread_id(NULL);
    int i;
    for (i = 0; i < c->rounds;) {
        switch (check_random(&seed) % 4) {
        case 0:
            if (conc_mutex_try_lock(&c->lock) != CONC_OK) continue;
            break;
        case 1:
            if (conc_mutex_lock(&c->lock, conc_after(5e-6)) != CONC_OK) continue;
            break;
        case 2:
            if (conc_wait(conc_op_lock(&c->lock), CONC_FOREVER) != CONC_OK) return 1;
            break;
        default:
            if (conc_mutex_lock(&c->lock, conc_after(1000)) != CONC_OK) return 1;
        }
        CHECK_EQ(c->inside++, 0);
        c->value++;
        if (i % 16 == 0) conc_thread_yield(); /* held across a switch */
        c->inside--;
        CHECK_OK(conc_mutex_unlock(&c->lock));
        i++;
    }
    return 0;
}

static void exclusion(void) {
    int threads, i;
    for (threads = 2; threads <= 8; threads++) {
        counter c;
        crew w = { 0 };
        memset(&c, 0, sizeof c);
        c.rounds = check_rounds(60000) / threads;
        for (i = 0; i < threads; i++) crew_add(&w, count_up, &c);
        crew_join(&w);
        CHECK_EQ(c.value, (long)c.rounds * threads);
        CHECK_OK(conc_mutex_destroy(&c.lock));
    }
}

static void exclusion_all_ways(void) {
    int threads, i;
    for (threads = 2; threads <= 8; threads += 2) {
        counter c;
        crew w = { 0 };
        memset(&c, 0, sizeof c);
        c.rounds = check_rounds(8000) / threads;
        for (i = 0; i < threads; i++) crew_add(&w, count_up_mixed, &c);
        crew_join(&w);
        CHECK_EQ(c.value, (long)c.rounds * threads);
        CHECK_OK(conc_mutex_destroy(&c.lock));
    }
}

/* File-scope state, read again in each round of a loop around lock and unlock: no compiler may keep it in a register. */
static conc_mutex turn_lock;
static int turn;

static int take_turns(void *arg) {
    int me = *(int *)arg, done = 0, rounds = check_rounds(300);
    while (done < rounds) {
        if (conc_mutex_lock(&turn_lock, CONC_FOREVER) != CONC_OK) return 1;
        if (turn == me) {
            turn = 1 - me;
            done++;
        }
        (void)conc_mutex_unlock(&turn_lock);
        conc_thread_yield();
    }
    return 0;
}

static void statics_are_read_again(void) {
    int ids[2] = { 0, 1 };
    crew c = { 0 };
    crew_add(&c, take_turns, &ids[0]);
    crew_add(&c, take_turns, &ids[1]);
    crew_join(&c);
    CHECK_EQ(turn, 0);
}

/* ---- no thread is starved: one that waits gets it although two others never stop ---- */

typedef struct greedy {
    conc_mutex lock;
    conc_event stop;
} greedy;

static int grab(void *arg) {
    greedy *g = (greedy *)arg;
    while (!conc_event_is_set(&g->stop)) {
        CHECK_OK(conc_mutex_lock(&g->lock, CONC_FOREVER));
        CHECK_OK(conc_mutex_unlock(&g->lock));
    }
    return 0;
}

static void nobody_starves(void) {
    greedy g;
    crew c = { 0 };
    int i;
    memset(&g, 0, sizeof g);
    crew_add(&c, grab, &g);
    crew_add(&c, grab, &g);
    for (i = 0; i < check_rounds(300); i++) {
        CHECK_OK(conc_mutex_lock(&g.lock, CONC_FOREVER)); /* the watchdog is the judge */
        if (i % 16 == 0) conc_thread_yield();
        CHECK_OK(conc_mutex_unlock(&g.lock));
    }
    CHECK_OK(conc_event_set(&g.stop));
    crew_join(&c);
}

/* ---- the mutex may be destroyed and its memory reused as soon as another has locked it after the unlock ---- */

typedef struct short_lived {
    conc_mutex lock;
    int padding[15];
} short_lived;

typedef struct hand_over {
    conc_semaphore go, back;
    short_lived *object;
    int rounds;
} hand_over;

static int unlock_last(void *arg) {
    hand_over *h = (hand_over *)arg;
    int i;
    for (i = 0; i < h->rounds; i++) {
        short_lived *o;
        CHECK_OK(conc_semaphore_acquire(&h->go, CONC_FOREVER));
        o = h->object;
        CHECK_OK(conc_mutex_lock(&o->lock, CONC_FOREVER));
        CHECK_OK(conc_semaphore_release(&h->back, 1));
        if (i % 4 == 0) conc_thread_yield();
        CHECK_OK(conc_mutex_unlock(&o->lock)); /* the other one frees it at once */
    }
    return 0;
}

static void destroyed_right_after_lock(void) {
    hand_over h;
    crew c = { 0 };
    int i;
    memset(&h, 0, sizeof h);
    h.rounds = check_rounds(8000);
    crew_add(&c, unlock_last, &h);
    for (i = 0; i < h.rounds; i++) {
        short_lived *o = (short_lived *)calloc(1, sizeof *o);
        h.object = o;
        CHECK_OK(conc_semaphore_release(&h.go, 1));
        CHECK_OK(conc_semaphore_acquire(&h.back, CONC_FOREVER));
        CHECK_OK(conc_mutex_lock(&o->lock, CONC_FOREVER));
        CHECK_OK(conc_mutex_unlock(&o->lock));
        CHECK_OK(conc_mutex_destroy(&o->lock));
        memset(o, 0xEE, sizeof *o);
        free(o);
    }
    crew_join(&c);
}

/* ---- ownership handed to one who times out at that moment is never lost ---- */

static int lock_briefly(void *arg) {
    counter *c = (counter *)arg;
    uint32_t seed = (uint32_t)conc_thread_id(NULL) * 77u;
    int i;
    for (i = 0; i < c->rounds; i++) {
        double us = check_random(&seed) % 1500u;
        conc_result r = conc_mutex_lock(&c->lock, conc_after(us * 1e-6));
        if (r == CONC_OK) {
            CHECK_EQ(c->inside++, 0);
            check_spin_us(300, &seed);
            c->inside--;
            CHECK_OK(conc_mutex_unlock(&c->lock));
        } else CHECK_R(r, CONC_TIMEOUT);
    }
    return 0;
}

static void time_out_races_with_hand_over(void) {
    counter c;
    crew w = { 0 };
    int i;
    memset(&c, 0, sizeof c);
    c.rounds = check_rounds(700);
    for (i = 0; i < 6; i++) crew_add(&w, lock_briefly, &c);
    crew_join(&w);
    CHECK_OK(conc_mutex_try_lock(&c.lock)); /* nobody was left holding it */
    CHECK_OK(conc_mutex_unlock(&c.lock));
    CHECK_OK(conc_mutex_destroy(&c.lock));
}

/* ---- CONC_WITH_LOCK ---- */

static conc_mutex with_mutex;

#if CONC_CC_GNU && !CONC_CC_TINY
static int leave_by_return(int x) {
    CONC_WITH_LOCK(&with_mutex) {
        if (x > 0) return x;
    }
    return -1;
}

static int leave_by_goto(void) {
    int n = 0;
again:
    CONC_WITH_LOCK(&with_mutex) {
        if (n++ < 3) goto again;
    }
    return n;
}
#endif

static int reports;
static char report_text[256];
static conc_result report_result;

static void count_reports(const conc_error *e, void *user) {
    (void)user;
    reports++;
    report_result = e->result;
    snprintf(report_text, sizeof report_text, "%s", e->text);
}

static void with_lock(void) {
    conc_mutex other = { 0 };
    int runs = 0, i;
    CONC_WITH_LOCK(&with_mutex) {
        CHECK(conc_mutex_is_mine(&with_mutex));
        runs++;
        CONC_WITH_LOCK(&other) {
            CHECK(conc_mutex_is_mine(&other));
            runs++;
        }
        CHECK(!conc_mutex_is_mine(&other));
    }
    CHECK(!conc_mutex_is_mine(&with_mutex));
    CHECK_EQ(runs, 2);
    for (i = 0; i < 3; i++) {
        CONC_WITH_LOCK(&with_mutex) {
            if (i == 1) break; /* leaves the block, not the loop around it */
            runs++;
        }
        CHECK(!conc_mutex_is_mine(&with_mutex));
        CONC_WITH_LOCK(&with_mutex) {
            if (i == 1) continue;
            runs++;
        }
        CHECK(!conc_mutex_is_mine(&with_mutex));
        runs += 100;
    }
    CHECK_EQ(runs, 306);
    if (runs > 0) CONC_WITH_LOCK(&with_mutex) runs = 0; /* as the body of an if, without braces */
    CHECK_EQ(runs, 0);
    CONC_WITH_LOCK(&with_mutex) CONC_WITH_LOCK(&other) runs++; /* nested in one line */
    CHECK_EQ(runs, 1);
#if CONC_CC_GNU && !CONC_CC_TINY
    CHECK_EQ(leave_by_return(5), 5);
    CHECK(!conc_mutex_is_mine(&with_mutex));
    CHECK_EQ(leave_by_return(0), -1);
    CHECK_EQ(leave_by_goto(), 4);
    CHECK(!conc_mutex_is_mine(&with_mutex));
#endif
    CHECK_OK(conc_mutex_destroy(&other));
}

static void with_lock_that_cannot(void) {
    conc_mutex *none = NULL;
    int runs = 0;
    conc_set_error_hook(count_reports, NULL);
    CONC_WITH_LOCK(none) runs++;
    CHECK_EQ(runs, 0);
    CHECK_EQ(reports, 1);
    CHECK_R(report_result, CONC_INVALID);
    CHECK(report_text[0] != '\0');
    CONC_WITH_LOCK(&with_mutex) {
        CONC_WITH_LOCK(&with_mutex) runs++;
        CHECK(conc_mutex_is_mine(&with_mutex)); /* the inner one did not unlock it */
    }
    CHECK_EQ(runs, 0);
    CHECK_EQ(reports, 2);
    CHECK_R(report_result, CONC_DEADLOCK);
    conc_set_error_hook(NULL, NULL);
}

static int lock_under_fired_token(void *arg) {
    int runs = 0;
    (void)arg;
    CONC_WITH_LOCK(&with_mutex) runs++; /* waits for ever and is not canceled */
    CHECK_EQ(runs, 1);
    return 0;
}

static void with_lock_is_not_canceled(void) {
    unsigned i;
    for (i = 0; i < 4; i++) {
        conc_cancel token = { 0 };
        crew c = { 0 };
        CHECK_OK(conc_cancel_fire(&token));
        CHECK_OK(conc_mutex_lock(&with_mutex, CONC_FOREVER));
        crew_add_under(&c, lock_under_fired_token, NULL, &token);
        nudge(i);
        CHECK_OK(conc_mutex_unlock(&with_mutex));
        crew_join(&c);
    }
}

/* CONC_DEBUG may be defined in the implementation's file or in the caller's alone: each then calls what the other has. */
static void as_files_compiled_otherwise_call_it(void) {
    conc_mutex m = { 0 };
    conc__lock_scope s;
    CHECK_OK((conc_mutex_lock)(&m, CONC_FOREVER));
    CHECK(conc_mutex_is_mine(&m));
    CHECK_OK((conc_mutex_unlock)(&m));
    CHECK_OK((conc_mutex_try_lock)(&m));
    CHECK_OK((conc_mutex_unlock)(&m));
    s = (conc__lock_enter)(&m);
    CHECK(conc_mutex_is_mine(&m));
    conc__lock_leave(&s);
    CHECK_OK(conc__mutex_lock_at(&m, CONC_FOREVER, __FILE__, __LINE__));
    CHECK_OK(conc__mutex_unlock_at(&m, __FILE__, __LINE__));
    CHECK_OK(conc__mutex_try_lock_at(&m, __FILE__, __LINE__));
    CHECK_OK(conc__mutex_unlock_at(&m, __FILE__, __LINE__));
    s = conc__lock_enter_at(&m, __FILE__, __LINE__);
    CHECK(conc_mutex_is_mine(&m));
    conc__lock_leave(&s);
    CHECK_OK(conc_mutex_destroy(&m));
}

int main(void) {
    check_begin("mutex");
    RUN(size_and_zero);
    RUN(relock_and_try);
    RUN(unlock_by_a_stranger);
    RUN(exclusion);
    RUN(exclusion_all_ways);
    RUN(statics_are_read_again);
    RUN(nobody_starves);
    RUN(destroyed_right_after_lock);
    RUN(time_out_races_with_hand_over);
    RUN(with_lock);
    RUN(with_lock_that_cannot);
    RUN(with_lock_is_not_canceled);
    RUN(as_files_compiled_otherwise_call_it);
    return check_end();
}
