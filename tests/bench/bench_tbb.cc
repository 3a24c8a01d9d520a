/* Peer: oneTBB (Debian: libtbb-dev). */

#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/rw_mutex.h>

#include "bench.h"

#define RW tbb_
#define RW_TYPE tbb::rw_mutex
#define RW_INIT(l) (void)(l)
#define RW_READ(l) (l)->lock_shared()
#define RW_READ_END(l) (l)->unlock_shared()
#define RW_WRITE(l) (l)->lock()
#define RW_WRITE_END(l) (l)->unlock()
#include "rwlock_cases.h"

#define QUEUE tbb_
#define QUEUE_TYPE tbb::concurrent_bounded_queue<uint64_t>
#define QUEUE_NEW(q) (q)->set_capacity(QUEUE_CAPACITY)
#define QUEUE_PUT(q, v) (q)->push(v)
#define QUEUE_GET(q, v) (q)->pop(v)
#include "queue_cases.h"

static const bench_case cases[] = {
    RW_CASES(tbb_, "oneTBB"),
    QUEUE_CASES(tbb_, "oneTBB"),
};

BENCH_MAIN(cases)
