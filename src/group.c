/* ============================================================================================
 * group: groups of tasks; see loop.h. A group has a lock of its own, because tasks enter from any thread; who waits for it
 * stands in the table under its address.
 * ========================================================================================== */

#include "internal.h"

struct conc_group {
    conc_loop *loop;              /* constant, as are the next two */
    uint32_t generation;
    conc_group_desc desc;
    conc__lock lock;              /* guards all below */
    size_t live, running;         /* entered and not ended; admitted and not ended */
    size_t promised;              /* will enter */
    conc_task *members;
    conc_task *aside, **aside_end; /* those that wait for room, in order */
    bool canceled;
    int code;                     /* of the first failure */
    int *codes;                   /* of those ended and not told: a ring of `space`, as many as may still end */
    size_t space, first, told_of;
    conc__mail mail;              /* has the loop admit all that stand aside */
    bool mailed;
};

static void conc__group_deliver(conc__mail *mail, conc_loop *loop);

conc_group *conc_group_new(conc_loop *loop, const conc_group_desc *desc) {
    conc_group *g;
    if (loop == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_group_new: no loop");
        return NULL;
    }
    g = (conc_group *)conc__alloc(1, sizeof *g, "a group");
    if (g == NULL) return NULL;
    g->loop = loop;
    g->generation = conc__fork_generation();
    g->mail.deliver = conc__group_deliver;
    if (desc != NULL) g->desc = *desc;
    g->aside_end = &g->aside;
    return g;
}

/* Its lock may then be one that nobody will give back. */
static bool conc__group_is_forked(const conc_group *g) {
    return g->generation != conc__fork_generation();
}

static conc_result conc__group_usable(const conc_group *g, const char *what) {
    if (g == NULL) return conc__fail(CONC_INVALID, "%s: no group", what);
    return conc__group_is_forked(g) ? conc__fail(CONC_FORKED, "%s: the group was made before fork()", what) : CONC_OK;
}

conc_result conc_group_free(conc_group *g) {
    size_t live;
    bool mailed;
    if (g == NULL) return CONC_OK;
    if (conc__group_is_forked(g)) {
        conc__free(g->codes);
        conc__free(g);
        return CONC_OK;
    }
    conc__lock_take(&g->lock);
    live = g->live;
    mailed = g->mailed;
    conc__lock_give(&g->lock);
    if (live != 0 || mailed) return conc__fail(CONC_BUSY, "conc_group_free: %zu of its tasks have not ended", live);
    if (conc__is_waited_for(g)) return conc__fail(CONC_BUSY, "conc_group_free: somebody waits for it");
    conc__free(g->codes);
    conc__free(g);
    return CONC_OK;
}

conc_loop *conc__group_loop(const conc_group *g) {
    return g->loop;
}

/* Room for the codes of all that may still end. With the lock held. */
static bool conc__group_reserve(conc_group *g) {
    size_t needed = g->live + g->promised + g->told_of + 1, space = g->space == 0 ? 16 : g->space, i;
    int *more;
    if (!g->desc.keep_codes || needed <= g->space) return true;
    while (space < needed) space *= 2;
    more = (int *)conc__alloc(space, sizeof *more, "the codes of a group");
    if (more == NULL) return false;
    for (i = 0; i < g->told_of; i++) more[i] = g->codes[(g->first + i) % g->space];
    conc__free(g->codes);
    g->codes = more;
    g->space = space;
    g->first = 0;
    return true;
}

conc_result conc__group_check(conc_group *g) {
    conc_result r = CONC_OK;
    conc__lock_take(&g->lock);
    if (g->canceled) {
        r = conc__fail(CONC_CANCELED, "spawn: the group has been canceled");
    } else if (conc__group_reserve(g)) {
        g->promised++;
    } else {
        r = CONC_NO_MEMORY;
    }
    conc__lock_give(&g->lock);
    return r;
}

void conc__group_forgo(conc_group *g) {
    conc__lock_take(&g->lock);
    g->promised--;
    conc__lock_give(&g->lock);
    (void)conc__wake_waiters(g, CONC__ANY_TAG, CONC_ALL);
}

void conc__group_enter(conc_group *g, conc_task *t) {
    conc__task_extra *extra = conc__task_extra_of(t);
    bool canceled;
    conc__lock_take(&g->lock);
    g->promised--;
    g->live++;
    extra->group_next = g->members;
    extra->group_link = &g->members;
    if (g->members != NULL) conc__task_extra_of(g->members)->group_link = &extra->group_next;
    g->members = t;
    canceled = g->canceled; /* since it was asked */
    conc__lock_give(&g->lock);
    if (canceled) (void)conc_task_cancel(t);
}

/* One more may run (all may, once they are canceled). With the lock held, as for the next. */
static bool conc__group_has_room(const conc_group *g) {
    return g->desc.limit == 0 || g->running < g->desc.limit || g->canceled;
}

bool conc__group_admit(conc_group *g, conc_task *t) {
    bool room;
    conc__lock_take(&g->lock);
    room = conc__group_has_room(g);
    if (room) {
        g->running++;
    } else {
        *conc__task_next(t) = NULL;
        *g->aside_end = t;
        g->aside_end = conc__task_next(t);
    }
    conc__lock_give(&g->lock);
    return room;
}

/* Has those that stand aside run, as far as there is room. In the loop's thread. */
static void conc__group_fill(conc_group *g) {
    for (;;) {
        conc_task *t = NULL;
        conc__lock_take(&g->lock);
        if (g->aside != NULL && conc__group_has_room(g)) {
            t = g->aside;
            g->aside = *conc__task_next(t);
            if (g->aside == NULL) g->aside_end = &g->aside;
            g->running++;
        }
        conc__lock_give(&g->lock);
        if (t == NULL) return;
        conc__task_begins(t);
    }
}

static void conc__group_deliver(conc__mail *mail, conc_loop *loop) {
    conc_group *g = (conc_group *)(void *)((char *)mail - offsetof(conc_group, mail));
    (void)loop;
    conc__group_fill(g);
    conc__lock_take(&g->lock);
    g->mailed = false;
    conc__lock_give(&g->lock); /* the last touch, if it was for this that its end had to wait */
    (void)conc__wake_waiters(g, CONC__ANY_TAG, CONC_ALL);
}

conc_result conc_group_cancel(conc_group *g) {
    conc_task *t;
    conc_result r = conc__group_usable(g, "conc_group_cancel");
    if (r != CONC_OK) return r;
    conc__lock_take(&g->lock);
    g->canceled = true;
    for (t = g->members; t != NULL; t = conc__task_extra_of(t)->group_next) (void)conc_task_cancel(t);
    if (g->aside != NULL && !g->mailed) {
        g->mailed = true;
        conc__loop_send(g->loop, &g->mail); /* before the last of them can end, so that the loop does not end without it */
    }
    conc__lock_give(&g->lock);
    return CONC_OK;
}

void conc__group_leave(conc_group *g, conc_task *t, int code) {
    conc__task_extra *extra = conc__task_extra_of(t);
    bool cancel = false;
    conc__lock_take(&g->lock);
    g->running--;
    *extra->group_link = extra->group_next;
    if (extra->group_next != NULL) conc__task_extra_of(extra->group_next)->group_link = extra->group_link;
    if (code != 0 && code != CONC_CANCELED && g->code == 0) {
        g->code = code;
        cancel = g->desc.cancel_on_error;
    }
    conc__lock_give(&g->lock);
    if (cancel) (void)conc_group_cancel(g);
    conc__group_fill(g);
    conc__lock_take(&g->lock);
    g->live--;
    if (g->desc.keep_codes) g->codes[(g->first + g->told_of++) % g->space] = code;
    conc__lock_give(&g->lock); /* the last touch: who waited may free it now */
    (void)conc__wake_waiters(g, CONC__ANY_TAG, CONC_ALL);
}

/* ---- what can be waited for ----------------------------------------------------------------------- */

/* Nothing of it is left, nor will touch it. With the lock held. */
static bool conc__group_is_over(const conc_group *g) {
    return g->live + g->promised == 0 && !g->mailed;
}

static conc_result conc__group_attempt(conc_op *op) {
    conc_group *g = (conc_group *)op->object;
    conc_result r = conc__group_usable(g, "conc_op_group");
    int code;
    if (r != CONC_OK) return r;
    r = CONC_PENDING;
    conc__lock_take(&g->lock);
    code = g->code;
    if (conc__group_is_over(g)) r = code == 0 ? CONC_OK : CONC_FAILED;
    conc__lock_give(&g->lock);
    return r == CONC_FAILED ? conc__fail(r, "a task of the group returned %d", code) : r;
}

static conc_result conc__group_next_attempt(conc_op *op) {
    conc_group *g = (conc_group *)op->object;
    conc_result r = conc__group_usable(g, "conc_op_group_next");
    int code = 0;
    if (r != CONC_OK) return r;
    r = CONC_PENDING;
    if (!g->desc.keep_codes) return conc__fail(CONC_INVALID, "conc_op_group_next: the group does not keep codes");
    conc__lock_take(&g->lock);
    if (g->told_of != 0) {
        code = g->codes[g->first];
        g->first = (g->first + 1) % g->space;
        g->told_of--;
        r = CONC_OK;
    } else if (conc__group_is_over(g)) {
        r = CONC_CLOSED;
    }
    conc__lock_give(&g->lock);
    if (r == CONC_OK && op->data != NULL) *(int *)op->data = code;
    return r;
}

/* Who enters would run at once: nobody stands aside before him. */
static bool conc__group_is_open(const conc_group *g) {
    return conc__group_has_room(g) && g->aside == NULL;
}

static conc_result conc__group_room_attempt(conc_op *op) {
    conc_group *g = (conc_group *)op->object;
    conc_result r = conc__group_usable(g, "conc_op_group_room");
    if (r != CONC_OK) return r;
    conc__lock_take(&g->lock);
    r = g->canceled ? CONC_CANCELED : conc__group_is_open(g) ? CONC_OK : CONC_PENDING;
    conc__lock_give(&g->lock);
    return r;
}

/* Whether an attempt would have to wait still: the same questions, changing nothing. */
static bool conc__group_arm(conc_op *op, conc_node *node) {
    conc_group *g = (conc_group *)op->object;
    conc__bucket *b = conc__bucket_lock(g);
    bool wait;
    conc__lock_take(&g->lock);
    if (op->cls->attempt == conc__group_room_attempt) {
        wait = !g->canceled && !conc__group_is_open(g);
    } else {
        wait = !conc__group_is_over(g) && (op->cls->attempt == conc__group_attempt || g->told_of == 0);
    }
    conc__lock_give(&g->lock);
    if (wait) conc__bucket_push(b, g, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_group(conc_group *group) {
    static const conc_op_class cls = {"group", CONC_BUSY, conc__group_attempt, conc__group_arm, NULL, NULL};
    return conc_op_make(&cls, group, NULL);
}

conc_op conc_op_group_next(conc_group *group, int *code) {
    static const conc_op_class cls = {"group next", CONC_EMPTY, conc__group_next_attempt, conc__group_arm, NULL, NULL};
    return conc_op_make(&cls, group, code);
}

conc_op conc_op_group_room(conc_group *group) {
    static const conc_op_class cls = {"group room", CONC_FULL, conc__group_room_attempt, conc__group_arm, NULL, NULL};
    return conc_op_make(&cls, group, NULL);
}

conc_result conc_group_wait(conc_group *group, conc_deadline deadline) {
    conc_result r = conc__group_usable(group, "conc_group_wait");
    if (r != CONC_OK) return r;
    return conc__loop_wait(group->loop, conc_op_group(group), deadline);
}

int conc_group_code(const conc_group *group) {
    conc_group *g = (conc_group *)(uintptr_t)group;
    int code;
    if (g == NULL || conc__group_is_forked(g)) return 0;
    conc__lock_take(&g->lock);
    code = g->code;
    conc__lock_give(&g->lock);
    return code;
}

size_t conc_group_count(const conc_group *group) {
    conc_group *g = (conc_group *)(uintptr_t)group;
    size_t count;
    if (g == NULL || conc__group_is_forked(g)) return 0;
    conc__lock_take(&g->lock);
    count = g->live + g->promised;
    conc__lock_give(&g->lock);
    return count;
}
