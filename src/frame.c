/* ============================================================================================
 * frame: see frame.h.
 * ========================================================================================== */

#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

void conc__frame_lost(const char *name, const char *file, uint32_t line) {
    fprintf(stderr,
            "conc: %s cannot be resumed at %s:%u: a switch of its own stands around that suspension; take it out of the "
            "switch, or define CONC_COMPUTED_GOTO\n",
            name, file, (unsigned)line);
    abort();
}

void conc__frame_torn(const char *name, const char *file, uint32_t line) {
    fprintf(stderr,
            "conc: %s cannot suspend at %s:%u: it is inside of CONC_WITH_LOCK, CONC_WITH_CANCEL or CONC_FOREACH, which would be "
            "left by it, and not come back\n",
            name, file, (unsigned)line);
    abort();
}

/* Not inlined, and the memory escapes: so it lies where the resumed function's own variables will, and is written. */
CONC__NOINLINE void conc__frame_scribble(void) {
    volatile unsigned char dead[2048];
    size_t i;
    for (i = 0; i < sizeof dead; i++) dead[i] = 0xA5;
}
