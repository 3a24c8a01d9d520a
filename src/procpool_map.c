#include "procpool_ring.h"
