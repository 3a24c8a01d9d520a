/* cancel.c: one token ends every wait of the threads that run under it, whatever they wait for.
 *
 * Python's threads cannot be interrupted; one asks a flag now and then:
 *     while not stop.is_set(): ...
 * but that does not wake the one that sits in q.get(). Here it does.
 *
 * Compile and run:  cc -I.. cancel.c -pthread -o cancel && ./cancel
 *
 * Prints:
 *     an empty queue: canceled by its token
 *     an hour's sleep: canceled by its token
 *     a lock that main holds: canceled by its token
 *     a loop that never waits: canceled by its token
 *     after that, in main: 0.01 s of sleep: ok
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static conc_queue *queue;
static conc_mutex lock;
static conc_cancel token;             /* all zero: not fired */
static conc_latch begun = CONC_LATCH_INIT(4); /* counts down to zero */

/* Each thread's own error code is what its wait said. */

static int from_queue(void *arg) {
    (void)arg;
    int n;
    conc_latch_done(&begun);
    return conc_queue_get(queue, &n, CONC_FOREVER);
}

static int sleeping(void *arg) {
    (void)arg;
    conc_latch_done(&begun);
    return conc_sleep(conc_after(3600));
}

static int locking(void *arg) {
    (void)arg;
    conc_latch_done(&begun);
    return conc_mutex_lock(&lock, CONC_FOREVER);
}

static int computing(void *arg) {
    (void)arg;
    conc_latch_done(&begun);
    while (conc_canceled() == CONC_OK) conc_thread_yield(); /* a loop that never waits has to ask */
    return conc_canceled();
}

int main(void) {
    static const struct {
        const char *what;
        conc_fn fn;
    } waits[4] = {{"an empty queue", from_queue},
                  {"an hour's sleep", sleeping},
                  {"a lock that main holds", locking},
                  {"a loop that never waits", computing}};
    conc_thread *t[4];
    queue = conc_queue_new(sizeof(int), 0);
    CONC_WITH_LOCK(&lock) {
        for (int i = 0; i < 4; i++) {
            t[i] = conc_thread_start(waits[i].fn, NULL, &(conc_thread_desc){.cancel = &token});
            if (t[i] == NULL) return 1;
        }
        conc_latch_wait(&begun, CONC_FOREVER);
        conc_cancel_fire(&token); /* from any thread; a second time is harmless */
        for (int i = 0; i < 4; i++) {
            int r;
            conc_thread_join(t[i], &r, CONC_FOREVER);
            printf("%s: %s\n", waits[i].what, conc_strerror((conc_result)r));
        }
    }
    /* main does not run under the token */
    printf("after that, in main: 0.01 s of sleep: %s\n", conc_strerror(conc_sleep(conc_after(0.01))));
    conc_queue_free(queue);
    return 0;
}
