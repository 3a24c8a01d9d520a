/* Everything static: the code comes along by itself, and what is not used gives no warning. */
#define CONC_STATIC
#include "../../conc.h"

conc_result only_this(void);
conc_result only_this(void) {
    static conc_event e;
    return conc_event_set(&e);
}
