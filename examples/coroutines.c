/* coroutines.c: two coroutines that take turns, in one thread.
 *
 * In Python:
 *     async def task(name):
 *         for i in range(3):
 *             print(f"---{name}---")
 *             await asyncio.sleep(0)      # the other one may go on
 *     async def main(): await asyncio.gather(task(1), task(2))
 *     asyncio.run(main())
 *
 * A coroutine's local variables live in its frame: what must survive a suspension is declared with it, and is self->i
 * in it. CO_YIELD lets the others run; so does every wait (CO_AWAIT) that really has to wait.
 *
 * Compile and run:  cc -I.. coroutines.c -pthread -o coroutines && ./coroutines
 *
 * Prints:
 *     ---1---
 *     ---2---
 *     ---1---
 *     ---2---
 *     ---1---
 *     ---2---
 *     both have ended
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

CONC_CORO(task, int number; int i;) {
    CO_BEGIN;
    for (self->i = 0; self->i < 3; self->i++) {
        printf("---%d---\n", self->number);
        CO_YIELD;
    }
    CO_END;
}

int main(void) {
    conc_loop *loop = conc_loop_new(NULL); /* runs coroutines as tasks */
    CONC_GO(loop, task, .number = 1);
    CONC_GO(loop, task, .number = 2);
    conc_loop_run(loop, CONC_FOREVER); /* until all its tasks have ended */
    puts("both have ended");
    return conc_loop_free(loop) == CONC_OK ? 0 : 1;
}
