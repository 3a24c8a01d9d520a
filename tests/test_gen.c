/* Generators: by name and as iterators, every way to end one, send and throw, yield from, and their misuse. With CONC_DEBUG
 * (this program brings its own implementation then), that a lost variable is seen. */
#if !defined(CONC_TEST_SPLIT)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"
#include "check.h"

static char trace[200]; /* what bodies tell */
static void tell(const char *what) {
    if (strlen(trace) + strlen(what) < sizeof trace) strcat(trace, what);
}
#define TOLD(what) (CHECK_STR(trace, what), trace[0] = '\0')

static int reports;
static conc_result reported;
static char report[1000];
static void hook(const conc_error *e, void *user) {
    (void)user;
    reports++;
    reported = e->result;
    snprintf(report, sizeof report, "%s", e->text);
}

/* `a name = CONC_GEN(...)` needs C, or C++20: here fields are set, so that it compiles as everything. */
CONC_GENERATOR(fibonacci, long, int n, i; long a, b;) {
    CONC_BEGIN;
    self->a = 0;
    self->b = 1;
    for (self->i = 0; self->i < self->n; self->i++) {
        CONC_YIELD(self->a);
        {
            long next = self->a + self->b;
            self->a = self->b;
            self->b = next;
        }
    }
    CONC_END;
}

CONC_GENERATOR(nothing, int) {
    CONC_BEGIN;
    CONC_END;
}

/* Suspensions in every position. */
CONC_GENERATOR(positions, int, int i, j;) {
    CONC_BEGIN;
    CONC_YIELD(0); CONC_YIELD(1);
    if (self->i == 0) CONC_YIELD(2);
    else CONC_YIELD(99);
    for (self->i = 3; self->i < 5; self->i++) CONC_YIELD(self->i);
    while (self->i < 7) CONC_YIELD(self->i++);
    do CONC_YIELD(self->i++); while (self->i < 8);
    for (self->j = 0; self->j < 2; self->j++) {
        for (self->i = 0; self->i < 5; self->i++) {
            if (self->i == 1) continue;
            if (self->i == 3) break;
            CONC_YIELD_AT(900001, 8 + self->j * 2 + self->i / 2);
        }
    }
    CONC_END;
}

/* Ends in the way it is told to, with a clean-up part. */
CONC_GENERATOR(ending, int, int how; int i;) {
    CONC_BEGIN;
    tell("begin ");
    CONC_YIELD(1);
    switch (self->how) {
    case 1: CONC_RETURN;
    case 2: CONC_FAIL(CONC_BROKEN);
    default: break;
    }
    CONC_YIELD(2);
    CONC_FINALLY;
    tell("finally ");
    if (self->how == 3) CONC_YIELD(3);
    if (self->how == 4) CONC_FAIL(CONC_SYSTEM);
    if (self->how == 5) CONC_RETURN;
    if (self->how == 6) conc_iter_close(&self->iter);
    tell("end ");
    CONC_END;
}

/* Each of an item's three kinds of resume: next, send, throw. */
CONC_GENERATOR_SEND(echo, int, const char *, int i;) {
    CONC_BEGIN;
    for (self->i = 1; self->i < 10; self->i++) {
        CONC_TRY_YIELD(self->i);
        if (self->thrown != CONC_OK) {
            tell("caught ");
            if (self->thrown == CONC_BROKEN) CONC_FAIL(CONC_BROKEN);
        }
        if (self->was_sent) tell(self->sent);
        CONC_YIELD(-self->i);
        if (self->was_sent) tell(self->sent);
    }
    CONC_FINALLY;
    tell("finally ");
    CONC_END;
}

/* An in-order walk of a tree, by generators in generators. */
typedef struct node {
    int key;
    const struct node *left, *right;
} node;

static conc_iter *walk_new(const node *n);
CONC_GENERATOR(walk, int, const node *n;) {
    CONC_BEGIN;
    if (self->n->left != NULL) CONC_YIELD_FROM(walk_new(self->n->left));
    CONC_YIELD(self->n->key);
    if (self->n->right != NULL) CONC_YIELD_FROM(walk_new(self->n->right));
    CONC_FINALLY;
    tell(".");
    CONC_END;
}
static conc_iter *walk_new(const node *n) {
    conc_iter *it = CONC_GEN_NEW(walk);
    if (it->item_size != 0) ((walk *)(void *)it)->n = n;
    return it;
}

CONC_GENERATOR(from_of, int, conc_iter *it;) {
    CONC_BEGIN;
    CONC_YIELD(-1);
    CONC_YIELD_FROM(self->it);
    CONC_YIELD(-2);
    CONC_FINALLY;
    tell("finally ");
    CONC_END;
}

CONC_GENERATOR(itself, int, int how; int x; conc_result r;) {
    CONC_BEGIN;
    CONC_YIELD(1);
    self->r = self->how == 0 ? conc_next(&self->iter, &self->x)
              : self->how == 1 ? CONC_NEXT(itself, self, &self->x)
                               : CONC_THROW(itself, self, CONC_BROKEN, &self->x);
    CONC_YIELD(2);
    CONC_YIELD_FROM(&self->iter);
    CONC_FINALLY;
    tell("finally ");
    CONC_END;
}

CONC_GENERATOR_PLAIN(plain, int, int n, i;) {
    CONC_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) CONC_YIELD(self->i);
    CONC_FINALLY;
    tell("plain ");
    CONC_END;
}

static void by_name(void) {
    long want[] = { 0, 1, 1, 2, 3, 5, 8, 13, 21, 34 }, x = -1;
    int i, n = 0, y = 0;
    fibonacci g = CONC_GEN_ZERO(fibonacci), h = CONC_GEN_ZERO(fibonacci);
    positions p = CONC_GEN_ZERO(positions);
    g.n = 10;
    h.n = 5;
    for (i = 0; i < 10; i++) { /* two, in turn */
        CHECK_OK(CONC_NEXT(fibonacci, &g, &x));
        CHECK_EQ(x, want[i]);
        CHECK_R(CONC_NEXT(fibonacci, &h, &x), i < 5 ? CONC_OK : CONC_CLOSED);
        if (i < 5) CHECK_EQ(x, want[i]);
    }
    CHECK_R(CONC_NEXT(fibonacci, &g, &x), CONC_CLOSED);
    CHECK_R(CONC_NEXT(fibonacci, &g, &x), CONC_CLOSED);
    CHECK_R(conc_next(&g.iter, &x), CONC_CLOSED);
    CONC_FOR_GEN(nothing, z) n += sizeof z > 0;
    CHECK_EQ(n, 0);
    CONC_FOR_GEN(positions, z) CHECK_EQ(z, n++);
    CHECK_EQ(n, 12);
    for (n = 0; n < 12; n++) {
        CHECK_OK(n % 3 == 0 ? CONC_NEXT(positions, &p, &y) : conc_next(&p.iter, &y)); /* both ways, mixed */
        CHECK_EQ(y, n);
    }
    CHECK_R(conc_next(&p.iter, &y), CONC_CLOSED);
}

static void as_iterator(void) {
    int items[20], x = 0;
    size_t n, done, i;
    conc_iter *it;
    for (n = 1; n < 15; n++) {
        int want = 0;
        it = CONC_GEN_NEW(positions);
        while (conc_next_n(it, items, n, &done) == CONC_OK)
            for (i = 0; i < done; i++) CHECK_EQ(items[i], want++);
        CHECK_EQ(want, 12);
        CHECK_R(conc_next(it, &x), CONC_CLOSED);
        conc_iter_close(it);
    }
    for (n = 1; n < 15; n += 3) {
        plain p = CONC_GEN_ZERO(plain);
        int want = 0;
        p.n = 10;
        CHECK_EQ(p.iter.item_size, sizeof(int));
        while (conc_next_n(&p.iter, items, n, &done) == CONC_OK)
            for (i = 0; i < done; i++) CHECK_EQ(items[i], want++);
        CHECK_EQ(want, 10);
        TOLD("plain ");
        conc_iter_close(&p.iter);
        TOLD("");
    }
    CONC_FOREACH(int, y, conc_take(CONC_GEN_NEW(positions), 3)) x += y;
    CHECK_EQ(x, 3);
}

static ending how(int h) {
    ending g = CONC_GEN_ZERO(ending);
    g.how = h;
    return g;
}

/* Runs one to its end; the end. */
static conc_result run(ending *g, int want_items) {
    int x = 0, n = 0;
    conc_result r;
    while ((r = CONC_NEXT(ending, g, &x)) == CONC_OK) CHECK_EQ(x, ++n);
    CHECK_EQ(n, want_items);
    CHECK_R(CONC_NEXT(ending, g, &x), CONC_CLOSED);
    conc_iter_close(&g->iter); /* does nothing any more */
    CHECK_R(conc_next(&g->iter, &x), CONC_CLOSED);
    return r;
}

static void ways_to_end(void) {
    ending g;
    int x = 0, i;
    g = how(0);
    CHECK_R(run(&g, 2), CONC_CLOSED);
    TOLD("begin finally end ");
    g = how(1);
    CHECK_R(run(&g, 1), CONC_CLOSED);
    TOLD("begin finally end ");
    g = how(2);
    CHECK_R(run(&g, 1), CONC_BROKEN);
    TOLD("begin finally end ");
    g = how(3);
    CHECK_R(run(&g, 3), CONC_CLOSED);
    TOLD("begin finally end ");
    g = how(4);
    CHECK_R(run(&g, 2), CONC_SYSTEM);
    TOLD("begin finally ");
    g = how(5);
    CHECK_R(run(&g, 2), CONC_CLOSED);
    TOLD("begin finally ");
    g = how(2);
    { /* items first, then the error */
        int items[10];
        size_t done;
        CHECK_OK(conc_next_n(&g.iter, items, 10, &done));
        CHECK_EQ(done, 1);
        CHECK_R(conc_next_n(&g.iter, items, 10, &done), CONC_BROKEN);
        CHECK_R(conc_next_n(&g.iter, items, 10, &done), CONC_CLOSED);
    }
    TOLD("begin finally end ");

    for (i = 0; i < 2; i++) { /* closed: not started, started, in the clean-up part */
        g = how(0);
        conc_iter_close(&g.iter);
        TOLD("");
        CHECK_R(CONC_NEXT(ending, &g, &x), CONC_CLOSED);
        g = how(0);
        CHECK_OK(CONC_NEXT(ending, &g, &x));
        conc_iter_close(&g.iter);
        TOLD("begin finally end ");
        conc_iter_close(&g.iter);
        TOLD("");
        CHECK_R(conc_next(&g.iter, &x), CONC_CLOSED);
        g = how(3);
        while (x != 3) CHECK_OK(CONC_NEXT(ending, &g, &x));
        conc_iter_close(&g.iter);
        TOLD("begin finally ");
        CHECK_R(CONC_NEXT(ending, &g, &x), CONC_CLOSED);
    }
    CONC_FOR_GEN(ending, y) if (y == 1) break;
    TOLD("begin finally end ");
    CONC_FOR_GEN(ending, y) if (y == 1) continue;
    TOLD("begin finally end ");
    conc_iter_close(CONC_GEN_NEW(ending));
    TOLD("");
    CONC_FOREACH(int, y, CONC_GEN_NEW(ending)) if (y == 1) break;
    TOLD("begin finally end ");
}

#if CONC_CC_GNU && !CONC_CC_TINY
static int leave_by_return(void) {
    CONC_FOR_GEN(ending, y) return y;
    return 0;
}
static void left(void) {
    CHECK_EQ(leave_by_return(), 1);
    TOLD("begin finally end ");
    CONC_FOR_GEN(ending, y) if (y == 2) goto out;
    CHECK(false);
out:
    TOLD("begin finally end ");
}
#endif

static void told(void) {
    ending g;
    int x = 0;
    conc_set_error_hook(hook, NULL);
    g = how(3); /* a yield while it is being closed */
    CHECK_OK(CONC_NEXT(ending, &g, &x));
    reports = 0;
    conc_iter_close(&g.iter);
    CHECK_EQ(reports, 1);
    CHECK_R(reported, CONC_INVALID);
    CHECK_HAS(report, "ending");
    CHECK_HAS(report, __FILE__);
    CHECK_R(CONC_NEXT(ending, &g, &x), CONC_CLOSED);
    TOLD("begin finally ");
    g = how(6); /* closes itself */
    reports = 0;
    CHECK_R(run(&g, 2), CONC_CLOSED);
    CHECK_EQ(reports, 1);
    CHECK_HAS(report, "ending");
    TOLD("begin finally end ");
    g = how(2); /* an error that the block does not see */
    reports = 0;
    CONC_FOREACH(int, y, &g.iter) x += y;
    CHECK_EQ(reports, 1);
    CHECK_R(reported, CONC_BROKEN);
    TOLD("begin finally end ");
    conc_set_error_hook(NULL, NULL);
}

CONC_GENERATOR(failing, int) {
    CONC_BEGIN;
    CONC_YIELD(1);
    CONC_FAIL(CONC_BROKEN);
    CONC_END;
}

static void told_by_name(void) {
    int n = 0;
    conc_set_error_hook(hook, NULL);
    reports = 0;
    CONC_FOR_GEN(failing, x) n += x;
    CHECK_EQ(n, 1);
    CHECK_EQ(reports, 1);
    CHECK_R(reported, CONC_BROKEN);
    CHECK_HAS(report, "failing");
    CONC_FOR_GEN(failing, x) if (x == 1) break;
    CHECK_EQ(reports, 1);
    conc_set_error_hook(NULL, NULL);
}

static void sending(void) {
    echo g = CONC_GEN_ZERO(echo);
    int x = 0, items[3];
    size_t done;
    CHECK_MISUSE(CONC_SEND(echo, &g, "a", &x), CONC_INVALID);
    CHECK_OK(CONC_NEXT(echo, &g, &x));
    CHECK_EQ(x, 1);
    TOLD("");
    CHECK_OK(CONC_SEND(echo, &g, "a ", &x));
    CHECK_EQ(x, -1);
    CHECK_OK(CONC_NEXT(echo, &g, &x));
    CHECK_EQ(x, 2);
    CHECK_OK(CONC_SEND(echo, &g, "b ", &x));
    CHECK_OK(CONC_SEND(echo, &g, "c ", &x));
    CHECK_EQ(x, 3);
    TOLD("a b c ");
    CHECK_OK(conc_next_n(&g.iter, items, 3, &done)); /* nothing is sent by it */
    CHECK(done >= 1 && done <= 3);
    CHECK_EQ(items[0], -3);
    TOLD("");
    conc_iter_close(&g.iter);
    TOLD("finally ");
    CHECK_R(CONC_SEND(echo, &g, "d", &x), CONC_CLOSED);
    TOLD("");
}

static void throwing(void) {
    echo g = CONC_GEN_ZERO(echo);
    int x = 0;
    CHECK_R(CONC_THROW(echo, &g, CONC_FAILED, &x), CONC_FAILED); /* not started */
    CHECK_R(CONC_NEXT(echo, &g, &x), CONC_CLOSED);
    CHECK_R(CONC_THROW(echo, &g, CONC_FAILED, &x), CONC_FAILED);
    TOLD("");
    g = CONC_GEN_ZERO(echo);
    CHECK_OK(CONC_NEXT(echo, &g, &x));
    CHECK_MISUSE(CONC_THROW(echo, &g, CONC_OK, &x), CONC_INVALID);
    CHECK_OK(CONC_THROW(echo, &g, CONC_FAILED, &x)); /* caught */
    CHECK_EQ(x, -1);
    TOLD("caught ");
    CHECK_R(CONC_THROW(echo, &g, CONC_FAILED, &x), CONC_FAILED); /* not, at a plain yield */
    TOLD("finally ");
    CHECK_R(CONC_NEXT(echo, &g, &x), CONC_CLOSED);
    g = CONC_GEN_ZERO(echo);
    CHECK_OK(CONC_NEXT(echo, &g, &x));
    CHECK_R(CONC_THROW(echo, &g, CONC_BROKEN, &x), CONC_BROKEN); /* caught, and failed with */
    TOLD("caught finally ");
    { /* in the clean-up part it ends it */
        ending e = how(3);
        while (x != 3) CHECK_OK(CONC_NEXT(ending, &e, &x));
        CHECK_R(CONC_THROW(ending, &e, CONC_FAILED, &x), CONC_FAILED);
        CHECK_R(CONC_NEXT(ending, &e, &x), CONC_CLOSED);
        TOLD("begin finally ");
    }
    { /* uncaught, with a yield in the clean-up part: first the item, then the error */
        ending e = how(3);
        CHECK_OK(CONC_NEXT(ending, &e, &x));
        CHECK_OK(CONC_THROW(ending, &e, CONC_FAILED, &x));
        CHECK_EQ(x, 3);
        CHECK_R(CONC_NEXT(ending, &e, &x), CONC_FAILED);
        CHECK_R(CONC_NEXT(ending, &e, &x), CONC_CLOSED);
        TOLD("begin finally end ");
    }
}

static void trees(void) {
    node leaf1 = { 1, NULL, NULL }, leaf3 = { 3, NULL, NULL }, leaf5 = { 5, NULL, NULL };
    node n2 = { 2, &leaf1, &leaf3 }, root = { 4, &n2, &leaf5 };
    int n = 0, items[10], x = 0;
    size_t done;
    conc_iter *it;
    CONC_FOREACH(int, key, walk_new(&root)) CHECK_EQ(key, ++n);
    CHECK_EQ(n, 5);
    TOLD(".....");
    CONC_FOREACH(int, key, walk_new(&root)) if (key == 1) break; /* three deep */
    TOLD("...");
    it = walk_new(&root);
    for (n = 0; n < 5; n += (int)done) CHECK_OK(conc_next_n(it, items + n, (size_t)(10 - n), &done)); /* once, if not CONC_DEBUG */
    CHECK_EQ(items[4], 5);
    CHECK_R(conc_next(it, &x), CONC_CLOSED);
    conc_iter_close(it);
    TOLD(".....");
    {
        from_of g = CONC_GEN_ZERO(from_of);
        g.it = conc_take(walk_new(&root), 2);
        for (n = 0; n < 4; n++) CHECK_OK(CONC_NEXT(from_of, &g, &items[n]));
        CHECK(items[0] == -1 && items[1] == 1 && items[2] == 2 && items[3] == -2);
        TOLD("..." ); /* 3's walk was never made */
        CHECK_R(CONC_NEXT(from_of, &g, &x), CONC_CLOSED);
        TOLD("finally ");
        g = CONC_GEN_ZERO(from_of); /* a throw closes what it goes through */
        g.it = walk_new(&root);
        CHECK_OK(CONC_NEXT(from_of, &g, &x));
        CHECK_OK(CONC_NEXT(from_of, &g, &x));
        CHECK_R(CONC_THROW(from_of, &g, CONC_FAILED, &x), CONC_FAILED);
        TOLD("...finally ");
        g = CONC_GEN_ZERO(from_of); /* an error in it ends the outer one */
        g.it = CONC_GEN_NEW(failing);
        CHECK_OK(CONC_NEXT(from_of, &g, &x));
        CHECK_OK(CONC_NEXT(from_of, &g, &x));
        CHECK_R(CONC_NEXT(from_of, &g, &x), CONC_BROKEN);
        TOLD("finally ");
        g = CONC_GEN_ZERO(from_of);
        g.it = NULL;
        CHECK_OK(CONC_NEXT(from_of, &g, &x));
        CHECK_MISUSE(CONC_NEXT(from_of, &g, &x), CONC_INVALID);
        TOLD("finally ");
        g = CONC_GEN_ZERO(from_of); /* items of another size */
        g.it = CONC_GEN_NEW(fibonacci);
        CHECK_OK(CONC_NEXT(from_of, &g, &x));
        if (sizeof(long) != sizeof(int)) CHECK_MISUSE(CONC_NEXT(from_of, &g, &x), CONC_INVALID);
        conc_iter_close(&g.iter);
        TOLD("finally ");
    }
}

static void within_itself(void) {
    int h, x = 0;
    conc_set_error_hook(hook, NULL);
    for (h = 0; h < 3; h++) {
        itself g = CONC_GEN_ZERO(itself);
        g.how = h;
        CHECK_OK(conc_next(&g.iter, &x));
        CHECK_OK(h == 0 ? conc_next(&g.iter, &x) : CONC_NEXT(itself, &g, &x));
        CHECK_R(g.r, CONC_INVALID);
        CHECK_EQ(x, 2);
        reports = 0;
        CHECK_R(conc_next(&g.iter, &x), CONC_INVALID); /* yields from itself, and so closes itself */
        CHECK_EQ(reports, 1);
        TOLD("finally ");
        CHECK_R(conc_next(&g.iter, &x), CONC_CLOSED);
    }
    conc_set_error_hook(NULL, NULL);
}

#if defined(CONC_DEBUG) && !CHECK_ASAN
CONC_GENERATOR(forgetful, int, int i;) {
    volatile int lost; /* not in the frame */
    CONC_BEGIN;
    lost = 7;
    for (self->i = 0; self->i < 3; self->i++) CONC_YIELD(lost);
    CONC_END;
}

static void lost_variables(void) {
    forgetful g = CONC_GEN_ZERO(forgetful);
    int x = 0;
    CHECK_OK(conc_next(&g.iter, &x));
    CHECK_EQ(x, 7);
    CHECK_OK(conc_next(&g.iter, &x));
    CHECK(x != 7); /* 0xA5A5A5A5, or what the compiler's own code left there */
    conc_iter_close(&g.iter);
}
#endif

/* A suspension in a switch of the body's own cannot be found again: the program ends, and says where. With computed gotos it
 * can. */
CONC_GENERATOR(in_switch, int) {
    CONC_BEGIN;
    switch ((int)self->thrown) {
    default: CONC_YIELD(1);
    }
    CONC_YIELD(2);
    CONC_END;
}

#if defined(CONC_COMPUTED_GOTO) && CONC_CC_GNU && !CONC_CC_TINY
static void wrong_resume(void) {
    int n = 0;
    CONC_FOR_GEN(in_switch, x) CHECK_EQ(x, ++n);
    CHECK_EQ(n, 2);
}
#elif !defined(_WIN32)
#include <sys/wait.h>
static void wrong_resume(void) {
    char said[500];
    int fd[2], status = 0, by_iterator;
    ssize_t n, all;
    for (by_iterator = 0; by_iterator < 2; by_iterator++) {
        pid_t pid;
        if (!CHECK(pipe(fd) == 0)) return;
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
            in_switch g = CONC_GEN_ZERO(in_switch);
            int x = 0;
            dup2(fd[1], 2);
            if (by_iterator) (void)conc_next(&g.iter, &x);
            else (void)CONC_NEXT(in_switch, &g, &x);
            (void)CONC_NEXT(in_switch, &g, &x);
            _exit(0);
        }
        close(fd[1]);
        for (all = 0; all < (ssize_t)sizeof said - 1; all += n) {
            n = read(fd[0], said + all, sizeof said - 1 - (size_t)all);
            if (n <= 0) break;
        }
        said[all] = '\0';
        close(fd[0]);
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        CHECK_HAS(said, "in_switch cannot be resumed at");
        CHECK_HAS(said, "test_gen.c:");
        CHECK_HAS(said, "switch");
    }
}
#else
static void wrong_resume(void) {
    in_switch g = CONC_GEN_ZERO(in_switch);
    conc_iter_close(&g.iter);
}
#endif

int main(void) {
    check_begin("gen");
    RUN(by_name);
    RUN(as_iterator);
    RUN(ways_to_end);
#if CONC_CC_GNU && !CONC_CC_TINY
    RUN(left);
#endif
    RUN(told);
    RUN(told_by_name);
    RUN(sending);
    RUN(throwing);
    RUN(trees);
    RUN(within_itself);
    RUN(wrong_resume);
#if defined(CONC_DEBUG) && !CHECK_ASAN
    if (getenv("LD_PRELOAD") == NULL) RUN(lost_variables); /* (valgrind would rightly complain) */
#endif
    return check_end();
}
