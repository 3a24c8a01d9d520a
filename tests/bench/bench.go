// Peer: Go (Debian: golang-go). Its "threads" are goroutines, its queue is the channel.
// The protocol is told in bench.h.

package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	warm = 0
	on   = 1
	over = 2
)

var phaseLine struct {
	before [64]byte
	value  uint32
	after  [64]byte
}

func phase() uint32     { return atomic.LoadUint32(&phaseLine.value) }
func setPhase(p uint32) { atomic.StoreUint32(&phaseLine.value, p) }

func check(ok bool, what string) {
	if !ok {
		fmt.Fprintln(os.Stderr, "bench: failed:", what)
		os.Exit(1)
	}
}

func env(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func work(x uint64, turns int) uint64 {
	for i := 0; i < turns; i++ {
		x = (x^(x>>29))*6364136223846793005 + 1
	}
	return x
}

var sink uint64

type window struct{ seconds, switches, cpu float64 }

func usage() (float64, float64) {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Nvcsw + u.Nivcsw),
		float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)*1e-6
}

func measure() window {
	time.Sleep(time.Duration(env("BENCH_WARM", 40)) * time.Millisecond)
	s0, c0 := usage()
	start := time.Now()
	setPhase(on)
	time.Sleep(time.Duration(env("BENCH_MS", 200)) * time.Millisecond)
	setPhase(over)
	seconds := time.Since(start).Seconds()
	s1, c1 := usage()
	return window{seconds, s1 - s0, (c1 - c0) / seconds}
}

type caseRow struct {
	group, name, impl string
	run               func(c caseRow)
	a, b              int
}

func (c caseRow) print(value float64, unit, extra string) {
	fmt.Printf("%s\t%s\t%s\t%.6g\t%s\t%s\n", c.group, c.name, c.impl, value, unit, extra)
}

// ---- locks: the mutex and its data in one cache line

type lockBox struct {
	mu   sync.Mutex
	data uint64
	pad  [48]byte
}

func lockAlone(c caseRow) {
	box := new(lockBox)
	var ops uint64
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		for {
			p := phase()
			if p == over {
				break
			}
			for i := 0; i < 256; i++ {
				box.mu.Lock()
				box.data++
				box.mu.Unlock()
			}
			ops += uint64(p) * 256
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.seconds*1e9/float64(ops), "ns", "")
}

// share: what each of n goroutines counted; prints the sum, and how evenly it is spread
func share(c caseRow, w window, counts []uint64) {
	var sum, least, most uint64
	least = ^uint64(0)
	for _, n := range counts {
		sum += n
		if n < least {
			least = n
		}
		if n > most {
			most = n
		}
	}
	c.print(float64(sum)/w.seconds*1e-6, "M op/s",
		fmt.Sprintf("fairness=%.2f cpu=%.2f", float64(least)/float64(most), w.cpu))
}

func lockContended(c caseRow) {
	box := new(lockBox)
	counts := make([]uint64, c.a)
	var all uint64
	var done sync.WaitGroup
	turns := 0
	if c.b != 0 {
		turns = env("BENCH_WORK", 80)
	}
	for t := 0; t < c.a; t++ {
		done.Add(1)
		go func(t int) {
			var ops, mine, x uint64
			x = uint64(t)
			for {
				p := phase()
				if p == over {
					break
				}
				box.mu.Lock()
				box.data++
				box.mu.Unlock()
				x = work(x, turns)
				ops += uint64(p)
				mine++
			}
			counts[t] = ops
			atomic.AddUint64(&all, mine)
			atomic.StoreUint64(&sink, x)
			done.Done()
		}(t)
	}
	w := measure()
	done.Wait()
	check(box.data == all, "mutual exclusion")
	share(c, w, counts)
}

type rwBox struct {
	mu         sync.RWMutex
	data, copy uint64
	pad        [24]byte
}

func rwRun(c caseRow) {
	box := new(rwBox)
	counts := make([]uint64, c.a)
	var torn uint64
	var done sync.WaitGroup
	for t := 0; t < c.a; t++ {
		done.Add(1)
		go func(t int) {
			var ops, bad uint64
			turn := t
			for {
				p := phase()
				if p == over {
					break
				}
				turn++
				if c.b != 0 && turn >= c.b {
					turn = 0
					box.mu.Lock()
					box.data++
					box.copy++
					box.mu.Unlock()
				} else {
					box.mu.RLock()
					bad += box.data ^ box.copy
					box.mu.RUnlock()
				}
				ops += uint64(p)
			}
			counts[t] = ops
			atomic.AddUint64(&torn, bad)
			done.Done()
		}(t)
	}
	w := measure()
	done.Wait()
	check(torn == 0, "reading while writing")
	share(c, w, counts)
}

// ---- ping-pongs

func pingpongPrint(c caseRow, w window, turns uint64) {
	c.print(w.seconds*1e6/float64(turns), "us",
		fmt.Sprintf("switches=%.2f cpu=%.2f", w.switches/float64(turns), w.cpu))
}

func condRun(c caseRow) {
	var mu sync.Mutex
	there, back := sync.NewCond(&mu), sync.NewCond(&mu)
	turn, ended := 0, false
	var ops uint64
	var done sync.WaitGroup
	done.Add(2)
	go func() {
		mu.Lock()
		for {
			p := phase()
			if p == over {
				break
			}
			turn = 1
			there.Signal()
			for turn == 1 {
				back.Wait()
			}
			ops += uint64(p)
		}
		ended = true
		there.Signal()
		mu.Unlock()
		done.Done()
	}()
	go func() {
		mu.Lock()
		for !ended {
			if turn == 1 {
				turn = 0
				back.Signal()
			} else {
				there.Wait()
			}
		}
		mu.Unlock()
		done.Done()
	}()
	w := measure()
	done.Wait()
	pingpongPrint(c, w, ops)
}

// a channel of one place: Go's event that resets itself
func flagRun(c caseRow) {
	there, back := make(chan struct{}, c.a), make(chan struct{}, c.a)
	var ops uint64
	var done sync.WaitGroup
	done.Add(2)
	go func() {
		for {
			p := phase()
			if p == over {
				break
			}
			there <- struct{}{}
			<-back
			ops += uint64(p)
		}
		close(there)
		done.Done()
	}()
	go func() {
		for range there {
			back <- struct{}{}
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	pingpongPrint(c, w, ops)
}

// ---- the queue: a channel

func queueRun(c caseRow) {
	q := make(chan uint64, 1024)
	counts := make([]uint64, c.b)
	var put, got uint64
	var producers, consumers sync.WaitGroup
	for t := 0; t < c.b; t++ {
		consumers.Add(1)
		go func(t int) {
			var ops, all uint64
			for {
				item := <-q
				p := phase()
				if item == 0 {
					break
				}
				if p == on {
					ops++
				}
				all++
			}
			counts[t] = ops
			atomic.AddUint64(&got, all)
			consumers.Done()
		}(t)
	}
	for t := 0; t < c.a; t++ {
		producers.Add(1)
		go func(t int) {
			var all uint64
			for phase() != over {
				all++
				q <- all + uint64(t)<<48
			}
			atomic.AddUint64(&put, all)
			producers.Done()
		}(t)
	}
	w := measure()
	producers.Wait()
	for t := 0; t < c.b; t++ {
		q <- 0
	}
	consumers.Wait()
	check(put == got, "items put and got")
	var ops uint64
	for _, n := range counts {
		ops += n
	}
	c.print(float64(ops)/w.seconds*1e-6, "M items/s",
		fmt.Sprintf("switches/100=%.2f cpu=%.2f", w.switches*100/float64(ops), w.cpu))
}

func queueTrip(c caseRow) {
	q, back := make(chan uint64, 1024), make(chan uint64, 1024)
	var ops uint64
	var done sync.WaitGroup
	done.Add(2)
	go func() {
		for {
			p := phase()
			if p == over {
				break
			}
			q <- 1
			<-back
			ops += uint64(p)
		}
		q <- 0
		done.Done()
	}()
	go func() {
		for {
			item := <-q
			if item == 0 {
				break
			}
			back <- item
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.seconds*1e6/float64(ops), "us",
		fmt.Sprintf("switches/100=%.1f cpu=%.2f", w.switches*100/float64(ops), w.cpu))
}

// ---- start and join; the four sums

func threadRun(c caseRow) {
	var ops uint64
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		for {
			p := phase()
			if p == over {
				break
			}
			var one sync.WaitGroup
			one.Add(1)
			go one.Done()
			one.Wait()
			ops += uint64(p)
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.seconds*1e6/float64(ops), "us", "")
}

func sumUp(times int) (sum uint64) {
	for t := 0; t < times; t++ {
		sum = 0
		for i := uint64(0); i < 1000000; i++ {
			sum += i
		}
	}
	return sum
}

func sumsRun(c caseRow) {
	best := 1e300
	turns := 1
	if c.b == 1 {
		turns = 20
	}
	for turn := 0; turn < turns; turn++ {
		var sums [4]uint64
		start := time.Now()
		if c.a != 0 {
			var all sync.WaitGroup
			all.Add(4)
			for i := range sums {
				go func(i int) {
					sums[i] = sumUp(c.b)
					all.Done()
				}(i)
			}
			all.Wait()
		} else {
			for i := range sums {
				sums[i] = sumUp(c.b)
			}
		}
		if took := time.Since(start).Seconds(); took < best {
			best = took
		}
		for _, s := range sums {
			check(s == 499999500000, "the sum")
		}
	}
	c.print(best*1e3, "ms", "")
}

// ---- generators: closures, the way before iter.Seq

const iterItems = 10000

var iterFirst uint64

func fibonacci(a, n uint64) func() (uint64, bool) {
	b, i := uint64(1), uint64(0)
	return func() (uint64, bool) {
		if i == n {
			return 0, false
		}
		x := a
		a, b = b, a+b
		i++
		return x, true
	}
}

func numbers(x, end int64) func() (int64, bool) {
	return func() (int64, bool) {
		if x >= end {
			return 0, false
		}
		x++
		return x - 1, true
	}
}

func filter(from func() (int64, bool), keep func(int64) bool) func() (int64, bool) {
	return func() (int64, bool) {
		for {
			x, ok := from()
			if !ok || keep(x) {
				return x, ok
			}
		}
	}
}

func mapped(from func() (int64, bool), f func(int64) uint64) func() (uint64, bool) {
	return func() (uint64, bool) {
		x, ok := from()
		if !ok {
			return 0, false
		}
		return f(x), true
	}
}

func total(next func() (uint64, bool)) (sum uint64) {
	for x, ok := next(); ok; x, ok = next() {
		sum += x
	}
	return sum
}

//go:noinline
func iterOnce(which int, first uint64) uint64 {
	if which == 0 {
		return total(fibonacci(first, iterItems))
	}
	return total(mapped(filter(numbers(int64(first), iterItems), func(x int64) bool { return x%3 != 0 }),
		func(x int64) uint64 { return uint64(x) * uint64(x) }))
}

func iterRun(c caseRow) {
	var ops uint64
	var done sync.WaitGroup
	done.Add(1)
	want := iterOnce(c.a, 0)
	go func() {
		for {
			p := phase()
			if p == over {
				break
			}
			check(iterOnce(c.a, iterFirst) == want, "the sum")
			ops += uint64(p) * iterItems
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.seconds*1e9/float64(ops), "ns", "")
}

// ---- coroutines: goroutines, on one P

func coroYields(c caseRow) {
	runtime.GOMAXPROCS(1)
	var ops uint64
	var done sync.WaitGroup
	for t := 0; t < c.a; t++ {
		done.Add(1)
		go func() {
			var mine uint64
			for phase() != over {
				for i := 0; i < 16; i++ {
					runtime.Gosched()
				}
				if phase() == on {
					mine += 16
				}
			}
			atomic.AddUint64(&ops, mine)
			done.Done()
		}()
	}
	w := measure()
	done.Wait()
	c.print(w.cpu*w.seconds*1e9/float64(ops), "ns of CPU", "")
}

func coroSpawns(c caseRow) {
	runtime.GOMAXPROCS(1)
	var ops, all uint64
	var finished uint64
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		for phase() != over {
			for i := 0; i < 64; i++ {
				go func() { atomic.AddUint64(&finished, 1) }()
			}
			all += 64
			for atomic.LoadUint64(&finished) != all {
				runtime.Gosched()
			}
			if phase() == on {
				ops += 64
			}
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.cpu*w.seconds*1e9/float64(ops), "ns of CPU", "")
}

// a closed channel can always be received from
func coroReady(c caseRow) {
	runtime.GOMAXPROCS(1)
	set := make(chan struct{})
	close(set)
	var ops uint64
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		for phase() != over {
			for i := 0; i < 256; i++ {
				<-set
			}
			if phase() == on {
				ops += 256
			}
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.cpu*w.seconds*1e9/float64(ops), "ns of CPU", "")
}

func coroQueues(c caseRow) {
	runtime.GOMAXPROCS(1)
	there, back := make(chan uint64, 64), make(chan uint64, 64)
	var ops uint64
	var done sync.WaitGroup
	done.Add(2)
	go func() {
		var item uint64
		for phase() != over {
			for i := 0; i < 64; i++ {
				item++
				there <- item
				check(<-back == item, "the item")
			}
			if phase() == on {
				ops += 64
			}
		}
		close(there)
		done.Done()
	}()
	go func() {
		for item := range there {
			back <- item
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	c.print(w.cpu*w.seconds*1e9/float64(ops), "ns of CPU", "")
}

func resident() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1])
	return float64(pages * os.Getpagesize())
}

func coroMemory(c caseRow) {
	runtime.GOMAXPROCS(1)
	q := make(chan uint64)
	var started uint64
	before := resident()
	for i := 0; i < c.a; i++ {
		if c.b == 0 {
			go func() {
				atomic.AddUint64(&started, 1)
				time.Sleep(time.Hour)
			}()
		} else {
			go func() {
				atomic.AddUint64(&started, 1)
				<-q
			}()
		}
	}
	for atomic.LoadUint64(&started) != uint64(c.a) {
		runtime.Gosched()
	}
	time.Sleep(10 * time.Millisecond)
	after := resident()
	c.print((after-before)/float64(c.a), "bytes", fmt.Sprintf("MB=%.1f", (after-before)*1e-6))
}

// ---- timers: see timer_cases.h

func timersRun(c caseRow) {
	runtime.GOMAXPROCS(1)
	n := c.a
	state := uint32(2463534242)
	offset := make([]time.Duration, n)
	for i := range offset {
		state ^= state << 13
		state ^= state >> 17
		state ^= state << 5
		offset[i] = time.Duration(uint64(state) * 500000000 >> 32)
	}
	timers := make([]*time.Timer, n)
	var fired, early uint64
	runtime.GC()
	base := time.Now().Add(1500 * time.Millisecond)
	start := time.Until(base)
	_, began := usage()
	for i := range offset {
		due := base.Add(offset[i])
		timers[i] = time.AfterFunc(start+offset[i], func() {
			fired++
			if time.Now().Before(due) {
				early++
			}
		})
	}
	_, armed := usage()
	check(time.Now().Before(base), "to arm them before the first is due")
	if c.b == 0 {
		c.print((armed-began)*1e9/float64(n), "ns of CPU", "")
		return
	}
	// all overdue: the only P is kept from firing them meanwhile
	for time.Since(base) < 500*time.Millisecond {
	}
	check(fired < uint64(n)/2, "to hold most of them back")
	held := fired
	_, began = usage()
	for fired != uint64(n) {
		runtime.Gosched()
	}
	_, ended := usage()
	c.print((ended-began)*1e9/float64(uint64(n)-held), "ns of CPU", fmt.Sprintf("early=%d", early))
}

// ---- the pool, and fork and join: goroutines, on two Ps; see pool_cases.h and parallel_cases.h

// turns: the median of turns, and the best, as bench_turns() in bench.h
func turns(turn func()) (median, best float64) {
	var took []float64
	start := time.Now()
	for {
		turn()
		if time.Since(start) >= time.Duration(env("BENCH_WARM", 40))*time.Millisecond {
			break
		}
	}
	for start = time.Now(); ; {
		began := time.Now()
		turn()
		took = append(took, time.Since(began).Seconds())
		if len(took) >= 3 && time.Since(start) >= time.Duration(env("BENCH_MS", 200))*time.Millisecond {
			break
		}
	}
	sort.Float64s(took)
	return (took[len(took)/2] + took[(len(took)-1)/2]) / 2, took[0]
}

func poolEmpty(c caseRow) {
	runtime.GOMAXPROCS(2)
	const tasks = 1000000
	took, best := turns(func() {
		var all sync.WaitGroup
		all.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() { all.Done() }()
		}
		all.Wait()
	})
	c.print(tasks/took*1e-6, "M tasks/s", fmt.Sprintf("best=%.2f", tasks/best*1e-6))
}

func poolTrip(c caseRow) {
	runtime.GOMAXPROCS(2)
	var ops uint64
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		back := make(chan struct{}, 1)
		for {
			p := phase()
			if p == over {
				break
			}
			go func() { back <- struct{}{} }()
			<-back
			ops += uint64(p)
		}
		done.Done()
	}()
	w := measure()
	done.Wait()
	pingpongPrint(c, w, ops)
}

func forkFib(n int) int {
	if n < 2 {
		return n
	}
	var forked sync.WaitGroup
	var a int
	forked.Add(1)
	go func() {
		a = forkFib(n - 1)
		forked.Done()
	}()
	b := forkFib(n - 2)
	forked.Wait()
	return a + b
}

// a goroutine for each call is so dear that it is fib(24) here
func forkRun(c caseRow) {
	runtime.GOMAXPROCS(2)
	took, _ := turns(func() { check(forkFib(24) == 46368, "fib(24)") })
	c.print(took*1e9/75024, "ns", "")
}

// ---- the echo server: bench_go echo; see bench_echo.c

func echo() {
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "to listen")
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		check(err == nil, "to accept")
		go func() {
			buffer := make([]byte, 64)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					break
				}
				if _, err = conn.Write(buffer[:n]); err != nil {
					break
				}
			}
			conn.Close()
		}()
	}
}

func main() {
	cases := []caseRow{
		{"locks", "uncontended", "Go", lockAlone, 1, 0},
		{"locks", "2 threads", "Go", lockContended, 2, 0},
		{"locks", "4 threads", "Go", lockContended, 4, 0},
		{"locks", "16 threads", "Go", lockContended, 16, 0},
		{"locks", "2 threads, 100 ns outside", "Go", lockContended, 2, 1},
		{"locks", "4 threads, 100 ns outside", "Go", lockContended, 4, 1},
		{"locks", "16 threads, 100 ns outside", "Go", lockContended, 16, 1},
		{"rwlock", "1 reader", "Go", rwRun, 1, 0},
		{"rwlock", "2 readers", "Go", rwRun, 2, 0},
		{"rwlock", "4 readers", "Go", rwRun, 4, 0},
		{"rwlock", "2 threads, 95 % reads", "Go", rwRun, 2, 20},
		{"rwlock", "4 threads, 95 % reads", "Go", rwRun, 4, 20},
		{"pingpong", "condition", "Go", condRun, 0, 0},
		{"pingpong", "event", "Go channel of 1", flagRun, 1, 0},
		{"pingpong", "semaphore", "Go channel of 64", flagRun, 64, 0},
		{"queue", "1p1c", "Go channel", queueRun, 1, 1},
		{"queue", "2p2c", "Go channel", queueRun, 2, 2},
		{"queue", "4p4c", "Go channel", queueRun, 4, 4},
		{"queue", "16p16c", "Go channel", queueRun, 16, 16},
		{"queue", "round trip", "Go channel", queueTrip, 0, 0},
		{"iter", "fibonacci, by name", "Go closure", iterRun, 0, 0},
		{"iter", "fibonacci, iterator", "Go closure", iterRun, 0, 0},
		{"iter", "filter, map, sum", "Go closures", iterRun, 1, 0},
		{"thread", "start and join", "Go goroutine", threadRun, 0, 0},
		{"pool", "1,000,000 empty tasks", "Go", poolEmpty, 0, 0},
		{"pool", "submit one and wait, the waiter may help", "Go, channel", poolTrip, 0, 0},
		{"forkjoin", "fib(30), a fork and a join", "Go, WaitGroup", forkRun, 0, 0},
		{"coro", "resume and yield, 1 task", "Go", coroYields, 1, 0},
		{"coro", "resume and yield, 2 tasks", "Go", coroYields, 2, 0},
		{"coro", "resume and yield, 1000 tasks", "Go", coroYields, 1000, 0},
		{"coro", "spawn and finish", "Go", coroSpawns, 0, 0},
		{"coro", "await what is ready", "Go channel", coroReady, 0, 0},
		{"coro", "there and back through two queues", "Go channel", coroQueues, 0, 0},
		{"coro", "memory of one of 1,000,000 that sleep", "Go", coroMemory, 200000, 0},
		{"coro", "memory of one of 1,000,000 that await an item", "Go", coroMemory, 1000000, 1},
		{"timers", "arm, of 1,000,000", "Go AfterFunc", timersRun, 1000000, 0},
		{"timers", "fire, of 1,000,000", "Go AfterFunc", timersRun, 1000000, 1},
		{"sums", "four in turn", "Go", sumsRun, 0, 1},
		{"sums", "four threads", "Go", sumsRun, 1, 1},
		{"sums", "four in turn, 100 times the work", "Go", sumsRun, 0, 100},
		{"sums", "four threads, 100 times the work", "Go", sumsRun, 1, 100},
	}
	if len(os.Args) == 2 && os.Args[1] == "echo" {
		echo()
	}
	if len(os.Args) == 2 && os.Args[1] == "list" {
		for _, c := range cases {
			fmt.Printf("%s\t%s\t%s\n", c.group, c.name, c.impl)
		}
		return
	}
	if len(os.Args) == 5 && os.Args[1] == "run" {
		for _, c := range cases {
			if c.group == os.Args[2] && c.name == os.Args[3] && c.impl == os.Args[4] {
				c.run(c)
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, "usage: bench list | run GROUP CASE IMPLEMENTATION")
	os.Exit(2)
}
