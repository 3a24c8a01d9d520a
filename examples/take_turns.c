/* take_turns.c: two things at once in one thread: each yields when the other one may go on.
 *
 * In Python:
 *     def task_1():
 *         while True: print("---1----"); time.sleep(0.1); yield
 *     def task_2():
 *         while True: print("---2----"); time.sleep(0.1); yield
 *     t1 = task_1(); t2 = task_2()
 *     while True: next(t1); next(t2)
 *
 * Compile and run:  cc -I.. take_turns.c -pthread -o take_turns && ./take_turns
 *
 * Prints:
 *     ---1---- 
 *     ---2---- 
 *     ---1---- 
 *     ---2---- 
 *     ---1---- 
 *     ---2---- 
 *     ---2---- 
 *     both have ended
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

CONC_GENERATOR(task, int, const char *text; int i, times;) {
    CONC_BEGIN;
    for (self->i = 0; self->i < self->times; self->i++) {
        printf("%s \n", self->text);
        conc_sleep(conc_after(0.01));
        CONC_YIELD(self->i);
    }
    CONC_END;
}

int main(void) {
    task t1 = CONC_GEN(task, .text = "---1----", .times = 3), t2 = CONC_GEN(task, .text = "---2----", .times = 4);
    int x;
    bool more1 = true, more2 = true;
    while (more1 || more2) {
        if (more1) more1 = CONC_NEXT(task, &t1, &x) == CONC_OK;
        if (more2) more2 = CONC_NEXT(task, &t2, &x) == CONC_OK;
    }
    puts("both have ended");
    return 0;
}
