/* The declarations alone. Compiled, never run. */
#include "../../conc.h"

conc_deadline declarations(conc_deadline a);
conc_deadline declarations(conc_deadline a) {
    return conc_deadline_min(a, CONC_NOW);
}
