/* queues between threads: nothing lost, nothing doubled, order kept, whatever races with what. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

enum { MOST = 8 };

/* An item says who put it and which one of his it is; `check` ties the two together, so that a torn copy shows. */
typedef struct item {
    uint32_t who, n, check;
} item;

static item item_of(uint32_t who, uint32_t n) {
    item x;
    x.who = who;
    x.n = n;
    x.check = (who * 2654435761u) ^ (n * 40503u);
    return x;
}

static bool item_ok(const item *x) {
    return x->check == ((x->who * 2654435761u) ^ (x->n * 40503u));
}

static int by_who(const void *a, const void *b) {
    const item *x = (const item *)a, *y = (const item *)b;
    return (x->who > y->who) - (x->who < y->who);
}

static conc_queue *make(size_t capacity, conc_queue_kind kind) {
    conc_queue_desc desc;
    conc_queue *q;
    memset(&desc, 0, sizeof desc);
    desc.kind = kind;
    desc.compare = kind == CONC_PRIORITY ? by_who : NULL;
    q = conc_queue_new_ex(sizeof(item), kind == CONC_HANDOFF ? 0 : capacity, &desc);
    if (q == NULL) exit(1);
    return q;
}

typedef struct side {
    conc_queue *q;
    uint32_t who, count;
    int style;         /* how it puts or gets */
    long accepted;     /* puts that said OK */
    long got;
    uint32_t last[MOST]; /* of each producer: the last seen, + 1 */
    unsigned char *seen; /* who * count + n: how often */
    bool ordered;
} side;

/* Two that meet need more time than one that finds what is there. */
static double a_moment(const conc_queue *q, uint32_t *seed) {
    return (check_random(seed) % (conc_queue_capacity(q) == 0 ? 400u : 30u)) * 1e-6;
}

static conc_deadline soon(const conc_queue *q, uint32_t *seed) {
    return conc_after(a_moment(q, seed));
}

static int produce(void *arg) {
    side *p = (side *)arg;
    uint32_t seed = p->who + 77u, n = 0;
    while (n < p->count) {
        item x = item_of(p->who, n);
        conc_result r;
        int style = p->style == 9 ? (int)(check_random(&seed) % 6u) : p->style;
        switch (style) {
        case 1: r = conc_queue_put(p->q, &x, soon(p->q, &seed)); break;
        case 2: r = conc_wait(conc_op_put(p->q, &x), CONC_FOREVER); break;
        case 3: r = conc_queue_put(p->q, &x, CONC_NOW); break;
        case 4: {
            item many[7];
            size_t k, most = p->count - n < 7 ? p->count - n : 7, done = 0;
            for (k = 0; k < most; k++) many[k] = item_of(p->who, n + (uint32_t)k);
            r = conc_queue_put_many(p->q, many, most, &done, check_random(&seed) % 2 ? CONC_FOREVER : soon(p->q, &seed));
            if (r == CONC_OK) CHECK_EQ(done, most);
            else CHECK(done < most);
            n += (uint32_t)done;
            p->accepted += (long)done;
            if (r == CONC_CLOSED) return 0;
            CHECK(r == CONC_OK || r == CONC_TIMEOUT);
            continue;
        }
        case 5: {
            conc_op ops[2];
            int i;
            ops[0] = conc_op_put(p->q, &x);
            ops[1] = conc_op_sleep(a_moment(p->q, &seed));
            i = conc_select(ops, 2, CONC_FOREVER);
            r = i == 0 ? ops[0].result : CONC_TIMEOUT;
            break;
        }
        default: r = conc_queue_put(p->q, &x, CONC_FOREVER);
        }
        if (r == CONC_OK) {
            n++;
            p->accepted++;
        } else if (r == CONC_CLOSED) return 0;
        else if (r == CONC_FULL && style == 3) conc_thread_yield();
        else if (!CHECK_R(r, CONC_TIMEOUT)) return 1;
    }
    return 0;
}

static void take(side *c, const item *x) {
    if (!CHECK(item_ok(x)) || !CHECK(x->who < MOST && x->n < c->count)) return;
    c->got++;
    if (c->ordered) { /* FIFO for each producer, as each single consumer sees it */
        CHECK(x->n + 1 > c->last[x->who]);
        c->last[x->who] = x->n + 1;
    }
    c->seen[x->who * c->count + x->n]++;
}

static int consume(void *arg) {
    side *c = (side *)arg;
    uint32_t seed = c->who + 1077u;
    for (;;) {
        item x[5];
        conc_result r;
        size_t done = 1, k;
        int style = c->style == 9 ? (int)(check_random(&seed) % 6u) : c->style;
        switch (style) {
        case 1: r = conc_queue_get(c->q, &x[0], soon(c->q, &seed)); break;
        case 2: r = conc_wait(conc_op_get(c->q, &x[0]), CONC_FOREVER); break;
        case 3: r = conc_queue_get(c->q, &x[0], CONC_NOW); break;
        case 4:
            r = conc_queue_get_many(c->q, x, 5, &done, check_random(&seed) % 2 ? CONC_FOREVER : soon(c->q, &seed));
            CHECK(r == CONC_OK ? done >= 1 && done <= 5 : done == 0);
            break;
        case 5: {
            conc_op ops[2];
            int i;
            ops[0] = conc_op_get(c->q, &x[0]);
            ops[1] = conc_op_sleep(a_moment(c->q, &seed));
            i = conc_select(ops, 2, CONC_FOREVER);
            r = i == 0 ? ops[0].result : CONC_TIMEOUT;
            break;
        }
        default: r = conc_queue_get(c->q, &x[0], CONC_FOREVER);
        }
        if (r == CONC_CLOSED) return 0;
        if (r == CONC_OK) {
            for (k = 0; k < done; k++) take(c, &x[k]);
            for (k = 0; k < done; k++) CHECK_OK(conc_queue_task_done(c->q));
        } else if (r == CONC_EMPTY && style == 3) conc_thread_yield();
        else if (!CHECK_R(r, CONC_TIMEOUT)) return 1;
    }
}

typedef struct dropping {
    unsigned char *seen;
    uint32_t count;
    long dropped;
} dropping;

static void drop(void *p, void *arg) {
    dropping *d = (dropping *)arg;
    item *x = (item *)p;
    if (!CHECK(item_ok(x))) return;
    d->dropped++;
    d->seen[x->who * d->count + x->n]++;
}

/* `end`: 0: closed when all is put; 1: closed in the middle; 2: close_now in the middle. */
static void run(conc_queue *q, int producers, int consumers, int put_style, int get_style, uint32_t count, int end,
                bool ordered) {
    side p[MOST], c[MOST];
    crew pc = { 0 }, cc = { 0 };
    unsigned char *seen[MOST + 1];
    dropping d;
    long accepted = 0, got = 0;
    size_t size = (size_t)MOST * count, k;
    uint32_t seed = count + (uint32_t)end;
    int i, w;
    memset(p, 0, sizeof p);
    memset(c, 0, sizeof c);
    memset(seen, 0, sizeof seen);
    for (i = 0; i <= consumers; i++) seen[i] = (unsigned char *)calloc(size, 1);
    d.seen = seen[consumers];
    d.count = count;
    d.dropped = 0;
    for (i = 0; i < consumers; i++) {
        c[i].q = q;
        c[i].who = (uint32_t)i;
        c[i].count = count;
        c[i].style = get_style;
        c[i].seen = seen[i];
        c[i].ordered = ordered;
        crew_add(&cc, consume, &c[i]);
    }
    for (i = 0; i < producers; i++) {
        p[i].q = q;
        p[i].who = (uint32_t)i;
        p[i].count = count;
        p[i].style = put_style;
        crew_add(&pc, produce, &p[i]);
    }
    if (end == 0) {
        crew_join(&pc);
        CHECK_OK(conc_queue_join(q, CONC_FOREVER)); /* each item got and done */
        CHECK_OK(conc_queue_close(q));
    } else {
        check_spin_us(300, &seed);
        if (end == 1) CHECK_OK(conc_queue_close(q));
        else CHECK_OK(conc_queue_close_now(q, drop, &d));
        crew_join(&pc);
    }
    crew_join(&cc);
    for (i = 0; i < producers; i++) accepted += p[i].accepted;
    for (i = 0; i < consumers; i++) got += c[i].got;
    CHECK_EQ(got + d.dropped, accepted);
    if (end == 0) CHECK_EQ(accepted, (long)producers * (long)count);
    /* exactly those accepted, each once */
    for (w = 0; w < producers; w++) {
        for (k = 0; k < count; k++) {
            int times = 0;
            for (i = 0; i <= consumers; i++) times += seen[i][(size_t)w * count + k];
            if (times != (k < (size_t)p[w].accepted)) {
                CHECK_EQ(times, k < (size_t)p[w].accepted);
                break;
            }
        }
    }
    CHECK_EQ(conc_queue_length(q), 0);
    if (end != 1) CHECK_OK(conc_queue_join(q, CONC_NOW));
    for (i = 0; i <= consumers; i++) free(seen[i]);
    CHECK_OK(conc_queue_free(q));
}

static const size_t capacities[] = { 1, 2, 3, 1000, 0 };
static const struct { int p, c; } layouts[] = { { 1, 1 }, { 1, 4 }, { 4, 1 }, { 4, 4 } };

static void all_layouts(conc_queue_kind kind, int put_style, int get_style, int n, int end) {
    size_t i, l;
    for (i = 0; i < (kind == CONC_HANDOFF ? 1 : sizeof capacities / sizeof *capacities); i++) {
        for (l = 0; l < sizeof layouts / sizeof *layouts; l++) {
            uint32_t count = (uint32_t)(check_rounds(n) / layouts[l].p) + 1;
            run(make(capacities[i], kind), layouts[l].p, layouts[l].c, put_style, get_style, count, end,
                kind == CONC_FIFO || kind == CONC_HANDOFF);
        }
    }
}

static void fifo_plain(void) { all_layouts(CONC_FIFO, 0, 0, 20000, 0); }
static void fifo_all_ways(void) { all_layouts(CONC_FIFO, 9, 9, 6000, 0); }
static void fifo_time_outs(void) { all_layouts(CONC_FIFO, 1, 1, 6000, 0); }
static void fifo_batches(void) { all_layouts(CONC_FIFO, 4, 4, 20000, 0); }
static void fifo_tries(void) { all_layouts(CONC_FIFO, 3, 3, 3000, 0); }
static void fifo_selects(void) { all_layouts(CONC_FIFO, 5, 5, 4000, 0); }
static void lifo_all_ways(void) { all_layouts(CONC_LIFO, 9, 9, 4000, 0); }
static void priority_all_ways(void) { all_layouts(CONC_PRIORITY, 9, 9, 4000, 0); }
static void handoff_plain(void) { all_layouts(CONC_HANDOFF, 0, 0, 8000, 0); }
static void handoff_ops(void) { all_layouts(CONC_HANDOFF, 2, 2, 8000, 0); }
static void handoff_time_outs(void) { all_layouts(CONC_HANDOFF, 1, 1, 1000, 0); }
static void handoff_selects(void) { all_layouts(CONC_HANDOFF, 5, 5, 1000, 0); }
static void handoff_try_put(void) { all_layouts(CONC_HANDOFF, 3, 0, 1000, 0); }
static void handoff_try_get(void) { all_layouts(CONC_HANDOFF, 0, 3, 1000, 0); }

static void closing(int end) {
    int kind, round;
    size_t i;
    for (round = 0; round < check_rounds_least(15, 2); round++) {
        for (kind = CONC_FIFO; kind <= CONC_HANDOFF; kind++) {
            for (i = 0; i < (kind == CONC_HANDOFF ? 1 : sizeof capacities / sizeof *capacities); i++) {
                int style = round % 3 == 0 ? 0 : round % 3 == 1 ? 9 : 4;
                if (kind == CONC_HANDOFF && style != 0) style = 1 + round % 2; /* no tries and batches: they may meet for ever */
                run(make(capacities[i], (conc_queue_kind)kind), 1 + round % 4, 1 + (round / 2) % 4, style, style, 5000, end,
                    kind == CONC_FIFO || kind == CONC_HANDOFF);
            }
        }
    }
}

static void close_races(void) { closing(1); }
static void close_now_races(void) { closing(2); }

/* ---- one total order ---- */

typedef struct total {
    conc_queue *q;
    conc_mutex lock; /* makes "put and count" one step */
    uint32_t n, most;
} total;

static int put_noted(void *arg) {
    total *t = (total *)arg;
    uint32_t i;
    for (i = 0; i < t->most; i++) {
        item x;
        CHECK_OK(conc_mutex_lock(&t->lock, CONC_FOREVER));
        x = item_of(conc_thread_id(NULL), t->n);
        if (conc_queue_put(t->q, &x, CONC_NOW) == CONC_OK) t->n++;
        CHECK_OK(conc_mutex_unlock(&t->lock));
    }
    return 0;
}

/* Three producers, one consumer: what one producer's put followed on another's put comes out after it. */
static void total_order(void) {
    size_t i;
    for (i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        total t;
        crew c = { 0 };
        uint32_t want = 0;
        int k;
        item x;
        memset(&t, 0, sizeof t);
        t.q = make(capacities[i], CONC_FIFO);
        t.most = (uint32_t)check_rounds(4000);
        for (k = 0; k < 3; k++) crew_add(&c, put_noted, &t);
        while (want < t.most / 4) { /* while they put */
            conc_result r = conc_queue_get(t.q, &x, conc_after(0.002));
            if (r == CONC_TIMEOUT) break;
            CHECK_OK(r);
            CHECK_EQ(x.n, want);
            want++;
        }
        crew_join(&c);
        while (conc_queue_get(t.q, &x, CONC_NOW) == CONC_OK) {
            CHECK_EQ(x.n, want);
            want++;
        }
        CHECK_EQ(want, t.n);
        CHECK_OK(conc_queue_free(t.q));
    }
}

/* ---- select over several queues ---- */

enum { QUEUES = 4 };
typedef struct many {
    conc_queue *q[QUEUES];
    long got[QUEUES];
    uint32_t last[QUEUES];
    unsigned char *seen;
    uint32_t count;
    int style;
} many;

static int select_all(void *arg) {
    many *m = (many *)arg;
    int open = QUEUES;
    bool closed[QUEUES] = { false };
    uint32_t seed = conc_thread_id(NULL);
    while (open > 0) {
        conc_op ops[QUEUES];
        item x[QUEUES];
        int from[QUEUES], n = 0, i, start = (int)(check_random(&seed) % QUEUES);
        for (i = 0; i < QUEUES; i++) {
            int k = (start + i) % QUEUES;
            if (closed[k]) continue;
            x[n] = item_of(99, 0);
            ops[n] = conc_op_get(m->q[k], &x[n]);
            from[n++] = k;
        }
        i = conc_select(ops, (size_t)n, check_random(&seed) % 4 == 0 ? soon(m->q[0], &seed) : CONC_FOREVER);
        if (i < 0) {
            if (!CHECK_R(i, CONC_TIMEOUT)) return 1;
        } else if (ops[i].result == CONC_CLOSED) {
            closed[from[i]] = true;
            open--;
        } else if (CHECK_OK(ops[i].result)) {
            int k;
            CHECK(item_ok(&x[i]));
            CHECK_EQ(x[i].who, from[i]);
            CHECK(x[i].n + 1 > m->last[from[i]]);
            m->last[from[i]] = x[i].n + 1;
            m->got[from[i]]++;
            m->seen[(uint32_t)from[i] * m->count + x[i].n]++;
            for (k = 0; k < n; k++) { /* the losers' items are as they were */
                if (k != i) CHECK_EQ(x[k].who, 99);
            }
        }
    }
    return 0;
}

static void select_over_queues(conc_queue_kind kind, size_t capacity, int consumers) {
    conc_queue *q[QUEUES];
    side p[QUEUES];
    many m[MOST];
    crew pc = { 0 }, cc = { 0 };
    uint32_t count = (uint32_t)check_rounds(4000), n;
    int i, k;
    memset(p, 0, sizeof p);
    memset(m, 0, sizeof m);
    for (i = 0; i < QUEUES; i++) q[i] = make(capacity, kind);
    for (i = 0; i < consumers; i++) {
        memcpy(m[i].q, q, sizeof q);
        m[i].count = count;
        m[i].seen = (unsigned char *)calloc((size_t)count * QUEUES, 1);
        crew_add(&cc, select_all, &m[i]);
    }
    for (i = 0; i < QUEUES; i++) {
        p[i].q = q[i];
        p[i].who = (uint32_t)i;
        p[i].count = count;
        p[i].style = i % 3;
        crew_add(&pc, produce, &p[i]);
    }
    crew_join(&pc);
    for (i = 0; i < QUEUES; i++) CHECK_OK(conc_queue_close(q[i]));
    crew_join(&cc);
    for (k = 0; k < QUEUES; k++) {
        for (n = 0; n < count; n++) {
            int times = 0;
            for (i = 0; i < consumers; i++) times += m[i].seen[(uint32_t)k * count + n];
            if (times != 1) {
                CHECK_EQ(times, 1);
                break;
            }
        }
        CHECK_OK(conc_queue_free(q[k]));
    }
    for (i = 0; i < consumers; i++) free(m[i].seen);
}

static void select_over_bounded(void) {
    select_over_queues(CONC_FIFO, 1, 1);
    select_over_queues(CONC_FIFO, 1, 4);
    select_over_queues(CONC_FIFO, 100, 4);
}
static void select_over_unbounded(void) { select_over_queues(CONC_FIFO, 0, 3); }
static void select_over_handoffs(void) {
    select_over_queues(CONC_HANDOFF, 0, 1);
    select_over_queues(CONC_HANDOFF, 0, 4);
}

/* ---- select of a put and a get on hand-offs, from several threads, in both directions at once. Each thread offers its
 * item on one and takes from the other; every pairing is one put and one get. ---- */

typedef struct crossing {
    conc_queue *out, *in;
    uint32_t who, count; /* how many it still has to put; others do not stop */
    long puts, gets;
    uint64_t put_sum, got_sum;
    conc_event *stop;
    bool swap_order;
} crossing;

static int cross(void *arg) {
    crossing *c = (crossing *)arg;
    uint32_t n = 0;
    while (!conc_event_is_set(c->stop)) {
        conc_op ops[2];
        item mine = item_of(c->who, n), other = item_of(98, 0);
        int i, put = c->swap_order && n % 2;
        ops[put] = conc_op_put(c->out, &mine);
        ops[1 - put] = conc_op_get(c->in, &other);
        i = conc_select(ops, 2, n % 3 == 0 ? conc_after(50e-6) : conc_after(0.01));
        n++;
        if (i < 0) {
            if (!CHECK_R(i, CONC_TIMEOUT)) return 1;
            CHECK_EQ(other.who, 98);
        } else if (i == put) {
            CHECK_OK(ops[i].result);
            CHECK_EQ(other.who, 98); /* it did not get as well */
            c->puts++;
            c->put_sum += mine.check;
        } else {
            CHECK_OK(ops[i].result);
            CHECK(item_ok(&other));
            CHECK(other.who != c->who);
            c->gets++;
            c->got_sum += other.check;
        }
    }
    return 0;
}

static void crossed(int threads, bool one_queue) {
    conc_queue *a = make(0, CONC_HANDOFF), *b = make(0, CONC_HANDOFF);
    conc_event stop = { 0 };
    crossing c[MOST];
    crew w = { 0 };
    long puts = 0, gets = 0;
    uint64_t put_sum = 0, got_sum = 0;
    int i;
    memset(c, 0, sizeof c);
    for (i = 0; i < threads; i++) {
        c[i].out = i % 2 || one_queue ? a : b;
        c[i].in = i % 2 && !one_queue ? b : a;
        c[i].who = (uint32_t)i;
        c[i].stop = &stop;
        c[i].swap_order = i % 3 == 0;
        crew_add(&w, cross, &c[i]);
    }
    CHECK_OK(conc_sleep(conc_after(0.15 * (check_scale() < 1 ? check_scale() + 0.05 : check_scale())))); /* how long it is tried */
    CHECK_OK(conc_event_set(&stop));
    crew_join(&w);
    for (i = 0; i < threads; i++) {
        puts += c[i].puts;
        gets += c[i].gets;
        put_sum += c[i].put_sum;
        got_sum += c[i].got_sum;
    }
    CHECK_EQ(puts, gets);
    CHECK(put_sum == got_sum);
    CHECK(puts > 0);
    CHECK_OK(conc_queue_free(a));
    CHECK_OK(conc_queue_free(b));
}

static void crossed_handoffs(void) {
    crossed(2, false);
    crossed(4, false);
    crossed(8, false);
    crossed(2, true);
    crossed(5, true);
}

/* ---- a cancel racing with a put and a get: CANCELED means that the item has not moved ---- */

typedef struct cancel_side {
    conc_queue *q;
    conc_semaphore go, back;
    conc_cancel *token;
    int rounds;
} cancel_side;

static int fire_soon(void *arg) {
    cancel_side *s = (cancel_side *)arg;
    uint32_t seed = 6;
    int i;
    for (i = 0; i < s->rounds; i++) {
        CHECK_OK(conc_semaphore_acquire(&s->go, CONC_FOREVER));
        check_spin_us(25, &seed);
        CHECK_OK(conc_cancel_fire(s->token));
        CHECK_OK(conc_semaphore_release(&s->back, 1));
    }
    return 0;
}

static int feed(void *arg) { /* one item for each permit */
    cancel_side *s = (cancel_side *)arg;
    uint32_t seed = 16;
    int i;
    for (i = 0; i < s->rounds; i++) {
        item x = item_of(1, (uint32_t)i);
        CHECK_OK(conc_semaphore_acquire(&s->go, CONC_FOREVER));
        check_spin_us(25, &seed);
        CHECK_OK(conc_queue_put(s->q, &x, CONC_FOREVER));
        CHECK_OK(conc_semaphore_release(&s->back, 1));
    }
    return 0;
}

static void cancel_races(void) {
    int kind;
    for (kind = CONC_FIFO; kind <= CONC_HANDOFF; kind++) {
        cancel_side f, p;
        crew c = { 0 };
        int i;
        memset(&f, 0, sizeof f);
        f.q = make(1, (conc_queue_kind)kind);
        f.rounds = check_rounds(2500);
        p = f;
        crew_add(&c, fire_soon, &f);
        crew_add(&c, feed, &p);
        for (i = 0; i < f.rounds; i++) {
            conc_cancel token = { 0 };
            item x = item_of(97, 0);
            conc_result r;
            f.token = &token;
            (void)conc_cancel_use(&token);
            CHECK_OK(conc_semaphore_release(i % 2 ? &f.go : &p.go, 1));
            CHECK_OK(conc_semaphore_release(i % 2 ? &p.go : &f.go, 1));
            r = conc_queue_get(f.q, &x, CONC_FOREVER);
            (void)conc_cancel_use(NULL);
            if (r == CONC_CANCELED) {
                CHECK_EQ(x.who, 97);
                CHECK_OK(conc_queue_get(f.q, &x, CONC_FOREVER)); /* it is still there */
            } else CHECK_OK(r);
            CHECK(item_ok(&x));
            CHECK_EQ(x.n, i);
            CHECK_OK(conc_semaphore_acquire(&f.back, CONC_FOREVER));
            CHECK_OK(conc_semaphore_acquire(&p.back, CONC_FOREVER));
        }
        crew_join(&c);
        CHECK_EQ(conc_queue_length(f.q), 0);
        CHECK_OK(conc_queue_free(f.q));
    }
}

/* What a producer did before a put is seen by the consumer that gets the item. */
static int fill_and_put(void *arg) {
    side *p = (side *)arg;
    uint32_t n;
    for (n = 0; n < p->count; n++) {
        int *box = (int *)malloc(2 * sizeof *box);
        if (box == NULL) return 1;
        box[0] = (int)n;
        box[1] = -(int)n;
        CHECK_OK(conc_queue_put(p->q, &box, CONC_FOREVER));
    }
    return 0;
}

static int get_and_empty(void *arg) {
    side *c = (side *)arg;
    CONC_FOR_QUEUE(int *, box, c->q) {
        CHECK_EQ(box[0], -box[1]);
        c->got++;
        free(box);
    }
    return 0;
}

static void happens_before(void) {
    size_t i;
    for (i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        side p[2], g[2];
        crew pc = { 0 }, gc = { 0 };
        conc_queue *q = conc_queue_new(sizeof(int *), capacities[i]);
        int k;
        memset(p, 0, sizeof p);
        memset(g, 0, sizeof g);
        for (k = 0; k < 2; k++) {
            p[k].q = g[k].q = q;
            p[k].count = (uint32_t)check_rounds(5000);
            crew_add(&pc, fill_and_put, &p[k]);
            crew_add(&gc, get_and_empty, &g[k]);
        }
        crew_join(&pc);
        CHECK_OK(conc_queue_close(q));
        crew_join(&gc);
        CHECK_EQ(g[0].got + g[1].got, 2 * (long)p[0].count);
        CHECK_OK(conc_queue_free(q));
    }
}

int main(void) {
    check_begin("queue_stress");
    RUN(fifo_plain);
    RUN(fifo_all_ways);
    RUN(fifo_time_outs);
    RUN(fifo_batches);
    RUN(fifo_tries);
    RUN(fifo_selects);
    RUN(lifo_all_ways);
    RUN(priority_all_ways);
    RUN(handoff_plain);
    RUN(handoff_ops);
    RUN(handoff_time_outs);
    RUN(handoff_selects);
    RUN(handoff_try_put);
    RUN(handoff_try_get);
    RUN(close_races);
    RUN(close_now_races);
    RUN(total_order);
    RUN(select_over_bounded);
    RUN(select_over_unbounded);
    RUN(select_over_handoffs);
    RUN(crossed_handoffs);
    RUN(cancel_races);
    RUN(happens_before);
    return check_end();
}
