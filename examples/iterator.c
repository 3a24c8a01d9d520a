/* iterator.c: iterators of your own: one over a container, and one that has no container.
 *
 * In Python:
 *     class Classmate:
 *         def __init__(self): self.names = []
 *         def add(self, name): self.names.append(name)
 *         def __iter__(self): return ClassIterator(self)
 *     class ClassIterator:
 *         def __next__(self): ... raise StopIteration
 *     print(isinstance(classmate, Iterable)); for name in classmate: print(name)
 *     class Fibonacci: def __iter__(self): return self; def __next__(self): ...
 *     for num in Fibonacci(10): print(num); li = list(Fibonacci(15)); tp = tuple(Fibonacci(6))
 *
 * Compile and run:  cc -I.. iterator.c -pthread -o iterator && ./iterator
 *
 * Prints:
 *     iterable: the class 1, its iterator 1, 100 0, "abc" 0
 *     Ann
 *     Ben
 *     Cleo
 *     1: Ann
 *     2: Ben
 *     3: Cleo
 *     0 1 1 2 3 5 8 13 21 34
 *     15 of them, the last is 377
 *     6 of them, the last is 5
 */
struct classmates;
#define CONC_ITERABLE_TYPES(X) X(struct classmates *)
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- a container, and an iterator over it ---- */

struct classmates {
    const char *names[10];
    size_t count;
};

static void add(struct classmates *c, const char *name) {
    if (c->count < 10) c->names[c->count++] = name;
}

struct classmates_iter {
    conc_iter iter; /* first: so a pointer to the struct is one to this */
    const struct classmates *over;
    size_t at;
};

static size_t next_name(conc_iter *iter, void *items, size_t n) {
    struct classmates_iter *self = (struct classmates_iter *)iter;
    size_t i;
    for (i = 0; i < n && self->at < self->over->count; i++) ((const char **)items)[i] = self->over->names[self->at++];
    return i; /* 0: that was all */
}

static void close_names(conc_iter *iter) {
    free(iter);
}

/* Whoever goes through it closes it, and so frees it. */
static conc_iter *each(const struct classmates *c) {
    struct classmates_iter *self = calloc(1, sizeof *self);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->iter.next = next_name;
    self->iter.close = close_names;
    self->iter.item_size = sizeof(const char *);
    self->over = c;
    return &self->iter;
}

struct numbered {
    int number;
    const char *name;
};

/* ---- no container: it computes ---- */

struct fibonacci {
    conc_iter iter;
    int n;
    long a, b;
};

static size_t next_fibonacci(conc_iter *iter, void *items, size_t n) {
    struct fibonacci *self = (struct fibonacci *)iter;
    long a = self->a;
    (void)n; /* one at a time is enough */
    if (self->n-- == 0) {
        self->n = 0;
        return 0;
    }
    *(long *)items = a;
    self->a = self->b;
    self->b += a;
    return 1;
}

static struct fibonacci fibonacci(int n) {
    struct fibonacci f = {{next_fibonacci, NULL, sizeof(long), CONC_OK}, n, 0, 1}; /* no close: nothing to give back */
    return f;
}

int main(void) {
    struct classmates c = {{NULL}, 0};
    struct fibonacci f = fibonacci(10), g = fibonacci(15), h = fibonacci(6);
    long *list, tuple[6];
    size_t n;
    add(&c, "Ann");
    add(&c, "Ben");
    add(&c, "Cleo");
    printf("iterable: the class %d, its iterator %d, 100 %d, \"abc\" %d\n", CONC_IS_ITERABLE(&c), CONC_IS_ITERABLE(each(&c)),
           CONC_IS_ITERABLE(100), CONC_IS_ITERABLE("abc")); /* constants: nothing is evaluated */

    CONC_FOREACH(const char *, name, each(&c)) puts(name);
    CONC_FOREACH(struct numbered, x, conc_enumerate(struct numbered, number, name, each(&c), 1))
        printf("%d: %s\n", x.number, x.name);

    CONC_FOREACH(long, x, &f.iter) printf("%ld%s", x, x == 34 ? "\n" : " ");
    if (conc_collect(&g.iter, &list, &n) != CONC_OK) return 1;
    printf("%zu of them, the last is %ld\n", n, list[n - 1]);
    conc_free_items(list);
    if (conc_collect_into(conc_take(&h.iter, 6), tuple, 6, &n) != CONC_FULL) return 1; /* full, and not asked for more */
    printf("%zu of them, the last is %ld\n", n, tuple[n - 1]);
    return 0;
}
