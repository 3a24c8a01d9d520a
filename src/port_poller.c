/* ============================================================================================
 * port_poller: what the ports' descriptors have in common: the call of poll for any number of them, and the poller of
 * systems that have nothing better than poll.
 * ========================================================================================== */

#include "internal.h"

#include <errno.h>

int conc__port_poll(conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    uint64_t few[32 * CONC__PORT_POLL_SCRATCH / sizeof(uint64_t)];
    void *scratch = few;
    int ready;
    if (n > 32) {
        scratch = conc__alloc(n, CONC__PORT_POLL_SCRATCH, "the descriptors to wait for");
        if (scratch == NULL) {
            *error = ENOMEM;
            return -1;
        }
    }
    ready = conc__port_poll_in(scratch, fds, n, deadline_ns, error);
    if (scratch != few) conc__free(scratch);
    return ready;
}

/* ---- the poller: poll -----------------------------------------------------------------------------------------
 * What is wanted is kept in a hash table. The thread that waits takes a copy of it under the lock and sleeps with that;
 * who changes the table meanwhile wakes it, so that it takes another. */

#if !CONC__POLLER_EDGES

static size_t conc__poller_home(const conc__port_poller *p, intptr_t fd) {
    return (size_t)((uint64_t)fd * (uint64_t)0x9E3779B97F4A7C15u >> 32) & (p->capacity - 1);
}

/* Where `fd` is, or would be. */
static size_t conc__poller_place(const conc__port_poller *p, intptr_t fd) {
    size_t i = conc__poller_home(p, fd);
    while (p->wanted[i].fd != -1 && p->wanted[i].fd != fd) i = (i + 1) & (p->capacity - 1);
    return i;
}

static bool conc__poller_grow(conc__port_poller *p) {
    conc__port_poller bigger = *p;
    size_t i;
    bigger.capacity = p->capacity == 0 ? 16 : p->capacity * 2;
    bigger.wanted = (conc__port_pollfd *)conc__alloc(bigger.capacity, sizeof *p->wanted, "a poller's descriptors");
    if (bigger.wanted == NULL) return false;
    for (i = 0; i < bigger.capacity; i++) bigger.wanted[i].fd = -1;
    for (i = 0; i < p->capacity; i++) {
        if (p->wanted[i].fd != -1) bigger.wanted[conc__poller_place(&bigger, p->wanted[i].fd)] = p->wanted[i];
    }
    conc__free(p->wanted);
    p->capacity = bigger.capacity;
    p->wanted = bigger.wanted;
    return true;
}

/* Takes out what is at `i`, and moves up what would no longer be found behind the gap. */
static void conc__poller_remove(conc__port_poller *p, size_t i) {
    size_t mask = p->capacity - 1, j = i;
    p->count--;
    for (;;) {
        p->wanted[i].fd = -1;
        do {
            j = (j + 1) & mask;
            if (p->wanted[j].fd == -1) return;
        } while (((j - conc__poller_home(p, p->wanted[j].fd)) & mask) < ((j - i) & mask));
        p->wanted[i] = p->wanted[j];
        i = j;
    }
}

int CONC__PORT(poller_open)(conc__port_poller *p) {
    memset(p, 0, sizeof *p);
    p->fd = -1;
    return conc__port_signal_open(&p->wake);
}

void CONC__PORT(poller_close)(conc__port_poller *p) {
    conc__port_signal_close(&p->wake);
    conc__free(p->wanted);
    conc__free(p->copy);
    p->wanted = p->copy = NULL;
    p->count = p->capacity = p->room = 0;
}

int CONC__PORT(poller_add)(conc__port_poller *p, intptr_t fd) {
    (void)p;
    (void)fd;
    return conc__port_unsupported();
}

int CONC__PORT(poller_want)(conc__port_poller *p, intptr_t fd, unsigned mask) {
    bool fits = true, wake = false;
    conc__lock_take(&p->lock);
    if (p->count + 1 > p->capacity / 2) fits = conc__poller_grow(p);
    if (fits) {
        size_t i = conc__poller_place(p, fd);
        if (p->wanted[i].fd == -1) p->count++;
        p->wanted[i].fd = fd;
        p->wanted[i].want = mask;
        wake = p->sleeping != 0;
        p->sleeping = 0; /* once is enough */
    }
    conc__lock_give(&p->lock);
    if (wake) conc__port_signal_raise(&p->wake);
    return fits ? 0 : ENOMEM;
}

void CONC__PORT(poller_forget)(conc__port_poller *p, intptr_t fd) {
    conc__lock_take(&p->lock);
    if (p->capacity != 0) {
        size_t i = conc__poller_place(p, fd);
        if (p->wanted[i].fd == fd) conc__poller_remove(p, i);
    }
    conc__lock_give(&p->lock);
}

/* The signal and what is wanted, as many as there is room for. */
static size_t conc__poller_copy(conc__port_poller *p) {
    size_t i, n = 1;
    p->copy[0].fd = p->wake.fd[0];
    p->copy[0].want = CONC__PORT_READ;
    for (i = 0; i < p->capacity && n < p->room; i++) {
        if (p->wanted[i].fd != -1) p->copy[n++] = p->wanted[i];
    }
    p->sleeping = 1;
    return n;
}

/* Without memory for all that is wanted it looks at some, soon again, and says that it was woken for no reason. */
size_t CONC__PORT(poller_wait)(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                               bool *signaled) {
    conc__port_pollfd one;
    uint64_t one_scratch[CONC__PORT_POLL_SCRATCH / sizeof(uint64_t)];
    conc__port_pollfd *fds = &one;
    void *scratch = one_scratch;
    size_t n = 1, found = 0, i, needed;
    int error, ready;

    conc__lock_take(&p->lock);
    needed = p->count + 1;
    if (needed > p->room) { /* nobody else looks at `copy` */
        size_t room = needed < 16 ? 16 : needed + needed / 2;
        conc__port_pollfd *more =
            (conc__port_pollfd *)conc__realloc(p->copy, room, sizeof *p->copy + CONC__PORT_POLL_SCRATCH, "a poller's descriptors");
        if (more != NULL) {
            p->copy = more;
            p->room = room;
        }
    }
    if (p->room != 0) {
        n = conc__poller_copy(p);
        fds = p->copy;
        scratch = p->copy + p->room;
    } else {
        one.fd = p->wake.fd[0];
        one.want = CONC__PORT_READ;
    }
    conc__lock_give(&p->lock);
    if (n < needed && deadline_ns != INT64_MIN) {
        int64_t soon = conc__port_clock_ns() + 1000000;
        if (soon < deadline_ns) deadline_ns = soon;
    }

    ready = conc__port_poll_in(scratch, fds, n, deadline_ns, &error);
    if (ready > 0 && fds[0].got != 0) conc__port_signal_clear(&p->wake);

    conc__lock_take(&p->lock);
    p->sleeping = 0;
    for (i = 1; ready > 0 && i < n && found < max; i++) {
        size_t at;
        if (fds[i].got == 0) continue;
        at = conc__poller_place(p, fds[i].fd);
        /* Forgotten meanwhile, or no more wanted for this: then it is not told. */
        if (p->wanted[at].fd != fds[i].fd) continue;
        if ((fds[i].got & (p->wanted[at].want | CONC__PORT_HUP | CONC__PORT_BAD)) == 0) continue;
        events[found].fd = fds[i].fd;
        events[found].got = fds[i].got;
        found++;
        conc__poller_remove(p, at);
    }
    conc__lock_give(&p->lock);
    *signaled = conc__load32(&p->signaled, CONC__RELAXED) != 0 && conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return found;
}

void CONC__PORT(poller_signal)(conc__port_poller *p) {
    if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) conc__port_signal_raise(&p->wake);
}

#endif
