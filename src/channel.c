/* ============================================================================================
 * channel: see process.h.
 *
 * A stream of frames, each of 8 bytes of length and as many as that says. What one end has put goes from its buffer
 * `rest`, which is empty but while a frame is on its way; what the other receives comes into its buffer, out of which
 * whole frames are handed.
 * ========================================================================================== */

#include "internal.h"

#define CONC__FRAME_HEAD 8u
#define CONC__CHANNEL_READ ((size_t)65536) /* received at once, if it is there */
#define CONC__CHANNEL_KEEP ((size_t)262144) /* the largest buffer that is kept without need */

#define CONC__SIDE_CLOSED 1u
#define CONC__SIDE_HAS 2u /* there is a whole frame inside */

/* A side is an object of its own, as its waiters look at its first word; see conc__polled_arm(). */
typedef struct conc__channel_side {
    uint32_t state;  /* atomic: the bits above. The first is set once, the other under the lock. First */
    uint32_t number; /* constant; see CONC__POLLED() */
    conc_channel *channel;
    conc__lock lock; /* guards the next four, while nobody waits for anything */
    char *data;
    size_t capacity, begin, end; /* what is to be sent, or has been received, is from begin to end */
    bool broken;
    uint32_t left; /* atomic: of the side that sends: a rest that nobody waits for any more; written under the lock */
} conc__channel_side;

struct conc_channel {
    conc__channel_side in, out;
    uint32_t holds; /* atomic: the handle, and each op from its first attempt to its end; who takes the last frees it */
    intptr_t fd;
    size_t message_max;
    uint32_t generation;
};

conc_channel *conc__channel_new(intptr_t fd, size_t message_max) {
    conc_channel *c = (conc_channel *)conc__alloc(1, sizeof *c, "a channel");
    if (c == NULL) {
        conc__port_socket_close(fd);
        return NULL;
    }
    c->holds = 1;
    c->fd = fd;
    c->message_max = message_max;
    c->generation = conc__fork_generation();
    c->in.channel = c->out.channel = c;
    c->in.number = c->out.number = conc__polled_number_new();
    return c;
}

intptr_t conc__channel_fd(const conc_channel *c) {
    return c->fd;
}

void conc__channel_forked(conc_channel *c) {
    conc__port_socket_close(c->fd);
    c->fd = -1;
}

void conc__channel_free(conc_channel *c) {
    if (c == NULL || conc__sub32(&c->holds, 1, CONC__ACQ_REL) != 1) return;
    if (c->generation == conc__fork_generation()) conc__port_socket_close(c->fd);
    conc__free(c->in.data);
    conc__free(c->out.data);
    conc__free(c);
}

static void conc__side_close(conc__channel_side *s, unsigned side) {
    (void)conc__or32(&s->state, CONC__SIDE_CLOSED, CONC__ACQ_REL);
    (void)conc__wake_waiters(conc__polled_key(s->channel->fd, side), CONC__ANY_TAG, CONC_ALL);
}

conc_result conc_channel_close(conc_channel *c) {
    if (c == NULL) return conc__fail(CONC_INVALID, "conc_channel_close: no channel");
    if (c->generation != conc__fork_generation()) {
        return conc__fail(CONC_FORKED, "conc_channel_close: the channel is the parent's");
    }
    if ((conc__load32(&c->in.state, CONC__ACQUIRE) & CONC__SIDE_CLOSED) != 0) return CONC_OK;
    conc__channel_flush(c);
    conc__side_close(&c->in, 0);
    conc__side_close(&c->out, 1);
    (void)conc__port_socket_shutdown(c->fd, CONC__PORT_READ | CONC__PORT_WRITE);
    return CONC_OK;
}

static void conc__channel_let_go(conc_op *op, const conc_op_class *classes) {
    op->cls = &classes[0];
    conc__channel_free(((conc__channel_side *)op->object)->channel);
}

/* Whoever is woken by the close may come here when the handle is gone. So an op holds the channel from its first attempt
 * until it is complete or abandoned. It does while its class is the second of the two at `classes`. */
static conc_result conc__channel_attempt(conc_op *op, const conc_op_class *classes, conc_result (*attempt)(conc_op *op)) {
    conc_result r;
    if (op->object == NULL || op->data == NULL) {
        return conc__fail(CONC_INVALID, "conc_op_%s: no channel or no message", op->cls->name);
    }
    if (op->cls == &classes[0]) {
        (void)conc__add32(&((conc__channel_side *)op->object)->channel->holds, 1, CONC__RELAXED);
        op->cls = &classes[1];
    }
    r = attempt(op);
    if (r != CONC_PENDING) conc__channel_let_go(op, classes);
    return r;
}

/* What every attempt begins with. */
static conc_result conc__channel_ready(const conc_op *op) {
    const conc__channel_side *s = (const conc__channel_side *)op->object;
    if (s->channel->generation != conc__fork_generation()) {
        return conc__fail(CONC_FORKED, "conc_op_%s: the channel is the parent's", op->cls->name);
    }
    return (conc__load32(&s->state, CONC__ACQUIRE) & CONC__SIDE_CLOSED) != 0 ? CONC_CLOSED : CONC_OK;
}

static conc_result conc__channel_fail(const conc_op *op, int e, const char *what) {
    switch (conc__port_kind_of(e)) {
    case CONC__PORT_WOULD_BLOCK: conc__polled_drained(op->word); return CONC_PENDING;
    case CONC__PORT_BROKEN: return CONC_CLOSED;
    case CONC__PORT_NO_BUFFERS: return conc__fail_system(CONC_NO_MEMORY, e, what);
    case CONC__PORT_OTHER:
    case CONC__PORT_TABLE_FULL:
    case CONC__PORT_ABORTED:
    default: return conc__fail_system(CONC_SYSTEM, e, what);
    }
}

/* Room for `size` bytes from `begin` on. */
static bool conc__side_room(conc__channel_side *s, size_t size) {
    char *data;
    if (s->begin != 0) {
        memmove(s->data, s->data + s->begin, s->end - s->begin);
        s->end -= s->begin;
        s->begin = 0;
    }
    if (size <= s->capacity) return true;
    data = (char *)conc__realloc(s->data, size, 1, "a channel's messages");
    if (data == NULL) return false;
    s->data = data;
    s->capacity = size;
    return true;
}

/* It is empty. */
static void conc__side_emptied(conc__channel_side *s) {
    s->begin = s->end = 0;
    if (s->capacity <= CONC__CHANNEL_KEEP) return;
    conc__free(s->data);
    s->data = NULL;
    s->capacity = 0;
}

/* ---- putting --------------------------------------------------------------------------------------------- */

static int conc__channel_send(conc__channel_side *s) {
    int e = 0;
    while (e == 0 && s->begin < s->end) {
        size_t n;
        e = conc__port_socket_send(s->channel->fd, s->data + s->begin, s->end - s->begin, &n);
        s->begin += n;
    }
    if (s->begin == s->end && s->end != 0) {
        conc__side_emptied(s);
        conc__store32(&s->left, 0, CONC__RELAXED);
    }
    return e;
}

void conc__channel_flush(conc_channel *c) {
    conc__lock_take(&c->out.lock);
    (void)conc__channel_send(&c->out);
    conc__lock_give(&c->out.lock);
}

/* out->done is not 0 once a part of the message has gone: then the rest is only waited for. */
static conc_result conc__channel_put_try(conc_op *op) {
    conc__channel_side *s = (conc__channel_side *)op->object;
    conc_out *out = (conc_out *)op->data;
    conc_result r = conc__channel_ready(op);
    uint64_t size;
    int e;
    if (r != CONC_OK) return r;
    if (out->size > s->channel->message_max || (out->data == NULL && out->size != 0)) {
        return conc__fail(CONC_INVALID, "conc_channel_put: a message of %zu bytes, where %zu are allowed", out->size,
                          s->channel->message_max);
    }
    conc__lock_take(&s->lock);
    e = conc__channel_send(s);
    if (e == 0 && out->done == 0) {
        if (!conc__side_room(s, CONC__FRAME_HEAD + out->size)) {
            conc__lock_give(&s->lock);
            return CONC_NO_MEMORY;
        }
        size = out->size;
        memcpy(s->data, &size, CONC__FRAME_HEAD);
        if (out->size != 0) memcpy(s->data + CONC__FRAME_HEAD, out->data, out->size);
        s->end = CONC__FRAME_HEAD + out->size;
        e = conc__channel_send(s);
        if (e != 0 && s->begin == 0) {
            conc__side_emptied(s); /* nothing of it has gone: it has not begun */
        } else {
            out->done = 1;
        }
    }
    conc__lock_give(&s->lock);
    if (e == 0) out->done = out->size;
    return e == 0 ? CONC_OK : conc__channel_fail(op, e, "cannot send a message");
}

static const conc_op_class *conc__channel_puts(void);

static conc_result conc__channel_put_attempt(conc_op *op) {
    return conc__channel_attempt(op, conc__channel_puts(), conc__channel_put_try);
}

static void conc__channel_put_abandon(conc_op *op) {
    conc_out *out = (conc_out *)op->data;
    conc__channel_side *s = (conc__channel_side *)op->object;
    if (out->done != 0 && op->result == CONC_PENDING) {
        conc__lock_take(&s->lock);
        conc__store32(&s->left, s->begin != s->end, CONC__RELAXED);
        conc__lock_give(&s->lock);
        out->done = out->size;
        op->result = CONC_OK;
    }
    conc__channel_let_go(op, conc__channel_puts());
}

static const conc_op_class *conc__channel_puts(void) {
    static const conc_op_class classes[2] = {
        { "channel_put", CONC_FULL, conc__channel_put_attempt, conc__polled_arm, NULL, NULL },
        { "channel_put", CONC_FULL, conc__channel_put_attempt, conc__polled_arm, NULL, conc__channel_put_abandon }
    };
    return classes;
}

conc_op conc_op_channel_put(conc_channel *c, conc_out *out) {
    conc_op op = conc_op_make(conc__channel_puts(), c != NULL ? &c->out : NULL, out);
    if (out != NULL) out->done = 0;
    if (c != NULL) op.word = CONC__POLLED(c->fd, 1, c->out.number);
    return op;
}

conc_result conc_channel_put(conc_channel *c, const void *data, size_t size, conc_deadline deadline) {
    conc_out out;
    conc_op op;
    out.data = data;
    out.size = size;
    op = conc_op_channel_put(c, &out);
    return conc__wait_op(&op, deadline);
}

/* ---- getting --------------------------------------------------------------------------------------------- */

/* Whether there is a whole frame, and how long it is. False with `broken`: what is there is no frame. */
static bool conc__side_has(conc__channel_side *s, size_t *size) {
    uint64_t n;
    if (s->end - s->begin < CONC__FRAME_HEAD) return false;
    memcpy(&n, s->data + s->begin, CONC__FRAME_HEAD);
    if (n > s->channel->message_max) {
        s->broken = true;
        return false;
    }
    *size = (size_t)n;
    return s->end - s->begin - CONC__FRAME_HEAD >= *size;
}

/* Receives until there is a whole frame. The lock is held. */
static conc_result conc__channel_receive(conc_op *op, conc__channel_side *s, size_t *size) {
    *size = 0;
    while (!conc__side_has(s, size)) {
        size_t n, want = CONC__FRAME_HEAD + *size;
        int e;
        if (s->broken) return conc__fail(CONC_BROKEN, "conc_channel_get: what comes is no message");
        if (!conc__polled_may_be_ready(op->word)) return CONC_PENDING;
        if (!conc__side_room(s, want > CONC__CHANNEL_READ ? want : CONC__CHANNEL_READ)) return CONC_NO_MEMORY;
        e = conc__port_socket_receive(s->channel->fd, s->data + s->end, s->capacity - s->end, &n);
        if (e != 0) {
            conc_result r = conc__channel_fail(op, e, "cannot receive a message");
            if (r != CONC_CLOSED) return r;
            n = 0; /* it was cut: that is an end as well */
        }
        if (n == 0 && s->end != s->begin) {
            return conc__fail(CONC_BROKEN, "conc_channel_get: the other side ended in the middle of a message");
        }
        if (n == 0) return CONC_CLOSED;
        s->end += n;
    }
    return CONC_OK;
}

/* One that leaves a whole frame behind says so, before the next waiter is woken: its descriptor may not be readable
 * any more. */
static conc_result conc__channel_get_try(conc_op *op) {
    conc__channel_side *s = (conc__channel_side *)op->object;
    conc_io *io = (conc_io *)op->data;
    conc_result r = conc__channel_ready(op);
    size_t size;
    bool more = false;
    if (r != CONC_OK) return r;
    io->done = 0;
    op->due = CONC_FOREVER;
    /* the answer may hang on it: see again soon */
    if (CONC__UNLIKELY(conc__load32(&s->channel->out.left, CONC__RELAXED) != 0)) {
        conc__channel_flush(s->channel);
        if (conc__load32(&s->channel->out.left, CONC__RELAXED) != 0) op->due = conc_after(0.005);
    }
    conc__lock_take(&s->lock);
    r = conc__channel_receive(op, s, &size);
    if (r == CONC_OK) {
        io->done = size;
        if (size > io->size || (io->data == NULL && size != 0)) {
            r = conc__fail(CONC_FULL, "conc_channel_get: a message of %zu bytes, and room for %zu", size, io->size);
        } else {
            if (size != 0) memcpy(io->data, s->data + s->begin + CONC__FRAME_HEAD, size);
            s->begin += CONC__FRAME_HEAD + size;
            if (s->begin == s->end) conc__side_emptied(s);
        }
        more = conc__side_has(s, &size);
        if (more) {
            (void)conc__or32(&s->state, CONC__SIDE_HAS, CONC__ACQ_REL);
        } else {
            (void)conc__and32(&s->state, ~CONC__SIDE_HAS, CONC__ACQ_REL);
        }
    }
    conc__lock_give(&s->lock);
    if (more) (void)conc__wake_waiters(conc__polled_key(s->channel->fd, 0), CONC__ANY_TAG, 1);
    return r;
}

static const conc_op_class *conc__channel_gets(void);

static conc_result conc__channel_get_attempt(conc_op *op) {
    return conc__channel_attempt(op, conc__channel_gets(), conc__channel_get_try);
}

static void conc__channel_get_abandon(conc_op *op) {
    conc__channel_let_go(op, conc__channel_gets());
}

static const conc_op_class *conc__channel_gets(void) {
    static const conc_op_class classes[2] = {
        { "channel_get", CONC_EMPTY, conc__channel_get_attempt, conc__polled_arm, NULL, NULL },
        { "channel_get", CONC_EMPTY, conc__channel_get_attempt, conc__polled_arm, NULL, conc__channel_get_abandon }
    };
    return classes;
}

conc_op conc_op_channel_get(conc_channel *c, conc_io *io) {
    conc_op op = conc_op_make(conc__channel_gets(), c != NULL ? &c->in : NULL, io);
    if (c != NULL) op.word = CONC__POLLED(c->fd, 0, c->in.number);
    return op;
}

conc_result conc_channel_get(conc_channel *c, void *buffer, size_t size, size_t *length, conc_deadline deadline) {
    conc_io io;
    conc_op op = conc_op_channel_get(c, &io);
    conc_result r;
    io.data = buffer;
    io.size = size;
    io.done = 0;
    r = conc__wait_op(&op, deadline);
    if (length != NULL) *length = io.done;
    return r;
}
