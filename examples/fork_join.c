/* fork_join.c: in how many ways can 12 queens stand on a board of 12 by 12, so that none attacks another?
 *
 * A recursion with a branch for each place that the next queen may take; each branch is forked, and joined again.
 * In Java:
 *     class Place extends RecursiveTask<Long> {
 *         protected Long compute() {
 *             ... if (depth > LIMIT) return solveSerially(); ...     // a fork costs an object and a queue's access
 *             for (Place next : places) next.fork();
 *             for (Place next : places) count += next.join(); ...
 *
 * Here no limit is needed: a fork costs a few nanoseconds, as long as no other thread has come for the branch, so
 * every node of the tree, and there are nearly a million, may be a job. Outside of a pool, conc_job_fork() simply calls
 * the function: so place() is the serial version, too.
 *
 * Compile and run:  cc -O2 -I.. fork_join.c -pthread -o fork_join && ./fork_join
 *
 * Prints (each time is another one):
 *     one thread:     14200 ways in ... s
 *     all processors: 14200 ways in ... s
 *     ... times as fast
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

enum { N = 12 };

typedef struct board {
    unsigned columns, left, right; /* a bit for each column that is taken, or attacked slantwise, in the next row */
    int row;
    long ways;
} board;

static int place(void *arg) {
    board *b = arg, next[N];
    conc_job jobs[N];
    int n = 0;
    b->ways = b->row == N;
    for (int i = 0; b->row < N && i < N; i++) {
        unsigned queen = 1u << i;
        if (((b->columns | b->left | b->right) & queen) != 0) continue;
        next[n].columns = b->columns | queen;
        next[n].left = (b->left | queen) << 1;
        next[n].right = (b->right | queen) >> 1;
        next[n].row = b->row + 1;
        conc_job_fork(&jobs[n], place, &next[n]);
        n++;
    }
    while (n-- > 0) { /* the last first: the others may still be fetched by somebody */
        conc_job_join(&jobs[n]);
        b->ways += next[n].ways;
    }
    return 0;
}

int main(void) {
    board one = {0, 0, 0, 0, 0}, all = {0, 0, 0, 0, 0};
    conc_pool *pool = conc_pool_new(NULL);
    if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;

    double begun = conc_clock();
    place(&one);
    double serial = conc_clock() - begun;
    printf("one thread:     %ld ways in %.3f s\n", one.ways, serial);

    begun = conc_clock();
    conc_result r = conc_pool_call(pool, place, &all, NULL); /* this thread takes part */
    double parallel = conc_clock() - begun;
    printf("all processors: %ld ways in %.3f s\n", all.ways, parallel);
    printf("%.2f times as fast\n", serial / parallel);

    conc_pool_finish(pool);
    return r == CONC_OK && one.ways == all.ways ? 0 : 1;
}
