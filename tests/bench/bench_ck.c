/* Peer: Concurrency Kit's spin lock (Debian: libck-dev). It never sleeps: a floor, not a replacement. */

#define _POSIX_C_SOURCE 200809L
#include <ck_spinlock.h>

#include "bench.h"

#define LOCK ck
#define LOCK_TYPE ck_spinlock_t
#define LOCK_INIT(l) ck_spinlock_init(l)
#define LOCK_TAKE(l) ck_spinlock_lock_eb(l)
#define LOCK_GIVE(l) ck_spinlock_unlock(l)
#include "lock_cases.h"

static const bench_case cases[] = {
    LOCK_CASES(ck, "CK spin"),
};

BENCH_MAIN(cases)
