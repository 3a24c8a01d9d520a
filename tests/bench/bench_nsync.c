/* Peer: nsync (Debian: libnsync-dev). */

#define _POSIX_C_SOURCE 200809L
#include <nsync.h>

#include "bench.h"

#define LOCK nsync
#define LOCK_TYPE nsync_mu
#define LOCK_INIT(l) nsync_mu_init(l)
#define LOCK_TAKE(l) nsync_mu_lock(l)
#define LOCK_GIVE(l) nsync_mu_unlock(l)
#include "lock_cases.h"

#define RW nsync
#define RW_TYPE nsync_mu
#define RW_INIT(l) nsync_mu_init(l)
#define RW_READ(l) nsync_mu_rlock(l)
#define RW_READ_END(l) nsync_mu_runlock(l)
#define RW_WRITE(l) nsync_mu_lock(l)
#define RW_WRITE_END(l) nsync_mu_unlock(l)
#include "rwlock_cases.h"

#define PP_COND nsync
#define PP_LOCK_TYPE nsync_mu
#define PP_COND_TYPE nsync_cv
#define PP_LOCK_INIT(l) nsync_mu_init(l)
#define PP_COND_INIT(c) nsync_cv_init(c)
#define PP_TAKE(l) nsync_mu_lock(l)
#define PP_GIVE(l) nsync_mu_unlock(l)
#define PP_WAIT(c, l) nsync_cv_wait((c), (l))
#define PP_SIGNAL(c) nsync_cv_signal(c)
#include "pingpong_cases.h"

static const bench_case cases[] = {
    LOCK_CASES(nsync, "nsync"),
    RW_CASES(nsync, "nsync"),
    PP_COND_CASES(nsync, "nsync"),
};

BENCH_MAIN(cases)
