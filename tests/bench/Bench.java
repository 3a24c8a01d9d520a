// Peer: Java (Debian: default-jdk). The protocol is told in bench.h. The virtual machine compiles while it runs, so
// its warm-up is longer.

import java.io.File;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RecursiveTask;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;

public final class Bench {
    static final int ON = 1, OVER = 2;
    static volatile int phase;
    static volatile long sink;

    interface Runner { void run(Case c) throws Exception; }
    record Case(String group, String name, String impl, Runner runner, int a, int b) {
        void print(double value, String unit, String extra) {
            System.out.printf("%s\t%s\t%s\t%.6f\t%s\t%s%n", group, name, impl, value, unit, extra);
        }
    }
    record Window(double seconds, double switches) {}

    static int env(String name, int otherwise) {
        String text = System.getenv(name);
        return text == null || text.isEmpty() ? otherwise : Integer.parseInt(text);
    }

    // Of all threads of the process, as getrusage() counts them; 0 where there is no /proc.
    static double switches() {
        double sum = 0;
        File[] tasks = new File("/proc/self/task").listFiles();
        if (tasks == null) return 0;
        for (File task : tasks) {
            try {
                for (String line : Files.readAllLines(task.toPath().resolve("status"))) {
                    if (!line.contains("ctxt_switches:")) continue;
                    sum += Double.parseDouble(line.substring(line.indexOf(':') + 1).trim());
                }
            } catch (java.io.IOException ended) {
                continue; // that thread has ended meanwhile
            }
        }
        return sum;
    }

    static Window measure() throws Exception {
        Thread.sleep(env("BENCH_WARM", 40) + 250);
        double before = switches();
        long start = System.nanoTime();
        phase = ON;
        Thread.sleep(env("BENCH_MS", 200));
        double after = switches(); // before the threads end: what has ended is not listed any more
        phase = OVER;
        return new Window((System.nanoTime() - start) * 1e-9, Math.max(0, after - before));
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            System.err.println("bench: failed: " + what);
            System.exit(1);
        }
    }

    static Thread start(Runnable body) {
        Thread t = new Thread(body);
        t.start();
        return t;
    }

    // ---- the lock

    static final class Box {
        final ReentrantLock lock = new ReentrantLock();
        long data;
    }

    static long work(long x, int turns) {
        for (int i = 0; i < turns; i++) x = (x ^ (x >>> 29)) * 6364136223846793005L + 1;
        return x;
    }

    static void lockRun(Case c) throws Exception {
        Box box = new Box();
        long[] ops = new long[c.a], all = new long[c.a];
        Thread[] threads = new Thread[c.a];
        int turns = c.b != 0 ? env("BENCH_WORK", 80) : 0;
        for (int i = 0; i < c.a; i++) {
            int me = i;
            threads[i] = start(() -> {
                long mine = 0, sum = 0, x = me;
                for (int p; (p = phase) != OVER;) {
                    box.lock.lock();
                    try {
                        box.data++;
                    } finally {
                        box.lock.unlock();
                    }
                    x = work(x, turns);
                    mine += p;
                    sum++;
                }
                sink = x;
                ops[me] = mine;
                all[me] = sum;
            });
        }
        Window w = measure();
        long sum = 0, total = 0, least = Long.MAX_VALUE, most = 0;
        for (int i = 0; i < c.a; i++) {
            threads[i].join();
            sum += ops[i];
            total += all[i];
            least = Math.min(least, ops[i]);
            most = Math.max(most, ops[i]);
        }
        check(total == box.data, "mutual exclusion");
        if (c.a == 1) c.print(w.seconds * 1e9 / sum, "ns", "");
        else c.print(sum / w.seconds * 1e-6, "M op/s", String.format("fairness=%.2f", (double) least / most));
    }

    // ---- semaphore

    static void semaphoreRun(Case c) throws Exception {
        Semaphore there = new Semaphore(0), back = new Semaphore(0);
        long[] ops = new long[1];
        boolean[] over = new boolean[1];
        Thread ping = start(() -> {
            long n = 0;
            for (int p; (p = phase) != OVER;) {
                there.release();
                back.acquireUninterruptibly();
                n += p;
            }
            over[0] = true;
            there.release();
            ops[0] = n;
        });
        Thread pong = start(() -> {
            for (;;) {
                there.acquireUninterruptibly();
                if (over[0]) break;
                back.release();
            }
        });
        Window w = measure();
        ping.join();
        pong.join();
        c.print(w.seconds * 1e6 / ops[0], "us", String.format("switches=%.2f", w.switches / ops[0]));
    }

    // ---- the queue

    static long take(ArrayBlockingQueue<Long> q) {
        try {
            return q.take();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void put(ArrayBlockingQueue<Long> q, long item) {
        try {
            q.put(item);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    static void queueRun(Case c) throws Exception {
        ArrayBlockingQueue<Long> q = new ArrayBlockingQueue<>(1024);
        long[] ops = new long[c.b], got = new long[c.b], sent = new long[c.a];
        Thread[] producers = new Thread[c.a], consumers = new Thread[c.b];
        for (int i = 0; i < c.b; i++) {
            int me = i;
            consumers[i] = start(() -> {
                long n = 0, all = 0;
                for (;;) {
                    long item = take(q);
                    int p = phase;
                    if (item == 0) break;
                    if (p == ON) n++;
                    all++;
                }
                ops[me] = n;
                got[me] = all;
            });
        }
        for (int i = 0; i < c.a; i++) {
            int me = i;
            producers[i] = start(() -> {
                long all = 0;
                while (phase != OVER) put(q, ++all + ((long) me << 48));
                sent[me] = all;
            });
        }
        Window w = measure();
        long in = 0, out = 0, sum = 0;
        for (int i = 0; i < c.a; i++) {
            producers[i].join();
            in += sent[i];
        }
        for (int i = 0; i < c.b; i++) put(q, 0);
        for (int i = 0; i < c.b; i++) {
            consumers[i].join();
            out += got[i];
            sum += ops[i];
        }
        check(in == out, "items put and got");
        c.print(sum / w.seconds * 1e-6, "M items/s", String.format("switches/100=%.2f", w.switches * 100 / sum));
    }

    static void queueTrip(Case c) throws Exception {
        ArrayBlockingQueue<Long> q = new ArrayBlockingQueue<>(1024), back = new ArrayBlockingQueue<>(1024);
        long[] ops = new long[1];
        Thread ping = start(() -> {
            long n = 0;
            for (int p; (p = phase) != OVER;) {
                put(q, 1);
                take(back);
                n += p;
            }
            put(q, 0);
            ops[0] = n;
        });
        Thread pong = start(() -> {
            for (;;) {
                long item = take(q);
                if (item == 0) break;
                put(back, item);
            }
        });
        Window w = measure();
        ping.join();
        pong.join();
        c.print(w.seconds * 1e6 / ops[0], "us", String.format("switches/100=%.1f", w.switches * 100 / ops[0]));
    }

    // ---- start and join

    static void threadRun(Case c) throws Exception {
        long[] ops = new long[1];
        Thread t = start(() -> {
            long n = 0;
            for (int p; (p = phase) != OVER;) {
                try {
                    start(() -> {}).join();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
                n += p;
            }
            ops[0] = n;
        });
        Window w = measure();
        t.join();
        c.print(w.seconds * 1e6 / ops[0], "us", "");
    }

    // ---- pools of two threads, fork and join, a sort: see pool_cases.h and parallel_cases.h

    interface Turn { void run() throws Exception; }

    static double best;
    // the median of turns, and the best, as bench_turns() in bench.h, in seconds; `before` is not counted
    static double turns(Turn before, Turn turn) throws Exception {
        double[] took = new double[10000];
        int n = 0;
        long end = System.nanoTime() + (env("BENCH_WARM", 40) + 250) * 1000000L;
        do {
            before.run();
            turn.run();
        } while (System.nanoTime() < end);
        end = System.nanoTime() + env("BENCH_MS", 200) * 1000000L;
        do {
            before.run();
            long start = System.nanoTime();
            turn.run();
            took[n++] = (System.nanoTime() - start) * 1e-9;
        } while (n < 3 || (n < took.length && System.nanoTime() < end));
        Arrays.sort(took, 0, n);
        best = took[0];
        return (took[n / 2] + took[(n - 1) / 2]) / 2;
    }

    static ExecutorService pool(Case c) {
        return c.a != 0 ? new ForkJoinPool(2)
                        : new ThreadPoolExecutor(2, 2, 0, TimeUnit.SECONDS, new LinkedBlockingQueue<>());
    }

    static void poolEmpty(Case c) throws Exception {
        final int tasks = 1000000;
        ExecutorService pool = pool(c);
        AtomicInteger left = new AtomicInteger();
        Semaphore none = new Semaphore(0);
        Runnable task = () -> {
            if (left.decrementAndGet() == 0) none.release();
        };
        double took = turns(() -> {}, () -> {
            left.set(tasks);
            for (int i = 0; i < tasks; i++) pool.execute(task);
            none.acquire();
        });
        pool.shutdown();
        c.print(tasks / took * 1e-6, "M tasks/s", String.format("best=%.2f", tasks / best * 1e-6));
    }

    static void poolTrip(Case c) throws Exception {
        ExecutorService pool = pool(c);
        long[] ops = new long[1];
        Thread t = start(() -> {
            long n = 0;
            try {
                for (int p; (p = phase) != OVER;) {
                    pool.submit(() -> {}).get();
                    n += p;
                }
            } catch (InterruptedException | ExecutionException e) {
                throw new IllegalStateException(e);
            }
            ops[0] = n;
        });
        Window w = measure();
        t.join();
        pool.shutdown();
        c.print(w.seconds * 1e6 / ops[0], "us", String.format("switches=%.2f", w.switches / ops[0]));
    }

    static final class Fib extends RecursiveTask<Integer> {
        final int n;
        Fib(int n) { this.n = n; }
        @Override protected Integer compute() {
            if (n < 2) return n;
            Fib forked = new Fib(n - 2);
            forked.fork();
            int a = new Fib(n - 1).compute();
            return a + forked.join();
        }
    }

    static void forkRun(Case c) throws Exception {
        ForkJoinPool pool = new ForkJoinPool(2);
        double took = turns(() -> {}, () -> check(pool.invoke(new Fib(30)) == 832040, "fib(30)"));
        pool.shutdown();
        c.print(took * 1e9 / 1346268, "ns", "");
    }

    static void sortRun(Case c) throws Exception {
        int[] unsorted = new int[4000000], numbers = new int[unsorted.length];
        int x = (int) 2463534242L;
        for (int i = 0; i < unsorted.length; i++) {
            x ^= x << 13;
            x ^= x >>> 17;
            x ^= x << 5;
            unsorted[i] = x;
        }
        double took = turns(() -> System.arraycopy(unsorted, 0, numbers, 0, numbers.length),
            () -> Arrays.parallelSort(numbers));
        for (int i = 1; i < numbers.length; i++) check(numbers[i - 1] <= numbers[i], "to sort");
        c.print(took * 1e3, "ms", "");
    }

    public static void main(String[] args) throws Exception {
        Case[] cases = {
            new Case("locks", "uncontended", "Java", Bench::lockRun, 1, 0),
            new Case("locks", "2 threads", "Java", Bench::lockRun, 2, 0),
            new Case("locks", "4 threads", "Java", Bench::lockRun, 4, 0),
            new Case("locks", "16 threads", "Java", Bench::lockRun, 16, 0),
            new Case("pingpong", "semaphore", "Java", Bench::semaphoreRun, 0, 0),
            new Case("queue", "1p1c", "Java", Bench::queueRun, 1, 1),
            new Case("queue", "2p2c", "Java", Bench::queueRun, 2, 2),
            new Case("queue", "4p4c", "Java", Bench::queueRun, 4, 4),
            new Case("queue", "16p16c", "Java", Bench::queueRun, 16, 16),
            new Case("queue", "round trip", "Java", Bench::queueTrip, 0, 0),
            new Case("thread", "start and join", "Java", Bench::threadRun, 0, 0),
            new Case("pool", "1,000,000 empty tasks", "Java ForkJoinPool", Bench::poolEmpty, 1, 0),
            new Case("pool", "1,000,000 empty tasks", "Java ThreadPoolExecutor", Bench::poolEmpty, 0, 0),
            new Case("pool", "submit one and wait", "Java ForkJoinPool", Bench::poolTrip, 1, 0),
            new Case("pool", "submit one and wait", "Java ThreadPoolExecutor", Bench::poolTrip, 0, 0),
            new Case("forkjoin", "fib(30), a fork and a join", "Java ForkJoinPool", Bench::forkRun, 0, 0),
            new Case("parallel", "sort of 4,000,000", "Java", Bench::sortRun, 0, 0),
        };
        if (args.length == 1 && args[0].equals("list")) {
            for (Case c : cases) System.out.printf("%s\t%s\t%s%n", c.group, c.name, c.impl);
            return;
        }
        if (args.length == 4 && args[0].equals("run")) {
            for (Case c : cases) {
                if (c.group.equals(args[1]) && c.name.equals(args[2]) && c.impl.equals(args[3])) {
                    c.runner.run(c);
                    return;
                }
            }
        }
        System.err.println("usage: Bench list | run GROUP CASE IMPLEMENTATION");
        System.exit(2);
    }
}
