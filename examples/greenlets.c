/* greenlets.c: three coroutines that sleep now and then; join_all waits for all of them.
 *
 * In Python, with gevent:
 *     def f(n):
 *         for i in range(n):
 *             print(gevent.getcurrent(), i)
 *             gevent.sleep(0.1)
 *     g1 = gevent.spawn(f, 3); g2 = gevent.spawn(f, 3); g3 = gevent.spawn(f, 3)
 *     gevent.joinall([g1, g2, g3])
 *
 * gevent replaces the blocking calls of Python's library behind its back; here a wait in a coroutine is written as
 * one: CO_AWAIT. The three sleep at the same time, so it takes 3 times the sleep, and not 9 times.
 *
 * Compile and run:  cc -I.. greenlets.c -pthread -o greenlets && ./greenlets
 *
 * Prints:
 *     g1 0
 *     g2 0
 *     g3 0
 *     g1 1
 *     g2 1
 *     g3 1
 *     g1 2
 *     g2 2
 *     g3 2
 *     joined: 3 3 3
 *     they slept side by side
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

CONC_CORO(f, int n; int i;) {
    CO_BEGIN;
    for (self->i = 0; self->i < self->n; self->i++) {
        printf("%s %d\n", conc_task_name(conc_task_current()), self->i);
        CO_AWAIT(conc_op_sleep(0.1));
    }
    CO_RETURN(self->i); /* the task's code: who joins it is told */
    CO_END;
}

int main(void) {
    conc_loop *loop = conc_loop_new(NULL);
    double begun = conc_clock();
    conc_task *g[3];
    int code[3];
    g[0] = CONC_SPAWN_EX(loop, (&(conc_task_desc){.name = "g1"}), f, .n = 3);
    g[1] = CONC_SPAWN_EX(loop, (&(conc_task_desc){.name = "g2"}), f, .n = 3);
    g[2] = CONC_SPAWN_EX(loop, (&(conc_task_desc){.name = "g3"}), f, .n = 3);
    if (g[0] == NULL || g[1] == NULL || g[2] == NULL) return 1;

    conc_task_join_all(g, 3, 0, CONC_FOREVER); /* nobody runs the loop, so this does; 0: all of them */
    for (int i = 0; i < 3; i++) conc_task_join(g[i], &code[i], CONC_FOREVER); /* gives the handle back */
    printf("joined: %d %d %d\n", code[0], code[1], code[2]);
    puts(conc_clock() - begun < 0.9 ? "they slept side by side" : "they slept one after the other");
    return conc_loop_free(loop) == CONC_OK ? 0 : 1;
}
