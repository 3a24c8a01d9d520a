/* bank.c: a program with two bugs that hardly ever strike, found, shown, and played again.
 *
 * Two threads transfer money in opposite directions, and each locks the account it takes from first: sooner or
 * later each holds what the other wants. And a customer who waits for a payment looks at the balance before the
 * lock is held: a payment made just then wakes nobody. Run natively, such a program works for months.
 *
 * With CONC_SIM the same functions run in a simulation, under thousands of schedules: the first that fails is
 * printed on stderr as one interleaving, with the line that plays it again, exactly:
 *
 *     CONC_SIM=transfers@1:pct3:7 ./bank
 *
 * Compile and run:  cc -I.. bank.c -pthread -o bank && ./bank
 *
 * Prints:
 *     transfers that lock as they come: a deadlock
 *     transfers that lock the lower number first: nothing, in 30000 schedules
 *     a look before the lock is held: a deadlock
 *     a look with the lock held: nothing, in 30000 schedules
 */
#define CONC_SIM
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>
#include <string.h>

typedef struct account {
    conc_mutex lock; /* guards the balance */
    conc_cond paid;  /* the balance has grown */
    long balance;
} account;

static account accounts[2];
static int careful; /* whether the bank does it right */

/* ---- transfers ---- */

static int transfer(int from, int to, long amount) {
    account *first = &accounts[from], *second = &accounts[to];
    if (careful && from > to) {
        first = &accounts[to];
        second = &accounts[from];
    }
    CONC_WITH_LOCK(&first->lock) {
        CONC_WITH_LOCK(&second->lock) {
            accounts[from].balance -= amount;
            accounts[to].balance += amount;
        }
    }
    return 0;
}

static int there(void *unused) {
    (void)unused;
    return transfer(0, 1, 30);
}

static int and_back(void *unused) {
    (void)unused;
    return transfer(1, 0, 20);
}

static int transfers(void *unused) {
    conc_thread *a, *b;
    (void)unused;
    memset(accounts, 0, sizeof accounts); /* each schedule begins anew */
    accounts[0].balance = accounts[1].balance = 100;
    a = conc_thread_start(there, NULL, &(conc_thread_desc){ .name = "there" });
    b = conc_thread_start(and_back, NULL, &(conc_thread_desc){ .name = "and back" });
    conc_thread_join(a, NULL, CONC_FOREVER);
    conc_thread_join(b, NULL, CONC_FOREVER);
    CONC_SIM_ASSERT(accounts[0].balance == 90 && accounts[1].balance == 110);
    return 0;
}

/* ---- waiting for a payment ---- */

static int pay(void *unused) {
    (void)unused;
    CONC_WITH_LOCK(&accounts[0].lock) {
        accounts[0].balance += 50;
        conc_cond_signal(&accounts[0].paid);
    }
    return 0;
}

static int wait_for_payment(void *unused) {
    account *mine = &accounts[0];
    int wait = mine->balance < 50;
    (void)unused;
    CONC_WITH_LOCK(&mine->lock) {
        if (careful) wait = mine->balance < 50;
        while (wait) {
            conc_cond_wait(&mine->paid, &mine->lock, CONC_FOREVER);
            wait = mine->balance < 50;
        }
    }
    return 0;
}

static int payments(void *unused) {
    conc_thread *customer, *employer;
    (void)unused;
    memset(accounts, 0, sizeof accounts);
    customer = conc_thread_start(wait_for_payment, NULL, &(conc_thread_desc){ .name = "customer" });
    employer = conc_thread_start(pay, NULL, &(conc_thread_desc){ .name = "employer" });
    conc_thread_join(customer, NULL, CONC_FOREVER);
    conc_thread_join(employer, NULL, CONC_FOREVER);
    return 0;
}

/* ---- and what becomes of it ---- */

static void simulate(const char *what, conc_fn body, const char *name) {
    conc_sim_report r = conc_sim_run(body, NULL, &(conc_sim_desc){ .name = name, .schedules = 30000 });
    printf("%s: ", what);
    if (r.verdict == CONC_SIM_PASSED) printf("nothing, in %lu schedules\n", (unsigned long)r.schedules);
    else printf("%s\n", r.verdict == CONC_SIM_DEADLOCK ? "a deadlock" : r.text);
    fflush(stdout);
}

int main(void) {
    careful = 0;
    simulate("transfers that lock as they come", transfers, "transfers");
    careful = 1;
    simulate("transfers that lock the lower number first", transfers, "transfers, mended");
    careful = 0;
    simulate("a look before the lock is held", payments, "payments");
    careful = 1;
    simulate("a look with the lock held", payments, "payments, mended");
    return 0;
}
