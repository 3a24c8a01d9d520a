/* mirrors.c: three mirrors are asked at once; the first answer counts, the others are canceled. And: give up in time.
 *
 * In Python:
 *     done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=1)
 *     for p in pending: p.cancel()
 *
 * Whoever is canceled gives back in its clean-up part, CO_FINALLY, what it has taken: a coroutine never just vanishes.
 * A time-out may stand around any block, with whatever waits are in it.
 *
 * Compile and run:  cc -I.. mirrors.c -pthread -o mirrors && ./mirrors
 *
 * Prints:
 *     asking the one in Oslo
 *     asking the one in Lima
 *     asking the one in Rome
 *     Lima answers first
 *     closed the connection to Oslo
 *     closed the connection to Rome
 *     asking the one in Atlantis
 *     closed the connection to Atlantis
 *     no answer in time
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

CONC_CORO(ask, const char *mirror; double seconds; bool answered;) {
    CO_BEGIN;
    printf("asking the one in %s\n", self->mirror);
    CO_AWAIT(conc_op_sleep(self->seconds)); /* as long as it takes */
    self->answered = true;
    CO_FINALLY;
    if (!self->answered) printf("closed the connection to %s\n", self->mirror);
    CO_END;
}

CONC_CORO(fetch, conc_task *tasks[3]; int i; conc_co_timeout limit;) {
    static const char *const mirrors[3] = {"Oslo", "Lima", "Rome"};
    static const double seconds[3] = {1000, 0.01, 2000};
    CO_BEGIN;
    for (self->i = 0; self->i < 3; self->i++) {
        self->tasks[self->i] =
            CONC_SPAWN(conc_loop_current(), ask, .mirror = mirrors[self->i], .seconds = seconds[self->i]);
    }
    CO_AWAIT(conc_op_task_ends(self->tasks, 3, 1)); /* one of the three */
    for (self->i = 0; self->i < 3; self->i++) {
        if (conc_task_has_ended(self->tasks[self->i])) printf("%s answers first\n", mirrors[self->i]);
        else conc_task_cancel(self->tasks[self->i]);
    }
    for (self->i = 0; self->i < 3; self->i++) CO_JOIN(self->tasks[self->i]); /* until they have cleaned up */

    CO_TIMEOUT(self->limit, 0.01) {
        CO_CALL(ask, .mirror = "Atlantis", .seconds = 3000); /* a call, as of a function: no task of its own */
        puts("never comes here");
    }
    if (self->limit.expired) puts("no answer in time");
    CO_END;
}

int main(void) {
    conc_loop *loop = conc_loop_new(NULL);
    CONC_GO(loop, fetch);
    conc_loop_run(loop, CONC_FOREVER);
    return conc_loop_free(loop) == CONC_OK ? 0 : 1;
}
