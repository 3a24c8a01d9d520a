/* ============================================================================================
 * fault: for tests only: the calls that can fail, made to fail (CONC_FAULTS), and delays where they hurt most
 * (CONC__DELAYS). See port.h.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_FAULTS)

#include <stdarg.h>

#define CONC__FAULTS_KEPT 256

/* All atomic; they publish nothing, but for `text` below. */
static uint32_t conc__fault_nth, conc__fault_which, conc__fault_sticky; /* the plan */
static const char *conc__fault_site; /* NULL: all sites count. Written while no other thread runs */
static uint32_t conc__fault_asked; /* how often a site was passed since it was made */
static uint32_t conc__fault_count; /* how many kinds of faults were made, since the program began */
static struct {
    const char *site;
    const char *text; /* atomic; publishes the other two: a thread may make a fault while another one reads the list */
    uint32_t which;
} conc__faults[CONC__FAULTS_KEPT];  /* the first of each kind, in their order */

void conc__fault_plan(uint32_t nth, uint32_t which, bool sticky) {
    conc__store32(&conc__fault_nth, nth, CONC__RELAXED);
    conc__store32(&conc__fault_which, which, CONC__RELAXED);
    conc__store32(&conc__fault_sticky, sticky, CONC__RELAXED);
    conc__store32(&conc__fault_asked, 0, CONC__RELAXED);
}

void conc__fault_only(const char *site) {
    conc__fault_site = site;
}

uint32_t conc__fault_passed(void) {
    return conc__load32(&conc__fault_asked, CONC__RELAXED);
}

bool conc__fault_made(uint32_t i, const char **site, char *error, size_t size) {
    const char *text, *name;
    uint32_t k;
    size_t n = 0;
    if (i >= conc__load32(&conc__fault_count, CONC__RELAXED) || i >= CONC__FAULTS_KEPT) return false;
    text = (const char *)conc__loadp(&conc__faults[i].text, CONC__ACQUIRE);
    if (text == NULL) return false; /* being made */
    *site = conc__faults[i].site;
    name = strrchr(text, '"') + 1; /* ", EAGAIN, ENOMEM" */
    for (k = 0; k < conc__faults[i].which; k++) name = strchr(name + 1, ',');
    for (name += 2; n + 1 < size && name[n] != ',' && name[n] != '\0'; n++) error[n] = name[n];
    error[n] = '\0';
    return true;
}

/* Whether that one is in the list. (Two threads may find both that it is not: then it is there twice.) */
static bool conc__fault_is_kept(const char *text, uint32_t which) {
    uint32_t n = conc__load32(&conc__fault_count, CONC__RELAXED), i;
    for (i = 0; i < n && i < CONC__FAULTS_KEPT; i++) {
        if (conc__loadp(&conc__faults[i].text, CONC__ACQUIRE) == (const void *)text && conc__faults[i].which == which) return true;
    }
    return false;
}

int conc__fault(const char *text, const char *site, ...) {
    bool counts = conc__fault_site == NULL || strcmp(conc__fault_site, site) == 0;
    uint32_t n = counts ? conc__add32(&conc__fault_asked, 1, CONC__RELAXED) + 1 : 0, count = 0, i;
    uint32_t nth = conc__peek32(&conc__fault_nth), which = conc__peek32(&conc__fault_which);
    int errors[8], error;
    va_list list;
    if (nth == 0 || n < nth || (n > nth && conc__peek32(&conc__fault_sticky) == 0)) return 0;
    if (n > nth && text[0] == 'o') return 0;                                       /* CONC__FAULT_ONCE */
    if (n > nth && text[0] == 'p' && (n * 2654435769u) >> 31 != 0) return 0; /* CONC__FAULT_PARTLY */
    va_start(list, site);
    while ((error = va_arg(list, int)) != 0) errors[count++] = error;
    va_end(list);
    error = errors[which % count];
    if (conc__fault_is_kept(text, which % count)) return error;
    i = conc__add32(&conc__fault_count, 1, CONC__RELAXED);
    if (i < CONC__FAULTS_KEPT) {
        conc__faults[i].site = site;
        conc__faults[i].which = which % count;
        conc__storep(&conc__faults[i].text, text, CONC__RELEASE);
    }
    return error;
}

#endif

#if defined(CONC__DELAYS) && CONC__HAS_TLS

/* Mostly nothing; one time in 64 the processor is offered, one time in 1024 some microseconds are spent. */
void conc__delay(void) {
    static CONC__TLS uint32_t random;
    static uint32_t threads; /* atomic; without a delay, which would come back here */
    uint32_t r = random, i;
    if (r == 0) r = 2463534242u + 0x9E3779B9u * __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);
    r ^= r << 13;
    r ^= r >> 17;
    r ^= r << 5;
    random = r != 0 ? r : 1;
    if ((r & 63u) == 0) conc__port_yield();
    for (i = (r & 1023u) == 1 ? r >> 22 : 0; i > 0; i--) conc__port_pause();
}

#endif
