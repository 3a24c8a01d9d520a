/* parallel_sort.c: the C library's qsort(), and the same by all processors.
 *
 * Without an argument it sorts numbers; with one, the lines of that file, and prints them, as LC_ALL=C sort(1) does.
 *
 * Compile and run:  cc -O2 -I.. parallel_sort.c -pthread -o parallel_sort && ./parallel_sort
 * Usage:            parallel_sort [FILE]
 *
 * Prints (each time is another one; with a FILE, this goes to stderr):
 *     400000 items
 *     qsort():        ... s
 *     all processors: ... s
 *     ... times as fast
 *     the same order
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*comparison)(const void *a, const void *b);

static void *need(void *memory) {
    if (memory != NULL) return memory;
    fputs("parallel_sort: out of memory\n", stderr);
    exit(2);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts n items, in parallel, and a copy of them with qsort(). Says how long both take, and whether they agree. */
static bool sort_and_compare(void *items, size_t n, size_t size, comparison compare, FILE *report) {
    conc_pool *pool = conc_pool_new(NULL);
    char *copy = need(malloc(n * size + 1)), *sorted = items;
    if (pool == NULL) need(NULL);
    memcpy(copy, items, n * size);
    fprintf(report, "%zu items\n", n);

    double begun = conc_clock();
    qsort(copy, n, size, compare);
    double serial = conc_clock() - begun;
    fprintf(report, "qsort():        %.3f s\n", serial);

    begun = conc_clock();
    bool same = conc_pool_sort(pool, items, n, size, compare) == CONC_OK;
    double parallel = conc_clock() - begun;
    fprintf(report, "all processors: %.3f s\n%.2f times as fast\n", parallel, serial / parallel);

    for (size_t i = 0; i < n * size; i += size) same = same && compare(sorted + i, copy + i) == 0;
    fputs(same ? "the same order\n" : "NOT the same order\n", report);
    conc_pool_finish(pool);
    free(copy);
    return same;
}

static bool numbers(size_t n) {
    uint64_t *items = need(malloc(n * sizeof *items)), random = 88172645463325252u;
    for (size_t i = 0; i < n; i++) { /* G. Marsaglia, "Xorshift RNGs", 2003 */
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        items[i] = random;
    }
    bool same = sort_and_compare(items, n, sizeof *items, by_value, stdout);
    free(items);
    return same;
}

static bool lines(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = NULL, **items = NULL;
    size_t used = 0, room = 0, n = 0, got;
    if (f == NULL) return perror(path), false;
    do {
        if (room - used < 4096) text = need(realloc(text, room = 2 * room + 65536));
        used += got = fread(text + used, 1, room - used - 1, f);
    } while (got > 0);
    if (ferror(f)) return perror(path), false;
    fclose(f);
    text[used] = '\0';

    room = 0;
    for (char *line = text; line < text + used;) {
        if (n == room) items = need(realloc(items, (room = 2 * room + 1024) * sizeof *items));
        items[n++] = line;
        line += strcspn(line, "\n");
        *line++ = '\0';
    }
    bool same = sort_and_compare(items, n, sizeof *items, by_text, stderr);
    for (size_t i = 0; i < n; i++) puts(items[i]);
    free(items);
    free(text);
    return same;
}

int main(int argc, char **argv) {
    return (argc > 1 ? lines(argv[1]) : numbers(400000)) ? 0 : 1;
}
