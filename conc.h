/* conc.h is generated from src/ by amalgamate.sh: edit there, then run ./amalgamate.sh. */

/* ==== begin src/manual.h ==== */

/* conc.h - everyday concurrency for C in one file                                    version 0.1.0
 *
 * Threads, locks, blocking queues, timers, cancellation, thread pools with futures, parallel loops, iterators, generators,
 * coroutines with an event loop, sockets; and one way to wait for any of them. C99 or later, C++11 or later; Linux, macOS,
 * other Unixes, Windows. No dependency but libc and the system's threads.
 *
 * ---- DO THIS ---------------------------------------------------------------------------------------------------
 *
 *  1. Put this file into your project.
 *  2. In exactly one C or C++ file:   #define CONC_IMPLEMENTATION
 *                                     #include "conc.h"
 *     and in all others just         #include "conc.h"
 *  3. Link with -pthread (on Windows with -lsynchronization; MSVC finds it by itself).
 *  4. Look at results: CONC_OK is 0, everything else is negative, conc_explain(r) says it in words.
 *  5. `break` in a CONC_WITH_LOCK block leaves the block, not the loop around it.
 *
 * ---- A WHOLE PROGRAM -------------------------------------------------------------------------------------------
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * static conc_queue *numbers;
 *
 * static int producer(void *arg) {
 *     (void)arg;
 *     for (long i = 1; i <= 1000; i++) {
 *         if (conc_queue_put(numbers, &i, CONC_FOREVER) != CONC_OK) return 1;
 *     }
 *     conc_queue_close(numbers); // nothing more will come
 *     return 0;
 * }
 *
 * int main(void) {
 *     long sum = 0;
 *     conc_thread *t;
 *     numbers = conc_queue_new(sizeof(long), 16); // at most 16 on the way
 *     t = conc_thread_start(producer, NULL, NULL);
 *     if (numbers == NULL || t == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
 *
 *     CONC_FOR_QUEUE(long, n, numbers) sum += n; // until it is closed and empty
 *
 *     conc_thread_join(t, NULL, CONC_FOREVER);
 *     conc_queue_free(numbers);
 *     printf("%ld\n", sum);
 *     return 0;
 * }
 * ```
 * ```output
 * 500500
 * ```
 *
 * ---- THE ONE IDEA ----------------------------------------------------------------------------------------------
 *
 * Everything that can make you wait is a value, a conc_op: get from a queue, put to one, a lock, a permit, an event, a
 * future, a thread's or a task's end, a readable socket, a point in time, a cancel token. One can be waited for, or the
 * first of several:
 *
 * ```c
 * conc_op ops[] = { conc_op_get(q, &x), conc_op_get(q2, &y), conc_op_sleep(0.5) };
 * switch (conc_select(ops, 3, CONC_FOREVER)) {
 * case 0: use(&x); break;    // ops[0].result tells how the get ended: CONC_OK, CONC_CLOSED, ...
 * case 1: use(&y); break;
 * case 2: use("half a second without news"); break;
 * default: break;            // CONC_CANCELED
 * }
 * ```
 *
 * Exactly one of them happens; the others are as if never asked. In a coroutine it is CO_AWAIT_ANY(self->ops, 3). Convenience
 * calls such as conc_queue_get() are the same ops with a fast path in front. An object of your own becomes awaitable by a class
 * of three functions, at the end of this manual. (A closed queue is always ready: put conc_op_never() in its place.)
 *
 * ---- RULES THAT HOLD EVERYWHERE ------------------------------------------------------------------------------
 *
 *  Zero is valid     Locks, events, semaphores, latches, descriptors are ready when all zero: static, = {0}, memset.
 *                    They need no destroying. What is allocated has _new and _free.
 *  Results           conc_result; constructors give NULL on failure, with the reason in conc_error_result() and
 *                    conc_error_detail(). Misuse that can be seen is told, and does not hang or corrupt; what
 *                    cannot: an object used after it was given back, other than a thread's handle.
 *  Deadlines         The last argument of what blocks is an instant on the monotonic clock: CONC_FOREVER, CONC_NOW (do
 *                    not wait), conc_after(0.25). A chain of calls can share one.
 *  Cancellation      A cancel token, once fired, wakes every wait of the threads under it with CONC_CANCELED.
 *  Tasks             int fn(void *arg): 0 is success, anything else the task's own error. An error that nobody looks at
 *                    goes to the error hook, or to stderr.
 *  Ownership         Queues copy items in and out. Handles are yours until you give them back.
 *
 * ---- OPTIONS ------------------------------------------------------------------------------------------------
 *
 *  define before #include              where                 what it does
 *  CONC_IMPLEMENTATION                 one file              brings the code, not only the declarations
 *  CONC_STATIC                         any file              everything static: a private copy for that file
 *  CONC_DEBUG                          implementation; and   checks lock order, relocking, foreign unlocks; the places are
 *                                      everywhere for places known where the including file defines it too; variables that
 *                                                            a suspension has lost show at once
 *  CONC_MALLOC(n), CONC_REALLOC(p, n), implementation        your allocator; all three or none
 *  CONC_FREE(p)
 *  CONC_PORT_PORTABLE=1                implementation        pthreads only, even where there is a futex
 *  CONC_COMPUTED_GOTO                  any file              generators and coroutines with labels as values (gcc, clang): a
 *                                                            suspension may then stand in a switch of yours; see frame.h
 *  CONC_ITERABLE_TYPES(X)              any file              your types for CONC_IS_ITERABLE(): see iter.h
 *  CONC_SIM                            everywhere            conc_sim_run(): see SIMULATION (gcc and clang; for tests)
 *
 * No option changes a public type: files with and without them can be linked together.
 *
 * ---- THREADS ----------------------------------------------------------------------------------- thread.h below
 *
 * ```c
 * conc_thread *w = conc_thread_start(work, &x, &(conc_thread_desc){ .name = "worker", .daemon = false });
 * int code;
 * if (w == NULL) puts(conc_error_detail());                  // no memory, no more threads: work() never runs
 * if (conc_thread_join(w, &code, conc_after(2)) == CONC_TIMEOUT) puts("still at it");
 * ```
 *
 * The program's end waits for threads that are not daemons; daemons end with it. A thread is joined or detached once.
 * Timers call a function later; conc_local keeps a value per thread.
 *
 * ---- LOCKS AND FRIENDS --------------------------------------------------------------------------- sync.h below
 *
 * ```c
 * static conc_mutex lock;
 * static conc_cond changed;
 * static int ready;
 *
 * CONC_WITH_LOCK(&lock) {                                     // unlocked however the block is left
 *     while (!ready) conc_cond_wait(&changed, &lock, CONC_FOREVER);
 * }
 * if (conc_mutex_lock(&lock, conc_after(0.1)) == CONC_OK) {   // by hand: look whether it worked
 *     ready = 0;
 *     conc_mutex_unlock(&lock);
 * }
 * ```
 *
 *  conc_mutex       4 bytes, knows its owner          conc_semaphore   permits, bounded if you like
 *  conc_rmutex      may be locked again               conc_event       a flag to wait for; manual or auto reset
 *  conc_cond        with a mutex                      conc_barrier     n threads meet; can be aborted and reset
 *  conc_rwlock      readers or a writer, phase-fair   conc_once        a function runs once
 *  conc_brlock      for data read all the time        conc_latch       a counter to wait for at zero (WaitGroup)
 *
 * Keep the data that a lock guards in the lock's own cache line (beside it in the same struct): under contention that is
 * worth more than any choice of lock.
 *
 * ---- QUEUES ----------------------------------------------------------------------------------- queue.h below
 *
 * ```c
 * conc_queue *jobs = conc_queue_new(sizeof(struct job), 100);          // bounded: a put waits when 100 are in it
 * struct job j = { 1 };
 * conc_queue_put(jobs, &j, CONC_FOREVER);
 * while (conc_queue_get(jobs, &j, conc_after(0.5)) == CONC_OK) use(&j);
 * conc_queue_put(jobs, (&(struct job){ 2 }), CONC_NOW);                // a literal wants its own parentheses
 * conc_queue_close(jobs);                                              // getters drain it, then see CONC_CLOSED
 * conc_queue_free(jobs);
 * ```
 *
 * Kinds: FIFO (capacity 0: unbounded), LIFO, priority, hand-off. Batches, task_done and join, close that drains or drops.
 *
 * ---- THREAD POOLS AND FUTURES ------------------------------------------------------ pool.h, future.h below
 *
 * A task goes to an idle thread, else to a new one while there are fewer than core_threads, else into the queue, else (that is
 * full) to a new one while there are fewer than max_threads, else the policy decides. A future is for those who want to know how
 * it ended.
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * static int square(void *arg) {
 *     long *x = arg;
 *     *x *= *x;
 *     return *x < 1000 ? 0 : 42;                              // 0: done; anything else: its own error
 * }
 *
 * int main(void) {
 *     long x = 12, y = 100, z = 3;
 *     conc_pool *pool = conc_pool_new(&(conc_pool_desc){ .core_threads = 2, .max_threads = 4, .queue_capacity = 100,
 *                                                        .on_reject = CONC_REJECT_CALLER_RUNS });
 *     conc_future *f = conc_pool_submit(pool, square, &x), *g = conc_pool_submit(pool, square, &y);
 *     if (f == NULL || g == NULL) return puts(conc_error_detail()), 1;
 *     conc_pool_run(pool, square, &z);                        // fire and forget: no future, no memory
 *     if (conc_future_wait(f, conc_after(10)) == CONC_OK) printf("%ld\n", x);
 *     if (conc_future_wait(g, conc_after(10)) == CONC_FAILED) puts(conc_future_detail(g));
 *     conc_future_release(f);
 *     conc_future_release(g);
 *     conc_pool_close(pool);                                  // no more tasks; what was accepted runs
 *     conc_pool_join(pool, CONC_FOREVER);
 *     return conc_pool_free(pool) == CONC_OK ? 0 : 1;
 * }
 * ```
 * ```output
 * 144
 * a task returned 42
 * ```
 *
 *  Futures      conc_future_wait(), _result(), _code(), _cancel(), _then(); conc_op_future(f) in a select or a coroutine;
 *               conc_wait_all(), conc_wait_any(), CONC_FOREACH(conc_future *, f, conc_as_completed(futures, n))
 *  Policies     abort, discard, discard the oldest, the caller runs it, block until a deadline; or a function of yours
 *  Later        conc_pool_submit_at(), conc_pool_every()
 *  Waiting      a task that waits for another of its pool runs it, if that is still queued; a wait in a circle: CONC_DEADLOCK
 *  The end      close, join, free, or all three: conc_pool_finish(); conc_pool_close_now() hands back what has not begun. The
 *               program's end closes what is open, and waits for it
 *
 * ---- PARALLEL LOOPS, FORK AND JOIN ------------------------------------------------------------ parallel.h below
 *
 * The calling thread and the pool's threads do it together. Each call returns when all of it is done.
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * static int scale(size_t a, size_t b, void *arg) {           // one piece of the loop
 *     double *v = arg;
 *     for (; a < b; a++) v[a] = 2.0 * (double)a;
 *     return 0;
 * }
 * static int add(size_t a, size_t b, void *part, void *arg) {
 *     const double *v = arg;
 *     double sum = 0;
 *     for (; a < b; a++) sum += v[a];
 *     *(double *)part += sum;
 *     return 0;
 * }
 * static void join(void *left, const void *right, void *arg) {
 *     (void)arg;
 *     *(double *)left += *(const double *)right;
 * }
 *
 * int main(void) {
 *     static double v[100000];
 *     double sum = 0;
 *     conc_pool *pool = conc_pool_new(NULL);                  // a thread for each processor
 *     if (conc_pool_for(pool, 0, 100000, 0, scale, v) != CONC_OK ||
 *         conc_pool_reduce(pool, 0, 100000, 0, add, join, &sum, v) != CONC_OK) return puts(conc_error_detail()), 1;
 *     printf("%.0f\n", sum);
 *     return conc_pool_finish(pool) == CONC_OK ? 0 : 1;
 * }
 * ```
 * ```output
 * 9999900000
 * ```
 *
 * Also: conc_job_fork() and conc_job_join() for recursion, conc_pool_group_...() for tasks that start tasks, conc_pool_invoke(),
 * conc_pool_map(), conc_pool_imap() from an iterator to an iterator, conc_pool_sort().
 *
 * ---- ITERATORS --------------------------------------------------------------------------------- iter.h below
 *
 * An iterator is a struct that begins with a conc_iter: next() gives up to n items and says how many, 0 is the end. Arrays, ranges,
 * queues and generators are iterators; adaptors make new ones of them, lazily; whoever is handed one closes it. A chain needs no
 * checks: what failed on the way is the result at its end.
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * CONC_FILTER_FN(odd, int64_t, x, x % 2 != 0)                 // functions over batches, from an expression
 * CONC_MAP_FN(half, int64_t, x, double, (double)x / 2)
 * CONC_FOLD_FN(add, double, sum, double, x, sum + x)
 *
 * struct line { int number; const char *text; };
 *
 * int main(void) {
 *     const char *words[] = { "one", "two", "three" };
 *     double sum = 0;
 *     CONC_FOREACH(const char *, w, conc_iter_array(words, 3)) printf("%s ", w);
 *     CONC_FOREACH(struct line, l, conc_enumerate(struct line, number, text, conc_take(conc_iter_array(words, 3), 2), 1))
 *         printf("%d:%s ", l.number, l.text);
 *     conc_result r = conc_fold(conc_map(conc_filter(conc_iter_range(0, 10, 1), odd, NULL), half, NULL), add, &sum, NULL);
 *     printf("%g\n", r == CONC_OK ? sum : -1);
 *     return 0;
 * }
 * ```
 * ```output
 * one two three 1:one 2:two 12.5
 * ```
 *
 * Also: conc_skip, conc_chain, conc_zip, conc_batch, conc_collect, conc_count, conc_any, conc_all, conc_iter_queue, conc_iter_borrow
 * (take five, and go on). CONC_FOREACH asks for one item at a time, so a break loses nothing.
 *
 * ---- GENERATORS --------------------------------------------------------------------------------- gen.h below
 *
 * A function that yields. What lives from one yield to the next is a field of its frame (self->i, not i); a yield may not stand in
 * a switch of your own. By name it compiles to the plain loop; as an iterator it fills batches.
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * CONC_GENERATOR(fibonacci, long, int n, i; long a, b;) {     // name, type of its items, fields
 *     CONC_BEGIN;
 *     self->b = 1;
 *     for (self->i = 0; self->i < self->n; self->i++) {
 *         CONC_YIELD(self->a);
 *         long next = self->a + self->b;
 *         self->a = self->b;
 *         self->b = next;
 *     }
 *     CONC_FINALLY;                                           // also when it is closed, or fails; may be left out
 *     puts("over");
 *     CONC_END;
 * }
 *
 * static const long more[] = { 70, 80 };
 * CONC_GENERATOR(twice, long) {
 *     CONC_BEGIN;
 *     CONC_YIELD_FROM(CONC_GEN_NEW(fibonacci, .n = 3));       // CONC_GEN_NEW: on the heap, an iterator
 *     CONC_YIELD_FROM(conc_iter_array(more, 2));
 *     CONC_END;
 * }
 *
 * int main(void) {
 *     long x = 0;
 *     fibonacci g = CONC_GEN(fibonacci, .n = 10);             // by value
 *     CONC_FOR_GEN(fibonacci, y, .n = 7) printf("%ld ", y);
 *     while (CONC_NEXT(fibonacci, &g, &x) == CONC_OK && x < 5) printf("%ld ", x);
 *     conc_iter_close(&g.iter);                               // it was not used up
 *     CONC_FOREACH(long, y, CONC_GEN_NEW(twice)) printf("%ld ", y);
 *     puts("");
 *     return 0;
 * }
 * ```
 * ```output
 * 0 1 1 2 3 5 8 over
 * 0 1 1 2 3 over
 * 0 1 1 over
 * 70 80 
 * ```
 *
 * Values can be sent in (CONC_GENERATOR_SEND, CONC_SEND) and errors thrown in (CONC_THROW, CONC_TRY_YIELD).
 *
 * ---- COROUTINES AND THEIR LOOP ----------------------------------------------------------- coro.h, loop.h below
 *
 * A coroutine suspends at each wait instead of blocking its thread; a loop runs thousands of them in one. It waits for any op:
 * of a queue that threads put into, too. What lives across a wait is a field of its frame, as with generators.
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * CONC_CORO(worker, conc_queue *jobs; int job, done;) {       // name, fields
 *     CO_BEGIN;
 *     for (;;) {
 *         CO_AWAIT(conc_op_get(self->jobs, &self->job));
 *         if (self->co.result != CONC_OK) break;              // closed, and empty
 *         CO_AWAIT(conc_op_sleep(0.001));
 *         self->done++;
 *     }
 *     CO_FINALLY;                                             // all ways out lead through here, a cancel too; may be left out
 *     printf("%d done\n", self->done);
 *     CO_END;
 * }
 *
 * CONC_CORO(boss, conc_queue *jobs; conc_task *w; conc_co_timeout limit; int i;) {
 *     CO_BEGIN;
 *     self->w = CONC_SPAWN(conc_loop_current(), worker, .jobs = self->jobs);  // a task of its own
 *     for (self->i = 0; self->i < 3; self->i++) CO_AWAIT(conc_op_put(self->jobs, &self->i));
 *     conc_queue_close(self->jobs);
 *     CO_JOIN(self->w);                                       // self->co.value: what it returned
 *     CO_TIMEOUT(self->limit, 0.001) {                        // whatever waits are in it, in calls too
 *         CO_CALL(worker, .jobs = self->jobs);                // as part of this task
 *         CO_AWAIT(conc_op_never());
 *     }
 *     if (self->limit.expired) puts("time is up");
 *     CO_RETURN(7);
 *     CO_END;
 * }
 *
 * int main(void) {
 *     conc_loop *loop = conc_loop_new(NULL);
 *     conc_queue *jobs = conc_queue_new(sizeof(int), 1);
 *     int code = 0;
 *     if (loop == NULL || jobs == NULL) return puts(conc_error_detail()), 1;
 *     conc_task_join(CONC_SPAWN(loop, boss, .jobs = jobs), &code, CONC_FOREVER); // nobody runs the loop, so this does
 *     printf("%d\n", code);
 *     conc_queue_free(jobs);
 *     return conc_loop_free(loop) == CONC_OK ? 0 : 1;
 * }
 * ```
 * ```output
 * 3 done
 * 0 done
 * time is up
 * 7
 * ```
 *
 *  A coroutine may not, across a wait:
 *    use its local variables, or let others use them: not &x of a local, not an array of ops on the stack. Fields of the frame
 *    stand in a switch of its own, or in CONC_WITH_LOCK, CONC_FOREACH and their like. Lock with CO_AWAIT(conc_op_lock(&m))
 *    block: conc_queue_get() has conc_op_get(), and so on; what has no op is offloaded
 *  All but the first and the last are told (CONC_INVALID, or the end of the program with file and line). `break` and `continue`
 *  in a CO_TIMEOUT block leave that block. What becomes of the code that a task returns: who joins it has it; non-zero and
 *  detached, the error hook is told; in a group it is the group's; of a CO_CALL it is self->co.value; a canceled task's is
 *  CONC_CANCELED.
 *
 *  Wait         CO_AWAIT, CO_AWAIT_UNTIL, CO_AWAIT_ANY (the first of several), CO_YIELD, CO_JOIN; CO_TRY_AWAIT sees a cancel
 *  Tasks        CONC_SPAWN (join or detach it), CONC_GO (detached), CONC_SPAWN_LATER; from any thread
 *  Together     conc_task_join_all(), conc_op_task_ends(); groups: CONC_GROUP_SPAWN, at most so many at a time, the first
 *               failure cancels the others
 *  Blocking     conc_op_offload(pool, fn, &args) runs a call that blocks in another thread, on a copy of args; pool NULL:
 *               in one of the library's own
 *  Looking      conc_dump(NULL, NULL) writes where every thread and task waits; .stall_after tells of a coroutine that blocks
 *
 * ---- SOCKETS ------------------------------------------------------------------------------------- net.h below
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * static int serve(void *arg) {                               // an echo server's end of one connection
 *     conc_socket *c = arg;
 *     char buffer[4096];
 *     size_t n;
 *     while (conc_receive(c, buffer, sizeof buffer, &n, conc_after(60)) == CONC_OK) {   // CONC_CLOSED: its end
 *         if (conc_send_all(c, buffer, n, NULL, conc_after(60)) != CONC_OK) break;
 *     }
 *     conc_socket_free(c);
 *     return 0;
 * }
 *
 * static int listener(void *arg) {
 *     conc_socket *c;
 *     conc_thread *t;
 *     conc_result r;
 *     while ((r = conc_accept(arg, &c, CONC_FOREVER)) != CONC_CLOSED) {
 *         if (r != CONC_OK) fprintf(stderr, "%s\n", conc_explain(r));   // out of descriptors, say: the listener goes on
 *         else if ((t = conc_thread_start(serve, c, NULL)) != NULL) conc_thread_detach(t);
 *         else conc_socket_free(c);
 *     }
 *     return 0;
 * }
 *
 * int main(void) {
 *     char answer[6] = "";
 *     conc_address a;
 *     conc_socket *l = conc_tcp_listen("127.0.0.1", 0, NULL), *s;        // port 0: the system chooses one
 *     conc_thread *t;
 *     if (l == NULL || conc_socket_address(l, &a) != CONC_OK) return puts(conc_error_detail()), 1;
 *     t = conc_thread_start(listener, l, NULL);
 *     s = conc_tcp_connect("localhost", conc_address_port(&a), conc_after(10));
 *     if (s == NULL) return puts(conc_error_detail()), 1;                // "cannot connect to 127.0.0.1:8080: Connection refused"
 *     if (conc_send_all(s, "hello", 5, NULL, conc_after(10)) != CONC_OK ||
 *         conc_receive_full(s, answer, 5, NULL, conc_after(10)) != CONC_OK) return 1;
 *     puts(answer);
 *     conc_socket_free(s);
 *     conc_socket_close(l);                                              // whoever waits on it gets CONC_CLOSED
 *     conc_thread_join(t, NULL, CONC_FOREVER);
 *     conc_socket_free(l);
 *     return 0;
 * }
 * ```
 * ```output
 * hello
 * ```
 *
 * Datagrams, and the first of several:
 *
 * ```c
 * conc_socket *u = conc_udp_bind(NULL, 9001);                 // on all addresses of this machine
 * char text[1500];
 * conc_datagram d = { .data = text, .size = sizeof text };
 * conc_op ops[] = { conc_op_receive_from(u, &d), conc_op_get(q, &x), conc_op_readable(0) };
 * if (conc_select(ops, 3, conc_after(1)) == 0 && ops[0].result == CONC_OK) {
 *     conc_send_to(u, "thanks", 6, &d.address, CONC_FOREVER); // another thread may receive on it meanwhile
 * }
 * ```
 *
 * Not for a simulation: there are no sockets in one.
 *
 * ---- CANCELLATION ------------------------------------------------------------------------------ wait.h below
 *
 * ```c
 * conc_cancel stop = { 0 };
 * conc_thread *w = conc_thread_start(work, NULL, &(conc_thread_desc){ .cancel = &stop });
 * conc_cancel_fire(&stop);                       // whatever work() waits for now or later: CONC_CANCELED
 * conc_thread_join(w, NULL, CONC_FOREVER);
 * ```
 *
 * ---- WHAT WE PROMISE ---------------------------------------------------------------------------------------
 *
 *  Order        What was done before unlock, put, release, set, done, start is seen after the lock, get, acquire, wait,
 *               run that it lets go; what a thread did is seen after its join.
 *  Wakes        No wake is lost, none is spent on a waiter that has timed out or was canceled, and of several ops exactly
 *               one happens. A condition may wake spuriously; a signal is never lost to a later waiter.
 *  Time         Waits use the monotonic clock, are never early, and never poll: an idle program uses no processor time.
 *               Before sleeping a wait spins for a few microseconds at most.
 *  Fairness     Mutex, semaphore, queue: who runs may overtake who sleeps; a mutex's sleeper is handed it after 1 ms.
 *               Reader-writer lock: phase-fair. Items of a queue: FIFO in one total order.
 *  Close        wakes all; what was put comes out. Every accepted item is delivered, or dropped through your function.
 *  Memory       Every allocation may fail: then the call says CONC_NO_MEMORY and has changed nothing. Locks never allocate.
 *  Destroying   A mutex may be freed as soon as another thread has locked it after the last unlock; a semaphore, event
 *               or latch as soon as a wait on it has succeeded, by the last to use it. Freeing what somebody waits on is
 *               refused with CONC_BUSY.
 *  Fork         In a child of fork() only the calling thread exists. Queues, pools and loops made before give CONC_FORKED there, as
 *               do locks held by another thread of the parent. Nobody waits there, and timers stay with the parent.
 *  Signals      No handler is installed, no disposition or mask changed. Nothing here may be called in a signal handler but
 *               conc_clock() and conc_clock_ns(). Waits leave errno as it was.
 *  Exit         See thread.h. Pools that are open are closed, and their tasks waited for (but see `daemon` in pool.h). Ending
 *               a thread by pthread_cancel() is not supported; pthread_exit() is.
 *  Hidden       No threads that you did not start, but for a pool's, "conc-timer", with the first timer, and up to 32 "conc-offload",
 *               with conc_op_offload().
 *
 * ---- SIMULATION ---------------------------------------------------------------------------------- sim.h below
 *
 * A test that starts threads sees one of their millions of interleavings. With CONC_SIM, conc_sim_run() runs it under as
 * many as you like, in a world of its own with a seeded scheduler, weak memory and virtual time; it stops at the first
 * deadlock, failed check, data race, leak or use of freed memory, prints it, and plays it again when CONC_SIM=... of the
 * environment says so.
 *
 * ```c
 * #define CONC_SIM
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * static conc_mutex lock;
 * static int hits;
 *
 * static int hit(void *arg) {
 *     (void)arg;
 *     CONC_WITH_LOCK(&lock) {
 *         CONC_SIM_WRITE(hits); // not atomic: whoever touches it must hold the lock
 *         hits++;
 *     }
 *     return 0;
 * }
 *
 * static int two_hits(void *arg) { // sets up, starts, joins, checks: the same each time
 *     conc_thread *a, *b;
 *     (void)arg;
 *     hits = 0;
 *     a = conc_thread_start(hit, NULL, NULL);
 *     b = conc_thread_start(hit, NULL, NULL);
 *     conc_thread_join(a, NULL, CONC_FOREVER);
 *     conc_thread_join(b, NULL, CONC_FOREVER);
 *     CONC_SIM_ASSERT(hits == 2);
 *     return 0;
 * }
 *
 * int main(void) {
 *     conc_sim_report r = conc_sim_run(two_hits, NULL, &(conc_sim_desc){ .schedules = 20000 });
 *     puts(r.verdict == CONC_SIM_PASSED ? "nothing found" : r.text);
 *     r = conc_sim_run(two_hits, NULL, &(conc_sim_desc){ .strategies = "depth2", .schedules = 1000000 });
 *     puts(r.exhausted ? "nothing in any schedule with two preemptions" : r.text);
 *     return 0;
 * }
 * ```
 * ```output
 * nothing found
 * nothing in any schedule with two preemptions
 * ```
 *
 * ---- AN AWAITABLE OBJECT OF YOUR OWN ----------------------------------------------------------------------
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 *
 * struct mailbox { conc_mutex lock; const char *letter; conc_waiters waiters; };
 *
 * static conc_result attempt(conc_op *op) {                   // take the letter, or say that there is none
 *     struct mailbox *m = op->object;
 *     conc_result r = CONC_PENDING;
 *     CONC_WITH_LOCK(&m->lock) if (m->letter != NULL) {
 *         *(const char **)op->data = m->letter;
 *         m->letter = NULL;
 *         r = CONC_OK;
 *     }
 *     return r;
 * }
 * static bool arm(conc_op *op, conc_node *node) {             // enter the list, then look again
 *     struct mailbox *m = op->object;
 *     bool empty = true;
 *     conc_waiters_arm(&m->waiters, node);
 *     CONC_WITH_LOCK(&m->lock) empty = m->letter == NULL;
 *     if (!empty) conc_waiters_disarm(node);
 *     return empty;
 * }
 * static const conc_op_class mailbox_class = { .name = "mailbox", .busy = CONC_EMPTY, .attempt = attempt, .arm = arm };
 *
 * static int post(void *arg) {
 *     struct mailbox *m = arg;
 *     CONC_WITH_LOCK(&m->lock) m->letter = "hello";
 *     conc_waiters_wake(&m->waiters, 1);                       // after the change
 *     return 0;
 * }
 *
 * int main(void) {
 *     static struct mailbox m;
 *     const char *letter = NULL;
 *     conc_thread *t = conc_thread_start(post, &m, NULL);
 *     conc_result r = conc_wait(conc_op_make(&mailbox_class, &m, &letter), conc_after(10));
 *     conc_thread_join(t, NULL, CONC_FOREVER);
 *     return r == CONC_OK && letter[0] == 'h' ? 0 : 1;
 * }
 * ```
 *
 * License: MIT or public domain, as you choose; the texts are at the end of this file.
 */

/* ==== end src/manual.h ==== */

/* ==== begin src/config.h ==== */

/* ============================================================================================
 * config: which compiler, which system, which linkage. The one table of platform flags.
 *
 * Every flag is always defined, as 0 or 1, and tested with #if. Defining one of the flags marked
 * (force) before the implementation overrides the choice made here.
 * ========================================================================================== */

#ifndef CONC__CONFIG_H
#define CONC__CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONC_VERSION_MAJOR 0
#define CONC_VERSION_MINOR 1
#define CONC_VERSION_PATCH 0
#define CONC_VERSION "0.1.0"

/* ---- system ------------------------------------------------------------------------------- */

#if defined(_WIN32)
#define CONC_OS_WINDOWS 1
#else
#define CONC_OS_WINDOWS 0
#endif

#if defined(__linux__)
#define CONC_OS_LINUX 1
#else
#define CONC_OS_LINUX 0
#endif

#if defined(__APPLE__) && defined(__MACH__)
#define CONC_OS_MACOS 1
#else
#define CONC_OS_MACOS 0
#endif

/* ---- compiler ----------------------------------------------------------------------------- */

#if defined(__GNUC__) || defined(__clang__)
#define CONC_CC_GNU 1 /* gcc, clang and what speaks their dialect: __atomic, __attribute__, asm labels */
#else
#define CONC_CC_GNU 0
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define CONC_CC_MSVC 1
#else
#define CONC_CC_MSVC 0
#endif

#if defined(__TINYC__)
#define CONC_CC_TINY 1
#else
#define CONC_CC_TINY 0
#endif

/* ---- attributes --------------------------------------------------------------------------- */

#if CONC_CC_GNU
#define CONC__UNUSED __attribute__((unused))
#define CONC__NOINLINE __attribute__((noinline))
#define CONC__ALWAYS_INLINE inline __attribute__((always_inline))
#define CONC__LIKELY(x) __builtin_expect(!!(x), 1)
#define CONC__UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CONC_MUST_CHECK __attribute__((warn_unused_result))
#define CONC__NORETURN __attribute__((noreturn))
#else
#define CONC__UNUSED
#define CONC__NOINLINE
#define CONC__ALWAYS_INLINE
#define CONC__LIKELY(x) (x)
#define CONC__UNLIKELY(x) (x)
#define CONC_MUST_CHECK
#define CONC__NORETURN
#endif

/* Around static functions that a macro defines in a user's file, whether he uses them or not. (clang's strictest warnings want
 * neither an unused function nor a used one that is marked as unused.) */
#if defined(__clang__)
#define CONC__SPARE _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wunused-function\"") static
#define CONC__SPARE_END _Pragma("clang diagnostic pop")
#else
#define CONC__SPARE CONC__UNUSED static
#define CONC__SPARE_END
#endif

/* A function that checks its format string against its arguments. */
#if CONC_CC_GNU && defined(__MINGW32__)
#define CONC__PRINTF(f, a) __attribute__((format(gnu_printf, f, a)))
#elif CONC_CC_GNU
#define CONC__PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CONC__PRINTF(f, a)
#endif

/* ---- linkage -------------------------------------------------------------------------------
 * CONC_API: what users call. CONC__LIB: shared between the files of src/, invisible to users; it is
 * static in the single file and extern when src/ is compiled file by file (CONC__SPLIT).
 * Each file's own helpers are plain static. */

#if defined(CONC_STATIC)
#define CONC_API static CONC__UNUSED
#elif defined(__cplusplus)
#define CONC_API extern "C"
#else
#define CONC_API extern
#endif

#if !defined(CONC__SPLIT)
#define CONC__LIB static CONC__UNUSED
#elif defined(__cplusplus)
#define CONC__LIB extern "C"
#else
#define CONC__LIB extern
#endif

/* CONC_STATIC makes every function private to the file that includes the header, so the code has to
 * come along. */
#if defined(CONC_STATIC) && !defined(CONC_IMPLEMENTATION) && !defined(CONC__SPLIT)
#define CONC_IMPLEMENTATION
#endif

/* ---- macros that build names -------------------------------------------------------------- */

#define CONC__CAT_(a, b) a##b
#define CONC__CAT(a, b) CONC__CAT_(a, b)
#if defined(__COUNTER__)
#define CONC__UNIQUE __COUNTER__
#else
#define CONC__UNIQUE __LINE__
#endif

/* ---- blocks that undo themselves --------------------------------------------------------------
 * CONC__WITH(type, enter, leave, unique) { body }: runs the body once, between `enter` (an expression of
 * type `type`, a struct with `int live`, 1 if the body is to run) and `leave(&it)`, which sets live to 0
 * and does nothing the second time. Two nested loops, so that `break` (which leaves the inner one) and
 * `continue` both reach the outer one's leave; with gcc and clang a cleanup attribute makes `return` and
 * `goto` safe too. The name is unique, so that nesting shadows nothing. */
#define CONC__WITH(type, enter, leave, unique) CONC__WITH_(type, enter, leave, CONC__CAT(conc__scope_, unique))
#define CONC__WITH_(type, enter, leave, s)                                                         \
    for (type s CONC__CLEANUP(leave) = (enter); s.live; leave(&s))                                  \
        for (; s.live == 1; s.live = 2)
#define CONC__HAS_CLEANUP (CONC_CC_GNU && !CONC_CC_TINY)
#if CONC_CC_GNU
#define CONC__CLEANUP(fn) __attribute__((cleanup(fn)))
#else
#define CONC__CLEANUP(fn)
#endif

#endif

/* ==== end src/config.h ==== */

/* ==== begin src/core.h ==== */

/* ============================================================================================
 * core: results, error text, deadlines, the clock, the machine, memory.
 * ========================================================================================== */

#ifndef CONC__CORE_H
#define CONC__CORE_H

/* ---- results --------------------------------------------------------------------------------
 * Every call that can fail returns a conc_result; constructors return a pointer, or NULL with the
 * reason in conc_error_result(). CONC_OK is 0 and everything else is negative and distinct. */

#define CONC_RESULTS(X)                                                                            \
    X(CONC_OK, 0, "ok")                                                                            \
    X(CONC_TIMEOUT, -1, "the deadline passed first")                                               \
    X(CONC_CLOSED, -2, "closed: nothing more will come")                                           \
    X(CONC_CANCELED, -3, "canceled by its token")                                                  \
    X(CONC_FULL, -4, "full")                                                                       \
    X(CONC_EMPTY, -5, "empty")                                                                     \
    X(CONC_BUSY, -6, "in use")                                                                     \
    X(CONC_INVALID, -7, "invalid argument or wrong use")                                           \
    X(CONC_NO_MEMORY, -8, "out of memory")                                                         \
    X(CONC_NO_THREADS, -9, "the system gives no more threads")                                     \
    X(CONC_DEADLOCK, -10, "would wait for itself for ever")                                        \
    X(CONC_NOT_OWNER, -11, "not held by the caller")                                                \
    X(CONC_BROKEN, -12, "broken: one of the party left")                                           \
    X(CONC_FAILED, -13, "the task returned an error of its own")                                   \
    X(CONC_REJECTED, -14, "rejected")                                                              \
    X(CONC_CRASHED, -15, "the process that ran it died")                                           \
    X(CONC_FORKED, -16, "made before fork(): not usable in the child")                             \
    X(CONC_SYSTEM, -17, "the system refused")                                                      \
    X(CONC_PENDING, -18, "not yet")

typedef enum conc_result {
#define CONC__ENUM(name, value, text) name = value,
    CONC_RESULTS(CONC__ENUM)
#undef CONC__ENUM
} conc_result;

/* What a result means, in a few words. Never NULL; any number may be passed. Does not block. */
CONC_API const char *conc_strerror(conc_result r);

/* What exactly was wrong with the last call of this thread that failed, in one sentence, with the
 * system's own error where there was one ("cannot start a thread: Resource temporarily unavailable").
 * The text belongs to the calling thread and lives until its next failing call. Calls that succeed,
 * and the ordinary answers TIMEOUT, EMPTY, FULL, CLOSED, CANCELED and the BUSY of a try, leave it alone. Never NULL; "" if
 * none has failed yet. */
CONC_API const char *conc_error_detail(void);

/* The best sentence for a result that a call of this thread has just given: conc_error_detail() for what is an error,
 * conc_strerror(r) for the ordinary answers named above. */
CONC_API const char *conc_explain(conc_result r);

/* The result that belongs to conc_error_detail(): how a constructor that returned NULL tells why. */
CONC_API conc_result conc_error_result(void);

/* ---- the error hook -------------------------------------------------------------------------
 * Failures that no caller is there to see go to the hook: a task that returned non-zero and whose
 * result nobody looked at, and what CONC_DEBUG finds. Without a hook they are printed on stderr, one
 * line each; that is the only time the library prints. */

typedef struct conc_error {
    conc_result result; /* which kind */
    int code;           /* the task's own return value, where result is CONC_FAILED */
    const char *thread; /* the name of the thread it happened in */
    const char *text;   /* one sentence */
} conc_error;

typedef void (*conc_error_fn)(const conc_error *error, void *user);

/* Installs `fn` (NULL: back to stderr) for the whole process. `fn` is called in the thread where the
 * failure was seen, possibly in several threads at once, with no lock of the library held; `error`
 * and its strings live until `fn` returns. Call it before threads are started. Does not block. */
CONC_API void conc_set_error_hook(conc_error_fn fn, void *user);

/* ---- deadlines ------------------------------------------------------------------------------
 * Each blocking call takes, last, the instant at which it gives up: a point on the monotonic clock,
 * not a duration, so that one deadline can be handed through a chain of calls. The type is a struct
 * so that a bare number is refused by the compiler. */

typedef struct conc_deadline {
    int64_t ns; /* conc_clock_ns() at which it is due; INT64_MAX is never */
} conc_deadline;

static inline conc_deadline conc_deadline_at(int64_t clock_ns) {
    conc_deadline d;
    d.ns = clock_ns;
    return d;
}

#define CONC_FOREVER conc_deadline_at(INT64_MAX) /* wait until it happens */
#define CONC_NOW conc_deadline_at(INT64_MIN)     /* do not wait: try */

/* `seconds` from now. Negative or NaN is now (it has passed already); what overflows is CONC_FOREVER.
 * A wait never ends before its deadline, and ends as soon after it as the system schedules us. Waiting with a deadline
 * that has passed already is one attempt, and then CONC_TIMEOUT. */
CONC_API conc_deadline conc_after(double seconds);

/* Whether it has passed, and how many seconds are left (0 if passed, HUGE_VAL if never). */
CONC_API bool conc_deadline_passed(conc_deadline d);
CONC_API double conc_deadline_left(conc_deadline d);

/* The earlier of two. */
static inline conc_deadline conc_deadline_min(conc_deadline a, conc_deadline b) {
    return a.ns < b.ns ? a : b;
}

/* The monotonic clock, in nanoseconds and in seconds, from an unspecified start. It never goes back
 * and does not jump with the time of day. */
CONC_API int64_t conc_clock_ns(void);
CONC_API double conc_clock(void);

/* ---- the machine ----------------------------------------------------------------------------
 * How many processors this process may use: the least of the processors online, the affinity mask and
 * the cgroup CPU quota (rounded up), at least 1. Asked anew on each call (it may read files). */
CONC_API unsigned conc_cpu_count(void);

/* ---- tasks ----------------------------------------------------------------------------------
 * One signature for threads, pools and processes. 0: done; anything else: the task's own error. */
typedef int (*conc_fn)(void *arg);

#endif

/* ==== end src/core.h ==== */

/* ==== begin src/frame.h ==== */

/* ============================================================================================
 * frame: what generators and coroutines share: functions that return in the middle and go on there.
 *
 * Such a function keeps what must live from one resume to the next in a struct of its own, its frame, and begins with
 * a switch on the place where it stopped (T. Duff, 1983, in a mail of 1988; S. Tatham, "Coroutines in C", 2000).
 * What follows from it, for whoever writes one:
 *  - variables that must survive a suspension are fields of the frame (self->i); others are lost at it. With
 *    CONC_DEBUG the dead stack is overwritten before each resume, so that a lost one shows at once;
 *  - so are pointers to them: &x of a local x, or an array on the stack, must not be what is waited with or for. (A wait of a
 *    coroutine that would have to suspend with one says CONC_INVALID);
 *  - a suspension may not stand inside a block that undoes itself: CONC_WITH_LOCK, CONC_WITH_CANCEL, CONC_FOREACH,
 *    CONC_FOR_GEN, CONC_FOR_QUEUE. It leaves the function, and so the block; and on its way back it finds the block's variables
 *    lost. (clang refuses to compile it; else a coroutine's wait in one ends the program with a message
 *    that names the place.) Lock with
 *    CO_AWAIT(conc_op_lock(&m)), and unlock in the clean-up part;
 *  - a suspension may not stand inside a switch of your own: its label would belong to that switch. Resuming it ends
 *    the program with a message that names the place. With CONC_COMPUTED_GOTO (gcc, clang) it may;
 *  - C++ wants variables with initialisers in braces of their own, with no suspension after them there.
 * Each suspension has a number, from __COUNTER__; where a compiler has none, its line, and two on one line
 * need the forms with _AT, which take a number of yours (below 1,000,000, different in each function).
 * ========================================================================================== */

#ifndef CONC__FRAME_H
#define CONC__FRAME_H

/* Places that no suspension has. */
#define CONC__PLACE_START 0u
#define CONC__PLACE_CLEANUP 0xfffffffeu /* to go on with what follows CONC_FINALLY or CO_FINALLY */
#define CONC__PLACE_DONE 0xffffffffu

/* The switch. What has no label of its own (a place that is in an inner switch; the clean-up of a function that has
 * none) comes to the default label, at the end. */
#define CONC__FRAME_BEGIN(place)                                                                   \
    conc__again:                                                                                   \
    switch (place) {                                                                               \
    case CONC__PLACE_START:
/* At the end of the switch: all that a function that ended, or has no clean-up, does. `lost`: the place is none of
 * these. */
#define CONC__FRAME_END(place, lost)                                                               \
    break;                                                                                         \
    default:                                                                                       \
        if ((place) < CONC__PLACE_CLEANUP) {                                                       \
            CONC__FRAME_FIND(place);                                                               \
            lost;                                                                                  \
        }                                                                                          \
        if (0) goto conc__again; /* so that the label is used */                                   \
        break;                                                                                     \
    }
/* Between: the clean-up part, which those who are sent to it find, and those who come to the end run into. */
#define CONC__FRAME_FINALLY(place)                                                                 \
    if (0) {                                                                                       \
    case CONC__PLACE_CLEANUP:;                                                                     \
    }                                                                                              \
    (place) = CONC__PLACE_DONE

#define CONC__FRAME_LABEL CONC__UNIQUE

#if defined(CONC_COMPUTED_GOTO) && CONC_CC_GNU && !CONC_CC_TINY
/* A place is the distance of its label from the first instruction's. */
#define CONC__FRAME_AT(place, label)                                                               \
    ((place) = (uint32_t)((char *)__extension__ &&CONC__CAT(conc__at_, label) - (char *)__extension__ &&conc__again) + 1u)
#define CONC__FRAME_HERE(label) CONC__CAT(conc__at_, label) :
/* (It is no ISO C, but it was asked for.) */
#if defined(__clang__)
#define CONC__FRAME_FIND(place)                                                                    \
    _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wpedantic\"")            \
    goto *(void *)((char *)__extension__ &&conc__again + (int32_t)((place) - 1u));                 \
    _Pragma("clang diagnostic pop")
#else
#define CONC__FRAME_FIND(place)                                                                    \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wpedantic\"")                \
    goto *(void *)((char *)__extension__ &&conc__again + (int32_t)((place) - 1u));                 \
    _Pragma("GCC diagnostic pop")
#endif
#if defined(__clang__)
#define CONC__FRAME_FN CONC__NOINLINE /* there may be one copy of a label only */
#else
#define CONC__FRAME_FN __attribute__((noinline, noclone))
#endif
#else
#define CONC__FRAME_AT(place, label) ((place) = (uint32_t)(label) + 1u)
#define CONC__FRAME_HERE(label) case (label) + 1:
#define CONC__FRAME_FIND(place) ((void)0)
#if defined(CONC_DEBUG)
#define CONC__FRAME_FN CONC__NOINLINE /* so that its variables lie where CONC__FRAME_SCRIBBLE() writes */
#else
#define CONC__FRAME_FN CONC__ALWAYS_INLINE
#endif
#endif

/* Does not return: were there a way back, it would be one more that a resume could have come, and clang would not make the plain
 * loop of it.
 * Ends the program: "NAME, FILE:LINE: cannot be resumed there: ..." */
CONC_API CONC__NORETURN void conc__frame_lost(const char *name, const char *file, uint32_t line);

/* Ends the program: a coroutine suspends inside of a block that undoes itself. */
CONC_API CONC__NORETURN void conc__frame_torn(const char *name, const char *file, uint32_t line);

/* CONC_DEBUG: overwrites what lies dead on the stack below the caller. */
CONC_API void conc__frame_scribble(void);
#if defined(CONC_DEBUG)
#define CONC__FRAME_SCRIBBLE() conc__frame_scribble()
#define CONC__FRAME_BATCH(n) ((void)(n), (size_t)1) /* of several suspensions that could be left out: none is */
#else
#define CONC__FRAME_SCRIBBLE() ((void)0)
#define CONC__FRAME_BATCH(n) (n)
#endif

#endif

/* ==== end src/frame.h ==== */

/* ==== begin src/wait.h ==== */

/* ============================================================================================
 * wait: everything that can make you wait is a value, a conc_op.
 *
 * conc_wait() blocks the thread on one op, conc_select() on the first of several, conc_try() not at
 * all. Ops come from the modules: conc_op_get(queue, &x), conc_op_lock(&mutex), conc_op_sleep(0.1), ...
 * An op is a plain value: making one does nothing and needs no undoing; the object it names, and the
 * item it points to, must outlive the wait. It is used for one wait; make a new one for the next.
 * (First-class events: J. H. Reppy, "CML: A Higher-Order Concurrent Language", PLDI 1991.)
 *
 * WHERE THE WAITERS ARE KEPT. By address, in a table that the library owns (the idea of WebKit's
 * ParkingLot): an object that may be waited for is 4 or 8 bytes and all zero when idle, and has no
 * list of its own; who waits for it stands in a bucket found by hashing its address, guarded by the
 * bucket's lock. So one mechanism, proven once, serves every object, and the kinds of waiter (a
 * blocked thread, a suspended coroutine) differ in one function pointer. The other way, a list and a lock in each
 * object, was built and measured beside it: entering and leaving a list takes 18 ns there and 21 ns through the table
 * (37 and 44 with two threads, each on an object of its own), beside 5,000 to 40,000 ns for the sleep and the wake that
 * follow; so small objects and one place to look at cost nothing that counts.
 *
 * THE PROTOCOL. A wait is: attempt every op; if none completes, *arm* each (insert a node for it in the
 * object's list, having checked under the bucket's lock that it still has to wait), sleep until one
 * node is *claimed*, disarm all, attempt the claimed op first. A waker changes the object, then claims
 * waiters under the same lock. What follows from it:
 *  - no wake is lost: either the waiter's check under the lock sees the change, or the waker finds the
 *    node in the list;
 *  - exactly one winner: a claim is one compare-and-swap on the waiter, and attempts are made by the
 *    waiter itself, one after the other;
 *  - a wake is never wasted on a waiter that has timed out, was canceled or went another way: then its
 *    claim fails and the waker takes the next one. A waiter claimed at the last moment attempts its op
 *    before it reports the time-out, so it either uses the wake or the object had none left to give.
 * ========================================================================================== */

#ifndef CONC__WAIT_H
#define CONC__WAIT_H

typedef struct conc_op conc_op;
typedef struct conc_waiter conc_waiter; /* who waits: private */

/* ---- an object's own op class ---------------------------------------------------------------
 * To make an object of yours awaitable, keep a conc_waiters in it, supply a class, and call
 * conc_waiters_wake() after each change that may let somebody proceed. See the manual's example. */

typedef struct conc_node { /* one armed op. Private: guarded by the bucket's lock while armed */
    struct conc_node *conc__next, *conc__prev;
    struct conc_node *conc__peer;
    const void *conc__key;
    conc_waiter *conc__waiter;
    uint32_t conc__armed;
    uint16_t conc__ticket;
    uint8_t conc__tag;
    uint8_t conc__grant;
} conc_node;

typedef struct conc_op_class {
    const char *name; /* for reports: "get", "lock" */

    /* What conc_try() and a wait with CONC_NOW answer when it would have to wait. 0 is CONC_BUSY. */
    conc_result busy;

    /* Completes the op now and returns its result (CONC_OK or an error of its own), or changes nothing
     * that others can see and returns CONC_PENDING. Never blocks; it may take a lock for a moment, but only one that
     * nobody holds while waiting for something else. */
    conc_result (*attempt)(conc_op *op);

    /* Puts the op's node in the object's list with conc_waiters_arm(). Returns false, with nothing
     * armed, when on a second look attempt() would complete. Never blocks, with the same licence. */
    bool (*arm)(conc_op *op, conc_node *node);

    /* Takes it out again. NULL: conc_waiters_disarm(), which is right for nearly all. */
    void (*disarm)(conc_op *op, conc_node *node);

    /* The wait ended and this op did not complete (another won, time-out, cancel): undo what its
     * attempts left half done. NULL: nothing to undo. */
    void (*abandon)(conc_op *op);
} conc_op_class;

struct conc_op {
    const conc_op_class *cls;
    void *object;       /* what is waited for */
    void *data;         /* where a result goes or an item comes from */
    conc_deadline due;  /* a point in time at which attempt() is worth making again; CONC_FOREVER if none */
    uint64_t word;      /* the class's own */
    conc_result result; /* set on the winner of a conc_select() */
    conc_node node;
};

/* An op of class `cls` on `object`, everything else empty. */
CONC_API conc_op conc_op_make(const conc_op_class *cls, void *object, void *data);

/* The waiters of a user's object. All zero is valid; no destroying needed. */
typedef struct conc_waiters {
    uint32_t conc__unused;
} conc_waiters;

/* For arm(): enters the node, so that every later conc_waiters_wake() finds it. Look at the object again
 * *after* this call and, if it need not wait, conc_waiters_disarm() and return false. */
CONC_API void conc_waiters_arm(conc_waiters *w, conc_node *node);
CONC_API void conc_waiters_disarm(conc_node *node);
/* Wakes up to `n` waiters, longest waiting first; returns how many were there to wake. Change the object
 * before. Whatever happened before this call is seen by those it wakes. Does not block. */
CONC_API size_t conc_waiters_wake(conc_waiters *w, size_t n);
#define CONC_ALL ((size_t)-1)

/* ---- waiting --------------------------------------------------------------------------------- */

/* Blocks until `op` completes, the deadline passes or the thread's cancel token fires. Returns the op's
 * own result, CONC_TIMEOUT or CONC_CANCELED; with CONC_NOW, the class's "would have to wait" answer
 * (CONC_EMPTY, CONC_FULL, CONC_BUSY). An op that need not wait completes even if the deadline has passed
 * or the token has fired. CONC_INVALID: no class. */
CONC_API conc_result conc_wait(conc_op op, conc_deadline deadline);

/* conc_wait() with CONC_NOW. Never blocks. */
CONC_API conc_result conc_try(conc_op op);

/* Blocks until one of `n` ops completes: exactly one does, the others are as if never started. Returns
 * its index, with its result in ops[index].result; or CONC_TIMEOUT, CONC_CANCELED, or CONC_BUSY with
 * CONC_NOW. If several could complete when it is called, the first in the array is taken; after a sleep, the one that
 * woke it, if that still can. CONC_INVALID: n is 0, over 1000, or an op has no class. The array belongs to the call until
 * it returns. */
CONC_API int conc_select(conc_op *ops, size_t n, conc_deadline deadline);

/* ---- points in time ---------------------------------------------------------------------------- */

/* Completes with CONC_OK at the deadline / after `seconds`, which count from the making of the op. */
CONC_API conc_op conc_op_until(conc_deadline when);
CONC_API conc_op conc_op_sleep(double seconds);
/* Never completes: takes the place of a source that is used up in an array for conc_select(). */
CONC_API conc_op conc_op_never(void);

/* Blocks until `until`. CONC_OK, or CONC_CANCELED. Never early. */
CONC_API conc_result conc_sleep(conc_deadline until);

/* ---- cancel tokens ------------------------------------------------------------------------------
 * A token is fired once, by anybody, and from then on wakes every wait under it with CONC_CANCELED: the
 * waits of each thread whose current token it is, or whose current token has it among its parents.
 * Calls that need not wait still succeed; loops that never wait ask conc_canceled(). All zero is valid. A
 * token, and its parents, must outlive every wait under it. */
typedef struct conc_cancel {
    struct conc_cancel *parent; /* fires with it; set it before the first use or leave it NULL */
    uint32_t conc__state;
} conc_cancel;
#define CONC_CANCEL_DEPTH 8 /* a token and its parents, at most */

/* Fires it: CONC_OK, or CONC_INVALID (NULL). Again is harmless. Does not block. Not for signal handlers. */
CONC_API conc_result conc_cancel_fire(conc_cancel *token);
/* Whether it, or a parent, has fired. */
CONC_API bool conc_cancel_fired(const conc_cancel *token);
/* Completes with CONC_OK once it has fired (itself: parents do not count here). */
CONC_API conc_op conc_op_canceled(conc_cancel *token);

/* Makes `token` (NULL: none) the calling thread's current one and returns the one before. A chain of
 * more than CONC_CANCEL_DEPTH tokens is cut there: conc_error_detail() says so. */
CONC_API conc_cancel *conc_cancel_use(conc_cancel *token);
CONC_API conc_cancel *conc_cancel_current(void);
/* CONC_CANCELED if the calling thread's current token has fired, else CONC_OK. */
CONC_API conc_result conc_canceled(void);

/* CONC_WITH_CANCEL(&token) { ... }: the token is current within the block (see CONC_WITH_LOCK for how it
 * may be left). */
#define CONC_WITH_CANCEL(token)                                                                    \
    CONC__WITH(conc__cancel_scope, conc__cancel_enter(token), conc__cancel_leave, CONC__UNIQUE)

typedef struct conc__cancel_scope {
    int live;
    conc_cancel *before;
} conc__cancel_scope;
CONC_API conc__cancel_scope conc__cancel_enter(conc_cancel *token);
CONC_API void conc__cancel_leave(conc__cancel_scope *scope);

#endif

/* ==== end src/wait.h ==== */

/* ==== begin src/sync.h ==== */

/* ============================================================================================
 * sync: mutex, recursive mutex, condition, reader-writer locks, semaphore, event, barrier, once, latch.
 *
 * All of them are plain structs that are ready when all zero (static, = {0}, memset), need no memory of
 * their own and no destroying; conc_X_destroy() only checks that nobody uses it any more and returns
 * CONC_BUSY if somebody does. They must not be copied or moved while in use, and not be put in memory
 * shared between processes. Fields named conc__ are private.
 *
 * Results that every function here can give: CONC_INVALID for NULL; and every blocking one: CONC_TIMEOUT
 * (CONC_BUSY with CONC_NOW), CONC_CANCELED when the thread's cancel token fires, CONC_FORKED in a child
 * of fork() when what it waits for is held by a thread that only the parent has (as far as holders are known: which
 * threads read is not recorded, nor who will set an event).
 *
 * Memory: what a thread did before unlock/release/set/done is seen by the one that then locks/acquires/
 * waits successfully.
 * ========================================================================================== */

#ifndef CONC__SYNC_H
#define CONC__SYNC_H

/* ---- mutex ------------------------------------------------------------------------------------
 * 4 bytes. Not recursive. The word holds its owner, so that unlocking what another holds and locking
 * what one holds oneself are always told, not only in debug mode. Barging: a running thread may take it
 * before one that sleeps; a thread that has waited for 1 ms and lost is handed it next, so none starves. */
typedef struct conc_mutex {
    uint32_t conc__word;
} conc_mutex;

/* Locks it, waiting until the deadline. CONC_DEADLOCK: the caller holds it already. A result other than
 * CONC_OK means that it is NOT held: look at it, or use CONC_WITH_LOCK. */
CONC_API CONC_MUST_CHECK conc_result conc_mutex_lock(conc_mutex *m, conc_deadline deadline);
/* CONC_OK, or CONC_BUSY at once (also if the caller itself holds it). */
CONC_API CONC_MUST_CHECK conc_result conc_mutex_try_lock(conc_mutex *m);
/* CONC_NOT_OWNER: not locked, or by another: nothing changes. Never blocks. The mutex may be destroyed
 * and its memory reused as soon as another thread has locked it after this. */
CONC_API conc_result conc_mutex_unlock(conc_mutex *m);
CONC_API conc_result conc_mutex_destroy(conc_mutex *m);
/* Whether the calling thread holds it. */
CONC_API bool conc_mutex_is_mine(const conc_mutex *m);
/* Completes with the mutex locked by whoever waits. */
CONC_API conc_op conc_op_lock(conc_mutex *m);

/* CONC_WITH_LOCK(&m) { ... }: locks, runs the block once, unlocks. `break` and `continue` leave the block
 * (not a loop around it) and unlock; with gcc and clang so do `return` and `goto`; elsewhere leave it by
 * break. Waits for ever and is not canceled. If it cannot be locked (NULL, or held by the caller already)
 * the error hook is told and the block does not run. */
#define CONC_WITH_LOCK(m) CONC__WITH(conc__lock_scope, conc__lock_enter(m), conc__lock_leave, CONC__UNIQUE)

typedef struct conc__lock_scope {
    int live;
    conc_mutex *mutex;
} conc__lock_scope;
CONC_API conc__lock_scope conc__lock_enter(conc_mutex *m);
CONC_API void conc__lock_leave(conc__lock_scope *scope);

/* ---- recursive mutex --------------------------------------------------------------------------
 * Its owner may lock it again, and unlocks it as many times. CONC_INVALID after 4 billion times. */
typedef struct conc_rmutex {
    conc_mutex conc__mutex;
    uint32_t conc__depth; /* how many times more than once; guarded by the mutex */
} conc_rmutex;

CONC_API CONC_MUST_CHECK conc_result conc_rmutex_lock(conc_rmutex *m, conc_deadline deadline);
CONC_API CONC_MUST_CHECK conc_result conc_rmutex_try_lock(conc_rmutex *m);
CONC_API conc_result conc_rmutex_unlock(conc_rmutex *m);
CONC_API conc_result conc_rmutex_destroy(conc_rmutex *m);

#define CONC_WITH_RLOCK(m)                                                                         \
    CONC__WITH(conc__rlock_scope, conc__rlock_enter(m), conc__rlock_leave, CONC__UNIQUE)
typedef struct conc__rlock_scope {
    int live;
    conc_rmutex *mutex;
} conc__rlock_scope;
CONC_API conc__rlock_scope conc__rlock_enter(conc_rmutex *m);
CONC_API void conc__rlock_leave(conc__rlock_scope *scope);

/* ---- condition variable -------------------------------------------------------------------------
 * Used with one mutex at a time, held by the caller of wait. Spurious wake-ups happen: wait in a loop
 * that tests what is waited for, or use conc_cond_wait_for(). A signal sent while the mutex is held
 * reaches a thread that waited at that moment, never only one that came later. */
typedef struct conc_cond {
    uint32_t conc__word;
} conc_cond;

typedef bool (*conc_predicate)(void *arg);

/* Unlocks `m`, waits for a signal, locks `m` again; the mutex is held by the caller again whatever the
 * result (that last locking is neither timed nor canceled). CONC_NOT_OWNER: the caller does not hold it. */
CONC_API conc_result conc_cond_wait(conc_cond *c, conc_mutex *m, conc_deadline deadline);
/* Waits until predicate(arg), called with the mutex held, is true: then CONC_OK, even at the deadline. */
CONC_API conc_result conc_cond_wait_for(conc_cond *c, conc_mutex *m, conc_predicate predicate, void *arg,
                                        conc_deadline deadline);
/* Wakes one waiter, or all. Holding the mutex is not required, and is usual. Never blocks. */
CONC_API conc_result conc_cond_signal(conc_cond *c);
CONC_API conc_result conc_cond_broadcast(conc_cond *c);
CONC_API conc_result conc_cond_destroy(conc_cond *c);
/* Completes once the condition has been signaled after this op was made. Make it with the mutex held,
 * unlock the mutex, wait, lock it again, test. */
CONC_API conc_op conc_op_signal(conc_cond *c);

/* ---- reader-writer lock ---------------------------------------------------------------------------
 * Many readers or one writer. Phase-fair (after Brandenburg and Anderson 2010): a waiting writer keeps new
 * readers out, and a leaving writer lets all readers in that wait at that moment, so neither starves the
 * other. Therefore a reader must not read-lock it again (with a writer waiting between, it would wait for
 * itself), nor ask to write before it has unlocked. CONC_DEADLOCK: the caller holds it to write. */
typedef struct conc_rwlock {
    uint32_t conc__word;
    uint32_t conc__owner; /* the writer; written by it, read to tell misuse */
} conc_rwlock;

/* (With CONC_NOW either may be refused for the moment in which a reader that came in vain steps back.) */
CONC_API CONC_MUST_CHECK conc_result conc_rwlock_read(conc_rwlock *l, conc_deadline deadline);
CONC_API CONC_MUST_CHECK conc_result conc_rwlock_write(conc_rwlock *l, conc_deadline deadline);
/* Gives back what the caller holds, read or write. CONC_NOT_OWNER: nobody holds it, or another thread holds it
 * to write. (Which threads read is not recorded: a stranger's unlock among readers goes unnoticed.) */
CONC_API conc_result conc_rwlock_unlock(conc_rwlock *l);
CONC_API conc_result conc_rwlock_destroy(conc_rwlock *l);
CONC_API conc_op conc_op_read(conc_rwlock *l);
CONC_API conc_op conc_op_write(conc_rwlock *l);

#define CONC_WITH_READ_LOCK(l)                                                                     \
    CONC__WITH(conc__rwlock_scope, conc__rwlock_enter((l), 0), conc__rwlock_leave, CONC__UNIQUE)
#define CONC_WITH_WRITE_LOCK(l)                                                                    \
    CONC__WITH(conc__rwlock_scope, conc__rwlock_enter((l), 1), conc__rwlock_leave, CONC__UNIQUE)
typedef struct conc__rwlock_scope {
    int live;
    conc_rwlock *lock;
} conc__rwlock_scope;
CONC_API conc__rwlock_scope conc__rwlock_enter(conc_rwlock *l, int write);
CONC_API void conc__rwlock_leave(conc__rwlock_scope *scope);

/* ---- big-reader lock ------------------------------------------------------------------------------
 * A reader-writer lock for data that is read all the time and written hardly ever: each reader touches
 * only a cache line of its own, so readers do not slow each other down; a writer has to look at all the
 * lines. 128 bytes for each processor (at most 64 of them), allocated. Writers go before new readers: as with conc_rwlock,
 * a reader asks for nothing before it has unlocked. CONC_DEADLOCK: the caller holds it to write. */
typedef struct conc_brlock conc_brlock;

/* NULL: out of memory. */
CONC_API conc_brlock *conc_brlock_new(void);
/* CONC_BUSY, and nothing is freed, if it is held or waited for. NULL is CONC_OK. */
CONC_API conc_result conc_brlock_free(conc_brlock *l);
CONC_API CONC_MUST_CHECK conc_result conc_brlock_read(conc_brlock *l, conc_deadline deadline);
CONC_API CONC_MUST_CHECK conc_result conc_brlock_write(conc_brlock *l, conc_deadline deadline);
/* By the thread that locked it. */
CONC_API conc_result conc_brlock_read_unlock(conc_brlock *l);
CONC_API conc_result conc_brlock_write_unlock(conc_brlock *l);
CONC_API conc_op conc_op_brlock_read(conc_brlock *l);
CONC_API conc_op conc_op_brlock_write(conc_brlock *l);

/* ---- semaphore ------------------------------------------------------------------------------------
 * Counts permits. `max` bounds them (0: not bounded, up to 2^31 - 1). */
typedef struct conc_semaphore {
    uint32_t conc__word;
    uint32_t max;
} conc_semaphore;
#define CONC_SEMAPHORE_INIT(permits, max) { (permits) & 0x7fffffffu, (max) } /* not checked: use permits <= max */

CONC_API conc_result conc_semaphore_init(conc_semaphore *s, uint32_t permits, uint32_t max);
/* Takes a permit, waiting for one. */
CONC_API CONC_MUST_CHECK conc_result conc_semaphore_acquire(conc_semaphore *s, conc_deadline deadline);
/* Gives `n` permits. CONC_INVALID, and nothing given, when that would pass the bound. Never blocks. */
CONC_API conc_result conc_semaphore_release(conc_semaphore *s, uint32_t n);
/* How many permits there are at this moment. */
CONC_API uint32_t conc_semaphore_permits(const conc_semaphore *s);
CONC_API conc_result conc_semaphore_destroy(conc_semaphore *s);
CONC_API conc_op conc_op_acquire(conc_semaphore *s);

/* ---- event ------------------------------------------------------------------------------------------
 * A flag that can be waited for. Manual reset (the default): all waiters pass while it is set; one that is woken looks
 * again, so a reset right after the set may keep it waiting. Auto reset: each set lets one waiter through and is used up
 * by it. */
typedef struct conc_event {
    uint32_t conc__word;
    bool auto_reset; /* set it before the first use */
} conc_event;

CONC_API conc_result conc_event_set(conc_event *e);
CONC_API conc_result conc_event_reset(conc_event *e);
CONC_API bool conc_event_is_set(const conc_event *e);
CONC_API conc_result conc_event_wait(conc_event *e, conc_deadline deadline);
CONC_API conc_result conc_event_destroy(conc_event *e);
CONC_API conc_op conc_op_event(conc_event *e);

/* ---- barrier ------------------------------------------------------------------------------------------
 * Holds `parties` threads until all have come, then lets them go, again and again. A party that gives up
 * (time-out, cancel, or CONC_NOW when it is not the last) breaks the barrier: all others get CONC_BROKEN, now and later, until it is reset. */
typedef struct conc_barrier {
    uint32_t parties; /* set it before the first use; 0 is CONC_INVALID */
    uint32_t conc__arrived;    /* this and what follows is guarded by the lock of the address's bucket */
    uint32_t conc__generation; /* counts the rounds that ended */
    uint32_t conc__history;    /* of the last 32 rounds: bit (round % 32) is 1 if it ended broken */
    bool conc__broken;         /* whoever comes gets CONC_BROKEN */
} conc_barrier;

/* `*rank` (may be NULL) is 0 for the first to arrive of this round, parties - 1 for the last. */
CONC_API conc_result conc_barrier_wait(conc_barrier *b, uint32_t *rank, conc_deadline deadline);
/* Breaks it: every party that waits or comes gets CONC_BROKEN. */
CONC_API conc_result conc_barrier_abort(conc_barrier *b);
/* Makes it new; those who wait get CONC_BROKEN. */
CONC_API conc_result conc_barrier_reset(conc_barrier *b);
CONC_API conc_result conc_barrier_destroy(conc_barrier *b);
/* Arrives when it is first attempted; so in a conc_select() it has an effect even if another op wins: it then leaves, which
 * breaks the barrier, or, if the round was completed in that moment, counts as having passed it. */
CONC_API conc_op conc_op_barrier(conc_barrier *b, uint32_t *rank);

/* ---- once -------------------------------------------------------------------------------------------
 * Runs a function exactly once, whoever comes first; all others wait until it has run. */
typedef struct conc_once {
    uint32_t conc__word;
} conc_once;

/* CONC_OK: it has run (now or before) and all it did is seen. CONC_FAILED: this call ran it and it
 * returned non-zero; it then counts as not run, and the next caller tries again. CONC_DEADLOCK: called from
 * within `fn`. */
CONC_API conc_result conc_once_do(conc_once *o, conc_fn fn, void *arg, conc_deadline deadline);

/* ---- latch ----------------------------------------------------------------------------------------
 * A counter that can be waited on until it is zero (Go's WaitGroup, Java's CountDownLatch, which is
 * what one makes of it that is never added to again). At most 2^31 - 1. */
typedef struct conc_latch {
    uint32_t conc__word;
} conc_latch;
#define CONC_LATCH_INIT(count) { (count) & 0x7fffffffu }

/* CONC_INVALID, and no change, past the maximum. */
CONC_API conc_result conc_latch_add(conc_latch *l, uint32_t n);
/* Takes one off. CONC_INVALID: it was zero. The latch may be destroyed and its memory reused as soon as
 * conc_latch_wait() has returned CONC_OK. */
CONC_API conc_result conc_latch_done(conc_latch *l);
CONC_API uint32_t conc_latch_count(const conc_latch *l);
CONC_API conc_result conc_latch_wait(conc_latch *l, conc_deadline deadline);
CONC_API conc_result conc_latch_destroy(conc_latch *l);
CONC_API conc_op conc_op_latch(conc_latch *l);

/* ---- debug mode -------------------------------------------------------------------------------------
 * With CONC_DEBUG defined (everywhere, for places; in the implementation alone, without) the error hook is
 * told, with thread, names and places, of: locking a mutex that one holds; unlocking one that one does not
 * hold; destroying a lock in use; and locking two mutexes in an order opposite to one seen before (a
 * deadlock waiting to happen), found when it is first possible, not when it strikes. Mutexes are known by their address:
 * destroy those whose memory is used again, or their order is held against what comes after them. Locks taken as ops
 * (conc_op_lock) are not followed. */

/* Names an object in reports of CONC_DEBUG and CONC_SIM. `name` must live as long. Without them it does nothing. */
CONC_API void conc_debug_name(const void *object, const char *name);

CONC_API conc_result conc__mutex_lock_at(conc_mutex *m, conc_deadline deadline, const char *file, int line);
CONC_API conc_result conc__mutex_try_lock_at(conc_mutex *m, const char *file, int line);
CONC_API conc_result conc__mutex_unlock_at(conc_mutex *m, const char *file, int line);
CONC_API conc__lock_scope conc__lock_enter_at(conc_mutex *m, const char *file, int line);
#if defined(CONC_DEBUG)
#define conc_mutex_lock(m, deadline) conc__mutex_lock_at((m), (deadline), __FILE__, __LINE__)
#define conc_mutex_try_lock(m) conc__mutex_try_lock_at((m), __FILE__, __LINE__)
#define conc_mutex_unlock(m) conc__mutex_unlock_at((m), __FILE__, __LINE__)
#define conc__lock_enter(m) conc__lock_enter_at((m), __FILE__, __LINE__)
#endif

#endif

/* ==== end src/sync.h ==== */

/* ==== begin src/thread.h ==== */

/* ============================================================================================
 * thread: start, join, daemon threads, names, thread-local values, timers.
 *
 * THE END OF A PROGRAM. When main returns or calls exit(), the program waits for every thread started here
 * that is not a daemon; daemon threads then end with the process, wherever they are. exit() called in a thread
 * started here waits for nobody (those it would wait for may be waiting for it); C leaves undefined what a second
 * exit() does while one is under way, so a thread must not call it once main has. The wait is an atexit
 * handler, registered when the first thread is started: what is registered with atexit after that runs
 * before it. Static destructors join nothing. A daemon must not use what an atexit handler or a static
 * destructor takes away.
 *
 * The registry of threads is the one state that is per process. After fork() only the calling thread
 * exists in the child, and the registry there holds no other.
 * ========================================================================================== */

#ifndef CONC__THREAD_H
#define CONC__THREAD_H

typedef struct conc_thread conc_thread;

typedef struct conc_thread_desc {
    const char *name;    /* copied, cut at 31 bytes; NULL: "thread-N". The system is told too (15 bytes) */
    bool daemon;         /* the program's end does not wait for it */
    size_t stack_size;   /* bytes; 0: the system's default. Rounded up to what the system needs */
    conc_cancel *cancel; /* the thread's cancel token from its start; must outlive it */
} conc_thread_desc;

/* Starts fn(arg) in a new thread. What the caller did before is seen by it. The handle is the caller's until
 * it is joined or detached; one that is neither keeps its memory until the program ends. NULL, with
 * conc_error_result(): CONC_INVALID (no fn), CONC_NO_MEMORY, CONC_NO_THREADS; then fn never runs. */
CONC_API conc_thread *conc_thread_start(conc_fn fn, void *arg, const conc_thread_desc *desc);

/* Waits until it has ended, stores what fn returned in `*result` (may be NULL) and frees the handle; all that
 * it did is seen. CONC_TIMEOUT, CONC_BUSY, CONC_CANCELED: the handle stays. CONC_DEADLOCK: it is the calling
 * thread. CONC_INVALID: NULL, joined or detached already, or not started here. A non-zero return with
 * `result` NULL goes to the error hook. */
CONC_API conc_result conc_thread_join(conc_thread *t, int *result, conc_deadline deadline);

/* Gives the handle back without waiting. The thread goes on (and the program's end still waits for it unless
 * it is a daemon); if it returns non-zero the error hook is told. CONC_INVALID as for join. */
CONC_API conc_result conc_thread_detach(conc_thread *t);

/* Completes when it has ended; it still has to be joined or detached, after that. Instead: CONC_DEADLOCK and CONC_INVALID
 * as for join. */
CONC_API conc_op conc_op_thread_end(conc_thread *t);

/* The calling thread, and the one that main runs in (the first that used the library, if main never
 * did). Handles of threads not started here may be asked, not joined or detached; they live as long as
 * the thread. NULL: out of memory. */
CONC_API conc_thread *conc_thread_current(void);
CONC_API conc_thread *conc_thread_main(void);

/* Questions about a thread; NULL is the calling one. None blocks. */
CONC_API const char *conc_thread_name(const conc_thread *t); /* lives as long as the handle */
CONC_API uint32_t conc_thread_id(const conc_thread *t);      /* from 1 on, never used twice */
CONC_API bool conc_thread_is_daemon(const conc_thread *t);
CONC_API bool conc_thread_is_alive(const conc_thread *t); /* started and its function not returned */
/* Renames the calling thread. Not while another may be asking for its name. */
CONC_API conc_result conc_thread_set_name(const char *name);

/* How many threads are alive: those started here, and others (main too) that have asked for their
 * handle. */
CONC_API size_t conc_thread_count(void);
/* Calls visit(t, arg) for each of them, with the registry locked: `visit` may ask the questions above, and must not start,
 * join or detach, rename, or set a thread-local value. */
CONC_API void conc_thread_each(void (*visit)(conc_thread *t, void *arg), void *arg);

/* Lets other threads run. A hint. */
CONC_API void conc_thread_yield(void);

/* Waits until no thread is left but daemons, the caller, and those that are in this call themselves. For programs that
 * leave main by other means. CONC_TIMEOUT: some are left; conc_error_detail() names them. */
CONC_API conc_result conc_thread_join_all(conc_deadline deadline);

/* ---- thread-local values --------------------------------------------------------------------------
 * A key under which each thread keeps its own pointer, NULL at first. All zero is valid, static or global;
 * at most 128 keys are ever used. At a thread's end (not the program's) `destroy` is called on each value that
 * is not NULL, again if that sets values, up to four rounds. */
typedef struct conc_local {
    void (*destroy)(void *value); /* may be NULL */
    uint32_t conc__id;
} conc_local;

CONC_API void *conc_local_get(conc_local *key);
/* CONC_NO_MEMORY; CONC_INVALID: no more keys. Then the old value stays. */
CONC_API conc_result conc_local_set(conc_local *key, void *value);

/* ---- timers ---------------------------------------------------------------------------------------
 * Call a function once, later. All timers share one daemon thread, "conc-timer", started with the first:
 * a function that blocks holds up the others, and the program's end does not wait for a timer that is still to run
 * (conc_op_timer() does). */
typedef struct conc_timer conc_timer;

/* Calls fn(arg) at `when`. The handle is the caller's until conc_timer_release(). NULL: CONC_INVALID (no fn),
 * CONC_NO_MEMORY, CONC_NO_THREADS. A non-zero return goes to the error hook. */
CONC_API conc_timer *conc_timer_start(conc_fn fn, void *arg, conc_deadline when);
/* CONC_OK: fn has not run and never will. CONC_CLOSED: too late, it runs or has run. Does not wait for it. */
CONC_API conc_result conc_timer_cancel(conc_timer *t);
/* Completes when it has run or was canceled. */
CONC_API conc_op conc_op_timer(conc_timer *t);
/* Gives the handle back; a timer that is still to run will run. NULL is harmless. */
CONC_API void conc_timer_release(conc_timer *t);

#endif

/* ==== end src/thread.h ==== */

/* ==== begin src/queue.h ==== */

/* ============================================================================================
 * queue: a blocking queue between threads: any number of producers and consumers.
 *
 * Items are copied in and out by their size, fixed when the queue is made; a queue of pointers holds
 * pointers, and what they point to passes from the producer to the consumer. Items come out in the order
 * in which the puts took effect, one total order for all consumers (FIFO kinds). What a producer did
 * before a put is seen by the consumer that gets the item.
 *
 * CLOSE. conc_queue_close() ends the input: puts fail with CONC_CLOSED at once, also those that wait;
 * gets drain what is there, then say CONC_CLOSED. A put that returned CONC_OK is never lost: its item
 * comes out, or is handed to the drop function of conc_queue_close_now().
 *
 * HOW. The bounded FIFO is D. Vyukov's ring (a stamp in each slot; here with the lap in the upper bits
 * of the indices, so that any capacity works and closing is one bit of the tail). Sleepers and wakers
 * meet in the manner of Dekker: a producer moves the tail with a sequentially consistent
 * read-modify-write and then reads `getters asleep?`; a consumer sets that flag the same way and then
 * reads the tail: one of them sees the other. The other kinds are an array under a lock; the hand-off
 * keeps no item at all.
 * ========================================================================================== */

#ifndef CONC__QUEUE_H
#define CONC__QUEUE_H

typedef struct conc_queue conc_queue;

typedef enum conc_queue_kind {
    CONC_FIFO = 0, /* bounded by `capacity`; 0 is unbounded */
    CONC_LIFO,     /* a stack, likewise */
    CONC_PRIORITY, /* least first by `compare`; equal items in the order of their puts */
    CONC_HANDOFF   /* holds nothing: a put completes when a get takes the item (rendezvous) */
} conc_queue_kind;

typedef struct conc_queue_desc {
    conc_queue_kind kind;
    /* For CONC_PRIORITY: < 0 if a comes first. Must not block. Items are aligned as malloc() aligns. */
    int (*compare)(const void *a, const void *b);
} conc_queue_desc;

/* A queue for items of `item_size` bytes (at least 1), at most `capacity` of them (0: no bound but memory;
 * the hand-off wants 0). `desc` NULL: a FIFO. A bounded FIFO allocates all its memory here. NULL:
 * CONC_INVALID (size 0, capacity * size overflows, priority without compare, unknown kind),
 * CONC_NO_MEMORY. */
CONC_API conc_queue *conc_queue_new(size_t item_size, size_t capacity);
CONC_API conc_queue *conc_queue_new_ex(size_t item_size, size_t capacity, const conc_queue_desc *desc);

/* Frees it with the items in it. CONC_BUSY, and nothing happens, if somebody sleeps on it. NULL is CONC_OK.
 * No thread may be using it or use it afterwards; one that has just been woken, or is about to sleep, is using it and is
 * not seen. */
CONC_API conc_result conc_queue_free(conc_queue *q);

/* Puts a copy of *item / takes the next item into *item, waiting for room / for an item until the deadline.
 * Macros over the functions below: they hand in sizeof(*item), so an item of another type than the
 * queue's is told: CONC_INVALID.
 * CONC_OK; CONC_CLOSED; CONC_TIMEOUT; CONC_FULL / CONC_EMPTY (only with CONC_NOW); CONC_CANCELED;
 * CONC_INVALID (NULL, wrong size); CONC_NO_MEMORY (put, but not into a bounded FIFO or a hand-off); CONC_FORKED (made
 * before fork(), used
 * in the child). But for CONC_OK the queue, and *item, are as before. */
#define conc_queue_put(q, item, deadline) conc_queue_put_bytes((q), (item), sizeof *(item), (deadline))
#define conc_queue_get(q, item, deadline) conc_queue_get_bytes((q), (item), sizeof *(item), (deadline))
CONC_API conc_result conc_queue_put_bytes(conc_queue *q, const void *item, size_t size, conc_deadline deadline);
CONC_API conc_result conc_queue_get_bytes(conc_queue *q, void *item, size_t size, conc_deadline deadline);

/* The same as ops. *item must live until the wait is over. */
#define conc_op_put(q, item) conc_op_put_bytes((q), (item), sizeof *(item))
#define conc_op_get(q, item) conc_op_get_bytes((q), (item), sizeof *(item))
CONC_API conc_op conc_op_put_bytes(conc_queue *q, const void *item, size_t size);
CONC_API conc_op conc_op_get_bytes(conc_queue *q, void *item, size_t size);

/* Several at once, in order. put: all `n` items, waiting for room as needed; get: waits for the first, then takes
 * what is there, up to `n`. `*done` (may not be NULL) is how many were moved, whatever the result; CONC_OK:
 * all n (put), at least one (get). Other producers' items may come between those of one put. */
#define conc_queue_put_many(q, items, n, done, deadline)                                           \
    conc_queue_put_many_bytes((q), (items), sizeof *(items), (n), (done), (deadline))
#define conc_queue_get_many(q, items, n, done, deadline)                                           \
    conc_queue_get_many_bytes((q), (items), sizeof *(items), (n), (done), (deadline))
CONC_API conc_result conc_queue_put_many_bytes(conc_queue *q, const void *items, size_t size, size_t n,
                                               size_t *done, conc_deadline deadline);
CONC_API conc_result conc_queue_get_many_bytes(conc_queue *q, void *items, size_t size, size_t n, size_t *done,
                                               conc_deadline deadline);

/* Ends the input (see above). CONC_OK, or CONC_CLOSED if it was closed already. Never blocks. */
CONC_API conc_result conc_queue_close(conc_queue *q);
/* Ends input and output: takes out all items that no get has taken, in order, and hands each to
 * drop(item, arg), so that none is lost silently; gets then say CONC_CLOSED. `drop` may not be NULL. If it
 * was closed already, what is left in it is dropped all the same: CONC_CLOSED. */
CONC_API conc_result conc_queue_close_now(conc_queue *q, void (*drop)(void *item, void *arg), void *arg);
CONC_API bool conc_queue_is_closed(const conc_queue *q);

/* How many items are in it at this moment (a hint while others use it); its capacity, 0 if unbounded; the size
 * of an item. 0 for NULL, and the length in a child of fork(). */
CONC_API size_t conc_queue_length(const conc_queue *q);
CONC_API size_t conc_queue_capacity(const conc_queue *q);
CONC_API size_t conc_queue_item_size(const conc_queue *q);

/* Counting work, as Python's queue does: whoever got an item calls conc_queue_task_done() when it has been dealt
 * with; conc_queue_join() waits until that has happened for every item ever put (those dropped by close_now
 * count as done). CONC_INVALID: more calls than items. */
CONC_API conc_result conc_queue_task_done(conc_queue *q);
CONC_API conc_result conc_queue_join(conc_queue *q, conc_deadline deadline);
CONC_API conc_op conc_op_queue_join(conc_queue *q);

/* CONC_FOR_QUEUE(long, x, q) { ... x ... }: takes items until the queue is closed and empty. `x` is a variable
 * of type `type` within the block. Ends early if the wait is canceled or misused; conc_queue_is_closed() and
 * conc_error_detail() tell. */
#define CONC_FOR_QUEUE(type, x, q) for (type x; conc_queue_get((q), &x, CONC_FOREVER) == CONC_OK;)

#endif

/* ==== end src/queue.h ==== */

/* ==== begin src/iter.h ==== */

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

/* ==== end src/iter.h ==== */

/* ==== begin src/future.h ==== */

/* ============================================================================================
 * future: stands for what somebody else is working on: wait for it, ask how it ended, cancel it, be called when it has ended.
 *
 * Thread pools give them out (conc_pool_submit()), and anybody may make one (conc_future_new()) and complete it. A future
 * ends once, with a result: CONC_OK, CONC_FAILED (the task returned something else than 0: conc_future_code()),
 * CONC_CANCELED (before it began; or its token had fired, and the task itself returned CONC_CANCELED), CONC_REJECTED, ... It is
 * reference-counted: the call that hands one out gives its caller a reference, which is given back with conc_future_release();
 * whoever works on it holds one of its own. So it may be released before it has ended: the task goes on.
 *
 * A FAILURE IS NEVER LOST. If a future ends with CONC_FAILED and is freed without anybody having seen it (by a wait, by an
 * op, by conc_future_result(), conc_future_code() or a callback), the error hook is told.
 *
 * WAITING IN A POOL. A task that waits for another of its own pool, with conc_future_wait(), conc_wait_all(), conc_wait_any() or
 * conc_as_completed(), does not merely block a thread: if the other is still in the queue, it is run right there, in the thread
 * that waits. So tasks may wait for tasks in a pool of one thread. What is run right there runs to its end: the wait's deadline,
 * and a cancel of the waiter, do not end it. A conc_future_wait() or conc_wait_all() that could never end, because what it waits
 * for itself waits, without a deadline, for the waiter, is told: CONC_DEADLOCK. (Ops do not run anything: an attempt never takes
 * long. conc_wait(conc_op_future(f)) in a task just waits.)
 * ========================================================================================== */

#ifndef CONC__FUTURE_H
#define CONC__FUTURE_H

typedef struct conc_future conc_future;

/* Waits until it has ended, and returns its result; or CONC_TIMEOUT (with CONC_NOW: CONC_BUSY), CONC_DEADLOCK (see above),
 * CONC_INVALID (NULL), CONC_FORKED. CONC_CANCELED: the calling thread's token has fired, or that is the future's result:
 * conc_future_is_done() tells which. What the task did is seen by the caller. */
CONC_API conc_result conc_future_wait(conc_future *f, conc_deadline deadline);
/* The same as an op: for conc_select(), and for coroutines. */
CONC_API conc_op conc_op_future(conc_future *f);

/* Questions; none blocks. The result: CONC_PENDING before the end; CONC_INVALID: NULL. The code: what the task returned; 0
 * before the end, or if it never ran. The sentence says what went wrong (conc_error_detail() of the thread that ran it, if
 * there was one), "" if nothing; it lives as long as the future. The argument is that of the task; NULL if there is no task. */
CONC_API bool conc_future_is_done(const conc_future *f);
CONC_API conc_result conc_future_result(conc_future *f);
CONC_API int conc_future_code(conc_future *f);
CONC_API const char *conc_future_detail(const conc_future *f);
CONC_API void *conc_future_arg(const conc_future *f);

/* CONC_OK: it had not begun, and never will: it has ended with CONC_CANCELED. CONC_BUSY: it runs, and its token has been fired,
 * which ends its waits; it ends when it returns. CONC_CLOSED: it had ended before. Does not wait. */
CONC_API conc_result conc_future_cancel(conc_future *f);

/* Has fn(f, arg) called once it has ended: in the thread that ends it, with no lock held, or right here if it has ended
 * already. Callbacks are called in the order in which they were given; the future lives until the last has returned. CONC_OK;
 * CONC_NO_MEMORY, CONC_INVALID: it will not be called. A callback must not block for long. */
CONC_API conc_result conc_future_then(conc_future *f, void (*fn)(conc_future *f, void *arg), void *arg);

/* One reference more (returns f); one less. NULL is harmless. */
CONC_API conc_future *conc_future_retain(conc_future *f);
CONC_API void conc_future_release(conc_future *f);

/* ---- several ----------------------------------------------------------------------------------
 * Waits until all n have ended: CONC_OK, or the result of the first in the array that did not end well; or as
 * conc_future_wait() if the wait fails. */
CONC_API conc_result conc_wait_all(conc_future *const *futures, size_t n, conc_deadline deadline);
/* Waits until one of n (at most 1000) has ended, and returns its index: the first in the array if there are several; or, negative, as
 * conc_future_wait(), and CONC_BUSY with CONC_NOW. CONC_INVALID: n is 0 or over 1000, or one is NULL. */
CONC_API int conc_wait_any(conc_future *const *futures, size_t n, conc_deadline deadline);
/* An iterator over them (conc_future *) in the order in which they end; the references stay the caller's. next() waits, without a
 * deadline; if that wait is canceled, the iterator ends with CONC_CANCELED. The array may go once the iterator is made; the
 * futures must stay until it is closed. */
CONC_API conc_iter *conc_as_completed(conc_future *const *futures, size_t n);

/* ---- a future of one's own ---------------------------------------------------------------------
 * Not ended; the reference is the caller's, who hands out others with conc_future_retain(). Canceling it completes it with
 * CONC_CANCELED. NULL: CONC_NO_MEMORY. */
CONC_API conc_future *conc_future_new(void);
/* Ends it with CONC_OK (code 0) or CONC_FAILED; what the caller did before is seen by who waits. CONC_CLOSED: it had ended.
 * CONC_INVALID: NULL, or the future of a pool's task. */
CONC_API conc_result conc_future_complete(conc_future *f, int code);

#endif

/* ==== end src/future.h ==== */

/* ==== begin src/pool.h ==== */

/* ============================================================================================
 * pool: a thread pool: core and maximum threads, keep-alive, a queue, and a policy for what finds no place.
 *
 * THE RULES. A task that is handed in goes, in this order,
 *   1. to a thread that is idle;
 *   2. to a new thread, as long as there are fewer than core_threads;
 *   3. into the queue, if that has room;
 *   4. to a new thread, as long as there are fewer than max_threads; it ends after keep_alive without work;
 *   5. to the policy: on_reject.
 * With `grow_first` the third and the fourth change places. Without it, as an unbounded queue always has room, a maximum above
 * the core would never be reached with one: conc_pool_new() refuses that. The queue is FIFO: tasks begin in the order in which
 * they were handed in (but see by_priority and conc_pool_submit_at()), from outside and by tasks alike.
 *
 * Compared with Java's ThreadPoolExecutor, whose rules these are: an idle thread is taken before a new core thread is
 * started (Java starts one as long as there are fewer than core); the queue's kind is a number, not an object; a
 * task's failure is its return value; a bounded queue can be waited for (CONC_REJECT_BLOCK); waiting for a task inside
 * of a task runs it, instead of a deadlock; the program's end closes a pool that was left open, lets its tasks
 * run to their end, and is not held up by idle threads; a periodic task's failure ends its future, visibly.
 *
 * NOTHING IS LOST. Each task that was accepted ends in one of three ways, and is counted: accepted = completed + canceled +
 * returned, once nothing is queued, scheduled or active. The failure of a task that has no future goes to the error hook.
 *
 * THE END. conc_pool_close(): no more tasks; what was accepted still runs. conc_pool_join(): waits until all has run and every
 * thread has ended. conc_pool_free(): gives back the memory. Or all three: conc_pool_finish(). A pool that is still open when the
 * program ends is closed and joined then (unless its desc says `daemon`), although its threads, each by itself, are daemons.
 *
 * FORK AND JOIN, PARALLEL LOOPS: see parallel.h. They use the same threads, and neither the queue nor its rules. (Groups and
 * conc_pool_imap() may use both.)
 *
 * Any thread may make any call here at any time, but for conc_pool_free() and conc_pool_finish(). In a child of fork() a pool's threads are not there:
 * all calls say CONC_FORKED, but conc_pool_free(), which gives back what it can.
 * ========================================================================================== */

#ifndef CONC__POOL_H
#define CONC__POOL_H

typedef struct conc_pool conc_pool;

typedef enum conc_reject {
    CONC_REJECT_ABORT = 0,   /* the call fails: CONC_REJECTED, "pool full: ..." */
    CONC_REJECT_DISCARD,     /* the task is not run; the call says CONC_OK */
    CONC_REJECT_DISCARD_OLDEST, /* the task that has waited longest makes room (not with by_priority) */
    CONC_REJECT_CALLER_RUNS, /* the caller runs the task itself, before the call returns */
    CONC_REJECT_BLOCK        /* the caller waits for room: until its deadline, or block_seconds. A task of this pool, which could
                                wait for itself, runs one to make room instead, however long that takes */
} conc_reject;

#define CONC_POOL_MAX_THREADS 4096
#define CONC_POOL_NO_QUEUE ((size_t)-1) /* as queue_capacity: a task goes to a thread at once, or nowhere */

typedef struct conc_pool_desc {
    const char *name;       /* its threads are NAME-1, NAME-2, ...; copied, cut at 20 bytes. NULL: "pool" */
    unsigned core_threads;  /* 0: conc_cpu_count(), or max_threads if that is less */
    unsigned max_threads;   /* 0: core_threads */
    double keep_alive;      /* seconds; 0: 60 */
    bool core_time_out;     /* core threads, too, end after keep_alive without work */
    bool prestart;          /* all core threads are started at once */
    bool grow_first;        /* see the rules */
    bool by_priority;       /* the queue gives the most urgent first, equals in their order: see conc_pool_task */
    bool waiters_help;      /* conc_future_wait() outside of the pool, too, runs the task itself if that is still queued */
    size_t queue_capacity;  /* tasks; 0: unbounded */
    conc_reject on_reject;
    double block_seconds;   /* CONC_REJECT_BLOCK: how long at most; 0: for ever */
    /* Decides instead of on_reject, in the calling thread. The call returns what it returns; CONC_OK: it has dealt with the task,
     * whose future, if it has one, ends with CONC_REJECTED: this pool does not run it. It may hand it in again, elsewhere or here. */
    conc_result (*reject)(conc_pool *pool, conc_fn fn, void *arg, void *user);
    /* Told of each task that will never run, if that is not told by the result of the call that decided it: those that the policy
     * discards, and those that conc_pool_close_now() takes out when it is given no `returned`. */
    void (*dropped)(conc_fn fn, void *arg, void *user);
    /* In each of the pool's threads: as it starts, and before it ends. (Tasks and pieces of loops may also run in threads that are
     * not the pool's, for which these are not called: CONC_REJECT_CALLER_RUNS, waiters_help, parallel.h.) */
    void (*thread_started)(void *user);
    void (*thread_ends)(void *user);
    /* Before and after each task that was handed in by the calls of this file, in the thread that runs it. */
    void (*before_task)(conc_fn fn, void *arg, void *user);
    void (*after_task)(conc_fn fn, void *arg, int code, void *user);
    void *user;             /* handed to all of these */
    size_t stack_size;      /* of its threads; 0: the system's default */
    bool daemon;            /* the program's end neither closes the pool nor waits for its tasks */
} conc_pool_desc;

/* `desc` NULL: as many threads as processors, an unbounded queue. Returns NULL: CONC_INVALID (conc_error_detail() says what is
 * wrong), CONC_NO_MEMORY, CONC_NO_THREADS (prestart: not even one). */
CONC_API conc_pool *conc_pool_new(const conc_pool_desc *desc);

/* ---- handing in --------------------------------------------------------------------------------
 * Fire and forget: fn(arg) is run once. No memory is allocated for it, unless the queue has to grow. What the caller did before is
 * seen by it. CONC_OK: accepted (or discarded, or run by the caller, as the policy says). Otherwise it will not run:
 * CONC_REJECTED: so says the policy; CONC_TIMEOUT, CONC_CANCELED: CONC_REJECT_BLOCK has waited for room in vain; CONC_CLOSED: the
 * pool is closed; CONC_NO_THREADS: there is no thread, and none can be started (if there is one, the task waits for it);
 * CONC_NO_MEMORY, CONC_INVALID, CONC_FORKED. */
CONC_API conc_result conc_pool_run(conc_pool *pool, conc_fn fn, void *arg);
/* With a future for it, which is the caller's to release. NULL, with conc_error_result(): as above. What the policy discards has
 * a future, too: it ends with CONC_REJECTED, or, if it had been accepted, with CONC_CANCELED. While the task runs, a token of its
 * own is current, which conc_future_cancel() fires; the token of the thread that handed it in is not its parent (see `cancel`). */
CONC_API conc_future *conc_pool_submit(conc_pool *pool, conc_fn fn, void *arg);

typedef struct conc_pool_task {
    int priority;        /* higher first; by_priority pools only */
    conc_cancel *cancel; /* a parent for the task's token; must outlive the task. If it has fired, the task is run all the same */
    conc_deadline until; /* only with CONC_REJECT_BLOCK: waits for room until then, instead of block_seconds; all zero: not given */
} conc_pool_task;
/* The same with options; `task` NULL: none. */
CONC_API conc_result conc_pool_run_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task);
CONC_API conc_future *conc_pool_submit_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task);

/* As an op: completes when the pool has accepted the task, waiting for room whatever the policy. */
CONC_API conc_op conc_op_pool_run(conc_pool *pool, conc_fn fn, void *arg);

/* ---- later, and again and again ----------------------------------------------------------------
 * The future of a task that is handed in at `when`, ahead of all that is queued, and whatever the bound. conc_pool_close() leaves
 * it be, and conc_pool_join(), and so the program's end, wait for it, however late it is; conc_future_cancel() takes it out. */
CONC_API conc_future *conc_pool_submit_at(conc_pool *pool, conc_fn fn, void *arg, conc_deadline when);
/* Runs fn(arg) at `first`, and then every `seconds` (over 0): at a fixed rate, counted from `first`, where a turn that is late is made
 * up for at once, and none overlaps the one before; or (`after_each`) with that much delay after each end. It goes on until fn
 * returns something else than 0, the future is canceled, or the pool is closed (CONC_CANCELED); then the future ends. */
CONC_API conc_future *conc_pool_every(conc_pool *pool, conc_fn fn, void *arg, conc_deadline first, double seconds, bool after_each);

/* ---- the end -----------------------------------------------------------------------------------
 * No more tasks from now on: CONC_OK, or CONC_CLOSED if it was closed. Does not wait. */
CONC_API conc_result conc_pool_close(conc_pool *pool);
/* Closes it, takes out all that has not begun and hands each to returned(fn, arg, user) in their order, with its future ended
 * (CONC_CANCELED), and fires the tokens of what runs. `returned` NULL: they are counted as canceled, and `dropped` is told. Does not wait. */
CONC_API conc_result conc_pool_close_now(conc_pool *pool, void (*returned)(conc_fn fn, void *arg, void *user), void *user);
/* Waits until all its tasks and all its threads have ended: CONC_OK, also when called again. CONC_INVALID: it is not closed.
 * CONC_DEADLOCK: the caller is one of its threads. CONC_TIMEOUT, CONC_CANCELED. */
CONC_API conc_result conc_pool_join(conc_pool *pool, conc_deadline deadline);
CONC_API conc_op conc_op_pool_end(conc_pool *pool);
/* Frees it. CONC_BUSY, and nothing happens: it has threads or tasks (close and join it first). NULL is CONC_OK. Its futures
 * stay as they are, until they are released. */
CONC_API conc_result conc_pool_free(conc_pool *pool);

/* Closes, joins for as long as it takes, and frees: CONC_OK; or, and it is closed and not freed, CONC_CANCELED, CONC_DEADLOCK. NULL is
 * CONC_OK. */
CONC_API conc_result conc_pool_finish(conc_pool *pool);

/* ---- looking and changing ---------------------------------------------------------------------- */

typedef struct conc_pool_stats {
    unsigned threads;  /* now, and */
    unsigned largest;  /* at most so far */
    unsigned idle;     /* those that wait for a task */
    unsigned active;   /* those that run one, or look for one */
    size_t queued;     /* tasks that wait for a thread */
    size_t scheduled;  /* tasks that wait for their time */
    /* Tasks since the beginning; those that the policy has the caller run are among them, and what is periodic is one task.
     * `accepted` is the sum of the next three, and of those queued, scheduled and running. */
    uint64_t accepted;
    uint64_t completed; /* they ran to their end, well or not */
    uint64_t canceled;  /* before they ran: by their future, or discarded as the oldest, or by closing */
    uint64_t returned;  /* by conc_pool_close_now() */
    uint64_t rejected;  /* not accepted */
} conc_pool_stats;
/* Each number is right for some moment during the call; all together, once nothing goes on. */
CONC_API conc_pool_stats conc_pool_stats_of(conc_pool *pool);
CONC_API const conc_pool_desc *conc_pool_desc_of(const conc_pool *pool); /* as it was made, the defaults filled in */
CONC_API const char *conc_pool_name(const conc_pool *pool);
/* Other numbers of threads; 0: as it is. Threads that are too many end when they are idle. CONC_INVALID: as for conc_pool_new(). */
CONC_API conc_result conc_pool_resize(conc_pool *pool, unsigned core_threads, unsigned max_threads);
CONC_API conc_result conc_pool_set_keep_alive(conc_pool *pool, double seconds);
/* Starts core threads up to `n` of them all (0: all), before there is work. Returns how many there are. */
CONC_API unsigned conc_pool_prestart(conc_pool *pool, unsigned n);
/* The pool that the calling thread belongs to, or works for at the moment; NULL: none. */
CONC_API conc_pool *conc_pool_current(void);

#endif

/* ==== end src/pool.h ==== */

/* ==== begin src/parallel.h ==== */

/* ============================================================================================
 * parallel: fork and join, groups of tasks, parallel loops, map, reduce, sort: with the threads of a pool.
 *
 * FORK AND JOIN. A function that runs in a pool may fork a job, go on, and join it:
 *
 *     static int fib(void *arg) {
 *         struct fib *f = arg;
 *         struct fib a, b;
 *         conc_job job;
 *         if (f->n < 2) { f->value = f->n; return 0; }
 *         a.n = f->n - 1; b.n = f->n - 2;
 *         conc_job_fork(&job, fib, &b);
 *         fib(&a);
 *         conc_job_join(&job);
 *         f->value = a.value + b.value;
 *         return 0;
 *     }
 *     conc_pool_call(pool, fib, &root, NULL);
 *
 * A forked job *may* run in parallel; if nobody has come for it, its join runs it. So it must not wait for anything that its
 * forker does after the fork. A fork and its join cost a few nanoseconds as long as nobody comes. Jobs are
 * kept by the thread that forked them, and other threads of the pool that have nothing to do take the oldest of them.
 * A thread that waits in a join runs other jobs meanwhile. The calls here may be nested in each other at will; none of them (but
 * groups and conc_pool_imap(), see there) uses the pool's queue or counts among its tasks, and they work in a pool that is closed,
 * as long as a task runs in it.
 *
 * Threads are started for jobs as they are for tasks, up to core_threads. A thread that waits in a join may run a job on top of
 * the task that it is in the midst of; if that job waits for that very task (conc_future_wait()), it is told CONC_DEADLOCK.
 *
 * The caller takes part: conc_pool_call() and all that follow it run in the calling thread *and* in the pool's threads, so in one
 * thread more than the pool has. A thread of another pool, or a coroutine's, may call them, too; it is busy until the call returns.
 *
 * (Split deques: T. van Dijk, J. C. van de Pol, "Lace: Non-blocking Split Deque for Work-Stealing", Euro-Par 2014 workshops.)
 *
 * FAILURES. A function that returns something else than 0 has failed: what has not begun is not begun any more, what runs has its
 * token fired (but for fork and join, where each join gives its job's code), and the call says CONC_FAILED, with the
 * code of the first that failed in conc_error_detail(). If the caller's token fires: CONC_CANCELED likewise (if all had been done
 * by then: CONC_OK). All of these return only when nothing of theirs runs any more.
 * While a function runs, its call's own token is current, whose parent is the caller's. Where that would make the chain longer
 * than CONC_CANCEL_DEPTH, it is the caller's token itself, and a failure does not wake those that wait.
 * ========================================================================================== */

#ifndef CONC__PARALLEL_H
#define CONC__PARALLEL_H

/* ---- fork and join ----------------------------------------------------------------------------- */

typedef struct conc_job { /* private; where you like, usually on the stack, until it is joined */
    conc_fn conc__fn;
    void *conc__arg;
    const void *conc__up;
    conc_cancel *conc__cancel;
    uint32_t conc__state;
    int conc__code;
    bool conc__loose;
} conc_job;

/* Runs fn(arg) in the calling thread, as part of the pool, so that it may fork; stores what it returned in `*code` (may be
 * NULL). CONC_OK; CONC_INVALID; CONC_CLOSED: the pool is closed, and the caller does not belong to it; CONC_NO_MEMORY,
 * CONC_FORKED: fn has not run. */
CONC_API conc_result conc_pool_call(conc_pool *pool, conc_fn fn, void *arg, int *code);

/* Forks. Outside of a pool, and when a great many are forked and not joined, fn(arg) is simply called. Every job must be joined, by
 * its forker, before its memory goes; best in the opposite order of the forks. */
CONC_API void conc_job_fork(conc_job *job, conc_fn fn, void *arg);
/* Returns what fn returned, once it has. All that it did is seen. Not canceled. */
CONC_API int conc_job_join(conc_job *job);

/* Calls all n, in parallel. The results are those of conc_pool_for(); CONC_INVALID: one has no function, and none is called. */
typedef struct conc_call {
    conc_fn fn;
    void *arg;
} conc_call;
CONC_API conc_result conc_pool_invoke(conc_pool *pool, const conc_call *calls, size_t n);

/* ---- groups ------------------------------------------------------------------------------------
 * Any number of tasks, started one by one, by whomever, and waited for together. The first that fails cancels the others.
 *
 *     conc_pool_group g;
 *     conc_pool_group_begin(&g, pool);
 *     for (...) conc_pool_group_run(&g, fn, &args[i]);
 *     r = conc_pool_group_end(&g);
 *
 * Started by a thread of the pool, a task is a job (see above: it does not pass through the queue); by any other
 * thread, a task in the pool's queue, with its rules; but a task that finds no place there is kept by the group, until it is
 * waited for. The wait of a thread that belongs to the pool runs what has not begun; so may any other's with `waiters_help`. */
typedef struct conc_pool_group {
    conc_pool *conc__pool;
    struct conc__team *conc__team;
} conc_pool_group;
CONC_API conc_result conc_pool_group_begin(conc_pool_group *g, conc_pool *pool);
/* CONC_OK; CONC_CANCELED: the group has failed or was canceled, and takes no more; CONC_CLOSED, CONC_NO_MEMORY, CONC_NO_THREADS. */
CONC_API conc_result conc_pool_group_run(conc_pool_group *g, conc_fn fn, void *arg);
/* Waits until nothing of it is left: CONC_OK, CONC_FAILED (conc_pool_group_code(): the first code that was not 0, but for
 * what was canceled for its sake), CONC_CANCELED (it was); or of the wait: CONC_TIMEOUT, CONC_DEADLOCK. It may be used again
 * after that. */
CONC_API conc_result conc_pool_group_wait(conc_pool_group *g, conc_deadline deadline);
/* To be asked before conc_pool_group_end(), after which it is 0. */
CONC_API int conc_pool_group_code(const conc_pool_group *g);
/* What has not begun never will; what runs has its token fired. */
CONC_API conc_result conc_pool_group_cancel(conc_pool_group *g);
/* Waits, whatever comes, for the end of all, and gives back what the group holds. If the caller is canceled, what is in the group
 * is canceled, and the wait goes on. The result as of the wait. */
CONC_API conc_result conc_pool_group_end(conc_pool_group *g);

/* ---- loops -------------------------------------------------------------------------------------
 * body(a, b, arg) is called for pieces [a, b) of [first, end), each number in exactly one piece, all pieces but the last of
 * `grain` numbers; 0: chosen by the number of threads. It may use the pool in any way. CONC_OK (at once, if first >= end), CONC_FAILED,
 * CONC_CANCELED; as conc_pool_call(), and nothing was done. */
typedef int (*conc_range_fn)(size_t a, size_t b, void *arg);
CONC_API conc_result conc_pool_for(conc_pool *pool, size_t first, size_t end, size_t grain, conc_range_fn body, void *arg);

/* conc_pool_reduce(pool, first, end, grain, body, join, &value, arg): body(a, b, &part, arg) adds [a, b) to `part`, which begins
 * as a copy of `value`'s first content, which must be the neutral element; join(&left, &right, arg) adds right to left. The parts
 * are joined in the order of their numbers: so `join` has to be associative, but need not be commutative. Then `value` is the
 * result; if the call fails, it is as before. The body and `join` see parts that are aligned as by malloc(), never `value` itself.
 * Results as of conc_pool_for(); CONC_NO_MEMORY: parts of over 256 bytes are allocated, one for each fork that is not joined. */
typedef int (*conc_reduce_fn)(size_t a, size_t b, void *part, void *arg);
typedef void (*conc_join_fn)(void *left, const void *right, void *arg);
#define conc_pool_reduce(pool, first, end, grain, body, join, value, arg)                          \
    conc_pool_reduce_bytes((pool), (first), (end), (grain), (body), (join), (value), sizeof *(value), (arg))
CONC_API conc_result conc_pool_reduce_bytes(conc_pool *pool, size_t first, size_t end, size_t grain, conc_reduce_fn body,
                                            conc_join_fn join, void *value, size_t size, void *arg);

/* Sorts n items of `size` bytes as qsort() does, in parallel; equal ones keep no order. `compare` must not wait. Takes as much
 * memory again, if there are more than 2048: CONC_NO_MEMORY. As conc_pool_call(). CONC_CANCELED: the caller's token had fired before it
 * began; once it has begun, it goes on to the end. In all these cases the array is as before. */
CONC_API conc_result conc_pool_sort(conc_pool *pool, void *items, size_t n, size_t size,
                                    int (*compare)(const void *a, const void *b));

/* ---- map ---------------------------------------------------------------------------------------
 * conc_pool_map(pool, in, out, n, fn, arg): fn(&in[i], &out[i], arg) for each i. Results as of conc_pool_for(); after a failure,
 * `out` has what was done by then. */
typedef int (*conc_pool_map_fn)(const void *in, void *out, void *arg);
#define conc_pool_map(pool, in, out, n, fn, arg)                                                   \
    conc_pool_map_bytes((pool), (in), sizeof *(in), (out), sizeof *(out), (n), (fn), (arg))
CONC_API conc_result conc_pool_map_bytes(conc_pool *pool, const void *in, size_t in_size, void *out, size_t out_size, size_t n,
                                         conc_pool_map_fn fn, void *arg);

/* The same from an iterator to an iterator, whose items are of `out_type`: conc_pool_imap() gives the results in the order of their
 * items, conc_pool_imap_unordered() as they are completed. The work is done by tasks in the pool's queue. One that finds no place there
 * (it is not waited for), or is taken out by the pool's policy or its close, is done by the thread that asks for results; if that
 * belongs to the pool, or `waiters_help`, it does what has not begun instead of waiting for it.
 *
 * At most `window` items (0: four for each thread) have been taken from `it` and not yet been given. They are taken by the thread
 * that asks for results, which fills the window before it gives any: so if `it` waits for items that only come after a result has
 * been given, the window has to be 1. next() gives what is complete; it waits for one.
 *
 * THE END. What `it` ended with comes after the results of all its items. If fn fails, results that come before are
 * still given (in order: those of the items before it), and the iterator ends with CONC_FAILED; if the wait of the one who asks is
 * canceled, with CONC_CANCELED; CONC_NO_MEMORY; in a child of fork(), CONC_FORKED. Then, or when it is closed before its end,
 * what has not begun is not begun, and what runs has its token fired; close() waits for it, whatever comes, and closes `it`.
 * The pool must outlive the iterator. fn must not close it. */
#define conc_pool_imap(pool, it, fn, out_type, window, arg)                                        \
    conc_pool_imap_bytes((pool), (it), (fn), sizeof(out_type), (window), (arg), true)
#define conc_pool_imap_unordered(pool, it, fn, out_type, window, arg)                              \
    conc_pool_imap_bytes((pool), (it), (fn), sizeof(out_type), (window), (arg), false)
CONC_API conc_iter *conc_pool_imap_bytes(conc_pool *pool, conc_iter *it, conc_pool_map_fn fn, size_t out_size, size_t window,
                                         void *arg, bool in_order);

#endif

/* ==== end src/parallel.h ==== */

/* ==== begin src/gen.h ==== */

/* ============================================================================================
 * gen: generators: functions that yield one value after another and go on where they stopped.
 *
 *     CONC_GENERATOR(fibonacci, long, int n, i; long a, b;) {
 *         CONC_BEGIN;
 *         self->a = 0; self->b = 1;
 *         for (self->i = 0; self->i < self->n; self->i++) {
 *             CONC_YIELD(self->a);
 *             { long next = self->a + self->b; self->a = self->b; self->b = next; }
 *         }
 *         CONC_END;
 *     }
 *     CONC_FOR_GEN(fibonacci, x, .n = 10) printf("%ld ", x);
 *
 * It makes a type of the generator's name, a struct that begins with `conc_iter iter` and holds the fields: the frame, `self`
 * within the body. See frame.h for what a body may not do. Frames are plain data (trivially copyable, in C++); one that has been
 * started must stay where it is only if the body keeps pointers into it, or if &g.iter has been handed out.
 *
 * TWO WAYS TO RUN ONE. By name (CONC_FOR_GEN, CONC_NEXT): the body is inlined, and an optimising compiler makes the plain loop of
 * it. Through the iterator (&g.iter, CONC_GEN_NEW): one call for each batch of items. Both may be mixed.
 *
 * ITS LIFE. A generator that has not been started has nothing to clean up. Started, it ends at CONC_END, by CONC_RETURN, by
 * CONC_FAIL, by an error that is thrown at a yield that does not catch it, or by being closed; each time what stands between
 * CONC_FINALLY and CONC_END runs, once. Then next says CONC_CLOSED (the first time, the error, if it was one), for ever.
 * Resuming a generator from within itself is CONC_INVALID.
 * ========================================================================================== */

#ifndef CONC__GEN_H
#define CONC__GEN_H

/* What a frame keeps for itself. */
typedef struct conc__gen_state {
    conc_iter *from;    /* CONC_YIELD_FROM goes through it; or NULL */
    uint32_t place;     /* where it stopped */
    uint32_t line;      /* the same, as a line, for a message */
    conc_result ending; /* what it will have ended with; CONC_OK is CONC_CLOSED */
    uint8_t running;    /* between a resume and the next yield */
    uint8_t cleaning;   /* it has come to its clean-up part */
    uint8_t catching;   /* it stopped at a CONC_TRY_YIELD */
    uint8_t on_heap;    /* close frees it */
} conc__gen_state;

/* ---- defining one -------------------------------------------------------------------------------
 * CONC_GENERATOR(name, type, fields) { body }: `fields` are declarations, as in a struct; there may be none. At file scope.
 * The type must be assignable (an array is not; a typedef for a pointer to a function will do).
 * CONC_GENERATOR_PLAIN: the same, with a promise: no pointer into the frame outlives a yield (as one would that an adaptor
 * holds on &self->other.iter). Then a batch may be made on a copy of it, in registers, which is twice as fast.
 * CONC_GENERATOR_SEND(name, type, in_type, fields) { body }: one that values of `in_type` can be sent to: after each yield
 * self->was_sent tells whether it was resumed by CONC_SEND, and self->sent is what was sent. */
#define CONC_GENERATOR(name, ...)                                                                  \
    CONC__GEN_STRUCT(name, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)),                              \
                     CONC__CAT(CONC__GEN_FIELDS_, CONC__ARE_MANY(__VA_ARGS__))(__VA_ARGS__))       \
    CONC__GEN_CODE(name, (void)0, CONC__GEN_IN_PLACE)
#define CONC_GENERATOR_PLAIN(name, ...)                                                            \
    CONC__GEN_STRUCT(name, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)),                              \
                     CONC__CAT(CONC__GEN_FIELDS_, CONC__ARE_MANY(__VA_ARGS__))(__VA_ARGS__))       \
    CONC__GEN_CODE(name, (void)0, CONC__GEN_ON_COPY)
#define CONC_GENERATOR_SEND(name, type, ...)                                                       \
    CONC__GEN_STRUCT(name, type, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)) sent; bool was_sent;    \
                     CONC__CAT(CONC__GEN_FIELDS_, CONC__ARE_MANY(__VA_ARGS__))(__VA_ARGS__))       \
    CONC__GEN_SEND_CODE(name, CONC__EXPAND(CONC__ARG_1(__VA_ARGS__, 0)))                           \
    CONC__GEN_CODE(name, self->was_sent = false, CONC__GEN_IN_PLACE)

#define CONC__GEN_FIELDS_1(type)
#define CONC__GEN_FIELDS_2(type, ...) __VA_ARGS__

/* A body is one statement after another between CONC_BEGIN and CONC_END; what stands before CONC_BEGIN runs at each resume. */
#define CONC_BEGIN                                                                                 \
    (void)conc__out, (void)conc__room;                                                             \
    CONC__FRAME_BEGIN(self->conc__gen.place)
/* Here begins the clean-up part. At most once, not within a block, before CONC_END. A yield in it is possible at the end of a
 * generator that is used up; in one that is being closed it is an error, which is told, and ends it. */
#define CONC_FINALLY                                                                               \
    CONC__FRAME_FINALLY(self->conc__gen.place);                                                    \
    self->conc__gen.cleaning = 1
#define CONC_END                                                                                   \
    CONC__FRAME_END(self->conc__gen.place,                                                         \
                    conc__frame_lost(__func__ + sizeof "conc__step_" - 1, __FILE__, self->conc__gen.line)) \
    self->conc__gen.place = CONC__PLACE_DONE;                                                      \
    return conc__done

/* Gives a value; the next resume goes on after it. */
#define CONC_YIELD(...) CONC__YIELD(CONC__FRAME_LABEL, __VA_ARGS__)
#define CONC_YIELD_AT(label, ...) CONC__YIELD(label, __VA_ARGS__)
/* The same; and an error thrown at it does not end the generator but is self->thrown, until the next CONC_TRY_YIELD. CONC_OK:
 * none. */
#define CONC_TRY_YIELD(...) CONC__TRY_YIELD(CONC__FRAME_LABEL, __VA_ARGS__)
#define CONC_TRY_YIELD_AT(label, ...) CONC__TRY_YIELD(label, __VA_ARGS__)
/* Gives all that an iterator gives, and closes it. It belongs to the generator from here on. If it ends with an error, so does
 * the generator. What is sent or thrown does not reach it: thrown errors end it. */
#define CONC_YIELD_FROM(...) CONC__YIELD_FROM(CONC__FRAME_LABEL, __VA_ARGS__)
#define CONC_YIELD_FROM_AT(label, ...) CONC__YIELD_FROM(label, __VA_ARGS__)
/* Ends it, by way of the clean-up part; as CONC_CLOSED, or with an error. */
#define CONC_RETURN                                                                                \
    do {                                                                                           \
        self->conc__gen.place = self->conc__gen.cleaning ? CONC__PLACE_DONE : CONC__PLACE_CLEANUP; \
        goto conc__again;                                                                          \
    } while (0)
#define CONC_FAIL(result)                                                                          \
    do {                                                                                           \
        self->conc__gen.ending = (result);                                                         \
        CONC_RETURN;                                                                               \
    } while (0)

/* ---- making one -----------------------------------------------------------------------------------
 * fibonacci g = CONC_GEN(fibonacci, .n = 10);    by value. In C++ before C++20 there are no such initialisers:
 * fibonacci g = CONC_GEN_ZERO(fibonacci); g.n = 10;
 * &g.iter is it as an iterator; to close it (conc_iter_close(&g.iter), CONC_FOREACH) runs its clean-up part and leaves the struct.
 * A generator with a clean-up part that was started and is not gone through to the end must be closed. */
#define CONC_GEN(...) CONC__EXPAND(CONC__GEN(__VA_ARGS__, ))
#define CONC_GEN_ZERO(name) conc__zero_##name()
/* conc_iter *it = CONC_GEN_NEW(fibonacci, .n = 10);    allocated; freed when it is closed. Without memory: an iterator that has
 * failed (see iter.h); what the fields hold is then still the caller's. With it generators may be recursive:
 * CONC_YIELD_FROM(CONC_GEN_NEW(walk, .node = self->node->left)). */
#define CONC_GEN_NEW(...) CONC__EXPAND(CONC__GEN_NEW(__VA_ARGS__, ))

/* ---- running one by name ---------------------------------------------------------------------------
 * CONC_FOR_GEN(fibonacci, x, .n = 10) { ... x ... }: makes one, and runs the block with each item; x is a variable of the item's
 * type. The generator is closed when the block is left (with gcc and clang also by return and goto). An error at its end goes to
 * the error hook, as with CONC_FOREACH. Not in the generator's own body. */
#define CONC_FOR_GEN(name, ...) CONC__EXPAND(CONC__FOR_GEN(name, CONC__CAT(conc__run_, CONC__UNIQUE), __VA_ARGS__, ))

/* CONC_NEXT(fibonacci, &g, &x): the next item. CONC_OK; CONC_CLOSED; the error it ended with; CONC_INVALID: it is running. */
#define CONC_NEXT(name, g, item) conc__next_of_##name((g), (item))
/* CONC_SEND(averager, &g, 10.0, &x): resumes it with a value, up to its next yield: the item of that. As CONC_NEXT; CONC_INVALID
 * before the first next, since no yield is there to receive it. */
#define CONC_SEND(name, g, value, item) conc__send_to_##name((g), (value), (item))
/* CONC_THROW(name, &g, CONC_FAILED, &x): resumes it with an error. At a CONC_TRY_YIELD it goes on, up to its next yield: CONC_OK
 * and the item; else it ends, and this is the error (as it is if it was not started, or has ended already). CONC_INVALID: it is
 * running, or the error is CONC_OK. */
#define CONC_THROW(name, g, error, item) conc__throw_to_##name((g), (error), (item))

/* ---- what they are made of -------------------------------------------------------------------------- */

#define CONC__EXPAND(x) x /* some preprocessors take __VA_ARGS__ for one argument until it has been through here */
#define CONC__ARG_1(first, ...) first
#define CONC__ARG_64(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, \
                     a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, a36, a37, a38, a39, a40, a41, a42, a43, a44, a45, \
                     a46, a47, a48, a49, a50, a51, a52, a53, a54, a55, a56, a57, a58, a59, a60, a61, a62, a63, a64, ...) \
    a64
/* 1: one argument; 2: up to 63. */
#define CONC__ARE_MANY(...)                                                                        \
    CONC__EXPAND(CONC__ARG_64(__VA_ARGS__, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, \
                              2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 0))

/* A body fills the room for conc__room items, of which it has given conc__done, and stops when it is full; by name that is one item, always full, and only the
 * suspension is left. */
#define CONC__YIELD(label, ...)                                                                    \
    do {                                                                                           \
        conc__out[conc__done++] = (__VA_ARGS__);                                                   \
        if (conc__done == conc__room) {                                                            \
            CONC__FRAME_AT(self->conc__gen.place, label);                                          \
            self->conc__gen.line = __LINE__;                                                       \
            return conc__done;                                                                     \
            CONC__FRAME_HERE(label);                                                               \
        }                                                                                          \
    } while (0)
#define CONC__TRY_YIELD(label, ...)                                                                \
    do {                                                                                           \
        conc__out[conc__done++] = (__VA_ARGS__);                                                   \
        self->thrown = CONC_OK;                                                                    \
        if (conc__done == conc__room) {                                                            \
            CONC__FRAME_AT(self->conc__gen.place, label);                                          \
            self->conc__gen.line = __LINE__;                                                       \
            self->conc__gen.catching = 1;                                                          \
            return conc__done;                                                                     \
            CONC__FRAME_HERE(label);                                                               \
            self->conc__gen.catching = 0;                                                          \
        }                                                                                          \
    } while (0)
#define CONC__YIELD_FROM(label, ...)                                                               \
    do {                                                                                           \
        self->conc__gen.from = (__VA_ARGS__);                                                      \
        while (conc__done += conc__gen_from(&self->conc__gen, conc__out + conc__done, sizeof *conc__out, \
                                            conc__room - conc__done),                              \
               conc__done == conc__room) {                                                         \
            CONC__FRAME_AT(self->conc__gen.place, label);                                          \
            self->conc__gen.line = __LINE__;                                                       \
            return conc__done;                                                                     \
            CONC__FRAME_HERE(label);                                                               \
        }                                                                                          \
        if (self->conc__gen.ending != CONC_OK) CONC_RETURN;                                        \
    } while (0)

/* What CONC_GEN begins with. */
#define CONC__GEN_ITER(name) { conc__next_##name, conc__close_##name, sizeof(conc__item_##name), CONC_OK }

#if !defined(__cplusplus)
#define CONC__GEN(name, ...) ((struct name){ .iter = CONC__GEN_ITER(name), __VA_ARGS__ })
#define CONC__GEN_NEW(name, ...) conc__gen_new(&CONC__GEN(name, __VA_ARGS__), sizeof(struct name))
#define CONC__GEN_RUN(name, ...) { .iter = CONC__GEN_ITER(name), .conc__gen = { .running = 1 }, __VA_ARGS__ }
#else
#if __cplusplus >= 202002L
#define CONC__GEN(name, ...)                                                                       \
    CONC__EXPAND(CONC__CAT(CONC__GEN_WITH_, CONC__ARE_MANY(__VA_ARGS__))(name, __VA_ARGS__))
#define CONC__GEN_WITH_1(name, ...) conc__zero_##name() /* without fields: no warning that there are none */
#define CONC__GEN_WITH_2(name, ...)                                                                \
    (name{ .iter = CONC__GEN_ITER(name), .conc__gen = {}, .thrown = CONC_OK, __VA_ARGS__ })
#else
#define CONC__GEN(name, ...) conc__zero_##name(__VA_ARGS__) /* no fields can be given before C++20 */
#endif
#define CONC__GEN_NEW(name, ...) conc__gen_new_of(CONC__GEN(name, __VA_ARGS__))
#define CONC__GEN_RUN(name, ...) conc__gen_run_of(CONC__GEN(name, __VA_ARGS__))
#endif
#define CONC__FOR_GEN(name, s, ...) CONC__EXPAND(CONC__FOR_GEN_(name, s, __VA_ARGS__))
#define CONC__FOR_GEN_(name, s, x, ...)                                                            \
    for (struct name s CONC__CLEANUP(conc__leave_##name) = CONC__GEN_RUN(name, __VA_ARGS__); s.conc__gen.running != 0; \
         conc__leave_##name(&s))                                                                   \
        for (conc__item_##name x; conc__step_##name(&s, &x, 1, 0) != 0;)

#define CONC__GEN_STRUCT(name, type, ...)                                                          \
    typedef struct name name;                                                                      \
    typedef type conc__item_##name;                                                                \
    struct name {                                                                                  \
        conc_iter iter;                                                                            \
        conc__gen_state conc__gen;                                                                 \
        conc_result thrown;                                                                        \
        __VA_ARGS__                                                                                \
    };

/* With CONC_DEBUG the body's variables lie deeper than the part of the dead stack that scribbling cannot reach. */
#if defined(CONC_DEBUG)
#define CONC__GEN_DEEPER(name)                                                                     \
    CONC__SPARE CONC__NOINLINE size_t conc__deeper_##name(struct name *self, conc__item_##name *out, size_t room) { \
        volatile unsigned char above[256];                                                         \
        volatile size_t first = 0;                                                                 \
        size_t done;                                                                               \
        above[first] = 0;                                                                          \
        done = conc__step_##name(self, out, room, 0);                                              \
        return done + above[first];                                                                 \
    } CONC__SPARE_END
#define CONC__GEN_STEP(name, self, out, room) conc__deeper_##name((self), (out), (room))
#else
#define CONC__GEN_DEEPER(name)
#define CONC__GEN_STEP(name, self, out, room) conc__step_##name((self), (out), (room), 0)
#endif

#define CONC__GEN_IN_PLACE(name) done = CONC__GEN_STEP(name, self, (conc__item_##name *)items, n)
#define CONC__GEN_ON_COPY(name)                                                                    \
    {                                                                                              \
        struct name copy = *self;                                                                  \
        done = CONC__GEN_STEP(name, &copy, (conc__item_##name *)items, n);                         \
        *self = copy;                                                                              \
    }                                                                                              \
    (void)0

/* The step is the body; it returns how many items it gave. Then what runs it; and its own head, which the user's braces
 * follow. */
#define CONC__GEN_CODE(name, prepare, BATCH)                                                             \
    static CONC__FRAME_FN size_t conc__step_##name(                                                \
        struct name *self, conc__item_##name *conc__out, size_t conc__room, size_t conc__done); \
    CONC__GEN_DEEPER(name)                                                                         \
    CONC__SPARE CONC__ALWAYS_INLINE conc_result conc__resume_##name(struct name *self, conc__item_##name *item) { \
        bool more;                                                                                 \
        self->conc__gen.running = 1;                                                               \
        CONC__FRAME_SCRIBBLE();                                                                    \
        more = CONC__GEN_STEP(name, self, item, 1) != 0;                                           \
        self->conc__gen.running = 0;                                                               \
        if (!more) return self->iter.result = conc__gen_end(&self->conc__gen);                     \
        self->iter.result = CONC_OK;                                                               \
        return CONC_OK;                                                                            \
    } CONC__SPARE_END                                                                              \
    CONC__SPARE inline conc_result conc__next_of_##name(struct name *self, conc__item_##name *item) { \
        if (self->conc__gen.running != 0) return conc__gen_refuse(#name, CONC__GEN_RUNNING);       \
        prepare;                                                                                   \
        return conc__resume_##name(self, item);                                                    \
    } CONC__SPARE_END                                                                              \
    CONC__SPARE conc_result conc__throw_to_##name(struct name *self, conc_result error, conc__item_##name *item) { \
        if (self->conc__gen.running != 0) return conc__gen_refuse(#name, CONC__GEN_RUNNING);       \
        if (error == CONC_OK) return conc__gen_refuse(#name, CONC__GEN_NO_ERROR);                  \
        prepare;                                                                                   \
        self->thrown = error;                                                                      \
        if (conc__gen_throw(&self->conc__gen, error)) return conc__resume_##name(self, item);      \
        self->iter.result = error;                                                                 \
        return error;                                                                              \
    } CONC__SPARE_END                                                                              \
    static size_t conc__next_##name(conc_iter *iter, void *__restrict items, size_t n) {           \
        struct name *self = (struct name *)(void *)iter;                                           \
        size_t done;                                                                               \
        if (self->conc__gen.running != 0) {                                                        \
            iter->result = conc__gen_refuse(#name, CONC__GEN_RUNNING);                             \
            return 0;                                                                              \
        }                                                                                          \
        prepare;                                                                                   \
        n = CONC__FRAME_BATCH(n);                                                                  \
        CONC__FRAME_SCRIBBLE();                                                                    \
        self->conc__gen.running = 1;                                                               \
        BATCH(name);                                \
        self->conc__gen.running = 0;                                                               \
        iter->result = done != 0 ? CONC_OK : conc__gen_end(&self->conc__gen);                      \
        return done;                                                                               \
    }                                                                                              \
    CONC__SPARE CONC__ALWAYS_INLINE void conc__finish_##name(struct name *self) {                          \
        if (self->conc__gen.from != NULL) conc__gen_drop(&self->conc__gen);                        \
        if (self->conc__gen.place != CONC__PLACE_START && self->conc__gen.place != CONC__PLACE_DONE && \
            self->conc__gen.cleaning == 0) {                                                       \
            conc__item_##name unwanted;                                                            \
            self->conc__gen.running = 1;                                                           \
            self->conc__gen.place = CONC__PLACE_CLEANUP;                                           \
            if (conc__step_##name(self, &unwanted, 1, 0) != 0) {                                       \
                conc__gen_yielded(#name, __FILE__, self->conc__gen.line);                          \
                if (self->conc__gen.from != NULL) conc__gen_drop(&self->conc__gen);                \
            }                                                                                      \
            self->conc__gen.running = 0;                                                           \
        }                                                                                          \
        self->conc__gen.place = CONC__PLACE_DONE;                                                  \
        self->conc__gen.ending = CONC_CLOSED;                                                      \
        self->iter.result = CONC_CLOSED;                                                           \
    } CONC__SPARE_END                                                                              \
    static void conc__close_##name(conc_iter *iter) {                                              \
        struct name *self = (struct name *)(void *)iter;                                           \
        if (self->conc__gen.running != 0) {                                                        \
            conc__gen_closed_running(#name);                                                       \
            return;                                                                                \
        }                                                                                          \
        conc__finish_##name(self);                                                                 \
        if (self->conc__gen.on_heap != 0) conc__gen_free(iter);                                    \
    }                                                                                              \
    CONC__SPARE CONC__ALWAYS_INLINE void conc__leave_##name(struct name *self) {                           \
        if (self->conc__gen.running == 0) return;                                                  \
        if (self->conc__gen.place != CONC__PLACE_DONE) conc__finish_##name(self);                  \
        else if (self->conc__gen.ending != CONC_OK) conc__gen_failed(self->conc__gen.ending, #name); \
        self->conc__gen.running = 0;                                                               \
    } CONC__SPARE_END                                                                              \
    CONC__GEN_ZERO_CODE(name)                                                                      \
    static CONC__FRAME_FN size_t conc__step_##name(                                                \
        struct name *self, conc__item_##name *conc__out, size_t conc__room, size_t conc__done)

#define CONC__GEN_SEND_CODE(name, in_type)                                                         \
    CONC__SPARE CONC__ALWAYS_INLINE conc_result conc__resume_##name(struct name *self, conc__item_##name *item) \
        CONC__SPARE_END;                                                                           \
    CONC__SPARE conc_result conc__send_to_##name(struct name *self, in_type value, conc__item_##name *item) { \
        if (self->conc__gen.running != 0) return conc__gen_refuse(#name, CONC__GEN_RUNNING);       \
        if (self->conc__gen.place == CONC__PLACE_START) return conc__gen_refuse(#name, CONC__GEN_NOT_STARTED); \
        self->sent = value;                                                                        \
        self->was_sent = true;                                                                     \
        return conc__resume_##name(self, item);                                                    \
    } CONC__SPARE_END

#if defined(__cplusplus)
#define CONC__GEN_ZERO_CODE(name)                                                                  \
    CONC__SPARE inline struct name conc__zero_##name() {                                   \
        struct name zero = {};                                                                     \
        zero.iter.next = conc__next_##name;                                                        \
        zero.iter.close = conc__close_##name;                                                      \
        zero.iter.item_size = sizeof(conc__item_##name);                                           \
        return zero;                                                                               \
    } CONC__SPARE_END
#else
#define CONC__GEN_ZERO_CODE(name)                                                                  \
    CONC__SPARE inline struct name conc__zero_##name(void) {                               \
        return CONC__GEN(name, );                                                                  \
    } CONC__SPARE_END
#endif

enum { CONC__GEN_RUNNING, CONC__GEN_NOT_STARTED, CONC__GEN_NO_ERROR };
CONC_API conc_result conc__gen_refuse(const char *name, int why);
/* Puts it where a thrown error goes; false: it has ended with it. */
CONC_API bool conc__gen_throw(conc__gen_state *g, conc_result error);
/* The next items of CONC_YIELD_FROM. Fewer than n: there are no more; it is closed, and an error in `ending`. */
CONC_API size_t conc__gen_from(conc__gen_state *g, void *items, size_t size, size_t n);
CONC_API void conc__gen_drop(conc__gen_state *g);
/* Told to the error hook. */
CONC_API void conc__gen_yielded(const char *name, const char *file, uint32_t line);
CONC_API void conc__gen_closed_running(const char *name);
CONC_API void conc__gen_failed(conc_result r, const char *name);
CONC_API conc_iter *conc__gen_new(const void *frame, size_t size);
CONC_API void conc__gen_free(conc_iter *it);

static inline conc_result conc__gen_end(conc__gen_state *g) {
    conc_result r = g->ending == CONC_OK ? CONC_CLOSED : g->ending;
    g->ending = CONC_CLOSED;
    return r;
}

#if defined(__cplusplus)
extern "C++" {
template <class G> conc_iter *conc__gen_new_of(const G &frame) {
    static_assert(__is_trivially_copyable(G), "a generator's fields are copied as bytes");
    return conc__gen_new(&frame, sizeof frame);
}
template <class G> G conc__gen_run_of(G frame) {
    frame.conc__gen.running = 1;
    return frame;
}
}
#endif

#endif

/* ==== end src/gen.h ==== */

/* ==== begin src/coro.h ==== */

/* ============================================================================================
 * coro: coroutines: functions that suspend at each wait, thousands of them in one thread.
 *
 * A coroutine is written with CONC_CORO and run by a loop (loop.h) as a *task*. It keeps what must live across a
 * suspension in its frame (see frame.h for what follows from that), and waits with CO_AWAIT for any op of this
 * library: an item of a queue, a lock, an event, a point in time, a readable socket, another task's end. While it waits
 * its thread runs other tasks. A task costs 128 bytes and its frame, and no stack; a wait allocates nothing from the heap.
 *
 *     CONC_CORO(ticker, const char *tag; int i;) {
 *         CO_BEGIN;
 *         for (self->i = 0; self->i < 3; self->i++) {
 *             printf("---%s---\n", self->tag);
 *             CO_AWAIT(conc_op_sleep(0.1));
 *         }
 *         CO_END;
 *     }
 *
 * Between two suspensions a coroutine runs like any function, and no other task of its loop runs meanwhile. A blocking
 * call in it (conc_queue_get(), sleep()) holds up all the others: there is an op for each of the library's, and
 * conc_op_offload() for the rest.
 *
 * THE END, AND WHAT COMES BEFORE IT. A coroutine ends at CO_END, by CO_RETURN(code), or because its task was canceled
 * (conc_task_cancel(), or a cancel token). A cancel strikes at a wait, at the next one that really has to wait: the
 * coroutine goes on with what stands after CO_FINALLY, if it has that part, and ends. So whatever it took it gives back
 * there; every other way out runs through that part, too. It may wait in it, and is not canceled a second time there
 * (its token is not the current one any more). A
 * task that is canceled before it has begun goes through its clean-up part likewise, with its fields as they were given.
 *
 * Waits that need not wait do not suspend: but after 128 of them in a row the others come first. A sleep always lets them.
 * ========================================================================================== */

#ifndef CONC__CORO_H
#define CONC__CORO_H

typedef struct conc_loop conc_loop;
typedef struct conc_task conc_task;

/* The head of each coroutine's frame: self->co. */
typedef struct conc_co {
    const struct conc_co_class *conc__cls;
    struct conc_co *conc__up; /* the frame that called it */
    uint32_t conc__place, conc__line;
    conc_result result; /* of the last CO_AWAIT */
    int value;          /* the last CO_AWAIT_ANY's index; the last CO_CALL's and CO_JOIN's code */
} conc_co;

/* What all frames of one coroutine have in common. Private. */
typedef struct conc_co_class {
    const char *name, *file;
    conc_result (*resume)(conc_co *co, conc_task *task);
    size_t size;
} conc_co_class;

/* A frame is copied as bytes, and nobody destroys its fields. */
#if defined(__cplusplus)
#define CONC__CO_PLAIN(name) static_assert(__is_trivially_copyable(name), "a coroutine's fields are copied as bytes");
#else
#define CONC__CO_PLAIN(name)
#endif

/* CONC_CORO(name, fields) { CO_BEGIN; ... CO_END; } defines a coroutine and its frame, struct `name`: a conc_co, then
 * your fields. Without fields: CONC_CORO(name, ). The body has `self`, the frame. At file scope; static. */
#define CONC_CORO(name, ...)                                                                       \
    typedef struct name {                                                                          \
        conc_co co;                                                                                \
        __VA_ARGS__                                                                                \
    } name;                                                                                        \
    static CONC__FRAME_FN conc_result conc__body_##name(name *self, conc_task *conc__task);        \
    static conc_result conc__resume_##name(conc_co *conc__co, conc_task *conc__task);              \
    static const conc_co_class conc__class_##name = {#name, __FILE__, conc__resume_##name, sizeof(name)};\
    CONC__CO_PLAIN(name)                                                                           \
    static inline conc_task *conc__spawn_##name(conc_loop *conc__loop, const struct conc_task_desc *conc__desc,\
                                                name conc__frame) {                                \
        name *conc__it = (name *)conc__co_new(conc__loop, sizeof(name), conc__desc);               \
        if (conc__it == NULL) return NULL;                                                         \
        *conc__it = conc__frame;                                                                   \
        return conc__co_start(&conc__it->co, &conc__class_##name);                                 \
    }                                                                                              \
    static inline bool conc__call_##name(conc_task *conc__task, name conc__frame) {                \
        name *conc__it = (name *)conc__co_call(conc__task, sizeof(name));                          \
        if (conc__it == NULL) return false;                                                        \
        *conc__it = conc__frame;                                                                   \
        conc__co_enter(conc__task, &conc__it->co, &conc__class_##name);                            \
        return true;                                                                               \
    }                                                                                              \
    static conc_result conc__resume_##name(conc_co *conc__co, conc_task *conc__task) {             \
        (void)conc__spawn_##name; /* none of them is unused */                                     \
        (void)conc__call_##name;                                                                   \
        return conc__body_##name((name *)(void *)conc__co, conc__task);                            \
    }                                                                                              \
    static CONC__FRAME_FN conc_result conc__body_##name(name *self, conc_task *conc__task)

#define CO_BEGIN                                                                                   \
    (void)conc__task;                                                                              \
    CONC__FRAME_BEGIN(self->co.conc__place)
/* Begins the clean-up part: at most one, not inside of any block. */
#define CO_FINALLY                                                                                 \
    CONC__FRAME_FINALLY(self->co.conc__place);                                                     \
    self->co.conc__line |= CONC__CO_CLEANS
#define CO_END                                                                                     \
    CONC__FRAME_END(self->co.conc__place,                                                          \
                    conc__frame_lost(self->co.conc__cls->name, self->co.conc__cls->file,            \
                                     self->co.conc__line & CONC__CO_LINE))                         \
    self->co.conc__place = CONC__PLACE_DONE;                                                       \
    return CONC_OK

/* ---- suspending --------------------------------------------------------------------------------------
 * Each is a statement. Those with _AT take a label of yours, see frame.h. */

/* Waits for an op, as conc_wait() does in a thread. self->co.result is then the op's result. An op that need not wait completes
 * at once, and the coroutine goes on without a suspension. */
#define CO_AWAIT(op) CO_AWAIT_AT(CONC__FRAME_LABEL, op)
#define CO_AWAIT_AT(label, op) CONC__CO_AWAIT(label, op, CONC_FOREVER, false)
/* With a deadline: result CONC_TIMEOUT. With CONC_NOW: CONC_EMPTY, CONC_FULL, CONC_BUSY. */
#define CO_AWAIT_UNTIL(op, deadline) CO_AWAIT_UNTIL_AT(CONC__FRAME_LABEL, op, deadline)
#define CO_AWAIT_UNTIL_AT(label, op, deadline) CONC__CO_AWAIT(label, op, deadline, false)
/* A cancel does not end the coroutine but is this wait's result, CONC_CANCELED; it has been seen then, and later waits
 * wait. */
#define CO_TRY_AWAIT(op, deadline) CO_TRY_AWAIT_AT(CONC__FRAME_LABEL, op, deadline)
#define CO_TRY_AWAIT_AT(label, op, deadline) CONC__CO_AWAIT(label, op, deadline, true)

/* Waits for the first of several, as conc_select(): self->co.value is its index, and self->co.result its result; or the value
 * is -1 and the result CONC_TIMEOUT, or what was wrong. The array must live until then: in the frame, or longer. */
#define CO_AWAIT_ANY(ops, n) CO_AWAIT_ANY_UNTIL_AT(CONC__FRAME_LABEL, ops, n, CONC_FOREVER)
#define CO_AWAIT_ANY_AT(label, ops, n) CO_AWAIT_ANY_UNTIL_AT(label, ops, n, CONC_FOREVER)
#define CO_AWAIT_ANY_UNTIL(ops, n, deadline) CO_AWAIT_ANY_UNTIL_AT(CONC__FRAME_LABEL, ops, n, deadline)
#define CO_AWAIT_ANY_UNTIL_AT(label, ops, n, deadline)                                             \
    CONC__CO_SUSPEND(label, !conc__co_await_any(conc__task, (ops), (n), (deadline)))

/* Lets the others run first. */
#define CO_YIELD CO_YIELD_AT(CONC__FRAME_LABEL)
#define CO_YIELD_AT(label)                                                                         \
    do {                                                                                           \
        CONC__CO_MARK(label);                                                                      \
        return CONC__CO_YIELDS;                                                                    \
        CONC__FRAME_HERE(label);                                                                   \
    } while (0)

/* CO_CALL(name, .field = value, ...): runs another coroutine, or the same one again, as part of this task and waits for
 * its end: self->co.value is the code that it returned. Its frame comes from the loop's memory: if there is none, the
 * result is CONC_NO_MEMORY (else CONC_OK). */
#define CO_CALL(...) CONC__CO_CALL(CONC__FRAME_LABEL, __VA_ARGS__, )
#define CO_CALL_AT(label, ...) CONC__CO_CALL(label, __VA_ARGS__, )
#define CONC__CO_CALL(label, name, ...) CONC__CO_CALL_FRAME(label, name, CONC__CO_FRAME(name, __VA_ARGS__))
/* The same with a frame that was filled before (C++11 has no .field = value). */
#define CO_CALL_FRAME(name, frame) CONC__CO_CALL_FRAME(CONC__FRAME_LABEL, name, frame)
#define CONC__CO_CALL_FRAME(label, name, frame)                                                    \
    CONC__CO_SUSPEND(label, conc__call_##name(conc__task, frame))

/* Waits for a task's end: self->co.value is its code, and the handle is given back. self->co.result: CONC_OK, CONC_DEADLOCK
 * (itself), CONC_INVALID. */
#define CO_JOIN(task) CO_AWAIT(conc_op_join((task), &self->co.value))

/* Ends the coroutine, by way of its clean-up part. */
#define CO_RETURN(code)                                                                            \
    do {                                                                                           \
        self->co.conc__place = conc__co_return(conc__task, &self->co, (code));                     \
        goto conc__again;                                                                          \
    } while (0)

/* ---- time-outs around a block -----------------------------------------------------------------------------
 *     CONC_CORO(fetch, conc_co_timeout limit; ...) { ...
 *         CO_TIMEOUT(self->limit, 0.5) { CO_AWAIT(...); CO_CALL(...); ... }
 *         if (self->limit.expired) ...
 * The block is left at the wait in which the time is up (coroutines called from it run their clean-up parts and end).
 * Blocks may be nested. A block is left by its end, by `break` or CO_RETURN, not by goto. */
typedef struct conc_co_timeout {
    bool expired;
    uint8_t conc__inside;
    bool conc__held; /* no time for it: a frame within it ends already */
    uint32_t conc__place;
    int64_t conc__due;
    struct conc_co_timeout *conc__outer;
    conc_co *conc__frame;
} conc_co_timeout;

#define CO_TIMEOUT(timeout, seconds) CO_TIMEOUT_AT(CONC__FRAME_LABEL, timeout, seconds)
#define CO_TIMEOUT_AT(label, timeout, seconds)                                                     \
    if (0) {                                                                                       \
        CONC__FRAME_HERE(label);                                                                   \
    } else                                                                                         \
        for (CONC__FRAME_AT((timeout).conc__place, label),                                         \
             conc__co_timeout_enter(conc__task, &self->co, &(timeout), conc_after(seconds));       \
             (timeout).conc__inside != 0; conc__co_timeout_leave(conc__task, &(timeout)))          \
            for (; (timeout).conc__inside == 1; (timeout).conc__inside = 2)

/* ---- frames -------------------------------------------------------------------------------------------------- */

/* A frame as a value: CONC_FRAME(ticker, .tag = "1"), all other fields zero; and, for C++11, CONC_FRAME_ZERO(ticker) to be
 * filled field by field. */
#define CONC_FRAME(...) CONC__CO_FRAME(__VA_ARGS__, )
#define CONC__CO_FRAME(name, ...) CONC__CO_FRAME_(name, __VA_ARGS__)
#if defined(__cplusplus)
#define CONC__CO_FRAME_(name, ...) (name{.co = CONC__CO_NONE, __VA_ARGS__})
#define CONC_FRAME_ZERO(name) name()
#else
#define CONC__CO_FRAME_(name, ...) ((name){.co = CONC__CO_NONE, __VA_ARGS__})
#define CONC_FRAME_ZERO(name) ((name){.co = CONC__CO_NONE})
#endif
#define CONC__CO_NONE {NULL, NULL, 0, 0, CONC_OK, 0}

/* ---- what the macros call ---------------------------------------------------------------------------------------- */

/* What a coroutine's function returns: CONC_OK, it has ended; CONC_PENDING, it waits, or has called another; or this. */
#define CONC__CO_YIELDS CONC_BUSY
#if defined(CONC_DEBUG) /* else only waits that suspend are looked at */
#define CONC__CO_CHECK() conc__co_check(conc__task)
#else
#define CONC__CO_CHECK() ((void)0)
#endif
#define CONC__CO_MARK(label)                                                                       \
    (CONC__CO_CHECK(), CONC__FRAME_AT(self->co.conc__place, label),                                                  \
     (void)(self->co.conc__line = (self->co.conc__line & ~CONC__CO_LINE) | (uint32_t)__LINE__))
#define CONC__CO_LINE 0x3fffffffu
#define CONC__CO_CLEANS 0x80000000u /* in a frame's line: it is in its clean-up part; */
#define CONC__CO_UNWINDS 0x40000000u /* its end goes on to its caller's, as a cancel or a time-out wants it */
#define CONC__CO_SUSPEND(label, suspends)                                                          \
    do {                                                                                           \
        CONC__CO_MARK(label);                                                                      \
        if (suspends) {                                                                            \
            return CONC_PENDING;                                                                   \
            CONC__FRAME_HERE(label);                                                               \
        }                                                                                          \
    } while (0)
#define CONC__CO_AWAIT(label, op, deadline, catches)                                               \
    CONC__CO_SUSPEND(label, !conc__co_await(conc__task, (op), (deadline), (catches)))

struct conc_task_desc;
/* Memory for a new task's frame; and, once that is filled, but for its head, the task's start. */
CONC_API void *conc__co_new(conc_loop *loop, size_t size, const struct conc_task_desc *desc);
CONC_API conc_task *conc__co_start(conc_co *co, const conc_co_class *cls);
/* The same for the frame of a called one, which runs when the caller returns CONC_PENDING. */
CONC_API void *conc__co_call(conc_task *task, size_t size);
CONC_API void conc__co_enter(conc_task *task, conc_co *co, const conc_co_class *cls);
/* False: suspended, and to be resumed; true: completed, the result stored. */
CONC_API bool conc__co_await(conc_task *task, conc_op op, conc_deadline deadline, bool catches);
CONC_API bool conc__co_await_any(conc_task *task, conc_op *ops, size_t n, conc_deadline deadline);
CONC_API void conc__co_check(const conc_task *task); /* not inside of a block that undoes itself */
CONC_API uint32_t conc__co_return(conc_task *task, conc_co *frame, int code);
CONC_API void conc__co_timeout_enter(conc_task *task, conc_co *frame, conc_co_timeout *timeout, conc_deadline due);
CONC_API void conc__co_timeout_leave(conc_task *task, conc_co_timeout *timeout);

#endif

/* ==== end src/coro.h ==== */

/* ==== begin src/loop.h ==== */

/* ============================================================================================
 * loop: runs coroutines (coro.h) as tasks, in one thread; groups of tasks; offloading; the dump.
 *
 *     conc_loop *loop = conc_loop_new(NULL);
 *     conc_task *a = CONC_SPAWN(loop, ticker, .tag = "1");
 *     CONC_SPAWN(loop, ticker, .tag = "2");
 *     conc_loop_run(loop, CONC_FOREVER);      until every task has ended
 *     conc_loop_free(loop);
 *
 * A loop is run by one thread at a time; there may be many loops in many threads. Its tasks run one after another, in the
 * order in which they became ready, each until it waits; so data that only the tasks of one loop touch needs no lock. Other threads
 * (but no signal handler) may: spawn, post, cancel, join, stop, dump, and wake a task by
 * way of any object of this library: a put into the queue that it awaits, an event's set, a lock's unlock.
 *
 * HOW. A task that waits stands in the table of waiters as a blocked thread does (wait.h); its wake hands it to its loop:
 * within the loop's thread to the end of the list of those ready, from others by a push on the loop's inbox, a list to which
 * one compare-and-swap adds (R. K. Treiber, 1986). When nobody is ready the loop puts a mark into its empty inbox and
 * sleeps in the poller; whoever replaces the mark wakes it. So a wake is never lost, and costs a system call only if the
 * loop sleeps. Points in time stand in a hierarchical wheel (G. Varghese, T. Lauck, SOSP 1987) with steps of 2^16 ns:
 * a sleep ends at most so much after its time, and never before.
 * ========================================================================================== */

#ifndef CONC__LOOP_H
#define CONC__LOOP_H

/* ---- the loop ------------------------------------------------------------------------------------------ */

typedef struct conc_loop_desc {
    const char *name;    /* for reports; copied, cut at 31 bytes; NULL: "loop-N" */
    bool until_stopped;  /* conc_loop_run() goes on when no task is left: others will spawn, until conc_loop_stop() */
    double stall_after;  /* seconds; if one coroutine runs for longer without a suspension, the error hook is told where it
                            had suspended last. Costs a timer (thread.h). 0: nobody looks */
} conc_loop_desc;

/* NULL: CONC_NO_MEMORY, CONC_SYSTEM (no descriptors left). */
CONC_API conc_loop *conc_loop_new(const conc_loop_desc *desc);

/* Frees it, and all handles of its tasks, which may not be used any more. CONC_BUSY, and nothing happens: it runs, or
 * some of its tasks have not ended (conc_error_detail() counts them; conc_loop_cancel(), then conc_loop_run(), ends
 * them). A task that returned non-zero, and was never joined, is told to the error hook. NULL is CONC_OK. In a child
 * of fork() its memory is given back whatever its state. No other thread may be using it. */
CONC_API conc_result conc_loop_free(conc_loop *loop);

/* Runs the tasks in the calling thread. CONC_OK: all have ended (and none is to start later). CONC_TIMEOUT: the
 * deadline passed first; CONC_CLOSED: conc_loop_stop() was called; CONC_CANCELED: the thread's token fired: call it
 * again to go on. CONC_BUSY: it runs already; CONC_DEADLOCK: called in a coroutine of another loop's; CONC_INVALID:
 * NULL; CONC_FORKED, also in the child of a fork() that a coroutine has made. */
CONC_API conc_result conc_loop_run(conc_loop *loop, conc_deadline deadline);
/* Makes the present, or the next, conc_loop_run() return as soon as no coroutine runs. Any thread. */
CONC_API conc_result conc_loop_stop(conc_loop *loop);
/* Cancels all its tasks. Any thread; takes effect when the loop runs. CONC_NO_MEMORY. */
CONC_API conc_result conc_loop_cancel(conc_loop *loop);
/* Has fn(arg) called in the loop's thread, soon, in the order of the posts; it may not block. Any thread.
 * CONC_NO_MEMORY. What is posted to a loop that is not run again is called by conc_loop_free(). */
CONC_API conc_result conc_loop_post(conc_loop *loop, void (*fn)(void *arg), void *arg);
/* How many of its tasks have not ended. */
CONC_API size_t conc_loop_count(const conc_loop *loop);
/* The loop that the calling thread runs, and the task; NULL: none. */
CONC_API conc_loop *conc_loop_current(void);
CONC_API conc_task *conc_task_current(void);

/* ---- tasks ---------------------------------------------------------------------------------------------- */

struct conc_group;
typedef struct conc_task_desc {
    const char *name;         /* for reports; must outlive the task. NULL: the coroutine's */
    conc_cancel *cancel;      /* fires: the task is canceled. Must outlive it */
    struct conc_group *group; /* see below */
    conc_deadline start;      /* it starts then; zero or passed: at once */
} conc_task_desc;

/* CONC_SPAWN(loop, name, .field = value, ...): a new task that runs the coroutine `name`; it starts when the loop
 * next comes to it. Any thread. What the caller did before is seen by it. The handle is the caller's until it is
 * joined or detached; one that is neither keeps its memory until the loop is freed. NULL: CONC_NO_MEMORY,
 * CONC_INVALID (no loop), CONC_FORKED. */
#define CONC_SPAWN(loop, ...) CONC__SPAWN(loop, NULL, __VA_ARGS__, )
/* With a desc (a literal in parentheses: (&(conc_task_desc){ .name = "x" })); `seconds` later. */
#define CONC_SPAWN_EX(loop, desc, ...) CONC__SPAWN(loop, desc, __VA_ARGS__, )
#define CONC_SPAWN_LATER(loop, seconds, ...) CONC__SPAWN_LATER(loop, seconds, __VA_ARGS__, )
/* Detached from the start: CONC_OK, or why not. */
#define CONC_GO(loop, ...) conc__co_go(CONC__SPAWN(loop, NULL, __VA_ARGS__, ))
#define CONC__SPAWN(loop, desc, name, ...) conc__spawn_##name((loop), (desc), CONC__CO_FRAME(name, __VA_ARGS__))
#define CONC__SPAWN_LATER(loop, seconds, name, ...)                                                \
    conc__spawn_##name((loop), conc__desc_later(seconds), CONC__CO_FRAME(name, __VA_ARGS__))
/* With a frame filled before, for C++11. `desc` may be NULL. */
#define CONC_SPAWN_FRAME(loop, desc, name, frame) conc__spawn_##name((loop), (desc), (frame))
CONC_API conc_result conc__co_go(conc_task *task);
/* Descs in the calling thread's record, good until the next call. */
CONC_API const conc_task_desc *conc__desc_later(double seconds);
CONC_API const conc_task_desc *conc__desc_group(struct conc_group *group);

/* Completes when the task has ended, stores what it returned in `*code` (may be NULL; CONC_CANCELED if it was canceled)
 * and gives the handle back. In any world. CONC_DEADLOCK: a task waits for itself. CONC_INVALID: NULL, joined or
 * detached already (as far as the handle's memory has not been given to another task). */
CONC_API conc_op conc_op_join(conc_task *task, int *code);
/* Completes when it has ended; the handle stays. */
CONC_API conc_op conc_op_task_end(conc_task *task);
/* The same by blocking; not for coroutines (CO_JOIN). If no thread runs the loop, the caller does until then. */
CONC_API conc_result conc_task_join(conc_task *task, int *code, conc_deadline deadline);
/* Completes when `count` of the n tasks (0: all) have ended; their handles stay. CONC_INVALID: a NULL among them, or tasks
 * of two loops. The array must live until then. And the same by blocking, as conc_task_join(). */
CONC_API conc_op conc_op_task_ends(conc_task *const *tasks, size_t n, size_t count);
CONC_API conc_result conc_task_join_all(conc_task *const *tasks, size_t n, size_t count, conc_deadline deadline);
/* Gives the handle back without waiting. If the task returns non-zero the error hook is told. */
CONC_API conc_result conc_task_detach(conc_task *task);
/* Cancels it: see coro.h. CONC_OK; CONC_CLOSED: it has ended. Any thread; does not wait. */
CONC_API conc_result conc_task_cancel(conc_task *task);
CONC_API bool conc_task_has_ended(const conc_task *task);
/* Its coroutine's name, or its own; NULL has "". Lives as long as the handle. */
CONC_API const char *conc_task_name(const conc_task *task);

/* ---- groups ---------------------------------------------------------------------------------------------------
 * Tasks of one loop that belong together: wait for all, for the next, or for the first; cancel all; the first failure
 * cancels the others; at most so many at a time. Tasks enter by their desc's `group`. */
typedef struct conc_group conc_group;
typedef struct conc_group_desc {
    size_t limit;         /* at most so many run, the others start when one has ended; 0: no limit */
    bool cancel_on_error; /* a task that returns non-zero has the others canceled */
    bool keep_codes;      /* each ended task's code is kept for conc_op_group_next() */
} conc_group_desc;

/* NULL: CONC_INVALID, CONC_NO_MEMORY. */
CONC_API conc_group *conc_group_new(conc_loop *loop, const conc_group_desc *desc);
/* CONC_BUSY: tasks in it have not ended. NULL is CONC_OK. In a child of fork() its memory is given back whatever its
 * state; all else says CONC_FORKED there, and counts nothing. */
CONC_API conc_result conc_group_free(conc_group *group);
/* CONC_GROUP_SPAWN(group, name, ...): a task in it, detached: CONC_OK, or why not; CONC_CANCELED: the group has been
 * canceled. */
#define CONC_GROUP_SPAWN(group, ...) CONC__GROUP_SPAWN(group, __VA_ARGS__, )
#define CONC__GROUP_SPAWN(group, name, ...)                                                        \
    conc__co_go(conc__spawn_##name(NULL, conc__desc_group(group), CONC__CO_FRAME(name, __VA_ARGS__)))
/* Completes when none of its tasks is left: CONC_OK; CONC_FAILED: one has returned non-zero (the first's code is
 * conc_group_code()). */
CONC_API conc_op conc_op_group(conc_group *group);
/* Completes when a task has ended that no such op has told yet: its code goes into `*code`. CONC_CLOSED: none is left.
 * CONC_INVALID: its desc had no `keep_codes`. */
CONC_API conc_op conc_op_group_next(conc_group *group, int *code);
/* Completes when a task that enters would run at once. */
CONC_API conc_op conc_op_group_room(conc_group *group);
/* The same by blocking, for threads; the caller runs the loop if nobody does. */
CONC_API conc_result conc_group_wait(conc_group *group, conc_deadline deadline);
/* Cancels all that are in it, and nobody enters any more. */
CONC_API conc_result conc_group_cancel(conc_group *group);
/* The code of the first task that returned non-zero and was not canceled for another's sake; 0: none. */
CONC_API int conc_group_code(const conc_group *group);
CONC_API size_t conc_group_count(const conc_group *group);

/* ---- offloading ------------------------------------------------------------------------------------------------
 * Runs fn in another thread: any blocking call, without blocking the loop. What `arg` points to is copied for it, and copied back
 * when fn has returned: so a wait that ends before (a time-out, a cancel) leaves nothing behind that fn could touch; fn goes on to its end
 * all the same, and its result is dropped, as the wait's own result says. CONC_OK: fn returned 0; CONC_FAILED: it
 * did not (conc_error_detail() has the number); CONC_NO_MEMORY, CONC_NO_THREADS, and of a pool CONC_REJECTED (it is full) and CONC_CLOSED: it did
 * not run. `pool`: where it runs, as a task like any other there; NULL: in daemon threads named "conc-offload", as many as there are calls
 * under way, up to 32, each of which ends when it has had nothing to do for 5 seconds; they are the process's. An op for any
 * world; conc_try() does not start it. */
/* (What is one byte, or a void *, is refused: it is nearly always text, or something whose size only you know. Say
 * conc_op_offload_bytes(pool, fn, arg, size).) */
#define conc_op_offload(pool, fn, arg)                                                             \
    conc_op_offload_bytes((pool), (fn), (arg), sizeof *(arg) + 0 * sizeof(char[sizeof *(arg) > 1 ? 1 : -1]))
CONC_API conc_op conc_op_offload_bytes(struct conc_pool *pool, conc_fn fn, void *arg, size_t size);

/* ---- the dump -------------------------------------------------------------------------------------------------------
 * Writes a line for each thread (of this library, or that has asked for its handle), each pool, and each task of each loop: its name, where it
 * waits, for what and for how long. `line` is called for each; NULL: stderr. A loop writes about its tasks itself: one that
 * does not within half a second, because a coroutine blocks it, has one line that names the coroutine. Blocks for so
 * long at most. Not for signal handlers. `line` is called once at a time, in this thread or a loop's, with locks of the library
 * held: it may not call the library. */
CONC_API void conc_dump(void (*line)(const char *text, void *arg), void *arg);

#endif

/* ==== end src/loop.h ==== */

/* ==== begin src/net.h ==== */

/* ============================================================================================
 * net: sockets, in the vocabulary of all waits.
 *
 * A conc_socket is a connection, a listener for connections, or a socket for datagrams. Each of its operations is an op, for
 * threads and coroutines alike, and a call that blocks the thread on that op. It may be used by several at once: one receives
 * while another sends, several accept on one listener. (Two that send on one connection mix their bytes where one send ends
 * in parts; two that receive share them.)
 *
 * Ending: conc_socket_close() is for everybody and at any time: all who wait on the socket, now or later, get
 * CONC_CLOSED. conc_socket_free() is for the last who uses it, when all others have done so; the descriptor's number stays
 * taken until then, so that no wait can land on another socket.
 *
 * Buffers are the caller's; the library copies nothing. No write raises SIGPIPE. Descriptors are not inherited by
 * programs that this one starts. Inside a simulation there are no sockets.
 * ========================================================================================== */

#ifndef CONC__NET_H
#define CONC__NET_H

/* ---- addresses -------------------------------------------------------------------------------- */

/* An address of the internet: a host's number and a port. A plain value; all zero is none. */
typedef struct conc_address {
    uint8_t ip[16];  /* as on the wire; of version 4 the first four count, the rest is 0 */
    uint32_t scope;  /* version 6: the interface of a link-local address; else 0 */
    uint16_t port;
    uint8_t family;  /* 4 or 6, the version of the internet protocol; 0: none */
    uint8_t conc__unused;
} conc_address;

/* From text, in numbers: "127.0.0.1", "::1", "fe80::1%2"; with "127.0.0.1:80" and "[::1]:80" the text's port counts, else
 * `port`. CONC_INVALID: it is none, or NULL, or port is over 65535. Does not block. */
CONC_API conc_result conc_address_parse(const char *text, unsigned port, conc_address *address);
/* Into text that conc_address_parse() reads: "127.0.0.1:80", "[::1]:80"; "none". Returns `buffer`, cut where it is
 * too short. Does not block. */
#define CONC_ADDRESS_TEXT 64 /* enough for every address */
CONC_API const char *conc_address_text(const conc_address *address, char *buffer, size_t size);
CONC_API unsigned conc_address_port(const conc_address *address);
CONC_API bool conc_address_equal(const conc_address *a, const conc_address *b);

/* The addresses of a host, by name or in numbers, in the order in which to try them. *found: how many of them are in `list`,
 * at most `n` (and 16). CONC_OK (one or more), CONC_TIMEOUT, CONC_CANCELED, CONC_INVALID (NULL, n is 0, port over 65535, a name
 * over 255 bytes), CONC_NO_MEMORY, CONC_NO_THREADS, CONC_SYSTEM with what the system says ("no such host"). The system's own
 * look-up cannot be interrupted: so where there is a deadline or a token, it is offloaded (see loop.h). */
CONC_API conc_result conc_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                                 conc_deadline deadline);

/* The same as an op: name and port in, `found` of `list` out. Must live as long as the op. */
typedef struct conc_host {
    char name[256];
    unsigned port;
    size_t found;
    conc_address list[16];
    int conc__answer;
    char conc__text[160];
} conc_host;
CONC_API conc_op conc_op_lookup(conc_host *host);

/* ---- making sockets --------------------------------------------------------------------------------
 * Each gives a socket, or NULL with the reason in conc_error_result() and conc_error_detail(): CONC_INVALID,
 * CONC_NO_MEMORY, CONC_SYSTEM ("cannot listen on 127.0.0.1:8080: Address already in use"), CONC_REJECTED (this process or the
 * machine has no more descriptors), and what conc_lookup() gives for `host`. */

typedef struct conc_socket conc_socket;

typedef struct conc_listen_desc {
    int backlog;     /* connections that the system holds until they are accepted; 0: 128 */
    bool reuse_port; /* several listeners on this port, which share its connections; not on Windows */
    bool v6_only;    /* host NULL: version 6 alone; else both where the system can */
} conc_listen_desc;

/* Listens for connections. host NULL: on all of this machine's addresses. port 0: the system chooses, and
 * conc_socket_address() tells. Blocks as conc_lookup() does if `host` is a name. */
CONC_API conc_socket *conc_tcp_listen(const char *host, unsigned port, const conc_listen_desc *desc);
/* Connects; of several addresses of a host it tries one after the other, each for its share of the time that is left. Blocks.
 * Also CONC_TIMEOUT, CONC_CANCELED. */
CONC_API conc_socket *conc_tcp_connect(const char *host, unsigned port, conc_deadline deadline);
/* For conc_op_connect(): `family` 4 or 6. Does not block. */
CONC_API conc_socket *conc_tcp_open(unsigned family);

/* For datagrams, at an address of this machine; host and port as for conc_tcp_listen(). */
CONC_API conc_socket *conc_udp_bind(const char *host, unsigned port);
/* The same without an address: the first send gives it one. 6 can send to 4 too. Does not block. */
CONC_API conc_socket *conc_udp_open(unsigned family);

/* ---- what they have in common -------------------------------------------------------------------------
 * None of these blocks. CONC_INVALID: no socket, or not one that this can be asked of. */

/* Its own address (with the port that the system chose), and that of the other side of a connection. CONC_SYSTEM: it has
 * none. */
CONC_API conc_result conc_socket_address(const conc_socket *s, conc_address *address);
CONC_API conc_result conc_socket_peer(const conc_socket *s, conc_address *address);

typedef enum conc_socket_option {
    CONC_NO_DELAY,      /* 1: small packets are sent at once (TCP_NODELAY) */
    CONC_KEEP_ALIVE,    /* 1: a silent connection is tested from time to time */
    CONC_BROADCAST,     /* 1: datagrams may be sent to all of a network */
    CONC_SEND_BUFFER,   /* bytes that the system holds for us; it may take another number */
    CONC_RECEIVE_BUFFER
} conc_socket_option;
CONC_API conc_result conc_socket_set(conc_socket *s, conc_socket_option option, int value);

/* The system's descriptor (an int; on Windows a SOCKET), which remains the socket's; -1: no socket. */
CONC_API intptr_t conc_socket_fd(const conc_socket *s);

/* We send no more: the other side reads what was sent and then the end. Receiving goes on. CONC_OK, CONC_CLOSED, or
 * CONC_SYSTEM (not connected). */
CONC_API conc_result conc_socket_shutdown(conc_socket *s);
/* By anybody, also while others use it: every wait on it ends, now and later, with CONC_CLOSED. What was sent still arrives.
 * Again is harmless. */
CONC_API conc_result conc_socket_close(conc_socket *s);
/* Closes it if it is not yet, and gives it back. CONC_BUSY: somebody waits on it; nothing was done but the closing, which ends
 * that. Nobody may use it any more. */
CONC_API conc_result conc_socket_free(conc_socket *s);

/* ---- connections ------------------------------------------------------------------------------------- */

/* Waits for a connection and makes *conn of it. CONC_OK; CONC_CLOSED: the listener was closed. After any other result the
 * listener goes on, and *conn is NULL:
 *   CONC_BROKEN     one came and was gone again
 *   CONC_REJECTED   this process, or the machine, has no more descriptors. The connection was accepted with one that the
 *                   listener keeps for that, and closed, so that nobody waits at the other end in vain, and the next one gets
 *                   its turn. (If others took that one too, the connection stays with the system until there is one.)
 *   CONC_NO_MEMORY  of ours (the connection was closed) or of the system's
 *   CONC_SYSTEM     anything else */
CONC_API conc_result conc_accept(conc_socket *listener, conc_socket **conn, conc_deadline deadline);
CONC_API conc_op conc_op_accept(conc_socket *listener, conc_socket **conn);

/* Connects it to *address, which must live as long as the op. CONC_OK; CONC_SYSTEM ("cannot connect to 127.0.0.1:1: Connection
 * refused"), after which the socket is good for nothing but being freed; CONC_CLOSED. If the wait ends otherwise, the
 * connecting goes on, and another op waits for it. For datagrams: the address that conc_op_send() sends to, and the only one
 * that is heard; at once. */
CONC_API conc_op conc_op_connect(conc_socket *s, const conc_address *address);

/* A piece of memory to receive into, or to send from, and how much of it was done. Must live as long as the op. */
typedef struct conc_io {
    void *data;
    size_t size;
    size_t done;
} conc_io;
typedef struct conc_out {
    const void *data;
    size_t size;
    size_t done;
} conc_out;

/* Some bytes, as many as are there: CONC_OK with `done` 1 or more (0 only if size is 0). CONC_CLOSED: the other side has sent
 * all, or the socket was closed. CONC_BROKEN: the connection was cut; what that means for what was sent is not
 * known. CONC_NO_MEMORY and CONC_SYSTEM, of the system. *done is set whatever the result. */
CONC_API conc_result conc_receive(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline);
CONC_API conc_op conc_op_receive(conc_socket *s, conc_io *io);
/* All `size` bytes: with any other result than CONC_OK, *done (NULL: not wanted) tells how many came before. */
CONC_API conc_result conc_receive_full(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline);
/* The same as an op. It sets `done` to 0 when it is made; what was received before the wait ended otherwise is not lost, but
 * in the buffer: `done` tells. */
CONC_API conc_op conc_op_receive_full(conc_socket *s, conc_io *io);

/* All of it into the system's hands: with any other result than CONC_OK, *done (NULL: not wanted) tells how much was. The op:
 * some of it, 1 byte or more. Results as above; CONC_BROKEN: the other side is gone. */
CONC_API conc_result conc_send_all(conc_socket *s, const void *data, size_t size, size_t *done, conc_deadline deadline);
CONC_API conc_op conc_op_send(conc_socket *s, conc_out *out);
/* All of it, as an op. It sets `done` to 0 when it is made; with any other result than CONC_OK, and if another op of a select
 * won, `done` tells how much has gone. */
CONC_API conc_op conc_op_send_all(conc_socket *s, conc_out *out);

/* ---- datagrams ----------------------------------------------------------------------------------------- */

typedef struct conc_datagram {
    void *data;           /* where it goes */
    size_t size;          /* of that */
    size_t done;          /* of the datagram */
    conc_address address; /* who sent it */
    bool truncated;       /* it was longer than size: the rest is lost */
} conc_datagram;
typedef struct conc_datagram_out {
    const void *data;
    size_t size;
    size_t done;
    conc_address address; /* to whom; family 0: to whom the socket is connected */
} conc_datagram_out;

/* One datagram. CONC_OK; CONC_CLOSED: the socket was closed; CONC_BROKEN: nobody is there at the connected address (some
 * systems tell that to the next call, some never); CONC_NO_MEMORY and CONC_SYSTEM, of the system. Delivery is not
 * promised: that is what datagrams are. */
CONC_API conc_result conc_receive_from(conc_socket *s, conc_datagram *d, conc_deadline deadline);
CONC_API conc_op conc_op_receive_from(conc_socket *s, conc_datagram *d);
CONC_API conc_result conc_send_to(conc_socket *s, const void *data, size_t size, const conc_address *to,
                                  conc_deadline deadline);
CONC_API conc_op conc_op_send_to(conc_socket *s, conc_datagram_out *d);

/* ---- any descriptor ---------------------------------------------------------------------------------------
 * Completes with CONC_OK when the descriptor can be read from / written to without waiting, or is at its end, or has an error
 * to tell. For what is not a conc_socket: pipes, terminals, the sockets of other libraries (on Windows, those alone). Files on
 * disk are always ready. CONC_INVALID: it is not open. The descriptor is to stay open while it is waited for. */
CONC_API conc_op conc_op_readable(intptr_t fd);
CONC_API conc_op conc_op_writable(intptr_t fd);

#endif

/* ==== end src/net.h ==== */

/* ==== begin src/sim.h ==== */

/* ============================================================================================
 * sim: your concurrent program under thousands of schedules, each of which can be played again.
 *
 * With CONC_SIM defined (before each #include of this header), conc_sim_run() runs a function again and again in a
 * simulated world: its conc.h threads take turns on the calling thread, a seeded scheduler decides at each step of
 * the library who goes on, and time is a number. What would be one chance in a million is found in a second: a
 * deadlock, a lost wake-up, a failed check, a data race on marked data, use of freed memory, a leak. The failing schedule
 * is printed as one readable interleaving and is played again, exactly, by one environment variable:
 *
 *     CONC_SIM=7:pct3:4211 ./program
 *
 * What it does:
 *  - Strategies: random walk; PCT, which finds a bug of depth d with a known probability (S. Burckhardt et al., "A
 *    Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010); depth first, complete up to
 *    a number of preemptions (M. Musuvathi, S. Qadeer, "Iterative Context Bounding", PLDI 2007).
 *  - Deadlines pass early, sleeps end for no reason, the sleeper that is woken is any of them.
 *  - Weak memory: a load may see an older store wherever C11 allows it, as processors other than yours do. (Not
 *    covered: a store that another thread sees before an earlier load of its own has been answered.)
 *  - With gcc's or clang's thread sanitizer each schedule is checked for data races on all memory.
 *
 * What it asks of the function: that it does the same each time but for the choices made here. It sets up what it uses,
 * also static data; it waits only through conc.h; it calls no fork(), exit() or pthread function; and what it
 * decides does not depend on addresses, real time or rand(): conc_sim_choose() is for that. Threads it starts it
 * joins or detaches. printf and malloc are harmless. Thread-local variables of the language are shared by all threads of
 * a simulation; conc_local is not.
 *
 * gcc and clang on any system (and Windows through MinGW); the cost without CONC_SIM is none: nothing of this is compiled.
 * Outside conc_sim_run() a program built with CONC_SIM runs natively, only slower.
 * ========================================================================================== */

#ifndef CONC__SIM_H
#define CONC__SIM_H

#if defined(CONC_SIM)

typedef enum conc_sim_verdict {
    CONC_SIM_PASSED = 0,
    CONC_SIM_CHECK,      /* CONC_SIM_ASSERT() or conc_sim_fail(); or the function did not return 0 */
    CONC_SIM_DEADLOCK,   /* nobody can go on */
    CONC_SIM_LIVELOCK,   /* too many points */
    CONC_SIM_RACE,       /* two threads touch marked data, one of them to write, and nothing orders them */
    CONC_SIM_LEAK,       /* memory of the library, or a thread that was neither joined nor detached */
    CONC_SIM_FREED,      /* memory of the library was touched after it was freed, or freed twice */
    CONC_SIM_REPORT,     /* something went to the error hook: a task's failure, or what CONC_DEBUG found (lock order) */
    CONC_SIM_UNSTABLE,   /* the same plan gave another schedule: the function depends on something else */
    CONC_SIM_LIMIT       /* more threads, memory or choices than a simulation can hold */
} conc_sim_verdict;

typedef struct conc_sim_desc {
    const char *name;       /* for messages, and for CONC_SIM=name@seed:strategy:k where a program has several runs */
    const char *strategies; /* of "random", "pctD" (D from 2 to 9), "depthB" (B preemptions, from 0 on); one or several,
                               "random,pct2,pct3" if NULL. Of several, the schedules are done in turn, but each depthB is
                               done alone, after the others, until it is exhausted */
    uint64_t schedules;     /* in all for random and pct; the most for each depthB. 0: 10,000 */
    uint64_t seed;          /* 0: 1 */
    double seconds;         /* stop when they have passed (real time). 0: no limit */
    uint32_t max_points;    /* of one schedule; beyond it is a livelock. 0: 20,000 */
    bool sequential;        /* no weak memory: loads see the latest store. Depth first is always so */
    bool reports_are_fine;  /* what goes to the error hook is no failure */
    bool quiet;             /* print nothing */
} conc_sim_desc;

typedef struct conc_sim_report {
    conc_sim_verdict verdict;  /* of the first schedule that failed; with it the run ends */
    uint64_t schedules;        /* how many were run, */
    uint64_t points;           /* how many points they had together, */
    double seconds;            /* and how long it took */
    bool exhausted;            /* each depthB came to its end before `schedules` */
    char replay[512];          /* "seed:strategy:k" of the one that failed */
    char text[400];            /* what was wrong with it, in one sentence */
} conc_sim_report;

/* Runs body(arg) under many schedules and stops at the first that fails; unless `quiet`, prints that one on stderr.
 * If the environment variable CONC_SIM holds "seed:strategy:k" (or "name@seed:strategy:k" with this run's name), only
 * that schedule is run and printed, whatever comes of it; CONC_SIM_TRACE=all prints each atomic operation too.
 * `desc` NULL: all defaults. verdict CONC_SIM_LIMIT: no memory, bad strategies (the text says which), or called from
 * inside a simulation, or while another thread runs one. Blocks until done. Other threads of the program must not use this
 * library meanwhile. */
CONC_API conc_sim_report conc_sim_run(conc_fn body, void *arg, const conc_sim_desc *desc);

/* What the simulated code can say. Outside a simulation: 0, false, nothing (and a failed check aborts). */
CONC_API bool conc_sim_is_running(void);
CONC_API unsigned conc_sim_choose(unsigned n);        /* from 0 to n - 1: a choice like the scheduler's own */
CONC_API void conc_sim_note(const char *text);        /* shown in the interleaving; must be a literal */
CONC_API CONC__NORETURN void conc_sim_fail(const char *text, const char *file, int line); /* this schedule fails, here */
/* The caller is about to read, or write, the `size` bytes at `p`, which are not atomic. */
CONC_API void conc_sim_access(const void *p, size_t size, bool write, const char *file, int line);

#define CONC_SIM_ASSERT(condition) ((condition) ? (void)0 : conc_sim_fail(#condition, __FILE__, __LINE__))
#define CONC_SIM_READ(variable) conc_sim_access(&(variable), sizeof(variable), false, __FILE__, __LINE__)
#define CONC_SIM_WRITE(variable) conc_sim_access(&(variable), sizeof(variable), true, __FILE__, __LINE__)

/* The user's place that a thread is at: set by the macros at the end of this file. */
CONC_API void conc__sim_at(const char *file, int line, const char *call);

#endif
#endif

/* ==== end src/sim.h ==== */

#if defined(CONC_IMPLEMENTATION) && !defined(CONC__IMPLEMENTED)
#define CONC__IMPLEMENTED

/* ==== begin src/places_off.h ==== */

/* ============================================================================================
 * places_off: takes back what places.h defines, where the header was included before without its code.
 * ========================================================================================== */

#if defined(CONC__PLACES_H)
#undef CONC__PLACES_H
#undef CONC__AT
#undef conc_mutex_lock
#undef conc_mutex_try_lock
#undef conc_mutex_unlock
#undef conc__lock_enter
#undef conc_rmutex_lock
#undef conc_rmutex_try_lock
#undef conc_rmutex_unlock
#undef conc_cond_wait
#undef conc_cond_wait_for
#undef conc_cond_signal
#undef conc_cond_broadcast
#undef conc_rwlock_read
#undef conc_rwlock_write
#undef conc_rwlock_unlock
#undef conc_brlock_read
#undef conc_brlock_write
#undef conc_brlock_read_unlock
#undef conc_brlock_write_unlock
#undef conc_semaphore_acquire
#undef conc_semaphore_release
#undef conc_event_set
#undef conc_event_reset
#undef conc_event_wait
#undef conc_barrier_wait
#undef conc_barrier_abort
#undef conc_barrier_reset
#undef conc_once_do
#undef conc_latch_add
#undef conc_latch_done
#undef conc_latch_wait
#undef conc_queue_new
#undef conc_queue_new_ex
#undef conc_queue_put_bytes
#undef conc_queue_get_bytes
#undef conc_queue_put_many_bytes
#undef conc_queue_get_many_bytes
#undef conc_queue_close
#undef conc_queue_close_now
#undef conc_queue_free
#undef conc_queue_task_done
#undef conc_queue_join
#undef conc_wait
#undef conc_try
#undef conc_select
#undef conc_sleep
#undef conc_cancel_fire
#undef conc_thread_start
#undef conc_thread_join
#undef conc_thread_detach
#undef conc_thread_join_all
#undef conc_thread_yield
#undef conc_local_set
#undef conc_timer_start
#undef conc_timer_cancel
#undef conc_timer_release
#undef conc_lookup
#undef conc_tcp_listen
#undef conc_tcp_connect
#undef conc_udp_bind
#undef conc_accept
#undef conc_receive
#undef conc_receive_full
#undef conc_send_all
#undef conc_receive_from
#undef conc_send_to
#undef conc_socket_close
#undef conc_socket_free
#undef conc_loop_run
#undef conc_loop_stop
#undef conc_loop_cancel
#undef conc_loop_post
#undef conc_loop_free
#undef conc_task_join
#undef conc_task_join_all
#undef conc_task_detach
#undef conc_task_cancel
#undef conc_group_wait
#undef conc_group_cancel
#undef conc_group_free
#undef conc_future_wait
#undef conc_future_cancel
#undef conc_future_complete
#undef conc_future_then
#undef conc_future_release
#undef conc_wait_all
#undef conc_wait_any
#undef conc_pool_run
#undef conc_pool_submit
#undef conc_pool_run_ex
#undef conc_pool_submit_ex
#undef conc_pool_submit_at
#undef conc_pool_every
#undef conc_pool_close
#undef conc_pool_close_now
#undef conc_pool_join
#undef conc_pool_free
#undef conc_pool_finish
#undef conc_pool_resize
#undef conc_pool_set_keep_alive
#undef conc_pool_prestart
#undef conc_pool_call
#undef conc_job_fork
#undef conc_job_join
#undef conc_pool_invoke
#undef conc_pool_group_run
#undef conc_pool_group_wait
#undef conc_pool_group_cancel
#undef conc_pool_group_end
#undef conc_pool_for
#undef conc_pool_reduce_bytes
#undef conc_pool_sort
#undef conc_pool_map_bytes
#undef conc__co_go
#undef conc__co_await
#undef conc__co_await_any
#endif

/* ==== end src/places_off.h ==== */

/* ==== begin src/port.h ==== */

/* ============================================================================================
 * port: what the library asks of the machine: atomics, clock, wait-on-address, threads,
 * descriptors, sockets.
 *
 * Private. Nothing above this file names an operating system, calls a clock or a thread function, or
 * uses an atomic builtin. Implemented by port_posix.c (Linux futex; elsewhere, or with CONC_PORT_PORTABLE,
 * a table of pthread mutexes and conditions) and port_win32.c; with CONC_SIM, by port_sim.c before them.
 *
 * A COMPILER TRAP. glibc declares syscall(), sched_yield() and clock_gettime() as `leaf` functions, which
 * promise not to come back into the caller's file; gcc's ipa-reference pass believes it, ignores the
 * atomics beside them, and drops loads and stores of the user's file-scope static data across a lock that
 * is not inlined. So the ports call the system only through declarations of their own, without `leaf`, and
 * a public function that synchronises by atomics alone passes CONC__OPAQUE(). tests/codegen holds this.
 * No standalone fences: the thread sanitizer cannot see them.
 * ========================================================================================== */

#ifndef CONC__PORT_H
#define CONC__PORT_H

#if !defined(CONC_PORT_PORTABLE)
#define CONC_PORT_PORTABLE 0
#endif

/* ---- atomics --------------------------------------------------------------------------------
 * On uint32_t (32), size_t (z) and void * (p). `o` is the memory order, with the meaning of C11. */

#if CONC_CC_GNU && !CONC_CC_TINY
#define CONC__RELAXED __ATOMIC_RELAXED
#define CONC__ACQUIRE __ATOMIC_ACQUIRE
#define CONC__RELEASE __ATOMIC_RELEASE
#define CONC__ACQ_REL __ATOMIC_ACQ_REL
#define CONC__SEQ_CST __ATOMIC_SEQ_CST
/* A relaxed load that is no point of a simulation: of what is set once, before anything can hang on it. */
#define conc__peek32(a) __atomic_load_n((a), __ATOMIC_RELAXED)
#define conc__peekp(a) __atomic_load_n((a), __ATOMIC_RELAXED)
#define conc__peekz(a) __atomic_load_n((a), __ATOMIC_RELAXED)
/* A relaxed store, likewise: of a hint for reports. */
#define conc__poke32(a, v) __atomic_store_n((a), (v), __ATOMIC_RELAXED)
#define conc__pokep(a, v) __atomic_store_n((a), (v), __ATOMIC_RELAXED)
#define conc__pokez(a, v) __atomic_store_n((a), (v), __ATOMIC_RELAXED)
#endif

#if defined(CONC_SIM)

#if !CONC_CC_GNU || CONC_CC_TINY
#error "conc.h: CONC_SIM wants gcc or clang"
#endif

/* Each is a point of the simulation (port_sim.c), if the thread is in one; else it is just done. On 4 or 8 bytes, with
 * the order of a C11 operation; `in` is the function it stands in. */
typedef enum conc__sim_rmw_kind { CONC__SIM_SWAP, CONC__SIM_ADD, CONC__SIM_OR, CONC__SIM_AND } conc__sim_rmw_kind;
CONC__LIB uint64_t conc__sim_load(const void *a, size_t size, int order, const char *in);
CONC__LIB void conc__sim_store(void *a, size_t size, uint64_t v, int order, const char *in);
CONC__LIB uint64_t conc__sim_rmw(void *a, size_t size, conc__sim_rmw_kind kind, uint64_t v, int order, const char *in);
CONC__LIB bool conc__sim_cas(void *a, size_t size, void *expected, uint64_t v, int order, const char *in);

#define conc__load32(a, o) ((uint32_t)conc__sim_load((a), sizeof(uint32_t), (o), __func__))
#define conc__store32(a, v, o) conc__sim_store((a), sizeof(uint32_t), (uint32_t)(v), (o), __func__)
#define conc__rmw32(a, k, v, o) ((uint32_t)conc__sim_rmw((a), sizeof(uint32_t), (k), (uint32_t)(v), (o), __func__))
#define conc__swap32(a, v, o) conc__rmw32(a, CONC__SIM_SWAP, v, o)
#define conc__add32(a, v, o) conc__rmw32(a, CONC__SIM_ADD, v, o)
#define conc__sub32(a, v, o) conc__rmw32(a, CONC__SIM_ADD, 0u - (uint32_t)(v), o)
#define conc__or32(a, v, o) conc__rmw32(a, CONC__SIM_OR, v, o)
#define conc__and32(a, v, o) conc__rmw32(a, CONC__SIM_AND, v, o)
#define conc__cas32(a, expected, v, o) conc__sim_cas((a), sizeof(uint32_t), (expected), (uint32_t)(v), (o), __func__)
#define conc__loadz(a, o) ((size_t)conc__sim_load((a), sizeof(size_t), (o), __func__))
#define conc__storez(a, v, o) conc__sim_store((a), sizeof(size_t), (size_t)(v), (o), __func__)
#define conc__rmwz(a, k, v, o) ((size_t)conc__sim_rmw((a), sizeof(size_t), (k), (size_t)(v), (o), __func__))
#define conc__swapz(a, v, o) conc__rmwz(a, CONC__SIM_SWAP, v, o)
#define conc__addz(a, v, o) conc__rmwz(a, CONC__SIM_ADD, v, o)
#define conc__subz(a, v, o) conc__rmwz(a, CONC__SIM_ADD, (size_t)0 - (size_t)(v), o)
#define conc__orz(a, v, o) conc__rmwz(a, CONC__SIM_OR, v, o)
#define conc__casz(a, expected, v, o) conc__sim_cas((a), sizeof(size_t), (expected), (size_t)(v), (o), __func__)
#define conc__loadp(a, o) ((void *)(uintptr_t)conc__sim_load((a), sizeof(void *), (o), __func__))
#define conc__storep(a, v, o) conc__sim_store((a), sizeof(void *), (uint64_t)(uintptr_t)(v), (o), __func__)
#define conc__swapp(a, v, o) ((void *)(uintptr_t)conc__sim_rmw((a), sizeof(void *), CONC__SIM_SWAP, (uint64_t)(uintptr_t)(v), (o), __func__))
#define conc__casp(a, expected, v, o) conc__sim_cas((a), sizeof(void *), (expected), (uint64_t)(uintptr_t)(v), (o), __func__)

#elif CONC_CC_GNU && !CONC_CC_TINY

#if defined(CONC__DELAYS) /* tests: now and then a delay before an atomic operation */
CONC__LIB void conc__delay(void);
#define CONC__ATOM(a) (conc__delay(), (a))
#else
#define CONC__ATOM(a) (a)
#endif

#define conc__load32(a, o) __atomic_load_n(CONC__ATOM(a), (o))
#define conc__store32(a, v, o) __atomic_store_n(CONC__ATOM(a), (v), (o))
#define conc__swap32(a, v, o) __atomic_exchange_n(CONC__ATOM(a), (v), (o))
#define conc__add32(a, v, o) __atomic_fetch_add(CONC__ATOM(a), (v), (o))
#define conc__sub32(a, v, o) __atomic_fetch_sub(CONC__ATOM(a), (v), (o))
#define conc__or32(a, v, o) __atomic_fetch_or(CONC__ATOM(a), (v), (o))
#define conc__and32(a, v, o) __atomic_fetch_and(CONC__ATOM(a), (v), (o))
/* Strong. On failure *expected becomes what was there, read with order relaxed. */
#define conc__cas32(a, expected, v, o) __atomic_compare_exchange_n(CONC__ATOM(a), (expected), (v), 0, (o), __ATOMIC_RELAXED)
#define conc__loadz(a, o) __atomic_load_n(CONC__ATOM(a), (o))
#define conc__storez(a, v, o) __atomic_store_n(CONC__ATOM(a), (v), (o))
#define conc__swapz(a, v, o) __atomic_exchange_n(CONC__ATOM(a), (v), (o))
#define conc__addz(a, v, o) __atomic_fetch_add(CONC__ATOM(a), (v), (o))
#define conc__subz(a, v, o) __atomic_fetch_sub(CONC__ATOM(a), (v), (o))
#define conc__orz(a, v, o) __atomic_fetch_or(CONC__ATOM(a), (v), (o))
#define conc__casz(a, expected, v, o) __atomic_compare_exchange_n(CONC__ATOM(a), (expected), (v), 0, (o), __ATOMIC_RELAXED)
#define conc__loadp(a, o) __atomic_load_n(CONC__ATOM(a), (o))
#define conc__storep(a, v, o) __atomic_store_n(CONC__ATOM(a), (v), (o))
#define conc__swapp(a, v, o) __atomic_exchange_n(CONC__ATOM(a), (v), (o))
#define conc__casp(a, expected, v, o) __atomic_compare_exchange_n(CONC__ATOM(a), (expected), (v), 0, (o), __ATOMIC_RELAXED)

#else /* MSVC, tcc: every operation is sequentially consistent, whatever `o` says */

#define CONC__RELAXED 0
#define CONC__ACQUIRE 0
#define CONC__RELEASE 0
#define CONC__ACQ_REL 0
#define CONC__SEQ_CST 0

#if CONC_CC_MSVC
#include <intrin.h>
#if defined(_WIN64)
#define CONC__MSVCZ(f) f##64
typedef __int64 conc__msvcz;
#else
#define CONC__MSVCZ(f) f
typedef long conc__msvcz;
#endif
static __inline uint32_t conc__cmpxchg32(uint32_t *a, uint32_t old, uint32_t v) {
    return (uint32_t)_InterlockedCompareExchange((volatile long *)a, (long)v, (long)old);
}
static __inline size_t conc__cmpxchgz(size_t *a, size_t old, size_t v) {
    return (size_t)CONC__MSVCZ(_InterlockedCompareExchange)((volatile conc__msvcz *)a, (conc__msvcz)v,
                                                            (conc__msvcz)old);
}
#elif defined(__i386__) || defined(__x86_64__)
static uint32_t conc__cmpxchg32(uint32_t *a, uint32_t old, uint32_t v) {
    __asm__ __volatile__("lock cmpxchgl %2, %1" : "+a"(old), "+m"(*a) : "r"(v) : "memory");
    return old;
}
static size_t conc__cmpxchgz(size_t *a, size_t old, size_t v) {
#if defined(__x86_64__)
    __asm__ __volatile__("lock cmpxchgq %2, %1" : "+a"(old), "+m"(*a) : "r"(v) : "memory");
#else
    __asm__ __volatile__("lock cmpxchgl %2, %1" : "+a"(old), "+m"(*a) : "r"(v) : "memory");
#endif
    return old;
}
#else
#error "conc.h: this compiler has neither __atomic builtins nor anything known in their place"
#endif

/* Everything from compare-and-swap: these compilers are served for reach, not for speed. */
#define CONC__ATOMICS(T, s)                                                                        \
    static CONC__UNUSED T conc__rmw_load##s(const T *a) {                                          \
        return conc__cmpxchg##s((T *)(uintptr_t)a, 0, 0);                                          \
    }                                                                                              \
    static CONC__UNUSED bool conc__rmw_cas##s(T *a, T *expected, T v) {                            \
        T was = conc__cmpxchg##s(a, *expected, v);                                                 \
        bool done = was == *expected;                                                              \
        *expected = was;                                                                           \
        return done;                                                                               \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_swap##s(T *a, T v) {                                           \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, v)) {                                                    \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_add##s(T *a, T v) {                                            \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, (T)(old + v))) {                                         \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_or##s(T *a, T v) {                                             \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, (T)(old | v))) {                                         \
        }                                                                                          \
        return old;                                                                                \
    }                                                                                              \
    static CONC__UNUSED T conc__rmw_and##s(T *a, T v) {                                            \
        T old = *(volatile T *)a;                                                                  \
        while (!conc__rmw_cas##s(a, &old, (T)(old & v))) {                                         \
        }                                                                                          \
        return old;                                                                                \
    }
CONC__ATOMICS(uint32_t, 32)
CONC__ATOMICS(size_t, z)
#undef CONC__ATOMICS

#define conc__load32(a, o) conc__rmw_load32(a)
#define conc__store32(a, v, o) ((void)conc__rmw_swap32((a), (v)))
#define conc__swap32(a, v, o) conc__rmw_swap32((a), (v))
#define conc__add32(a, v, o) conc__rmw_add32((a), (v))
#define conc__sub32(a, v, o) conc__rmw_add32((a), 0u - (uint32_t)(v))
#define conc__or32(a, v, o) conc__rmw_or32((a), (v))
#define conc__and32(a, v, o) conc__rmw_and32((a), (v))
#define conc__cas32(a, expected, v, o) conc__rmw_cas32((a), (expected), (v))
#define conc__loadz(a, o) conc__rmw_loadz(a)
#define conc__storez(a, v, o) ((void)conc__rmw_swapz((a), (v)))
#define conc__swapz(a, v, o) conc__rmw_swapz((a), (v))
#define conc__addz(a, v, o) conc__rmw_addz((a), (v))
#define conc__subz(a, v, o) conc__rmw_addz((a), (size_t)0 - (size_t)(v))
#define conc__orz(a, v, o) conc__rmw_orz((a), (v))
#define conc__casz(a, expected, v, o) conc__rmw_casz((a), (expected), (v))
#define conc__loadp(a, o) ((void *)conc__rmw_loadz((const size_t *)(const void *)(a)))
#define conc__storep(a, v, o) ((void)conc__rmw_swapz((size_t *)(void *)(a), (size_t)(v)))
#define conc__swapp(a, v, o) ((void *)conc__rmw_swapz((size_t *)(void *)(a), (size_t)(v)))
#define conc__casp(a, expected, v, o) conc__rmw_casz((size_t *)(void *)(a), (size_t *)(void *)(expected), (size_t)(v))
#define conc__peek32(a) conc__rmw_load32(a)
#define conc__peekp(a) conc__loadp((a), 0)
#define conc__peekz(a) conc__rmw_loadz(a)
#define conc__poke32(a, v) (*(volatile uint32_t *)(a) = (v)) /* aligned words are stored whole by all that these serve */
#define conc__pokez(a, v) (*(volatile size_t *)(a) = (v))
#define conc__pokep(a, v) (*(void *volatile *)(a) = (void *)(uintptr_t)(v))

#endif

/* ---- the opaque call (see the trap above) ------------------------------------------------------
 * Never taken, but no compiler can know: to it, every function that passes here may run any code. */
static CONC__UNUSED void (*volatile conc__opaque)(void);
#if defined(CONC__TEST_LEAFY) /* tests/codegen only: shows that the guard is needed */
#define CONC__OPAQUE() ((void)0)
#else
#define CONC__OPAQUE()                                                                             \
    do {                                                                                           \
        void (*conc__o)(void) = conc__opaque;                                                      \
        if (CONC__UNLIKELY(conc__o != NULL)) conc__o();                                            \
    } while (0)
#endif

/* ---- thread-local storage ----------------------------------------------------------------------
 * CONC__TLS before a static variable; where a compiler has none, core keeps its per-thread record under
 * the port's one key instead. */
#if CONC_CC_TINY || defined(CONC_SIM) /* a simulation's threads are all one to the compiler */
#define CONC__HAS_TLS 0
#elif CONC_CC_MSVC
#define CONC__HAS_TLS 1
#define CONC__TLS __declspec(thread)
#else
#define CONC__HAS_TLS 1
#define CONC__TLS __thread
#endif

/* One pointer a thread, with `destroy` called on it, if it is not NULL, when the thread ends (not when the
 * process does). `destroy` is the same function at every call in the process. It may set the pointer again,
 * and is then called again, a few times. */
CONC__LIB void *conc__port_key_get(void);
CONC__LIB bool conc__port_key_set(void *value, void (*destroy)(void *));

/* ---- time ------------------------------------------------------------------------------------- */

CONC__LIB int64_t conc__port_clock_ns(void); /* monotonic */

/* ---- wait on address --------------------------------------------------------------------------
 * wait: returns at once if *a != expected; otherwise blocks until a wake of `a`, the deadline (absolute, in
 * conc__port_clock_ns time, INT64_MAX is never), or for no reason. True: the deadline has passed. Look at *a
 * again whatever it says. A wake that comes after *a was changed is never lost. wake: only `a`'s value is
 * used, the memory is not touched: it may be gone. */
CONC__LIB bool conc__port_wait(uint32_t *a, uint32_t expected, int64_t deadline_ns);
CONC__LIB void conc__port_wake_one(uint32_t *a);
CONC__LIB void conc__port_wake_all(uint32_t *a);

/* A fence that all running threads of the process pass before it returns (membarrier,
 * FlushProcessWriteBuffers): with it one side of a Dekker pair can do without a fence. Costs microseconds and
 * an interrupt for other processors. `ready`: whether this system has it; the same answer always. */
CONC__LIB bool conc__port_heavy_fence_ready(void);
CONC__LIB void conc__port_heavy_fence(void);

/* ---- threads ----------------------------------------------------------------------------------- */

typedef struct conc__port_thread {
    void *handle[2];
    void (*fn)(void *);
    void *arg;
} conc__port_thread;

/* Starts fn(arg); `t` must live until it has ended. 0, or the system's error number. join and detach may be called
 * only after start has returned. */
CONC__LIB int conc__port_thread_start(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size);
/* Exactly one of them, once. join blocks until the system has let go of the thread's stack. */
CONC__LIB void conc__port_thread_join(conc__port_thread *t);
CONC__LIB void conc__port_thread_detach(conc__port_thread *t);
CONC__LIB void conc__port_thread_set_name(const char *name); /* of the calling thread */
CONC__LIB void conc__port_yield(void);
#define CONC__CACHE_LINE 64

/* How many looks a spin of up to `n` makes before its thread sleeps: in a simulation none. A spin is there for speed only;
 * its offers of the processor would hide just the schedules in which the sleep comes at a bad moment. */
#if defined(CONC_SIM)
#define CONC__LOOKS(n) (conc__sim_is_here() ? 0u : (unsigned)(n))
CONC__LIB bool conc__sim_is_here(void);
#else
#define CONC__LOOKS(n) ((unsigned)(n))
#endif

/* A hash of an address, of `bits` bits. In a simulation, where no address may decide anything, the number of the
 * object. */
#if defined(CONC_SIM)
#define CONC__BUCKET_BITS 7
#define conc__port_hash(address, bits) ((size_t)conc__sim_number(address) & (((size_t)1 << (bits)) - 1))
#else /* Fibonacci hashing (Knuth, TAOCP 3, 6.4): the product's high bits */
#define CONC__BUCKET_BITS 13
#define conc__port_hash(address, bits)                                                             \
    ((size_t)((uint64_t)((uintptr_t)(address) >> 2) * (uint64_t)0x9E3779B97F4A7C15u >> (64 - (bits))))
#endif

/* A hint to the processor that this is a spin loop. */
#if defined(CONC_SIM)
#define conc__port_pause() conc__port_yield()
#elif CONC_CC_GNU && (defined(__i386__) || defined(__x86_64__)) && !CONC_CC_TINY
#define conc__port_pause() __builtin_ia32_pause()
#elif (CONC_CC_GNU || CONC_CC_TINY) && (defined(__i386__) || defined(__x86_64__))
#define conc__port_pause() __asm__ __volatile__("pause")
#elif CONC_CC_GNU && (defined(__aarch64__) || (defined(__arm__) && defined(__ARM_ARCH) && __ARM_ARCH >= 7))
#define conc__port_pause() __asm__ __volatile__("yield")
#elif CONC_CC_MSVC && (defined(_M_IX86) || defined(_M_X64))
#define conc__port_pause() _mm_pause()
#elif CONC_CC_MSVC
#define conc__port_pause() __yield()
#else
#define conc__port_pause() ((void)0)
#endif

/* ---- the process and the machine ---------------------------------------------------------------- */

CONC__LIB unsigned conc__port_cpu_count(void);
/* `child` will be called in the child of every fork() to come, before fork() returns there. Where there is no
 * fork: nothing. 0, or the system's error number. */
CONC__LIB int conc__port_on_fork(void (*child)(void));
/* The system's words for its error number; returns `buffer`. */
CONC__LIB const char *conc__port_error_text(int error, char *buffer, size_t size);

/* ---- descriptors --------------------------------------------------------------------------------
 * What the system calls a file, a pipe or a socket: an int, on Windows a SOCKET (there, nothing but sockets); -1: none.
 * These functions return 0 or the system's error number, and leave errno and its like alone. What they make is closed in
 * a program that this process starts (close-on-exec), and does not block; no write to it raises SIGPIPE. */

#define CONC__PORT_READ 1u
#define CONC__PORT_WRITE 2u
#define CONC__PORT_HUP 4u /* told without being asked: an error, a hang-up, or the peer will send no more: look at both sides,
                             which stay as they are */
#define CONC__PORT_BAD 8u /* likewise: it is not an open descriptor */

#define CONC__PORT_ALWAYS_READY (-1) /* an answer: the poller takes no descriptors of this kind, such as files on disk */
#define CONC__PORT_IN_PROGRESS (-2)  /* an answer: connecting goes on, until the socket is writable */
CONC__LIB int conc__port_unsupported(void); /* the error number for "this system cannot do that" */

/* A signal: what ends the sleep of a thread in conc__port_poll(), which has fd[0] among its descriptors. raise: by any
 * thread, also one that handles a (POSIX) signal; several may become one. clear: takes them away; never blocks. */
typedef struct conc__port_signal {
    intptr_t fd[2]; /* to wait for reading of; private */
} conc__port_signal;
CONC__LIB int conc__port_signal_open(conc__port_signal *s);
CONC__LIB void conc__port_signal_close(conc__port_signal *s);
CONC__LIB void conc__port_signal_raise(conc__port_signal *s);
CONC__LIB void conc__port_signal_clear(conc__port_signal *s);

/* Sleeps until one of `n` (or 0) descriptors is ready, the deadline (as for conc__port_wait(); INT64_MIN: does not
 * sleep), or for no reason. Returns how many have something in `got`, all of which it sets; or 0; or -1 with the reason
 * in *error. An fd of -1 is passed over. */
typedef struct conc__port_pollfd {
    intptr_t fd;
    unsigned want, got;
} conc__port_pollfd;
CONC__LIB int conc__port_poll(conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error);
/* The same with the caller's memory, n * CONC__PORT_POLL_SCRATCH bytes, aligned for an int64_t: does not allocate. */
#define CONC__PORT_POLL_SCRATCH 16u
CONC__LIB int conc__port_poll_in(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error);

/* A poller: tells of many descriptors. One thread at a time waits; the other functions may be called by any thread, also
 * meanwhile.
 * add (with CONC__POLLER_EDGES only): tells of both sides each time they become ready, until the descriptor is closed;
 * to add it again makes it tell anew what is ready now. want: tells once of what is in `mask` (which replaces the mask
 * of an earlier call for this descriptor), then forgets it, as forget does. Not both for one descriptor. What is closed
 * is to be forgotten before.
 * wait: the events found, up to `max` (1 or more); *signaled: there was a signal, which is taken away with that. Neither:
 * at the deadline, or for no reason. signal: also before the wait, or by a signal handler; several may become one.
 * Whatever was done before it is seen by the wait that tells of it. */
#if CONC_OS_LINUX && !CONC_PORT_PORTABLE
#define CONC__POLLER_EPOLL 1
#else
#define CONC__POLLER_EPOLL 0
#endif
#if (CONC_OS_MACOS || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)) &&     \
    !CONC_PORT_PORTABLE
#define CONC__POLLER_KQUEUE 1
#else
#define CONC__POLLER_KQUEUE 0
#endif
#define CONC__POLLER_EDGES (CONC__POLLER_EPOLL || CONC__POLLER_KQUEUE)

typedef struct conc__port_event {
    intptr_t fd;
    unsigned got;
} conc__port_event;

typedef struct conc__port_poller {
    intptr_t fd;            /* of epoll or kqueue */
    uint32_t signaled;      /* atomic: 1: there was a signal since the last wait that told so */
    conc__port_signal wake; /* what ends a wait's sleep; not with kqueue, which has events of the user's */
#if !CONC__POLLER_EDGES
    uint32_t lock;             /* a conc__lock; guards the next four */
    uint32_t sleeping;         /* 1: the waiting thread has taken its copy and sleeps */
    size_t count, capacity;    /* `wanted` is a hash table with open addressing; capacity a power of two, or 0 */
    conc__port_pollfd *wanted; /* fd -1: free */
    size_t room;               /* the waiting thread's own: of `copy`, */
    conc__port_pollfd *copy;   /* with as many places of scratch behind it */
#endif
} conc__port_poller;

CONC__LIB int conc__port_poller_open(conc__port_poller *p);
CONC__LIB void conc__port_poller_close(conc__port_poller *p);
CONC__LIB int conc__port_poller_add(conc__port_poller *p, intptr_t fd);
CONC__LIB int conc__port_poller_want(conc__port_poller *p, intptr_t fd, unsigned mask);
CONC__LIB void conc__port_poller_forget(conc__port_poller *p, intptr_t fd);
CONC__LIB size_t conc__port_poller_wait(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                                        bool *signaled);
CONC__LIB void conc__port_poller_signal(conc__port_poller *p);

/* ---- sockets ---------------------------------------------------------------------------------------- */

/* An unconnected one, for `family` 4 or 6. */
CONC__LIB int conc__port_socket(unsigned family, bool stream, intptr_t *fd);
CONC__LIB void conc__port_socket_close(intptr_t fd);
CONC__LIB int conc__port_socket_bind(intptr_t fd, const conc_address *a);
CONC__LIB int conc__port_socket_listen(intptr_t fd, int backlog);
CONC__LIB int conc__port_socket_accept(intptr_t fd, intptr_t *conn, conc_address *peer);
/* Begins it: 0: connected, CONC__PORT_IN_PROGRESS, or an error. Then, once writable: */
CONC__LIB int conc__port_socket_connect(intptr_t fd, const conc_address *a);
CONC__LIB int conc__port_socket_connected(intptr_t fd); /* how it ended; takes the error away */
/* At most `size` bytes. receive: 0 bytes done is the end of the stream. */
CONC__LIB int conc__port_socket_send(intptr_t fd, const void *data, size_t size, size_t *done);
CONC__LIB int conc__port_socket_receive(intptr_t fd, void *buffer, size_t size, size_t *done);
/* A datagram; `to` NULL: to whom it is connected. `cut`: it was longer, and the rest is gone. */
CONC__LIB int conc__port_socket_send_to(intptr_t fd, const void *data, size_t size, const conc_address *to, size_t *done);
CONC__LIB int conc__port_socket_receive_from(intptr_t fd, void *buffer, size_t size, conc_address *from, size_t *done,
                                             bool *cut);
/* CONC__PORT_READ: nothing more is read; CONC__PORT_WRITE: nothing more will be written; or both. */
CONC__LIB int conc__port_socket_shutdown(intptr_t fd, unsigned sides);
/* Its own address or its peer's. */
CONC__LIB int conc__port_socket_name(intptr_t fd, bool peer, conc_address *a);

typedef enum conc__port_option {
    CONC__PORT_REUSE_ADDRESS, /* bind in spite of connections that are ending; where that is not always so */
    CONC__PORT_REUSE_PORT,    /* several sockets on one port */
    CONC__PORT_V6_ONLY,
    CONC__PORT_NO_DELAY,
    CONC__PORT_KEEP_ALIVE,
    CONC__PORT_BROADCAST,
    CONC__PORT_SEND_BUFFER,
    CONC__PORT_RECEIVE_BUFFER,
    CONC__PORT_OPTIONS
} conc__port_option;
CONC__LIB int conc__port_socket_option(intptr_t fd, conc__port_option option, int value);

/* What an error number of these functions is a case of. */
typedef enum conc__port_kind {
    CONC__PORT_OTHER,
    CONC__PORT_WOULD_BLOCK,
    CONC__PORT_TABLE_FULL, /* no more descriptors, in this process or on this machine */
    CONC__PORT_NO_BUFFERS, /* the system is short of memory */
    CONC__PORT_ABORTED,    /* accept: this connection is gone, or its network is: go on with the next */
    CONC__PORT_BROKEN      /* the connection was reset, or its other side is gone */
} conc__port_kind;
CONC__LIB conc__port_kind conc__port_kind_of(int error);
#define conc__port_would_block(error) (conc__port_kind_of(error) == CONC__PORT_WOULD_BLOCK)

/* Asks the system for the addresses of `host`, a name or numbers. Blocks, for as long
 * as it takes. *found: how many of them are in `list`. On failure `text` says why. */
typedef enum conc__port_found {
    CONC__PORT_FOUND,
    CONC__PORT_UNKNOWN_HOST,
    CONC__PORT_LOOKUP_MEMORY,
    CONC__PORT_LOOKUP_FAILED
} conc__port_found;
CONC__LIB conc__port_found conc__port_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                                             char *text, size_t size);

/* ---- faults -----------------------------------------------------------------------------------------
 * Every call that can fail asks first, by CONC__FAULT("what is called", ERROR, ...): 0, or the one of these errors that it
 * is to fail with. In builds without CONC_FAULTS, all but those of some tests, that is the constant 0. What cannot
 * fail with the arguments it is given, or whose failure makes no difference, does not ask. */
#if defined(CONC_FAULTS)
#include <errno.h>
CONC__LIB int conc__fault(const char *text, const char *site, ...);
#define CONC__FAULT(...) conc__fault(#__VA_ARGS__, __VA_ARGS__, 0)
/* From now on the nth time that a site is passed (0: none) it fails, and if `sticky` each one after it, with the error
 * number `which` of its list (counted round). */
CONC__LIB void conc__fault_plan(uint32_t nth, uint32_t which, bool sticky);
/* How many sites have been passed since. */
CONC__LIB uint32_t conc__fault_passed(void);
/* The i-th fault that was made, by the names of its site and its error; false: there were not so many (or that many are not
 * kept). */
CONC__LIB bool conc__fault_made(uint32_t i, const char **site, char *error, size_t size);
#else
#define CONC__FAULT(...) 0
#endif

/* ---- the real port beside the simulated one -------------------------------------------------------
 * CONC__PORT(name) is what port_posix.c and port_win32.c call their functions: conc__port_name; or, where port_sim.c
 * stands before them, conc__real_name. (What works on sockets has no simulated side: in a simulation none can be made.) */
#if defined(CONC_SIM)
#define CONC__PORT(name) conc__real_##name
CONC__LIB void *conc__real_key_get(void);
CONC__LIB bool conc__real_key_set(void *value, void (*destroy)(void *));
CONC__LIB int64_t conc__real_clock_ns(void);
CONC__LIB bool conc__real_wait(uint32_t *a, uint32_t expected, int64_t deadline_ns);
CONC__LIB void conc__real_wake_one(uint32_t *a);
CONC__LIB void conc__real_wake_all(uint32_t *a);
CONC__LIB bool conc__real_heavy_fence_ready(void);
CONC__LIB void conc__real_heavy_fence(void);
CONC__LIB int conc__real_thread_start(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size);
CONC__LIB void conc__real_thread_join(conc__port_thread *t);
CONC__LIB void conc__real_thread_detach(conc__port_thread *t);
CONC__LIB void conc__real_thread_set_name(const char *name);
CONC__LIB void conc__real_yield(void);
CONC__LIB unsigned conc__real_cpu_count(void);
CONC__LIB int conc__real_on_fork(void (*child)(void));
CONC__LIB const char *conc__real_error_text(int error, char *buffer, size_t size);
CONC__LIB int conc__real_signal_open(conc__port_signal *s);
CONC__LIB void conc__real_signal_close(conc__port_signal *s);
CONC__LIB void conc__real_signal_raise(conc__port_signal *s);
CONC__LIB void conc__real_signal_clear(conc__port_signal *s);
CONC__LIB int conc__real_poll_in(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error);
CONC__LIB int conc__real_poller_open(conc__port_poller *p);
CONC__LIB void conc__real_poller_close(conc__port_poller *p);
CONC__LIB int conc__real_poller_add(conc__port_poller *p, intptr_t fd);
CONC__LIB int conc__real_poller_want(conc__port_poller *p, intptr_t fd, unsigned mask);
CONC__LIB void conc__real_poller_forget(conc__port_poller *p, intptr_t fd);
CONC__LIB size_t conc__real_poller_wait(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                                        bool *signaled);
CONC__LIB void conc__real_poller_signal(conc__port_poller *p);
CONC__LIB int conc__real_socket(unsigned family, bool stream, intptr_t *fd);
CONC__LIB conc__port_found conc__real_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                                             char *text, size_t size);
#else
#define CONC__PORT(name) conc__port_##name
#endif

#endif

/* ==== end src/port.h ==== */

/* ==== begin src/port_sim.h ==== */

/* ============================================================================================
 * port_sim: the machine that CONC_SIM puts in place of the real one. Private; sim.h is what users see.
 *
 * One schedule is one run of a function in a world of its own: its threads are fibers on the calling thread, of
 * which one runs at a time; its clock is a number; its memory is an arena. At each atomic operation, wait, wake,
 * start, join and yield the world may go on with another fiber: these are its *points*. Which one goes on, which
 * sleeper is woken, which deadline passes early, which store a load sees: each is a *choice*, and the plan's
 * strategy and seed make them all. Nothing else does: no address, no real clock, no other thread. So the same plan
 * gives the same schedule, always.
 *
 * Everything in here belongs to the thread that runs the simulation; the others of the process go on natively.
 * ========================================================================================== */

#ifndef CONC__PORT_SIM_H
#define CONC__PORT_SIM_H

#if defined(CONC_SIM)

#define CONC__SIM_FIBERS 32      /* at most, in one schedule: a bit each in a uint32_t */
#define CONC__SIM_TEXT 400

typedef enum conc__sim_strategy {
    CONC__SIM_RANDOM, /* each choice by chance; how often it switches at all is chosen anew for each schedule */
    CONC__SIM_PCT,    /* random priorities, lowered at depth - 1 random points (Burckhardt et al., ASPLOS 2010) */
    CONC__SIM_DEPTH   /* depth first, all of them, with at most `depth` preemptions (Musuvathi, Qadeer, PLDI 2007) */
} conc__sim_strategy;

typedef struct conc__sim_plan {
    conc__sim_strategy strategy;
    unsigned depth;
    uint64_t seed;       /* all choices follow from it; not used by CONC__SIM_DEPTH */
    uint32_t max_points; /* one more is a livelock */
    bool weak;           /* loads may see older stores, as far as the C11 memory model allows */
    bool track;          /* follow happens-before: for weak, and for data marked by conc_sim_access() */
    bool trace;          /* keep the events for conc__sim_events() */
} conc__sim_plan;

typedef struct conc__sim_outcome {
    conc_sim_verdict verdict;
    uint32_t points;
    unsigned fibers;          /* that were started, the first included */
    bool marked;              /* conc_sim_access() was called: `track` is wanted */
    char text[CONC__SIM_TEXT];
} conc__sim_outcome;

/* Runs `body(arg)` as the first fiber of a new world, until it has returned (others may be left: their stacks are
 * dropped) or something is wrong. Only one at a time in a thread. False: no memory for the world. */
CONC__LIB bool conc__sim_schedule(const conc__sim_plan *plan, void (*body)(void *), void *arg,
                                  conc__sim_outcome *outcome);

/* Depth first: begin() before the first schedule of a search; next() after each: false, all have been done. choices()
 * writes the last schedule as "point.choice,..." without the zeros; replay() makes the next schedule that one, and
 * is false if the text is none. */
CONC__LIB void conc__sim_depth_begin(void);
CONC__LIB bool conc__sim_depth_next(void);
CONC__LIB bool conc__sim_depth_choices(char *text, size_t size);
CONC__LIB bool conc__sim_depth_replay(const char *text);

/* Ends the schedule that runs, with this outcome. Does not return inside a simulation; outside it does nothing. */
CONC__LIB void conc__sim_stop(conc_sim_verdict verdict, const char *format, ...) CONC__PRINTF(2, 3);

/* A file's name without its directories. */
CONC__LIB const char *conc__sim_base(const char *file);

/* A choice among n, 0 outside a simulation. */
CONC__LIB unsigned conc__sim_choose(unsigned n);

/* What happened, in a schedule that kept its trace. */
typedef enum conc__sim_event_kind {
    CONC__SIM_CALL,     /* the fiber is at a new place of the user's program */
    CONC__SIM_NOTE,     /* conc_sim_note() */
    CONC__SIM_ATOMIC,   /* an atomic operation; what it was is in `text` */
    CONC__SIM_START,    /* `other` was started */
    CONC__SIM_SLEEP,    /* it sleeps */
    CONC__SIM_WAKE,     /* it woke `other` */
    CONC__SIM_EXPIRE,   /* `other`'s deadline passed */
    CONC__SIM_SPURIOUS, /* `other`'s sleep ended for no reason */
    CONC__SIM_STALE,    /* a load did not see the latest store */
    CONC__SIM_END       /* it ended */
} conc__sim_event_kind;

typedef struct conc__sim_event {
    uint32_t point;
    uint8_t kind, fiber, other;
    int line;
    const char *file, *text;    /* the place; or what was done, and in which function */
    const void *object;
    uint64_t before, after;
} conc__sim_event;

CONC__LIB size_t conc__sim_events(const conc__sim_event **events);

/* Fiber i of the schedule that just ended: false, there is none. `agent` is what its thread had under the port's key. */
typedef struct conc__sim_who {
    const char *name, *file, *call;
    int line;
    bool done;
    void *agent;
} conc__sim_who;
CONC__LIB bool conc__sim_fiber(unsigned i, conc__sim_who *who);

/* A small number for an address, by first use in the schedule: for hashing, where the address itself would let the
 * memory layout decide. Outside a simulation: the address, mixed. */
CONC__LIB uint64_t conc__sim_number(const void *address);

/* Whether reports to the error hook are no failure in the run under way. */
CONC__LIB bool conc__sim_takes_reports(void);

/* The world's memory, for internal.h. Outside a simulation: CONC_MALLOC() and its family. */
CONC__LIB void *conc__sim_malloc(size_t size);
CONC__LIB void *conc__sim_realloc(void *p, size_t size);
CONC__LIB void conc__sim_free(void *p);
/* How many blocks of the schedule that just ended were never freed, and where the first of them was asked for. */
CONC__LIB size_t conc__sim_leaks(const char **file, int *line, const char **call, size_t *size);

#endif
#endif

/* ==== end src/port_sim.h ==== */

/* ==== begin src/internal.h ==== */

/* ============================================================================================
 * internal: what the modules share and users never see. In the order of the floors.
 * ========================================================================================== */

#ifndef CONC__INTERNAL_H
#define CONC__INTERNAL_H

#include <string.h>

/* ---- core: memory --------------------------------------------------------------------------- */

#if defined(CONC_MALLOC) && defined(CONC_REALLOC) && defined(CONC_FREE)
/* all three given */
#elif defined(CONC_MALLOC) || defined(CONC_REALLOC) || defined(CONC_FREE)
#error "conc.h: define all of CONC_MALLOC, CONC_REALLOC and CONC_FREE, or none"
#else
#include <stdlib.h>
#define CONC_MALLOC(size) malloc(size)
#define CONC_REALLOC(p, size) realloc((p), (size))
#define CONC_FREE(p) free(p)
#endif
#if defined(CONC_SIM)
#define CONC__MALLOC(size) conc__sim_malloc(size)
#define CONC__REALLOC(p, size) conc__sim_realloc((p), (size))
#define CONC__FREE(p) conc__sim_free(p)
#else
#define CONC__MALLOC(size) CONC_MALLOC(size)
#define CONC__REALLOC(p, size) CONC_REALLOC((p), (size))
#define CONC__FREE(p) CONC_FREE(p)
#endif

/* count * size bytes, zeroed; NULL, with the error recorded, when that overflows or there is no memory. `what`
 * is for the message. */
CONC__LIB void *conc__alloc(size_t count, size_t size, const char *what);
/* To count * size bytes, the first ones kept. As above; on failure `p` is still there. */
CONC__LIB void *conc__realloc(void *p, size_t count, size_t size, const char *what);
CONC__LIB void conc__free(void *p);

/* The library's own plain memory that no lock guards, about to be read or written: for a simulation's race detector. */
#if defined(CONC_SIM)
#define CONC__READS(p, size) conc_sim_access((p), (size), false, __FILE__, __LINE__)
#define CONC__WRITES(p, size) conc_sim_access((p), (size), true, __FILE__, __LINE__)
#else
#define CONC__READS(p, size) ((void)0)
#define CONC__WRITES(p, size) ((void)0)
#endif

/* ---- core: the agent -------------------------------------------------------------------------
 * Who acts: the record of the calling thread. While a coroutine runs in it, its loop has put the coroutine's identity,
 * token and task here. */

#define CONC__HELD_MAX 32 /* locks one thread can hold and CONC_DEBUG can follow */

typedef struct conc__held {
    const void *lock;
    const char *file;
    int line;
} conc__held;

typedef struct conc__agent {
    uint32_t owner;      /* what this agent writes into a lock it holds: its id << 2; 0: not given yet */
    conc_result error;   /* conc_error_result() */
    conc_cancel *cancel; /* the current token */
    const char *name;    /* for reports; NULL: it has none. The thread module's, as the next three */
    void *thread;        /* its conc_thread, if it has one */
    void (*ended)(struct conc__agent *agent); /* see conc__agent_watch_end() */
    conc_loop *loop; /* the loop that this thread runs, */
    conc_task *task; /* and the task that runs in it, whose identity `owner` then is; */
    uint32_t host;   /* the thread's own meanwhile */
    conc__port_signal signal; /* wakes it when it sleeps in conc__port_poll(); */
    bool has_signal;          /* made when first wanted, gone with the thread */
    /* For conc_dump(), which reads them from other threads: what it sleeps for. Hints, stored with conc__poke...(); `name` is
     * static text, NULL: it does not sleep. */
    const char *sleeps_in;
    const void *sleeps_for;
    size_t sleeps_since; /* milliseconds of the clock */
    struct conc__worker *worker;   /* what it is in a pool, while it takes part in one; */
    struct conc__running *running; /* and the tasks that it is in, the innermost first */
    conc_task_desc spawn; /* what CONC_SPAWN_LATER() and CONC_GROUP_SPAWN() hand on */
    uint32_t scopes;     /* blocks of CONC_WITH_LOCK(), CONC_WITH_CANCEL() and CONC_FOREACH() that it is in */
    void **locals;       /* thread-local values by key */
    uint32_t local_count;
    uint32_t held_count; /* CONC_DEBUG: the locks held, in order; sync_debug's */
#if defined(CONC_SIM)
    const conc_op *waits; /* what it waits for, */
    size_t waits_count;   /* for reports */
#endif
#if defined(CONC_DEBUG)
    conc__held held[CONC__HELD_MAX];
#endif
    char number[20];     /* its name, if it has none */
    char detail[240];    /* conc_error_detail() */
} conc__agent;

/* The calling thread's record, complete. Never NULL. */
CONC__LIB conc__agent *conc__self(void);
/* The same, by one load where there is thread-local storage; its owner may still be 0. For fast paths. */
#if CONC__HAS_TLS
#if defined(CONC__SPLIT)
extern CONC__TLS conc__agent conc__agent_here;
#else
static CONC__TLS conc__agent conc__agent_here;
#endif
#define conc__self_fast() (&conc__agent_here)
#else
#define conc__self_fast() conc__self()
#endif

/* A new identity, for a thread that is being started. */
CONC__LIB uint32_t conc__new_owner(void);

/* Have the calling agent's end told: `ended` is called in the thread as it ends, whatever its origin. False: out of
 * memory. */
CONC__LIB bool conc__agent_watch_end(conc__agent *agent, void (*ended)(conc__agent *agent));

/* Calls `reset`, which makes a module's own state new, in the child of every fork() to come (and before each schedule of
 * a simulation). To be called before the module's lock is first taken; again is harmless and cheap. */
typedef enum conc__reset_place {
    CONC__RESET_TABLE,
    CONC__RESET_REGISTRY,
    CONC__RESET_TIMERS,
    CONC__RESET_LOOPS,
    CONC__RESET_OFFLOAD,
    CONC__RESET_BLOCKED,
    CONC__RESET_POOLS,
    CONC__RESET_DEBUG,
    CONC__RESETS
} conc__reset_place;
CONC__LIB void conc__on_fork(conc__reset_place place, void (*reset)(void));
/* Each module's own call of it. */
CONC__LIB void conc__table_begin(void);
CONC__LIB void conc__registry_begin(void);
CONC__LIB void conc__timers_begin(void);
CONC__LIB void conc__offload_begin(void);
CONC__LIB void conc__blocked_begin(void);
CONC__LIB void conc__pools_begin(void);
#if defined(CONC_DEBUG) || defined(CONC_SIM)
CONC__LIB void conc__debug_begin(void);
#endif

/* Whether `owner`, found in a lock, was a thread of the process that forked this one, and is not here. Ids are never
 * used twice, so that of the thread that forked is the only one from before that still is somebody's. */
CONC__LIB bool conc__is_gone(uint32_t owner);
/* How many forks lie between the first process and this one. */
CONC__LIB uint32_t conc__fork_generation(void);

/* ---- core: errors ----------------------------------------------------------------------------- */

/* Records the sentence for conc_error_detail() and returns `r`. */
CONC__LIB conc_result conc__fail(conc_result r, const char *format, ...) CONC__PRINTF(2, 3);
/* The same, with the system's words for `error` after a colon. */
CONC__LIB conc_result conc__fail_system(conc_result r, int error, const char *what);
/* Tells the error hook, or stderr. `thread` is where it happened; NULL: in the calling one. */
CONC__LIB void conc__report(conc_result r, int code, const char *thread, const char *format, ...)
    CONC__PRINTF(4, 5);
/* "main", "worker", "thread 7": what reports call the calling thread. Lives as long as the thread. */
CONC__LIB const char *conc__self_name(void);

/* ---- wait: the lock of the house ------------------------------------------------------------------
 * A word lock for the library's own few instructions: 0 free, 1 held, 2 held and perhaps waited for (U.
 * Drepper, "Futexes Are Tricky", mutex 2). It is not an op and knows nothing of tokens. */
typedef uint32_t conc__lock;
CONC__LIB void conc__lock_take(conc__lock *l);
CONC__LIB void conc__lock_give(conc__lock *l);

#define CONC__TICKET_SWEPT 0x10000u /* it was claimed with all others there */

/* ---- wait: waiters and the table -------------------------------------------------------------------
 * One per wait, on the waiting thread's stack; or a coroutine's task's. */
struct conc_waiter {
    uint32_t claimed;         /* atomic. 0: waits; else the ticket (index + 1) of the node through which it was claimed, and
                                 CONC__TICKET_SWEPT. Publishes what the claimer did before; a thread sleeps on it */
    uint32_t owner;           /* the waiting agent's, for hand-over and for ordering; constant */
    void (*wake)(void *self); /* run by the claimer after it has let go of all locks. For a thread the memory
                                 may be gone by then: only the address is used */
};

/* Waiters of all objects, found by the object's address. In a bucket, each key has a ring of nodes in FIFO order;
 * the first of each is linked to the bucket's other firsts, so that finding a key costs no more than the
 * number of *different* keys there. */
typedef struct conc__bucket {
    conc__lock lock;  /* guards `firsts`, all nodes reachable from it, and what objects say it guards */
    conc_node *firsts;
    char pad[CONC__CACHE_LINE - sizeof(conc_node *) * 2];
} conc__bucket;

/* The bucket of an object, locked / unlocked. Objects share buckets: hold one at a time, call nothing that
 * may wait. */
CONC__LIB conc__bucket *conc__bucket_lock(const void *key);
CONC__LIB void conc__bucket_unlock(conc__bucket *b);

/* Enters `node` for `key`, with a tag of the object's choice, at the end of its ring; one that was woken before
 * in this wait and lost the race for what it was woken for, at the front. */
CONC__LIB void conc__bucket_push(conc__bucket *b, const void *key, conc_node *node, unsigned tag);
/* The first node of `key`, and the one after `node`; NULL at the end. */
CONC__LIB conc_node *conc__bucket_first(conc__bucket *b, const void *key);
CONC__LIB conc_node *conc__bucket_next(conc__bucket *b, conc_node *node);
/* The tag it was entered with. */
#define conc__node_tag(node) ((node)->conc__tag & ~CONC__FRONT & 0xffu)
#define CONC__FRONT 0x80u
/* Whether `key` has a node with `tag`. */
CONC__LIB bool conc__bucket_has(conc__bucket *b, const void *key, unsigned tag);
/* Whether anybody waits for it. Takes the bucket's lock itself. */
CONC__LIB bool conc__is_waited_for(const void *key);

/* Wakes collected under a lock, done after it. */
#define CONC__WAKES 16
typedef struct conc__wakes {
    size_t count;
    struct {
        void (*wake)(void *);
        void *waiter;
    } list[CONC__WAKES];
} conc__wakes;
CONC__LIB void conc__wakes_run(conc__wakes *w); /* no lock may be held */

/* Takes `node` out of the table and claims its waiter; true: it is claimed, its wake noted in `w` (which must have
 * room), and its op finds `grant` in the node. False: it had been claimed otherwise; it is out of the
 * table all the same, and finds no grant. Either way the node may be gone after it. */
CONC__LIB bool conc__claim(conc__bucket *b, conc_node *node, unsigned grant, conc__wakes *w);
/* Claims the first that can be claimed among the nodes of `key` with `tag`. False: none. */
CONC__LIB bool conc__claim_first(conc__bucket *b, const void *key, unsigned tag, unsigned grant, conc__wakes *w);
/* Wakes up to `n` waiters of `key`, taking and leaving the bucket's lock; returns how many. */
CONC__LIB size_t conc__wake_waiters(const void *key, unsigned tag, size_t n);
#define CONC__ANY_TAG 0xffu
#define CONC__SWEPT 0x80u /* as a grant: one claimed with all others; told to the wait itself, not to the op */

/* Whether the calling thread's token, or a parent, has fired. */
CONC__LIB bool conc__is_canceled(void);

/* The steps of a wait, for the kinds of waiter that make them: a thread, in conc__select(), and a coroutine. */
#define CONC__MAX_OPS 1000
#define CONC__TICKET_CANCEL 0xffffu
CONC__LIB bool conc__op_valid(const conc_op *op);
/* Before the first arm. */
CONC__LIB void conc__ops_begin(conc_op *ops, size_t n);
/* Attempts them all, `first` before the others; the index of the one that completed, or n. */
CONC__LIB size_t conc__attempt_all(conc_op *ops, size_t n, size_t first);
CONC__LIB void conc__abandon_but(conc_op *ops, size_t n, size_t winner);
/* Arms them for `waiter`, whose `claimed` is 0; returns how many are armed: the next one, if it is fewer than n, need not
 * wait. `*until` becomes the earliest of it and the ops' own points in time. */
CONC__LIB size_t conc__arm_all(conc_op *ops, size_t n, conc_waiter *waiter, int64_t *until);
CONC__LIB void conc__disarm_all(conc_op *ops, size_t n);
/* Whether somebody else has claimed the waiter, whose wake therefore comes: an op can claim its own waiter only in its arm(),
 * which then is not armed. */
CONC__LIB bool conc__was_claimed(uint32_t ticket, size_t armed);
/* Enters a node for each token of the chain (at most CONC_CANCEL_DEPTH); false: one has fired. `*count`: how many nodes were
 * entered; conc_waiters_disarm() is for each. */
CONC__LIB bool conc__tokens_arm(conc_cancel *token, conc_node *nodes, size_t *count, conc_waiter *waiter);
/* How long the chain is. */
CONC__LIB size_t conc__tokens_count(const conc_cancel *token);
/* conc_wait()'s answer where the deadline was CONC_NOW and `op` has to wait. */
CONC__LIB conc_result conc__op_busy(const conc_op *op);

/* ---- wait: ops that wait for descriptors ---------------------------------------------------------------
 * Such an op's class has conc__polled_arm() for its arm, and its word says for what it waits: a descriptor; a side of it, 0
 * for reading or 1 for writing; and the socket's number, which no other socket has (0: it is no conc_socket).
 * A thread then sleeps in conc__port_poll(), a coroutine's loop in its poller. All stand in the table under
 * conc__polled_key() as well, so that whoever closes the descriptor can wake them. Where there is a number, the op's
 * object begins with an atomic uint32_t that is not 0 once it is closed. */
#define CONC__POLLED(fd, side, number) ((uint64_t)(number) << 32 | (uint32_t)((uint32_t)(fd) << 1 | (uint32_t)(side)))
#define conc__polled_fd(word) ((intptr_t)((uint32_t)(word) >> 1))
#define conc__polled_side(word) ((unsigned)(word)&1u)
#define conc__polled_number(word) ((uint32_t)((word) >> 32))
#define conc__polled_want(word) (conc__polled_side(word) != 0 ? CONC__PORT_WRITE : CONC__PORT_READ)
/* No object's address: those are multiples of 4, or one more. */
#define conc__polled_key(fd, side) ((const void *)((uintptr_t)(fd)*8u + (uintptr_t)(side)*4u + 3u))
CONC__LIB bool conc__polled_arm(conc_op *op, conc_node *node);
CONC__LIB bool conc__is_polled(const conc_op *op);
/* conc_wait() on an op in place; and the same without the token, for waits that may not fail half way. */
CONC__LIB conc_result conc__wait_op(conc_op *op, conc_deadline deadline);
CONC__LIB conc_result conc__wait_uncanceled(conc_op *op, conc_deadline deadline);
/* Either, for locks, which have spun for a while before; later spins are short. */
CONC__LIB conc_result conc__wait_spun(conc_op *op, conc_deadline deadline, bool cancelable);
/* One step of the spin before a sleep: `pauses` times a pause, each twice as long as the one before, then offers of the
 * processor. False: enough. Look after each. Long pauses find soon what comes soon; a contended lock goes faster if those who
 * want it leave its cache line alone, and the processor's offer does that best. */
CONC__LIB bool conc__spin(unsigned step, unsigned pauses);
#define CONC__SPIN_LONG 6
#define CONC__SPIN_SHORT 1

/* ---- thread: the end of the program ----------------------------------------------------------------------
 * `fn` is called at exit(), before it waits for the threads. One place for one user: the pools. */
CONC__LIB void conc__before_exit(void (*fn)(void));

/* ---- future: how it is completed, and who waits for what -------------------------------------------------- */

/* The bits of its state. */
#define CONC__BEGUN 1u     /* somebody has claimed it: runs it, or ends it */
#define CONC__ENDED 2u     /* publishes the code, the result and all that the task did */
#define CONC__WAITED 4u    /* somebody may stand in the table */
#define CONC__LOOKED 8u    /* its result has been seen, or a callback will */
#define CONC__NOTED 16u    /* it has notes */
#define CONC__ELSEWHERE 32u /* the pool counts it among what runs outside of its threads */

/* Who is to be called at its end. */
typedef struct conc__note {
    struct conc__note *next;
    void (*fn)(conc_future *f, void *arg); /* f NULL: it goes without having ended; not for those that are */
    void *arg;
    bool allocated;
} conc__note;

typedef struct conc__future_class {
    bool (*help)(conc_future *f);      /* runs it here if it is still to begin and the caller may do that; false: it has not */
    void (*canceled)(conc_future *f);  /* it was claimed, to be canceled, before it began */
    void (*ended)(conc_future *f, uint32_t state); /* it has ended; `state` was its state before. May be NULL */
} conc__future_class;

struct conc_future {
    uint32_t state;     /* atomic: the bits above */
    uint32_t users;     /* atomic: references */
    const conc__future_class *cls; /* NULL: a user's own. Constant, as is all up to the token */
    conc_fn fn;
    void *arg;
    conc_pool *pool;
    uint32_t generation;
    bool helped;        /* by every waiter */
    conc_cancel token;  /* fired by conc_future_cancel() */
    int code;           /* written by who has claimed it, published by CONC__ENDED; as are the next two */
    conc_result result;
    char *detail;
    conc__lock lock;    /* guards the next three */
    bool notes_over;    /* all have been called */
    conc__note *notes, **notes_end;
    struct conc__schedule *schedule; /* NULL: it has none. The pool's */
    conc_future *next;  /* in the pool's list of what is due; guarded by the pool's lock */
};

CONC__LIB conc_future *conc__future_new(const conc__future_class *cls, conc_pool *pool, conc_fn fn, void *arg);
/* Makes it the caller's to run or to end: true for one caller. */
CONC__LIB bool conc__future_claim(conc_future *f);
/* Ends one that the caller has claimed, and calls whoever waits. The caller has a reference. `detail` is copied; NULL: none. */
CONC__LIB void conc__future_end(conc_future *f, conc_result r, int code, const char *detail);
CONC__LIB bool conc__future_is_ended(const conc_future *f);
/* Enters a note, which lives until it has been called; false: it has ended, and the note has not been and will not be called. */
CONC__LIB bool conc__future_note(conc_future *f, conc__note *note);

/* A task that runs in a thread: on that thread's stack. All constant while it runs. */
typedef struct conc__running {
    const struct conc__running *below; /* the one that the thread was in before */
    const struct conc__running *up;    /* of a job that another thread forked: what that one was in. It stays, as it has to join */
    const void *what;                  /* what has ended when it returns: a future, a team, a job; NULL: nobody can wait for it */
    conc_pool *pool;                   /* whose it is; NULL: the same as before */
} conc__running;
/* A thread that sleeps in a task until `awaits` has ended, with no deadline. */
typedef struct conc__blocked {
    struct conc__blocked *next, **link;
    const conc__running *running;
    const void *awaits;
    bool listed; /* the thread's own */
    bool seen;
} conc__blocked;
/* Enters it in the list; false, and it is not: what is awaited waits, in the end, for the caller. `listed` false: only looks. */
CONC__LIB bool conc__blocked_enter(conc__blocked *b, const conc__running *running, const void *awaits, bool listed);
CONC__LIB void conc__blocked_leave(conc__blocked *b);

/* ---- pool ---------------------------------------------------------------------------------------------------- */

#if !defined(CONC__JOBS)
#define CONC__JOBS 2048 /* that one thread can have forked and not joined; below 2^16 */
#endif

/* What is in a pool's queue. */
typedef struct conc__item {
    conc_fn fn;
    void *arg;
} conc__item;

/* A member of a pool: one of its threads, or one that takes part for a while. Its memory stays until the pool's goes. */
typedef struct conc__worker {
    conc_pool *pool;     /* constant */
    struct conc__worker *next; /* among all of the pool; constant once it is there */
    uint32_t number;     /* constant */
    /* The thread's own: */
    uint32_t head;       /* where the next job goes; jobs from `split` on are its alone, */
    uint32_t split;      /* as of `open` */
    uint32_t first;      /* where the deque begins */
    bool forks;          /* it is counted in the pool's `forking`, */
    bool mates;          /* and in its `loose` */
    bool works;          /* a task of it forks: it is counted in the pool's `hands` for that */
    bool guest;          /* it takes part for a while */
    char pad0[CONC__CACHE_LINE];
    uint32_t open;       /* atomic: the jobs that others may take: from the lower half to before the upper half. Publishes them */
    uint32_t asked;      /* atomic: others want more of them. A hint */
    uint32_t fetched;    /* atomic: jobs that others have taken, and read, since the places were last used from 0 on */
    char pad1[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];
    conc_semaphore wake; /* one permit each time it is taken out of a list of sleepers by another */
    /* Guarded by the pool's lock: */
    struct conc__worker *idle_next, **idle_link; /* in a list of sleepers; link NULL: in none */
    bool helps;          /* the list is that of helpers */
    bool used;           /* somebody is it */
    bool comes;          /* it was woken for jobs, and is counted in the pool's `coming` */
    bool handed;         /* `item` has been handed to it: stored before `wake` is released */
    conc__item item;
    size_t completed;    /* atomic: tasks; written by the thread alone */
    char pad2[CONC__CACHE_LINE];
    conc_job *jobs[CONC__JOBS]; /* atomic each */
} conc__worker;

struct conc_pool {
    conc_pool_desc desc;   /* as it was made, defaults filled in; constant */
    char name[24];
    uint32_t generation;
    conc_queue *queue;     /* NULL: there is none */
    conc_queue *spill;     /* NULL: the queue is bounded. Else what finds no room in it, in order, guarded by `spill_lock` */
    conc_cancel token;     /* over all its tasks: fired by conc_pool_close_now() */
    uint32_t core, max;    /* atomic: written under the lock */
    uint32_t phase;        /* atomic: open, closed, closed at once; written under the lock */
    char pad0[CONC__CACHE_LINE];
    uint32_t threads;      /* atomic: written under the lock */
    uint32_t idle;         /* atomic: threads in the list of the idle; written under the lock. See pool.c */
    uint32_t helpers;      /* atomic: in the list of helpers; likewise */
    uint32_t searching;    /* atomic: threads that have no task, and look for one */
    uint32_t due;          /* atomic: the length of the list; written under the lock */
    uint32_t room_asleep;  /* atomic: somebody may wait for room under this address; cleared under its bucket's lock */
    uint32_t coming;       /* atomic: members that were woken for jobs, and have not looked yet */
    uint32_t hands;        /* atomic: members at work on jobs, but for helpers that sleep. Those that take part, threads that have taken a
                              job, and those whose task has forked */
    uint32_t loose;        /* atomic: members that have tasks of groups among their jobs, as far as they know */
    uint32_t processors;   /* constant */
    uint32_t no_more;      /* atomic: the last attempt to start a thread failed. A hint */
    uint32_t forking;      /* atomic: members that have jobs, as far as they know */
    char pad1[CONC__CACHE_LINE];
    size_t accepted;       /* atomic, as are the next four: counters */
    char pad2[CONC__CACHE_LINE];
    size_t canceled, returned, rejected;
    size_t stale;          /* in the queue, or due, and not to be run any more */
    size_t completed;      /* outside of its threads */
    size_t spilled;        /* atomic: how much is in `spill`, and in `front`; written under spill_lock */
    conc__lock spill_lock;
    bool has_front;        /* guarded by it, as is the next */
    conc__item front;      /* the first of the spilled */
    conc__lock lock;       /* guards all that follows */
    conc__worker *idles, *helping;
    void *workers;         /* atomic: all members there have ever been, newest first */
    uint32_t members;
    unsigned largest;
    double keep_alive;     /* seconds */
    size_t elsewhere;      /* what keeps the pool from its end beside its threads: tasks run by others, those who take part */
    size_t scheduled;
    struct conc__schedule *schedules;
    conc_future *due_first, **due_end;
    conc_event ended;
    uint32_t users;        /* the handle; and who closes it at exit() */
    conc_pool *next, **link; /* in the list of all pools; guarded by that list's lock */
};

/* For conc_dump(): calls visit() for each pool that has not been freed, nor closed by exit(). */
CONC__LIB void conc__pool_each(void (*visit)(conc_pool *pool, void *arg), void *arg);
/* What the fork and join part uses. */
CONC__LIB bool conc__pool_is_forked(const conc_pool *pool);
/* Applies the rules: CONC_OK, CONC_FULL, or another result as of conc_pool_run(). */
CONC__LIB conc_result conc__pool_place(conc_pool *pool, const conc__item *item, int priority);
CONC__LIB conc__worker *conc__pool_enter(conc_pool *pool, conc_result *r); /* takes part; NULL: *r says why not */
CONC__LIB void conc__pool_leave(conc__worker *w);
/* Wakes a member that sleeps: there are jobs. */
CONC__LIB void conc__pool_rouse_for_jobs(conc_pool *pool);
/* The caller may have been woken for jobs, or for what is due, and will not look for them. */
CONC__LIB void conc__pool_pass_on(conc_pool *pool);
/* Whether another member may work on jobs: there is a processor for it; or there are tasks of groups, each of which is to have a thread
 * as long as there is one. */
CONC__LIB bool conc__pool_lets_work(conc_pool *pool);
CONC__LIB void conc__hands_less(conc_pool *pool);
/* Whether any member has nothing to do, or is on its way, and may work. A hint. */
CONC__LIB bool conc__pool_is_hungry(conc_pool *pool);
/* In the list of helpers, and out of it, having taken the permit if another took it out. */
CONC__LIB void conc__pool_helper_in(conc__worker *w);
CONC__LIB void conc__pool_helper_out(conc__worker *w, bool permit_taken);
/* Gives back what a future has for its time; NULL is harmless. */
CONC__LIB void conc__schedule_free(struct conc__schedule *s);
/* Runs a task whose time has come, past the queue; false: there is none. */
CONC__LIB bool conc__due_run(conc_pool *pool);
/* Takes a job of another member, and runs it; false: there is none. */
CONC__LIB bool conc__steal_and_run(conc__worker *w);
/* Whether there may be jobs to take; asks for them. */
CONC__LIB bool conc__jobs_wanted(conc__worker *w);
/* Runs what is left of the member's own jobs. */
CONC__LIB void conc__jobs_finish(conc__worker *w);
/* Waits for `op`, which completes when `awaits` has ended: as a member of a pool, if the caller is one, running jobs meanwhile. */
CONC__LIB conc_result conc__await(conc_op *op, const void *awaits, conc_deadline deadline);
/* Tasks of the library's own, known by their functions: a team's, and an offloaded call; what is done instead of one that
 * will not run. */
CONC__LIB int conc__team_task(void *team);
CONC__LIB void conc__team_drop(void *team);
CONC__LIB int conc__offload_task(void *job);
CONC__LIB void conc__offload_drop(void *job);

#if defined(CONC_SIM)
/* ---- what a simulation needs of the modules ------------------------------------------------------------
 * Every module's own state made new, as in a forked child; the ids begin anew at `first_id`; returns the next one that
 * would have been given. */
CONC__LIB uint32_t conc__world_new(uint32_t first_id);
/* What conc_debug_name() called the object, or NULL. */
CONC__LIB const char *conc__debug_name_of(const void *object);
/* Whether the registry knows of no thread but the calling one. */
CONC__LIB bool conc__registry_is_alone(void);
/* Ends the service thread of the timers, and gives back its memory, if it runs. */
CONC__LIB void conc__timers_end(void);
/* Ends the threads of conc_op_offload(), if there are any. */
CONC__LIB void conc__offload_end_all(void);
#endif

/* ---- loop: the wheel of its points in time --------------------------------------------------------------
 * See wheel.c. */
#define CONC__WHEEL_LEVELS 8 /* of 6 bits: 48 bits of ticks of 2^16 ns are all there are */
typedef struct conc__wheel_list {
    struct conc__wheel_list *next, *prev;
} conc__wheel_list;
typedef struct conc__wheel_node {
    conc__wheel_list list; /* prev is NULL: in none */
    int64_t due;
} conc__wheel_node;
typedef struct conc__wheel {
    uint64_t now; /* the tick up to which all have been taken out */
    size_t count;
    conc__wheel_list due;
    uint64_t used[CONC__WHEEL_LEVELS]; /* a bit for each slot that may have entries */
    conc__wheel_list slots[CONC__WHEEL_LEVELS][64];
} conc__wheel;
CONC__LIB void conc__wheel_begin(conc__wheel *w, int64_t now);
/* `node` is in no list. */
CONC__LIB void conc__wheel_add(conc__wheel *w, conc__wheel_node *node, int64_t due);
/* If it is in a list. */
CONC__LIB void conc__wheel_remove(conc__wheel *w, conc__wheel_node *node);
/* When to call conc__wheel_expire() next: a time at which something may be due. INT64_MIN: at once; INT64_MAX: never. */
CONC__LIB int64_t conc__wheel_next(conc__wheel *w);
/* Takes out one whose time has come; NULL: there is none. */
CONC__LIB conc__wheel_node *conc__wheel_expire(conc__wheel *w, int64_t now);

/* An address on the calling function's stack. */
#if CONC_CC_GNU
#define conc__stack_here() ((uintptr_t)__builtin_frame_address(0))
#else
static __inline uintptr_t conc__stack_here(void) {
    volatile char here = 0;
    return (uintptr_t)&here + (uintptr_t)here;
}
#endif

/* ---- loop: what its other files use of it ------------------------------------------------------------------ */

/* What is in a loop's inbox beside tasks. */
typedef struct conc__mail {
    struct conc__mail *next;
    void (*deliver)(struct conc__mail *mail, conc_loop *loop); /* in the loop's thread; the mail is its own from here on */
} conc__mail;
CONC__LIB void conc__loop_send(conc_loop *loop, conc__mail *mail);

/* What few tasks have: hangs on a task's first frame. */
typedef struct conc__task_extra {
    const char *name;
    conc_cancel *cancel;
    conc_group *group;
    conc_task *group_next, **group_link; /* the members of its group; guarded by the group's lock */
    int64_t start;
    size_t token_count;
    conc_node tokens[1]; /* one for each token of the chain; armed while it waits */
} conc__task_extra;
CONC__LIB conc__task_extra *conc__task_extra_of(conc_task *task);
/* Next in a list that whoever calls has to itself: a task that was admitted to no list of its loop's. */
CONC__LIB conc_task **conc__task_next(conc_task *task);
CONC__LIB conc_loop *conc__task_loop(const conc_task *task);
/* A task that may run now, or when its start has come: in the loop's thread. */
CONC__LIB void conc__task_begins(conc_task *task);
/* Runs the loop in the calling thread until op completes, if nobody runs it; else just waits. */
CONC__LIB conc_result conc__loop_wait(conc_loop *loop, conc_op op, conc_deadline deadline);
CONC__LIB bool conc__loop_is_forked(const conc_loop *loop);

/* Groups: whether the task may enter (CONC_OK, CONC_CANCELED, CONC_NO_MEMORY); it enters, and does not fail; it may run now
 * (else it has been put aside until there is room); it has ended. */
CONC__LIB conc_result conc__group_check(conc_group *group);
CONC__LIB void conc__group_forgo(conc_group *group); /* after a check: it does not enter after all */
CONC__LIB conc_loop *conc__group_loop(const conc_group *group);
CONC__LIB void conc__group_enter(conc_group *group, conc_task *task);
CONC__LIB bool conc__group_admit(conc_group *group, conc_task *task);
CONC__LIB void conc__group_leave(conc_group *group, conc_task *task, int code);

/* For an op's arm(): queues fn on a copy of the `size` bytes at op->data and turns the op into one that waits for it. */
CONC__LIB bool conc__offload_arm_new(conc_op *op, conc_node *node, conc_fn fn, size_t size,
                                     conc_result (*finish)(void *arg));

/* Who looks whether a loop stands still; see report.c. */
typedef struct conc__stall conc__stall;
CONC__LIB conc__stall *conc__stall_new(conc_loop *loop, double seconds);
CONC__LIB void conc__stall_free(conc__stall *stall);
CONC__LIB size_t conc__loop_turns(const conc_loop *loop);

/* For conc_dump(): calls visit() for every loop, none of which goes meanwhile; a loop's own lines, in its thread, or while it
 * is not running; whether it is, and where it was last seen. */
CONC__LIB void conc__loops_begin(void);
CONC__LIB void conc__loop_each(void (*visit)(conc_loop *loop, void *arg), void *arg);
CONC__LIB void conc__loop_describe(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg);
CONC__LIB bool conc__loop_describe_if_idle(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg);
CONC__LIB bool conc__loop_where(const conc_loop *loop, char *text, size_t size);

/* Calls visit() for each thread that the registry knows, which stays meanwhile, with its record if that can be read. */
CONC__LIB void conc__agent_each(void (*visit)(const conc_thread *t, const conc__agent *agent, void *arg), void *arg);

/* Whether an op is a point in time, conc_op_until() and its family. */
CONC__LIB bool conc__op_is_until(const conc_op *op);

/* For edge-triggered pollers: false: the loop that attempts this op knows that there is nothing; and: an attempt found
 * nothing, or has taken all there was. */
CONC__LIB bool conc__polled_may_be_ready(uint64_t word);
CONC__LIB void conc__polled_drained(uint64_t word);

/* ---- sync: what debug mode follows ------------------------------------------------------------------ */
#if defined(CONC_DEBUG)
CONC__LIB void conc__debug_locking(const void *lock, const char *file, int line); /* before it waits */
CONC__LIB void conc__debug_locked(const void *lock, const char *file, int line);
CONC__LIB void conc__debug_unlocked(const void *lock);
CONC__LIB void conc__debug_destroyed(const void *lock);
CONC__LIB void conc__debug_misuse(const void *lock, conc_result r, const char *text, const char *file, int line);
#endif

#endif

/* ==== end src/internal.h ==== */

/* ==== begin src/core.c ==== */

/* ============================================================================================
 * core: see core.h, and internal.h for what the other modules use.
 * ========================================================================================== */

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- results -------------------------------------------------------------------------------- */

const char *conc_strerror(conc_result r) {
    switch ((int)r) {
#define CONC__TEXT(name, value, text)                                                              \
    case value: return text;
        CONC_RESULTS(CONC__TEXT)
#undef CONC__TEXT
    default: return "unknown result";
    }
}

const char *conc_error_detail(void) {
    return conc__self()->detail;
}

const char *conc_explain(conc_result r) {
    const conc__agent *me = conc__self();
    bool ordinary = r == CONC_TIMEOUT || r == CONC_CLOSED || r == CONC_CANCELED || r == CONC_FULL || r == CONC_EMPTY ||
                    r == CONC_BUSY; /* these mostly come without a sentence: one that is there is an older call's */
    return !ordinary && me->error == r && me->detail[0] != '\0' ? me->detail : conc_strerror(r);
}

conc_result conc_error_result(void) {
    return conc__self()->error;
}

conc_result conc__fail(conc_result r, const char *format, ...) {
    conc__agent *me = conc__self();
    va_list args;
    va_start(args, format);
    (void)vsnprintf(me->detail, sizeof me->detail, format, args);
    va_end(args);
    me->error = r;
    return r;
}

conc_result conc__fail_system(conc_result r, int error, const char *what) {
    char text[128];
    return conc__fail(r, "%s: %s", what, conc__port_error_text(error, text, sizeof text));
}

/* ---- the error hook --------------------------------------------------------------------------- */

static conc_error_fn conc__hook;     /* both set by conc_set_error_hook(), before threads start */
static void *conc__hook_user;

void conc_set_error_hook(conc_error_fn fn, void *user) {
    conc__hook = fn;
    conc__hook_user = user;
}

const char *conc__self_name(void) {
    conc__agent *me = conc__self();
    if (me->name != NULL) return me->name;
    (void)snprintf(me->number, sizeof me->number, "thread %u", (unsigned)((me->task != NULL ? me->host : me->owner) >> 2));
    return me->number;
}

void conc__report(conc_result r, int code, const char *thread, const char *format, ...) {
    char text[720];
    conc_error e;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    e.result = r;
    e.code = code;
    e.thread = thread != NULL ? thread : conc__self_name();
    e.text = text;
#if defined(CONC_SIM)
    if (conc__sim_is_here() && !conc__sim_takes_reports()) conc__sim_stop(CONC_SIM_REPORT, "in %s: %s", e.thread, text);
    if (conc__sim_is_here() && conc__hook == NULL) return;
#endif
    if (conc__hook != NULL) {
        conc__hook(&e, conc__hook_user);
    } else {
        fprintf(stderr, "conc: in %s: %s\n", e.thread, text);
    }
}

/* ---- time --------------------------------------------------------------------------------------- */

int64_t conc_clock_ns(void) {
    return conc__port_clock_ns();
}

double conc_clock(void) {
    return (double)conc__port_clock_ns() * 1e-9;
}

conc_deadline conc_after(double seconds) {
    int64_t now = conc__port_clock_ns();
    double ns = seconds * 1e9;
    if (!(ns > 0)) return conc_deadline_at(now);            /* NaN too */
    if (ns >= 9.2e18 - (double)now) return CONC_FOREVER;    /* INT64_MAX is 9.22e18 */
    return conc_deadline_at(now + (int64_t)ns);
}

bool conc_deadline_passed(conc_deadline d) {
    return d.ns != INT64_MAX && (d.ns == INT64_MIN || conc__port_clock_ns() >= d.ns);
}

double conc_deadline_left(conc_deadline d) {
    int64_t now;
    if (d.ns == INT64_MAX) return HUGE_VAL;
    now = conc__port_clock_ns();
    return d.ns <= now ? 0.0 : (double)(d.ns - now) * 1e-9;
}

unsigned conc_cpu_count(void) {
    return conc__port_cpu_count();
}

/* ---- memory --------------------------------------------------------------------------------------- */

static bool conc__fits(size_t count, size_t size) {
    return size == 0 || count <= SIZE_MAX / size;
}

void *conc__alloc(size_t count, size_t size, const char *what) {
    void *p = conc__fits(count, size) && CONC__FAULT("malloc", ENOMEM) == 0 ? CONC__MALLOC(count * size) : NULL;
    if (p != NULL) {
        memset(p, 0, count * size);
    } else {
        (void)conc__fail(CONC_NO_MEMORY, "no memory for %s (%zu times %zu bytes)", what, count, size);
    }
    return p;
}

void *conc__realloc(void *p, size_t count, size_t size, const char *what) {
    void *bigger = conc__fits(count, size) && CONC__FAULT("realloc", ENOMEM) == 0 ? CONC__REALLOC(p, count * size) : NULL;
    if (bigger == NULL) {
        (void)conc__fail(CONC_NO_MEMORY, "no memory for %s (%zu times %zu bytes)", what, count, size);
    }
    return bigger;
}

void conc__free(void *p) {
    CONC__FREE(p);
}

/* ---- fork ------------------------------------------------------------------------------------------- */

static uint32_t conc__next_id = 1;       /* atomic; publishes nothing */
static uint32_t conc__ids_before_fork;   /* written in a forked child while it has one thread */
static uint32_t conc__forks;             /* likewise */
static uint32_t conc__survivor;          /* likewise: the owner that the forking thread writes; it lives on here */
static uint32_t conc__fork_watched;      /* atomic: whether conc__forked() has been registered */
static void *conc__resets[CONC__RESETS]; /* atomic: functions, or NULL */

static void conc__reset_all(void) {
    uint32_t i;
    for (i = 0; i < CONC__RESETS; i++) {
        void *p = conc__peekp(&conc__resets[i]);
        void (*reset)(void);
        memcpy(&reset, &p, sizeof reset); /* ISO C has no cast between the two */
        if (p != NULL) reset();
    }
}

static void conc__signal_end(conc__agent *agent) {
    if (agent->has_signal) conc__port_signal_close(&agent->signal);
    agent->has_signal = false;
}

static void conc__forked(void) {
    conc__forks++;
    conc__survivor = conc__self()->owner;
    conc__signal_end(conc__self()); /* the parent has it too */
    conc__self()->loop = NULL;      /* and that is the parent's */
    conc__self()->task = NULL;
    conc__ids_before_fork = conc__load32(&conc__next_id, CONC__RELAXED) - 1;
    conc__reset_all();
}

/* Every caller stores the same, so it does not matter which of them a fork() finds on its way. */
void conc__on_fork(conc__reset_place place, void (*reset)(void)) {
    void *p;
    if (CONC__LIKELY(conc__peekp(&conc__resets[place]) != NULL)) return;
    (void)conc__self(); /* core watches for fork() from here on */
    memcpy(&p, &reset, sizeof p);
    conc__storep(&conc__resets[place], p, CONC__RELAXED);
}

bool conc__is_gone(uint32_t owner) {
    return conc__forks != 0 && owner >> 2 <= conc__ids_before_fork && owner != conc__survivor;
}

uint32_t conc__fork_generation(void) {
    return conc__forks;
}

/* ---- the agent ---------------------------------------------------------------------------------------- */

#if !CONC__HAS_TLS
/* Where records come from when there is no memory: threads that meet here share one, with the identity of
 * the first; locks still exclude by their word, only misuse between these threads goes untold. */
static conc__agent conc__agent_emergency;
#endif

static void conc__agent_end(void *value) {
    conc__agent *agent = (conc__agent *)value;
#if !CONC__HAS_TLS /* the system has emptied the key: what is called now is still done by this agent */
    (void)conc__port_key_set(agent, conc__agent_end);
#endif
    if (agent->ended != NULL) agent->ended(agent);
    conc__signal_end(agent);
#if !CONC__HAS_TLS
    (void)conc__port_key_set(NULL, conc__agent_end);
    if (agent != &conc__agent_emergency) conc__free(agent);
#endif
}

#if defined(CONC_SIM)
uint32_t conc__world_new(uint32_t first_id) {
    uint32_t next = conc__next_id;
    memset(&conc__agent_emergency, 0, sizeof conc__agent_emergency);
    conc__next_id = first_id;
    conc__reset_all();
    return next;
}
#endif

bool conc__agent_watch_end(conc__agent *agent, void (*ended)(conc__agent *agent)) {
    agent->ended = ended;
    return conc__port_key_get() == agent || conc__port_key_set(agent, conc__agent_end);
}

uint32_t conc__new_owner(void) {
    uint32_t owner;
    do {
        owner = conc__add32(&conc__next_id, 1, CONC__RELAXED) << 2;
    } while (owner == 0);
    return owner;
}

static void conc__agent_begin(conc__agent *agent) {
    if (conc__peek32(&conc__fork_watched) == 0) { /* two at once may both do it: to be told twice does no harm */
        (void)conc__port_on_fork(conc__forked);   /* if this fails, fork() is only not noticed */
        conc__store32(&conc__fork_watched, 1, CONC__RELAXED);
    }
    agent->owner = conc__new_owner();
}

#if CONC__HAS_TLS

#if defined(CONC__SPLIT)
CONC__TLS conc__agent conc__agent_here; /* in the single file, internal.h has defined it */
#endif

conc__agent *conc__self(void) {
    conc__agent *me = &conc__agent_here;
    if (CONC__UNLIKELY(me->owner == 0)) conc__agent_begin(me);
    return me;
}

#else

conc__agent *conc__self(void) {
    conc__agent *me = (conc__agent *)conc__port_key_get();
    if (CONC__UNLIKELY(me == NULL)) {
        me = CONC__FAULT("malloc: agent", ENOMEM) == 0 ? (conc__agent *)CONC__MALLOC(sizeof *me) : NULL;
        if (me != NULL) {
            memset(me, 0, sizeof *me);
            if (!conc__port_key_set(me, conc__agent_end)) {
                conc__free(me);
                me = NULL;
            }
        }
        if (me == NULL) {
            me = &conc__agent_emergency;
            (void)conc__port_key_set(me, conc__agent_end); /* from now on: an identity must not change */
        }
    }
    if (CONC__UNLIKELY(me->owner == 0)) conc__agent_begin(me); /* new, or acts as a task that has none yet */
    return me;
}

#endif

/* ==== end src/core.c ==== */

/* ==== begin src/fault.c ==== */

/* ============================================================================================
 * fault: for tests only: the calls that can fail, made to fail (CONC_FAULTS), and delays where they hurt most
 * (CONC__DELAYS). See port.h.
 * ========================================================================================== */

#if defined(CONC_FAULTS)

#include <stdarg.h>

#define CONC__FAULTS_KEPT 256

/* All atomic; they publish nothing. */
static uint32_t conc__fault_nth, conc__fault_which, conc__fault_sticky; /* the plan */
static uint32_t conc__fault_asked; /* how often a site was passed since it was made */
static uint32_t conc__fault_count; /* how many faults were made, since the program began */
static struct {
    const char *site, *text;
    uint32_t which;
} conc__faults[CONC__FAULTS_KEPT];  /* the first of them */

void conc__fault_plan(uint32_t nth, uint32_t which, bool sticky) {
    conc__store32(&conc__fault_nth, nth, CONC__RELAXED);
    conc__store32(&conc__fault_which, which, CONC__RELAXED);
    conc__store32(&conc__fault_sticky, sticky, CONC__RELAXED);
    conc__store32(&conc__fault_asked, 0, CONC__RELAXED);
}

uint32_t conc__fault_passed(void) {
    return conc__load32(&conc__fault_asked, CONC__RELAXED);
}

bool conc__fault_made(uint32_t i, const char **site, char *error, size_t size) {
    const char *name;
    uint32_t k;
    size_t n = 0;
    if (i >= conc__load32(&conc__fault_count, CONC__RELAXED) || i >= CONC__FAULTS_KEPT) return false;
    *site = conc__faults[i].site;
    name = strrchr(conc__faults[i].text, '"') + 1; /* ", EAGAIN, ENOMEM" */
    for (k = 0; k < conc__faults[i].which; k++) name = strchr(name + 1, ',');
    for (name += 2; n + 1 < size && name[n] != ',' && name[n] != '\0'; n++) error[n] = name[n];
    error[n] = '\0';
    return true;
}

int conc__fault(const char *text, const char *site, ...) {
    uint32_t n = conc__add32(&conc__fault_asked, 1, CONC__RELAXED) + 1, count = 0, i;
    uint32_t nth = conc__peek32(&conc__fault_nth), which = conc__peek32(&conc__fault_which);
    int errors[8], error;
    va_list list;
    if (nth == 0 || n < nth || (n > nth && conc__peek32(&conc__fault_sticky) == 0)) return 0;
    va_start(list, site);
    while ((error = va_arg(list, int)) != 0) errors[count++] = error;
    va_end(list);
    error = errors[which % count];
    i = conc__add32(&conc__fault_count, 1, CONC__RELAXED);
    if (i < CONC__FAULTS_KEPT) {
        conc__faults[i].site = site;
        conc__faults[i].text = text;
        conc__faults[i].which = which % count;
    }
    return error;
}

#endif

#if defined(CONC__DELAYS) && CONC__HAS_TLS

/* Mostly nothing; one time in 64 the processor is offered, one time in 1024 some microseconds are spent. */
void conc__delay(void) {
    static CONC__TLS uint32_t random;
    static uint32_t threads; /* atomic; without a delay, which would come back here */
    uint32_t r = random, i;
    if (r == 0) r = 2463534242u + 0x9E3779B9u * __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);
    r ^= r << 13;
    r ^= r >> 17;
    r ^= r << 5;
    random = r != 0 ? r : 1;
    if ((r & 63u) == 0) conc__port_yield();
    for (i = (r & 1023u) == 1 ? r >> 22 : 0; i > 0; i--) conc__port_pause();
}

#endif

/* ==== end src/fault.c ==== */

/* ==== begin src/port_posix.c ==== */

/* ============================================================================================
 * port, POSIX: Linux by futex; every other Unix, or Linux with CONC_PORT_PORTABLE, by pthreads alone.
 *
 * Written against what <pthread.h> declares in strict C99: whatever feature macros the user's file has or
 * has not set, the names hidden by them are declared here, under names of our own (which is also what
 * keeps glibc's `leaf` away, see port.h).
 * ========================================================================================== */

#if !CONC_OS_WINDOWS

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#if CONC_OS_LINUX
#include <sys/syscall.h>
#if defined(CONC__TEST_LEAFY)
#include <sched.h>
#include <unistd.h>
#define conc__syscall syscall
#else
#if defined(__cplusplus)
extern "C"
#endif
long conc__syscall(long number, ...) __asm__("syscall");
#endif
#else
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>
#endif

#if CONC_OS_LINUX && !CONC_PORT_PORTABLE
#define CONC__WAIT_FUTEX 1
#define CONC__WAIT_OS_SYNC 0
#define CONC__WAIT_PTHREAD 0
#elif CONC_OS_MACOS && !CONC_PORT_PORTABLE && defined(__MAC_OS_X_VERSION_MIN_REQUIRED) &&           \
    defined(__MAC_14_4) && __MAC_OS_X_VERSION_MIN_REQUIRED >= 140400
#define CONC__WAIT_FUTEX 0
#define CONC__WAIT_OS_SYNC 1
#define CONC__WAIT_PTHREAD 0
#include <os/os_sync_wait_on_address.h>
#else
#define CONC__WAIT_FUTEX 0
#define CONC__WAIT_OS_SYNC 0
#define CONC__WAIT_PTHREAD 1
#endif

/* ---- time ------------------------------------------------------------------------------------- */

#if CONC_OS_LINUX
/* The timespec of the C library's clock_gettime symbol and of the old system calls: two longs, whatever _TIME_BITS says;
 * but 64 bits each where the system never had it otherwise. */
#if !defined(SYS_futex) || (defined(__x86_64__) && defined(__ILP32__))
typedef struct conc__timespec {
    int64_t tv_sec, tv_nsec;
} conc__timespec;
#else
typedef struct conc__timespec {
    long tv_sec, tv_nsec;
} conc__timespec;
#endif
#define CONC__CLOCK_MONOTONIC 1
#if defined(__cplusplus)
extern "C"
#endif
int conc__clock_gettime(int clock, conc__timespec *t) __asm__("clock_gettime");

int64_t CONC__PORT(clock_ns)(void) {
    conc__timespec t;
#if defined(CONC__TEST_LEAFY)
    struct timespec leafy;
    (void)clock_gettime(CLOCK_MONOTONIC, &leafy);
    t.tv_sec = leafy.tv_sec;
    t.tv_nsec = leafy.tv_nsec;
#else
    (void)conc__clock_gettime(CONC__CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#else
int64_t CONC__PORT(clock_ns)(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
#endif

/* Later than a 32-bit time_t can say, 68 years after the machine was started: as good as never. */
#define CONC__PORT_NEVER ((int64_t)INT32_MAX * 1000000000)

/* ---- wait on address: Linux -------------------------------------------------------------------- */

#if CONC__WAIT_FUTEX

#if defined(SYS_futex)
#define CONC__SYS_FUTEX SYS_futex
#else /* 32-bit systems that were made after it */
#define CONC__SYS_FUTEX SYS_futex_time64
#endif
#define CONC__FUTEX_WAKE_PRIVATE (1 | 128)
#define CONC__FUTEX_WAIT_BITSET_PRIVATE (9 | 128) /* its time-out is absolute, on the monotonic clock */
#define CONC__FUTEX_ANY 0xffffffffu

/* The kernel compares and sleeps under the lock of the address's own queue, and a wake takes the same lock:
 * a wake after *a was changed either finds the sleeper or the sleeper finds the change (futex(2)). */
bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    conc__timespec t;
    bool passed = false;
    int saved = errno; /* the caller's errno is not ours to change */
    if (CONC__FAULT("futex: wait", EINTR, EAGAIN) != 0) return false;
    if (deadline_ns >= CONC__PORT_NEVER) {
        (void)conc__syscall(CONC__SYS_FUTEX, a, CONC__FUTEX_WAIT_BITSET_PRIVATE, expected, NULL, NULL,
                            CONC__FUTEX_ANY);
    } else {
        if (deadline_ns < 0) deadline_ns = 0;
        t.tv_sec = (long)(deadline_ns / 1000000000);
        t.tv_nsec = (long)(deadline_ns % 1000000000);
        passed = conc__syscall(CONC__SYS_FUTEX, a, CONC__FUTEX_WAIT_BITSET_PRIVATE, expected, &t, NULL,
                               CONC__FUTEX_ANY) != 0 &&
                 errno == ETIMEDOUT;
    }
    errno = saved;
    return passed;
}

static void conc__futex_wake(uint32_t *a, int n) {
    int saved = errno;
    (void)conc__syscall(CONC__SYS_FUTEX, a, CONC__FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
    errno = saved;
}

void CONC__PORT(wake_one)(uint32_t *a) {
    conc__futex_wake(a, 1);
}

void CONC__PORT(wake_all)(uint32_t *a) {
    conc__futex_wake(a, INT32_MAX);
}

#endif

/* ---- wait on address: macOS 14.4 and later ------------------------------------------------------- */

#if CONC__WAIT_OS_SYNC

bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    int saved = errno;
    bool passed = false;
    if (deadline_ns >= CONC__PORT_NEVER) {
        (void)os_sync_wait_on_address(a, expected, 4, OS_SYNC_WAIT_ON_ADDRESS_NONE);
    } else {
        int64_t left = deadline_ns - conc__port_clock_ns();
        if (left > 0) {
            (void)os_sync_wait_on_address_with_timeout(a, expected, 4, OS_SYNC_WAIT_ON_ADDRESS_NONE,
                                                       OS_CLOCK_MACH_ABSOLUTE_TIME, (uint64_t)left);
        }
        passed = conc__port_clock_ns() >= deadline_ns;
    }
    errno = saved;
    return passed;
}

void CONC__PORT(wake_one)(uint32_t *a) {
    int saved = errno;
    (void)os_sync_wake_by_address_any(a, 4, OS_SYNC_WAKE_BY_ADDRESS_NONE);
    errno = saved;
}

void CONC__PORT(wake_all)(uint32_t *a) {
    int saved = errno;
    (void)os_sync_wake_by_address_all(a, 4, OS_SYNC_WAKE_BY_ADDRESS_NONE);
    errno = saved;
}

#endif

/* ---- wait on address: pthreads -------------------------------------------------------------------- */

#if CONC__WAIT_PTHREAD

#define CONC__PORT_ROOMS 128

/* The waiters of all addresses that hash to one room share its condition; all are woken and look again. */
static struct conc__port_room {
    pthread_mutex_t mutex; /* held to compare and sleep, and to wake: so no wake falls between the two */
    pthread_cond_t cond;
} conc__port_rooms[CONC__PORT_ROOMS];
static pthread_once_t conc__port_rooms_once = PTHREAD_ONCE_INIT;

#if CONC_OS_LINUX
#if defined(__cplusplus)
extern "C"
#endif
int conc__condattr_setclock(pthread_condattr_t *a, int clock) __asm__("pthread_condattr_setclock");
#endif

static void conc__port_rooms_make(void) {
    size_t i;
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
#if CONC_OS_LINUX
    (void)conc__condattr_setclock(&attr, CONC__CLOCK_MONOTONIC);
#elif !CONC_OS_MACOS
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    for (i = 0; i < CONC__PORT_ROOMS; i++) {
        (void)pthread_mutex_init(&conc__port_rooms[i].mutex, NULL);
        (void)pthread_cond_init(&conc__port_rooms[i].cond, &attr);
    }
    (void)pthread_condattr_destroy(&attr);
}

static void conc__port_rooms_begin(void) {
    conc__port_rooms_make();
    (void)conc__port_on_fork(conc__port_rooms_make); /* a room may have been locked by a thread now gone */
}

static struct conc__port_room *conc__port_room_of(const uint32_t *a) {
    (void)pthread_once(&conc__port_rooms_once, conc__port_rooms_begin);
    return &conc__port_rooms[((uintptr_t)a >> 2) * 0x9E3779B1u / 64 % CONC__PORT_ROOMS];
}

bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    struct conc__port_room *r = conc__port_room_of(a);
    int e = 0;
    (void)pthread_mutex_lock(&r->mutex);
    if (conc__load32(a, CONC__ACQUIRE) == expected && CONC__FAULT("pthread_cond_wait", EINTR) == 0) {
        if (deadline_ns >= CONC__PORT_NEVER) {
            (void)pthread_cond_wait(&r->cond, &r->mutex);
        } else {
            struct timespec t;
#if CONC_OS_MACOS /* has no monotonic conditions, but relative waits */
            int64_t ns = deadline_ns - conc__port_clock_ns();
            if (ns <= 0) {
                e = ETIMEDOUT;
            } else {
                t.tv_sec = (time_t)(ns / 1000000000);
                t.tv_nsec = (long)(ns % 1000000000);
                (void)pthread_cond_timedwait_relative_np(&r->cond, &r->mutex, &t);
                if (conc__port_clock_ns() >= deadline_ns) e = ETIMEDOUT;
            }
#else
            if (deadline_ns < 0) deadline_ns = 0;
            t.tv_sec = (time_t)(deadline_ns / 1000000000);
            t.tv_nsec = (long)(deadline_ns % 1000000000);
            e = pthread_cond_timedwait(&r->cond, &r->mutex, &t);
#endif
        }
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return e == ETIMEDOUT;
}

void CONC__PORT(wake_all)(uint32_t *a) {
    struct conc__port_room *r = conc__port_room_of(a);
    (void)pthread_mutex_lock(&r->mutex);
    (void)pthread_cond_broadcast(&r->cond);
    (void)pthread_mutex_unlock(&r->mutex);
}

void CONC__PORT(wake_one)(uint32_t *a) {
    conc__port_wake_all(a); /* which of the room's sleepers waits for `a` is not known */
}

#endif

/* ---- the heavy fence --------------------------------------------------------------------------- */

#if CONC_OS_LINUX && defined(SYS_membarrier) && !CONC_PORT_PORTABLE

#define CONC__MEMBARRIER_PRIVATE_EXPEDITED 8
#define CONC__MEMBARRIER_REGISTER 16

bool CONC__PORT(heavy_fence_ready)(void) {
    static uint32_t known; /* atomic: 0 not asked yet, 1 no, 2 yes */
    uint32_t k = conc__load32(&known, CONC__RELAXED);
    if (k == 0) {
        int saved = errno;
        k = CONC__FAULT("membarrier: register", ENOSYS, EPERM) == 0 &&
                    conc__syscall(SYS_membarrier, CONC__MEMBARRIER_REGISTER, 0) == 0
                ? 2
                : 1;
        conc__store32(&known, k, CONC__RELAXED);
        errno = saved;
    }
    return k == 2;
}

void CONC__PORT(heavy_fence)(void) {
    int saved = errno;
    if (CONC__FAULT("membarrier", EPERM) != 0 ||
        conc__syscall(SYS_membarrier, CONC__MEMBARRIER_PRIVATE_EXPEDITED, 0) != 0) {
        /* a forked child whose kernel does not inherit the registration */
        (void)conc__syscall(SYS_membarrier, CONC__MEMBARRIER_REGISTER, 0);
        (void)conc__syscall(SYS_membarrier, CONC__MEMBARRIER_PRIVATE_EXPEDITED, 0);
    }
    errno = saved;
}

#else

bool CONC__PORT(heavy_fence_ready)(void) {
    return false;
}

void CONC__PORT(heavy_fence)(void) {
}

#endif

/* ---- threads -------------------------------------------------------------------------------------- */

static void *conc__port_thread_main(void *p) {
    conc__port_thread *t = (conc__port_thread *)p;
    t->fn(t->arg); /* `t` may be gone after this */
    return NULL;
}

int CONC__PORT(thread_start)(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size) {
    pthread_attr_t attr;
    pthread_t handle;
    int e = CONC__FAULT("pthread_attr_init", ENOMEM);
    if (e == 0) e = pthread_attr_init(&attr);
    if (e != 0) return e;
    if (stack_size != 0) {
        const size_t page = 65536; /* a multiple of every page size in use */
        stack_size = stack_size > SIZE_MAX - page ? SIZE_MAX / page * page : (stack_size + page - 1) / page * page;
        /* The least that the system takes differs (128 KiB with glibc on aarch64) and its name is hidden in strict
         * C99: EINVAL says that it was more. */
        for (;;) {
            e = CONC__FAULT("pthread_attr_setstacksize", EINVAL);
            if (e == 0) e = pthread_attr_setstacksize(&attr, stack_size);
            if (e != EINVAL || stack_size >= 1048576) break;
            stack_size *= 2;
        }
    }
    t->fn = fn;
    t->arg = arg;
    if (e == 0) e = CONC__FAULT("pthread_create", EAGAIN, ENOMEM, EPERM);
    if (e == 0) e = pthread_create(&handle, &attr, conc__port_thread_main, t);
    if (e == 0) memcpy(t->handle, &handle, sizeof handle);
    (void)pthread_attr_destroy(&attr);
    return e;
}

void CONC__PORT(thread_join)(conc__port_thread *t) {
    pthread_t handle;
    memcpy(&handle, t->handle, sizeof handle);
    (void)pthread_join(handle, NULL);
}

void CONC__PORT(thread_detach)(conc__port_thread *t) {
    pthread_t handle;
    memcpy(&handle, t->handle, sizeof handle);
    (void)pthread_detach(handle);
}

void CONC__PORT(thread_set_name)(const char *name) {
#if CONC_OS_LINUX
    char cut[16]; /* TASK_COMM_LEN */
    size_t n = strlen(name);
    if (n > sizeof cut - 1) n = sizeof cut - 1;
    memcpy(cut, name, n);
    cut[n] = '\0';
    (void)conc__syscall(SYS_prctl, 15L /* PR_SET_NAME */, cut, 0L, 0L, 0L);
#elif CONC_OS_MACOS
    (void)pthread_setname_np(name);
#else
    (void)name;
#endif
}

void CONC__PORT(yield)(void) {
#if CONC_OS_LINUX
    (void)conc__syscall(SYS_sched_yield);
#else
    (void)sched_yield();
#endif
}

/* ---- the key -------------------------------------------------------------------------------------- */

static pthread_key_t conc__port_key;
static pthread_once_t conc__port_key_once = PTHREAD_ONCE_INIT;
static bool conc__port_key_made;                /* written under the once */
static void *conc__port_key_destroy;            /* atomic; every caller hands in the same function */

static void conc__port_key_end(void *value) {
    void (*destroy)(void *);
    void *p = conc__loadp(&conc__port_key_destroy, CONC__ACQUIRE);
    memcpy(&destroy, &p, sizeof destroy); /* ISO C has no cast between the two */
    destroy(value);
}

static void conc__port_key_make(void) {
    conc__port_key_made = CONC__FAULT("pthread_key_create", EAGAIN, ENOMEM) == 0 &&
                          pthread_key_create(&conc__port_key, conc__port_key_end) == 0;
}

void *CONC__PORT(key_get)(void) {
    (void)pthread_once(&conc__port_key_once, conc__port_key_make);
    return conc__port_key_made ? pthread_getspecific(conc__port_key) : NULL;
}

bool CONC__PORT(key_set)(void *value, void (*destroy)(void *)) {
    (void)pthread_once(&conc__port_key_once, conc__port_key_make);
    {
        void *p;
        memcpy(&p, &destroy, sizeof p);
        conc__storep(&conc__port_key_destroy, p, CONC__RELEASE);
    }
    /* (To take the value away again cannot fail.) */
    return conc__port_key_made && (value == NULL || CONC__FAULT("pthread_setspecific", ENOMEM) == 0) &&
           pthread_setspecific(conc__port_key, value) == 0;
}

/* ---- the process and the machine ---------------------------------------------------------------- */

#if CONC_OS_LINUX

static unsigned conc__affinity_count(void) {
    unsigned long mask[256]; /* 16,384 processors */
    long bytes = CONC__FAULT("sched_getaffinity", EINVAL) == 0
                     ? conc__syscall(SYS_sched_getaffinity, 0L, sizeof mask, mask)
                     : -1;
    unsigned n = 0;
    long i;
    for (i = 0; i < bytes / (long)sizeof mask[0]; i++) {
        unsigned long m;
        for (m = mask[i]; m != 0; m &= m - 1) n++;
    }
    return n;
}

/* The processors that the quota in one cgroup directory allows, rounded up; 0: none set. */
static unsigned conc__quota_in(const char *directory) {
    char path[600];
    long long quota = -1, period = 0;
    FILE *f;
    (void)snprintf(path, sizeof path, "%s/cpu.max", directory); /* version 2 */
    f = CONC__FAULT("fopen: quota", ENOENT, EMFILE) == 0 ? fopen(path, "r") : NULL;
    if (f != NULL) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = -1; /* "max 100000" */
        (void)fclose(f);
    } else { /* version 1 */
        (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
        f = fopen(path, "r");
        if (f == NULL) return 0;
        if (fscanf(f, "%lld", &quota) != 1) quota = -1;
        (void)fclose(f);
        (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
        f = fopen(path, "r");
        if (f == NULL) return 0;
        if (fscanf(f, "%lld", &period) != 1) period = 0;
        (void)fclose(f);
    }
    if (quota <= 0 || period <= 0) return 0;
    return (unsigned)((quota + period - 1) / period);
}

/* Whether `word` is one of the comma-separated words of `list`. */
static bool conc__list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    while (list != NULL) {
        if (strncmp(list, word, n) == 0 && (list[n] == ',' || list[n] == '\0')) return true;
        list = strchr(list, ',');
        if (list != NULL) list++;
    }
    return false;
}

/* The least quota of the group we are in and the groups above it. */
static unsigned conc__cgroup_count(void) {
    char line[512], directory[560];
    unsigned least = 0;
    FILE *f = CONC__FAULT("fopen: cgroup", ENOENT, EMFILE) == 0 ? fopen("/proc/self/cgroup", "r") : NULL;
    if (f == NULL) return 0;
    while (fgets(line, sizeof line, f) != NULL) { /* "0::/a/b" or "4:cpu,cpuacct:/a/b" */
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        const char *root;
        size_t root_length;
        if (path == NULL) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        controllers++;
        if (*controllers == '\0') {
            root = "/sys/fs/cgroup";
        } else if (conc__list_has(controllers, "cpu")) {
            root = "/sys/fs/cgroup/cpu";
        } else {
            continue;
        }
        root_length = strlen(root);
        (void)snprintf(directory, sizeof directory, "%s%s", root, path);
        for (;;) {
            unsigned n = conc__quota_in(directory);
            char *slash = strrchr(directory, '/');
            if (n != 0 && (least == 0 || n < least)) least = n;
            if (slash == NULL || slash < directory + root_length) break;
            *slash = '\0';
        }
    }
    (void)fclose(f);
    return least;
}

unsigned CONC__PORT(cpu_count)(void) {
    int saved = errno;
    unsigned n = conc__affinity_count(), quota = conc__cgroup_count();
    errno = saved;
    if (quota != 0 && quota < n) n = quota;
    return n != 0 ? n : 1;
}

#else

unsigned CONC__PORT(cpu_count)(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

#endif

int CONC__PORT(on_fork)(void (*child)(void)) {
    int e = CONC__FAULT("pthread_atfork", ENOMEM);
    return e != 0 ? e : pthread_atfork(NULL, NULL, child);
}

const char *CONC__PORT(error_text)(int error, char *buffer, size_t size) {
    /* strerror() and not strerror_r(), of which there are two; its race is for text only. */
    (void)snprintf(buffer, size, "%s", strerror(error));
    return buffer;
}

#endif /* !CONC_OS_WINDOWS */

/* ==== end src/port_posix.c ==== */

/* ==== begin src/port_win32.c ==== */

/* ============================================================================================
 * port, Windows: 8 and later, without a pthread library.
 *
 * What came after Windows 8, and what no import library has, is looked up when the program runs. The
 * functions leave the thread's GetLastError() as they found it. Link with `synchronization` (with mingw
 * -lsynchronization; the Microsoft compiler is told below).
 * ========================================================================================== */

#if CONC_OS_WINDOWS

#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

#if defined(_WIN32_WINNT) && _WIN32_WINNT < 0x0602
#error "conc.h: the implementation needs Windows 8: define _WIN32_WINNT as 0x0602 or more, before any include"
#endif

#if defined(__MINGW32__)
#include <float.h>
#endif
#include <stdio.h>

#if defined(_MSC_VER)
#pragma comment(lib, "synchronization")
#endif

/* A function of a system library that is always loaded; NULL on systems that have none of that name. The
 * caller casts it to what it is. */
typedef void (*conc__win_fn)(void);
static conc__win_fn conc__win_find(const WCHAR *library, const char *name) {
    HMODULE module = GetModuleHandleW(library);
    return module != NULL ? (conc__win_fn)GetProcAddress(module, name) : NULL;
}

/* ---- time ------------------------------------------------------------------------------------- */

/* The counter never goes back, and is the same for all processors. Whole seconds and the rest are converted
 * apart: the rest is below the frequency, so its product stays below 2^63 for every frequency up to 9 GHz
 * (those in use: 10 MHz, or the processor's own). Neither call can fail since Windows XP, and the
 * frequency is read from a page that every process has mapped: it costs less than guarding a copy. */
int64_t CONC__PORT(clock_ns)(void) {
    LARGE_INTEGER ticks, hz;
    (void)QueryPerformanceFrequency(&hz);
    (void)QueryPerformanceCounter(&ticks);
    return ticks.QuadPart / hz.QuadPart * 1000000000 + ticks.QuadPart % hz.QuadPart * 1000000000 / hz.QuadPart;
}

/* ---- wait on address --------------------------------------------------------------------------
 * Why no wake is lost: WaitOnAddress enters the thread in the process's table of waiters for the address and
 * compares *a after that, before it sleeps; a waker looks in the table after *a was changed. Either the
 * comparison sees the change, or the waker sees the waiter; a wake sent to a waiter that is not asleep yet makes
 * it not fall asleep. Both sides of this Dekker pair need a full fence between their two steps. The
 * system makes the waiter's; the waker's is made here, since *a may have been changed by a plain store, and
 * nothing promises that the system looks with more than a load. */

/* The longest time-out there is: one more millisecond would be INFINITE. */
#define CONC__WIN_MS_MAX ((DWORD)(INFINITE - 1))

/* Milliseconds that are not less than `ns` (over 0), or as many as one call can wait. */
static DWORD conc__win_ms(int64_t ns) {
    int64_t ms = ns / 1000000 + (ns % 1000000 != 0);
    return ms < (int64_t)CONC__WIN_MS_MAX ? (DWORD)ms : CONC__WIN_MS_MAX;
}

/* The system counts time-outs in ticks of its timer and may call one over a little before our clock agrees:
 * so it is our clock that decides, and what is left is waited for again. The loop goes round again only
 * after time has passed in the system. It ends: with the wake, the change or the deadline. */
bool CONC__PORT(wait)(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    DWORD saved = GetLastError();
    bool passed = false;
    for (;;) {
        DWORD ms = INFINITE;
        if (deadline_ns != INT64_MAX) {
            int64_t now = conc__port_clock_ns(); /* is not negative: the difference cannot overflow */
            passed = deadline_ns <= now;
            if (passed) break;
            ms = conc__win_ms(deadline_ns - now);
        }
        if (WaitOnAddress(a, &expected, sizeof expected, ms)) break;
        if (GetLastError() != ERROR_TIMEOUT) break; /* none is documented: to us, a wake for no reason */
    }
    SetLastError(saved);
    return passed;
}

void CONC__PORT(wake_one)(uint32_t *a) {
    MemoryBarrier();
    WakeByAddressSingle(a);
}

void CONC__PORT(wake_all)(uint32_t *a) {
    MemoryBarrier();
    WakeByAddressAll(a);
}

/* ---- the heavy fence --------------------------------------------------------------------------
 * The system interrupts each processor that runs a thread of this process; a thread that does not run has passed
 * a fence when it was switched away. Every Windows since Vista has it, but in many versions of Wine the call
 * is there and does nothing: under Wine there is no heavy fence. */

bool CONC__PORT(heavy_fence_ready)(void) {
    static uint32_t known; /* atomic: 0 not asked yet, 1 no, 2 yes */
    uint32_t k = conc__load32(&known, CONC__RELAXED);
    if (k == 0) {
        DWORD saved = GetLastError();
        k = conc__win_find(L"ntdll.dll", "wine_get_version") != NULL ? 1 : 2;
        conc__store32(&known, k, CONC__RELAXED);
        SetLastError(saved);
    }
    return k == 2;
}

void CONC__PORT(heavy_fence)(void) {
    FlushProcessWriteBuffers();
}

/* ---- threads -------------------------------------------------------------------------------------- */

static DWORD WINAPI conc__port_thread_main(void *p) {
    conc__port_thread *t = (conc__port_thread *)p;
#if defined(__MINGW32__) && (defined(__i386__) || defined(__x86_64__))
    _fpreset(); /* the system starts a thread with the x87 cut to double; mingw's long double has more */
#endif
    t->fn(t->arg); /* `t` may be gone after this */
    return 0;
}

/* The thread is made stopped and let go once its handle is in `t`: whoever the thread tells of itself may
 * join or detach it at once. It is CreateThread and not _beginthreadex: since Visual C++ 2015, and always
 * with mingw, the C library makes its own data for a thread it has not started, and frees it. */
int CONC__PORT(thread_start)(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size) {
    DWORD saved = GetLastError(), error;
    HANDLE handle;
    int fault = CONC__FAULT("CreateThread", ERROR_NOT_ENOUGH_MEMORY, ERROR_MAX_THRDS_REACHED);
    if (fault != 0) return fault;
    t->fn = fn;
    t->arg = arg;
    /* The size is what is set aside, rounded up by the system (which must not wrap around); 0: what the program's
     * file says. */
    if (stack_size > SIZE_MAX / 2) stack_size = SIZE_MAX / 2;
    handle = CreateThread(NULL, stack_size, conc__port_thread_main, t,
                          CREATE_SUSPENDED | STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (handle == NULL) {
        error = GetLastError();
        SetLastError(saved);
        return error != ERROR_SUCCESS ? (int)error : ERROR_NOT_ENOUGH_MEMORY;
    }
    t->handle[0] = handle;
    (void)ResumeThread(handle); /* can fail only without a right that the maker's handle has */
    return 0;
}

/* The system signals a thread's handle when it has ended it: by then its keys are destroyed and its stack is
 * given back. So this wait ends when fn, and the destructors, have returned. */
void CONC__PORT(thread_join)(conc__port_thread *t) {
    DWORD saved = GetLastError();
    (void)WaitForSingleObject(t->handle[0], INFINITE);
    (void)CloseHandle(t->handle[0]);
    SetLastError(saved);
}

/* A thread runs on without handles. */
void CONC__PORT(thread_detach)(conc__port_thread *t) {
    DWORD saved = GetLastError();
    (void)CloseHandle(t->handle[0]);
    SetLastError(saved);
}

/* SetThreadDescription came with Windows 10, first in one library and then in the other; older systems have
 * no names for threads. `name` is UTF-8; what does not fit is cut. */
void CONC__PORT(thread_set_name)(const char *name) {
    typedef HRESULT(WINAPI * describe_fn)(HANDLE, const WCHAR *);
    DWORD saved = GetLastError();
    WCHAR wide[64];
    int bytes = 0, n;
    describe_fn describe = (describe_fn)conc__win_find(L"kernel32.dll", "SetThreadDescription");
    if (describe == NULL) describe = (describe_fn)conc__win_find(L"kernelbase.dll", "SetThreadDescription");
    if (describe != NULL) {
        while (bytes < 63 && name[bytes] != '\0') bytes++; /* a byte makes at most one unit of UTF-16 */
        n = bytes > 0 ? MultiByteToWideChar(CP_UTF8, 0, name, bytes, wide, 63) : 0;
        wide[n] = L'\0';
        (void)describe(GetCurrentThread(), wide);
    }
    SetLastError(saved);
}

void CONC__PORT(yield)(void) {
    (void)SwitchToThread();
}

/* ---- the key --------------------------------------------------------------------------------------
 * A fiber-local slot, because the system calls a destructor for these and not for thread-local ones; a thread
 * that has made no fibers is one fiber. The system also calls it for the thread that ends the process, at a
 * moment when the other threads have been killed wherever they were: a destructor that took a lock could
 * wait for one of them for ever. So it is asked whether that is the case. */

static INIT_ONCE conc__win_key_once = INIT_ONCE_STATIC_INIT;
static DWORD conc__win_key_slot;                /* all written under the once */
static void (*conc__win_key_destroy)(void *);
static BOOLEAN(NTAPI *conc__win_process_ends)(void);
static uint32_t conc__win_key_made;             /* atomic; publishes the slot */

/* Up to four rounds, as with pthreads; what is left after them is dropped. */
static void WINAPI conc__win_key_end(void *value) {
    int round;
    if (conc__win_process_ends != NULL && conc__win_process_ends()) return;
    for (round = 0; round < 4 && value != NULL; round++) {
        (void)FlsSetValue(conc__win_key_slot, NULL);
        conc__win_key_destroy(value);
        value = FlsGetValue(conc__win_key_slot);
    }
    (void)FlsSetValue(conc__win_key_slot, NULL);
}

/* Under the once, which lets others wait until it returns; that it does without waiting for anybody. When
 * it fails, the next to come tries again. */
static BOOL WINAPI conc__win_key_make(INIT_ONCE *once, void *destroy, void **unused) {
    typedef BOOLEAN(NTAPI * ends_fn)(void);
    DWORD slot = CONC__FAULT("FlsAlloc", ERROR_NOT_ENOUGH_MEMORY) == 0 ? FlsAlloc(conc__win_key_end) : FLS_OUT_OF_INDEXES;
    (void)once;
    (void)unused;
    if (slot == FLS_OUT_OF_INDEXES) return FALSE;
    conc__win_key_slot = slot;
    conc__win_key_destroy = *(void (**)(void *))destroy;
    conc__win_process_ends = (ends_fn)conc__win_find(L"ntdll.dll", "RtlDllShutdownInProgress");
    conc__store32(&conc__win_key_made, 1, CONC__RELEASE);
    return TRUE;
}

void *CONC__PORT(key_get)(void) {
    DWORD saved;
    void *value;
    if (conc__load32(&conc__win_key_made, CONC__ACQUIRE) == 0) return NULL; /* nobody has set one */
    saved = GetLastError();
    value = FlsGetValue(conc__win_key_slot);
    SetLastError(saved);
    return value;
}

bool CONC__PORT(key_set)(void *value, void (*destroy)(void *)) {
    DWORD saved = GetLastError();
    bool done = InitOnceExecuteOnce(&conc__win_key_once, conc__win_key_make, &destroy, NULL) &&
                (value == NULL || CONC__FAULT("FlsSetValue", ERROR_NOT_ENOUGH_MEMORY) == 0) &&
                FlsSetValue(conc__win_key_slot, value);
    SetLastError(saved);
    return done;
}

/* ---- the process and the machine ---------------------------------------------------------------- */

/* What QueryInformationJobObject tells about JobObjectCpuRateControlInformation, spelled out because the headers
 * differ in how much of it they know. */
typedef struct conc__win_cpu_rate {
    DWORD flags;
    DWORD rate; /* 1/100 % of all processors together; with MIN_MAX the upper half is the most */
} conc__win_cpu_rate;
#define CONC__WIN_CPU_RATE_INFORMATION ((JOBOBJECTINFOCLASS)15)
#define CONC__WIN_CPU_RATE_ENABLE 0x1u
#define CONC__WIN_CPU_RATE_HARD_CAP 0x4u
#define CONC__WIN_CPU_RATE_MIN_MAX 0x10u

/* How many processors, rounded up, the process's job (containers are jobs) may use at most out of `all`; 0:
 * it has no hard cap, or there is no job. */
static unsigned conc__win_job_count(unsigned all) {
    conc__win_cpu_rate r;
    DWORD rate = 0;
    if (CONC__FAULT("QueryInformationJobObject", ERROR_ACCESS_DENIED) != 0 ||
        !QueryInformationJobObject(NULL, CONC__WIN_CPU_RATE_INFORMATION, &r, sizeof r, NULL)) {
        return 0;
    }
    if ((r.flags & CONC__WIN_CPU_RATE_ENABLE) == 0) return 0;
    if ((r.flags & CONC__WIN_CPU_RATE_HARD_CAP) != 0) rate = r.rate;
    if ((r.flags & CONC__WIN_CPU_RATE_MIN_MAX) != 0) rate = r.rate >> 16;
    return (unsigned)(((uint64_t)rate * all + 9999) / 10000);
}

/* A process runs on one group of at most 64 processors and its affinity mask is about that group; when it has
 * threads in several groups the mask reads as zero, and all processors count. */
unsigned CONC__PORT(cpu_count)(void) {
    DWORD saved = GetLastError();
    DWORD_PTR mask = 0, system = 0;
    unsigned all = (unsigned)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS), n = 0, job;
    if (CONC__FAULT("GetProcessAffinityMask", ERROR_ACCESS_DENIED) == 0 &&
        GetProcessAffinityMask(GetCurrentProcess(), &mask, &system)) {
        for (; mask != 0; mask &= mask - 1) n++;
    }
    if (n == 0) n = all;
    job = conc__win_job_count(all);
    if (job != 0 && job < n) n = job;
    SetLastError(saved);
    return n != 0 ? n : 1;
}

int CONC__PORT(on_fork)(void (*child)(void)) {
    (void)child; /* there is no fork */
    return 0;
}

/* In the user's language. The system ends its sentences with a full stop and a line end, which do not fit
 * into ours; a text too long for `buffer` is cut between characters. */
const char *CONC__PORT(error_text)(int error, char *buffer, size_t size) {
    DWORD saved = GetLastError();
    WCHAR wide[512];
    int room = size > 4096 ? 4095 : (int)size - 1, bytes = 0;
    int n = (int)FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                                    FORMAT_MESSAGE_MAX_WIDTH_MASK,
                                NULL, (DWORD)error, 0, wide, 512, NULL);
    if (size == 0) return buffer;
    while (n > 0 && (wide[n - 1] == L' ' || wide[n - 1] == L'\r' || wide[n - 1] == L'\n')) n--;
    if (n > 0 && wide[n - 1] == L'.') n--;
    for (; n > 0; n--) {
        bool half = wide[n - 1] >= 0xD800 && wide[n - 1] <= 0xDBFF; /* of a character: its other half was cut */
        bytes = half ? 0 : WideCharToMultiByte(CP_UTF8, 0, wide, n, NULL, 0, NULL, NULL);
        if (bytes > 0 && bytes <= room) break;
    }
    if (n > 0) {
        (void)WideCharToMultiByte(CP_UTF8, 0, wide, n, buffer, room, NULL, NULL);
        buffer[bytes] = '\0';
    } else {
        (void)snprintf(buffer, size, "error %d", error);
    }
    SetLastError(saved);
    return buffer;
}

#endif /* CONC_OS_WINDOWS */

/* ==== end src/port_win32.c ==== */

/* ==== begin src/port_net_posix.c ==== */

/* ============================================================================================
 * port, POSIX: descriptors and sockets. The poller is epoll on Linux and kqueue on macOS and the BSDs; elsewhere,
 * and with CONC_PORT_PORTABLE, that of port_poller.c.
 *
 * As in port_posix.c, what strict C99 hides is declared here under names of our own. (Of the structs and constants of
 * sockets and of poll() it hides nothing.)
 * ========================================================================================== */

#if !CONC_OS_WINDOWS

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#if CONC_OS_LINUX
#include <sys/syscall.h>
#endif
#if CONC__POLLER_EPOLL
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif
#if CONC__POLLER_KQUEUE
#include <sys/event.h>
#endif

#if CONC_OS_LINUX
/* As in port_posix.c. */
#if !defined(SYS_futex) || (defined(__x86_64__) && defined(__ILP32__))
typedef struct conc__net_timespec {
    int64_t tv_sec, tv_nsec;
} conc__net_timespec;
#else
typedef struct conc__net_timespec {
    long tv_sec, tv_nsec;
} conc__net_timespec;
#endif
typedef struct conc__sys_addrinfo {
    int ai_flags, ai_family, ai_socktype, ai_protocol;
    socklen_t ai_addrlen;
    struct sockaddr *ai_addr;
    char *ai_canonname;
    struct conc__sys_addrinfo *ai_next;
} conc__sys_addrinfo;
#define CONC__EAI_NONAME (-2)
#define CONC__EAI_NODATA (-5)
#define CONC__EAI_MEMORY (-10)
#define CONC__EAI_SYSTEM (-11)
#if defined(__cplusplus)
extern "C" {
#endif
int conc__sys_close(int fd) __asm__("close");
int conc__sys_fcntl(int fd, int what, ...) __asm__("fcntl");
int conc__sys_ppoll(struct pollfd *fds, unsigned long n, const conc__net_timespec *t, const void *mask) __asm__("ppoll");
int conc__sys_socket(int family, int type, int protocol) __asm__("socket");
int conc__sys_bind(int fd, const struct sockaddr *a, socklen_t size) __asm__("bind");
int conc__sys_listen(int fd, int backlog) __asm__("listen");
int conc__sys_accept4(int fd, struct sockaddr *a, socklen_t *size, int flags) __asm__("accept4");
int conc__sys_connect(int fd, const struct sockaddr *a, socklen_t size) __asm__("connect");
int conc__sys_shutdown(int fd, int how) __asm__("shutdown");
int conc__sys_getsockopt(int fd, int level, int name, void *value, socklen_t *size) __asm__("getsockopt");
int conc__sys_setsockopt(int fd, int level, int name, const void *value, socklen_t size) __asm__("setsockopt");
int conc__sys_getsockname(int fd, struct sockaddr *a, socklen_t *size) __asm__("getsockname");
int conc__sys_getpeername(int fd, struct sockaddr *a, socklen_t *size) __asm__("getpeername");
long conc__sys_send(int fd, const void *data, size_t size, int flags) __asm__("send");
long conc__sys_recv(int fd, void *data, size_t size, int flags) __asm__("recv");
long conc__sys_sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *a, socklen_t n)
    __asm__("sendto");
long conc__sys_recvmsg(int fd, struct msghdr *m, int flags) __asm__("recvmsg");
long conc__sys_read(int fd, void *data, size_t size) __asm__("read");
long conc__sys_write(int fd, const void *data, size_t size) __asm__("write");
int conc__sys_pipe(int *fds) __asm__("pipe");
int conc__sys_getaddrinfo(const char *host, const char *service, const conc__sys_addrinfo *hints,
                          conc__sys_addrinfo **list) __asm__("getaddrinfo");
void conc__sys_freeaddrinfo(conc__sys_addrinfo *list) __asm__("freeaddrinfo");
const char *conc__sys_gai_strerror(int error) __asm__("gai_strerror");
#if CONC__POLLER_EPOLL
long conc__sys_syscall(long number, ...) __asm__("syscall");
int conc__sys_eventfd(unsigned value, int flags) __asm__("eventfd");
int conc__sys_epoll_create1(int flags) __asm__("epoll_create1");
int conc__sys_epoll_ctl(int ep, int what, int fd, void *event) __asm__("epoll_ctl");
int conc__sys_epoll_wait(int ep, void *events, int max, int ms) __asm__("epoll_wait");
#endif
#if defined(__cplusplus)
}
#endif

#else /* the headers show it all unless the user's feature macros hide it */

#include <netdb.h>
#include <unistd.h>
typedef struct addrinfo conc__sys_addrinfo;
#define CONC__EAI_NONAME EAI_NONAME
#if defined(EAI_NODATA)
#define CONC__EAI_NODATA EAI_NODATA
#else
#define CONC__EAI_NODATA EAI_NONAME
#endif
#define CONC__EAI_MEMORY EAI_MEMORY
#define CONC__EAI_SYSTEM EAI_SYSTEM
#define conc__sys_close close
#define conc__sys_fcntl fcntl
#define conc__sys_socket socket
#define conc__sys_bind bind
#define conc__sys_listen listen
#define conc__sys_connect connect
#define conc__sys_shutdown shutdown
#define conc__sys_getsockopt getsockopt
#define conc__sys_setsockopt setsockopt
#define conc__sys_getsockname getsockname
#define conc__sys_getpeername getpeername
#define conc__sys_send send
#define conc__sys_recv recv
#define conc__sys_sendto sendto
#define conc__sys_recvmsg recvmsg
#define conc__sys_read read
#define conc__sys_write write
#define conc__sys_pipe pipe
#define conc__sys_getaddrinfo getaddrinfo
#define conc__sys_freeaddrinfo freeaddrinfo
#define conc__sys_gai_strerror gai_strerror
#endif

/* The end of a call: what it gave, as an error number; and errno is as it was before. */
static int conc__net_end(long result, int saved) {
    int e = result < 0 ? errno : 0;
    errno = saved;
    return e;
}

int conc__port_unsupported(void) {
    return ENOSYS;
}

static void conc__net_close(intptr_t fd) {
    int saved = errno;
    if (fd >= 0) (void)conc__sys_close((int)fd); /* it is closed, whatever it answers */
    errno = saved;
}

#if !CONC__POLLER_EPOLL /* where descriptors cannot be made so: close-on-exec, not blocking */
static int conc__net_set_flags(int fd) {
    int flags = conc__sys_fcntl(fd, F_GETFL, 0);
    if (flags < 0 || conc__sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -1;
    return conc__sys_fcntl(fd, F_SETFD, FD_CLOEXEC);
}
#endif

/* ---- signals ---------------------------------------------------------------------------------------- */

#if CONC__POLLER_EPOLL

int CONC__PORT(signal_open)(conc__port_signal *s) {
    int saved = errno, e = CONC__FAULT("eventfd", EMFILE, ENFILE, ENOMEM);
    int fd = e == 0 ? conc__sys_eventfd(0, (int)EFD_CLOEXEC | (int)EFD_NONBLOCK) : -1;
    s->fd[0] = s->fd[1] = fd;
    return e != 0 ? e : conc__net_end(fd, saved);
}

void CONC__PORT(signal_close)(conc__port_signal *s) {
    conc__net_close(s->fd[0]);
}

void CONC__PORT(signal_raise)(conc__port_signal *s) {
    const uint64_t one = 1;
    int saved = errno;
    while (conc__sys_write((int)s->fd[0], &one, sizeof one) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void CONC__PORT(signal_clear)(conc__port_signal *s) {
    uint64_t count;
    int saved = errno;
    while (conc__sys_read((int)s->fd[0], &count, sizeof count) < 0 && errno == EINTR) {
    }
    errno = saved;
}

#else

int CONC__PORT(signal_open)(conc__port_signal *s) {
    int saved = errno, fds[2], e = CONC__FAULT("pipe", EMFILE, ENFILE);
    s->fd[0] = s->fd[1] = -1;
    if (e == 0) e = conc__net_end(conc__sys_pipe(fds), saved);
    if (e != 0) return e;
    s->fd[0] = fds[0];
    s->fd[1] = fds[1];
    e = conc__net_end(conc__net_set_flags(fds[0]) < 0 ? -1 : conc__net_set_flags(fds[1]), saved);
    if (e != 0) conc__port_signal_close(s);
    return e;
}

void CONC__PORT(signal_close)(conc__port_signal *s) {
    conc__net_close(s->fd[0]);
    conc__net_close(s->fd[1]);
    s->fd[0] = s->fd[1] = -1;
}

/* A full pipe holds enough signals. */
void CONC__PORT(signal_raise)(conc__port_signal *s) {
    const char one = 1;
    int saved = errno;
    while (conc__sys_write((int)s->fd[1], &one, 1) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void CONC__PORT(signal_clear)(conc__port_signal *s) {
    char many[256];
    long n;
    int saved = errno;
    do {
        n = conc__sys_read((int)s->fd[0], many, sizeof many);
    } while (n == (long)sizeof many || (n < 0 && errno == EINTR));
    errno = saved;
}

#endif

/* ---- poll --------------------------------------------------------------------------------------------- */

#if defined(POLLRDHUP)
#define CONC__POLLRDHUP POLLRDHUP
#elif CONC_OS_LINUX && !defined(__sparc__)
#define CONC__POLLRDHUP 0x2000
#elif CONC_OS_LINUX
#define CONC__POLLRDHUP 0x800
#else
#define CONC__POLLRDHUP 0
#endif

/* Never early: ppoll() counts nanoseconds and rounds up; poll() gets milliseconds that are. One that has slept ends
 * here, so that nothing goes round at the end. */
static int conc__net_poll(struct pollfd *fds, size_t n, int64_t deadline_ns) {
    int64_t left = -1;
    int e = CONC__FAULT("poll", EINTR, ENOMEM);
    if (e != 0) {
        errno = e;
        return -1;
    }
    if (deadline_ns != INT64_MAX) {
        int64_t now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns();
        left = deadline_ns > now ? deadline_ns - now : 0;
    }
    {
#if CONC_OS_LINUX
        conc__net_timespec t;
        if (left > (int64_t)INT32_MAX * 1000000000) left = -1;
        t.tv_sec = (long)(left / 1000000000);
        t.tv_nsec = (long)(left % 1000000000);
        return conc__sys_ppoll(fds, (unsigned long)n, left < 0 ? NULL : &t, NULL);
#else
        int64_t ms = left < 0 ? -1 : left / 1000000 + (left % 1000000 != 0);
        return poll(fds, (nfds_t)n, ms > INT32_MAX ? INT32_MAX : (int)ms);
#endif
    }
}

int CONC__PORT(poll_in)(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    struct pollfd *p = (struct pollfd *)scratch;
    int saved = errno, ready;
    size_t i;
    for (i = 0; i < n; i++) {
        p[i].fd = (int)fds[i].fd;
        p[i].events = (short)(((fds[i].want & CONC__PORT_READ) != 0 ? POLLIN | CONC__POLLRDHUP : 0) |
                              ((fds[i].want & CONC__PORT_WRITE) != 0 ? POLLOUT : 0));
        p[i].revents = 0;
        fds[i].got = 0;
    }
    ready = conc__net_poll(p, n, deadline_ns);
    if (ready < 0) {
        *error = conc__net_end(-1, saved);
        return *error == EINTR || *error == EAGAIN ? 0 : -1;
    }
    for (i = 0; ready > 0 && i < n; i++) {
        int got = p[i].revents;
        fds[i].got = ((got & POLLIN) != 0 ? CONC__PORT_READ : 0) | ((got & POLLOUT) != 0 ? CONC__PORT_WRITE : 0) |
                     ((got & (POLLERR | POLLHUP | CONC__POLLRDHUP)) != 0 ? CONC__PORT_HUP : 0) |
                     ((got & POLLNVAL) != 0 ? CONC__PORT_BAD : 0);
    }
    errno = saved;
    return ready;
}

/* ---- the poller: epoll ------------------------------------------------------------------------------------
 * The signal is edge-triggered too: each write to its counter is told, and nobody ever has to read it. */

#if CONC__POLLER_EPOLL

#if defined(__x86_64__) || defined(__i386__) || defined(__m68k__)
#define CONC__EPOLL_PACKED 1
#else
#define CONC__EPOLL_PACKED 0
#endif

/* struct epoll_event, also for compilers that see no attributes in the system's headers. */
typedef struct conc__epoll_event {
    uint32_t events;
#if CONC__EPOLL_PACKED
    uint32_t data[2];
#else
    uint64_t data;
#endif
} conc__epoll_event;

static int conc__epoll_fd(const conc__epoll_event *e) {
    int fd;
    memcpy(&fd, &e->data, sizeof fd);
    return fd;
}

/* (EPOLLPRI: a receive ends at urgent data, and a short one is then not the end of what there is.) */
#define CONC__EPOLL_BOTH                                                                           \
    ((uint32_t)EPOLLIN | (uint32_t)EPOLLOUT | (uint32_t)EPOLLRDHUP | (uint32_t)EPOLLPRI | (uint32_t)EPOLLET)

static int conc__epoll_set(conc__port_poller *p, intptr_t fd, uint32_t events) {
    int saved = errno, small = (int)fd, e = CONC__FAULT("epoll_ctl", ENOMEM, ENOSPC, EPERM);
    conc__epoll_event event;
    if (e == 0) {
        memset(&event, 0, sizeof event);
        event.events = events;
        memcpy(&event.data, &small, sizeof small);
        e = conc__net_end(conc__sys_epoll_ctl((int)p->fd, EPOLL_CTL_ADD, small, &event), saved);
        if (e == EEXIST) e = conc__net_end(conc__sys_epoll_ctl((int)p->fd, EPOLL_CTL_MOD, small, &event), saved);
    }
    return e == EPERM ? CONC__PORT_ALWAYS_READY : e;
}

int CONC__PORT(poller_open)(conc__port_poller *p) {
    int saved = errno, e = CONC__FAULT("epoll_create1", EMFILE, ENFILE, ENOMEM);
    memset(p, 0, sizeof *p);
    p->fd = p->wake.fd[0] = p->wake.fd[1] = -1;
    if (e != 0) return e;
    p->fd = conc__sys_epoll_create1((int)EPOLL_CLOEXEC);
    e = conc__net_end((long)p->fd, saved);
    if (e == 0) e = conc__port_signal_open(&p->wake);
    if (e == 0) e = conc__epoll_set(p, p->wake.fd[0], (uint32_t)EPOLLIN | (uint32_t)EPOLLET);
    if (e != 0) conc__port_poller_close(p);
    return e;
}

void CONC__PORT(poller_close)(conc__port_poller *p) {
    conc__net_close(p->fd);
    conc__port_signal_close(&p->wake);
    p->fd = p->wake.fd[0] = p->wake.fd[1] = -1;
}

int CONC__PORT(poller_add)(conc__port_poller *p, intptr_t fd) {
    return conc__epoll_set(p, fd, CONC__EPOLL_BOTH);
}

int CONC__PORT(poller_want)(conc__port_poller *p, intptr_t fd, unsigned mask) {
    return conc__epoll_set(p, fd, (uint32_t)EPOLLONESHOT |
                                      ((mask & CONC__PORT_READ) != 0 ? (uint32_t)EPOLLIN | (uint32_t)EPOLLRDHUP : 0u) |
                                      ((mask & CONC__PORT_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0u));
}

void CONC__PORT(poller_forget)(conc__port_poller *p, intptr_t fd) {
    conc__epoll_event event; /* old kernels want one */
    int saved = errno;
    memset(&event, 0, sizeof event);
    (void)conc__sys_epoll_ctl((int)p->fd, EPOLL_CTL_DEL, (int)fd, &event);
    errno = saved;
}

/* With epoll_pwait2() (Linux 5.11) in one call; without, poll() waits for the poller itself. Never early, and no later
 * than the system is. */
static int conc__epoll_sleep(int ep, conc__epoll_event *events, int max, int64_t deadline_ns) {
    static uint32_t lacking; /* atomic: 1: the system has no epoll_pwait2, or does not let us have it */
    int64_t now;
    int e = CONC__FAULT("epoll_wait", EINTR);
    if (e != 0) {
        errno = e;
        return -1;
    }
    if (deadline_ns == INT64_MAX) return conc__sys_epoll_wait(ep, events, max, -1);
    now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns();
    if (deadline_ns <= now) return conc__sys_epoll_wait(ep, events, max, 0);
#if defined(SYS_epoll_pwait2)
    if (conc__load32(&lacking, CONC__RELAXED) == 0) {
        int64_t t[2]; /* of 64 bits each, everywhere */
        int n;
        t[0] = (deadline_ns - now) / 1000000000;
        t[1] = (deadline_ns - now) % 1000000000;
        errno = CONC__FAULT("epoll_pwait2", ENOSYS, EPERM);
        n = errno != 0 ? -1 : (int)conc__sys_syscall(SYS_epoll_pwait2, ep, events, max, t, NULL, (size_t)8);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
        conc__store32(&lacking, 1, CONC__RELAXED);
    }
#endif
    {
        struct pollfd one;
        memset(&one, 0, sizeof one);
        one.fd = ep;
        one.events = POLLIN;
        return conc__net_poll(&one, 1, deadline_ns) <= 0 ? 0 : conc__sys_epoll_wait(ep, events, max, 0);
    }
}

size_t CONC__PORT(poller_wait)(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                               bool *signaled) {
    conc__epoll_event found[64];
    size_t count = 0;
    int saved = errno, n, i;
    memset(found, 0, sizeof found); /* what the kernel writes, the memory sanitizer does not see */
    n = conc__epoll_sleep((int)p->fd, found, max < 64 ? (int)max : 64, deadline_ns);
    for (i = 0; i < n; i++) {
        uint32_t got = found[i].events;
        int fd = conc__epoll_fd(&found[i]);
        if (fd == p->wake.fd[0]) continue;
        events[count].fd = fd;
        events[count].got =
            ((got & (uint32_t)EPOLLIN) != 0 ? CONC__PORT_READ : 0) | ((got & (uint32_t)EPOLLOUT) != 0 ? CONC__PORT_WRITE : 0) |
            ((got & ((uint32_t)EPOLLERR | (uint32_t)EPOLLHUP | (uint32_t)EPOLLRDHUP | (uint32_t)EPOLLPRI)) != 0 ? CONC__PORT_HUP : 0);
        count++;
    }
    errno = saved;
    *signaled = conc__load32(&p->signaled, CONC__RELAXED) != 0 && conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return count;
}

void CONC__PORT(poller_signal)(conc__port_poller *p) {
    if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) conc__port_signal_raise(&p->wake);
}

#endif

/* ---- the poller: kqueue --------------------------------------------------------------------------------------- */

#if CONC__POLLER_KQUEUE

static int conc__kqueue_set(conc__port_poller *p, intptr_t fd, int filter, unsigned flags, unsigned fflags) {
    struct kevent k;
    struct timespec none;
    int saved = errno, e = CONC__FAULT("kevent", ENOMEM);
    if (e != 0) return e;
    memset(&none, 0, sizeof none);
    memset(&k, 0, sizeof k);
    EV_SET(&k, (uintptr_t)fd, (short)filter, (unsigned short)flags, fflags, 0, NULL);
    return conc__net_end(kevent((int)p->fd, &k, 1, NULL, 0, &none), saved);
}

int CONC__PORT(poller_open)(conc__port_poller *p) {
    int saved = errno, e = CONC__FAULT("kqueue", EMFILE, ENFILE, ENOMEM);
    memset(p, 0, sizeof *p);
    p->fd = p->wake.fd[0] = p->wake.fd[1] = -1;
    if (e != 0) return e;
    p->fd = kqueue();
    if (p->fd >= 0 && conc__sys_fcntl((int)p->fd, F_SETFD, FD_CLOEXEC) < 0) e = errno;
    if (p->fd < 0) e = errno;
    errno = saved;
    if (e == 0) e = conc__kqueue_set(p, 0, EVFILT_USER, EV_ADD | EV_CLEAR, 0);
    if (e != 0) conc__port_poller_close(p);
    return e;
}

void CONC__PORT(poller_close)(conc__port_poller *p) {
    conc__net_close(p->fd);
    p->fd = -1;
}

/* Each side by itself: a pipe's end has but one. */
static int conc__kqueue_both(conc__port_poller *p, intptr_t fd, unsigned mask, unsigned flags) {
    int read = 0, write = 0;
    if ((mask & CONC__PORT_READ) != 0) read = conc__kqueue_set(p, fd, EVFILT_READ, flags, 0);
    if ((mask & CONC__PORT_WRITE) != 0) write = conc__kqueue_set(p, fd, EVFILT_WRITE, flags, 0);
    if (mask == (CONC__PORT_READ | CONC__PORT_WRITE) && (read == 0 || write == 0)) return 0;
    return read != 0 ? read : write;
}

int CONC__PORT(poller_add)(conc__port_poller *p, intptr_t fd) {
    return conc__kqueue_both(p, fd, CONC__PORT_READ | CONC__PORT_WRITE, EV_ADD | EV_CLEAR);
}

int CONC__PORT(poller_want)(conc__port_poller *p, intptr_t fd, unsigned mask) {
    if ((mask & CONC__PORT_READ) == 0) (void)conc__kqueue_set(p, fd, EVFILT_READ, EV_DELETE, 0);
    if ((mask & CONC__PORT_WRITE) == 0) (void)conc__kqueue_set(p, fd, EVFILT_WRITE, EV_DELETE, 0);
    return conc__kqueue_both(p, fd, mask, EV_ADD | EV_ONESHOT);
}

void CONC__PORT(poller_forget)(conc__port_poller *p, intptr_t fd) {
    (void)conc__kqueue_set(p, fd, EVFILT_READ, EV_DELETE, 0);
    (void)conc__kqueue_set(p, fd, EVFILT_WRITE, EV_DELETE, 0);
}

size_t CONC__PORT(poller_wait)(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                               bool *signaled) {
    struct kevent found[64];
    struct timespec t;
    size_t count = 0;
    int saved = errno, n, i;
    if (deadline_ns != INT64_MAX) {
        int64_t now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
        if (left > (int64_t)86400 * 1000000000) left = (int64_t)86400 * 1000000000; /* the longest that all of them take */
        t.tv_sec = (time_t)(left / 1000000000);
        t.tv_nsec = (long)(left % 1000000000);
    }
    n = kevent((int)p->fd, NULL, 0, found, max < 64 ? (int)max : 64, deadline_ns == INT64_MAX ? NULL : &t);
    for (i = 0; i < n; i++) {
        if (found[i].filter == EVFILT_USER) continue;
        events[count].fd = (intptr_t)found[i].ident;
        events[count].got = (found[i].filter == EVFILT_READ ? CONC__PORT_READ : CONC__PORT_WRITE) |
                            ((found[i].flags & (EV_EOF | EV_ERROR)) != 0 ? CONC__PORT_HUP : 0);
        count++;
    }
    errno = saved;
    *signaled = conc__load32(&p->signaled, CONC__RELAXED) != 0 && conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return count;
}

void CONC__PORT(poller_signal)(conc__port_poller *p) {
    if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) {
        (void)conc__kqueue_set(p, 0, EVFILT_USER, 0, NOTE_TRIGGER);
    }
}

#endif

/* ---- sockets ---------------------------------------------------------------------------------------------------- */

typedef union conc__sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} conc__sockaddr;

static socklen_t conc__sockaddr_make(conc__sockaddr *s, const conc_address *a) {
    unsigned char port[2];
    port[0] = (unsigned char)(a->port >> 8);
    port[1] = (unsigned char)(a->port & 0xffu);
    memset(s, 0, sizeof *s);
    if (a->family == 6) {
        s->v6.sin6_family = AF_INET6;
        memcpy(&s->v6.sin6_port, port, 2);
        memcpy(&s->v6.sin6_addr, a->ip, 16);
        s->v6.sin6_scope_id = a->scope;
        return (socklen_t)sizeof s->v6;
    }
    s->v4.sin_family = AF_INET;
    memcpy(&s->v4.sin_port, port, 2);
    memcpy(&s->v4.sin_addr, a->ip, 4);
    return (socklen_t)sizeof s->v4;
}

static void conc__sockaddr_read(const conc__sockaddr *s, conc_address *a) {
    unsigned char port[2] = { 0, 0 };
    memset(a, 0, sizeof *a);
    if (s->any.sa_family == AF_INET6) {
        a->family = 6;
        memcpy(port, &s->v6.sin6_port, 2);
        memcpy(a->ip, &s->v6.sin6_addr, 16);
        a->scope = s->v6.sin6_scope_id;
    } else if (s->any.sa_family == AF_INET) {
        a->family = 4;
        memcpy(port, &s->v4.sin_port, 2);
        memcpy(a->ip, &s->v4.sin_addr, 4);
    }
    a->port = (uint16_t)((unsigned)port[0] << 8 | port[1]);
}

#if defined(MSG_NOSIGNAL)
#define CONC__NOSIGNAL MSG_NOSIGNAL
#else
#define CONC__NOSIGNAL 0
#endif

#if !CONC_OS_LINUX
/* What Linux does as it makes the descriptor. Closes it on failure. */
static int conc__socket_dress(int fd) {
    int e = conc__net_set_flags(fd) < 0 ? errno : 0;
#if defined(SO_NOSIGPIPE)
    const int on = 1;
    if (e == 0 && conc__sys_setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, (socklen_t)sizeof on) < 0) e = errno;
#endif
    if (e != 0) conc__net_close(fd);
    return e;
}
#endif

int CONC__PORT(socket)(unsigned family, bool stream, intptr_t *fd) {
    int saved = errno, e = CONC__FAULT("socket", EMFILE, ENFILE, ENOBUFS), s;
    int type = stream ? (int)SOCK_STREAM : (int)SOCK_DGRAM;
    *fd = -1;
    if (e != 0) return e;
#if CONC_OS_LINUX
    s = conc__sys_socket(family == 6 ? AF_INET6 : AF_INET, type | (int)SOCK_NONBLOCK | (int)SOCK_CLOEXEC, 0);
    e = conc__net_end(s, saved);
#else
    s = conc__sys_socket(family == 6 ? AF_INET6 : AF_INET, type, 0);
    e = s < 0 ? errno : conc__socket_dress(s);
    errno = saved;
#endif
    if (e == 0) *fd = s;
    return e;
}

void conc__port_socket_close(intptr_t fd) {
    conc__net_close(fd);
}

int conc__port_socket_bind(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    socklen_t size = conc__sockaddr_make(&s, a);
    int saved = errno, e = CONC__FAULT("bind", EADDRINUSE, EACCES);
    return e != 0 ? e : conc__net_end(conc__sys_bind((int)fd, &s.any, size), saved);
}

int conc__port_socket_listen(intptr_t fd, int backlog) {
    int saved = errno, e = CONC__FAULT("listen", EADDRINUSE);
    return e != 0 ? e : conc__net_end(conc__sys_listen((int)fd, backlog), saved);
}

int conc__port_socket_accept(intptr_t fd, intptr_t *conn, conc_address *peer) {
    conc__sockaddr s;
    socklen_t size = (socklen_t)sizeof s;
    int saved = errno, c, e = CONC__FAULT("accept", EMFILE, ECONNABORTED, ENOBUFS);
    *conn = -1;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    do {
#if CONC_OS_LINUX
        c = conc__sys_accept4((int)fd, &s.any, &size, (int)SOCK_NONBLOCK | (int)SOCK_CLOEXEC);
#else
        c = accept((int)fd, &s.any, &size);
#endif
    } while (c < 0 && errno == EINTR);
    e = c < 0 ? errno : 0;
#if !CONC_OS_LINUX
    if (e == 0) e = conc__socket_dress(c);
#endif
    errno = saved;
    if (e != 0) return e;
    if (peer != NULL) conc__sockaddr_read(&s, peer);
    *conn = c;
    return 0;
}

int conc__port_socket_connect(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    socklen_t size = conc__sockaddr_make(&s, a);
    int saved = errno, e = CONC__FAULT("connect", ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL);
    if (e == 0) e = conc__net_end(conc__sys_connect((int)fd, &s.any, size), saved);
    if (e == EISCONN) return 0;
    return e == EINPROGRESS || e == EALREADY || e == EINTR ? CONC__PORT_IN_PROGRESS : e;
}

int conc__port_socket_connected(intptr_t fd) {
    int value = 0, saved = errno, e = CONC__FAULT("getsockopt: SO_ERROR", ETIMEDOUT, EHOSTUNREACH);
    socklen_t size = (socklen_t)sizeof value;
    if (e == 0) e = conc__net_end(conc__sys_getsockopt((int)fd, SOL_SOCKET, SO_ERROR, &value, &size), saved);
    return e != 0 ? e : value;
}

/* (An interruption can come only before anything was done.) */
int conc__port_socket_send(intptr_t fd, const void *data, size_t size, size_t *done) {
    int saved = errno, e = CONC__FAULT("send", ECONNRESET, EPIPE, ENOBUFS);
    long n;
    *done = 0;
    if (e != 0) return e;
    if (size > SIZE_MAX / 2) size = SIZE_MAX / 2;
    do {
        n = (long)conc__sys_send((int)fd, data, size, CONC__NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n > 0) *done = (size_t)n;
    return conc__net_end(n, saved);
}

int conc__port_socket_receive(intptr_t fd, void *buffer, size_t size, size_t *done) {
    int saved = errno, e = CONC__FAULT("recv", ECONNRESET, ENOBUFS);
    long n;
    *done = 0;
    if (e != 0) return e;
    if (size > SIZE_MAX / 2) size = SIZE_MAX / 2;
    do {
        n = (long)conc__sys_recv((int)fd, buffer, size, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) *done = (size_t)n;
    return conc__net_end(n, saved);
}

int conc__port_socket_send_to(intptr_t fd, const void *data, size_t size, const conc_address *to, size_t *done) {
    conc__sockaddr s;
    socklen_t length = to != NULL ? conc__sockaddr_make(&s, to) : 0;
    int saved = errno, e = CONC__FAULT("sendto", ENOBUFS, EHOSTUNREACH);
    long n;
    *done = 0;
    if (e != 0) return e;
    do {
        n = (long)conc__sys_sendto((int)fd, data, size, CONC__NOSIGNAL, to != NULL ? &s.any : NULL, length);
    } while (n < 0 && errno == EINTR);
    if (n > 0) *done = (size_t)n;
    return conc__net_end(n, saved);
}

int conc__port_socket_receive_from(intptr_t fd, void *buffer, size_t size, conc_address *from, size_t *done, bool *cut) {
    conc__sockaddr s;
    struct msghdr m;
    struct iovec part;
    int saved = errno, e = CONC__FAULT("recvmsg", ECONNREFUSED, ENOBUFS);
    long n;
    *done = 0;
    *cut = false;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    memset(&m, 0, sizeof m);
    part.iov_base = buffer;
    part.iov_len = size;
    m.msg_name = &s;
    m.msg_namelen = (socklen_t)sizeof s;
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    do {
        n = (long)conc__sys_recvmsg((int)fd, &m, 0);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        *done = (size_t)n;
        *cut = (m.msg_flags & MSG_TRUNC) != 0;
        if (from != NULL) conc__sockaddr_read(&s, from);
    }
    return conc__net_end(n, saved);
}

int conc__port_socket_shutdown(intptr_t fd, unsigned sides) {
    int saved = errno;
    int how = sides == CONC__PORT_READ ? SHUT_RD : sides == CONC__PORT_WRITE ? SHUT_WR : SHUT_RDWR;
    return conc__net_end(conc__sys_shutdown((int)fd, how), saved);
}

int conc__port_socket_name(intptr_t fd, bool peer, conc_address *a) {
    conc__sockaddr s;
    socklen_t size = (socklen_t)sizeof s;
    int saved = errno, e = CONC__FAULT("getsockname", ENOBUFS);
    memset(&s, 0, sizeof s);
    if (e == 0) {
        e = conc__net_end(peer ? conc__sys_getpeername((int)fd, &s.any, &size) : conc__sys_getsockname((int)fd, &s.any, &size),
                          saved);
    }
    conc__sockaddr_read(&s, a);
    return e;
}

int conc__port_socket_option(intptr_t fd, conc__port_option option, int value) {
    int level = SOL_SOCKET, name = -1, saved = errno, e = CONC__FAULT("setsockopt", ENOPROTOOPT);
    switch (option) {
    case CONC__PORT_REUSE_ADDRESS: name = SO_REUSEADDR; break;
    case CONC__PORT_REUSE_PORT:
#if defined(SO_REUSEPORT)
        name = SO_REUSEPORT;
#elif CONC_OS_LINUX && !defined(__mips__) && !defined(__alpha__) && !defined(__sparc__) && !defined(__hppa__)
        name = 15; /* SO_REUSEPORT, which strict C99 hides */
#endif
        break;
    case CONC__PORT_V6_ONLY:
        level = IPPROTO_IPV6;
        name = IPV6_V6ONLY;
        break;
    case CONC__PORT_NO_DELAY:
        level = IPPROTO_TCP;
        name = 1; /* TCP_NODELAY, everywhere */
        break;
    case CONC__PORT_KEEP_ALIVE: name = SO_KEEPALIVE; break;
    case CONC__PORT_BROADCAST: name = SO_BROADCAST; break;
    case CONC__PORT_SEND_BUFFER: name = SO_SNDBUF; break;
    case CONC__PORT_RECEIVE_BUFFER: name = SO_RCVBUF; break;
    case CONC__PORT_OPTIONS:
    default: break;
    }
    if (e != 0) return e;
    if (name < 0) return ENOPROTOOPT;
    return conc__net_end(conc__sys_setsockopt((int)fd, level, name, &value, (socklen_t)sizeof value), saved);
}

conc__port_kind conc__port_kind_of(int error) {
    if (error == EAGAIN || error == EWOULDBLOCK) return CONC__PORT_WOULD_BLOCK;
    switch (error) {
    case EMFILE:
    case ENFILE: return CONC__PORT_TABLE_FULL;
    case ENOBUFS:
    case ENOMEM: return CONC__PORT_NO_BUFFERS;
    case ECONNABORTED: /* accept(2) of Linux: all of these are the new connection's, not the listener's */
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTUNREACH:
#if CONC_OS_LINUX
    case EHOSTDOWN:
    case ENONET:
#endif
        return CONC__PORT_ABORTED;
    case ECONNRESET:
    case ECONNREFUSED: /* of a datagram before */
    case EPIPE:
    case ETIMEDOUT: return CONC__PORT_BROKEN;
    default: return CONC__PORT_OTHER;
    }
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

conc__port_found CONC__PORT(lookup)(const char *host, unsigned port, conc_address *list, size_t n, size_t *found, char *text,
                                    size_t size) {
    conc__sys_addrinfo hints, *all = NULL, *a;
    char service[12];
    int saved = errno, e = CONC__FAULT("getaddrinfo", ENOMEM, EIO), code = CONC__EAI_SYSTEM;
    *found = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM; /* or each would come once for each kind of socket */
    (void)snprintf(service, sizeof service, "%u", port);
    if (e == 0) {
        code = conc__sys_getaddrinfo(host, service, &hints, &all);
        e = errno;
    }
    errno = saved;
    if (code != 0) {
        if (code == CONC__EAI_SYSTEM) {
            (void)conc__port_error_text(e, text, size);
        } else {
            (void)snprintf(text, size, "%s", conc__sys_gai_strerror(code));
        }
        if (code == CONC__EAI_MEMORY || (code == CONC__EAI_SYSTEM && e == ENOMEM)) return CONC__PORT_LOOKUP_MEMORY;
        return code == CONC__EAI_NONAME || code == CONC__EAI_NODATA ? CONC__PORT_UNKNOWN_HOST : CONC__PORT_LOOKUP_FAILED;
    }
    for (a = all; a != NULL && *found < n; a = a->ai_next) {
        conc__sockaddr s;
        if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || (size_t)a->ai_addrlen > sizeof s) continue;
        memset(&s, 0, sizeof s);
        memcpy(&s, a->ai_addr, (size_t)a->ai_addrlen);
        conc__sockaddr_read(&s, &list[(*found)++]);
    }
    conc__sys_freeaddrinfo(all);
    errno = saved;
    return CONC__PORT_FOUND;
}

#endif /* !CONC_OS_WINDOWS */

/* ==== end src/port_net_posix.c ==== */

/* ==== begin src/port_net_win32.c ==== */

/* ============================================================================================
 * port, Windows: descriptors, which are sockets, and sockets. The poller is that of port_poller.c, on WSAPoll().
 *
 * Winsock is loaded when the first descriptor is made, and stays. So a program need not be linked with it, and none of its
 * headers, of which only one order of inclusion works, is included: what they would declare is spelled out.
 *
 * Before Windows 10 version 2004, WSAPoll() does not tell of a connection that is refused: connecting then ends by its
 * deadline.
 * ========================================================================================== */

#if CONC_OS_WINDOWS

#if !defined(WIN32_LEAN_AND_MEAN)
#define WIN32_LEAN_AND_MEAN
#endif
#if !defined(NOMINMAX)
#define NOMINMAX
#endif
#include <windows.h>

#include <stdio.h>

/* ---- Winsock ------------------------------------------------------------------------------------------ */

typedef UINT_PTR conc__ws_socket;
#define CONC__WS_NONE (~(conc__ws_socket)0)

typedef struct conc__ws_pollfd {
    conc__ws_socket fd;
    SHORT events, revents;
} conc__ws_pollfd;

typedef struct conc__sockaddr { /* the larger of the two; version 4 has its number in `flow` */
    unsigned char family[2];    /* in the machine's order */
    unsigned char port[2];      /* in the network's */
    unsigned char flow[4];
    unsigned char ip[16];
    uint32_t scope;
} conc__sockaddr;

typedef struct conc__ws_addrinfo {
    int flags, family, socktype, protocol;
    size_t length;
    WCHAR *name;
    void *address;
    struct conc__ws_addrinfo *next;
} conc__ws_addrinfo;

#define CONC__WS_INET 2
#define CONC__WS_INET6 23
#define CONC__WS_STREAM 1
#define CONC__WS_DGRAM 2
#define CONC__WS_SOL_SOCKET 0xffff
#define CONC__WS_POLLERR 0x0001
#define CONC__WS_POLLHUP 0x0002
#define CONC__WS_POLLNVAL 0x0004
#define CONC__WS_POLLOUT 0x0010
#define CONC__WS_POLLIN 0x0100

#define CONC__WINSOCK(X)                                                                                                    \
    X(WSAStartup, int, (WORD, void *))                                                                                      \
    X(WSASocketW, conc__ws_socket, (int, int, int, void *, unsigned, DWORD))                                                \
    X(WSAIoctl, int, (conc__ws_socket, DWORD, void *, DWORD, void *, DWORD, DWORD *, void *, void *))                       \
    X(WSAPoll, int, (conc__ws_pollfd *, ULONG, int))                                                                        \
    X(closesocket, int, (conc__ws_socket))                                                                                  \
    X(ioctlsocket, int, (conc__ws_socket, long, ULONG *))                                                                   \
    X(bind, int, (conc__ws_socket, const void *, int))                                                                      \
    X(listen, int, (conc__ws_socket, int))                                                                                  \
    X(accept, conc__ws_socket, (conc__ws_socket, void *, int *))                                                            \
    X(connect, int, (conc__ws_socket, const void *, int))                                                                   \
    X(getsockopt, int, (conc__ws_socket, int, int, void *, int *))                                                          \
    X(setsockopt, int, (conc__ws_socket, int, int, const void *, int))                                                      \
    X(getsockname, int, (conc__ws_socket, void *, int *))                                                                   \
    X(getpeername, int, (conc__ws_socket, void *, int *))                                                                   \
    X(send, int, (conc__ws_socket, const void *, int, int))                                                                 \
    X(recv, int, (conc__ws_socket, void *, int, int))                                                                       \
    X(sendto, int, (conc__ws_socket, const void *, int, int, const void *, int))                                            \
    X(recvfrom, int, (conc__ws_socket, void *, int, int, void *, int *))                                                    \
    X(shutdown, int, (conc__ws_socket, int))                                                                                \
    X(GetAddrInfoW, int, (const WCHAR *, const WCHAR *, const conc__ws_addrinfo *, conc__ws_addrinfo **))                   \
    X(FreeAddrInfoW, void, (conc__ws_addrinfo *))

static struct { /* written under the once, before anything that uses it can be made */
#define CONC__WS_MEMBER(name, result, arguments) result(WINAPI *p_##name) arguments;
    CONC__WINSOCK(CONC__WS_MEMBER)
#undef CONC__WS_MEMBER
} conc__ws;
static INIT_ONCE conc__ws_once = INIT_ONCE_STATIC_INIT;

/* When it fails, the next to come tries again. */
static BOOL WINAPI conc__ws_load(INIT_ONCE *once, void *error, void **unused) {
    typedef void (*any_fn)(void);
    HMODULE module = LoadLibraryW(L"ws2_32.dll");
    uint64_t data[64]; /* a WSADATA is 408 bytes */
    int e = 0;
    (void)once;
    (void)unused;
    if (module == NULL) {
        e = (int)GetLastError();
    } else {
#define CONC__WS_FIND(name, result, arguments)                                                                              \
    conc__ws.p_##name = (result(WINAPI *) arguments)(any_fn)GetProcAddress(module, #name);                                  \
    if (conc__ws.p_##name == NULL) e = ERROR_PROC_NOT_FOUND;
        CONC__WINSOCK(CONC__WS_FIND)
#undef CONC__WS_FIND
        if (e == 0) e = conc__ws.p_WSAStartup(0x0202, data);
        if (e != 0) (void)FreeLibrary(module);
    }
    *(int *)error = e;
    return e == 0;
}

static int conc__ws_begin(void) {
    int e = CONC__FAULT("WSAStartup", WSASYSNOTREADY);
    if (e == 0) (void)InitOnceExecuteOnce(&conc__ws_once, conc__ws_load, &e, NULL);
    return e;
}

/* The end of a call that says -1 if it failed; GetLastError(), which is WSAGetLastError(), is as it was before. */
static int conc__ws_end(int result, DWORD saved) {
    int e = result == -1 ? (int)GetLastError() : 0;
    if (result == -1 && e == 0) e = WSAENOTSOCK; /* there is none without a number */
    SetLastError(saved);
    return e;
}

int conc__port_unsupported(void) {
    return WSAEOPNOTSUPP;
}

/* ---- sockets ---------------------------------------------------------------------------------------------- */

static int conc__sockaddr_make(conc__sockaddr *s, const conc_address *a) {
    uint16_t family = a->family == 6 ? CONC__WS_INET6 : CONC__WS_INET;
    memset(s, 0, sizeof *s);
    memcpy(s->family, &family, 2);
    s->port[0] = (unsigned char)(a->port >> 8);
    s->port[1] = (unsigned char)(a->port & 0xffu);
    if (a->family == 6) {
        memcpy(s->ip, a->ip, 16);
        s->scope = a->scope;
        return 28;
    }
    memcpy(s->flow, a->ip, 4);
    return 16;
}

static void conc__sockaddr_read(const conc__sockaddr *s, conc_address *a) {
    uint16_t family;
    memcpy(&family, s->family, 2);
    memset(a, 0, sizeof *a);
    if (family == CONC__WS_INET6) {
        a->family = 6;
        memcpy(a->ip, s->ip, 16);
        a->scope = s->scope;
    } else if (family == CONC__WS_INET) {
        a->family = 4;
        memcpy(a->ip, s->flow, 4);
    }
    a->port = (uint16_t)((unsigned)s->port[0] << 8 | s->port[1]);
}

int CONC__PORT(socket)(unsigned family, bool stream, intptr_t *fd) {
    DWORD saved = GetLastError(), got;
    ULONG on = 1;
    BOOL off = FALSE;
    conc__ws_socket s;
    int e = conc__ws_begin();
    *fd = -1;
    if (e == 0) e = CONC__FAULT("WSASocketW", WSAEMFILE, WSAENOBUFS);
    if (e != 0) return e;
    s = conc__ws.p_WSASocketW(family == 6 ? CONC__WS_INET6 : CONC__WS_INET, stream ? CONC__WS_STREAM : CONC__WS_DGRAM, 0,
                              NULL, 0, 0x01 | 0x80 /* OVERLAPPED, NO_HANDLE_INHERIT */);
    if (s == CONC__WS_NONE) return conc__ws_end(-1, saved);
    e = conc__ws_end(conc__ws.p_ioctlsocket(s, (long)0x8004667EL /* FIONBIO */, &on), saved);
    if (e != 0) {
        (void)conc__ws.p_closesocket(s);
        SetLastError(saved);
        return e;
    }
    if (!stream) { /* or an answer "nobody here" to something sent would be an error of receiving */
        (void)conc__ws.p_WSAIoctl(s, 0x9800000CU /* SIO_UDP_CONNRESET */, &off, sizeof off, NULL, 0, &got, NULL, NULL);
        SetLastError(saved);
    }
    *fd = (intptr_t)s;
    return 0;
}

void conc__port_socket_close(intptr_t fd) {
    DWORD saved = GetLastError();
    if (fd != -1) (void)conc__ws.p_closesocket((conc__ws_socket)fd);
    SetLastError(saved);
}

int conc__port_socket_bind(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int size = conc__sockaddr_make(&s, a), e = CONC__FAULT("bind", WSAEADDRINUSE, WSAEACCES);
    return e != 0 ? e : conc__ws_end(conc__ws.p_bind((conc__ws_socket)fd, &s, size), saved);
}

int conc__port_socket_listen(intptr_t fd, int backlog) {
    DWORD saved = GetLastError();
    int e = CONC__FAULT("listen", WSAEADDRINUSE);
    return e != 0 ? e : conc__ws_end(conc__ws.p_listen((conc__ws_socket)fd, backlog), saved);
}

int conc__port_socket_accept(intptr_t fd, intptr_t *conn, conc_address *peer) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    ULONG on = 1;
    int size = (int)sizeof s, e = CONC__FAULT("accept", WSAEMFILE, WSAECONNABORTED, WSAENOBUFS);
    conc__ws_socket c;
    *conn = -1;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    c = conc__ws.p_accept((conc__ws_socket)fd, &s, &size);
    if (c == CONC__WS_NONE) {
        e = conc__ws_end(-1, saved);
        return e == WSAECONNRESET ? WSAECONNABORTED : e;
    }
    (void)SetHandleInformation((HANDLE)c, HANDLE_FLAG_INHERIT, 0);
    e = conc__ws_end(conc__ws.p_ioctlsocket(c, (long)0x8004667EL, &on), saved);
    if (e != 0) {
        conc__port_socket_close((intptr_t)c);
        return e;
    }
    if (peer != NULL) conc__sockaddr_read(&s, peer);
    *conn = (intptr_t)c;
    return 0;
}

int conc__port_socket_connect(intptr_t fd, const conc_address *a) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int size = conc__sockaddr_make(&s, a), e = CONC__FAULT("connect", WSAECONNREFUSED, WSAENETUNREACH, WSAEADDRNOTAVAIL);
    if (e == 0) e = conc__ws_end(conc__ws.p_connect((conc__ws_socket)fd, &s, size), saved);
    if (e == WSAEISCONN) return 0;
    return e == WSAEWOULDBLOCK || e == WSAEINPROGRESS || e == WSAEALREADY ? CONC__PORT_IN_PROGRESS : e;
}

int conc__port_socket_connected(intptr_t fd) {
    DWORD saved = GetLastError();
    int value = 0, size = (int)sizeof value, e = CONC__FAULT("getsockopt: SO_ERROR", WSAETIMEDOUT, WSAEHOSTUNREACH);
    if (e == 0) {
        e = conc__ws_end(conc__ws.p_getsockopt((conc__ws_socket)fd, CONC__WS_SOL_SOCKET, 0x1007, &value, &size), saved);
    }
    return e != 0 ? e : value;
}

static int conc__ws_size(size_t size) {
    return size > INT32_MAX ? INT32_MAX : (int)size;
}

int conc__port_socket_send(intptr_t fd, const void *data, size_t size, size_t *done) {
    DWORD saved = GetLastError();
    int n, e = CONC__FAULT("send", WSAECONNRESET, WSAENOBUFS);
    *done = 0;
    if (e != 0) return e;
    n = conc__ws.p_send((conc__ws_socket)fd, data, conc__ws_size(size), 0);
    if (n > 0) *done = (size_t)n;
    return conc__ws_end(n, saved);
}

int conc__port_socket_receive(intptr_t fd, void *buffer, size_t size, size_t *done) {
    DWORD saved = GetLastError();
    int n, e = CONC__FAULT("recv", WSAECONNRESET, WSAENOBUFS);
    *done = 0;
    if (e != 0) return e;
    n = conc__ws.p_recv((conc__ws_socket)fd, buffer, conc__ws_size(size), 0);
    if (n > 0) *done = (size_t)n;
    return conc__ws_end(n, saved);
}

int conc__port_socket_send_to(intptr_t fd, const void *data, size_t size, const conc_address *to, size_t *done) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int length = to != NULL ? conc__sockaddr_make(&s, to) : 0, n, e = CONC__FAULT("sendto", WSAENOBUFS, WSAEHOSTUNREACH);
    *done = 0;
    if (e != 0) return e;
    n = conc__ws.p_sendto((conc__ws_socket)fd, data, conc__ws_size(size), 0, to != NULL ? &s : NULL, length);
    if (n > 0) *done = (size_t)n;
    return conc__ws_end(n, saved);
}

int conc__port_socket_receive_from(intptr_t fd, void *buffer, size_t size, conc_address *from, size_t *done, bool *cut) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int length = (int)sizeof s, n, e = CONC__FAULT("recvfrom", WSAECONNRESET, WSAENOBUFS);
    *done = 0;
    *cut = false;
    if (e != 0) return e;
    memset(&s, 0, sizeof s);
    n = conc__ws.p_recvfrom((conc__ws_socket)fd, buffer, conc__ws_size(size), 0, &s, &length);
    e = conc__ws_end(n, saved);
    if (e == WSAEMSGSIZE) {
        *cut = true;
        n = conc__ws_size(size);
        e = 0;
    }
    if (n > 0) *done = (size_t)n;
    if (e == 0 && from != NULL) conc__sockaddr_read(&s, from);
    return e;
}

int conc__port_socket_shutdown(intptr_t fd, unsigned sides) {
    DWORD saved = GetLastError();
    int how = sides == CONC__PORT_READ ? 0 : sides == CONC__PORT_WRITE ? 1 : 2;
    return conc__ws_end(conc__ws.p_shutdown((conc__ws_socket)fd, how), saved);
}

int conc__port_socket_name(intptr_t fd, bool peer, conc_address *a) {
    conc__sockaddr s;
    DWORD saved = GetLastError();
    int size = (int)sizeof s, e = CONC__FAULT("getsockname", WSAENOBUFS);
    memset(&s, 0, sizeof s);
    if (e == 0) {
        e = conc__ws_end(peer ? conc__ws.p_getpeername((conc__ws_socket)fd, &s, &size)
                              : conc__ws.p_getsockname((conc__ws_socket)fd, &s, &size),
                         saved);
    }
    conc__sockaddr_read(&s, a);
    return e;
}

int conc__port_socket_option(intptr_t fd, conc__port_option option, int value) {
    DWORD saved = GetLastError();
    int level = CONC__WS_SOL_SOCKET, name = 0, e = CONC__FAULT("setsockopt", WSAENOPROTOOPT);
    switch (option) {
    case CONC__PORT_REUSE_ADDRESS: name = ~4; break; /* EXCLUSIVEADDRUSE: what the other is elsewhere is always so here, and
                                                        what is called so here would share the port with anybody */
    case CONC__PORT_V6_ONLY:
        level = 41;
        name = 27;
        break;
    case CONC__PORT_NO_DELAY:
        level = 6;
        name = 1;
        break;
    case CONC__PORT_KEEP_ALIVE: name = 8; break;
    case CONC__PORT_BROADCAST: name = 0x20; break;
    case CONC__PORT_SEND_BUFFER: name = 0x1001; break;
    case CONC__PORT_RECEIVE_BUFFER: name = 0x1002; break;
    case CONC__PORT_REUSE_PORT:
    case CONC__PORT_OPTIONS:
    default: break;
    }
    if (e != 0) return e;
    if (name == 0) return WSAENOPROTOOPT;
    return conc__ws_end(conc__ws.p_setsockopt((conc__ws_socket)fd, level, name, &value, (int)sizeof value), saved);
}

conc__port_kind conc__port_kind_of(int error) {
    switch (error) {
    case WSAEWOULDBLOCK: return CONC__PORT_WOULD_BLOCK;
    case WSAEMFILE: return CONC__PORT_TABLE_FULL;
    case WSAENOBUFS:
    case ERROR_NOT_ENOUGH_MEMORY: return CONC__PORT_NO_BUFFERS;
    case WSAENETDOWN: return CONC__PORT_ABORTED;
    case WSAECONNABORTED:
    case WSAECONNRESET:
    case WSAECONNREFUSED:
    case WSAENETRESET:
    case WSAESHUTDOWN:
    case WSAETIMEDOUT: return CONC__PORT_BROKEN;
    default: return CONC__PORT_OTHER;
    }
}

/* ---- signals ---------------------------------------------------------------------------------------------------
 * A socket that sends datagrams to itself; being connected, it hears nobody else. One that has not been received holds as
 * many signals as come until then, so it does no harm if more find no room. */

int CONC__PORT(signal_open)(conc__port_signal *s) {
    conc_address a;
    int e;
    memset(&a, 0, sizeof a);
    a.family = 4;
    a.ip[0] = 127;
    a.ip[3] = 1;
    s->fd[1] = -1;
    e = conc__port_socket(4, false, &s->fd[0]);
    if (e == 0) e = conc__port_socket_bind(s->fd[0], &a);
    if (e == 0) e = conc__port_socket_name(s->fd[0], false, &a);
    if (e == 0) e = conc__port_socket_connect(s->fd[0], &a);
    if (e != 0) conc__port_signal_close(s);
    return e;
}

void CONC__PORT(signal_close)(conc__port_signal *s) {
    conc__port_socket_close(s->fd[0]);
    s->fd[0] = -1;
}

void CONC__PORT(signal_raise)(conc__port_signal *s) {
    DWORD saved = GetLastError();
    unsigned tries = 0;
    /* Another thread's call on the socket may be in the way (Wine's sockets answer so); a signal that is lost is a hang. */
    while (conc__ws.p_send((conc__ws_socket)s->fd[0], "", 1, 0) < 0 && GetLastError() == WSAEWOULDBLOCK && ++tries < 1000000) {
        conc__port_yield();
    }
    SetLastError(saved);
}

void CONC__PORT(signal_clear)(conc__port_signal *s) {
    DWORD saved = GetLastError();
    char c[8];
    while (conc__ws.p_recv((conc__ws_socket)s->fd[0], c, (int)sizeof c, 0) > 0) {
    }
    SetLastError(saved);
}

/* ---- poll -------------------------------------------------------------------------------------------------------- */

/* Which of them are no sockets: WSAPoll() may refuse them all for one of them. */
static int conc__ws_find_bad(conc__port_pollfd *fds, size_t n) {
    size_t i;
    int bad = 0;
    for (i = 0; i < n; i++) {
        int type, size = (int)sizeof type;
        if (fds[i].fd != -1 && conc__ws.p_getsockopt((conc__ws_socket)fds[i].fd, CONC__WS_SOL_SOCKET, 0x1008, &type, &size) != 0) {
            fds[i].got = CONC__PORT_BAD;
            bad++;
        }
    }
    return bad;
}

/* As in conc__port_wait(), it is our clock that decides whether the deadline has passed. */
int CONC__PORT(poll_in)(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    conc__ws_pollfd *p = (conc__ws_pollfd *)scratch;
    DWORD saved = GetLastError();
    size_t i, count = 0;
    int e, ready = 0;
    *error = 0;
    e = CONC__FAULT("poll", WSAEINTR, WSAENOBUFS);
    if (e == 0 && n != 0) e = conc__ws_begin();
    if (e != 0) {
        for (i = 0; i < n; i++) fds[i].got = 0;
        *error = e;
        return e == WSAEINTR ? 0 : -1;
    }
    for (;;) {
        int64_t left = INT64_MAX;
        int ms = -1, answer;
        if (deadline_ns != INT64_MAX) {
            int64_t now = deadline_ns == INT64_MIN ? 0 : conc__port_clock_ns();
            left = deadline_ns > now ? deadline_ns - now : 0;
            ms = left / 1000000 >= 0x7ffffff0 ? 0x7ffffff0 : (int)(left / 1000000 + (left % 1000000 != 0));
        }
        for (i = count = 0; i < n; i++) {
            fds[i].got = 0;
            if (fds[i].fd == -1) continue; /* WSAPoll() would call them invalid */
            p[count].fd = (conc__ws_socket)fds[i].fd;
            p[count].events = (SHORT)(((fds[i].want & CONC__PORT_READ) != 0 ? CONC__WS_POLLIN : 0) |
                                      ((fds[i].want & CONC__PORT_WRITE) != 0 ? CONC__WS_POLLOUT : 0));
            p[count].revents = 0;
            count++;
        }
        if (count == 0) { /* it does not just sleep */
            Sleep(ms < 0 ? INFINITE : (DWORD)ms);
            answer = 0;
        } else {
            answer = conc__ws.p_WSAPoll(p, (ULONG)count, ms);
        }
        if (answer == -1) {
            e = conc__ws_end(-1, saved);
            ready = e == WSAENOTSOCK ? conc__ws_find_bad(fds, n) : 0;
            if (ready == 0) {
                *error = e;
                ready = e == WSAEINTR ? 0 : -1;
            }
            break;
        }
        for (i = count = 0; answer > 0 && i < n; i++) {
            int got;
            if (fds[i].fd == -1) continue;
            got = p[count++].revents;
            fds[i].got = ((got & CONC__WS_POLLIN) != 0 ? CONC__PORT_READ : 0) |
                         ((got & CONC__WS_POLLOUT) != 0 ? CONC__PORT_WRITE : 0) |
                         ((got & (CONC__WS_POLLERR | CONC__WS_POLLHUP)) != 0 ? CONC__PORT_HUP : 0) |
                         ((got & CONC__WS_POLLNVAL) != 0 ? CONC__PORT_BAD : 0);
            if (fds[i].got != 0) ready++;
        }
        if (ready != 0 || left == 0 || (deadline_ns != INT64_MAX && conc__port_clock_ns() >= deadline_ns)) break;
    }
    SetLastError(saved);
    return ready;
}

/* ---- names -------------------------------------------------------------------------------------------------------- */

conc__port_found CONC__PORT(lookup)(const char *host, unsigned port, conc_address *list, size_t n, size_t *found, char *text,
                                    size_t size) {
    conc__ws_addrinfo hints, *all = NULL, *a;
    WCHAR name[256];
    DWORD saved = GetLastError();
    int e = conc__ws_begin(), i;
    *found = 0;
    if (e == 0) e = CONC__FAULT("GetAddrInfoW", WSATRY_AGAIN, ERROR_NOT_ENOUGH_MEMORY);
    if (e == 0 && MultiByteToWideChar(CP_UTF8, 0, host, -1, name, 256) == 0) e = WSAHOST_NOT_FOUND;
    memset(&hints, 0, sizeof hints);
    hints.socktype = CONC__WS_STREAM;
    if (e == 0) e = conc__ws.p_GetAddrInfoW(name, NULL, &hints, &all);
    SetLastError(saved);
    if (e != 0) {
        (void)conc__port_error_text(e, text, size);
        if (e == ERROR_NOT_ENOUGH_MEMORY) return CONC__PORT_LOOKUP_MEMORY;
        return e == WSAHOST_NOT_FOUND || e == WSANO_DATA ? CONC__PORT_UNKNOWN_HOST : CONC__PORT_LOOKUP_FAILED;
    }
    for (a = all; a != NULL && *found < n; a = a->next) {
        conc__sockaddr s;
        if ((a->family != CONC__WS_INET && a->family != CONC__WS_INET6) || a->length > sizeof s) continue;
        memset(&s, 0, sizeof s);
        memcpy(&s, a->address, a->length);
        i = (int)(*found)++;
        conc__sockaddr_read(&s, &list[i]);
        list[i].port = (uint16_t)port;
    }
    conc__ws.p_FreeAddrInfoW(all);
    SetLastError(saved);
    return CONC__PORT_FOUND;
}

#endif /* CONC_OS_WINDOWS */

/* ==== end src/port_net_win32.c ==== */

/* ==== begin src/port_poller.c ==== */

/* ============================================================================================
 * port_poller: what the ports' descriptors have in common: the call of poll for any number of them, and the poller of
 * systems that have nothing better than poll.
 * ========================================================================================== */

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

/* ==== end src/port_poller.c ==== */

/* ==== begin src/port_sim.c ==== */

/* ============================================================================================
 * port_sim: the simulated machine; see port_sim.h for what it is and sim.h for what it is good for.
 *
 * In this order: fibers, the world, choices, the scheduler, memory orders, memory, and then the port's functions as
 * the other modules call them, each of which is the real one's when the thread is not in a simulation.
 *
 * Nothing here is atomic and nothing is locked: one thread runs it. Where the thread sanitizer looks on, it is told
 * to look away in here, so that it sees the simulated program only.
 * ========================================================================================== */

#if defined(CONC_SIM)

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what looks on ------------------------------------------------------------------------------ */

#if defined(__SANITIZE_THREAD__)
#define CONC__SIM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONC__SIM_TSAN 1
#endif
#endif
#if !defined(CONC__SIM_TSAN)
#define CONC__SIM_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CONC__SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CONC__SIM_ASAN 1
#endif
#endif
#if !defined(CONC__SIM_ASAN)
#define CONC__SIM_ASAN 0
#endif

#if defined(__cplusplus)
extern "C" {
#endif
#if CONC__SIM_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void AnnotateHappensBefore(const char *file, int line, void *address);
void AnnotateHappensAfter(const char *file, int line, void *address);
#endif
#if CONC__SIM_ASAN
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack_save, const void **bottom_old, size_t *size_old);
void __asan_unpoison_memory_region(void const volatile *address, size_t size);
void __asan_poison_memory_region(void const volatile *address, size_t size);
#endif
#if defined(__cplusplus)
}
#endif

/* ---- contexts -----------------------------------------------------------------------------------
 * Own switches where they are known: the stack pointer and the registers that a call keeps; all others are declared
 * as overwritten. Elsewhere the system's, which are slower. */

#if CONC_OS_WINDOWS
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#define CONC__SIM_SWITCH_ASM 0
typedef void *conc__sim_context;
#elif defined(__x86_64__) && !defined(__ILP32__)
#define CONC__SIM_SWITCH_ASM 1
typedef void *conc__sim_context;
static CONC__NOINLINE void conc__sim_switch_to(void **from, void *to) {
    __asm__ __volatile__("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                         "pushq %%rbp\n\t"
                         "pushq %%rbx\n\t"
                         "leaq 1f(%%rip), %%rax\n\t"
                         "pushq %%rax\n\t"
                         "movq %%rsp, (%0)\n\t"
                         "movq %1, %%rsp\n\t"
                         "popq %%rax\n\t"
                         "jmpq *%%rax\n"
                         "1:\n\t"
                         "popq %%rbx\n\t"
                         "popq %%rbp\n\t"
                         "leaq 128(%%rsp), %%rsp"
                         : "+D"(from), "+S"(to)
                         :
                         : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}
#elif defined(__aarch64__)
#define CONC__SIM_SWITCH_ASM 1
typedef void *conc__sim_context;
static CONC__NOINLINE void conc__sim_switch_to(void **from, void *to) {
    __asm__ __volatile__("sub sp, sp, #32\n\t"
                         "stp x29, x19, [sp]\n\t"
                         "adr x9, 1f\n\t"
                         "str x9, [sp, #16]\n\t"
                         "mov x9, sp\n\t"
                         "str x9, [%0]\n\t"
                         "mov sp, %1\n\t"
                         "ldr x9, [sp, #16]\n\t"
                         "br x9\n"
                         "1:\n\t"
                         "ldp x29, x19, [sp]\n\t"
                         "add sp, sp, #32"
                         : "+r"(from), "+r"(to)
                         :
                         : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                           "x17", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v8", "v9", "v10",
                           "v11", "v12", "v13", "v14", "v15", "memory", "cc");
}
#else
#define CONC__SIM_SWITCH_ASM 0
#include <ucontext.h>
typedef ucontext_t conc__sim_context;
#endif

#if CONC__SIM_SWITCH_ASM
/* Through a pointer, so that no compiler concludes from the body which registers of the caller survive. */
static void (*volatile conc__sim_switch_through)(void **, void *) = conc__sim_switch_to;
#endif

#define CONC__SIM_STACK ((size_t)256 << 10)
#define CONC__SIM_CANARY ((uint64_t)0x5ca1ab1e0ddba11u)

/* ---- the world --------------------------------------------------------------------------------- */

enum { CONC__SIM_READY, CONC__SIM_ASLEEP, CONC__SIM_JOINS, CONC__SIM_DONE };

/* What a store carries to those who acquire it: which stores its thread had seen, per location, and its clock. */
typedef struct conc__sim_view {
    uint32_t count;                       /* of `seen` */
    uint32_t clock[CONC__SIM_FIBERS];
    uint32_t seen[1];                     /* grows */
} conc__sim_view;

typedef struct conc__sim_fiber_state {
    conc__sim_context context;
    unsigned char *stack;        /* kept from schedule to schedule */
    conc__sim_view *view;        /* likewise: which stores this fiber has to have seen, and its vector clock */
    int state;
    bool expired;                /* its sleep ended by the deadline */
    const uint32_t *sleeps_on;
    int64_t due;
    int priority;                /* PCT */
    unsigned joins;              /* the fiber it waits for */
    void *key;
    void (*fn)(void *);
    void *arg;
    int saved_errno;
    char name[32];
    const char *file, *call;     /* the user's place */
    int line;
#if CONC__SIM_TSAN
    void *tsan;
    int hidden; /* how deep in conc__sim_hide() */
#endif
#if CONC__SIM_ASAN
    void *fake_stack;
#endif
} conc__sim_fiber_state;

#define CONC__SIM_LOCATIONS 1024 /* atomic words with a history; a power of two */
#define CONC__SIM_HISTORY 8
typedef struct conc__sim_store_record {
    uint64_t value;
    const conc__sim_view *view; /* NULL: it publishes nothing */
} conc__sim_store_record;
typedef struct conc__sim_location {
    uint32_t latest;     /* stores are numbered from 0 */
    uint32_t oldest;     /* that a load may still see */
    uint32_t latest_sc;  /* the latest sequentially consistent one */
    conc__sim_store_record stores[CONC__SIM_HISTORY];
} conc__sim_location;

#define CONC__SIM_MARKS 256 /* places of marked data; a power of two */
typedef struct conc__sim_mark {
    const void *address;
    uint32_t epoch;                              /* schedule */
    uint32_t write_clock, read_clock[CONC__SIM_FIBERS];
    uint8_t writer;
    const char *write_file, *read_file[CONC__SIM_FIBERS];
    int write_line, read_line[CONC__SIM_FIBERS];
} conc__sim_mark;

/* From address to number; entries of earlier schedules are as good as empty. */
#define CONC__SIM_NUMBERS 4096
typedef struct conc__sim_numbered {
    uintptr_t address;
    uint32_t epoch, number;
} conc__sim_numbered;

#define CONC__SIM_CHOICES 65536
typedef struct conc__sim_choice {
    uint8_t taken, of;
} conc__sim_choice;

#define CONC__SIM_ARENA ((size_t)8 << 20)
#define CONC__SIM_VIEWS ((size_t)24 << 20)
#define CONC__SIM_EVENTS 20000

typedef struct conc__sim_block {
    size_t size;
    const char *file, *call;
    int line;
    bool live;
} conc__sim_block;
#define CONC__SIM_BLOCK ((sizeof(conc__sim_block) + 15u) & ~(size_t)15u)

static struct conc__sim_world {
    conc__sim_plan plan;
    conc__sim_outcome *outcome;
    conc__sim_context host;
    uint64_t random;
    uint32_t epoch;              /* number of the schedule: marks what is of this one */
    int64_t now;
    unsigned current, count;     /* fibers */
    uint32_t ready, yielded, asleep, timed; /* sets of fibers; timed: those asleep with a deadline */
    uint32_t switch_below;       /* random: switch when a 32-bit number is below it */
    bool early, heavy;
    int lowest;                  /* PCT */
    uint32_t change[8];          /* PCT: the points at which a priority falls; ascending */
    unsigned change_count, change_next;
    unsigned preemptions_left;   /* depth first */
    size_t depth, choice_count;  /* of choices: made in this schedule; known from earlier ones */
    bool replaying;              /* beyond the known choices each is 0, and none is counted as preemption */
    conc__sim_choice *choices;
    conc__sim_numbered *numbers;
    uint32_t number_count, number_mask;
    conc__sim_location *locations;
    conc__sim_numbered *located;
    uint32_t location_count;
    conc__sim_mark *marks;
    unsigned char *arena, *views;
    size_t arena_used, views_used;
    uint8_t *freed;              /* of each 16 bytes of the arena: freed */
    conc__sim_event *events;
    size_t event_count;
    void (*key_destroy)(void *);
    conc__sim_fiber_state fibers[CONC__SIM_FIBERS];
#if CONC__SIM_TSAN
    void *host_tsan;
#endif
#if CONC__SIM_ASAN
    void *host_fake;
    const void *host_bottom;
    size_t host_size;
#endif
} conc__sim;

static __thread bool conc__sim_here; /* this thread is in a simulation: what runs is a fiber */

/* Around everything that is the simulator's own work. */
static void conc__sim_hide(void) {
#if CONC__SIM_TSAN
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    if (conc__sim_here) conc__sim.fibers[conc__sim.current].hidden++;
#endif
}

static void conc__sim_show(void) {
#if CONC__SIM_TSAN
    if (conc__sim_here) conc__sim.fibers[conc__sim.current].hidden--;
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
#endif
}

bool conc__sim_is_here(void) {
    return conc__sim_here;
}

static conc__sim_fiber_state *conc__sim_me(void) {
    return &conc__sim.fibers[conc__sim.current];
}

static void conc__sim_event_add(conc__sim_event_kind kind, unsigned other, const char *text, const void *object,
                                uint64_t before, uint64_t after) {
    const conc__sim_fiber_state *me = conc__sim_me();
    conc__sim_event *e;
    if (!conc__sim.plan.trace || conc__sim.event_count == CONC__SIM_EVENTS) return;
    e = &conc__sim.events[conc__sim.event_count++];
    e->point = conc__sim.outcome->points;
    e->kind = (uint8_t)kind;
    e->fiber = (uint8_t)conc__sim.current;
    e->other = (uint8_t)other;
    e->file = me->file;
    e->line = me->line;
    e->text = text;
    e->object = object;
    e->before = before;
    e->after = after;
}

size_t conc__sim_events(const conc__sim_event **events) {
    *events = conc__sim.events;
    return conc__sim.event_count;
}

bool conc__sim_fiber(unsigned i, conc__sim_who *who) {
    const conc__sim_fiber_state *f = &conc__sim.fibers[i];
    if (i >= conc__sim.count) return false;
    who->name = f->name;
    who->file = f->file;
    who->line = f->line;
    who->call = f->call;
    who->done = f->state == CONC__SIM_DONE;
    who->agent = f->key;
    return true;
}

/* ---- from fiber to fiber --------------------------------------------------------------------------- */

static void conc__sim_fiber_main(void);

#if CONC_OS_WINDOWS
static VOID CALLBACK conc__sim_fiber_entry(void *unused) {
    (void)unused;
    conc__sim_fiber_main();
}
#else
static void conc__sim_fiber_entry(void) {
    conc__sim_fiber_main();
}
#endif

/* Makes fiber `i`, whose stack is there, ready to be switched to for the first time. */
static bool conc__sim_context_make(unsigned i) {
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
#if CONC_OS_WINDOWS
    if (f->context != NULL) DeleteFiber(f->context);
    f->context = CreateFiberEx(0, CONC__SIM_STACK, 0, conc__sim_fiber_entry, NULL);
    if (f->context == NULL) return false;
#elif CONC__SIM_SWITCH_ASM
    void **top = (void **)(void *)(f->stack + CONC__SIM_STACK);
    void (*entry)(void) = conc__sim_fiber_entry;
#if defined(__x86_64__)
    top -= 8; /* a multiple of 16: after the jump the stack is as after a call */
    memcpy(top, &entry, sizeof entry);
#else
    top -= 4;
    memcpy(top + 2, &entry, sizeof entry);
#endif
    f->context = top;
#else
    if (getcontext(&f->context) != 0) return false;
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = CONC__SIM_STACK;
    f->context.uc_link = NULL;
    makecontext(&f->context, conc__sim_fiber_entry, 0);
#endif
#if CONC__SIM_ASAN
    __asan_unpoison_memory_region(f->stack, CONC__SIM_STACK); /* what an abandoned fiber left */
    f->fake_stack = NULL;
#endif
#if CONC__SIM_TSAN
    f->hidden = 0;
    f->tsan = __tsan_create_fiber(0); /* begins with what its maker has seen */
#endif
    return true;
}

static void conc__sim_context_switch(conc__sim_context *from, conc__sim_context *to) {
#if CONC_OS_WINDOWS
    (void)from;
    SwitchToFiber(*to);
#elif CONC__SIM_SWITCH_ASM
    conc__sim_switch_through(from, *to);
#else
    (void)swapcontext(from, to);
#endif
}

/* On with fiber `i`. The calling fiber goes on when somebody calls this with its number. */
static void conc__sim_go(unsigned i) {
    conc__sim_fiber_state *from = conc__sim_me(), *to = &conc__sim.fibers[i];
    if (from == to) return;
    from->saved_errno = errno;
    conc__sim.current = i;
#if CONC__SIM_ASAN
    __sanitizer_start_switch_fiber(from->state == CONC__SIM_DONE ? NULL : &from->fake_stack, to->stack,
                                   CONC__SIM_STACK);
#endif
#if CONC__SIM_TSAN
    __tsan_switch_to_fiber(to->tsan, 1); /* 1: which is no synchronisation */
#endif
    conc__sim_context_switch(&from->context, &to->context);
#if CONC__SIM_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
    errno = from->saved_errno;
}

/* Out of the simulation, for good. */
static CONC__NORETURN void conc__sim_leave(void) {
    conc__sim_fiber_state *from = conc__sim_me();
    conc__sim_here = false;
#if CONC__SIM_ASAN
    __sanitizer_start_switch_fiber(NULL, conc__sim.host_bottom, conc__sim.host_size);
#endif
#if CONC__SIM_TSAN
    __tsan_switch_to_fiber(conc__sim.host_tsan, 0);
#endif
    conc__sim_context_switch(&from->context, &conc__sim.host);
    abort(); /* nobody comes back to it */
}

static CONC__NORETURN void conc__sim_stopv(conc_sim_verdict, const char *, va_list) CONC__PRINTF(2, 0);
static void conc__sim_stopv(conc_sim_verdict verdict, const char *format, va_list args) {
    conc__sim_outcome *o = conc__sim.outcome;
    o->verdict = verdict;
    (void)vsnprintf(o->text, sizeof o->text, format, args);
    conc__sim_leave();
}

void conc__sim_stop(conc_sim_verdict verdict, const char *format, ...) {
    va_list args;
    if (!conc__sim_here) return;
    conc__sim_hide();
    va_start(args, format);
    conc__sim_stopv(verdict, format, args);
}

/* ---- choices ------------------------------------------------------------------------------------------ */

static uint64_t conc__sim_mix(uint64_t x) { /* splitmix64's finalizer */
    x ^= x >> 30;
    x *= (uint64_t)0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= (uint64_t)0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint32_t conc__sim_random(void) { /* xorshift64* */
    uint64_t x = conc__sim.random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    conc__sim.random = x;
    return (uint32_t)(x * (uint64_t)0x2545f4914f6cdd1du >> 32);
}

static uint32_t conc__sim_below(uint32_t n) {
    return (uint32_t)((uint64_t)conc__sim_random() * n >> 32);
}

/* One of n, by the strategy; depth first comes back for the others. */
static unsigned conc__sim_pick_one(unsigned n) {
    conc__sim_choice *c;
    if (n < 2) return 0;
    if (conc__sim.plan.strategy != CONC__SIM_DEPTH) return conc__sim_below(n);
    if (conc__sim.depth == CONC__SIM_CHOICES || n > 255) {
        conc__sim_stop(CONC_SIM_LIMIT, "more than %d choices in one schedule", CONC__SIM_CHOICES);
    }
    c = &conc__sim.choices[conc__sim.depth++];
    if (conc__sim.depth > conc__sim.choice_count) {
        conc__sim.choice_count = conc__sim.depth;
        c->taken = 0;
        c->of = (uint8_t)n;
    } else if (c->of == 0 && c->taken < n) {
        c->of = (uint8_t)n; /* a replay, which does not know */
    } else if (c->of != n) {
        conc__sim_stop(CONC_SIM_UNSTABLE, "the function does not do the same each time: at choice %u there were %u "
                                          "possibilities before, and now %u",
                       (unsigned)conc__sim.depth, (unsigned)c->of, n);
    }
    return c->taken;
}

unsigned conc__sim_choose(unsigned n) {
    unsigned i;
    if (!conc__sim_here) return 0;
    conc__sim_hide();
    i = conc__sim_pick_one(n);
    conc__sim_show();
    return i;
}

void conc__sim_depth_begin(void) {
    conc__sim.choice_count = 0;
}

bool conc__sim_depth_next(void) {
    size_t n = conc__sim.depth; /* what lies beyond was not reached this time, and is not known for the next */
    while (n > 0 && conc__sim.choices[n - 1].taken + 1u == conc__sim.choices[n - 1].of) n--;
    conc__sim.choice_count = n;
    if (n == 0) return false;
    conc__sim.choices[n - 1].taken++;
    return true;
}

bool conc__sim_depth_choices(char *text, size_t size) {
    size_t i, length = 0;
    text[0] = '\0';
    for (i = 0; i < conc__sim.depth; i++) {
        if (conc__sim.choices[i].taken == 0) continue;
        if (length + 16 > size) return false;
        length += (size_t)snprintf(text + length, size - length, "%s%u.%u", length != 0 ? "," : "", (unsigned)i,
                                   (unsigned)conc__sim.choices[i].taken);
    }
    if (length == 0) (void)snprintf(text, size, "0.0");
    return true;
}

bool conc__sim_depth_replay(const char *text) {
    size_t count = 0;
    if (conc__sim.choices == NULL) return false;
    memset(conc__sim.choices, 0, CONC__SIM_CHOICES * sizeof *conc__sim.choices);
    while (*text != '\0') {
        char *end;
        unsigned long place = strtoul(text, &end, 10), taken;
        if (end == text || *end != '.' || place >= CONC__SIM_CHOICES) return false;
        text = end + 1;
        taken = strtoul(text, &end, 10);
        if (end == text || (*end != ',' && *end != '\0') || taken > 255) return false;
        conc__sim.choices[place].taken = (uint8_t)taken;
        if (place + 1 > count) count = place + 1;
        text = *end == ',' ? end + 1 : end;
    }
    conc__sim.choice_count = count;
    return true;
}

/* ---- sets of fibers ------------------------------------------------------------------------------------- */

static unsigned conc__sim_size(uint32_t set) {
    return (unsigned)__builtin_popcount(set);
}

static unsigned conc__sim_member(uint32_t set, unsigned n) { /* the n-th */
    while (n-- > 0) set &= set - 1;
    return (unsigned)__builtin_ctz(set);
}

/* ---- the scheduler ---------------------------------------------------------------------------------------- */

static void conc__sim_awake(unsigned i, bool expired) {
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
    f->state = CONC__SIM_READY;
    f->expired = expired;
    conc__sim.ready |= 1u << i;
    conc__sim.asleep &= ~(1u << i);
    conc__sim.timed &= ~(1u << i);
}

/* The deadline of sleeper `i` passes: now, whatever the others do. */
static void conc__sim_expire(unsigned i) {
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
    if (conc__sim.now < f->due) conc__sim.now = f->due;
    conc__sim_event_add(CONC__SIM_EXPIRE, i, NULL, NULL, 0, 0);
    conc__sim_awake(i, true);
}

const char *conc__sim_base(const char *file) {
    const char *slash = strrchr(file, '/');
    return slash != NULL ? slash + 1 : file;
}

static void conc__sim_deadlocked(void) {
    char text[CONC__SIM_TEXT - 64];
    size_t length = 0;
    unsigned i;
    text[0] = '\0';
    for (i = 0; i < conc__sim.count; i++) {
        const conc__sim_fiber_state *f = &conc__sim.fibers[i];
        if (f->state == CONC__SIM_DONE || length + 100 > sizeof text) continue;
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length != 0 ? ", " : "", f->name);
        if (f->file != NULL) {
            length += (size_t)snprintf(text + length, sizeof text - length, " at %.60s:%d", conc__sim_base(f->file), f->line);
        }
        if (length >= sizeof text) length = sizeof text - 1;
    }
    conc__sim_stop(CONC_SIM_DEADLOCK, "nobody can go on: %s", text);
}

static unsigned conc__sim_highest(uint32_t set) {
    unsigned best = (unsigned)__builtin_ctz(set);
    for (set &= set - 1; set != 0; set &= set - 1) {
        unsigned i = (unsigned)__builtin_ctz(set);
        if (conc__sim.fibers[i].priority > conc__sim.fibers[best].priority) best = i;
    }
    return best;
}

/* Who goes on. */
static unsigned conc__sim_next(void) {
    uint32_t can, me = 1u << conc__sim.current;
    uint32_t r = 0;
    if (conc__sim.plan.strategy != CONC__SIM_DEPTH) {
        r = conc__sim_random();
        if (conc__sim.early && (r & 31u) == 0 && conc__sim.fibers[0].state != CONC__SIM_DONE) {
            if ((r & 32u) != 0 && conc__sim.timed != 0) {
                uint32_t set = conc__sim.timed;
                conc__sim_expire(conc__sim_member(set, conc__sim_below(conc__sim_size(set))));
            } else if ((r & 192u) == 0 && conc__sim.asleep != 0) {
                unsigned i = conc__sim_member(conc__sim.asleep, conc__sim_below(conc__sim_size(conc__sim.asleep)));
                conc__sim_event_add(CONC__SIM_SPURIOUS, i, NULL, NULL, 0, 0);
                conc__sim_awake(i, false);
            }
        }
    }
    if (conc__sim.fibers[0].state == CONC__SIM_DONE && conc__sim.ready == 0) conc__sim_leave(); /* what is left, is left */
    while (conc__sim.ready == 0) {
        /* Nobody: then it is the clock's turn. Any deadline may be the next to be noticed. */
        uint32_t set = conc__sim.timed;
        if (set == 0) conc__sim_deadlocked();
        conc__sim_expire(conc__sim_member(set, conc__sim_pick_one(conc__sim_size(set))));
    }
    can = conc__sim.ready & ~conc__sim.yielded;
    if (can == 0) { /* all have offered: the offers are used up */
        conc__sim.yielded = 0;
        can = conc__sim.ready;
        if ((conc__sim.ready & ~me) != 0) can &= ~me;
    }
    switch (conc__sim.plan.strategy) {
    case CONC__SIM_RANDOM:
        if ((can & me) != 0 && (r ^ r << 13) >= conc__sim.switch_below) return conc__sim.current;
        return conc__sim_member(can, conc__sim_below(conc__sim_size(can)));
    case CONC__SIM_PCT:
        if (conc__sim.change_next < conc__sim.change_count &&
            conc__sim.outcome->points >= conc__sim.change[conc__sim.change_next]) {
            conc__sim_me()->priority = --conc__sim.lowest;
            conc__sim.change_next++;
        }
        return conc__sim_highest(can);
    default: break;
    }
    /* Depth first. To leave one that could go on is a preemption; so is a deadline that need not pass yet. */
    if ((can & me) != 0) {
        uint32_t others = conc__sim.ready & ~me; /* those that have offered too: that costs no less */
        unsigned n = conc__sim_size(others), chosen;
        if (conc__sim.preemptions_left == 0) return conc__sim.current;
        chosen = conc__sim_pick_one(1 + n + conc__sim_size(conc__sim.timed));
        if (chosen == 0) return conc__sim.current;
        conc__sim.preemptions_left--;
        if (chosen <= n) return conc__sim_member(others, chosen - 1);
        chosen = conc__sim_member(conc__sim.timed, chosen - 1 - n);
        conc__sim_expire(chosen);
        return chosen;
    } else {
        unsigned n = conc__sim_size(can), early = 0, chosen;
        if (conc__sim.preemptions_left > 0) early = conc__sim_size(conc__sim.timed);
        chosen = conc__sim_pick_one(n + early);
        if (chosen < n) return conc__sim_member(can, chosen);
        conc__sim.preemptions_left--;
        chosen = conc__sim_member(conc__sim.timed, chosen - n);
        conc__sim_expire(chosen);
        return chosen;
    }
}

/* The world may go on elsewhere. */
static void conc__sim_point(void) {
    unsigned next;
    if (++conc__sim.outcome->points > conc__sim.plan.max_points) {
        const conc__sim_fiber_state *me = conc__sim_me();
        if (conc__sim.fibers[0].state == CONC__SIM_DONE) conc__sim_leave(); /* a daemon that never sleeps */
        conc__sim_stop(CONC_SIM_LIVELOCK, "%u points, and no end: %s goes on at %s:%d", (unsigned)conc__sim.plan.max_points,
                       me->name, me->file != NULL ? me->file : "?", me->line);
    }
    next = conc__sim_next();
    conc__sim.yielded &= ~(1u << next);
    /* An offer holds until another has done something; depth first, until all have offered, so that two that offer in a
     * loop cannot keep a third from going on. */
    if (conc__sim.plan.strategy == CONC__SIM_RANDOM && next != conc__sim.current) conc__sim.yielded &= 1u << conc__sim.current;
    conc__sim_go(next);
}

/* The current fiber can not go on until somebody makes it ready. */
static void conc__sim_blocked(void) {
    conc__sim.ready &= ~(1u << conc__sim.current);
    conc__sim_point();
}

/* ---- views and clocks -------------------------------------------------------------------------------------- */

/* What a fiber has seen of `location`. (A view has room for all locations there are when it is made; a fiber's own, for all
 * there can be.) */
static uint32_t *conc__sim_seen_at(conc__sim_view *v, uint32_t location) {
    while (v->count <= location) v->seen[v->count++] = 0;
    return &v->seen[location];
}

static void conc__sim_join_into(conc__sim_view *v, const conc__sim_view *from) {
    uint32_t i;
    if (from == NULL) return;
    for (i = 0; i < conc__sim.count; i++) {
        if (from->clock[i] > v->clock[i]) v->clock[i] = from->clock[i];
    }
    for (i = 0; i < from->count; i++) {
        uint32_t *mine = conc__sim_seen_at(v, i);
        if (from->seen[i] > *mine) *mine = from->seen[i];
    }
}

/* A copy of the fiber's view for a store to carry, joined with `more`. */
static const conc__sim_view *conc__sim_snapshot(const conc__sim_view *v, const conc__sim_view *more) {
    size_t n = sizeof(conc__sim_view) + conc__sim.location_count * sizeof(uint32_t);
    conc__sim_view *copy = (conc__sim_view *)(void *)(conc__sim.views + conc__sim.views_used);
    n = (n + 15u) & ~(size_t)15u;
    if (conc__sim.views_used + n > CONC__SIM_VIEWS) {
        conc__sim_stop(CONC_SIM_LIMIT, "too long to follow in weak memory: %u points", (unsigned)conc__sim.outcome->points);
    }
    conc__sim.views_used += n;
    memcpy(copy->clock, v->clock, sizeof copy->clock);
    memcpy(copy->seen, v->seen, v->count * sizeof v->seen[0]);
    copy->count = v->count;
    conc__sim_join_into(copy, more);
    return copy;
}

/* The entry of `address` in a table, new if it has none in this schedule. */
static conc__sim_numbered *conc__sim_entry(conc__sim_numbered *table, const void *address, uint32_t *count) {
    uintptr_t a = (uintptr_t)address;
    size_t i = (size_t)((uint64_t)(a >> 2) * (uint64_t)0x9E3779B97F4A7C15u >> 52); /* 4096 */
    for (;; i = (i + 1) % CONC__SIM_NUMBERS) {
        conc__sim_numbered *n = &table[i];
        if (n->epoch == conc__sim.epoch && n->address == a) return n;
        if (n->epoch != conc__sim.epoch) {
            if (*count == CONC__SIM_NUMBERS / 4) {
                conc__sim_stop(CONC_SIM_LIMIT, "more than %d addresses", CONC__SIM_NUMBERS / 4);
            }
            n->epoch = conc__sim.epoch;
            n->address = a;
            n->number = (*count)++;
            return n;
        }
    }
}

uint64_t conc__sim_number(const void *address) {
    uint64_t n;
    /* Fibonacci hashing (Knuth, TAOCP 3, 6.4): the product's high bits. */
    if (!conc__sim_here) return (uint64_t)((uintptr_t)address >> 2) * (uint64_t)0x9E3779B97F4A7C15u >> 54;
    conc__sim_hide();
    n = conc__sim_entry(conc__sim.numbers, address, &conc__sim.number_count)->number & conc__sim.number_mask;
    conc__sim_show();
    return n;
}

/* ---- atomics ------------------------------------------------------------------------------------------------- */

/* In memory, for real: with the order that was asked for, so that the thread sanitizer sees it. */
#define CONC__SIM_RAW(T, s)                                                                        \
    static uint64_t conc__sim_raw_load##s(const T *a, int o) {                                     \
        if (o == CONC__RELAXED) return __atomic_load_n(a, __ATOMIC_RELAXED);                       \
        if (o == CONC__ACQUIRE) return __atomic_load_n(a, __ATOMIC_ACQUIRE);                       \
        return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                               \
    }                                                                                              \
    static void conc__sim_raw_store##s(T *a, uint64_t v, int o) {                                  \
        if (o == CONC__RELAXED) __atomic_store_n(a, (T)v, __ATOMIC_RELAXED);                       \
        else if (o == CONC__RELEASE) __atomic_store_n(a, (T)v, __ATOMIC_RELEASE);                  \
        else __atomic_store_n(a, (T)v, __ATOMIC_SEQ_CST);                                          \
    }                                                                                              \
    static uint64_t conc__sim_raw_rmw##s(T *a, conc__sim_rmw_kind k, uint64_t v64, int o) {        \
        T v = (T)v64;                                                                              \
        switch (k) {                                                                               \
        case CONC__SIM_SWAP: CONC__SIM_ORDERED(__atomic_exchange_n)                                \
        case CONC__SIM_ADD: CONC__SIM_ORDERED(__atomic_fetch_add)                                  \
        case CONC__SIM_OR: CONC__SIM_ORDERED(__atomic_fetch_or)                                    \
        default: CONC__SIM_ORDERED(__atomic_fetch_and)                                             \
        }                                                                                          \
    }                                                                                              \
    static bool conc__sim_raw_cas##s(T *a, T *expected, uint64_t v64, int o) {                     \
        T v = (T)v64;                                                                              \
        if (o == CONC__RELAXED)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
        if (o == CONC__ACQUIRE)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED); \
        if (o == CONC__RELEASE)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED); \
        if (o == CONC__ACQ_REL)                                                                    \
            return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED); \
        return __atomic_compare_exchange_n(a, expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED); \
    }
#define CONC__SIM_ORDERED(f)                                                                       \
    if (o == CONC__RELAXED) return f(a, v, __ATOMIC_RELAXED);                                      \
    if (o == CONC__ACQUIRE) return f(a, v, __ATOMIC_ACQUIRE);                                      \
    if (o == CONC__RELEASE) return f(a, v, __ATOMIC_RELEASE);                                      \
    if (o == CONC__ACQ_REL) return f(a, v, __ATOMIC_ACQ_REL);                                      \
    return f(a, v, __ATOMIC_SEQ_CST);
CONC__SIM_RAW(uint32_t, 32)
CONC__SIM_RAW(uint64_t, 64)
#undef CONC__SIM_ORDERED
#undef CONC__SIM_RAW

static uint64_t conc__sim_raw_load(const void *a, size_t size, int o) {
    return size == 4 ? conc__sim_raw_load32((const uint32_t *)a, o) : conc__sim_raw_load64((const uint64_t *)a, o);
}

static void conc__sim_raw_store(void *a, size_t size, uint64_t v, int o) {
    if (size == 4) {
        conc__sim_raw_store32((uint32_t *)a, v, o);
    } else {
        conc__sim_raw_store64((uint64_t *)a, v, o);
    }
}

static bool conc__sim_acquires(int o) {
    return o == CONC__ACQUIRE || o == CONC__ACQ_REL || o == CONC__SEQ_CST;
}

static bool conc__sim_releases(int o) {
    return o == CONC__RELEASE || o == CONC__ACQ_REL || o == CONC__SEQ_CST;
}

/* Memory that was given back must not be touched. */
static void conc__sim_check_live(const void *a, const char *in) {
    size_t offset = (size_t)((uintptr_t)a - (uintptr_t)conc__sim.arena);
    if (offset < CONC__SIM_ARENA && conc__sim.freed[offset / 16] != 0) {
        conc__sim_stop(CONC_SIM_FREED, "%s touches memory that was freed (in %s)", conc__sim_me()->name, in);
    }
}

/* The history of `a`, whose newest value is `value`. A plain store that it does not know of (the initialisation of new
 * memory at an old address) empties it: who may write like that has the word for itself. */
static conc__sim_location *conc__sim_location_of(const void *a, uint64_t value, uint32_t *number) {
    uint32_t count = conc__sim.location_count;
    conc__sim_numbered *n = conc__sim_entry(conc__sim.located, a, &conc__sim.location_count);
    conc__sim_location *l;
    *number = n->number;
    l = &conc__sim.locations[n->number];
    if (conc__sim.location_count != count) {
        l->latest = l->oldest = l->latest_sc = 0;
        l->stores[0].value = value;
        l->stores[0].view = NULL;
    } else if (l->stores[l->latest % CONC__SIM_HISTORY].value != value) {
        l->latest++;
        l->oldest = l->latest_sc = l->latest;
        l->stores[l->latest % CONC__SIM_HISTORY].value = value;
        l->stores[l->latest % CONC__SIM_HISTORY].view = NULL;
    }
    return l;
}

/* Which store a load sees: any that is not older than one it has to know of. */
static const conc__sim_store_record *conc__sim_load_from(conc__sim_location *l, uint32_t number, int order) {
    uint32_t *seen = conc__sim_seen_at(conc__sim_me()->view, number);
    uint32_t from = *seen;
    if (from < l->oldest) from = l->oldest;
    if (order == CONC__SEQ_CST && from < l->latest_sc) from = l->latest_sc;
    if (conc__sim.plan.weak && from < l->latest && (conc__sim_random() & 1u) != 0) {
        from += conc__sim_below(l->latest - from + 1);
    } else {
        from = l->latest;
    }
    *seen = from;
    return &l->stores[from % CONC__SIM_HISTORY];
}

/* A store becomes the latest. `before`: the one that a read-modify-write has read, whose release sequence it
 * continues. */
static void conc__sim_store_to(conc__sim_location *l, uint32_t number, uint64_t value, int order,
                               const conc__sim_store_record *before) {
    conc__sim_view *mine = conc__sim_me()->view;
    const conc__sim_view *view = before != NULL ? before->view : NULL;
    conc__sim_store_record *s;
    l->latest++;
    if (l->latest - l->oldest >= CONC__SIM_HISTORY) l->oldest = l->latest - CONC__SIM_HISTORY + 1;
    if (order == CONC__SEQ_CST) l->latest_sc = l->latest;
    *conc__sim_seen_at(mine, number) = l->latest;
    if (conc__sim_releases(order)) {
        view = conc__sim_snapshot(mine, view);
        mine->clock[conc__sim.current]++;
    }
    s = &l->stores[l->latest % CONC__SIM_HISTORY];
    s->value = value;
    s->view = view;
}

uint64_t conc__sim_load(const void *a, size_t size, int order, const char *in) {
    uint64_t v, newest;
    if (!conc__sim_here) return conc__sim_raw_load(a, size, order);
    conc__sim_hide();
    conc__sim_point();
    conc__sim_check_live(a, in);
    v = newest = conc__sim_raw_load(a, size, order);
    if (conc__sim.plan.track) {
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, newest, &number);
        const conc__sim_store_record *s = conc__sim_load_from(l, number, order);
        if (conc__sim_acquires(order)) conc__sim_join_into(conc__sim_me()->view, s->view);
        v = s->value;
    }
    conc__sim_event_add(v == newest ? CONC__SIM_ATOMIC : CONC__SIM_STALE, 0, in, a, newest, v);
    conc__sim_show();
    return v;
}

void conc__sim_store(void *a, size_t size, uint64_t v, int order, const char *in) {
    uint64_t old;
    if (!conc__sim_here) {
        conc__sim_raw_store(a, size, v, order);
        return;
    }
    conc__sim_hide();
    conc__sim_point();
    conc__sim_check_live(a, in);
    old = conc__sim_raw_load(a, size, CONC__RELAXED);
    if (conc__sim.plan.track) {
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, old, &number);
        conc__sim_store_to(l, number, size == 4 ? (uint32_t)v : v, order, NULL);
    }
    conc__sim_raw_store(a, size, v, order);
    conc__sim_event_add(CONC__SIM_ATOMIC, 0, in, a, old, v);
    conc__sim_show();
}

uint64_t conc__sim_rmw(void *a, size_t size, conc__sim_rmw_kind kind, uint64_t v, int order, const char *in) {
    uint64_t old;
    bool here = conc__sim_here;
    if (here) {
        conc__sim_hide();
        conc__sim_point();
        conc__sim_check_live(a, in);
    }
    old = size == 4 ? conc__sim_raw_rmw32((uint32_t *)a, kind, v, order)
                    : conc__sim_raw_rmw64((uint64_t *)a, kind, v, order);
    if (here) {
        uint64_t now = conc__sim_raw_load(a, size, CONC__RELAXED);
        if (conc__sim.plan.track) {
            uint32_t number;
            conc__sim_location *l = conc__sim_location_of(a, old, &number);
            const conc__sim_store_record before = l->stores[l->latest % CONC__SIM_HISTORY];
            if (conc__sim_acquires(order)) conc__sim_join_into(conc__sim_me()->view, before.view);
            conc__sim_store_to(l, number, now, order, &before);
        }
        conc__sim_event_add(CONC__SIM_ATOMIC, 0, in, a, old, now);
        conc__sim_show();
    }
    return old;
}

bool conc__sim_cas(void *a, size_t size, void *expected, uint64_t v, int order, const char *in) {
    uint64_t want = size == 4 ? *(uint32_t *)expected : *(uint64_t *)expected, newest;
    bool done;
    if (!conc__sim_here) {
        return size == 4 ? conc__sim_raw_cas32((uint32_t *)a, (uint32_t *)expected, v, order)
                         : conc__sim_raw_cas64((uint64_t *)a, (uint64_t *)expected, v, order);
    }
    conc__sim_hide();
    conc__sim_point();
    conc__sim_check_live(a, in);
    newest = conc__sim_raw_load(a, size, CONC__RELAXED);
    if (conc__sim.plan.track) {
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, newest, &number);
        /* One that fails is a relaxed load; one that succeeds has read the latest. */
        const conc__sim_store_record *s = conc__sim_load_from(l, number, CONC__RELAXED);
        if (s->value != want) {
            uint64_t v_seen = s->value;
            if (size == 4) {
                *(uint32_t *)expected = (uint32_t)v_seen;
            } else {
                *(uint64_t *)expected = v_seen;
            }
            conc__sim_event_add(v_seen == newest ? CONC__SIM_ATOMIC : CONC__SIM_STALE, 0, in, a, newest, v_seen);
            conc__sim_show();
            return false;
        }
        *conc__sim_seen_at(conc__sim_me()->view, number) = l->latest;
        if (newest == want) {
            const conc__sim_store_record before = l->stores[l->latest % CONC__SIM_HISTORY];
            if (conc__sim_acquires(order)) conc__sim_join_into(conc__sim_me()->view, before.view);
            conc__sim_store_to(l, number, size == 4 ? (uint32_t)v : v, order, &before);
        }
    }
    done = size == 4 ? conc__sim_raw_cas32((uint32_t *)a, (uint32_t *)expected, v, order)
                     : conc__sim_raw_cas64((uint64_t *)a, (uint64_t *)expected, v, order);
    conc__sim_event_add(CONC__SIM_ATOMIC, 0, in, a, newest, done ? v : newest);
    conc__sim_show();
    return done;
}

/* ---- marked data ------------------------------------------------------------------------------------------------ */

static conc__sim_mark *conc__sim_mark_of(const void *address) {
    size_t i = (size_t)((uint64_t)(uintptr_t)address * (uint64_t)0x9E3779B97F4A7C15u >> 56); /* 256 */
    size_t looked;
    for (looked = 0; looked < CONC__SIM_MARKS; looked++, i = (i + 1) % CONC__SIM_MARKS) {
        conc__sim_mark *m = &conc__sim.marks[i];
        if (m->epoch == conc__sim.epoch && m->address == address) return m;
        if (m->epoch != conc__sim.epoch) {
            memset(m, 0, sizeof *m);
            m->epoch = conc__sim.epoch;
            m->address = address;
            return m;
        }
    }
    conc__sim_stop(CONC_SIM_LIMIT, "more than %d marked variables", CONC__SIM_MARKS);
    return NULL;
}

/* Clocks start at 1, so that 0 is "never". (C. Flanagan, S. Freund, "FastTrack", PLDI 2009, without its compression.) */
void conc_sim_access(const void *p, size_t size, bool write, const char *file, int line) {
    unsigned me, i;
    conc__sim_mark *m;
    const uint32_t *clock;
    (void)size; /* a variable is known by where it starts */
    if (!conc__sim_here) return;
    conc__sim_hide();
    conc__sim.outcome->marked = true;
    if (conc__sim.plan.track) {
        me = conc__sim.current;
        clock = conc__sim_me()->view->clock;
        m = conc__sim_mark_of(p);
        if (m->write_clock > clock[m->writer]) {
            conc__sim_stop(CONC_SIM_RACE, "%s %s at %s:%d what %s writes at %s:%d, and nothing orders the two",
                           conc__sim_me()->name, write ? "writes" : "reads", conc__sim_base(file), line, conc__sim.fibers[m->writer].name,
                           conc__sim_base(m->write_file), m->write_line);
        }
        for (i = 0; write && i < conc__sim.count; i++) {
            if (m->read_clock[i] > clock[i]) {
                conc__sim_stop(CONC_SIM_RACE, "%s writes at %s:%d what %s reads at %s:%d, and nothing orders the two",
                               conc__sim_me()->name, conc__sim_base(file), line, conc__sim.fibers[i].name,
                               conc__sim_base(m->read_file[i]),
                               m->read_line[i]);
            }
        }
        if (write) {
            m->writer = (uint8_t)me;
            m->write_clock = clock[me];
            m->write_file = file;
            m->write_line = line;
        } else {
            m->read_clock[me] = clock[me];
            m->read_file[me] = file;
            m->read_line[me] = line;
        }
    }
    conc__sim_show();
}

/* ---- the arena ------------------------------------------------------------------------------------------------------
 * Memory is never used twice in a schedule, so whatever is freed stays recognisable. */

void *conc__sim_malloc(size_t size) {
    conc__sim_block *b;
    size_t n;
    if (!conc__sim_here) return CONC_MALLOC(size);
    conc__sim_hide();
    n = CONC__SIM_BLOCK + ((size + 15u) & ~(size_t)15u);
    if (size > CONC__SIM_ARENA || conc__sim.arena_used + n > CONC__SIM_ARENA) {
        conc__sim_stop(CONC_SIM_LIMIT, "more than %u bytes of memory in one schedule", (unsigned)CONC__SIM_ARENA);
    }
    b = (conc__sim_block *)(void *)(conc__sim.arena + conc__sim.arena_used);
    conc__sim.arena_used += n;
    b->size = size;
    b->live = true;
    b->file = conc__sim_me()->file;
    b->line = conc__sim_me()->line;
    b->call = conc__sim_me()->call;
    memset(conc__sim.freed + ((unsigned char *)b - conc__sim.arena) / 16, 0, n / 16);
    conc__sim_show();
    return (unsigned char *)b + CONC__SIM_BLOCK;
}

static conc__sim_block *conc__sim_block_of(void *p) {
    return (conc__sim_block *)(void *)((unsigned char *)p - CONC__SIM_BLOCK);
}

void conc__sim_free(void *p) {
    conc__sim_block *b;
    if (!conc__sim_here) {
        CONC_FREE(p);
        return;
    }
    if (p == NULL) return;
    conc__sim_hide();
    b = conc__sim_block_of(p);
    if (!b->live) conc__sim_stop(CONC_SIM_FREED, "%s frees memory a second time", conc__sim_me()->name);
    b->live = false;
    memset(conc__sim.freed + ((unsigned char *)p - conc__sim.arena) / 16, 1, (b->size + 15) / 16);
    memset(p, 0xdd, b->size);
#if CONC__SIM_ASAN
    __asan_poison_memory_region(p, b->size);
#endif
    conc__sim_show();
}

void *conc__sim_realloc(void *p, size_t size) {
    void *bigger;
    size_t old;
    if (!conc__sim_here) return CONC_REALLOC(p, size);
    bigger = conc__sim_malloc(size);
    if (p == NULL) return bigger;
    conc__sim_hide();
    old = conc__sim_block_of(p)->size;
    conc__sim_show();
    memcpy(bigger, p, old < size ? old : size);
    conc__sim_free(p);
    return bigger;
}

size_t conc__sim_leaks(const char **file, int *line, const char **call, size_t *size) {
    size_t at = 0, n = 0;
    while (at < conc__sim.arena_used) {
        const conc__sim_block *b = (const conc__sim_block *)(const void *)(conc__sim.arena + at);
        if (b->live && n++ == 0) {
            *file = b->file;
            *line = b->line;
            *call = b->call;
            *size = b->size;
        }
        at += CONC__SIM_BLOCK + ((b->size + 15u) & ~(size_t)15u);
    }
    return n;
}

/* ---- fibers come and go ---------------------------------------------------------------------------------------------- */

/* A new fiber, ready; `parent`'s view is where it starts from. 32: there are no more. */
static unsigned conc__sim_fiber_new(void (*fn)(void *), void *arg, const conc__sim_view *parent) {
    unsigned i = conc__sim.count;
    conc__sim_fiber_state *f = &conc__sim.fibers[i];
    if (i == CONC__SIM_FIBERS) return i;
    if (f->stack == NULL) {
        f->stack = (unsigned char *)malloc(CONC__SIM_STACK);
        f->view = (conc__sim_view *)malloc(sizeof *f->view + CONC__SIM_LOCATIONS * sizeof(uint32_t));
        if (f->stack == NULL || f->view == NULL) {
            free(f->stack);
            free(f->view);
            f->stack = NULL;
            return CONC__SIM_FIBERS;
        }
    }
    *(uint64_t *)(void *)f->stack = CONC__SIM_CANARY;
    if (!conc__sim_context_make(i)) return CONC__SIM_FIBERS;
    conc__sim.count++;
    f->state = CONC__SIM_READY;
    f->expired = false;
    f->key = NULL;
    f->fn = fn;
    f->arg = arg;
    f->saved_errno = 0;
    f->file = f->call = NULL;
    f->line = 0;
    if (i == 0) {
        memcpy(f->name, "main", 5);
    } else {
        (void)snprintf(f->name, sizeof f->name, "fiber %u", i);
    }
    f->view->count = 0;
    memset(f->view->clock, 0, sizeof f->view->clock);
    conc__sim_join_into(f->view, parent);
    f->view->clock[i] = 1;
    if (conc__sim.plan.strategy == CONC__SIM_PCT) f->priority = 1 + (int)conc__sim_below(0x7ffffff0u);
    conc__sim.ready |= 1u << i;
    return i;
}

/* Where each fiber begins and ends. */
static void conc__sim_fiber_main(void) {
    conc__sim_fiber_state *me;
    int round;
#if CONC__SIM_ASAN
    /* From the host the first fiber comes, from other fibers all others: only the host's stack is not known yet. */
    __sanitizer_finish_switch_fiber(NULL, conc__sim.current == 0 ? &conc__sim.host_bottom : NULL,
                                    conc__sim.current == 0 ? &conc__sim.host_size : NULL);
#endif
    conc__sim_hide();
    me = conc__sim_me();
    conc__sim_show();
    me->fn(me->arg);
    for (round = 0; me->key != NULL && round < 4; round++) { /* as a system does with a thread's keys */
        void *value = me->key;
        me->key = NULL;
        conc__sim.key_destroy(value);
    }
    conc__sim_hide();
    if (*(uint64_t *)(void *)me->stack != CONC__SIM_CANARY) {
        conc__sim_stop(CONC_SIM_LIMIT, "the stack of %s is too small: it has %u bytes in a simulation", me->name,
                       (unsigned)CONC__SIM_STACK);
    }
    conc__sim_event_add(CONC__SIM_END, conc__sim.current, NULL, NULL, 0, 0);
#if CONC__SIM_TSAN
    AnnotateHappensBefore(__FILE__, __LINE__, me); /* its join */
#endif
    me->state = CONC__SIM_DONE;
    {
        unsigned i;
        for (i = 0; i < conc__sim.count; i++) {
            conc__sim_fiber_state *f = &conc__sim.fibers[i];
            if (f->state == CONC__SIM_JOINS && f->joins == conc__sim.current) conc__sim_awake(i, false);
        }
    }
    conc__sim_blocked(); /* for ever */
}

static bool conc__sim_world_make(void) {
    if (conc__sim.choices != NULL) return true;
    conc__sim.numbers = (conc__sim_numbered *)calloc(CONC__SIM_NUMBERS, sizeof *conc__sim.numbers);
    conc__sim.located = (conc__sim_numbered *)calloc(CONC__SIM_NUMBERS, sizeof *conc__sim.located);
    conc__sim.locations = (conc__sim_location *)calloc(CONC__SIM_LOCATIONS, sizeof *conc__sim.locations);
    conc__sim.marks = (conc__sim_mark *)calloc(CONC__SIM_MARKS, sizeof *conc__sim.marks);
    conc__sim.arena = (unsigned char *)malloc(CONC__SIM_ARENA);
    conc__sim.freed = (uint8_t *)calloc(CONC__SIM_ARENA / 16, 1);
    conc__sim.views = (unsigned char *)malloc(CONC__SIM_VIEWS);
    conc__sim.events = (conc__sim_event *)malloc(CONC__SIM_EVENTS * sizeof *conc__sim.events);
    if (conc__sim.numbers != NULL && conc__sim.located != NULL && conc__sim.locations != NULL &&
        conc__sim.marks != NULL && conc__sim.arena != NULL && conc__sim.freed != NULL && conc__sim.views != NULL &&
        conc__sim.events != NULL) {
        conc__sim.choices = (conc__sim_choice *)calloc(CONC__SIM_CHOICES, sizeof *conc__sim.choices);
    }
    if (conc__sim.choices != NULL) return true;
    free(conc__sim.numbers);
    free(conc__sim.located);
    free(conc__sim.locations);
    free(conc__sim.marks);
    free(conc__sim.arena);
    free(conc__sim.freed);
    free(conc__sim.views);
    free(conc__sim.events);
    return false;
}

static void conc__sim_world_begin(const conc__sim_plan *plan, conc__sim_outcome *outcome) {
    memset(outcome, 0, sizeof *outcome);
    conc__sim.plan = *plan;
    conc__sim.outcome = outcome;
    conc__sim.epoch++;
    conc__sim.random = conc__sim_mix(plan->seed + (uint64_t)0x9E3779B97F4A7C15u) | 1u;
    conc__sim.now = (int64_t)1000000000;
    conc__sim.current = conc__sim.count = 0;
    conc__sim.ready = conc__sim.yielded = conc__sim.asleep = conc__sim.timed = 0;
    conc__sim.number_count = conc__sim.location_count = 0;
#if CONC__SIM_ASAN
    __asan_unpoison_memory_region(conc__sim.arena, conc__sim.arena_used);
#endif
    conc__sim.arena_used = conc__sim.views_used = conc__sim.event_count = conc__sim.depth = 0;
    conc__sim.preemptions_left = plan->depth;
    conc__sim.early = false;
    conc__sim.heavy = false;
    conc__sim.number_mask = 0xffffffffu;
    if (plan->strategy == CONC__SIM_DEPTH) return;
    conc__sim.early = (conc__sim_random() & 3u) != 0;
    conc__sim.heavy = (conc__sim_random() & 1u) != 0;
    /* Few objects never share a bucket by themselves: in half of the schedules they have to. */
    if ((conc__sim_random() & 1u) != 0) conc__sim.number_mask = (1u << conc__sim_below(3)) - 1;
    /* How often it switches: at each point, at every second, ... every 32nd in the mean. */
    conc__sim.switch_below = 0xffffffffu >> conc__sim_below(6);
    conc__sim.lowest = 0;
    conc__sim.change_count = conc__sim.change_next = 0;
    if (plan->strategy == CONC__SIM_PCT) {
        /* The length of a schedule is not known before: its magnitude is guessed anew each time. */
        uint32_t length = 16u << conc__sim_below(7);
        unsigned i, k;
        for (i = 0; i + 1 < plan->depth && i < 8; i++) {
            uint32_t at = 1 + conc__sim_below(length);
            for (k = conc__sim.change_count++; k > 0 && conc__sim.change[k - 1] > at; k--) {
                conc__sim.change[k] = conc__sim.change[k - 1];
            }
            conc__sim.change[k] = at;
        }
    }
}

bool conc__sim_schedule(const conc__sim_plan *plan, void (*body)(void *), void *arg, conc__sim_outcome *outcome) {
    int saved = errno;
    if (!conc__sim_world_make()) return false;
    conc__sim_hide();
    conc__sim_world_begin(plan, outcome);
    if (conc__sim_fiber_new(body, arg, NULL) != 0) {
        conc__sim_show();
        return false;
    }
#if CONC_OS_WINDOWS
    conc__sim.host = ConvertThreadToFiber(NULL);
    if (conc__sim.host == NULL) return false;
#endif
#if CONC__SIM_TSAN
    conc__sim.host_tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(conc__sim.fibers[0].tsan, 0);
#endif
#if CONC__SIM_ASAN
    __sanitizer_start_switch_fiber(&conc__sim.host_fake, conc__sim.fibers[0].stack, CONC__SIM_STACK);
#endif
    conc__sim_here = true;
    conc__sim_context_switch(&conc__sim.host, &conc__sim.fibers[0].context);
#if CONC__SIM_ASAN
    __sanitizer_finish_switch_fiber(conc__sim.host_fake, NULL, NULL);
#endif
#if CONC__SIM_TSAN
    { /* What the fibers did comes before all that follows; and none may go while it is hidden. */
        unsigned i;
        for (i = 0; i < conc__sim.count; i++) {
            void *fiber = conc__sim.fibers[i].tsan;
            int hidden = conc__sim.fibers[i].hidden;
            __tsan_switch_to_fiber(fiber, 1);
            AnnotateHappensBefore(__FILE__, __LINE__, &conc__sim);
            for (; hidden > 0; hidden--) conc__sim_show();
            __tsan_switch_to_fiber(conc__sim.host_tsan, 1);
            __tsan_destroy_fiber(fiber);
        }
        AnnotateHappensAfter(__FILE__, __LINE__, &conc__sim);
    }
#endif
    conc__sim_show();
#if CONC_OS_WINDOWS
    (void)ConvertFiberToThread();
#endif
    outcome->fibers = conc__sim.count;
    errno = saved;
    return true;
}

/* ---- the port ---------------------------------------------------------------------------------------------------------- */

void *conc__port_key_get(void) {
    void *value;
    if (!conc__sim_here) return conc__real_key_get();
    conc__sim_hide();
    value = conc__sim_me()->key;
    conc__sim_show();
    return value;
}

bool conc__port_key_set(void *value, void (*destroy)(void *)) {
    if (!conc__sim_here) return conc__real_key_set(value, destroy);
    if (value != NULL && CONC__FAULT("simulated key", ENOMEM) != 0) return false;
    conc__sim_hide();
    conc__sim_me()->key = value;
    conc__sim.key_destroy = destroy;
    conc__sim_show();
    return true;
}

/* Every look takes some time; by chance a good deal of it, as if the thread had been off the processor. */
int64_t conc__port_clock_ns(void) {
    int64_t now;
    if (!conc__sim_here) return conc__real_clock_ns();
    conc__sim_hide();
    conc__sim.now += 100;
    if (conc__sim.plan.strategy != CONC__SIM_DEPTH && conc__sim.early && (conc__sim_random() & 15u) == 0) {
        conc__sim.now += 2000000;
    }
    now = conc__sim.now;
    conc__sim_show();
    return now;
}

bool conc__port_wait(uint32_t *a, uint32_t expected, int64_t deadline_ns) {
    conc__sim_fiber_state *me;
    uint32_t now;
    bool expired = false;
    if (!conc__sim_here) return conc__real_wait(a, expected, deadline_ns);
    conc__sim_hide();
    me = conc__sim_me();
    conc__sim_point();
    conc__sim_check_live(a, "wait");
    now = (uint32_t)conc__sim_raw_load(a, 4, CONC__RELAXED);
    if (conc__sim.plan.track) { /* the system compares with what is there, and what it saw its caller has seen */
        uint32_t number;
        conc__sim_location *l = conc__sim_location_of(a, now, &number);
        *conc__sim_seen_at(me->view, number) = l->latest;
    }
    if (now == expected) {
        expired = deadline_ns <= conc__sim.now;
        if (!expired) {
            me->state = CONC__SIM_ASLEEP;
            me->sleeps_on = a;
            me->due = deadline_ns;
            conc__sim.asleep |= 1u << conc__sim.current;
            if (deadline_ns != INT64_MAX) conc__sim.timed |= 1u << conc__sim.current;
            conc__sim_event_add(CONC__SIM_SLEEP, 0, NULL, a, 0, 0);
            conc__sim_blocked();
            expired = me->expired;
        }
    }
    conc__sim_show();
    return expired;
}

/* Those asleep on `a`. */
static uint32_t conc__sim_sleepers(const uint32_t *a) {
    uint32_t set = 0;
    unsigned i;
    for (i = 0; i < conc__sim.count; i++) {
        if ((conc__sim.asleep >> i & 1u) != 0 && conc__sim.fibers[i].sleeps_on == a) set |= 1u << i;
    }
    return set;
}

static void conc__sim_wake(const uint32_t *a, bool all) {
    uint32_t set;
    conc__sim_hide();
    conc__sim_point();
    for (set = conc__sim_sleepers(a); set != 0; set = conc__sim_sleepers(a)) {
        unsigned i = conc__sim_member(set, conc__sim_pick_one(conc__sim_size(set)));
        conc__sim_event_add(CONC__SIM_WAKE, i, NULL, a, 0, 0);
        conc__sim_awake(i, false);
        if (!all) break;
    }
    conc__sim_show();
}

void conc__port_wake_one(uint32_t *a) {
    if (conc__sim_here) {
        conc__sim_wake(a, false);
    } else {
        conc__real_wake_one(a);
    }
}

void conc__port_wake_all(uint32_t *a) {
    if (conc__sim_here) {
        conc__sim_wake(a, true);
    } else {
        conc__real_wake_all(a);
    }
}

/* Both kinds of system are simulated. */
bool conc__port_heavy_fence_ready(void) {
    bool heavy;
    if (!conc__sim_here) return conc__real_heavy_fence_ready();
    conc__sim_hide();
    heavy = conc__sim.plan.strategy == CONC__SIM_DEPTH ? conc__sim_pick_one(2) != 0 : conc__sim.heavy;
    conc__sim_show();
    return heavy;
}

/* All have seen the latest of everything. */
void conc__port_heavy_fence(void) {
    unsigned i;
    uint32_t k;
    if (!conc__sim_here) {
        conc__real_heavy_fence();
        return;
    }
    conc__sim_hide();
    conc__sim_point();
    for (i = 0; conc__sim.plan.track && i < conc__sim.count; i++) {
        for (k = 0; k < conc__sim.location_count; k++) {
            *conc__sim_seen_at(conc__sim.fibers[i].view, k) = conc__sim.locations[k].latest;
        }
    }
    conc__sim_show();
}

int conc__port_thread_start(conc__port_thread *t, void (*fn)(void *), void *arg, size_t stack_size) {
    unsigned i;
    int error;
    if (!conc__sim_here) return conc__real_thread_start(t, fn, arg, stack_size);
    error = CONC__FAULT("simulated thread start", EAGAIN, ENOMEM);
    if (error != 0) return error;
    conc__sim_hide();
    i = conc__sim_fiber_new(fn, arg, conc__sim_me()->view);
    if (i == CONC__SIM_FIBERS) {
        conc__sim_stop(CONC_SIM_LIMIT, "more than %d threads in one schedule", CONC__SIM_FIBERS);
    }
    conc__sim_me()->view->clock[conc__sim.current]++;
    t->handle[0] = &conc__sim.fibers[i];
    conc__sim_event_add(CONC__SIM_START, i, NULL, NULL, 0, 0);
    conc__sim_point();
    conc__sim_show();
    return 0;
}

void conc__port_thread_join(conc__port_thread *t) {
    conc__sim_fiber_state *f, *me;
    if (!conc__sim_here) {
        conc__real_thread_join(t);
        return;
    }
    conc__sim_hide();
    f = (conc__sim_fiber_state *)t->handle[0];
    me = conc__sim_me();
    conc__sim_point();
    if (f->state != CONC__SIM_DONE) {
        me->state = CONC__SIM_JOINS;
        me->joins = (unsigned)(f - conc__sim.fibers);
        conc__sim_blocked();
    }
    conc__sim_join_into(me->view, f->view);
#if CONC__SIM_TSAN
    AnnotateHappensAfter(__FILE__, __LINE__, f);
#endif
    conc__sim_show();
}

void conc__port_thread_detach(conc__port_thread *t) {
    if (!conc__sim_here) {
        conc__real_thread_detach(t);
    }
}

void conc__port_thread_set_name(const char *name) {
    if (!conc__sim_here) {
        conc__real_thread_set_name(name);
        return;
    }
    conc__sim_hide();
    (void)snprintf(conc__sim_me()->name, sizeof conc__sim_me()->name, "%s", name);
    conc__sim_show();
}

void conc__port_yield(void) {
    if (!conc__sim_here) {
        conc__real_yield();
        return;
    }
    conc__sim_hide();
    conc__sim.yielded |= 1u << conc__sim.current;
    if (conc__sim.plan.strategy == CONC__SIM_PCT) conc__sim_me()->priority = --conc__sim.lowest;
    conc__sim_point();
    conc__sim_show();
}

unsigned conc__port_cpu_count(void) {
    return conc__sim_here ? 2u : conc__real_cpu_count();
}

int conc__port_on_fork(void (*child)(void)) {
    return conc__sim_here ? 0 : conc__real_on_fork(child);
}

const char *conc__port_error_text(int error, char *buffer, size_t size) {
    return conc__real_error_text(error, buffer, size);
}

/* ---- descriptors ----------------------------------------------------------------------------------------------------------
 * There are none in a simulation: what would make one, or wait for one, says so. Signals have nobody to end the sleep of.
 * A poller can be waited for and signaled: a loop's own waiting can be simulated. */

int conc__port_signal_open(conc__port_signal *s) {
    if (!conc__sim_here) return conc__real_signal_open(s);
    s->fd[0] = s->fd[1] = -1;
    return 0;
}

void conc__port_signal_close(conc__port_signal *s) {
    if (!conc__sim_here) conc__real_signal_close(s);
}

void conc__port_signal_raise(conc__port_signal *s) {
    if (!conc__sim_here) conc__real_signal_raise(s);
}

void conc__port_signal_clear(conc__port_signal *s) {
    if (!conc__sim_here) conc__real_signal_clear(s);
}

int conc__port_poll_in(void *scratch, conc__port_pollfd *fds, size_t n, int64_t deadline_ns, int *error) {
    if (!conc__sim_here) return conc__real_poll_in(scratch, fds, n, deadline_ns, error);
    *error = conc__port_unsupported();
    return -1;
}

int conc__port_poller_open(conc__port_poller *p) {
    if (!conc__sim_here) return conc__real_poller_open(p);
    memset(p, 0, sizeof *p);
    return CONC__FAULT("simulated poller", ENOMEM);
}

void conc__port_poller_close(conc__port_poller *p) {
    if (!conc__sim_here) conc__real_poller_close(p);
}

int conc__port_poller_add(conc__port_poller *p, intptr_t fd) {
    return conc__sim_here ? conc__port_unsupported() : conc__real_poller_add(p, fd);
}

int conc__port_poller_want(conc__port_poller *p, intptr_t fd, unsigned mask) {
    return conc__sim_here ? conc__port_unsupported() : conc__real_poller_want(p, fd, mask);
}

void conc__port_poller_forget(conc__port_poller *p, intptr_t fd) {
    if (!conc__sim_here) conc__real_poller_forget(p, fd);
}

/* (The real one need not look before it sleeps; this one sleeps only if there is no signal.) */
size_t conc__port_poller_wait(conc__port_poller *p, conc__port_event *events, size_t max, int64_t deadline_ns,
                              bool *signaled) {
    if (!conc__sim_here) return conc__real_poller_wait(p, events, max, deadline_ns, signaled);
    if (deadline_ns != INT64_MIN) (void)conc__port_wait(&p->signaled, 0, deadline_ns);
    *signaled = conc__swap32(&p->signaled, 0, CONC__ACQ_REL) != 0;
    return 0;
}

void conc__port_poller_signal(conc__port_poller *p) {
    if (!conc__sim_here) {
        conc__real_poller_signal(p);
    } else if (conc__swap32(&p->signaled, 1, CONC__ACQ_REL) == 0) {
        conc__port_wake_one(&p->signaled);
    }
}

int conc__port_socket(unsigned family, bool stream, intptr_t *fd) {
    if (!conc__sim_here) return conc__real_socket(family, stream, fd);
    *fd = -1;
    return conc__port_unsupported();
}

conc__port_found conc__port_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found, char *text,
                                   size_t size) {
    if (!conc__sim_here) return conc__real_lookup(host, port, list, n, found, text, size);
    *found = 0;
    (void)conc__port_error_text(conc__port_unsupported(), text, size);
    return CONC__PORT_LOOKUP_FAILED;
}

/* ---- the user's places ---------------------------------------------------------------------------------------------- */

void conc__sim_at(const char *file, int line, const char *call) {
    conc__sim_fiber_state *me;
    if (!conc__sim_here) return;
    conc__sim_hide();
    me = conc__sim_me();
    me->file = file;
    me->line = line;
    me->call = call;
    conc__sim_event_add(CONC__SIM_CALL, 0, call, NULL, 0, 0);
    conc__sim_show();
}

void conc_sim_note(const char *text) {
    if (!conc__sim_here) return;
    conc__sim_hide();
    conc__sim_event_add(CONC__SIM_NOTE, 0, text, NULL, 0, 0);
    conc__sim_show();
}

#endif /* CONC_SIM */

/* ==== end src/port_sim.c ==== */

/* ==== begin src/wait.c ==== */

/* ============================================================================================
 * wait: see wait.h for the protocol that everything here serves.
 * ========================================================================================== */

/* ---- the lock of the house -------------------------------------------------------------------- */

/* Acquire on taking, release on giving. A sleeper has stored 2 before it sleeps, so whoever gives finds 2 and
 * wakes; a taker that has slept takes with 2 again, because there may be others. */
void conc__lock_take(conc__lock *l) {
    uint32_t free = 0;
    unsigned i;
    if (CONC__LIKELY(conc__cas32(l, &free, 1, CONC__ACQUIRE))) return;
    for (i = 0; i < CONC__LOOKS(40); i++) { /* held for a few dozen instructions: worth a short look */
        conc__port_pause();
        free = 0;
        if (conc__load32(l, CONC__RELAXED) == 0 && conc__cas32(l, &free, 1, CONC__ACQUIRE)) return;
    }
    while (conc__swap32(l, 2, CONC__ACQUIRE) != 0) {
        (void)conc__port_wait(l, 2, INT64_MAX);
    }
}

void conc__lock_give(conc__lock *l) {
    if (conc__swap32(l, 0, CONC__RELEASE) == 2) conc__port_wake_one(l);
}

/* ---- the table ------------------------------------------------------------------------------------ */

#define CONC__BUCKETS (1u << CONC__BUCKET_BITS) /* 512 KiB of zero pages, touched as used */

static conc__bucket conc__table[CONC__BUCKETS];

/* In a child of fork() only the calling thread exists, and it does not wait: the table is empty there. */
static void conc__table_reset(void) {
    size_t i;
    for (i = 0; i < CONC__BUCKETS; i++) { /* pages that nobody has touched stay untouched */
        if (conc__table[i].firsts != NULL || conc__table[i].lock != 0) memset(&conc__table[i], 0, sizeof conc__table[i]);
    }
}

void conc__table_begin(void) {
    conc__on_fork(CONC__RESET_TABLE, conc__table_reset);
}

conc__bucket *conc__bucket_lock(const void *key) {
    conc__bucket *b = &conc__table[conc__port_hash(key, CONC__BUCKET_BITS)];
    conc__table_begin();
    conc__lock_take(&b->lock);
    return b;
}

void conc__bucket_unlock(conc__bucket *b) {
    conc__lock_give(&b->lock);
}

conc_node *conc__bucket_first(conc__bucket *b, const void *key) {
    conc_node *f = b->firsts;
    while (f != NULL && f->conc__key != key) f = f->conc__peer;
    return f;
}

conc_node *conc__bucket_next(conc__bucket *b, conc_node *node) {
    conc_node *next = node->conc__next;
    return next == conc__bucket_first(b, node->conc__key) ? NULL : next;
}

/* Where the chain of firsts points to `first`. */
static conc_node **conc__bucket_link(conc__bucket *b, const conc_node *first) {
    conc_node **link = &b->firsts;
    while (*link != NULL && *link != first) link = &(*link)->conc__peer;
    return link;
}

void conc__bucket_push(conc__bucket *b, const void *key, conc_node *node, unsigned tag) {
    conc_node *first = conc__bucket_first(b, key);
    bool front = (node->conc__tag & CONC__FRONT) != 0;
    node->conc__key = key;
    node->conc__tag = (uint8_t)tag;
    if (first == NULL) {
        node->conc__next = node->conc__prev = node;
        node->conc__peer = b->firsts;
        b->firsts = node;
    } else {
        node->conc__next = first; /* before the first is behind the last */
        node->conc__prev = first->conc__prev;
        first->conc__prev->conc__next = node;
        first->conc__prev = node;
        node->conc__peer = NULL;
        if (front) {
            node->conc__peer = first->conc__peer;
            *conc__bucket_link(b, first) = node;
            first->conc__peer = NULL;
        }
    }
    conc__store32(&node->conc__armed, 1, CONC__RELAXED);
}

static void conc__bucket_remove(conc__bucket *b, conc_node *node) {
    conc_node **link = conc__bucket_link(b, node);
    if (*link == node) {
        conc_node *heir = node->conc__next == node ? NULL : node->conc__next;
        if (heir != NULL) heir->conc__peer = node->conc__peer;
        *link = heir != NULL ? heir : node->conc__peer;
    }
    node->conc__prev->conc__next = node->conc__next;
    node->conc__next->conc__prev = node->conc__prev;
}

bool conc__bucket_has(conc__bucket *b, const void *key, unsigned tag) {
    conc_node *first = conc__bucket_first(b, key), *n = first;
    if (first == NULL) return false;
    do {
        if (conc__node_tag(n) == tag) return true;
        n = n->conc__next;
    } while (n != first);
    return false;
}

bool conc__is_waited_for(const void *key) {
    conc__bucket *b = conc__bucket_lock(key);
    bool any = conc__bucket_first(b, key) != NULL;
    conc__bucket_unlock(b);
    return any;
}

/* ---- claiming ----------------------------------------------------------------------------------- */

void conc__wakes_run(conc__wakes *w) {
    size_t i;
    for (i = 0; i < w->count; i++) w->list[i].wake(w->list[i].waiter);
    w->count = 0;
}

bool conc__claim(conc__bucket *b, conc_node *node, unsigned grant, conc__wakes *w) {
    conc_waiter *waiter = node->conc__waiter;
    void (*wake)(void *) = waiter->wake;
    uint32_t waiting = 0, ticket = node->conc__ticket;
    bool mine;
    conc__bucket_remove(b, node);
    if (grant == CONC__SWEPT) {
        ticket |= CONC__TICKET_SWEPT;
    } else {
        node->conc__grant = (uint8_t)grant;
    }
    /* While `armed` is 1 the waiter cannot leave: its disarm has to take the bucket's lock. Release: what the
     * claimer did, the grant included, is seen by the waiter that reads `claimed`. */
    mine = conc__cas32(&waiter->claimed, &waiting, ticket, CONC__RELEASE);
    if (mine) {
        w->list[w->count].wake = wake;
        w->list[w->count].waiter = waiter;
        w->count++;
    } else {
        node->conc__grant = 0;
    }
    conc__store32(&node->conc__armed, 0, CONC__RELEASE); /* from here on the node may be gone */
    return mine;
}

bool conc__claim_first(conc__bucket *b, const void *key, unsigned tag, unsigned grant, conc__wakes *w) {
    conc_node *n = conc__bucket_first(b, key);
    while (n != NULL) {
        conc_node *next = conc__bucket_next(b, n);
        if ((tag == CONC__ANY_TAG || conc__node_tag(n) == tag) && conc__claim(b, n, grant, w)) return true;
        n = next;
    }
    return false;
}

size_t conc__wake_waiters(const void *key, unsigned tag, size_t n) {
    size_t woken = 0;
    bool more = true;
    unsigned grant = n == CONC_ALL ? CONC__SWEPT : 0;
    if (n == CONC_ALL) { /* those there now: who comes back for more while we are at it is not among them */
        conc__bucket *b = conc__bucket_lock(key);
        conc_node *node;
        n = 0;
        for (node = conc__bucket_first(b, key); node != NULL; node = conc__bucket_next(b, node)) n++;
        conc__bucket_unlock(b);
    }
    while (more && woken < n) {
        conc__wakes w;
        conc__bucket *b = conc__bucket_lock(key);
        w.count = 0;
        while (more && woken + w.count < n && w.count < CONC__WAKES) more = conc__claim_first(b, key, tag, grant, &w);
        conc__bucket_unlock(b);
        woken += w.count;
        conc__wakes_run(&w);
    }
    return woken;
}

/* ---- waiters of users' objects ---------------------------------------------------------------------- */

void conc_waiters_arm(conc_waiters *w, conc_node *node) {
    conc__bucket *b = conc__bucket_lock(w);
    conc__bucket_push(b, w, node, 0);
    conc__bucket_unlock(b);
}

void conc_waiters_disarm(conc_node *node) {
    conc__bucket *b;
    /* 0: a claimer took it out, and has done with it (acquire, against the release in conc__claim()). */
    if (conc__load32(&node->conc__armed, CONC__ACQUIRE) == 0) return;
    b = conc__bucket_lock(node->conc__key); /* constant while armed */
    if (conc__load32(&node->conc__armed, CONC__RELAXED) != 0) {
        conc__bucket_remove(b, node);
        conc__store32(&node->conc__armed, 0, CONC__RELAXED);
    }
    conc__bucket_unlock(b);
}

size_t conc_waiters_wake(conc_waiters *w, size_t n) {
    return conc__wake_waiters(w, CONC__ANY_TAG, n);
}

/* ---- the steps of a wait --------------------------------------------------------------------------------- */

/* Waking a sleeper on another core costs some 300 times a look: a short spin wins on two cores, and the offers of the
 * processor at its end make sure that it loses nothing on one. */
bool conc__spin(unsigned step, unsigned pauses) {
    unsigned i;
    if (step >= CONC__LOOKS(8)) return false;
    if (step < pauses) {
        for (i = 0; i < 2u << step; i++) conc__port_pause();
    } else {
        conc__port_yield();
    }
    return true;
}

bool conc__op_valid(const conc_op *op) {
    return op->cls != NULL && op->cls->attempt != NULL && op->cls->arm != NULL;
}

void conc__ops_begin(conc_op *ops, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        ops[i].node.conc__armed = 0;
        ops[i].node.conc__tag = ops[i].node.conc__grant = 0;
    }
}

size_t conc__attempt_all(conc_op *ops, size_t n, size_t first) {
    size_t i;
    if (first < n) {
        ops[first].result = ops[first].cls->attempt(&ops[first]);
        if (ops[first].result != CONC_PENDING) return first;
    }
    for (i = 0; i < n; i++) {
        if (i == first) continue;
        ops[i].result = ops[i].cls->attempt(&ops[i]);
        if (ops[i].result != CONC_PENDING) return i;
    }
    return n;
}

void conc__abandon_but(conc_op *ops, size_t n, size_t winner) {
    size_t i;
    for (i = 0; i < n; i++) {
        if (i != winner && ops[i].cls->abandon != NULL) ops[i].cls->abandon(&ops[i]);
    }
}

size_t conc__arm_all(conc_op *ops, size_t n, conc_waiter *waiter, int64_t *until) {
    size_t armed;
    for (armed = 0; armed < n; armed++) {
        conc_op *op = &ops[armed];
        op->node.conc__waiter = waiter;
        op->node.conc__ticket = (uint16_t)(armed + 1);
        if (!op->cls->arm(op, &op->node)) break;
        if (op->due.ns < *until) *until = op->due.ns;
    }
    return armed;
}

bool conc__was_claimed(uint32_t ticket, size_t armed) {
    return ticket != 0 && (ticket & ~CONC__TICKET_SWEPT) != armed + 1;
}

void conc__disarm_all(conc_op *ops, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        if (ops[i].cls->disarm != NULL) {
            ops[i].cls->disarm(&ops[i], &ops[i].node);
        } else {
            conc_waiters_disarm(&ops[i].node);
        }
    }
}

size_t conc__tokens_count(const conc_cancel *token) {
    size_t n = 0;
    for (; token != NULL && n < CONC_CANCEL_DEPTH; token = token->parent) n++;
    return n;
}

bool conc__tokens_arm(conc_cancel *token, conc_node *nodes, size_t *count, conc_waiter *waiter) {
    size_t n = 0;
    bool quiet = true;
    for (; token != NULL && n < CONC_CANCEL_DEPTH && quiet; token = token->parent) {
        conc__bucket *b = conc__bucket_lock(token);
        /* Fired before we hold the lock: seen here. After: conc_cancel_fire() finds the node. */
        quiet = conc__load32(&token->conc__state, CONC__ACQUIRE) == 0;
        if (quiet) {
            nodes[n].conc__waiter = waiter;
            nodes[n].conc__ticket = CONC__TICKET_CANCEL;
            nodes[n].conc__tag = nodes[n].conc__grant = 0;
            conc__bucket_push(b, token, &nodes[n], 0);
            n++;
        }
        conc__bucket_unlock(b);
    }
    *count = n;
    return quiet;
}

conc_result conc__op_busy(const conc_op *op) {
    return op->cls->busy != CONC_OK ? op->cls->busy : CONC_BUSY;
}

/* ---- descriptors -------------------------------------------------------------------------------------------- */

/* The second look is for the close only: that the descriptor is ready is found by the poll or the poller, which look at it
 * after this. A close marks the object and then wakes the key: of the two, the mark and the node, one is seen. */
bool conc__polled_arm(conc_op *op, conc_node *node) {
    const void *key = conc__polled_key(conc__polled_fd(op->word), conc__polled_side(op->word));
    conc__bucket *b = conc__bucket_lock(key);
    bool wait = conc__polled_number(op->word) == 0 || conc__load32((const uint32_t *)op->object, CONC__ACQUIRE) == 0;
    if (wait) conc__bucket_push(b, key, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

bool conc__is_polled(const conc_op *op) {
    return op->cls->arm == conc__polled_arm;
}

/* ---- a thread's wait ------------------------------------------------------------------------------------------ */

static void conc__thread_wake(void *waiter) {
    conc__port_wake_one(&((conc_waiter *)waiter)->claimed);
}

/* A thread that waits for descriptors sleeps in the port's poll, and is woken by its signal. Its waiter stays where it is
 * until the signal of whoever claimed it has arrived. */
typedef struct conc__poll_waiter {
    conc_waiter base;
    conc__port_signal *signal;
} conc__poll_waiter;

static void conc__poll_wake(void *waiter) {
    conc__port_signal_raise(((conc__poll_waiter *)waiter)->signal); /* the last touch */
}

#define CONC__MAX_POLLED 64

static bool conc__any_polled(const conc_op *ops, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) {
        if (conc__is_polled(&ops[i])) return true;
    }
    return false;
}

/* Makes the thread's signal, if it has none. */
static conc_result conc__signal_begin(conc__agent *me) {
    int e;
    if (me->has_signal) return CONC_OK;
    if (!conc__agent_watch_end(me, me->ended)) return conc__fail(CONC_NO_MEMORY, "no memory for a thread's signal");
    e = conc__port_signal_open(&me->signal);
    if (e != 0) return conc__fail_system(CONC_SYSTEM, e, "cannot make what wakes a thread that waits for descriptors");
    me->has_signal = true;
    return CONC_OK;
}

/* Sleeps until the waiter is claimed, a descriptor is ready, or `until`. The index of an op whose descriptor is ready, or
 * n. `*error`: what the system had against it. */
static size_t conc__sleep_polling(conc_op *ops, size_t n, conc__poll_waiter *waiter, int64_t until, int *error) {
    conc__port_pollfd polled[CONC__MAX_POLLED + 1];
    int64_t scratch[(CONC__MAX_POLLED + 1) * CONC__PORT_POLL_SCRATCH / sizeof(int64_t)];
    uint16_t which[CONC__MAX_POLLED + 1];
    size_t i, count = 1, ready = n;
    polled[0].fd = waiter->signal->fd[0];
    polled[0].want = CONC__PORT_READ;
    for (i = 0; i < n && count <= CONC__MAX_POLLED; i++) {
        if (!conc__is_polled(&ops[i])) continue;
        polled[count].fd = conc__polled_fd(ops[i].word);
        polled[count].want = conc__polled_want(ops[i].word);
        which[count++] = (uint16_t)i;
    }
    *error = 0;
    while (ready == n && *error == 0 && conc__load32(&waiter->base.claimed, CONC__ACQUIRE) == 0) {
        if (conc__port_poll_in(scratch, polled, count, until, error) <= 0) {
            if (until != INT64_MAX && conc__port_clock_ns() >= until) break;
            continue;
        }
        for (i = 1; i < count && ready == n; i++) {
            if (polled[i].got != 0) ready = which[i];
        }
    }
    return ready;
}

/* The signal of whoever claimed us is on its way, or here: it must not reach the next wait, nor the waiter go before it
 * has come. */
static void conc__signal_take(conc__port_signal *signal) {
    conc__port_pollfd polled;
    int64_t scratch[CONC__PORT_POLL_SCRATCH / sizeof(int64_t)];
    int error;
    polled.fd = signal->fd[0];
    polled.want = CONC__PORT_READ;
    while (conc__port_poll_in(scratch, &polled, 1, INT64_MAX, &error) <= 0) {
    }
    conc__port_signal_clear(signal);
}

/* Sleeps until claimed or `until`. The wake: each object's waker claims under the bucket's lock, under which arm() looked at
 * the object; a claim stores `claimed` and then wakes this address; the port's wait does not sleep if `claimed` has
 * changed. */
static void conc__sleep(conc_waiter *waiter, int64_t until) {
    while (conc__load32(&waiter->claimed, CONC__ACQUIRE) == 0) {
        if (conc__port_wait(&waiter->claimed, 0, until)) break;
        /* A sleep that ends for no reason, again and again (signals), ends at its deadline all the same. */
        if (until != INT64_MAX && conc__port_clock_ns() >= until) break;
    }
}

/* conc_select() under `token`; n may be 0: then it only waits for the deadline or the token. `spin`: whether to look
 * for a while before the first sleep (before later ones it always does); `pauses`: how, see conc__spin(). */
static int conc__select(conc_op *ops, size_t n, conc_deadline deadline, conc_cancel *token, bool spin,
                        unsigned pauses) {
    conc__poll_waiter poll_waiter;
    conc_waiter *waiter = &poll_waiter.base;
    conc__agent *me = conc__self();
    conc_node token_nodes[CONC_CANCEL_DEPTH];
    size_t i, winner, first = n;
    bool front = false, over = conc_deadline_passed(deadline), polling = false;

    conc__ops_begin(ops, n);
    waiter->owner = me->owner;
    waiter->wake = conc__thread_wake;

    for (;;) {
        size_t armed = 0, tokens, ready = n;
        int64_t until = deadline.ns;
        unsigned step;
        int error = 0;
        bool quiet, swept;
        uint32_t ticket;

        winner = conc__attempt_all(ops, n, first);
        if (spin && !over && n != 0 && n <= 8) {
            for (step = 0; winner == n && conc__spin(step, pauses); step++) winner = conc__attempt_all(ops, n, first);
        }
        if (winner < n) {
            conc__abandon_but(ops, n, winner);
            return (int)winner;
        }
        if (over) {
            conc__abandon_but(ops, n, n);
            return deadline.ns != INT64_MIN ? CONC_TIMEOUT : CONC_BUSY;
        }
        if (front) ops[first].node.conc__tag |= CONC__FRONT;
        if (!polling && conc__any_polled(ops, n)) {
            conc_result r = conc__signal_begin(me);
            if (r != CONC_OK) {
                conc__abandon_but(ops, n, n);
                return (int)r;
            }
            polling = true;
            poll_waiter.signal = &me->signal;
            waiter->wake = conc__poll_wake;
        }

        /* Arm. No claim can come before this store, as nothing is armed. */
        conc__store32(&waiter->claimed, 0, CONC__RELAXED);
        quiet = conc__tokens_arm(token, token_nodes, &tokens, waiter);
        if (quiet) armed = conc__arm_all(ops, n, waiter, &until);
        if (quiet && armed == n) {
#if defined(CONC_SIM)
            me->waits = ops;
            me->waits_count = n;
#endif
            conc__pokez(&me->sleeps_since, (size_t)(conc__port_clock_ns() / 1000000));
            conc__pokep(&me->sleeps_for, n != 0 ? ops[0].object : NULL);
            conc__pokep(&me->sleeps_in, n == 0 ? "sleep" : n == 1 ? ops[0].cls->name : "select");
            if (polling) {
                ready = conc__sleep_polling(ops, n, &poll_waiter, until, &error);
            } else {
                conc__sleep(waiter, until);
            }
            conc__pokep(&me->sleeps_in, (const char *)NULL);
#if defined(CONC_SIM)
            me->waits_count = 0;
#endif
        }
        for (i = 0; i < tokens; i++) conc_waiters_disarm(&token_nodes[i]);
        conc__disarm_all(ops, armed);

        /* Nothing is armed: `claimed` does not change any more. */
        ticket = conc__load32(&waiter->claimed, CONC__ACQUIRE);
        if (polling && conc__was_claimed(ticket, armed)) conc__signal_take(&me->signal);
        swept = (ticket & CONC__TICKET_SWEPT) != 0;
        ticket &= ~CONC__TICKET_SWEPT;
        if (ticket == CONC__TICKET_CANCEL || (ticket == 0 && !quiet)) {
            conc__abandon_but(ops, n, n);
            return CONC_CANCELED;
        }
        if (error != 0) {
            conc__abandon_but(ops, n, n);
            return (int)conc__fail_system(CONC_SYSTEM, error, "cannot wait for descriptors");
        }
        spin = true;
        first = ticket != 0 ? ticket - 1u : ready < n ? ready : armed; /* or the one that arm() found ready, or n: it is time */
        /* Woken alone and then too late, it goes to the front; of a crowd, to the end, or those behind it would be passed
         * over while the crowd is being woken. */
        front = ticket != 0 && !swept;
        if (ticket == 0 && ready == n && armed == n && deadline.ns != INT64_MAX) {
            over = conc__port_clock_ns() >= deadline.ns;
        }
    }
}

static conc_result conc__wait_under(conc_op *op, conc_deadline deadline, conc_cancel *token, bool spin,
                                    unsigned pauses) {
    int r = conc__select(op, 1, deadline, token, spin, pauses);
    if (r == 0 || op->result != CONC_PENDING) return op->result; /* abandon() may have found it complete after all */
    return r == CONC_BUSY ? conc__op_busy(op) : (conc_result)r;
}

conc_result conc__wait_op(conc_op *op, conc_deadline deadline) {
    return conc__wait_under(op, deadline, conc__self()->cancel, true, CONC__SPIN_LONG);
}

conc_result conc__wait_uncanceled(conc_op *op, conc_deadline deadline) {
    return conc__wait_under(op, deadline, NULL, true, CONC__SPIN_LONG);
}

conc_result conc__wait_spun(conc_op *op, conc_deadline deadline, bool cancelable) {
    return conc__wait_under(op, deadline, cancelable ? conc__self()->cancel : NULL, false, CONC__SPIN_SHORT);
}

conc_result conc_wait(conc_op op, conc_deadline deadline) {
    if (!conc__op_valid(&op)) return conc__fail(CONC_INVALID, "conc_wait: an op without a class");
    return conc__wait_op(&op, deadline);
}

conc_result conc_try(conc_op op) {
    return conc_wait(op, CONC_NOW);
}

int conc_select(conc_op *ops, size_t n, conc_deadline deadline) {
    size_t i, polled = 0;
    if (ops == NULL || n == 0 || n > CONC__MAX_OPS) {
        return conc__fail(CONC_INVALID, "conc_select: %zu ops; 1 to %d can be waited for", ops == NULL ? 0 : n,
                          CONC__MAX_OPS);
    }
    for (i = 0; i < n; i++) {
        if (!conc__op_valid(&ops[i])) return conc__fail(CONC_INVALID, "conc_select: op %zu has no class", i);
        if (conc__is_polled(&ops[i]) && ++polled > CONC__MAX_POLLED) {
            return conc__fail(CONC_INVALID, "conc_select: more than %d ops that wait for descriptors", CONC__MAX_POLLED);
        }
    }
    return conc__select(ops, n, deadline, conc__self()->cancel, true, CONC__SPIN_LONG);
}

conc_op conc_op_make(const conc_op_class *cls, void *object, void *data) {
    conc_op op;
    memset(&op, 0, sizeof op);
    op.cls = cls;
    op.object = object;
    op.data = data;
    op.due = CONC_FOREVER;
    op.result = CONC_PENDING;
    return op;
}

/* ---- points in time ------------------------------------------------------------------------------------- */

static conc_result conc__until_attempt(conc_op *op) {
    return conc_deadline_passed(op->due) ? CONC_OK : CONC_PENDING;
}

static bool conc__until_arm(conc_op *op, conc_node *node) {
    (void)node; /* in no list: the waiter sleeps no longer than op->due */
    return !conc_deadline_passed(op->due);
}

static const conc_op_class conc__until = {"until", CONC_BUSY, conc__until_attempt, conc__until_arm, NULL, NULL};

bool conc__op_is_until(const conc_op *op) {
    return op->cls == &conc__until;
}

conc_op conc_op_until(conc_deadline when) {
    conc_op op = conc_op_make(&conc__until, NULL, NULL);
    op.due = when;
    return op;
}

conc_op conc_op_sleep(double seconds) {
    return conc_op_until(conc_after(seconds));
}

conc_op conc_op_never(void) {
    return conc_op_until(CONC_FOREVER);
}

conc_result conc_sleep(conc_deadline until) {
    conc_result r;
    if (conc_deadline_passed(until)) return CONC_OK;
    r = (conc_result)conc__select(NULL, 0, until, conc__self()->cancel, false, 0);
    return r == CONC_TIMEOUT ? CONC_OK : r;
}

/* ---- cancel tokens ------------------------------------------------------------------------------------------ */

conc_result conc_cancel_fire(conc_cancel *token) {
    if (token == NULL) return conc__fail(CONC_INVALID, "conc_cancel_fire: no token");
    /* Release: what was done before is seen by those it wakes. Then whoever armed before we take the bucket's
     * lock is found there, and whoever arms later reads the state under it. */
    if (conc__swap32(&token->conc__state, 1, CONC__ACQ_REL) == 0) {
        (void)conc__wake_waiters(token, CONC__ANY_TAG, CONC_ALL);
    }
    return CONC_OK;
}

bool conc_cancel_fired(const conc_cancel *token) {
    unsigned depth;
    for (depth = 0; token != NULL && depth < CONC_CANCEL_DEPTH; depth++, token = token->parent) {
        if (conc__load32(&token->conc__state, CONC__ACQUIRE) != 0) return true;
    }
    CONC__OPAQUE();
    return false;
}

static conc_result conc__canceled_attempt(conc_op *op) {
    const conc_cancel *token = (const conc_cancel *)op->object;
    if (token == NULL) return conc__fail(CONC_INVALID, "conc_op_canceled: no token");
    return conc__load32(&token->conc__state, CONC__ACQUIRE) != 0 ? CONC_OK : CONC_PENDING;
}

static bool conc__canceled_arm(conc_op *op, conc_node *node) {
    conc__bucket *b = conc__bucket_lock(op->object);
    bool wait = conc__canceled_attempt(op) == CONC_PENDING;
    if (wait) conc__bucket_push(b, op->object, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_canceled(conc_cancel *token) {
    static const conc_op_class cls = {"canceled", CONC_BUSY, conc__canceled_attempt, conc__canceled_arm, NULL, NULL};
    return conc_op_make(&cls, token, NULL);
}

conc_cancel *conc_cancel_use(conc_cancel *token) {
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel, *t;
    unsigned depth = 0;
    for (t = token; t != NULL && depth <= CONC_CANCEL_DEPTH; t = t->parent) depth++;
    if (depth > CONC_CANCEL_DEPTH) {
        (void)conc__fail(CONC_INVALID, "conc_cancel_use: more than %d tokens in a chain; those above do not count",
                         CONC_CANCEL_DEPTH);
    }
    me->cancel = token;
    return before;
}

conc_cancel *conc_cancel_current(void) {
    return conc__self()->cancel;
}

bool conc__is_canceled(void) {
    return conc_cancel_fired(conc__self()->cancel);
}

conc_result conc_canceled(void) {
    return conc__is_canceled() ? CONC_CANCELED : CONC_OK;
}

conc__cancel_scope conc__cancel_enter(conc_cancel *token) {
    conc__cancel_scope s;
    s.live = 1;
    s.before = conc_cancel_use(token);
    conc__self()->scopes++;
    return s;
}

void conc__cancel_leave(conc__cancel_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    conc__self()->scopes--;
    (void)conc_cancel_use(scope->before);
}

/* ==== end src/wait.c ==== */

/* ==== begin src/sync.c ==== */

/* ============================================================================================
 * sync: see sync.h. Each object is one word (or two) that says everything while nobody waits; those who wait
 * stand in the table of wait.c under the object's address, and the bucket's lock orders them.
 *
 * Each op follows one pattern. attempt(): look at the word, change it by compare-and-swap, or say PENDING.
 * arm(): under the bucket's lock, look again; if it has to wait, set the word's "parked" flag by
 * compare-and-swap and enter the node. A waker changes the word with one read-modify-write; if the flag was
 * set, it claims waiters under the bucket's lock. That is why no wake is lost: both sides change the same
 * word, so either the waker's change comes first and arm() sees it, or the flag comes first and the waker
 * sees that; and then the lock makes the node visible to it.
 *
 * Where an object may be destroyed as soon as a wait on it returns, its waker touches the object for the last
 * time in the very operation that lets the waiter go; after that it uses its address only.
 * ========================================================================================== */

/* The flag: somebody may be in the table. In the words of this file that count something it is the top bit, so that
 * a plain number is that count; in those that name an owner it is the lowest. */
#define CONC__PARKED 0x80000000u
#define CONC__NUMBER(word) ((word) & ~CONC__PARKED)

/* arm() for words that need no more than that: enters `node` unless `ready(word)`. */
static bool conc__park(uint32_t *word, conc_node *node, bool (*ready)(uint32_t word), uint32_t flag) {
    conc__bucket *b = conc__bucket_lock(word);
    uint32_t w = conc__load32(word, CONC__ACQUIRE);
    bool wait;
    do {
        wait = !ready(w);
    } while (wait && !conc__cas32(word, &w, w | flag, CONC__ACQUIRE));
    if (wait) conc__bucket_push(b, word, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

/* How a waker changes a word that counts: to *w (less the flag), or not at all: false. */
typedef bool (*conc__change_fn)(uint32_t *w, uint32_t how, uint32_t limit);

/* The waker of such words: the change is made, the flag left set only if more than `n` wait, and `n` of those in the
 * table woken. Called with the flag seen set. The word is not touched once it has changed. */
static bool conc__change_and_wake(uint32_t *word, conc__change_fn change, uint32_t how, uint32_t limit, size_t n) {
    conc__bucket *b = conc__bucket_lock(word);
    conc_node *node = conc__bucket_first(b, word);
    uint32_t w = conc__load32(word, CONC__RELAXED), next, flag;
    size_t waiting = 0;
    bool more = true;
    for (; node != NULL && waiting <= n; node = conc__bucket_next(b, node)) waiting++;
    flag = waiting > n ? CONC__PARKED : 0; /* one too many is harmless: a later waker finds nobody */
    if (n > waiting) n = waiting;          /* those there now, not those who come back meanwhile */
    do {
        next = CONC__NUMBER(w);
        if (!change(&next, how, limit)) {
            conc__bucket_unlock(b);
            return false;
        }
    } while (!conc__cas32(word, &w, CONC__NUMBER(next) | flag, CONC__ACQ_REL));
    while (more && n > 0) {
        conc__wakes wakes;
        wakes.count = 0;
        while (more && n > 0 && wakes.count < CONC__WAKES) {
            more = conc__claim_first(b, word, CONC__ANY_TAG, 0, &wakes);
            if (more) n--;
        }
        conc__bucket_unlock(b);
        conc__wakes_run(&wakes);
        if (!more || n == 0) return true;
        b = conc__bucket_lock(word);
    }
    conc__bucket_unlock(b);
    return true;
}

static conc_result conc__null(const char *what) {
    return conc__fail(CONC_INVALID, "%s: NULL", what);
}

/* ---- mutex ------------------------------------------------------------------------------------ */

/* The word: the owner's id in the upper 30 bits, 0 if free; CONC__SLEEPERS, the flag; and CONC__WOKEN: a waiter has been woken and
 * is on its way to try. While it is, an unlock wakes nobody else (waking costs more than anything else here):
 * the one on its way either locks, or goes back to the table, or gives up, and each of these takes the
 * flag back; the last wakes another if the mutex is free then (conc__mutex_pass_on).
 *
 * Grants: CONC__ON_ITS_WAY: its claimer set CONC__WOKEN for it. CONC__HANDED: the mutex has been made its own.
 * Orders: acquire on taking, release on giving up the owner's part; the flags publish nothing. */
#define CONC__SLEEPERS 1u
#define CONC__WOKEN 2u
#define CONC__OWNER(word) ((word) & ~3u)
#define CONC__ON_ITS_WAY 1u
#define CONC__HANDED 2u
#define CONC__PATIENT 0u /* tags */
#define CONC__STARVING 1u
#define CONC__STARVING_NS 1000000

/* Takes the woken flag back; if nobody holds the mutex then, another waiter is woken instead. */
static void conc__mutex_pass_on(conc_mutex *m) {
    conc__bucket *b = conc__bucket_lock(&m->conc__word);
    conc__wakes wakes;
    uint32_t w = conc__and32(&m->conc__word, ~CONC__WOKEN, CONC__ACQ_REL);
    wakes.count = 0;
    if (CONC__OWNER(w) == 0 && (w & CONC__SLEEPERS) != 0) {
        /* The flag before the claim, as the claimed one takes it off. */
        (void)conc__or32(&m->conc__word, CONC__WOKEN, CONC__RELAXED);
        if (!conc__claim_first(b, &m->conc__word, CONC__ANY_TAG, CONC__ON_ITS_WAY, &wakes)) {
            (void)conc__and32(&m->conc__word, ~(CONC__WOKEN | CONC__SLEEPERS), CONC__RELAXED);
        }
    }
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
}

static conc_result conc__mutex_attempt(conc_op *op) {
    conc_mutex *m = (conc_mutex *)op->object;
    uint32_t me, w, taken_off;
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_op_lock");
    if (op->node.conc__grant == CONC__HANDED) { /* the one who handed it writes the word before it unlocks this */
        conc__bucket_unlock(conc__bucket_lock(&m->conc__word));
        op->node.conc__grant = 0;
        op->word = 0;
        return CONC_OK;
    }
    me = conc__self()->owner;
    taken_off = op->node.conc__grant == CONC__ON_ITS_WAY ? CONC__WOKEN : 0;
    w = conc__load32(&m->conc__word, CONC__RELAXED);
    while (CONC__OWNER(w) == 0) {
        if (conc__cas32(&m->conc__word, &w, (w & ~taken_off) | me, CONC__ACQUIRE)) {
            op->node.conc__grant = 0;
            op->word = 0;
            return CONC_OK;
        }
    }
    if (CONC__OWNER(w) == me) return conc__fail(CONC_DEADLOCK, "the mutex is already held by the calling thread");
    if (conc__is_gone(CONC__OWNER(w))) {
        return conc__fail(CONC_FORKED, "the mutex is held by a thread of the parent process");
    }
    return CONC_PENDING;
}

static bool conc__mutex_arm(conc_op *op, conc_node *node) {
    conc_mutex *m = (conc_mutex *)op->object;
    conc__bucket *b = conc__bucket_lock(&m->conc__word);
    uint32_t taken_off = node->conc__grant == CONC__ON_ITS_WAY ? CONC__WOKEN : 0;
    uint32_t w = conc__load32(&m->conc__word, CONC__RELAXED);
    bool wait;
    do {
        wait = CONC__OWNER(w) != 0;
    } while (wait && !conc__cas32(&m->conc__word, &w, (w & ~taken_off) | CONC__SLEEPERS, CONC__RELAXED));
    if (wait) {
        uint64_t now = (uint64_t)conc__port_clock_ns();
        node->conc__grant = 0;
        if (op->word == 0) op->word = now; /* when it first went to sleep */
        conc__bucket_push(b, &m->conc__word, node,
                          now - op->word >= CONC__STARVING_NS ? CONC__STARVING : CONC__PATIENT);
    }
    conc__bucket_unlock(b);
    return wait;
}

static void conc__mutex_abandon(conc_op *op) {
    op->word = 0;
    if (op->node.conc__grant == CONC__ON_ITS_WAY) {
        op->node.conc__grant = 0;
        conc__mutex_pass_on((conc_mutex *)op->object);
    }
}

conc_op conc_op_lock(conc_mutex *m) {
    static const conc_op_class cls = {"lock",          CONC_BUSY, conc__mutex_attempt,
                                      conc__mutex_arm, NULL,      conc__mutex_abandon};
    return conc_op_make(&cls, m, NULL);
}

/* First a spin by itself, then in the table. */
static CONC__NOINLINE conc_result conc__mutex_lock_slow(conc_mutex *m, conc_deadline deadline, bool cancelable) {
    uint32_t me = conc__self()->owner;
    unsigned step = 0;
    uint32_t w;
    conc_op op;
    do {
        w = conc__load32(&m->conc__word, CONC__RELAXED);
        while (CONC__OWNER(w) == 0) {
            if (conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE)) return CONC_OK;
        }
    } while (CONC__OWNER(w) != me && deadline.ns != INT64_MIN && conc__spin(step++, CONC__SPIN_SHORT));
    op = conc_op_lock(m);
    return conc__wait_spun(&op, deadline, cancelable);
}

static CONC__NOINLINE conc_result conc__mutex_unlock_slow(conc_mutex *m) {
    uint32_t me = conc__self()->owner;
    uint32_t w = conc__load32(&m->conc__word, CONC__RELAXED);
    conc__bucket *b;
    conc__wakes wakes;
    conc_node *n;
    uint32_t next = 0;
    if (CONC__OWNER(w) != me) {
        return conc__fail(CONC_NOT_OWNER, w == 0 ? "conc_mutex_unlock: the mutex is not locked"
                                                 : "conc_mutex_unlock: the mutex is held by another thread");
    }
    /* Nobody to wake, or one is on its way. In a child of fork() that one may have been the parent's: there the flag is not
     * believed (one wake too many does no harm), and goes. */
    while ((w & 3u) == 0 ||
           (conc__fork_generation() == 0 && ((w & CONC__SLEEPERS) == 0 || (w & CONC__WOKEN) != 0))) {
        if (conc__cas32(&m->conc__word, &w, w & 3u, CONC__RELEASE)) return CONC_OK;
    }
    /* Under the bucket's lock, and ours, the word changes only by our hand: takers want it free, and the flags
     * change under this lock. Who is claimed finds it taken until the store, comes to arm(), and waits there
     * for the lock. */
    b = conc__bucket_lock(&m->conc__word);
    wakes.count = 0;
    n = conc__bucket_first(b, &m->conc__word);
    while (n != NULL) {
        conc_node *after = conc__bucket_next(b, n); /* all before n have been taken out */
        bool starving = conc__node_tag(n) == CONC__STARVING;
        uint32_t heir = n->conc__waiter->owner;
        /* The last of the sleepers needs no CONC__WOKEN: there is nobody whom it keeps asleep, and while it is on its way the
         * word is that of a mutex without contention. */
        unsigned grant = starving ? CONC__HANDED : after != NULL ? CONC__ON_ITS_WAY : 0;
        if (conc__claim(b, n, grant, &wakes)) {
            next = starving ? heir : after != NULL ? CONC__WOKEN : 0;
            if (after != NULL) next |= CONC__SLEEPERS;
            break;
        }
        n = after;
    }
    conc__store32(&m->conc__word, next, CONC__RELEASE); /* the last touch */
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
    return CONC_OK;
}

#if !defined(CONC_DEBUG)
/* The fast path: one compare-and-swap; and a second where the flags are set, because while a woken waiter is on its
 * way they are, and the mutex is free most of the time all the same. */
static bool conc__mutex_take(conc_mutex *m) {
    uint32_t me = conc__self_fast()->owner, w = 0;
    if (CONC__UNLIKELY(me == 0)) return false; /* this thread has no identity yet */
    if (CONC__LIKELY(conc__cas32(&m->conc__word, &w, me, CONC__ACQUIRE))) return true;
    return CONC__OWNER(w) == 0 && conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE);
}
#endif

/* The names in parentheses are macros in debug mode; so they are functions here all the same. */

conc_result (conc_mutex_lock)(conc_mutex *m, conc_deadline deadline) {
#if defined(CONC_DEBUG)
    return conc__mutex_lock_at(m, deadline, NULL, 0);
#else
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_mutex_lock");
    return conc__mutex_take(m) ? CONC_OK : conc__mutex_lock_slow(m, deadline, true);
#endif
}

conc_result (conc_mutex_try_lock)(conc_mutex *m) {
#if defined(CONC_DEBUG)
    return conc__mutex_try_lock_at(m, NULL, 0);
#else
    uint32_t w, me = conc__self()->owner;
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_mutex_try_lock");
    w = conc__load32(&m->conc__word, CONC__RELAXED);
    while (CONC__OWNER(w) == 0) {
        if (conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    CONC__OPAQUE();
    return CONC_BUSY;
#endif
}

conc_result (conc_mutex_unlock)(conc_mutex *m) {
#if defined(CONC_DEBUG)
    return conc__mutex_unlock_at(m, NULL, 0);
#else
    uint32_t me, w;
    if (CONC__UNLIKELY(m == NULL)) return conc__null("conc_mutex_unlock");
    me = conc__self_fast()->owner;
    w = me;
    if (CONC__LIKELY(me != 0 && conc__cas32(&m->conc__word, &w, 0, CONC__RELEASE))) return CONC_OK;
    return conc__mutex_unlock_slow(m);
#endif
}

conc_result conc__mutex_lock_at(conc_mutex *m, conc_deadline deadline, const char *file, int line) {
#if defined(CONC_DEBUG)
    uint32_t free = 0, me = conc__self()->owner;
    conc_result r = CONC_OK;
    if (m == NULL) return conc__null("conc_mutex_lock");
    conc__debug_locking(m, file, line);
    if (!conc__cas32(&m->conc__word, &free, me, CONC__ACQUIRE)) r = conc__mutex_lock_slow(m, deadline, true);
    if (r == CONC_OK) conc__debug_locked(m, file, line);
    if (r == CONC_DEADLOCK) conc__debug_misuse(m, r, "is locked again by its holder", file, line);
    return r;
#else
    (void)file;
    (void)line;
    return conc_mutex_lock(m, deadline);
#endif
}

conc_result conc__mutex_try_lock_at(conc_mutex *m, const char *file, int line) {
#if defined(CONC_DEBUG)
    uint32_t w, me = conc__self()->owner;
    if (m == NULL) return conc__null("conc_mutex_try_lock");
    w = conc__load32(&m->conc__word, CONC__RELAXED);
    while (CONC__OWNER(w) == 0) { /* a try cannot wait, so it cannot be part of a deadlock: no order to check */
        if (conc__cas32(&m->conc__word, &w, w | me, CONC__ACQUIRE)) {
            conc__debug_locked(m, file, line);
            return CONC_OK;
        }
    }
    return CONC_BUSY;
#else
    (void)file;
    (void)line;
    return conc_mutex_try_lock(m);
#endif
}

conc_result conc__mutex_unlock_at(conc_mutex *m, const char *file, int line) {
#if defined(CONC_DEBUG)
    conc_result r;
    if (m == NULL) return conc__null("conc_mutex_unlock");
    if (conc_mutex_is_mine(m)) conc__debug_unlocked(m); /* before: afterwards it may be gone */
    r = conc__mutex_unlock_slow(m);
    if (r == CONC_NOT_OWNER) conc__debug_misuse(m, r, "is unlocked by a thread that does not hold it", file, line);
    return r;
#else
    (void)file;
    (void)line;
    return conc_mutex_unlock(m);
#endif
}

bool conc_mutex_is_mine(const conc_mutex *m) {
    return m != NULL && CONC__OWNER(conc__load32(&m->conc__word, CONC__RELAXED)) == conc__self()->owner;
}

conc_result conc_mutex_destroy(conc_mutex *m) {
    if (m == NULL) return conc__null("conc_mutex_destroy");
    if (conc__load32(&m->conc__word, CONC__ACQUIRE) != 0) {
#if defined(CONC_DEBUG)
        conc__debug_misuse(m, CONC_BUSY, "is destroyed while it is held or waited for", NULL, 0);
#endif
        return conc__fail(CONC_BUSY, "conc_mutex_destroy: the mutex is held or waited for");
    }
#if defined(CONC_DEBUG)
    conc__debug_destroyed(m);
#endif
    return CONC_OK;
}

static conc__lock_scope conc__lock_scope_of(conc_mutex *m, conc_result r) {
    conc__lock_scope s;
    s.mutex = m;
    s.live = r == CONC_OK;
#if defined(CONC_DEBUG)
    if (r == CONC_DEADLOCK) return s; /* told already, with the place */
#endif
    if (r == CONC_OK) {
        conc__self_fast()->scopes++;
    } else {
        conc__report(r, 0, NULL, "CONC_WITH_LOCK did not run its block: %s", conc_error_detail());
    }
    return s;
}

conc__lock_scope conc__lock_enter_at(conc_mutex *m, const char *file, int line) {
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc__mutex_lock_at(m, CONC_FOREVER, file, line);
    (void)conc_cancel_use(token);
    return conc__lock_scope_of(m, r);
}

conc__lock_scope (conc__lock_enter)(conc_mutex *m) {
#if defined(CONC_DEBUG)
    return conc__lock_enter_at(m, NULL, 0);
#else
    conc_result r = CONC_OK;
    if (CONC__UNLIKELY(m == NULL)) {
        r = conc__null("CONC_WITH_LOCK");
    } else if (CONC__UNLIKELY(!conc__mutex_take(m))) {
        r = conc__mutex_lock_slow(m, CONC_FOREVER, false);
    }
    return conc__lock_scope_of(m, r);
#endif
}

void conc__lock_leave(conc__lock_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    conc__self_fast()->scopes--;
    (void)conc_mutex_unlock(scope->mutex);
}

/* ---- recursive mutex --------------------------------------------------------------------------- */

static conc_result conc__rmutex_again(conc_rmutex *m) {
    if (m->conc__depth == UINT32_MAX) return conc__fail(CONC_INVALID, "conc_rmutex_lock: locked 2^32 times");
    m->conc__depth++;
    return CONC_OK;
}

conc_result conc_rmutex_lock(conc_rmutex *m, conc_deadline deadline) {
    if (m == NULL) return conc__null("conc_rmutex_lock");
    if (conc_mutex_is_mine(&m->conc__mutex)) return conc__rmutex_again(m);
    return conc_mutex_lock(&m->conc__mutex, deadline);
}

conc_result conc_rmutex_try_lock(conc_rmutex *m) {
    if (m == NULL) return conc__null("conc_rmutex_try_lock");
    if (conc_mutex_is_mine(&m->conc__mutex)) return conc__rmutex_again(m);
    return conc_mutex_try_lock(&m->conc__mutex);
}

conc_result conc_rmutex_unlock(conc_rmutex *m) {
    if (m == NULL) return conc__null("conc_rmutex_unlock");
    if (conc_mutex_is_mine(&m->conc__mutex) && m->conc__depth > 0) {
        m->conc__depth--;
        return CONC_OK;
    }
    return conc_mutex_unlock(&m->conc__mutex);
}

conc_result conc_rmutex_destroy(conc_rmutex *m) {
    return conc_mutex_destroy(m != NULL ? &m->conc__mutex : NULL);
}

conc__rlock_scope conc__rlock_enter(conc_rmutex *m) {
    conc__rlock_scope s;
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc_rmutex_lock(m, CONC_FOREVER);
    (void)conc_cancel_use(token);
    s.mutex = m;
    s.live = r == CONC_OK;
    if (r != CONC_OK) conc__report(r, 0, NULL, "CONC_WITH_RLOCK did not run its block: %s", conc_error_detail());
    return s;
}

void conc__rlock_leave(conc__rlock_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    (void)conc_rmutex_unlock(scope->mutex);
}

/* ---- condition variable -------------------------------------------------------------------------- */

/* The word: a count of signals (it would take 2^31 of them between the two looks of one wait to be missed), and
 * the flag. */

static conc_result conc__cond_attempt(conc_op *op) {
    conc_cond *c = (conc_cond *)op->object;
    if (c == NULL) return conc__null("conc_op_signal");
    return CONC__NUMBER(conc__load32(&c->conc__word, CONC__ACQUIRE)) != (uint32_t)op->word ? CONC_OK : CONC_PENDING;
}

static bool conc__cond_arm(conc_op *op, conc_node *node) {
    conc_cond *c = (conc_cond *)op->object;
    conc__bucket *b = conc__bucket_lock(&c->conc__word);
    uint32_t w = conc__load32(&c->conc__word, CONC__ACQUIRE);
    bool wait;
    do {
        wait = CONC__NUMBER(w) == (uint32_t)op->word;
    } while (wait && !conc__cas32(&c->conc__word, &w, w | CONC__PARKED, CONC__ACQUIRE));
    if (wait) conc__bucket_push(b, &c->conc__word, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_signal(conc_cond *c) {
    static const conc_op_class cls = {"signal", CONC_BUSY, conc__cond_attempt, conc__cond_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, c, NULL);
    if (c != NULL) op.word = CONC__NUMBER(conc__load32(&c->conc__word, CONC__RELAXED));
    return op;
}

conc_result conc_cond_wait(conc_cond *c, conc_mutex *m, conc_deadline deadline) {
    conc_op op;
    conc_result r;
    if (c == NULL || m == NULL) return conc__null("conc_cond_wait");
    if (!conc_mutex_is_mine(m)) {
        return conc__fail(CONC_NOT_OWNER, "conc_cond_wait: the mutex is not held by the calling thread");
    }
    op = conc_op_signal(c); /* with the mutex held: signals that come from here on count */
    (void)conc_mutex_unlock(m);
    r = conc__wait_op(&op, deadline);
#if defined(CONC_DEBUG)
    {
        conc_cancel *token = conc_cancel_use(NULL);
        conc_result relocked = conc__mutex_lock_at(m, CONC_FOREVER, NULL, 0);
        (void)conc_cancel_use(token);
        return relocked == CONC_OK ? r : relocked;
    }
#else
    {
        conc_result relocked = conc__mutex_lock_slow(m, CONC_FOREVER, false);
        return relocked == CONC_OK ? r : relocked;
    }
#endif
}

conc_result conc_cond_wait_for(conc_cond *c, conc_mutex *m, conc_predicate predicate, void *arg,
                               conc_deadline deadline) {
    conc_result r = CONC_OK;
    if (predicate == NULL) return conc__null("conc_cond_wait_for");
    if (c == NULL || m == NULL) return conc__null("conc_cond_wait_for");
    if (!conc_mutex_is_mine(m)) {
        return conc__fail(CONC_NOT_OWNER, "conc_cond_wait_for: the mutex is not held by the calling thread");
    }
    while (!predicate(arg)) {
        if (r != CONC_OK) return r;
        r = conc_cond_wait(c, m, deadline);
    }
    return CONC_OK;
}

static bool conc__count_signal(uint32_t *w, uint32_t how, uint32_t limit) {
    (void)limit;
    *w += how;
    return true;
}

static conc_result conc__cond_wake(conc_cond *c, size_t n) {
    uint32_t w = conc__load32(&c->conc__word, CONC__RELAXED);
    while ((w & CONC__PARKED) == 0) {
        /* Nobody sleeps; who is on the way to sleep sees that the count has changed. */
        if (conc__cas32(&c->conc__word, &w, CONC__NUMBER(w + 1), CONC__RELEASE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    (void)conc__change_and_wake(&c->conc__word, conc__count_signal, 1, 0, n);
    return CONC_OK;
}

conc_result conc_cond_signal(conc_cond *c) {
    return c != NULL ? conc__cond_wake(c, 1) : conc__null("conc_cond_signal");
}

conc_result conc_cond_broadcast(conc_cond *c) {
    return c != NULL ? conc__cond_wake(c, CONC_ALL) : conc__null("conc_cond_broadcast");
}

/* What destroying comes to for objects that nobody can hold: nobody may wait. */
static conc_result conc__destroy(const void *word, const char *what) {
    if (word == NULL) return conc__null(what);
    if (conc__is_waited_for(word)) return conc__fail(CONC_BUSY, "%s: somebody waits for it", what);
    return CONC_OK;
}

conc_result conc_cond_destroy(conc_cond *c) {
    return conc__destroy(c, "conc_cond_destroy");
}

/* ---- reader-writer lock ---------------------------------------------------------------------------- */

/* The word: how many read, in the lower 29 bits; and the flags below. A writer that has to wait sets
 * CONC__WRITERS, which keeps new readers out. A leaving writer passes the lock on: to all readers that wait, or else
 * to the first writer; the last of a group of readers passes it to the first writer. Whoever passes on holds the
 * lock itself while it does (the writer's bit, or one of the count), so what it hands out cannot be
 * snatched; a grant of 1 in the node tells the waiter that it holds the lock.
 *
 * A reader that finds a flag after adding itself takes itself off again, by the same path as an unlock: so a
 * writer misled by the moment's count is woken by it. Orders: acquire on entering, release on leaving; a
 * reader that is handed the lock synchronises through the claim. */
#define CONC__WRITING 0x80000000u /* a writer has it */
#define CONC__WRITERS 0x40000000u /* writers may be in the table */
#define CONC__READERS 0x20000000u /* readers may be in the table */
#define CONC__COUNT(word) ((word) & 0x1fffffffu)
#define CONC__TAG_READER 1u
#define CONC__TAG_WRITER 2u

/* Flags for kinds of waiters that are not there are taken off. Under the bucket's lock, as their setting. */
static void conc__rwlock_tidy(conc_rwlock *l, conc__bucket *b) {
    uint32_t stale = 0;
    if (!conc__bucket_has(b, &l->conc__word, CONC__TAG_READER)) stale |= CONC__READERS;
    if (!conc__bucket_has(b, &l->conc__word, CONC__TAG_WRITER)) stale |= CONC__WRITERS;
    if (stale != 0) (void)conc__and32(&l->conc__word, ~stale, CONC__RELAXED);
}

/* Tries to take the free lock to pass it on. */
static bool conc__rwlock_seize(conc_rwlock *l) {
    uint32_t w = conc__load32(&l->conc__word, CONC__RELAXED);
    while ((w & CONC__WRITING) == 0 && CONC__COUNT(w) == 0) {
        if (conc__cas32(&l->conc__word, &w, w | CONC__WRITING, CONC__ACQUIRE)) return true;
    }
    return false;
}

/* Lets all readers in that wait. The caller is one of the count, and the bucket's lock is held before and
 * after (not throughout). */
static conc__bucket *conc__rwlock_admit(conc_rwlock *l, conc__bucket *b) {
    conc_node *node = conc__bucket_first(b, &l->conc__word);
    size_t n = 0; /* those there now: who comes back for more is behind the next writer */
    bool more = true;
    for (; node != NULL; node = conc__bucket_next(b, node)) n += conc__node_tag(node) == CONC__TAG_READER;
    while (more && n > 0) {
        conc__wakes wakes;
        wakes.count = 0;
        for (; more && n > 0 && wakes.count < CONC__WAKES; n--) {
            /* Counted before it is claimed: it may leave again at once. */
            (void)conc__add32(&l->conc__word, 1, CONC__RELAXED);
            more = conc__claim_first(b, &l->conc__word, CONC__TAG_READER, 1, &wakes);
            if (!more) (void)conc__sub32(&l->conc__word, 1, CONC__RELAXED);
        }
        conc__bucket_unlock(b);
        conc__wakes_run(&wakes);
        b = conc__bucket_lock(&l->conc__word);
    }
    return b;
}

/* Gives away the writer's bit that the caller holds. */
static void conc__rwlock_pass(conc_rwlock *l, bool readers_first) {
    conc__bucket *b = conc__bucket_lock(&l->conc__word);
    for (;;) {
        conc__wakes wakes;
        uint32_t w;
        wakes.count = 0;
        if (!(readers_first && conc__bucket_has(b, &l->conc__word, CONC__TAG_READER)) &&
            conc__claim_first(b, &l->conc__word, CONC__TAG_WRITER, 1, &wakes)) {
            conc__rwlock_tidy(l, b);
            conc__bucket_unlock(b);
            conc__wakes_run(&wakes);
            return;
        }
        /* No writer waits: the flag goes before the bucket's lock is first let go of, or a reader could enter the table
         * meanwhile on the strength of it, behind a writer who is not there. */
        conc__rwlock_tidy(l, b);
        /* The writer's bit becomes a place among the readers, */
        (void)conc__sub32(&l->conc__word, CONC__WRITING - 1u, CONC__ACQ_REL);
        b = conc__rwlock_admit(l, b);
        conc__rwlock_tidy(l, b);
        /* and is given back. If that was the last and a writer came meanwhile, on to that. */
        w = conc__sub32(&l->conc__word, 1, CONC__ACQ_REL);
        readers_first = false;
        if (CONC__COUNT(w) != 1 || (w & CONC__WRITERS) == 0 || !conc__rwlock_seize(l)) break;
    }
    conc__bucket_unlock(b);
}

static void conc__rwlock_leave_read(conc_rwlock *l) {
    uint32_t w = conc__sub32(&l->conc__word, 1, CONC__RELEASE);
    if (CONC__UNLIKELY(CONC__COUNT(w) == 1 && (w & CONC__WRITERS) != 0 && (w & CONC__WRITING) == 0) &&
        conc__rwlock_seize(l)) {
        conc__rwlock_pass(l, false); /* if another has seized it, it is up to that one */
    }
}

static bool conc__rwlock_enter_read(conc_rwlock *l) {
    if ((conc__load32(&l->conc__word, CONC__RELAXED) & (CONC__WRITING | CONC__WRITERS)) != 0) return false;
    if ((conc__add32(&l->conc__word, 1, CONC__ACQUIRE) & (CONC__WRITING | CONC__WRITERS)) == 0) return true;
    conc__rwlock_leave_read(l);
    return false;
}

/* PENDING, or why waiting for it is no use: held to write by the caller itself, or by a thread now gone. */
static conc_result conc__rwlock_hopeless(conc_rwlock *l) {
    uint32_t owner = conc__load32(&l->conc__owner, CONC__RELAXED);
    if (owner != 0 && owner == conc__self()->owner) {
        return conc__fail(CONC_DEADLOCK, "the reader-writer lock is already held to write by the calling thread");
    }
    if (owner != 0 && conc__is_gone(owner)) {
        return conc__fail(CONC_FORKED, "the reader-writer lock is held by a thread of the parent process");
    }
    return CONC_PENDING;
}

static conc_result conc__read_attempt(conc_op *op) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    if (l == NULL) return conc__null("conc_op_read");
    if (op->node.conc__grant != 0) {
        op->node.conc__grant = 0;
        return CONC_OK;
    }
    return conc__rwlock_enter_read(l) ? CONC_OK : conc__rwlock_hopeless(l);
}

static bool conc__read_arm(conc_op *op, conc_node *node) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    conc__bucket *b = conc__bucket_lock(&l->conc__word);
    uint32_t w;
    bool wait;
    if (conc__fork_generation() != 0) conc__rwlock_tidy(l, b); /* the parent's waiters may have left a flag in the child */
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    do {
        wait = (w & (CONC__WRITING | CONC__WRITERS)) != 0;
    } while (wait && !conc__cas32(&l->conc__word, &w, w | CONC__READERS, CONC__RELAXED));
    if (wait) conc__bucket_push(b, &l->conc__word, node, CONC__TAG_READER);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_read(conc_rwlock *l) {
    static const conc_op_class cls = {"read", CONC_BUSY, conc__read_attempt, conc__read_arm, NULL, NULL};
    return conc_op_make(&cls, l, NULL);
}

static conc_result conc__write_attempt(conc_op *op) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    if (l == NULL) return conc__null("conc_op_write");
    if (op->node.conc__grant != 0) {
        op->node.conc__grant = 0;
    } else if (!conc__rwlock_seize(l)) {
        return conc__rwlock_hopeless(l);
    }
    conc__store32(&l->conc__owner, conc__self()->owner, CONC__RELAXED);
    op->word = 0;
    return CONC_OK;
}

static bool conc__write_arm(conc_op *op, conc_node *node) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    conc__bucket *b = conc__bucket_lock(&l->conc__word);
    uint32_t w = conc__load32(&l->conc__word, CONC__RELAXED);
    bool wait;
    do {
        wait = (w & CONC__WRITING) != 0 || CONC__COUNT(w) != 0;
    } while (wait && !conc__cas32(&l->conc__word, &w, w | CONC__WRITERS, CONC__RELAXED));
    if (wait) {
        op->word = 1; /* the flag was set on its behalf */
        conc__bucket_push(b, &l->conc__word, node, CONC__TAG_WRITER);
    }
    conc__bucket_unlock(b);
    return wait;
}

/* A writer that gives up takes the flag off again, and lets the readers in that only the flag kept out. */
static void conc__write_abandon(conc_op *op) {
    conc_rwlock *l = (conc_rwlock *)op->object;
    conc__bucket *b;
    uint32_t w;
    bool joined = false;
    if (op->word == 0) return;
    op->word = 0;
    b = conc__bucket_lock(&l->conc__word);
    conc__rwlock_tidy(l, b);
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    /* With a writer inside, or another waiting, the readers are let in when that one leaves. */
    while ((w & CONC__READERS) != 0 && (w & (CONC__WRITING | CONC__WRITERS)) == 0 && !joined) {
        joined = conc__cas32(&l->conc__word, &w, w + 1, CONC__ACQUIRE);
    }
    if (joined) {
        b = conc__rwlock_admit(l, b);
        conc__rwlock_tidy(l, b);
    }
    conc__bucket_unlock(b);
    if (joined) conc__rwlock_leave_read(l);
}

conc_op conc_op_write(conc_rwlock *l) {
    static const conc_op_class cls = {"write",         CONC_BUSY, conc__write_attempt,
                                      conc__write_arm, NULL,      conc__write_abandon};
    return conc_op_make(&cls, l, NULL);
}

conc_result conc_rwlock_read(conc_rwlock *l, conc_deadline deadline) {
    conc_op op;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_rwlock_read");
    if (CONC__LIKELY(conc__rwlock_enter_read(l))) return CONC_OK;
    op = conc_op_read(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_rwlock_write(conc_rwlock *l, conc_deadline deadline) {
    conc_op op;
    uint32_t w = 0;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_rwlock_write");
    if (CONC__LIKELY(conc__cas32(&l->conc__word, &w, CONC__WRITING, CONC__ACQUIRE))) {
        conc__store32(&l->conc__owner, conc__self()->owner, CONC__RELAXED);
        return CONC_OK;
    }
    op = conc_op_write(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_rwlock_unlock(conc_rwlock *l) {
    uint32_t w;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_rwlock_unlock");
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    if ((w & CONC__WRITING) == 0) {
        if (CONC__COUNT(w) == 0) return conc__fail(CONC_NOT_OWNER, "conc_rwlock_unlock: the lock is not held");
        conc__rwlock_leave_read(l);
        return CONC_OK;
    }
    if (conc__load32(&l->conc__owner, CONC__RELAXED) != conc__self()->owner) {
        return conc__fail(CONC_NOT_OWNER, "conc_rwlock_unlock: the lock is held to write by another thread");
    }
    conc__store32(&l->conc__owner, 0, CONC__RELAXED);
    w = CONC__WRITING;
    if (CONC__UNLIKELY(!conc__cas32(&l->conc__word, &w, 0, CONC__RELEASE))) conc__rwlock_pass(l, true);
    return CONC_OK;
}

conc_result conc_rwlock_destroy(conc_rwlock *l) {
    if (l == NULL) return conc__null("conc_rwlock_destroy");
    if (conc__load32(&l->conc__word, CONC__ACQUIRE) != 0) {
        return conc__fail(CONC_BUSY, "conc_rwlock_destroy: the lock is held or waited for");
    }
    return CONC_OK;
}

conc__rwlock_scope conc__rwlock_enter(conc_rwlock *l, int write) {
    conc__rwlock_scope s;
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = write != 0 ? conc_rwlock_write(l, CONC_FOREVER) : conc_rwlock_read(l, CONC_FOREVER);
    (void)conc_cancel_use(token);
    s.lock = l;
    s.live = r == CONC_OK;
    if (r != CONC_OK) {
        conc__report(r, 0, NULL, "CONC_WITH_%s_LOCK did not run its block: %s", write != 0 ? "WRITE" : "READ",
                     conc_error_detail());
    }
    return s;
}

void conc__rwlock_leave(conc__rwlock_scope *scope) {
    if (scope->live == 0) return;
    scope->live = 0;
    (void)conc_rwlock_unlock(scope->lock);
}

/* ---- big-reader lock -------------------------------------------------------------------------------- */

/* A reader counts itself in a slot of its own and then looks for a writer; a writer announces itself and then
 * looks at all slots. Both are sequentially consistent: one of the two sees the other (Dekker). The same
 * pair, reader leaving and writer waiting, wakes the writer. */
typedef struct conc__br_slot {
    uint32_t count; /* readers inside that hash here */
    char pad[CONC__CACHE_LINE - sizeof(uint32_t)];
} conc__br_slot;

#define CONC__BR_HOLDS 1u

struct conc_brlock {
    uint32_t writer; /* the owner of the announcement, and CONC__BR_HOLDS once that is the lock; those who wait for it to
                        be 0 stand under it */
    uint32_t drain;  /* only an address: under it stands the writer that waits for readers to leave */
    uint32_t slot_count; /* a power of two */
    char pad[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];
    conc__br_slot slots[1];
};

conc_brlock *conc_brlock_new(void) {
    unsigned processors = conc_cpu_count();
    conc_brlock *l;
    unsigned n = 2; /* at least twice the processors, so that few threads share a slot by chance */
    if (processors > 64) processors = 64;
    while (n < 2 * processors) n *= 2;
    l = (conc_brlock *)conc__alloc(1, sizeof *l + (n - 1) * sizeof l->slots[0], "a big-reader lock");
    if (l != NULL) l->slot_count = n;
    return l;
}

static conc__br_slot *conc__br_slot_of(conc_brlock *l) {
    uint32_t owner = conc__self_fast()->owner;
    if (CONC__UNLIKELY(owner == 0)) owner = conc__self()->owner;
    return &l->slots[(owner >> 2) & (l->slot_count - 1)];
}

static bool conc__br_is_drained(const conc_brlock *l) {
    uint32_t i;
    for (i = 0; i < l->slot_count; i++) {
        if (conc__load32(&l->slots[i].count, CONC__SEQ_CST) != 0) return false;
    }
    return true;
}

static void conc__br_leave_read(conc_brlock *l, conc__br_slot *slot) {
    if (conc__sub32(&slot->count, 1, CONC__SEQ_CST) == 1 &&
        CONC__UNLIKELY(conc__load32(&l->writer, CONC__SEQ_CST) != 0)) {
        (void)conc__wake_waiters(&l->drain, CONC__ANY_TAG, 1);
    }
}

static bool conc__br_enter_read(conc_brlock *l) {
    conc__br_slot *slot = conc__br_slot_of(l);
    (void)conc__add32(&slot->count, 1, CONC__SEQ_CST);
    if (CONC__LIKELY(conc__load32(&l->writer, CONC__SEQ_CST) == 0)) return true;
    conc__br_leave_read(l, slot);
    return false;
}

static void conc__br_leave_write(conc_brlock *l) {
    conc__store32(&l->writer, 0, CONC__SEQ_CST);
    (void)conc__wake_waiters(&l->writer, CONC__ANY_TAG, CONC_ALL);
}

static conc_result conc__br_hopeless(const conc_brlock *l) {
    uint32_t w = conc__load32(&l->writer, CONC__RELAXED), owner = CONC__OWNER(w);
    if (w == (conc__self()->owner | CONC__BR_HOLDS)) {
        return conc__fail(CONC_DEADLOCK, "the big-reader lock is already held to write by the calling thread");
    }
    if (owner != 0 && conc__is_gone(owner)) {
        return conc__fail(CONC_FORKED, "the big-reader lock is held by a thread of the parent process");
    }
    return CONC_PENDING;
}

static conc_result conc__br_read_attempt(conc_op *op) {
    conc_brlock *l = (conc_brlock *)op->object;
    if (l == NULL) return conc__null("conc_op_brlock_read");
    return conc__load32(&l->writer, CONC__RELAXED) == 0 && conc__br_enter_read(l) ? CONC_OK : conc__br_hopeless(l);
}

/* Enters the node under the writer's word, unless there is no writer. */
static bool conc__br_arm(conc_op *op, conc_node *node) {
    conc_brlock *l = (conc_brlock *)op->object;
    conc__bucket *b = conc__bucket_lock(&l->writer);
    bool wait = conc__load32(&l->writer, CONC__SEQ_CST) != 0;
    if (wait) conc__bucket_push(b, &l->writer, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_brlock_read(conc_brlock *l) {
    static const conc_op_class cls = {"read", CONC_BUSY, conc__br_read_attempt, conc__br_arm, NULL, NULL};
    return conc_op_make(&cls, l, NULL);
}

/* op->word: 1 once the writer has announced itself. */
static conc_result conc__br_write_attempt(conc_op *op) {
    conc_brlock *l = (conc_brlock *)op->object;
    if (l == NULL) return conc__null("conc_op_brlock_write");
    if (op->word == 0) {
        uint32_t nobody = 0;
        if (!conc__cas32(&l->writer, &nobody, conc__self()->owner, CONC__SEQ_CST)) return conc__br_hopeless(l);
        op->word = 1;
    }
    if (!conc__br_is_drained(l)) return CONC_PENDING;
    conc__store32(&l->writer, conc__self()->owner | CONC__BR_HOLDS, CONC__RELAXED);
    op->word = 0;
    return CONC_OK;
}

static bool conc__br_write_arm(conc_op *op, conc_node *node) {
    conc_brlock *l = (conc_brlock *)op->object;
    conc__bucket *b;
    bool wait;
    if (op->word == 0) return conc__br_arm(op, node);
    b = conc__bucket_lock(&l->drain);
    wait = !conc__br_is_drained(l);
    if (wait) conc__bucket_push(b, &l->drain, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static void conc__br_write_abandon(conc_op *op) {
    if (op->word != 0) conc__br_leave_write((conc_brlock *)op->object);
    op->word = 0;
}

conc_op conc_op_brlock_write(conc_brlock *l) {
    static const conc_op_class cls = {"write",            CONC_BUSY, conc__br_write_attempt,
                                      conc__br_write_arm, NULL,      conc__br_write_abandon};
    return conc_op_make(&cls, l, NULL);
}

conc_result conc_brlock_read(conc_brlock *l, conc_deadline deadline) {
    conc_op op;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_brlock_read");
    if (CONC__LIKELY(conc__br_enter_read(l))) return CONC_OK;
    op = conc_op_brlock_read(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_brlock_write(conc_brlock *l, conc_deadline deadline) {
    conc_op op = conc_op_brlock_write(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_brlock_read_unlock(conc_brlock *l) {
    conc__br_slot *slot;
    if (CONC__UNLIKELY(l == NULL)) return conc__null("conc_brlock_read_unlock");
    slot = conc__br_slot_of(l);
    if (CONC__UNLIKELY(conc__load32(&slot->count, CONC__RELAXED) == 0)) {
        return conc__fail(CONC_NOT_OWNER, "conc_brlock_read_unlock: the calling thread does not read");
    }
    conc__br_leave_read(l, slot);
    return CONC_OK;
}

conc_result conc_brlock_write_unlock(conc_brlock *l) {
    if (l == NULL) return conc__null("conc_brlock_write_unlock");
    if (conc__load32(&l->writer, CONC__RELAXED) != (conc__self()->owner | CONC__BR_HOLDS)) {
        return conc__fail(CONC_NOT_OWNER, "conc_brlock_write_unlock: the calling thread does not write");
    }
    conc__br_leave_write(l);
    return CONC_OK;
}

conc_result conc_brlock_free(conc_brlock *l) {
    if (l == NULL) return CONC_OK;
    if (conc__load32(&l->writer, CONC__ACQUIRE) != 0 || !conc__br_is_drained(l) ||
        conc__is_waited_for(&l->writer) || conc__is_waited_for(&l->drain)) {
        return conc__fail(CONC_BUSY, "conc_brlock_free: the lock is held or waited for");
    }
    conc__free(l);
    return CONC_OK;
}

/* ---- semaphore --------------------------------------------------------------------------------------- */

/* The word: the permits, and the flag. */

static bool conc__has_count(uint32_t w) {
    return CONC__NUMBER(w) != 0;
}

static conc_result conc__semaphore_attempt(conc_op *op) {
    conc_semaphore *s = (conc_semaphore *)op->object;
    uint32_t w;
    if (s == NULL) return conc__null("conc_op_acquire");
    w = conc__load32(&s->conc__word, CONC__RELAXED);
    while (conc__has_count(w)) {
        if (conc__cas32(&s->conc__word, &w, w - 1, CONC__ACQUIRE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    return CONC_PENDING;
}

static bool conc__semaphore_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_semaphore *)op->object)->conc__word, node, conc__has_count, CONC__PARKED);
}

conc_op conc_op_acquire(conc_semaphore *s) {
    static const conc_op_class cls = {"acquire", CONC_BUSY, conc__semaphore_attempt, conc__semaphore_arm, NULL, NULL};
    return conc_op_make(&cls, s, NULL);
}

conc_result conc_semaphore_init(conc_semaphore *s, uint32_t permits, uint32_t max) {
    if (s == NULL) return conc__null("conc_semaphore_init");
    if (permits > 0x7fffffffu || max > 0x7fffffffu || (max != 0 && permits > max)) {
        return conc__fail(CONC_INVALID, "conc_semaphore_init: %u permits of at most %u", (unsigned)permits,
                          (unsigned)(max != 0 ? max : 0x7fffffffu));
    }
    s->conc__word = permits;
    s->max = max;
    return CONC_OK;
}

conc_result conc_semaphore_acquire(conc_semaphore *s, conc_deadline deadline) {
    conc_op op;
    uint32_t w;
    if (CONC__UNLIKELY(s == NULL)) return conc__null("conc_semaphore_acquire");
    w = conc__load32(&s->conc__word, CONC__RELAXED);
    if (CONC__LIKELY(conc__has_count(w) && conc__cas32(&s->conc__word, &w, w - 1, CONC__ACQUIRE))) return CONC_OK;
    op = conc_op_acquire(s);
    return conc__wait_op(&op, deadline);
}

static bool conc__add_permits(uint32_t *w, uint32_t n, uint32_t max) {
    if (n > max || *w > max - n) return false;
    *w += n;
    return true;
}

conc_result conc_semaphore_release(conc_semaphore *s, uint32_t n) {
    uint32_t w, next, max;
    if (CONC__UNLIKELY(s == NULL)) return conc__null("conc_semaphore_release");
    max = s->max != 0 && s->max < 0x7fffffffu ? s->max : 0x7fffffffu;
    w = conc__load32(&s->conc__word, CONC__RELAXED);
    while ((w & CONC__PARKED) == 0) {
        next = w;
        if (CONC__UNLIKELY(!conc__add_permits(&next, n, max))) break;
        if (CONC__LIKELY(conc__cas32(&s->conc__word, &w, next, CONC__RELEASE))) return CONC_OK;
    }
    if ((w & CONC__PARKED) != 0 && conc__change_and_wake(&s->conc__word, conc__add_permits, n, max, n)) return CONC_OK;
    return conc__fail(CONC_INVALID, "conc_semaphore_release: %u permits more than there are would pass the bound of %u",
                      (unsigned)n, (unsigned)max);
}

uint32_t conc_semaphore_permits(const conc_semaphore *s) {
    return s != NULL ? CONC__NUMBER(conc__load32(&s->conc__word, CONC__RELAXED)) : 0;
}

conc_result conc_semaphore_destroy(conc_semaphore *s) {
    return conc__destroy(s, "conc_semaphore_destroy");
}

/* ---- event ------------------------------------------------------------------------------------------- */

/* The word: 1 if set, and the flag. */

static conc_result conc__event_attempt(conc_op *op) {
    conc_event *e = (conc_event *)op->object;
    uint32_t w;
    if (e == NULL) return conc__null("conc_op_event");
    w = conc__load32(&e->conc__word, CONC__ACQUIRE);
    while (conc__has_count(w)) {
        if (!e->auto_reset || conc__cas32(&e->conc__word, &w, w & ~1u, CONC__ACQUIRE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    return CONC_PENDING;
}

static bool conc__event_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_event *)op->object)->conc__word, node, conc__has_count, CONC__PARKED);
}

conc_op conc_op_event(conc_event *e) {
    static const conc_op_class cls = {"event", CONC_BUSY, conc__event_attempt, conc__event_arm, NULL, NULL};
    return conc_op_make(&cls, e, NULL);
}

conc_result conc_event_wait(conc_event *e, conc_deadline deadline) {
    conc_op op = conc_op_event(e);
    return conc__wait_op(&op, deadline);
}

static bool conc__set_bit(uint32_t *w, uint32_t bit, uint32_t limit) {
    (void)limit;
    *w |= bit;
    return true;
}

conc_result conc_event_set(conc_event *e) {
    uint32_t w;
    bool one;
    if (e == NULL) return conc__null("conc_event_set");
    one = e->auto_reset; /* read before: afterwards the event may be gone */
    w = conc__load32(&e->conc__word, CONC__RELAXED);
    while ((w & CONC__PARKED) == 0) {
        if (conc__cas32(&e->conc__word, &w, w | 1u, CONC__RELEASE)) {
            CONC__OPAQUE();
            return CONC_OK;
        }
    }
    (void)conc__change_and_wake(&e->conc__word, conc__set_bit, 1u, 0, one ? 1 : CONC_ALL);
    return CONC_OK;
}

conc_result conc_event_reset(conc_event *e) {
    if (e == NULL) return conc__null("conc_event_reset");
    (void)conc__and32(&e->conc__word, ~1u, CONC__ACQ_REL);
    CONC__OPAQUE();
    return CONC_OK;
}

bool conc_event_is_set(const conc_event *e) {
    bool set = e != NULL && conc__has_count(conc__load32(&e->conc__word, CONC__ACQUIRE));
    CONC__OPAQUE();
    return set;
}

conc_result conc_event_destroy(conc_event *e) {
    return conc__destroy(e, "conc_event_destroy");
}

/* ---- barrier ------------------------------------------------------------------------------------------ */

/* All fields but `parties` are guarded by the lock of the barrier's bucket. op->word: 0 not arrived, else the
 * round it arrived in, plus 1. */

/* Ends the round and lets its parties go, with the bucket's lock held, which it gives up. */
static void conc__barrier_end_round(conc_barrier *b, conc__bucket *bucket, bool broken) {
    uint32_t bit = 1u << b->conc__generation % 32;
    b->conc__history = broken ? b->conc__history | bit : b->conc__history & ~bit;
    b->conc__arrived = 0;
    b->conc__generation++;
    conc__bucket_unlock(bucket);
    (void)conc__wake_waiters(b, CONC__ANY_TAG, CONC_ALL); /* uses the address only */
}

static conc_result conc__barrier_is_broken(void) {
    return conc__fail(CONC_BROKEN, "conc_barrier_wait: the barrier is broken");
}

/* How a round that has ended did end. With the bucket's lock. */
static bool conc__barrier_ended_broken(const conc_barrier *b, uint64_t round) {
    return (b->conc__history >> round % 32 & 1u) != 0;
}

static conc_result conc__barrier_attempt(conc_op *op) {
    conc_barrier *b = (conc_barrier *)op->object;
    conc__bucket *bucket;
    bool broken;
    if (b == NULL) return conc__null("conc_barrier_wait");
    if (b->parties == 0) return conc__fail(CONC_INVALID, "conc_barrier_wait: a barrier of 0 parties");
    bucket = conc__bucket_lock(b);
    if (op->word == 0 && !b->conc__broken) { /* arrive */
        if (op->data != NULL) *(uint32_t *)op->data = b->conc__arrived;
        op->word = (uint64_t)b->conc__generation + 1;
        b->conc__arrived++;
        if (b->conc__arrived == b->parties) {
            conc__barrier_end_round(b, bucket, false);
            op->word = 0;
            return CONC_OK;
        }
    }
    if (op->word == (uint64_t)b->conc__generation + 1) {
        conc__bucket_unlock(bucket);
        return CONC_PENDING;
    }
    broken = op->word == 0 || conc__barrier_ended_broken(b, op->word - 1);
    conc__bucket_unlock(bucket);
    op->word = 0;
    return broken ? conc__barrier_is_broken() : CONC_OK;
}

static bool conc__barrier_arm(conc_op *op, conc_node *node) {
    conc_barrier *b = (conc_barrier *)op->object;
    conc__bucket *bucket = conc__bucket_lock(b);
    bool wait = op->word == (uint64_t)b->conc__generation + 1;
    if (wait) conc__bucket_push(bucket, b, node, 0);
    conc__bucket_unlock(bucket);
    return wait;
}

/* A party that had arrived and gives up breaks the barrier, unless its round has ended after all. */
static void conc__barrier_abandon(conc_op *op) {
    conc_barrier *b = (conc_barrier *)op->object;
    conc__bucket *bucket;
    if (op->word == 0) return; /* it never arrived */
    bucket = conc__bucket_lock(b);
    if (op->word == (uint64_t)b->conc__generation + 1) {
        b->conc__broken = true;
        conc__barrier_end_round(b, bucket, true);
    } else {
        bool broken = conc__barrier_ended_broken(b, op->word - 1);
        conc__bucket_unlock(bucket);
        op->result = broken ? conc__barrier_is_broken() : CONC_OK;
    }
    op->word = 0;
}

conc_op conc_op_barrier(conc_barrier *b, uint32_t *rank) {
    static const conc_op_class cls = {"barrier",         CONC_BUSY, conc__barrier_attempt,
                                      conc__barrier_arm, NULL,      conc__barrier_abandon};
    return conc_op_make(&cls, b, rank);
}

conc_result conc_barrier_wait(conc_barrier *b, uint32_t *rank, conc_deadline deadline) {
    conc_op op = conc_op_barrier(b, rank);
    return conc__wait_op(&op, deadline);
}

static conc_result conc__barrier_break(conc_barrier *b, bool stays_broken) {
    conc__bucket *bucket = conc__bucket_lock(b);
    b->conc__broken = stays_broken;
    if (b->conc__arrived > 0) {
        conc__barrier_end_round(b, bucket, true);
    } else {
        conc__bucket_unlock(bucket);
    }
    return CONC_OK;
}

conc_result conc_barrier_abort(conc_barrier *b) {
    return b != NULL ? conc__barrier_break(b, true) : conc__null("conc_barrier_abort");
}

conc_result conc_barrier_reset(conc_barrier *b) {
    return b != NULL ? conc__barrier_break(b, false) : conc__null("conc_barrier_reset");
}

conc_result conc_barrier_destroy(conc_barrier *b) {
    return conc__destroy(b, "conc_barrier_destroy");
}

/* ---- once ------------------------------------------------------------------------------------------- */

/* The word: CONC__DONE; or the owner who runs it, and CONC__SLEEPERS; or 0. */
#define CONC__DONE 2u

static conc_result conc__once_attempt(conc_op *op) {
    uint32_t w = conc__load32(&((conc_once *)op->object)->conc__word, CONC__ACQUIRE);
    if (CONC__OWNER(w) == 0) return CONC_OK; /* done, or to be tried anew */
    if (CONC__OWNER(w) == conc__self()->owner) {
        return conc__fail(CONC_DEADLOCK, "conc_once_do: called from within its own function");
    }
    if (conc__is_gone(CONC__OWNER(w))) {
        return conc__fail(CONC_FORKED, "conc_once_do: begun by a thread of the parent process");
    }
    return CONC_PENDING;
}

static bool conc__once_idle(uint32_t w) {
    return CONC__OWNER(w) == 0;
}

static bool conc__once_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_once *)op->object)->conc__word, node, conc__once_idle, CONC__SLEEPERS);
}

/* The fast path, once it has run, is one load with acquire, against the release with which it was marked
 * done. */
conc_result conc_once_do(conc_once *o, conc_fn fn, void *arg, conc_deadline deadline) {
    static const conc_op_class cls = {"once", CONC_BUSY, conc__once_attempt, conc__once_arm, NULL, NULL};
    if (CONC__UNLIKELY(o == NULL || fn == NULL)) return conc__null("conc_once_do");
    while (conc__load32(&o->conc__word, CONC__ACQUIRE) != CONC__DONE) {
        uint32_t fresh = 0;
        if (conc__cas32(&o->conc__word, &fresh, conc__self()->owner, CONC__ACQUIRE)) {
            int code = fn(arg);
            uint32_t w = conc__swap32(&o->conc__word, code == 0 ? CONC__DONE : 0, CONC__ACQ_REL);
            if ((w & CONC__SLEEPERS) != 0) (void)conc__wake_waiters(&o->conc__word, CONC__ANY_TAG, CONC_ALL);
            if (code != 0) return conc__fail(CONC_FAILED, "conc_once_do: the function returned %d", code);
        } else {
            conc_op op = conc_op_make(&cls, o, NULL);
            conc_result r = conc__wait_op(&op, deadline);
            if (r != CONC_OK) return r;
        }
    }
    return CONC_OK;
}

/* ---- latch ------------------------------------------------------------------------------------------ */

/* The word: the count, and the flag. */

static bool conc__has_no_count(uint32_t w) {
    return CONC__NUMBER(w) == 0;
}

static conc_result conc__latch_attempt(conc_op *op) {
    const conc_latch *l = (const conc_latch *)op->object;
    if (l == NULL) return conc__null("conc_latch_wait");
    return conc__has_no_count(conc__load32(&l->conc__word, CONC__ACQUIRE)) ? CONC_OK : CONC_PENDING;
}

static bool conc__latch_arm(conc_op *op, conc_node *node) {
    return conc__park(&((conc_latch *)op->object)->conc__word, node, conc__has_no_count, CONC__PARKED);
}

conc_op conc_op_latch(conc_latch *l) {
    static const conc_op_class cls = {"latch", CONC_BUSY, conc__latch_attempt, conc__latch_arm, NULL, NULL};
    return conc_op_make(&cls, l, NULL);
}

conc_result conc_latch_wait(conc_latch *l, conc_deadline deadline) {
    conc_op op = conc_op_latch(l);
    return conc__wait_op(&op, deadline);
}

conc_result conc_latch_add(conc_latch *l, uint32_t n) {
    uint32_t w;
    if (l == NULL) return conc__null("conc_latch_add");
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    do {
        if (n > 0x7fffffffu - CONC__NUMBER(w)) {
            return conc__fail(CONC_INVALID, "conc_latch_add: %u and %u more is too many", (unsigned)CONC__NUMBER(w),
                              (unsigned)n);
        }
    } while (!conc__cas32(&l->conc__word, &w, w + n, CONC__RELAXED));
    CONC__OPAQUE();
    return CONC_OK;
}

conc_result conc_latch_done(conc_latch *l) {
    uint32_t w, next;
    if (l == NULL) return conc__null("conc_latch_done");
    w = conc__load32(&l->conc__word, CONC__RELAXED);
    do {
        if (CONC__NUMBER(w) == 0) return conc__fail(CONC_INVALID, "conc_latch_done: more often than the latch was counted up");
        next = w - 1;
        if (CONC__NUMBER(next) == 0) next = 0; /* the flag goes in the same step: the last touch */
        /* Acquire and release: whoever waits sees what all that counted down did before. */
    } while (!conc__cas32(&l->conc__word, &w, next, CONC__ACQ_REL));
    if (next == 0 && (w & CONC__PARKED) != 0) (void)conc__wake_waiters(&l->conc__word, CONC__ANY_TAG, CONC_ALL);
    CONC__OPAQUE();
    return CONC_OK;
}

uint32_t conc_latch_count(const conc_latch *l) {
    return l != NULL ? CONC__NUMBER(conc__load32(&l->conc__word, CONC__RELAXED)) : 0;
}

conc_result conc_latch_destroy(conc_latch *l) {
    return conc__destroy(l, "conc_latch_destroy");
}

/* ==== end src/sync.c ==== */

/* ==== begin src/sync_debug.c ==== */

/* ============================================================================================
 * sync_debug: what CONC_DEBUG watches. See the end of sync.h.
 *
 * Lock order: a graph whose nodes are mutexes and whose edge A -> B says that B was locked while A was held,
 * with the places of both. Before a mutex is waited for, the edges from all that the thread holds to it are
 * entered; one that closes a cycle is a deadlock waiting to happen, and is reported once, whether or not it
 * strikes this time. (As the Linux kernel's lockdep; the idea goes back to Eraser, Savage et al. 1997.)
 * ========================================================================================== */

#if defined(CONC_DEBUG) || defined(CONC_SIM)

#define CONC__NAMES 256

static conc__lock conc__debug_lock; /* guards all that is static in this file */
static struct {
    const void *object;
    const char *name;
} conc__names[CONC__NAMES];
static size_t conc__name_count;
#if defined(CONC_DEBUG)
static size_t conc__edge_count;
#endif

/* In a child of fork() the lock may have been held by a thread that is not there. Before each schedule of a simulation, no
 * order has been seen. */
static void conc__debug_reset(void) {
    conc__debug_lock = 0;
#if defined(CONC_SIM) && defined(CONC_DEBUG)
    conc__edge_count = 0;
#endif
}

void conc__debug_begin(void) {
    conc__on_fork(CONC__RESET_DEBUG, conc__debug_reset);
}

static void conc__debug_take(void) {
    conc__debug_begin();
    conc__lock_take(&conc__debug_lock);
}

void conc_debug_name(const void *object, const char *name) {
    size_t i;
    conc__debug_take();
    for (i = 0; i < conc__name_count && conc__names[i].object != object; i++) {
    }
    if (i < CONC__NAMES) {
        conc__names[i].object = object;
        conc__names[i].name = name;
        if (i == conc__name_count) conc__name_count++;
    }
    conc__lock_give(&conc__debug_lock);
}

#if defined(CONC_SIM)
const char *conc__debug_name_of(const void *object) {
    size_t i;
    for (i = 0; i < conc__name_count; i++) {
        if (conc__names[i].object == object) return conc__names[i].name;
    }
    return NULL;
}
#endif

#endif

#if defined(CONC_DEBUG)

#include <stdio.h>

#define CONC__EDGES 4096 /* beyond that, new orders are not followed */

typedef struct conc__edge {
    const void *from, *to;
    conc__held held, taken; /* where, when it was first seen */
} conc__edge;

static conc__edge conc__edges[CONC__EDGES];

/* `accounts` or `the mutex at 0x...`, and ` (file:line)` if it is known; with the debug lock held. */
static void conc__debug_describe(char *text, size_t size, const void *lock, const char *file, int line) {
    size_t i;
    int n;
    for (i = 0; i < conc__name_count && conc__names[i].object != lock; i++) {
    }
    n = i < conc__name_count ? snprintf(text, size, "mutex \"%s\"", conc__names[i].name)
                             : snprintf(text, size, "the mutex at %p", lock);
    if (file != NULL && n > 0 && (size_t)n < size) (void)snprintf(text + n, size - (size_t)n, " (%s:%d)", file, line);
}

void conc__debug_misuse(const void *lock, conc_result r, const char *text, const char *file, int line) {
    char name[200];
    conc__debug_take();
    conc__debug_describe(name, sizeof name, lock, file, line);
    conc__lock_give(&conc__debug_lock);
    conc__report(r, 0, NULL, "%s %s", name, text);
}

/* Whether `to` can be reached from `from`; marks the first edge of the way. Depth-first over edges, each
 * entered once: `seen` is as long as the table. */
static const conc__edge *conc__debug_path(const void *from, const void *to) {
    static const conc__edge *reached[CONC__EDGES]; /* guarded by the debug lock, as the rest */
    static size_t root[CONC__EDGES];               /* the first edge of the way to reached[i] */
    static bool seen[CONC__EDGES];
    size_t count = 0, next = 0, i;
    memset(seen, 0, sizeof seen);
    for (i = 0; i < conc__edge_count; i++) {
        if (conc__edges[i].from != from) continue;
        seen[i] = true;
        root[count] = i;
        reached[count++] = &conc__edges[i];
    }
    for (; next < count; next++) {
        if (reached[next]->to == to) return &conc__edges[root[next]];
        for (i = 0; i < conc__edge_count; i++) {
            if (seen[i] || conc__edges[i].from != reached[next]->to) continue;
            seen[i] = true;
            root[count] = root[next];
            reached[count++] = &conc__edges[i];
        }
    }
    return NULL;
}

/* Enters held -> lock; true: that is new and closes a cycle, and `text` tells. */
static bool conc__debug_order(const conc__held *held, const void *lock, const char *file, int line, char *text,
                              size_t size) {
    char a[160], b[160], c[160];
    const conc__edge *back;
    conc__edge *e;
    size_t i;
    for (i = 0; i < conc__edge_count; i++) {
        if (conc__edges[i].from == held->lock && conc__edges[i].to == lock) return false;
    }
    if (conc__edge_count == CONC__EDGES) return false;
    back = conc__debug_path(lock, held->lock);
    e = &conc__edges[conc__edge_count++];
    e->from = held->lock;
    e->to = lock;
    e->held = *held;
    e->taken.lock = lock;
    e->taken.file = file;
    e->taken.line = line;
    if (back == NULL) return false;
    conc__debug_describe(a, sizeof a, lock, file, line);
    conc__debug_describe(b, sizeof b, held->lock, held->file, held->line);
    conc__debug_describe(c, sizeof c, back->to, back->taken.file, back->taken.line);
    (void)snprintf(text, size, "%s is locked while %s is held; before, the order was opposite: with the former held, "
                               "%s was locked: the two can wait for each other for ever",
                   a, b, c);
    return true;
}

void conc__debug_locking(const void *lock, const char *file, int line) {
    conc__agent *me = conc__self();
    uint32_t i, n = me->held_count < CONC__HELD_MAX ? me->held_count : CONC__HELD_MAX;
    for (i = 0; i < n; i++) {
        char text[680];
        bool found = false;
        if (me->held[i].lock == lock) continue; /* a relock: told by its result */
        conc__debug_take();
        found = conc__debug_order(&me->held[i], lock, file, line, text, sizeof text);
        conc__lock_give(&conc__debug_lock);
        if (found) conc__report(CONC_DEADLOCK, 0, NULL, "%s", text);
    }
}

void conc__debug_locked(const void *lock, const char *file, int line) {
    conc__agent *me = conc__self();
    if (me->held_count < CONC__HELD_MAX) {
        me->held[me->held_count].lock = lock;
        me->held[me->held_count].file = file;
        me->held[me->held_count].line = line;
        me->held_count++;
    }
}

void conc__debug_unlocked(const void *lock) {
    conc__agent *me = conc__self();
    uint32_t i = me->held_count;
    while (i > 0 && me->held[i - 1].lock != lock) i--;
    if (i == 0) return; /* one too many to follow, or locked where CONC_DEBUG was not on */
    for (; i < me->held_count; i++) me->held[i - 1] = me->held[i];
    me->held_count--;
}

/* Its memory may be another mutex's tomorrow. */
void conc__debug_destroyed(const void *lock) {
    size_t i = 0;
    conc__debug_take();
    while (i < conc__edge_count) {
        if (conc__edges[i].from == lock || conc__edges[i].to == lock) {
            conc__edges[i] = conc__edges[--conc__edge_count];
        } else {
            i++;
        }
    }
    for (i = 0; i < conc__name_count; i++) {
        if (conc__names[i].object == lock) conc__names[i] = conc__names[--conc__name_count];
    }
    conc__lock_give(&conc__debug_lock);
}

#elif !defined(CONC_SIM)

void conc_debug_name(const void *object, const char *name) {
    (void)object;
    (void)name;
}

#endif

/* ==== end src/sync_debug.c ==== */

/* ==== begin src/thread.c ==== */

/* ============================================================================================
 * thread: see thread.h.
 * ========================================================================================== */

#include <stdlib.h>

#define CONC__NAME_SIZE 32

struct conc_thread {
    struct conc_thread *next;  /* in its chain of the registry; guarded by the registry's lock, as are... */
    size_t users;              /* ...who still needs this record: the thread, its handle, each join under way, */
    bool open;                 /* whether the handle can still be joined or detached, */
    int result;                /* and what it returned */
    uint32_t alive;            /* atomic: its function has not returned (foreign: the thread has not ended) */
    conc_event ended;          /* set once it is not alive; publishes all that the thread did */
    conc__port_thread os;
    conc_fn fn;                /* NULL: not started here */
    void *arg;
    conc_cancel *cancel;
    bool daemon;
    uint32_t owner;            /* its agent's; constant */
    char name[CONC__NAME_SIZE]; /* written by the thread itself only */
    const conc__agent *agent;   /* atomic: its record, for conc_dump(); NULL before the thread has begun, and from the time, under the
                                   registry's lock, that it is not alive */
};

/* ---- the registry ----------------------------------------------------------------------------- */

#define CONC__CHAINS 64

static conc__lock conc__registry;                      /* guards all below and the fields named above */
static conc_thread *conc__chains[CONC__CHAINS];        /* every record with users, by its address */
static size_t conc__alive_count;                       /* atomic: read without the lock */
static void *conc__main_thread;                        /* atomic: read without the lock. Publishes the record */
static bool conc__exit_watched;
static conc_latch conc__not_daemons;                   /* those alive, but for those in conc_thread_join_all() */
static conc_latch conc__to_end;                        /* those whose last step is not done; both are their own locks */

static conc_thread **conc__chain_of(const conc_thread *t) {
    return &conc__chains[((uintptr_t)t >> 6) % CONC__CHAINS];
}

/* Whether `t` is a record of ours, without looking into it: it may be gone. */
static bool conc__is_registered(const conc_thread *t) {
    const conc_thread *c = *conc__chain_of(t);
    while (c != NULL && c != t) c = c->next;
    return c != NULL;
}

static void conc__register(conc_thread *t) {
    conc_thread **chain = conc__chain_of(t);
    t->next = *chain;
    *chain = t;
    conc__store32(&t->alive, 1, CONC__RELAXED);
    (void)conc__addz(&conc__alive_count, 1, CONC__RELAXED);
    if (!t->daemon && t->fn != NULL) {
        (void)conc_latch_add(&conc__not_daemons, 1);
        (void)conc_latch_add(&conc__to_end, 1);
    }
}

static bool conc__is_alive(const conc_thread *t) {
    return conc__load32(&t->alive, CONC__ACQUIRE) != 0;
}

static void conc__not_alive(conc_thread *t) {
    conc__pokep(&t->agent, (const conc__agent *)NULL);
    conc__store32(&t->alive, 0, CONC__RELEASE);
    (void)conc__subz(&conc__alive_count, 1, CONC__RELAXED);
}

static void conc__drop_user(conc_thread *t) {
    if (--t->users == 0) {
        conc_thread **link = conc__chain_of(t);
        while (*link != t) link = &(*link)->next;
        *link = t->next;
        if (conc__loadp(&conc__main_thread, CONC__RELAXED) == t) conc__storep(&conc__main_thread, NULL, CONC__RELAXED);
        conc__free(t);
    }
}

/* In a child of fork(): the calling thread is all there is. Records of others are left lying, unreachable, as their
 * threads' stacks are. */
static void conc__registry_reset(void) {
    conc_thread *me = (conc_thread *)conc__self()->thread;
    conc__registry = 0;
    memset(conc__chains, 0, sizeof conc__chains);
    conc__alive_count = 0;
    conc__not_daemons.conc__word = conc__to_end.conc__word = 0;
    conc__main_thread = me;
    if (me != NULL) conc__register(me);
}

void conc__registry_begin(void) {
    conc__on_fork(CONC__RESET_REGISTRY, conc__registry_reset);
}

#if defined(CONC_SIM)
bool conc__registry_is_alone(void) {
    const conc_thread *me = (const conc_thread *)conc__self()->thread;
    size_t i;
    bool alone = true;
    conc__lock_take(&conc__registry);
    for (i = 0; i < CONC__CHAINS && alone; i++) {
        const conc_thread *t = conc__chains[i];
        alone = t == NULL || (t == me && t->next == NULL);
    }
    conc__lock_give(&conc__registry);
    return alone;
}
#endif

/* ---- names -------------------------------------------------------------------------------------- */

static void conc__copy_name(conc_thread *t, const char *name) {
    size_t n = strlen(name);
    if (n > sizeof t->name - 1) {
        n = sizeof t->name - 1;
        while (n > 0 && ((unsigned char)name[n] & 0xc0u) == 0x80u) n--; /* not in the middle of a UTF-8 character */
    }
    memcpy(t->name, name, n);
    t->name[n] = '\0';
}

/* ---- thread-local values ------------------------------------------------------------------------- */

#define CONC__LOCALS_MAX 128

static void (*conc__local_destroy[CONC__LOCALS_MAX])(void *); /* by id - 1; written once, before the id is given out */
static uint32_t conc__local_count;                            /* guarded by the registry's lock */

/* The key's id, given out at the first set; 0: there are no more. */
static uint32_t conc__local_id(conc_local *key) {
    uint32_t id = conc__load32(&key->conc__id, CONC__ACQUIRE);
    if (id != 0) return id;
    conc__registry_begin();
    conc__lock_take(&conc__registry);
    id = conc__load32(&key->conc__id, CONC__RELAXED);
    if (id == 0 && conc__local_count < CONC__LOCALS_MAX) {
        conc__local_destroy[conc__local_count] = key->destroy;
        id = ++conc__local_count;
        conc__store32(&key->conc__id, id, CONC__RELEASE);
    }
    conc__lock_give(&conc__registry);
    return id;
}

void *conc_local_get(conc_local *key) {
    const conc__agent *me = conc__self();
    uint32_t id = key != NULL ? conc__load32(&key->conc__id, CONC__ACQUIRE) : 0;
    return id != 0 && id <= me->local_count ? me->locals[id - 1] : NULL;
}

static void conc__agent_is_ending(conc__agent *me);

conc_result conc_local_set(conc_local *key, void *value) {
    conc__agent *me = conc__self();
    uint32_t id;
    if (key == NULL) return conc__fail(CONC_INVALID, "conc_local_set: no key");
    id = conc__local_id(key);
    if (id == 0) return conc__fail(CONC_INVALID, "conc_local_set: all %d keys are in use", CONC__LOCALS_MAX);
    if (id > me->local_count) {
        void **more;
        uint32_t n = (id + 7u) & ~7u;
        if (!conc__agent_watch_end(me, conc__agent_is_ending)) {
            return conc__fail(CONC_NO_MEMORY, "conc_local_set: no memory to be told of the thread's end");
        }
        more = (void **)conc__realloc(me->locals, n, sizeof *more, "thread-local values");
        if (more == NULL) return CONC_NO_MEMORY;
        memset(more + me->local_count, 0, (n - me->local_count) * sizeof *more);
        me->locals = more;
        me->local_count = n;
    }
    me->locals[id - 1] = value;
    return CONC_OK;
}

static void conc__locals_end(conc__agent *me) {
    int round;
    bool again = me->local_count != 0;
    for (round = 0; again && round < 4; round++) {
        uint32_t i;
        again = false;
        for (i = 0; i < me->local_count; i++) {
            void *value = me->locals[i];
            me->locals[i] = NULL;
            if (value != NULL && conc__local_destroy[i] != NULL) {
                conc__local_destroy[i](value);
                again = true;
            }
        }
    }
    if (me->locals != NULL) conc__free(me->locals);
    me->locals = NULL;
    me->local_count = 0;
}

/* ---- the life of a thread -------------------------------------------------------------------------- */

static void conc__report_lost(const conc_thread *t) {
    conc__report(CONC_FAILED, t->result, t->name, "thread \"%s\" returned %d, and nobody looked at it", t->name,
                 t->result);
}

/* The last steps of a thread started here, in that thread. */
static void conc__thread_end(conc__agent *me, conc_thread *t, int result) {
    bool open, daemon = t->daemon;
    me->cancel = NULL;
    conc__locals_end(me);
    conc__lock_take(&conc__registry);
    t->result = result;
    conc__not_alive(t);
    open = t->open;
    conc__lock_give(&conc__registry);
    if (result != 0 && !open) conc__report_lost(t);
    (void)conc_event_set(&t->ended);
    if (!daemon) (void)conc_latch_done(&conc__not_daemons);
    me->thread = NULL;
    me->name = NULL;
    conc__lock_take(&conc__registry);
    conc__drop_user(t);
    conc__lock_give(&conc__registry);
    if (!daemon) (void)conc_latch_done(&conc__to_end); /* the last: after it exit() may take anything away */
}

/* The system ends a thread: one not started here; or one of ours that left by pthread_exit(); or one of ours,
 * after its end, whose other destructors have set values again. */
static void conc__agent_is_ending(conc__agent *me) {
    conc_thread *t = (conc_thread *)me->thread;
    if (t != NULL && t->fn != NULL) {
        conc__thread_end(me, t, 0);
        return;
    }
    conc__locals_end(me);
    if (t == NULL) return;
    me->thread = NULL;
    me->name = NULL;
    conc__lock_take(&conc__registry);
    conc__not_alive(t);
    conc__drop_user(t);
    conc__lock_give(&conc__registry);
}

static void conc__thread_main(void *p) {
    conc_thread *t = (conc_thread *)p;
    conc__agent *me = conc__self_fast();
    me->owner = t->owner; /* first: conc__self() would take a new one */
    me->thread = t;
    me->name = t->name;
    me->cancel = t->cancel;
    conc__storep(&t->agent, me, CONC__RELEASE);
    (void)conc__agent_watch_end(me, conc__agent_is_ending); /* for pthread_exit(); without memory it has to do without */
    conc__port_thread_set_name(t->name);
    conc__thread_end(me, t, t->fn(t->arg));
}

static void *conc__exit_first; /* atomic: the function of conc__before_exit() */

void conc__before_exit(void (*fn)(void)) {
    void *p;
    memcpy(&p, &fn, sizeof p); /* ISO C has no cast between the two */
    (void)conc_thread_main();
    conc__storep(&conc__exit_first, p, CONC__RELEASE);
}

/* Runs at exit(): see thread.h. */
static void conc__at_exit(void) {
    const conc_thread *me = (const conc_thread *)conc__self()->thread;
    conc_op all_ended = conc_op_latch(&conc__to_end);
    size_t i;
    void *first = conc__loadp(&conc__exit_first, CONC__ACQUIRE);
    if (me != NULL && me->fn != NULL) return;
    if (first != NULL) {
        void (*fn)(void);
        memcpy(&fn, &first, sizeof fn);
        fn();
    }
    (void)conc__wait_uncanceled(&all_ended, CONC_FOREVER);
    /* Nobody will look at these any more. */
    conc__lock_take(&conc__registry);
    for (i = 0; i < CONC__CHAINS; i++) {
        conc_thread *t;
        for (t = conc__chains[i]; t != NULL; t = t->next) {
            if (t->fn == NULL || !t->open) continue;
            t->open = false;
            conc__port_thread_detach(&t->os);
            if (!conc__is_alive(t) && t->result != 0) {
                conc__lock_give(&conc__registry);
                conc__report_lost(t); /* its handle's share keeps the record, and its place in the chain */
                conc__lock_take(&conc__registry);
            }
        }
    }
    conc__lock_give(&conc__registry);
}

conc_thread *conc_thread_start(conc_fn fn, void *arg, const conc_thread_desc *desc) {
    conc_thread *t;
    int error;
    if (fn == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_thread_start: no function");
        return NULL;
    }
    if (conc_thread_main() == NULL) return NULL; /* the caller, if it is the first */
    t = (conc_thread *)conc__alloc(1, sizeof *t, "a thread");
    if (t == NULL) return NULL;
    t->fn = fn;
    t->arg = arg;
    t->open = true;
    t->users = 2; /* the thread and the handle */
    t->owner = conc__new_owner();
    (void)snprintf(t->name, sizeof t->name, "thread-%u", (unsigned)(t->owner >> 2));
    if (desc != NULL) {
        t->daemon = desc->daemon;
        t->cancel = desc->cancel;
        if (desc->name != NULL) conc__copy_name(t, desc->name);
    }
    /* The lock is held while the thread is made, so that nobody meets a record without its system handle. */
    conc__lock_take(&conc__registry);
    if (!conc__exit_watched) conc__exit_watched = CONC__FAULT("atexit", ENOMEM) == 0 && atexit(conc__at_exit) == 0;
    conc__register(t);
    error = conc__port_thread_start(&t->os, conc__thread_main, t, desc != NULL ? desc->stack_size : 0);
    if (error != 0) {
        conc__not_alive(t);
        if (!t->daemon) {
            (void)conc_latch_done(&conc__not_daemons);
            (void)conc_latch_done(&conc__to_end);
        }
        t->users = 1;
        conc__drop_user(t);
        conc__lock_give(&conc__registry);
        (void)conc__fail_system(CONC_NO_THREADS, error, "cannot start a thread");
        return NULL;
    }
    conc__lock_give(&conc__registry);
    return t;
}

/* Counts the caller in as a user of the open handle `t`, which may be anything. */
static conc_result conc__handle_use(conc_thread *t, const char *what) {
    conc_result r = CONC_OK;
    if (t == NULL) return conc__fail(CONC_INVALID, "%s: NULL", what);
    conc__lock_take(&conc__registry);
    if (!conc__is_registered(t) || t->fn == NULL || !t->open) {
        r = CONC_INVALID;
    } else {
        t->users++;
    }
    conc__lock_give(&conc__registry);
    if (r != CONC_OK) {
        (void)conc__fail(r, "%s: no such thread: it was joined or detached before, or not started here", what);
    }
    return r;
}

/* Closes the handle, if nobody was faster, and gives up one use of it. */
static bool conc__handle_close(conc_thread *t) {
    bool mine;
    conc__lock_take(&conc__registry);
    mine = t->open;
    t->open = false;
    if (mine) t->users--; /* the handle's own */
    conc__lock_give(&conc__registry);
    return mine;
}

static void conc__handle_unuse(conc_thread *t) {
    conc__lock_take(&conc__registry);
    conc__drop_user(t);
    conc__lock_give(&conc__registry);
}

conc_result conc_thread_join(conc_thread *t, int *result, conc_deadline deadline) {
    conc_op op;
    conc_result r;
    if (t != NULL && conc__self()->thread == t) {
        return conc__fail(CONC_DEADLOCK, "conc_thread_join: a thread cannot wait for its own end");
    }
    r = conc__handle_use(t, "conc_thread_join");
    if (r != CONC_OK) return r;
    op = conc_op_event(&t->ended);
    r = conc__wait_op(&op, deadline);
    if (r == CONC_OK && !conc__handle_close(t)) {
        r = conc__fail(CONC_INVALID, "conc_thread_join: another thread joined or detached it first");
    } else if (r == CONC_OK) {
        conc__port_thread_join(&t->os); /* it has but to leave */
        if (result != NULL) {
            *result = t->result;
        } else if (t->result != 0) {
            conc__report_lost(t);
        }
    }
    conc__handle_unuse(t);
    return r;
}

conc_result conc_thread_detach(conc_thread *t) {
    conc_result r = conc__handle_use(t, "conc_thread_detach");
    bool lost = false;
    if (r != CONC_OK) return r;
    conc__lock_take(&conc__registry);
    if (t->open) {
        t->open = false;
        t->users--;
        conc__port_thread_detach(&t->os);
        lost = !conc__is_alive(t) && t->result != 0; /* else it looks at `open` itself when it ends */
    } else {
        r = CONC_INVALID;
    }
    conc__lock_give(&conc__registry);
    if (r != CONC_OK) (void)conc__fail(r, "conc_thread_detach: another thread joined or detached it first");
    if (lost) conc__report_lost(t);
    conc__handle_unuse(t);
    return r;
}

/* op->word: 1 while the op counts as a user of the record, which keeps it there. */
static void conc__end_abandon(conc_op *op) {
    if (op->word == 0) return;
    op->word = 0;
    conc__handle_unuse((conc_thread *)op->object);
}

static conc_result conc__end_attempt(conc_op *op) {
    conc_thread *t = (conc_thread *)op->object;
    if (op->word == 0) {
        conc_result r;
        if (t != NULL && conc__self()->thread == t) {
            return conc__fail(CONC_DEADLOCK, "conc_op_thread_end: a thread cannot wait for its own end");
        }
        r = conc__handle_use(t, "conc_op_thread_end");
        if (r != CONC_OK) return r;
        op->word = 1;
    }
    if (!conc_event_is_set(&t->ended)) return CONC_PENDING;
    conc__end_abandon(op);
    return CONC_OK;
}

/* In the list of the event's waiters. */
static bool conc__end_arm(conc_op *op, conc_node *node) {
    conc_op event = conc_op_event(&((conc_thread *)op->object)->ended);
    return event.cls->arm(&event, node);
}

conc_op conc_op_thread_end(conc_thread *t) {
    static const conc_op_class cls = {"thread end", CONC_BUSY, conc__end_attempt, conc__end_arm, NULL, conc__end_abandon};
    return conc_op_make(&cls, t, NULL);
}

conc_thread *conc_thread_current(void) {
    conc__agent *me = conc__self();
    conc_thread *t = (conc_thread *)me->thread;
    if (t != NULL) return t;
    conc__registry_begin();
    t = (conc_thread *)conc__alloc(1, sizeof *t, "a thread's record");
    if (t == NULL) return NULL;
    if (!conc__agent_watch_end(me, conc__agent_is_ending)) {
        conc__free(t);
        (void)conc__fail(CONC_NO_MEMORY, "conc_thread_current: no memory to be told of the thread's end");
        return NULL;
    }
    t->users = 1;
    t->owner = me->owner;
    t->agent = me;
    conc__lock_take(&conc__registry);
    if (conc__loadp(&conc__main_thread, CONC__RELAXED) == NULL) {
        conc__copy_name(t, "main");
        conc__storep(&conc__main_thread, t, CONC__RELEASE);
    } else {
        (void)snprintf(t->name, sizeof t->name, "thread-%u", (unsigned)(me->owner >> 2));
    }
    conc__register(t);
    conc__lock_give(&conc__registry);
    me->thread = t;
    me->name = t->name;
    return t;
}

conc_thread *conc_thread_main(void) {
    conc_thread *t = (conc_thread *)conc__loadp(&conc__main_thread, CONC__ACQUIRE);
    return t != NULL ? t : conc_thread_current();
}

/* ---- questions ------------------------------------------------------------------------------------- */

const char *conc_thread_name(const conc_thread *t) {
    if (t == NULL) t = conc_thread_current();
    return t != NULL ? t->name : "?";
}

uint32_t conc_thread_id(const conc_thread *t) {
    return (t != NULL ? t->owner : conc__self()->owner) >> 2;
}

bool conc_thread_is_daemon(const conc_thread *t) {
    if (t == NULL) t = (const conc_thread *)conc__self()->thread;
    return t != NULL && t->daemon;
}

bool conc_thread_is_alive(const conc_thread *t) {
    bool alive = t == NULL || conc__is_alive(t);
    CONC__OPAQUE();
    return alive;
}

conc_result conc_thread_set_name(const char *name) {
    conc_thread *t;
    if (name == NULL) return conc__fail(CONC_INVALID, "conc_thread_set_name: no name");
    t = conc_thread_current();
    if (t == NULL) return CONC_NO_MEMORY;
    conc__lock_take(&conc__registry);
    conc__copy_name(t, name);
    conc__lock_give(&conc__registry);
    conc__port_thread_set_name(t->name);
    return CONC_OK;
}

size_t conc_thread_count(void) {
    return conc__loadz(&conc__alive_count, CONC__RELAXED);
}

typedef struct conc__visit {
    void (*visit)(conc_thread *t, void *arg);
    void *arg;
} conc__visit;

static void conc__visit_thread(const conc_thread *t, const conc__agent *agent, void *arg) {
    const conc__visit *v = (const conc__visit *)arg;
    (void)agent;
    v->visit((conc_thread *)(uintptr_t)t, v->arg);
}

void conc__agent_each(void (*visit)(const conc_thread *t, const conc__agent *agent, void *arg), void *arg) {
    size_t i;
    (void)conc_thread_current(); /* so that `visit` can ask for it without entering it */
    conc__lock_take(&conc__registry);
    for (i = 0; i < CONC__CHAINS; i++) {
        conc_thread *t;
        for (t = conc__chains[i]; t != NULL; t = t->next) {
            if (conc__is_alive(t)) visit(t, (const conc__agent *)conc__loadp(&t->agent, CONC__ACQUIRE), arg);
        }
    }
    conc__lock_give(&conc__registry);
}

void conc_thread_each(void (*visit)(conc_thread *t, void *arg), void *arg) {
    conc__visit v;
    v.visit = visit;
    v.arg = arg;
    if (visit != NULL) conc__agent_each(conc__visit_thread, &v);
}

void conc_thread_yield(void) {
    conc__port_yield();
}

/* The caller, while it waits here, is not waited for. */
conc_result conc_thread_join_all(conc_deadline deadline) {
    const conc_thread *me = (const conc_thread *)conc__self()->thread;
    bool counted = me != NULL && me->fn != NULL && !me->daemon;
    conc_op op = conc_op_latch(&conc__not_daemons);
    conc_result r;
    if (counted) (void)conc_latch_done(&conc__not_daemons);
    r = deadline.ns == INT64_MAX ? conc__wait_uncanceled(&op, deadline) : conc__wait_op(&op, deadline);
    if (counted) (void)conc_latch_add(&conc__not_daemons, 1);
    if (r == CONC_TIMEOUT || r == CONC_BUSY) {
        char names[160] = "";
        size_t i, length = 0;
        conc__lock_take(&conc__registry);
        for (i = 0; i < CONC__CHAINS; i++) {
            const conc_thread *t;
            for (t = conc__chains[i]; t != NULL; t = t->next) {
                if (conc__is_alive(t) && t->fn != NULL && !t->daemon && t != me && length + CONC__NAME_SIZE + 2 < sizeof names) {
                    length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                               length != 0 ? ", " : "", t->name);
                }
            }
        }
        conc__lock_give(&conc__registry);
        (void)conc__fail(r, "conc_thread_join_all: still running: %s", names);
    }
    return r;
}

/* ==== end src/thread.c ==== */

/* ==== begin src/timer.c ==== */

/* ============================================================================================
 * timer: see thread.h. One service thread and a binary heap of what is to come, soonest first.
 * ========================================================================================== */

#define CONC__TIMER_IDLE ((size_t)-1)

struct conc_timer {
    conc_fn fn;
    void *arg;
    conc_deadline when;
    uint64_t sequence; /* breaks ties: first started, first called */
    size_t place;      /* in the heap; CONC__TIMER_IDLE once it is not there any more. Guarded by the lock, */
    bool canceled;     /* as is this */
    uint32_t users;    /* atomic: the handle, and the heap or the service while it runs */
    conc_event done;   /* it has run or was canceled */
};

static conc__lock conc__timers_lock;     /* guards all below */
static conc_timer **conc__timers;        /* a binary heap; its space stays for the next */
static size_t conc__timer_count, conc__timer_space;
static uint64_t conc__timer_sequence;
static bool conc__timer_served;          /* the service thread runs */
static conc_event conc__timers_changed;  /* auto reset: the soonest is another */
#if defined(CONC_SIM)
static bool conc__timers_ended;          /* only ever set in a simulation, at its end, when leaks are counted */
#endif

static conc_timer **volatile conc__timers_of_parent; /* in a child of fork(): its heap, kept for leak checkers only,
                                                          because another thread may have been moving it */

/* In a child of fork() there is no service thread: the parent's timers run in the parent. */
static void conc__timers_reset(void) {
    conc__timers_of_parent = conc__timers;
    conc__timers_lock = 0;
    conc__timers = NULL;
    conc__timer_count = conc__timer_space = 0;
    conc__timer_served = false;
    conc__timers_changed.conc__word = 0;
#if defined(CONC_SIM)
    conc__timers_ended = false;
#endif
}

void conc__timers_begin(void) {
    conc__on_fork(CONC__RESET_TIMERS, conc__timers_reset);
}

static void conc__timer_unuse(conc_timer *t) {
    if (conc__sub32(&t->users, 1, CONC__ACQ_REL) == 1) conc__free(t);
}

/* ---- the heap, with the lock held ---------------------------------------------------------------- */

static bool conc__timer_before(const conc_timer *a, const conc_timer *b) {
    return a->when.ns != b->when.ns ? a->when.ns < b->when.ns : a->sequence < b->sequence;
}

static void conc__timer_put(size_t place, conc_timer *t) {
    conc__timers[place] = t;
    t->place = place;
}

static void conc__timer_up(size_t place, conc_timer *t) {
    while (place > 0 && conc__timer_before(t, conc__timers[(place - 1) / 2])) {
        conc__timer_put(place, conc__timers[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    conc__timer_put(place, t);
}

static void conc__timer_down(size_t place, conc_timer *t) {
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < conc__timer_count && conc__timer_before(conc__timers[child + 1], conc__timers[child])) child++;
        if (child >= conc__timer_count || !conc__timer_before(conc__timers[child], t)) break;
        conc__timer_put(place, conc__timers[child]);
        place = child;
    }
    conc__timer_put(place, t);
}

static void conc__timer_take_out(conc_timer *t) {
    size_t place = t->place;
    conc_timer *last = conc__timers[--conc__timer_count];
    t->place = CONC__TIMER_IDLE;
    if (last == t) return;
    if (place > 0 && conc__timer_before(last, conc__timers[(place - 1) / 2])) {
        conc__timer_up(place, last);
    } else {
        conc__timer_down(place, last);
    }
}

/* ---- the service ------------------------------------------------------------------------------------ */

#if defined(CONC_SIM)
void conc__timers_end(void) {
    bool served;
    conc__lock_take(&conc__timers_lock);
    served = conc__timer_served && conc__timer_count == 0;
    conc__timers_ended = served;
    if (!conc__timer_served) { /* it could not be started */
        conc__free(conc__timers);
        conc__timers = NULL;
    }
    conc__lock_give(&conc__timers_lock);
    if (served) (void)conc_event_set(&conc__timers_changed);
}

/* Called by the service: whether it is over, and the memory given back. */
static bool conc__timers_are_over(void) {
    bool over;
    conc__lock_take(&conc__timers_lock);
    over = conc__timers_ended;
    if (over) {
        conc__free(conc__timers);
        conc__timers = NULL;
    }
    conc__lock_give(&conc__timers_lock);
    return over;
}
#else
#define conc__timers_are_over() false
#endif

/* Takes out the soonest timer if it is due; else NULL, and `*next` is when one will be. */
static conc_timer *conc__timer_due(conc_deadline *next) {
    conc_timer *due = NULL;
    *next = CONC_FOREVER;
    conc__lock_take(&conc__timers_lock);
    if (conc__timer_count > 0) {
        *next = conc__timers[0]->when;
        if (conc_deadline_passed(*next)) {
            due = conc__timers[0];
            conc__timer_take_out(due);
        }
    }
    conc__lock_give(&conc__timers_lock);
    return due;
}

static int conc__timer_service(void *unused) {
    (void)unused;
    while (!conc__timers_are_over()) { /* for ever */
        conc_deadline next;
        conc_timer *due = conc__timer_due(&next);
        if (due != NULL) {
            int code = due->fn(due->arg);
            (void)conc_cancel_use(NULL); /* a token that the function left current is not ours */
            if (code != 0) conc__report(CONC_FAILED, code, NULL, "a timer's function returned %d", code);
            (void)conc_event_set(&due->done);
            conc__timer_unuse(due);
        } else {
            /* A timer that became the soonest after we looked has set the event. */
            (void)conc_event_wait(&conc__timers_changed, next);
        }
    }
    return 0;
}

/* Starts the service thread if there is none. With the lock held, which keeps a second from being started. */
static bool conc__timer_serve(void) {
    conc_thread_desc desc;
    conc_thread *service;
    if (conc__timer_served) return true;
    memset(&desc, 0, sizeof desc);
    desc.name = "conc-timer";
    desc.daemon = true;
    conc__timers_changed.auto_reset = true;
    service = conc_thread_start(conc__timer_service, NULL, &desc);
    if (service == NULL) return false;
    (void)conc_thread_detach(service);
    conc__timer_served = true;
    return true;
}

/* ---- what users call ---------------------------------------------------------------------------------- */

conc_timer *conc_timer_start(conc_fn fn, void *arg, conc_deadline when) {
    conc_timer *t;
    bool soonest, ready = true;
    if (fn == NULL) {
        (void)conc__fail(CONC_INVALID, "conc_timer_start: no function");
        return NULL;
    }
    conc__timers_begin();
    t = (conc_timer *)conc__alloc(1, sizeof *t, "a timer");
    if (t == NULL) return NULL;
    t->fn = fn;
    t->arg = arg;
    t->when = when;
    t->users = 2;
    conc__lock_take(&conc__timers_lock);
    if (conc__timer_count == conc__timer_space) {
        size_t space = conc__timer_space == 0 ? 16 : conc__timer_space * 2;
        conc_timer **more = (conc_timer **)conc__realloc(conc__timers, space, sizeof *more, "timers");
        ready = more != NULL;
        if (ready) {
            conc__timers = more;
            conc__timer_space = space;
        }
    }
    ready = ready && conc__timer_serve();
    if (ready) {
        t->sequence = conc__timer_sequence++;
        conc__timer_count++;
        conc__timer_up(conc__timer_count - 1, t);
    }
    soonest = ready && t->place == 0;
    conc__lock_give(&conc__timers_lock);
    if (!ready) {
        conc__free(t);
        return NULL;
    }
    if (soonest) (void)conc_event_set(&conc__timers_changed);
    return t;
}

conc_result conc_timer_cancel(conc_timer *t) {
    bool waiting, canceled;
    if (t == NULL) return conc__fail(CONC_INVALID, "conc_timer_cancel: NULL");
    conc__lock_take(&conc__timers_lock);
    /* In a child of fork() the heap is empty, whatever the timer remembers of its place. */
    waiting = t->place < conc__timer_count && conc__timers[t->place] == t;
    if (waiting) {
        conc__timer_take_out(t);
        t->canceled = true;
    }
    canceled = t->canceled;
    conc__lock_give(&conc__timers_lock);
    if (waiting) {
        (void)conc_event_set(&t->done);
        conc__timer_unuse(t); /* the heap's share; the caller has its own */
    }
    return canceled ? CONC_OK : CONC_CLOSED;
}

conc_op conc_op_timer(conc_timer *t) {
    return conc_op_event(t != NULL ? &t->done : NULL);
}

void conc_timer_release(conc_timer *t) {
    if (t != NULL) conc__timer_unuse(t);
}

/* ==== end src/timer.c ==== */

/* ==== begin src/queue.c ==== */

/* ============================================================================================
 * queue: see queue.h. Three ways to hold items, one way to wait:
 *
 *  ring    the bounded FIFO. Lock-free; see below.
 *  array   the unbounded FIFO, the stacks, the priority queues: an array under a lock.
 *  none    the hand-off: the item goes from the putter's memory to the getter's.
 *
 * Getters that sleep stand in the table under &q->get_asleep, putters under &q->put_asleep. The flag at that
 * address says that somebody may be there; it is set by arm() and cleared by the waker that finds the list
 * empty, both under the bucket's lock. An item put is one getter claimed; so a sleeper costs one wake, not
 * one for each item put while it is on its way. Whoever waits for a gap to close (see the ring) stands apart.
 * ========================================================================================== */

typedef struct conc__slot {
    size_t stamp; /* atomic; see the ring */
    /* the item follows */
} conc__slot;

struct conc_queue {
    /* Constant after conc_queue_new_ex(). */
    conc_queue_kind kind;
    bool ring;                 /* kind is CONC_FIFO and capacity is not 0 */
    bool fenced;               /* the system has no heavy fence: publishing pays for its own */
    uint32_t generation;       /* conc__fork_generation() when it was made */
    size_t item_size, capacity;
    size_t stride;             /* from one slot, or array element, to the next */
    size_t closed_bit, lap;    /* of ring indices */
    int (*compare)(const void *, const void *);
    unsigned char *slots;      /* ring */
    char pad0[CONC__CACHE_LINE];

    size_t tail;               /* atomic; ring: where the next put goes, and the closed bit */
    char pad1[CONC__CACHE_LINE - sizeof(size_t)];
    size_t head;               /* atomic; ring: where the next get comes from */
    char pad2[CONC__CACHE_LINE - sizeof(size_t)];

    uint32_t get_asleep;       /* atomic; see above. Read at every put, written seldom */
    uint32_t put_asleep;       /* atomic; the same for gets */
    uint32_t join_asleep;      /* atomic; the same for task_done */
    char pad3[CONC__CACHE_LINE - 3 * sizeof(uint32_t)];

    size_t done;               /* atomic; ring: counts conc_queue_task_done(), in the manner of tail */

    conc__lock lock;           /* array: guards all that follows; hand-off: its bucket's lock does */
    bool closed;
    unsigned char *array;      /* `space` elements, `count` of them used, from `first` on, round the end */
    size_t space, first, count;
    size_t unfinished;         /* put and not yet reported done */
    uint64_t sequence;         /* numbers the puts of a priority queue */
};

/* Items of a machine word are by far the most frequent: no call for them. */
static void conc__copy(void *to, const void *from, size_t size) {
    if (size == sizeof(void *)) {
        memcpy(to, from, sizeof(void *));
    } else {
        memcpy(to, from, size);
    }
}

/* The two kinds of sleepers under such an address, and their bits in the flag there: those who wait for an item (or
 * for room), one of which is woken for each; and those who wait for a gap to be settled (see the ring), who need
 * nothing but its end: all are woken, and none of them costs a wake meant for the others. They stand under addresses
 * of their own, so each bit is guarded by its own list's bucket. */
#define CONC__SLEEPERS 1u
#define CONC__SETTLERS 2u

static const void *conc__sleepers_of(const uint32_t *asleep, uint32_t kind) {
    return (const unsigned char *)asleep + (kind == CONC__SETTLERS ? 1 : 0);
}

static void conc__queue_wake_kind(uint32_t *asleep, uint32_t kind, size_t n) {
    const void *key = conc__sleepers_of(asleep, kind);
    bool more = true;
    while (more && n > 0) {
        conc__wakes w;
        conc__bucket *b = conc__bucket_lock(key);
        w.count = 0;
        while (more && n > 0 && w.count < CONC__WAKES) {
            more = conc__claim_first(b, key, CONC__ANY_TAG, 0, &w);
            if (more) n--;
        }
        if (conc__bucket_first(b, key) == NULL) (void)conc__and32(asleep, ~kind, CONC__RELAXED);
        conc__bucket_unlock(b);
        conc__wakes_run(&w);
    }
}

/* Wakes up to `n` who wait under `asleep`, and all settlers. */
static CONC__NOINLINE void conc__queue_wake(uint32_t *asleep, size_t n) {
    if ((conc__load32(asleep, CONC__RELAXED) & CONC__SETTLERS) != 0) {
        conc__queue_wake_kind(asleep, CONC__SETTLERS, CONC_ALL);
    }
    conc__queue_wake_kind(asleep, CONC__SLEEPERS, n);
}

static void conc__queue_wake_if_asleep(uint32_t *asleep, size_t n) {
    if (CONC__UNLIKELY(conc__load32(asleep, CONC__SEQ_CST) != 0)) conc__queue_wake(asleep, n);
}

/* ---- the ring --------------------------------------------------------------------------------------
 * D. Vyukov, "Bounded MPMC queue" (2010). An index is a lap number in the upper bits and a place in the lower
 * ones, with the closed bit between: `lap` is one in the lap's lowest bit, places are below `closed_bit`.
 * A slot's stamp says whose turn it is: equal to the tail: free for that put; tail + 1: holds its item, for
 * the get whose head is equal to that tail; then head + lap: free for the next lap's put.
 *
 * Memory orders. The stamp is stored with release after the item was written (or read) and loaded with acquire
 * before it is read (or written): that carries the item. Moving the tail or the head, and looking at the
 * sleepers' flag after it, are sequentially consistent, against the sleeper who sets the flag and then looks
 * at the index (arm): of two such pairs one sees the other. So a put that moves the tail after the getter
 * has looked finds the flag set; and one that moved it before is seen by the getter.
 *
 * The gap. Between moving the index and storing the stamp, a put has taken effect that nobody can get yet; the
 * next get has to wait for it (taking a later item would break the order, and "empty" would be a lie if a
 * later put is complete). It is a memcpy long, but its thread may be preempted in it. Whoever meets the gap
 * settles it first: it looks a few times, then sleeps as any getter does. For that sleep the pair is another:
 * the put stores the stamp (release) and loads the flag; the getter sets the flag and loads the stamp. What the
 * put's side lacks in order, the getter's makes up for with a heavy fence, if the system has one; else
 * (`fenced`) the stamp is exchanged, sequentially consistent. The other side, a get in its memcpy and a put
 * that finds no free slot, is the mirror image. */

static conc__slot *conc__ring_slot(const conc_queue *q, size_t index) {
    return (conc__slot *)(void *)(q->slots + (index & (q->closed_bit - 1)) * q->stride);
}

static void *conc__ring_item(conc__slot *slot) {
    return slot + 1;
}

static size_t conc__ring_next(const conc_queue *q, size_t index) {
    return (index & (q->closed_bit - 1)) + 1 < q->capacity ? index + 1 : (index & ~(q->lap - 1)) + q->lap;
}

static void conc__ring_stamp(const conc_queue *q, conc__slot *slot, size_t stamp) {
    if (CONC__UNLIKELY(q->fenced)) {
        (void)conc__swapz(&slot->stamp, stamp, CONC__SEQ_CST);
    } else {
        conc__storez(&slot->stamp, stamp, CONC__RELEASE);
    }
}

/* No put that has moved the tail is missing its stamp at the head. */
static bool conc__ring_get_is_settled(conc_queue *q) {
    size_t head = conc__loadz(&q->head, CONC__SEQ_CST);
    return (conc__loadz(&q->tail, CONC__SEQ_CST) & ~q->closed_bit) == head ||
           conc__loadz(&conc__ring_slot(q, head)->stamp, CONC__SEQ_CST) == head + 1 ||
           conc__loadz(&q->head, CONC__SEQ_CST) != head;
}

/* No get that has moved the head is missing its stamp at the tail. */
static bool conc__ring_put_is_settled(conc_queue *q) {
    size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST);
    return (tail & q->closed_bit) != 0 || conc__loadz(&q->head, CONC__SEQ_CST) + q->lap == tail ||
           conc__loadz(&conc__ring_slot(q, tail)->stamp, CONC__SEQ_CST) == tail ||
           conc__loadz(&q->tail, CONC__SEQ_CST) != tail;
}

static bool conc__ring_is_settled(const conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    return op->data == &q->get_asleep ? conc__ring_get_is_settled(q) : conc__ring_put_is_settled(q);
}

static conc_result conc__settle_attempt(conc_op *op) {
    return conc__ring_is_settled(op) ? CONC_OK : CONC_PENDING;
}

static bool conc__settle_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    uint32_t *asleep = (uint32_t *)op->data;
    const void *key = conc__sleepers_of(asleep, CONC__SETTLERS);
    conc__bucket *b = conc__bucket_lock(key);
    bool wait;
    (void)conc__or32(asleep, CONC__SETTLERS, CONC__SEQ_CST);
    wait = !conc__ring_is_settled(op);
    if (wait && !q->fenced) {
        conc__port_heavy_fence();
        wait = !conc__ring_is_settled(op);
    }
    if (wait) conc__bucket_push(b, key, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

/* Waits until the one in the gap has stored its stamp. Like an internal lock it is not canceled: the wait is for a
 * memcpy. */
static CONC__NOINLINE void conc__ring_settle(conc_queue *q, uint32_t *asleep) {
    static const conc_op_class cls = {"settle", CONC_BUSY, conc__settle_attempt, conc__settle_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, q, asleep);
    (void)conc__wait_uncanceled(&op, CONC_FOREVER);
}

/* CONC_OK, CONC_PENDING (full), CONC_CLOSED. Wakes nobody. */
static CONC__ALWAYS_INLINE conc_result conc__ring_put(conc_queue *q, const void *item) {
    size_t tail = conc__loadz(&q->tail, CONC__RELAXED);
    for (;;) {
        conc__slot *slot;
        if (CONC__UNLIKELY((tail & q->closed_bit) != 0)) return CONC_CLOSED;
        slot = conc__ring_slot(q, tail);
        if (CONC__LIKELY(conc__loadz(&slot->stamp, CONC__ACQUIRE) == tail)) {
            if (conc__casz(&q->tail, &tail, conc__ring_next(q, tail), CONC__SEQ_CST)) {
                CONC__WRITES(conc__ring_item(slot), q->item_size);
                conc__copy(conc__ring_item(slot), item, q->item_size);
                conc__ring_stamp(q, slot, tail + 1);
                return CONC_OK;
            }
        } else {
            size_t now = conc__loadz(&q->tail, CONC__SEQ_CST);
            if (now == tail) {
                if (conc__loadz(&q->head, CONC__SEQ_CST) + q->lap == tail) return CONC_PENDING;
                conc__ring_settle(q, &q->put_asleep);
                now = conc__loadz(&q->tail, CONC__RELAXED);
            }
            tail = now;
        }
    }
}

/* CONC_OK, CONC_PENDING (empty), CONC_CLOSED (and empty). Wakes nobody. */
static CONC__ALWAYS_INLINE conc_result conc__ring_get(conc_queue *q, void *item) {
    size_t head = conc__loadz(&q->head, CONC__RELAXED);
    for (;;) {
        conc__slot *slot = conc__ring_slot(q, head);
        if (CONC__LIKELY(conc__loadz(&slot->stamp, CONC__ACQUIRE) == head + 1)) {
            if (conc__casz(&q->head, &head, conc__ring_next(q, head), CONC__SEQ_CST)) {
                CONC__READS(conc__ring_item(slot), q->item_size);
                conc__copy(item, conc__ring_item(slot), q->item_size);
                conc__ring_stamp(q, slot, head + q->lap);
                return CONC_OK;
            }
        } else {
            size_t now = conc__loadz(&q->head, CONC__SEQ_CST);
            if (now == head) {
                size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST);
                if ((tail & ~q->closed_bit) == head) return (tail & q->closed_bit) != 0 ? CONC_CLOSED : CONC_PENDING;
                conc__ring_settle(q, &q->get_asleep);
                now = conc__loadz(&q->head, CONC__RELAXED);
            }
            head = now;
        }
    }
}

/* The looks before sleeping, after the flag was set. Each reads first the index that its waker moves. */
static bool conc__ring_must_wait_to_put(conc_queue *q) {
    size_t head = conc__loadz(&q->head, CONC__SEQ_CST);
    return head + q->lap == conc__loadz(&q->tail, CONC__SEQ_CST); /* false if closed: the bit differs */
}

static bool conc__ring_must_wait_to_get(conc_queue *q) {
    size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST);
    return tail == conc__loadz(&q->head, CONC__SEQ_CST);
}

static size_t conc__ring_length(const conc_queue *q) {
    for (;;) {
        size_t tail = conc__loadz(&q->tail, CONC__SEQ_CST), head = conc__loadz(&q->head, CONC__SEQ_CST);
        if (conc__loadz(&q->tail, CONC__SEQ_CST) == tail) {
            size_t in = tail & (q->closed_bit - 1), out = head & (q->closed_bit - 1);
            if (in > out) return in - out;
            if (in < out) return q->capacity - out + in;
            return (tail & ~q->closed_bit) == head ? 0 : q->capacity;
        }
    }
}

/* ---- the array --------------------------------------------------------------------------------------
 * With q->lock held. A priority queue is a binary heap from `first` == 0 on, whose elements begin with the number of
 * their put, so that equal items come out in order. */

static unsigned char *conc__array_at(const conc_queue *q, size_t i) {
    size_t place = q->first + i;
    return q->array + (place < q->space ? place : place - q->space) * q->stride;
}

/* Moves the items to `to`, with room for `space`; false if that is NULL. */
static bool conc__array_move(conc_queue *q, unsigned char *to, size_t space) {
    size_t i;
    if (to == NULL) return false;
    for (i = 0; i < q->count; i++) memcpy(to + i * q->stride, conc__array_at(q, i), q->stride);
    conc__free(q->array);
    q->array = to;
    q->space = space;
    q->first = 0;
    return true;
}

static bool conc__array_grow(conc_queue *q) {
    size_t space = q->space == 0 ? 16 : q->space > SIZE_MAX / 2 ? SIZE_MAX : q->space * 2;
    return conc__array_move(q, (unsigned char *)conc__alloc(space, q->stride, "items of a queue"), space);
}

/* The number's part of an element: so long that the item behind it is aligned as malloc() would align it. */
static size_t conc__heap_prefix(const conc_queue *q) {
    return q->item_size % 16 == 0 ? 16 : sizeof q->sequence;
}

static bool conc__heap_before(const conc_queue *q, const unsigned char *a, const unsigned char *b) {
    uint64_t na, nb;
    int order = q->compare(a + conc__heap_prefix(q), b + conc__heap_prefix(q));
    if (order != 0) return order < 0;
    memcpy(&na, a, sizeof na);
    memcpy(&nb, b, sizeof nb);
    return na < nb;
}

/* The array has one element more than its space: where the one that is moved waits. */
static void conc__heap_put(conc_queue *q, const void *item) {
    unsigned char *moved = q->array + (q->space - 1) * q->stride;
    size_t place = q->count++;
    memcpy(moved, &q->sequence, sizeof q->sequence);
    q->sequence++;
    memcpy(moved + conc__heap_prefix(q), item, q->item_size);
    while (place > 0 && conc__heap_before(q, moved, q->array + (place - 1) / 2 * q->stride)) {
        memcpy(q->array + place * q->stride, q->array + (place - 1) / 2 * q->stride, q->stride);
        place = (place - 1) / 2;
    }
    memcpy(q->array + place * q->stride, moved, q->stride);
}

static void conc__heap_get(conc_queue *q, void *item) {
    unsigned char *moved = q->array + (q->count - 1) * q->stride; /* the last fills the hole */
    size_t place = 0;
    memcpy(item, q->array + conc__heap_prefix(q), q->item_size);
    q->count--;
    for (;;) {
        size_t child = 2 * place + 1;
        if (child + 1 < q->count &&
            conc__heap_before(q, q->array + (child + 1) * q->stride, q->array + child * q->stride)) {
            child++;
        }
        if (child >= q->count || !conc__heap_before(q, q->array + child * q->stride, moved)) break;
        memcpy(q->array + place * q->stride, q->array + child * q->stride, q->stride);
        place = child;
    }
    if (q->count > 0 && q->array + place * q->stride != moved) memcpy(q->array + place * q->stride, moved, q->stride);
}

/* How many elements must be left over: the heap needs a place for the one it moves. */
static size_t conc__array_spare(const conc_queue *q) {
    return q->kind == CONC_PRIORITY ? 1 : 0;
}

/* CONC_OK, CONC_PENDING (full), CONC_CLOSED, CONC_NO_MEMORY. Takes the lock; wakes nobody. */
static CONC__NOINLINE conc_result conc__array_put(conc_queue *q, const void *item) {
    conc_result r = CONC_OK;
    conc__lock_take(&q->lock);
    if (q->closed) {
        r = CONC_CLOSED;
    } else if (q->capacity != 0 && q->count == q->capacity) {
        r = CONC_PENDING;
    } else if (q->count + conc__array_spare(q) >= q->space && !conc__array_grow(q)) {
        r = CONC_NO_MEMORY;
    } else {
        q->unfinished++;
        if (q->kind == CONC_PRIORITY) {
            conc__heap_put(q, item);
        } else {
            conc__copy(conc__array_at(q, q->count), item, q->item_size);
            q->count++;
        }
    }
    conc__lock_give(&q->lock);
    return r;
}

/* CONC_OK, CONC_PENDING (empty), CONC_CLOSED (and empty). Takes the lock; wakes nobody. */
static CONC__NOINLINE conc_result conc__array_get(conc_queue *q, void *item) {
    conc_result r = CONC_OK;
    conc__lock_take(&q->lock);
    if (q->count == 0) {
        r = q->closed ? CONC_CLOSED : CONC_PENDING;
    } else {
        if (q->kind == CONC_PRIORITY) {
            conc__heap_get(q, item);
        } else if (q->kind == CONC_LIFO) {
            q->count--;
            conc__copy(item, conc__array_at(q, q->count), q->item_size);
        } else {
            conc__copy(item, conc__array_at(q, 0), q->item_size);
            q->count--;
            q->first = q->first + 1 < q->space ? q->first + 1 : 0;
        }
        /* What a burst has taken is given back; if there is no memory to do it, the next get tries again. */
        if (q->space > 1024 && q->count < q->space / 8) {
            size_t space = q->space / 4; /* not conc__alloc(): no get fails for want of it, so no error is recorded */
            bool none = CONC__FAULT("malloc: shrink", ENOMEM) != 0;
            (void)conc__array_move(q, none ? NULL : (unsigned char *)CONC__MALLOC(space * q->stride), space);
        }
    }
    conc__lock_give(&q->lock);
    return r;
}

/* ---- the hand-off --------------------------------------------------------------------------------------
 * Under the lock of the queue's bucket, a putter meets a getter that stands in the table, or the other way round;
 * it claims it, and copies the item from memory to memory. The claimed one passes the same lock before it goes
 * on, so both ops stay where they are until the copy is done.
 *
 * Both sides may be in a select. An attempt is made with nothing armed, so only the other has to be claimed. In
 * arm() other ops of ours may be armed already: then both waiters have to be claimed, ours and the other's, at
 * once. It is done in the order of the waiters' ids, so that two that want each other cannot both fail: the
 * lower id is claimed first by both. Whoever is claimed in vain just attempts again. (Compare J. Reppy, C. Russo,
 * Y. Xiao, "Parallel Concurrent ML", ICFP 2009.) */

#define CONC__TAG_GETTER 1u
#define CONC__TAG_PUTTER 2u
#define CONC__SERVED 1u /* the grant */

static conc_op *conc__op_of(conc_node *node) {
    return (conc_op *)(void *)((char *)node - offsetof(conc_op, node));
}

static unsigned conc__handoff_tag(const conc_op *op);

static void conc__handoff_transfer(conc_queue *q, conc_op *op, conc_op *other) {
    if (conc__handoff_tag(op) == CONC__TAG_PUTTER) {
        memcpy(other->data, op->data, q->item_size);
    } else {
        memcpy(op->data, other->data, q->item_size);
    }
    q->unfinished++;
}

static conc_result conc__handoff_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    unsigned wanted = CONC__TAG_GETTER + CONC__TAG_PUTTER - conc__handoff_tag(op);
    conc__bucket *b = conc__bucket_lock(q);
    conc_result r = CONC_PENDING;
    conc__wakes wakes;
    wakes.count = 0;
    if (op->node.conc__grant == CONC__SERVED) {
        op->node.conc__grant = 0;
        r = CONC_OK;
    } else if (q->closed) {
        r = CONC_CLOSED;
    } else {
        conc_node *n = conc__bucket_first(b, q);
        while (n != NULL && r == CONC_PENDING) {
            conc_node *after = conc__bucket_next(b, n);
            if (conc__node_tag(n) == wanted && conc__claim(b, n, CONC__SERVED, &wakes)) {
                conc__handoff_transfer(q, op, conc__op_of(n));
                r = CONC_OK;
            }
            n = after;
        }
    }
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
    return r;
}

/* Claims both, or not: true if `op` is served. With the bucket's lock. */
static bool conc__handoff_match(conc_queue *q, conc__bucket *b, conc_op *op, conc_node *n, conc__wakes *wakes) {
    conc_waiter *mine = op->node.conc__waiter;
    uint32_t waits = 0;
    bool served = false;
    if (mine->owner < n->conc__waiter->owner) {
        if (!conc__cas32(&mine->claimed, &waits, op->node.conc__ticket, CONC__RELAXED)) return false;
        served = conc__claim(b, n, CONC__SERVED, wakes);
    } else if (conc__claim(b, n, CONC__SERVED, wakes)) {
        served = conc__cas32(&mine->claimed, &waits, op->node.conc__ticket, CONC__RELAXED);
        if (!served) n->conc__grant = 0; /* claimed in vain; it looks under this lock */
    }
    if (served) {
        conc__handoff_transfer(q, op, conc__op_of(n));
        op->node.conc__grant = CONC__SERVED;
    }
    return served;
}

static bool conc__handoff_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    unsigned tag = conc__handoff_tag(op), wanted = CONC__TAG_GETTER + CONC__TAG_PUTTER - tag;
    conc__bucket *b = conc__bucket_lock(q);
    bool wait = !q->closed;
    conc_node *n = conc__bucket_first(b, q);
    conc__wakes wakes;
    wakes.count = 0;
    while (wait && n != NULL && wakes.count < CONC__WAKES) {
        conc_node *after = conc__bucket_next(b, n);
        /* Not with another op of the same select: nobody hands anything to himself. */
        if (conc__node_tag(n) == wanted && n->conc__waiter != node->conc__waiter) {
            (void)conc__handoff_match(q, b, op, n, &wakes);
            wait = conc__load32(&node->conc__waiter->claimed, CONC__RELAXED) == 0;
        }
        n = after;
    }
    if (wait) conc__bucket_push(b, q, node, tag);
    conc__bucket_unlock(b);
    conc__wakes_run(&wakes);
    return wait;
}

/* ---- put and get as ops ----------------------------------------------------------------------------- */

/* A child of fork() has a copy of the queue, perhaps made in the middle of another thread's put: not to be used. */
static bool conc__queue_is_forked(const conc_queue *q) {
    return q->generation != conc__fork_generation();
}

static conc_result conc__queue_forked(const char *what) {
    return conc__fail(CONC_FORKED, "%s: the queue was made before fork()", what);
}

/* Whether this call may use the queue, and why not. */
static CONC__NOINLINE conc_result conc__queue_check(const conc_queue *q, const void *item, size_t size,
                                                    const char *what) {
    if (CONC__UNLIKELY(q == NULL || item == NULL)) return conc__fail(CONC_INVALID, "%s: NULL", what);
    if (CONC__UNLIKELY(size != q->item_size)) {
        return conc__fail(CONC_INVALID, "%s: an item of %zu bytes, in a queue of items of %zu bytes", what, size,
                          q->item_size);
    }
    if (CONC__UNLIKELY(conc__queue_is_forked(q))) return conc__queue_forked(what);
    return CONC_OK;
}

/* Whether it may: the same in a few instructions, for the fast paths. */
#define conc__queue_is_good(q, item, size)                                                         \
    CONC__LIKELY((q) != NULL && (item) != NULL && (size) == (q)->item_size && !conc__queue_is_forked(q))

/* Moves one item without waiting, and wakes nobody. */
static conc_result conc__queue_try_put(conc_queue *q, const void *item) {
    return q->ring ? conc__ring_put(q, item) : conc__array_put(q, item);
}

static conc_result conc__queue_try_get(conc_queue *q, void *item) {
    return q->ring ? conc__ring_get(q, item) : conc__array_get(q, item);
}

static bool conc__queue_must_wait_to_put(conc_queue *q) {
    bool wait;
    if (q->ring) return conc__ring_must_wait_to_put(q);
    conc__lock_take(&q->lock);
    wait = !q->closed && q->capacity != 0 && q->count == q->capacity;
    conc__lock_give(&q->lock);
    return wait;
}

static bool conc__queue_must_wait_to_get(conc_queue *q) {
    bool wait;
    if (q->ring) return conc__ring_must_wait_to_get(q);
    conc__lock_take(&q->lock);
    wait = !q->closed && q->count == 0;
    conc__lock_give(&q->lock);
    return wait;
}

static conc_result conc__put_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    conc_result r = conc__queue_check(q, op->data, (size_t)op->word, "conc_queue_put");
    if (r != CONC_OK) return r;
    if (q->kind == CONC_HANDOFF) return conc__handoff_attempt(op);
    r = conc__queue_try_put(q, op->data);
    if (r == CONC_OK) conc__queue_wake_if_asleep(&q->get_asleep, 1);
    return r;
}

static conc_result conc__get_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    conc_result r = conc__queue_check(q, op->data, (size_t)op->word, "conc_queue_get");
    if (r != CONC_OK) return r;
    if (q->kind == CONC_HANDOFF) return conc__handoff_attempt(op);
    r = conc__queue_try_get(q, op->data);
    if (r == CONC_OK) conc__queue_wake_if_asleep(&q->put_asleep, 1);
    return r;
}

static bool conc__put_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    conc__bucket *b;
    bool wait;
    if (q->kind == CONC_HANDOFF) return conc__handoff_arm(op, node);
    b = conc__bucket_lock(&q->put_asleep);
    (void)conc__or32(&q->put_asleep, CONC__SLEEPERS, CONC__SEQ_CST);
    wait = conc__queue_must_wait_to_put(q);
    if (wait) conc__bucket_push(b, &q->put_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static bool conc__get_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    conc__bucket *b;
    bool wait;
    if (q->kind == CONC_HANDOFF) return conc__handoff_arm(op, node);
    b = conc__bucket_lock(&q->get_asleep);
    (void)conc__or32(&q->get_asleep, CONC__SLEEPERS, CONC__SEQ_CST);
    wait = conc__queue_must_wait_to_get(q);
    if (wait) conc__bucket_push(b, &q->get_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__put_class = {"put", CONC_FULL, conc__put_attempt, conc__put_arm, NULL, NULL};
static const conc_op_class conc__get_class = {"get", CONC_EMPTY, conc__get_attempt, conc__get_arm, NULL, NULL};

static unsigned conc__handoff_tag(const conc_op *op) {
    return op->cls == &conc__put_class ? CONC__TAG_PUTTER : CONC__TAG_GETTER;
}

conc_op conc_op_put_bytes(conc_queue *q, const void *item, size_t size) {
    conc_op op = conc_op_make(&conc__put_class, q, (void *)(uintptr_t)item);
    op.word = size;
    return op;
}

conc_op conc_op_get_bytes(conc_queue *q, void *item, size_t size) {
    conc_op op = conc_op_make(&conc__get_class, q, item);
    op.word = size;
    return op;
}

/* ---- put and get ---------------------------------------------------------------------------------------- */

/* Before it sleeps, one who finds the ring full or empty watches for a while the stamp that will change, and nothing
 * else: looking at the other side's index as well would slow down just the one that is waited for. */
#define CONC__RING_LOOKS 60

static bool conc__ring_comes_free(conc_queue *q) {
    unsigned i;
    for (i = 0; i < CONC__LOOKS(CONC__RING_LOOKS); i++) {
        size_t tail = conc__loadz(&q->tail, CONC__RELAXED);
        if ((tail & q->closed_bit) != 0 || conc__loadz(&conc__ring_slot(q, tail)->stamp, CONC__RELAXED) == tail) return true;
        conc__port_pause();
    }
    return false;
}

static bool conc__ring_fills(conc_queue *q) {
    unsigned i;
    for (i = 0; i < CONC__LOOKS(CONC__RING_LOOKS); i++) {
        size_t head = conc__loadz(&q->head, CONC__RELAXED);
        if (conc__loadz(&conc__ring_slot(q, head)->stamp, CONC__RELAXED) == head + 1) return true;
        conc__port_pause();
    }
    return false;
}

static CONC__NOINLINE conc_result conc__queue_put_slow(conc_queue *q, const void *item, size_t size,
                                                       conc_deadline deadline) {
    conc_op op = conc_op_put_bytes(q, item, size);
    if (deadline.ns != INT64_MIN && q->ring && conc__ring_comes_free(q)) {
        conc_result r = conc__put_attempt(&op);
        if (r != CONC_PENDING) return r;
    }
    return conc__wait_op(&op, deadline);
}

static CONC__NOINLINE conc_result conc__queue_get_slow(conc_queue *q, void *item, size_t size, conc_deadline deadline) {
    conc_op op = conc_op_get_bytes(q, item, size);
    if (deadline.ns != INT64_MIN && q->ring && conc__ring_fills(q)) {
        conc_result r = conc__get_attempt(&op);
        if (r != CONC_PENDING) return r;
    }
    return conc__wait_op(&op, deadline);
}

conc_result conc_queue_put_bytes(conc_queue *q, const void *item, size_t size, conc_deadline deadline) {
    conc_result r;
    if (!conc__queue_is_good(q, item, size)) return conc__queue_check(q, item, size, "conc_queue_put");
    if (q->kind != CONC_HANDOFF) {
        r = q->ring ? conc__ring_put(q, item) : conc__array_put(q, item);
        if (CONC__LIKELY(r == CONC_OK)) conc__queue_wake_if_asleep(&q->get_asleep, 1);
        if (CONC__LIKELY(r != CONC_PENDING)) return r;
        if (deadline.ns == INT64_MIN) return CONC_FULL;
    }
    return conc__queue_put_slow(q, item, size, deadline);
}

conc_result conc_queue_get_bytes(conc_queue *q, void *item, size_t size, conc_deadline deadline) {
    conc_result r;
    if (!conc__queue_is_good(q, item, size)) return conc__queue_check(q, item, size, "conc_queue_get");
    if (q->kind != CONC_HANDOFF) {
        r = q->ring ? conc__ring_get(q, item) : conc__array_get(q, item);
        if (CONC__LIKELY(r == CONC_OK)) conc__queue_wake_if_asleep(&q->put_asleep, 1);
        if (CONC__LIKELY(r != CONC_PENDING)) return r;
        if (deadline.ns == INT64_MIN) return CONC_EMPTY;
    }
    return conc__queue_get_slow(q, item, size, deadline);
}

conc_result conc_queue_put_many_bytes(conc_queue *q, const void *items, size_t size, size_t n, size_t *done,
                                      conc_deadline deadline) {
    const unsigned char *from = (const unsigned char *)items;
    conc_result r;
    if (done == NULL) return conc__fail(CONC_INVALID, "conc_queue_put_many: no place for the count");
    *done = 0;
    r = conc__queue_check(q, items, size, "conc_queue_put_many");
    while (r == CONC_OK && *done < n) {
        size_t before = *done;
        if (q->kind != CONC_HANDOFF) {
            while (*done < n && (r = conc__queue_try_put(q, from + *done * size)) == CONC_OK) ++*done;
            /* one look at the sleepers for all of them: it comes after the last move of the tail */
            if (*done > before) conc__queue_wake_if_asleep(&q->get_asleep, *done - before);
            if (*done == n || r != CONC_PENDING) break;
        }
        r = conc__queue_put_slow(q, from + *done * size, size, deadline);
        if (r == CONC_OK) ++*done;
    }
    return r;
}

conc_result conc_queue_get_many_bytes(conc_queue *q, void *items, size_t size, size_t n, size_t *done,
                                      conc_deadline deadline) {
    unsigned char *to = (unsigned char *)items;
    conc_result r;
    if (done == NULL) return conc__fail(CONC_INVALID, "conc_queue_get_many: no place for the count");
    *done = 0;
    r = conc__queue_check(q, items, size, "conc_queue_get_many");
    if (r != CONC_OK || n == 0) return r;
    r = conc_queue_get_bytes(q, to, size, deadline);
    if (r != CONC_OK) return r;
    *done = 1;
    if (q->kind == CONC_HANDOFF) {
        while (*done < n && conc_queue_get_bytes(q, to + *done * size, size, CONC_NOW) == CONC_OK) ++*done;
    } else {
        while (*done < n && conc__queue_try_get(q, to + *done * size) == CONC_OK) ++*done;
        if (*done > 1) conc__queue_wake_if_asleep(&q->put_asleep, *done - 1);
    }
    return CONC_OK;
}

/* The lock that guards `closed` and `unfinished` of an array or a hand-off: the array's own, or the hand-off's bucket
 * (which is returned; NULL for the array's). */
static conc__bucket *conc__queue_guard(conc_queue *q) {
    if (q->kind == CONC_HANDOFF) return conc__bucket_lock(q);
    conc__lock_take(&q->lock);
    return NULL;
}

static void conc__queue_unguard(conc_queue *q, conc__bucket *b) {
    if (b != NULL) {
        conc__bucket_unlock(b);
    } else {
        conc__lock_give(&q->lock);
    }
}

/* ---- closing ---------------------------------------------------------------------------------------------- */

conc_result conc_queue_close(conc_queue *q) {
    bool was_closed;
    if (q == NULL) return conc__fail(CONC_INVALID, "conc_queue_close: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_close");
    if (q->kind == CONC_HANDOFF) {
        conc__bucket *b = conc__bucket_lock(q);
        was_closed = q->closed;
        q->closed = true;
        conc__bucket_unlock(b);
        (void)conc__wake_waiters(q, CONC__ANY_TAG, CONC_ALL);
    } else {
        if (q->ring) {
            was_closed = (conc__orz(&q->tail, q->closed_bit, CONC__SEQ_CST) & q->closed_bit) != 0;
        } else {
            conc__lock_take(&q->lock);
            was_closed = q->closed;
            q->closed = true;
            conc__lock_give(&q->lock);
        }
        conc__queue_wake(&q->get_asleep, CONC_ALL);
        conc__queue_wake(&q->put_asleep, CONC_ALL);
    }
    return was_closed ? CONC_CLOSED : CONC_OK;
}

conc_result conc_queue_close_now(conc_queue *q, void (*drop)(void *item, void *arg), void *arg) {
    conc_result closed;
    void *item;
    if (q == NULL || drop == NULL) return conc__fail(CONC_INVALID, "conc_queue_close_now: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_close_now");
    item = conc__alloc(1, q->item_size, "an item to drop");
    if (item == NULL) return CONC_NO_MEMORY;
    closed = conc_queue_close(q);
    while (q->kind != CONC_HANDOFF && conc__queue_try_get(q, item) == CONC_OK) {
        drop(item, arg);
        (void)conc_queue_task_done(q);
    }
    conc__free(item);
    return closed;
}

bool conc_queue_is_closed(const conc_queue *q) {
    bool closed;
    if (q == NULL || conc__queue_is_forked(q)) return false;
    if (q->ring) {
        closed = (conc__loadz(&q->tail, CONC__ACQUIRE) & q->closed_bit) != 0;
    } else {
        conc_queue *own = (conc_queue *)(uintptr_t)q;
        conc__bucket *b = conc__queue_guard(own);
        closed = q->closed;
        conc__queue_unguard(own, b);
    }
    CONC__OPAQUE();
    return closed;
}

/* ---- counting work ------------------------------------------------------------------------------------------ */

conc_result conc_queue_task_done(conc_queue *q) {
    bool all_done = false, too_many = false;
    if (q == NULL) return conc__fail(CONC_INVALID, "conc_queue_task_done: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_task_done");
    if (q->ring) {
        /* A position that follows the tail: all is done when it has caught up. Sequentially consistent, in the same
         * pairing as put and get: it moves, then looks for joiners; a joiner sets the flag, then looks at it. */
        size_t done;
        do { /* acquire: whoever moved it this far had seen the tail beyond it, and so do we */
            done = conc__loadz(&q->done, CONC__ACQUIRE);
            too_many = done == (conc__loadz(&q->tail, CONC__ACQUIRE) & ~q->closed_bit);
        } while (!too_many && !conc__casz(&q->done, &done, conc__ring_next(q, done), CONC__SEQ_CST));
        all_done = conc__ring_next(q, done) == (conc__loadz(&q->tail, CONC__SEQ_CST) & ~q->closed_bit);
    } else {
        conc__bucket *b = conc__queue_guard(q);
        too_many = q->unfinished == 0;
        if (!too_many) all_done = --q->unfinished == 0;
        conc__queue_unguard(q, b);
    }
    if (too_many) return conc__fail(CONC_INVALID, "conc_queue_task_done: more often than items were put");
    if (all_done) conc__queue_wake_if_asleep(&q->join_asleep, CONC_ALL);
    CONC__OPAQUE();
    return CONC_OK;
}

static conc_result conc__join_attempt(conc_op *op) {
    conc_queue *q = (conc_queue *)op->object;
    bool all_done;
    if (q == NULL) return conc__fail(CONC_INVALID, "conc_queue_join: NULL");
    if (conc__queue_is_forked(q)) return conc__queue_forked("conc_queue_join");
    if (q->ring) {
        size_t done = conc__loadz(&q->done, CONC__SEQ_CST);
        all_done = done == (conc__loadz(&q->tail, CONC__SEQ_CST) & ~q->closed_bit);
    } else {
        conc__bucket *b = conc__queue_guard(q);
        all_done = q->unfinished == 0;
        conc__queue_unguard(q, b);
    }
    return all_done ? CONC_OK : CONC_PENDING;
}

static bool conc__join_arm(conc_op *op, conc_node *node) {
    conc_queue *q = (conc_queue *)op->object;
    conc__bucket *b = conc__bucket_lock(&q->join_asleep);
    bool wait;
    (void)conc__or32(&q->join_asleep, CONC__SLEEPERS, CONC__SEQ_CST);
    if (q->kind == CONC_HANDOFF) {
        /* Its count is guarded by another bucket, and one is held at a time: enter first, look after. */
        conc__bucket_push(b, &q->join_asleep, node, 0);
        conc__bucket_unlock(b);
        wait = conc__join_attempt(op) == CONC_PENDING;
        if (!wait) conc_waiters_disarm(node);
        return wait;
    }
    wait = conc__join_attempt(op) == CONC_PENDING;
    if (wait) conc__bucket_push(b, &q->join_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_queue_join(conc_queue *q) {
    static const conc_op_class cls = {"queue join", CONC_BUSY, conc__join_attempt, conc__join_arm, NULL, NULL};
    return conc_op_make(&cls, q, NULL);
}

conc_result conc_queue_join(conc_queue *q, conc_deadline deadline) {
    conc_op op = conc_op_queue_join(q);
    return conc__wait_op(&op, deadline);
}

/* ---- making and freeing ---------------------------------------------------------------------------------------- */

/* Stamps and indices need room for the laps: a capacity beyond this could not be allocated anyway. */
#define CONC__RING_MAX (SIZE_MAX / 16)

static bool conc__ring_make(conc_queue *q) {
    size_t i;
    q->closed_bit = 1;
    while (q->closed_bit < q->capacity + 1) q->closed_bit *= 2;
    q->lap = q->closed_bit * 2;
    q->fenced = !conc__port_heavy_fence_ready();
    q->stride = (sizeof(conc__slot) + q->item_size + sizeof(size_t) - 1) / sizeof(size_t) * sizeof(size_t);
    q->slots = (unsigned char *)conc__alloc(q->capacity, q->stride, "a queue's ring");
    if (q->slots == NULL) return false;
    for (i = 0; i < q->capacity; i++) conc__ring_slot(q, i)->stamp = i;
    return true;
}

conc_queue *conc_queue_new_ex(size_t item_size, size_t capacity, const conc_queue_desc *desc) {
    conc_queue_kind kind = desc != NULL ? desc->kind : CONC_FIFO;
    conc_queue *q;
    const char *wrong = NULL;
    if (item_size == 0) {
        wrong = "items of 0 bytes";
    } else if (item_size > SIZE_MAX / 8 || capacity > CONC__RING_MAX || capacity > SIZE_MAX / 2 / item_size) {
        wrong = "capacity times item size is more than there can be";
    } else if (kind != CONC_FIFO && kind != CONC_LIFO && kind != CONC_PRIORITY && kind != CONC_HANDOFF) {
        wrong = "no such kind";
    } else if (kind == CONC_PRIORITY && desc->compare == NULL) {
        wrong = "a priority queue needs `compare`";
    } else if (kind == CONC_HANDOFF && capacity != 0) {
        wrong = "a hand-off has no capacity: it wants 0";
    }
    if (wrong != NULL) {
        (void)conc__fail(CONC_INVALID, "conc_queue_new: %s (item size %zu, capacity %zu)", wrong, item_size, capacity);
        return NULL;
    }
    q = (conc_queue *)conc__alloc(1, sizeof *q, "a queue");
    if (q == NULL) return NULL;
    q->kind = kind;
    q->item_size = item_size;
    q->capacity = capacity;
    (void)conc__self(); /* fork() is watched for from here on */
    q->generation = conc__fork_generation();
    q->compare = desc != NULL ? desc->compare : NULL;
    q->ring = kind == CONC_FIFO && capacity != 0;
    q->stride = item_size + (kind == CONC_PRIORITY ? conc__heap_prefix(q) : 0);
    if (q->ring && !conc__ring_make(q)) {
        conc__free(q);
        return NULL;
    }
    return q;
}

conc_queue *conc_queue_new(size_t item_size, size_t capacity) {
    return conc_queue_new_ex(item_size, capacity, NULL);
}

conc_result conc_queue_free(conc_queue *q) {
    if (q == NULL) return CONC_OK;
    if (conc__is_waited_for(&q->get_asleep) || conc__is_waited_for(&q->put_asleep) ||
        conc__is_waited_for(&q->join_asleep) || conc__is_waited_for(q) ||
        conc__is_waited_for(conc__sleepers_of(&q->get_asleep, CONC__SETTLERS)) ||
        conc__is_waited_for(conc__sleepers_of(&q->put_asleep, CONC__SETTLERS))) {
        return conc__fail(CONC_BUSY, "conc_queue_free: somebody waits on the queue");
    }
    conc__free(q->slots);
    conc__free(q->array);
    conc__free(q);
    return CONC_OK;
}

/* ---- questions ---------------------------------------------------------------------------------------------------- */

size_t conc_queue_length(const conc_queue *q) {
    size_t n;
    conc_queue *own = (conc_queue *)(uintptr_t)q;
    if (q == NULL || q->kind == CONC_HANDOFF || conc__queue_is_forked(q)) return 0;
    if (q->ring) return conc__ring_length(q);
    conc__lock_take(&own->lock);
    n = q->count;
    conc__lock_give(&own->lock);
    return n;
}

size_t conc_queue_capacity(const conc_queue *q) {
    return q != NULL ? q->capacity : 0;
}

size_t conc_queue_item_size(const conc_queue *q) {
    return q != NULL ? q->item_size : 0;
}

/* ==== end src/queue.c ==== */

/* ==== begin src/iter.c ==== */

/* ============================================================================================
 * iter: see iter.h.
 * ========================================================================================== */

/* What an iterator that gave 0 ended with. */
static conc_result conc__iter_end(const conc_iter *it) {
    return it->result == CONC_OK ? CONC_CLOSED : it->result;
}

/* ---- one that has ended ------------------------------------------------------------------------- */

static size_t conc__failed_next(conc_iter *self, void *items, size_t n) {
    (void)self;
    (void)items;
    (void)n;
    return 0;
}

/* Never written to: threads share them. */
static conc_iter conc__failed[] = {
#define CONC__FAILED(name, value, text) { conc__failed_next, NULL, 0, name },
    CONC_RESULTS(CONC__FAILED)
#undef CONC__FAILED
};

conc_iter *conc_iter_failed(conc_result r) {
    size_t i;
    for (i = 0; i < sizeof conc__failed / sizeof conc__failed[0]; i++)
        if (conc__failed[i].result == r) return &conc__failed[i];
    return conc_iter_failed(CONC_INVALID);
}

/* Whether it is an iterator of such items (size 0: of any), or one that has failed, which is of any. If not: says why. */
static bool conc__iter_fits(const conc_iter *it, size_t size, const char *what) {
    if (it == NULL) {
        (void)conc__fail(CONC_INVALID, "%s: the iterator is NULL", what);
        return false;
    }
    if (size != 0 && it->item_size != 0 && it->item_size != size) {
        (void)conc__fail(CONC_INVALID, "%s: items of %zu bytes are expected, and the iterator's have %zu", what, size,
                         it->item_size);
        return false;
    }
    return true;
}

/* ---- going through one ------------------------------------------------------------------------------- */

conc_result conc__next_ended(conc_iter *it, const void *item, size_t size) {
    if (!conc__iter_fits(it, size, "conc_next")) return CONC_INVALID;
    if (item == NULL) return conc__fail(CONC_INVALID, "conc_next: nowhere to put the item");
    return conc__iter_end(it);
}

conc_result conc_next_n_bytes(conc_iter *it, void *items, size_t size, size_t n, size_t *done) {
    if (done == NULL) return conc__fail(CONC_INVALID, "conc_next_n: nowhere to put the number of items");
    *done = 0;
    if (!conc__iter_fits(it, size, "conc_next_n")) return CONC_INVALID;
    if (n == 0) return CONC_OK;
    if (items == NULL) return conc__fail(CONC_INVALID, "conc_next_n: nowhere to put the items");
    *done = it->next(it, items, n);
    return *done != 0 ? CONC_OK : conc__iter_end(it);
}

void conc_iter_close(conc_iter *it) {
    if (it != NULL && it->close != NULL) it->close(it);
}

conc__each conc__each_enter(conc_iter *it, size_t size) {
    conc__each each;
    each.iter = it;
    each.ended = false;
    if (!conc__iter_fits(it, size, "CONC_FOREACH")) {
        conc__report(CONC_INVALID, 0, NULL, "%s", conc_error_detail());
        conc_iter_close(it);
        each.iter = NULL;
    }
    if (each.iter != NULL) conc__self()->scopes++;
    return each;
}

void conc__each_leave(conc__each *each) {
    conc_iter *it = each->iter;
    conc_result r;
    if (it == NULL) return;
    each->iter = NULL;
    conc__self()->scopes--;
    r = each->ended ? conc__iter_end(it) : CONC_CLOSED;
    if (r != CONC_CLOSED && r != CONC_CANCELED && r != CONC_TIMEOUT)
        conc__report(r, 0, NULL, "CONC_FOREACH ended early: %s", conc_explain(r));
    conc_iter_close(it);
}

/* ---- sources -------------------------------------------------------------------------------------------- */

static void conc__source_close(conc_iter *self) {
    conc__free(self);
}

/* A source or an adaptor, zeroed; NULL: there is no memory. */
static void *conc__iter_new(size_t struct_size, size_t item_size, size_t (*next)(conc_iter *, void *, size_t),
                            void (*close)(conc_iter *)) {
    conc_iter *it = (conc_iter *)conc__alloc(1, struct_size, "an iterator");
    if (it == NULL) return NULL;
    it->next = next;
    it->close = close;
    it->item_size = item_size;
    return it;
}

typedef struct conc__array_iter {
    conc_iter iter;
    const char *at;
    size_t left;
} conc__array_iter;

static size_t conc__array_next(conc_iter *iter, void *items, size_t n) {
    conc__array_iter *self = (conc__array_iter *)iter;
    if (n > self->left) n = self->left;
    if (n == 0) return 0;
    memcpy(items, self->at, n * iter->item_size);
    self->at += n * iter->item_size;
    self->left -= n;
    return n;
}

conc_iter *conc_iter_array_bytes(const void *items, size_t size, size_t n) {
    conc__array_iter *self;
    if (size == 0 || (items == NULL && n != 0)) {
        return conc_iter_failed(conc__fail(CONC_INVALID, "conc_iter_array: %s",
                                           size == 0 ? "items have at least 1 byte" : "the array is NULL"));
    }
    self = (conc__array_iter *)conc__iter_new(sizeof *self, size, conc__array_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->at = (const char *)items;
    self->left = n;
    return &self->iter;
}

typedef struct conc__range_iter {
    conc_iter iter;
    uint64_t at, step, left; /* two's complement: the sums wrap around where nobody looks any more */
} conc__range_iter;

static size_t conc__range_next(conc_iter *iter, void *items, size_t n) {
    conc__range_iter *self = (conc__range_iter *)iter;
    uint64_t at = self->at, step = self->step;
    uint64_t *to = (uint64_t *)items; /* an int64_t may be written as its unsigned fellow */
    size_t i;
    if (n > self->left) n = (size_t)self->left;
    for (i = 0; i < n; i++) to[i] = at + i * step;
    self->at = at + n * step;
    self->left -= n;
    return n;
}

conc_iter *conc_iter_range(int64_t first, int64_t end, int64_t step) {
    conc__range_iter *self;
    if (step == 0) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_iter_range: the step is 0"));
    self = (conc__range_iter *)conc__iter_new(sizeof *self, sizeof(int64_t), conc__range_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->at = (uint64_t)first;
    self->step = (uint64_t)step;
    if (step > 0 && first < end) self->left = ((uint64_t)end - (uint64_t)first - 1) / (uint64_t)step + 1;
    if (step < 0 && first > end) self->left = ((uint64_t)first - (uint64_t)end - 1) / (0 - (uint64_t)step) + 1;
    return &self->iter;
}

typedef struct conc__queue_iter {
    conc_iter iter;
    conc_queue *queue;
} conc__queue_iter;

static size_t conc__queue_next(conc_iter *iter, void *items, size_t n) {
    conc__queue_iter *self = (conc__queue_iter *)iter;
    size_t done = 0;
    iter->result = conc_queue_get_many_bytes(self->queue, items, iter->item_size, n, &done, CONC_FOREVER);
    return done;
}

conc_iter *conc_iter_queue(conc_queue *q) {
    conc__queue_iter *self;
    if (q == NULL) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_iter_queue: the queue is NULL"));
    self = (conc__queue_iter *)conc__iter_new(sizeof *self, conc_queue_item_size(q), conc__queue_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->queue = q;
    return &self->iter;
}

/* ---- adaptors ---------------------------------------------------------------------------------------------- */

#define CONC__ITER_ROOM 4096 /* bytes an adaptor keeps for what it reads and does not give as it is */

/* What every adaptor begins with. */
typedef struct conc__adaptor {
    conc_iter iter;
    conc_iter *from;
} conc__adaptor;

static void conc__adaptor_close(conc_iter *iter) {
    conc_iter_close(((conc__adaptor *)iter)->from);
    conc__free(iter);
}

/* next() of what it is made of; the end of that is its own. */
static size_t conc__adaptor_pull(conc__adaptor *self, void *items, size_t n) {
    n = self->from->next(self->from, items, n);
    if (n == 0) self->iter.result = conc__iter_end(self->from);
    return n;
}

/* An adaptor of `size` bytes on `*from`, whose items must have `item_size` (0: any). NULL: `*from` is closed, and what stands
 * for it now is to be returned. */
static void *conc__adapt(size_t size, conc_iter **from, size_t item_size, size_t (*next)(conc_iter *, void *, size_t),
                         const char *what) {
    conc_iter *it = *from;
    conc__adaptor *self;
    if (!conc__iter_fits(it, item_size, what)) {
        conc_iter_close(it);
        *from = conc_iter_failed(CONC_INVALID);
        return NULL;
    }
    if (it->item_size == 0) return NULL; /* failed already */
    self = (conc__adaptor *)conc__iter_new(size, it->item_size, next, conc__adaptor_close);
    if (self == NULL) {
        conc_iter_close(it);
        *from = conc_iter_failed(CONC_NO_MEMORY);
        return NULL;
    }
    self->from = it;
    return self;
}

/* How many items of `size` bytes are read at a time. */
static size_t conc__iter_room(size_t size) {
    return size != 0 && size < CONC__ITER_ROOM ? CONC__ITER_ROOM / size : 1;
}

/* `size` bytes and what follows them, at an address for anything; false: that is too much. */
static bool conc__iter_tail(size_t *size, size_t *tail, size_t more) {
    *tail = (*size + 15u) & ~(size_t)15;
    if (more > SIZE_MAX - *tail) {
        (void)conc__fail(CONC_NO_MEMORY, "no memory for an iterator: items of %zu bytes", more);
        return false;
    }
    *size = *tail + more;
    return true;
}

/* A failure that is not one of `it`, which is closed. */
static conc_iter *conc__iter_refuse(conc_iter *it, conc_result r) {
    conc_iter_close(it);
    return conc_iter_failed(r);
}

static size_t conc__borrow_next(conc_iter *iter, void *items, size_t n) {
    return conc__adaptor_pull((conc__adaptor *)iter, items, n);
}

conc_iter *conc_iter_borrow(conc_iter *it) {
    conc__adaptor *self;
    if (!conc__iter_fits(it, 0, "conc_iter_borrow")) return conc_iter_failed(CONC_INVALID);
    if (it->item_size == 0) return it;
    self = (conc__adaptor *)conc__iter_new(sizeof *self, it->item_size, conc__borrow_next, conc__source_close);
    if (self == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    self->from = it;
    return &self->iter;
}

typedef struct conc__map_iter {
    conc__adaptor base;
    conc_map_fn fn;
    void *arg;
    size_t room;
    void *items; /* as they come; after the struct */
} conc__map_iter;

static size_t conc__map_next(conc_iter *iter, void *items, size_t n) {
    conc__map_iter *self = (conc__map_iter *)iter;
    n = conc__adaptor_pull(&self->base, self->items, n < self->room ? n : self->room);
    if (n != 0) self->fn(self->items, items, n, self->arg);
    return n;
}

conc_iter *conc_map_bytes(conc_iter *it, conc_map_fn fn, size_t in_size, size_t out_size, void *arg) {
    conc__map_iter *self;
    size_t size = sizeof *self, tail, room;
    if (fn == NULL || in_size == 0 || out_size == 0)
        return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_map: %s", fn == NULL ? "no function" : "items of 0 bytes"));
    room = conc__iter_room(in_size);
    if (!conc__iter_tail(&size, &tail, room * in_size)) return conc__iter_refuse(it, CONC_NO_MEMORY);
    self = (conc__map_iter *)conc__adapt(size, &it, in_size, conc__map_next, "conc_map");
    if (self == NULL) return it;
    self->base.iter.item_size = out_size;
    self->fn = fn;
    self->arg = arg;
    self->room = room;
    self->items = (char *)self + tail;
    return &self->base.iter;
}

typedef struct conc__filter_iter {
    conc__adaptor base;
    conc_filter_fn fn;
    void *arg;
} conc__filter_iter;

static size_t conc__filter_next(conc_iter *iter, void *items, size_t n) {
    conc__filter_iter *self = (conc__filter_iter *)iter;
    size_t got;
    while ((got = conc__adaptor_pull(&self->base, items, n)) != 0) {
        got = self->fn(items, got, self->arg);
        if (got != 0) break;
    }
    return got;
}

conc_iter *conc_filter_bytes(conc_iter *it, conc_filter_fn fn, size_t size, void *arg) {
    conc__filter_iter *self;
    if (fn == NULL) return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_filter: no function"));
    self = (conc__filter_iter *)conc__adapt(sizeof *self, &it, size, conc__filter_next, "conc_filter");
    if (self == NULL) return it;
    self->fn = fn;
    self->arg = arg;
    return &self->base.iter;
}

typedef struct conc__take_iter { /* and conc_skip() */
    conc__adaptor base;
    size_t left;
} conc__take_iter;

static size_t conc__take_next(conc_iter *iter, void *items, size_t n) {
    conc__take_iter *self = (conc__take_iter *)iter;
    if (self->left == 0) {
        iter->result = CONC_CLOSED;
        return 0;
    }
    n = conc__adaptor_pull(&self->base, items, n < self->left ? n : self->left);
    self->left -= n;
    return n;
}

static size_t conc__skip_next(conc_iter *iter, void *items, size_t n) {
    conc__take_iter *self = (conc__take_iter *)iter;
    while (self->left != 0) {
        size_t got = conc__adaptor_pull(&self->base, items, n < self->left ? n : self->left);
        if (got == 0) return 0;
        self->left -= got;
    }
    return conc__adaptor_pull(&self->base, items, n);
}

static conc_iter *conc__part(conc_iter *it, size_t n, size_t (*next)(conc_iter *, void *, size_t), const char *what) {
    conc__take_iter *self = (conc__take_iter *)conc__adapt(sizeof *self, &it, 0, next, what);
    if (self == NULL) return it;
    self->left = n;
    return &self->base.iter;
}

conc_iter *conc_take(conc_iter *it, size_t n) {
    return conc__part(it, n, conc__take_next, "conc_take");
}

conc_iter *conc_skip(conc_iter *it, size_t n) {
    return conc__part(it, n, conc__skip_next, "conc_skip");
}

typedef struct conc__chain_iter {
    conc_iter iter;
    size_t at, count;
    conc_iter **its; /* after the struct */
} conc__chain_iter;

static size_t conc__chain_next(conc_iter *iter, void *items, size_t n) {
    conc__chain_iter *self = (conc__chain_iter *)iter;
    while (self->at < self->count) {
        conc_iter *it = self->its[self->at];
        size_t got = it->next(it, items, n);
        if (got != 0) return got;
        iter->result = conc__iter_end(it);
        if (iter->result != CONC_CLOSED) return 0;
        conc_iter_close(it);
        self->at++;
    }
    iter->result = CONC_CLOSED;
    return 0;
}

static void conc__chain_close(conc_iter *iter) {
    conc__chain_iter *self = (conc__chain_iter *)iter;
    for (; self->at < self->count; self->at++) conc_iter_close(self->its[self->at]);
    conc__free(self);
}

conc_iter *conc_chain_n(conc_iter *const *its, size_t n) {
    conc__chain_iter *self = NULL;
    size_t size = sizeof *self, tail = 0, item_size = 0, i;
    conc_result r = CONC_OK;
    if (its == NULL && n != 0) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_chain: the array is NULL"));
    for (i = 0; i < n && r == CONC_OK; i++) {
        if (!conc__iter_fits(its[i], item_size, "conc_chain")) r = CONC_INVALID;
        else if (its[i]->item_size != 0) item_size = its[i]->item_size;
    }
    if (r == CONC_OK && n == 0) return conc_iter_failed(CONC_CLOSED);
    if (r == CONC_OK && item_size == 0) return its[0]; /* all have failed */
    if (r == CONC_OK && (n > SIZE_MAX / sizeof *its || !conc__iter_tail(&size, &tail, n * sizeof *its))) r = CONC_NO_MEMORY;
    if (r == CONC_OK) {
        self = (conc__chain_iter *)conc__iter_new(size, item_size, conc__chain_next, conc__chain_close);
        if (self == NULL) r = CONC_NO_MEMORY;
    }
    if (r != CONC_OK) {
        for (i = 0; i < n; i++) conc_iter_close(its[i]);
        return conc_iter_failed(r);
    }
    self->its = (conc_iter **)(void *)((char *)self + tail);
    self->count = n;
    memcpy(self->its, its, n * sizeof *its);
    return &self->iter;
}

conc_iter *conc_chain(conc_iter *a, conc_iter *b) {
    conc_iter *its[2];
    its[0] = a;
    its[1] = b;
    return conc_chain_n(its, 2);
}

typedef struct conc__zip_iter { /* and conc_enumerate(), which has no b */
    conc__adaptor base;
    conc_iter *b;
    size_t offset_a, size_a, offset_b, size_b;
    size_t room, first, held; /* items of a that are waiting for b */
    char *items_a, *items_b;  /* after the struct */
    uint64_t index;
} conc__zip_iter;

static void conc__zip_put(char *to, size_t size, const char *from, size_t from_size, size_t n) {
    size_t i;
    for (i = 0; i < n; i++) memcpy(to + i * size, from + i * from_size, from_size);
}

static size_t conc__zip_next(conc_iter *iter, void *items, size_t n) {
    conc__zip_iter *self = (conc__zip_iter *)iter;
    char *to = (char *)items;
    if (n > self->room) n = self->room;
    if (self->held == 0) {
        self->first = 0;
        self->held = conc__adaptor_pull(&self->base, self->items_a, n);
        if (self->held == 0) return 0;
    }
    n = self->b->next(self->b, self->items_b, n < self->held ? n : self->held);
    if (n == 0) {
        iter->result = conc__iter_end(self->b);
        return 0;
    }
    memset(to, 0, n * iter->item_size);
    conc__zip_put(to + self->offset_a, iter->item_size, self->items_a + self->first * self->size_a, self->size_a, n);
    conc__zip_put(to + self->offset_b, iter->item_size, self->items_b, self->size_b, n);
    self->first += n;
    self->held -= n;
    return n;
}

static void conc__zip_close(conc_iter *iter) {
    conc_iter_close(((conc__zip_iter *)iter)->b);
    conc__adaptor_close(iter);
}

/* Room for as many items of a and b as fit. */
static size_t conc__zip_room(size_t size_a, size_t size_b) {
    return conc__iter_room(size_a > size_b ? size_a : size_b);
}

conc_iter *conc_zip_bytes(size_t size, conc_iter *a, size_t offset_a, size_t size_a, conc_iter *b, size_t offset_b, size_t size_b) {
    conc__zip_iter *self;
    size_t bytes = sizeof *self, at_a, at_b, room = conc__zip_room(size_a, size_b);
    if (!conc__iter_tail(&bytes, &at_a, room * size_a) || !conc__iter_tail(&bytes, &at_b, room * size_b)) {
        conc_iter_close(b);
        return conc__iter_refuse(a, CONC_NO_MEMORY);
    }
    if (!conc__iter_fits(b, size_b, "conc_zip")) {
        conc_iter_close(b);
        return conc__iter_refuse(a, CONC_INVALID);
    }
    self = (conc__zip_iter *)conc__adapt(bytes, &a, size_a, conc__zip_next, "conc_zip");
    if (self == NULL) {
        conc_iter_close(b);
        return a;
    }
    self->base.iter.close = conc__zip_close;
    self->base.iter.item_size = size;
    self->b = b;
    self->offset_a = offset_a;
    self->size_a = size_a;
    self->offset_b = offset_b;
    self->size_b = size_b;
    self->room = room;
    self->items_a = (char *)self + at_a;
    self->items_b = (char *)self + at_b;
    return &self->base.iter;
}

static size_t conc__enumerate_next(conc_iter *iter, void *items, size_t n) {
    conc__zip_iter *self = (conc__zip_iter *)iter;
    char *to = (char *)items;
    size_t i;
    n = conc__adaptor_pull(&self->base, self->items_a, n < self->room ? n : self->room);
    if (n == 0) return 0;
    memset(to, 0, n * iter->item_size);
    conc__zip_put(to + self->offset_a, iter->item_size, self->items_a, self->size_a, n);
    for (i = 0; i < n; i++) {
        char *index = to + i * iter->item_size + self->offset_b;
        uint64_t x64 = self->index++;
        uint32_t x32 = (uint32_t)x64;
        uint16_t x16 = (uint16_t)x64;
        uint8_t x8 = (uint8_t)x64;
        if (self->size_b == 8) memcpy(index, &x64, 8);
        else if (self->size_b == 4) memcpy(index, &x32, 4);
        else if (self->size_b == 2) memcpy(index, &x16, 2);
        else memcpy(index, &x8, 1);
    }
    return n;
}

conc_iter *conc_enumerate_bytes(size_t size, size_t offset_index, size_t size_index, conc_iter *it, size_t offset_item,
                                size_t size_item, int64_t first) {
    conc__zip_iter *self;
    size_t bytes = sizeof *self, at, room = conc__iter_room(size_item);
    if (size_index != 1 && size_index != 2 && size_index != 4 && size_index != 8)
        return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_enumerate: a number of %zu bytes", size_index));
    if (!conc__iter_tail(&bytes, &at, room * size_item)) return conc__iter_refuse(it, CONC_NO_MEMORY);
    self = (conc__zip_iter *)conc__adapt(bytes, &it, size_item, conc__enumerate_next, "conc_enumerate");
    if (self == NULL) return it;
    self->base.iter.item_size = size;
    self->offset_a = offset_item;
    self->size_a = size_item;
    self->offset_b = offset_index;
    self->size_b = size_index;
    self->room = room;
    self->items_a = (char *)self + at;
    self->index = (uint64_t)first;
    return &self->base.iter;
}

typedef struct conc__batch_iter {
    conc__adaptor base;
    size_t offset_count, offset_items, room;
    conc_result ended; /* CONC_OK: not yet */
} conc__batch_iter;

static size_t conc__batch_next(conc_iter *iter, void *items, size_t n) {
    conc__batch_iter *self = (conc__batch_iter *)iter;
    size_t done;
    for (done = 0; done < n && self->ended == CONC_OK; done++) {
        char *to = (char *)items + done * iter->item_size;
        size_t count = 0, got = 0;
        memset(to, 0, iter->item_size);
        do {
            got = conc__adaptor_pull(&self->base, to + self->offset_items + count * self->base.from->item_size, self->room - count);
            count += got;
        } while (got != 0 && count < self->room);
        if (got == 0) self->ended = conc__iter_end(self->base.from);
        if (count == 0) break;
        memcpy(to + self->offset_count, &count, sizeof count);
    }
    if (done == 0) iter->result = self->ended;
    return done;
}

conc_iter *conc_batch_bytes(size_t size, size_t offset_count, size_t size_count, size_t offset_items, size_t size_items,
                            size_t size_item, conc_iter *it) {
    conc__batch_iter *self;
    if (size_count != sizeof(size_t))
        return conc__iter_refuse(it, conc__fail(CONC_INVALID, "conc_batch: the count is not a size_t"));
    self = (conc__batch_iter *)conc__adapt(sizeof *self, &it, size_item, conc__batch_next, "conc_batch");
    if (self == NULL) return it;
    self->base.iter.item_size = size;
    self->offset_count = offset_count;
    self->offset_items = offset_items;
    self->room = size_items / size_item;
    return &self->base.iter;
}

/* ---- to the end ------------------------------------------------------------------------------------------------ */

/* Room for a batch: on the stack, unless a single item is larger than that. */
typedef struct conc__scratch {
    union {
        char bytes[CONC__ITER_ROOM];
        void *p;
        int64_t i;
        double d;
        long double ld;
    } here;
    void *items;
    size_t room;
} conc__scratch;

/* Checks `it`, finds room for its items. CONC_OK; if not, `it` is closed and this is the answer. */
static conc_result conc__scratch_begin(conc__scratch *s, conc_iter *it, size_t size, const char *what) {
    s->items = NULL;
    if (!conc__iter_fits(it, size, what)) {
        conc_iter_close(it);
        return CONC_INVALID;
    }
    s->room = it->item_size != 0 ? conc__iter_room(it->item_size) : 1;
    s->items = it->item_size <= sizeof s->here ? s->here.bytes : conc__alloc(1, it->item_size, "an item");
    if (s->items == NULL) {
        conc_iter_close(it);
        return CONC_NO_MEMORY;
    }
    return CONC_OK;
}

/* Closes `it`, which has ended, and says how. */
static conc_result conc__scratch_end(conc__scratch *s, conc_iter *it) {
    conc_result r = conc__iter_end(it);
    if (s->items != s->here.bytes) conc__free(s->items);
    conc_iter_close(it);
    return r == CONC_CLOSED ? CONC_OK : r;
}

conc_result conc_fold_bytes(conc_iter *it, conc_fold_fn fn, size_t size, void *acc, void *arg) {
    conc__scratch s;
    size_t n;
    conc_result r = conc__scratch_begin(&s, it, size, "conc_fold");
    if (r != CONC_OK) return r;
    if (fn == NULL || acc == NULL) {
        (void)conc__scratch_end(&s, it);
        return conc__fail(CONC_INVALID, "conc_fold: %s", fn == NULL ? "no function" : "nowhere to put the sum");
    }
    while ((n = it->next(it, s.items, s.room)) != 0) fn(acc, s.items, n, arg);
    return conc__scratch_end(&s, it);
}

conc_result conc_count(conc_iter *it, size_t *count) {
    conc__scratch s;
    size_t n, all = 0;
    conc_result r = conc__scratch_begin(&s, it, 0, "conc_count");
    if (r != CONC_OK) return r;
    if (count == NULL) {
        (void)conc__scratch_end(&s, it);
        return conc__fail(CONC_INVALID, "conc_count: nowhere to put the number");
    }
    while ((n = it->next(it, s.items, s.room)) != 0) all += n;
    *count = all;
    return conc__scratch_end(&s, it);
}

conc_result conc_any_bytes(conc_iter *it, conc_filter_fn fn, size_t size, void *arg, bool wanted, bool *answer) {
    conc__scratch s;
    conc_result r = conc__scratch_begin(&s, it, size, "conc_any, conc_all");
    bool found = false;
    if (r != CONC_OK) return r;
    if (fn == NULL || answer == NULL) {
        (void)conc__scratch_end(&s, it);
        return conc__fail(CONC_INVALID, "conc_any, conc_all: %s", fn == NULL ? "no function" : "nowhere to put the answer");
    }
    while (!found && it->next(it, s.items, 1) != 0) found = (fn(s.items, 1, arg) != 0) == wanted;
    *answer = found == wanted;
    r = conc__scratch_end(&s, it);
    return found ? CONC_OK : r;
}

conc_result conc_collect_into_bytes(conc_iter *it, void *items, size_t size, size_t room, size_t *count) {
    size_t done = 0, got = 1;
    conc_result r;
    if (!conc__iter_fits(it, size, "conc_collect_into")) {
        conc_iter_close(it);
        return CONC_INVALID;
    }
    if (count == NULL || (items == NULL && room != 0)) {
        conc_iter_close(it);
        return conc__fail(CONC_INVALID, "conc_collect_into: nowhere to put %s", count == NULL ? "the number" : "the items");
    }
    while (done < room && got != 0) {
        got = it->next(it, (char *)items + done * size, room - done);
        done += got;
    }
    *count = done;
    r = got != 0 ? CONC_FULL : conc__iter_end(it);
    conc_iter_close(it);
    return r == CONC_CLOSED ? CONC_OK : r;
}

conc_result conc_collect_bytes(conc_iter *it, void *items, size_t size, size_t *count) {
    size_t done = 0, room = 0, got = 1;
    char *all = NULL;
    conc_result r = CONC_OK;
    if (items != NULL) memcpy(items, &all, sizeof all);
    if (count != NULL) *count = 0;
    if (!conc__iter_fits(it, size, "conc_collect")) {
        conc_iter_close(it);
        return CONC_INVALID;
    }
    if (count == NULL || items == NULL) {
        conc_iter_close(it);
        return conc__fail(CONC_INVALID, "conc_collect: nowhere to put %s", count == NULL ? "the number" : "the items");
    }
    while (got != 0) {
        if (done == room) {
            size_t more = room == 0 ? conc__iter_room(size) / 8 + 1 : room <= SIZE_MAX / 2 ? room * 2 : SIZE_MAX;
            char *p = (char *)conc__realloc(all, more, size, "the items of an iterator");
            if (p == NULL) {
                r = CONC_NO_MEMORY;
                break;
            }
            all = p;
            room = more;
        }
        got = it->next(it, all + done * size, room - done);
        done += got;
    }
    if (r == CONC_OK) r = conc__iter_end(it);
    conc_iter_close(it);
    if (done == 0) {
        conc__free(all);
        all = NULL;
    }
    memcpy(items, &all, sizeof all);
    *count = done;
    return r == CONC_CLOSED ? CONC_OK : r;
}

void conc_free_items(void *items) {
    conc__free(items);
}

/* ==== end src/iter.c ==== */

/* ==== begin src/future.c ==== */

/* ============================================================================================
 * future: see future.h. The state is one word; who wants to run or to end a future claims it there, by one
 * compare-and-swap, so that it is begun once and ended once, whoever else wants to cancel it or to help.
 * ========================================================================================== */

/* ---- its life ---------------------------------------------------------------------------------- */

conc_future *conc__future_new(const conc__future_class *cls, conc_pool *pool, conc_fn fn, void *arg) {
    conc_future *f = (conc_future *)conc__alloc(1, sizeof *f, "a future");
    if (f == NULL) return NULL;
    f->users = 1;
    f->cls = cls;
    f->fn = fn;
    f->arg = arg;
    f->pool = pool;
    f->notes_end = &f->notes;
    (void)conc__self(); /* fork() is watched for from here on */
    f->generation = conc__fork_generation();
    return f;
}

conc_future *conc_future_new(void) {
    return conc__future_new(NULL, NULL, NULL, NULL);
}

conc_future *conc_future_retain(conc_future *f) {
    if (f != NULL) (void)conc__add32(&f->users, 1, CONC__RELAXED);
    return f;
}

/* Acquire and release: whoever frees it sees what all others did with it. */
void conc_future_release(conc_future *f) {
    uint32_t state;
    if (f == NULL || conc__sub32(&f->users, 1, CONC__ACQ_REL) != 1) return;
    state = conc__load32(&f->state, CONC__RELAXED);
    if ((state & CONC__ENDED) != 0 && f->result == CONC_FAILED && (state & CONC__LOOKED) == 0) {
        conc__report(CONC_FAILED, f->code, NULL, "%s, and nobody looked at it", conc_future_detail(f));
    }
    while (f->notes != NULL) { /* it was never ended */
        conc__note *note = f->notes;
        f->notes = note->next;
        if (note->allocated) {
            conc__free(note);
        } else {
            note->fn(NULL, note->arg);
        }
    }
    conc__free(f->detail);
    conc__schedule_free(f->schedule);
    conc__free(f);
}

bool conc__future_claim(conc_future *f) {
    uint32_t state = conc__load32(&f->state, CONC__RELAXED);
    while ((state & CONC__BEGUN) == 0) {
        if (conc__cas32(&f->state, &state, state | CONC__BEGUN, CONC__ACQ_REL)) return true;
    }
    return false;
}

bool conc__future_is_ended(const conc_future *f) {
    return (conc__load32(&f->state, CONC__ACQUIRE) & CONC__ENDED) != 0;
}

/* Notes are called in their order. Who gives one while they are being called leaves it to the caller of the others. */
static void conc__future_call_notes(conc_future *f) {
    for (;;) {
        conc__note *note;
        bool allocated;
        conc__lock_take(&f->lock);
        note = f->notes;
        if (note != NULL) {
            f->notes = note->next;
            if (f->notes == NULL) f->notes_end = &f->notes;
        } else {
            f->notes_over = true;
        }
        conc__lock_give(&f->lock);
        if (note == NULL) return;
        allocated = note->allocated; /* else the note may be gone with its call */
        note->fn(f, note->arg);
        if (allocated) conc__free(note);
    }
}

void conc__future_end(conc_future *f, conc_result r, int code, const char *detail) {
    uint32_t state;
    f->code = code;
    f->result = r;
    if (detail != NULL) {
        size_t size = strlen(detail) + 1;
        f->detail = (char *)conc__alloc(size, 1, "a future's sentence"); /* without it there are fewer words, no more */
        if (f->detail != NULL) memcpy(f->detail, detail, size);
    }
    /* Release: publishes the above and what the task did. Whoever set WAITED or NOTED before stands in the table, or has its note
     * in the list; whoever comes later reads ENDED. */
    state = conc__or32(&f->state, CONC__ENDED, CONC__ACQ_REL);
    if ((state & CONC__WAITED) != 0) (void)conc__wake_waiters(f, CONC__ANY_TAG, CONC_ALL);
    if ((state & CONC__NOTED) != 0) conc__future_call_notes(f);
    if (f->cls != NULL && f->cls->ended != NULL) f->cls->ended(f, state);
}

conc_result conc_future_complete(conc_future *f, int code) {
    char text[60];
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_complete: NULL");
    if (f->cls != NULL) return conc__fail(CONC_INVALID, "conc_future_complete: it is a task's, which completes it");
    if (!conc__future_claim(f)) return CONC_CLOSED;
    if (code != 0) (void)snprintf(text, sizeof text, "a future was completed with %d", code);
    conc__future_end(f, code == 0 ? CONC_OK : CONC_FAILED, code, code == 0 ? NULL : text);
    CONC__OPAQUE();
    return CONC_OK;
}

conc_result conc_future_cancel(conc_future *f) {
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_cancel: NULL");
    for (;;) {
        uint32_t state;
        if (conc__future_claim(f)) {
            (void)conc_future_retain(f); /* the queue's reference, if it has one, may go at any time */
            if (f->cls != NULL && f->cls->canceled != NULL) f->cls->canceled(f);
            conc__future_end(f, CONC_CANCELED, 0, NULL);
            conc_future_release(f);
            return CONC_OK;
        }
        if (conc__future_is_ended(f) || f->cls == NULL) return CONC_CLOSED; /* of a user's own: it is being completed */
        (void)conc_cancel_fire(&f->token);
        /* A periodic task gives itself free again between two turns, then looks at its token. Both change the state: who is
         * second sees what the other has done before. */
        state = conc__or32(&f->state, 0, CONC__ACQ_REL);
        if ((state & CONC__BEGUN) != 0) return CONC_BUSY;
    }
}

/* ---- questions ---------------------------------------------------------------------------------- */

/* Its result, which the caller has seen by that. */
static conc_result conc__future_look(conc_future *f) {
    if (f->result != CONC_OK && (conc__load32(&f->state, CONC__RELAXED) & CONC__LOOKED) == 0) {
        (void)conc__or32(&f->state, CONC__LOOKED, CONC__RELAXED);
    }
    return f->result;
}

bool conc_future_is_done(const conc_future *f) {
    bool done = f != NULL && conc__future_is_ended(f);
    CONC__OPAQUE();
    return done;
}

conc_result conc_future_result(conc_future *f) {
    conc_result r;
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_result: NULL");
    r = conc__future_is_ended(f) ? conc__future_look(f) : CONC_PENDING;
    CONC__OPAQUE();
    return r;
}

int conc_future_code(conc_future *f) {
    int code = 0;
    if (f != NULL && conc__future_is_ended(f)) {
        (void)conc__future_look(f);
        code = f->code;
    }
    CONC__OPAQUE();
    return code;
}

const char *conc_future_detail(const conc_future *f) {
    const char *text = "";
    if (f != NULL && conc__future_is_ended(f)) {
        if (f->detail != NULL) {
            text = f->detail;
        } else if (f->result != CONC_OK) {
            text = conc_strerror(f->result);
        }
    }
    CONC__OPAQUE();
    return text;
}

void *conc_future_arg(const conc_future *f) {
    return f != NULL ? f->arg : NULL;
}

/* ---- waiting ------------------------------------------------------------------------------------ */

static conc_result conc__future_wrong(const conc_future *f) {
    if (f == NULL) return conc__fail(CONC_INVALID, "conc_future_wait: NULL");
    if (f->generation != conc__fork_generation() && !conc__future_is_ended(f)) {
        return conc__fail(CONC_FORKED, "conc_future_wait: what would complete it is in the process that forked");
    }
    return CONC_OK;
}

static conc_result conc__future_attempt(conc_op *op) {
    conc_future *f = (conc_future *)op->object;
    conc_result r = conc__future_wrong(f);
    if (r != CONC_OK) return r;
    return conc__future_is_ended(f) ? conc__future_look(f) : CONC_PENDING;
}

static bool conc__future_arm(conc_op *op, conc_node *node) {
    conc_future *f = (conc_future *)op->object;
    conc__bucket *b = conc__bucket_lock(f);
    /* One read-modify-write against that of conc__future_end(): one of the two sees the other. */
    bool wait = (conc__or32(&f->state, CONC__WAITED, CONC__ACQ_REL) & CONC__ENDED) == 0;
    if (wait) conc__bucket_push(b, f, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_future(conc_future *f) {
    static const conc_op_class cls = {"future", CONC_BUSY, conc__future_attempt, conc__future_arm, NULL, NULL};
    return conc_op_make(&cls, f, NULL);
}

static bool conc__future_help(conc_future *f) {
    return f->cls != NULL && f->cls->help != NULL && f->cls->help(f);
}

conc_result conc_future_wait(conc_future *f, conc_deadline deadline) {
    conc_op op;
    conc_result r = conc__future_wrong(f);
    if (r != CONC_OK) return r;
    if (conc__future_is_ended(f) || (deadline.ns != INT64_MIN && conc__future_help(f))) {
        r = conc__future_look(f);
        CONC__OPAQUE();
        return r;
    }
    op = conc_op_future(f);
    return conc__await(&op, f, deadline);
}

conc_result conc_wait_all(conc_future *const *futures, size_t n, conc_deadline deadline) {
    conc_result first = CONC_OK;
    size_t i;
    if (n != 0 && futures == NULL) return conc__fail(CONC_INVALID, "conc_wait_all: no array");
    for (i = 0; i < n; i++) {
        if (futures[i] == NULL) return conc__fail(CONC_INVALID, "conc_wait_all: number %zu is NULL", i);
    }
    for (i = 0; i < n; i++) {
        conc_result r = conc_future_wait(futures[i], deadline);
        if (!conc_future_is_done(futures[i])) return r;
        if (first == CONC_OK) first = r;
    }
    return first;
}

int conc_wait_any(conc_future *const *futures, size_t n, conc_deadline deadline) {
    conc_op few[8], *ops = few;
    size_t i;
    int which;
    if (futures == NULL || n == 0 || n > CONC__MAX_OPS) {
        return (int)conc__fail(CONC_INVALID, "conc_wait_any: %zu futures; 1 to %d can be waited for", n, CONC__MAX_OPS);
    }
    for (i = 0; i < n; i++) {
        conc_result r = futures[i] != NULL ? conc__future_wrong(futures[i]) : CONC_INVALID;
        if (r != CONC_OK) return (int)conc__fail(r, "conc_wait_any: number %zu is %s", i, r == CONC_INVALID ? "NULL" : "another process's");
    }
    for (i = 0; i < n; i++) {
        if (conc__future_is_ended(futures[i])) return (int)i;
    }
    for (i = 0; i < n && deadline.ns != INT64_MIN; i++) {
        if (conc__future_help(futures[i])) return (int)i;
    }
    if (n > sizeof few / sizeof *few) {
        ops = (conc_op *)conc__alloc(n, sizeof *ops, "the ops of a wait");
        if (ops == NULL) return CONC_NO_MEMORY;
    }
    for (i = 0; i < n; i++) ops[i] = conc_op_future(futures[i]);
    which = conc_select(ops, n, deadline);
    if (ops != few) conc__free(ops);
    return which;
}

/* ---- callbacks ----------------------------------------------------------------------------------- */

bool conc__future_note(conc_future *f, conc__note *note) {
    uint32_t state;
    bool entered;
    note->next = NULL;
    conc__lock_take(&f->lock);
    state = conc__or32(&f->state, CONC__NOTED, CONC__ACQ_REL);
    /* It had ended, and its notes have all been called, or nobody has been told that there are any. */
    entered = (state & CONC__ENDED) == 0 || ((state & CONC__NOTED) != 0 && !f->notes_over);
    if (entered) {
        *f->notes_end = note;
        f->notes_end = &note->next;
    } else {
        f->notes_over = true;
    }
    conc__lock_give(&f->lock);
    return entered;
}

conc_result conc_future_then(conc_future *f, void (*fn)(conc_future *f, void *arg), void *arg) {
    conc__note *note;
    if (f == NULL || fn == NULL) return conc__fail(CONC_INVALID, "conc_future_then: %s", f == NULL ? "NULL" : "no function");
    note = (conc__note *)conc__alloc(1, sizeof *note, "a future's callback");
    if (note == NULL) return CONC_NO_MEMORY;
    note->fn = fn;
    note->arg = arg;
    note->allocated = true;
    (void)conc__or32(&f->state, CONC__LOOKED, CONC__RELAXED);
    if (!conc__future_note(f, note)) {
        conc__free(note);
        fn(f, arg);
    }
    CONC__OPAQUE();
    return CONC_OK;
}

/* ---- as completed ---------------------------------------------------------------------------------
 * Each future has a note that puts its number into a list. What they share stays until the last note has been called and the
 * iterator is closed. */

typedef struct conc__completed conc__completed;
typedef struct conc__completed_note {
    conc__note note;
    conc__completed *all;
    conc_future *f;
} conc__completed_note;
struct conc__completed {
    conc_iter iter;
    uint32_t users;         /* atomic: the iterator, and each note that is to be called */
    uint32_t ended;         /* atomic: how many have entered `order`; waited for under this address. Publishes those entries */
    size_t n, given;        /* given: the iterator's own */
    conc__lock lock;        /* guards the entering */
    conc_future **order;    /* those that have ended */
    conc__completed_note notes[1];
};

static void conc__completed_unuse(conc__completed *c) {
    if (conc__sub32(&c->users, 1, CONC__ACQ_REL) == 1) {
        conc__free(c->order);
        conc__free(c);
    }
}

static void conc__completed_one(conc_future *f, void *arg) {
    conc__completed_note *n = (conc__completed_note *)arg;
    conc__completed *c = n->all;
    uint32_t ended;
    if (f == NULL) { /* it has gone without an end */
        conc__completed_unuse(c);
        return;
    }
    conc__lock_take(&c->lock);
    ended = conc__load32(&c->ended, CONC__RELAXED);
    c->order[ended] = f;
    conc__store32(&c->ended, ended + 1, CONC__RELEASE);
    conc__lock_give(&c->lock);
    (void)conc__wake_waiters(&c->ended, CONC__ANY_TAG, CONC_ALL);
    conc__completed_unuse(c);
}

static conc_result conc__completed_attempt(conc_op *op) {
    conc__completed *c = (conc__completed *)op->object;
    return conc__load32(&c->ended, CONC__ACQUIRE) > c->given ? CONC_OK : CONC_PENDING;
}

static bool conc__completed_arm(conc_op *op, conc_node *node) {
    conc__completed *c = (conc__completed *)op->object;
    conc__bucket *b = conc__bucket_lock(&c->ended);
    bool wait = conc__load32(&c->ended, CONC__ACQUIRE) <= c->given; /* one that ends after this finds the node */
    if (wait) conc__bucket_push(b, &c->ended, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static size_t conc__completed_next(conc_iter *it, void *items, size_t n) {
    static const conc_op_class cls = {"as completed", CONC_BUSY, conc__completed_attempt, conc__completed_arm, NULL, NULL};
    conc__completed *c = (conc__completed *)(void *)it;
    conc_op op = conc_op_make(&cls, c, NULL);
    size_t i, there;
    conc_result r = CONC_OK;
    if (c->given == c->n) {
        it->result = CONC_CLOSED;
        return 0;
    }
    /* In a task of the pool, what is still in the queue is run here rather than waited for. */
    for (i = 0; i < c->n && conc__load32(&c->ended, CONC__ACQUIRE) == c->given; i++) {
        if (!conc__future_is_ended(c->notes[i].f)) (void)conc__future_help(c->notes[i].f);
    }
    r = conc__await(&op, c, CONC_FOREVER);
    if (r != CONC_OK) {
        it->result = r;
        return 0;
    }
    there = conc__load32(&c->ended, CONC__ACQUIRE) - c->given;
    if (n > there) n = there;
    memcpy(items, c->order + c->given, n * sizeof *c->order);
    c->given += n;
    return n;
}

static void conc__completed_close(conc_iter *it) {
    conc__completed_unuse((conc__completed *)(void *)it);
}

conc_iter *conc_as_completed(conc_future *const *futures, size_t n) {
    conc__completed *c;
    size_t i;
    for (i = 0; i < n; i++) {
        if (futures == NULL || futures[i] == NULL) {
            (void)conc__fail(CONC_INVALID, "conc_as_completed: number %zu is NULL", i);
            return conc_iter_failed(CONC_INVALID);
        }
    }
    if (n > UINT32_MAX / 2 || n > SIZE_MAX / 2 / sizeof *c->notes) {
        (void)conc__fail(CONC_INVALID, "conc_as_completed: %zu are too many", n);
        return conc_iter_failed(CONC_INVALID);
    }
    c = (conc__completed *)conc__alloc(1, sizeof *c + n * sizeof *c->notes, "an iterator over futures");
    if (c == NULL) return conc_iter_failed(CONC_NO_MEMORY);
    c->order = (conc_future **)conc__alloc(n + 1, sizeof *c->order, "an iterator over futures");
    if (c->order == NULL) {
        conc__free(c);
        return conc_iter_failed(CONC_NO_MEMORY);
    }
    c->iter.next = conc__completed_next;
    c->iter.close = conc__completed_close;
    c->iter.item_size = sizeof(conc_future *);
    c->n = n;
    c->users = (uint32_t)n + 1;
    for (i = 0; i < n; i++) {
        conc__completed_note *note = &c->notes[i];
        note->all = c;
        note->f = futures[i];
        note->note.fn = conc__completed_one;
        note->note.arg = note;
        if (!conc__future_note(futures[i], &note->note)) conc__completed_one(futures[i], note);
    }
    return &c->iter;
}

/* ---- who waits for what ------------------------------------------------------------------------------
 * The threads that sleep in a task until another ends, with no deadline. A wait can never end if what it waits for is run by a
 * thread that stands here, and so on, up to a task that the waiter itself is in the midst of. One list in the process, as tasks
 * of one pool may wait for those of another; a lock is taken only on the way to a sleep. */

#define CONC__CIRCLE_STEPS 100000 /* looks; a chain that is longer is not followed to its end */

static conc__lock conc__blocked_lock; /* guards the list, and `seen` */
static conc__blocked *conc__blocked_list;

static void conc__blocked_reset(void) {
    conc__blocked_lock = 0;
    conc__blocked_list = NULL;
}

void conc__blocked_begin(void) {
    conc__on_fork(CONC__RESET_BLOCKED, conc__blocked_reset);
}

static bool conc__is_in(const conc__running *r, const void *what, unsigned *steps) {
    for (; r != NULL; r = r->below) {
        if (r->what == what) return true;
        if (*steps == 0) return false;
        --*steps;
        if (r->up != NULL && conc__is_in(r->up, what, steps)) return true;
    }
    return false;
}

static bool conc__ends_never(const conc__running *me, const void *what, unsigned *steps) {
    conc__blocked *b;
    if (conc__is_in(me, what, steps)) return true;
    for (b = conc__blocked_list; b != NULL; b = b->next) {
        if (b->seen || !conc__is_in(b->running, what, steps)) continue;
        b->seen = true;
        if (conc__ends_never(me, b->awaits, steps)) return true;
    }
    return false;
}

bool conc__blocked_enter(conc__blocked *b, const conc__running *running, const void *awaits, bool listed) {
    unsigned steps = CONC__CIRCLE_STEPS;
    conc__blocked *other;
    bool never;
    conc__blocked_begin();
    conc__lock_take(&conc__blocked_lock);
    for (other = conc__blocked_list; other != NULL; other = other->next) other->seen = false;
    never = conc__ends_never(running, awaits, &steps);
    b->listed = !never && listed;
    if (b->listed) {
        b->running = running;
        b->awaits = awaits;
        b->next = conc__blocked_list;
        b->link = &conc__blocked_list;
        if (b->next != NULL) b->next->link = &b->next;
        conc__blocked_list = b;
    }
    conc__lock_give(&conc__blocked_lock);
    return !never;
}

void conc__blocked_leave(conc__blocked *b) {
    if (!b->listed) return;
    conc__lock_take(&conc__blocked_lock);
    *b->link = b->next;
    if (b->next != NULL) b->next->link = b->link;
    conc__lock_give(&conc__blocked_lock);
}

/* ==== end src/future.c ==== */

/* ==== begin src/pool.c ==== */

/* ============================================================================================
 * pool: see pool.h.
 *
 * THE QUEUE. A bounded one is a conc_queue: a lock-free ring (by priority: a heap). An unbounded one is a ring, too, with a
 * second queue behind it, `spill`, that takes what the ring has no room for; as long as there is anything in it, all
 * that is handed in goes there, and threads move it on in bulk when the ring is empty. So order is kept, and a task costs
 * the ring's two compare-and-swaps and no memory of its own.
 *
 * THE THREADS. The common ways take no lock: to hand in, put into the ring, if no thread is idle and the core is complete; to get
 * work, take from the ring. All that changes the number of threads, or of idle ones, or goes by the rules' other steps,
 * is done under the pool's lock, so that the rules hold exactly there.
 *
 * A thread without a task *searches* for a moment (it looks again and again; so a task that comes soon costs no sleep and no
 * wake), then enters the list of the idle, looks once more, and sleeps. Why no task is overlooked, all four accesses of each
 * pair being sequentially consistent:
 *  - A task is put, then `idle` and `threads` are read. A thread raises `idle`, then looks at the queue. One of the two sees the
 *    other: either the thread finds the task, or who handed it in wakes an idle one.
 *  - Whoever hands in need not wake one if as many threads are searching as tasks are in the queue. One that stops searching
 *    lowers `searching`, then looks: when it becomes idle, at the queue; when it has found something, at the queue again,
 *    and wakes an idle one if there is more.
 *  - A thread that ends lowers `threads`, and then looks at the queue, and stays if there is something. Who has put a task
 *    and then reads fewer threads than the core starts one.
 * The same holds for jobs (job.c): they are opened and `forking` is raised, then the sleepers are read; and nobody is woken while
 * another is on its way (`coming`) or searches: that one looks after it has lowered the count, and if it has something else to do, it has
 * the next one come.
 *
 * A thread that is taken out of a list of sleepers by another is given a permit of its `wake`, exactly one, and takes it; that
 * is all there is to waking. With the permit an idle one may be handed a task directly.
 * ========================================================================================== */

#if !defined(CONC__POOL_RING) /* (the simulated tests make these smaller) */
#define CONC__POOL_RING 1024 /* tasks in an unbounded pool's ring */
#define CONC__POOL_MOVED 128 /* from the spill into the ring, at a time */
#endif

enum { CONC__POOL_OPEN, CONC__POOL_CLOSED, CONC__POOL_STOPPED };

typedef struct conc__urgent { /* an item of a queue by priority */
    conc__item item;
    int priority;
} conc__urgent;

/* What a future has that waits for its time. */
typedef struct conc__schedule {
    struct conc__schedule *next, **link; /* among those of the pool that wait; link NULL: it does not. Guarded by the pool's lock, */
    conc_future *f;
    conc_timer *timer;    /* as is this */
    conc_deadline when;
    int64_t every;        /* nanoseconds; 0: once */
    bool after_each;
} conc__schedule;

static int conc__future_task(void *f);

static bool conc__is_internal(conc_fn fn) {
    return fn == conc__future_task || fn == conc__team_task || fn == conc__offload_task;
}

bool conc__pool_is_forked(const conc_pool *pool) {
    return pool->generation != conc__fork_generation();
}

static conc_result conc__pool_wrong(const conc_pool *pool, const char *call) {
    if (pool == NULL) return conc__fail(CONC_INVALID, "%s: no pool", call);
    if (conc__pool_is_forked(pool)) return conc__fail(CONC_FORKED, "%s: the pool's threads are in the process that forked", call);
    return CONC_OK;
}

/* ---- the queue ----------------------------------------------------------------------------------- */

static int conc__compare_urgent(const void *a, const void *b) {
    int pa = ((const conc__urgent *)a)->priority, pb = ((const conc__urgent *)b)->priority;
    return pa > pb ? -1 : pa < pb;
}

/* CONC_OK, CONC_FULL, CONC_CLOSED, CONC_NO_MEMORY. What is put is seen by whoever reads the queue's length, or `spilled`, later. */
static conc_result conc__pool_put(conc_pool *pool, const conc__item *item, int priority) {
    conc_result r = CONC_FULL;
    if (pool->queue == NULL) return CONC_FULL;
    if (pool->desc.by_priority) {
        conc__urgent urgent;
        memset(&urgent, 0, sizeof urgent);
        urgent.item = *item;
        urgent.priority = priority;
        return conc_queue_put(pool->queue, &urgent, CONC_NOW);
    }
    if (pool->spill == NULL || conc__loadz(&pool->spilled, CONC__ACQUIRE) == 0) r = conc_queue_put(pool->queue, item, CONC_NOW);
    if (pool->spill == NULL || r != CONC_FULL) return r;
    conc__lock_take(&pool->spill_lock);
    if (conc__loadz(&pool->spilled, CONC__RELAXED) == 0) r = conc_queue_put(pool->queue, item, CONC_NOW);
    if (r == CONC_FULL) {
        r = conc_queue_put(pool->spill, item, CONC_NOW);
        if (r == CONC_OK) (void)conc__addz(&pool->spilled, 1, CONC__SEQ_CST);
    }
    conc__lock_give(&pool->spill_lock);
    return r;
}

/* With the spill's lock held: its first item. */
static bool conc__spill_get(conc_pool *pool, conc__item *item) {
    if (pool->has_front) {
        *item = pool->front;
        pool->has_front = false;
        return true;
    }
    return conc_queue_get(pool->spill, item, CONC_NOW) == CONC_OK;
}

/* The ring is empty: takes the first of the spilled, and moves the next ones into the ring. Only when they are there are they taken
 * off `spilled`, so that what is handed in later comes behind them. */
static bool conc__pool_get_spilled(conc_pool *pool, conc__item *item) {
    conc__item next;
    size_t moved = 0;
    bool found;
    conc__lock_take(&pool->spill_lock);
    found = conc_queue_get(pool->queue, item, CONC_NOW) == CONC_OK; /* another has moved some meanwhile */
    if (!found) {
        found = conc__spill_get(pool, item);
        if (found) moved++;
        while (moved < CONC__POOL_MOVED && conc__spill_get(pool, &next)) {
            if (conc_queue_put(pool->queue, &next, CONC_NOW) != CONC_OK) { /* full again, or closed */
                pool->front = next;
                pool->has_front = true;
                break;
            }
            moved++;
        }
        if (moved != 0) (void)conc__subz(&pool->spilled, moved, CONC__SEQ_CST);
    }
    conc__lock_give(&pool->spill_lock);
    return found;
}

static bool conc__pool_get(conc_pool *pool, conc__item *item) {
    bool found;
    if (pool->queue == NULL) return false;
    if (pool->desc.by_priority) {
        conc__urgent urgent;
        found = conc_queue_get(pool->queue, &urgent, CONC_NOW) == CONC_OK;
        if (found) *item = urgent.item;
    } else {
        found = conc_queue_get(pool->queue, item, CONC_NOW) == CONC_OK;
        if (!found && pool->spill != NULL && conc__loadz(&pool->spilled, CONC__SEQ_CST) != 0) {
            found = conc__pool_get_spilled(pool, item);
        }
    }
    return found;
}

/* A future in the queue that is run by another, or was canceled, stays there until its turn comes. */
static void conc__stale(conc_pool *pool, bool one_more) {
    if (one_more) {
        (void)conc__addz(&pool->stale, 1, CONC__RELAXED);
    } else {
        (void)conc__subz(&pool->stale, 1, CONC__RELAXED);
    }
}

static size_t conc__pool_queued(conc_pool *pool) {
    size_t spilled = pool->spill != NULL ? conc__loadz(&pool->spilled, CONC__SEQ_CST) : 0; /* first: what is moved is in one or in both */
    return spilled + (pool->queue != NULL ? conc_queue_length(pool->queue) : 0);
}

/* ---- room: for who waits to hand in --------------------------------------------------------------- */

/* After each step that makes room: a task was taken, a thread has become idle, the maximum was raised. */
static CONC__NOINLINE void conc__room_wake(conc_pool *pool, size_t n) {
    conc__wakes w;
    conc__bucket *b;
    bool more = true;
    while (more && n != 0) {
        b = conc__bucket_lock(&pool->room_asleep);
        w.count = 0;
        while (more && n != 0 && w.count < CONC__WAKES) {
            more = conc__claim_first(b, &pool->room_asleep, CONC__ANY_TAG, 0, &w);
            if (more) n--;
        }
        if (conc__bucket_first(b, &pool->room_asleep) == NULL) conc__store32(&pool->room_asleep, 0, CONC__RELAXED);
        conc__bucket_unlock(b);
        conc__wakes_run(&w);
    }
}

static void conc__room_made(conc_pool *pool) {
    if (CONC__UNLIKELY(conc__load32(&pool->room_asleep, CONC__SEQ_CST) != 0)) conc__room_wake(pool, 1);
}

static bool conc__pool_is_full(conc_pool *pool) {
    return conc__load32(&pool->phase, CONC__SEQ_CST) == CONC__POOL_OPEN && conc__load32(&pool->idle, CONC__SEQ_CST) == 0 &&
           conc__load32(&pool->threads, CONC__SEQ_CST) >= conc__load32(&pool->max, CONC__SEQ_CST) &&
           (pool->queue == NULL || (pool->desc.queue_capacity != 0 && conc_queue_length(pool->queue) >= pool->desc.queue_capacity));
}

static conc_result conc__place_attempt(conc_op *op) { /* data: the item */
    const conc__urgent *urgent = (const conc__urgent *)op->data;
    conc_result r = conc__pool_place((conc_pool *)op->object, &urgent->item, urgent->priority);
    return r == CONC_FULL ? CONC_PENDING : r;
}

static conc_result conc__run_attempt(conc_op *op) { /* data: the function; word: its argument */
    conc_pool *pool = (conc_pool *)op->object;
    conc__item item;
    conc_result r = conc__pool_wrong(pool, "conc_op_pool_run");
    if (r != CONC_OK) return r;
    memcpy(&item.fn, &op->data, sizeof item.fn); /* ISO C has no cast between the two */
    item.arg = (void *)(uintptr_t)op->word;
    if (item.fn == NULL) return conc__fail(CONC_INVALID, "conc_op_pool_run: no function");
    r = conc__pool_place(pool, &item, 0);
    return r == CONC_FULL ? CONC_PENDING : r;
}

/* The flag is raised, then the pool looked at; who makes room does so, and then reads the flag: both sequentially consistent. */
static bool conc__room_arm(conc_op *op, conc_node *node) {
    conc_pool *pool = (conc_pool *)op->object;
    conc__bucket *b = conc__bucket_lock(&pool->room_asleep);
    bool wait;
    (void)conc__or32(&pool->room_asleep, 1, CONC__SEQ_CST);
    wait = conc__pool_is_full(pool);
    if (wait) conc__bucket_push(b, &pool->room_asleep, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__place_op = {"pool run", CONC_REJECTED, conc__place_attempt, conc__room_arm, NULL, NULL};

conc_op conc_op_pool_run(conc_pool *pool, conc_fn fn, void *arg) {
    static const conc_op_class cls = {"pool run", CONC_REJECTED, conc__run_attempt, conc__room_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, pool, NULL);
    memcpy(&op.data, &fn, sizeof op.data);
    op.word = (uint64_t)(uintptr_t)arg;
    return op;
}

/* ---- the list of pools, for the program's end and for conc_dump() ------------------------------------------------- */

static conc__lock conc__pools_lock; /* guards the list */
static conc_pool *conc__pools;

static void conc__pools_reset(void) {
    conc__pools_lock = 0;
    conc__pools = NULL;
}

void conc__pool_each(void (*visit)(conc_pool *pool, void *arg), void *arg) {
    conc_pool *pool;
    conc__lock_take(&conc__pools_lock);
    for (pool = conc__pools; pool != NULL; pool = pool->next) visit(pool, arg);
    conc__lock_give(&conc__pools_lock);
}

static void conc__pool_unuse(conc_pool *pool);

/* At exit(): closes all, then waits for their tasks, also for those whose time is still to come. */
static void conc__pools_at_exit(void) {
    for (;;) {
        conc_pool *pool;
        conc_op op;
        conc__lock_take(&conc__pools_lock);
        for (pool = conc__pools; pool != NULL && pool->desc.daemon; pool = pool->next) {
        }
        if (pool != NULL) {
            (void)conc__add32(&pool->users, 1, CONC__RELAXED);
            *pool->link = pool->next;
            if (pool->next != NULL) pool->next->link = pool->link;
            pool->link = NULL;
        }
        conc__lock_give(&conc__pools_lock);
        if (pool == NULL) return;
        (void)conc_pool_close(pool);
        op = conc_op_event(&pool->ended);
        (void)conc__wait_uncanceled(&op, CONC_FOREVER);
        conc__pool_unuse(pool);
    }
}

void conc__pools_begin(void) {
    conc__on_fork(CONC__RESET_POOLS, conc__pools_reset);
    conc__before_exit(conc__pools_at_exit);
}

/* ---- sleepers: threads that are idle, and helpers. With the lock held, but for their ends ----------------- */

static void conc__sleeper_list(conc__worker *w, bool helps) {
    conc__worker **list = helps ? &w->pool->helping : &w->pool->idles;
    w->helps = helps;
    w->idle_next = *list;
    w->idle_link = list;
    if (w->idle_next != NULL) w->idle_next->idle_link = &w->idle_next;
    *list = w;
    (void)conc__add32(helps ? &w->pool->helpers : &w->pool->idle, 1, CONC__SEQ_CST);
}

static void conc__sleeper_unlist(conc__worker *w) {
    *w->idle_link = w->idle_next;
    if (w->idle_next != NULL) w->idle_next->idle_link = w->idle_link;
    w->idle_link = NULL;
    (void)conc__sub32(w->helps ? &w->pool->helpers : &w->pool->idle, 1, CONC__SEQ_CST);
}

static void conc__sleeper_wake(conc__worker *w) { /* taken out of the list before; no lock held */
    if (w != NULL) (void)conc_semaphore_release(&w->wake, 1);
}

static void conc__sleeper_permit(conc__worker *w) {
    conc_op op = conc_op_acquire(&w->wake);
    (void)conc__wait_uncanceled(&op, CONC_FOREVER);
}

/* It has its permit: if it was woken for jobs, it looks for them from here on. */
static void conc__sleeper_came(conc__worker *w) {
    if (!w->comes) return;
    w->comes = false;
    (void)conc__sub32(&w->pool->coming, 1, CONC__SEQ_CST);
}

void conc__pool_helper_in(conc__worker *w) {
    conc__lock_take(&w->pool->lock);
    conc__sleeper_list(w, true);
    conc__lock_give(&w->pool->lock);
    if (w->works || w->guest) conc__hands_less(w->pool);
}

void conc__pool_helper_out(conc__worker *w, bool permit_taken) {
    bool listed;
    if (w->works || w->guest) (void)conc__add32(&w->pool->hands, 1, CONC__SEQ_CST);
    conc__lock_take(&w->pool->lock);
    listed = w->idle_link != NULL;
    if (listed) conc__sleeper_unlist(w);
    conc__lock_give(&w->pool->lock);
    if (!listed && !permit_taken) conc__sleeper_permit(w); /* another took it out: its permit is there, or on its way */
    conc__sleeper_came(w);
}

/* What the caller has found keeps it from looking for jobs, for which others may have counted on it. */
static void conc__jobs_pass_on(conc_pool *pool) {
    if (CONC__UNLIKELY(conc__load32(&pool->forking, CONC__SEQ_CST) != 0)) conc__pool_rouse_for_jobs(pool);
}

/* ---- threads ------------------------------------------------------------------------------------------ */

static int conc__pool_thread(void *p);

/* A member's record that nobody uses, or a new one; with the lock held. NULL: out of memory. */
static conc__worker *conc__member_new(conc_pool *pool) {
    conc__worker *w = (conc__worker *)conc__loadp(&pool->workers, CONC__RELAXED);
    while (w != NULL && w->used) w = w->next;
    if (w == NULL) {
        w = (conc__worker *)conc__alloc(1, sizeof *w, "a member of a pool");
        if (w == NULL) return NULL;
        w->pool = pool;
        w->number = ++pool->members;
        w->next = (conc__worker *)conc__loadp(&pool->workers, CONC__RELAXED);
        conc__storep(&pool->workers, w, CONC__RELEASE); /* publishes it to those that look for jobs */
    }
    w->used = true;
    w->handed = false;
    return w;
}

/* With the lock held: it is over, as far as the pool's own records go. */
static void conc__pool_look_for_end(conc_pool *pool) {
    if (conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN && conc__load32(&pool->threads, CONC__RELAXED) == 0 &&
        pool->elsewhere == 0 && pool->scheduled == 0 && pool->due_first == NULL && conc__pool_queued(pool) == 0) {
        (void)conc_event_set(&pool->ended);
    }
}

/* Starts a thread, which begins with `item` (NULL: with none). Called with the lock held and `threads` raised for it; lets go
 * of the lock. `for_jobs`: it counts as coming for jobs. CONC_OK; or CONC_NO_MEMORY, CONC_NO_THREADS: `threads` is lowered again, and
 * the lock is held. */
static conc_result conc__thread_new(conc_pool *pool, const conc__item *item, bool for_jobs) {
    conc_thread_desc desc;
    conc_thread *t = NULL;
    conc_result r;
    char name[40];
    conc__worker *w = conc__member_new(pool);
    if (w != NULL) {
        w->handed = item != NULL;
        w->comes = for_jobs;
        if (for_jobs) (void)conc__add32(&pool->coming, 1, CONC__SEQ_CST);
        if (item != NULL) w->item = *item;
        if (conc__load32(&pool->threads, CONC__RELAXED) > pool->largest) pool->largest = conc__load32(&pool->threads, CONC__RELAXED);
        conc__lock_give(&pool->lock);
        memset(&desc, 0, sizeof desc);
        (void)snprintf(name, sizeof name, "%s-%u", pool->name, (unsigned)w->number);
        desc.name = name;
        desc.daemon = true; /* the program's end sees to the pools themselves, before it waits for threads */
        desc.stack_size = pool->desc.stack_size;
        t = conc_thread_start(conc__pool_thread, w, &desc);
        if (t != NULL) {
            (void)conc_thread_detach(t);
            conc__store32(&pool->no_more, 0, CONC__RELAXED);
            return CONC_OK;
        }
        r = conc_error_result();
        conc__lock_take(&pool->lock);
        w->used = false;
        if (for_jobs) (void)conc__sub32(&pool->coming, 1, CONC__SEQ_CST);
        w->comes = false;
    } else {
        r = CONC_NO_MEMORY;
    }
    (void)conc__sub32(&pool->threads, 1, CONC__SEQ_CST);
    conc__pool_look_for_end(pool);
    conc__room_made(pool); /* who waits for room has taken it for one that may not be exceeded */
    return r;
}

/* Jobs, too, have the core completed. */
static bool conc__may_grow_for_jobs(conc_pool *pool) {
    return conc__load32(&pool->threads, CONC__SEQ_CST) < conc__load32(&pool->core, CONC__RELAXED) &&
           conc__load32(&pool->phase, CONC__RELAXED) == CONC__POOL_OPEN && conc__load32(&pool->no_more, CONC__RELAXED) == 0;
}

/* One at a time: while one is on its way, or searches, that one will look; and it, or who finds it has something else to do, has
 * the next one come. */
void conc__pool_rouse_for_jobs(conc_pool *pool) {
    conc__worker *w;
    if (conc__load32(&pool->helpers, CONC__SEQ_CST) == 0 && conc__load32(&pool->idle, CONC__SEQ_CST) == 0 &&
        !conc__may_grow_for_jobs(pool)) {
        return;
    }
    if (conc__load32(&pool->coming, CONC__SEQ_CST) != 0 || conc__load32(&pool->searching, CONC__SEQ_CST) != 0) return;
    if (!conc__pool_lets_work(pool)) return;
    conc__lock_take(&pool->lock);
    w = pool->helping != NULL ? pool->helping : pool->idles;
    if (w != NULL) {
        conc__sleeper_unlist(w);
        w->comes = true;
        (void)conc__add32(&pool->coming, 1, CONC__SEQ_CST);
    } else if (conc__may_grow_for_jobs(pool)) {
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        if (conc__thread_new(pool, NULL, true) == CONC_OK) return; /* the lock is given back */
        conc__store32(&pool->no_more, 1, CONC__RELAXED); /* jobs need no thread: they are not to try again and again */
    }
    conc__lock_give(&pool->lock);
    conc__sleeper_wake(w);
}

bool conc__pool_lets_work(conc_pool *pool) {
    return conc__load32(&pool->hands, CONC__SEQ_CST) < pool->processors || conc__load32(&pool->loose, CONC__SEQ_CST) != 0;
}

void conc__hands_less(conc_pool *pool) {
    (void)conc__sub32(&pool->hands, 1, CONC__SEQ_CST);
    conc__jobs_pass_on(pool);
}

bool conc__pool_is_hungry(conc_pool *pool) {
    if (conc__load32(&pool->hands, CONC__RELAXED) >= pool->processors && conc__load32(&pool->loose, CONC__RELAXED) == 0) return false;
    return (conc__load32(&pool->helpers, CONC__RELAXED) | conc__load32(&pool->idle, CONC__RELAXED) |
            conc__load32(&pool->coming, CONC__RELAXED) | conc__load32(&pool->searching, CONC__RELAXED)) != 0 ||
           conc__may_grow_for_jobs(pool);
}

/* There is something in the queue, or due: has a thread come for it, if one is idle, or the core is not complete. */
static CONC__NOINLINE void conc__pool_rouse(conc_pool *pool) {
    conc__worker *w = NULL;
    bool due = conc__load32(&pool->due, CONC__SEQ_CST) != 0;
    size_t queued = conc__pool_queued(pool);
    uint32_t searching = conc__load32(&pool->searching, CONC__SEQ_CST);
    if ((queued == 0 && !due) || (searching != 0 && queued + (due ? 1u : 0u) <= searching)) return;
    conc__lock_take(&pool->lock);
    if (conc__pool_queued(pool) == 0 && pool->due_first == NULL) {
        /* It has been taken meanwhile; the pool may even have ended. */
    } else if (pool->idles != NULL) {
        w = pool->idles;
        conc__sleeper_unlist(w);
    } else if (conc__load32(&pool->threads, CONC__RELAXED) < conc__load32(&pool->core, CONC__RELAXED)) {
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        if (conc__thread_new(pool, NULL, false) == CONC_OK) return; /* the lock is given back */
    } else if (due && pool->helping != NULL) { /* what is due is taken by helpers, too */
        w = pool->helping;
        conc__sleeper_unlist(w);
    }
    conc__lock_give(&pool->lock);
    conc__sleeper_wake(w);
}

void conc__pool_pass_on(conc_pool *pool) {
    conc__jobs_pass_on(pool);
    if (CONC__UNLIKELY(conc__load32(&pool->due, CONC__SEQ_CST) != 0)) conc__pool_rouse(pool);
}

static bool conc__pool_wants_hands(conc_pool *pool) {
    return conc__load32(&pool->idle, CONC__SEQ_CST) != 0 ||
           conc__load32(&pool->threads, CONC__SEQ_CST) < conc__load32(&pool->core, CONC__RELAXED);
}

/* Starts a thread with no task, if there may be one more. */
static bool conc__pool_more(conc_pool *pool) {
    bool started = false;
    uint32_t most;
    conc__lock_take(&pool->lock);
    most = conc__load32(pool->desc.queue_capacity == 0 ? &pool->core : &pool->max, CONC__RELAXED);
    if (pool->desc.grow_first) most = conc__load32(&pool->max, CONC__RELAXED);
    if (conc__load32(&pool->threads, CONC__RELAXED) < most && conc__load32(&pool->phase, CONC__RELAXED) == CONC__POOL_OPEN) {
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        started = conc__thread_new(pool, NULL, false) == CONC_OK;
    }
    if (!started) conc__lock_give(&pool->lock);
    return started;
}

/* The rules, step by step; with `accepted` raised for the task. */
static CONC__NOINLINE conc_result conc__pool_place_by_rules(conc_pool *pool, const conc__item *item, int priority) {
    conc_result r;
    bool failed = false; /* no thread could be started */
    conc__lock_take(&pool->lock);
    for (;;) {
        uint32_t threads = conc__load32(&pool->threads, CONC__RELAXED), max = conc__load32(&pool->max, CONC__RELAXED);
        conc__item next = *item;
        if (conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN) {
            r = CONC_CLOSED;
            break;
        }
        /* 1. An idle thread; what has waited longer goes first. */
        if (pool->idles != NULL) {
            conc__worker *w = pool->idles;
            if (conc__pool_queued(pool) != 0) {
                r = conc__pool_put(pool, item, priority);
                if (r == CONC_FULL) {
                    if (!conc__pool_get(pool, &next)) continue; /* a thread was faster: there is room */
                    w->item = next;
                    w->handed = true;
                    conc__sleeper_unlist(w);
                    conc__lock_give(&pool->lock);
                    conc__sleeper_wake(w);
                    conc__lock_take(&pool->lock);
                    continue;
                }
                if (r != CONC_OK) break;
            } else {
                w->item = next;
                w->handed = true;
            }
            conc__sleeper_unlist(w);
            conc__lock_give(&pool->lock);
            conc__sleeper_wake(w);
            return CONC_OK;
        }
        /* 2. and 4. (where it comes first): a new thread. */
        if (!failed && threads < (pool->desc.grow_first ? max : conc__load32(&pool->core, CONC__RELAXED))) {
            (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
            r = conc__thread_new(pool, item, false);
            if (r == CONC_OK) return r;
            failed = true;
            if (conc__load32(&pool->threads, CONC__RELAXED) == 0) break; /* nobody would come for it */
            continue;
        }
        /* 3. The queue. Nobody becomes idle meanwhile; who does so next looks at the queue then. */
        r = conc__pool_put(pool, item, priority);
        if (r != CONC_FULL || (!failed && threads >= max)) break;
        if (failed) {
            r = CONC_NO_THREADS; /* the detail says why */
            break;
        }
        /* 4. A thread above the core. */
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        r = conc__thread_new(pool, item, false);
        if (r == CONC_OK) return r;
        failed = true;
        if (conc__load32(&pool->threads, CONC__RELAXED) == 0) break;
    }
    conc__lock_give(&pool->lock);
    return r;
}

conc_result conc__pool_place(conc_pool *pool, const conc__item *item, int priority) {
    conc_result r = CONC_FULL;
    uint32_t enough = conc__load32(pool->desc.grow_first ? &pool->max : &pool->core, CONC__RELAXED);
    (void)conc__addz(&pool->accepted, 1, CONC__RELAXED);
    if (CONC__LIKELY(conc__load32(&pool->idle, CONC__RELAXED) == 0 && conc__load32(&pool->threads, CONC__RELAXED) >= enough)) {
        r = conc__pool_put(pool, item, priority);
        if (CONC__LIKELY(r == CONC_OK)) {
            if (CONC__UNLIKELY(conc__pool_wants_hands(pool))) conc__pool_rouse(pool);
            return r;
        }
    }
    if (r == CONC_FULL) r = conc__pool_place_by_rules(pool, item, priority);
    if (r != CONC_OK) (void)conc__subz(&pool->accepted, 1, CONC__RELAXED);
    if (r == CONC_CLOSED) (void)conc__fail(r, "the pool \"%s\" is closed", pool->name);
    return r;
}

/* ---- running a task ------------------------------------------------------------------------------------ */

/* Counted for the thread if it is one of the pool's. */
static void conc__count_completed(conc_pool *pool) {
    conc__worker *w = conc__self()->worker;
    if (w != NULL && w->pool == pool) {
        conc__storez(&w->completed, conc__loadz(&w->completed, CONC__RELAXED) + 1, CONC__RELAXED);
    } else {
        (void)conc__addz(&pool->completed, 1, CONC__RELAXED);
    }
}

/* fn(arg), under `token`, between the hooks; in the midst of `what`. */
static int conc__task_call(conc_pool *pool, conc_fn fn, void *arg, conc_cancel *token, const void *what) {
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel;
    conc__running running;
    int code;
    running.below = me->running;
    running.up = NULL;
    running.what = what;
    running.pool = pool;
    me->running = &running;
    me->cancel = token;
    if (pool->desc.before_task != NULL) pool->desc.before_task(fn, arg, pool->desc.user);
    code = fn(arg);
    if (pool->desc.after_task != NULL) pool->desc.after_task(fn, arg, code, pool->desc.user);
    me->cancel = before;
    me->running = (conc__running *)(uintptr_t)running.below;
    return code;
}

static bool conc__schedule_again(conc_future *f, int code);

/* One that the caller has claimed. */
static void conc__future_run(conc_future *f) {
    conc_pool *pool = f->pool;
    conc__agent *me = conc__self();
    char text[sizeof me->detail + 40];
    conc_result r;
    int code;
    if (f->schedule != NULL && conc_cancel_fired(&f->token)) { /* canceled between two turns */
        (void)conc__addz(&pool->canceled, 1, CONC__RELAXED);
        conc__future_end(f, CONC_CANCELED, 0, NULL);
        return;
    }
    me->detail[0] = '\0';
    code = conc__task_call(pool, f->fn, f->arg, &f->token, f);
    if (f->schedule != NULL && conc__schedule_again(f, code)) return;
    r = code == 0 ? CONC_OK : code == CONC_CANCELED && conc_cancel_fired(&f->token) ? CONC_CANCELED : CONC_FAILED;
    if (f->schedule != NULL && f->schedule->every != 0 && code == 0) r = CONC_CANCELED;
    if (r == CONC_FAILED) {
        (void)snprintf(text, sizeof text, "a task returned %d%s%s", code, me->detail[0] != '\0' ? ": " : "", me->detail);
    }
    conc__count_completed(pool);
    conc__future_end(f, r, code, r == CONC_FAILED ? text : NULL);
}

/* Only to be told from others: conc__queued_run() does it. */
static int conc__future_task(void *f) {
    (void)f;
    return 0;
}

/* One that came out of the queue, and that another has claimed: a waiter who runs it, perhaps, in a thread of his own. Until it
 * has ended it is counted, so that the pool's end waits for it. */
static void conc__future_is_elsewhere(conc_future *f) {
    conc_pool *pool = f->pool;
    if (conc__future_is_ended(f)) return;
    conc__lock_take(&pool->lock);
    pool->elsewhere++;
    if ((conc__or32(&f->state, CONC__ELSEWHERE, CONC__ACQ_REL) & CONC__ENDED) != 0) {
        pool->elsewhere--;
        conc__pool_look_for_end(pool);
    }
    conc__lock_give(&pool->lock);
}

/* What came out of the queue. */
static void conc__queued_run(conc_pool *pool, const conc__item *item) {
    if (item->fn == conc__future_task) {
        conc_future *f = (conc_future *)item->arg;
        if (conc__future_claim(f)) {
            conc__future_run(f);
        } else {
            conc__stale(pool, false);
            conc__future_is_elsewhere(f);
        }
        conc_future_release(f);
    } else if (item->fn == conc__team_task) {
        (void)conc__team_task(item->arg);
        conc__count_completed(pool);
    } else {
        int code = conc__is_internal(item->fn) ? item->fn(item->arg) : conc__task_call(pool, item->fn, item->arg, &pool->token, NULL);
        conc__count_completed(pool);
        if (code != 0) conc__report(CONC_FAILED, code, NULL, "a task of the pool \"%s\" returned %d, and nobody looked at it", pool->name, code);
    }
}

/* Instead of running it: CONC_CANCELED, or CONC_REJECTED if it was never accepted. True: the task was still to begin, and is
 * `*fn` and `*arg` to the user (fn NULL: it is none of his). */
static bool conc__queued_drop(const conc__item *item, conc_result r, conc_fn *fn, void **arg) {
    bool mine = true;
    *fn = item->fn;
    *arg = item->arg;
    if (item->fn == conc__future_task) {
        conc_future *f = (conc_future *)item->arg;
        mine = conc__future_claim(f);
        if (!mine) conc__stale(f->pool, false);
        *fn = f->fn;
        *arg = f->arg;
        if (mine) {
            conc__future_end(f, r, 0, NULL);
        } else {
            conc__future_is_elsewhere(f);
        }
        conc_future_release(f);
    } else if (item->fn == conc__team_task) {
        conc__team_drop(item->arg);
        *fn = NULL;
    } else if (item->fn == conc__offload_task) {
        conc__offload_drop(item->arg);
        *fn = NULL;
    }
    return mine;
}

/* ---- the life of a thread ------------------------------------------------------------------------------- */

/* The first that is due; with the lock held. */
static conc_future *conc__due_pop(conc_pool *pool) {
    conc_future *f = pool->due_first;
    if (f != NULL) {
        pool->due_first = f->next;
        if (pool->due_first == NULL) pool->due_end = &pool->due_first;
        (void)conc__sub32(&pool->due, 1, CONC__SEQ_CST);
    }
    return f;
}

static bool conc__due_get(conc_pool *pool, conc__item *item) {
    conc_future *f;
    if (conc__load32(&pool->due, CONC__SEQ_CST) == 0) return false;
    conc__lock_take(&pool->lock);
    f = conc__due_pop(pool);
    conc__lock_give(&pool->lock);
    item->fn = conc__future_task;
    item->arg = f;
    return f != NULL;
}

/* The thread has done with jobs for now; it is about to look for work, and so nobody else need come. */
static void conc__hand_rests(conc__worker *w) {
    w->works = false;
    (void)conc__sub32(&w->pool->hands, 1, CONC__SEQ_CST);
}

/* Something to do, without waiting for it: a task for the caller in `*item`; or jobs of others, which have been done. */
static bool conc__pool_find(conc__worker *w, conc__item *item, bool *jobs) {
    conc_pool *pool = w->pool;
    *jobs = false;
    if (conc__due_get(pool, item)) {
        conc__jobs_pass_on(pool);
        return true;
    }
    if (conc__pool_get(pool, item)) {
        conc__room_made(pool);
        conc__jobs_pass_on(pool);
        return true;
    }
    if (conc__load32(&pool->forking, CONC__SEQ_CST) != 0 && conc__pool_lets_work(pool)) {
        (void)conc__add32(&pool->hands, 1, CONC__SEQ_CST);
        w->works = true;
        *jobs = conc__steal_and_run(w);
        if (*jobs) conc__jobs_finish(w); /* what that one has started and left */
        conc__hand_rests(w);
    }
    return *jobs;
}

bool conc__due_run(conc_pool *pool) {
    conc__item item;
    bool found = conc__due_get(pool, &item);
    if (found) conc__queued_run(pool, &item);
    return found;
}

/* A look that takes nothing, after the caller has said that it will sleep. */
static bool conc__pool_has_work(conc__worker *w) {
    conc_pool *pool = w->pool;
    return conc__load32(&pool->due, CONC__SEQ_CST) != 0 || conc__pool_queued(pool) != 0 ||
           (conc__load32(&pool->forking, CONC__SEQ_CST) != 0 && conc__pool_lets_work(pool) && conc__jobs_wanted(w));
}

/* With the lock held: whether the thread is to end, being idle; `patient`: it has waited for its keep-alive. If so, it
 * counts no more. CONC__LOOKS_AGAIN: it would be, but there is something in the queue, or was: it must not sleep now, as whoever takes
 * that may end without waking it. */
typedef enum conc__retiring { CONC__STAYS, CONC__RETIRES, CONC__LOOKS_AGAIN } conc__retiring;

static conc__retiring conc__thread_retires(conc__worker *w, bool patient) {
    conc_pool *pool = w->pool;
    uint32_t threads = conc__load32(&pool->threads, CONC__RELAXED);
    bool closed = conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN;
    if (!closed && threads <= conc__load32(&pool->max, CONC__RELAXED) &&
        !(patient && (pool->desc.core_time_out || threads > conc__load32(&pool->core, CONC__RELAXED)))) {
        return CONC__STAYS;
    }
    (void)conc__sub32(&pool->threads, 1, CONC__SEQ_CST);
    if (pool->due_first != NULL || conc__pool_queued(pool) != 0) { /* see the top */
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        return CONC__LOOKS_AGAIN;
    }
    pool->elsewhere++; /* until it has gone */
    return CONC__RETIRES;
}

/* Looks for a while. */
static bool conc__pool_search(conc__worker *w, conc__item *item, bool *jobs) {
    conc_pool *pool = w->pool;
    unsigned step;
    bool found = false;
    (void)conc__add32(&pool->searching, 1, CONC__SEQ_CST);
    for (step = 0; !found && conc__spin(step, CONC__SPIN_LONG); step++) {
        if (conc__due_get(pool, item)) {
            found = true;
        } else if (conc__pool_get(pool, item)) {
            found = true;
        } else if (conc__load32(&pool->forking, CONC__RELAXED) != 0 && conc__pool_lets_work(pool) && conc__jobs_wanted(w)) {
            break; /* jobs are taken below, when this is no searcher any more */
        }
    }
    (void)conc__sub32(&pool->searching, 1, CONC__SEQ_CST);
    if (found) {
        conc__room_made(pool);
        conc__jobs_pass_on(pool);
    } else {
        found = conc__pool_find(w, item, jobs);
    }
    /* Who put something may have counted on this one. */
    if (found && !*jobs && conc__pool_wants_hands(pool)) conc__pool_rouse(pool);
    return found;
}

/* The next task; false: the thread is to end, and has been counted out. */
static bool conc__pool_next(conc__worker *w, conc__item *item) {
    conc_pool *pool = w->pool;
    for (;;) {
        conc_deadline patience = CONC_FOREVER;
        conc_op op;
        conc_result r = CONC_OK;
        conc__retiring retires;
        bool jobs = false, listed;
        conc__sleeper_came(w);
        if (w->handed) { /* it was stored before the permit was given, or the thread started */
            w->handed = false;
            *item = w->item;
            return true;
        }
        if (conc__pool_find(w, item, &jobs) || jobs || conc__pool_search(w, item, &jobs)) {
            if (!jobs) return true;
            continue;
        }
        conc__lock_take(&pool->lock);
        retires = conc__thread_retires(w, false);
        if (retires == CONC__STAYS) {
            if (pool->desc.core_time_out || conc__load32(&pool->threads, CONC__RELAXED) > conc__load32(&pool->core, CONC__RELAXED)) {
                patience = conc_after(pool->keep_alive);
            }
            conc__sleeper_list(w, false);
        }
        conc__lock_give(&pool->lock);
        if (retires == CONC__LOOKS_AGAIN) continue;
        conc__room_made(pool);
        if (retires == CONC__RETIRES) return false;
        if (!conc__pool_has_work(w)) {
            op = conc_op_acquire(&w->wake);
            r = conc__wait_uncanceled(&op, patience);
            if (r == CONC_OK) continue;
        }
        conc__lock_take(&pool->lock);
        listed = w->idle_link != NULL;
        if (listed) conc__sleeper_unlist(w);
        retires = listed && r == CONC_TIMEOUT ? conc__thread_retires(w, true) : CONC__STAYS;
        conc__lock_give(&pool->lock);
        if (retires == CONC__RETIRES) {
            conc__room_made(pool); /* for a new one */
            return false;
        }
        if (!listed) conc__sleeper_permit(w);
    }
}

static void conc__pool_unuse(conc_pool *pool) {
    conc__worker *w;
    if (conc__sub32(&pool->users, 1, CONC__ACQ_REL) != 1) return;
    w = (conc__worker *)conc__loadp(&pool->workers, CONC__ACQUIRE);
    while (w != NULL) {
        conc__worker *next = w->next;
        conc__free(w);
        w = next;
    }
    (void)conc_queue_free(pool->queue);
    (void)conc_queue_free(pool->spill);
    conc__free(pool);
}

static int conc__pool_thread(void *p) {
    conc__worker *w = (conc__worker *)p;
    conc_pool *pool = w->pool;
    conc__agent *me = conc__self();
    conc__item item;
    (void)conc__add32(&pool->users, 1, CONC__RELAXED); /* `threads` counts it, so that the pool is there */
    me->worker = w;
    if (pool->desc.thread_started != NULL) pool->desc.thread_started(pool->desc.user);
    while (conc__pool_next(w, &item)) {
        conc__queued_run(pool, &item);
        if (CONC__UNLIKELY(w->head != 0)) conc__jobs_finish(w);
        if (CONC__UNLIKELY(w->works)) conc__hand_rests(w);
    }
    if (pool->desc.thread_ends != NULL) pool->desc.thread_ends(pool->desc.user);
    me->worker = NULL;
    conc__pool_leave(w);
    conc__pool_unuse(pool);
    return 0;
}

/* ---- taking part ----------------------------------------------------------------------------------------- */

conc__worker *conc__pool_enter(conc_pool *pool, conc_result *r) {
    conc__worker *w = NULL;
    *r = CONC_OK;
    conc__lock_take(&pool->lock);
    if (conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN) {
        *r = CONC_CLOSED;
    } else {
        w = conc__member_new(pool);
        if (w != NULL) {
            pool->elsewhere++;
            w->guest = true;
            (void)conc__add32(&pool->hands, 1, CONC__SEQ_CST);
        }
    }
    conc__lock_give(&pool->lock);
    if (*r == CONC_OK && w == NULL) *r = CONC_NO_MEMORY;
    if (*r == CONC_CLOSED) (void)conc__fail(*r, "the pool \"%s\" is closed", pool->name);
    return w;
}

static void conc__elsewhere_done(conc_pool *pool) {
    conc__lock_take(&pool->lock);
    pool->elsewhere--;
    conc__pool_look_for_end(pool);
    conc__lock_give(&pool->lock);
}

void conc__pool_leave(conc__worker *w) {
    conc_pool *pool = w->pool;
    if (w->guest) conc__hands_less(pool);
    conc__lock_take(&pool->lock);
    w->used = w->guest = false;
    pool->elsewhere--;
    conc__pool_look_for_end(pool);
    conc__lock_give(&pool->lock);
}

/* ---- handing in ------------------------------------------------------------------------------------------ */

static conc_result conc__rejected(conc_pool *pool, conc_result r) {
    (void)conc__addz(&pool->rejected, 1, CONC__RELAXED);
    return r;
}

static conc_result conc__pool_full(conc_pool *pool) {
    uint32_t threads = conc__load32(&pool->threads, CONC__RELAXED);
    size_t queued = conc__pool_queued(pool);
    return conc__fail(CONC_REJECTED, "pool full: \"%s\" has %u thread%s, none of them idle, and %zu task%s in its queue", pool->name,
                      (unsigned)threads, threads == 1 ? "" : "s", queued, queued == 1 ? "" : "s");
}

/* A task that was discarded. */
static void conc__queued_discard(conc_pool *pool, const conc__item *item, conc_result r) {
    conc_fn fn;
    void *arg;
    if (conc__queued_drop(item, r, &fn, &arg)) {
        (void)conc__addz(r == CONC_REJECTED ? &pool->rejected : &pool->canceled, 1, CONC__RELAXED);
        if (fn != NULL && pool->desc.dropped != NULL) pool->desc.dropped(fn, arg, pool->desc.user);
    }
}

/* The pool's end waits for what the caller does from here on, until conc__elsewhere_done(). CONC_OK, CONC_CLOSED. */
static conc_result conc__elsewhere_begin(conc_pool *pool) {
    conc_result r = CONC_OK;
    conc__lock_take(&pool->lock);
    if (conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN) {
        r = conc__fail(CONC_CLOSED, "the pool \"%s\" is closed", pool->name);
    } else {
        pool->elsewhere++;
    }
    conc__lock_give(&pool->lock);
    return r;
}

/* In the calling thread. */
static conc_result conc__run_by_caller(conc_pool *pool, const conc__item *item) {
    conc_result r = conc__elsewhere_begin(pool);
    if (r != CONC_OK) return r;
    (void)conc__addz(&pool->accepted, 1, CONC__RELAXED);
    conc__queued_run(pool, item);
    conc__elsewhere_done(pool);
    return CONC_OK;
}

static bool conc__is_member(const conc_pool *pool) {
    const conc__worker *w = conc__self()->worker;
    return w != NULL && w->pool == pool;
}

/* Waits for room. A thread of the pool, for which nobody may ever make room, makes it itself. */
static conc_result conc__place_or_wait(conc_pool *pool, const conc__item *item, const conc_pool_task *task) {
    conc_deadline until = CONC_FOREVER;
    conc__urgent urgent;
    conc_op op;
    conc_result r;
    urgent.item = *item;
    urgent.priority = task != NULL ? task->priority : 0;
    if (conc__is_member(pool)) {
        do {
            conc__item oldest;
            if (!conc__pool_get(pool, &oldest)) return conc__run_by_caller(pool, item);
            conc__room_made(pool);
            conc__queued_run(pool, &oldest);
            r = conc__pool_place(pool, item, urgent.priority);
        } while (r == CONC_FULL);
        return r;
    }
    if (task != NULL && task->until.ns != 0) {
        until = task->until;
    } else if (pool->desc.block_seconds > 0) {
        until = conc_after(pool->desc.block_seconds);
    }
    op = conc_op_make(&conc__place_op, pool, &urgent);
    r = conc__wait_op(&op, until);
    if (r == CONC_REJECTED) r = conc__pool_full(pool); /* with CONC_NOW */
    return r;
}

/* The policy, for a task that found no place. `user` is what the user handed in; `item` may be a future for it. */
static conc_result conc__reject(conc_pool *pool, const conc__item *item, const conc__item *user, const conc_pool_task *task) {
    conc_result r;
    conc__item oldest;
    if (pool->desc.reject != NULL) {
        r = pool->desc.reject(pool, user->fn, user->arg, pool->desc.user);
        (void)conc__rejected(pool, r);
        if (r == CONC_OK && item->fn == conc__future_task) {
            conc_fn fn;
            void *arg;
            (void)conc__queued_drop(item, CONC_REJECTED, &fn, &arg);
        }
        return r;
    }
    switch (pool->desc.on_reject) {
    case CONC_REJECT_DISCARD:
        conc__queued_discard(pool, item, CONC_REJECTED);
        return CONC_OK;
    case CONC_REJECT_DISCARD_OLDEST:
        r = conc__elsewhere_begin(pool);
        if (r != CONC_OK) return conc__rejected(pool, r);
        do {
            if (conc__pool_get(pool, &oldest)) {
                conc__queued_discard(pool, &oldest, CONC_CANCELED);
            } else if (pool->queue == NULL) {
                conc__queued_discard(pool, item, CONC_REJECTED); /* nothing waits that could make room */
                r = CONC_OK;
                break;
            }
            r = conc__pool_place(pool, item, task != NULL ? task->priority : 0);
        } while (r == CONC_FULL);
        conc__elsewhere_done(pool);
        return r == CONC_OK ? r : conc__rejected(pool, r);
    case CONC_REJECT_CALLER_RUNS:
        r = conc__run_by_caller(pool, item);
        return r == CONC_OK ? r : conc__rejected(pool, r);
    case CONC_REJECT_BLOCK:
        r = conc__place_or_wait(pool, item, task);
        return r == CONC_OK ? r : conc__rejected(pool, r);
    case CONC_REJECT_ABORT:
    default:
        return conc__rejected(pool, conc__pool_full(pool));
    }
}

static conc_result conc__hand_in(conc_pool *pool, const conc__item *item, const conc__item *user, const conc_pool_task *task) {
    conc_result r = conc__pool_place(pool, item, task != NULL ? task->priority : 0);
    if (CONC__LIKELY(r == CONC_OK)) return r;
    /* No thread to be had, but there are some: then they are all busy, and that is the policy's affair. */
    if (r == CONC_NO_THREADS && conc__load32(&pool->threads, CONC__RELAXED) != 0 && pool->desc.on_reject != CONC_REJECT_BLOCK) r = CONC_FULL;
    return r == CONC_FULL ? conc__reject(pool, item, user, task) : conc__rejected(pool, r);
}

conc_result conc_pool_run(conc_pool *pool, conc_fn fn, void *arg) {
    conc__item item;
    conc_result r = conc__pool_wrong(pool, "conc_pool_run");
    if (r != CONC_OK) return r;
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_run: no function");
    item.fn = fn;
    item.arg = arg;
    return conc__hand_in(pool, &item, &item, NULL);
}

conc_result conc_pool_run_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task) {
    conc_future *f;
    if (task == NULL) return conc_pool_run(pool, fn, arg);
    f = conc_pool_submit_ex(pool, fn, arg, task);
    if (f == NULL) return conc_error_result();
    conc_future_release(f); /* a failure that nobody can look at any more goes to the hook */
    return CONC_OK;
}

/* Runs it here: if it is still to begin, and the caller is a member of its pool, or every waiter helps. */
static bool conc__help_future(conc_future *f) {
    const conc__worker *w = conc__self()->worker;
    if (!f->helped && (w == NULL || w->pool != f->pool)) return false;
    if (f->schedule != NULL || !conc__future_claim(f)) return false; /* a scheduled one has its time */
    conc__stale(f->pool, true);
    conc__future_run(f);
    return true;
}

static void conc__future_canceled(conc_future *f);

/* It has run in a thread that is none of the pool's, after its turn in the queue had come: see conc__queued_run(). */
static void conc__future_has_ended(conc_future *f, uint32_t state) {
    if ((state & CONC__ELSEWHERE) != 0) conc__elsewhere_done(f->pool);
}

static const conc__future_class conc__pool_futures = {conc__help_future, conc__future_canceled, conc__future_has_ended};

static conc_future *conc__pool_future(conc_pool *pool, conc_fn fn, void *arg, conc_cancel *parent) {
    conc_future *f = conc__future_new(&conc__pool_futures, pool, fn, arg);
    if (f == NULL) return NULL;
    f->helped = pool->desc.waiters_help;
    f->token.parent = parent != NULL ? parent : &pool->token;
    return f;
}

conc_future *conc_pool_submit_ex(conc_pool *pool, conc_fn fn, void *arg, const conc_pool_task *task) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_submit");
    conc_future *f;
    conc__item item, user;
    if (r == CONC_OK && fn == NULL) r = conc__fail(CONC_INVALID, "conc_pool_submit: no function");
    if (r == CONC_OK && task != NULL && task->priority != 0 && !pool->desc.by_priority) {
        r = conc__fail(CONC_INVALID, "conc_pool_submit: the pool \"%s\" knows no priorities: its desc wants by_priority", pool->name);
    }
    if (r != CONC_OK) return NULL;
    f = conc__pool_future(pool, fn, arg, task != NULL ? task->cancel : NULL);
    if (f == NULL) return NULL;
    (void)conc_future_retain(f); /* the queue's */
    item.fn = conc__future_task;
    item.arg = f;
    user.fn = fn;
    user.arg = arg;
    r = conc__hand_in(pool, &item, &user, task);
    if (r != CONC_OK) {
        if (r == CONC_TIMEOUT || r == CONC_CANCELED || r != conc_error_result()) (void)conc__fail(r, "conc_pool_submit: %s", conc_strerror(r));
        conc_future_release(f);
        conc_future_release(f);
        return NULL;
    }
    return f;
}

conc_future *conc_pool_submit(conc_pool *pool, conc_fn fn, void *arg) {
    return conc_pool_submit_ex(pool, fn, arg, NULL);
}

/* ---- later ------------------------------------------------------------------------------------------------ */

/* With the lock held. */
static void conc__schedule_unlist(conc_pool *pool, conc__schedule *s) {
    *s->link = s->next;
    if (s->next != NULL) s->next->link = s->link;
    s->link = NULL;
    pool->scheduled--;
}

void conc__schedule_free(struct conc__schedule *s) {
    if (s == NULL) return;
    conc_timer_release(s->timer);
    conc__free(s);
}

/* Its time has come, in the timers' thread: it is due, if nobody has taken it out. */
static int conc__schedule_fires(void *p) {
    conc_future *f = (conc_future *)p;
    conc_pool *pool = f->pool;
    conc__schedule *s = f->schedule;
    bool due;
    conc__lock_take(&pool->lock);
    due = s->link != NULL;
    if (due) {
        conc__schedule_unlist(pool, s);
        f->next = NULL;
        *pool->due_end = f;
        pool->due_end = &f->next;
        (void)conc__add32(&pool->due, 1, CONC__SEQ_CST);
        pool->elsewhere++; /* until there is a thread for it */
    }
    conc__lock_give(&pool->lock);
    if (!due) { /* canceled: it is out of the list, and its reference is ours to give back; the pool has waited for it */
        conc_future_release(f);
        conc__elsewhere_done(pool);
        return 0;
    }
    conc__pool_rouse(pool);
    conc__lock_take(&pool->lock);
    f = conc__load32(&pool->threads, CONC__RELAXED) == 0 ? conc__due_pop(pool) : NULL; /* stranded: no thread could be started */
    conc__lock_give(&pool->lock);
    if (f != NULL) {
        if (conc__future_claim(f)) {
            (void)conc__addz(&pool->canceled, 1, CONC__RELAXED);
            conc__future_end(f, CONC_NO_THREADS, 0, "its time had come, and no thread could be started");
        }
        conc_future_release(f);
    }
    conc__elsewhere_done(pool);
    return 0;
}

/* Enters it, with the list's reference, which the caller gives. CONC_OK; else the reference is still the caller's. */
static conc_result conc__schedule_enter(conc_future *f, bool closed_too) {
    conc_pool *pool = f->pool;
    conc__schedule *s = f->schedule;
    conc_timer *before, *timer;
    conc_result r = CONC_OK;
    conc__lock_take(&pool->lock);
    if (conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN && !closed_too) {
        r = CONC_CLOSED;
    } else if ((conc__load32(&f->state, CONC__RELAXED) & CONC__BEGUN) != 0) {
        r = CONC_CANCELED; /* between two turns; and who did it has found nothing to take out, or waits for the lock to look */
    } else {
        s->next = pool->schedules;
        s->link = &pool->schedules;
        if (s->next != NULL) s->next->link = &s->next;
        pool->schedules = s;
        pool->scheduled++;
        before = s->timer;
        /* Under the lock, so that it is there for whoever cancels; a timer that fires at once waits for the lock. */
        timer = conc_timer_start(conc__schedule_fires, f, s->when);
        if (timer == NULL) {
            r = conc_error_result();
            conc__schedule_unlist(pool, s);
            conc__pool_look_for_end(pool);
        } else {
            s->timer = timer;
            conc_timer_release(before);
        }
    }
    conc__lock_give(&pool->lock);
    return r;
}

/* After a turn: the next, if there is one. False: it has ended. */
static bool conc__schedule_again(conc_future *f, int code) {
    conc_pool *pool = f->pool;
    conc__schedule *s = f->schedule;
    conc_result r;
    if (s->every == 0 || code != 0 || conc_cancel_fired(&f->token)) return false;
    if (s->after_each) {
        s->when = conc_deadline_at(conc_clock_ns());
    }
    s->when = conc_deadline_at(s->when.ns > INT64_MAX - s->every ? INT64_MAX : s->when.ns + s->every);
    (void)conc_future_retain(f);
    /* Free again before it is entered: its time may have come at once. */
    (void)conc__and32(&f->state, ~CONC__BEGUN, CONC__SEQ_CST);
    r = conc__schedule_enter(f, false);
    if (r == CONC_OK) {
        /* Who cancels fires the token, then looks whether it is free: see conc_future_cancel(). */
        if (conc_cancel_fired(&f->token)) (void)conc_future_cancel(f);
        return true;
    }
    conc_future_release(f);
    if (!conc__future_claim(f)) return true; /* canceled meanwhile: it has ended */
    if (r != CONC_CLOSED) {
        conc__count_completed(pool);
        conc__future_end(f, r, 0, conc_strerror(r));
        return true;
    }
    return false;
}

/* A future that was claimed to be canceled, before it began. */
static void conc__future_canceled(conc_future *f) {
    conc_pool *pool = f->pool;
    bool listed = false;
    (void)conc__addz(&pool->canceled, 1, CONC__RELAXED);
    if (f->schedule != NULL) {
        bool stopped = false;
        conc__lock_take(&pool->lock);
        listed = f->schedule->link != NULL;
        if (listed) {
            conc__schedule_unlist(pool, f->schedule);
            stopped = conc_timer_cancel(f->schedule->timer) == CONC_OK;
            if (!stopped) pool->elsewhere++; /* until it has fired */
            conc__pool_look_for_end(pool);
        }
        conc__lock_give(&pool->lock);
        if (stopped) conc_future_release(f); /* the list's; if not, it fires, and gives it back */
    }
    if (!listed) conc__stale(pool, true);
}

static conc_future *conc__pool_later(conc_pool *pool, conc_fn fn, void *arg, conc_deadline when, int64_t every, bool after_each,
                                     const char *call) {
    conc_future *f;
    conc__schedule *s;
    conc_result r = conc__pool_wrong(pool, call);
    if (r == CONC_OK && fn == NULL) r = conc__fail(CONC_INVALID, "%s: no function", call);
    if (r != CONC_OK) return NULL;
    f = conc__pool_future(pool, fn, arg, NULL);
    if (f == NULL) return NULL;
    s = (conc__schedule *)conc__alloc(1, sizeof *s, "a task's time");
    if (s == NULL) {
        conc_future_release(f);
        return NULL;
    }
    s->f = f;
    s->when = when;
    s->every = every;
    s->after_each = after_each;
    f->schedule = s;
    (void)conc__addz(&pool->accepted, 1, CONC__RELAXED);
    (void)conc_future_retain(f);
    r = conc__schedule_enter(f, false);
    if (r != CONC_OK) {
        (void)conc__subz(&pool->accepted, 1, CONC__RELAXED);
        (void)conc__rejected(pool, r);
        if (r == CONC_CLOSED) (void)conc__fail(r, "%s: the pool \"%s\" is closed", call, pool->name);
        conc_future_release(f);
        conc_future_release(f);
        return NULL;
    }
    return f;
}

conc_future *conc_pool_submit_at(conc_pool *pool, conc_fn fn, void *arg, conc_deadline when) {
    return conc__pool_later(pool, fn, arg, when, 0, false, "conc_pool_submit_at");
}

conc_future *conc_pool_every(conc_pool *pool, conc_fn fn, void *arg, conc_deadline first, double seconds, bool after_each) {
    double ns = seconds * 1e9;
    if (!(seconds > 0)) {
        (void)conc__fail(CONC_INVALID, "conc_pool_every: %g seconds are no period", seconds);
        return NULL;
    }
    return conc__pool_later(pool, fn, arg, first, ns < 1 ? 1 : ns > 9e18 ? INT64_MAX : (int64_t)ns, after_each, "conc_pool_every");
}

/* ---- the beginning and the end ------------------------------------------------------------------------------ */

static const char *conc__desc_wrong(const conc_pool_desc *d) {
    if (d->core_threads > CONC_POOL_MAX_THREADS || d->max_threads > CONC_POOL_MAX_THREADS) return "more threads than CONC_POOL_MAX_THREADS";
    if (d->max_threads < d->core_threads) return "max_threads is less than core_threads";
    if (d->max_threads > d->core_threads && d->queue_capacity == 0 && !d->grow_first) {
        return "max_threads above core_threads would never be reached, as the queue is unbounded: give it a queue_capacity, or set grow_first";
    }
    if (!(d->keep_alive >= 0) || !(d->block_seconds >= 0)) return "a negative time";
    if (d->by_priority && d->queue_capacity == CONC_POOL_NO_QUEUE) return "by_priority needs a queue";
    if (d->by_priority && d->on_reject == CONC_REJECT_DISCARD_OLDEST) return "by_priority would have the most urgent discarded as the oldest";
    if ((unsigned)d->on_reject > CONC_REJECT_BLOCK) return "no such policy";
    return NULL;
}

static bool conc__pool_make_queue(conc_pool *pool) {
    size_t capacity = pool->desc.queue_capacity;
    if (capacity == CONC_POOL_NO_QUEUE) return true;
    if (pool->desc.by_priority) {
        conc_queue_desc desc;
        desc.kind = CONC_PRIORITY;
        desc.compare = conc__compare_urgent;
        pool->queue = conc_queue_new_ex(sizeof(conc__urgent), capacity, &desc);
    } else {
        pool->queue = conc_queue_new(sizeof(conc__item), capacity != 0 ? capacity : CONC__POOL_RING);
        if (capacity == 0) pool->spill = conc_queue_new(sizeof(conc__item), 0);
        if (capacity == 0 && pool->spill == NULL) return false;
    }
    return pool->queue != NULL;
}

conc_pool *conc_pool_new(const conc_pool_desc *desc) {
    conc_pool *pool;
    conc_pool_desc d;
    const char *wrong;
    memset(&d, 0, sizeof d);
    if (desc != NULL) d = *desc;
    if (d.core_threads == 0) {
        d.core_threads = conc_cpu_count();
        if (d.max_threads != 0 && d.core_threads > d.max_threads) d.core_threads = d.max_threads;
    }
    if (d.max_threads == 0) d.max_threads = d.core_threads;
    if (d.keep_alive == 0) d.keep_alive = 60;
    if (d.name == NULL) d.name = "pool";
    wrong = conc__desc_wrong(&d);
    if (wrong != NULL) {
        (void)conc__fail(CONC_INVALID, "conc_pool_new: %s (core %u, max %u)", wrong, d.core_threads, d.max_threads);
        return NULL;
    }
    pool = (conc_pool *)conc__alloc(1, sizeof *pool, "a pool");
    if (pool == NULL) return NULL;
    pool->desc = d;
    (void)snprintf(pool->name, sizeof pool->name, "%.20s", d.name);
    pool->desc.name = pool->name;
    pool->keep_alive = d.keep_alive;
    pool->core = d.core_threads;
    pool->max = d.max_threads;
    pool->processors = conc_cpu_count();
    pool->due_end = &pool->due_first;
    pool->users = 1;
    (void)conc__self();
    pool->generation = conc__fork_generation();
    if (!conc__pool_make_queue(pool)) {
        conc__pool_unuse(pool);
        return NULL;
    }
    conc__pools_begin();
    conc__lock_take(&conc__pools_lock);
    pool->next = conc__pools;
    pool->link = &conc__pools;
    if (pool->next != NULL) pool->next->link = &pool->next;
    conc__pools = pool;
    conc__lock_give(&conc__pools_lock);
    if (d.prestart && conc_pool_prestart(pool, 0) == 0) {
        char why[200];
        (void)snprintf(why, sizeof why, "%.199s", conc_error_detail());
        (void)conc_pool_close(pool);
        (void)conc_pool_free(pool);
        (void)conc__fail(CONC_NO_THREADS, "%s", why);
        return NULL;
    }
    return pool;
}

/* Everybody who sleeps for lack of work now looks again. */
static void conc__pool_rouse_all(conc_pool *pool) {
    conc__worker *all = NULL, *w;
    conc__lock_take(&pool->lock);
    while ((w = pool->idles) != NULL) {
        conc__sleeper_unlist(w);
        w->idle_next = all; /* it stays as it is until it has its permit */
        all = w;
    }
    conc__lock_give(&pool->lock);
    while ((w = all) != NULL) {
        all = w->idle_next;
        conc__sleeper_wake(w);
    }
}

/* CONC_OK: it was open. */
static conc_result conc__pool_shut(conc_pool *pool, uint32_t phase) {
    bool was_open;
    conc__lock_take(&pool->lock);
    was_open = conc__load32(&pool->phase, CONC__RELAXED) == CONC__POOL_OPEN;
    if (conc__load32(&pool->phase, CONC__RELAXED) < phase) conc__store32(&pool->phase, phase, CONC__SEQ_CST);
    if (was_open && pool->queue != NULL) {
        conc__lock_take(&pool->spill_lock);
        (void)conc_queue_close(pool->queue);
        if (pool->spill != NULL) (void)conc_queue_close(pool->spill);
        conc__lock_give(&pool->spill_lock);
    }
    conc__pool_look_for_end(pool);
    conc__lock_give(&pool->lock);
    return was_open ? CONC_OK : CONC_CLOSED;
}

/* Takes out what waits for its time: all, or only what would come again and again. One by one, as each is canceled without the lock. */
static void conc__schedules_cancel(conc_pool *pool, bool all, void (*each)(conc_fn fn, void *arg, void *user), void *user) {
    for (;;) {
        conc__schedule *s;
        conc_future *f = NULL;
        conc_fn fn;
        void *arg;
        conc__lock_take(&pool->lock);
        for (s = pool->schedules; s != NULL; s = s->next) { /* who claims one otherwise takes it out himself */
            if ((all || s->every != 0) && conc__future_claim(s->f)) break;
        }
        if (s != NULL) f = conc_future_retain(s->f);
        conc__lock_give(&pool->lock);
        if (f == NULL) return;
        fn = f->fn;
        arg = f->arg;
        conc__future_canceled(f);
        if (each != NULL) {
            (void)conc__subz(&pool->canceled, 1, CONC__RELAXED);
            (void)conc__addz(&pool->returned, 1, CONC__RELAXED);
        }
        conc__future_end(f, CONC_CANCELED, 0, NULL);
        conc_future_release(f);
        if (each != NULL) {
            each(fn, arg, user);
        } else if (all && pool->desc.dropped != NULL) {
            pool->desc.dropped(fn, arg, pool->desc.user);
        }
    }
}

conc_result conc_pool_close(conc_pool *pool) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_close");
    if (r != CONC_OK) return r;
    (void)conc__add32(&pool->users, 1, CONC__RELAXED);
    r = conc__pool_shut(pool, CONC__POOL_CLOSED);
    conc__schedules_cancel(pool, false, NULL, NULL);
    conc__pool_rouse_all(pool);
    conc__room_wake(pool, CONC_ALL);
    conc__pool_unuse(pool);
    return r;
}

conc_result conc_pool_close_now(conc_pool *pool, void (*returned)(conc_fn fn, void *arg, void *user), void *user) {
    conc__item item;
    conc_result r = conc__pool_wrong(pool, "conc_pool_close_now");
    if (r != CONC_OK) return r;
    (void)conc__add32(&pool->users, 1, CONC__RELAXED);
    conc__lock_take(&pool->lock);
    pool->elsewhere++; /* what has been taken out of the queue keeps the pool from its end, too */
    conc__lock_give(&pool->lock);
    r = conc__pool_shut(pool, CONC__POOL_STOPPED);
    while (conc__due_get(pool, &item) || conc__pool_get(pool, &item)) {
        conc_fn fn;
        void *arg;
        if (returned == NULL) {
            conc__queued_discard(pool, &item, CONC_CANCELED);
        } else if (conc__queued_drop(&item, CONC_CANCELED, &fn, &arg)) {
            (void)conc__addz(fn != NULL ? &pool->returned : &pool->canceled, 1, CONC__RELAXED);
            if (fn != NULL) returned(fn, arg, user);
        }
    }
    conc__schedules_cancel(pool, true, returned, user);
    (void)conc_cancel_fire(&pool->token); /* last: a thread that ends its task now finds no other */
    conc__pool_rouse_all(pool);
    conc__room_wake(pool, CONC_ALL);
    conc__elsewhere_done(pool);
    conc__pool_unuse(pool);
    return r;
}

static conc_result conc__pool_end_wrong(conc_pool *pool) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_join");
    if (r != CONC_OK) return r;
    if (conc__is_member(pool)) return conc__fail(CONC_DEADLOCK, "conc_pool_join: the caller is one of those that it would wait for");
    if (conc__load32(&pool->phase, CONC__ACQUIRE) == CONC__POOL_OPEN) {
        return conc__fail(CONC_INVALID, "conc_pool_join: the pool \"%s\" is open, and would go on: close it first", pool->name);
    }
    return CONC_OK;
}

static conc_result conc__pool_end_attempt(conc_op *op) {
    conc_pool *pool = (conc_pool *)op->object;
    conc_result r = conc__pool_end_wrong(pool);
    if (r != CONC_OK) return r;
    return conc_event_is_set(&pool->ended) ? CONC_OK : CONC_PENDING;
}

static bool conc__pool_end_arm(conc_op *op, conc_node *node) {
    conc_op event = conc_op_event(&((conc_pool *)op->object)->ended);
    return event.cls->arm(&event, node);
}

conc_op conc_op_pool_end(conc_pool *pool) {
    static const conc_op_class cls = {"pool end", CONC_BUSY, conc__pool_end_attempt, conc__pool_end_arm, NULL, NULL};
    return conc_op_make(&cls, pool, NULL);
}

conc_result conc_pool_join(conc_pool *pool, conc_deadline deadline) {
    conc_op op = conc_op_pool_end(pool);
    return conc__wait_op(&op, deadline);
}

conc_result conc_pool_free(conc_pool *pool) {
    bool busy = false;
    if (pool == NULL) return CONC_OK;
    if (!conc__pool_is_forked(pool)) {
        conc__lock_take(&pool->lock);
        busy = conc__load32(&pool->threads, CONC__RELAXED) != 0 || pool->elsewhere != 0 || pool->scheduled != 0 || pool->due_first != NULL ||
               conc__pool_queued(pool) != 0;
        conc__lock_give(&pool->lock);
        if (busy) {
            return conc__fail(CONC_BUSY, "conc_pool_free: the pool \"%s\" has threads or tasks: close and join it first", pool->name);
        }
        conc__lock_take(&conc__pools_lock);
        if (pool->link != NULL) {
            *pool->link = pool->next;
            if (pool->next != NULL) pool->next->link = pool->link;
        }
        conc__lock_give(&conc__pools_lock);
    } else {
        pool->users = 1; /* those of the threads are in the other process */
    }
    conc__pool_unuse(pool);
    return CONC_OK;
}

conc_result conc_pool_finish(conc_pool *pool) {
    conc_result r = CONC_OK;
    if (pool == NULL) return CONC_OK;
    if (!conc__pool_is_forked(pool)) {
        (void)conc_pool_close(pool);
        r = conc_pool_join(pool, CONC_FOREVER);
    }
    return r == CONC_OK ? conc_pool_free(pool) : r;
}

/* ---- looking and changing -------------------------------------------------------------------------------------- */

conc_pool_stats conc_pool_stats_of(conc_pool *pool) {
    conc_pool_stats s;
    const conc__worker *w;
    size_t stale;
    memset(&s, 0, sizeof s);
    if (conc__pool_wrong(pool, "conc_pool_stats_of") != CONC_OK) return s;
    conc__lock_take(&pool->lock);
    s.threads = conc__load32(&pool->threads, CONC__RELAXED);
    s.largest = pool->largest;
    s.idle = conc__load32(&pool->idle, CONC__RELAXED);
    s.active = s.threads - s.idle;
    s.queued = conc__pool_queued(pool) + conc__load32(&pool->due, CONC__RELAXED);
    s.scheduled = pool->scheduled;
    conc__lock_give(&pool->lock);
    stale = conc__loadz(&pool->stale, CONC__RELAXED); /* below 0, for a moment, if one is taken out before it is counted */
    s.queued -= stale <= s.queued ? stale : 0;
    s.completed = conc__loadz(&pool->completed, CONC__RELAXED);
    for (w = (const conc__worker *)conc__loadp(&pool->workers, CONC__ACQUIRE); w != NULL; w = w->next) {
        s.completed += conc__loadz(&w->completed, CONC__RELAXED);
    }
    s.canceled = conc__loadz(&pool->canceled, CONC__RELAXED);
    s.returned = conc__loadz(&pool->returned, CONC__RELAXED);
    s.rejected = conc__loadz(&pool->rejected, CONC__RELAXED);
    s.accepted = conc__loadz(&pool->accepted, CONC__RELAXED);
    return s;
}

const conc_pool_desc *conc_pool_desc_of(const conc_pool *pool) {
    return pool != NULL ? &pool->desc : NULL;
}

const char *conc_pool_name(const conc_pool *pool) {
    return pool != NULL ? pool->name : "";
}

conc_result conc_pool_resize(conc_pool *pool, unsigned core_threads, unsigned max_threads) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_resize");
    conc_pool_desc d;
    const char *wrong;
    if (r != CONC_OK) return r;
    d = pool->desc;
    conc__lock_take(&pool->lock);
    d.core_threads = core_threads != 0 ? core_threads : conc__load32(&pool->core, CONC__RELAXED);
    d.max_threads = max_threads != 0 ? max_threads : conc__load32(&pool->max, CONC__RELAXED);
    wrong = conc__desc_wrong(&d);
    if (wrong == NULL) {
        conc__store32(&pool->core, d.core_threads, CONC__SEQ_CST);
        conc__store32(&pool->max, d.max_threads, CONC__SEQ_CST);
    }
    conc__lock_give(&pool->lock);
    if (wrong != NULL) return conc__fail(CONC_INVALID, "conc_pool_resize: %s (core %u, max %u)", wrong, d.core_threads, d.max_threads);
    conc__pool_rouse_all(pool); /* those that are too many end; the others look at their patience again */
    while (conc__pool_queued(pool) != 0 && conc__pool_more(pool)) {
    }
    conc__room_wake(pool, CONC_ALL);
    return CONC_OK;
}

conc_result conc_pool_set_keep_alive(conc_pool *pool, double seconds) {
    conc_result r = conc__pool_wrong(pool, "conc_pool_set_keep_alive");
    if (r != CONC_OK) return r;
    if (!(seconds >= 0)) return conc__fail(CONC_INVALID, "conc_pool_set_keep_alive: a negative time");
    conc__lock_take(&pool->lock);
    pool->keep_alive = seconds;
    conc__lock_give(&pool->lock);
    conc__pool_rouse_all(pool);
    return CONC_OK;
}

unsigned conc_pool_prestart(conc_pool *pool, unsigned n) {
    unsigned threads = 0;
    if (conc__pool_wrong(pool, "conc_pool_prestart") != CONC_OK) return 0;
    for (;;) {
        conc__lock_take(&pool->lock);
        threads = conc__load32(&pool->threads, CONC__RELAXED);
        if (threads >= conc__load32(&pool->core, CONC__RELAXED) || (n != 0 && threads >= n) ||
            conc__load32(&pool->phase, CONC__RELAXED) != CONC__POOL_OPEN) {
            break;
        }
        (void)conc__add32(&pool->threads, 1, CONC__SEQ_CST);
        if (conc__thread_new(pool, NULL, false) != CONC_OK) break; /* the lock is held again */
    }
    conc__lock_give(&pool->lock);
    return threads;
}

conc_pool *conc_pool_current(void) {
    const conc__agent *me = conc__self();
    const conc__running *r = me->running;
    while (r != NULL && r->pool == NULL) r = r->below;
    return r != NULL ? r->pool : me->worker != NULL ? me->worker->pool : NULL;
}

/* ==== end src/pool.c ==== */

/* ==== begin src/job.c ==== */

/* ============================================================================================
 * job: fork and join, and groups; see parallel.h.
 *
 * THE DEQUE. Each member of a pool keeps its jobs in an array: [0, tail) have been taken by others, [tail, split) are open to
 * others, [split, head) are its own alone. The owner forks and joins at the head, with plain loads and stores as long as it is above the
 * split; others take at the tail. Tail and split are the halves of one word, `open`, which changes by
 * compare-and-swap: of a taker (tail + 1) and of the owner, who moves the split up when others ask for more, or down when
 * its own part is empty. So each open job is got by one, without a fence and without a race between the two ends. A word
 * that has come back to an earlier value (the owner resets an empty deque) does no harm: what is taken is read from the
 * array *after* the compare-and-swap, and is what is open there then; the owner does not use the place again before the taker has
 * read it: takers count what they have read in `fetched`, and the deque is reset only when that is all of them.
 * (T. van Dijk, J. C. van de Pol, Lace, 2014; there the split is written without the tail, and wants a fence.)
 *
 * WHO OPENS WHAT. The first job of an empty deque is opened at once, and `forking` is raised, sequentially consistent, before the
 * sleepers are read: so a member that is about to sleep sees it, or is woken. Later ones stay private until somebody asks (`asked`, read at
 * each fork and join): who finds nothing to take, who takes the last that is open; and, for itself, the owner as long as any member has
 * nothing to do. That is a hint: if it is overlooked for a moment, jobs stay where they are until the next fork or join;
 * nobody waits for them but their own forker.
 *
 * HOW MANY. A member may take jobs as long as fewer than there are processors work on jobs (`hands`): one more would but take turns with
 * the others, and, when it is interrupted, have them wait for its piece at the end of a loop. Tasks of groups are exempt: they may wait for
 * each other. Whoever stops working, or falls asleep over a join, lowers `hands`, and then has one come if there are jobs.
 *
 * A join whose job has been taken runs other jobs until that is done. It never takes a task from the pool's queue, which might
 * last for ever.
 * ========================================================================================== */

/* The states of a job. */
enum { CONC__JOB_FORKED, CONC__JOB_AWAITED, CONC__JOB_OVER };

#define conc__open_tail(open) ((open)&0xffffu)
#define conc__open_split(open) ((open) >> 16)
#define conc__open_of(tail, split) ((tail) | (split) << 16)

/* ---- a job's end ---------------------------------------------------------------------------------- */

/* Runs it where it is not just joined. A loose one belongs to its function, and is gone with it; and after the swap any other's
 * memory may be gone: only its address is used. */
static void conc__job_run(conc_job *job) {
    if (job->conc__loose) {
        (void)job->conc__fn(job->conc__arg);
    } else {
        job->conc__code = job->conc__fn(job->conc__arg);
        if (conc__swap32(&job->conc__state, CONC__JOB_OVER, CONC__ACQ_REL) == CONC__JOB_AWAITED) {
            (void)conc__wake_waiters(job, CONC__ANY_TAG, CONC_ALL);
        }
    }
}

/* One that another member has forked, or this one in another task: under its own token. */
static void conc__job_run_taken(conc_job *job) {
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel;
    conc__running running;
    running.below = me->running;
    running.up = (const conc__running *)job->conc__up;
    running.what = job;
    running.pool = NULL;
    me->running = &running;
    me->cancel = job->conc__cancel;
    conc__job_run(job);
    me->cancel = before;
    me->running = (conc__running *)(uintptr_t)running.below;
}

static conc_result conc__job_attempt(conc_op *op) {
    return conc__load32(&((conc_job *)op->object)->conc__state, CONC__ACQUIRE) == CONC__JOB_OVER ? CONC_OK : CONC_PENDING;
}

static bool conc__job_arm(conc_op *op, conc_node *node) {
    conc_job *job = (conc_job *)op->object;
    conc__bucket *b = conc__bucket_lock(job);
    uint32_t state = CONC__JOB_FORKED;
    /* Against the swap of its end: that finds AWAITED, and looks in the table; or this finds it ended. */
    bool wait = conc__cas32(&job->conc__state, &state, CONC__JOB_AWAITED, CONC__ACQ_REL) || state == CONC__JOB_AWAITED;
    if (wait) conc__bucket_push(b, job, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__job_op = {"join", CONC_BUSY, conc__job_attempt, conc__job_arm, NULL, NULL};

/* ---- the owner's end of the deque --------------------------------------------------------------------- */

/* Opens what is private, all of it if some have nothing to do at all, else half; and has somebody come for it. */
static CONC__NOINLINE void conc__jobs_open(conc__worker *w) {
    uint32_t open = conc__load32(&w->open, CONC__RELAXED);
    bool hungry = conc__pool_is_hungry(w->pool);
    conc__store32(&w->asked, 0, CONC__RELAXED);
    if (w->head == w->split) return;
    w->split += hungry ? w->head - w->split : (w->head - w->split + 1) / 2;
    /* Release: publishes the jobs, and the array's entries. */
    while (!conc__cas32(&w->open, &open, conc__open_of(conc__open_tail(open), w->split), CONC__SEQ_CST)) {
    }
    if (!w->forks) {
        w->forks = true;
        if (!w->works && !w->guest) {
            w->works = true;
            (void)conc__add32(&w->pool->hands, 1, CONC__SEQ_CST);
        }
        (void)conc__add32(&w->pool->forking, 1, CONC__SEQ_CST);
    }
    conc__pool_rouse_for_jobs(w->pool);
    /* Then the next ones are wanted, too: the owner may be busy for long with one of them. */
    if (hungry || conc__pool_is_hungry(w->pool)) conc__store32(&w->asked, 1, CONC__RELAXED);
}

/* The newest of the member's own jobs; NULL: there is none, and the deque begins anew. */
static conc_job *conc__jobs_take(conc__worker *w) {
    uint32_t open, tail, split;
    if (w->head == w->split) {
        open = conc__load32(&w->open, CONC__RELAXED);
        for (;;) {
            tail = conc__open_tail(open);
            split = conc__open_split(open);
            if (tail >= split) break;
            /* Half of what is open becomes private again. Acquire is not needed: it was all written here. */
            split = tail + (split - tail) / 2;
            if (conc__cas32(&w->open, &open, conc__open_of(tail, split), CONC__ACQ_REL)) {
                w->split = split;
                break;
            }
        }
    }
    if (w->head == w->split) {
        if (w->head != 0 && conc__load32(&w->fetched, CONC__ACQUIRE) == w->head) {
            w->head = w->split = 0;
            conc__store32(&w->fetched, 0, CONC__RELAXED);
            conc__store32(&w->open, 0, CONC__RELEASE); /* nobody takes from an empty one: no change is lost */
        }
        w->first = w->head; /* not 0: one that was taken has not been read yet, and its place must stay as it is */
        if (w->forks) {
            w->forks = false;
            (void)conc__sub32(&w->pool->forking, 1, CONC__SEQ_CST);
        }
        if (w->mates) {
            w->mates = false;
            (void)conc__sub32(&w->pool->loose, 1, CONC__SEQ_CST);
        }
        return NULL;
    }
    w->head--;
    return (conc_job *)conc__loadp(&w->jobs[w->head], CONC__RELAXED);
}

void conc__jobs_finish(conc__worker *w) {
    conc_job *job;
    while ((job = conc__jobs_take(w)) != NULL) conc__job_run_taken(job);
}

/* Puts a job in; false: there is no room, or no deque. */
static CONC__ALWAYS_INLINE bool conc__jobs_push(conc__worker *w, conc_job *job) {
    uint32_t head;
    if (CONC__UNLIKELY(w == NULL)) return false;
    head = w->head;
    if (CONC__UNLIKELY(head == CONC__JOBS)) return false;
    conc__storep(&w->jobs[head], job, CONC__RELAXED);
    w->head = head + 1;
    if (CONC__UNLIKELY(head == w->first || conc__load32(&w->asked, CONC__RELAXED) != 0)) conc__jobs_open(w);
    return true;
}

/* ---- the others' end ------------------------------------------------------------------------------------- */

static void conc__jobs_ask(conc__worker *victim) {
    if (conc__load32(&victim->asked, CONC__RELAXED) == 0) conc__store32(&victim->asked, 1, CONC__RELAXED);
}

static conc_job *conc__steal_from(conc__worker *victim) {
    uint32_t open = conc__load32(&victim->open, CONC__ACQUIRE);
    while (conc__open_tail(open) < conc__open_split(open)) {
        uint32_t tail = conc__open_tail(open), split = conc__open_split(open);
        if (conc__cas32(&victim->open, &open, conc__open_of(tail + 1, split), CONC__ACQ_REL)) {
            conc_job *job = (conc_job *)conc__loadp(&victim->jobs[tail], CONC__RELAXED);
            (void)conc__add32(&victim->fetched, 1, CONC__RELEASE); /* the place may be used anew */
            if (tail + 1 == split) {
                conc__jobs_ask(victim);
            } else {
                conc__pool_rouse_for_jobs(victim->pool); /* there is more */
            }
            return job;
        }
    }
    conc__jobs_ask(victim);
    return NULL;
}

bool conc__steal_and_run(conc__worker *w) {
    conc__worker *first = (conc__worker *)conc__loadp(&w->pool->workers, CONC__ACQUIRE), *victim;
    conc_job *job = NULL;
    /* Beginning behind itself, so that not all ask the same one. */
    for (victim = w->next; job == NULL && victim != NULL; victim = victim->next) job = conc__steal_from(victim);
    for (victim = first; job == NULL && victim != w; victim = victim->next) job = conc__steal_from(victim);
    if (job == NULL) return false;
    conc__job_run_taken(job);
    return true;
}

/* Sequentially consistent, against conc__jobs_open(): see the top. */
bool conc__jobs_wanted(conc__worker *w) {
    conc__worker *victim = (conc__worker *)conc__loadp(&w->pool->workers, CONC__ACQUIRE);
    bool some = false;
    for (; victim != NULL && !some; victim = victim->next) {
        uint32_t open = conc__load32(&victim->open, CONC__SEQ_CST);
        if (victim == w) continue;
        some = conc__open_tail(open) < conc__open_split(open);
        if (!some) conc__jobs_ask(victim);
    }
    return some;
}

/* ---- waiting ------------------------------------------------------------------------------------------------ */

/* A member waits: it runs jobs, its own first, and tasks that are due; when there are none, it sleeps in the list of helpers, until the op completes
 * or somebody has work. Its wakes: the op's own; and whoever takes it out of the list gives the permit of `wake`. Between
 * the entering of the list and the sleep it looks once more (see the top of pool.c). */
static conc_result conc__await_member(conc__worker *w, conc_op *op, const void *awaits, conc_deadline deadline) {
    conc__agent *me = conc__self();
    bool woken = false; /* it has come for jobs, or for what is due */
    for (;;) {
        conc_op ops[2];
        conc__blocked blocked;
        unsigned step;
        bool busy = false;
        int which;
        conc_job *own;
        conc_result r = op->cls->attempt(op);
        if (r != CONC_PENDING) {
            if (woken) conc__pool_pass_on(w->pool);
            return r;
        }
        if (deadline.ns == INT64_MIN) return conc__op_busy(op);
        own = conc__jobs_take(w); /* what is awaited may depend on it */
        if (own != NULL) {
            conc__job_run_taken(own);
            continue;
        }
        for (step = 0; !busy && conc__spin(step, CONC__SPIN_LONG); step++) {
            r = op->cls->attempt(op);
            if (r != CONC_PENDING) break;
            busy = (conc__load32(&w->pool->forking, CONC__RELAXED) != 0 && conc__steal_and_run(w)) || conc__due_run(w->pool);
        }
        if (busy) continue;
        if (r != CONC_PENDING) {
            if (woken) conc__pool_pass_on(w->pool);
            return r;
        }
        conc__pool_helper_in(w);
        if ((conc__load32(&w->pool->forking, CONC__SEQ_CST) != 0 && conc__jobs_wanted(w)) ||
            conc__load32(&w->pool->due, CONC__SEQ_CST) != 0) {
            conc__pool_helper_out(w, false);
            if (!conc__steal_and_run(w)) (void)conc__due_run(w->pool);
            continue;
        }
        if (!conc__blocked_enter(&blocked, me->running, awaits, deadline.ns == INT64_MAX)) {
            conc__pool_helper_out(w, false);
            return conc__fail(CONC_DEADLOCK, "what is waited for waits, in the end, for the waiting task itself");
        }
        ops[0] = *op;
        ops[1] = conc_op_acquire(&w->wake);
        which = conc_select(ops, 2, deadline);
        conc__blocked_leave(&blocked);
        conc__pool_helper_out(w, which == 1);
        woken = which == 1;
        if (!woken) {
            conc__pool_pass_on(w->pool); /* not this one */
            return which == 0 ? ops[0].result : (conc_result)which;
        }
    }
}

conc_result conc__await(conc_op *op, const void *awaits, conc_deadline deadline) {
    conc__agent *me = conc__self();
    conc__worker *w = me->worker;
    conc__blocked blocked;
    conc_result r;
    if (w != NULL && conc__pool_is_forked(w->pool)) w = NULL;
    if (w != NULL) return conc__await_member(w, op, awaits, deadline);
    if (me->running == NULL || deadline.ns == INT64_MIN) return conc__wait_op(op, deadline);
    r = op->cls->attempt(op);
    if (r != CONC_PENDING) return r;
    if (!conc__blocked_enter(&blocked, me->running, awaits, deadline.ns == INT64_MAX)) {
        return conc__fail(CONC_DEADLOCK, "what is waited for waits, in the end, for the waiting task itself");
    }
    r = conc__wait_op(op, deadline);
    conc__blocked_leave(&blocked);
    return r;
}

/* ---- fork and join -------------------------------------------------------------------------------------------- */

conc_result conc_pool_call(conc_pool *pool, conc_fn fn, void *arg, int *code) {
    conc__agent *me = conc__self();
    conc__worker *w = me->worker, *before = w;
    conc__running running;
    conc_result r = CONC_OK;
    int returned;
    if (pool == NULL || fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_call: no %s", pool == NULL ? "pool" : "function");
    if (conc__pool_is_forked(pool)) return conc__fail(CONC_FORKED, "conc_pool_call: the pool's threads are in the process that forked");
    if (w == NULL || w->pool != pool) {
        w = conc__pool_enter(pool, &r);
        if (w == NULL) return r;
        me->worker = w;
        running.below = me->running;
        running.up = NULL;
        running.what = NULL;
        running.pool = pool;
        me->running = &running;
    }
    returned = fn(arg);
    if (w != before) {
        conc__jobs_finish(w);
        me->running = (conc__running *)(uintptr_t)running.below;
        me->worker = before;
        conc__pool_leave(w);
    }
    if (code != NULL) *code = returned;
    return CONC_OK;
}

void conc_job_fork(conc_job *job, conc_fn fn, void *arg) {
    conc__agent *me = conc__self_fast();
    job->conc__fn = fn;
    job->conc__arg = arg;
    job->conc__up = me->running;
    job->conc__cancel = me->cancel;
    job->conc__loose = false;
    conc__store32(&job->conc__state, CONC__JOB_FORKED, CONC__RELAXED);
    if (CONC__UNLIKELY(!conc__jobs_push(me->worker, job))) {
        job->conc__code = fn(arg);
        conc__store32(&job->conc__state, CONC__JOB_OVER, CONC__RELAXED); /* the caller's own, as before */
    }
}

static CONC__NOINLINE int conc__join_slowly(conc_job *job) {
    conc__worker *w = conc__self()->worker;
    conc_op op;
    conc_cancel *token;
    while (conc__load32(&job->conc__state, CONC__ACQUIRE) != CONC__JOB_OVER) {
        conc_job *own = w != NULL ? conc__jobs_take(w) : NULL;
        if (own == job) return job->conc__fn(job->conc__arg);
        if (own != NULL) {
            conc__job_run_taken(own); /* forked later, and not joined yet */
            continue;
        }
        token = conc_cancel_use(NULL);
        op = conc_op_make(&conc__job_op, job, NULL);
        (void)conc__await(&op, job, CONC_FOREVER);
        (void)conc_cancel_use(token);
    }
    return job->conc__code;
}

int conc_job_join(conc_job *job) {
    conc__worker *w = conc__self_fast()->worker;
    if (CONC__LIKELY(w != NULL)) {
        uint32_t head = w->head;
        if (CONC__LIKELY(head > w->split && (conc_job *)conc__loadp(&w->jobs[head - 1], CONC__RELAXED) == job)) {
            w->head = head - 1;
            if (CONC__UNLIKELY(conc__load32(&w->asked, CONC__RELAXED) != 0)) conc__jobs_open(w);
            return job->conc__fn(job->conc__arg);
        }
    }
    return conc__join_slowly(job);
}

/* ---- groups ----------------------------------------------------------------------------------------------------- */

typedef struct conc__mate { /* one task of a team */
    conc_job job;           /* first: how it is known when it has been forked */
    struct conc__team *team;
    struct conc__mate *next;
    conc_fn fn;
    void *arg;
} conc__mate;

typedef struct conc__team {
    conc_pool *pool;
    uint32_t users;      /* atomic: the group, and each of its tickets in the pool's queue */
    uint32_t pending;    /* atomic: its tasks that have not ended. Waited for under this address; the last one's end publishes what all did */
    uint32_t closed;     /* atomic: 1: it has failed; 2: it was canceled */
    uint32_t code;       /* atomic: the first root error; 0: none */
    uint32_t told;       /* atomic: a wait has told how it ended; what is started next begins anew */
    conc_cancel token;
    conc__lock lock;     /* guards the next three */
    conc__mate *first, **end; /* those handed in from outside that have not begun */
    size_t kept;              /* so many of them have no ticket */
} conc__team;

static void conc__team_unuse(conc__team *team) {
    if (conc__sub32(&team->users, 1, CONC__ACQ_REL) == 1) conc__free(team);
}

/* After the last one's `pending` the team's memory may be gone: only its address is used. */
static void conc__mate_ended(conc__team *team) {
    if (conc__sub32(&team->pending, 1, CONC__ACQ_REL) == 1) (void)conc__wake_waiters(&team->pending, CONC__ANY_TAG, CONC_ALL);
}

static void conc__team_close(conc__team *team, bool canceled) {
    uint32_t open = 0;
    if (conc__cas32(&team->closed, &open, canceled ? 2 : 1, CONC__ACQ_REL)) (void)conc_cancel_fire(&team->token);
}

static void conc__mate_run(conc__mate *m) {
    conc__team *team = m->team;
    conc__agent *me = conc__self();
    conc_cancel *before = me->cancel;
    conc__running running;
    running.below = me->running;
    running.up = NULL;
    running.what = team;
    running.pool = NULL;
    if (!conc_cancel_fired(&team->token)) {
        int code;
        me->running = &running;
        me->cancel = &team->token;
        code = m->fn(m->arg);
        me->cancel = before;
        me->running = (conc__running *)(uintptr_t)running.below;
        if (code != 0 && !(code == CONC_CANCELED && conc_cancel_fired(&team->token))) {
            uint32_t none = 0;
            (void)conc__cas32(&team->code, &none, (uint32_t)code, CONC__RELAXED);
            conc__team_close(team, false);
        }
    }
    conc__free(m);
    conc__mate_ended(team);
}

static int conc__mate_job(void *arg) {
    conc__mate_run((conc__mate *)arg);
    return 0;
}

/* One that was handed in from outside; `kept`: if any has no ticket. */
static bool conc__team_run_one(conc__team *team, bool kept) {
    conc__mate *m;
    conc__lock_take(&team->lock);
    m = !kept || team->kept != 0 ? team->first : NULL;
    if (m != NULL) {
        if (kept) team->kept--;
        if (m->next == NULL) team->kept = 0;
        team->first = m->next;
        if (team->first == NULL) team->end = &team->first;
    }
    conc__lock_give(&team->lock);
    if (m != NULL) conc__mate_run(m);
    return m != NULL;
}

/* The ticket in the queue: for any one task of the team, or none, if it was faster otherwise. */
int conc__team_task(void *arg) {
    conc__team *team = (conc__team *)arg;
    (void)conc__team_run_one(team, false);
    conc__team_unuse(team);
    return 0;
}

void conc__team_drop(void *arg) {
    conc__team *team = (conc__team *)arg;
    conc__team_close(team, true);
    (void)conc__team_run_one(team, false); /* does not run any more, but ends */
    conc__team_unuse(team);
}

conc_result conc_pool_group_begin(conc_pool_group *g, conc_pool *pool) {
    conc__team *team;
    if (g == NULL || pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_group_begin: no %s", g == NULL ? "group" : "pool");
    g->conc__pool = pool;
    g->conc__team = NULL;
    if (conc__pool_is_forked(pool)) return conc__fail(CONC_FORKED, "conc_pool_group_begin: the pool's threads are in the process that forked");
    team = (conc__team *)conc__alloc(1, sizeof *team, "a group of tasks");
    if (team == NULL) return CONC_NO_MEMORY;
    team->pool = pool;
    team->users = 1;
    team->end = &team->first;
    team->token.parent = conc_cancel_current() != NULL ? conc_cancel_current() : &pool->token;
    g->conc__team = team;
    return CONC_OK;
}

static conc__team *conc__team_of(const conc_pool_group *g, const char *call) {
    conc__team *team = g != NULL ? g->conc__team : NULL;
    if (team == NULL) {
        (void)conc__fail(CONC_INVALID, "%s: no group: it was not begun, or it has been ended", call);
    } else if (conc__pool_is_forked(team->pool)) {
        (void)conc__fail(CONC_FORKED, "%s: the pool's threads are in the process that forked", call);
        team = NULL;
    }
    return team;
}

/* Nothing of it is left, and its result has been told: what was canceled may be used again. */
static void conc__team_anew(conc__team *team) {
    conc__lock_take(&team->lock);
    if (conc__load32(&team->told, CONC__RELAXED) != 0) {
        conc__store32(&team->closed, 0, CONC__RELAXED);
        conc__store32(&team->code, 0, CONC__RELAXED);
        conc__store32(&team->token.conc__state, 0, CONC__RELAXED);
        conc__store32(&team->told, 0, CONC__RELEASE);
    }
    conc__lock_give(&team->lock);
}

conc_result conc_pool_group_run(conc_pool_group *g, conc_fn fn, void *arg) {
    conc__team *team = conc__team_of(g, "conc_pool_group_run");
    conc__worker *w = conc__self()->worker;
    conc__mate *m;
    conc_result r = CONC_OK;
    if (team == NULL) return conc_error_result();
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_group_run: no function");
    if (conc__load32(&team->told, CONC__ACQUIRE) != 0) conc__team_anew(team);
    if (conc_cancel_fired(&team->token)) return CONC_CANCELED;
    m = (conc__mate *)conc__alloc(1, sizeof *m, "a task of a group");
    if (m == NULL) return CONC_NO_MEMORY;
    m->team = team;
    m->fn = fn;
    m->arg = arg;
    (void)conc__add32(&team->pending, 1, CONC__RELAXED);
    if (w != NULL && w->pool == team->pool) {
        m->job.conc__fn = conc__mate_job;
        m->job.conc__arg = m;
        m->job.conc__loose = true;
        if (!w->mates) {
            w->mates = true;
            (void)conc__add32(&w->pool->loose, 1, CONC__SEQ_CST);
        }
        if (!conc__jobs_push(w, &m->job)) {
            conc__mate_run(m);
        } else if (w->head != w->split) {
            conc__jobs_open(w); /* others may be waiting for what it does */
        }
    } else {
        conc__item ticket;
        conc__lock_take(&team->lock);
        m->next = NULL;
        *team->end = m;
        team->end = &m->next;
        conc__lock_give(&team->lock);
        ticket.fn = conc__team_task;
        ticket.arg = team;
        (void)conc__add32(&team->users, 1, CONC__RELAXED);
        r = conc__pool_place(team->pool, &ticket, 0);
        if (r != CONC_OK) { /* it is kept for the wait */
            conc__team_unuse(team);
            conc__lock_take(&team->lock);
            team->kept++;
            conc__lock_give(&team->lock);
        }
        if (r == CONC_CLOSED) conc__team_close(team, true);
        if (r == CONC_FULL || r == CONC_NO_THREADS || r == CONC_NO_MEMORY) r = CONC_OK;
    }
    CONC__OPAQUE();
    return r;
}

static conc_result conc__team_attempt(conc_op *op) {
    return conc__load32(&((conc__team *)op->object)->pending, CONC__ACQUIRE) == 0 ? CONC_OK : CONC_PENDING;
}

static bool conc__team_arm(conc_op *op, conc_node *node) {
    conc__team *team = (conc__team *)op->object;
    conc__bucket *b = conc__bucket_lock(&team->pending);
    bool wait = conc__load32(&team->pending, CONC__ACQUIRE) != 0; /* the last one's end comes after this, and looks in the table */
    if (wait) conc__bucket_push(b, &team->pending, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static const conc_op_class conc__team_op = {"group", CONC_BUSY, conc__team_attempt, conc__team_arm, NULL, NULL};

/* Runs what was handed in from outside and has not begun, and what that starts; `kept`: but only what has no ticket. */
typedef struct conc__team_waiter {
    conc__team *team;
    bool kept;
} conc__team_waiter;

static int conc__team_work(void *arg) {
    const conc__team_waiter *waiter = (const conc__team_waiter *)arg;
    conc__team *team = waiter->team;
    conc__worker *w = conc__self()->worker;
    conc_job *own;
    while (conc__team_run_one(team, waiter->kept)) {
    }
    if (w == NULL || w->pool != team->pool) return 0;
    while (conc__load32(&team->pending, CONC__ACQUIRE) != 0 && (own = conc__jobs_take(w)) != NULL) conc__job_run_taken(own);
    return 0;
}

static conc_result conc__team_wait(conc__team *team, conc_deadline deadline) {
    conc__worker *w = conc__self()->worker;
    conc_op op = conc_op_make(&conc__team_op, team, NULL);
    conc__team_waiter waiter;
    waiter.team = team;
    waiter.kept = !team->pool->desc.waiters_help && (w == NULL || w->pool != team->pool);
    /* As a member of the pool, so that what is started meanwhile are jobs; if that cannot be, as it is. */
    if (deadline.ns != INT64_MIN && conc__load32(&team->pending, CONC__ACQUIRE) != 0 &&
        conc_pool_call(team->pool, conc__team_work, &waiter, NULL) != CONC_OK) {
        (void)conc__team_work(&waiter);
    }
    return conc__await(&op, team, deadline);
}

static conc_result conc__team_result(conc__team *team) {
    uint32_t closed = conc__load32(&team->closed, CONC__ACQUIRE);
    int code = (int)conc__load32(&team->code, CONC__ACQUIRE);
    if (code != 0) return conc__fail(CONC_FAILED, "a task of the group returned %d", code);
    return closed != 0 || conc_cancel_fired(&team->token) ? CONC_CANCELED : CONC_OK;
}

conc_result conc_pool_group_wait(conc_pool_group *g, conc_deadline deadline) {
    conc__team *team = conc__team_of(g, "conc_pool_group_wait");
    conc_result r;
    if (team == NULL) return conc_error_result();
    r = conc__team_wait(team, deadline);
    if (r != CONC_OK) return r;
    r = conc__team_result(team);
    conc__store32(&team->told, 1, CONC__RELEASE);
    return r;
}

int conc_pool_group_code(const conc_pool_group *g) {
    const conc__team *team = conc__team_of(g, "conc_pool_group_code");
    int code = team != NULL ? (int)conc__load32(&team->code, CONC__ACQUIRE) : 0;
    CONC__OPAQUE();
    return code;
}

conc_result conc_pool_group_cancel(conc_pool_group *g) {
    conc__team *team = conc__team_of(g, "conc_pool_group_cancel");
    if (team == NULL) return conc_error_result();
    conc__team_close(team, true);
    return CONC_OK;
}

conc_result conc_pool_group_end(conc_pool_group *g) {
    conc__team *team = conc__team_of(g, "conc_pool_group_end");
    conc_result r;
    if (team == NULL) return conc_error_result();
    r = conc__team_wait(team, CONC_FOREVER);
    while (r != CONC_OK) { /* the caller is canceled, or would wait for itself: all of it is, and then the end comes */
        conc_cancel *token;
        conc__team_close(team, true);
        token = conc_cancel_use(NULL);
        r = conc__team_wait(team, CONC_FOREVER);
        (void)conc_cancel_use(token);
        if (r == CONC_DEADLOCK) break;
    }
    if (r == CONC_OK) {
        r = conc__team_result(team);
        g->conc__team = NULL;
        conc__team_unuse(team);
    }
    return r;
}

/* ==== end src/job.c ==== */

/* ==== begin src/parallel.c ==== */

/* ============================================================================================
 * parallel: the algorithms over fork and join: loops, reduce, map, sort; and the map over an iterator, whose items are tasks in
 * the pool's queue. See parallel.h.
 * ========================================================================================== */

/* ---- what the jobs of one call share -------------------------------------------------------------- */

typedef struct conc__work {
    const char *what;     /* for messages: "conc_pool_for: the body" */
    bool one_by_one;      /* what fails is a number, not a range */
    conc_cancel *callers; /* the token that was current in the caller */
    conc_cancel own;      /* fired at the first failure; its parent is the caller's */
    conc_cancel *token;   /* current while a body runs: `own`, or, if the chain is as long as it may be, the caller's */
    uint32_t over;        /* atomic. 1: nothing is begun any more. Publishes nothing: what follows is written by whoever made it
                             1, and read when all jobs have been joined */
    conc_result result;
    int code;
    size_t a, b;          /* where */
} conc__work;

static void conc__work_init(conc__work *w, const char *what, bool one_by_one) {
    memset(w, 0, sizeof *w);
    w->what = what;
    w->one_by_one = one_by_one;
    w->callers = conc_cancel_current();
    w->own.parent = w->callers;
    w->token = conc__tokens_count(w->callers) < CONC_CANCEL_DEPTH ? &w->own : w->callers;
}

static bool conc__work_is_over(conc__work *w) {
    return conc__load32(&w->over, CONC__RELAXED) != 0;
}

/* The first that calls it decides how the whole ends. */
static void conc__work_stop(conc__work *w, conc_result r, int code, size_t a, size_t b) {
    uint32_t not_yet = 0;
    if (conc__work_is_over(w) || !conc__cas32(&w->over, &not_yet, 1, CONC__RELAXED)) return;
    w->result = r;
    w->code = code;
    w->a = a;
    w->b = b;
    (void)conc_cancel_fire(&w->own);
}

/* Whether another piece may begin. */
static bool conc__work_goes_on(conc__work *w) {
    if (conc__work_is_over(w)) return false;
    if (CONC__LIKELY(!conc_cancel_fired(w->token))) return true;
    conc__work_stop(w, CONC_CANCELED, 0, 0, 0);
    return false;
}

/* A body returned `code`. What one returns after the caller was canceled is not an error of its own. */
static void conc__work_code(conc__work *w, int code, size_t a, size_t b) {
    if (CONC__LIKELY(code == 0)) return;
    conc__work_stop(w, conc_cancel_fired(w->callers) ? CONC_CANCELED : CONC_FAILED, code, a, b);
}

/* Runs the root in the pool; says how it all ended, in the words of the caller's thread. */
static conc_result conc__work_run(conc__work *w, conc_pool *pool, conc_fn root, void *arg) {
    conc_result r = conc_pool_call(pool, root, arg, NULL);
    if (r != CONC_OK || !conc__work_is_over(w)) return r;
    if (w->result == CONC_NO_MEMORY) return conc__fail(CONC_NO_MEMORY, "%s: no memory for a part", w->what);
    if (w->result != CONC_FAILED) return w->result;
    if (w->one_by_one) return conc__fail(CONC_FAILED, "%s %zu returned %d", w->what, w->a, w->code);
    return conc__fail(CONC_FAILED, "%s returned %d for [%zu, %zu)", w->what, w->code, w->a, w->b);
}

/* How many threads the pool may have. */
static size_t conc__pool_width(const conc_pool *pool) {
    const conc_pool_desc *desc = conc_pool_desc_of(pool);
    return desc != NULL && desc->max_threads != 0 ? desc->max_threads : 1;
}

/* ---- loops ----------------------------------------------------------------------------------------- */

/* [first, end) in `pieces` of `grain`, the last of which may be smaller. */
typedef struct conc__pieces {
    size_t first, end, grain, count;
} conc__pieces;

/* As many pieces as keep all threads busy to the end, when some are slower than others, and no more. */
static void conc__pieces_init(conc__pieces *p, const conc_pool *pool, size_t first, size_t end, size_t grain) {
    size_t n = end - first;
    if (grain == 0) grain = n / (conc__pool_width(pool) * 32);
    if (grain == 0) grain = 1;
    p->first = first;
    p->end = end;
    p->grain = grain;
    p->count = (n - 1) / grain + 1;
}

static size_t conc__piece_begin(const conc__pieces *p, size_t i) {
    return p->first + i * p->grain;
}

static size_t conc__piece_end(const conc__pieces *p, size_t a) {
    return p->end - a > p->grain ? a + p->grain : p->end;
}

typedef struct conc__for {
    conc__work work;
    conc__pieces pieces;
    conc_range_fn body;
    void *arg;
} conc__for;

typedef struct conc__for_part { /* the pieces [i, j) */
    conc_job job;
    conc__for *of;
    size_t i, j;
} conc__for_part;

static void conc__for_piece(conc__for *f, size_t i) {
    size_t a = conc__piece_begin(&f->pieces, i), b = conc__piece_end(&f->pieces, a);
    conc__agent *me;
    conc_cancel *before;
    int code;
    if (!conc__work_goes_on(&f->work)) return;
    me = conc__self_fast();
    before = me->cancel;
    me->cancel = f->work.token;
    code = f->body(a, b, f->arg);
    me->cancel = before;
    conc__work_code(&f->work, code, a, b);
}

static int conc__for_run(void *arg);

static void conc__for_split(conc__for *f, size_t i, size_t j) {
    conc__for_part right;
    if (j - i == 1) {
        conc__for_piece(f, i);
        return;
    }
    if (conc__work_is_over(&f->work)) return;
    right.of = f;
    right.i = i + (j - i) / 2;
    right.j = j;
    conc_job_fork(&right.job, conc__for_run, &right);
    conc__for_split(f, i, right.i);
    (void)conc_job_join(&right.job);
}

static int conc__for_run(void *arg) {
    conc__for_part *part = (conc__for_part *)arg;
    conc__for_split(part->of, part->i, part->j);
    return 0;
}

/* Runs `f`, whose work has been begun. first < end. */
static conc_result conc__for_all(conc__for *f, conc_pool *pool, size_t first, size_t end, size_t grain, conc_range_fn body,
                                 void *arg) {
    conc__for_part root;
    conc__pieces_init(&f->pieces, pool, first, end, grain);
    f->body = body;
    f->arg = arg;
    root.of = f;
    root.i = 0;
    root.j = f->pieces.count;
    return conc__work_run(&f->work, pool, conc__for_run, &root);
}

conc_result conc_pool_for(conc_pool *pool, size_t first, size_t end, size_t grain, conc_range_fn body, void *arg) {
    conc__for f;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_for: no pool");
    if (body == NULL) return conc__fail(CONC_INVALID, "conc_pool_for: no body");
    if (first >= end) return CONC_OK;
    conc__work_init(&f.work, "conc_pool_for: the body", false);
    return conc__for_all(&f, pool, first, end, grain, body, arg);
}

static int conc__invoke_body(size_t a, size_t b, void *arg) {
    const conc_call *call = (const conc_call *)arg + a;
    (void)b;
    return call->fn(call->arg);
}

conc_result conc_pool_invoke(conc_pool *pool, const conc_call *calls, size_t n) {
    conc__for f;
    size_t i;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_invoke: no pool");
    if (n == 0) return CONC_OK;
    if (calls == NULL) return conc__fail(CONC_INVALID, "conc_pool_invoke: no calls");
    for (i = 0; i < n; i++)
        if (calls[i].fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_invoke: call %zu has no function", i);
    conc__work_init(&f.work, "conc_pool_invoke: call", true);
    return conc__for_all(&f, pool, 0, n, 1, conc__invoke_body, (void *)(uintptr_t)calls);
}

typedef struct conc__map_work {
    conc__for loop;
    const char *in;
    char *out;
    size_t in_size, out_size;
    conc_pool_map_fn fn;
    void *arg;
} conc__map_work;

/* Each item is a call of its own: none begins after a failure. */
static int conc__map_body(size_t a, size_t b, void *arg) {
    conc__map_work *m = (conc__map_work *)arg;
    const char *in = m->in + a * m->in_size;
    char *out = m->out + a * m->out_size;
    for (; a != b && conc__work_goes_on(&m->loop.work); a++, in += m->in_size, out += m->out_size) {
        int code = m->fn(in, out, m->arg);
        if (CONC__UNLIKELY(code != 0)) {
            conc__work_code(&m->loop.work, code, a, a + 1);
            return code;
        }
    }
    return 0;
}

conc_result conc_pool_map_bytes(conc_pool *pool, const void *in, size_t in_size, void *out, size_t out_size, size_t n,
                                conc_pool_map_fn fn, void *arg) {
    conc__map_work m;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_map: no pool");
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_pool_map: no function");
    if (n == 0) return CONC_OK;
    if (in == NULL || out == NULL) return conc__fail(CONC_INVALID, "conc_pool_map: the array is NULL");
    if (in_size == 0 || out_size == 0) return conc__fail(CONC_INVALID, "conc_pool_map: items of 0 bytes");
    m.in = (const char *)in;
    m.out = (char *)out;
    m.in_size = in_size;
    m.out_size = out_size;
    m.fn = fn;
    m.arg = arg;
    conc__work_init(&m.loop.work, "conc_pool_map: the function for item", true);
    return conc__for_all(&m.loop, pool, 0, n, 0, conc__map_body, &m);
}

/* ---- reduce ------------------------------------------------------------------------------------------ */

#define CONC__PART_HERE 256 /* bytes: parts up to this size are on the stack */

typedef struct conc__reduce {
    conc__work work;
    conc__pieces pieces;
    conc_reduce_fn body;
    conc_join_fn join;
    void *arg;
    const void *neutral; /* the caller's value, which stays as it is until the end */
    size_t size;
} conc__reduce;

/* Adds the pieces [i, j) to `part`. */
typedef struct conc__reduce_part {
    conc_job job;
    conc__reduce *of;
    size_t i, j;
    void *part;
    char here[CONC__PART_HERE + 16];
} conc__reduce_part;

/* A new part, neutral. False: there is no memory. */
static bool conc__part_begin(conc__reduce_part *p) {
    conc__reduce *r = p->of;
    p->part = p->here + ((0 - (uintptr_t)p->here) & 15u);
    if (r->size > CONC__PART_HERE) {
        p->part = conc__alloc(1, r->size, "a part");
        if (p->part == NULL) return false;
    }
    memcpy(p->part, r->neutral, r->size);
    return true;
}

static void conc__part_end(conc__reduce_part *p) {
    if (p->of->size > CONC__PART_HERE) conc__free(p->part);
}

static void conc__reduce_piece(conc__reduce *r, size_t i, void *part) {
    size_t a = conc__piece_begin(&r->pieces, i), b = conc__piece_end(&r->pieces, a);
    conc__agent *me;
    conc_cancel *before;
    int code;
    if (!conc__work_goes_on(&r->work)) return;
    me = conc__self_fast();
    before = me->cancel;
    me->cancel = r->work.token;
    code = r->body(a, b, part, r->arg);
    me->cancel = before;
    conc__work_code(&r->work, code, a, b);
}

static int conc__reduce_run(void *arg);

static void conc__reduce_split(conc__reduce *r, size_t i, size_t j, void *part) {
    conc__reduce_part right;
    if (j - i == 1) {
        conc__reduce_piece(r, i, part);
        return;
    }
    if (conc__work_is_over(&r->work)) return;
    right.of = r;
    right.i = i + (j - i) / 2;
    right.j = j;
    if (!conc__part_begin(&right)) {
        conc__work_stop(&r->work, CONC_NO_MEMORY, 0, 0, 0);
        return;
    }
    conc_job_fork(&right.job, conc__reduce_run, &right);
    conc__reduce_split(r, i, right.i, part);
    (void)conc_job_join(&right.job);
    if (!conc__work_is_over(&r->work)) r->join(part, right.part, r->arg);
    conc__part_end(&right);
}

static int conc__reduce_run(void *arg) {
    conc__reduce_part *p = (conc__reduce_part *)arg;
    conc__reduce_split(p->of, p->i, p->j, p->part);
    return 0;
}

conc_result conc_pool_reduce_bytes(conc_pool *pool, size_t first, size_t end, size_t grain, conc_reduce_fn body,
                                   conc_join_fn join, void *value, size_t size, void *arg) {
    conc__reduce r;
    conc__reduce_part root;
    conc_result result;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_reduce: no pool");
    if (body == NULL || join == NULL)
        return conc__fail(CONC_INVALID, "conc_pool_reduce: no %s", body == NULL ? "body" : "join");
    if (value == NULL || size == 0)
        return conc__fail(CONC_INVALID, "conc_pool_reduce: %s", value == NULL ? "no value" : "a value of 0 bytes");
    if (first >= end) return CONC_OK;
    conc__work_init(&r.work, "conc_pool_reduce: the body", false);
    conc__pieces_init(&r.pieces, pool, first, end, grain);
    r.body = body;
    r.join = join;
    r.arg = arg;
    r.neutral = value;
    r.size = size;
    root.of = &r;
    root.i = 0;
    root.j = r.pieces.count;
    if (!conc__part_begin(&root)) return CONC_NO_MEMORY;
    result = conc__work_run(&r.work, pool, conc__reduce_run, &root);
    if (result == CONC_OK) memcpy(value, root.part, size);
    conc__part_end(&root);
    return result;
}

/* ---- sort -------------------------------------------------------------------------------------------------
 * Merge sort: qsort() for the leaves, then merges from the array into the scratch memory and back. A merge is split where
 * the middle of the longer run belongs in the shorter one (T. H. Cormen et al., "Introduction to Algorithms", 3rd ed., 27.3). It
 * is not canceled: the items would be here and there. */

#define CONC__SORT_LEAF 2048 /* items, at least */

typedef struct conc__sort {
    size_t size, leaf;
    int (*compare)(const void *a, const void *b);
} conc__sort;

typedef struct conc__sort_part {
    conc_job job;
    const conc__sort *of;
    char *items, *scratch; /* n each */
    size_t n;
    bool to_scratch;       /* where the sorted items are wanted */
} conc__sort_part;

typedef struct conc__merge_part {
    conc_job job;
    const conc__sort *of;
    const char *a, *b;
    size_t na, nb;
    char *to;
} conc__merge_part;

/* Inlined with a constant size, so that an item's copy is a load and a store; and no branch hangs on an answer that nobody can
 * predict. */
static inline void conc__merge_items(const char *a, const char *a_end, const char *b, const char *b_end, char *to, size_t size,
                                     int (*compare)(const void *a, const void *b)) {
    while (a != a_end && b != b_end) {
        bool b_first = compare(b, a) < 0;
        memcpy(to, b_first ? b : a, size);
        to += size;
        a += b_first ? 0 : size;
        b += b_first ? size : 0;
    }
    if (a != a_end) memcpy(to, a, (size_t)(a_end - a));
    else if (b != b_end) memcpy(to, b, (size_t)(b_end - b));
}

static void conc__merge_serial(const conc__merge_part *m) {
    size_t size = m->of->size;
    const char *a_end = m->a + m->na * size, *b_end = m->b + m->nb * size;
    switch (size) {
    case 4: conc__merge_items(m->a, a_end, m->b, b_end, m->to, 4, m->of->compare); break;
    case 8: conc__merge_items(m->a, a_end, m->b, b_end, m->to, 8, m->of->compare); break;
    case 16: conc__merge_items(m->a, a_end, m->b, b_end, m->to, 16, m->of->compare); break;
    default: conc__merge_items(m->a, a_end, m->b, b_end, m->to, size, m->of->compare); break;
    }
}

/* How many of `items` come before `x`. */
static size_t conc__sort_before(const conc__sort *s, const char *items, size_t n, const char *x) {
    size_t low = 0;
    while (low != n) {
        size_t middle = low + (n - low) / 2;
        if (s->compare(items + middle * s->size, x) < 0) low = middle + 1;
        else n = middle;
    }
    return low;
}

static int conc__merge_run(void *arg) {
    const conc__merge_part *m = (const conc__merge_part *)arg;
    const conc__sort *s = m->of;
    conc__merge_part left, right;
    size_t longer;
    if (m->na <= s->leaf && m->nb <= s->leaf - m->na) {
        conc__merge_serial(m);
        return 0;
    }
    left.of = right.of = s;
    left.a = m->na < m->nb ? m->b : m->a;
    left.b = m->na < m->nb ? m->a : m->b;
    longer = m->na < m->nb ? m->nb : m->na;
    left.na = longer / 2;
    right.na = longer - left.na;
    right.a = left.a + left.na * s->size;
    left.nb = conc__sort_before(s, left.b, m->na + m->nb - longer, right.a);
    right.nb = m->na + m->nb - longer - left.nb;
    right.b = left.b + left.nb * s->size;
    left.to = m->to;
    right.to = m->to + (left.na + left.nb) * s->size;
    conc_job_fork(&right.job, conc__merge_run, &right);
    (void)conc__merge_run(&left);
    (void)conc_job_join(&right.job);
    return 0;
}

static int conc__sort_run(void *arg) {
    conc__sort_part *p = (conc__sort_part *)arg;
    const conc__sort *s = p->of;
    conc__sort_part left, right;
    conc__merge_part m;
    size_t half = p->n / 2;
    if (p->n <= s->leaf) {
        qsort(p->items, p->n, s->size, s->compare);
        if (p->to_scratch) memcpy(p->scratch, p->items, p->n * s->size);
        return 0;
    }
    left.of = right.of = s;
    left.to_scratch = right.to_scratch = !p->to_scratch;
    left.items = p->items;
    left.scratch = p->scratch;
    left.n = half;
    right.items = p->items + half * s->size;
    right.scratch = p->scratch + half * s->size;
    right.n = p->n - half;
    conc_job_fork(&right.job, conc__sort_run, &right);
    (void)conc__sort_run(&left);
    (void)conc_job_join(&right.job);
    m.of = s;
    m.a = p->to_scratch ? left.items : left.scratch;
    m.b = p->to_scratch ? right.items : right.scratch;
    m.na = left.n;
    m.nb = right.n;
    m.to = p->to_scratch ? p->scratch : p->items;
    return conc__merge_run(&m);
}

conc_result conc_pool_sort(conc_pool *pool, void *items, size_t n, size_t size, int (*compare)(const void *a, const void *b)) {
    conc__sort s;
    conc__sort_part root;
    char *scratch = NULL;
    size_t parts;
    conc_result r;
    if (pool == NULL) return conc__fail(CONC_INVALID, "conc_pool_sort: no pool");
    if (compare == NULL) return conc__fail(CONC_INVALID, "conc_pool_sort: no function to compare with");
    if (size == 0) return conc__fail(CONC_INVALID, "conc_pool_sort: items of 0 bytes");
    if (n == 0) return CONC_OK;
    if (items == NULL) return conc__fail(CONC_INVALID, "conc_pool_sort: the array is NULL");
    if (n > (SIZE_MAX - 64) / size) return conc__fail(CONC_NO_MEMORY, "conc_pool_sort: %zu items of %zu bytes", n, size);
    if (conc_canceled() != CONC_OK) return CONC_CANCELED;
    parts = conc__pool_width(pool) * 8;
    s.size = size;
    s.leaf = n / parts > CONC__SORT_LEAF ? n / parts : CONC__SORT_LEAF;
    s.compare = compare;
    root.of = &s;
    root.items = (char *)items;
    root.scratch = NULL;
    root.n = n;
    root.to_scratch = false;
    if (n > s.leaf) {
        scratch = (char *)conc__realloc(NULL, 1, n * size + 64, "a sort"); /* (not zeroed) */
        if (scratch == NULL) return CONC_NO_MEMORY;
        root.scratch = scratch + (((uintptr_t)items - (uintptr_t)scratch) & 63u); /* aligned as the items are */
    }
    r = conc_pool_call(pool, conc__sort_run, &root, NULL);
    conc__free(scratch);
    return r;
}

/* ---- a map over an iterator ---------------------------------------------------------------------------------
 * Each item taken has a slot, and each slot is handed in as a task. Whoever finds it not begun may run it: the task, or
 * the thread that asks, which then takes the task out of the queue. That the pool gave a task up is told by its future,
 * whose note is called once for each task, whatever becomes of it: until then the task's slot and the whole are
 * held for it. */

typedef enum conc__imap_state {
    CONC__IMAP_QUEUED, /* a task of the pool will run it, */
    CONC__IMAP_OURS,   /* or none will: the thread that asks has to */
    CONC__IMAP_RUNNING,
    CONC__IMAP_DONE,
    CONC__IMAP_DEAD    /* it will not be run */
} conc__imap_state;

typedef struct conc__imap_slot {
    struct conc__imap *of;
    struct conc__imap_slot *next, *prev; /* taken and not given, in order: of the asking thread alone; `next`: also free */
    struct conc__imap_slot *next_done;   /* guarded by the lock, as all below */
    conc__imap_state state;
    conc_result result; /* DONE: CONC_OK, CONC_FAILED, CONC_CANCELED */
    int code;
    unsigned refs;      /* one is the asking thread's, one its task's */
    uint64_t number;    /* of the item, from 1; constant while it is used */
    conc_future *future; /* of the asking thread alone. NULL: it has no task */
    conc__note note;     /* its future's, until that has ended */
    char *in, *out;     /* after the struct */
} conc__imap_slot;

#define CONC__IMAP_ANY UINT64_MAX

typedef struct conc__imap {
    conc_iter iter;
    conc_pool *pool; /* constant, as are the next six */
    conc_iter *from;
    conc_pool_map_fn fn;
    void *arg;
    size_t window, slot_size;
    size_t in_at, out_at; /* in a slot */
    bool in_order;
    uint32_t generation;
    /* Of the asking thread. */
    conc__imap_slot *first, *last; /* taken and not given */
    size_t taken;                  /* how many those are */
    uint64_t count;                /* items taken so far */
    conc_result from_end;          /* how `from` ended; CONC_OK: it has not */
    bool ended;                    /* iter.result says how */
    conc_event event;              /* something that is `awaited` has come */
    conc__lock lock;               /* guards all below, and what slots say it guards */
    size_t refs;                   /* one is the user's, one each task's whose note has not been called */
    size_t running, ours;          /* slots that tasks run; those in state OURS */
    uint64_t awaited;              /* the asking thread sleeps, or is about to, until this item is done; 0: it does not */
    uint64_t failed;               /* items from here on need not be begun; CONC__IMAP_ANY: none has failed */
    uint64_t here;                 /* the item that the asking thread runs under `token`; 0: none */
    conc_cancel token;             /* fired when that item will not be given; never used after that */
    conc__imap_slot *done, *done_last; /* if not in order: those done and not given */
    conc__imap_slot *free;
} conc__imap;

/* Whether the asking thread is to be woken for this item; if so, nobody else need wake it. With the lock held, as for the next
 * three. */
static bool conc__imap_tell(conc__imap *self, uint64_t number) {
    if (self->awaited != CONC__IMAP_ANY && self->awaited != number) return false;
    self->awaited = 0;
    return true;
}

static void conc__imap_release(conc__imap_slot *slot) {
    if (--slot->refs != 0) return;
    slot->next = slot->of->free;
    slot->of->free = slot;
}

static bool conc__imap_may_begin(const conc__imap *self, const conc__imap_slot *slot) {
    return slot->number < self->failed;
}

static void conc__imap_done(conc__imap *self, conc__imap_slot *slot, conc_result result, int code) {
    slot->state = CONC__IMAP_DONE;
    slot->result = result;
    slot->code = code;
    if (result != CONC_OK && self->in_order && slot->number < self->failed) self->failed = slot->number;
    if (result != CONC_OK && !self->in_order) self->failed = 0;
    if (self->in_order) return;
    slot->next_done = NULL;
    if (self->done == NULL) self->done = slot;
    else self->done_last->next_done = slot;
    self->done_last = slot;
}

/* The task. Returns 0 whatever fn says: that failure is told by the iterator. */
static int conc__imap_task(void *arg) {
    conc__imap_slot *slot = (conc__imap_slot *)arg;
    conc__imap *self = slot->of;
    bool mine, wake, fire;
    int code;
    conc__lock_take(&self->lock);
    mine = slot->state == CONC__IMAP_QUEUED && conc__imap_may_begin(self, slot);
    if (mine) {
        slot->state = CONC__IMAP_RUNNING;
        self->running++;
    }
    conc__lock_give(&self->lock);
    if (!mine) return 0;
    code = self->fn(slot->in, slot->out, self->arg);
    conc__lock_take(&self->lock);
    conc__imap_done(self, slot, code == 0 ? CONC_OK : CONC_FAILED, code);
    self->running--;
    wake = conc__imap_tell(self, slot->number);
    fire = code != 0 && self->here > self->failed;
    conc__lock_give(&self->lock);
    if (fire) (void)conc_cancel_fire(&self->token);
    if (wake) (void)conc_event_set(&self->event);
    return 0;
}

static void conc__imap_free(conc__imap *self) {
    while (self->free != NULL) {
        conc__imap_slot *slot = self->free;
        self->free = slot->next;
        conc__free(slot);
    }
    conc__free(self);
}

static void conc__imap_leave(conc__imap *self) {
    bool last;
    conc__lock_take(&self->lock);
    last = --self->refs == 0;
    conc__lock_give(&self->lock);
    if (last) conc__imap_free(self);
}

/* The task's future has ended, so the pool does not touch the slot any more. If it was not run, it is ours. */
static void conc__imap_task_ended(conc_future *f, void *arg) {
    conc__imap_slot *slot = (conc__imap_slot *)arg;
    conc__imap *self = slot->of;
    bool wake = false;
    (void)f;
    conc__lock_take(&self->lock);
    if (slot->state == CONC__IMAP_QUEUED && conc__imap_may_begin(self, slot)) {
        slot->state = CONC__IMAP_OURS;
        self->ours++;
        wake = self->awaited != 0; /* whatever it waits for: it may be this that it has to run */
        self->awaited = 0;
    }
    conc__imap_release(slot);
    conc__lock_give(&self->lock);
    if (wake) (void)conc_event_set(&self->event);
    conc__imap_leave(self);
}

static void conc__imap_hand_in(conc__imap *self, conc__imap_slot *slot) {
    conc_pool_task options;
    conc__agent *me = conc__self();
    conc_result error = me->error;
    char detail[sizeof me->detail];
    memcpy(detail, me->detail, sizeof detail);
    memset(&options, 0, sizeof options);
    options.until = CONC_NOW; /* what finds no place is done by the thread that asks, */
    conc__lock_take(&self->lock);
    slot->refs++;
    self->refs++;
    conc__lock_give(&self->lock);
    slot->future = conc_pool_submit_ex(self->pool, conc__imap_task, slot, &options);
    slot->note.fn = conc__imap_task_ended;
    slot->note.arg = slot;
    if (slot->future == NULL || !conc__future_note(slot->future, &slot->note)) conc__imap_task_ended(slot->future, slot);
    me->error = error; /* and that is no failure; nor is what a task left that the pool had us run */
    memcpy(me->detail, detail, sizeof detail);
}

static conc__imap_slot *conc__imap_slot_new(conc__imap *self) {
    conc__imap_slot *slot;
    conc__lock_take(&self->lock);
    slot = self->free;
    if (slot != NULL) self->free = slot->next;
    conc__lock_give(&self->lock);
    if (slot == NULL) {
        slot = (conc__imap_slot *)conc__alloc(1, self->slot_size, "an item of conc_pool_imap");
        if (slot == NULL) return NULL;
        slot->of = self;
        slot->in = (char *)slot + self->in_at;
        slot->out = (char *)slot + self->out_at;
    }
    slot->state = CONC__IMAP_QUEUED;
    slot->refs = 1;
    slot->future = NULL;
    return slot;
}

/* Gives up the asking thread's part in a slot that is the first, or the first done, and that nobody runs. */
static void conc__imap_drop(conc__imap *self, conc__imap_slot *slot) {
    if (slot->prev == NULL) self->first = slot->next;
    else slot->prev->next = slot->next;
    if (slot->next == NULL) self->last = slot->prev;
    else slot->next->prev = slot->prev;
    self->taken--;
    conc_future_release(slot->future);
    slot->future = NULL;
    conc__lock_take(&self->lock);
    if (self->done == slot) self->done = slot->next_done;
    conc__imap_release(slot);
    conc__lock_give(&self->lock);
}

/* Takes items and hands them in, as many as the window lets. */
static void conc__imap_fill(conc__imap *self) {
    while (self->taken < self->window && self->from_end == CONC_OK) {
        conc__imap_slot *slot;
        bool failed;
        conc__lock_take(&self->lock);
        failed = self->failed != CONC__IMAP_ANY;
        conc__lock_give(&self->lock);
        if (failed) return;
        slot = conc__imap_slot_new(self);
        if (slot == NULL) {
            if (self->taken == 0) self->from_end = CONC_NO_MEMORY;
            return;
        }
        if (self->from->next(self->from, slot->in, 1) == 0) {
            self->from_end = self->from->result == CONC_OK ? CONC_CLOSED : self->from->result;
            conc__lock_take(&self->lock);
            conc__imap_release(slot);
            conc__lock_give(&self->lock);
            return;
        }
        slot->number = ++self->count;
        slot->next = NULL;
        slot->prev = self->last;
        if (self->last == NULL) self->first = slot;
        else self->last->next = slot;
        self->last = slot;
        self->taken++;
        conc__imap_hand_in(self, slot);
    }
}

/* The next to be given, or NULL: it is not done. With the lock held. */
static conc__imap_slot *conc__imap_ready(conc__imap *self) {
    if (!self->in_order) return self->done;
    return self->first != NULL && self->first->state == CONC__IMAP_DONE ? self->first : NULL;
}

/* One for the asking thread to run: of those that no task will run, and, if it helps, of those that none has begun. NULL: there
 * is none. With the lock held. */
static conc__imap_slot *conc__imap_claim(conc__imap *self, bool helps) {
    conc__imap_slot *slot = self->ours != 0 || helps ? self->first : NULL;
    for (; slot != NULL; slot = slot->next) {
        if (!conc__imap_may_begin(self, slot)) continue;
        if (slot->state == CONC__IMAP_OURS) {
            self->ours--;
            break;
        }
        if (helps && slot->state == CONC__IMAP_QUEUED) break;
    }
    if (slot != NULL) slot->state = CONC__IMAP_RUNNING;
    return slot;
}

/* Runs one in the asking thread. */
static void conc__imap_run_here(conc__imap *self, conc__imap_slot *slot) {
    conc_cancel *before = conc_cancel_current();
    conc_result r = CONC_OK;
    bool own;
    int code;
    if (slot->future != NULL) (void)conc_future_cancel(slot->future); /* its task has not begun, and would find nothing to do */
    conc__lock_take(&self->lock);
    own = self->failed == CONC__IMAP_ANY && conc__tokens_count(before) < CONC_CANCEL_DEPTH;
    if (own) self->here = slot->number;
    conc__lock_give(&self->lock);
    if (own) {
        self->token.parent = before;
        (void)conc_cancel_use(&self->token);
    }
    code = self->fn(slot->in, slot->out, self->arg);
    if (own) (void)conc_cancel_use(before);
    if (code != 0) r = conc__is_canceled() ? CONC_CANCELED : CONC_FAILED;
    conc__lock_take(&self->lock);
    self->here = 0;
    conc__imap_done(self, slot, r, code);
    conc__lock_give(&self->lock);
}

/* Until one can be given. CONC_OK: `*ready`; or how the iterator ends. */
static conc_result conc__imap_await(conc__imap *self, conc__imap_slot **ready) {
    const conc_pool_desc *desc = conc_pool_desc_of(self->pool);
    bool helps = conc_pool_current() == self->pool || (desc != NULL && desc->waiters_help);
    conc_result r = CONC_OK;
    if (self->first == NULL) return self->from_end;
    while (r == CONC_OK) {
        conc__imap_slot *mine = NULL;
        bool canceled = conc__is_canceled();
        conc__lock_take(&self->lock);
        self->awaited = 0;
        *ready = conc__imap_ready(self);
        if (*ready == NULL && !canceled) mine = conc__imap_claim(self, helps);
        if (*ready == NULL && mine == NULL) self->awaited = self->in_order ? self->first->number : CONC__IMAP_ANY;
        conc__lock_give(&self->lock);
        if (*ready != NULL) break;
        if (mine != NULL) conc__imap_run_here(self, mine);
        else r = conc_event_wait(&self->event, CONC_FOREVER);
    }
    return r;
}

/* What has not begun will not; what runs has its token fired. */
static void conc__imap_stop(conc__imap *self) {
    conc__imap_slot *slot;
    conc__lock_take(&self->lock);
    self->failed = 0;
    for (slot = self->first; slot != NULL; slot = slot->next)
        if (slot->state == CONC__IMAP_QUEUED || slot->state == CONC__IMAP_OURS) slot->state = CONC__IMAP_DEAD;
    self->ours = 0;
    conc__lock_give(&self->lock);
    for (slot = self->first; slot != NULL; slot = slot->next)
        if (slot->future != NULL) (void)conc_future_cancel(slot->future);
}

static bool conc__imap_is_forked(const conc__imap *self) {
    return self->generation != conc__fork_generation();
}

static size_t conc__imap_next(conc_iter *iter, void *items, size_t n) {
    conc__imap *self = (conc__imap *)iter;
    conc__imap_slot *slot = NULL;
    size_t given = 0;
    conc_result r;
    if (self->ended) return 0;
    if (conc__imap_is_forked(self)) {
        self->ended = true;
        iter->result = conc__fail(CONC_FORKED, "conc_pool_imap: the iterator was made before fork()");
        return 0;
    }
    conc__imap_fill(self);
    r = conc__imap_await(self, &slot);
    if (r == CONC_OK) r = slot->result;
    if (r != CONC_OK) {
        self->ended = true;
        iter->result = r;
        conc__imap_stop(self);
        if (r == CONC_FAILED && slot != NULL)
            (void)conc__fail(r, "conc_pool_imap: the function returned %d for item %zu", slot->code, (size_t)(slot->number - 1));
        return 0;
    }
    while (slot != NULL && slot->result == CONC_OK && given < n) {
        memcpy((char *)items + given * iter->item_size, slot->out, iter->item_size);
        given++;
        conc__imap_drop(self, slot);
        conc__lock_take(&self->lock);
        slot = conc__imap_ready(self);
        conc__lock_give(&self->lock);
    }
    return given;
}

static void conc__imap_close(conc_iter *iter) {
    conc__imap *self = (conc__imap *)iter;
    if (conc__imap_is_forked(self)) { /* the tasks are the parent's; if one is left, nobody knows what the pool here does with it */
        conc_iter_close(self->from);
        if (self->refs == 1) conc__imap_free(self);
        return;
    }
    conc__imap_stop(self);
    for (;;) {
        conc_op op = conc_op_event(&self->event);
        bool over;
        conc__lock_take(&self->lock);
        over = self->running == 0;
        self->awaited = over ? 0 : CONC__IMAP_ANY;
        conc__lock_give(&self->lock);
        if (over) break;
        (void)conc__wait_uncanceled(&op, CONC_FOREVER);
    }
    self->done = NULL;
    while (self->first != NULL) conc__imap_drop(self, self->first);
    conc_iter_close(self->from);
    conc__imap_leave(self);
}

/* `*size` becomes the size of what it was and `more` bytes after it, which begin at `*at`. False: that is too much. */
static bool conc__imap_room(size_t *size, size_t *at, size_t more) {
    *at = (*size + 15u) & ~(size_t)15;
    if (more > SIZE_MAX - 15u - *at) return false;
    *size = *at + more;
    return true;
}

conc_iter *conc_pool_imap_bytes(conc_pool *pool, conc_iter *it, conc_pool_map_fn fn, size_t out_size, size_t window, void *arg,
                                bool in_order) {
    conc__imap *self = NULL;
    size_t size = sizeof(conc__imap_slot), in_at, out_at;
    conc_result r = CONC_OK;
    if (it == NULL) return conc_iter_failed(conc__fail(CONC_INVALID, "conc_pool_imap: the iterator is NULL"));
    if (pool == NULL) r = conc__fail(CONC_INVALID, "conc_pool_imap: no pool");
    else if (fn == NULL) r = conc__fail(CONC_INVALID, "conc_pool_imap: no function");
    else if (out_size == 0) r = conc__fail(CONC_INVALID, "conc_pool_imap: items of 0 bytes");
    else if (it->item_size == 0) return it; /* failed already */
    else if (!conc__imap_room(&size, &in_at, it->item_size) || !conc__imap_room(&size, &out_at, out_size))
        r = conc__fail(CONC_NO_MEMORY, "conc_pool_imap: items of %zu and %zu bytes", it->item_size, out_size);
    else self = (conc__imap *)conc__alloc(1, sizeof *self, "an iterator");
    if (self == NULL) {
        conc_iter_close(it);
        return conc_iter_failed(r != CONC_OK ? r : CONC_NO_MEMORY);
    }
    self->iter.next = conc__imap_next;
    self->iter.close = conc__imap_close;
    self->iter.item_size = out_size;
    self->pool = pool;
    self->from = it;
    self->fn = fn;
    self->arg = arg;
    self->window = window != 0 ? window : conc__pool_width(pool) * 4;
    self->slot_size = size;
    self->in_at = in_at;
    self->out_at = out_at;
    self->in_order = in_order;
    self->generation = conc__fork_generation();
    self->event.auto_reset = true;
    self->refs = 1;
    self->failed = CONC__IMAP_ANY;
    return &self->iter;
}

/* ==== end src/parallel.c ==== */

/* ==== begin src/frame.c ==== */

/* ============================================================================================
 * frame: see frame.h.
 * ========================================================================================== */

void conc__frame_lost(const char *name, const char *file, uint32_t line) {
    fprintf(stderr,
            "conc: %s cannot be resumed at %s:%u: a switch of its own stands around that suspension; take it out of the "
            "switch, or define CONC_COMPUTED_GOTO\n",
            name, file, (unsigned)line);
    abort();
}

void conc__frame_torn(const char *name, const char *file, uint32_t line) {
    fprintf(stderr,
            "conc: %s cannot suspend at %s:%u: it is inside of CONC_WITH_LOCK, CONC_WITH_CANCEL or CONC_FOREACH, which would be "
            "left by it, and not come back\n",
            name, file, (unsigned)line);
    abort();
}

/* Not inlined, and the memory escapes: so it lies where the resumed function's own variables will, and is written. */
CONC__NOINLINE void conc__frame_scribble(void) {
    volatile unsigned char dead[2048];
    size_t i;
    for (i = 0; i < sizeof dead; i++) dead[i] = 0xA5;
}

/* ==== end src/frame.c ==== */

/* ==== begin src/gen.c ==== */

/* ============================================================================================
 * gen: see gen.h.
 * ========================================================================================== */

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

/* ==== end src/gen.c ==== */

/* ==== begin src/wheel.c ==== */

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

/* ==== end src/wheel.c ==== */

/* ==== begin src/loop.c ==== */

/* ============================================================================================
 * loop: see loop.h and coro.h. In this order: memory; tasks and their lists; waiting; running; the inbox and the poller;
 * the loop itself.
 * ========================================================================================== */

/* ---- the records ------------------------------------------------------------------------------- */

/* What a wait keeps while it lasts; a point in time alone needs none. */
typedef struct conc__parked {
    int64_t deadline;
    uint16_t count, armed;
    bool any;    /* CO_AWAIT_ANY: the ops are the user's, `own.object` points to them; the index is wanted */
    conc_op own; /* CO_AWAIT's */
} conc__parked;

static conc_op *conc__parked_ops(conc__parked *p) {
    return p->any ? (conc_op *)p->own.object : &p->own;
}

enum {
    CONC__TASK_FREE,  /* memory */
    CONC__TASK_NEW,   /* being made, or in the inbox for the first time */
    CONC__TASK_ASIDE, /* until its group has room */
    CONC__TASK_READY,  /* or it runs */
    CONC__TASK_BEHIND, /* it is ready, with the result of a wait that needed none, but others go first */
    CONC__TASK_WAITS, /* and, once it has been claimed, is in the list of those ready, or the inbox */
    CONC__TASK_ENDED
};

/* Of a task's flags. */
#define CONC__TASK_FOREIGN 1u  /* its memory is of the loop's part for other threads */
#define CONC__TASK_SHIELDED 2u /* its cancel has been seen */
#define CONC__TASK_UNWINDS 4u  /* some of its frames do: till they have ended no cancel strikes */
#define CONC__TASK_CATCHES 8u  /* the wait under way is told of a cancel */
#define CONC__TASK_POINT 16u   /* the wait under way is for a point in time alone, which is the timer's */

/* Of the word that others may touch. */
#define CONC__TASK_HANDLE 1u   /* neither joined nor detached */
#define CONC__TASK_IS_ENDED 2u /* publishes the code, and all that the task did */
#define CONC__TASK_CANCEL 4u   /* a cancel is wanted */
#define CONC__TASK_AWAITED 8u  /* somebody may wait for its end; set under the lock of the task's bucket */

/* A task, with its first frame behind it. But for `shared`, and for the waiter while it waits, all is touched only by the
 * loop's thread (or by who makes it, before it is handed over). */
struct conc_task {
    conc_waiter waiter;      /* first. `claimed` is 0 while it waits, never else; `owner`, once given, stays with the memory */
    conc_task *next;         /* in the list of those ready, or in the inbox, or of free memory */
    conc__wheel_node timer;
    conc__parked *parked;
    conc_co *top;            /* the innermost frame */
    conc_loop *loop;
    conc_co_timeout *limit;  /* the innermost CO_TIMEOUT block */
    uint32_t shared;         /* atomic */
    uint8_t state, flags;
    uint32_t since;          /* milliseconds of the clock: when the wait began */
    int code;
};
#define CONC__TASK_SIZE ((sizeof(conc_task) + 15u) & ~(size_t)15u)
#define CONC__CLAIMED_NOT_WAITING 0xfffdu
#define CONC__TICKET_TIMER 0xfffeu

static conc_co *conc__task_root(conc_task *t) {
    return (conc_co *)(void *)((char *)t + CONC__TASK_SIZE);
}

static conc_task *conc__task_of_root(conc_co *co) {
    return (conc_task *)(void *)((char *)co - CONC__TASK_SIZE);
}

/* A first frame has no caller: there its record's rarer part hangs. */
conc__task_extra *conc__task_extra_of(conc_task *t) {
    return (conc__task_extra *)(void *)conc__task_root(t)->conc__up;
}

/* Memory comes in chunks of slots of one size, which stay the loop's until it is freed: so a stale handle points to a task
 * still, if to another. */
#define CONC__SIZES 84
enum { CONC__SLAB_TASKS, CONC__SLAB_BLOCKS, CONC__SLAB_KINDS };
typedef struct conc__chunk {
    struct conc__chunk *next;
    size_t size, used, count;
    unsigned kind;
} conc__chunk;
#define CONC__CHUNK_HEAD ((sizeof(conc__chunk) + 15u) & ~(size_t)15u)
typedef struct conc__slab {
    void *free[CONC__SLAB_KINDS][CONC__SIZES];
    conc__chunk *open[CONC__SLAB_KINDS][CONC__SIZES];
    conc__chunk *chunks;
} conc__slab;

#if CONC__POLLER_EDGES
/* What is known of a socket that the poller watches. */
typedef struct conc__watch {
    uint32_t number; /* the socket's; 0: none */
    uint8_t ready;   /* sides that may be ready */
    uint8_t armed;   /* sides for which somebody may wait here */
    bool hung_up;    /* both sides stay ready */
} conc__watch;
#endif

#define CONC__LOOP_EVENTS 256
#define CONC__LOOP_BUDGET 64

typedef struct conc__loop_waiter {
    conc_waiter base;
    conc_loop *loop;
    uint32_t done; /* atomic: the wake has touched the loop for the last time */
} conc__loop_waiter;

struct conc_loop {
    /* Touched only by the thread that runs the loop; while none does, under the gate. */
    conc_task *ready, **ready_end; /* tasks that can go on, in order */
    conc__wheel wheel;
    int64_t now;                   /* the clock, when it was last looked at */
    conc__slab own;
    bool owed;                     /* a wake-up call that somebody is about to make has not come yet */
    bool answered;                 /* one has come; who made it may not have left it yet */
    bool attempting;               /* the attempts under way are a task's wait, which may trust what `watches` says */
    unsigned at_once;              /* waits that this resume has made and that needed none */
    uint32_t scopes;               /* of the thread, outside of the loop */
    uintptr_t stack;               /* where the loop's own variables end, and those of a coroutine that runs begin */
#if CONC__POLLER_EDGES
    conc__watch *watches;          /* by descriptor */
    size_t watch_count;
#endif
    size_t alive;                  /* tasks admitted and not ended; others may peek */
    /* Hints for reports from other threads: */
    const conc_co_class *runs;     /* what runs now, */
    uint32_t runs_from;            /* from which line; */
    size_t turns;                  /* and how many resumes there have been */

    /* Any thread. */
    conc__port_poller poller;
    void *inbox;                   /* atomic: a list of tasks and mail, newest first; or the mark: the loop sleeps */
    size_t arrivals;               /* atomic: new tasks in the inbox */
    uint32_t called;               /* atomic: who made the call has left it */
    uint32_t stop;                 /* atomic; publishes nothing */
    uint32_t generation;           /* constant */
    bool until_stopped;            /* constant */
    conc__loop_waiter host;        /* for the token of the thread that runs it */
    conc_node host_tokens[CONC_CANCEL_DEPTH];

    conc__lock gate;               /* guards the next two */
    bool running;
    conc__slab foreign;            /* memory for tasks that other threads make while it runs */

    conc_loop *next, **link;       /* in the list of all; guarded by the registry of loops */
    char name[32];                 /* constant */
    conc__stall *stall;            /* constant; NULL: nobody looks */
};

static uint32_t conc__loop_asleep_word;
#define CONC__ASLEEP ((void *)&conc__loop_asleep_word) /* the mark */

/* In the inbox mail has its lowest bit set. */
static void *conc__mail_mark(conc__mail *mail) {
    return (char *)mail + 1;
}

static conc__mail *conc__mail_of(void *p) {
    return ((uintptr_t)p & 1u) != 0 ? (conc__mail *)(void *)((char *)p - 1) : NULL;
}

/* ---- memory -------------------------------------------------------------------------------------- */

/* Multiples of 16 up to 1024, then powers of two; the index, and the size of its slots. */
static unsigned conc__size_class(size_t *size) {
    unsigned c = 64;
    size_t s = 2048;
    if (*size <= 1024) {
        *size = (*size + 15u) & ~(size_t)15u;
        return (unsigned)(*size / 16) - 1;
    }
    while (s < *size && c < CONC__SIZES - 1) {
        s *= 2;
        c++;
    }
    *size = s;
    return c;
}

/* Free slots are chained through a word that a stale handle's user does not look at. */
static void **conc__slot_link(void *slot, unsigned kind) {
    return kind == CONC__SLAB_TASKS ? (void **)(void *)&((conc_task *)slot)->next : (void **)slot;
}

static CONC__NOINLINE void *conc__slab_carve(conc__slab *slab, unsigned kind, unsigned c, size_t size, const char *what) {
    conc__chunk *chunk = slab->open[kind][c];
    if (chunk == NULL || chunk->used == chunk->count) {
        size_t bytes = chunk == NULL ? 1024 : chunk->count * size * 2;
        size_t count = (bytes > 65536 ? 65536 : bytes) / size;
        if (count == 0) count = 1;
        if (size > SIZE_MAX / 2) {
            (void)conc__fail(CONC_NO_MEMORY, "no memory for %s", what);
            return NULL;
        }
        chunk = (conc__chunk *)conc__alloc(1, CONC__CHUNK_HEAD + count * size, what);
        if (chunk == NULL) return NULL;
        chunk->size = size;
        chunk->count = count;
        chunk->kind = kind;
        chunk->next = slab->chunks;
        slab->chunks = chunk;
        slab->open[kind][c] = chunk;
    }
    return (char *)chunk + CONC__CHUNK_HEAD + chunk->used++ * size;
}

static void *conc__slab_take(conc__slab *slab, unsigned kind, size_t size, const char *what) {
    unsigned c = conc__size_class(&size);
    void *slot = slab->free[kind][c];
    if (CONC__UNLIKELY(slot == NULL)) return conc__slab_carve(slab, kind, c, size, what);
    slab->free[kind][c] = *conc__slot_link(slot, kind);
    return slot;
}

static void conc__slab_give(conc__slab *slab, unsigned kind, void *slot, size_t size) {
    unsigned c = conc__size_class(&size);
    *conc__slot_link(slot, kind) = slab->free[kind][c];
    slab->free[kind][c] = slot;
}

static void conc__slab_free(conc__slab *slab) {
    while (slab->chunks != NULL) {
        conc__chunk *next = slab->chunks->next;
        conc__free(slab->chunks);
        slab->chunks = next;
    }
}

static size_t conc__extra_size(size_t tokens) {
    return sizeof(conc__task_extra) + tokens * sizeof(conc_node);
}

/* In the loop's thread, or under the gate while it has none. */
static CONC__NOINLINE void conc__task_recycle(conc_task *t) {
    conc_loop *loop = t->loop;
    size_t size = CONC__TASK_SIZE + conc__task_root(t)->conc__cls->size;
    conc__task_extra *extra = conc__task_extra_of(t);
    bool foreign = (t->flags & CONC__TASK_FOREIGN) != 0;
    if (foreign && loop->running) conc__lock_take(&loop->gate);
    {
        conc__slab *slab = foreign ? &loop->foreign : &loop->own;
        if (extra != NULL) conc__slab_give(slab, CONC__SLAB_BLOCKS, extra, conc__extra_size(extra->token_count));
        t->state = CONC__TASK_FREE;
        conc__store32(&t->shared, 0, CONC__RELAXED);
        conc__slab_give(slab, CONC__SLAB_TASKS, t, size);
    }
    if (foreign && loop->running) conc__lock_give(&loop->gate);
}

/* ---- tasks and their lists ------------------------------------------------------------------------ */

static bool conc__loop_is_here(const conc_loop *loop) {
    return conc__self_fast()->loop == loop;
}

bool conc__loop_is_forked(const conc_loop *loop) {
    return loop->generation != conc__fork_generation();
}

conc_loop *conc__task_loop(const conc_task *t) {
    return t->loop;
}

conc_task **conc__task_next(conc_task *t) {
    return &t->next;
}

/* The loop's thread. */
static void conc__ready_append(conc_loop *loop, conc_task *t) {
    t->next = NULL;
    *loop->ready_end = t;
    loop->ready_end = &t->next;
}

static void conc__task_ready(conc_task *t) {
    t->state = CONC__TASK_READY;
    conc__ready_append(t->loop, t);
}

/* Wakes the loop, whose mark the caller has taken away: so at most one call is under way. */
static void conc__loop_call(conc_loop *loop) {
    conc__port_poller_signal(&loop->poller);
    /* The last touch, if nobody sleeps on it; and then only the address is used. */
    if (conc__swap32(&loop->called, 1, CONC__ACQ_REL) == 2) conc__port_wake_one(&loop->called);
}

/* Whoever made the last call has left it: `called` is 0 while he is in it, 2 if we sleep until then; he stores 1. */
static void conc__loop_call_settle(conc_loop *loop) {
    uint32_t in_it = 0;
    if (!loop->answered) return;
    (void)conc__cas32(&loop->called, &in_it, 2, CONC__RELAXED);
    while (conc__load32(&loop->called, CONC__ACQUIRE) != 1) (void)conc__port_wait(&loop->called, 2, INT64_MAX);
    conc__store32(&loop->called, 0, CONC__RELAXED);
    loop->answered = false;
}

/* If the loop sleeps, wakes it. */
static void conc__loop_nudge(conc_loop *loop) {
    void *old = conc__loadp(&loop->inbox, CONC__SEQ_CST); /* (a swap that fails may have seen an older value) */
    if (old == CONC__ASLEEP && conc__casp(&loop->inbox, &old, NULL, CONC__SEQ_CST)) conc__loop_call(loop);
}

/* Where an item of the inbox, a task or mail, keeps the next one. */
static void **conc__inbox_link(void *item) {
    conc__mail *mail = conc__mail_of(item);
    return mail != NULL ? (void **)(void *)&mail->next : (void **)(void *)&((conc_task *)item)->next;
}

/* A push on the inbox. Release: what was done before is seen by the loop. The
 * loop may take the item, end with it and be freed as soon as it is there: but for the call to one that sleeps, which
 * waits for the call before it goes (conc_loop_free()). */
static void conc__loop_push(conc_loop *loop, void *item) {
    void **link = conc__inbox_link(item), *old = conc__loadp(&loop->inbox, CONC__RELAXED);
    do {
        *link = old == CONC__ASLEEP ? NULL : old;
    } while (!conc__casp(&loop->inbox, &old, item, CONC__SEQ_CST));
    if (old == CONC__ASLEEP) conc__loop_call(loop);
}

void conc__loop_send(conc_loop *loop, conc__mail *mail) {
    conc__loop_push(loop, conc__mail_mark(mail));
}

/* A waiter's wake: it has been claimed. Until it is in a list of its loop's, the task stays where it is. */
static void conc__task_wake(void *waiter) {
    conc_task *t = (conc_task *)waiter;
    conc_loop *loop = t->loop;
    if (conc__loop_is_here(loop)) {
        conc__ready_append(loop, t);
    } else {
        conc__loop_push(loop, t);
    }
}

static bool conc__task_wants_cancel(conc_task *t) {
    const conc__task_extra *extra = conc__task_extra_of(t);
    if ((t->flags & (CONC__TASK_SHIELDED | CONC__TASK_UNWINDS)) != 0) return false;
    return (conc__load32(&t->shared, CONC__RELAXED) & CONC__TASK_CANCEL) != 0 ||
           (extra != NULL && extra->cancel != NULL && conc_cancel_fired(extra->cancel));
}

/* A failure that nobody has asked for; that of a group's member is the group's. */
static void conc__task_report(conc_task *t) {
    const conc__task_extra *extra = conc__task_extra_of(t);
    if (t->code != 0 && t->code != CONC_CANCELED && (extra == NULL || extra->group == NULL)) {
        conc__report(CONC_FAILED, t->code, NULL, "task \"%s\" returned %d", conc_task_name(t), t->code);
    }
}

/* Nobody need wait for its end any more: in the loop's thread or another. Only addresses are used. */
static void conc__task_wake_joiners(const conc_task *t, const conc_loop *loop) {
    (void)conc__wake_waiters(t, CONC__ANY_TAG, CONC_ALL);
    (void)conc__wake_waiters(&loop->alive, CONC__ANY_TAG, CONC_ALL); /* who waits for several */
}

/* Gives a handle back: true if it was there to be. */
static bool conc__task_release(conc_task *t, bool report) {
    conc_loop *loop = t->loop; /* now: as soon as the handle is given back, the task may be gone */
    uint32_t s = conc__and32(&t->shared, ~CONC__TASK_HANDLE, CONC__ACQ_REL);
    if ((s & CONC__TASK_HANDLE) == 0) return false;
    if ((s & CONC__TASK_IS_ENDED) == 0) { /* the loop will see to it, but not to those who wait for it */
        if ((s & CONC__TASK_AWAITED) != 0) conc__task_wake_joiners(t, loop);
        return true;
    }
    if (report) conc__task_report(t);
    if (conc__loop_is_here(loop)) {
        conc__task_recycle(t);
    } else {
        bool running;
        conc__lock_take(&loop->gate);
        running = loop->running;
        if (!running) conc__task_recycle(t);
        conc__lock_give(&loop->gate);
        if (running) conc__loop_push(loop, t);
    }
    return true;
}

/* It is in no list any more. */
static void conc__task_end(conc_task *t) {
    conc_loop *loop = t->loop;
    conc__task_extra *extra = conc__task_extra_of(t);
    conc_group *group = extra != NULL ? extra->group : NULL;
    uint32_t s;
    conc__pokez(&loop->alive, loop->alive - 1);
    if (CONC__LIKELY(extra == NULL && t->code == 0 && t->flags == 0 &&
                     (conc__load32(&t->shared, CONC__ACQUIRE) & CONC__TASK_HANDLE) == 0)) {
        t->state = CONC__TASK_FREE; /* the short way of conc__task_recycle() */
        conc__slab_give(&loop->own, CONC__SLAB_TASKS, t, CONC__TASK_SIZE + conc__task_root(t)->conc__cls->size);
        return;
    }
    t->state = CONC__TASK_ENDED;
    if (group != NULL) conc__group_leave(group, t, t->code);
    /* Without a handle nobody else can have anything to do with it. */
    s = conc__load32(&t->shared, CONC__ACQUIRE);
    if ((s & CONC__TASK_HANDLE) != 0) {
        s = conc__or32(&t->shared, CONC__TASK_IS_ENDED, CONC__SEQ_CST);
        if ((s & CONC__TASK_AWAITED) != 0) conc__task_wake_joiners(t, loop);
    }
    if ((s & CONC__TASK_HANDLE) == 0) {
        conc__task_report(t);
        conc__task_recycle(t);
    }
}

/* ---- time-outs and unwinding ------------------------------------------------------------------------- */

/* The outermost block whose time is up; NULL: none. (Whatever is around one that is held is held, too.) */
static conc_co_timeout *conc__limit_passed(const conc_task *t, int64_t now) {
    conc_co_timeout *l, *found = NULL;
    for (l = t->limit; l != NULL && !l->conc__held; l = l->conc__outer) {
        if (l->conc__due <= now) found = l;
    }
    return found;
}

/* The block to which the task unwinds; NULL: it is canceled as a whole. */
static conc_co_timeout *conc__limit_expired(const conc_task *t) {
    conc_co_timeout *l = t->limit;
    while (l != NULL && !l->expired) l = l->conc__outer;
    return l;
}

/* A frame's blocks, which it leaves. */
static void conc__limits_drop(conc_task *t, const conc_co *frame) {
    while (t->limit != NULL && t->limit->conc__frame == frame) t->limit = t->limit->conc__outer;
}

/* The top frame ends: blocks around it have to wait for that. */
static void conc__limits_hold(conc_task *t) {
    conc_co_timeout *l;
    for (l = t->limit; l != NULL && !l->conc__held; l = l->conc__outer) {
        if (l->conc__frame != t->top) l->conc__held = true;
    }
}

/* The block that expired has been left: if this was in the clean-up of a frame that ends itself, that goes on. */
static void conc__limits_let_go(conc_task *t) {
    conc_co_timeout *l = t->limit;
    conc_co *f = t->top;
    for (; f != NULL; f = f == conc__task_root(t) ? NULL : f->conc__up) {
        for (; l != NULL && l->conc__frame == f; l = l->conc__outer) l->conc__held = false;
        if ((f->conc__line & CONC__CO_UNWINDS) != 0) return;
    }
    t->flags &= (uint8_t)~CONC__TASK_UNWINDS;
}

/* The top frame goes on at its block's end, or in its clean-up part, or, if it is there already, after the wait. */
static void conc__task_unwind(conc_task *t) {
    conc_co_timeout *limit = conc__limit_expired(t);
    conc_co *top = t->top;
    if (limit != NULL && limit->conc__frame == top) {
        t->limit = limit->conc__outer;
        limit->conc__inside = 0;
        top->conc__place = limit->conc__place;
        top->result = CONC_TIMEOUT;
        conc__limits_let_go(t);
        return;
    }
    t->flags |= CONC__TASK_UNWINDS;
    top->result = limit != NULL ? CONC_TIMEOUT : CONC_CANCELED;
    top->value = -1;
    if ((top->conc__line & CONC__CO_CLEANS) == 0) {
        conc__limits_drop(t, top);
        top->conc__place = CONC__PLACE_CLEANUP;
    } else { /* it goes on where it is, and so do its blocks */
        conc_co_timeout *l;
        for (l = t->limit; l != NULL && l->conc__frame == top; l = l->conc__outer) l->conc__held = false;
    }
    top->conc__line |= CONC__CO_UNWINDS;
    conc__limits_hold(t);
}

/* The cancel has come: the wait under way is told, if it is one that catches it; else the task unwinds. */
static void conc__task_take_cancel(conc_task *t) {
    conc__agent *me = conc__self();
    t->flags |= CONC__TASK_SHIELDED;
    if (me->task == t) me->cancel = NULL; /* nor does the token end what it calls that blocks, from now on */
    if ((t->flags & CONC__TASK_CATCHES) != 0) {
        t->top->result = CONC_CANCELED;
    } else {
        conc__task_unwind(t);
    }
}

void conc__co_check(const conc_task *t) {
    const conc_co *top = t->top;
    /* (Where a `return` does not leave such a block properly, the count says nothing.) */
    if (!CONC__HAS_CLEANUP || CONC__LIKELY(conc__self()->scopes == t->loop->scopes)) return;
    conc__frame_torn(top->conc__cls->name, top->conc__cls->file, top->conc__line & CONC__CO_LINE);
}

void conc__co_timeout_enter(conc_task *t, conc_co *frame, conc_co_timeout *timeout, conc_deadline due) {
    conc_co_timeout *l = t->limit;
    while (l != NULL && l != timeout) l = l->conc__outer;
    if (l != NULL) t->limit = l->conc__outer; /* it was left by goto, or is in itself: then the inner one counts */
    timeout->expired = false;
    timeout->conc__inside = 1;
    timeout->conc__held = false;
    timeout->conc__due = due.ns;
    timeout->conc__frame = frame;
    timeout->conc__outer = t->limit;
    t->limit = timeout;
}

void conc__co_timeout_leave(conc_task *t, conc_co_timeout *timeout) {
    timeout->conc__inside = 0;
    if (t->limit == timeout) t->limit = timeout->conc__outer;
}

uint32_t conc__co_return(conc_task *t, conc_co *frame, int code) {
    conc__limits_drop(t, frame);
    t->code = code;
    return (frame->conc__line & CONC__CO_CLEANS) != 0 ? CONC__PLACE_DONE : CONC__PLACE_CLEANUP;
}

/* ---- calls ---------------------------------------------------------------------------------------------- */

/* Before a called frame: what its caller had returned already when its clean-up part made the call. */
#define CONC__CALL_HEAD 16u

static void conc__co_begin(conc_co *co, const conc_co_class *cls, void *up) {
    co->conc__cls = cls;
    co->conc__up = (conc_co *)up;
    co->conc__place = CONC__PLACE_START;
    co->conc__line = 0;
    co->result = CONC_OK;
    co->value = 0;
}

void *conc__co_call(conc_task *t, size_t size) {
    char *block = (char *)conc__slab_take(&t->loop->own, CONC__SLAB_BLOCKS, CONC__CALL_HEAD + size, "a called coroutine");
    if (block != NULL) return block + CONC__CALL_HEAD;
    t->top->result = CONC_NO_MEMORY;
    t->top->value = 0;
    return NULL;
}

void conc__co_enter(conc_task *t, conc_co *co, const conc_co_class *cls) {
    memcpy((char *)co - CONC__CALL_HEAD, &t->code, sizeof t->code);
    t->code = 0;
    conc__co_begin(co, cls, t->top);
    t->top = co;
}

/* The top frame has ended: false, the task has. */
static bool conc__task_pop(conc_task *t) {
    conc_co *frame = t->top, *up;
    bool unwinds = (frame->conc__line & CONC__CO_UNWINDS) != 0;
    conc__limits_drop(t, frame);
    if (frame == conc__task_root(t)) {
        if (unwinds) t->code = CONC_CANCELED;
        return false;
    }
    up = frame->conc__up;
    up->result = CONC_OK;
    up->value = t->code;
    memcpy(&t->code, (char *)frame - CONC__CALL_HEAD, sizeof t->code);
    conc__slab_give(&t->loop->own, CONC__SLAB_BLOCKS, (char *)frame - CONC__CALL_HEAD,
                    CONC__CALL_HEAD + frame->conc__cls->size);
    t->top = up;
    if (unwinds) conc__task_unwind(t);
    return true;
}

/* ---- waiting ----------------------------------------------------------------------------------------------- */

static int conc__loop_watch(conc_loop *loop, uint64_t word);

static void conc__task_unpark(conc_task *t) {
    conc__slab_give(&t->loop->own, CONC__SLAB_BLOCKS, t->parked, sizeof *t->parked);
    t->parked = NULL;
}

/* The wait has its result; `winner` is the op's index, or the count. */
static void conc__task_complete(conc_task *t, size_t winner, conc_result r) {
    conc__parked *p = t->parked;
    conc__abandon_but(conc__parked_ops(p), p->count, winner);
    if (winner == p->count && p->count == 1 && conc__parked_ops(p)[0].result != CONC_PENDING) {
        r = conc__parked_ops(p)[0].result; /* abandon() found it complete after all */
    }
    t->top->result = r;
    if (p->any) t->top->value = winner < p->count ? (int)winner : -1;
    conc__task_unpark(t);
}

/* conc__attempt_all() for a task. `trust`: what the loop knows of its sockets; before a time-out they are asked themselves. */
static size_t conc__loop_attempt(conc_loop *loop, conc_op *ops, size_t n, size_t first, bool trust) {
    size_t winner;
    loop->attempting = trust;
    winner = conc__attempt_all(ops, n, first);
    loop->attempting = false;
    return winner;
}

/* Attempts the ops of the wait: true, it is complete. */
static bool conc__task_attempt(conc_task *t, size_t first, bool trust) {
    conc__parked *p = t->parked;
    size_t winner = conc__loop_attempt(t->loop, conc__parked_ops(p), p->count, first, trust);
    if (winner == p->count) return false;
    conc__task_complete(t, winner, conc__parked_ops(p)[winner].result);
    return true;
}

/* Has the poller watch for the armed ops that want it: 0, or the system's error. */
static int conc__task_watch(conc_task *t) {
    conc__parked *p = t->parked;
    size_t i;
    int e = 0;
    for (i = 0; i < p->armed && e == 0; i++) {
        if (conc__is_polled(&conc__parked_ops(p)[i])) e = conc__loop_watch(t->loop, conc__parked_ops(p)[i].word);
    }
    return e;
}

static void conc__task_disarm(conc_task *t) {
    conc__task_extra *extra = conc__task_extra_of(t);
    size_t i;
    conc__wheel_remove(&t->loop->wheel, &t->timer);
    if (extra != NULL) {
        for (i = 0; i < extra->token_count; i++) conc_waiters_disarm(&extra->tokens[i]);
    }
    if (t->parked != NULL) conc__disarm_all(conc__parked_ops(t->parked), t->parked->armed);
}

/* Suspends: true, the task waits. False: it goes on at once, the wait complete, or canceled.
 *
 * The wake. For each op as in conc__select(): the object's waker claims under the bucket's lock, under which arm() looked.
 * For the token: its fire claims likewise. For conc_task_cancel(): it sets the flag and then claims, we make the waiter
 * claimable and then look at the flag, both sequentially consistent: of the two one sees the other. For the timer: the
 * loop looks at the wheel before it sleeps. A claim is followed by conc__task_wake(), which brings the task to its loop. */
static bool conc__task_suspend(conc_task *t, int64_t until, bool front, size_t first) {
    conc__parked *p = t->parked;
    conc__task_extra *extra = conc__task_extra_of(t);
    bool shielded = (t->flags & (CONC__TASK_SHIELDED | CONC__TASK_UNWINDS)) != 0;
    t->since = (uint32_t)(t->loop->now / 1000000);
    for (;;) {
        size_t tokens = 0;
        int64_t due = until;
        int error = 0;
        uint32_t ticket;
        bool quiet;
        const conc_co_timeout *limit;
        for (limit = t->limit; limit != NULL && !limit->conc__held; limit = limit->conc__outer) {
            if (limit->conc__due < due) due = limit->conc__due;
        }
        if (p != NULL) {
            p->armed = 0;
            t->waiter.owner = conc__self()->owner; /* given now, if it had none: locks and hand-overs go by it */
            if (front) conc__parked_ops(p)[first].node.conc__tag |= CONC__FRONT;
        }
        conc__store32(&t->waiter.claimed, 0, CONC__SEQ_CST);
        quiet = shielded || (conc__load32(&t->shared, CONC__SEQ_CST) & CONC__TASK_CANCEL) == 0;
        if (quiet && !shielded && extra != NULL && extra->cancel != NULL) {
            quiet = conc__tokens_arm(extra->cancel, extra->tokens, &tokens, &t->waiter);
        }
        if (quiet && p != NULL) {
            p->armed = (uint16_t)conc__arm_all(conc__parked_ops(p), p->count, &t->waiter, &due);
            error = conc__task_watch(t);
        }
        if (quiet && error == 0 && (p == NULL || p->armed == p->count)) {
            t->state = CONC__TASK_WAITS;
            if (due != INT64_MAX) conc__wheel_add(&t->loop->wheel, &t->timer, due);
            return true;
        }
        /* Back. If somebody has claimed us meanwhile, his wake comes, and must find a task that waits. */
        first = p != NULL ? p->armed : 0;
        conc__task_disarm(t);
        if (p != NULL) p->armed = 0;
        ticket = conc__swap32(&t->waiter.claimed, CONC__CLAIMED_NOT_WAITING, CONC__ACQ_REL);
        if (conc__was_claimed(ticket, first)) {
            conc__store32(&t->waiter.claimed, ticket, CONC__RELAXED);
            t->state = CONC__TASK_WAITS;
            return true;
        }
        if (!quiet) {
            if (p != NULL) conc__task_complete(t, p->count, CONC_CANCELED);
            conc__task_take_cancel(t);
            return false;
        }
        if (error != 0) {
            conc__task_complete(t, p->count, conc__fail_system(CONC_SYSTEM, error, "cannot wait for a descriptor"));
            return false;
        }
        if (conc__task_attempt(t, first, true)) return false; /* the one that arm() found ready */
        front = false;
    }
}

/* The time of a wait has come, or that of a block around it: true, the wait is over. */
static bool conc__task_time(conc_task *t) {
    conc__parked *p = t->parked;
    int64_t now = t->loop->now;
    conc_co_timeout *limit = conc__limit_passed(t, now);
    bool over = p != NULL ? p->deadline <= now : (t->flags & CONC__TASK_POINT) != 0 && t->timer.due <= now && limit == NULL;
    if (limit != NULL) {
        limit->expired = true;
        if (p != NULL) conc__task_complete(t, p->count, CONC_TIMEOUT);
        conc__task_unwind(t);
        return true;
    }
    if (over) {
        if (p != NULL) {
            conc__task_complete(t, p->count, CONC_TIMEOUT);
        } else {
            t->top->result = CONC_OK;
        }
    }
    return over;
}

/* A task that waited has been woken: true, the wait is over, and it goes on. */
static bool conc__task_settle(conc_task *t) {
    conc__parked *p = t->parked;
    uint32_t ticket = conc__load32(&t->waiter.claimed, CONC__ACQUIRE);
    bool swept = (ticket & CONC__TICKET_SWEPT) != 0;
    int64_t until = p != NULL ? p->deadline : t->timer.due;
    ticket &= ~CONC__TICKET_SWEPT;
    conc__task_disarm(t);
    t->state = CONC__TASK_READY;
    conc__store32(&t->waiter.claimed, CONC__CLAIMED_NOT_WAITING, CONC__RELAXED);
    if (ticket == CONC__TICKET_CANCEL && conc__task_wants_cancel(t)) {
        if (p != NULL) conc__task_complete(t, p->count, CONC_CANCELED);
        conc__task_take_cancel(t);
        return true;
    }
    if (p != NULL && conc__task_attempt(t, ticket - 1u < p->count ? ticket - 1u : p->count, ticket != CONC__TICKET_TIMER)) {
        return true;
    }
    if (ticket == CONC__TICKET_TIMER && conc__task_time(t)) return true;
    return !conc__task_suspend(t, until, p != NULL && ticket - 1u < p->count && !swept, ticket - 1u);
}

/* A wait that needs none is complete: true; or, after so many of them that the others have to come first, false. */
#define CONC__LOOP_AT_ONCE 128
static bool conc__co_complete(conc_task *t, conc_result r) {
    conc_loop *loop = t->loop;
    t->top->result = r;
    if (CONC__LIKELY(++loop->at_once < CONC__LOOP_AT_ONCE)) return true;
    t->state = CONC__TASK_BEHIND;
    conc__ready_append(loop, t);
    return false;
}

static bool conc__co_complete_any(conc_task *t, conc_result r, int index) {
    t->top->value = index;
    return conc__co_complete(t, r);
}

/* Whether the op needs what lies on the coroutine's own stack, which will be another's as soon as it suspends. */
static bool conc__co_is_lost(const conc_loop *loop, const void *p) {
    uintptr_t here = conc__stack_here(), there = loop->stack, at = (uintptr_t)p;
    return here < there ? at > here && at < there : at > there && at < here;
}

static bool conc__co_any_lost(const conc_loop *loop, const conc_op *ops, size_t n, bool any) {
    size_t i;
    if (any && conc__co_is_lost(loop, ops)) return true;
    for (i = 0; i < n; i++) {
        if (conc__co_is_lost(loop, ops[i].data) || conc__co_is_lost(loop, ops[i].object)) return true;
    }
    return false;
}

static bool conc__co_park(conc_task *t, conc_op *ops, size_t n, conc_deadline deadline, bool any, bool catches) {
    conc__parked *p = NULL;
    conc_result r = CONC_NO_MEMORY;
    conc__co_check(t);
    if (CONC__UNLIKELY(conc__co_any_lost(t->loop, ops, n, any))) {
        r = conc__fail(CONC_INVALID, "%s:%u: \"%s\" cannot wait with a variable that is not in its frame: it would be lost",
                       t->top->conc__cls->file, (unsigned)(t->top->conc__line & CONC__CO_LINE), t->top->conc__cls->name);
    } else {
        p = (conc__parked *)conc__slab_take(&t->loop->own, CONC__SLAB_BLOCKS, sizeof *p, "a wait");
    }
    if (p == NULL) {
        conc__abandon_but(ops, n, n);
        return any ? conc__co_complete_any(t, r, -1) : conc__co_complete(t, r);
    }
    p->count = (uint16_t)n;
    p->armed = 0;
    p->any = any;
    p->deadline = deadline.ns;
    if (any) {
        p->own.object = ops;
    } else {
        p->own = *ops;
    }
    t->parked = p;
    t->flags = (uint8_t)((t->flags & ~(CONC__TASK_CATCHES | CONC__TASK_POINT)) | (catches ? CONC__TASK_CATCHES : 0u));
    (void)conc__task_suspend(t, deadline.ns, false, 0);
    return false; /* waits; or the loop resumes it where it now stands */
}

/* Valid ops: those that need not wait, or may not any more, without a park. */
static bool conc__co_wait(conc_task *t, conc_op *ops, size_t n, conc_deadline deadline, bool any, bool catches) {
    conc_result r;
    size_t winner;
    conc__ops_begin(ops, n);
    winner = conc__loop_attempt(t->loop, ops, n, n, true);
    if (winner == n) {
        if (!conc_deadline_passed(deadline)) return conc__co_park(t, ops, n, deadline, any, catches);
        winner = conc__loop_attempt(t->loop, ops, n, n, false);
    }
    conc__abandon_but(ops, n, winner);
    if (winner < n) {
        r = ops[winner].result;
    } else if (!any && ops->result != CONC_PENDING) {
        r = ops->result; /* abandon() found it complete after all */
    } else if (deadline.ns == INT64_MIN) {
        r = any ? CONC_BUSY : conc__op_busy(ops);
    } else {
        r = CONC_TIMEOUT;
    }
    return any ? conc__co_complete_any(t, r, winner < n ? (int)winner : -1) : conc__co_complete(t, r);
}

bool conc__co_await(conc_task *t, conc_op op, conc_deadline deadline, bool catches) {
    if (conc__op_is_until(&op) && deadline.ns == INT64_MAX) {
        /* (One that is due already comes out of the wheel when all who are ready have run.) */
        t->flags = (uint8_t)((t->flags & ~CONC__TASK_CATCHES) | CONC__TASK_POINT | (catches ? CONC__TASK_CATCHES : 0u));
        t->timer.due = op.due.ns;
        conc__co_check(t);
        (void)conc__task_suspend(t, op.due.ns, false, 0);
        return false;
    }
    if (!conc__op_valid(&op)) {
        return conc__co_complete(t, conc__fail(CONC_INVALID, "CO_AWAIT: an op without a class"));
    }
    return conc__co_wait(t, &op, 1, deadline, false, catches);
}

bool conc__co_await_any(conc_task *t, conc_op *ops, size_t n, conc_deadline deadline) {
    size_t i;
    if (ops == NULL || n == 0 || n > CONC__MAX_OPS) {
        return conc__co_complete_any(t, conc__fail(CONC_INVALID, "CO_AWAIT_ANY: %zu ops; 1 to %d can be waited for",
                                               ops == NULL ? 0 : n, CONC__MAX_OPS), -1);
    }
    for (i = 0; i < n; i++) {
        if (!conc__op_valid(&ops[i])) {
            return conc__co_complete_any(t, conc__fail(CONC_INVALID, "CO_AWAIT_ANY: op %zu has no class", i), -1);
        }
    }
    return conc__co_wait(t, ops, n, deadline, true, false);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

/* Goes on with a task until it waits, yields or ends. */
static void conc__task_resume(conc_loop *loop, conc__agent *me, conc_task *t) {
    for (;;) {
        conc_co *top = t->top;
        conc_result r;
        conc__pokep(&loop->runs, top->conc__cls);
        if (CONC__UNLIKELY(loop->stall != NULL)) {
            conc__poke32(&loop->runs_from, top->conc__line);
            conc__pokez(&loop->turns, loop->turns + 1);
        }
        CONC__FRAME_SCRIBBLE();
        r = top->conc__cls->resume(top, t);
        if (CONC__UNLIKELY(t->waiter.owner == 0)) t->waiter.owner = me->owner; /* given now, if at all */
        if (r == CONC__CO_YIELDS) {
            conc__ready_append(loop, t);
            return;
        }
        if (r == CONC_PENDING) {
            if (t->state == CONC__TASK_WAITS || t->state == CONC__TASK_BEHIND) return;
            continue; /* it has called another, or its wait was over at once */
        }
        if (!conc__task_pop(t)) {
            conc__task_end(t);
            return;
        }
    }
}

/* The next of those ready. The thread acts as the task meanwhile. */
static void conc__loop_step(conc_loop *loop, conc__agent *me) {
    conc_task *t = loop->ready;
    const conc__task_extra *extra = conc__task_extra_of(t);
    loop->ready = t->next;
    if (loop->ready == NULL) loop->ready_end = &loop->ready;
    me->task = t;
    me->owner = t->waiter.owner;
    me->cancel = CONC__UNLIKELY(extra != NULL) && (t->flags & CONC__TASK_SHIELDED) == 0 ? extra->cancel : NULL;
    loop->at_once = 0;
    if (t->state == CONC__TASK_WAITS) {
        if (!conc__task_settle(t)) return;
    } else if (CONC__UNLIKELY(t->state == CONC__TASK_BEHIND)) {
        t->state = CONC__TASK_READY; /* no cancel: the result, an item perhaps, must arrive */
    } else if (CONC__UNLIKELY(extra != NULL || (conc__load32(&t->shared, CONC__RELAXED) & CONC__TASK_CANCEL) != 0) &&
               conc__task_wants_cancel(t)) {
        t->flags &= (uint8_t)~CONC__TASK_CATCHES;
        conc__task_take_cancel(t);
    }
    conc__task_resume(loop, me, t);
}

/* ---- the inbox ----------------------------------------------------------------------------------------------------- */

void conc__task_begins(conc_task *t) {
    const conc__task_extra *extra = conc__task_extra_of(t);
    if (extra != NULL && extra->start > conc__port_clock_ns()) {
        t->flags |= CONC__TASK_POINT;
        t->timer.due = extra->start;
        if (conc__task_suspend(t, extra->start, false, 0)) return;
    }
    conc__task_ready(t);
}

/* A new task is the loop's from here on. In its thread, or under the gate while it has none. */
static void conc__task_admit(conc_task *t) {
    conc__task_extra *extra = conc__task_extra_of(t);
    conc_loop *loop = t->loop;
    conc__pokez(&loop->alive, loop->alive + 1);
    if (extra != NULL && extra->group != NULL && !conc__group_admit(extra->group, t)) {
        t->state = CONC__TASK_ASIDE;
        return;
    }
    conc__task_begins(t);
}

/* Takes what is in the inbox, oldest first. */
static void conc__loop_take(conc_loop *loop) {
    void *item = conc__swapp(&loop->inbox, NULL, CONC__ACQUIRE), *list = NULL;
    while (item != NULL) {
        void **link = conc__inbox_link(item), *next = *link;
        *link = list;
        list = item;
        item = next;
    }
    while (list != NULL) {
        conc__mail *mail = conc__mail_of(list);
        conc_task *t = mail == NULL ? (conc_task *)list : NULL;
        list = *conc__inbox_link(list);
        if (mail != NULL) {
            mail->deliver(mail, loop);
        } else if (t->state == CONC__TASK_NEW) {
            (void)conc__subz(&loop->arrivals, 1, CONC__RELAXED);
            conc__task_admit(t);
        } else if (t->state == CONC__TASK_ENDED) {
            conc__task_recycle(t);
        } else {
            conc__ready_append(loop, t);
        }
    }
}

/* ---- the poller -------------------------------------------------------------------------------------------------------- */

#if CONC__POLLER_EDGES

static conc__watch *conc__watch_of(const conc_loop *loop, uint64_t word) {
    size_t fd = (size_t)conc__polled_fd(word);
    return conc__polled_number(word) != 0 && fd < loop->watch_count ? &loop->watches[fd] : NULL;
}

/* Room for a descriptor's watch; false: no memory. */
static bool conc__watches_grow(conc_loop *loop, size_t fd) {
    size_t count = loop->watch_count == 0 ? 64 : loop->watch_count;
    conc__watch *more;
    if (fd < loop->watch_count) return true;
    while (count <= fd) count *= 2;
    more = (conc__watch *)conc__realloc(loop->watches, count, sizeof *more, "the watched sockets of a loop");
    if (more == NULL) return false;
    memset(more + loop->watch_count, 0, (count - loop->watch_count) * sizeof *more);
    loop->watches = more;
    loop->watch_count = count;
    return true;
}

bool conc__polled_may_be_ready(uint64_t word) {
    const conc_loop *loop = conc__self_fast()->loop;
    const conc__watch *w = loop != NULL && loop->attempting ? conc__watch_of(loop, word) : NULL;
    return w == NULL || w->number != conc__polled_number(word) || w->hung_up || (w->ready & conc__polled_want(word)) != 0;
}

void conc__polled_drained(uint64_t word) {
    conc_loop *loop = conc__self_fast()->loop;
    conc__watch *w = loop != NULL && loop->attempting ? conc__watch_of(loop, word) : NULL;
    if (w != NULL && w->number == conc__polled_number(word)) w->ready &= (uint8_t)~conc__polled_want(word);
}

#else

bool conc__polled_may_be_ready(uint64_t word) {
    (void)word;
    return true;
}

void conc__polled_drained(uint64_t word) {
    (void)word;
}

#endif

/* Has the poller tell when the descriptor is ready, from now on: what it is already is told as well. */
static int conc__loop_watch(conc_loop *loop, uint64_t word) {
    intptr_t fd = conc__polled_fd(word);
    unsigned want = conc__polled_want(word);
    int e;
#if CONC__POLLER_EDGES
    uint32_t number = conc__polled_number(word);
    if (number != 0 && conc__watches_grow(loop, (size_t)fd)) {
        conc__watch *w = &loop->watches[fd];
        if (w->number != number) { /* a new socket; an older one of this number is closed, and forgotten by the system */
            e = conc__port_poller_add(&loop->poller, fd);
            if (e != 0) return e;
            w->number = number;
            w->ready = CONC__PORT_READ | CONC__PORT_WRITE;
            w->armed = 0;
            w->hung_up = false;
        }
        w->ready &= (uint8_t)~want; /* an attempt has just found it so */
        w->armed |= (uint8_t)want;
        return 0;
    }
    if (number == 0 && (size_t)fd < loop->watch_count && loop->watches[fd].number != 0) {
        /* By number, what is a socket's, or was once: in either way it is watched like one. */
        e = conc__port_poller_add(&loop->poller, fd);
        if (e == 0) {
            loop->watches[fd].armed |= (uint8_t)want;
            return 0;
        }
        if (e != CONC__PORT_ALWAYS_READY) return e;
        loop->watches[fd].number = 0;
    }
#endif
    /* Once, and for the other side too if somebody waits for that. */
    if (conc__is_waited_for(conc__polled_key(fd, 1u - conc__polled_side(word)))) want = CONC__PORT_READ | CONC__PORT_WRITE;
    e = conc__port_poller_want(&loop->poller, fd, want);
    if (e == CONC__PORT_ALWAYS_READY) { /* what cannot be polled does not block: its waiters look again */
        (void)conc__wake_waiters(conc__polled_key(fd, conc__polled_side(word)), CONC__ANY_TAG, CONC_ALL);
        e = 0;
    }
    return e;
}

/* Claims all who wait for one side. Those of this loop do not come back before it is done. */
static void conc__loop_wake_side(intptr_t fd, unsigned side) {
    const void *key = conc__polled_key(fd, side);
    bool more = true;
    while (more) {
        conc__wakes w;
        conc__bucket *b = conc__bucket_lock(key);
        conc_node *node = conc__bucket_first(b, key);
        w.count = 0;
        more = node != NULL;
        while (more && w.count < CONC__WAKES) {
            conc_node *next = node->conc__next;
            more = next != node; /* else it is the last */
            (void)conc__claim(b, node, 0, &w);
            node = next;
        }
        conc__bucket_unlock(b);
        conc__wakes_run(&w);
    }
}

static void conc__loop_event(conc_loop *loop, const conc__port_event *event) {
    unsigned got = event->got;
    bool both = (got & (CONC__PORT_HUP | CONC__PORT_BAD)) != 0;
#if CONC__POLLER_EDGES
    if ((size_t)event->fd < loop->watch_count && loop->watches[event->fd].number != 0) {
        conc__watch *w = &loop->watches[event->fd];
        if (both) {
            w->hung_up = true;
            got |= CONC__PORT_READ | CONC__PORT_WRITE;
        }
        w->ready |= (uint8_t)(got & (CONC__PORT_READ | CONC__PORT_WRITE));
        got &= w->armed;
        w->armed &= (uint8_t)~got;
        if ((got & CONC__PORT_READ) != 0) conc__loop_wake_side(event->fd, 0);
        if ((got & CONC__PORT_WRITE) != 0) conc__loop_wake_side(event->fd, 1);
        return;
    }
#else
    (void)loop;
    (void)both;
#endif
    /* It was told once: whoever waits for the other side wants it again. */
    conc__loop_wake_side(event->fd, 0);
    conc__loop_wake_side(event->fd, 1);
}

static bool conc__loop_is_told(conc_loop *loop) {
    return conc__load32(&loop->stop, CONC__SEQ_CST) != 0 || conc__load32(&loop->host.base.claimed, CONC__SEQ_CST) != 0;
}

/* Looks at the poller, and sleeps in it until `until` if the inbox is empty. Who pushes after the mark is there takes it away
 * and calls; who has pushed before keeps it from being put. Stop and the token are set and then take the mark away; we put
 * it and then look at them. While a call is owed no mark is put: it will come, and ends the sleep. */
static void conc__loop_poll(conc_loop *loop, int64_t until) {
    conc__port_event events[CONC__LOOP_EVENTS];
    void *expected = NULL;
    bool signaled = false, marked = false;
    size_t i, n;
    if (until != INT64_MIN && !loop->owed) {
        conc__loop_call_settle(loop);
        marked = conc__casp(&loop->inbox, &expected, CONC__ASLEEP, CONC__SEQ_CST);
        if (!marked || conc__loop_is_told(loop)) until = INT64_MIN;
    }
    n = conc__port_poller_wait(&loop->poller, events, CONC__LOOP_EVENTS, until, &signaled);
    if (signaled) {
        loop->owed = false;
        loop->answered = true;
    }
    if (marked && !signaled) {
        expected = CONC__ASLEEP;
        if (!conc__casp(&loop->inbox, &expected, NULL, CONC__ACQUIRE)) loop->owed = true;
    }
    for (i = 0; i < n; i++) conc__loop_event(loop, &events[i]);
}

/* Brings those whose time has come to the others that are ready. */
static void conc__loop_expire(conc_loop *loop) {
    conc__wheel_node *node;
    loop->now = conc__port_clock_ns();
    while ((node = conc__wheel_expire(&loop->wheel, loop->now)) != NULL) {
        conc_task *t = (conc_task *)(void *)((char *)node - offsetof(conc_task, timer));
        uint32_t waits = 0;
        /* If this fails, somebody else has claimed it, and brings it. */
        if (conc__cas32(&t->waiter.claimed, &waits, CONC__TICKET_TIMER, CONC__RELAXED)) conc__ready_append(loop, t);
    }
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------- */

static conc__lock conc__loops_lock; /* guards the list of all loops */
static conc_loop *conc__loops;
static uint32_t conc__loop_number;  /* atomic; for names */

static void conc__loops_reset(void) {
    conc__loops_lock = 0;
    conc__loops = NULL;
}

void conc__loops_begin(void) {
    conc__on_fork(CONC__RESET_LOOPS, conc__loops_reset);
}

conc_loop *conc_loop_new(const conc_loop_desc *desc) {
    conc_loop *loop;
    int e;
    conc__loops_begin();
    loop = (conc_loop *)conc__alloc(1, sizeof *loop, "a loop");
    if (loop == NULL) return NULL;
    e = conc__port_poller_open(&loop->poller);
    if (e != 0) {
        conc__free(loop);
        (void)conc__fail_system(CONC_SYSTEM, e, "cannot make a loop's poller");
        return NULL;
    }
    loop->ready_end = &loop->ready;
    loop->generation = conc__fork_generation();
    loop->now = conc__port_clock_ns();
    conc__wheel_begin(&loop->wheel, loop->now);
    if (desc != NULL && desc->name != NULL) {
        (void)snprintf(loop->name, sizeof loop->name, "%s", desc->name);
    } else {
        (void)snprintf(loop->name, sizeof loop->name, "loop-%u",
                       (unsigned)conc__add32(&conc__loop_number, 1, CONC__RELAXED) + 1u);
    }
    loop->until_stopped = desc != NULL && desc->until_stopped;
    if (desc != NULL && desc->stall_after > 0) {
        loop->stall = conc__stall_new(loop, desc->stall_after);
        if (loop->stall == NULL) {
            conc__port_poller_close(&loop->poller);
            conc__free(loop);
            return NULL;
        }
    }
    conc__lock_take(&conc__loops_lock);
    loop->next = conc__loops;
    loop->link = &conc__loops;
    if (loop->next != NULL) loop->next->link = &loop->next;
    conc__loops = loop;
    conc__lock_give(&conc__loops_lock);
    return loop;
}

/* Calls visit() for each task that is not free. */
static void conc__tasks_each(const conc__slab *slab, void (*visit)(conc_task *t, void *arg), void *arg) {
    const conc__chunk *c;
    for (c = slab->chunks; c != NULL; c = c->next) {
        size_t i;
        if (c->kind != CONC__SLAB_TASKS) continue;
        for (i = 0; i < c->used; i++) {
            conc_task *t = (conc_task *)(void *)((char *)(uintptr_t)c + CONC__CHUNK_HEAD + i * c->size);
            if (t->state != CONC__TASK_FREE) visit(t, arg);
        }
    }
}

static void conc__loop_tasks_each(conc_loop *loop, void (*visit)(conc_task *t, void *arg), void *arg) {
    conc__tasks_each(&loop->own, visit, arg);
    conc__lock_take(&loop->gate);
    conc__tasks_each(&loop->foreign, visit, arg);
    conc__lock_give(&loop->gate);
}

static void conc__task_unseen(conc_task *t, void *arg) {
    (void)arg;
    if (t->state == CONC__TASK_ENDED && (conc__load32(&t->shared, CONC__RELAXED) & CONC__TASK_HANDLE) != 0) {
        conc__task_report(t);
    }
}

conc_result conc_loop_free(conc_loop *loop) {
    bool running, forked;
    if (loop == NULL) return CONC_OK;
    forked = conc__loop_is_forked(loop);
    if (!forked) {
        conc__lock_take(&loop->gate);
        running = loop->running;
        conc__lock_give(&loop->gate);
        if (running) return conc__fail(CONC_BUSY, "conc_loop_free: %s runs", loop->name);
        while (conc__loadp(&loop->inbox, CONC__ACQUIRE) != NULL) conc__loop_take(loop); /* a post may post */
        if (loop->alive != 0) {
            return conc__fail(CONC_BUSY, "conc_loop_free: %zu tasks of %s have not ended", loop->alive, loop->name);
        }
        conc__loop_tasks_each(loop, conc__task_unseen, NULL);
        if (loop->stall != NULL) conc__stall_free(loop->stall);
        conc__lock_take(&conc__loops_lock);
        *loop->link = loop->next;
        if (loop->next != NULL) loop->next->link = loop->link;
        conc__lock_give(&conc__loops_lock);
        conc__loop_take(loop); /* what conc_dump() has asked meanwhile */
        while (loop->owed) conc__loop_poll(loop, INT64_MAX); /* it is between the push and the call */
        conc__loop_call_settle(loop);
    }
    conc__port_poller_close(&loop->poller);
    conc__slab_free(&loop->own);
    conc__slab_free(&loop->foreign);
#if CONC__POLLER_EDGES
    conc__free(loop->watches);
#endif
    conc__free(loop);
    return CONC_OK;
}

/* The token of the thread that runs the loop has fired. */
static void conc__host_wake(void *waiter) {
    conc__loop_waiter *host = (conc__loop_waiter *)waiter;
    /* Before our look at the mark, as the mark is before its look at this. */
    (void)conc__or32(&host->base.claimed, 0, CONC__SEQ_CST);
    conc__loop_nudge(host->loop);
    conc__store32(&host->done, 1, CONC__RELEASE); /* the last touch; then only the address is used */
    conc__port_wake_one(&host->done);
}

/* Waits until the wake of the host, which has been claimed, has done with the loop. */
static void conc__host_settle(conc__loop_waiter *host) {
    while (conc__load32(&host->done, CONC__ACQUIRE) == 0) (void)conc__port_wait(&host->done, 0, INT64_MAX);
}

/* Runs until it is told (CONC_PENDING), or another of conc_loop_run()'s results; `drains`: CONC_OK if no task is left. */
static conc_result conc__loop_laps(conc_loop *loop, conc__agent *me, conc_deadline deadline, bool drains) {
    const conc_cancel *token = me->cancel;
    uint32_t owner = me->owner;
    size_t budget = CONC__LOOP_BUDGET;
    int64_t polled = 0;  /* when the poller was last looked at; */
    bool looked = false; /* in each call once at least */
    loop->stack = conc__stack_here();
    loop->scopes = me->scopes;
    me->host = owner;
    for (;;) {
        size_t n;
        int64_t began = loop->now, next;
        if (conc__loadp(&loop->inbox, CONC__RELAXED) != NULL) conc__loop_take(loop);
        for (n = 0; n < budget && loop->ready != NULL; n++) conc__loop_step(loop, me);
        me->task = NULL;
        me->owner = owner;
        me->cancel = (conc_cancel *)(uintptr_t)token;
        conc__pokep(&loop->runs, (const conc_co_class *)NULL);
        if (CONC__UNLIKELY(conc__loop_is_forked(loop))) { /* a coroutine has called fork(), and this is the child */
            return conc__fail(CONC_FORKED, "conc_loop_run: %s was made before fork()", loop->name);
        }
        if (conc__load32(&loop->stop, CONC__RELAXED) != 0) {
            conc__store32(&loop->stop, 0, CONC__RELAXED);
            return CONC_CLOSED;
        }
        if (conc__load32(&loop->host.base.claimed, CONC__RELAXED) != 0) return CONC_PENDING;
        conc__loop_expire(loop);
        if (loop->ready != NULL) {
            /* Whoever is ready must not wait for long, nor the poller cost more than the tasks do. */
            if (loop->now - began > 100000) {
                budget = (budget + 1) / 2;
            } else if (budget < CONC__LOOP_BUDGET) {
                budget *= 2;
            }
            if (deadline.ns <= loop->now && looked) return CONC_TIMEOUT;
            if (loop->now - polled > 100000 || !looked) {
                conc__loop_poll(loop, INT64_MIN);
                polled = loop->now;
                looked = true;
            }
            continue;
        }
        if (drains && loop->alive == 0 && conc__loadp(&loop->inbox, CONC__ACQUIRE) == NULL) return CONC_OK;
        if (deadline.ns <= loop->now && looked) return CONC_TIMEOUT;
        next = conc__wheel_next(&loop->wheel);
        conc__loop_poll(loop, next < deadline.ns ? next : deadline.ns);
        loop->now = conc__port_clock_ns();
        polled = loop->now;
        looked = true;
    }
}

/* Runs the loop until `over`, if there is such an op, completes; else as conc_loop_run() does. The thread's token, and
 * that op, claim the host, a waiter whose wake has the loop look at it. */
static conc_result conc__loop_go(conc_loop *loop, conc_op *over, conc_deadline deadline) {
    conc__agent *me = conc__self();
    conc__loop_waiter *host = &loop->host;
    conc_result r = CONC_PENDING;
    size_t n = over != NULL ? 1 : 0;
    host->base.owner = me->owner;
    host->base.wake = conc__host_wake;
    host->loop = loop;
    if (over != NULL) conc__ops_begin(over, 1);
    while (r == CONC_PENDING) {
        size_t tokens, armed = 0, i;
        int64_t until = INT64_MAX;
        uint32_t ticket;
        bool quiet;
        if (over != NULL && (over->result = over->cls->attempt(over)) != CONC_PENDING) return over->result;
        conc__store32(&host->done, 0, CONC__RELAXED);
        conc__store32(&host->base.claimed, 0, CONC__RELAXED); /* nothing is armed */
        quiet = conc__tokens_arm(me->cancel, loop->host_tokens, &tokens, &host->base);
        if (quiet) armed = conc__arm_all(over, n, &host->base, &until);
        if (quiet && armed == n) {
            me->loop = loop;
            loop->now = conc__port_clock_ns();
            r = conc__loop_laps(loop, me, deadline, over == NULL && !loop->until_stopped);
            me->loop = NULL;
        }
        for (i = 0; i < tokens; i++) conc_waiters_disarm(&loop->host_tokens[i]);
        conc__disarm_all(over, armed);
        ticket = conc__load32(&host->base.claimed, CONC__ACQUIRE);
        if (conc__was_claimed(ticket, armed)) conc__host_settle(host);
        if (r == CONC_PENDING && ((ticket & ~CONC__TICKET_SWEPT) == CONC__TICKET_CANCEL || !quiet)) r = CONC_CANCELED;
    }
    return r;
}

/* Takes the loop to run it: false, it runs already. */
static bool conc__loop_enter(conc_loop *loop) {
    bool mine;
    conc__lock_take(&loop->gate);
    mine = !loop->running;
    if (mine) loop->running = true; /* (who runs it reads this without the gate) */
    conc__lock_give(&loop->gate);
    return mine;
}

static void conc__loop_leave(conc_loop *loop) {
    conc__lock_take(&loop->gate);
    loop->running = false;
    conc__lock_give(&loop->gate);
}

static conc_result conc__loop_check(const conc_loop *loop, const char *what) {
    if (loop == NULL) return conc__fail(CONC_INVALID, "%s: no loop", what);
    if (conc__loop_is_forked(loop)) return conc__fail(CONC_FORKED, "%s: %s was made before fork()", what, loop->name);
    return CONC_OK;
}

conc_result conc_loop_run(conc_loop *loop, conc_deadline deadline) {
    conc_result r = conc__loop_check(loop, "conc_loop_run");
    const conc_loop *here = conc__self()->loop;
    if (r != CONC_OK) return r;
    if (here != NULL && here != loop) {
        return conc__fail(CONC_DEADLOCK, "conc_loop_run: called in %s, which would stand still", here->name);
    }
    if (!conc__loop_enter(loop)) return conc__fail(CONC_BUSY, "conc_loop_run: %s runs already", loop->name);
    r = conc__loop_go(loop, NULL, deadline);
    conc__loop_leave(loop);
    return r;
}

/* Takes the loop to run it: waited for, beside what they want, by those who found that another of them runs it. */
static conc_result conc__loop_turn_attempt(conc_op *op) {
    return conc__loop_enter((conc_loop *)op->object) ? CONC_OK : CONC_PENDING;
}

/* (The gate before the bucket, as in conc__co_start().) */
static bool conc__loop_turn_arm(conc_op *op, conc_node *node) {
    conc_loop *loop = (conc_loop *)op->object;
    bool wait;
    conc__lock_take(&loop->gate);
    wait = loop->running;
    if (wait) {
        conc__bucket *b = conc__bucket_lock(&loop->gate);
        conc__bucket_push(b, &loop->gate, node, 0);
        conc__bucket_unlock(b);
    }
    conc__lock_give(&loop->gate);
    return wait;
}

conc_result conc__loop_wait(conc_loop *loop, conc_op op, conc_deadline deadline) {
    static const conc_op_class turn = {"turn", CONC_BUSY, conc__loop_turn_attempt, conc__loop_turn_arm, NULL, NULL};
    const conc_loop *here = conc__self()->loop;
    bool stopped = false;
    conc_result r;
    if (here != NULL) {
        op.result = op.cls->attempt(&op);
        if (op.result != CONC_PENDING) return op.result;
        return conc__fail(CONC_DEADLOCK, "a blocking wait for tasks, in a coroutine: %s would stand still", here->name);
    }
    if (!conc__loop_enter(loop)) {
        conc_op ops[2];
        int i;
        ops[0] = op;
        ops[1] = conc_op_make(&turn, loop, NULL);
        i = conc_select(ops, 2, deadline);
        if (i != 1) return i == 0 ? ops[0].result : i == CONC_BUSY ? conc__op_busy(&op) : (conc_result)i;
    }
    do {
        r = conc__loop_go(loop, &op, deadline);
        stopped = stopped || (r == CONC_CLOSED && op.result == CONC_PENDING);
    } while (r == CONC_CLOSED && op.result == CONC_PENDING);
    if (stopped) conc__store32(&loop->stop, 1, CONC__RELAXED); /* that is for conc_loop_run() */
    conc__loop_leave(loop);
    (void)conc__wake_waiters(&loop->gate, CONC__ANY_TAG, 1);
    return r == CONC_TIMEOUT && deadline.ns == INT64_MIN ? conc__op_busy(&op) : r;
}

conc_result conc_loop_stop(conc_loop *loop) {
    conc_result r = conc__loop_check(loop, "conc_loop_stop");
    if (r != CONC_OK) return r;
    conc__store32(&loop->stop, 1, CONC__SEQ_CST);
    conc__loop_nudge(loop);
    return CONC_OK;
}

typedef struct conc__post {
    conc__mail mail;
    void (*fn)(void *arg);
    void *arg;
} conc__post;

static void conc__post_deliver(conc__mail *mail, conc_loop *loop) {
    conc__post post = *(conc__post *)(void *)mail;
    (void)loop;
    conc__free(mail);
    post.fn(post.arg);
}

conc_result conc_loop_post(conc_loop *loop, void (*fn)(void *arg), void *arg) {
    conc__post *post;
    conc_result r = conc__loop_check(loop, "conc_loop_post");
    if (r != CONC_OK) return r;
    if (fn == NULL) return conc__fail(CONC_INVALID, "conc_loop_post: no function");
    post = (conc__post *)conc__alloc(1, sizeof *post, "a post");
    if (post == NULL) return CONC_NO_MEMORY;
    post->mail.deliver = conc__post_deliver;
    post->fn = fn;
    post->arg = arg;
    conc__loop_send(loop, &post->mail);
    return CONC_OK;
}

static void conc__task_cancel_one(conc_task *t, void *arg) {
    (void)arg; /* (one that is new comes after this) */
    if (t->state != CONC__TASK_ENDED && t->state != CONC__TASK_NEW) (void)conc_task_cancel(t);
}

static void conc__loop_cancel_here(void *loop) {
    conc__loop_tasks_each((conc_loop *)loop, conc__task_cancel_one, NULL);
}

conc_result conc_loop_cancel(conc_loop *loop) {
    return conc_loop_post(loop, conc__loop_cancel_here, loop);
}

size_t conc_loop_count(const conc_loop *loop) {
    return loop == NULL ? 0 : conc__peekz(&loop->alive) + conc__loadz(&loop->arrivals, CONC__RELAXED);
}

conc_loop *conc_loop_current(void) {
    return conc__self()->loop;
}

conc_task *conc_task_current(void) {
    return conc__self()->task;
}

/* ---- tasks, as users see them ------------------------------------------------------------------------------------- */

static CONC__ALWAYS_INLINE void conc__task_begin(conc_task *t, conc_loop *loop, unsigned flags) {
    t->waiter.wake = conc__task_wake;
    t->waiter.claimed = CONC__CLAIMED_NOT_WAITING;
    t->timer.list.prev = NULL;
    t->parked = NULL;
    t->top = conc__task_root(t);
    t->loop = loop;
    t->limit = NULL;
    t->shared = CONC__TASK_HANDLE;
    t->flags = (uint8_t)flags;
    t->code = 0;
}

static CONC__NOINLINE void *conc__co_new_any(conc_loop *loop, size_t size, const conc_task_desc *desc) {
    conc_group *group = desc != NULL ? desc->group : NULL;
    conc_task *t;
    conc__task_extra *extra = NULL;
    conc__slab *slab;
    size_t tokens = desc != NULL ? conc__tokens_count(desc->cancel) : 0;
    bool here, foreign = false;
    if (group != NULL) {
        conc_loop *groups = conc__group_loop(group);
        if (loop != NULL && loop != groups) {
            (void)conc__fail(CONC_INVALID, "spawn: the group is another loop's");
            return NULL;
        }
        loop = groups;
    }
    if (CONC__UNLIKELY(loop == NULL || conc__loop_is_forked(loop))) {
        (void)conc__loop_check(loop, "spawn");
        return NULL;
    }
    if (group != NULL && conc__group_check(group) != CONC_OK) return NULL;
    slab = &loop->own;
    here = conc__loop_is_here(loop);
    if (!here) {
        conc__lock_take(&loop->gate);
        foreign = loop->running;
        if (foreign) slab = &loop->foreign;
    }
    t = (conc_task *)conc__slab_take(slab, CONC__SLAB_TASKS, CONC__TASK_SIZE + size, "a task");
    if (t != NULL && desc != NULL) {
        extra = (conc__task_extra *)conc__slab_take(slab, CONC__SLAB_BLOCKS, conc__extra_size(tokens), "a task's desc");
        if (extra == NULL) {
            conc__slab_give(slab, CONC__SLAB_TASKS, t, CONC__TASK_SIZE + size);
            t = NULL;
        }
    }
    if (t != NULL) t->state = CONC__TASK_NEW; /* under the gate, against conc__tasks_each() */
    if (!here) conc__lock_give(&loop->gate);
    if (t == NULL) {
        if (group != NULL) conc__group_forgo(group);
        return NULL;
    }
    if (extra != NULL) {
        memset(extra, 0, conc__extra_size(tokens));
        extra->name = desc->name;
        extra->cancel = desc->cancel;
        extra->group = group;
        extra->start = desc->start.ns;
        extra->token_count = tokens;
    }
    conc__task_begin(t, loop, foreign ? CONC__TASK_FOREIGN : 0);
    t->next = (conc_task *)(void *)extra; /* until the frame has been filled */
    return conc__task_root(t);
}

/* The fast path: in the loop's thread. */
void *conc__co_new(conc_loop *loop, size_t size, const conc_task_desc *desc) {
    conc_task *t;
    if (CONC__UNLIKELY(loop == NULL || desc != NULL || !conc__loop_is_here(loop))) return conc__co_new_any(loop, size, desc);
    t = (conc_task *)conc__slab_take(&loop->own, CONC__SLAB_TASKS, CONC__TASK_SIZE + size, "a task");
    if (CONC__UNLIKELY(t == NULL)) return NULL;
    t->state = CONC__TASK_NEW;
    conc__task_begin(t, loop, 0);
    t->next = NULL;
    return conc__task_root(t);
}

conc_task *conc__co_start(conc_co *co, const conc_co_class *cls) {
    conc_task *t = conc__task_of_root(co);
    conc_loop *loop = t->loop;
    conc__task_extra *extra = (conc__task_extra *)(void *)t->next;
    conc__co_begin(co, cls, extra);
    if (CONC__LIKELY(extra == NULL && conc__loop_is_here(loop))) {
        conc__pokez(&loop->alive, loop->alive + 1);
        conc__task_ready(t);
        return t;
    }
    if (extra != NULL && extra->group != NULL) conc__group_enter(extra->group, t);
    if (conc__loop_is_here(loop)) {
        conc__task_admit(t);
    } else {
        bool running;
        conc__lock_take(&loop->gate);
        running = loop->running;
        if (!running) conc__task_admit(t);
        conc__lock_give(&loop->gate);
        if (running) {
            (void)conc__addz(&loop->arrivals, 1, CONC__RELAXED);
            conc__loop_push(loop, t);
        }
    }
    return t;
}

conc_result conc__co_go(conc_task *t) {
    if (CONC__UNLIKELY(t == NULL)) return conc_error_result();
    if (CONC__LIKELY(conc__loop_is_here(t->loop))) { /* it has not run yet: nobody else has seen it, but for its group */
        if (conc__task_extra_of(t) == NULL) {
            conc__store32(&t->shared, 0, CONC__RELAXED);
        } else {
            (void)conc__and32(&t->shared, ~CONC__TASK_HANDLE, CONC__ACQ_REL);
        }
        return CONC_OK;
    }
    return conc_task_detach(t);
}

const conc_task_desc *conc__desc_later(double seconds) {
    conc_task_desc *desc = &conc__self()->spawn;
    memset(desc, 0, sizeof *desc);
    desc->start = conc_after(seconds);
    return desc;
}

const conc_task_desc *conc__desc_group(conc_group *group) {
    conc_task_desc *desc = &conc__self()->spawn;
    memset(desc, 0, sizeof *desc);
    desc->group = group;
    return desc;
}

static conc_result conc__task_invalid(const conc_task *t, const char *what) {
    return t == NULL ? conc__fail(CONC_INVALID, "%s: NULL", what)
                     : conc__fail(CONC_INVALID, "%s: the task was joined or detached before", what);
}

static conc_result conc__task_end_attempt(conc_op *op) {
    conc_task *t = (conc_task *)op->object;
    uint32_t s;
    if (t == NULL) return conc__task_invalid(t, "join");
    s = conc__load32(&t->shared, CONC__ACQUIRE);
    if ((s & CONC__TASK_HANDLE) == 0) return conc__task_invalid(t, "join");
    if (conc__loop_is_forked(t->loop)) return conc__fail(CONC_FORKED, "join: the task was made before fork()");
    if (conc__self()->task == t) return conc__fail(CONC_DEADLOCK, "join: a task cannot wait for its own end");
    return (s & CONC__TASK_IS_ENDED) != 0 ? CONC_OK : CONC_PENDING;
}

static conc_result conc__task_join_attempt(conc_op *op) {
    conc_task *t = (conc_task *)op->object;
    conc_result r = conc__task_end_attempt(op);
    int code;
    if (r != CONC_OK) return r;
    code = t->code;
    if (!conc__task_release(t, op->data == NULL)) return conc__task_invalid(t, "join");
    if (op->data != NULL) *(int *)op->data = code;
    return CONC_OK;
}

static bool conc__task_end_arm(conc_op *op, conc_node *node) {
    conc_task *t = (conc_task *)op->object;
    conc__bucket *b = conc__bucket_lock(t);
    /* The end sets its bit and looks at ours in one step, as we do: one of us sees the other. So does a detach. */
    bool wait = (conc__or32(&t->shared, CONC__TASK_AWAITED, CONC__SEQ_CST) & (CONC__TASK_IS_ENDED | CONC__TASK_HANDLE)) ==
                CONC__TASK_HANDLE;
    if (wait) conc__bucket_push(b, t, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_join(conc_task *task, int *code) {
    static const conc_op_class cls = {"join", CONC_BUSY, conc__task_join_attempt, conc__task_end_arm, NULL, NULL};
    return conc_op_make(&cls, task, code);
}

conc_op conc_op_task_end(conc_task *task) {
    static const conc_op_class cls = {"task end", CONC_BUSY, conc__task_end_attempt, conc__task_end_arm, NULL, NULL};
    return conc_op_make(&cls, task, NULL);
}

conc_result conc_task_join(conc_task *task, int *code, conc_deadline deadline) {
    conc_op op = conc_op_join(task, code);
    op.result = op.cls->attempt(&op);
    return op.result != CONC_PENDING ? op.result : conc__loop_wait(task->loop, op, deadline);
}

/* So many ends among several: `object` is the array, `word` its length and the number wanted. */
static conc_result conc__task_ends_attempt(conc_op *op) {
    conc_task *const *tasks = (conc_task *const *)op->object;
    size_t n = (size_t)(op->word >> 32), wanted = (size_t)(op->word & 0xffffffffu), i, ended = 0;
    uint32_t shared;
    if (tasks == NULL && n != 0) return conc__fail(CONC_INVALID, "join of several: NULL");
    for (i = 0; i < n; i++) {
        if (tasks[i] == NULL || tasks[i]->loop != tasks[0]->loop) {
            return conc__fail(CONC_INVALID, "join of several: task %zu is %s", i, tasks[i] == NULL ? "NULL" : "another loop's");
        }
        if (i == 0 && conc__loop_is_forked(tasks[0]->loop)) {
            return conc__fail(CONC_FORKED, "join: the tasks were made before fork()");
        }
        if (tasks[i] == conc__self()->task) return conc__fail(CONC_DEADLOCK, "join: a task cannot wait for its own end");
        shared = conc__load32(&tasks[i]->shared, CONC__ACQUIRE);
        if ((shared & CONC__TASK_HANDLE) == 0) {
            return conc__fail(CONC_INVALID, "join of several: task %zu was joined or detached before", i);
        }
        ended += (shared & CONC__TASK_IS_ENDED) != 0 ? 1u : 0u;
    }
    return ended >= wanted ? CONC_OK : CONC_PENDING;
}

static bool conc__task_ends_arm(conc_op *op, conc_node *node) {
    conc_task *const *tasks = (conc_task *const *)op->object;
    const void *key = &tasks[0]->loop->alive;
    size_t n = (size_t)(op->word >> 32), wanted = (size_t)(op->word & 0xffffffffu), i, ended = 0;
    conc__bucket *b = conc__bucket_lock(key);
    bool wait = true;
    for (i = 0; i < n; i++) { /* as conc__task_end_arm() */
        uint32_t shared = conc__or32(&tasks[i]->shared, CONC__TASK_AWAITED, CONC__SEQ_CST);
        if ((shared & CONC__TASK_IS_ENDED) != 0) ended++;
        if ((shared & CONC__TASK_HANDLE) == 0) wait = false;
    }
    wait = wait && ended < wanted;
    if (wait) conc__bucket_push(b, key, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

conc_op conc_op_task_ends(conc_task *const *tasks, size_t n, size_t count) {
    static const conc_op_class cls = {"task ends", CONC_BUSY, conc__task_ends_attempt, conc__task_ends_arm, NULL, NULL};
    conc_op op = conc_op_make(&cls, (void *)(uintptr_t)tasks, NULL);
    op.word = (uint64_t)n << 32 | (uint32_t)(count == 0 || count > n ? n : count);
    return op;
}

conc_result conc_task_join_all(conc_task *const *tasks, size_t n, size_t count, conc_deadline deadline) {
    conc_op op = conc_op_task_ends(tasks, n, count);
    if (n == 0) return CONC_OK;
    if (tasks == NULL) return conc__fail(CONC_INVALID, "conc_task_join_all: NULL");
    op.result = op.cls->attempt(&op);
    return op.result != CONC_PENDING ? op.result : conc__loop_wait(tasks[0]->loop, op, deadline);
}

conc_result conc_task_detach(conc_task *task) {
    uint32_t s = task != NULL ? conc__load32(&task->shared, CONC__ACQUIRE) : 0;
    if ((s & CONC__TASK_HANDLE) == 0) return conc__task_invalid(task, "conc_task_detach");
    return conc__task_release(task, true) ? CONC_OK : conc__task_invalid(task, "conc_task_detach");
}

conc_result conc_task_cancel(conc_task *task) {
    uint32_t ticket;
    if (task == NULL) return conc__fail(CONC_INVALID, "conc_task_cancel: NULL");
    if ((conc__or32(&task->shared, CONC__TASK_CANCEL, CONC__SEQ_CST) & CONC__TASK_IS_ENDED) != 0) return CONC_CLOSED;
    ticket = conc__load32(&task->waiter.claimed, CONC__SEQ_CST); /* (a swap that fails may have seen an older value) */
    if (ticket == 0 && conc__cas32(&task->waiter.claimed, &ticket, CONC__TICKET_CANCEL, CONC__SEQ_CST)) {
        conc__task_wake(&task->waiter);
    }
    return CONC_OK;
}

bool conc_task_has_ended(const conc_task *task) {
    bool has = task != NULL && (conc__load32(&task->shared, CONC__ACQUIRE) & CONC__TASK_IS_ENDED) != 0;
    CONC__OPAQUE();
    return has;
}

const char *conc_task_name(const conc_task *task) {
    const conc__task_extra *extra = task != NULL ? conc__task_extra_of((conc_task *)(uintptr_t)task) : NULL;
    if (task == NULL) return "";
    return extra != NULL && extra->name != NULL ? extra->name : conc__task_root((conc_task *)(uintptr_t)task)->conc__cls->name;
}

/* ---- for reports ------------------------------------------------------------------------------------------------------- */

void conc__loop_each(void (*visit)(conc_loop *loop, void *arg), void *arg) {
    conc_loop *loop;
    conc__loops_begin();
    conc__lock_take(&conc__loops_lock);
    for (loop = conc__loops; loop != NULL; loop = loop->next) visit(loop, arg);
    conc__lock_give(&conc__loops_lock);
}

size_t conc__loop_turns(const conc_loop *loop) {
    return conc__peekz(&loop->turns);
}

bool conc__loop_where(const conc_loop *loop, char *text, size_t size) {
    const conc_co_class *runs = (const conc_co_class *)conc__peekp(&loop->runs);
    uint32_t line = conc__peek32(&loop->runs_from) & CONC__CO_LINE;
    if (runs == NULL) {
        (void)snprintf(text, size, "%s runs no coroutine", loop->name);
    } else {
        (void)snprintf(text, size, "%s runs \"%s\", which went on at %s:%u", loop->name, runs->name, runs->file, (unsigned)line);
    }
    return runs != NULL;
}

typedef struct conc__describing {
    const conc_loop *loop;
    void (*line)(const char *text, void *arg);
    void *arg;
    size_t count;
} conc__describing;

static void conc__task_describe(conc_task *t, void *arg) {
    conc__describing *d = (conc__describing *)arg;
    char text[400];
    const conc_co *top = t->top;
    conc__parked *p = t->parked;
    double since = (double)((uint32_t)(d->loop->now / 1000000) - t->since) * 1e-3;
    int n;
    if (t->state == CONC__TASK_NEW || t->state == CONC__TASK_ENDED) return;
    n = snprintf(text, sizeof text, "%s: task \"%s\"", d->loop->name, conc_task_name(t));
    if (top != conc__task_root(t)) {
        n += snprintf(text + n, sizeof text - (size_t)n, " in \"%s\"", top->conc__cls->name);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, " at %s:%u ", top->conc__cls->file,
                  (unsigned)(top->conc__line & CONC__CO_LINE));
    if (t == conc__self()->task) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "runs");
    } else if (t->state == CONC__TASK_ASIDE) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "waits for room in its group");
    } else if (t->state == CONC__TASK_READY || t->state == CONC__TASK_BEHIND) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "is ready");
    } else if (p == NULL) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "sleeps since %.3f s", since);
    } else if (p->count > 1) {
        (void)snprintf(text + n, sizeof text - (size_t)n, "waits for the first of %u since %.3f s", (unsigned)p->count, since);
    } else {
        (void)snprintf(text + n, sizeof text - (size_t)n, "waits in %s for %p since %.3f s",
                       conc__parked_ops(p)[0].cls->name != NULL ? conc__parked_ops(p)[0].cls->name : "?",
                       conc__parked_ops(p)[0].object, since);
    }
    d->count++;
    d->line(text, d->arg);
}

void conc__loop_describe(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg) {
    conc__describing d;
    char text[80];
    (void)snprintf(text, sizeof text, "%s: %zu tasks", loop->name, loop->alive);
    line(text, arg);
    d.loop = loop;
    d.line = line;
    d.arg = arg;
    d.count = 0;
    conc__tasks_each(&loop->own, conc__task_describe, &d);
    if (loop->running) conc__lock_take(&loop->gate); /* (who calls has it, if it is idle) */
    conc__tasks_each(&loop->foreign, conc__task_describe, &d);
    if (loop->running) conc__lock_give(&loop->gate);
}

bool conc__loop_describe_if_idle(conc_loop *loop, void (*line)(const char *text, void *arg), void *arg) {
    bool idle;
    conc__lock_take(&loop->gate);
    idle = !loop->running;
    if (idle) conc__loop_describe(loop, line, arg);
    conc__lock_give(&loop->gate);
    return idle;
}

/* ==== end src/loop.c ==== */

/* ==== begin src/group.c ==== */

/* ============================================================================================
 * group: groups of tasks; see loop.h. A group has a lock of its own, because tasks enter from any thread; who waits for it
 * stands in the table under its address.
 * ========================================================================================== */

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

/* ==== end src/group.c ==== */

/* ==== begin src/offload.c ==== */

/* ============================================================================================
 * offload: runs blocking calls in threads of its own; see loop.h. One list of jobs and as many daemon threads as there are
 * calls under way, up to a bound; each ends when it has had nothing to do for a while.
 * ========================================================================================== */

#define CONC__OFFLOAD_THREADS 32
#define CONC__OFFLOAD_IDLE 5.0

enum { CONC__JOB_QUEUED, CONC__JOB_RUNS, CONC__JOB_DONE, CONC__JOB_WITHDRAWN, CONC__JOB_REFUSED };

typedef struct conc__job {
    struct conc__job *next;
    conc_fn fn;
    conc_result (*finish)(void *arg); /* makes the wait's result of what fn left in `arg`; NULL: its code does */
    size_t size;
    conc_pool *pool; /* NULL: it is in the list here */
    int code;
    uint32_t state; /* atomic: DONE publishes the code and the bytes. Waited for under this address */
    uint32_t users; /* atomic: the wait; and the list or the pool's queue, or the thread that runs it */
} conc__job;
#define CONC__JOB_HEAD ((sizeof(conc__job) + 15u) & ~(size_t)15u) /* the copy of the argument follows */

static conc_mutex conc__offload_lock;         /* guards all below */
static conc_cond conc__offload_more;          /* there is a job; or, in a simulation, it is over */
static conc__job *conc__offload_jobs, **conc__offload_end = &conc__offload_jobs;
static size_t conc__offload_threads, conc__offload_idle, conc__offload_waiting;
static bool conc__offload_over;               /* only ever set in a simulation, at its end, when leaks are counted */

/* In a child of fork() there are no such threads. Jobs that were queued are the parent's. */
static void conc__offload_reset(void) {
    memset(&conc__offload_lock, 0, sizeof conc__offload_lock);
    memset(&conc__offload_more, 0, sizeof conc__offload_more);
    conc__offload_jobs = NULL;
    conc__offload_end = &conc__offload_jobs;
    conc__offload_threads = conc__offload_idle = conc__offload_waiting = 0;
    conc__offload_over = false;
}

void conc__offload_begin(void) {
    conc__on_fork(CONC__RESET_OFFLOAD, conc__offload_reset);
}

static void *conc__job_bytes(conc__job *job) {
    return (char *)job + CONC__JOB_HEAD;
}

static void conc__job_unuse(conc__job *job) {
    if (conc__sub32(&job->users, 1, CONC__ACQ_REL) == 1) conc__free(job);
}

/* The library's own waits here are not the caller's: no token ends them. */
static void conc__offload_take(void) {
    conc_cancel *token = conc_cancel_use(NULL);
    conc_result r = conc_mutex_lock(&conc__offload_lock, CONC_FOREVER);
    (void)r; /* it is locked: nobody holds it twice, or across a fork() */
    (void)conc_cancel_use(token);
}

static void conc__offload_give(void) {
    (void)conc_mutex_unlock(&conc__offload_lock);
}

/* The next job; NULL: none has come for so long that the thread may end. */
static conc__job *conc__offload_next(void) {
    conc__job *job;
    conc_deadline patience = conc_after(CONC__OFFLOAD_IDLE);
    conc__offload_take();
    conc__offload_idle++;
    while (conc__offload_jobs == NULL && !conc__offload_over) {
        if (conc_cond_wait(&conc__offload_more, &conc__offload_lock, patience) == CONC_TIMEOUT) break;
    }
    conc__offload_idle--;
    job = conc__offload_jobs;
    if (job != NULL) {
        conc__offload_jobs = job->next;
        if (conc__offload_jobs == NULL) conc__offload_end = &conc__offload_jobs;
        conc__offload_waiting--;
        conc__store32(&job->state, CONC__JOB_RUNS, CONC__RELAXED);
    } else {
        conc__offload_threads--;
    }
    conc__offload_give();
    return job;
}

/* Release. Whoever armed before has its node in the list, whoever arms later reads this. */
static void conc__job_done(conc__job *job, uint32_t state) {
    conc__store32(&job->state, state, CONC__RELEASE);
    (void)conc__wake_waiters(job, CONC__ANY_TAG, CONC_ALL);
    conc__job_unuse(job);
}

static int conc__offload_thread(void *unused) {
    conc__job *job;
    (void)unused;
    while ((job = conc__offload_next()) != NULL) {
        job->code = job->fn(conc__job_bytes(job));
        (void)conc_cancel_use(NULL);
        conc__job_done(job, CONC__JOB_DONE);
    }
    return 0;
}

/* ---- in a thread pool ---- */

int conc__offload_task(void *p) {
    conc__job *job = (conc__job *)p;
    uint32_t state = CONC__JOB_QUEUED;
    if (conc__cas32(&job->state, &state, CONC__JOB_RUNS, CONC__ACQUIRE)) {
        conc_cancel *token = conc_cancel_use(NULL);
        job->code = job->fn(conc__job_bytes(job));
        (void)conc_cancel_use(token);
        conc__job_done(job, CONC__JOB_DONE);
    } else {
        conc__job_unuse(job); /* withdrawn */
    }
    return 0;
}

/* The pool was closed at once. */
void conc__offload_drop(void *p) {
    conc__job *job = (conc__job *)p;
    uint32_t state = CONC__JOB_QUEUED;
    if (conc__cas32(&job->state, &state, CONC__JOB_RUNS, CONC__ACQUIRE)) {
        conc__job_done(job, CONC__JOB_REFUSED);
    } else {
        conc__job_unuse(job);
    }
}

static conc_result conc__offload_to_pool(conc__job *job) {
    conc__item item;
    conc_result r;
    item.fn = conc__offload_task;
    item.arg = job;
    if (conc__pool_is_forked(job->pool)) return conc__fail(CONC_FORKED, "conc_op_offload: the pool's threads are in the process that forked");
    r = conc__pool_place(job->pool, &item, 0);
    return r == CONC_FULL ? conc__fail(CONC_REJECTED, "pool full: \"%s\" has no place for an offloaded call", conc_pool_name(job->pool)) : r;
}

/* Queues the job, and starts a thread for it if none is idle. CONC_OK, or why there is no thread at all. */
static conc_result conc__offload_submit(conc__job *job) {
    conc_result r = CONC_OK;
    bool start, wake;
    conc__offload_take();
    *conc__offload_end = job;
    conc__offload_end = &job->next;
    conc__offload_waiting++;
    wake = conc__offload_idle != 0;
    start = conc__offload_waiting > conc__offload_idle && conc__offload_threads < CONC__OFFLOAD_THREADS;
    if (start) {
        conc_thread_desc desc;
        conc_thread *t;
        memset(&desc, 0, sizeof desc);
        desc.name = "conc-offload";
        desc.daemon = true;
        t = conc_thread_start(conc__offload_thread, NULL, &desc);
        if (t != NULL) {
            conc__offload_threads++;
            (void)conc_thread_detach(t);
        } else if (conc__offload_threads == 0) { /* then it is the only job, too */
            r = conc_error_result();
            conc__offload_jobs = NULL;
            conc__offload_end = &conc__offload_jobs;
            conc__offload_waiting = 0;
        }
    }
    conc__offload_give();
    if (wake && r == CONC_OK) (void)conc_cond_signal(&conc__offload_more);
    return r;
}

/* Out of the list, if it is still there. (Out of a pool's queue it comes in its turn, and finds that it is not to run.) */
static bool conc__offload_withdraw(conc__job *job) {
    conc__job **link = &conc__offload_jobs;
    bool found;
    if (job->pool != NULL) {
        uint32_t state = CONC__JOB_QUEUED;
        (void)conc__cas32(&job->state, &state, CONC__JOB_WITHDRAWN, CONC__RELAXED);
        return false;
    }
    conc__offload_take();
    while (*link != NULL && *link != job) link = &(*link)->next;
    found = *link != NULL;
    if (found) {
        *link = job->next;
        if (*link == NULL) conc__offload_end = link; /* it was the last */
        conc__offload_waiting--;
    }
    conc__offload_give();
    return found;
}

#if defined(CONC_SIM)
void conc__offload_end_all(void) {
    conc__offload_take();
    conc__offload_over = true;
    conc__offload_give();
    (void)conc_cond_broadcast(&conc__offload_more);
}
#endif

/* ---- the op: of one class until its job is on its way, then of another; or of a third, if that failed ------- */

static conc_result conc__offload_pending(conc_op *op) {
    if (op->object == NULL) return conc__fail(CONC_INVALID, "conc_op_offload: no function");
    return CONC_PENDING;
}

static conc_result conc__offload_attempt(conc_op *op) {
    conc__job *job = (conc__job *)op->object;
    conc_result (*finish)(void *arg);
    int code;
    uint32_t state = conc__load32(&job->state, CONC__ACQUIRE);
    if (state == CONC__JOB_REFUSED) {
        conc__job_unuse(job);
        return conc__fail(CONC_CLOSED, "the pool was closed before the offloaded call began");
    }
    if (state != CONC__JOB_DONE) return CONC_PENDING;
    if (job->size != 0) memcpy(op->data, conc__job_bytes(job), job->size);
    code = job->code;
    finish = job->finish;
    conc__job_unuse(job);
    if (finish != NULL) return finish(op->data);
    return code == 0 ? CONC_OK : conc__fail(CONC_FAILED, "the offloaded function returned %d", code);
}

static bool conc__offload_arm(conc_op *op, conc_node *node) {
    conc__bucket *b = conc__bucket_lock(op->object);
    uint32_t state = conc__load32(&((conc__job *)op->object)->state, CONC__ACQUIRE);
    bool wait = state != CONC__JOB_DONE && state != CONC__JOB_REFUSED;
    if (wait) conc__bucket_push(b, op->object, node, 0);
    conc__bucket_unlock(b);
    return wait;
}

static void conc__offload_abandon(conc_op *op) {
    conc__job *job = (conc__job *)op->object;
    if (conc__offload_withdraw(job)) conc__job_unuse(job);
    conc__job_unuse(job);
}

static conc_result conc__offload_failed(conc_op *op) {
    return (conc_result)-(int)op->word;
}

static bool conc__offload_arm_in(conc_pool *pool, conc_op *op, conc_node *node, conc_fn fn, size_t size,
                                 conc_result (*finish)(void *arg));

static bool conc__offload_start(conc_op *op, conc_node *node) {
    conc_fn fn;
    memcpy(&fn, &op->object, sizeof fn); /* ISO C has no cast between the two */
    return conc__offload_arm_in((conc_pool *)(uintptr_t)op->node.conc__key, op, node, fn, (size_t)op->word, NULL);
}

static const conc_op_class conc__offload_new = {"offload", CONC_BUSY, conc__offload_pending, conc__offload_start, NULL, NULL};
static const conc_op_class conc__offload_sent = {"offload", CONC_BUSY, conc__offload_attempt, conc__offload_arm,
                                                 NULL, conc__offload_abandon};
static const conc_op_class conc__offload_lost = {"offload", CONC_BUSY, conc__offload_failed, conc__offload_arm, NULL, NULL};

static bool conc__offload_arm_in(conc_pool *pool, conc_op *op, conc_node *node, conc_fn fn, size_t size,
                                 conc_result (*finish)(void *arg)) {
    conc__job *job = size <= SIZE_MAX - CONC__JOB_HEAD ? (conc__job *)conc__alloc(1, CONC__JOB_HEAD + size, "an offloaded call")
                                                       : NULL;
    conc_result r = job != NULL ? CONC_OK : CONC_NO_MEMORY;
    conc__offload_begin();
    if (job != NULL) {
        job->fn = fn;
        job->finish = finish;
        job->size = size;
        job->users = 2;
        if (size != 0) memcpy(conc__job_bytes(job), op->data, size);
        job->pool = pool;
        r = pool != NULL ? conc__offload_to_pool(job) : conc__offload_submit(job);
    }
    if (r != CONC_OK) {
        conc__free(job);
        op->cls = &conc__offload_lost;
        op->word = (uint64_t)-(int)r;
        return false;
    }
    op->object = job;
    op->cls = &conc__offload_sent;
    return conc__offload_arm(op, node);
}

bool conc__offload_arm_new(conc_op *op, conc_node *node, conc_fn fn, size_t size, conc_result (*finish)(void *arg)) {
    return conc__offload_arm_in(NULL, op, node, fn, size, finish);
}

conc_op conc_op_offload_bytes(struct conc_pool *pool, conc_fn fn, void *arg, size_t size) {
    conc_op op = conc_op_make(&conc__offload_new, NULL, arg);
    memcpy(&op.object, &fn, sizeof op.object);
    op.word = arg != NULL ? size : 0;
    op.node.conc__key = pool; /* free until it is armed, and then another op */
    return op;
}

/* ==== end src/offload.c ==== */

/* ==== begin src/report.c ==== */

/* ============================================================================================
 * report: conc_dump(), and who looks whether a loop stands still; see loop.h.
 * ========================================================================================== */

/* ---- the dump ------------------------------------------------------------------------------------ */

typedef struct conc__dumping {
    void (*line)(const char *text, void *arg);
    void *arg;
} conc__dumping;

static void conc__line_to_stderr(const char *text, void *arg) {
    (void)arg;
    fprintf(stderr, "%s\n", text);
}

static void conc__thread_describe(const conc_thread *t, const conc__agent *agent, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    char text[160];
    const char *in = agent != NULL ? (const char *)conc__peekp(&agent->sleeps_in) : NULL;
    if (in == NULL) {
        (void)snprintf(text, sizeof text, "thread \"%s\"%s runs", conc_thread_name(t),
                       conc_thread_is_daemon(t) ? " (daemon)" : "");
    } else {
        (void)snprintf(text, sizeof text, "thread \"%s\"%s waits in %s for %p since %.3f s", conc_thread_name(t),
                       conc_thread_is_daemon(t) ? " (daemon)" : "", in, (const void *)conc__peekp(&agent->sleeps_for),
                       (double)((size_t)(conc__port_clock_ns() / 1000000) - conc__peekz(&agent->sleeps_since)) * 1e-3);
    }
    d->line(text, d->arg);
}

static void conc__pool_describe(conc_pool *pool, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    conc_pool_stats s = conc_pool_stats_of(pool);
    char text[200];
    (void)snprintf(text, sizeof text, "pool \"%s\": %u threads, %u idle; %zu tasks queued, %zu scheduled, %llu completed", conc_pool_name(pool),
                   s.threads, s.idle, s.queued, s.scheduled, (unsigned long long)s.completed);
    d->line(text, d->arg);
}

/* A loop that runs in another thread is asked to write its lines itself. Who asks waits until it has, or until it is too
 * late; then the loop drops the request. */
enum { CONC__ASKED, CONC__ANSWERING, CONC__ANSWERED, CONC__GIVEN_UP };
typedef struct conc__question {
    conc__mail mail;
    const conc__dumping *dumping;
    uint32_t state; /* atomic */
    uint32_t users; /* atomic: the two of them */
    conc_event answered;
} conc__question;

static void conc__question_unuse(conc__question *q) {
    if (conc__sub32(&q->users, 1, CONC__ACQ_REL) == 1) conc__free(q);
}

static void conc__question_deliver(conc__mail *mail, conc_loop *loop) {
    conc__question *q = (conc__question *)(void *)mail;
    uint32_t asked = CONC__ASKED;
    if (conc__cas32(&q->state, &asked, CONC__ANSWERING, CONC__ACQUIRE)) {
        conc__loop_describe(loop, q->dumping->line, q->dumping->arg);
        (void)conc_event_set(&q->answered);
    }
    conc__question_unuse(q);
}

static void conc__loop_dump(conc_loop *loop, void *arg) {
    const conc__dumping *d = (const conc__dumping *)arg;
    conc__question *q;
    conc_op answered;
    char text[400];
    if (conc__self()->loop == loop) {
        conc__loop_describe(loop, d->line, d->arg);
        return;
    }
    if (conc__loop_describe_if_idle(loop, d->line, d->arg)) return;
    q = (conc__question *)conc__alloc(1, sizeof *q, "a question to a loop");
    if (q != NULL) {
        uint32_t asked = CONC__ASKED;
        conc_result r;
        q->mail.deliver = conc__question_deliver;
        q->dumping = d;
        q->users = 2;
        conc__loop_send(loop, &q->mail);
        answered = conc_op_event(&q->answered);
        r = conc__wait_uncanceled(&answered, conc_after(0.5));
        if (r != CONC_OK && !conc__cas32(&q->state, &asked, CONC__GIVEN_UP, CONC__RELAXED)) {
            answered = conc_op_event(&q->answered);
            r = conc__wait_uncanceled(&answered, CONC_FOREVER); /* it is writing */
        }
        conc__question_unuse(q);
        if (r == CONC_OK) return;
    }
    (void)conc__loop_where(loop, text, sizeof text - 20);
    memcpy(text + strlen(text), ", does not answer", sizeof ", does not answer");
    d->line(text, d->arg);
}

void conc_dump(void (*line)(const char *text, void *arg), void *arg) {
    conc__dumping d;
    d.line = line != NULL ? line : conc__line_to_stderr;
    d.arg = arg;
    conc__agent_each(conc__thread_describe, &d);
    conc__pool_each(conc__pool_describe, &d);
    conc__loop_each(conc__loop_dump, &d);
}

/* ---- standing still ------------------------------------------------------------------------------------
 * A timer that comes back each `period`: if the same resume runs as the last time, it is told, once. */

struct conc__stall {
    conc_loop *loop;         /* constant, as is the period */
    double period;
    conc__lock lock;         /* guards all below */
    conc_timer *timer;       /* the one that is to come, or runs; NULL: there could not be another */
    bool over;
    size_t turns, told;      /* the loop's count when we last looked, and when we last told */
};

static int conc__stall_look(void *arg) {
    conc__stall *s = (conc__stall *)arg;
    size_t turns = conc__loop_turns(s->loop);
    double period = s->period;
    char text[400];
    bool stalled = false;
    conc__lock_take(&s->lock);
    if (!s->over) {
        conc_timer *before = s->timer;
        stalled = conc__loop_where(s->loop, text, sizeof text) && turns == s->turns && turns != s->told;
        s->turns = turns;
        if (stalled) s->told = turns;
        s->timer = conc_timer_start(conc__stall_look, s, conc_after(s->period));
        conc_timer_release(before);
    }
    conc__lock_give(&s->lock);
    if (stalled) conc__report(CONC_BUSY, 0, NULL, "%s, and has not suspended for %g s", text, period); /* (`s` may be gone) */
    return 0;
}

conc__stall *conc__stall_new(conc_loop *loop, double seconds) {
    conc__stall *s = (conc__stall *)conc__alloc(1, sizeof *s, "who looks after a loop");
    bool started;
    if (s == NULL) return NULL;
    s->loop = loop;
    s->period = seconds;
    s->told = (size_t)-1;
    conc__lock_take(&s->lock);
    s->timer = conc_timer_start(conc__stall_look, s, conc_after(seconds));
    started = s->timer != NULL;
    conc__lock_give(&s->lock);
    if (started) return s;
    conc__free(s);
    return NULL;
}

void conc__stall_free(conc__stall *s) {
    conc_timer *timer;
    conc__lock_take(&s->lock);
    s->over = true;
    timer = s->timer;
    conc__lock_give(&s->lock);
    if (timer != NULL) {
        if (conc_timer_cancel(timer) != CONC_OK) {
            conc_op ended = conc_op_timer(timer);
            (void)conc__wait_uncanceled(&ended, CONC_FOREVER); /* it runs, and is short */
        }
        conc_timer_release(timer);
    }
    conc__free(s);
}

/* ==== end src/report.c ==== */

/* ==== begin src/net.c ==== */

/* ============================================================================================
 * net: see net.h.
 * ========================================================================================== */

#define CONC__READS_SIDE 0u
#define CONC__WRITES_SIDE 1u

/* ---- addresses: text ----------------------------------------------------------------------------- */

/* A decimal number up to `most`, at **text, which moves behind it. */
static bool conc__parse_number(const char **text, unsigned long most, unsigned long *n) {
    const char *c = *text;
    *n = 0;
    if (*c < '0' || *c > '9') return false;
    for (; *c >= '0' && *c <= '9'; c++) {
        *n = *n * 10 + (unsigned long)(*c - '0');
        if (*n > most) return false;
    }
    *text = c;
    return true;
}

static bool conc__parse_v4(const char **text, uint8_t *ip) {
    const char *c = *text;
    unsigned long n;
    int i;
    for (i = 0; i < 4; i++) {
        if (i > 0 && *c++ != '.') return false;
        if (c[0] == '0' && c[1] >= '0' && c[1] <= '9') return false; /* octal, to some */
        if (!conc__parse_number(&c, 255, &n)) return false;
        ip[i] = (uint8_t)n;
    }
    *text = c;
    return true;
}

static int conc__hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool conc__parse_v6(const char **text, uint8_t *ip) {
    const char *c = *text;
    uint8_t bytes[16];
    size_t n = 0, gap = 17; /* where "::" stands */
    memset(bytes, 0, sizeof bytes);
    if (c[0] == ':' && c[1] == ':') {
        gap = 0;
        c += 2;
    }
    while (n < 16 && conc__hex_digit(*c) >= 0) {
        const char *group = c;
        unsigned value = 0;
        int digits;
        for (digits = 0; digits < 4 && conc__hex_digit(*c) >= 0; digits++) value = value * 16 + (unsigned)conc__hex_digit(*c++);
        if (*c == '.') { /* the last four bytes as of version 4 */
            if (n > 12 || !conc__parse_v4(&group, &bytes[n])) return false;
            c = group;
            n += 4;
            break;
        }
        bytes[n++] = (uint8_t)(value >> 8);
        bytes[n++] = (uint8_t)(value & 0xffu);
        if (c[0] != ':' || n == 16) break;
        if (c[1] == ':') {
            if (gap <= 16) return false;
            gap = n;
            c += 2;
        } else {
            if (conc__hex_digit(c[1]) < 0) return false;
            c++;
        }
    }
    if (gap <= 16 ? n > 14 : n != 16) return false;
    memset(ip, 0, 16);
    if (gap > 16) gap = n;
    memcpy(ip, bytes, gap);
    memcpy(ip + 16 - (n - gap), bytes + gap, n - gap);
    *text = c;
    return true;
}

static bool conc__parse_address(const char *text, unsigned port, conc_address *a) {
    const char *c = text;
    unsigned long n;
    bool bracket = *c == '[';
    memset(a, 0, sizeof *a);
    a->port = (uint16_t)port;
    if (!bracket && conc__parse_v4(&c, a->ip)) {
        a->family = 4;
    } else {
        memset(a->ip, 0, sizeof a->ip);
        c = text + (bracket ? 1 : 0);
        if (!conc__parse_v6(&c, a->ip)) return false;
        if (*c == '%') {
            c++;
            if (!conc__parse_number(&c, UINT32_MAX, &n)) return false;
            a->scope = (uint32_t)n;
        }
        if (bracket && *c++ != ']') return false;
        a->family = 6;
    }
    if (*c == ':' && (a->family == 4 || bracket)) {
        c++;
        if (!conc__parse_number(&c, 65535, &n)) return false;
        a->port = (uint16_t)n;
    }
    return *c == '\0';
}

conc_result conc_address_parse(const char *text, unsigned port, conc_address *address) {
    conc_address a;
    if (text == NULL || address == NULL) return conc__fail(CONC_INVALID, "conc_address_parse: no text or no address");
    if (port > 65535) return conc__fail(CONC_INVALID, "conc_address_parse: %u is no port: they end at 65535", port);
    if (!conc__parse_address(text, port, &a)) {
        return conc__fail(CONC_INVALID, "conc_address_parse: \"%.100s\" is no address in numbers", text);
    }
    *address = a;
    return CONC_OK;
}

/* As RFC 5952 wants it: the longest run of zeros is left out. */
static void conc__text_v6(const uint8_t *ip, char *text, size_t size) {
    int i, run = 0, best = -1, best_length = 1;
    size_t n = 0;
    for (i = 0; i < 8; i++) {
        run = ip[2 * i] == 0 && ip[2 * i + 1] == 0 ? run + 1 : 0;
        if (run > best_length) {
            best_length = run;
            best = i - run + 1;
        }
    }
    for (i = 0; i < 8 && n < size; i++) {
        if (i == best) {
            n += (size_t)snprintf(text + n, size - n, "::");
            i += best_length - 1;
            continue;
        }
        n += (size_t)snprintf(text + n, size - n, "%s%x", i == 0 || (best >= 0 && i == best + best_length) ? "" : ":",
                              (unsigned)ip[2 * i] << 8 | ip[2 * i + 1]);
    }
}

const char *conc_address_text(const conc_address *a, char *buffer, size_t size) {
    char text[44], scope[16] = "";
    if (buffer == NULL || size == 0) return "";
    if (a != NULL && a->family == 4) {
        (void)snprintf(buffer, size, "%u.%u.%u.%u:%u", a->ip[0], a->ip[1], a->ip[2], a->ip[3], a->port);
    } else if (a != NULL && a->family == 6) {
        conc__text_v6(a->ip, text, sizeof text);
        if (a->scope != 0) (void)snprintf(scope, sizeof scope, "%%%lu", (unsigned long)a->scope);
        (void)snprintf(buffer, size, "[%s%s]:%u", text, scope, a->port);
    } else {
        (void)snprintf(buffer, size, "none");
    }
    return buffer;
}

unsigned conc_address_port(const conc_address *address) {
    return address != NULL ? address->port : 0;
}

bool conc_address_equal(const conc_address *a, const conc_address *b) {
    return a != NULL && b != NULL && a->family == b->family && a->port == b->port && a->scope == b->scope &&
           memcmp(a->ip, b->ip, a->family == 4 ? 4 : 16) == 0;
}

/* A socket of version 6 that speaks 4 as well names the others' addresses so: ::ffff:1.2.3.4. */
static const uint8_t conc__mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void conc__address_unmap(conc_address *a) {
    if (a->family != 6 || memcmp(a->ip, conc__mapped, 12) != 0) return;
    memmove(a->ip, a->ip + 12, 4);
    memset(a->ip + 4, 0, 12);
    a->family = 4;
    a->scope = 0;
}

static conc_address conc__address_for(unsigned family, const conc_address *a) {
    conc_address mapped = *a;
    if (family == 6 && a->family == 4) {
        memcpy(mapped.ip, conc__mapped, 12);
        memcpy(mapped.ip + 12, a->ip, 4);
        mapped.family = 6;
    }
    return mapped;
}

/* ---- addresses: names ------------------------------------------------------------------------------- */

/* What is offloaded: the call blocks, and touches nothing but *arg. */
static int conc__lookup_run(void *arg) {
    conc_host *h = (conc_host *)arg;
    h->conc__answer = (int)conc__port_lookup(h->name, h->port, h->list, sizeof h->list / sizeof h->list[0], &h->found,
                                             h->conc__text, sizeof h->conc__text);
    return 0;
}

static conc_result conc__lookup_finish(void *arg) {
    const conc_host *h = (const conc_host *)arg;
    if (h->conc__answer == (int)CONC__PORT_FOUND && h->found > 0) return CONC_OK;
    return conc__fail(h->conc__answer == (int)CONC__PORT_LOOKUP_MEMORY ? CONC_NO_MEMORY : CONC_SYSTEM,
                      "cannot find host \"%.100s\": %s", h->name,
                      h->conc__answer == (int)CONC__PORT_FOUND ? "it has no address of the internet" : h->conc__text);
}

static conc_result conc__lookup_attempt(conc_op *op) {
    conc_host *h = (conc_host *)op->data;
    if (h == NULL) return conc__fail(CONC_INVALID, "conc_lookup: no host, or no place for its addresses");
    h->found = 0;
    if (h->port > 65535) return conc__fail(CONC_INVALID, "conc_lookup: %u is no port: they end at 65535", h->port);
    if (memchr(h->name, '\0', sizeof h->name) == NULL) return conc__fail(CONC_INVALID, "conc_lookup: a name of over 255 bytes");
    if (!conc__parse_address(h->name, h->port, h->list)) return CONC_PENDING;
    h->found = 1;
    return CONC_OK;
}

static bool conc__lookup_arm(conc_op *op, conc_node *node) {
    return conc__offload_arm_new(op, node, conc__lookup_run, sizeof(conc_host), conc__lookup_finish);
}

conc_op conc_op_lookup(conc_host *host) {
    static const conc_op_class cls = { "lookup", CONC_BUSY, conc__lookup_attempt, conc__lookup_arm, NULL, NULL };
    return conc_op_make(&cls, NULL, host);
}

conc_result conc_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                        conc_deadline deadline) {
    conc_host h;
    conc_op op = conc_op_lookup(&h);
    conc_result r;
    if (found != NULL) *found = 0;
    if (host == NULL || list == NULL || n == 0 || found == NULL) {
        return conc__fail(CONC_INVALID, "conc_lookup: no host, or no place for its addresses");
    }
    memset(&h, 0, sizeof h);
    memset(h.name, 'x', sizeof h.name); /* if it is too long, there is no end */
    memcpy(h.name, host, strlen(host) < sizeof h.name ? strlen(host) + 1 : sizeof h.name);
    h.port = port;
    r = conc__lookup_attempt(&op);
    if (r == CONC_PENDING && conc_deadline_passed(deadline)) return CONC_TIMEOUT;
    if (r == CONC_PENDING && deadline.ns == INT64_MAX && conc_cancel_current() == NULL) {
        (void)conc__lookup_run(&h);
        r = conc__lookup_finish(&h);
    } else if (r == CONC_PENDING) {
        r = conc__wait_op(&op, deadline);
    }
    if (r != CONC_OK) return r;
    *found = h.found < n ? h.found : n;
    memcpy(list, h.list, *found * sizeof *list);
    return CONC_OK;
}

/* ---- the socket ----------------------------------------------------------------------------------------- */

struct conc_socket {
    uint32_t closed;     /* atomic; 1 from conc_socket_close() on. First: conc__polled_arm() looks at it */
    uint32_t number;     /* constant; see CONC__POLLED() */
    int32_t fd;          /* constant; open until the socket is freed. (Windows' handles have 32 bits that count) */
    uint32_t connecting; /* atomic, one of CONC__CONNECT_...; of tcp alone */
    uint8_t family;      /* constant, as all that follow: 4 or 6 */
    bool stream, listens;
    uint32_t reserve;    /* atomic; of a listener: a descriptor + 1 that it keeps for when there are no more; 0: none */
};

#define CONC__CONNECT_NOT 0u
#define CONC__CONNECT_STARTED 1u
#define CONC__CONNECT_DONE 2u
#define CONC__CONNECT_FAILED 3u
#define CONC__CONNECT_STARTS 4u /* the system is being asked to */

static uint32_t conc__socket_numbers; /* atomic; publishes nothing */

static conc_result conc__net_result(int e) {
    switch (conc__port_kind_of(e)) {
    case CONC__PORT_BROKEN: return CONC_BROKEN;
    case CONC__PORT_NO_BUFFERS: return CONC_NO_MEMORY;
    case CONC__PORT_TABLE_FULL: return CONC_REJECTED;
    case CONC__PORT_OTHER:
    case CONC__PORT_WOULD_BLOCK:
    case CONC__PORT_ABORTED:
    default: return CONC_SYSTEM;
    }
}

static bool conc__socket_is_closed(const conc_socket *s) {
    return conc__load32(&s->closed, CONC__ACQUIRE) != 0;
}

/* What a failed call on the socket comes to: of one that has been closed meanwhile, that. */
static conc_result conc__socket_fail(const conc_socket *s, int e, const char *what) {
    return conc__socket_is_closed(s) ? CONC_CLOSED : conc__fail_system(conc__net_result(e), e, what);
}

/* Makes a socket of a descriptor; without memory, closes it and says so. */
static conc_socket *conc__socket_of(intptr_t fd, unsigned family, bool stream) {
    conc_socket *s = (conc_socket *)conc__alloc(1, sizeof *s, "a socket");
    if (s == NULL) {
        conc__port_socket_close(fd);
        return NULL;
    }
    do {
        s->number = conc__add32(&conc__socket_numbers, 1, CONC__RELAXED) + 1;
    } while (s->number == 0);
    s->fd = (int32_t)fd;
    s->family = (uint8_t)family;
    s->stream = stream;
    return s;
}

static conc_socket *conc__socket_open(unsigned family, bool stream, const char *what) {
    intptr_t fd = -1;
    int e;
    if (family != 4 && family != 6) {
        (void)conc__fail(CONC_INVALID, "%s: %u is no version of the internet protocol: 4 or 6", what, family);
        return NULL;
    }
    e = conc__port_socket(family, stream, &fd);
    if (e == 0 && family == 6 && !stream) (void)conc__port_socket_option(fd, CONC__PORT_V6_ONLY, 0);
    if (e != 0) {
        (void)conc__fail_system(conc__net_result(e), e, what);
        return NULL;
    }
    return conc__socket_of(fd, family, stream);
}

conc_socket *conc_tcp_open(unsigned family) {
    return conc__socket_open(family, true, "cannot open a socket");
}

conc_socket *conc_udp_open(unsigned family) {
    return conc__socket_open(family, false, "cannot open a socket");
}

intptr_t conc_socket_fd(const conc_socket *s) {
    return s != NULL ? s->fd : -1;
}

static conc_result conc__socket_name(const conc_socket *s, bool peer, conc_address *address, const char *what) {
    int e;
    if (s == NULL || address == NULL) return conc__fail(CONC_INVALID, "%s: no socket or no place for the address", what);
    e = conc__port_socket_name(s->fd, peer, address);
    if (e != 0) {
        memset(address, 0, sizeof *address);
        return conc__fail_system(conc__net_result(e), e, what);
    }
    conc__address_unmap(address);
    return CONC_OK;
}

conc_result conc_socket_address(const conc_socket *s, conc_address *address) {
    return conc__socket_name(s, false, address, "conc_socket_address");
}

conc_result conc_socket_peer(const conc_socket *s, conc_address *address) {
    return conc__socket_name(s, true, address, "conc_socket_peer");
}

conc_result conc_socket_set(conc_socket *s, conc_socket_option option, int value) {
    conc__port_option o = CONC__PORT_OPTIONS;
    int e;
    if (s == NULL) return conc__fail(CONC_INVALID, "conc_socket_set: no socket");
    switch (option) {
    case CONC_NO_DELAY: o = CONC__PORT_NO_DELAY; break;
    case CONC_KEEP_ALIVE: o = CONC__PORT_KEEP_ALIVE; break;
    case CONC_BROADCAST: o = CONC__PORT_BROADCAST; break;
    case CONC_SEND_BUFFER: o = CONC__PORT_SEND_BUFFER; break;
    case CONC_RECEIVE_BUFFER: o = CONC__PORT_RECEIVE_BUFFER; break;
    default: break;
    }
    if (o == CONC__PORT_OPTIONS) return conc__fail(CONC_INVALID, "conc_socket_set: no option %d", (int)option);
    e = conc__port_socket_option(s->fd, o, value);
    return e == 0 ? CONC_OK : conc__socket_fail(s, e, "conc_socket_set");
}

/* ---- the end ----------------------------------------------------------------------------------------------- */

conc_result conc_socket_shutdown(conc_socket *s) {
    int e;
    if (s == NULL) return conc__fail(CONC_INVALID, "conc_socket_shutdown: no socket");
    if (conc__socket_is_closed(s)) return CONC_CLOSED;
    e = conc__port_socket_shutdown(s->fd, CONC__PORT_WRITE);
    return e == 0 ? CONC_OK : conc__socket_fail(s, e, "conc_socket_shutdown");
}

/* Whoever is in the table by now is woken; whoever enters it later sees, under the same lock, that it is closed. */
conc_result conc_socket_close(conc_socket *s) {
    if (s == NULL) return conc__fail(CONC_INVALID, "conc_socket_close: no socket");
    if (conc__swap32(&s->closed, 1, CONC__ACQ_REL) != 0) return CONC_OK;
    (void)conc__port_socket_shutdown(s->fd, CONC__PORT_READ | CONC__PORT_WRITE); /* one that is not connected has no sides */
    (void)conc__wake_waiters(conc__polled_key(s->fd, CONC__READS_SIDE), CONC__ANY_TAG, CONC_ALL);
    (void)conc__wake_waiters(conc__polled_key(s->fd, CONC__WRITES_SIDE), CONC__ANY_TAG, CONC_ALL);
    return CONC_OK;
}

/* Puts a descriptor aside, if there is one to be had. */
static int conc__socket_reserve(conc_socket *s) {
    intptr_t fd;
    uint32_t before;
    int e = conc__port_socket(s->family, false, &fd);
    if (e != 0) return e;
    before = conc__swap32(&s->reserve, (uint32_t)fd + 1, CONC__ACQ_REL);
    if (before != 0) conc__port_socket_close((intptr_t)before - 1);
    return 0;
}

static bool conc__socket_let_reserve_go(conc_socket *s) {
    uint32_t reserve = conc__swap32(&s->reserve, 0, CONC__ACQ_REL);
    if (reserve != 0) conc__port_socket_close((intptr_t)reserve - 1);
    return reserve != 0;
}

conc_result conc_socket_free(conc_socket *s) {
    if (s == NULL) return CONC_OK;
    if (conc__is_waited_for(conc__polled_key(s->fd, CONC__READS_SIDE)) ||
        conc__is_waited_for(conc__polled_key(s->fd, CONC__WRITES_SIDE))) {
        (void)conc_socket_close(s);
        return conc__fail(CONC_BUSY, "conc_socket_free: somebody waits on the socket");
    }
    conc__port_socket_close(s->fd);
    (void)conc__socket_let_reserve_go(s);
    conc__free(s);
    return CONC_OK;
}

/* ---- binding -------------------------------------------------------------------------------------------------- */

static int conc__bind_one(intptr_t fd, const conc_address *a, bool stream, bool both, const conc_listen_desc *desc) {
    int e = 0;
    if (a->family == 6) (void)conc__port_socket_option(fd, CONC__PORT_V6_ONLY, !both);
    if (stream) e = conc__port_socket_option(fd, CONC__PORT_REUSE_ADDRESS, 1);
    if (e == 0 && desc->reuse_port) e = conc__port_socket_option(fd, CONC__PORT_REUSE_PORT, 1);
    if (e == 0) e = conc__port_socket_bind(fd, a);
    if (e == 0 && stream) e = conc__port_socket_listen(fd, desc->backlog > 0 ? desc->backlog : 128);
    return e;
}

/* The first of the addresses that can be had. */
static conc_socket *conc__bind(const char *host, unsigned port, bool stream, const conc_listen_desc *desc) {
    const char *what = stream ? "cannot listen on" : "cannot receive at";
    conc_address list[8];
    char text[CONC_ADDRESS_TEXT], whole[CONC_ADDRESS_TEXT + 32];
    size_t n = 0, i, failed = 0;
    int e = 0;
    if (port > 65535) {
        (void)conc__fail(CONC_INVALID, "%s port %u: they end at 65535", what, port);
        return NULL;
    }
    if (host == NULL) {
        memset(list, 0, sizeof list);
        list[0].family = 6;
        list[1].family = 4;
        list[0].port = list[1].port = (uint16_t)port;
        n = desc->v6_only ? 1 : 2;
    } else if (conc_lookup(host, port, list, 8, &n, CONC_FOREVER) != CONC_OK) {
        return NULL;
    }
    for (i = 0; i < n; i++) {
        intptr_t fd;
        int error = conc__port_socket(list[i].family, stream, &fd);
        if (error == 0) {
            error = conc__bind_one(fd, &list[i], stream, host == NULL && !desc->v6_only, desc);
            if (error == 0) {
                conc_socket *s = conc__socket_of(fd, list[i].family, stream);
                if (s == NULL || !stream) return s;
                s->listens = true;
                error = conc__socket_reserve(s);
                if (error == 0) return s;
                (void)conc_socket_free(s);
            } else {
                conc__port_socket_close(fd);
            }
        }
        /* Of a machine without version 6, what is told is how it went with 4. */
        e = error;
        failed = i;
        if (host == NULL && conc__net_result(error) != CONC_SYSTEM) break;
    }
    (void)snprintf(whole, sizeof whole, "%s %s", what, conc_address_text(&list[failed], text, sizeof text));
    (void)conc__fail_system(conc__net_result(e), e, whole);
    return NULL;
}

conc_socket *conc_tcp_listen(const char *host, unsigned port, const conc_listen_desc *desc) {
    conc_listen_desc none;
    memset(&none, 0, sizeof none);
    return conc__bind(host, port, true, desc != NULL ? desc : &none);
}

conc_socket *conc_udp_bind(const char *host, unsigned port) {
    conc_listen_desc none;
    memset(&none, 0, sizeof none);
    return conc__bind(host, port, false, &none);
}

/* ---- ops on sockets --------------------------------------------------------------------------------------------- */

/* What every attempt begins with. CONC_OK: go on. */
static conc_result conc__socket_ready(const conc_op *op) {
    const conc_socket *s = (const conc_socket *)op->object;
    if (s == NULL || op->data == NULL) return conc__fail(CONC_INVALID, "conc_op_%s: no socket or nothing to do", op->cls->name);
    if (conc__socket_is_closed(s)) return CONC_CLOSED;
    return conc__polled_may_be_ready(op->word) ? CONC_OK : CONC_PENDING;
}

static conc_op conc__socket_op(const conc_op_class *cls, conc_socket *s, void *data, unsigned side) {
    conc_op op = conc_op_make(cls, s, data);
    if (s != NULL) op.word = CONC__POLLED(s->fd, side, s->number);
    return op;
}

/* The op's answer to an error of the port: if there was nothing, the loop is told, and it waits. */
static conc_result conc__socket_error(const conc_op *op, int e, const char *what) {
    if (conc__port_would_block(e)) {
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    return conc__socket_fail((const conc_socket *)op->object, e, what);
}

/* ---- accepting ---------------------------------------------------------------------------------------------------- */

/* There are no more descriptors (the system says so before it looks whether there is a connection). One connection, if there is
 * one, is taken all the same, with the descriptor kept for this, and let go. If others have taken that one too, it waits: for a
 * connection, or for 10 ms. */
static conc_result conc__accept_none(conc_op *op, int e) {
    conc_socket *s = (conc_socket *)op->object;
    intptr_t fd = -1;
    int taken;
    if (!conc__socket_let_reserve_go(s)) {
        (void)conc__socket_reserve(s);
        op->due = conc_after(0.01);
        return CONC_PENDING;
    }
    taken = conc__port_socket_accept(s->fd, &fd, NULL);
    if (taken == 0) conc__port_socket_close(fd);
    (void)conc__socket_reserve(s);
    if (taken != 0 && conc__port_would_block(taken)) {
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    return conc__socket_fail(s, e, taken == 0 ? "a connection was accepted and closed" : "cannot accept a connection");
}

static conc_result conc__accept_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_socket **conn = (conc_socket **)op->data;
    conc_result r = conc__socket_ready(op);
    intptr_t fd;
    int e;
    if (conn != NULL) *conn = NULL;
    if (r != CONC_OK) return r;
    if (!s->listens) return conc__fail(CONC_INVALID, "conc_op_accept: the socket does not listen");
    e = conc__port_socket_accept(s->fd, &fd, NULL);
    switch (e == 0 ? CONC__PORT_OTHER : conc__port_kind_of(e)) {
    case CONC__PORT_TABLE_FULL: return conc__accept_none(op, e);
    case CONC__PORT_ABORTED:
    case CONC__PORT_BROKEN:
        if (conc__socket_is_closed(s)) return CONC_CLOSED;
        return conc__fail_system(CONC_BROKEN, e, "a connection was gone before it was accepted");
    case CONC__PORT_OTHER:
    case CONC__PORT_WOULD_BLOCK:
    case CONC__PORT_NO_BUFFERS:
    default: break;
    }
    if (e != 0) return conc__socket_error(op, e, "cannot accept a connection");
    *conn = conc__socket_of(fd, s->family, true);
    if (*conn == NULL) return CONC_NO_MEMORY;
    (*conn)->connecting = CONC__CONNECT_DONE;
    return CONC_OK;
}

conc_op conc_op_accept(conc_socket *listener, conc_socket **conn) {
    static const conc_op_class cls = { "accept", CONC_BUSY, conc__accept_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, listener, (void *)conn, CONC__READS_SIDE);
}

conc_result conc_accept(conc_socket *listener, conc_socket **conn, conc_deadline deadline) {
    conc_op op = conc_op_accept(listener, conn);
    return conc__wait_spun(&op, deadline, true);
}

/* ---- connecting ----------------------------------------------------------------------------------------------------- */

static conc_result conc__connect_fail(conc_socket *s, int e, const conc_address *a) {
    char text[CONC_ADDRESS_TEXT], what[CONC_ADDRESS_TEXT + 32];
    (void)snprintf(what, sizeof what, "cannot connect to %s", conc_address_text(a, text, sizeof text));
    conc__store32(&s->connecting, CONC__CONNECT_FAILED, CONC__RELEASE);
    if (conc__socket_is_closed(s)) return CONC_CLOSED;
    return conc__fail_system(conc__net_result(e) == CONC_NO_MEMORY ? CONC_NO_MEMORY : CONC_SYSTEM, e, what);
}

/* The first to come starts it; who finds it ended takes the system's answer. */
static conc_result conc__connect_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    const conc_address *a = (const conc_address *)op->data;
    uint32_t state = CONC__CONNECT_NOT;
    conc__port_pollfd look;
    conc_result ready = conc__socket_ready(op);
    int e = 0;
    if (ready != CONC_OK && ready != CONC_PENDING) return ready;
    if (s->listens || (a->family != 4 && a->family != 6)) {
        return conc__fail(CONC_INVALID, "conc_op_connect: %s", s->listens ? "the socket listens" : "no address");
    }
    if (!s->stream || conc__cas32(&s->connecting, &state, CONC__CONNECT_STARTS, CONC__ACQ_REL)) {
        conc_address to = conc__address_for(s->family, a);
        e = conc__port_socket_connect(s->fd, &to);
        if (s->stream) { /* others may wait for what comes of it already */
            conc__store32(&s->connecting, e == 0 ? CONC__CONNECT_DONE : CONC__CONNECT_STARTED, CONC__RELEASE);
            (void)conc__wake_waiters(conc__polled_key(s->fd, CONC__WRITES_SIDE), CONC__ANY_TAG, CONC_ALL);
        }
        if (e != 0 && e != CONC__PORT_IN_PROGRESS) return conc__connect_fail(s, e, a);
        if (e == 0) {
            conc__store32(&s->connecting, CONC__CONNECT_DONE, CONC__RELEASE);
            return CONC_OK;
        }
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    if (state == CONC__CONNECT_DONE) return CONC_OK;
    if (state == CONC__CONNECT_STARTS) return CONC_PENDING;
    if (state == CONC__CONNECT_FAILED) return conc__fail(CONC_SYSTEM, "conc_op_connect: this socket could not be connected before");
    if (ready == CONC_PENDING) return CONC_PENDING;
    look.fd = s->fd;
    look.want = CONC__PORT_WRITE;
    if (conc__port_poll(&look, 1, INT64_MIN, &e) <= 0) {
        conc__polled_drained(op->word);
        return CONC_PENDING;
    }
    e = conc__port_socket_connected(s->fd);
    if (e != 0) return conc__connect_fail(s, e, a);
    conc__store32(&s->connecting, CONC__CONNECT_DONE, CONC__RELEASE);
    return CONC_OK;
}

conc_op conc_op_connect(conc_socket *s, const conc_address *address) {
    static const conc_op_class cls = { "connect", CONC_BUSY, conc__connect_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, (void *)(uintptr_t)address, CONC__WRITES_SIDE);
}

conc_socket *conc_tcp_connect(const char *host, unsigned port, conc_deadline deadline) {
    conc_address list[16];
    size_t n, i;
    conc_result r = conc_lookup(host, port, list, 16, &n, deadline);
    for (i = 0; r == CONC_OK && i < n; i++) {
        conc_deadline share = deadline;
        conc_socket *s = conc_tcp_open(list[i].family);
        if (s == NULL) {
            r = conc_error_result();
        } else {
            conc_op op = conc_op_connect(s, &list[i]);
            if (deadline.ns != INT64_MAX && deadline.ns != INT64_MIN) {
                int64_t now = conc_clock_ns();
                if (deadline.ns > now) share = conc_deadline_at(now + (deadline.ns - now) / (int64_t)(n - i));
            }
            r = conc__wait_spun(&op, share, true);
            if (r == CONC_OK) return s;
            (void)conc_socket_free(s);
        }
        if (i + 1 < n && (r == CONC_SYSTEM || (r == CONC_TIMEOUT && !conc_deadline_passed(deadline)))) r = CONC_OK;
    }
    if (r == CONC_TIMEOUT || r == CONC_CANCELED || r == CONC_BUSY) {
        (void)conc__fail(r == CONC_BUSY ? CONC_TIMEOUT : r, "cannot connect to %.100s, port %u: %s", host, port,
                         conc_strerror(r == CONC_BUSY ? CONC_TIMEOUT : r));
    }
    return NULL;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */

/* Less than there was room for: the system had no more, and who knows that need not ask again. */
static conc_result conc__receive_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_io *io = (conc_io *)op->data;
    conc_result r = conc__socket_ready(op);
    int e;
    if (io != NULL) io->done = 0;
    if (r != CONC_OK) return r;
    if (io->size == 0) return CONC_OK;
    e = conc__port_socket_receive(s->fd, io->data, io->size, &io->done);
    if (e != 0) return conc__socket_error(op, e, "cannot receive");
    if (io->done == 0 && (s->stream || conc__socket_is_closed(s))) return CONC_CLOSED;
    if (io->done < io->size && s->stream) conc__polled_drained(op->word);
    return CONC_OK;
}

conc_op conc_op_receive(conc_socket *s, conc_io *io) {
    static const conc_op_class cls = { "receive", CONC_BUSY, conc__receive_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, io, CONC__READS_SIDE);
}

/* All of it: `done` is where it stands, from attempt to attempt. */
static conc_result conc__receive_full_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_io *io = (conc_io *)op->data;
    conc_result r = conc__socket_ready(op);
    while (r == CONC_OK && io->done < io->size) {
        size_t n = 0;
        int e = conc__port_socket_receive(s->fd, (char *)io->data + io->done, io->size - io->done, &n);
        if (e != 0) {
            r = conc__socket_error(op, e, "cannot receive");
        } else if (n == 0) {
            r = CONC_CLOSED;
        }
        io->done += n;
    }
    return r;
}

conc_op conc_op_receive_full(conc_socket *s, conc_io *io) {
    static const conc_op_class cls = { "receive_full", CONC_BUSY, conc__receive_full_attempt, conc__polled_arm, NULL, NULL };
    if (io != NULL) io->done = 0;
    return conc__socket_op(&cls, s, io, CONC__READS_SIDE);
}

conc_result conc_receive(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline) {
    conc_io io;
    conc_op op = conc_op_receive(s, &io);
    conc_result r;
    io.data = buffer;
    io.size = size;
    io.done = 0;
    r = conc__wait_spun(&op, deadline, true);
    if (done != NULL) *done = r == CONC_OK ? io.done : 0;
    return r;
}

conc_result conc_receive_full(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline) {
    conc_io io;
    conc_op op = conc_op_receive_full(s, &io);
    conc_result r;
    io.data = buffer;
    io.size = size;
    io.done = 0;
    r = conc__wait_spun(&op, deadline, true);
    if (done != NULL) *done = io.done;
    return r;
}

static conc_result conc__send_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_out *out = (conc_out *)op->data;
    conc_result r = conc__socket_ready(op);
    int e;
    if (out != NULL) out->done = 0;
    if (r != CONC_OK) return r;
    if (out->size == 0 && s->stream) return CONC_OK;
    e = conc__port_socket_send(s->fd, out->data, out->size, &out->done);
    if (e != 0) return conc__socket_error(op, e, "cannot send");
    if (out->done < out->size) conc__polled_drained(op->word);
    return CONC_OK;
}

conc_op conc_op_send(conc_socket *s, conc_out *out) {
    static const conc_op_class cls = { "send", CONC_BUSY, conc__send_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, out, CONC__WRITES_SIDE);
}

static conc_result conc__send_all_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_out *out = (conc_out *)op->data;
    conc_result r = conc__socket_ready(op);
    while (r == CONC_OK && out->done < out->size) {
        size_t n = 0;
        int e = conc__port_socket_send(s->fd, (const char *)out->data + out->done, out->size - out->done, &n);
        if (e != 0) r = conc__socket_error(op, e, "cannot send");
        out->done += n;
    }
    return r;
}

conc_op conc_op_send_all(conc_socket *s, conc_out *out) {
    static const conc_op_class cls = { "send_all", CONC_BUSY, conc__send_all_attempt, conc__polled_arm, NULL, NULL };
    if (out != NULL) out->done = 0;
    return conc__socket_op(&cls, s, out, CONC__WRITES_SIDE);
}

conc_result conc_send_all(conc_socket *s, const void *data, size_t size, size_t *done, conc_deadline deadline) {
    conc_out out;
    conc_op op = conc_op_send_all(s, &out);
    conc_result r;
    out.data = data;
    out.size = size;
    out.done = 0;
    r = conc__wait_spun(&op, deadline, true);
    if (done != NULL) *done = out.done;
    return r;
}

/* ---- datagrams ------------------------------------------------------------------------------------------------------------ */

static conc_result conc__receive_from_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_datagram *d = (conc_datagram *)op->data;
    conc_result r = conc__socket_ready(op);
    int e;
    if (r != CONC_OK) return r;
    if (s->stream) return conc__fail(CONC_INVALID, "conc_op_receive_from: the socket is not for datagrams");
    e = conc__port_socket_receive_from(s->fd, d->data, d->size, &d->address, &d->done, &d->truncated);
    if (e != 0) return conc__socket_error(op, e, "cannot receive");
    if (d->done == 0 && conc__socket_is_closed(s)) return CONC_CLOSED; /* what a closed one gives, on some systems */
    conc__address_unmap(&d->address);
    return CONC_OK;
}

conc_op conc_op_receive_from(conc_socket *s, conc_datagram *d) {
    static const conc_op_class cls = { "receive_from", CONC_BUSY, conc__receive_from_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, d, CONC__READS_SIDE);
}

conc_result conc_receive_from(conc_socket *s, conc_datagram *d, conc_deadline deadline) {
    conc_op op = conc_op_receive_from(s, d);
    return conc__wait_spun(&op, deadline, true);
}

static conc_result conc__send_to_attempt(conc_op *op) {
    conc_socket *s = (conc_socket *)op->object;
    conc_datagram_out *d = (conc_datagram_out *)op->data;
    conc_result r = conc__socket_ready(op);
    conc_address to;
    int e;
    if (d != NULL) d->done = 0;
    if (r != CONC_OK) return r;
    if (s->stream) return conc__fail(CONC_INVALID, "conc_op_send_to: the socket is not for datagrams");
    to = conc__address_for(s->family, &d->address);
    e = conc__port_socket_send_to(s->fd, d->data, d->size, to.family != 0 ? &to : NULL, &d->done);
    if (e != 0 && !conc__port_would_block(e)) {
        char text[CONC_ADDRESS_TEXT], what[CONC_ADDRESS_TEXT + 32];
        (void)snprintf(what, sizeof what, to.family != 0 ? "cannot send to %s" : "cannot send",
                       conc_address_text(&d->address, text, sizeof text));
        return conc__socket_fail(s, e, what);
    }
    return e != 0 ? conc__socket_error(op, e, "cannot send") : CONC_OK;
}

conc_op conc_op_send_to(conc_socket *s, conc_datagram_out *d) {
    static const conc_op_class cls = { "send_to", CONC_BUSY, conc__send_to_attempt, conc__polled_arm, NULL, NULL };
    return conc__socket_op(&cls, s, d, CONC__WRITES_SIDE);
}

conc_result conc_send_to(conc_socket *s, const void *data, size_t size, const conc_address *to, conc_deadline deadline) {
    conc_datagram_out d;
    conc_op op = conc_op_send_to(s, &d);
    memset(&d, 0, sizeof d);
    d.data = data;
    d.size = size;
    if (to != NULL) d.address = *to;
    return conc__wait_spun(&op, deadline, true);
}

/* ---- any descriptor -------------------------------------------------------------------------------------------------------- */

static conc_result conc__descriptor_attempt(conc_op *op) {
    conc__port_pollfd look;
    int e = 0, n;
    look.fd = (intptr_t)op->object;
    look.want = conc__polled_want(op->word);
    if (look.fd < 0) return conc__fail(CONC_INVALID, "conc_op_%s: no descriptor", op->cls->name);
    if (!conc__polled_may_be_ready(op->word)) return CONC_PENDING;
    n = conc__port_poll(&look, 1, INT64_MIN, &e);
    if (n < 0) return conc__fail_system(conc__net_result(e), e, "cannot wait for a descriptor");
    if (n > 0 && (look.got & CONC__PORT_BAD) != 0) {
        return conc__fail(CONC_INVALID, "conc_op_%s: %ld is no open descriptor", op->cls->name, (long)look.fd);
    }
    if (n > 0) return CONC_OK;
    conc__polled_drained(op->word);
    return CONC_PENDING;
}

conc_op conc_op_readable(intptr_t fd) {
    static const conc_op_class cls = { "readable", CONC_BUSY, conc__descriptor_attempt, conc__polled_arm, NULL, NULL };
    conc_op op = conc_op_make(&cls, (void *)fd, NULL);
    op.word = CONC__POLLED(fd, CONC__READS_SIDE, 0);
    return op;
}

conc_op conc_op_writable(intptr_t fd) {
    static const conc_op_class cls = { "writable", CONC_BUSY, conc__descriptor_attempt, conc__polled_arm, NULL, NULL };
    conc_op op = conc_op_make(&cls, (void *)fd, NULL);
    op.word = CONC__POLLED(fd, CONC__WRITES_SIDE, 0);
    return op;
}

/* ==== end src/net.c ==== */

/* ==== begin src/sim.c ==== */

/* ============================================================================================
 * sim: which schedules are run, in which order, and what is told of the one that fails. The machine they run on is
 * port_sim.c.
 * ========================================================================================== */

#if defined(CONC_SIM)

#include <stdio.h>
#include <stdlib.h>

#define CONC__SIM_STRATEGIES 8

typedef struct conc__sim_way {
    conc__sim_strategy strategy;
    unsigned depth;
} conc__sim_way;

typedef struct conc__sim_job {
    conc_fn body;
    void *arg;
    conc_sim_desc desc;
    conc_sim_report report;
    conc__sim_plan plan;
    conc__sim_outcome outcome;
    bool marked; /* the body marks data for the race detector */
} conc__sim_job;

static uint32_t conc__sim_runs;         /* atomic: one does, in some thread */
static bool conc__sim_reports_are_fine; /* of the run under way */
static char conc__sim_under_way[640];   /* its name and the schedule's, for one that a sanitizer ends */

bool conc__sim_takes_reports(void) {
    return conc__sim_reports_are_fine;
}

/* ---- names of schedules --------------------------------------------------------------------------- */

static const char *conc__sim_verdict_name(conc_sim_verdict v) {
    static const char *const names[] = {"passed",       "a check failed", "deadlock",        "livelock",
                                        "data race",    "leak",           "use after free",  "reported to the error hook",
                                        "not repeatable", "too large"};
    return names[v];
}

static void conc__sim_way_name(const conc__sim_way *w, char *text, size_t size) {
    switch (w->strategy) {
    case CONC__SIM_RANDOM: (void)snprintf(text, size, "random"); break;
    case CONC__SIM_PCT: (void)snprintf(text, size, "pct%u", w->depth); break;
    default: (void)snprintf(text, size, "depth%u", w->depth); break;
    }
}

/* Reads one strategy's name; returns where it ends, or NULL. */
static const char *conc__sim_way_read(const char *s, conc__sim_way *w) {
    char *end;
    unsigned long depth;
    if (strncmp(s, "random", 6) == 0) {
        w->strategy = CONC__SIM_RANDOM;
        w->depth = 0;
        return s + 6;
    }
    if (strncmp(s, "pct", 3) == 0) {
        w->strategy = CONC__SIM_PCT;
        s += 3;
    } else if (strncmp(s, "depth", 5) == 0) {
        w->strategy = CONC__SIM_DEPTH;
        s += 5;
    } else {
        return NULL;
    }
    depth = strtoul(s, &end, 10);
    if (end == s || depth > 9 || (w->strategy == CONC__SIM_PCT && depth < 2)) return NULL;
    w->depth = (unsigned)depth;
    return end;
}

/* "random,pct2": how many; 0: it is none. */
static size_t conc__sim_ways_read(const char *s, conc__sim_way *ways) {
    size_t n = 0;
    for (;;) {
        if (n == CONC__SIM_STRATEGIES) return 0;
        s = conc__sim_way_read(s, &ways[n++]);
        if (s == NULL || (*s != ',' && *s != '\0')) return 0;
        if (*s == '\0') return n;
        s++;
    }
}

/* ---- one schedule ------------------------------------------------------------------------------------- */

/* What the first fiber does: the body, and then what a program's end does. */
static void conc__sim_main(void *p) {
    conc__sim_job *job = (conc__sim_job *)p;
    int code = job->body(job->arg);
    if (code != 0) conc__sim_stop(CONC_SIM_CHECK, "the function returned %d", code);
    (void)conc_thread_join_all(CONC_FOREVER);
    conc__timers_end();
    conc__offload_end_all();
}

/* Runs the plan; true: it passed. */
static bool conc__sim_try(conc__sim_job *job) {
    const char *file = NULL, *call = NULL;
    int line = 0;
    unsigned i;
    size_t size = 0, n;
    bool all_done = true;
    conc__sim_who who;
    (void)conc__world_new(1);
    if (!conc__sim_schedule(&job->plan, conc__sim_main, job, &job->outcome)) {
        job->outcome.verdict = CONC_SIM_LIMIT;
        (void)snprintf(job->outcome.text, sizeof job->outcome.text, "no memory for a simulation");
    }
    if (job->outcome.verdict != CONC_SIM_PASSED) return false;
    for (i = 0; conc__sim_fiber(i, &who); i++) all_done = all_done && who.done;
    /* What a daemon still holds is no leak. */
    n = all_done ? conc__sim_leaks(&file, &line, &call, &size) : 0;
    if (n == 0) return true;
    job->outcome.verdict = CONC_SIM_LEAK;
    (void)snprintf(job->outcome.text, sizeof job->outcome.text,
                   "%u blocks of memory were never freed, the first of %u bytes from %.100s at %.100s:%d", (unsigned)n,
                   (unsigned)size, call != NULL ? call : "(an unmarked place)", file != NULL ? conc__sim_base(file) : "?",
                   line);
    return false;
}

static void conc__sim_plan_set(conc__sim_job *job, const conc__sim_way *w, uint64_t seed, uint64_t k) {
    bool weak = !job->desc.sequential && w->strategy != CONC__SIM_DEPTH;
#if CONC__SIM_TSAN
    weak = false; /* that looks at what is in memory */
#endif
    job->plan.strategy = w->strategy;
    job->plan.depth = w->depth;
    job->plan.seed = (seed * 31u + (uint64_t)w->strategy * 16u + w->depth) * (uint64_t)0x9E3779B97F4A7C15u + k;
    job->plan.max_points = job->desc.max_points != 0 ? job->desc.max_points : 20000;
    job->plan.weak = weak;
    job->plan.track = weak || job->marked;
    job->plan.trace = false;
}

/* ---- telling -------------------------------------------------------------------------------------------- */

/* Objects by numbers, in the order in which they are told of. */
static unsigned conc__sim_object(const void *object) {
    static const void *known[64];
    static unsigned count;
    unsigned i;
    if (object == NULL) return count = 0;
    for (i = 0; i < count && known[i] != object; i++) {
    }
    if (i == count && count < 64) known[count++] = object;
    return i + 1;
}

static void conc__sim_print_waits(const conc__agent *agent) {
    size_t i;
    for (i = 0; i < agent->waits_count; i++) {
        const conc_op *op = &agent->waits[i];
        fprintf(stderr, "%s%s", i == 0 ? ", for: " : ", ", op->cls->name != NULL ? op->cls->name : "?");
        if (op->object != NULL && conc__debug_name_of(op->object) != NULL) {
            fprintf(stderr, " \"%s\"", conc__debug_name_of(op->object));
        } else if (op->object != NULL) {
            fprintf(stderr, " #%u", conc__sim_object(op->object));
        }
        if (strcmp(op->cls->name != NULL ? op->cls->name : "", "lock") == 0) {
            uint32_t owner = ((const conc_mutex *)op->object)->conc__word & ~3u;
            conc__sim_who who;
            unsigned k;
            for (k = 0; conc__sim_fiber(k, &who); k++) {
                if (who.agent != NULL && ((const conc__agent *)who.agent)->owner == owner) {
                    fprintf(stderr, ", held by %s", who.name);
                }
            }
        }
    }
}

static void conc__sim_print(const conc__sim_job *job) {
    const conc__sim_event *e;
    const char *all = getenv("CONC_SIM_TRACE");
    size_t n = conc__sim_events(&e), i;
    conc__sim_who who, other;
    bool atomics = all != NULL && strcmp(all, "all") == 0;
    (void)conc__sim_object(NULL);
    fprintf(stderr, "  point  thread            what it does\n");
    for (i = 0; i < n; i++) {
        const char *name = conc__sim_fiber(e[i].fiber, &who) ? who.name : "?";
        const char *other_name = conc__sim_fiber(e[i].other, &other) ? other.name : "?";
        if (e[i].kind == CONC__SIM_ATOMIC && !atomics) continue;
        if (e[i].kind == CONC__SIM_EXPIRE || e[i].kind == CONC__SIM_SPURIOUS) name = other_name;
        fprintf(stderr, "  %5u  %-16.16s  ", (unsigned)e[i].point, name);
        switch (e[i].kind) {
        case CONC__SIM_CALL:
            fprintf(stderr, "%s:%d  %s\n", conc__sim_base(e[i].file != NULL ? e[i].file : "?"), e[i].line, e[i].text);
            break;
        case CONC__SIM_NOTE: fprintf(stderr, "-- %s\n", e[i].text); break;
        case CONC__SIM_ATOMIC:
            fprintf(stderr, "    %s: #%u is %llx", e[i].text, conc__sim_object(e[i].object), (unsigned long long)e[i].before);
            if (e[i].after != e[i].before) fprintf(stderr, ", now %llx", (unsigned long long)e[i].after);
            fprintf(stderr, "\n");
            break;
        case CONC__SIM_STALE:
            fprintf(stderr, "    %s: sees the old %llx in #%u, which is %llx by now\n", e[i].text,
                    (unsigned long long)e[i].after, conc__sim_object(e[i].object), (unsigned long long)e[i].before);
            break;
        case CONC__SIM_START: fprintf(stderr, "starts %s\n", other_name); break;
        case CONC__SIM_SLEEP: fprintf(stderr, "sleeps\n"); break;
        case CONC__SIM_WAKE: fprintf(stderr, "wakes %s\n", other_name); break;
        case CONC__SIM_EXPIRE: fprintf(stderr, "its deadline passes\n"); break;
        case CONC__SIM_SPURIOUS: fprintf(stderr, "its sleep ends for no reason\n"); break;
        default: fprintf(stderr, "ends\n"); break;
        }
    }
    if (job->outcome.verdict == CONC_SIM_PASSED) return;
    fprintf(stderr, "  in the end:\n");
    for (i = 0; conc__sim_fiber((unsigned)i, &who); i++) {
        if (who.done) continue;
        fprintf(stderr, "         %-16.16s  at %s:%d  %s", who.name, who.file != NULL ? conc__sim_base(who.file) : "?", who.line,
                who.call != NULL ? who.call : "");
        if (who.agent != NULL && job->outcome.verdict == CONC_SIM_DEADLOCK) {
            conc__sim_print_waits((const conc__agent *)who.agent);
        }
        fprintf(stderr, "\n");
    }
}

static const char *conc__sim_run_name(const conc__sim_job *job) {
    return job->desc.name != NULL ? job->desc.name : "";
}

/* The failing schedule once more, with its trace. */
static void conc__sim_tell(conc__sim_job *job, const conc__sim_way *w, bool failed) {
    conc__sim_outcome first = job->outcome;
    const char *at = job->desc.name != NULL ? "@" : "";
    if (failed) {
        job->report.verdict = first.verdict;
        (void)snprintf(job->report.text, sizeof job->report.text, "%s", first.text);
        if (w->strategy == CONC__SIM_DEPTH && !conc__sim_depth_replay(strrchr(job->report.replay, ':') + 1)) return;
        job->plan.trace = true;
        (void)conc__sim_try(job);
        if (job->outcome.verdict != first.verdict || job->outcome.points != first.points) {
            job->report.verdict = CONC_SIM_UNSTABLE;
            (void)snprintf(job->report.text, sizeof job->report.text,
                           "played again it is another (%.60s after %u points, first %.60s after %u: %.150s): the function "
                           "depends on more than the schedule",
                           conc__sim_verdict_name(job->outcome.verdict), (unsigned)job->outcome.points,
                           conc__sim_verdict_name(first.verdict), (unsigned)first.points, first.text);
        }
    }
    if (job->desc.quiet) return;
    fprintf(stderr, "conc_sim: %s%s%s after %llu schedules%s%s\n", conc__sim_run_name(job), job->desc.name != NULL ? ": " : "",
            conc__sim_verdict_name(job->outcome.verdict), (unsigned long long)job->report.schedules,
            job->report.text[0] != '\0' ? ": " : "", job->report.text);
    fprintf(stderr, "  play it again with CONC_SIM=%s%s%s\n", conc__sim_run_name(job), at, job->report.replay);
    conc__sim_print(job);
}

#if CONC__SIM_TSAN || CONC__SIM_ASAN
#if defined(__cplusplus)
extern "C"
#endif
void __sanitizer_set_death_callback(void (*callback)(void));
static void conc__sim_died(void) {
    if (conc__sim_under_way[0] != '\0') fprintf(stderr, "conc_sim: that was in the schedule CONC_SIM=%s\n", conc__sim_under_way);
}
#endif

/* One schedule of the search; false: it failed, and has been told. */
static bool conc__sim_one(conc__sim_job *job, const conc__sim_way *w, uint64_t seed, uint64_t k, const char *k_name) {
    char way[32], number[400];
    bool passed;
    conc__sim_plan_set(job, w, seed, k);
#if CONC__SIM_TSAN || CONC__SIM_ASAN /* which may end the program in the middle of it */
    conc__sim_way_name(w, way, sizeof way);
    (void)snprintf(number, sizeof number, "%llu", (unsigned long long)k);
    (void)snprintf(conc__sim_under_way, sizeof conc__sim_under_way, "%.100s@%llu:%s:%.400s", conc__sim_run_name(job),
                   (unsigned long long)seed, way, k_name != NULL ? k_name : number);
#endif
    passed = conc__sim_try(job);
    job->report.schedules++;
    job->report.points += job->outcome.points;
    job->marked = job->marked || job->outcome.marked;
    if (passed) return true;
    conc__sim_way_name(w, way, sizeof way);
    if (k_name != NULL) {
        (void)snprintf(number, sizeof number, "%.399s", k_name);
    } else if (w->strategy != CONC__SIM_DEPTH) {
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)k);
    } else if (!conc__sim_depth_choices(number, sizeof number)) {
        number[0] = '\0'; /* too many to tell */
    }
    (void)snprintf(job->report.replay, sizeof job->report.replay, "%llu:%s:%s", (unsigned long long)seed, way, number);
    conc__sim_tell(job, w, true);
    return false;
}

/* ---- the search ------------------------------------------------------------------------------------------- */

/* Whether the environment asks for one schedule of this run: its parts. `text` is changed. */
static bool conc__sim_wanted(const conc__sim_job *job, char *text, size_t size, uint64_t *seed, conc__sim_way *w,
                             const char **k) {
    const char *wish = getenv("CONC_SIM"), *at, *end;
    char *colon;
    if (wish == NULL) return false;
    at = strrchr(wish, '@');
    if (at != NULL) {
        size_t n = (size_t)(at - wish);
        if (job->desc.name == NULL || strlen(job->desc.name) != n || strncmp(job->desc.name, wish, n) != 0) return false;
        wish = at + 1;
    }
    (void)snprintf(text, size, "%s", wish);
    *seed = strtoull(text, &colon, 10);
    if (colon == text || *colon != ':') return false;
    end = conc__sim_way_read(colon + 1, w);
    if (end == NULL || *end != ':') return false;
    *k = end + 1;
    return true;
}

static void conc__sim_replay(conc__sim_job *job, const conc__sim_way *w, uint64_t seed, const char *k) {
    bool depth = w->strategy == CONC__SIM_DEPTH;
    if (depth && !conc__sim_depth_replay(k)) {
        job->report.verdict = CONC_SIM_LIMIT;
        (void)snprintf(job->report.text, sizeof job->report.text, "CONC_SIM: \"%.300s\" names no schedule", k);
        return;
    }
    if (!conc__sim_one(job, w, seed, depth ? 0 : strtoull(k, NULL, 10), k)) return;
    if (depth) (void)conc__sim_depth_replay(k);
    job->plan.trace = true;
    (void)conc__sim_try(job);
    (void)snprintf(job->report.replay, sizeof job->report.replay, "%.400s", k);
    conc__sim_tell(job, w, false);
}

static void conc__sim_search(conc__sim_job *job, const conc__sim_way *ways, size_t n, uint64_t seed, int64_t until) {
    uint64_t limit = job->desc.schedules != 0 ? job->desc.schedules : 10000, k;
    const conc__sim_way *by_chance[CONC__SIM_STRATEGIES];
    size_t chances = 0, i;
    for (i = 0; i < n; i++) {
        if (ways[i].strategy != CONC__SIM_DEPTH) by_chance[chances++] = &ways[i];
    }
    for (k = 0; chances != 0 && k < limit; k++) {
        if ((k & 63u) == 0 && conc__port_clock_ns() >= until) return;
        if (!conc__sim_one(job, by_chance[k % chances], seed, k / chances, NULL)) return;
    }
    for (i = 0; i < n; i++) {
        bool more = true;
        if (ways[i].strategy != CONC__SIM_DEPTH) continue;
        conc__sim_depth_begin();
        for (k = 0; more && k < limit; k++) {
            if ((k & 63u) == 0 && conc__port_clock_ns() >= until) return;
            if (!conc__sim_one(job, &ways[i], seed, k, NULL)) return;
            more = conc__sim_depth_next();
        }
        if (more) return;
    }
    job->report.exhausted = n > chances;
}

conc_sim_report conc_sim_run(conc_fn body, void *arg, const conc_sim_desc *desc) {
    conc__sim_job job;
    conc__sim_way ways[CONC__SIM_STRATEGIES], way;
    char wish[600];
    const char *k = NULL;
    int64_t began;
    uint64_t seed;
    size_t n = 0;
    memset(&job, 0, sizeof job);
    if (desc != NULL) job.desc = *desc;
    job.body = body;
    job.arg = arg;
    job.report.verdict = CONC_SIM_LIMIT;
    if (body == NULL) {
        (void)snprintf(job.report.text, sizeof job.report.text, "conc_sim_run: no function");
        return job.report;
    }
    n = conc__sim_ways_read(job.desc.strategies != NULL ? job.desc.strategies : "random,pct2,pct3", ways);
    if (n == 0) {
        (void)snprintf(job.report.text, sizeof job.report.text,
                       "conc_sim_run: \"%.100s\" is no list of strategies; \"random,pct2,depth3\" would be one",
                       job.desc.strategies);
        return job.report;
    }
    conc__table_begin();
    conc__registry_begin();
    conc__timers_begin();
    conc__loops_begin();
    conc__offload_begin();
    conc__blocked_begin();
    conc__pools_begin();
    conc__debug_begin();
    if (conc__sim_is_here() || !conc__registry_is_alone() || conc__swap32(&conc__sim_runs, 1, CONC__ACQUIRE) != 0) {
        (void)snprintf(job.report.text, sizeof job.report.text, "conc_sim_run: %s",
                       conc__sim_is_here()          ? "called from inside a simulation"
                       : conc__registry_is_alone() ? "another thread runs a simulation"
                                                   : "other threads of this library are alive or not yet joined");
        return job.report;
    }
    job.report.verdict = CONC_SIM_PASSED;
    conc__sim_reports_are_fine = job.desc.reports_are_fine;
    seed = job.desc.seed != 0 ? job.desc.seed : 1;
    began = conc__port_clock_ns();
    {
        uint32_t next_id = conc__world_new(1);
        /* A first schedule by itself: it tells whether data is marked, and what is set up once is set up then, so that
         * all that follow begin alike, alone or not. */
        static const conc__sim_way first = {CONC__SIM_RANDOM, 0};
        job.marked = true;
        conc__sim_plan_set(&job, &first, 0, 0);
        (void)conc__sim_try(&job);
        job.marked = job.outcome.marked;
        if (conc__sim_wanted(&job, wish, sizeof wish, &seed, &way, &k)) {
            conc__sim_replay(&job, &way, seed, k);
        } else {
            int64_t until = job.desc.seconds > 0 ? began + (int64_t)(job.desc.seconds * 1e9) : INT64_MAX;
#if CONC__SIM_TSAN || CONC__SIM_ASAN
            __sanitizer_set_death_callback(conc__sim_died);
#endif
            conc__sim_search(&job, ways, n, seed, until);
        }
        conc__sim_under_way[0] = '\0';
        (void)conc__world_new(next_id);
    }
    conc__store32(&conc__sim_runs, 0, CONC__RELEASE);
    job.report.seconds = (double)(conc__port_clock_ns() - began) * 1e-9;
    return job.report;
}

/* ---- what the simulated code can say ------------------------------------------------------------------------ */

bool conc_sim_is_running(void) {
    return conc__sim_is_here();
}

unsigned conc_sim_choose(unsigned n) {
    return conc__sim_choose(n);
}

void conc_sim_fail(const char *text, const char *file, int line) {
    conc__sim_stop(CONC_SIM_CHECK, "%s:%d: %s", conc__sim_base(file), line, text);
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    abort();
}

#endif

/* ==== end src/sim.c ==== */

#endif /* CONC_IMPLEMENTATION */

/* ==== begin src/places.h ==== */

/* ============================================================================================
 * places: with CONC_SIM, the calls that wait or wake tell where they stand, for the interleaving that a failing
 * simulation prints. (A macro of a function's own name is not expanded within itself.) It stands after the code,
 * which is not to see it; places_off.h, before the code, takes back the same names.
 * ========================================================================================== */

#if defined(CONC_SIM) && !defined(CONC__PLACES_H)
#define CONC__PLACES_H

/* `said` is the call as the user wrote it, but for what its own macro made of it. */
#define CONC__AT(said, ...) (conc__sim_at(__FILE__, __LINE__, said), __VA_ARGS__)

#if defined(CONC_DEBUG)
#undef conc_mutex_lock
#undef conc_mutex_try_lock
#undef conc_mutex_unlock
#undef conc__lock_enter
#define conc_mutex_lock(m, deadline)                                                               \
    CONC__AT("conc_mutex_lock(" #m ", " #deadline ")", conc__mutex_lock_at((m), (deadline), __FILE__, __LINE__))
#define conc_mutex_try_lock(m)                                                                     \
    CONC__AT("conc_mutex_try_lock(" #m ")", conc__mutex_try_lock_at((m), __FILE__, __LINE__))
#define conc_mutex_unlock(m)                                                                       \
    CONC__AT("conc_mutex_unlock(" #m ")", conc__mutex_unlock_at((m), __FILE__, __LINE__))
#define conc__lock_enter(m) CONC__AT("CONC_WITH_LOCK(" #m ")", conc__lock_enter_at((m), __FILE__, __LINE__))
#else
#define conc_mutex_lock(...) CONC__AT("conc_mutex_lock(" #__VA_ARGS__ ")", conc_mutex_lock(__VA_ARGS__))
#define conc_mutex_try_lock(...) \
    CONC__AT("conc_mutex_try_lock(" #__VA_ARGS__ ")", conc_mutex_try_lock(__VA_ARGS__))
#define conc_mutex_unlock(...) CONC__AT("conc_mutex_unlock(" #__VA_ARGS__ ")", conc_mutex_unlock(__VA_ARGS__))
#define conc__lock_enter(m) CONC__AT("CONC_WITH_LOCK(" #m ")", conc__lock_enter(m))
#endif
#define conc_rmutex_lock(...) CONC__AT("conc_rmutex_lock(" #__VA_ARGS__ ")", conc_rmutex_lock(__VA_ARGS__))
#define conc_rmutex_try_lock(...) \
    CONC__AT("conc_rmutex_try_lock(" #__VA_ARGS__ ")", conc_rmutex_try_lock(__VA_ARGS__))
#define conc_rmutex_unlock(...) \
    CONC__AT("conc_rmutex_unlock(" #__VA_ARGS__ ")", conc_rmutex_unlock(__VA_ARGS__))
#define conc_cond_wait(...) CONC__AT("conc_cond_wait(" #__VA_ARGS__ ")", conc_cond_wait(__VA_ARGS__))
#define conc_cond_wait_for(...) \
    CONC__AT("conc_cond_wait_for(" #__VA_ARGS__ ")", conc_cond_wait_for(__VA_ARGS__))
#define conc_cond_signal(...) CONC__AT("conc_cond_signal(" #__VA_ARGS__ ")", conc_cond_signal(__VA_ARGS__))
#define conc_cond_broadcast(...) \
    CONC__AT("conc_cond_broadcast(" #__VA_ARGS__ ")", conc_cond_broadcast(__VA_ARGS__))
#define conc_rwlock_read(...) CONC__AT("conc_rwlock_read(" #__VA_ARGS__ ")", conc_rwlock_read(__VA_ARGS__))
#define conc_rwlock_write(...) CONC__AT("conc_rwlock_write(" #__VA_ARGS__ ")", conc_rwlock_write(__VA_ARGS__))
#define conc_rwlock_unlock(...) \
    CONC__AT("conc_rwlock_unlock(" #__VA_ARGS__ ")", conc_rwlock_unlock(__VA_ARGS__))
#define conc_brlock_read(...) CONC__AT("conc_brlock_read(" #__VA_ARGS__ ")", conc_brlock_read(__VA_ARGS__))
#define conc_brlock_write(...) CONC__AT("conc_brlock_write(" #__VA_ARGS__ ")", conc_brlock_write(__VA_ARGS__))
#define conc_brlock_read_unlock(...) \
    CONC__AT("conc_brlock_read_unlock(" #__VA_ARGS__ ")", conc_brlock_read_unlock(__VA_ARGS__))
#define conc_brlock_write_unlock(...) \
    CONC__AT("conc_brlock_write_unlock(" #__VA_ARGS__ ")", conc_brlock_write_unlock(__VA_ARGS__))
#define conc_semaphore_acquire(...) \
    CONC__AT("conc_semaphore_acquire(" #__VA_ARGS__ ")", conc_semaphore_acquire(__VA_ARGS__))
#define conc_semaphore_release(...) \
    CONC__AT("conc_semaphore_release(" #__VA_ARGS__ ")", conc_semaphore_release(__VA_ARGS__))
#define conc_event_set(...) CONC__AT("conc_event_set(" #__VA_ARGS__ ")", conc_event_set(__VA_ARGS__))
#define conc_event_reset(...) CONC__AT("conc_event_reset(" #__VA_ARGS__ ")", conc_event_reset(__VA_ARGS__))
#define conc_event_wait(...) CONC__AT("conc_event_wait(" #__VA_ARGS__ ")", conc_event_wait(__VA_ARGS__))
#define conc_barrier_wait(...) CONC__AT("conc_barrier_wait(" #__VA_ARGS__ ")", conc_barrier_wait(__VA_ARGS__))
#define conc_barrier_abort(...) \
    CONC__AT("conc_barrier_abort(" #__VA_ARGS__ ")", conc_barrier_abort(__VA_ARGS__))
#define conc_barrier_reset(...) \
    CONC__AT("conc_barrier_reset(" #__VA_ARGS__ ")", conc_barrier_reset(__VA_ARGS__))
#define conc_once_do(...) CONC__AT("conc_once_do(" #__VA_ARGS__ ")", conc_once_do(__VA_ARGS__))
#define conc_latch_add(...) CONC__AT("conc_latch_add(" #__VA_ARGS__ ")", conc_latch_add(__VA_ARGS__))
#define conc_latch_done(...) CONC__AT("conc_latch_done(" #__VA_ARGS__ ")", conc_latch_done(__VA_ARGS__))
#define conc_latch_wait(...) CONC__AT("conc_latch_wait(" #__VA_ARGS__ ")", conc_latch_wait(__VA_ARGS__))
#define conc_queue_new(...) CONC__AT("conc_queue_new(" #__VA_ARGS__ ")", conc_queue_new(__VA_ARGS__))
#define conc_queue_new_ex(...) CONC__AT("conc_queue_new_ex(" #__VA_ARGS__ ")", conc_queue_new_ex(__VA_ARGS__))
#define conc_queue_put_bytes(...) \
    CONC__AT("conc_queue_put_bytes(" #__VA_ARGS__ ")", conc_queue_put_bytes(__VA_ARGS__))
#define conc_queue_get_bytes(...) \
    CONC__AT("conc_queue_get_bytes(" #__VA_ARGS__ ")", conc_queue_get_bytes(__VA_ARGS__))
#define conc_queue_put_many_bytes(...) \
    CONC__AT("conc_queue_put_many_bytes(" #__VA_ARGS__ ")", conc_queue_put_many_bytes(__VA_ARGS__))
#define conc_queue_get_many_bytes(...) \
    CONC__AT("conc_queue_get_many_bytes(" #__VA_ARGS__ ")", conc_queue_get_many_bytes(__VA_ARGS__))
#define conc_queue_close(...) CONC__AT("conc_queue_close(" #__VA_ARGS__ ")", conc_queue_close(__VA_ARGS__))
#define conc_queue_close_now(...) \
    CONC__AT("conc_queue_close_now(" #__VA_ARGS__ ")", conc_queue_close_now(__VA_ARGS__))
#define conc_queue_free(...) CONC__AT("conc_queue_free(" #__VA_ARGS__ ")", conc_queue_free(__VA_ARGS__))
#define conc_queue_task_done(...) \
    CONC__AT("conc_queue_task_done(" #__VA_ARGS__ ")", conc_queue_task_done(__VA_ARGS__))
#define conc_queue_join(...) CONC__AT("conc_queue_join(" #__VA_ARGS__ ")", conc_queue_join(__VA_ARGS__))
#define conc_wait(...) CONC__AT("conc_wait(" #__VA_ARGS__ ")", conc_wait(__VA_ARGS__))
#define conc_try(...) CONC__AT("conc_try(" #__VA_ARGS__ ")", conc_try(__VA_ARGS__))
#define conc_select(...) CONC__AT("conc_select(" #__VA_ARGS__ ")", conc_select(__VA_ARGS__))
#define conc_sleep(...) CONC__AT("conc_sleep(" #__VA_ARGS__ ")", conc_sleep(__VA_ARGS__))
#define conc_cancel_fire(...) CONC__AT("conc_cancel_fire(" #__VA_ARGS__ ")", conc_cancel_fire(__VA_ARGS__))
#define conc_thread_start(...) CONC__AT("conc_thread_start(" #__VA_ARGS__ ")", conc_thread_start(__VA_ARGS__))
#define conc_thread_join(...) CONC__AT("conc_thread_join(" #__VA_ARGS__ ")", conc_thread_join(__VA_ARGS__))
#define conc_thread_detach(...) \
    CONC__AT("conc_thread_detach(" #__VA_ARGS__ ")", conc_thread_detach(__VA_ARGS__))
#define conc_thread_join_all(...) \
    CONC__AT("conc_thread_join_all(" #__VA_ARGS__ ")", conc_thread_join_all(__VA_ARGS__))
#define conc_thread_yield() CONC__AT("conc_thread_yield()", conc_thread_yield())
#define conc_local_set(...) CONC__AT("conc_local_set(" #__VA_ARGS__ ")", conc_local_set(__VA_ARGS__))
#define conc_timer_start(...) CONC__AT("conc_timer_start(" #__VA_ARGS__ ")", conc_timer_start(__VA_ARGS__))
#define conc_timer_cancel(...) CONC__AT("conc_timer_cancel(" #__VA_ARGS__ ")", conc_timer_cancel(__VA_ARGS__))
#define conc_timer_release(...) \
    CONC__AT("conc_timer_release(" #__VA_ARGS__ ")", conc_timer_release(__VA_ARGS__))
#define conc_lookup(...) CONC__AT("conc_lookup(" #__VA_ARGS__ ")", conc_lookup(__VA_ARGS__))
#define conc_tcp_listen(...) CONC__AT("conc_tcp_listen(" #__VA_ARGS__ ")", conc_tcp_listen(__VA_ARGS__))
#define conc_tcp_connect(...) CONC__AT("conc_tcp_connect(" #__VA_ARGS__ ")", conc_tcp_connect(__VA_ARGS__))
#define conc_udp_bind(...) CONC__AT("conc_udp_bind(" #__VA_ARGS__ ")", conc_udp_bind(__VA_ARGS__))
#define conc_accept(...) CONC__AT("conc_accept(" #__VA_ARGS__ ")", conc_accept(__VA_ARGS__))
#define conc_receive(...) CONC__AT("conc_receive(" #__VA_ARGS__ ")", conc_receive(__VA_ARGS__))
#define conc_receive_full(...) CONC__AT("conc_receive_full(" #__VA_ARGS__ ")", conc_receive_full(__VA_ARGS__))
#define conc_send_all(...) CONC__AT("conc_send_all(" #__VA_ARGS__ ")", conc_send_all(__VA_ARGS__))
#define conc_receive_from(...) CONC__AT("conc_receive_from(" #__VA_ARGS__ ")", conc_receive_from(__VA_ARGS__))
#define conc_send_to(...) CONC__AT("conc_send_to(" #__VA_ARGS__ ")", conc_send_to(__VA_ARGS__))
#define conc_socket_close(...) CONC__AT("conc_socket_close(" #__VA_ARGS__ ")", conc_socket_close(__VA_ARGS__))
#define conc_socket_free(...) CONC__AT("conc_socket_free(" #__VA_ARGS__ ")", conc_socket_free(__VA_ARGS__))
#define conc_loop_run(...) CONC__AT("conc_loop_run(" #__VA_ARGS__ ")", conc_loop_run(__VA_ARGS__))
#define conc_loop_stop(...) CONC__AT("conc_loop_stop(" #__VA_ARGS__ ")", conc_loop_stop(__VA_ARGS__))
#define conc_loop_cancel(...) CONC__AT("conc_loop_cancel(" #__VA_ARGS__ ")", conc_loop_cancel(__VA_ARGS__))
#define conc_loop_post(...) CONC__AT("conc_loop_post(" #__VA_ARGS__ ")", conc_loop_post(__VA_ARGS__))
#define conc_loop_free(...) CONC__AT("conc_loop_free(" #__VA_ARGS__ ")", conc_loop_free(__VA_ARGS__))
#define conc_task_join(...) CONC__AT("conc_task_join(" #__VA_ARGS__ ")", conc_task_join(__VA_ARGS__))
#define conc_task_join_all(...) CONC__AT("conc_task_join_all(" #__VA_ARGS__ ")", conc_task_join_all(__VA_ARGS__))
#define conc_task_detach(...) CONC__AT("conc_task_detach(" #__VA_ARGS__ ")", conc_task_detach(__VA_ARGS__))
#define conc_task_cancel(...) CONC__AT("conc_task_cancel(" #__VA_ARGS__ ")", conc_task_cancel(__VA_ARGS__))
#define conc_group_wait(...) CONC__AT("conc_group_wait(" #__VA_ARGS__ ")", conc_group_wait(__VA_ARGS__))
#define conc_group_cancel(...) CONC__AT("conc_group_cancel(" #__VA_ARGS__ ")", conc_group_cancel(__VA_ARGS__))
#define conc_group_free(...) CONC__AT("conc_group_free(" #__VA_ARGS__ ")", conc_group_free(__VA_ARGS__))
#define conc_future_wait(...) CONC__AT("conc_future_wait(" #__VA_ARGS__ ")", conc_future_wait(__VA_ARGS__))
#define conc_future_cancel(...) \
    CONC__AT("conc_future_cancel(" #__VA_ARGS__ ")", conc_future_cancel(__VA_ARGS__))
#define conc_future_complete(...) \
    CONC__AT("conc_future_complete(" #__VA_ARGS__ ")", conc_future_complete(__VA_ARGS__))
#define conc_future_then(...) CONC__AT("conc_future_then(" #__VA_ARGS__ ")", conc_future_then(__VA_ARGS__))
#define conc_future_release(...) \
    CONC__AT("conc_future_release(" #__VA_ARGS__ ")", conc_future_release(__VA_ARGS__))
#define conc_wait_all(...) CONC__AT("conc_wait_all(" #__VA_ARGS__ ")", conc_wait_all(__VA_ARGS__))
#define conc_wait_any(...) CONC__AT("conc_wait_any(" #__VA_ARGS__ ")", conc_wait_any(__VA_ARGS__))
#define conc_pool_run(...) CONC__AT("conc_pool_run(" #__VA_ARGS__ ")", conc_pool_run(__VA_ARGS__))
#define conc_pool_submit(...) CONC__AT("conc_pool_submit(" #__VA_ARGS__ ")", conc_pool_submit(__VA_ARGS__))
#define conc_pool_run_ex(...) CONC__AT("conc_pool_run_ex(" #__VA_ARGS__ ")", conc_pool_run_ex(__VA_ARGS__))
#define conc_pool_submit_ex(...) \
    CONC__AT("conc_pool_submit_ex(" #__VA_ARGS__ ")", conc_pool_submit_ex(__VA_ARGS__))
#define conc_pool_submit_at(...) \
    CONC__AT("conc_pool_submit_at(" #__VA_ARGS__ ")", conc_pool_submit_at(__VA_ARGS__))
#define conc_pool_every(...) CONC__AT("conc_pool_every(" #__VA_ARGS__ ")", conc_pool_every(__VA_ARGS__))
#define conc_pool_close(...) CONC__AT("conc_pool_close(" #__VA_ARGS__ ")", conc_pool_close(__VA_ARGS__))
#define conc_pool_close_now(...) \
    CONC__AT("conc_pool_close_now(" #__VA_ARGS__ ")", conc_pool_close_now(__VA_ARGS__))
#define conc_pool_join(...) CONC__AT("conc_pool_join(" #__VA_ARGS__ ")", conc_pool_join(__VA_ARGS__))
#define conc_pool_free(...) CONC__AT("conc_pool_free(" #__VA_ARGS__ ")", conc_pool_free(__VA_ARGS__))
#define conc_pool_finish(...) CONC__AT("conc_pool_finish(" #__VA_ARGS__ ")", conc_pool_finish(__VA_ARGS__))
#define conc_pool_resize(...) CONC__AT("conc_pool_resize(" #__VA_ARGS__ ")", conc_pool_resize(__VA_ARGS__))
#define conc_pool_set_keep_alive(...) \
    CONC__AT("conc_pool_set_keep_alive(" #__VA_ARGS__ ")", conc_pool_set_keep_alive(__VA_ARGS__))
#define conc_pool_prestart(...) \
    CONC__AT("conc_pool_prestart(" #__VA_ARGS__ ")", conc_pool_prestart(__VA_ARGS__))
#define conc_pool_call(...) CONC__AT("conc_pool_call(" #__VA_ARGS__ ")", conc_pool_call(__VA_ARGS__))
#define conc_job_fork(...) CONC__AT("conc_job_fork(" #__VA_ARGS__ ")", conc_job_fork(__VA_ARGS__))
#define conc_job_join(...) CONC__AT("conc_job_join(" #__VA_ARGS__ ")", conc_job_join(__VA_ARGS__))
#define conc_pool_invoke(...) CONC__AT("conc_pool_invoke(" #__VA_ARGS__ ")", conc_pool_invoke(__VA_ARGS__))
#define conc_pool_group_run(...) \
    CONC__AT("conc_pool_group_run(" #__VA_ARGS__ ")", conc_pool_group_run(__VA_ARGS__))
#define conc_pool_group_wait(...) \
    CONC__AT("conc_pool_group_wait(" #__VA_ARGS__ ")", conc_pool_group_wait(__VA_ARGS__))
#define conc_pool_group_cancel(...) \
    CONC__AT("conc_pool_group_cancel(" #__VA_ARGS__ ")", conc_pool_group_cancel(__VA_ARGS__))
#define conc_pool_group_end(...) \
    CONC__AT("conc_pool_group_end(" #__VA_ARGS__ ")", conc_pool_group_end(__VA_ARGS__))
#define conc_pool_for(...) CONC__AT("conc_pool_for(" #__VA_ARGS__ ")", conc_pool_for(__VA_ARGS__))
#define conc_pool_reduce_bytes(...) \
    CONC__AT("conc_pool_reduce_bytes(" #__VA_ARGS__ ")", conc_pool_reduce_bytes(__VA_ARGS__))
#define conc_pool_sort(...) CONC__AT("conc_pool_sort(" #__VA_ARGS__ ")", conc_pool_sort(__VA_ARGS__))
#define conc_pool_map_bytes(...) \
    CONC__AT("conc_pool_map_bytes(" #__VA_ARGS__ ")", conc_pool_map_bytes(__VA_ARGS__))
#define conc__co_go(...) CONC__AT("CONC_GO(...)", conc__co_go(__VA_ARGS__))
#define conc__co_await(task, op, deadline, catches) \
    CONC__AT("CO_AWAIT(" #op ")", conc__co_await((task), op, (deadline), (catches)))
#define conc__co_await_any(task, ops, n, deadline) \
    CONC__AT("CO_AWAIT_ANY(" #ops ", " #n ")", conc__co_await_any((task), ops, n, (deadline)))

#endif

/* ==== end src/places.h ==== */

/* ==== begin src/license.h ==== */

/*
 * conc.h is available under two licenses. Choose whichever you prefer.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE A - MIT License
 *
 * Copyright (c) the conc.h authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy
 * of this software and associated documentation files (the "Software"), to deal
 * in the Software without restriction, including without limitation the rights
 * to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
 * copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all
 * copies or substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE B - Public Domain (the Unlicense, unlicense.org)
 *
 * This is free and unencumbered software released into the public domain.
 *
 * Anyone is free to copy, modify, publish, use, compile, sell, or distribute
 * this software, either in source code form or as a compiled binary, for any
 * purpose, commercial or non-commercial, and by any means.
 *
 * In jurisdictions that recognize copyright laws, the author or authors of this
 * software dedicate any and all copyright interest in the software to the public
 * domain. We make this dedication for the benefit of the public at large and to
 * the detriment of our heirs and successors. We intend this dedication to be an
 * overt act of relinquishment in perpetuity of all present and future rights to
 * this software under copyright law.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
 * ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
 * WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */

/* ==== end src/license.h ==== */

