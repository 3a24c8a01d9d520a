/* small.h: a pool's ring and its deques, small enough to be full in a simulation. */
#define CONC__POOL_RING 2
#define CONC__POOL_MOVED 2
#define CONC__JOBS 4
