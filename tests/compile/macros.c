/* Every public macro, alone, nested in itself and in the others, left in every way. Runs, in C and in C++, and
 * returns 0; otherwise the line of the first check that failed is printed. */
#define CONC_IMPLEMENTATION
#include "../../conc.h"

#include <stdio.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            printf("macros.c:%d: not so: %s\n", __LINE__, #x);                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

static conc_mutex a, b;
static conc_rmutex r;
static conc_rwlock l;
static conc_cancel token;
static conc_semaphore two = CONC_SEMAPHORE_INIT(2, 3);
static conc_latch one = CONC_LATCH_INIT(1);

static bool all_free(void) {
    bool is_free = conc_mutex_destroy(&a) == CONC_OK && conc_mutex_destroy(&b) == CONC_OK &&
                   conc_rmutex_destroy(&r) == CONC_OK && conc_rwlock_destroy(&l) == CONC_OK;
    return is_free && conc_cancel_current() == NULL;
}

static int nested(void) {
    int runs = 0;
    CONC_WITH_LOCK(&a) {
        CHECK(conc_mutex_is_mine(&a));
        CONC_WITH_LOCK(&b) {
            CONC_WITH_RLOCK(&r) {
                CONC_WITH_RLOCK(&r) {
                    CONC_WITH_READ_LOCK(&l) {
                        CONC_WITH_CANCEL(&token) {
                            CHECK(conc_cancel_current() == &token);
                            CONC_WITH_CANCEL(NULL) {
                                CHECK(conc_cancel_current() == NULL);
                                runs++;
                            }
                            CHECK(conc_cancel_current() == &token);
                        }
                    }
                    CONC_WITH_WRITE_LOCK(&l) {
                        runs++;
                    }
                }
            }
        }
        CHECK(conc_mutex_destroy(&b) == CONC_OK);
    }
    CHECK(runs == 2);
    CHECK(all_free());

    /* without braces, on one line, as the body of an if that has an else */
    CONC_WITH_LOCK(&a) CONC_WITH_LOCK(&b) CONC_WITH_RLOCK(&r) runs++;
    CHECK(runs == 3);
    if (runs == 3)
        CONC_WITH_LOCK(&a) runs++;
    else
        runs = 100;
    CHECK(runs == 4);
    CHECK(all_free());
    return 0;
}

/* break and continue leave the block, not a loop around it. */
static int left_early(void) {
    int i, before = 0, after = 0, past = 0;
    for (i = 0; i < 4; i++) {
        CONC_WITH_LOCK(&a) {
            before++;
            if (i == 1) break;
            if (i == 2) continue;
            after++;
        }
        CHECK(!conc_mutex_is_mine(&a));
        CONC_WITH_WRITE_LOCK(&l) {
            CONC_WITH_RLOCK(&r) {
                if (i == 1) break;
                after += 10;
            }
            if (i == 2) continue;
            after += 100;
        }
        past++;
    }
    CHECK(before == 4 && past == 4);
    CHECK(after == 2 + 30 + 300);
    CHECK(all_free());
    return 0;
}

#if CONC_CC_GNU
static int left_by_return(void) {
    CONC_WITH_LOCK(&a) {
        CONC_WITH_READ_LOCK(&l) {
            CONC_WITH_CANCEL(&token) {
                return 7;
            }
        }
    }
    return 0;
}

static int left_by_goto(void) {
    CONC_WITH_LOCK(&a) {
        CONC_WITH_RLOCK(&r) goto out;
    }
    return 0;
out:
    return 8;
}
#endif

static int queues(void) {
    conc_queue *q = conc_queue_new(sizeof(long), 4), *p = conc_queue_new(sizeof(long), 4);
    long i, many[3] = { 10, 20, 30 }, sum = 0;
    size_t moved = 0;
    conc_op ops[2];
    CHECK(q != NULL && p != NULL);
    for (i = 1; i <= 2; i++) CHECK(conc_queue_put(q, &i, CONC_NOW) == CONC_OK);
    CHECK(conc_try(conc_op_put(q, &i)) == CONC_OK);
    CHECK(conc_queue_put_many(p, many, 3, &moved, CONC_FOREVER) == CONC_OK && moved == 3);
    CHECK(conc_queue_get_many(p, many, 2, &moved, CONC_NOW) == CONC_OK && moved == 2);
    ops[0] = conc_op_until(CONC_FOREVER);
    ops[1] = conc_op_get(p, &i);
    CHECK(conc_select(ops, 2, CONC_FOREVER) == 1 && i == 30);
    for (i = 1; i <= 2; i++) CHECK(conc_queue_put(p, &i, CONC_NOW) == CONC_OK);
    CHECK(conc_queue_close(q) == CONC_OK && conc_queue_close(p) == CONC_OK);
    CHECK(conc_queue_get(q, &i, CONC_NOW) == CONC_OK && i == 1);
    CONC_FOR_QUEUE(long, x, q) {
        CONC_WITH_LOCK(&a) CONC_FOR_QUEUE(long, y, p) sum += 100 * x + y;
        if (x == 2) continue;
        sum += 1000;
    }
    CHECK(sum == 201 + 202 + 1000);
    CHECK(conc_queue_free(q) == CONC_OK && conc_queue_free(p) == CONC_OK);
    return 0;
}

static int addresses(void) {
    char text[CONC_ADDRESS_TEXT];
    conc_address address;
    CHECK(conc_address_parse("[::1]:80", 0, &address) == CONC_OK);
    CHECK(conc_address_text(&address, text, sizeof text) == text && text[1] == ':');
    return 0;
}

static int values(void) {
    size_t woken = CONC_ALL;
    int n = 0;
    CHECK(conc_semaphore_permits(&two) == 2 && two.max == 3 && conc_latch_count(&one) == 1);
    CHECK(woken > 0 && CONC_CANCEL_DEPTH > 1);
    CHECK(CONC_FOREVER.ns > CONC_NOW.ns);
#define COUNT(name, value, text) n++;
    CONC_RESULTS(COUNT)
    CHECK(n > 10);
    CHECK(CONC_VERSION[0] != 0 && CONC_VERSION_MAJOR + CONC_VERSION_MINOR + CONC_VERSION_PATCH > 0);
    CHECK(CONC_OS_WINDOWS + CONC_OS_LINUX + CONC_OS_MACOS <= 1);
    CHECK(CONC_CC_GNU + CONC_CC_MSVC + CONC_CC_TINY >= 1);
    return 0;
}

CONC_API CONC_MUST_CHECK int marked(void); /* CONC_API, CONC_MUST_CHECK */
int marked(void) {
    return 0;
}

int main(void) {
    if (nested() || left_early() || queues() || addresses() || values() || marked()) return 1;
#if CONC_CC_GNU
    CHECK(left_by_return() == 7 && all_free());
    CHECK(left_by_goto() == 8 && all_free());
#endif
    return 0;
}
