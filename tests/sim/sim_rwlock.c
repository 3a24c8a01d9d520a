/* The reader-writer locks: a writer is alone, readers are not, and nobody who gives up leaves others locked out. */

#include "sim.h"

static conc_rwlock l;
static conc_brlock *big;
static conc_cancel token;
static int data; /* guarded by the lock */
static int seen; /* by the reader; likewise */

static void setup(void) {
    memset(&l, 0, sizeof l);
    memset(&token, 0, sizeof token);
    data = seen = 0;
}

static int finish(sim_crew *crew) {
    sim_join(crew);
    SIM_OK(conc_rwlock_destroy(&l)); /* not if a flag is left */
    return 0;
}

static void unlock(void) {
    SIM_OK(conc_rwlock_unlock(&l));
}

static void use_to_read(void) {
    CONC_SIM_READ(data);
    unlock();
}

static void use_to_write(void) {
    CONC_SIM_WRITE(data);
    data++;
    unlock();
}

static int reads(void *unused) {
    (void)unused;
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    use_to_read();
    return 0;
}

static int writes(void *unused) {
    (void)unused;
    SIM_OK(conc_rwlock_write(&l, CONC_FOREVER));
    use_to_write();
    return 0;
}

static int reads_slowly(void *unused) {
    (void)unused;
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    use_to_read();
    return 0;
}

static int writes_slowly(void *unused) {
    (void)unused;
    SIM_OK(conc_rwlock_write(&l, CONC_FOREVER));
    use_to_write();
    return 0;
}

static int reads_in_time(void *unused) {
    conc_result r = conc_rwlock_read(&l, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    if (r == CONC_OK) use_to_read();
    return 0;
}

static int writes_in_time(void *unused) {
    conc_result r = conc_rwlock_write(&l, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    if (r == CONC_OK) use_to_write();
    return 0;
}

static int writes_unless_canceled(void *unused) {
    conc_cancel *before = conc_cancel_use(&token);
    conc_result r = conc_rwlock_write(&l, CONC_FOREVER);
    (void)unused;
    (void)conc_cancel_use(before);
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_CANCELED);
    if (r == CONC_OK) use_to_write();
    return 0;
}

/* Runs `own` beside `a` and `b` (or none). */
static int beside(conc_fn own, conc_fn a, conc_fn b) {
    sim_crew crew = {0};
    setup();
    sim_start(&crew, a, NULL);
    if (b != NULL) sim_start(&crew, b, NULL);
    (void)own(NULL);
    return finish(&crew);
}

/* ---- exclusion -------------------------------------------------------------------------------- */

/* A reader and a writer: the one who comes later sees what the other did, or waits. */
static int rwlock_pair(void *unused) {
    (void)unused;
    return beside(reads_slowly, writes, NULL);
}

/* Two writers. */
static int rwlock_writers(void *unused) {
    (void)unused;
    return beside(writes_slowly, writes, NULL);
}

/* A reader and two writers. */
static int rwlock_reader_and_writers(void *unused) {
    (void)unused;
    return beside(reads_slowly, writes, writes);
}

/* Two readers and a writer. */
static int rwlock_readers_and_writer(void *unused) {
    (void)unused;
    return beside(writes_slowly, reads, reads);
}

static int writes_twice(void *unused) {
    (void)writes(unused);
    return writes(unused);
}

/* Takes the turn when another offers it, so that not each offer brings the third on. */
static int idles(void *unused) {
    int k;
    (void)unused;
    for (k = 0; k < 4; k++) conc_thread_yield();
    return 0;
}

/* A reader that counts itself and then finds a writer steps back, and wakes the writer that its count has misled. */
static int rwlock_step_back(void *unused) {
    (void)unused;
    return beside(writes_twice, idles, reads);
}

/* A reader enters while another is inside. */
static int rwlock_share(void *unused) {
    sim_crew crew = {0}, writer = {0};
    (void)unused;
    setup();
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    sim_start(&crew, reads, NULL);
    sim_join(&crew);
    sim_start(&writer, writes, NULL);
    use_to_read();
    return finish(&writer);
}

/* ---- fairness --------------------------------------------------------------------------------- */

static bool waits(unsigned tag) {
    conc__bucket *b = conc__bucket_lock(&l.conc__word);
    bool any = conc__bucket_has(b, &l.conc__word, tag);
    conc__bucket_unlock(b);
    return any;
}

/* A writer that waits keeps new readers out. */
static int rwlock_writer_not_starved(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    sim_start(&crew, writes, NULL);
    if (waits(CONC__TAG_WRITER)) {
        CONC_SIM_ASSERT(conc_rwlock_read(&l, CONC_NOW) == CONC_BUSY);
        CONC_SIM_ASSERT(conc_rwlock_read(&l, conc_after(0.001)) == CONC_TIMEOUT);
    }
    use_to_read();
    return finish(&crew);
}

static bool reader_is_due; /* guarded by the lock */

static int reads_and_tells(void *unused) {
    (void)unused;
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    CONC_SIM_READ(data);
    CONC_SIM_WRITE(seen);
    seen = 1;
    unlock();
    return 0;
}

static int writes_second(void *unused) {
    (void)unused;
    SIM_OK(conc_rwlock_write(&l, CONC_FOREVER));
    CONC_SIM_READ(seen);
    CONC_SIM_ASSERT(!reader_is_due || seen == 1);
    use_to_write();
    return 0;
}

/* A writer that leaves lets in the readers that wait, and only then the next writer. */
static int rwlock_phases(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    reader_is_due = false;
    SIM_OK(conc_rwlock_write(&l, CONC_FOREVER));
    sim_start(&crew, writes_second, NULL);
    sim_start(&crew, reads_and_tells, NULL);
    reader_is_due = waits(CONC__TAG_READER);
    use_to_write();
    return finish(&crew);
}

/* ---- giving up -------------------------------------------------------------------------------- */

/* A writer that times out lets in the readers that only it kept out. */
static int rwlock_writer_timeout(void *unused) {
    sim_crew crew = {0}, reader = {0};
    (void)unused;
    setup();
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    sim_start(&crew, writes_in_time, NULL);
    sim_start(&reader, reads, NULL);
    sim_join(&reader);
    use_to_read();
    return finish(&crew);
}

/* So does one that is canceled. */
static int rwlock_writer_cancel(void *unused) {
    sim_crew crew = {0}, reader = {0};
    (void)unused;
    setup();
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    sim_start(&crew, writes_unless_canceled, NULL);
    sim_start(&reader, reads, NULL);
    (void)conc_cancel_fire(&token);
    sim_join(&reader);
    use_to_read();
    return finish(&crew);
}

/* A writer that is handed the lock while its time runs out has it; if not, the next writer gets it. */
static int rwlock_writers_timeout(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    sim_start(&crew, writes_in_time, NULL);
    sim_start(&crew, writes, NULL);
    use_to_read();
    return finish(&crew);
}

/* A reader that times out while it is let in is in; if not, the lock goes on to the writer behind it. */
static int rwlock_reader_timeout(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    SIM_OK(conc_rwlock_write(&l, CONC_FOREVER));
    sim_start(&crew, reads_in_time, NULL);
    sim_start(&crew, writes, NULL);
    use_to_write();
    return finish(&crew);
}

/* A reader that wants to write does not get it, one that writes is told so, and strangers unlock nothing. */
static int rwlock_misuse(void *unused) {
    sim_crew crew = {0};
    (void)unused;
    setup();
    CONC_SIM_ASSERT(conc_rwlock_unlock(&l) == CONC_NOT_OWNER);
    SIM_OK(conc_rwlock_read(&l, CONC_FOREVER));
    sim_start(&crew, reads, NULL);
    CONC_SIM_ASSERT(conc_rwlock_write(&l, CONC_NOW) == CONC_BUSY);
    CONC_SIM_ASSERT(conc_rwlock_write(&l, conc_after(0.001)) == CONC_TIMEOUT);
    use_to_read();
    SIM_OK(conc_rwlock_write(&l, CONC_FOREVER));
    CONC_SIM_ASSERT(conc_rwlock_write(&l, CONC_FOREVER) == CONC_DEADLOCK);
    CONC_SIM_ASSERT(conc_rwlock_read(&l, CONC_FOREVER) == CONC_DEADLOCK);
    use_to_write();
    return finish(&crew);
}

/* ---- the big-reader lock ------------------------------------------------------------------------ */

static void big_setup(void) {
    setup();
    big = conc_brlock_new();
    CONC_SIM_ASSERT(big != NULL);
}

static int big_finish(sim_crew *crew) {
    sim_join(crew);
    SIM_OK(conc_brlock_free(big));
    return 0;
}

static void big_use_to_read(void) {
    CONC_SIM_READ(data);
    SIM_OK(conc_brlock_read_unlock(big));
}

static void big_use_to_write(void) {
    CONC_SIM_WRITE(data);
    data++;
    SIM_OK(conc_brlock_write_unlock(big));
}

static int big_reads(void *unused) {
    (void)unused;
    SIM_OK(conc_brlock_read(big, CONC_FOREVER));
    big_use_to_read();
    return 0;
}

static int big_writes(void *unused) {
    (void)unused;
    SIM_OK(conc_brlock_write(big, CONC_FOREVER));
    big_use_to_write();
    return 0;
}

static int big_reads_slowly(void *unused) {
    (void)unused;
    SIM_OK(conc_brlock_read(big, CONC_FOREVER));
    big_use_to_read();
    return 0;
}

static int big_writes_slowly(void *unused) {
    (void)unused;
    SIM_OK(conc_brlock_write(big, CONC_FOREVER));
    big_use_to_write();
    return 0;
}

static int big_writes_in_time(void *unused) {
    conc_result r = conc_brlock_write(big, conc_after(0.001));
    (void)unused;
    CONC_SIM_ASSERT(r == CONC_OK || r == CONC_TIMEOUT);
    if (r == CONC_OK) big_use_to_write();
    return 0;
}

static int big_beside(conc_fn own, conc_fn a, conc_fn b) {
    sim_crew crew = {0};
    big_setup();
    sim_start(&crew, a, NULL);
    if (b != NULL) sim_start(&crew, b, NULL);
    (void)own(NULL);
    return big_finish(&crew);
}

/* A reader counts itself and looks for a writer, a writer announces itself and looks for readers: one sees the
 * other. */
static int brlock_pair(void *unused) {
    (void)unused;
    return big_beside(big_reads_slowly, big_writes, NULL);
}

/* Two writers. */
static int brlock_writers(void *unused) {
    (void)unused;
    return big_beside(big_writes_slowly, big_writes, NULL);
}

/* Two readers and a writer, which the last of them wakes. */
static int brlock_readers_and_writer(void *unused) {
    (void)unused;
    return big_beside(big_writes_slowly, big_reads, big_reads);
}

/* A reader and two writers. */
static int brlock_reader_and_writers(void *unused) {
    (void)unused;
    return big_beside(big_reads_slowly, big_writes, big_writes);
}

/* A writer that times out takes its announcement back, and lets in the readers that it kept out. */
static int brlock_writer_timeout(void *unused) {
    sim_crew crew = {0}, reader = {0};
    (void)unused;
    big_setup();
    SIM_OK(conc_brlock_read(big, CONC_FOREVER));
    sim_start(&crew, big_writes_in_time, NULL);
    sim_start(&reader, big_reads, NULL);
    sim_join(&reader);
    big_use_to_read();
    return big_finish(&crew);
}

static const sim_test tests[] = {
    SIM_TEST(rwlock_pair, 3),
    SIM_TEST(rwlock_writers, 3),
    SIM_TEST(rwlock_reader_and_writers, 2),
    SIM_TEST(rwlock_readers_and_writer, 2),
    SIM_TEST(rwlock_step_back, 3),
    SIM_TEST(rwlock_share, 3),
    SIM_TEST(rwlock_writer_not_starved, 3),
    SIM_TEST(rwlock_phases, 2),
    SIM_TEST(rwlock_writer_timeout, 2),
    SIM_TEST(rwlock_writer_cancel, 2),
    SIM_TEST(rwlock_writers_timeout, 2),
    SIM_TEST(rwlock_reader_timeout, 2),
    SIM_TEST(rwlock_misuse, 3),
    SIM_TEST(brlock_pair, 3),
    SIM_TEST(brlock_writers, 3),
    SIM_TEST(brlock_readers_and_writer, 2),
    SIM_TEST(brlock_reader_and_writers, 2),
    SIM_TEST(brlock_writer_timeout, 2),
};
SIM_MAIN("sim_rwlock", tests)
