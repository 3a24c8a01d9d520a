/* sieve.c: primes by a chain of coroutines; each lets through what its own prime does not divide.
 *
 * In Go:
 *     func filter(in, out chan int, prime int) {
 *         for { i := <-in; if i % prime != 0 { out <- i } }
 *     }
 *     go generate(ch)
 *     for i := 0; i < 15; i++ {
 *         prime := <-ch
 *         print(prime)
 *         ch1 := make(chan int); go filter(ch, ch1, prime); ch = ch1
 *     }
 *
 * A channel of Go is a hand-off queue here: a put completes when a get takes the item. (The idea is Tony Hoare's and
 * Doug McIlroy's.) At the end the tasks are canceled: each is in the middle of a wait, and ends there.
 *
 * Compile and run:  cc -I.. sieve.c -pthread -o sieve && ./sieve
 *
 * Prints:
 *     2 3 5 7 11 13 17 19 23 29 31 37 41 43 47
 *     15 filters and a generator were canceled
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { PRIMES = 15 };
static conc_queue *channels[PRIMES + 1];
static int canceled;

static conc_queue *channel(void) {
    return conc_queue_new_ex(sizeof(int), 0, &(conc_queue_desc){.kind = CONC_HANDOFF});
}

CONC_CORO(generate, conc_queue *out; int i;) { /* 2, 3, 4 ... */
    CO_BEGIN;
    for (self->i = 2;; self->i++) CO_AWAIT(conc_op_put(self->out, &self->i));
    CO_FINALLY; /* here go all ways out, a cancel too */
    canceled++;
    CO_END;
}

CONC_CORO(filter, conc_queue *in, *out; int prime, i;) {
    CO_BEGIN;
    for (;;) {
        CO_AWAIT(conc_op_get(self->in, &self->i));
        if (self->i % self->prime != 0) CO_AWAIT(conc_op_put(self->out, &self->i));
    }
    CO_FINALLY;
    canceled++;
    CO_END;
}

CONC_CORO(sieve, int n, prime;) {
    CO_BEGIN;
    CONC_GO(conc_loop_current(), generate, .out = channels[0]);
    for (self->n = 0; self->n < PRIMES; self->n++) {
        CO_AWAIT(conc_op_get(channels[self->n], &self->prime));
        printf(self->n == 0 ? "%d" : " %d", self->prime);
        CONC_GO(conc_loop_current(), filter, .in = channels[self->n], .out = channels[self->n + 1], .prime = self->prime);
    }
    puts("");
    conc_loop_cancel(conc_loop_current()); /* all its tasks */
    CO_END;
}

int main(void) {
    conc_loop *loop = conc_loop_new(NULL);
    for (int i = 0; i <= PRIMES; i++) {
        if ((channels[i] = channel()) == NULL) return 1;
    }
    CONC_GO(loop, sieve);
    conc_loop_run(loop, CONC_FOREVER);
    printf("%d filters and a generator were canceled\n", canceled - 1);
    for (int i = 0; i <= PRIMES; i++) conc_queue_free(channels[i]);
    return conc_loop_free(loop) == CONC_OK ? 0 : 1;
}
