// Peers: Rust's standard library, and, by the features of the same names, the crates parking_lot, crossbeam-channel and
// rayon (Debian: rustc cargo librust-parking-lot-dev librust-crossbeam-channel-dev librust-rayon-dev).
// The protocol is told in bench.h.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ON: u32 = 1;
const OVER: u32 = 2;
const CAPACITY: usize = 1024;

#[repr(align(128))]
struct Line<T>(T);

static PHASE: Line<AtomicU32> = Line(AtomicU32::new(0));
static SINK: AtomicU64 = AtomicU64::new(0);

fn phase() -> u32 {
    PHASE.0.load(Ordering::Relaxed)
}

fn env_number(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name).ok().and_then(|s| s.parse().ok()) {
        Some(n) if n > 0 => n,
        _ => otherwise,
    }
}

fn work(mut x: u64, turns: u64) -> u64 {
    for _ in 0..turns {
        x = (x ^ (x >> 29)).wrapping_mul(6364136223846793005).wrapping_add(1);
    }
    x
}

// ---- the window

struct Window {
    seconds: f64,
    switches: f64,
    cpu: f64,
}

#[repr(C)]
#[derive(Default)]
struct Rusage {
    // struct rusage of 64-bit Linux: two times, fourteen numbers
    utime: [i64; 2],
    stime: [i64; 2],
    rest: [i64; 12],
    nvcsw: i64,
    nivcsw: i64,
}

extern "C" {
    fn getrusage(who: i32, usage: *mut Rusage) -> i32;
}

fn usage() -> (f64, f64) {
    let mut u = Rusage::default();
    unsafe { getrusage(0, &mut u) };
    (
        (u.nvcsw + u.nivcsw) as f64,
        (u.utime[0] + u.stime[0]) as f64 + (u.utime[1] + u.stime[1]) as f64 * 1e-6,
    )
}

fn measure() -> Window {
    thread::sleep(Duration::from_millis(env_number("BENCH_WARM", 40)));
    let (s0, c0) = usage();
    let start = Instant::now();
    PHASE.0.store(ON, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(env_number("BENCH_MS", 200)));
    PHASE.0.store(OVER, Ordering::SeqCst);
    let seconds = start.elapsed().as_secs_f64();
    let (s1, c1) = usage();
    Window { seconds, switches: s1 - s0, cpu: (c1 - c0) / seconds }
}

struct Case {
    group: &'static str,
    name: &'static str,
    implementation: &'static str,
    run: fn(&Case),
    a: usize,
    b: usize,
}

impl Case {
    fn print(&self, value: f64, unit: &str, extra: &str) {
        println!("{}\t{}\t{}\t{:.6}\t{}\t{}", self.group, self.name, self.implementation, value, unit, extra);
    }
    fn print_share(&self, w: &Window, counts: &[u64]) {
        let sum: u64 = counts.iter().sum();
        let fairness = *counts.iter().min().unwrap() as f64 / *counts.iter().max().unwrap() as f64;
        self.print(sum as f64 / w.seconds * 1e-6, "M op/s", &format!("fairness={:.2} cpu={:.2}", fairness, w.cpu));
    }
    fn print_trips(&self, w: &Window, turns: u64) {
        let extra = format!("switches={:.2} cpu={:.2}", w.switches / turns as f64, w.cpu);
        self.print(w.seconds * 1e6 / turns as f64, "us", &extra);
    }
}

// ---- locks: the lock and its data in one cache line

trait Lock: Sync {
    fn new() -> Self;
    fn add_one(&self); // lock, add one to the data, unlock
    fn data(&self) -> u64;
}

#[repr(align(64))]
struct StdLock(std::sync::Mutex<u64>);
impl Lock for StdLock {
    fn new() -> Self {
        StdLock(std::sync::Mutex::new(0))
    }
    #[inline(always)]
    fn add_one(&self) {
        *self.0.lock().unwrap() += 1;
    }
    fn data(&self) -> u64 {
        *self.0.lock().unwrap()
    }
}

#[cfg(feature = "parking_lot")]
#[repr(align(64))]
struct ParkingLock(parking_lot::Mutex<u64>);
#[cfg(feature = "parking_lot")]
impl Lock for ParkingLock {
    fn new() -> Self {
        ParkingLock(parking_lot::Mutex::new(0))
    }
    #[inline(always)]
    fn add_one(&self) {
        *self.0.lock() += 1;
    }
    fn data(&self) -> u64 {
        *self.0.lock()
    }
}

fn lock_alone<L: Lock>(c: &Case) {
    let lock = L::new();
    thread::scope(|s| {
        let t = s.spawn(|| {
            let mut ops = 0u64;
            loop {
                let p = phase();
                if p == OVER {
                    return ops;
                }
                for _ in 0..256 {
                    lock.add_one();
                }
                ops += p as u64 * 256;
            }
        });
        let w = measure();
        c.print(w.seconds * 1e9 / t.join().unwrap() as f64, "ns", "");
    });
}

fn lock_contended<L: Lock>(c: &Case) {
    let lock = L::new();
    let turns = if c.b != 0 { env_number("BENCH_WORK", 80) } else { 0 };
    thread::scope(|s| {
        let lock = &lock;
        let threads: Vec<_> = (0..c.a)
            .map(|t| {
                s.spawn(move || {
                    let (mut ops, mut all, mut x) = (0u64, 0u64, t as u64);
                    loop {
                        let p = phase();
                        if p == OVER {
                            break;
                        }
                        lock.add_one();
                        x = work(x, turns);
                        ops += p as u64;
                        all += 1;
                    }
                    SINK.store(x, Ordering::Relaxed);
                    (ops, all)
                })
            })
            .collect();
        let w = measure();
        let done: Vec<(u64, u64)> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(lock.data(), done.iter().map(|d| d.1).sum::<u64>());
        c.print_share(&w, &done.iter().map(|d| d.0).collect::<Vec<_>>());
    });
}

trait RwLock: Sync {
    fn new() -> Self;
    fn read(&self) -> u64; // what differs between the two numbers: nothing
    fn write(&self);
}

#[repr(align(64))]
struct StdRw(std::sync::RwLock<(u64, u64)>);
impl RwLock for StdRw {
    fn new() -> Self {
        StdRw(std::sync::RwLock::new((0, 0)))
    }
    #[inline(always)]
    fn read(&self) -> u64 {
        let d = self.0.read().unwrap();
        d.0 ^ d.1
    }
    #[inline(always)]
    fn write(&self) {
        let mut d = self.0.write().unwrap();
        d.0 += 1;
        d.1 += 1;
    }
}

#[cfg(feature = "parking_lot")]
#[repr(align(64))]
struct ParkingRw(parking_lot::RwLock<(u64, u64)>);
#[cfg(feature = "parking_lot")]
impl RwLock for ParkingRw {
    fn new() -> Self {
        ParkingRw(parking_lot::RwLock::new((0, 0)))
    }
    #[inline(always)]
    fn read(&self) -> u64 {
        let d = self.0.read();
        d.0 ^ d.1
    }
    #[inline(always)]
    fn write(&self) {
        let mut d = self.0.write();
        d.0 += 1;
        d.1 += 1;
    }
}

fn rw_run<L: RwLock>(c: &Case) {
    let lock = L::new();
    let every = c.b;
    thread::scope(|s| {
        let lock = &lock;
        let threads: Vec<_> = (0..c.a)
            .map(|t| {
                s.spawn(move || {
                    let (mut ops, mut torn, mut turn) = (0u64, 0u64, t);
                    loop {
                        let p = phase();
                        if p == OVER {
                            break;
                        }
                        turn += 1;
                        if every != 0 && turn >= every {
                            turn = 0;
                            lock.write();
                        } else {
                            torn += lock.read();
                        }
                        ops += p as u64;
                    }
                    assert_eq!(torn, 0);
                    ops
                })
            })
            .collect();
        let w = measure();
        let done: Vec<u64> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        c.print_share(&w, &done);
    });
}

// ---- ping-pongs

macro_rules! condition_run {
    ($name:ident, $mutex:ty, $condvar:ty, $lock:expr, $wait:expr) => {
        fn $name(c: &Case) {
            let table = (<$mutex>::new((0, false)), <$condvar>::new(), <$condvar>::new());
            thread::scope(|s| {
                let ping = s.spawn(|| {
                    let mut ops = 0u64;
                    let mut g = $lock(&table.0);
                    loop {
                        let p = phase();
                        if p == OVER {
                            break;
                        }
                        g.0 = 1;
                        table.1.notify_one();
                        while g.0 == 1 {
                            g = $wait(&table.2, g);
                        }
                        ops += p as u64;
                    }
                    g.1 = true;
                    table.1.notify_one();
                    ops
                });
                s.spawn(|| {
                    let mut g = $lock(&table.0);
                    while !g.1 {
                        if g.0 == 1 {
                            g.0 = 0;
                            table.2.notify_one();
                        } else {
                            g = $wait(&table.1, g);
                        }
                    }
                });
                let w = measure();
                c.print_trips(&w, ping.join().unwrap());
            });
        }
    };
}

type StdMutex = std::sync::Mutex<(i32, bool)>;
type StdGuard<'a> = std::sync::MutexGuard<'a, (i32, bool)>;
fn std_lock(m: &StdMutex) -> StdGuard {
    m.lock().unwrap()
}
fn std_wait<'a>(c: &std::sync::Condvar, g: StdGuard<'a>) -> StdGuard<'a> {
    c.wait(g).unwrap()
}
condition_run!(std_condition, StdMutex, std::sync::Condvar, std_lock, std_wait);

#[cfg(feature = "parking_lot")]
mod parking {
    use super::*;
    type Mutex = parking_lot::Mutex<(i32, bool)>;
    type Guard<'a> = parking_lot::MutexGuard<'a, (i32, bool)>;
    fn lock(m: &Mutex) -> Guard {
        m.lock()
    }
    fn wait<'a>(c: &parking_lot::Condvar, mut g: Guard<'a>) -> Guard<'a> {
        c.wait(&mut g);
        g
    }
    condition_run!(inner, Mutex, parking_lot::Condvar, lock, wait);
    pub(super) fn condition(c: &Case) {
        inner(c)
    }
}

// park and unpark: an event that resets itself, one for each thread
fn park_run(c: &Case) {
    let there = AtomicU32::new(0); // how often it was sent; the top bit: it is over
    let back = AtomicU32::new(0);
    thread::scope(|s| {
        let (there, back) = (&there, &back);
        let ping = s.spawn(move || {
            let me = thread::current();
            let pong = s.spawn(move || {
                let mut seen = 0;
                loop {
                    let mut now = there.load(Ordering::Acquire);
                    while now == seen {
                        thread::park();
                        now = there.load(Ordering::Acquire);
                    }
                    if now >> 31 != 0 {
                        break;
                    }
                    seen = now;
                    back.store(seen, Ordering::Release);
                    me.unpark();
                }
            });
            let (mut ops, mut turn) = (0u64, 0u32);
            loop {
                let p = phase();
                if p == OVER {
                    break;
                }
                turn = (turn + 1) & 0x7fffffff;
                there.store(turn, Ordering::Release);
                pong.thread().unpark();
                while back.load(Ordering::Acquire) != turn {
                    thread::park();
                }
                ops += p as u64;
            }
            there.store(1 << 31, Ordering::Release);
            pong.thread().unpark();
            ops
        });
        let w = measure();
        c.print_trips(&w, ping.join().unwrap());
    });
}

// ---- queues

fn queue_print(c: &Case, w: &Window, ops: u64) {
    let extra = format!("switches/100={:.2} cpu={:.2}", w.switches * 100.0 / ops as f64, w.cpu);
    c.print(ops as f64 / w.seconds * 1e-6, "M items/s", &extra);
}

// One producer's and one consumer's loop, whatever the channel. They end when all senders are gone.
fn produce(index: usize, mut send: impl FnMut(u64)) -> u64 {
    let mut all = 0u64;
    while phase() != OVER {
        all += 1;
        send(all + ((index as u64) << 48));
    }
    all
}
fn consume(mut receive: impl FnMut() -> Option<u64>) -> (u64, u64) {
    let (mut ops, mut all) = (0u64, 0u64);
    while let Some(item) = receive() {
        assert!(item != 0);
        ops += (phase() == ON) as u64;
        all += 1;
    }
    (ops, all)
}

fn std_queue(c: &Case) {
    let (tx, rx) = std::sync::mpsc::sync_channel::<u64>(CAPACITY);
    thread::scope(|s| {
        let consumer = s.spawn(move || consume(|| rx.recv().ok()));
        let producer = s.spawn(move || produce(0, |v| tx.send(v).unwrap()));
        let w = measure();
        let put = producer.join().unwrap();
        let (ops, got) = consumer.join().unwrap();
        assert_eq!(put, got);
        queue_print(c, &w, ops);
    });
}

#[cfg(feature = "crossbeam-channel")]
fn crossbeam_queue(c: &Case) {
    let (tx, rx) = crossbeam_channel::bounded::<u64>(CAPACITY);
    thread::scope(|s| {
        let consumers: Vec<_> = (0..c.b)
            .map(|_| {
                let rx = rx.clone();
                s.spawn(move || consume(|| rx.recv().ok()))
            })
            .collect();
        let producers: Vec<_> = (0..c.a)
            .map(|i| {
                let tx = tx.clone();
                s.spawn(move || produce(i, |v| tx.send(v).unwrap()))
            })
            .collect();
        drop(tx);
        let w = measure();
        let put: u64 = producers.into_iter().map(|t| t.join().unwrap()).sum();
        let done: Vec<(u64, u64)> = consumers.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(put, done.iter().map(|d| d.1).sum::<u64>());
        queue_print(c, &w, done.iter().map(|d| d.0).sum());
    });
}

macro_rules! trip_run {
    ($name:ident, $channel:expr) => {
        fn $name(c: &Case) {
            let (tx, rx) = $channel(CAPACITY);
            let (back_tx, back_rx) = $channel(CAPACITY);
            thread::scope(|s| {
                let ping = s.spawn(move || {
                    let mut ops = 0u64;
                    loop {
                        let p = phase();
                        if p == OVER {
                            return ops; // and drops tx, which ends the other
                        }
                        tx.send(1u64).unwrap();
                        let _: u64 = back_rx.recv().unwrap();
                        ops += p as u64;
                    }
                });
                s.spawn(move || {
                    while let Ok(item) = rx.recv() {
                        let item: u64 = item;
                        back_tx.send(item).unwrap();
                    }
                });
                let w = measure();
                let ops = ping.join().unwrap();
                let extra = format!("switches/100={:.1} cpu={:.2}", w.switches * 100.0 / ops as f64, w.cpu);
                c.print(w.seconds * 1e6 / ops as f64, "us", &extra);
            });
        }
    };
}
trip_run!(std_trip, std::sync::mpsc::sync_channel);
#[cfg(feature = "crossbeam-channel")]
trip_run!(crossbeam_trip, crossbeam_channel::bounded);

// ---- threads, and the four sums

fn thread_run(c: &Case) {
    let t = thread::spawn(|| {
        let mut ops = 0u64;
        loop {
            let p = phase();
            if p == OVER {
                return ops;
            }
            thread::spawn(|| {}).join().unwrap();
            ops += p as u64;
        }
    });
    let w = measure();
    c.print(w.seconds * 1e6 / t.join().unwrap() as f64, "us", "");
}

// ---- pools, fork and join, parallel loops: see pool_cases.h and parallel_cases.h

#[cfg(feature = "rayon")]
mod pools {
    use super::*;
    use rayon::prelude::*;
    use std::sync::mpsc;

    // the median of turns, and the best, as bench_turns() in bench.h
    fn turns(mut turn: impl FnMut() -> f64) -> (f64, f64) {
        let warm = Duration::from_millis(env_number("BENCH_WARM", 40));
        let length = Duration::from_millis(env_number("BENCH_MS", 200));
        let mut start = Instant::now();
        loop {
            turn();
            if start.elapsed() >= warm {
                break;
            }
        }
        start = Instant::now();
        let mut took = Vec::new();
        loop {
            took.push(turn());
            if took.len() >= 3 && start.elapsed() >= length {
                break;
            }
        }
        took.sort_by(|a, b| a.partial_cmp(b).unwrap());
        ((took[took.len() / 2] + took[(took.len() - 1) / 2]) / 2.0, took[0])
    }

    fn timed(f: impl FnOnce()) -> f64 {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    }

    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap()
    }

    static LEFT: Line<AtomicU32> = Line(AtomicU32::new(0));

    pub(super) fn empty(c: &Case) {
        const TASKS: u32 = 1000000;
        let pool = pool();
        let (none, ended) = mpsc::sync_channel::<()>(1);
        let none: &'static _ = Box::leak(Box::new(none));
        let (took, best) = turns(|| {
            timed(|| {
                LEFT.0.store(TASKS, Ordering::Relaxed);
                for _ in 0..TASKS {
                    pool.spawn(move || {
                        if LEFT.0.fetch_sub(1, Ordering::AcqRel) == 1 {
                            none.send(()).unwrap();
                        }
                    });
                }
                ended.recv().unwrap();
            })
        });
        c.print(TASKS as f64 / took * 1e-6, "M tasks/s", &format!("best={:.2}", TASKS as f64 / best * 1e-6));
    }

    pub(super) fn trip(c: &Case) {
        let by_channel = c.a != 0;
        let t = thread::spawn(move || {
            let pool = pool();
            let (tx, rx) = mpsc::sync_channel::<()>(1);
            let mut ops = 0u64;
            loop {
                let p = phase();
                if p == OVER {
                    return ops;
                }
                if by_channel {
                    let tx = tx.clone();
                    pool.spawn(move || tx.send(()).unwrap());
                    rx.recv().unwrap();
                } else {
                    pool.install(|| {});
                }
                ops += p as u64;
            }
        });
        let w = measure();
        c.print_trips(&w, t.join().unwrap());
    }

    fn fib(n: u32) -> u64 {
        if n < 2 {
            return n as u64;
        }
        let (a, b) = rayon::join(|| fib(n - 1), || fib(n - 2));
        a + b
    }

    pub(super) fn forkjoin(c: &Case) {
        let pool = pool();
        let (took, _) = turns(|| timed(|| assert_eq!(pool.install(|| fib(30)), 832040)));
        c.print(took * 1e9 / 1346268.0, "ns", "");
    }

    // a: which; the cheap ones or the costly ones
    pub(super) fn for_each(c: &Case) {
        let pool = pool();
        let n = if c.a != 0 { 100000 } else { 10000000 };
        let costly = 2 * env_number("BENCH_WORK", 80);
        let x: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(2654435761)).collect();
        let mut y = vec![0u32; n];
        let cheap = |x: u32| (work(7919 * x as u64, 3) >> 32) as u32;
        let (took, _) = turns(|| {
            timed(|| {
                pool.install(|| {
                    if c.a != 0 {
                        y.par_iter_mut().zip(x.par_iter()).for_each(|(y, x)| *y = work(*x as u64, costly) as u32);
                    } else {
                        y.par_iter_mut().zip(x.par_iter()).for_each(|(y, x)| *y = cheap(*x));
                    }
                })
            })
        });
        for i in (0..n).step_by(61) {
            assert_eq!(y[i], if c.a != 0 { work(x[i] as u64, costly) as u32 } else { cheap(x[i]) });
        }
        c.print(took * 1e3, "ms", "");
    }

    pub(super) fn sum(c: &Case) {
        let pool = pool();
        let n = 64 * 1024 * 1024 / 8;
        let words: Vec<u64> = (0..n).map(|i| i * 3).collect();
        let (took, _) = turns(|| timed(|| assert_eq!(pool.install(|| words.par_iter().sum::<u64>()), n * (n - 1) / 2 * 3)));
        c.print(n as f64 * 8.0 / took * 1e-9, "GB/s", "");
    }

    pub(super) fn sort(c: &Case) {
        let pool = pool();
        let mut state = 2463534242u32;
        let unsorted: Vec<i32> = (0..4000000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as i32
            })
            .collect();
        let mut numbers = unsorted.clone();
        let (took, _) = turns(|| {
            numbers.copy_from_slice(&unsorted);
            timed(|| pool.install(|| numbers.par_sort_unstable()))
        });
        assert!(numbers.windows(2).all(|w| w[0] <= w[1]));
        c.print(took * 1e3, "ms", "");
    }
}

fn main() {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |group, name, implementation, run, a, b| {
        cases.push(Case { group, name, implementation, run, a, b });
    };
    macro_rules! add_locks {
        ($lock:ty, $rw:ty, $name:expr) => {
            add("locks", "uncontended", $name, lock_alone::<$lock> as fn(&Case), 1, 0);
            add("locks", "2 threads", $name, lock_contended::<$lock>, 2, 0);
            add("locks", "4 threads", $name, lock_contended::<$lock>, 4, 0);
            add("locks", "16 threads", $name, lock_contended::<$lock>, 16, 0);
            add("locks", "2 threads, 100 ns outside", $name, lock_contended::<$lock>, 2, 1);
            add("locks", "4 threads, 100 ns outside", $name, lock_contended::<$lock>, 4, 1);
            add("locks", "16 threads, 100 ns outside", $name, lock_contended::<$lock>, 16, 1);
            add("rwlock", "1 reader", $name, rw_run::<$rw>, 1, 0);
            add("rwlock", "2 readers", $name, rw_run::<$rw>, 2, 0);
            add("rwlock", "4 readers", $name, rw_run::<$rw>, 4, 0);
            add("rwlock", "2 threads, 95 % reads", $name, rw_run::<$rw>, 2, 20);
            add("rwlock", "4 threads, 95 % reads", $name, rw_run::<$rw>, 4, 20);
        };
    }
    add_locks!(StdLock, StdRw, "Rust std");
    #[cfg(feature = "parking_lot")]
    {
        add_locks!(ParkingLock, ParkingRw, "parking_lot");
        add("pingpong", "condition", "parking_lot", parking::condition, 0, 0);
    }
    add("pingpong", "condition", "Rust std", std_condition, 0, 0);
    add("pingpong", "event", "Rust park", park_run, 0, 0);
    add("queue", "1p1c", "Rust sync_channel", std_queue, 1, 1);
    add("queue", "round trip", "Rust sync_channel", std_trip, 0, 0);
    #[cfg(feature = "crossbeam-channel")]
    {
        add("queue", "1p1c", "crossbeam", crossbeam_queue, 1, 1);
        add("queue", "2p2c", "crossbeam", crossbeam_queue, 2, 2);
        add("queue", "4p4c", "crossbeam", crossbeam_queue, 4, 4);
        add("queue", "16p16c", "crossbeam", crossbeam_queue, 16, 16);
        add("queue", "round trip", "crossbeam", crossbeam_trip, 0, 0);
    }
    add("thread", "start and join", "Rust std", thread_run, 0, 0);
    #[cfg(feature = "rayon")]
    {
        add("pool", "1,000,000 empty tasks", "rayon", pools::empty, 0, 0);
        add("pool", "submit one and wait", "rayon install", pools::trip, 0, 0);
        add("pool", "submit one and wait", "rayon spawn, channel", pools::trip, 1, 0);
        add("forkjoin", "fib(30), a fork and a join", "rayon", pools::forkjoin, 0, 0);
        add("parallel", "for, 10,000,000 of 1.5 ns", "rayon", pools::for_each, 0, 0);
        add("parallel", "for, 100,000 of 200 ns", "rayon", pools::for_each, 1, 0);
        add("parallel", "sum of 64 MiB", "rayon", pools::sum, 0, 0);
        add("parallel", "sort of 4,000,000", "rayon, unstable", pools::sort, 0, 0);
    }

    let args: Vec<String> = std::env::args().collect();
    if args.len() == 2 && args[1] == "list" {
        for c in &cases {
            println!("{}\t{}\t{}", c.group, c.name, c.implementation);
        }
        return;
    }
    if args.len() == 5 && args[1] == "run" {
        for c in &cases {
            if c.group == args[2] && c.name == args[3] && c.implementation == args[4] {
                return (c.run)(c);
            }
        }
    }
    eprintln!("usage: bench list | run GROUP CASE IMPLEMENTATION");
    std::process::exit(2);
}
