"""Peer: Python's queue.Queue, threading, thread and process pools and generators, and the four sums as the tutorial has them. The protocol is told in
bench.h."""

import os
import queue
import resource
import sys
import threading
import time

ON, OVER = 1, 2
phase = 0


def usage():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_nvcsw + u.ru_nivcsw, u.ru_utime + u.ru_stime


def measure():
    global phase
    time.sleep(int(os.environ.get("BENCH_WARM", 40)) / 1000)
    switches, cpu = usage()
    start = time.monotonic()
    phase = ON
    time.sleep(int(os.environ.get("BENCH_MS", 200)) / 1000)
    phase = OVER
    seconds = time.monotonic() - start
    switches2, cpu2 = usage()
    return seconds, switches2 - switches, (cpu2 - cpu) / seconds


def show(case, value, unit, extra):
    print(*case, "%.6g" % value, unit, extra, sep="\t")


def queue_run(case, n):
    q = queue.Queue(1024)
    counts, puts, gots = [], [], []

    def produce():
        done = 0
        while phase != OVER:
            done += 1
            q.put(done)
        puts.append(done)

    def consume():
        ops = done = 0
        while q.get() != 0:
            ops += phase == ON
            done += 1
        counts.append(ops)
        gots.append(done)

    producers = [threading.Thread(target=produce) for _ in range(n)]
    consumers = [threading.Thread(target=consume) for _ in range(n)]
    for t in consumers + producers:
        t.start()
    seconds, switches, cpu = measure()
    for t in producers:
        t.join()
    for t in consumers:
        q.put(0)
    for t in consumers:
        t.join()
    assert sum(puts) == sum(gots)
    ops = sum(counts)
    show(case, ops / seconds * 1e-6, "M items/s", "switches/100=%.2f cpu=%.2f" % (switches * 100 / ops, cpu))


def queue_trip(case, _):
    q, back = queue.Queue(1024), queue.Queue(1024)
    ops = [0]

    def ping():
        while phase != OVER:
            q.put(1)
            back.get()
            ops[0] += phase == ON
        q.put(0)

    def pong():
        while q.get() != 0:
            back.put(1)

    threads = [threading.Thread(target=ping), threading.Thread(target=pong)]
    for t in threads:
        t.start()
    seconds, switches, cpu = measure()
    for t in threads:
        t.join()
    show(case, seconds * 1e6 / ops[0], "us", "switches/100=%.1f cpu=%.2f" % (switches * 100 / ops[0], cpu))


def thread_run(case, _):
    ops = [0]

    def turns():
        while phase != OVER:
            t = threading.Thread(target=int)
            t.start()
            t.join()
            ops[0] += phase == ON

    t = threading.Thread(target=turns)
    t.start()
    seconds = measure()[0]
    t.join()
    show(case, seconds * 1e6 / ops[0], "us", "")


def sum_up(results, i):
    s = 0
    for n in range(1000000):
        s += n
    results[i] = s


def sums_run(case, threaded):
    results = [0] * 4
    start = time.monotonic()
    if threaded:
        threads = [threading.Thread(target=sum_up, args=(results, i)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    else:
        for i in range(4):
            sum_up(results, i)
    took = time.monotonic() - start
    assert results == [499999500000] * 4
    show(case, took * 1e3, "ms", "")


def pool_empty(case, tasks):
    import concurrent.futures

    pool = concurrent.futures.ThreadPoolExecutor(2)
    took = []
    while len(took) < 4 or sum(took[1:]) < int(os.environ.get("BENCH_MS", 200)) / 1000:
        start = time.monotonic()
        futures = [pool.submit(int) for _ in range(tasks)]
        for f in futures:
            f.result()
        took.append(time.monotonic() - start)
    took = sorted(took[1:])  # the first is the warm-up
    pool.shutdown()
    median = (took[len(took) // 2] + took[(len(took) - 1) // 2]) / 2
    show(case, tasks / median * 1e-6, "M tasks/s", "best=%.3f" % (tasks / took[0] * 1e-6))


def pool_trip(case, _):
    import concurrent.futures

    pool = concurrent.futures.ThreadPoolExecutor(2)
    ops = [0]

    def trips():
        while phase != OVER:
            pool.submit(int).result()
            ops[0] += phase == ON

    t = threading.Thread(target=trips)
    t.start()
    seconds, switches, cpu = measure()
    t.join()
    pool.shutdown()
    show(case, seconds * 1e6 / ops[0], "us", "switches=%.2f cpu=%.2f" % (switches / ops[0], cpu))


# ---- pools of processes: see procpool_cases.h


def turns(turn):
    """The median of the seconds that turns take, and the least."""
    took = []
    while len(took) < 4 or sum(took[1:]) < int(os.environ.get("BENCH_MS", 200)) / 1000:
        start = time.monotonic()
        turn()
        took.append(time.monotonic() - start)
    took = sorted(took[1:])  # the first is the warm-up
    return (took[len(took) // 2] + took[(len(took) - 1) // 2]) / 2, took[0]


def same(x):
    return x


BLOCK = 1 << 20


def made(x):
    return bytes([x & 255]) * BLOCK


shared = None  # a worker's


def made_in_place(at):
    import ctypes

    view = (ctypes.c_char * BLOCK).from_buffer(shared.buf, at * BLOCK)
    ctypes.memset(view, 1, BLOCK)


def processes(kind, workers, *more):
    """A pool, what hands in a task, what waits for it, what ends it."""
    if kind == "multiprocessing":
        import multiprocessing

        pool = multiprocessing.get_context("fork").Pool(workers, *more)

        def stop():
            pool.close()
            pool.join()

        return pool, lambda f, x: pool.apply_async(f, (x,)), lambda r: r.get(), stop
    import concurrent.futures
    import multiprocessing

    pool = concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), *more)
    return pool, pool.submit, lambda r: r.result(), pool.shutdown


def procpool_all(case, what):
    kind, workers, tasks = what
    pool, submit, wait, stop = processes(kind, workers)

    def turn():
        if kind == "multiprocessing":
            assert sum(1 for _ in pool.imap(same, range(tasks))) == tasks
        else:
            for r in [submit(same, i) for i in range(tasks)]:
                wait(r)

    median, best = turns(turn)
    stop()
    show(case, tasks / median * 1e-3, "k tasks/s", "best=%.2f" % (tasks / best * 1e-3))


def procpool_map(case, workers):
    pool, submit, wait, stop = processes("multiprocessing", workers)
    tasks = 100000
    median, best = turns(lambda: pool.map(same, range(tasks)))
    stop()
    show(case, tasks / median * 1e-3, "k tasks/s", "best=%.2f" % (tasks / best * 1e-3))


def procpool_window(case, what):
    kind, window, tasks = what
    pool, submit, wait, stop = processes(kind, 2)

    def turn():
        pending = []
        for i in range(tasks):
            if len(pending) == window:
                wait(pending.pop(0))
            pending.append(submit(same, i))
        for r in pending:
            wait(r)

    median, best = turns(turn)
    stop()
    if window == 1:
        show(case, median / tasks * 1e6, "us", "best=%.2f" % (best / tasks * 1e6))
    else:
        show(case, tasks / median * 1e-3, "k tasks/s", "best=%.2f" % (tasks / best * 1e-3))


def procpool_bytes(case, what):
    kind, window, task = what
    memory = None
    more = []
    if task is made_in_place:
        from multiprocessing import shared_memory

        memory = shared_memory.SharedMemory(create=True, size=16 * BLOCK)

        def attach():
            global shared
            shared = memory  # forked: it has it

        more = [attach]
    pool, submit, wait, stop = processes(kind, 2, *more)
    block = bytes(BLOCK)
    blocks = 32

    def turn():
        pending = []
        for i in range(blocks + window):
            if i >= window:
                data = wait(pending.pop(0))
                assert memory.buf[(i % window + 1) * BLOCK - 1] == 1 if memory else len(data) == BLOCK
            if i < blocks:
                pending.append(submit(task, block if task is same else i % window))

    median, best = turns(turn)
    stop()
    if memory:
        memory.unlink()
    moved = blocks * BLOCK
    show(case, moved / median * 1e-9, "GB/s", "best=%.2f" % (moved / best * 1e-9))


def procpool_start(case, kind):
    def turn():
        pool, submit, wait, stop = processes(kind, 2)
        wait(submit(same, 1))
        stop()

    median, best = turns(turn)
    show(case, median * 1e3, "ms", "")


def procpool_cases():
    cases = {}
    for n in 2, 4:
        cases["procpool", "100,000 empty tasks, %d workers" % n, "multiprocessing imap"] = (
            procpool_all, ("multiprocessing", n, 10000))  # 10,000, here
        cases["procpool", "100,000 empty tasks, %d workers" % n, "ProcessPoolExecutor"] = (
            procpool_all, ("ProcessPoolExecutor", n, 1000))  # 1,000, here
        cases["procpool", "map of 100,000, %d workers" % n, "multiprocessing"] = (procpool_map, n)
    for kind in "multiprocessing", "ProcessPoolExecutor":
        cases["procpool", "one at a time", kind] = (procpool_window, (kind, 1, 1000))
        cases["procpool", "a window of 16", kind] = (procpool_window, (kind, 16, 2000))
        cases["procpool", "start, one task, stop", kind] = (procpool_start, kind)
        for window in 1, 4:
            cases["procpool", "1 MiB there and back, window %d" % window, kind] = (
                procpool_bytes, (kind, window, same))
            cases["procpool", "1 MiB made there, window %d" % window, kind] = (procpool_bytes, (kind, window, made))
    for window in 1, 4:
        cases["procpool", "1 MiB made there, window %d" % window, "multiprocessing, shared"] = (
            procpool_bytes, ("multiprocessing", window, made_in_place))
    return cases


ITEMS = 10000


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        yield a
        a, b = b, (a + b) & 0xFFFFFFFFFFFFFFFF


def iter_run(case, which):
    ops = 0
    start = time.monotonic()
    while time.monotonic() - start < int(os.environ.get("BENCH_MS", 200)) / 1000:
        if which == 0:
            sum(fibonacci(ITEMS))
        else:
            sum(x * x for x in (n for n in range(ITEMS) if n % 3 != 0))
        ops += ITEMS
    show(case, (time.monotonic() - start) * 1e9 / ops, "ns", "")


# ---- coroutines: asyncio, and gevent if it is installed; for scale


def rss():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def window(ops, turn):
    """What the timed cases share: while `turn` is run again and again, its ops are counted for BENCH_MS."""
    end = time.monotonic() + int(os.environ.get("BENCH_WARM", 40)) / 1000
    while time.monotonic() < end:
        yield
    start = time.process_time()
    end = time.monotonic() + int(os.environ.get("BENCH_MS", 200)) / 1000
    count = 0
    while time.monotonic() < end:
        yield
        count += ops
    turn(count, time.process_time() - start)


def asyncio_run(case, what):
    import asyncio

    kind, n = what

    def result(count, seconds):
        show(case, seconds * 1e9 / count, "ns of CPU", "")

    async def other(state):
        while not state:
            await asyncio.sleep(0)

    async def yields():
        state = []
        tasks = [asyncio.create_task(other(state)) for _ in range(n - 1)]
        for _ in window(n, result):
            await asyncio.sleep(0)
        state.append(1)
        await asyncio.gather(*tasks)

    async def empty():
        pass

    async def spawns():
        for _ in window(64, result):
            tasks = [asyncio.create_task(empty()) for _ in range(64)]
            await asyncio.sleep(0)
            assert all(t.done() for t in tasks)

    async def ready():
        event = asyncio.Event()
        event.set()
        for _ in window(64, result):
            for _ in range(64):
                await event.wait()

    async def calls():
        for _ in window(64, result):
            for _ in range(64):
                await empty()

    async def pong(there, back):
        while (item := await there.get()) != 0:
            await back.put(item)

    async def queues():
        there, back = asyncio.Queue(64), asyncio.Queue(64)
        task = asyncio.create_task(pong(there, back))
        for _ in window(1, result):
            await there.put(1)
            await back.get()
        await there.put(0)
        await task

    async def memory():
        before = rss()
        tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(n)]
        await asyncio.sleep(0)
        used = rss() - before
        show(case, used / n, "bytes", "MB=%.1f" % (used * 1e-6))
        sys.stdout.flush()
        os._exit(0 if len(tasks) == n else 1)

    asyncio.run({"yields": yields, "spawns": spawns, "ready": ready, "calls": calls, "queues": queues,
                 "memory": memory}[kind]())


def gevent_run(case, what):
    import gevent
    import gevent.event
    import gevent.queue

    kind, n = what

    def result(count, seconds):
        show(case, seconds * 1e9 / count, "ns of CPU", "")

    def other(state):
        while not state:
            gevent.sleep(0)

    if kind == "yields":
        state = []
        lets = [gevent.spawn(other, state) for _ in range(n - 1)]
        for _ in window(n, result):
            gevent.sleep(0)
        state.append(1)
        gevent.joinall(lets)
    elif kind == "spawns":
        for _ in window(64, result):
            lets = [gevent.spawn(int) for _ in range(64)]
            gevent.joinall(lets)
    elif kind == "ready":
        event = gevent.event.Event()
        event.set()
        for _ in window(64, result):
            for _ in range(64):
                event.wait()
    elif kind == "queues":
        there, back = gevent.queue.Queue(64), gevent.queue.Queue(64)

        def pong():
            while (item := there.get()) != 0:
                back.put(item)

        let = gevent.spawn(pong)
        for _ in window(1, result):
            there.put(1)
            back.get()
        there.put(0)
        let.join()
    else:
        before = rss()
        lets = [gevent.spawn(gevent.sleep, 3600) for _ in range(n)]
        gevent.sleep(0)
        used = rss() - before
        show(case, used / n, "bytes", "MB=%.1f" % (used * 1e-6))
        sys.stdout.flush()
        os._exit(0 if len(lets) == n else 1)


def coro_cases():
    import importlib.util

    kinds = {
        "resume and yield, 1 task": ("yields", 1),
        "resume and yield, 2 tasks": ("yields", 2),
        "resume and yield, 1000 tasks": ("yields", 1000),
        "spawn and finish": ("spawns", 0),
        "await what is ready": ("ready", 0),
        "there and back through two queues": ("queues", 0),
        "call and return": ("calls", 0),
        "memory of one of 1,000,000 that sleep": ("memory", 50000),  # of 50,000, here
    }
    cases = {}
    for name, what in kinds.items():
        cases["coro", name, "asyncio"] = (asyncio_run, what)
        if what[0] != "calls" and importlib.util.find_spec("gevent"):
            cases["coro", name, "gevent"] = (gevent_run, what)
    return cases


CASES = {
    ("queue", "1p1c", "Python"): (queue_run, 1),
    ("queue", "2p2c", "Python"): (queue_run, 2),
    ("queue", "4p4c", "Python"): (queue_run, 4),
    ("queue", "16p16c", "Python"): (queue_run, 16),
    ("queue", "round trip", "Python"): (queue_trip, 0),
    ("iter", "fibonacci, by name", "Python"): (iter_run, 0),
    ("iter", "fibonacci, iterator", "Python"): (iter_run, 0),
    ("iter", "filter, map, sum", "Python"): (iter_run, 1),
    ("thread", "start and join", "Python"): (thread_run, 0),
    ("pool", "1,000,000 empty tasks", "Python"): (pool_empty, 20000),  # 20,000, here
    ("pool", "submit one and wait", "Python"): (pool_trip, 0),
    ("sums", "four in turn", "Python"): (sums_run, False),
    ("sums", "four threads", "Python"): (sums_run, True),
    **coro_cases(),
    **procpool_cases(),
}

if sys.argv[1:] == ["list"]:
    for c in CASES:
        print(*c, sep="\t")
elif sys.argv[1:2] == ["run"] and tuple(sys.argv[2:]) in CASES:
    wanted = tuple(sys.argv[2:])
    run, parameter = CASES[wanted]
    run(wanted, parameter)
else:
    sys.exit("usage: bench.py list | run GROUP CASE IMPLEMENTATION")
