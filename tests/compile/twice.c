/* The declarations; then the implementation; then both again. */
#include "../../conc.h"
#include "../../conc.h"

conc_result between(conc_mutex *m);
conc_result between(conc_mutex *m) {
    return conc_mutex_unlock(m);
}

#define CONC_IMPLEMENTATION
#include "../../conc.h"
#include "../../conc.h"
