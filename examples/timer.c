/* timer.c: call a function later, and change one's mind.
 *
 * In Python:
 *     alarm = Timer(3600, ring, args=("alarm",)); alarm.start()
 *     tea = Timer(0.02, ring, args=("tea",)); tea.start()
 *     ...
 *     alarm.cancel()
 *
 * Compile and run:  cc -I.. timer.c -pthread -o timer && ./timer
 *
 * Prints:
 *     tea is ready (in thread conc-timer)
 *     eggs are ready (in thread conc-timer)
 *     both were not early
 *     tea cannot be canceled any more
 *     the alarm is canceled
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

static int ring(void *arg) {
    printf("%s ready (in thread %s)\n", (const char *)arg, conc_thread_name(NULL));
    return 0;
}

int main(void) {
    double start = conc_clock();
    conc_timer *alarm = conc_timer_start(ring, "the alarm is", conc_after(3600));
    conc_timer *tea = conc_timer_start(ring, "tea is", conc_after(0.02));
    conc_timer *eggs = conc_timer_start(ring, "eggs are", conc_after(0.04));
    if (alarm == NULL || tea == NULL || eggs == NULL) {
        fprintf(stderr, "%s\n", conc_error_detail());
        return 1;
    }

    conc_wait(conc_op_timer(tea), CONC_FOREVER); /* a timer can be waited for, like everything else */
    double tea_after = conc_clock() - start;
    conc_wait(conc_op_timer(eggs), CONC_FOREVER);
    double eggs_after = conc_clock() - start;
    puts(tea_after >= 0.02 && eggs_after >= 0.04 ? "both were not early" : "early!");

    puts(conc_timer_cancel(tea) == CONC_OK ? "tea is canceled" : "tea cannot be canceled any more");
    puts(conc_timer_cancel(alarm) == CONC_OK ? "the alarm is canceled" : "the alarm has rung");
    conc_timer_release(alarm);
    conc_timer_release(tea);
    conc_timer_release(eggs);
    return 0;
}
