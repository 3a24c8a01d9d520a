/* rejection.c: what becomes of a task that a pool has no place for: the six answers.
 *
 * The pool has one thread, a second one if need be, and a queue for two tasks. Six tasks, A to F, are handed in;
 * none ends before a gate opens. So A gets the first thread, B and C wait in the queue, D, as that is full, gets
 * the second thread, and E and F find no place. In Java these are the RejectedExecutionHandlers; in Python a pool's
 * queue has no bound, and fills the memory.
 *
 * Compile and run:  cc -I.. rejection.c -pthread -o rejection && ./rejection
 *
 * Prints:
 *                       A         B         C         D         E         F
 *     abort             pool      pool      pool      pool      rejected  rejected
 *     discard           pool      pool      pool      pool      dropped   dropped
 *     discard oldest    pool      dropped   dropped   pool      pool      pool
 *     caller runs       pool      pool      pool      pool      main      main
 *     block             pool      pool      pool      pool      timeout   pool
 *     our own handler   pool      pool      pool      pool      spare     spare
 *     what abort says: pool full: "pool" has 2 threads, none of them idle, and 2 tasks in its queue
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { A, B, C, D, E, F, TASKS };

static const char *fate[TASKS]; /* of each task: who has run it, or why nobody has */
static conc_event gate;
static conc_pool *spare;
static char sentence[256];

static int task(void *arg) {
    const char **my_fate = arg;
    if (conc_thread_current() == conc_thread_main()) { /* it is main who opens the gate: here it cannot wait */
        *my_fate = "main";
    } else {
        conc_event_wait(&gate, CONC_FOREVER);
        *my_fate = conc_pool_current() == spare ? "spare" : "pool";
    }
    return 0;
}

static int open_gate(void *arg) {
    (void)arg;
    conc_event_set(&gate);
    return 0;
}

static void dropped(conc_fn fn, void *arg, void *user) { /* told of what the caller is not told of */
    (void)fn, (void)user;
    *(const char **)arg = "dropped";
}

static conc_result to_spare(conc_pool *pool, conc_fn fn, void *arg, void *user) {
    (void)pool, (void)user;
    return conc_pool_run(spare, fn, arg); /* CONC_OK: it has been taken care of */
}

static void end(conc_pool *pool) {
    conc_pool_finish(pool);
}

static void show(const char *title, conc_pool_desc desc) {
    desc.core_threads = 1;
    desc.max_threads = 2;
    desc.queue_capacity = 2;
    desc.dropped = dropped;
    conc_pool *pool = conc_pool_new(&desc);
    bool blocks = desc.on_reject == CONC_REJECT_BLOCK;
    conc_event_reset(&gate);
    for (int i = A; i < TASKS; i++) {
        conc_pool_task how = {.until = conc_after(i == E ? 0.02 : 60)}; /* so long it would wait for room */
        if (blocks && i == F) conc_timer_release(conc_timer_start(open_gate, NULL, conc_after(0.02)));
        conc_result r = conc_pool_run_ex(pool, task, &fate[i], &how);
        if (r == CONC_OK) continue;
        fate[i] = r == CONC_TIMEOUT ? "timeout" : r == CONC_REJECTED ? "rejected" : conc_strerror(r);
        if (r == CONC_REJECTED) snprintf(sentence, sizeof sentence, "%s", conc_error_detail());
    }
    conc_event_set(&gate);
    end(pool);
    if (spare != NULL) end(spare);

    printf("%-16s", title);
    for (int i = A; i < TASKS; i++) printf("  %-*s", i < F ? 8 : 0, fate[i]);
    puts("");
}

int main(void) {
    puts("                  A         B         C         D         E         F");
    show("abort", (conc_pool_desc){.on_reject = CONC_REJECT_ABORT}); /* the default */
    show("discard", (conc_pool_desc){.on_reject = CONC_REJECT_DISCARD});
    show("discard oldest", (conc_pool_desc){.on_reject = CONC_REJECT_DISCARD_OLDEST});
    show("caller runs", (conc_pool_desc){.on_reject = CONC_REJECT_CALLER_RUNS});
    show("block", (conc_pool_desc){.on_reject = CONC_REJECT_BLOCK});
    spare = conc_pool_new(&(conc_pool_desc){.name = "spare", .core_threads = 1});
    show("our own handler", (conc_pool_desc){.reject = to_spare});
    printf("what abort says: %s\n", sentence);
    return 0;
}
