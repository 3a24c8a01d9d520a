/* conc.h - everyday concurrency for C in one file                                    version 0.1.0
 *
 * Threads, locks, blocking queues, timers, cancellation, thread pools with futures, parallel loops, iterators, generators,
 * coroutines with an event loop, sockets, processes and pools of them, downloads; and one way to wait for any of them.
 * C99 or later, C++11 or later; Linux, macOS, other Unixes, Windows. No dependency but libc and the system's threads
 * (downloads: libcurl).
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
 * future, a thread's, a process's or a task's end, a readable socket, a point in time, a cancel token. One can be waited
 * for, or the first of several:
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
 *  CONC_WITH_CURL                      everywhere            downloads; link with -lcurl
 *  CONC_WITH_OPENSSL                   implementation        and their checksums; link with -lcrypto
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
 * ---- PROCESSES ------------------------------------------------------------------------------ process.h below
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * typedef struct job {
 *     long n, sum;
 * } job;
 *
 * static int add_up(void *arg) { // in a process of its own: on a copy of the job, whose bytes come back
 *     job *j = arg;
 *     for (long i = 1; i <= j->n; i++) j->sum += i;
 *     return 0;
 * }
 *
 * int main(int argc, char **argv) {
 *     conc_process_register("add_up", add_up);   // these two lines: it is spawned, as on Windows all are.
 *     conc_process_main(argc, argv);             // Without them it is forked
 *     job j = { 1000, 0 };
 *     int code;
 *     conc_process *p = conc_process_start(add_up, &j, sizeof j, NULL);
 *     if (p == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
 *     if (conc_process_join(p, &code, conc_after(10)) == CONC_CRASHED) puts(conc_error_detail());
 *     printf("%ld\n", j.sum);
 *     return 0;
 * }
 * ```
 * ```output
 * 500500
 * ```
 *
 * The task is the same as a thread's, if its argument is a plain value. A crash is a result: CONC_CRASHED, with the signal's name,
 * and the argument is as it was. Forked processes see all of the program as it was, and are safe while it has one thread; spawned ones
 * begin anew, and are safe always. The program's end waits for those that are no daemons; if the program
 * dies, even by SIGKILL, so do they all. conc_op_process_end() waits for one of several, or with a deadline, in threads and coroutines.
 *
 * ```c
 * conc_process *p = conc_process_start(work, &x, sizeof x, &(conc_process_desc){ .name = "worker", .channel = true });
 * conc_channel *c = conc_process_channel(p);       // there: conc_process_channel(NULL)
 * conc_channel_put(c, "hello", 6, CONC_FOREVER);   // a message comes as a whole or not at all
 * conc_op ops[] = { conc_op_process_end(p), conc_op_sleep(2) };
 * if (conc_select(ops, 2, CONC_FOREVER) == 1) conc_process_kill(p);
 * ```
 *
 * ---- POOLS OF PROCESSES -------------------------------------------------------------------- procpool.h below
 *
 * ```c
 * #define CONC_IMPLEMENTATION
 * #include "conc.h"
 * #include <stdio.h>
 *
 * static int square(void *arg) { // in a worker process: the argument's bytes go there, and come back
 *     long *x = arg;
 *     *x *= *x;
 *     return 0;
 * }
 *
 * int main(int argc, char **argv) {
 *     conc_process_register("square", square); // as for processes: with these two lines workers are spawned, else forked
 *     conc_process_main(argc, argv);
 *     conc_procpool *pool = conc_procpool_new(4, &(conc_procpool_desc){ .time_limit = 10, .max_tasks = 1000 });
 *     if (pool == NULL) return fprintf(stderr, "%s\n", conc_error_detail()), 1;
 *     long x = 12;
 *     conc_future *f = conc_procpool_submit(pool, square, &x, sizeof x); // x has to stay until f has ended
 *     if (conc_future_wait(f, CONC_FOREVER) == CONC_OK) printf("%ld\n", x);
 *     else puts(conc_future_detail(f));                      // CONC_CRASHED, CONC_TIMEOUT, CONC_FAILED
 *     conc_future_release(f);
 *     return conc_procpool_finish(pool) != CONC_OK;
 * }
 * ```
 * ```output
 * 144
 * ```
 *
 * What crashes, hangs, or takes all memory is one failed task: its worker is replaced, the tasks behind it go to others, and none
 * is begun twice. Futures are those of thread pools: conc_wait_all(), conc_as_completed(), conc_future_then(), conc_op_future().
 * conc_procpool_run() copies the argument, and brings nothing back; conc_procpool_call() waits; conc_procpool_map(pool, in, out, n, fn,
 * arg, arg_size, chunk) calls fn(&in[i], &out[i], arg) for all of an array, conc_procpool_imap() from an iterator to an iterator.
 *
 * ```c
 * conc_procpool *pool = conc_procpool_new(2, &(conc_procpool_desc){ .buffer_size = 1 << 20 });
 * double *big = conc_procpool_buffer(pool, 8000);  // shared: as an argument it is not copied
 * conc_future *f = conc_procpool_submit(pool, work, big, 8000);
 * size_t size;                                     // what work() gave to conc_procpool_reply(): of any size
 * if (conc_future_wait(f, conc_after(1)) == CONC_OK) use(conc_procpool_replied(f, &size));
 * else conc_procpool_kill(f);                      // conc_future_cancel() would let it go on, if it runs
 * ```
 *
 * ---- DOWNLOADS ------------------------------------------------------------------------------ download.h below
 *
 * With `#define CONC_WITH_CURL` before the header, and -lcurl.
 *
 * ```c
 * if (conc_download("https://example.org/1.jpg", "1.jpg", NULL) != CONC_OK) puts(conc_error_detail());
 *
 * conc_download_item items[] = { { .url = "https://example.org/1.jpg", .path = "1.jpg" },
 *                                { .url = "https://example.org/2.jpg", .path = "2.jpg" } };
 * conc_download_all(items, 2, &(conc_download_desc){ .max_parallel = 16, .progress = conc_download_bars });
 * for (int i = 0; i < 2; i++) printf("%s: %d, %s\n", items[i].path, items[i].record.http_code, items[i].record.error);
 * ```
 *
 * At the target there is the whole file or what was there before, never a part. What breaks off is tried again, and goes on where
 * it ended, also in a later call, also after kill -9; what cannot be is told in one sentence for each. A session takes items
 * while it runs; each is a future, and so an op:
 *
 * ```c
 * conc_downloader *d = conc_downloader_new(&(conc_download_desc){ .max_per_host = 4, .keep_existing = true });
 * conc_future *f = conc_downloader_add(d, &(conc_download_item){ .url = "https://example.org/3.jpg", .path = "3.jpg" });
 * conc_op ops[] = { conc_op_future(f), conc_op_sleep(5) };
 * if (conc_select(ops, 2, CONC_FOREVER) == 1) conc_future_cancel(f);        // what came is kept, for the next time
 * conc_future_release(f);
 * conc_downloader_close(d);
 * CONC_FOREACH(conc_download_item, i, conc_downloader_results(d)) printf("%s: %s\n", i.path, i.record.error);
 * conc_downloader_finish(d);
 * ```
 *
 *  Engines      coroutines in one loop, `.engine = CONC_DOWNLOAD_THREADS`, or CONC_DOWNLOAD_PROCESSES: the same results
 *  Refused      http, unless `.allow_http`; redirects to anything else, or from https to http; bad certificates; more than `.max_bytes`
 *  Limits       per host and in all, connections, stalls, whole items, bandwidth; what waits in the queue cannot time out
 *  Checked      lengths always; checksums, if you give them: `.checksum = "sha256:..."`
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
 *  Hidden       No threads that you did not start, but for a pool's, "conc-timer", with the first timer, up to 32 "conc-offload",
 *               with conc_op_offload() and some checksums, and "conc-download", a downloader's that has no loop.
 *  Downloads    A file is there whole and verified, or not there; a part that nobody can go on with is removed.
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
