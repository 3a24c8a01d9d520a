/* A program that uses nothing but a mutex: how much of the library does it carry? (checks.sh size) */
#define CONC_IMPLEMENTATION
#include "../../conc.h"

static conc_mutex mutex;

int main(void) {
    if (conc_mutex_lock(&mutex, CONC_FOREVER) != CONC_OK) return 1;
    return conc_mutex_unlock(&mutex) == CONC_OK ? 0 : 2;
}
