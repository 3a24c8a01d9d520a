/* ============================================================================================
 * process: see process.h.
 *
 * WHAT GOES OVER. Parent and child share one block of memory (conc__process_block): what the child is to do, the
 * argument's bytes, on which the task works in place, and how it went. The task's return is published by one store in
 * it. So a result of any size needs nobody who takes it while the process is ending, a process that dies half way has
 * plainly not stored that word, and how it ended is known even if its status is lost (SIGCHLD ignored).
 *
 * WHO HOLDS WHAT. All children have a lifeline: the read end of one pipe, whose write end the parent alone holds. A
 * child of any fork(), also one that this module has not made, closes at its beginning, in conc__processes_reset(),
 * the parent's lifeline, all the parent's ends of channels, and what another thread is just handing to a child.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define CONC__BLOCK_MAGIC 0x636f6e63u
#define CONC__BLOCK_HEAD ((sizeof(conc__process_block) + 63u) / 64u * 64u)
#define CONC__PROCESS_OPTION "--conc-process"

#define CONC__TASK_STARTED 0u
#define CONC__TASK_RETURNED 1u
#define CONC__TASK_REFUSED 2u /* it could not be begun: `text` says why */

typedef struct conc__process_block {
    uint32_t magic;
    uint32_t state; /* atomic: publishes `code`, `text` and the argument */
    int32_t code;
    uint32_t daemon;
    int64_t life, channel; /* descriptors, or -1 */
    uint64_t size, message_max, shared_count;
    struct {
        int64_t fd;
        uint64_t size;
    } shared[CONC_PROCESS_SHARED_MAX];
    char task[64], name[32], text[160];
    char passed[CONC__PORT_PASSED]; /* how a spawned process opens its channel */
} conc__process_block;

struct conc_shared {
    conc__port_block block;
};

struct conc_process {
    struct conc_process *next;  /* guarded by the list's lock, as are... */
    size_t users;               /* ...calls under way, */
    bool open;                  /* whether the handle can still be joined or detached, */
    bool killed;                /* whether it was ended by the program's end */
    conc__port_ending ending;   /* written before `ended` */
    uint32_t ended;             /* atomic: publishes `ending`; written under the lock */
    uint32_t told;              /* atomic: the port has told its end, where it does. Its waiters stand under its
                                   address */
    conc__port_process os;
    conc__port_block block;
    void *arg;                  /* constant, as all that follow */
    size_t size;
    bool daemon;
    conc_channel *channel;
    char name[32];
};

/* ---- this process's own -------------------------------------------------------------------------------- */

static conc__lock conc__processes;              /* guards the list, and the fields named above */
static conc_process *conc__process_list;        /* started here, and not given back or not ended */
static conc_process *conc__process_forked;      /* those of the parent */
static conc__lock conc__process_starts;         /* held while one is started; guards the next five */
static bool conc__process_over;                 /* the program has ended: no more is started */
static intptr_t conc__life[2];                  /* where conc__has_life */
static bool conc__has_life;
static intptr_t conc__starting = -1;            /* the child's end of a channel, until the child has it */
static uint32_t conc__starter;                  /* the owner that starts it */
static uint32_t conc__process_count;            /* atomic: for names */
static uint32_t conc__process_generation;       /* that all of this is of */

typedef struct conc__task_name {
    struct conc__task_name *next;
    const char *name;
    conc_fn fn;
    uint32_t number; /* from 1 on; in this process */
} conc__task_name;
static conc__task_name *conc__task_names;       /* guarded by the lock */
static const char *conc__program;               /* set by conc_process_main(): how this program was called */

static struct {                                 /* written by a child before its task begins */
    bool is_child, daemon;
    bool worker;                                /* channel and shared memory are its pool's, and not for tasks */
    intptr_t keep;                              /* a descriptor, or -1 */
    conc_channel *channel;
    size_t shared_count;
    conc_shared *shared[CONC_PROCESS_SHARED_MAX];
    char name[32];
} conc__here;

/* In the child of any fork(). (A simulation's new worlds have none of this, and leave it alone.) */
static void conc__processes_reset(void) {
    conc_process *p, *last = NULL;
    if (conc__fork_generation() == conc__process_generation) return;
    conc__process_generation = conc__fork_generation();
    conc__processes = conc__process_starts = 0;
    for (p = conc__process_list; p != NULL; p = p->next) {
        if (p->channel != NULL) conc__channel_forked(p->channel);
#if CONC__PROCESS_FORKS
        conc__port_process_close(&p->os);
#endif
        last = p;
    }
    if (last != NULL) {
        last->next = conc__process_forked;
        conc__process_forked = conc__process_list;
        conc__process_list = NULL;
    }
    if (conc__starting >= 0 && conc__starter != conc__self()->owner) conc__port_socket_close(conc__starting);
    conc__starting = -1;
    conc__process_over = false;
    if (conc__has_life) conc__port_life_close(conc__life[1]);
    conc__has_life = false; /* (the other end does no harm; it is a child's lifeline) */
    if (conc__here.is_child) { /* this is a child's child, made without us */
        if (conc__here.channel != NULL) conc__channel_forked(conc__here.channel);
        if (conc__here.keep >= 0) conc__port_socket_close(conc__here.keep);
        conc__here.keep = -1;
    }
}

static void conc__processes_begin(void) {
    conc__on_fork(CONC__RESET_PROCESSES, conc__processes_reset);
}

/* ---- records ------------------------------------------------------------------------------------------- */

static bool conc__process_is_in(const conc_process *list, const conc_process *p) {
    while (list != NULL && list != p) list = list->next;
    return list != NULL;
}

static bool conc__process_has_ended(const conc_process *p) {
    return conc__load32(&p->ended, CONC__ACQUIRE) != 0;
}

/* Looks whether it has ended. The lock is held. */
static bool conc__process_look(conc_process *p) {
    if (!conc__process_has_ended(p) && conc__port_process_reap(&p->os, &p->ending)) {
        conc__store32(&p->ended, 1, CONC__RELEASE);
    }
    return conc__process_has_ended(p);
}

static void conc__process_free(conc_process *p) {
    conc__port_process_close(&p->os);
    conc__port_block_free(&p->block);
    conc__channel_free(p->channel);
    conc__free(p);
}

/* Takes it out of the list, if nobody needs it there any more. The lock is held; true: it is the caller's to free. */
static bool conc__process_drop(conc_process *p) {
    conc_process **link = &conc__process_list;
    if (p->open || p->users != 0 || !conc__process_has_ended(p)) return false;
    while (*link != p) link = &(*link)->next;
    *link = p->next;
    return true;
}

/* Counts the caller in as a user of the open handle `p`, which may be anything. */
static conc_result conc__process_use(conc_process *p, const char *what) {
    conc_result r = CONC_OK;
    if (p == NULL) return conc__fail(CONC_INVALID, "%s: NULL", what);
    conc__processes_begin();
    conc__lock_take(&conc__processes);
    if (conc__process_is_in(conc__process_list, p) && p->open) {
        p->users++;
    } else {
        r = conc__process_is_in(conc__process_forked, p) ? CONC_FORKED : CONC_INVALID;
    }
    conc__lock_give(&conc__processes);
    if (r == CONC_FORKED) return conc__fail(r, "%s: the process is the parent's", what);
    if (r != CONC_OK) return conc__fail(r, "%s: no such process: it was joined or detached before", what);
    return r;
}

static void conc__process_unuse(conc_process *p) {
    bool mine;
    conc__lock_take(&conc__processes);
    p->users--;
    mine = conc__process_drop(p);
    conc__lock_give(&conc__processes);
    if (mine) conc__process_free(p);
}

/* How it went; `text` gets the sentence if it is not CONC_OK. It has ended. */
static conc_result conc__process_outcome(const conc_process *p, int *code, char *text, size_t size) {
    const conc__process_block *b = (const conc__process_block *)p->block.data;
    uint32_t state = conc__load32(&b->state, CONC__ACQUIRE);
    const conc__port_ending *e = &p->ending;
    const char *name;
    text[0] = '\0';
    if (e->known && e->signaled) {
        name = conc__port_signal_name(e->code);
        *code = -e->code;
        (void)snprintf(text, size, "process \"%s\" was ended by signal %d%s%s%s", p->name, e->code,
                       name != NULL ? " (" : "", name != NULL ? name : "", name != NULL ? ")" : "");
        return CONC_CRASHED;
    }
    if (state == CONC__TASK_RETURNED) {
        *code = (int)b->code;
        return CONC_OK;
    }
    *code = e->known ? e->code : -1;
    if (state == CONC__TASK_REFUSED) {
        char why[sizeof b->text];
        memcpy(why, b->text, sizeof why);
        why[sizeof why - 1] = '\0';
        (void)snprintf(text, size, "process \"%s\" could not begin: %s", p->name, why);
    } else if (e->known) {
        (void)snprintf(text, size, "process \"%s\" ended with exit code %d before its task returned", p->name, e->code);
    } else {
        (void)snprintf(text, size, "process \"%s\" ended before its task returned; its status was taken by somebody else",
                       p->name);
    }
    return CONC_CRASHED;
}

static void conc__process_report(const conc_process *p, conc_result r, int code, const char *text) {
    if (r == CONC_OK && code != 0) {
        conc__report(CONC_FAILED, code, p->name, "the task of process \"%s\" returned %d, and nobody looked at it", p->name,
                     code);
    } else if (r != CONC_OK) {
        conc__report(r, code, p->name, "%s", text);
    }
}

/* Those that have been detached and have ended meanwhile are given back; their failures are told. */
static void conc__processes_sweep(void) {
    for (;;) {
        char text[400];
        conc_result r;
        int code;
        conc_process *p;
        conc__lock_take(&conc__processes);
        for (p = conc__process_list; p != NULL; p = p->next) {
            if (!p->open && p->users == 0 && conc__process_look(p) && conc__process_drop(p)) break;
        }
        conc__lock_give(&conc__processes);
        if (p == NULL) return;
        r = conc__process_outcome(p, &code, text, sizeof text);
        if (!p->killed) conc__process_report(p, r, code, text);
        conc__process_free(p);
    }
}

/* ---- the end of one ------------------------------------------------------------------------------------ */

#if CONC__PROCESS_POLLED
#define conc__process_arm conc__polled_arm

/* What it waits for. A pipe that was closed, when the process has not ended: it is about to, mostly; but a task may
 * have closed all descriptors. Then, and where there is no pipe, we look again every few milliseconds, and sleep meanwhile
 * on what never becomes readable. And now and then in any case: another process may have the pipe, by a fork() at that
 * moment. */
static void conc__process_aim(conc_op *op, conc_process *p) {
    op->word = CONC__POLLED(p->os.end, 0, 0);
    if (p->os.early) {
        conc__port_pollfd look;
        int error;
        look.fd = p->os.end;
        look.want = CONC__PORT_READ;
        op->due = conc_after(0.1);
        if (p->os.end < 0 || conc__port_poll(&look, 1, INT64_MIN, &error) > 0) {
            op->word = CONC__POLLED(conc__life[1], 0, 0);
            op->due = conc_after(0.002);
        }
    }
}

#else

/* The port tells it. */
static void conc__process_told(void *arg) {
    conc_process *p = (conc_process *)arg;
    conc__store32(&p->told, 1, CONC__RELEASE);
    (void)conc__wake_waiters(&p->told, CONC__ANY_TAG, CONC_ALL);
}

static bool conc__process_arm(conc_op *op, conc_node *node) {
    conc_process *p = (conc_process *)op->object;
    conc__bucket *b = conc__bucket_lock(&p->told);
    bool wait = conc__load32(&p->told, CONC__ACQUIRE) == 0;
    if (wait) conc__bucket_push(b, &p->told, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static void conc__process_aim(conc_op *op, conc_process *p) {
    (void)op;
    (void)p;
}

#endif

/* op->data is not NULL while the op counts as a user of the record. */
static void conc__process_end_abandon(conc_op *op) {
    if (op->data == NULL) return;
    op->data = NULL;
    conc__process_unuse((conc_process *)op->object);
}

static conc_result conc__process_end_attempt(conc_op *op) {
    conc_process *p = (conc_process *)op->object;
    bool ended;
    if (op->data == NULL) {
        conc_result r = conc__process_use(p, "conc_op_process_end");
        if (r != CONC_OK) return r;
        op->data = p;
    }
    conc__lock_take(&conc__processes);
    ended = conc__process_look(p);
    conc__lock_give(&conc__processes);
    if (!ended) {
        conc__process_aim(op, p);
        return CONC_PENDING;
    }
    conc__process_end_abandon(op);
    return CONC_OK;
}

conc_op conc_op_process_end(conc_process *p) {
    static const conc_op_class cls = { "process_end",     CONC_BUSY, conc__process_end_attempt,
                                       conc__process_arm, NULL,      conc__process_end_abandon };
    return conc_op_make(&cls, p, NULL);
}

conc_result conc_process_join(conc_process *p, int *code, conc_deadline deadline) {
    char text[400];
    conc_op op = conc_op_process_end(p);
    conc_result r = conc__process_use(p, "conc_process_join");
    int result = 0;
    bool mine;
    if (r != CONC_OK) return r;
    r = conc__wait_op(&op, deadline);
    if (r != CONC_OK) {
        conc__process_unuse(p);
        return r;
    }
    if (p->channel != NULL) (void)conc_channel_close(p->channel);
    conc__lock_take(&conc__processes);
    mine = p->open;
    p->open = false;
    conc__lock_give(&conc__processes);
    if (!mine) {
        r = conc__fail(CONC_INVALID, "conc_process_join: another thread joined or detached it first");
    } else {
        r = conc__process_outcome(p, &result, text, sizeof text);
        if (r == CONC_OK && p->size != 0) memcpy(p->arg, (const char *)p->block.data + CONC__BLOCK_HEAD, p->size);
        if (r != CONC_OK) (void)conc__fail(r, "%s", text);
        if (code != NULL) {
            *code = result;
        } else {
            conc__process_report(p, r, result, text);
        }
    }
    conc__process_unuse(p);
    return r;
}

conc_result conc_process_detach(conc_process *p) {
    conc_result r = conc__process_use(p, "conc_process_detach");
    if (r != CONC_OK) return r;
    if (p->channel != NULL) (void)conc_channel_close(p->channel);
    conc__lock_take(&conc__processes);
    if (!p->open) r = CONC_INVALID;
    p->open = false;
    p->users--;
    conc__lock_give(&conc__processes);
    if (r != CONC_OK) (void)conc__fail(r, "conc_process_detach: another thread joined or detached it first");
    conc__processes_sweep();
    return r;
}

static conc_result conc__process_signal(conc_process *p, bool kill, const char *what) {
    conc_result r = conc__process_use(p, what);
    int e = 0;
    if (r != CONC_OK) return r;
    conc__lock_take(&conc__processes); /* nobody reaps it meanwhile */
    if (!conc__process_look(p)) e = conc__port_process_signal(&p->os, kill);
    conc__lock_give(&conc__processes);
    conc__process_unuse(p);
    return e == 0 ? CONC_OK : conc__fail_system(CONC_SYSTEM, e, what);
}

conc_result conc_process_terminate(conc_process *p) {
    return conc__process_signal(p, false, "conc_process_terminate");
}

conc_result conc_process_kill(conc_process *p) {
    return conc__process_signal(p, true, "conc_process_kill");
}

conc_result conc_process_stop(conc_process *p, int *code, conc_deadline deadline) {
    conc_op op = conc_op_process_end(p);
    conc_result r = conc__process_use(p, "conc_process_stop");
    if (r != CONC_OK) return r;
    if (p->channel != NULL) (void)conc_channel_close(p->channel);
    conc__process_unuse(p);
    (void)conc_process_terminate(p);
    r = conc__wait_op(&op, deadline);
    if (r == CONC_TIMEOUT || r == CONC_BUSY) r = conc_process_kill(p);
    return r == CONC_OK ? conc_process_join(p, code, CONC_FOREVER) : r;
}

/* ---- questions ----------------------------------------------------------------------------------------- */

/* Whether `p` is an open handle, of this process or (its constant parts) of its parent. */
static bool conc__process_is_known(const conc_process *p) {
    bool known;
    conc__processes_begin();
    conc__lock_take(&conc__processes);
    known = (conc__process_is_in(conc__process_list, p) && p->open) || conc__process_is_in(conc__process_forked, p);
    conc__lock_give(&conc__processes);
    return known;
}

long conc_process_pid(const conc_process *p) {
    if (p == NULL) return conc__port_pid();
    return conc__process_is_known(p) ? p->os.pid : 0;
}

const char *conc_process_name(const conc_process *p) {
    if (p == NULL) return conc__here.is_child ? conc__here.name : "main";
    return conc__process_is_known(p) ? p->name : "?";
}

bool conc_process_is_daemon(const conc_process *p) {
    if (p == NULL) return conc__here.is_child && conc__here.daemon;
    return conc__process_is_known(p) && p->daemon;
}

bool conc_process_is_alive(conc_process *p) {
    bool alive;
    if (p == NULL) return true;
    conc__processes_begin();
    conc__lock_take(&conc__processes);
    alive = conc__process_is_in(conc__process_list, p) && p->open && !conc__process_look(p);
    conc__lock_give(&conc__processes);
    return alive;
}

conc_channel *conc_process_channel(conc_process *p) {
    if (p == NULL) return conc__here.worker ? NULL : conc__here.channel;
    return conc__process_is_known(p) ? p->channel : NULL;
}

conc_shared *conc_process_shared(size_t i) {
    return i < conc__here.shared_count && !conc__here.worker ? conc__here.shared[i] : NULL;
}

/* ---- for the process pool -------------------------------------------------------------------------------------------- */

intptr_t conc__process_end_fd(const conc_process *p) {
    return p->os.early ? -1 : p->os.end;
}

intptr_t conc__process_becomes_worker(void) {
    conc__here.worker = true;
    return conc__channel_fd(conc__here.channel);
}

bool conc__process_may_spawn(void) {
    return conc__program != NULL;
}

uint32_t conc__task_number_of(conc_fn fn) {
    const conc__task_name *t;
    uint32_t number;
    conc__lock_take(&conc__processes);
    for (t = conc__task_names; t != NULL && t->fn != fn; t = t->next) {
    }
    number = t != NULL ? t->number : 0;
    conc__lock_give(&conc__processes);
    return number;
}

const char *conc__task_name_of_number(uint32_t number) {
    const conc__task_name *t;
    conc__lock_take(&conc__processes);
    for (t = conc__task_names; t != NULL && t->number != number; t = t->next) {
    }
    conc__lock_give(&conc__processes);
    return t != NULL ? t->name : "";
}

conc_fn conc__task_of_name(const char *name) {
    const conc__task_name *t;
    conc_fn fn;
    conc__lock_take(&conc__processes);
    for (t = conc__task_names; t != NULL && strcmp(t->name, name) != 0; t = t->next) {
    }
    fn = t != NULL ? t->fn : NULL;
    conc__lock_give(&conc__processes);
    return fn;
}

void conc__shared_leave(conc_shared *s) {
    conc__port_block_free(&s->block);
}

/* ---- the end of the program ---------------------------------------------------------------------------- */

/* Waits for one of those that are still there, of the one kind or the other; false: there is none. */
static bool conc__processes_wait_one(bool daemon) {
    conc_process *p;
    conc__lock_take(&conc__processes);
    for (p = conc__process_list; p != NULL; p = p->next) {
        if (p->daemon == daemon && !conc__process_look(p)) break;
    }
    if (p != NULL) {
        p->users++;
        if (daemon) {
            p->killed = true;
            (void)conc__port_process_signal(&p->os, true);
        }
    }
    conc__lock_give(&conc__processes);
    if (p == NULL) return false;
    { /* its handle may be given up by now: the op must not look for it */
        conc_op op = conc_op_process_end(p);
        op.data = p;
        if (conc__wait_uncanceled(&op, CONC_FOREVER) != CONC_OK) return false; /* (the op's end has given it back) */
    }
    return true;
}

static void conc__processes_at_exit(void) {
    conc_process *p;
    (void)fflush(stdout);
    conc__lock_take(&conc__processes);
    for (p = conc__process_list; p != NULL; p = p->next) { /* nobody is to wait for us while we wait for it */
        if (p->channel != NULL) (void)conc_channel_close(p->channel);
    }
    conc__lock_give(&conc__processes);
    while (conc__processes_wait_one(false)) {
    }
    /* Soon the system forgets who is to be told of fork(): a child made then would have locks and ends that are not its. */
    conc__lock_take(&conc__process_starts);
    conc__process_over = true;
    conc__lock_give(&conc__process_starts);
    while (conc__processes_wait_one(true)) {
    }
    conc__lock_take(&conc__processes);
    for (p = conc__process_list; p != NULL; p = p->next) p->open = false; /* nobody will look at these any more */
    conc__lock_give(&conc__processes);
    conc__processes_sweep();
}

/* ---- the child ----------------------------------------------------------------------------------------- */

static void conc__child_refuse(conc__process_block *b, const char *what, int error) {
    char text[128];
    (void)snprintf(b->text, sizeof b->text, "%s%s%s", what, error != 0 ? ": " : "",
                   error != 0 ? conc__port_error_text(error, text, sizeof text) : "");
    conc__store32(&b->state, CONC__TASK_REFUSED, CONC__RELEASE);
}

/* Runs the task, if it can be begun; the process's exit code. */
static int conc__child_run(conc__process_block *b, conc_fn fn) {
    int code, e;
    conc__here.is_child = true;
    conc__here.daemon = b->daemon != 0;
    memcpy(conc__here.name, b->name, sizeof conc__here.name);
    conc__here.name[sizeof conc__here.name - 1] = '\0';
    e = conc__port_life_watch((intptr_t)b->life);
    if (e != 0) {
        conc__child_refuse(b, "cannot watch its parent", e);
        return 1;
    }
    conc__port_thread_set_name(conc__here.name);
    if (b->channel >= 0) {
        conc__here.channel = conc__channel_new((intptr_t)b->channel, (size_t)b->message_max);
        if (conc__here.channel == NULL) {
            conc__child_refuse(b, "no memory for its channel", 0);
            return 1;
        }
    }
    code = fn(b->size != 0 ? (char *)b + CONC__BLOCK_HEAD : NULL);
    if (conc__here.channel != NULL) conc__channel_flush(conc__here.channel);
    b->code = code;
    conc__store32(&b->state, CONC__TASK_RETURNED, CONC__RELEASE);
    return code == 0 ? 0 : (code & 0xff) != 0 ? code & 0xff : 1;
}

static void conc__task_name_add(conc__task_name *t) {
    conc__lock_take(&conc__processes);
    t->number = conc__task_names != NULL ? conc__task_names->number + 1 : 1;
    t->next = conc__task_names;
    conc__task_names = t;
    conc__lock_give(&conc__processes);
}

void conc_process_main(int argc, char **argv) {
    static conc__task_name worker;
    conc__port_block block;
    conc__process_block *b;
    conc__task_name *t;
    long long fd, size, keep;
    size_t i;
    int code, e;
    conc__program = argc > 0 && argv != NULL && argv[0] != NULL ? argv[0] : "";
    conc__processes_begin();
    if (worker.name == NULL) {
        worker.name = "conc: a pool's worker";
        worker.fn = conc__procpool_worker;
        conc__task_name_add(&worker);
    }
#if defined(CONC_WITH_CURL)
    conc__dl_register();
#endif
    if (argc != 4 || strcmp(argv[1], CONC__PROCESS_OPTION) != 0) return;
    if (sscanf(argv[2], "%lld:%lld", &fd, &size) != 2 || sscanf(argv[3], "%lld", &keep) != 1 ||
        size < (long long)CONC__BLOCK_HEAD || (unsigned long long)size > SIZE_MAX) {
        return;
    }
    e = conc__port_block_open(&block, (intptr_t)fd, (size_t)size);
    if (e != 0) exit(1);
    b = (conc__process_block *)block.data;
    if (b->magic != CONC__BLOCK_MAGIC || b->size > (uint64_t)size - CONC__BLOCK_HEAD) exit(1);
    conc__processes_begin();
    conc__here.keep = (intptr_t)keep;
    conc__port_inherited((intptr_t)fd);
    conc__port_inherited((intptr_t)keep);
    conc__port_inherited((intptr_t)b->life);
    if (b->channel >= 0) {
        intptr_t channel;
        e = conc__port_socket_passed(b->passed, &channel);
        if (e != 0) {
            conc__child_refuse(b, "cannot open its channel", e);
            exit(1);
        }
        b->channel = channel;
    }
    for (i = 0; i < b->shared_count && i < CONC_PROCESS_SHARED_MAX; i++) {
        conc_shared *s = (conc_shared *)conc__alloc(1, sizeof *s, "shared memory");
        conc__port_inherited((intptr_t)b->shared[i].fd);
        e = s != NULL ? conc__port_block_open(&s->block, (intptr_t)b->shared[i].fd, (size_t)b->shared[i].size) : 0;
        if (s == NULL || e != 0) {
            conc__free(s);
            conc__child_refuse(b, "cannot have its shared memory", e);
            exit(1);
        }
        conc__here.shared[conc__here.shared_count++] = s;
    }
    (void)conc_thread_main();
    for (t = conc__task_names; t != NULL; t = t->next) {
        if (strncmp(t->name, b->task, sizeof b->task) == 0) break;
    }
    if (t == NULL) {
        conc__child_refuse(b, "its task is not registered there before conc_process_main()", 0);
        exit(1);
    }
    code = conc__child_run(b, t->fn);
    exit(code);
}

conc_result conc_process_register(const char *name, conc_fn fn) {
    conc__task_name *t;
    bool taken = false;
    if (name == NULL || fn == NULL || strlen(name) > 63) {
        return conc__fail(CONC_INVALID, "conc_process_register: no function, or no name of at most 63 bytes");
    }
    conc__processes_begin();
    conc__lock_take(&conc__processes);
    for (t = conc__task_names; t != NULL && strcmp(t->name, name) != 0; t = t->next) {
    }
    taken = t != NULL && t->fn != fn;
    conc__lock_give(&conc__processes);
    if (taken) return conc__fail(CONC_INVALID, "conc_process_register: another function is called \"%s\"", name);
    if (t != NULL) return CONC_OK;
    t = (conc__task_name *)conc__alloc(1, sizeof *t, "a task's name");
    if (t == NULL) return CONC_NO_MEMORY;
    t->name = name;
    t->fn = fn;
    conc__task_name_add(t);
    return CONC_OK;
}

static const char *conc__task_name_of(conc_fn fn) {
    const conc__task_name *t;
    const char *name;
    conc__lock_take(&conc__processes);
    for (t = conc__task_names; t != NULL && t->fn != fn; t = t->next) {
    }
    name = t != NULL ? t->name : NULL;
    conc__lock_give(&conc__processes);
    return name;
}

/* ---- starting ------------------------------------------------------------------------------------------ */

#if CONC__PROCESS_FORKS

/* In the child, in the middle of conc_process_start(). What is told by exit() is the parent's: this ends otherwise. */
static CONC__NORETURN void conc__forked_child(conc_process *p, const conc_process_desc *desc, conc_fn fn, intptr_t keep) {
    conc__process_block *b = (conc__process_block *)p->block.data;
    size_t i;
    int code;
    if (p->channel != NULL) conc__channel_forked(p->channel);
    conc__here.keep = keep;
    conc__here.shared_count = (size_t)b->shared_count;
    for (i = 0; i < conc__here.shared_count; i++) conc__here.shared[i] = desc->shared[i];
    if (conc__here.is_child) conc__here.channel = NULL; /* that of its own parent */
    conc__thread_begin_anew();
    code = conc__child_run(b, fn);
    conc__end_program();
    (void)fflush(stdout);
    (void)fflush(stderr);
    conc__port_exit(code);
}

#endif

/* Whether it is to be spawned; CONC_OK, or what is wrong. */
static conc_result conc__choose_method(conc_fn fn, conc_process_method method, const char **task) {
    *task = conc__program != NULL ? conc__task_name_of(fn) : NULL;
    if (method == CONC_PROCESS_FORK) *task = NULL;
    if (method == CONC_PROCESS_SPAWN || !CONC__PROCESS_FORKS) {
        if (method == CONC_PROCESS_FORK) return conc__fail(CONC_INVALID, "conc_process_start: there is no fork here");
        if (conc__program == NULL) {
            return conc__fail(CONC_INVALID, "conc_process_start: to spawn, main has to begin with conc_process_main()");
        }
        if (*task == NULL) {
            return conc__fail(CONC_INVALID,
                              "conc_process_start: to spawn, the function has to be registered by conc_process_register()");
        }
    }
    return CONC_OK;
}

static void conc__fill_block(conc_process *p, const conc_process_desc *desc, const char *task, intptr_t channel,
                             size_t message_max) {
    conc__process_block *b = (conc__process_block *)p->block.data;
    size_t i;
    b->magic = CONC__BLOCK_MAGIC;
    b->daemon = p->daemon;
    b->life = conc__life[0];
    b->channel = channel;
    b->size = p->size;
    b->message_max = message_max;
    b->shared_count = desc->shared_count;
    for (i = 0; i < desc->shared_count; i++) {
        b->shared[i].fd = desc->shared[i]->block.fd;
        b->shared[i].size = desc->shared[i]->block.size;
    }
    if (task != NULL) (void)snprintf(b->task, sizeof b->task, "%s", task);
    memcpy(b->name, p->name, sizeof b->name);
    if (p->size != 0) memcpy((char *)b + CONC__BLOCK_HEAD, p->arg, p->size);
}

static int conc__process_spawn(conc_process *p) {
    conc__process_block *b = (conc__process_block *)p->block.data;
    intptr_t inherit[2 + CONC_PROCESS_SHARED_MAX];
    char argument[64];
    size_t i, n = 0;
    inherit[n++] = p->block.fd;
    inherit[n++] = (intptr_t)b->life;
    for (i = 0; i < b->shared_count; i++) {
        size_t k = 0;
        while (b->shared[k].fd != b->shared[i].fd) k++;
        if (k == i) inherit[n++] = (intptr_t)b->shared[i].fd; /* each once: Windows takes no list with one twice */
    }
    (void)snprintf(argument, sizeof argument, "%lld:%lld", (long long)p->block.fd, (long long)p->block.size);
#if !CONC__PROCESS_POLLED
    p->os.ended = conc__process_told;
    p->os.arg = p;
#endif
    return conc__port_process_spawn(&p->os, conc__program, CONC__PROCESS_OPTION, argument, inherit, n,
                                    (intptr_t)b->channel, b->passed);
}

/* With conc__process_starts held. 0, or the system's error number, and `*result` what that is. */
static int conc__process_make(conc_process *p, conc_fn fn, const conc_process_desc *desc, const char *task,
                              conc_result *result) {
    size_t message_max = desc->message_max != 0 ? desc->message_max : (size_t)16 << 20;
    intptr_t pair[2] = { -1, -1 };
    int e = 0;
    *result = CONC_SYSTEM;
    if (!conc__has_life) {
        e = conc__port_life_open(conc__life);
        conc__has_life = e == 0;
    }
    if (e == 0) e = conc__port_block_new(&p->block, CONC__BLOCK_HEAD + p->size, task != NULL);
    if (e == 0 && desc->channel) {
        e = conc__port_socket_pair(pair);
        if (e == 0) {
            conc__starter = conc__self()->owner;
            conc__starting = pair[1];
            p->channel = conc__channel_new(pair[0], message_max);
            if (p->channel == NULL) {
                conc__starting = -1;
                conc__port_socket_close(pair[1]);
                *result = CONC_NO_MEMORY;
                return -1;
            }
        }
    }
    if (e != 0) {
        if (conc__port_kind_of(e) == CONC__PORT_TABLE_FULL) *result = CONC_REJECTED;
        if (conc__port_kind_of(e) == CONC__PORT_NO_BUFFERS) *result = CONC_NO_MEMORY;
        return e;
    }
    conc__fill_block(p, desc, task, pair[1], message_max);
    (void)fflush(stdout); /* what was printed before is seen before what it prints; and is not in a fork's buffers too
                             */
    (void)fflush(stderr);
    if (task != NULL) {
        e = conc__process_spawn(p);
    } else {
#if CONC__PROCESS_FORKS
        bool child = false;
        uint32_t generation = conc__fork_generation();
        intptr_t keep;
        e = conc__port_process_fork(&p->os, &child, &keep);
        if (child) {
            if (conc__fork_generation() == generation) conc__forked(); /* the system could not tell it */
            conc__forked_child(p, desc, fn, keep);
        }
#else
        (void)fn;
#endif
    }
    conc__starting = -1;
    conc__port_socket_close(pair[1]);
    if (e != 0) {
        conc__port_kind kind = conc__port_kind_of(e);
        *result = kind == CONC__PORT_TABLE_FULL  ? CONC_REJECTED
                  : kind == CONC__PORT_NO_BUFFERS ? CONC_NO_MEMORY
                  : kind == CONC__PORT_WOULD_BLOCK ? CONC_NO_THREADS /* EAGAIN: no more processes */
                                                   : CONC_SYSTEM;
    }
    return e;
}

conc_process *conc_process_start(conc_fn fn, void *arg, size_t size, const conc_process_desc *desc) {
    conc_process_desc none;
    conc_process *p;
    const char *task = NULL;
    conc_result r;
    size_t i;
    int e;
    memset(&none, 0, sizeof none);
    if (desc == NULL) desc = &none;
    if (fn == NULL || (arg == NULL && size != 0)) {
        (void)conc__fail(CONC_INVALID, "conc_process_start: no function, or no argument");
        return NULL;
    }
    if (desc->shared_count > CONC_PROCESS_SHARED_MAX || (desc->shared == NULL && desc->shared_count != 0)) {
        (void)conc__fail(CONC_INVALID, "conc_process_start: at most %d blocks of shared memory", CONC_PROCESS_SHARED_MAX);
        return NULL;
    }
    for (i = 0; i < desc->shared_count; i++) {
        if (desc->shared[i] == NULL) {
            (void)conc__fail(CONC_INVALID, "conc_process_start: block %zu of the shared memory is NULL", i);
            return NULL;
        }
    }
    if (size > SIZE_MAX / 2) {
        (void)conc__fail(CONC_NO_MEMORY, "conc_process_start: an argument of %zu bytes", size);
        return NULL;
    }
#if defined(CONC_SIM)
    if (conc__sim_is_here()) {
        (void)conc__fail(CONC_SYSTEM, "conc_process_start: there are no processes inside a simulation");
        return NULL;
    }
#endif
    conc__processes_begin();
    if (conc__choose_method(fn, desc->method, &task) != CONC_OK || conc_thread_main() == NULL) return NULL;
    p = (conc_process *)conc__alloc(1, sizeof *p, "a process");
    if (p == NULL) return NULL;
    p->open = true;
    p->arg = arg;
    p->size = size;
    p->daemon = desc->daemon;
    p->block.fd = p->os.end = -1;
    if (desc->name != NULL) {
        size_t n = strlen(desc->name);
        if (n > sizeof p->name - 1) {
            n = sizeof p->name - 1;
            while (n > 0 && ((unsigned char)desc->name[n] & 0xc0u) == 0x80u) n--; /* not within a UTF-8 character */
        }
        memcpy(p->name, desc->name, n);
    } else {
        (void)snprintf(p->name, sizeof p->name, "process-%u",
                       (unsigned)conc__add32(&conc__process_count, 1, CONC__RELAXED) + 1u);
    }
    conc__processes_sweep();
    (void)conc__after_exit(conc__processes_at_exit);
    conc__lock_take(&conc__process_starts);
    conc__process_generation = conc__fork_generation();
    if (conc__process_over) {
        r = conc__fail(CONC_CLOSED, "conc_process_start: the program has ended");
        e = -1;
    } else {
        e = conc__process_make(p, fn, desc, task, &r);
    }
    if (e == 0) {
        conc__lock_take(&conc__processes);
        p->next = conc__process_list;
        conc__process_list = p;
        conc__lock_give(&conc__processes);
    }
    conc__lock_give(&conc__process_starts);
    if (e == 0) return p;
    if (e > 0) (void)conc__fail_system(r, e, "cannot start a process");
    conc__process_free(p);
    return NULL;
}

/* ---- shared memory ------------------------------------------------------------------------------------- */

conc_shared *conc_shared_new(size_t size) {
    conc_shared *s;
    int e;
    if (size == 0) {
        (void)conc__fail(CONC_INVALID, "conc_shared_new: no size");
        return NULL;
    }
    s = (conc_shared *)conc__alloc(1, sizeof *s, "shared memory");
    if (s == NULL) return NULL;
    e = conc__port_block_new(&s->block, size, true);
    if (e == 0) return s;
    conc__free(s);
    (void)conc__fail_system(conc__port_kind_of(e) == CONC__PORT_NO_BUFFERS  ? CONC_NO_MEMORY
                            : conc__port_kind_of(e) == CONC__PORT_TABLE_FULL ? CONC_REJECTED
                                                                             : CONC_SYSTEM,
                            e, "cannot make shared memory");
    return NULL;
}

void *conc_shared_data(const conc_shared *s) {
    return s != NULL ? s->block.data : NULL;
}

size_t conc_shared_size(const conc_shared *s) {
    return s != NULL ? s->block.size : 0;
}

void conc_shared_free(conc_shared *s) {
    if (s == NULL) return;
    conc__port_block_free(&s->block);
    conc__free(s);
}
