/* ============================================================================================
 * wheel: a hierarchical timing wheel (G. Varghese, T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987; the
 * levels by the highest digit in which a time differs from now). To enter and to leave cost the same few instructions
 * for any number of entries. It belongs to one loop and is touched by its thread only.
 *
 * Time is counted in ticks of 2^16 ns, rounded up: nothing is due early. An entry stands on the level of the highest
 * base-64 digit in which its tick differs from the present one, in the slot of that digit's value. So all entries of
 * a level are sooner than all of the levels above, and the soonest slot is the lowest one of the lowest level in use.
 * When time comes to a slot above level 0 its entries are entered anew, some levels below.
 * ========================================================================================== */

#include "internal.h"

#define CONC__WHEEL_SHIFT 16

static uint64_t conc__wheel_tick(int64_t ns) {
    return ns <= 0 ? 0 : ((uint64_t)ns + ((1u << CONC__WHEEL_SHIFT) - 1)) >> CONC__WHEEL_SHIFT;
}

/* The index of the highest, and of the lowest, bit of x, which is not 0. */
static unsigned conc__high_bit(uint64_t x) {
#if CONC_CC_GNU && !CONC_CC_TINY
    return 63u - (unsigned)__builtin_clzll(x);
#else
    unsigned n = 0;
    while (x >>= 1) n++;
    return n;
#endif
}

static unsigned conc__low_bit(uint64_t x) {
    return conc__high_bit(x & (~x + 1));
}

/* At the end of the list, so that those of one tick come in the order in which they were entered. */
static void conc__wheel_link(conc__wheel_list *list, conc__wheel_node *node) {
    node->list.next = list;
    node->list.prev = list->prev;
    list->prev->next = &node->list;
    list->prev = &node->list;
}

static void conc__wheel_unlink(conc__wheel_node *node) {
    node->list.prev->next = node->list.next;
    node->list.next->prev = node->list.prev;
    node->list.prev = NULL;
}

static void conc__wheel_empty(conc__wheel_list *list) {
    list->next = list->prev = list;
}

static conc__wheel_node *conc__wheel_first(conc__wheel_list *list) {
    return list->next == list ? NULL : (conc__wheel_node *)(void *)list->next;
}

static void conc__wheel_enter(conc__wheel *w, conc__wheel_node *node) {
    uint64_t tick = conc__wheel_tick(node->due);
    unsigned level, slot;
    if (tick <= w->now) {
        conc__wheel_link(&w->due, node);
        return;
    }
    level = conc__high_bit(tick ^ w->now) / 6;
    slot = (unsigned)(tick >> 6 * level) & 63u;
    conc__wheel_link(&w->slots[level][slot], node);
    w->used[level] |= (uint64_t)1 << slot;
}

void conc__wheel_begin(conc__wheel *w, int64_t now) {
    unsigned level, slot;
    memset(w, 0, sizeof *w);
    for (level = 0; level < CONC__WHEEL_LEVELS; level++) {
        for (slot = 0; slot < 64; slot++) conc__wheel_empty(&w->slots[level][slot]);
    }
    conc__wheel_empty(&w->due);
    w->now = now <= 0 ? 0 : (uint64_t)now >> CONC__WHEEL_SHIFT;
}

void conc__wheel_add(conc__wheel *w, conc__wheel_node *node, int64_t due) {
    node->due = due;
    conc__wheel_enter(w, node);
    w->count++;
}

void conc__wheel_remove(conc__wheel *w, conc__wheel_node *node) {
    if (node->list.prev == NULL) return;
    conc__wheel_unlink(node); /* a slot that becomes empty so is found out when time comes to it */
    w->count--;
}

/* The soonest slot in use; false: none. `*tick`: when it begins. */
static bool conc__wheel_soonest(conc__wheel *w, unsigned *level, unsigned *slot, uint64_t *tick) {
    for (*level = 0; *level < CONC__WHEEL_LEVELS; ++*level) {
        while (w->used[*level] != 0) {
            unsigned above = 6 * (*level + 1);
            *slot = conc__low_bit(w->used[*level]);
            if (conc__wheel_first(&w->slots[*level][*slot]) != NULL) {
                *tick = (above < 64 ? w->now >> above << above : 0) | (uint64_t)*slot << 6 * *level;
                return true;
            }
            w->used[*level] &= w->used[*level] - 1; /* all have left it */
        }
    }
    return false;
}

int64_t conc__wheel_next(conc__wheel *w) {
    unsigned level, slot;
    uint64_t tick;
    if (conc__wheel_first(&w->due) != NULL) return INT64_MIN;
    if (w->count == 0 || !conc__wheel_soonest(w, &level, &slot, &tick)) return INT64_MAX;
    return tick >= (uint64_t)INT64_MAX >> CONC__WHEEL_SHIFT ? INT64_MAX : (int64_t)(tick << CONC__WHEEL_SHIFT);
}

conc__wheel_node *conc__wheel_expire(conc__wheel *w, int64_t now) {
    uint64_t until = now <= 0 ? 0 : (uint64_t)now >> CONC__WHEEL_SHIFT, tick;
    unsigned level, slot;
    conc__wheel_node *node;
    while (conc__wheel_first(&w->due) == NULL && w->count != 0 && conc__wheel_soonest(w, &level, &slot, &tick) &&
           tick <= until) {
        conc__wheel_list *list = &w->slots[level][slot];
        w->used[level] &= ~((uint64_t)1 << slot);
        w->now = tick;
        if (level == 0) { /* all of them at once */
            w->due = *list;
            w->due.next->prev = w->due.prev->next = &w->due;
            conc__wheel_empty(list);
        }
        while ((node = conc__wheel_first(list)) != NULL) { /* some levels below */
            conc__wheel_unlink(node);
            conc__wheel_enter(w, node);
        }
    }
    node = conc__wheel_first(&w->due);
    if (node != NULL) {
        conc__wheel_remove(w, node);
    } else if (w->now < until) {
        w->now = until;
    }
    return node;
}
