/* The queue: every item comes out once and in order, or is still there; nobody sleeps beside an item or room; closing,
 * deadlines, tokens and selects lose nothing. Each kind: the ring of 1 and of 2, the array, the hand-off. */

#include "sim.h"
#include "linear.h"

#define ITEMS 8

static int items[ITEMS]; /* what the queues' items point to */
static uint32_t passed[ITEMS]; /* atomic: how often each came out */
static conc_queue *q, *r;
static int put_ok, got; /* of the thread that counts them; read after its join */
static conc_result put_result, get_result;
static conc_cancel token;

static void reset(conc_queue_kind kind, size_t capacity) {
    conc_queue_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    memset(items, 0, sizeof items);
    memset(passed, 0, sizeof passed);
    memset(&token, 0, sizeof token);
    put_ok = got = 0;
    put_result = get_result = CONC_PENDING;
    q = conc_queue_new_ex(sizeof(int *), capacity, &desc);
    CONC_SIM_ASSERT(q != NULL);
    r = NULL;
}

static void finish(void) {
    SIM_OK(conc_queue_free(q));
    SIM_OK(conc_queue_free(r));
}

/* Puts item `i`: with what it points to. */
static conc_result put(conc_queue *to, int i, conc_deadline deadline) {
    int *p = &items[i];
    CONC_SIM_WRITE(items[i]);
    items[i] = 10 + i;
    return conc_queue_put(to, &p, deadline);
}

/* Which one `p` is. */
static int look_at(const int *p) {
    int i = (int)(p - items);
    CONC_SIM_ASSERT(i >= 0 && i < ITEMS);
    CONC_SIM_READ(items[i]);
    CONC_SIM_ASSERT(items[i] == 10 + i);
    (void)conc__add32(&passed[i], 1, CONC__RELAXED);
    return i;
}

/* Which item came, or the result. */
static int get(conc_queue *from, conc_deadline deadline) {
    int *p = NULL;
    conc_result result = conc_queue_get(from, &p, deadline);
    return result == CONC_OK ? look_at(p) : (int)result;
}

/* Items 0 to n - 1 have come out once, the others not. */
static void check_passed(int n) {
    int i;
    for (i = 0; i < ITEMS; i++) CONC_SIM_ASSERT(conc__load32(&passed[i], CONC__RELAXED) == (i < n ? 1u : 0u));
}

/* Before what wakes: in half of the runs the others are given the time to fall asleep. */
static void perhaps_late(void) {
    if (conc_sim_choose(2) != 0) SIM_OK(conc_sleep(conc_after(0.0005)));
}

/* ---- threads that several tests use -------------------------------------------------------------------- */

static int put_0(void *unused) {
    (void)unused;
    SIM_OK(put(q, 0, CONC_FOREVER));
    return 0;
}

static int put_1(void *unused) {
    (void)unused;
    SIM_OK(put(q, 1, CONC_FOREVER));
    return 0;
}

static int put_0_1(void *unused) {
    (void)unused;
    SIM_OK(put(q, 0, CONC_FOREVER));
    SIM_OK(put(q, 1, CONC_FOREVER));
    return 0;
}

static int put_2(void *unused) {
    (void)unused;
    SIM_OK(put(q, 2, CONC_FOREVER));
    return 0;
}

static int get_one(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    return 0;
}

static int get_two(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    return 0;
}

static int close_q(void *unused) {
    (void)unused;
    SIM_OK(conc_queue_close(q));
    return 0;
}

/* ---- items out, once and in order ------------------------------------------------------------------------ */

/* One puts two, the other gets two: in order, and each sleeps only while it has to. */
static int passes_two(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    reset(kind, capacity);
    sim_start(&crew, put_0_1, NULL);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 0);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 1);
    sim_join(&crew);
    check_passed(2);
    CONC_SIM_ASSERT(conc_queue_length(q) == 0);
    finish();
    return 0;
}

static int ring1_passes(void *unused) {
    (void)unused;
    return passes_two(CONC_FIFO, 1);
}

static int ring2_passes(void *unused) {
    (void)unused;
    return passes_two(CONC_FIFO, 2);
}

static int fifo_passes(void *unused) {
    (void)unused;
    return passes_two(CONC_FIFO, 0);
}

static int lifo1_passes(void *unused) {
    (void)unused;
    return passes_two(CONC_LIFO, 1);
}

static int handoff_passes(void *unused) {
    (void)unused;
    return passes_two(CONC_HANDOFF, 0);
}

/* Two who put, one who gets all: each producer's items in its order. */
static int two_put(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    int i, before = -1;
    reset(kind, capacity);
    sim_start(&crew, put_0_1, NULL);
    sim_start(&crew, put_2, NULL);
    for (i = 0; i < 3; i++) {
        int item = get(q, CONC_FOREVER);
        CONC_SIM_ASSERT(item >= 0);
        if (item == 2) continue;
        CONC_SIM_ASSERT(item > before);
        before = item;
    }
    sim_join(&crew);
    check_passed(3);
    finish();
    return 0;
}

static int ring1_two_put(void *unused) {
    (void)unused;
    return two_put(CONC_FIFO, 1);
}

static int ring2_two_put(void *unused) {
    (void)unused;
    return two_put(CONC_FIFO, 2);
}

static int fifo_two_put(void *unused) {
    (void)unused;
    return two_put(CONC_FIFO, 0);
}

static int handoff_two_put(void *unused) {
    (void)unused;
    return two_put(CONC_HANDOFF, 0);
}

/* Two who wait for an item, two items: one each. */
static int two_get(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    reset(kind, capacity);
    sim_start(&crew, get_one, NULL);
    sim_start(&crew, get_one, NULL);
    perhaps_late();
    SIM_OK(put(q, 0, CONC_FOREVER));
    SIM_OK(put(q, 1, CONC_FOREVER));
    sim_join(&crew);
    check_passed(2);
    finish();
    return 0;
}

static int ring1_two_get(void *unused) {
    (void)unused;
    return two_get(CONC_FIFO, 1);
}

static int ring2_two_get(void *unused) {
    (void)unused;
    return two_get(CONC_FIFO, 2);
}

static int lifo_two_get(void *unused) {
    (void)unused;
    return two_get(CONC_LIFO, 0);
}

static int handoff_two_get(void *unused) {
    (void)unused;
    return two_get(CONC_HANDOFF, 0);
}

/* Two who wait for room, and one who makes it twice. */
static int ring1_two_wait_for_room(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_FIFO, 1);
    SIM_OK(put(q, 2, CONC_NOW));
    sim_start(&crew, put_0, NULL);
    sim_start(&crew, put_1, NULL);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 2);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    sim_join(&crew);
    check_passed(3);
    finish();
    return 0;
}

/* The gap, on the way in: while one put is between the tail and its stamp, another is complete; two wait for both. */
static int ring_gap_of_puts(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_FIFO, 2);
    sim_start(&crew, get_one, NULL);
    sim_start(&crew, get_one, NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(put(q, 1, CONC_FOREVER));
    sim_join(&crew);
    check_passed(2);
    finish();
    return 0;
}

/* The gap, on the way out: one get is between the head and its stamp, and a put waits for its slot. */
static int ring_gap_of_gets(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_FIFO, 1);
    SIM_OK(put(q, 2, CONC_NOW));
    sim_start(&crew, get_two, NULL);
    sim_start(&crew, put_0, NULL);
    SIM_OK(put(q, 1, CONC_FOREVER));
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    sim_join(&crew);
    check_passed(3);
    finish();
    return 0;
}

/* Any capacity works, over the end of the ring and over laps. */
static int ring_laps(void *unused) {
    sim_crew crew = {0};
    size_t capacity = 1 + conc_sim_choose(3), i, k;
    (void)unused;
    reset(CONC_FIFO, capacity);
    for (k = 0; k < 2 * capacity + 1; k++) { /* one more each time it is filled */
        for (i = 0; i < capacity; i++) SIM_OK(put(q, (int)i, CONC_NOW));
        CONC_SIM_ASSERT(put(q, 7, CONC_NOW) == CONC_FULL);
        CONC_SIM_ASSERT(conc_queue_length(q) == capacity);
        for (i = 0; i < capacity; i++) CONC_SIM_ASSERT(get(q, CONC_NOW) == (int)i);
        CONC_SIM_ASSERT(get(q, CONC_NOW) == CONC_EMPTY);
        SIM_OK(put(q, 0, CONC_NOW));
        CONC_SIM_ASSERT(get(q, CONC_NOW) == 0);
    }
    sim_start(&crew, put_0_1, NULL);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 0);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 1);
    sim_join(&crew);
    finish();
    return 0;
}

static int by_value(const void *x, const void *y) {
    const int *a = *(int *const *)x, *b = *(int *const *)y;
    return (a > b) - (a < b);
}

static int all_equal(const void *x, const void *y) {
    (void)x;
    (void)y;
    return 0;
}

static void reset_priority(int (*compare)(const void *, const void *)) {
    conc_queue_desc desc;
    reset(CONC_FIFO, 0);
    SIM_OK(conc_queue_free(q));
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_PRIORITY;
    desc.compare = compare;
    q = conc_queue_new_ex(sizeof(int *), 0, &desc);
    CONC_SIM_ASSERT(q != NULL);
}

static int put_2_then_0(void *unused) {
    (void)unused;
    SIM_OK(put(q, 2, CONC_FOREVER));
    SIM_OK(put(q, 0, CONC_FOREVER));
    return 0;
}

/* A priority queue gives the least that is there. */
static int priority_least_first(void *unused) {
    sim_crew crew = {0};
    int first, second;
    (void)unused;
    reset_priority(by_value);
    sim_start(&crew, put_2_then_0, NULL);
    SIM_OK(put(q, 1, CONC_FOREVER));
    first = get(q, CONC_FOREVER);
    CONC_SIM_ASSERT(first == 0 || first == 1); /* 1 is there, and 2 comes before neither */
    sim_join(&crew);
    second = get(q, CONC_NOW);
    CONC_SIM_ASSERT(second == (first == 0 ? 1 : 0));
    CONC_SIM_ASSERT(get(q, CONC_NOW) == 2);
    check_passed(3);
    finish();
    return 0;
}

/* Equal items of a priority queue come out in the order of their puts. */
static int priority_equal_in_order(void *unused) {
    sim_crew crew = {0};
    int i, before = -1;
    (void)unused;
    reset_priority(all_equal);
    sim_start(&crew, put_0_1, NULL);
    sim_start(&crew, put_2, NULL);
    for (i = 0; i < 3; i++) {
        int item = get(q, CONC_FOREVER);
        CONC_SIM_ASSERT(item >= 0);
        if (item == 2) continue;
        CONC_SIM_ASSERT(item > before);
        before = item;
    }
    sim_join(&crew);
    finish();
    return 0;
}

/* ---- one order for all: linearizability ---------------------------------------------------------------- */

enum { PUT, GET };
static linear_history h;
static int linear_capacity;
static bool linear_lifo;

/* v[0] is how many are in it, the items follow. */
static bool queue_apply(linear_state *s, const linear_op *op) {
    int i;
    if (op->kind == PUT) {
        if (op->result == CONC_FULL) return linear_capacity != 0 && s->v[0] == linear_capacity;
        if (op->result != CONC_OK || (linear_capacity != 0 && s->v[0] == linear_capacity)) return false;
        s->v[++s->v[0]] = op->arg;
        return true;
    }
    if (op->result == CONC_EMPTY) return s->v[0] == 0;
    if (s->v[0] == 0) return false;
    if (linear_lifo) return op->result == s->v[s->v[0]--];
    if (op->result != s->v[1]) return false;
    for (i = 1; i < s->v[0]; i++) s->v[i] = s->v[i + 1];
    s->v[0]--;
    return true;
}

static void put_linear(int item) {
    int i = linear_begin(&h, PUT, item);
    linear_end(&h, i, put(q, item, CONC_NOW));
}

static void get_linear(void) {
    int i = linear_begin(&h, GET, 0);
    linear_end(&h, i, get(q, CONC_NOW));
}

static int linear_put_get(void *unused) {
    (void)unused;
    put_linear(0);
    get_linear();
    return 0;
}

static int linear_put_put(void *unused) {
    (void)unused;
    put_linear(1);
    put_linear(2);
    return 0;
}

static int linear_get_get(void *unused) {
    (void)unused;
    get_linear();
    get_linear();
    return 0;
}

/* The answers of three threads that put and get without waiting fit one order, full and empty included. */
static int linear_queue(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    linear_state first;
    reset(kind, capacity);
    memset(&first, 0, sizeof first);
    linear_reset(&h);
    linear_capacity = (int)capacity;
    linear_lifo = kind == CONC_LIFO;
    sim_start(&crew, linear_put_get, NULL);
    sim_start(&crew, linear_put_put, NULL);
    linear_get_get(NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(linear_check(&h, &first, queue_apply));
    finish();
    return 0;
}

static int ring1_linear(void *unused) {
    (void)unused;
    return linear_queue(CONC_FIFO, 1);
}

static int ring2_linear(void *unused) {
    (void)unused;
    return linear_queue(CONC_FIFO, 2);
}

static int lifo2_linear(void *unused) {
    (void)unused;
    return linear_queue(CONC_LIFO, 2);
}

static int fifo_linear(void *unused) {
    (void)unused;
    return linear_queue(CONC_FIFO, 0);
}

/* ---- closing -------------------------------------------------------------------------------------------- */

/* Puts items until the queue is closed; `put_ok` of them were taken. */
static int put_until_closed(void *unused) {
    conc_result result = CONC_OK;
    (void)unused;
    while (put_ok < 3 && (result = put(q, put_ok, CONC_FOREVER)) == CONC_OK) put_ok++;
    CONC_SIM_ASSERT(result == CONC_OK || result == CONC_CLOSED);
    return 0;
}

/* A put that returned CONC_OK comes out, after the close as well; and then it is closed for good. */
static int close_drains(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    int i, n = 0;
    reset(kind, capacity);
    sim_start(&crew, put_until_closed, NULL);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 0);
    SIM_OK(conc_queue_close(q));
    CONC_SIM_ASSERT(conc_queue_is_closed(q));
    for (n = 1; (i = get(q, CONC_FOREVER)) >= 0; n++) CONC_SIM_ASSERT(i == n || kind == CONC_LIFO);
    CONC_SIM_ASSERT(i == CONC_CLOSED);
    sim_join(&crew);
    CONC_SIM_ASSERT(n == put_ok);
    CONC_SIM_ASSERT(put(q, 7, CONC_FOREVER) == CONC_CLOSED);
    CONC_SIM_ASSERT(conc_queue_close(q) == CONC_CLOSED);
    check_passed(n);
    finish();
    return 0;
}

static int ring1_close_drains(void *unused) {
    (void)unused;
    return close_drains(CONC_FIFO, 1);
}

static int ring2_close_drains(void *unused) {
    (void)unused;
    return close_drains(CONC_FIFO, 2);
}

static int lifo1_close_drains(void *unused) {
    (void)unused;
    return close_drains(CONC_LIFO, 1);
}

static int get_closed(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == CONC_CLOSED);
    return 0;
}

static int put_closed(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(put(q, 1, CONC_FOREVER) == CONC_CLOSED);
    return 0;
}

/* Closing ends the wait of all who wait for an item. */
static int close_wakes_getters(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    reset(kind, capacity);
    sim_start(&crew, get_closed, NULL);
    sim_start(&crew, get_closed, NULL);
    perhaps_late();
    SIM_OK(conc_queue_close(q));
    sim_join(&crew);
    finish();
    return 0;
}

static int ring1_close_wakes_getters(void *unused) {
    (void)unused;
    return close_wakes_getters(CONC_FIFO, 1);
}

static int fifo_close_wakes_getters(void *unused) {
    (void)unused;
    return close_wakes_getters(CONC_FIFO, 0);
}

/* And of all who wait for room. */
static int close_wakes_putters(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    reset(kind, capacity);
    if (capacity != 0) SIM_OK(put(q, 0, CONC_NOW));
    sim_start(&crew, put_closed, NULL);
    perhaps_late();
    SIM_OK(conc_queue_close(q));
    sim_join(&crew);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == (capacity != 0 ? 0 : (int)CONC_CLOSED));
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == CONC_CLOSED);
    finish();
    return 0;
}

static int ring1_close_wakes_putters(void *unused) {
    (void)unused;
    return close_wakes_putters(CONC_FIFO, 1);
}

static int lifo1_close_wakes_putters(void *unused) {
    (void)unused;
    return close_wakes_putters(CONC_LIFO, 1);
}

static int handoff_close_wakes_putters(void *unused) {
    (void)unused;
    return close_wakes_putters(CONC_HANDOFF, 0);
}

static int get_until_closed(void *unused) {
    int i;
    (void)unused;
    while ((i = get(q, CONC_FOREVER)) >= 0) got++;
    CONC_SIM_ASSERT(i == CONC_CLOSED);
    return 0;
}

static void drop(void *item, void *count) {
    int *p;
    memcpy(&p, item, sizeof p);
    (void)look_at(p);
    ++*(int *)count;
}

/* Each put that returned CONC_OK is got or dropped, and not both. */
static int close_now_drops(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    int dropped = 0;
    reset(kind, capacity);
    sim_start(&crew, put_until_closed, NULL);
    sim_start(&crew, get_until_closed, NULL);
    SIM_OK(conc_queue_close_now(q, drop, &dropped));
    sim_join(&crew);
    CONC_SIM_ASSERT(dropped + got == put_ok);
    check_passed(put_ok);
    finish();
    return 0;
}

static int ring2_close_now(void *unused) {
    (void)unused;
    return close_now_drops(CONC_FIFO, 2);
}

static int lifo_close_now(void *unused) {
    (void)unused;
    return close_now_drops(CONC_LIFO, 0);
}

/* ---- deadlines and tokens --------------------------------------------------------------------------------- */

static int get_timed(void *unused) {
    conc_deadline due = conc_after(0.001);
    int i = get(q, due);
    (void)unused;
    get_result = i >= 0 ? CONC_OK : (conc_result)i;
    CONC_SIM_ASSERT(i >= 0 || (i == CONC_TIMEOUT && conc_deadline_passed(due)));
    return 0;
}

static int put_timed(void *unused) {
    conc_deadline due = conc_after(0.001);
    (void)unused;
    put_result = put(q, 0, due);
    CONC_SIM_ASSERT(put_result == CONC_OK || (put_result == CONC_TIMEOUT && conc_deadline_passed(due)));
    return 0;
}

/* An item that comes while one who waits for it gives up is there for the other. */
static int ring1_get_timeout(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_FIFO, 1);
    sim_start(&crew, get_timed, NULL);
    sim_start(&crew, get_one, NULL);
    SIM_OK(put(q, 0, CONC_FOREVER));
    SIM_OK(conc_thread_join(crew.threads[0], NULL, CONC_FOREVER));
    if (get_result == CONC_OK) SIM_OK(put(q, 1, CONC_FOREVER));
    SIM_OK(conc_thread_join(crew.threads[1], NULL, CONC_FOREVER));
    check_passed(get_result == CONC_OK ? 2 : 1);
    finish();
    return 0;
}

/* The same of room; a put that timed out has put nothing. */
static int ring1_put_timeout(void *unused) {
    sim_crew crew = {0};
    int i, n = 0;
    (void)unused;
    reset(CONC_FIFO, 1);
    SIM_OK(put(q, 2, CONC_NOW));
    sim_start(&crew, put_timed, NULL);
    sim_start(&crew, put_1, NULL);
    CONC_SIM_ASSERT(get(q, CONC_FOREVER) == 2);
    SIM_OK(conc_thread_join(crew.threads[0], NULL, CONC_FOREVER));
    if (put_result == CONC_OK) CONC_SIM_ASSERT(get(q, CONC_FOREVER) >= 0);
    SIM_OK(conc_thread_join(crew.threads[1], NULL, CONC_FOREVER));
    while ((i = get(q, CONC_NOW)) >= 0) n++;
    CONC_SIM_ASSERT(i == CONC_EMPTY && n == 1);
    finish();
    return 0;
}

static int get_canceled(void *unused) {
    int i = -1;
    (void)unused;
    CONC_WITH_CANCEL(&token) {
        i = get(q, CONC_FOREVER);
    }
    get_result = i >= 0 ? CONC_OK : (conc_result)i;
    CONC_SIM_ASSERT(i >= 0 || i == CONC_CANCELED);
    return 0;
}

/* One who is canceled has taken nothing, and no wake with it. */
static int ring1_get_canceled(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_FIFO, 1);
    sim_start(&crew, get_canceled, NULL);
    sim_start(&crew, get_one, NULL);
    SIM_OK(put(q, 0, CONC_FOREVER));
    SIM_OK(conc_cancel_fire(&token));
    SIM_OK(conc_thread_join(crew.threads[0], NULL, CONC_FOREVER));
    if (get_result == CONC_OK) SIM_OK(put(q, 1, CONC_FOREVER));
    SIM_OK(conc_thread_join(crew.threads[1], NULL, CONC_FOREVER));
    finish();
    return 0;
}

/* ---- several at once -------------------------------------------------------------------------------------------- */

/* Two who wait, and two items in one put: both are woken. */
static int put_many_wakes_all(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    int *two[2];
    size_t done = 0;
    int i;
    reset(kind, capacity);
    sim_start(&crew, get_one, NULL);
    sim_start(&crew, get_one, NULL);
    for (i = 0; i < 2; i++) {
        CONC_SIM_WRITE(items[i]);
        items[i] = 10 + i;
        two[i] = &items[i];
    }
    perhaps_late();
    SIM_OK(conc_queue_put_many(q, two, 2, &done, CONC_FOREVER));
    CONC_SIM_ASSERT(done == 2);
    sim_join(&crew);
    check_passed(2);
    finish();
    return 0;
}

static int ring2_put_many(void *unused) {
    (void)unused;
    return put_many_wakes_all(CONC_FIFO, 2);
}

static int fifo_put_many(void *unused) {
    (void)unused;
    return put_many_wakes_all(CONC_FIFO, 0);
}

/* Two who wait for room, and two items taken by one get: both are woken. */
static int ring2_get_many(void *unused) {
    sim_crew crew = {0};
    int *two[2] = {NULL, NULL};
    size_t done = 0;
    (void)unused;
    reset(CONC_FIFO, 2);
    SIM_OK(put(q, 2, CONC_NOW));
    SIM_OK(put(q, 3, CONC_NOW));
    sim_start(&crew, put_0, NULL);
    sim_start(&crew, put_1, NULL);
    perhaps_late();
    SIM_OK(conc_queue_get_many(q, two, 2, &done, CONC_FOREVER));
    CONC_SIM_ASSERT(done == 2 && look_at(two[0]) == 2 && look_at(two[1]) == 3);
    sim_join(&crew);
    CONC_SIM_ASSERT(conc_queue_length(q) == 2);
    finish();
    return 0;
}

/* A put of several that meets the close tells how many went in: those come out. */
static int ring1_put_many_closed(void *unused) {
    sim_crew crew = {0};
    int *three[3];
    size_t done = 9;
    conc_result result;
    int i;
    (void)unused;
    reset(CONC_FIFO, 1);
    for (i = 0; i < 3; i++) {
        CONC_SIM_WRITE(items[i]);
        items[i] = 10 + i;
        three[i] = &items[i];
    }
    sim_start(&crew, get_until_closed, NULL);
    sim_start(&crew, close_q, NULL);
    result = conc_queue_put_many(q, three, 3, &done, CONC_FOREVER);
    CONC_SIM_ASSERT(result == CONC_OK ? done == 3 : result == CONC_CLOSED && done < 3);
    sim_join(&crew);
    CONC_SIM_ASSERT(got == (int)done);
    check_passed(got);
    finish();
    return 0;
}

/* ---- select ------------------------------------------------------------------------------------------------------ */

static int put_one_each(void *unused) {
    (void)unused;
    SIM_OK(put(q, 0, CONC_FOREVER));
    SIM_OK(put(r, 1, CONC_FOREVER));
    return 0;
}

/* Of two queues that have an item each, a select takes one; the other item stays. */
static int select_on_two_queues(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    int *p[2] = {NULL, NULL};
    int i;
    (void)unused;
    reset(CONC_FIFO, 1);
    r = conc_queue_new(sizeof(int *), 1);
    sim_start(&crew, put_one_each, NULL);
    ops[0] = conc_op_get(q, &p[0]);
    ops[1] = conc_op_get(r, &p[1]);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT((i == 0 || i == 1) && ops[i].result == CONC_OK && p[1 - i] == NULL && look_at(p[i]) == i);
    sim_join(&crew);
    CONC_SIM_ASSERT(get(i == 0 ? r : q, CONC_NOW) == 1 - i);
    CONC_SIM_ASSERT(get(i == 0 ? q : r, CONC_NOW) == CONC_EMPTY);
    finish();
    return 0;
}

static int get_r_put_q(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(get(r, CONC_FOREVER) == 2);
    SIM_OK(put(q, 0, CONC_FOREVER));
    return 0;
}

/* A select that puts into one or gets from another does one of them. */
static int select_put_or_get(void *unused) {
    sim_crew crew = {0};
    conc_op ops[2];
    int *in = NULL, *out = &items[1];
    int i;
    (void)unused;
    reset(CONC_FIFO, 1);
    r = conc_queue_new(sizeof(int *), 1);
    SIM_OK(put(r, 2, CONC_NOW));
    CONC_SIM_WRITE(items[1]);
    items[1] = 11;
    sim_start(&crew, get_r_put_q, NULL);
    ops[0] = conc_op_get(q, &in);
    ops[1] = conc_op_put(r, &out);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT((i == 0 || i == 1) && ops[i].result == CONC_OK);
    if (i == 0) CONC_SIM_ASSERT(look_at(in) == 0);
    sim_join(&crew);
    CONC_SIM_ASSERT(get(r, CONC_NOW) == (i == 1 ? 1 : (int)CONC_EMPTY));
    CONC_SIM_ASSERT(get(q, CONC_NOW) == (i == 1 ? 0 : (int)CONC_EMPTY));
    finish();
    return 0;
}

/* ---- the hand-off ---------------------------------------------------------------------------------------------- */

/* One meets one: if either gives up, both do. */
static int handoff_timeouts(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_HANDOFF, 0);
    sim_start(&crew, get_timed, NULL);
    (void)put_timed(NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(put_result == get_result);
    check_passed(put_result == CONC_OK ? 1 : 0);
    finish();
    return 0;
}

/* Two who put and one who gets, all with deadlines: as many were put as were got, and the right one. */
static int handoff_one_of_two(void *unused) {
    sim_crew crew = {0};
    conc_result mine;
    (void)unused;
    reset(CONC_HANDOFF, 0);
    sim_start(&crew, get_timed, NULL);
    sim_start(&crew, put_timed, NULL);
    mine = put(q, 1, conc_after(0.001));
    sim_join(&crew);
    CONC_SIM_ASSERT(passed[0] == (put_result == CONC_OK ? 1u : 0u));
    CONC_SIM_ASSERT(passed[1] == (mine == CONC_OK ? 1u : 0u));
    CONC_SIM_ASSERT(passed[0] + passed[1] == (get_result == CONC_OK ? 1u : 0u));
    finish();
    return 0;
}

static int handoff_get(void *unused) {
    int i = get(q, CONC_FOREVER);
    (void)unused;
    get_result = i >= 0 ? CONC_OK : (conc_result)i;
    return 0;
}

/* A hand-off that took place, took place, whoever closes meanwhile: both sides say so, or neither. */
static int handoff_close(void *unused) {
    sim_crew crew = {0};
    conc_result result;
    (void)unused;
    reset(CONC_HANDOFF, 0);
    sim_start(&crew, handoff_get, NULL);
    sim_start(&crew, close_q, NULL);
    result = put(q, 0, CONC_FOREVER);
    sim_join(&crew);
    CONC_SIM_ASSERT(result == CONC_OK || result == CONC_CLOSED);
    CONC_SIM_ASSERT(get_result == result);
    check_passed(result == CONC_OK ? 1 : 0);
    finish();
    return 0;
}

static int select_get_q_or_put_r(void *unused) {
    conc_op ops[2];
    int *in = NULL, *out = &items[1];
    int i;
    (void)unused;
    ops[0] = conc_op_get(q, &in);
    ops[1] = conc_op_put(r, &out);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    if (i == 0) CONC_SIM_ASSERT(look_at(in) == 0);
    got = i;
    return 0;
}

/* Two selects that want each other, in both ways: they meet in one of them. */
static int handoff_selects_meet(void *unused) {
    sim_crew crew = {0};
    conc_queue_desc desc;
    conc_op ops[2];
    int *in = NULL, *out = &items[0];
    int i;
    (void)unused;
    reset(CONC_HANDOFF, 0);
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_HANDOFF;
    r = conc_queue_new_ex(sizeof(int *), 0, &desc);
    items[0] = 10;
    items[1] = 11;
    sim_start(&crew, select_get_q_or_put_r, NULL);
    ops[0] = conc_op_get(r, &in);
    ops[1] = conc_op_put(q, &out);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    if (i == 0) CONC_SIM_ASSERT(look_at(in) == 1);
    sim_join(&crew);
    CONC_SIM_ASSERT(got == 1 - i);
    CONC_SIM_ASSERT(passed[0] + passed[1] == 1);
    finish();
    return 0;
}

static int select_get_q_or_get_r(void *unused) {
    conc_op ops[2];
    int *in[2] = {NULL, NULL};
    int i;
    (void)unused;
    ops[0] = conc_op_get(q, &in[0]);
    ops[1] = conc_op_get(r, &in[1]);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT((i == 0 || i == 1) && in[1 - i] == NULL && look_at(in[i]) == i);
    got = i;
    return 0;
}

/* A select over two hand-offs, and one who puts into each: it takes one item, and only that one was put. */
static int handoff_select_takes_one(void *unused) {
    sim_crew crew = {0};
    conc_queue_desc desc;
    conc_op ops[2];
    int *out[2] = {&items[0], &items[1]};
    int i, again;
    (void)unused;
    reset(CONC_HANDOFF, 0);
    memset(&desc, 0, sizeof desc);
    desc.kind = CONC_HANDOFF;
    r = conc_queue_new_ex(sizeof(int *), 0, &desc);
    items[0] = 10;
    items[1] = 11;
    sim_start(&crew, select_get_q_or_get_r, NULL);
    ops[0] = conc_op_put(q, &out[0]);
    ops[1] = conc_op_put(r, &out[1]);
    i = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(i == 0 || i == 1);
    again = conc_try(i == 0 ? ops[1] : ops[0]);
    sim_join(&crew);
    CONC_SIM_ASSERT(got == i && again == CONC_FULL);
    CONC_SIM_ASSERT(passed[0] + passed[1] == 1);
    finish();
    return 0;
}

static int select_ring_or_handoff(void *unused) {
    conc_op ops[2];
    int *in = NULL, *out = &items[1];
    (void)unused;
    ops[0] = conc_op_get(r, &in);
    ops[1] = conc_op_put(q, &out);
    got = conc_select(ops, 2, CONC_FOREVER);
    CONC_SIM_ASSERT(got == 0 || got == 1);
    if (got == 0) CONC_SIM_ASSERT(look_at(in) == 2);
    return 0;
}

/* A select that gets from a ring or hands something over does one of them, whatever comes from both sides at once. */
static int handoff_or_ring(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    reset(CONC_HANDOFF, 0);
    r = conc_queue_new(sizeof(int *), 1);
    items[1] = 11;
    if (conc_sim_choose(2) == 0) { /* which of the two has the lower id decides who claims whom first */
        sim_start(&crew, select_ring_or_handoff, NULL);
        sim_start(&crew, get_timed, NULL);
    } else {
        sim_start(&crew, get_timed, NULL);
        sim_start(&crew, select_ring_or_handoff, NULL);
    }
    SIM_OK(put(r, 2, CONC_NOW));
    sim_join(&crew);
    CONC_SIM_ASSERT((get_result == CONC_OK) == (got == 1));
    CONC_SIM_ASSERT(conc_queue_length(r) == (got == 0 ? 0u : 1u));
    CONC_SIM_ASSERT(passed[1] == (got == 1 ? 1u : 0u));
    finish();
    return 0;
}

/* ---- counting work --------------------------------------------------------------------------------------- */

static int worked[2];

static int work_one(void *unused) {
    int i = get(q, CONC_FOREVER);
    (void)unused;
    CONC_SIM_ASSERT(i == 0 || i == 1);
    CONC_SIM_WRITE(worked[i]);
    worked[i] = 1;
    SIM_OK(conc_queue_task_done(q));
    return 0;
}

/* A join returns when all items have been worked on, and what was done with them is seen. */
static int join_waits_for_all(conc_queue_kind kind, size_t capacity) {
    sim_crew crew = {0};
    int i;
    reset(kind, capacity);
    memset(worked, 0, sizeof worked);
    sim_start(&crew, work_one, NULL);
    sim_start(&crew, work_one, NULL);
    SIM_OK(put(q, 0, CONC_FOREVER));
    SIM_OK(put(q, 1, CONC_FOREVER));
    SIM_OK(conc_queue_join(q, CONC_FOREVER));
    for (i = 0; i < 2; i++) {
        CONC_SIM_READ(worked[i]);
        CONC_SIM_ASSERT(worked[i] == 1);
    }
    sim_join(&crew);
    CONC_SIM_ASSERT(conc_queue_task_done(q) == CONC_INVALID);
    finish();
    return 0;
}

static int ring2_join(void *unused) {
    (void)unused;
    return join_waits_for_all(CONC_FIFO, 2);
}

static int fifo_join(void *unused) {
    (void)unused;
    return join_waits_for_all(CONC_FIFO, 0);
}

static int handoff_join(void *unused) {
    (void)unused;
    return join_waits_for_all(CONC_HANDOFF, 0);
}

/* The length, asked while others put and get, is one that the queue can have. */
static conc_queue *asked;

static int put_get_put(void *unused) {
    int x = 1;
    (void)unused;
    SIM_OK(conc_queue_put(asked, &x, CONC_NOW));
    SIM_OK(conc_queue_get(asked, &x, CONC_NOW));
    SIM_OK(conc_queue_put(asked, &x, CONC_NOW));
    return 0;
}

static int ask_length(void *unused) {
    (void)unused;
    CONC_SIM_ASSERT(conc_queue_length(asked) <= 1);
    return 0;
}

static int ring2_length(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    asked = conc_queue_new(sizeof(int), 2);
    sim_start(&crew, put_get_put, NULL);
    sim_start(&crew, ask_length, NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(conc_queue_length(asked) == 1);
    SIM_OK(conc_queue_free(asked));
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(ring1_passes, 3),
    SIM_TEST(ring2_passes, 4),
    SIM_TEST(fifo_passes, 4),
    SIM_TEST(lifo1_passes, 4),
    SIM_TEST(handoff_passes, 4),
    SIM_TEST(ring1_two_put, 2),
    SIM_TEST(ring2_two_put, 2),
    SIM_TEST(fifo_two_put, 2),
    SIM_TEST(handoff_two_put, 2),
    SIM_TEST(ring1_two_get, 2),
    SIM_TEST(ring2_two_get, 2),
    SIM_TEST(lifo_two_get, 2),
    SIM_TEST(handoff_two_get, 2),
    SIM_TEST(ring1_two_wait_for_room, 2),
    SIM_TEST(ring_gap_of_puts, 2),
    SIM_TEST(ring_gap_of_gets, 2),
    SIM_TEST(ring_laps, 2),
    SIM_TEST(priority_least_first, 2),
    SIM_TEST(priority_equal_in_order, 2),
    SIM_TEST(ring1_linear, 2),
    SIM_TEST(ring2_length, 3),
    SIM_TEST(ring2_linear, 2),
    SIM_TEST(lifo2_linear, 2),
    SIM_TEST(fifo_linear, 2),
    SIM_TEST(ring1_close_drains, 3),
    SIM_TEST(ring2_close_drains, 3),
    SIM_TEST(lifo1_close_drains, 3),
    SIM_TEST(ring1_close_wakes_getters, 2),
    SIM_TEST(fifo_close_wakes_getters, 2),
    SIM_TEST(ring1_close_wakes_putters, 4),
    SIM_TEST(lifo1_close_wakes_putters, 4),
    SIM_TEST(handoff_close_wakes_putters, 4),
    SIM_TEST(ring2_close_now, 2),
    SIM_TEST(lifo_close_now, 2),
    SIM_TEST(ring1_get_timeout, 2),
    SIM_TEST(ring1_put_timeout, 2),
    SIM_TEST(ring1_get_canceled, 2),
    SIM_TEST(ring2_put_many, 2),
    SIM_TEST(fifo_put_many, 2),
    SIM_TEST(ring2_get_many, 2),
    SIM_TEST(ring1_put_many_closed, 2),
    SIM_TEST(select_on_two_queues, 3),
    SIM_TEST(select_put_or_get, 3),
    SIM_TEST(handoff_timeouts, 4),
    SIM_TEST(handoff_one_of_two, 2),
    SIM_TEST(handoff_close, 2),
    SIM_TEST(handoff_selects_meet, 4),
    SIM_TEST(handoff_select_takes_one, 4),
    SIM_TEST(handoff_or_ring, 2),
    SIM_TEST(ring2_join, 2),
    SIM_TEST(fifo_join, 2),
    SIM_TEST(handoff_join, 2),
};
SIM_MAIN("sim_queue", tests)
