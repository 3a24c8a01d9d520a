/* Peer: absl::Mutex (Debian: libabsl-dev). */

#include <absl/synchronization/mutex.h>

#include "bench.h"

#define LOCK absl_
#define LOCK_TYPE absl::Mutex
#define LOCK_INIT(l) (void)(l)
#define LOCK_TAKE(l) (l)->Lock()
#define LOCK_GIVE(l) (l)->Unlock()
#include "lock_cases.h"

#define PP_COND absl_
#define PP_LOCK_TYPE absl::Mutex
#define PP_COND_TYPE absl::CondVar
#define PP_LOCK_INIT(l) (void)(l)
#define PP_COND_INIT(c) (void)(c)
#define PP_TAKE(l) (l)->Lock()
#define PP_GIVE(l) (l)->Unlock()
#define PP_WAIT(c, l) (c)->Wait(l)
#define PP_SIGNAL(c) (c)->Signal()
#include "pingpong_cases.h"

static const bench_case cases[] = {
    LOCK_CASES(absl_, "absl::Mutex"),
    PP_COND_CASES(absl_, "absl::Mutex"),
};

BENCH_MAIN(cases)
