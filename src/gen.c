/* ============================================================================================
 * gen: see gen.h.
 * ========================================================================================== */

#include "internal.h"
#include "gen.h"

/* What the struct of every generator begins with. */
typedef struct conc__gen_frame {
    conc_iter iter;
    conc__gen_state state;
} conc__gen_frame;

conc_result conc__gen_refuse(const char *name, int why) {
    return conc__fail(CONC_INVALID, "%s: %s", name,
                      why == CONC__GEN_RUNNING       ? "a generator cannot resume itself"
                      : why == CONC__GEN_NOT_STARTED ? "a value is sent to a generator that has not been started: no yield "
                                                       "is there to receive it; ask for its first item before"
                                                     : "CONC_OK is thrown: that is no error");
}

bool conc__gen_throw(conc__gen_state *g, conc_result error) {
    if (g->catching) return true;
    conc__gen_drop(g);
    if (g->place == CONC__PLACE_START || g->place == CONC__PLACE_DONE || g->cleaning) {
        g->place = CONC__PLACE_DONE;
        g->ending = CONC_CLOSED;
        return false;
    }
    g->ending = error;
    g->place = CONC__PLACE_CLEANUP;
    return true;
}

size_t conc__gen_from(conc__gen_state *g, void *items, size_t size, size_t n) {
    size_t done = 0, got;
    conc_result r;
    while (done < n) {
        r = conc_next_n_bytes(g->from, (char *)items + done * size, size, n - done, &got);
        done += got;
        if (r == CONC_OK) continue;
        if (r != CONC_CLOSED) g->ending = r;
        conc__gen_drop(g);
        break;
    }
    return done;
}

void conc__gen_drop(conc__gen_state *g) {
    conc_iter *from = g->from;
    g->from = NULL;
    conc_iter_close(from);
}

void conc__gen_yielded(const char *name, const char *file, uint32_t line) {
    conc__report(CONC_INVALID, 0, NULL, "%s, which is being closed, yields at %s:%u; it ends there", name, file, (unsigned)line);
}

void conc__gen_closed_running(const char *name) {
    conc__report(CONC_INVALID, 0, NULL, "%s is closed while it runs, from within itself; nothing is done", name);
}

void conc__gen_failed(conc_result r, const char *name) {
    if (r != CONC_CLOSED && r != CONC_CANCELED && r != CONC_TIMEOUT)
        conc__report(r, 0, NULL, "CONC_FOR_GEN(%s) ended early: %s", name, conc_explain(r));
}

conc_iter *conc__gen_new(const void *frame, size_t size) {
    conc__gen_frame *g = (conc__gen_frame *)conc__alloc(1, size, "a generator");
    if (g == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    memcpy(g, frame, size);
    g->state.on_heap = 1;
    return &g->iter;
}

void conc__gen_free(conc_iter *it) {
    conc__free(it);
}
