/* local.c: a value that each thread has for itself.
 *
 * In Python:
 *     local = threading.local()
 *     local.student = name           # every thread sees its own
 *
 * The classic use in C: a function that returns a pointer to its own buffer, as asctime does, but so that two
 * threads that call it at the same time do not write over each other's answer.
 *
 * Compile and run:  cc -I.. local.c -pthread -o local && ./local
 *
 * Prints:
 *     first says 4 is IV
 *     second says 1987 is MCMLXXXVII
 *     2 buffers made, 2 freed
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int made, freed;      /* guarded by count_lock */
static conc_mutex count_lock;

static void destroy(void *buffer) { /* called at the end of each thread that has one */
    free(buffer);
    CONC_WITH_LOCK(&count_lock) freed++;
}

static conc_local buffers = {.destroy = destroy};

/* `n` in Roman numerals; valid until the calling thread's next call. */
static const char *roman(int n) {
    static const int value[] = {1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1};
    static const char *digit[] = {"M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"};
    char *buffer = conc_local_get(&buffers); /* NULL at a thread's first call */
    if (buffer == NULL) {
        buffer = malloc(16); /* long enough up to 3999 */
        if (buffer == NULL || conc_local_set(&buffers, buffer) != CONC_OK) abort();
        CONC_WITH_LOCK(&count_lock) made++;
    }
    buffer[0] = '\0';
    for (int i = 0; i < 13; i++)
        for (; n >= value[i]; n -= value[i]) strcat(buffer, digit[i]);
    return buffer;
}

static conc_barrier both = {.parties = 2};

typedef struct question {
    int number;
    char reply[64];
} question;

static int ask(void *arg) {
    question *q = arg;
    const char *answer = roman(q->number);
    conc_barrier_wait(&both, NULL, CONC_FOREVER); /* both have called it before either reads its answer */
    snprintf(q->reply, sizeof q->reply, "%s says %d is %s", conc_thread_name(NULL), q->number, answer);
    return 0;
}

int main(void) {
    question q[2] = {{.number = 4}, {.number = 1987}};
    conc_thread *t[2];
    t[0] = conc_thread_start(ask, &q[0], &(conc_thread_desc){.name = "first"});
    t[1] = conc_thread_start(ask, &q[1], &(conc_thread_desc){.name = "second"});
    for (int i = 0; i < 2; i++)
        if (conc_thread_join(t[i], NULL, CONC_FOREVER) != CONC_OK) return 1;
    printf("%s\n%s\n", q[0].reply, q[1].reply);
    printf("%d buffers made, %d freed\n", made, freed);
    return 0;
}
