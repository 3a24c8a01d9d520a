/* threads.c: start a thread, wait for it, give it a name, make it a daemon.
 *
 * In Python:
 *     def greet(text): print(text, "from", current_thread().name)
 *     t = Thread(target=greet, args=("hello",), name="t1"); t.start(); t.join()
 *     Thread(target=ticker, daemon=True).start()      # ends with the program, wherever it is
 *     Thread(target=last_words).start()               # the program waits for this one
 *
 * Compile and run:  cc -I.. threads.c -pthread -o threads && ./threads
 *
 * Prints:
 *     hello from t1
 *     t1 returned 5
 *     tick 1
 *     tick 2
 *     tick 3
 *     last-words is alive: the deadline passed first
 *     main returns
 *     last-words has finished, so the program may end
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <string.h>

static conc_event ticked, main_returns; /* all zero is ready to use */

static int greet(void *arg) {
    const char *text = arg;
    printf("%s from %s\n", text, conc_thread_name(NULL));
    return (int)strlen(text);
}

/* Would tick for ever. It prints three times only, so that this program always prints the same. */
static int ticker(void *arg) {
    (void)arg;
    for (int n = 1; conc_sleep(conc_after(0.01)) == CONC_OK; n++) {
        if (n <= 3) printf("tick %d\n", n);
        if (n == 3) conc_event_set(&ticked);
    }
    return 0;
}

static int last_words(void *arg) {
    (void)arg;
    conc_event_wait(&main_returns, CONC_FOREVER);
    conc_sleep(conc_after(0.05)); /* long after main has returned */
    printf("%s has finished, so the program may end\n", conc_thread_name(NULL));
    return 0;
}

int main(void) {
    conc_thread *t1 = conc_thread_start(greet, "hello", &(conc_thread_desc){.name = "t1"});
    if (t1 == NULL) { /* this is how every constructor tells what went wrong */
        fprintf(stderr, "%s\n", conc_error_detail());
        return 1;
    }
    int returned;
    conc_thread_join(t1, &returned, CONC_FOREVER);
    printf("t1 returned %d\n", returned);

    conc_thread_start(ticker, NULL, &(conc_thread_desc){.name = "ticker", .daemon = true});
    conc_event_wait(&ticked, CONC_FOREVER);

    conc_thread *last = conc_thread_start(last_words, NULL, &(conc_thread_desc){.name = "last-words"});
    conc_result r = conc_thread_join(last, NULL, conc_after(0.01)); /* every wait has a deadline */
    printf("last-words %s: %s\n", conc_thread_is_alive(last) ? "is alive" : "has ended", conc_strerror(r));

    puts("main returns");
    conc_event_set(&main_returns);
    return 0;
}
