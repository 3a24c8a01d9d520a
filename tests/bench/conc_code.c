/* The implementation of conc.h, for bench_conc.c. */
#define CONC_IMPLEMENTATION
#include "conc.h"
