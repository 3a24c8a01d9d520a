/* The declarations and the implementation. */
#define CONC_IMPLEMENTATION
#include "../../conc.h"
