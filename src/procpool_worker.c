/* ============================================================================================
 * procpool_worker: the worker's side of procpool_ring.h.
 * ========================================================================================== */

#include "procpool_ring.h"

#include <stdio.h>

static struct {            /* of a worker process; written once, but for the last ones */
    conc__pp_words *words; /* NULL: this process is none */
    conc__pp_slot *slots;
    char *names, *replies, *area, *buffers;
    intptr_t fd;
    uint32_t number, generation;
    uint64_t reply_max;
    bool forked;
    bool owed;           /* the parent could not be rung for */
    conc__pp_slot *slot; /* the one that runs */
    uint32_t taken, replied;
    conc_fn last; /* the function last called, and what stands for it */
    uint64_t last_number;
} conc__pp_here;

unsigned conc_procpool_worker(void) {
    return conc__pp_here.words != NULL && conc__pp_here.generation == conc__fork_generation()
               ? conc__pp_here.number
               : 0;
}

/* ---- sleeping and waking ------------------------------------------------------------------------------- */

/* The descriptor is the worker's own, unless a task has closed it: then the parent, that sees it closed, ends us. */
static void conc__pp_ring_parent(void) {
    size_t n;
    conc__pp_here.owed = conc__port_socket_send(conc__pp_here.fd, "", 1, &n) != 0;
}

/* Sleeps until a byte has come; false: the parent's end is closed. */
static bool conc__pp_sleep(void) {
    char bytes[64];
    size_t n;
    int e;
    conc__port_pollfd look;
    if (conc__pp_here.owed) conc__pp_ring_parent();
    look.fd = conc__pp_here.fd;
    look.want = CONC__PORT_READ;
    look.got = 0;
    if (conc__port_poll(&look, 1, conc__pp_here.owed ? conc__port_clock_ns() + CONC__PP_RETRY_NS : INT64_MAX,
                        &e) < 0) {
        conc__port_yield(); /* the system is short of memory */
    }
    if ((look.got & CONC__PORT_BAD) != 0) return false;
    e = conc__port_socket_receive(conc__pp_here.fd, bytes, sizeof bytes, &n);
    return e == 0 ? n != 0 : conc__port_would_block(e);
}

static bool conc__pp_has_work(void) {
    const conc__pp_words *w = conc__pp_here.words;
    return conc__load32(&w->posted, CONC__SEQ_CST) != conc__pp_here.taken ||
           conc__load32(&w->stop, CONC__SEQ_CST) != 0;
}

static bool conc__pp_has_room(void) {
    return conc__pp_here.replied - conc__load32(&conc__pp_here.words->room, CONC__SEQ_CST) < CONC__PP_REPLY;
}

/* Looks for a while, then sleeps, until there is what `ready` asks for; false: the parent is gone. */
static bool conc__pp_await(bool (*ready)(void), uint32_t *flag, bool ring) {
    int64_t until = 0;
    unsigned look;
    for (look = 1; !ready(); look++) {
        if (look <= 64) {
            conc__port_pause();
            continue;
        }
        if (look % 8 == 0) {
            int64_t now = conc__port_clock_ns();
            if (until == 0) until = now + CONC__PP_LOOKS_NS;
            if (now >= until) break;
        }
        conc__port_yield();
    }
    while (!ready()) {
        conc__store32(flag, 1, CONC__SEQ_CST);
        if (ready()) {
            /* A byte may come all the same, and ends a later sleep for nothing. */
            conc__store32(flag, 0, CONC__RELAXED);
            break;
        }
        if (ring) conc__pp_ring_parent();
        if (!conc__pp_sleep()) return false;
    }
    return true;
}

/* ---- replies ------------------------------------------------------------------------------------------- */

static bool conc__pp_write(const char *data, size_t size) {
    conc__pp_words *w = conc__pp_here.words;
    while (size != 0) {
        size_t at = conc__pp_here.replied % CONC__PP_REPLY, n;
        if (!conc__pp_has_room() && !conc__pp_await(conc__pp_has_room, &w->blocked, true)) return false;
        n = CONC__PP_REPLY - (conc__pp_here.replied - conc__load32(&w->room, CONC__ACQUIRE));
        if (n > CONC__PP_REPLY - at) n = CONC__PP_REPLY - at;
        if (n > size) n = size;
        memcpy(conc__pp_here.replies + at, data, n);
        data += n;
        size -= n;
        conc__pp_here.replied += (uint32_t)n;
        conc__store32(&w->replied, conc__pp_here.replied, CONC__RELEASE);
    }
    return true;
}

conc_result conc_procpool_reply(const void *data, size_t size) {
    conc__pp_slot *slot = conc__pp_here.slot;
    if (conc_procpool_worker() == 0 || slot == NULL || (slot->place & CONC__PP_REPLIES) == 0) {
        return conc__fail(CONC_INVALID,
                          "conc_procpool_reply: this is no task that was submitted to a process pool");
    }
    if (data == NULL && size != 0) return conc__fail(CONC_INVALID, "conc_procpool_reply: NULL");
    if (size > conc__pp_here.reply_max - slot->reply) {
        return conc__fail(CONC_INVALID, "conc_procpool_reply: more than the pool's size_max of %llu bytes",
                          (unsigned long long)conc__pp_here.reply_max);
    }
    slot->reply += size;
    return conc__pp_write((const char *)data, size) ? CONC_OK : CONC_CLOSED;
}

/* ---- tasks --------------------------------------------------------------------------------------------- */

static conc_fn conc__pp_function(uint64_t fn) {
    if (fn != conc__pp_here.last_number) {
        conc_fn found = NULL;
        if (conc__pp_here.forked) {
            uintptr_t address = (uintptr_t)fn;
            memcpy(&found, &address, sizeof found);
        } else {
            found = conc__task_of_name(conc__pp_here.names + fn * 64u);
        }
        conc__pp_here.last = found;
        conc__pp_here.last_number = fn;
    }
    return conc__pp_here.last;
}

static char *conc__pp_bytes(conc__pp_slot *slot) {
    uint32_t place = slot->place & 3u;
    if (place == CONC__PP_IN_AREA) return conc__pp_here.area + (size_t)slot->at;
    if (place == CONC__PP_IN_BUFFER) return conc__pp_here.buffers + (size_t)slot->at;
    return slot->size != 0 ? slot->bytes : NULL;
}

/* One item is about to begin; false: the parent has halted this. */
static bool conc__pp_begins(conc__pp_slot *slot, uint32_t number) {
    if ((slot->place & CONC__PP_TIMED) != 0) {
        conc__store32(&conc__pp_here.words->since, (uint32_t)(conc__port_clock_ns() / 1000000),
                      CONC__RELAXED);
    }
    conc__store32(&slot->begun, number, CONC__SEQ_CST);
    return conc__load32(&slot->state, CONC__SEQ_CST) != CONC__PP_HALT;
}

/* One item has returned. In a process that it has forked we are not to be: that has no worker's work to do. */
static void conc__pp_returned(conc__pp_slot *slot, int code) {
    conc__agent *me = conc__self_fast();
    if (CONC__UNLIKELY(conc__fork_generation() != conc__pp_here.generation)) conc__port_exit(0);
    me->cancel = NULL; /* a token that a task has left is not ours */
    slot->done++;
    if (code != 0 && slot->failed == 0) {
        size_t n = strlen(me->detail);
        slot->code = code;
        slot->failed = slot->done;
        memcpy(conc__pp_here.words->text, me->detail, n + 1);
    }
}

static void conc__pp_unknown(conc__pp_slot *slot) {
    (void)conc__fail(CONC_INVALID, "the function is not registered there before conc_process_main()");
    conc__pp_returned(slot, CONC_INVALID);
}

static void conc__pp_run_map(conc__pp_slot *slot, conc_fn task) {
    conc_pool_map_fn fn;
    conc__pp_map_places p;
    char *bytes = conc__pp_bytes(slot);
    const conc__pp_map_head *head = (const conc__pp_map_head *)(void *)bytes;
    uint32_t i;
    memcpy(&fn, &task, sizeof fn);
    p = conc__pp_map_place(head->arg_size, head->in_size, head->out_size, slot->count);
    for (i = 0; i < slot->count; i++) {
        if (!conc__pp_begins(slot, i + 1)) return;
        if (task == NULL) {
            conc__pp_unknown(slot);
            continue;
        }
        conc__self_fast()->detail[0] = '\0';
        conc__pp_returned(slot, fn(bytes + p.in + i * (size_t)head->in_size,
                                   bytes + p.out + i * (size_t)head->out_size,
                                   head->arg_size != 0 ? bytes + p.arg : NULL));
    }
}

static void conc__pp_do(conc__pp_slot *slot) {
    conc_fn fn = conc__pp_function(slot->fn);
    conc__pp_here.slot = slot;
    if (fn == NULL && slot->count == 0) {
        conc__pp_unknown(slot);
    } else if (slot->count != 0) {
        conc__pp_run_map(slot, fn);
    } else if (conc__pp_begins(slot, 1)) {
        conc__self_fast()->detail[0] = '\0';
        conc__pp_returned(slot, fn(conc__pp_bytes(slot)));
    }
    conc__pp_here.slot = NULL;
    (void)fflush(stdout); /* what it has printed is seen before its end */
    if (slot->failed != 0) {
        const char *text = conc__pp_here.words->text;
        size_t n = strlen(text);
        if (conc__pp_write(text, n)) slot->text = (uint32_t)n;
    }
}

/* Until it is stopped; false: the parent is gone. */
static bool conc__pp_work(void) {
    conc__pp_words *w = conc__pp_here.words;
    for (;;) {
        uint32_t posted = conc__load32(&w->posted, CONC__ACQUIRE);
        if (posted == conc__pp_here.taken) {
            if (conc__load32(&w->stop, CONC__ACQUIRE) != 0 &&
                conc__load32(&w->posted, CONC__ACQUIRE) == posted)
                return true;
            if (!conc__pp_await(conc__pp_has_work, &w->asleep, false)) return false;
            continue;
        }
        while (conc__pp_here.taken != posted) {
            conc__pp_slot *slot = &conc__pp_here.slots[conc__pp_here.taken % CONC__PP_SLOTS];
            uint32_t is = CONC__PP_POSTED;
            if (conc__cas32(&slot->state, &is, CONC__PP_BEGUN, CONC__ACQ_REL)) conc__pp_do(slot);
            conc__store32(&w->done, ++conc__pp_here.taken, CONC__SEQ_CST);
            if (conc__load32(&w->wants, CONC__SEQ_CST) != 0 && conc__swap32(&w->wants, 0, CONC__ACQ_REL) != 0)
                conc__pp_ring_parent();
        }
    }
}

/* The initialiser's bytes stay where they are until the process ends. */
static int conc__pp_initialize(conc__pp_params *p) {
    conc_fn fn = conc__pp_function(p->initialize);
    int code;
    if (p->initialize == 0) return 0;
    conc__self()->detail[0] = '\0';
    if (fn == NULL) {
        (void)conc__fail(CONC_INVALID, "it is not registered there before conc_process_main()");
        code = CONC_INVALID;
    } else {
        code = fn(p->init_size != 0 ? (char *)p + CONC__PP_PARAMS : NULL);
    }
    if (conc__fork_generation() != conc__pp_here.generation) conc__port_exit(0);
    if (code != 0) memcpy(conc__pp_here.words->text, conc__self()->detail, sizeof conc__pp_here.words->text);
    return code;
}

int conc__procpool_worker(void *params) {
    conc__pp_params *p = (conc__pp_params *)params;
    char *data = (char *)conc_shared_data(conc_process_shared(0));
    conc__pp_words *w = (conc__pp_words *)(void *)data;
    int code;
    if (data == NULL) return 1; /* somebody has called this by its name */
    memset(&conc__pp_here, 0, sizeof conc__pp_here);
    conc__pp_here.words = w;
    conc__pp_here.slots = (conc__pp_slot *)(void *)(data + CONC__PP_SLOTS_AT);
    conc__pp_here.names = data + CONC__PP_NAMES_AT;
    conc__pp_here.replies = data + CONC__PP_REPLY_AT;
    conc__pp_here.area = data + CONC__PP_AREA_AT;
    conc__pp_here.buffers = (char *)conc_shared_data(conc_process_shared(1));
    conc__pp_here.number = p->number;
    conc__pp_here.forked = p->forked != 0;
    conc__pp_here.reply_max = p->reply_max;
    conc__pp_here.generation = conc__fork_generation();
    conc__pp_here.fd = conc__process_becomes_worker();
    conc__port_ignore_interrupt();
    code = p->memory_limit != 0 ? conc__port_limit_memory(p->memory_limit) : 0;
    if (code != 0) {
        (void)conc__fail_system(CONC_SYSTEM, code, "cannot limit its memory");
        memcpy(w->text, conc__self()->detail, sizeof w->text);
    } else {
        code = conc__pp_initialize(p);
    }
    conc__store32(&w->ready, code == 0 ? 1 : 2, CONC__RELEASE);
    if (code != 0) return code;
    if (!conc__pp_has_work()) conc__pp_ring_parent(); /* it may take what others have not begun: `ready` is stored */
    return conc__pp_work() ? 0 : 1;
}
