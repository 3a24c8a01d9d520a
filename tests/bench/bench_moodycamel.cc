/* Peer: moodycamel's BlockingConcurrentQueue (Debian: libconcurrentqueue-dev). Unbounded, and in order only for
 * each producer: an easier job than the others'. */

#if __has_include(<concurrentqueue/moodycamel/blockingconcurrentqueue.h>)
#include <concurrentqueue/moodycamel/blockingconcurrentqueue.h>
#else
#include <concurrentqueue/blockingconcurrentqueue.h>
#endif

#include "bench.h"

#define QUEUE moodycamel_
#define QUEUE_TYPE moodycamel::BlockingConcurrentQueue<uint64_t>
#define QUEUE_NEW(q) (void)(q)
#define QUEUE_PUT(q, v) (q)->enqueue(v)
#define QUEUE_GET(q, v) (q)->wait_dequeue(v)
#define QUEUE_UNBOUNDED
#include "queue_cases.h"

static const bench_case cases[] = {
    QUEUE_CASES(moodycamel_, "moodycamel (unbounded)"),
};

BENCH_MAIN(cases)
