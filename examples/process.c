/* process.c: start a process, wait for it, give it a name, talk with it, make it a daemon.
 *
 * In Python:
 *     def work(n): print("sum up to", n); return sum(range(n + 1))    # and a Queue or a Pipe for the answer
 *     p = Process(target=work, args=(1000,), name="adder"); p.start(); p.join()
 *     Process(target=ticker, daemon=True).start()     # ends with the program, wherever it is
 *     Process(target=last_words).start()              # the program waits for this one
 *
 * Compile and run:  cc -I.. process.c -pthread -o process && ./process
 *
 * Prints:
 *     adder sums up to 1000
 *     the sum is 500500
 *     the echo says: hello
 *     echo returned 1
 *     process "crasher" was ended by a signal; here is all as it was: 41
 *     a process that sleeps: the deadline passed first
 *     main returns
 *     last-words has finished, so the program may end
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A task works on a copy of its argument's bytes, in place, and these come back. */
typedef struct job {
    long n, sum;
} job;

static int work(void *arg) {
    job *j = arg;
    printf("%s sums up to %ld\n", conc_process_name(NULL), j->n);
    for (long i = 1; i <= j->n; i++) j->sum += i;
    return 0;
}

/* Sends back what it receives, until there is nothing more. */
static int echo(void *arg) {
    conc_channel *parent = conc_process_channel(NULL);
    char text[64];
    size_t length;
    int count = 0;
    (void)arg;
    while (conc_channel_get(parent, text, sizeof text, &length, CONC_FOREVER) == CONC_OK) {
        if (length == 0) break;
        conc_channel_put(parent, text, length, CONC_FOREVER);
        count++;
    }
    return count;
}

static int crasher(void *arg) {
    *(int *)arg = 42;
    abort();
}

static int ticker(void *arg) {
    (void)arg;
    while (conc_sleep(conc_after(0.01)) == CONC_OK) {
    }
    return 0;
}

static int last_words(void *arg) {
    (void)arg;
    conc_sleep(conc_after(0.05)); /* long after main has returned */
    printf("%s has finished, so the program may end\n", conc_process_name(NULL));
    return 0;
}

int main(int argc, char **argv) {
    /* With these lines processes are spawned: the only way on Windows, and the safe one where there are threads. Without them they
     * are forked. */
    conc_process_register("work", work);
    conc_process_register("echo", echo);
    conc_process_register("crasher", crasher);
    conc_process_register("ticker", ticker);
    conc_process_register("last_words", last_words);
    conc_process_main(argc, argv);

    job j = {.n = 1000};
    conc_process *p = conc_process_start(work, &j, sizeof j, &(conc_process_desc){.name = "adder"});
    if (p == NULL) {
        fprintf(stderr, "%s\n", conc_error_detail());
        return 1;
    }
    int code;
    conc_process_join(p, &code, CONC_FOREVER);
    printf("the sum is %ld\n", j.sum);

    p = conc_process_start(echo, NULL, 0, &(conc_process_desc){.name = "echo", .channel = true});
    char text[64];
    size_t length = 0;
    conc_channel_put(conc_process_channel(p), "hello", 6, CONC_FOREVER);
    if (conc_channel_get(conc_process_channel(p), text, sizeof text, &length, CONC_FOREVER) == CONC_OK) {
        printf("the echo says: %s\n", text);
    }
    conc_channel_put(conc_process_channel(p), "", 0, CONC_FOREVER);
    conc_process_join(p, &code, CONC_FOREVER);
    printf("echo returned %d\n", code);

    int value = 41;
    p = conc_process_start(crasher, &value, sizeof value, &(conc_process_desc){.name = "crasher"});
    if (conc_process_join(p, &code, CONC_FOREVER) == CONC_CRASHED) { /* conc_error_detail() names the signal */
        printf("process \"crasher\" was ended by a signal; here is all as it was: %d\n", value);
    }

    p = conc_process_start(ticker, NULL, 0, &(conc_process_desc){.name = "ticker", .daemon = true});
    printf("a process that sleeps: %s\n", conc_strerror(conc_process_join(p, NULL, conc_after(0.03))));

    conc_process_start(last_words, NULL, 0, &(conc_process_desc){.name = "last-words"});
    puts("main returns");
    return 0;
}
