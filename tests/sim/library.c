/* The library for the simulated tests that are linked with it: see sim.h. Compiled with CONC__SPLIT, so that they see the
 * functions that its files share with each other. */

#include "small.h"
#define CONC_IMPLEMENTATION
#include "conc.h"
