/* ============================================================================================
 * iter: the iterator protocol, and what can be put between an iterator and its user.
 *
 * An iterator is any struct that starts with a conc_iter. It has one function that matters, next(), with the manners of
 * read(2): asked for up to n items it gives 1 to n of them and says how many; 0 is the end. So batches are built in, and
 * one that always gives a single item is right too:
 *
 *     struct countdown { conc_iter iter; int n; };
 *     static size_t next(conc_iter *iter, void *items, size_t n) {
 *         struct countdown *self = (struct countdown *)iter;
 *         (void)n;
 *         if (self->n == 0) return 0;
 *         *(int *)items = self->n--;
 *         return 1;
 *     }
 *     struct countdown c = { { .next = next, .item_size = sizeof(int) }, 3 };
 *     CONC_FOREACH(int, x, &c.iter) printf("%d ", x);
 *
 * OWNERSHIP. Whoever is handed an iterator closes it: an adaptor closes what it was made of, CONC_FOREACH, conc_fold() and
 * conc_collect() close what they went through, whether it was used up or not. conc_iter_borrow(it) lends: it is closed
 * without closing `it`, so that one may take five and go on.
 *
 * FAILURE. Chains need no checks: conc_take(conc_map(it, ...), 5). An adaptor that cannot be made (no memory, a NULL, items
 * of another size than it was told) closes its sources and returns an iterator that has ended, whose result is
 * the reason; those above pass it on, and who goes through it learns it. No constructor here returns NULL.
 *
 * HOW FAR THEY READ. No adaptor asks its source for more items than it was asked for itself (conc_batch: for more than it
 * gives), so closing one in the middle loses nothing; CONC_FOREACH asks for one at a time. (But see conc_zip.)
 *
 * An iterator is used by one thread at a time. Whether next() blocks is its source's affair: only those over a queue do.
 * ========================================================================================== */

#ifndef CONC__ITER_H
#define CONC__ITER_H

#include "queue.h"

typedef struct conc_iter conc_iter;
struct conc_iter {
    /* Writes 1 to n items, one after the other, and returns how many. 0: it has ended, `result` says how, and so it is
     * for every later call. n is at least 1. */
    size_t (*next)(conc_iter *self, void *items, size_t n);
    /* Gives back what it holds; called once at least, at any time. NULL: there is nothing to give back. */
    void (*close)(conc_iter *self);
    size_t item_size;
    conc_result result; /* after the end: CONC_CLOSED: used up (CONC_OK stands for it); else why there is no more */
};

/* ---- going through one ----------------------------------------------------------------------- */

/* conc_next(it, &x): the next item. CONC_OK; CONC_CLOSED: used up; what else the iterator ended with; CONC_INVALID: NULL, or
 * x is not of its items' size. */
#define conc_next(it, item) conc_next_bytes((it), (item), sizeof *(item))
/* conc_next_n(it, items, n, &done): as next(): CONC_OK with 1 to n items, or an end with 0. (n is 0: CONC_OK and 0.) */
#define conc_next_n(it, items, n, done) conc_next_n_bytes((it), (items), sizeof *(items), (n), (done))
CONC_API conc_result conc__next_ended(conc_iter *it, const void *item, size_t size);
CONC_API conc_result conc_next_n_bytes(conc_iter *it, void *items, size_t size, size_t n, size_t *done);
static inline conc_result conc_next_bytes(conc_iter *it, void *item, size_t size) {
    if (it != NULL && item != NULL && it->item_size == size && it->next(it, item, 1) != 0) return CONC_OK;
    return conc__next_ended(it, item, size);
}

/* Closes it. NULL is harmless. What the library made is gone afterwards; a struct of yours stays. */
CONC_API void conc_iter_close(conc_iter *it);

/* CONC_FOREACH(int, x, it) { ... x ... }: each item in turn, then closes `it`; also after break, and, with gcc and clang,
 * return and goto. An iterator that ends with an error, which nobody else would see, is told to the error hook; CONC_CLOSED,
 * CONC_CANCELED and CONC_TIMEOUT are ordinary ends. `it` is evaluated once. */
#define CONC_FOREACH(type, x, it) CONC__FOREACH(type, x, it, CONC__CAT(conc__each_, CONC__UNIQUE))
#define CONC__FOREACH(type, x, it, s)                                                              \
    for (conc__each s CONC__CLEANUP(conc__each_leave) = conc__each_enter((it), sizeof(type)); s.iter != NULL; \
         conc__each_leave(&s))                                                                     \
        for (type x; conc__each_next(&s, &x);)

typedef struct conc__each {
    conc_iter *iter; /* NULL: closed */
    bool ended;
} conc__each;
CONC_API conc__each conc__each_enter(conc_iter *it, size_t size);
CONC_API void conc__each_leave(conc__each *each);
static inline bool conc__each_next(conc__each *each, void *item) {
    if (each->iter->next(each->iter, item, 1) != 0) return true;
    each->ended = true;
    return false;
}

/* ---- where items come from ---------------------------------------------------------------------
 * Each is allocated, and freed by its close. */

/* The n items of an array, which must outlive it. conc_iter_array(a, n): sizeof *a each. */
#define conc_iter_array(items, n) conc_iter_array_bytes((items), sizeof *(items), (n))
CONC_API conc_iter *conc_iter_array_bytes(const void *items, size_t size, size_t n);

/* int64_t: first, first + step, ... as long as it is below `end` (above it, if step < 0). step 0: CONC_INVALID. Nothing
 * overflows. */
CONC_API conc_iter *conc_iter_range(int64_t first, int64_t end, int64_t step);

/* Takes from a queue until it is closed and empty: CONC_CLOSED. Waits, and can be canceled: CONC_CANCELED. Closing the iterator
 * does not close the queue. */
CONC_API conc_iter *conc_iter_queue(conc_queue *q);

/* Gives what `it` gives; its close leaves `it` open. */
CONC_API conc_iter *conc_iter_borrow(conc_iter *it);

/* One that has ended with `r`, for iterators of your own that cannot be made. Not allocated; its items have no size, and so fit
 * everywhere. */
CONC_API conc_iter *conc_iter_failed(conc_result r);

/* ---- functions over batches --------------------------------------------------------------------
 * map, filter and fold call a function for many items at once, so that the expression of one item is inlined into a loop:
 *
 *     CONC_MAP_FN(square, int64_t, x, double, (double)x * (double)x)
 *     CONC_FILTER_FN(odd, int64_t, x, x % 2 != 0)
 *     CONC_FOLD_FN(add, double, sum, double, x, sum + x)
 *     double sum = 0;
 *     conc_fold(conc_map(conc_filter(conc_iter_range(0, 10, 1), odd, NULL), square, NULL), add, &sum, NULL);
 *
 * They define static functions, at file scope, of the types below. The expression may use `arg`, the pointer that
 * conc_map() and the others were given. Functions written by hand go to the forms with _bytes. */
typedef void (*conc_map_fn)(const void *in, void *out, size_t n, void *arg); /* in and out do not overlap */
typedef size_t (*conc_filter_fn)(void *items, size_t n, void *arg); /* moves those to keep to the front; how many */
typedef void (*conc_fold_fn)(void *acc, const void *items, size_t n, void *arg);

#define CONC_MAP_FN(name, in_type, x, out_type, ...)                                               \
    typedef in_type conc__map_in_##name;                                                           \
    typedef out_type conc__map_out_##name;                                                         \
    CONC__SPARE void name(const void *conc__in, void *conc__out, size_t conc__n, void *arg) { \
        const conc__map_in_##name *conc__from = (const conc__map_in_##name *)conc__in;             \
        conc__map_out_##name *conc__to = (conc__map_out_##name *)conc__out;                        \
        size_t conc__i;                                                                            \
        (void)arg;                                                                                 \
        for (conc__i = 0; conc__i < conc__n; conc__i++) {                                          \
            conc__map_in_##name x = conc__from[conc__i];                                           \
            conc__to[conc__i] = (__VA_ARGS__);                                                     \
        }                                                                                          \
    } CONC__SPARE_END

#define CONC_FILTER_FN(name, type, x, ...)                                                         \
    typedef type conc__filter_in_##name;                                                           \
    CONC__SPARE size_t name(void *conc__items, size_t conc__n, void *arg) {                \
        conc__filter_in_##name *conc__at = (conc__filter_in_##name *)conc__items;                  \
        size_t conc__i, conc__kept = 0;                                                            \
        (void)arg;                                                                                 \
        for (conc__i = 0; conc__i < conc__n; conc__i++) {                                          \
            conc__filter_in_##name x = conc__at[conc__i];                                          \
            conc__at[conc__kept] = x; /* whether it stays or not: no branch to mispredict */       \
            conc__kept += (__VA_ARGS__) ? 1u : 0u;                                                 \
        }                                                                                          \
        return conc__kept;                                                                         \
    } CONC__SPARE_END

#define CONC_FOLD_FN(name, acc_type, acc, type, x, ...)                                            \
    typedef acc_type conc__fold_acc_##name;                                                        \
    typedef type conc__fold_in_##name;                                                             \
    CONC__SPARE void name(void *conc__acc, const void *conc__items, size_t conc__n, void *arg) { \
        const conc__fold_in_##name *conc__at = (const conc__fold_in_##name *)conc__items;          \
        conc__fold_acc_##name acc = *(conc__fold_acc_##name *)conc__acc;                           \
        size_t conc__i;                                                                            \
        (void)arg;                                                                                 \
        for (conc__i = 0; conc__i < conc__n; conc__i++) {                                          \
            conc__fold_in_##name x = conc__at[conc__i];                                            \
            acc = (__VA_ARGS__);                                                                   \
        }                                                                                          \
        *(conc__fold_acc_##name *)conc__acc = acc;                                                 \
    } CONC__SPARE_END

/* ---- adaptors ------------------------------------------------------------------------------------- */

/* Each item changed; the items for which the condition holds. `fn` is the name of a CONC_MAP_FN, a CONC_FILTER_FN. */
#define conc_map(it, fn, arg)                                                                      \
    conc_map_bytes((it), fn, sizeof(conc__map_in_##fn), sizeof(conc__map_out_##fn), (arg))
#define conc_filter(it, fn, arg) conc_filter_bytes((it), fn, sizeof(conc__filter_in_##fn), (arg))
CONC_API conc_iter *conc_map_bytes(conc_iter *it, conc_map_fn fn, size_t in_size, size_t out_size, void *arg);
CONC_API conc_iter *conc_filter_bytes(conc_iter *it, conc_filter_fn fn, size_t size, void *arg);

/* The first n, and then CONC_CLOSED without asking further; all but the first n. */
CONC_API conc_iter *conc_take(conc_iter *it, size_t n);
CONC_API conc_iter *conc_skip(conc_iter *it, size_t n);

/* One after the other: two, or n of an array, which is copied. Each is closed as soon as it has ended. An error ends it all. */
CONC_API conc_iter *conc_chain(conc_iter *a, conc_iter *b);
CONC_API conc_iter *conc_chain_n(conc_iter *const *its, size_t n);

/* Pairs, in a struct of yours: struct pair { int number; const char *name; };
 *     CONC_FOREACH(struct pair, p, conc_zip(struct pair, number, numbers, name, names)) ...
 * Ends with the first of the two that ends. If that is b, the items of a that b has no partner for are lost: one if you go
 * through it one by one, as in Python, else as many as you asked for at most. What a and b give in batches of different sizes
 * is kept for the next call, and lost if it is closed before that. */
#define conc_zip(type, member_a, a, member_b, b)                                                   \
    conc_zip_bytes(sizeof(type), (a), offsetof(type, member_a), sizeof(((type *)0)->member_a), (b), \
                   offsetof(type, member_b), sizeof(((type *)0)->member_b))
CONC_API conc_iter *conc_zip_bytes(size_t size, conc_iter *a, size_t offset_a, size_t size_a, conc_iter *b, size_t offset_b,
                                   size_t size_b);

/* Items with their numbers, in a struct of yours whose member `index` is an integer of any size:
 *     CONC_FOREACH(struct line, l, conc_enumerate(struct line, number, text, lines, 1)) ... */
#define conc_enumerate(type, index, item, it, first)                                               \
    conc_enumerate_bytes(sizeof(type), offsetof(type, index), sizeof(((type *)0)->index), (it), offsetof(type, item), \
                         sizeof(((type *)0)->item), (first))
CONC_API conc_iter *conc_enumerate_bytes(size_t size, size_t offset_index, size_t size_index, conc_iter *it, size_t offset_item,
                                         size_t size_item, int64_t first);

/* Several items in one: struct ten { size_t count; int items[10]; };  conc_batch(struct ten, count, items, numbers). All are
 * full but the last. Waits until it is full, if the source waits; if that ends with an error, what came before comes first. */
#define conc_batch(type, count, items, it)                                                         \
    conc_batch_bytes(sizeof(type), offsetof(type, count), sizeof(((type *)0)->count), offsetof(type, items), \
                     sizeof(((type *)0)->items), sizeof(((type *)0)->items[0]), (it))
CONC_API conc_iter *conc_batch_bytes(size_t size, size_t offset_count, size_t size_count, size_t offset_items, size_t size_items,
                                     size_t size_item, conc_iter *it);

/* ---- to the end ------------------------------------------------------------------------------------
 * They go through `it` and close it. CONC_OK: it was used up; else what it ended with; CONC_INVALID: NULL or items of
 * another size. */

/* conc_fold(it, add, &sum, NULL): `fn` is the name of a CONC_FOLD_FN. What came before an error has been folded. */
#define conc_fold(it, fn, acc, arg)                                                                \
    conc_fold_bytes((it), fn, sizeof(conc__fold_in_##fn), (1 ? (acc) : (conc__fold_acc_##fn *)0), (arg))
CONC_API conc_result conc_fold_bytes(conc_iter *it, conc_fold_fn fn, size_t size, void *acc, void *arg);

/* long *items; size_t n;  conc_collect(it, &items, &n): all of them in an array that you give back with
 * conc_free_items(items). After an error, those that came before it (CONC_NO_MEMORY: those that there was memory for). */
#define conc_collect(it, items, count) conc_collect_bytes((it), (items), sizeof **(items), (count))
CONC_API conc_result conc_collect_bytes(conc_iter *it, void *items, size_t size, size_t *count);
CONC_API void conc_free_items(void *items);
/* Into an array of yours with room for `room`; if that is full, CONC_FULL, and nothing more was asked for. */
#define conc_collect_into(it, items, room, count)                                                  \
    conc_collect_into_bytes((it), (items), sizeof *(items), (room), (count))
CONC_API conc_result conc_collect_into_bytes(conc_iter *it, void *items, size_t size, size_t room, size_t *count);

/* How many there are. */
CONC_API conc_result conc_count(conc_iter *it, size_t *count);
/* Whether the condition, a CONC_FILTER_FN, holds for one of them, for all. They ask no further than they must. */
#define conc_any(it, fn, arg, answer) conc_any_bytes((it), fn, sizeof(conc__filter_in_##fn), (arg), true, (answer))
#define conc_all(it, fn, arg, answer) conc_any_bytes((it), fn, sizeof(conc__filter_in_##fn), (arg), false, (answer))
/* *answer: true, if fn keeps one (`wanted`); false, if it does not keep one (not `wanted`). */
CONC_API conc_result conc_any_bytes(conc_iter *it, conc_filter_fn fn, size_t size, void *arg, bool wanted, bool *answer);

/* ---- is it an iterator? ------------------------------------------------------------------------------
 * CONC_IS_ITERABLE(x): a constant, 1 if x is a conc_iter * or of a type that you name before the header is included:
 *     #define CONC_ITERABLE_TYPES(X) X(struct names) X(fibonacci)
 * (each type once; defined everywhere or in the file that asks). C wants C11 or gcc or clang for it. */
#if !defined(CONC_ITERABLE_TYPES)
#define CONC_ITERABLE_TYPES(X)
#endif
#if defined(__cplusplus)
extern "C++" {
template <class T> struct conc__bare { typedef T type; };
template <class T> struct conc__bare<T &> { typedef typename conc__bare<T>::type type; };
template <class T> struct conc__bare<T &&> { typedef typename conc__bare<T>::type type; };
template <class T> struct conc__bare<const T> { typedef T type; };
template <class T, class... All> struct conc__is_among { enum { value = 0 }; };
template <class T, class... More> struct conc__is_among<T, T, More...> { enum { value = 1 }; };
template <class T, class One, class... More> struct conc__is_among<T, One, More...> {
    enum { value = conc__is_among<T, More...>::value };
};
}
#define CONC__ITERABLE(type) , type
#define CONC_IS_ITERABLE(x)                                                                        \
    (conc__is_among<conc__bare<decltype(x)>::type, conc_iter * CONC_ITERABLE_TYPES(CONC__ITERABLE)>::value == 1)
#else
#if CONC_CC_GNU
#define CONC__EXTENSION __extension__
#else
#define CONC__EXTENSION
#endif
#define CONC__ITERABLE(type) type : 1,
#define CONC_IS_ITERABLE(x)                                                                        \
    (CONC__EXTENSION _Generic((x), CONC_ITERABLE_TYPES(CONC__ITERABLE) conc_iter * : 1, default : 0))
#endif

#endif
