/* The other file, where user.c and the library are not one: see user.c. */
#define CONC_IMPLEMENTATION
#include "../../conc.h"
