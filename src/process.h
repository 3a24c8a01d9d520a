/* ============================================================================================
 * process: a task in a process of its own: start, join, terminate; channels of messages; shared memory.
 *
 * The task's function runs on a copy of the argument's bytes, and those bytes come back, as it has left them, when it
 * is joined (to where they came from, changed or not: that cannot be a literal). So what runs in a thread runs in a
 * process if its argument is a plain value: what pointers in it point to does not come along.
 *
 * HOW A PROCESS IS STARTED. Two ways:
 *  - CONC_PROCESS_FORK (not on Windows): the child is a copy of the whole program at that moment: any function can
 *    run, and it sees all that was in memory. It has the calling thread alone. Everything of this library works there,
 *    new; objects that the parent's threads used at that moment say CONC_FORKED or are as they were. But locks that
 *    others held in other libraries stay locked for ever. So fork is safe while the program has one thread, or while
 *    the others hold nothing that the task wants.
 *  - CONC_PROCESS_SPAWN: the program is started anew, and runs nothing but the task. For that, main begins with
 *        conc_process_register("work", work);     // each task function, by a name
 *        conc_process_main(argc, argv);           // in a child: runs its task, and never returns
 *    It is safe with threads, sees no variables of the parent's, and is the only way on Windows. (Whoever can start the
 *    program can start its registered tasks: this is not for programs that have more rights than those who start them.)
 * CONC_PROCESS_DEFAULT is spawn if conc_process_main() has been called and the function is registered, and fork
 * otherwise: a program that has the lines does the same everywhere, and safely; one without them needs nothing but
 * this call.
 *
 * THE END OF A TASK'S PROCESS. When the function has returned, the process waits for its own threads and processes
 * that are no daemons, flushes stdout and stderr, and ends: by exit() if it was spawned; if it was forked by _exit(),
 * since what the parent has registered with atexit(), and what is in its streams' buffers, is the parent's. A task
 * that leaves by exit() or a signal, or whose process is killed, has crashed: CONC_CRASHED, and its argument stays as
 * it was.
 *
 * THE END OF THE PROGRAM. When main returns or calls exit(), the program closes its ends of channels, waits for every
 * process that is no daemon, and kills those that are. If the program dies in any other way, even by SIGKILL, its
 * processes end at once, wherever they are (but not what else they have started, or have become by exec()).
 *
 * WHAT IT LEAVES ALONE. No signal's disposition is changed, there is no handler for SIGCHLD, no process is waited for
 * but those started here; if SIGCHLD is ignored, or somebody else has taken a child's status, the answers differ in
 * their sentence only. Descriptors made here are closed in programs that are started, and in other children. stdout
 * and stderr are flushed at each start and before the program's end waits, so that all that is printed comes in its
 * order.
 * ========================================================================================== */

#ifndef CONC__PROCESS_H
#define CONC__PROCESS_H

#include "thread.h"
#include "net.h"

typedef struct conc_process conc_process;
typedef struct conc_channel conc_channel;
typedef struct conc_shared conc_shared;

typedef enum conc_process_method {
    CONC_PROCESS_DEFAULT,
    CONC_PROCESS_FORK,
    CONC_PROCESS_SPAWN
} conc_process_method;

#define CONC_PROCESS_SHARED_MAX 8

typedef struct conc_process_desc {
    const char *name;           /* copied, cut at 31 bytes; NULL: "process-N" */
    bool daemon;                /* it ends with the program, which does not wait for it */
    conc_process_method method;
    bool channel;               /* with a channel between the two: conc_process_channel() */
    size_t message_max;         /* bytes that a message in it may have; 0: 16 MiB */
    conc_shared *const *shared; /* what it is to have of shared memory: conc_process_shared() */
    size_t shared_count;        /* at most CONC_PROCESS_SHARED_MAX */
} conc_process_desc;

/* Starts fn on a copy of the `size` bytes at `arg` in a new process. `arg` may be NULL if size is 0; else it is where
 * conc_process_join() puts the bytes, and must live until then. The handle is the caller's until it is joined or
 * detached. Blocks for as long as the system takes. NULL, with conc_error_result(): CONC_INVALID (no fn, no arg; to
 * be spawned and not registered; to be forked on Windows), CONC_NO_MEMORY, CONC_REJECTED (no more descriptors),
 * CONC_NO_THREADS (no more processes), CONC_CLOSED (the program has ended), CONC_SYSTEM; then fn never runs. */
CONC_API conc_process *conc_process_start(conc_fn fn, void *arg, size_t size, const conc_process_desc *desc);

/* Waits until its process has ended, gives the handle back, with its channel, and tells how it went:
 *   CONC_OK       the function returned *code, and the bytes are in `arg`
 *   CONC_CRASHED  it did not return. *code: -9 if signal 9 ended it, else the process's exit code, or -1 if that is
 *                 not known; conc_error_detail() says it in words ("process "p" was ended by signal 11 (SIGSEGV)")
 * CONC_CANCELED. CONC_INVALID: NULL, or joined or detached already. CONC_FORKED: the parent's. CONC_SYSTEM: there is no
 * descriptor left to wait with; nothing was done. If `code` is NULL, what
 * is not 0 goes to the error hook. */
CONC_API conc_result conc_process_join(conc_process *p, int *code, conc_deadline deadline);

/* Gives the handle back, with its channel, without waiting. The process goes on (and the program's end still waits
 * for it unless it is a daemon); nothing is copied back; if it fails the error hook is told. That is found, and what the
 * system keeps of it is given back, by the next start or detach, or at the end of the program. CONC_INVALID, CONC_FORKED as for join. */
CONC_API conc_result conc_process_detach(conc_process *p);

/* Completes with CONC_OK when the process has ended; it still has to be joined or detached, after that. Instead:
 * CONC_INVALID and CONC_FORKED as for join. */
CONC_API conc_op conc_op_process_end(conc_process *p);

/* Asks it to end (SIGTERM, and SIGCONT for one that is stopped), which it can refuse; ends it (SIGKILL), which it
 * cannot. On Windows both end it. CONC_OK, also if it has ended before; CONC_INVALID, CONC_FORKED as for join;
 * CONC_SYSTEM. Do not wait. */
CONC_API conc_result conc_process_terminate(conc_process *p);
CONC_API conc_result conc_process_kill(conc_process *p);

/* All of it: closes its channel, asks it to end, waits until the deadline, then kills it; and joins it, with the
 * results of conc_process_join(), but for CONC_TIMEOUT and, with CONC_NOW, CONC_BUSY: it always ends. */
CONC_API conc_result conc_process_stop(conc_process *p, int *code, conc_deadline deadline);

/* Questions about a process; NULL is the calling one. None blocks. Of a handle that is no more: false, 0, "?". The
 * number that the system gives it; its name ("main" of one not started here), which lives as long as the handle;
 * whether it has not ended; whether it is a daemon. */
CONC_API long conc_process_pid(const conc_process *p);
CONC_API const char *conc_process_name(const conc_process *p);
CONC_API bool conc_process_is_alive(conc_process *p);
CONC_API bool conc_process_is_daemon(const conc_process *p);

/* ---- spawning --------------------------------------------------------------------------------------------------
 * Names a function that can be spawned; in main, before conc_process_main(), the same in parent and child. `name`, at
 * most 63 bytes, is not copied. Again with the same function is harmless. CONC_INVALID (NULL, too long, the name is
 * another's), CONC_NO_MEMORY. */
CONC_API conc_result conc_process_register(const char *name, conc_fn fn);
/* One line at the top of main. In a process that was spawned, runs its task and ends the process; else returns. */
CONC_API void conc_process_main(int argc, char **argv);

/* ---- channels --------------------------------------------------------------------------------------------------
 * Messages of any bytes, in both directions, between a process and its parent. Each message comes as a whole or not at
 * all, in the order in which they were put. Bounded: what neither the system's buffers nor the other side takes makes
 * put wait. Each end may be used by several threads and coroutines. An end is closed by conc_channel_close(), and when
 * its process ends. It goes with the process's handle: take the messages out before conc_process_join(). Who waits on it
 * when that is given back gets CONC_CLOSED; nobody may use it any more.
 *
 * The parent's end of p's channel; NULL (the calling process): its own end, to its parent. NULL: there is none. */
CONC_API conc_channel *conc_process_channel(conc_process *p);

/* Sends the out->size bytes (0 to message_max) at out->data. CONC_OK: the system has all of it. CONC_CLOSED: an end
 * is closed. CONC_INVALID: NULL, or too large. CONC_FORKED, CONC_NO_MEMORY, CONC_SYSTEM. If the wait ends when a part
 * has gone already, the message counts as put: the result is CONC_OK (in a select: that op's), and the rest follows
 * while others put or get on this end. */
CONC_API conc_op conc_op_channel_put(conc_channel *c, conc_out *out);
CONC_API conc_result conc_channel_put(conc_channel *c, const void *data, size_t size, conc_deadline deadline);
/* Receives the next message into io->data, of io->size bytes; io->done is its length. CONC_FULL: it is longer, and
 * stays. CONC_CLOSED: an end is closed, and all that was sent has been taken. CONC_BROKEN: the other side died in the
 * middle of a message, or what came is none. CONC_FORKED, CONC_INVALID, CONC_NO_MEMORY, CONC_SYSTEM. */
CONC_API conc_op conc_op_channel_get(conc_channel *c, conc_io *io);
CONC_API conc_result conc_channel_get(conc_channel *c, void *buffer, size_t size, size_t *length, conc_deadline deadline);
/* By anybody, at any time: here, all waits end, now and later, with CONC_CLOSED; there, when what was sent has been
 * taken. Again is harmless. CONC_INVALID: NULL. */
CONC_API conc_result conc_channel_close(conc_channel *c);

/* ---- shared memory ---------------------------------------------------------------------------------------------
 * A block of `size` bytes, zero at first, that processes share: those that get it by their desc, and forked ones that
 * are started while it is there. Nothing but atomics, or the order of messages, says who may touch it when; a process
 * that dies leaves it half done.
 * The handle is the caller's. NULL: CONC_INVALID (size 0), CONC_NO_MEMORY, CONC_REJECTED, CONC_SYSTEM. */
CONC_API conc_shared *conc_shared_new(size_t size);
/* Where it is here, aligned to a page; in a spawned process that may be elsewhere. NULL, and 0, of NULL. */
CONC_API void *conc_shared_data(const conc_shared *s);
CONC_API size_t conc_shared_size(const conc_shared *s);
/* Gives it back here. Others keep theirs. NULL is harmless. */
CONC_API void conc_shared_free(conc_shared *s);
/* In a process started here: the i-th of its desc. The process's own; not to be freed. NULL: there is none. */
CONC_API conc_shared *conc_process_shared(size_t i);

#endif
