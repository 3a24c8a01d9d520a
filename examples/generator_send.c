/* generator_send.c: values go into a generator too, and errors.
 *
 * In Python:
 *     def create_num(all_num):
 *         ...
 *         while current_num < all_num:
 *             ret = yield a
 *             print(">>>ret>>>>", ret)
 *             ...
 *     obj = create_num(10)
 *     print(next(obj)); print(obj.send("hahahha")); print(next(obj)); obj.throw(...); obj.close()
 *
 * Compile and run:  cc -I.. generator_send.c -pthread -o generator_send && ./generator_send
 *
 * Prints:
 *     sent too early: invalid argument or wrong use
 *     0
 *     >>>ret>>>> hahahha
 *     1
 *     >>>ret>>>> None
 *     1
 *     >>>caught>>>> canceled by its token
 *     2
 *     cleaned up
 *     closed: nothing more will come
 *     averages: 10 15 14
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

/* Yields long, is sent const char *. */
CONC_GENERATOR_SEND(fibonacci, long, const char *, int n, i; long a, b;) {
    CONC_BEGIN;
    self->b = 1;
    for (self->i = 0; self->i < self->n; self->i++) {
        CONC_TRY_YIELD(self->a); /* a plain CONC_YIELD would not catch what is thrown, and end it */
        if (self->thrown != CONC_OK) printf(">>>caught>>>> %s\n", conc_strerror(self->thrown));
        else printf(">>>ret>>>> %s\n", self->was_sent ? self->sent : "None");
        long next = self->a + self->b;
        self->a = self->b;
        self->b = next;
    }
    CONC_FINALLY; /* at the end, after an error that was not caught, when it is closed */
    puts("cleaned up");
    CONC_END;
}

/* The average of all that it was sent. */
CONC_GENERATOR_SEND(averager, double, double, double sum; int n;) {
    CONC_BEGIN;
    for (;;) {
        CONC_YIELD(self->n > 0 ? self->sum / self->n : 0);
        if (!self->was_sent) continue;
        self->sum += self->sent;
        self->n++;
    }
    CONC_END;
}

int main(void) {
    long x = 0;
    double average = 0;
    fibonacci f = CONC_GEN(fibonacci, .n = 10);
    averager a = CONC_GEN(averager);
    conc_result r = CONC_SEND(fibonacci, &f, "hello", &x); /* no yield is there yet to receive it */
    printf("sent too early: %s\n", conc_strerror(r));
    if (CONC_NEXT(fibonacci, &f, &x) == CONC_OK) printf("%ld\n", x);
    if (CONC_SEND(fibonacci, &f, "hahahha", &x) == CONC_OK) printf("%ld\n", x);
    if (CONC_NEXT(fibonacci, &f, &x) == CONC_OK) printf("%ld\n", x);
    if (CONC_THROW(fibonacci, &f, CONC_CANCELED, &x) == CONC_OK) printf("%ld\n", x);
    conc_iter_close(&f.iter);
    puts(conc_strerror(CONC_NEXT(fibonacci, &f, &x)));

    printf("averages:");
    if (CONC_NEXT(averager, &a, &average) != CONC_OK) return 1;
    for (int i = 0; i < 3; i++) {
        static const double values[3] = {10, 20, 12};
        if (CONC_SEND(averager, &a, values[i], &average) == CONC_OK) printf(" %g", average);
    }
    puts("");
    return 0;
}
