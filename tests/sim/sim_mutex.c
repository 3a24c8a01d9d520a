/* The mutex: exclusion, hand-over, time-outs, cancellation, in every order that can be found. */

#include "sim.h"

static conc_mutex m;
static int counter;

static int add_one(void *unused) {
    (void)unused;
    SIM_OK(conc_mutex_lock(&m, CONC_FOREVER));
    CONC_SIM_WRITE(counter);
    counter++;
    SIM_OK(conc_mutex_unlock(&m));
    return 0;
}

static int mutex_excludes(void *unused) {
    sim_crew crew = {0};
    int i;
    (void)unused;
    memset(&m, 0, sizeof m);
    counter = 0;
    for (i = 0; i < 3; i++) sim_start(&crew, add_one, NULL);
    sim_join(&crew);
    CONC_SIM_ASSERT(counter == 3);
    SIM_OK(conc_mutex_destroy(&m));
    return 0;
}

static const sim_test tests[] = {
    SIM_TEST(mutex_excludes, 2),
};
SIM_MAIN("sim_mutex", tests)
