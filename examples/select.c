/* select.c: wait for the first of several things: here for two queues, and not longer than a deadline.
 *
 * Python's queues cannot do that. Go can:
 *     select {
 *     case w, ok := <-words: ...
 *     case n, ok := <-numbers: ...
 *     case <-time.After(50 * time.Millisecond): ...
 *     }
 *
 * Compile and run:  cc -I.. select.c -pthread -o select && ./select
 *
 * Prints:
 *     word    one
 *     number  1
 *     number  2
 *     word    hush
 *     nothing for a while
 *     word    two
 *     no more words
 *     number  3
 *     no more numbers
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <string.h>

static conc_queue *words, *numbers;
static conc_event go_on;

static void word(const char *w) {
    conc_queue_put(words, &w, CONC_FOREVER);
}

static void number(int n) {
    conc_queue_put(numbers, &n, CONC_FOREVER);
}

/* Both queues are hand-offs: a put returns when its item has been taken. So main gets them in this order,
 * though it does not know from which queue the next will come. */
static int speak(void *arg) {
    (void)arg;
    word("one");
    number(1);
    number(2);
    word("hush");
    conc_event_wait(&go_on, CONC_FOREVER); /* says nothing until somebody gets impatient */
    word("two");
    conc_queue_close(words);
    number(3);
    conc_queue_close(numbers);
    return 0;
}

int main(void) {
    conc_queue_desc hand_off = {.kind = CONC_HANDOFF};
    words = conc_queue_new_ex(sizeof(const char *), 0, &hand_off);
    numbers = conc_queue_new_ex(sizeof(int), 0, &hand_off);
    conc_thread *t = conc_thread_start(speak, NULL, NULL);
    if (t == NULL) return 1;

    const char *w;
    int n;
    bool words_open = true, numbers_open = true;
    conc_deadline until = CONC_FOREVER;
    while (words_open || numbers_open) {
        /* A closed queue always has its answer ready; in its place goes something that never happens. */
        conc_op ops[2] = {words_open ? conc_op_get(words, &w) : conc_op_until(CONC_FOREVER),
                          numbers_open ? conc_op_get(numbers, &n) : conc_op_until(CONC_FOREVER)};
        switch (conc_select(ops, 2, until)) {
        case 0:
            words_open = ops[0].result == CONC_OK;
            if (words_open) printf("word    %s\n", w);
            else puts("no more words");
            if (words_open && strcmp(w, "hush") == 0) until = conc_after(0.05);
            break;
        case 1:
            numbers_open = ops[1].result == CONC_OK;
            if (numbers_open) printf("number  %d\n", n);
            else puts("no more numbers");
            break;
        case CONC_TIMEOUT:
            puts("nothing for a while");
            until = CONC_FOREVER;
            conc_event_set(&go_on);
            break;
        default:
            fprintf(stderr, "%s\n", conc_error_detail());
            return 1;
        }
    }
    conc_thread_join(t, NULL, CONC_FOREVER);
    conc_queue_free(words);
    conc_queue_free(numbers);
    return 0;
}
