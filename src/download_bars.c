/* ============================================================================================
 * downloads: progress on a terminal.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL)

#include <stdio.h>

void conc_download_bars(const conc_download_progress *p, void *user) {
    (void)p;
    (void)user;
}

#endif
