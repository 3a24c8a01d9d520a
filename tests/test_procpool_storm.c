/* The process pool in bad weather: workers that are killed, stopped and continued at any moment, tasks that do all that a task
 * should not, parents that vanish, limits, signals. Whatever comes, every task ends once, none begins twice, only
 * what had begun is lost, and nothing stays behind.
 *
 *   test_procpool_storm          as a part of the tests
 *   test_procpool_storm long     with its full figures (CONC_TEST_LONG in the environment says the same)
 *
 * What has begun, and how often, is written down by the tasks themselves, in a book that all processes share. */

#if !defined(CONC_TEST_SPLIT)
#include <stdlib.h>
static void *storm_malloc(size_t size);
static void *storm_realloc(void *p, size_t size);
static void storm_free(void *p);
#define CONC_MALLOC(size) storm_malloc(size)
#define CONC_REALLOC(p, size) storm_realloc((p), (size))
#define CONC_FREE(p) storm_free(p)
#define CONC_IMPLEMENTATION
#endif
#include "../conc.h"

#include "check.h"
#include "pooled.h"

#if !defined(_WIN32)
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#endif
#if defined(__linux__)
#include <sys/prctl.h>
static bool adopts; /* orphans come to us */
#else
#define adopts false
#endif

#define PATIENCE conc_after(100) /* far more than anything here takes */

static conc_process_method method; /* every case is run with each that there is */
static bool emulated, plenty;      /* qemu; the long form */

#if CHECK_TSAN
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "die_after_fork=0:atexit_sleep_ms=0"; /* exit() is to take no second */
}
#endif
#if CHECK_ASAN
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) {
    return conc_procpool_worker() != 0; /* what a task leaves by exit() leaks */
}
#endif

/* ---- blocks of memory that live, where the test brings the implementation ------------------------------------ */

#if !defined(CONC_TEST_SPLIT)
static uint32_t live; /* atomic */
static void *storm_malloc(size_t size) {
    void *p = malloc(size);
    if (p != NULL) (void)conc__add32(&live, 1, CONC__RELAXED);
    return p;
}
static void *storm_realloc(void *p, size_t size) {
    void *bigger = realloc(p, size);
    if (p == NULL && bigger != NULL) (void)conc__add32(&live, 1, CONC__RELAXED);
    return bigger;
}
static void storm_free(void *p) {
    if (p != NULL) (void)conc__sub32(&live, 1, CONC__RELAXED);
    free(p);
}
static uint32_t blocks_now(void) {
    return conc__load32(&live, CONC__RELAXED);
}
#else
static uint32_t blocks_now(void) {
    return 0;
}
#endif

/* ---- the book --------------------------------------------------------------------------------------------------- */

enum { CELLS = 65536, WORKERS = 8, PIDS = 64 };

typedef struct cell { /* of one task or item; written by nobody else while it runs */
    volatile uint32_t begun, returned;
} cell;

typedef struct ledger {
    volatile uint32_t tries;          /* of the initialiser */
    volatile uint32_t readies;        /* how often an initialiser has ended well; two at a time may count as one */
    volatile long ready[WORKERS + 1]; /* which process that was, for each worker */
    volatile long pid;                /* for a task to tell */
    volatile uint32_t flag;
    cell cells[CELLS];
} ledger;
static ledger *book;

/* Made by the first process; those that it spawns find it by the environment, those that it forks have it. */
static void open_book(void) {
    const char *given = getenv("CONC_STORM_BOOK");
    char text[64];
#if defined(_WIN32)
    HANDLE h;
    if (given == NULL) {
        snprintf(text, sizeof text, "conc-storm-%lu", (unsigned long)GetCurrentProcessId());
        h = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, (DWORD)sizeof *book, text);
        (void)SetEnvironmentVariableA("CONC_STORM_BOOK", text);
    } else {
        h = OpenFileMappingA(FILE_MAP_ALL_ACCESS, FALSE, given);
    }
    if (h != NULL) book = (ledger *)MapViewOfFile(h, FILE_MAP_ALL_ACCESS, 0, 0, sizeof *book);
    if (book == NULL) exit(9);
#else
    void *p;
    int fd = given != NULL ? atoi(given) : -1;
    if (given == NULL) {
        FILE *f = tmpfile();
        fd = f != NULL ? dup(fileno(f)) : -1; /* not close-on-exec */
        if (fd < 0 || ftruncate(fd, (off_t)sizeof *book) != 0) exit(9);
        (void)fclose(f);
        snprintf(text, sizeof text, "%d", fd);
        (void)setenv("CONC_STORM_BOOK", text, 1);
    }
    p = mmap(NULL, sizeof *book, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) exit(9);
    book = (ledger *)p;
#endif
}

static void clean_book(void) {
    memset((void *)book, 0, sizeof *book);
}

/* ---- misdeeds ------------------------------------------------------------------------------------------------------ */

static void pause_us(uint32_t us) {
    conc_cancel *token = conc_cancel_use(NULL);
    (void)conc_sleep(conc_after(us / 1e6));
    (void)conc_cancel_use(token);
}

enum how {
    WELL, FAILS, SEGV, ABORTS, EXITS_0, EXITS_3, QUITS, KILLED, TERMED, FPE, /* these are for storms, too */
    HOWS,
    WRONG_WRITE = HOWS, CLOSES_ALL, CLOSES_STDOUT, AT_EXIT, AT_EXIT_AND_EXITS, STOPS, LOOPS, STUBBORN, TWO_RETURN, CHILD_ENDS, CHILD_LIVES,
    CHILD_LIVES_CRASH, CHILD_LIVES_EXIT, TOKEN, SCRIBBLES_0, SCRIBBLES_FF, SCRIBBLES_RANDOM
};

static void says_nothing(void) {
    book->flag++;
}

static int misbehave(enum how how, void *arg) {
    static conc_cancel token;
#if defined(_WIN32)
    (void)arg;
    switch (how) {
    case FAILS: return 7;
    case SEGV: case FPE: case WRONG_WRITE: case KILLED: (void)TerminateProcess(GetCurrentProcess(), 77); break;
    case TERMED: case ABORTS: (void)TerminateProcess(GetCurrentProcess(), 3); break;
    case EXITS_0: exit(0);
    case EXITS_3: exit(3);
    case QUITS: _exit(5);
    case LOOPS: case STUBBORN: case STOPS:
        book->flag = 1;
        for (;;) pause_us(1000000);
#else
    pid_t pid;
    int fd;
    switch (how) {
    case FAILS: return 7;
    /* (The sanitizers have handlers of their own.) */
    case SEGV: signal(SIGSEGV, SIG_DFL); raise(SIGSEGV); break;
    case ABORTS: signal(SIGABRT, SIG_DFL); abort();
    case FPE: signal(SIGFPE, SIG_DFL); raise(SIGFPE); break;
    case KILLED: raise(SIGKILL); break;
    case TERMED: signal(SIGTERM, SIG_DFL); raise(SIGTERM); break;
    case EXITS_0: exit(0);
    case EXITS_3: exit(3);
    case QUITS: _exit(5);
    case WRONG_WRITE:
        if (CHECK_TSAN || CHECK_ASAN) return misbehave(SEGV, arg);
        {
            void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED) p = NULL; /* (there are systems that have something at 0) */
            *(volatile int *)p = 1;
        }
        break;
    case CLOSES_ALL:
        for (fd = 0; fd < 1024; fd++) (void)close(fd);
        for (fd = 0; fd < 64; fd++) {
            if (write(fd, "nonsense", 8) >= 0) return 1;
        }
        return 0;
    case STOPS: raise(SIGSTOP); return 0;
    case STUBBORN: signal(SIGTERM, SIG_IGN); signal(SIGINT, SIG_IGN); signal(SIGHUP, SIG_IGN); /* fall through */
    case LOOPS:
        book->flag = 1;
        for (;;) pause_us(1000000);
    case TWO_RETURN: (void)fork(); return 0; /* also in the child */
    case CHILD_ENDS:
        pid = fork();
        if (pid == 0) _exit(0);
        return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : 1;
    case CHILD_LIVES: case CHILD_LIVES_CRASH: case CHILD_LIVES_EXIT:
        pid = fork();
        if (pid == 0) {
            alarm(60);
            for (;;) pause();
        }
        book->pid = (long)pid;
        if (how == CHILD_LIVES_CRASH) raise(SIGKILL);
        if (how == CHILD_LIVES_EXIT) exit(4);
        return 0;
    case SCRIBBLES_0: case SCRIBBLES_FF: case SCRIBBLES_RANDOM: {
        /* All of the mapping in which its argument is. */
        FILE *f = fopen("/proc/self/maps", "r");
        char line[600];
        unsigned long from, to, at = (unsigned long)(uintptr_t)arg;
        uint32_t random = 99;
        if (f == NULL) return 1;
        while (fgets(line, (int)sizeof line, f) != NULL) {
            if (sscanf(line, "%lx-%lx rw-s", &from, &to) != 2 || at < from || at >= to) continue;
            for (at = from; at < to; at += 4) {
                uint32_t x = how == SCRIBBLES_0 ? 0 : how == SCRIBBLES_FF ? UINT32_MAX : check_random(&random);
                *(volatile uint32_t *)(uintptr_t)at = x;
                if (at >= from + 4 * 1048576) break;
            }
            break;
        }
        (void)fclose(f);
        return 0;
    }
#endif
    case CLOSES_STDOUT: (void)fclose(stdout); return 0;
    case AT_EXIT: case AT_EXIT_AND_EXITS:
        if (atexit(says_nothing) != 0) return 1;
        if (how == AT_EXIT_AND_EXITS) exit(6);
        return 0;
    case TOKEN: /* left behind, fired */
        (void)conc_cancel_fire(&token);
        (void)conc_cancel_use(&token);
        return 0;
    default: break;
    }
    return 0;
}

/* ---- tasks ---------------------------------------------------------------------------------------------------------- */

typedef struct job { /* `size` bytes follow */
    uint32_t id, how, spin, size, reply;
} job;

static unsigned char *bytes_of(job *j) {
    return (unsigned char *)(j + 1);
}

static size_t job_size(const job *j) {
    return sizeof *j + j->size;
}

static unsigned char byte_of(uint32_t id, size_t i) {
    return (unsigned char)(id * 31u + i * 7u + (i >> 8));
}

/* Its bytes are there, are turned round, and what it replies is what belongs to it. In between it may do ill. */
static int works(void *arg) {
    job *j = (job *)arg;
    cell *c = &book->cells[j->id];
    uint32_t random = j->id + 1, i, n;
    c->begun++;
    for (i = 0; i < j->size; i++) {
        if (bytes_of(j)[i] != byte_of(j->id, i)) return 100;
    }
    check_spin_us(j->spin, &random);
    if (j->how != WELL) {
        int code = misbehave((enum how)j->how, arg);
        if (j->how == FAILS) c->returned++;
        return code;
    }
    for (i = 0; i < j->reply; i += n) {
        unsigned char piece[5000];
        uint32_t k;
        n = 1 + check_random(&random) % 5000;
        if (n > j->reply - i) n = j->reply - i;
        for (k = 0; k < n; k++) piece[k] = byte_of(j->id, i + k);
        if (conc_procpool_reply(piece, n) != CONC_OK) return 101;
    }
    for (i = 0; i < j->size; i++) bytes_of(j)[i] ^= 0xFF;
    check_spin_us(j->spin / 4, &random);
    c->returned++;
    return 0;
}

static int says_ready(void *arg) {
    unsigned number = conc_procpool_worker();
    (void)arg;
    if (number == 0 || number > WORKERS) return 1;
    book->ready[number] = conc_process_pid(NULL);
    book->readies++;
    return 0;
}

static int one_misdeed(void *arg) {
    return misbehave((enum how)*(int *)arg, arg);
}

static int tells_pid(void *arg) {
    *(long *)arg = conc_process_pid(NULL);
    return 0;
}

static int never_ends(void *arg) {
    (void)arg;
    for (book->flag = 1; book->flag != 0;) pause_us(1000);
    return 0;
}

static int holds(void *arg) { /* until all is prepared */
    (void)arg;
    UNTIL(book->flag == 3);
    return 0;
}

static int adds_one(void *arg) {
    ++*(int *)arg;
    return 0;
}

/* ---- pools ---------------------------------------------------------------------------------------------------------- */

static conc_procpool_desc of(const char *name) {
    conc_procpool_desc d;
    memset(&d, 0, sizeof d);
    d.name = name;
    d.method = method;
    return d;
}

static conc_procpool *pool_new(unsigned workers, const conc_procpool_desc *desc) {
    conc_procpool_desc d = of(NULL);
    conc_procpool *pool = conc_procpool_new(workers, desc != NULL ? desc : &d);
    if (pool == NULL) {
        fprintf(stderr, "[%s] cannot make a pool: %s\n", check_case, conc_error_detail());
        exit(1); /* all that follows would wait for it */
    }
    return pool;
}

/* Closes, joins, accounts, frees. `ruined`: a task has written over the memory of others, which are lost with it. */
static conc_procpool_stats end_of(conc_procpool *pool, bool ruined) {
    conc_procpool_stats s;
    conc_result r = conc_procpool_close(pool);
    CHECK(r == CONC_OK || r == CONC_CLOSED);
    CHECK_OK(conc_procpool_join(pool, PATIENCE));
    s = conc_procpool_stats_of(pool);
    CHECK_EQ(s.workers, 0);
    CHECK_EQ(s.busy, 0);
    CHECK_EQ(s.waiting, 0);
    if (!CHECK_EQ(s.completed + s.canceled + s.lost + s.killed, s.accepted)) {
        fprintf(stderr, "  completed %u, canceled %u, lost %u, killed %u, rejected %u\n", (unsigned)s.completed,
                (unsigned)s.canceled, (unsigned)s.lost, (unsigned)s.killed, (unsigned)s.rejected);
    }
    if (!ruined) CHECK(s.lost <= s.crashed);
    CHECK(s.crashed <= s.started);
    CHECK_OK(conc_procpool_free(pool));
    return s;
}
static conc_procpool_stats pool_end(conc_procpool *pool) {
    return end_of(pool, false);
}

/* The pool is as good as new: all its workers take tasks. */
static bool goes_on(conc_procpool *pool) {
    conc_future *f[12];
    int x[12], i;
    bool good = true;
    for (i = 0; i < 12; i++) {
        x[i] = i;
        f[i] = conc_procpool_submit(pool, adds_one, &x[i], sizeof x[i]);
        if (!CHECK(f[i] != NULL)) return false;
    }
    for (i = 0; i < 12; i++) {
        good = CHECK_OK(conc_future_wait(f[i], PATIENCE)) && CHECK_EQ(x[i], i + 1) && good;
        if (conc_future_result(f[i]) != CONC_OK) fprintf(stderr, "  %s\n", conc_future_detail(f[i]));
        conc_future_release(f[i]);
    }
    return good;
}

/* ---- what is left behind ------------------------------------------------------------------------------------------------ */

typedef struct traces {
    int descriptors, maps;
    long resident;
    uint32_t blocks;
} traces;

static traces look_round(void) {
    traces t;
    memset(&t, 0, sizeof t);
#if !defined(_WIN32)
    {
        int fd;
        FILE *f;
        char line[600];
        long pages = 0, all = 0;
        for (fd = 0; fd < 512; fd++) t.descriptors += fcntl(fd, F_GETFD) >= 0;
        f = fopen("/proc/self/maps", "r");
        while (f != NULL && fgets(line, (int)sizeof line, f) != NULL) t.maps++;
        if (f != NULL) (void)fclose(f);
        f = fopen("/proc/self/statm", "r");
        if (f != NULL && fscanf(f, "%ld %ld", &all, &pages) == 2) t.resident = pages * 4;
        if (f != NULL) (void)fclose(f);
    }
#endif
    t.blocks = blocks_now();
    return t;
}

#if !defined(_WIN32)
/* What tasks have forked, and nobody else has waited for. (We adopt them.) */
static int strays(void) {
    int n = 0;
    while (waitpid(-1, NULL, WNOHANG) > 0) n++;
    return n;
}
#endif

static void list_descriptors(void) {
#if defined(__linux__)
    int fd;
    char path[64], text[200];
    for (fd = 0; fd < 512; fd++) {
        ssize_t n;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        n = readlink(path, text, sizeof text - 1);
        if (n > 0) fprintf(stderr, "  %d: %.*s\n", fd, (int)n, text);
    }
#endif
}

/* No child, dead or alive; descriptors and memory as they were. Threads that have been joined may still be in their last
 * steps: those are given time. `warm`: it was not the first of its kind. */
static void nothing_left(const char *file, int line, traces before, bool adopted) {
    traces now = look_round();
    conc_deadline patience = conc_after(10);
    unsigned n = 0;
#if !defined(_WIN32)
    if (adopted) {
        while (strays(), !(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD) && !conc_deadline_passed(patience)) check_pause(&n);
    }
    {
        int pid = (int)waitpid(-1, NULL, WNOHANG);
        check_true(file, line, pid == -1 && errno == ECHILD, pid == 0 ? "a child is left" : "a zombie was left");
    }
#endif
    (void)adopted;
    while ((now.descriptors != before.descriptors || now.blocks > before.blocks) && !conc_deadline_passed(patience)) {
        check_pause(&n);
        now = look_round();
    }
    if (!check_eq(file, line, now.descriptors, before.descriptors, "descriptors")) list_descriptors();
    check_true(file, line, now.blocks <= before.blocks, "blocks of memory");
    if (now.blocks > before.blocks) fprintf(stderr, "  %u blocks, before %u\n", (unsigned)now.blocks, (unsigned)before.blocks);
    if (CHECK_TSAN || CHECK_ASAN || emulated) return;
    check_true(file, line, now.maps <= before.maps + 24, "mappings");
    check_true(file, line, now.resident <= before.resident + 32768, "memory");
    if (now.maps > before.maps + 24 || now.resident > before.resident + 32768) {
        fprintf(stderr, "  mappings %d, before %d; %ld KiB, before %ld\n", now.maps, before.maps, now.resident, before.resident);
    }
}
#define NOTHING_LEFT(before) nothing_left(__FILE__, __LINE__, (before), CHECK_ASAN) /* (it has processes of its own) */
#define ONLY_STRAYS_LEFT(before) nothing_left(__FILE__, __LINE__, (before), true)

/* ---- who kills ------------------------------------------------------------------------------------------------------------ */

typedef struct storm {
    conc_procpool *pool;
    unsigned workers;
    int kills, stops;
    uint32_t pause, random; /* up to so many us between two deeds */
    conc_event over;
    int killed; /* read after `over` */
} storm;

static bool strike(long pid) {
#if defined(_WIN32)
    HANDLE h = OpenProcess(PROCESS_TERMINATE, FALSE, (DWORD)pid);
    bool done = h != NULL && TerminateProcess(h, 9) != 0;
    if (h != NULL) CloseHandle(h);
    return done;
#else
    return kill((pid_t)pid, SIGKILL) == 0;
#endif
}

/* A pool gives up when 8 workers in a row have died before they were ready: so of those not more than 3 in a row are killed. */
static int torment(void *arg) {
    storm *s = (storm *)arg;
    int stops = 0, unready = 0;
    uint32_t readies = 0;
    while (s->killed < s->kills || stops < s->stops) {
        unsigned number = 1 + check_random(&s->random) % s->workers;
        bool stop = (int)(check_random(&s->random) % (unsigned)(s->kills + s->stops)) >= s->kills;
        long pid;
        pause_us(check_random(&s->random) % s->pause);
        pid = conc_procpool_pid(s->pool, number);
        if (pid == 0) continue;
        if (stop || s->killed >= s->kills) {
            if (stops >= s->stops) continue;
#if !defined(_WIN32)
            if (kill((pid_t)pid, SIGSTOP) == 0) {
                pause_us(check_random(&s->random) % 2000);
                (void)kill((pid_t)pid, SIGCONT);
            }
#endif
            stops++;
        } else {
            bool ready = book->ready[number] == pid;
            if (!ready && unready >= 3) {
                if (book->readies == readies) continue;
                unready = 0;
            }
            if (!strike(pid)) continue;
            if (!ready) {
                unready++;
                readies = book->readies;
            }
            s->killed++;
        }
    }
    conc_event_set(&s->over);
    return 0;
}

/* ---- storms ----------------------------------------------------------------------------------------------------------------- */

enum { FLIGHT = 40 };

typedef struct ticket {
    conc_future *f;
    job *j, *before;
} ticket;

static tally ends;        /* futures that have called back, */
static tally told[CELLS]; /* and each of them */

static void is_told(conc_future *f, void *arg) {
    CHECK(conc_future_is_done(f));
    (void)tally_add((tally *)arg, 1);
    (void)tally_add(&ends, 1);
}

typedef struct harvest {
    int well, failed, crashed, innocent, unbegun, finished;
} harvest;

static bool hand_in(conc_procpool *pool, ticket *t, uint32_t id, uint32_t *random, bool wild) {
    uint32_t size = check_random(random) % 100, dice = check_random(random) % 64;
    if (dice == 0) size = check_random(random) % 200000;
    else if (dice < 6) size = check_random(random) % 5000;
    memset(t, 0, sizeof *t);
    t->j = (job *)calloc(1, sizeof *t->j + size);
    t->j->id = id;
    t->j->size = size;
    t->j->spin = check_random(random) % 4 == 0 ? check_random(random) % 1000 : 0;
    if (check_random(random) % 16 == 0) t->j->reply = check_random(random) % (dice < 4 ? 400000 : 3000);
    if (wild && check_random(random) % 256 == 0) t->j->how = check_random(random) % HOWS;
    for (; size > 0; size--) bytes_of(t->j)[size - 1] = byte_of(id, size - 1);
    t->before = (job *)malloc(job_size(t->j));
    memcpy(t->before, t->j, job_size(t->j));
    t->f = conc_procpool_submit(pool, works, t->j, job_size(t->j));
    if (!CHECK(t->f != NULL)) {
        fprintf(stderr, "  %s\n", conc_error_detail());
        return false;
    }
    CHECK_OK(conc_future_then(t->f, is_told, &told[id]));
    return true;
}

/* It has ended once, in a way that fits what it was and what it wrote into the book. */
static void reap(ticket *t, harvest *h) {
    conc_result r = conc_future_wait(t->f, PATIENCE);
    const cell *c = &book->cells[t->before->id];
    uint32_t i, bad = 0;
    size_t size = 0;
    const unsigned char *reply = (const unsigned char *)conc_procpool_replied(t->f, &size);
    CHECK(conc_future_is_done(t->f));
    CHECK(c->begun <= 1);
    switch (r) {
    case CONC_OK:
        CHECK_EQ(t->before->how, WELL);
        CHECK_EQ(c->begun, 1);
        CHECK_EQ(c->returned, 1);
        for (i = 0; i < t->before->size; i++) bad += bytes_of(t->j)[i] != (bytes_of(t->before)[i] ^ 0xFF);
        CHECK_EQ(bad, 0);
        CHECK_EQ(size, t->before->reply);
        for (i = 0; i < size; i++) bad += reply[i] != byte_of(t->before->id, i);
        CHECK_EQ(bad, 0);
        CHECK_EQ(conc_future_code(t->f), 0);
        h->well++;
        break;
    case CONC_FAILED:
        CHECK_EQ(t->before->how, FAILS);
        CHECK_EQ(conc_future_code(t->f), 7);
        CHECK_EQ(c->returned, 1);
        h->failed++;
        break;
    case CONC_CRASHED:
        CHECK(memcmp(t->j, t->before, job_size(t->before)) == 0);
        CHECK(reply == NULL && size == 0);
        CHECK_HAS(conc_future_detail(t->f), "ended");
        h->crashed++;
        if (t->before->how == WELL || t->before->how == FAILS) h->innocent++;
        h->unbegun += c->begun == 0;   /* killed between the pool's mark and ours, */
        h->finished += c->returned != 0; /* or between ours and the pool's */
        break;
    default: CHECK_R(r, CONC_OK);
    }
    conc_future_release(t->f);
    free(t->j);
    free(t->before);
}

static void run_storm(unsigned workers, int kills, int stops, const conc_procpool_desc *with) {
    static ticket tickets[FLIGHT];
    static storm s;
    conc_procpool_desc d = with != NULL ? *with : of("storm");
    traces before;
    conc_procpool_stats stats;
    harvest h;
    crew c;
    uint32_t sent = 0, reaped = 0, random = 20011u, id;
    int called = tally_of(&ends);
    memset(&h, 0, sizeof h);
    memset(&s, 0, sizeof s);
    memset(&c, 0, sizeof c);
    clean_book();
    before = look_round();
    d.initialize = says_ready;
    s.pool = pool_new(workers, &d);
    s.workers = workers;
    s.kills = kills;
    s.stops = stops;
    s.random = 31337u + (uint32_t)kills;
    s.pause = method == CONC_PROCESS_FORK ? 3000 : 6000;
    crew_add(&c, torment, &s);
    while (!conc_event_is_set(&s.over) && sent < CELLS) {
        if (sent - reaped == FLIGHT) reap(&tickets[reaped++ % FLIGHT], &h);
        if (!hand_in(s.pool, &tickets[sent % FLIGHT], sent, &random, true)) break;
        sent++;
    }
    (void)conc_event_wait(&s.over, PATIENCE);
    while (reaped != sent) reap(&tickets[reaped++ % FLIGHT], &h);
    crew_join(&c);
    CHECK(goes_on(s.pool));
    stats = pool_end(s.pool);
    UNTIL(tally_of(&ends) - called >= (int)sent);
    CHECK_EQ(tally_of(&ends) - called, sent);
    for (id = 0; id < sent; id++) {
        if (!CHECK(book->cells[id].begun <= 1) || !CHECK_EQ(tally_add(&told[id], -1), 0)) break;
    }
    CHECK_EQ(stats.lost, h.crashed);
    CHECK_EQ(stats.completed, (unsigned)(h.well + h.failed) + 12u);
    CHECK_EQ(stats.accepted, sent + 12);
    CHECK(h.innocent <= s.killed); /* each kill costs one task at most */
    CHECK(h.unbegun + h.finished <= 3 + s.killed / 5);
    printf("    %u tasks: %d well, %d failed, %d crashed (%d for %d kills, %d of them at the edge); %u processes, %u crashed\n",
           (unsigned)sent, h.well, h.failed, h.crashed, h.innocent, s.killed, h.unbegun + h.finished, (unsigned)stats.started,
           (unsigned)stats.crashed);
    NOTHING_LEFT(before);
}

/* `n` in the long form, a part of `ci` in the others. */
static int figure(int n, int ci) {
    int k = plenty ? n : check_rounds_least(ci, 3);
    if (emulated && k > 6) k = 6;
    return k;
}

static void kills_and_stops(void) {
    run_storm(3, figure(2000, 200), figure(500, 60), NULL);
}

static void one_worker(void) {
    run_storm(1, figure(500, 40), figure(100, 10), NULL);
}

static void few_tasks_each(void) {
    conc_procpool_desc d = of("fleeting");
    d.max_tasks = 5;
    run_storm(3, figure(300, 30), figure(50, 5), &d);
}

#if !defined(_WIN32)

static void sigchld_ignored(void) {
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    run_storm(2, figure(300, 40), figure(50, 5), NULL);
    signal(SIGCHLD, before);
}

static void reaps_any(int sig) {
    int e = errno;
    (void)sig;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = e;
}

/* The program reaps whatever it finds: the statuses of the workers are lost, nothing else. Calls are interrupted. */
static void sigchld_handled(void) {
    struct sigaction act, before;
    memset(&act, 0, sizeof act);
    act.sa_handler = reaps_any;
    CHECK(sigaction(SIGCHLD, &act, &before) == 0);
    run_storm(2, figure(300, 40), figure(50, 5), NULL);
    CHECK(sigaction(SIGCHLD, &before, NULL) == 0);
}

/* ---- with other threads, who allocate, print, lock */

static conc_event rest;
static conc_mutex contended;
static tally bustling;
static int bustles(void *arg) {
    FILE *f = fopen("/dev/null", "w");
    uint32_t random = 5;
    (void)arg;
    (void)tally_add(&bustling, 1);
    while (!conc_event_is_set(&rest)) {
        void *p = malloc(check_random(&random) % 100000);
        CONC_WITH_LOCK(&contended) {
            if (f != NULL) fprintf(f, "%p\n", p);
        }
        free(p);
        pause_us(100);
    }
    if (f != NULL) (void)fclose(f);
    return 0;
}

static void among_threads(void) {
    crew c;
    int i;
    memset(&c, 0, sizeof c);
    conc_event_reset(&rest);
    (void)tally_add(&bustling, -tally_of(&bustling));
    for (i = 0; i < 3; i++) crew_add(&c, bustles, NULL);
    UNTIL(tally_of(&bustling) == 3); /* they have their descriptors */
    run_storm(2, figure(300, 30), figure(50, 5), NULL);
    conc_event_set(&rest);
    crew_join(&c);
}

#endif

/* ---- bad tasks ---------------------------------------------------------------------------------------------------------------- */

typedef struct verdict {
    conc_result r;
    int code;
    char text[400];
} verdict;

static verdict judge(conc_future *f) {
    verdict v;
    memset(&v, 0, sizeof v);
    if (!CHECK(f != NULL)) {
        v.r = conc_error_result();
        snprintf(v.text, sizeof v.text, "%s", conc_error_detail());
        fprintf(stderr, "  %s\n", v.text);
        return v;
    }
    v.r = conc_future_wait(f, PATIENCE);
    v.code = conc_future_code(f);
    snprintf(v.text, sizeof v.text, "%s", conc_future_detail(f));
    CHECK_R(conc_future_result(f), v.r);
    conc_future_release(f);
    return v;
}

static const struct {
    enum how how;
    conc_result want;
    const char *says; /* where the system has signals */
} misdeeds[] = {
    { FAILS, CONC_FAILED, "" },
    { SEGV, CONC_CRASHED, "signal 11 (SIGSEGV)" },
    { WRONG_WRITE, CONC_CRASHED, "signal 11 (SIGSEGV)" },
    { ABORTS, CONC_CRASHED, "signal 6 (SIGABRT)" },
    { FPE, CONC_CRASHED, "signal 8 (SIGFPE)" },
    { KILLED, CONC_CRASHED, "signal 9 (SIGKILL)" },
    { TERMED, CONC_CRASHED, "signal 15 (SIGTERM)" },
    { EXITS_0, CONC_CRASHED, "exit code 0" },
    { EXITS_3, CONC_CRASHED, "exit code 3" },
    { QUITS, CONC_CRASHED, "exit code 5" },
    { CLOSES_STDOUT, CONC_OK, "" },
    { AT_EXIT, CONC_OK, "" },
    { AT_EXIT_AND_EXITS, CONC_CRASHED, "exit code 6" },
    { TOKEN, CONC_OK, "" },
#if !defined(_WIN32)
    { CLOSES_ALL, CONC_OK, "" },
    { TWO_RETURN, CONC_OK, "" },
    { CHILD_ENDS, CONC_OK, "" },
#endif
};
enum { MISDEEDS = (int)(sizeof misdeeds / sizeof misdeeds[0]) };

static void check_says(const char *text, const char *says) {
#if !defined(_WIN32)
    CHECK_HAS(text, says);
#else
    (void)text;
    (void)says;
#endif
}

/* Alone, in a pool of two. */
static void bad_alone(void) {
    conc_procpool *pool;
    traces before = look_round();
    int i;
    pool = pool_new(2, NULL);
    for (i = 0; i < MISDEEDS; i++) {
        int how = (int)misdeeds[i].how;
        verdict v = judge(conc_procpool_submit(pool, one_misdeed, &how, sizeof how));
        if (!CHECK_R(v.r, misdeeds[i].want)) fprintf(stderr, "  misdeed %d: %s\n", how, v.text);
        if (v.r == CONC_FAILED) CHECK_EQ(v.code, 7);
        check_says(v.text, misdeeds[i].says);
        CHECK_EQ(how, misdeeds[i].how);
        if (!goes_on(pool)) fprintf(stderr, "  after misdeed %d\n", how);
    }
    (void)pool_end(pool);
    ONLY_STRAYS_LEFT(before);
}

/* Among others, one worker has them all before it: each of the others is done, once. */
static void bad_among_good(void) {
    enum { GOOD = 10 };
    int i, k;
    for (i = 0; i < MISDEEDS; i++) {
        conc_procpool *pool = pool_new(1, NULL);
        conc_future *f[GOOD], *bad = NULL;
        job jobs[GOOD + 1];
        conc_procpool_stats s;
        clean_book();
        memset(jobs, 0, sizeof jobs);
        jobs[GOOD].id = GOOD;
        jobs[GOOD].how = (uint32_t)misdeeds[i].how;
        for (k = 0; k < GOOD; k++) {
            jobs[k].id = (uint32_t)k;
            jobs[k].spin = k == 0 ? 300 : 0;
            if (k == 3) bad = conc_procpool_submit(pool, works, &jobs[GOOD], sizeof jobs[GOOD]);
            f[k] = conc_procpool_submit(pool, works, &jobs[k], sizeof jobs[k]);
        }
        CHECK_R(judge(bad).r, misdeeds[i].want);
        CHECK_EQ(book->cells[GOOD].begun, 1);
        for (k = 0; k < GOOD; k++) {
            CHECK_OK(judge(f[k]).r);
            CHECK_EQ(book->cells[k].begun, 1);
            CHECK_EQ(book->cells[k].returned, 1);
        }
        s = pool_end(pool);
        CHECK_EQ(s.lost, misdeeds[i].want == CONC_CRASHED ? 1 : 0);
        if (misdeeds[i].want == CONC_CRASHED) CHECK_EQ(s.crashed, 1);
    }
#if !defined(_WIN32)
    (void)strays();
#endif
}

/* What nobody waits for is told to the hook, once. */
static void bad_and_forgotten(void) {
    conc_procpool *pool = pool_new(2, NULL);
    int i, how;
    conc_procpool_stats s;
    conc_set_error_hook(count_report, NULL);
    (void)reports_now();
    for (i = 0; i < 20; i++) {
        how = (int)(i % 2 != 0 ? EXITS_3 : WELL);
        CHECK_OK(conc_procpool_run(pool, one_misdeed, &how, sizeof how));
    }
    how = (int)FAILS;
    CHECK_OK(conc_procpool_run(pool, one_misdeed, &how, sizeof how));
    s = pool_end(pool);
    CHECK_EQ(s.lost, 10);
    CHECK_EQ(reports_now(), 11);
    conc_set_error_hook(NULL, NULL);
}

static int never_registered(void *arg) {
    (void)arg;
    return 0;
}

static char large[4096];
static int echoes_more(void *arg) { /* more than it may */
    if (conc_procpool_reply(large, 1000) != CONC_OK) return 1;
    if (conc_procpool_reply(large, 25) != CONC_INVALID) return 2;
    if (conc_procpool_reply(NULL, 5) != CONC_INVALID) return 3;
    if (conc_procpool_reply(large, 24) != CONC_OK) return 4;
    return *(int *)arg;
}

static void refused(void) {
    conc_procpool_desc d = of("small");
    conc_procpool *pool;
    conc_future *f;
    int x = 0;
    size_t size = 0;
    d.size_max = 1024;
    pool = pool_new(1, &d);
    CHECK_MISUSE_NULL(conc_procpool_submit(pool, adds_one, large, 1025), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_procpool_submit(pool, NULL, large, 1), CONC_INVALID);
    CHECK_MISUSE_NULL(conc_procpool_submit(pool, adds_one, NULL, 1), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_run(pool, adds_one, large, 4096), CONC_INVALID);
    CHECK_MISUSE(conc_procpool_reply(large, 1), CONC_INVALID); /* not in a task */
    if (method == CONC_PROCESS_SPAWN) {
        CHECK_MISUSE_NULL(conc_procpool_submit(pool, never_registered, NULL, 0), CONC_INVALID);
        CHECK_MISUSE(conc_procpool_run(pool, never_registered, NULL, 0), CONC_INVALID);
        CHECK_MISUSE(conc_procpool_call(pool, never_registered, NULL, 0, &x), CONC_INVALID);
    } else {
        CHECK_OK(conc_procpool_call(pool, never_registered, NULL, 0, &x));
    }
    f = conc_procpool_submit(pool, echoes_more, &x, sizeof x);
    CHECK_OK(conc_future_wait(f, PATIENCE));
    CHECK(conc_procpool_replied(f, &size) != NULL);
    CHECK_EQ(size, 1024);
    conc_future_release(f);
    CHECK(goes_on(pool));
    (void)pool_end(pool);
}

/* ---- those that do not end by themselves */

static void hangs(void) {
    static const enum how list[] = { LOOPS, STUBBORN, STOPS };
    conc_procpool_desc d = of("limited");
    conc_procpool *pool;
    traces before = look_round();
    size_t i;
    int how;
    conc_procpool_stats s;
    d.time_limit = 0.05;
    pool = pool_new(2, &d);
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        int64_t begin = conc_clock_ns();
        verdict v;
        how = (int)list[i];
        v = judge(conc_procpool_submit(pool, one_misdeed, &how, sizeof how));
        CHECK_R(v.r, CONC_TIMEOUT);
        CHECK(conc_clock_ns() - begin >= 45000000);
        CHECK(v.text[0] != '\0');
        CHECK_EQ(how, list[i]);
    }
    how = (int)LOOPS;
    CHECK_R(conc_procpool_call(pool, one_misdeed, &how, sizeof how, NULL), CONC_TIMEOUT);
    {
        conc_procpool_task t;
        memset(&t, 0, sizeof t);
        t.time_limit = 1000; /* instead of the pool's: nothing ends it but us */
        for (i = 0; i < 2; i++) {
            conc_future *f = conc_procpool_submit_ex(pool, one_misdeed, &how, sizeof how, &t);
            if (i == 0) CHECK_R(conc_future_wait(f, conc_after(0.15)), CONC_TIMEOUT);
            CHECK_OK(conc_procpool_kill(f));
            CHECK_R(judge(f).r, CONC_CANCELED);
        }
    }
    CHECK_MISUSE(conc_procpool_kill(NULL), CONC_INVALID);
    s = pool_end(pool);
    CHECK(s.killed >= 5 && s.killed + s.canceled == 6);
    CHECK_EQ(s.lost, 0);
    /* Killed among others that wait behind it. */
    {
        conc_future *f[9];
        int x[9];
        conc_cancel token;
        d.time_limit = 0;
        pool = pool_new(1, &d);
        memset(&token, 0, sizeof token);
        for (i = 0; i < 9; i++) {
            x[i] = i == 4 ? (int)STUBBORN : 0;
            book->flag = 0;
            f[i] = conc_procpool_submit(pool, i == 4 ? one_misdeed : adds_one, &x[i], sizeof x[i]);
        }
        UNTIL(book->flag != 0);
        CHECK_R(conc_future_wait(f[5], CONC_NOW), CONC_BUSY);
        CHECK_R(conc_future_cancel(f[4]), CONC_BUSY);
        CHECK_OK(conc_future_cancel(f[8]));
        CHECK_OK(conc_procpool_kill(f[7]));
        CHECK_OK(conc_procpool_kill(f[4]));
        for (i = 0; i < 9; i++) {
            CHECK_R(judge(f[i]).r, i == 4 || i == 7 || i == 8 ? CONC_CANCELED : CONC_OK);
            CHECK_EQ(x[i], i == 4 ? (int)STUBBORN : i > 6 ? 0 : 1);
        }
        /* The caller's token, and the end of all. */
        conc_cancel_fire(&token);
        how = (int)STUBBORN;
        CONC_WITH_CANCEL(&token) CHECK_R(conc_procpool_call(pool, one_misdeed, &how, sizeof how, NULL), CONC_CANCELED);
        book->flag = 0;
        f[0] = conc_procpool_submit(pool, one_misdeed, &how, sizeof how);
        f[1] = conc_procpool_submit(pool, adds_one, &x[1], sizeof x[1]);
        UNTIL(book->flag != 0);
        CHECK_OK(conc_procpool_terminate(pool));
        CHECK_R(judge(f[0]).r, CONC_CANCELED);
        CHECK_R(judge(f[1]).r, CONC_CANCELED);
        (void)pool_end(pool);
    }
    NOTHING_LEFT(before);
}

#if !defined(_WIN32)

/* The state of a process: 'T' is stopped, 'Z' dead; 0: there is none. */
static int state_of(long pid) {
    char path[64], text[400] = "";
    const char *p;
    FILE *f;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    f = fopen(path, "r");
    if (f == NULL) return 0;
    if (fgets(text, (int)sizeof text, f) == NULL) text[0] = '\0';
    (void)fclose(f);
    p = strrchr(text, ')');
    return p != NULL && p[1] == ' ' ? p[2] : 0;
}

static void stops_itself(void) {
    conc_procpool *pool = pool_new(1, NULL);
    int how = (int)STOPS, i;
    for (i = 0; i < 3; i++) {
        conc_future *f = conc_procpool_submit(pool, one_misdeed, &how, sizeof how);
        long pid;
        UNTIL((pid = conc_procpool_pid(pool, 1)) != 0);
        UNTIL(state_of(pid) == 'T');
        CHECK(!conc_future_is_done(f));
        CHECK(kill((pid_t)pid, SIGCONT) == 0);
        CHECK_OK(judge(f).r);
        CHECK_EQ(conc_procpool_pid(pool, 1), pid);
    }
    how = (int)STOPS;
    {
        conc_future *f = conc_procpool_submit(pool, one_misdeed, &how, sizeof how);
        UNTIL(state_of(conc_procpool_pid(pool, 1)) == 'T');
        CHECK_OK(conc_procpool_terminate(pool)); /* also one that is stopped */
        CHECK_R(judge(f).r, CONC_CANCELED);
    }
    (void)pool_end(pool);
}

/* What a task has forked lives on, holding all that the worker held: nobody waits for it. */
static void forks_in_tasks(void) {
    static const struct {
        enum how how;
        conc_result want;
    } list[] = { { CHILD_LIVES, CONC_OK }, { CHILD_LIVES_CRASH, CONC_CRASHED }, { CHILD_LIVES_EXIT, CONC_CRASHED } };
    traces before = look_round();
    size_t i;
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        conc_procpool *pool = pool_new(1, NULL);
        int how = (int)list[i].how;
        long child;
        CHECK_R(judge(conc_procpool_submit(pool, one_misdeed, &how, sizeof how)).r, list[i].want);
        child = book->pid;
        CHECK(goes_on(pool));
        if (i == 0) { /* and its worker killed while it holds on */
            CHECK(strike(conc_procpool_pid(pool, 1)));
            CHECK(goes_on(pool));
        }
        (void)pool_end(pool);
        CHECK(state_of(child) != 0 && state_of(child) != 'Z');
        CHECK(child > 0 && kill((pid_t)child, SIGKILL) == 0);
        if (adopts) CHECK(waitpid((pid_t)child, NULL, 0) == (pid_t)child);
    }
    NOTHING_LEFT(before);
}

/* All that it can reach of what it shares with the parent is overwritten. It ends, once; what waits behind it does not begin twice, and
 * those that come later are done. */
static void scribbles(void) {
    static const enum how list[] = { SCRIBBLES_0, SCRIBBLES_FF, SCRIBBLES_RANDOM };
    enum { GOOD = 6 };
    traces before = look_round();
    size_t i;
    int k, with, well = 0, lost = 0;
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        for (with = 0; with < 2; with++) {
            conc_procpool *pool = pool_new(1, NULL);
            conc_future *bad, *f[GOOD];
            job jobs[GOOD + 1];
            verdict v;
            clean_book();
            memset(jobs, 0, sizeof jobs);
            jobs[GOOD].id = GOOD;
            jobs[GOOD].how = (uint32_t)list[i];
            bad = conc_procpool_submit(pool, works, &jobs[GOOD], sizeof jobs[GOOD]);
            for (k = 0; with && k < GOOD; k++) {
                jobs[k].id = (uint32_t)k;
                f[k] = conc_procpool_submit(pool, works, &jobs[k], sizeof jobs[k]);
            }
            v = judge(bad);
            CHECK(v.r == CONC_OK || v.r == CONC_FAILED || v.r == CONC_CRASHED || v.r == CONC_TIMEOUT);
            CHECK_EQ(book->cells[GOOD].begun, 1);
            printf("    %d: %s %s\n", (int)i, check_result_name(v.r), v.text);
            for (k = 0; with && k < GOOD; k++) {
                v = judge(f[k]);
                CHECK(v.r == CONC_OK || v.r == CONC_CRASHED || v.r == CONC_TIMEOUT);
                CHECK(book->cells[k].begun <= 1);
                if (v.r == CONC_OK) well++;
                else lost++;
            }
            CHECK(goes_on(pool));
            (void)end_of(pool, true);
        }
    }
    printf("    of %d behind them %d were done, %d lost\n", well + lost, well, lost);
    NOTHING_LEFT(before);
}

#endif

/* ---- memory without end */

static int takes_all_memory(void *arg) {
    static void *volatile taken; /* so that no compiler does without it */
    int n = 0;
    for (;;) {
        void *p = taken = malloc(1 << 20);
        if (p == NULL && *(int *)arg == 0) return n > 0 ? n : -1;
        if (p == NULL) return misbehave(WRONG_WRITE, arg);
        memset(p, 1, 1 << 20);
        if (++n > 2000) return -2;
    }
}

static void memory(void) {
    conc_procpool_desc d = of("modest");
    conc_procpool *pool;
    int x = 0, i;
    if (CHECK_TSAN || CHECK_ASAN || emulated) return; /* their memory is not ours to count */
#if defined(_WIN32)
    if (GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL) {
        printf("    skipped: wine does not hold the limits of jobs\n");
        return;
    }
#endif
    d.memory_limit = 64 << 20;
    pool = conc_procpool_new(1, &d); /* one that has taken all it may has nothing left for a second such task */
    if (pool == NULL && conc_error_result() == CONC_INVALID) return;
    if (!CHECK(pool != NULL)) return;
    for (i = 0; i < 3; i++) {
        verdict v = judge(conc_procpool_submit(pool, takes_all_memory, &x, sizeof x));
        CHECK_R(v.r, CONC_FAILED);
        /* (What malloc() has put by for the forking thread is not counted.) */
        if (!CHECK(v.code > 0 && v.code <= (method == CONC_PROCESS_FORK ? 256 : 64))) fprintf(stderr, "  %d MiB\n", v.code);
        x = 1;
        v = judge(conc_procpool_submit(pool, takes_all_memory, &x, sizeof x));
        CHECK_R(v.r, CONC_CRASHED);
        check_says(v.text, "SIGSEGV");
        x = 0;
        CHECK(goes_on(pool));
    }
    (void)pool_end(pool);
}

/* ---- initialisers */

static int fails_to_begin(void *arg) {
    book->tries++;
    (void)arg;
    (void)conc_cancel_fire(NULL); /* leaves a sentence */
    return 5;
}
static int fails_once(void *arg) {
    book->ready[conc_procpool_worker()]++;
    return book->ready[conc_procpool_worker()] == 1 ? misbehave((enum how)*(int *)arg, arg) : 0;
}
static int crashes_at_first(void *arg) {
    book->tries++;
    return misbehave((enum how)*(int *)arg, arg);
}

static void bad_beginnings(void) {
    static const enum how list[] = { FAILS, SEGV, EXITS_0, EXITS_3, KILLED };
    traces before = look_round();
    size_t i;
    int k;
    for (i = 0; i < 1 + sizeof list / sizeof list[0]; i++) {
        conc_procpool_desc d = of("stillborn");
        conc_procpool *pool;
        conc_future *f[5];
        int x[5], how = i > 0 ? (int)list[i - 1] : 0;
        conc_procpool_stats s;
        if (!plenty && i % 3 != (method == CONC_PROCESS_FORK ? 0 : 1)) continue; /* each has to wait between its attempts */
        clean_book();
        d.initialize = i == 0 ? fails_to_begin : crashes_at_first;
        d.init_arg = &how;
        d.init_size = sizeof how;
        pool = pool_new(2, &d);
        for (k = 0; k < 5; k++) {
            x[k] = k;
            f[k] = conc_procpool_submit(pool, adds_one, &x[k], sizeof x[k]);
            if (f[k] == NULL) CHECK_R(conc_error_result(), CONC_CLOSED); /* it has given up already */
        }
        for (k = 0; k < 5; k++) {
            verdict v;
            if (f[k] == NULL) continue;
            v = judge(f[k]);
            CHECK_R(v.r, CONC_CRASHED);
            CHECK(v.text[0] != '\0');
            if (k == 0) printf("    %s\n", v.text);
            CHECK_EQ(x[k], k);
        }
        UNTIL(conc_procpool_is_closed(pool));
        CHECK_MISUSE_NULL(conc_procpool_submit(pool, adds_one, &x[0], sizeof x[0]), CONC_CLOSED);
        s = pool_end(pool);
        CHECK_EQ(s.completed, 0);
        if (!CHECK(s.started >= 8 && s.started <= 20)) fprintf(stderr, "  %d\n", (int)s.started);
        CHECK_EQ(s.crashed, s.started);
        CHECK(book->tries <= s.started);
    }
    /* The first of each worker, only: it goes on. */
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        conc_procpool_desc d = of("late");
        conc_procpool *pool;
        int how = (int)list[i];
        conc_procpool_stats s;
        clean_book();
        d.initialize = fails_once;
        d.init_arg = &how;
        d.init_size = sizeof how;
        pool = pool_new(2, &d);
        how = (int)ABORTS; /* it was copied */
        CHECK(goes_on(pool));
        s = pool_end(pool);
        CHECK_EQ(s.lost, 0);
        CHECK(s.crashed >= 1 && s.crashed <= 2);
    }
    NOTHING_LEFT(before);
}

/* ---- maps -------------------------------------------------------------------------------------------------------------------------- */

typedef struct plan { /* for a map: which items do what */
    int bad[3];
    int how[3];
    uint32_t spin;
} plan;

typedef struct result {
    int x;
    int64_t twice;
} result;

static int maps(const void *in, void *out, void *arg) {
    const plan *p = (const plan *)arg;
    int x = *(const int *)in, i;
    cell *c = &book->cells[x];
    uint32_t random = (uint32_t)x + 1;
    result *r = (result *)out;
    c->begun++;
    check_spin_us(p->spin, &random);
    for (i = 0; i < 3; i++) {
        if (p->bad[i] == x && p->how[i] != WELL) {
            int code = misbehave((enum how)p->how[i], out);
            c->returned++;
            return code;
        }
    }
    r->x = x;
    r->twice = 2 * (int64_t)x;
    c->returned++;
    return 0;
}

enum { ITEMS = 300 };

static void map_with_crashes(void) {
    static const size_t chunks[] = { 1, 7, 50, 0, 300 };
    static const plan plans[] = {
        { { 33, -1, -1 }, { SEGV, WELL, WELL }, 0 },    { { 0, -1, -1 }, { EXITS_3, WELL, WELL }, 0 },
        { { 299, -1, -1 }, { KILLED, WELL, WELL }, 0 }, { { 34, 35, 36 }, { SEGV, ABORTS, QUITS }, 0 },
        { { 290, 20, 21 }, { SEGV, FAILS, SEGV }, 20 }, { { 12, 200, 13 }, { WELL, LOOPS, FAILS }, 0 },
        { { 260, 200, 261 }, { SEGV, LOOPS, FAILS }, 0 },
    };
    enum { SLOW = 5 }; /* from here on they need the time limit */
    static int in[ITEMS];
    static result out[ITEMS];
    conc_procpool_desc d = of("mapper");
    conc_procpool *pools[2], *pool;
    traces before = look_round();
    size_t c, p;
    int i, k;
    pools[0] = pool_new(2, &d);
    d.time_limit = 0.4;
    pools[1] = pool_new(2, &d);
    for (i = 0; i < ITEMS; i++) in[i] = i;
    for (c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
        for (p = 0; p < sizeof plans / sizeof plans[0]; p++) {
            plan now = plans[p];
            int first = ITEMS, how = 0, bad = 0;
            conc_result r, want;
            char number[20];
            if (p >= SLOW && (c != 1 + 2 * (p - SLOW) || (p == SLOW) != (method == CONC_PROCESS_FORK))) continue;
            pool = pools[p >= SLOW];
            clean_book();
            memset(out, 0xEE, sizeof out);
            for (k = 0; k < 3; k++) {
                if (now.how[k] != WELL && now.bad[k] < first) {
                    first = now.bad[k];
                    how = now.how[k];
                }
            }
            r = conc_procpool_map(pool, in, out, ITEMS, maps, &now, sizeof now, chunks[c]);
            want = how == FAILS ? CONC_FAILED : how == LOOPS ? CONC_TIMEOUT : CONC_CRASHED;
            if (!CHECK_R(r, want)) fprintf(stderr, "  chunk %d, plan %d\n", (int)chunks[c], (int)p);
            snprintf(number, sizeof number, "item %d", first);
            if (!CHECK_HAS(conc_error_detail(), number)) fprintf(stderr, "  chunk %d, plan %d\n", (int)chunks[c], (int)p);
            for (i = 0; i < ITEMS; i++) {
                bool ill = false;
                for (k = 0; k < 3; k++) ill = ill || (now.bad[k] == i && now.how[k] != WELL);
                if (!CHECK_EQ(book->cells[i].begun, 1)) bad++;
                if (!ill && !CHECK(out[i].x == i && out[i].twice == 2 * (int64_t)i)) bad++;
                if (bad != 0) {
                    fprintf(stderr, "  chunk %d, plan %d, item %d\n", (int)chunks[c], (int)p, i);
                    break;
                }
            }
        }
    }
    for (i = 0; i < 2; i++) {
        CHECK(goes_on(pools[i]));
        (void)pool_end(pools[i]);
    }
    NOTHING_LEFT(before);
}

/* Maps while workers are killed: what is missing is what was killed. */
static void map_in_a_storm(void) {
    enum { MANY = 2000 };
    static int in[MANY];
    static result out[MANY];
    static storm s;
    conc_procpool_desc d = of("mapper");
    traces before = look_round();
    plan p;
    crew c;
    int i, rounds = 0, missing = 0, wrong = 0;
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    memset(&c, 0, sizeof c);
    p.bad[0] = p.bad[1] = p.bad[2] = -1;
    p.spin = 20;
    clean_book();
    d.initialize = says_ready;
    s.pool = pool_new(3, &d);
    s.workers = 3;
    s.kills = figure(300, 40);
    s.stops = figure(50, 5);
    s.pause = method == CONC_PROCESS_FORK ? 4000 : 8000;
    s.random = 77;
    for (i = 0; i < MANY; i++) in[i] = i;
    crew_add(&c, torment, &s);
    do {
        static const size_t chunks[] = { 0, 1, 10, 100 };
        conc_result r;
        int gone = 0;
        for (i = 0; i < MANY; i++) book->cells[i].begun = book->cells[i].returned = 0;
        memset(out, 0xEE, sizeof out);
        r = conc_procpool_map(s.pool, in, out, MANY, maps, &p, sizeof p, chunks[rounds++ % 4]);
        for (i = 0; i < MANY; i++) {
            wrong += book->cells[i].begun > 1;
            if (out[i].x == i && out[i].twice == 2 * (int64_t)i) wrong += book->cells[i].returned != 1;
            else gone++;
        }
        CHECK_EQ(wrong, 0);
        CHECK_R(r, gone != 0 ? CONC_CRASHED : CONC_OK);
        missing += gone;
    } while (!conc_event_is_set(&s.over) && wrong == 0);
    (void)conc_event_wait(&s.over, PATIENCE);
    crew_join(&c);
    CHECK(missing <= s.killed);
    printf("    %d maps, %d items lost in %d kills\n", rounds, missing, s.killed);
    CHECK_EQ(pool_end(s.pool).lost, missing);
    NOTHING_LEFT(before);
}

/* ---- imap */

typedef struct source { /* the numbers from 0 on, and whether more of them are taken than the window allows */
    conc_iter iter;
    int at, n, given, window, closed, most;
} source;

static size_t source_next(conc_iter *it, void *items, size_t n) {
    source *s = (source *)it;
    size_t k = 0;
    while (k < n && s->at < s->n) ((int *)items)[k++] = s->at++;
    if (s->at - s->given > s->most) s->most = s->at - s->given;
    if (k == 0) it->result = CONC_CLOSED;
    return k;
}
static void source_close(conc_iter *it) {
    ((source *)it)->closed++;
}
static conc_iter *numbers(source *s, int n) {
    memset(s, 0, sizeof *s);
    s->iter.next = source_next;
    s->iter.close = source_close;
    s->iter.item_size = sizeof(int);
    s->n = n;
    return &s->iter;
}

static conc_iter *imap_of(conc_procpool *pool, conc_iter *it, int window, size_t chunk, plan *p, bool in_order) {
    return in_order ? conc_procpool_imap(pool, it, maps, result, (size_t)window, p, sizeof *p, chunk)
                    : conc_procpool_imap_unordered(pool, it, maps, result, (size_t)window, p, sizeof *p, chunk);
}

static void imap_windows(void) {
    static const struct {
        int window;
        size_t chunk;
    } list[] = { { 1, 1 }, { 2, 1 }, { 7, 1 }, { 20, 5 }, { 100, 0 }, { 3, 8 } };
    conc_procpool *pool;
    traces before = look_round();
    size_t i;
    int order;
    plan p;
    source s;
    memset(&p, 0, sizeof p);
    p.bad[0] = p.bad[1] = p.bad[2] = -1;
    pool = pool_new(2, NULL);
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        for (order = 0; order < 2; order++) {
            static unsigned char seen[ITEMS];
            conc_iter *it = imap_of(pool, numbers(&s, ITEMS), list[i].window, list[i].chunk, &p, order != 0);
            result x;
            conc_result r;
            memset(seen, 0, sizeof seen);
            clean_book();
            CHECK_EQ(s.at, 0);
            while ((r = conc_next(it, &x)) == CONC_OK) {
                if (order != 0) CHECK_EQ(x.x, s.given);
                CHECK_EQ(x.twice, 2 * (int64_t)x.x);
                if (CHECK(x.x >= 0 && x.x < ITEMS)) CHECK_EQ(seen[x.x]++, 0);
                s.given++;
            }
            CHECK_R(r, CONC_CLOSED);
            CHECK_EQ(s.given, ITEMS);
            if (!CHECK(s.most <= list[i].window)) fprintf(stderr, "  %d of a window of %d\n", s.most, list[i].window);
            conc_iter_close(it);
            CHECK_EQ(s.closed, 1);
        }
    }
    (void)pool_end(pool);
    NOTHING_LEFT(before);
}

static void imap_with_crashes(void) {
    static const struct {
        int how;
        conc_result want;
    } list[] = { { SEGV, CONC_CRASHED }, { EXITS_0, CONC_CRASHED }, { FAILS, CONC_FAILED }, { LOOPS, CONC_TIMEOUT } };
    conc_procpool_desc d = of("imapper");
    conc_procpool *pool;
    traces before = look_round();
    size_t i, c;
    int order;
    d.time_limit = 0.4;
    pool = pool_new(2, &d);
    for (i = 0; i < sizeof list / sizeof list[0]; i++) {
        for (c = 1; c <= 5; c += 4) {
            for (order = 0; order < 2; order++) {
                plan p;
                source s;
                conc_iter *it;
                if (list[i].how == LOOPS && (c == 1) != (order == 0)) continue;
                result x;
                conc_result r;
                int k;
                memset(&p, 0, sizeof p);
                p.bad[0] = 41;
                p.how[0] = list[i].how;
                clean_book();
                it = imap_of(pool, numbers(&s, ITEMS), 10, c, &p, order != 0);
                while ((r = conc_next(it, &x)) == CONC_OK) {
                    CHECK(x.x != 41);
                    s.given++;
                }
                CHECK_R(r, list[i].want);
                CHECK_HAS(conc_error_detail(), "item 41");
                if (order != 0) CHECK_EQ(s.given, 41);
                CHECK(s.most <= 10);
                CHECK_R(conc_next(it, &x), list[i].want);
                conc_iter_close(it);
                for (k = 0; k < ITEMS; k++) CHECK(book->cells[k].begun <= 1 && (k == 41 || book->cells[k].returned == book->cells[k].begun));
                CHECK_EQ(s.closed, 1);
            }
        }
    }
    CHECK(goes_on(pool));
    (void)pool_end(pool);
    NOTHING_LEFT(before);
}

static void imap_closed_early(void) {
    conc_procpool *pool;
    traces before = look_round();
    int give, order;
    plan p;
    memset(&p, 0, sizeof p);
    p.bad[0] = p.bad[1] = p.bad[2] = -1;
    p.spin = 100;
    pool = pool_new(2, NULL);
    for (give = 0; give < 30; give += 3) {
        for (order = 0; order < 2; order++) {
            source s;
            conc_iter *it;
            result x;
            int i, begun = 0;
            clean_book();
            it = imap_of(pool, numbers(&s, 1000), 8, give % 2 != 0 ? 2 : 1, &p, order != 0);
            for (i = 0; i < give; i++) {
                CHECK_OK(conc_next(it, &x));
                s.given++;
            }
            CHECK_R(conc_procpool_free(pool), CONC_BUSY);
            conc_iter_close(it);
            CHECK_EQ(s.closed, 1);
            for (i = 0; i < 1000; i++) {
                begun += book->cells[i].begun != 0;
                CHECK(book->cells[i].begun <= 1 && book->cells[i].returned == book->cells[i].begun); /* what ran was waited for */
            }
            CHECK(begun >= give && begun <= give + 8);
        }
    }
    (void)pool_end(pool);
    NOTHING_LEFT(before);
}

/* While workers are killed: what is given is right, nothing is given twice, and the end says why. */
static void imap_in_a_storm(void) {
    static storm s;
    conc_procpool_desc d = of("imapper");
    traces before = look_round();
    plan p;
    crew c;
    int rounds = 0, broken = 0;
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    memset(&c, 0, sizeof c);
    p.bad[0] = p.bad[1] = p.bad[2] = -1;
    p.spin = 50;
    clean_book();
    d.initialize = says_ready;
    s.pool = pool_new(2, &d);
    s.workers = 2;
    s.kills = figure(300, 25);
    s.stops = figure(50, 5);
    s.pause = 10000;
    s.random = 78;
    crew_add(&c, torment, &s);
    do {
        source from;
        conc_iter *it;
        result x;
        conc_result r;
        int i, order = rounds % 2;
        for (i = 0; i < ITEMS; i++) book->cells[i].begun = book->cells[i].returned = 0;
        it = imap_of(s.pool, numbers(&from, ITEMS), 1 + rounds % 12, (size_t)(1 + rounds % 3), &p, order != 0);
        while ((r = conc_next(it, &x)) == CONC_OK) {
            if (order != 0) CHECK_EQ(x.x, from.given);
            if (CHECK(x.x >= 0 && x.x < ITEMS)) CHECK_EQ(book->cells[x.x].returned, 1);
            from.given++;
        }
        CHECK(r == CONC_CLOSED || r == CONC_CRASHED);
        if (r == CONC_CLOSED) CHECK_EQ(from.given, ITEMS);
        else broken++;
        CHECK(from.most <= 1 + rounds % 12);
        conc_iter_close(it);
        for (i = 0; i < ITEMS; i++) CHECK(book->cells[i].begun <= 1);
        rounds++;
    } while (!conc_event_is_set(&s.over));
    crew_join(&c);
    CHECK(broken <= s.killed);
    printf("    %d iterators, %d broken by %d kills\n", rounds, broken, s.killed);
    (void)pool_end(s.pool);
    NOTHING_LEFT(before);
}

/* ---- ends ---------------------------------------------------------------------------------------------------------------------------- */

typedef struct reaper {
    conc_procpool *pool;
    uint32_t wait;
    int kind;
} reaper;

static int ends_it(void *arg) {
    reaper *r = (reaper *)arg;
    conc_result result;
    pause_us(r->wait);
    result = r->kind == 0 ? conc_procpool_terminate(r->pool) : r->kind == 1 ? conc_procpool_close_now(r->pool) : conc_procpool_close(r->pool);
    return result == CONC_OK ? 0 : 1;
}

/* Ended at random moments, while tasks are handed in. */
static void ends_at_random(void) {
    enum { MANY = 150 };
    static job jobs[MANY];
    conc_future *f[MANY];
    traces before = look_round();
    uint32_t random = 4242;
    int round, rounds = figure(200, 30), i, well = 0, canceled = 0, refused_count = 0;
    for (round = 0; round < rounds; round++) {
        conc_procpool *pool = pool_new(2, NULL);
        reaper r;
        crew c;
        conc_procpool_stats s;
        int ok = 0, not_ok = 0;
        memset(&c, 0, sizeof c);
        clean_book();
        r.pool = pool;
        r.wait = check_random(&random) % (method == CONC_PROCESS_FORK ? 4000 : 9000);
        r.kind = round % 3;
        crew_add(&c, ends_it, &r);
        for (i = 0; i < MANY; i++) {
            memset(&jobs[i], 0, sizeof jobs[i]);
            jobs[i].id = (uint32_t)i;
            jobs[i].spin = check_random(&random) % 100;
            f[i] = conc_procpool_submit(pool, works, &jobs[i], sizeof jobs[i]);
            if (f[i] == NULL) CHECK_R(conc_error_result(), CONC_CLOSED);
        }
        for (i = 0; i < MANY; i++) {
            conc_result result;
            CHECK(book->cells[i].begun <= 1);
            if (f[i] == NULL) {
                CHECK_EQ(book->cells[i].begun, 0);
                refused_count++;
                continue;
            }
            result = conc_future_wait(f[i], PATIENCE);
            CHECK(result == CONC_OK || (result == CONC_CANCELED && r.kind != 2));
            if (result == CONC_OK) CHECK_EQ(book->cells[i].returned, 1);
            if (result == CONC_CANCELED && r.kind == 1) CHECK_EQ(book->cells[i].begun, 0);
            if (result == CONC_OK) ok++;
            else not_ok++;
            conc_future_release(f[i]);
        }
        crew_join(&c);
        s = pool_end(pool);
        CHECK_EQ(s.completed, ok);
        CHECK_EQ(s.canceled + s.killed, not_ok);
        well += ok;
        canceled += not_ok;
    }
    printf("    %d pools: %d tasks well, %d canceled, %d refused\n", rounds, well, canceled, refused_count);
    NOTHING_LEFT(before);
}

/* Some are killed while they run, or just before or after that, or have a time limit about as long as they need: it costs no other. */
static void kills_some(void) {
    enum { MANY = 150 };
    static job jobs[MANY];
    conc_future *f[MANY];
    traces before = look_round();
    uint32_t random = 777, spins[MANY];
    conc_procpool *pool = pool_new(1, NULL); /* so that a core is left for us */
    int round, rounds = figure(300, 16), i, killed = 0, late = 0, done = 0;
    conc_procpool_stats s;
    for (round = 0; round < rounds; round++) {
        bool limits = round % 2 != 0;
        clean_book();
        CHECK_OK(conc_procpool_run(pool, holds, NULL, 0));
        for (i = 0; i < MANY; i++) {
            conc_procpool_task t;
            memset(&t, 0, sizeof t);
            memset(&jobs[i], 0, sizeof jobs[i]);
            jobs[i].id = (uint32_t)i;
            /* (They run up to a quarter longer than that: so it often comes as they return, and others run on after them.) */
            spins[i] = jobs[i].spin = i % 5 != 3 ? 30 : limits ? 1200 : 1 + check_random(&random) % 100;
            if (limits && i % 5 == 3) t.time_limit = 0.001;
            f[i] = conc_procpool_submit_ex(pool, works, &jobs[i], sizeof jobs[i], &t);
            if (!CHECK(f[i] != NULL)) return;
        }
        book->flag = 3;
        for (i = 3; i < MANY && !limits; i += 5) {
            int64_t until;
            conc_result r;
            while (book->cells[i].begun == 0 && !conc_future_is_done(f[i])) {
            }
            until = conc_clock_ns() + (int64_t)(check_random(&random) % (spins[i] * 1000));
            while (conc_clock_ns() < until) {
            }
            r = conc_procpool_kill(f[i]);
            CHECK(r == CONC_OK || r == CONC_CLOSED);
        }
        for (i = 0; i < MANY; i++) {
            verdict v = judge(f[i]);
            CHECK(book->cells[i].begun <= 1);
            if (v.r == CONC_OK) CHECK_EQ(book->cells[i].returned, 1);
            if (i % 5 != 3) {
                if (!CHECK_R(v.r, CONC_OK)) fprintf(stderr, "  %s: %s\n", limits ? "limits" : "kills", v.text);
            } else {
                CHECK(v.r == CONC_OK || v.r == (limits ? CONC_TIMEOUT : CONC_CANCELED));
            }
            killed += v.r == CONC_CANCELED;
            late += v.r == CONC_TIMEOUT;
            done += v.r == CONC_OK;
        }
    }
    CHECK(goes_on(pool));
    s = pool_end(pool);
    CHECK_EQ(s.lost, 0);
    CHECK_EQ(s.killed + s.canceled, killed + late);
    printf("    %d done, %d killed, %d too late\n", done, killed, late);
    NOTHING_LEFT(before);
}

static conc_procpool *crowded;
static int calls_and_submits(void *arg) {
    int i, n = *(int *)arg;
    for (i = 0; i < n; i++) {
        int x = i, code = -1;
        if (i % 3 == 0) {
            if (!CHECK_OK(conc_procpool_call(crowded, adds_one, &x, sizeof x, &code))) return 1;
            if (!CHECK_EQ(x, i + 1)) return 1;
        } else if (i % 3 == 1) {
            conc_future *f[4];
            int y[4], k;
            for (k = 0; k < 4; k++) {
                y[k] = k;
                f[k] = conc_procpool_submit(crowded, adds_one, &y[k], sizeof y[k]);
                if (!CHECK(f[k] != NULL)) return 1;
            }
            if (!CHECK_OK(conc_wait_all(f, 4, PATIENCE))) return 1;
            for (k = 0; k < 4; k++) {
                if (!CHECK_EQ(y[k], k + 1)) return 1;
                conc_future_release(f[k]);
            }
        } else {
            conc_future *f = conc_procpool_submit(crowded, adds_one, &x, sizeof x);
            if (!CHECK(f != NULL)) return 1;
            if (i % 2 == 0) {
                conc_result r = conc_future_cancel(f);
                CHECK(r == CONC_OK || r == CONC_BUSY || r == CONC_CLOSED);
            }
            (void)conc_future_wait(f, PATIENCE);
            CHECK(conc_future_is_done(f));
            conc_future_release(f);
        }
    }
    return 0;
}

static void crowd(void) {
    traces before = look_round();
    int i, n = check_rounds(600);
    crew c;
    memset(&c, 0, sizeof c);
    crowded = pool_new(2, NULL);
    for (i = 0; i < 8; i++) crew_add(&c, calls_and_submits, &n);
    crew_join(&c);
    (void)pool_end(crowded);
    NOTHING_LEFT(before);
}

static tally joined;
static void joins(conc_future *f, void *pool) {
    conc_result r = conc_procpool_join((conc_procpool *)pool, PATIENCE);
    (void)f;
    CHECK(r == CONC_OK || r == CONC_DEADLOCK || r == CONC_INVALID);
    (void)tally_add(&joined, 1);
}
static void submits_more(conc_future *f, void *pool) {
    int x = 1;
    conc_result r = conc_procpool_run((conc_procpool *)pool, adds_one, &x, sizeof x);
    (void)f;
    CHECK(r == CONC_OK || r == CONC_CLOSED);
    (void)tally_add(&joined, 1);
}

static void joins_in_callbacks(void) {
    int round, i;
    for (round = 0; round < 4; round++) {
        conc_procpool *pool = pool_new(2, NULL);
        conc_future *f[20];
        int x[20], had = tally_of(&joined);
        for (i = 0; i < 20; i++) {
            x[i] = i;
            f[i] = conc_procpool_submit(pool, adds_one, &x[i], sizeof x[i]);
            CHECK_OK(conc_future_then(f[i], i % 2 != 0 ? submits_more : joins, pool));
            if (round % 2 == 1 && i == 10) break;
        }
        if (round % 2 == 0) {
            CHECK_OK(conc_procpool_close(pool));
            for (i = 0; i < 20; i++) CHECK_OK(judge(f[i]).r);
            UNTIL(tally_of(&joined) - had == 20);
        } else {
            CHECK_OK(conc_procpool_close(pool));
            CHECK_OK(conc_procpool_join(pool, PATIENCE)); /* the pool's thread alone calls back */
            for (i = 0; i <= 10; i++) CHECK_OK(judge(f[i]).r);
            UNTIL(tally_of(&joined) - had == 11);
        }
        (void)pool_end(pool);
    }
}

/* ---- large things ----------------------------------------------------------------------------------------------------------------------- */

typedef struct order {
    uint64_t size;
    uint32_t piece;
} order;

static int delivers(void *arg) {
    order *o = (order *)arg;
    uint64_t done = 0;
    unsigned char *p = (unsigned char *)malloc(o->piece);
    uint32_t i, n;
    if (p == NULL) return 1;
    while (done < o->size) {
        n = o->size - done < o->piece ? (uint32_t)(o->size - done) : o->piece;
        for (i = 0; i < n; i++) p[i] = (unsigned char)((done + i) % 253);
        if (conc_procpool_reply(p, n) != CONC_OK) return 2;
        done += n;
    }
    if (o->size == 0 && conc_procpool_reply("", 0) != CONC_OK) return 3;
    free(p);
    o->size++;
    return 0;
}

static int turns(void *arg) {
    unsigned char *p = (unsigned char *)arg;
    uint64_t size, i;
    memcpy(&size, p, sizeof size);
    for (i = sizeof size; i < size; i++) p[i] ^= 0xFF;
    return 0;
}

static bool delivered(conc_future *f, const order *o, uint64_t size) {
    size_t n = 0, i, bad = 0;
    const unsigned char *p;
    bool good = CHECK_OK(conc_future_wait(f, PATIENCE)) && CHECK_EQ(o->size, size + 1);
    p = (const unsigned char *)conc_procpool_replied(f, &n);
    good = CHECK_EQ(n, size) && good;
    for (i = 0; i < n; i++) bad += p[i] != (unsigned char)(i % 253);
    good = CHECK_EQ(bad, 0) && good;
    conc_future_release(f);
    return good;
}

static void large_things(void) {
    static const uint64_t sizes[] = { 0, 1, 63, 64, 65, 4096, 1048576, 8388608 + 5, 67108864 };
    traces before = look_round();
    conc_procpool *pool = pool_new(2, NULL);
    size_t i, count = sizeof sizes / sizeof sizes[0];
    if (check_scale() < 0.5 || emulated || (method == CONC_PROCESS_FORK && !plenty) || sizeof(void *) < 8) count--;
    if (check_scale() < 0.1 || emulated) count--;
    for (i = 0; i < count; i++) {
        order o;
        unsigned char *p = (unsigned char *)calloc((size_t)sizes[i] + 8, 1);
        uint64_t size = sizes[i] + 8, k, bad = 0;
        o.size = sizes[i];
        o.piece = i % 2 != 0 ? 1u << 20 : 70001;
        CHECK(delivered(conc_procpool_submit(pool, delivers, &o, sizeof o), &o, sizes[i]));
        memcpy(p, &size, sizeof size);
        CHECK_OK(conc_procpool_call(pool, turns, p, (size_t)size, NULL));
        for (k = 8; k < size; k++) bad += p[k] != 0xFF;
        CHECK_EQ(bad, 0);
        free(p);
    }
    /* Many at once, in small pieces, which nobody asks for before all are handed in. */
    {
        conc_future *f[8];
        order o[8];
        conc_procpool_task copied;
        uint64_t size = (uint64_t)check_rounds(2000000);
        memset(&copied, 0, sizeof copied);
        copied.copy = true;
        for (i = 0; i < 8; i++) {
            o[i].size = size + i;
            o[i].piece = 1 + 999 * (uint32_t)i;
            f[i] = conc_procpool_submit(pool, delivers, &o[i], sizeof o[i]);
        }
        for (i = 8; i > 0; i--) CHECK(delivered(f[i - 1], &o[i - 1], size + i - 1));
        /* Let go of: they run all the same. */
        for (i = 0; i < 4; i++) {
            o[i].size = size;
            conc_future_release(conc_procpool_submit_ex(pool, delivers, &o[i], sizeof o[i], &copied));
        }
    }
    CHECK(goes_on(pool));
    CHECK_EQ(pool_end(pool).lost, 0);
    NOTHING_LEFT(before);
}

/* ---- the system: orphans, limits, Ctrl-C --------------------------------------------------------------------------------------------------- */

static bool is_there(long pid) {
#if defined(_WIN32)
    HANDLE h = OpenProcess(SYNCHRONIZE, FALSE, (DWORD)pid);
    bool there = h != NULL && WaitForSingleObject(h, 0) == WAIT_TIMEOUT;
    if (h != NULL) CloseHandle(h);
    return there;
#else
    int state = state_of(pid);
    return state != 0 && state != 'Z';
#endif
}

/* A program of its own with a pool, busy until it is killed. */
static int has_pool(void *arg) {
    conc_procpool_desc d = of("orphan");
    conc_procpool *pool;
    conc_procpool_task copied;
    conc_future *f;
    uint32_t random = 17;
    job j;
    memset(&copied, 0, sizeof copied);
    copied.copy = true;
    d.method = (conc_process_method)*(int *)arg;
    d.initialize = says_ready;
    pool = conc_procpool_new(3, &d);
    if (pool == NULL) return 1;
#if !defined(_WIN32)
    if (book->flag == 1) { /* a child that knows nothing of the pool, and is not to keep it alive */
        if (fork() == 0) {
            alarm(100);
            for (book->pid = (long)getpid();;) pause();
        }
    }
#endif
    for (;;) {
        memset(&j, 0, sizeof j);
        j.id = check_random(&random) % CELLS;
        j.spin = 200;
        j.reply = check_random(&random) % 2000;
        f = conc_procpool_submit_ex(pool, works, &j, sizeof j, &copied);
        if (f == NULL) return 2;
        conc_future_release(f);
        if (check_random(&random) % 8 == 0) pause_us(100);
        if (conc_procpool_stats_of(pool).waiting > 100) pause_us(2000);
    }
}

/* Parents are killed at random moments, from before their pool is there to when it is busy: all the workers end at once. */
static void orphans(void) {
    traces before = look_round();
    uint32_t random = 12;
    int round, rounds = figure(300, 25), how = (int)method, i;
    int64_t longest = 0;
    if (emulated) return; /* whose fork() in the midst of threads is not to be relied on */
    for (round = 0; round < rounds; round++) {
        conc_process_desc d;
        conc_process *p;
        int code = 0;
        int64_t begin;
        long pids[WORKERS + 1];
        memset(&d, 0, sizeof d);
        d.method = method;
        clean_book();
        book->flag = round % 4 == 1;
        p = conc_process_start(has_pool, &how, sizeof how, &d);
        if (!CHECK(p != NULL)) return;
        if (round % 3 != 0) UNTIL(book->readies >= 3 || !conc_process_is_alive(p));
        pause_us(check_random(&random) % (method == CONC_PROCESS_FORK ? 5000 : 20000));
        CHECK_OK(conc_process_kill(p));
        begin = conc_clock_ns();
        CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
        for (i = 1; i <= WORKERS; i++) pids[i] = book->ready[i];
        for (i = 1; i <= WORKERS; i++) {
            if (pids[i] != 0) UNTIL(!is_there(pids[i]));
        }
#if !defined(_WIN32)
        if (book->pid != 0) CHECK(is_there(book->pid)); /* that is nothing of ours */
#endif
#if defined(__linux__)
        /* We have adopted them all, also those that had not yet said so. */
        while (!(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD)) {
            if (book->pid != 0) (void)kill((pid_t)book->pid, SIGKILL);
            pause_us(200);
        }
#endif
        if (conc_clock_ns() - begin > longest) longest = conc_clock_ns() - begin;
    }
    printf("    %d parents killed; all was gone after %.1f ms at most\n", rounds, (double)longest / 1e6);
    NOTHING_LEFT(before);
}

#if !defined(_WIN32)

/* No more descriptors. */
static void few_descriptors(void) {
    struct rlimit unlimited, few;
    conc_procpool_desc d = of("poor");
    conc_procpool *pool;
    traces before;
    int taken[512], n = 0, i;
    conc_procpool_stats s;
    storm w;
    CHECK(getrlimit(RLIMIT_NOFILE, &unlimited) == 0);
    (void)goes_on(pool = pool_new(1, NULL));
    (void)pool_end(pool);
    before = look_round();
    few = unlimited;
    few.rlim_cur = 50;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_MISUSE_NULL(conc_procpool_new(40, &d), CONC_REJECTED);
    NOTHING_LEFT(before);
    /* A pool for which there is room; then there is none for its replacements, and then there is again. */
    memset(&w, 0, sizeof w);
    pool = pool_new(2, &d);
    CHECK(goes_on(pool));
    CHECK(strike(conc_procpool_pid(pool, 1)));
    for (i = 0; i < 100; i++) { /* also those that it gives back */
        while (n < 512 && (taken[n] = dup(2)) >= 0) n++;
        pause_us(200);
    }
    CHECK(goes_on(pool)); /* the other one does it all */
    while (n > 0) (void)close(taken[--n]);
    CHECK(goes_on(pool));
    for (i = 0; i < 6; i++) {
        long pid;
        UNTIL((pid = conc_procpool_pid(pool, 2)) != 0);
        CHECK(strike(pid));
        CHECK(goes_on(pool) || i > 0);
    }
    s = pool_end(pool);
    CHECK_EQ(s.accepted, s.completed + s.lost);
    CHECK(setrlimit(RLIMIT_NOFILE, &unlimited) == 0);
    NOTHING_LEFT(before);
}

/* No more processes: as another user, whom the limit binds. */
static void few_processes(void) {
    pid_t pid;
    int status = 0;
    if (method != CONC_PROCESS_FORK || CHECK_TSAN || CHECK_ASAN || emulated) return;
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        struct rlimit few;
        conc_procpool_desc d = of("lonely");
        conc_procpool *pool;
        check_failures = 0;
        check_watchdog();
        if (geteuid() == 0) {
            if (setgid(54321) != 0 || setuid(54321) != 0) {
                printf("    skipped: the limit does not bind root, and there is no becoming somebody else\n");
                exit(0);
            }
#if defined(__linux__)
            (void)prctl(PR_SET_DUMPABLE, 1L, 0L, 0L, 0L);
#endif
        } else if (getenv("CONC_TEST_LIMITS") == NULL) {
            printf("    skipped: other processes of this user count as well\n");
            exit(0);
        }
        few.rlim_cur = few.rlim_max = 6; /* this one, its pool's thread, four workers */
        if (setrlimit(RLIMIT_NPROC, &few) != 0) exit(0);
        pool = conc_procpool_new(12, &d);
        CHECK(pool == NULL);
        if (pool == NULL) CHECK_R(conc_error_result(), CONC_NO_THREADS);
        CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
        pool = conc_procpool_new(2, &d);
        if (CHECK(pool != NULL)) {
            int i;
            for (i = 0; i < 6; i++) {
                long worker;
                CHECK(goes_on(pool));
                UNTIL((worker = conc_procpool_pid(pool, 1 + (unsigned)i % 2)) != 0);
                CHECK(strike(worker));
            }
            /* Others take the places of those that end: replacements have to wait. (Not for long: a pool that gets no
             * worker at all for more than a second gives up.) */
            {
                pid_t others[8];
                int n = 0, k;
                for (i = 1; i <= 2; i++) {
                    long worker = conc_procpool_pid(pool, (unsigned)i);
                    if (worker != 0) CHECK(strike(worker));
                }
                for (i = 0; i < 10; i++) {
                    while (n < 8 && (others[n] = fork()) > 0) n++;
                    if (n < 8 && others[n] == 0) {
                        for (;;) pause();
                    }
                    pause_us(200);
                }
                CHECK(n < 8);
                for (k = 0; k < n; k++) {
                    (void)kill(others[k], SIGKILL);
                    (void)waitpid(others[k], NULL, 0);
                }
            }
            CHECK(goes_on(pool));
            (void)pool_end(pool);
        }
        fflush(NULL);
        _exit(check_failures != 0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (!CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0)) fprintf(stderr, "  status %x\n", (unsigned)status);
}

/* ---- Ctrl-C */

static volatile sig_atomic_t interrupted;
static void on_interrupt(int sig) {
    (void)sig;
    interrupted = 1;
}

static int waits_for_flag(void *arg) {
    (void)arg;
    book->flag = 1;
    UNTIL(book->flag == 2);
    return 0;
}

/* A program, in a process group of its own, whose output comes here. */
static void interrupted_program(bool handles) {
    conc_procpool_desc d = of("terminal");
    conc_procpool *pool;
    conc_future *f;
    long one, two;
    int x = 0;
    if (setpgid(0, 0) != 0) _exit(21);
    signal(SIGINT, handles ? on_interrupt : SIG_DFL);
    d.initialize = says_ready;
    pool = conc_procpool_new(2, &d);
    if (pool == NULL) _exit(22);
    one = conc_procpool_pid(pool, 1);
    two = conc_procpool_pid(pool, 2);
    f = conc_procpool_submit(pool, handles ? waits_for_flag : never_ends, &x, sizeof x);
    UNTIL(book->readies >= 2 || (book->ready[1] != 0 && book->ready[2] != 0));
    UNTIL(book->flag != 0);
    book->pid = (long)getpid();
    if (!handles) {
        for (;;) pause();
    }
    UNTIL(interrupted);
    book->flag = 2;
    if (conc_future_wait(f, PATIENCE) != CONC_OK) _exit(23);
    conc_future_release(f);
    if (conc_procpool_pid(pool, 1) != one || conc_procpool_pid(pool, 2) != two) _exit(24);
    if (!goes_on(pool)) _exit(25);
    if (conc_procpool_stats_of(pool).crashed != 0) _exit(26);
    if (conc_procpool_finish(pool) != CONC_OK) _exit(27);
    _exit(0);
}

static void interrupt(void) {
    int handles;
    if (CHECK_TSAN) return; /* (it holds signals back) */
    for (handles = 0; handles < 2; handles++) {
        int pipes[2], status = 0;
        char text[2000];
        ssize_t n;
        size_t length = 0;
        pid_t pid;
        clean_book();
        if (!CHECK(pipe(pipes) == 0)) return;
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
            check_watchdog();
            (void)dup2(pipes[1], 1);
            (void)dup2(pipes[1], 2);
            (void)close(pipes[0]);
            (void)close(pipes[1]);
            interrupted_program(handles != 0);
        }
        (void)close(pipes[1]);
        if (!CHECK(pid > 0)) return;
        UNTIL(book->pid != 0 || waitpid(pid, &status, WNOHANG) != 0);
        CHECK(kill(-pid, SIGINT) == 0);
        /* Nobody holds the other end any more: the whole family is gone. And none of it has said a word. */
        while ((n = read(pipes[0], text + length, sizeof text - 1 - length)) > 0 || (n < 0 && errno == EINTR)) length += n > 0 ? (size_t)n : 0;
        text[length] = '\0';
        CHECK_STR(text, "");
        CHECK(waitpid(pid, &status, 0) == pid);
        if (handles) CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        else CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
        if (handles && WIFEXITED(status) && WEXITSTATUS(status) != 0) fprintf(stderr, "  it said %d\n", WEXITSTATUS(status));
        while (!(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD)) pause_us(200);
        (void)close(pipes[0]);
    }
}

#endif

/* ---- all ------------------------------------------------------------------------------------------------------------------------------------- */

static const char *wanted; /* of all these, only those that have this in their names */
#define CASE(fn)                                                                                   \
    do {                                                                                           \
        if (wanted == NULL || strstr(#fn, wanted) != NULL) RUN(fn);                                \
    } while (0)

static void all(void) {
    /* What stays from the first time on is made now. */
    conc_procpool *pool = pool_new(1, NULL);
    long pid = 0;
    CHECK_OK(conc_procpool_call(pool, tells_pid, &pid, sizeof pid, NULL));
    CHECK_EQ(pid, conc_procpool_pid(pool, 1));
    (void)pool_end(pool);
    {
        conc_process *p;
        conc_process_desc d;
        int code;
        memset(&d, 0, sizeof d);
        d.method = method;
        p = conc_process_start(never_ends, NULL, 0, &d);
        CHECK_R(conc_process_join(p, &code, conc_after(0.01)), CONC_TIMEOUT);
        CHECK_OK(conc_process_kill(p));
        CHECK_R(conc_process_join(p, &code, PATIENCE), CONC_CRASHED);
    }
    CASE(refused);
    CASE(bad_alone);
    CASE(bad_among_good);
    CASE(bad_and_forgotten);
    CASE(hangs);
    CASE(memory);
    CASE(bad_beginnings);
#if !defined(_WIN32)
    CASE(stops_itself);
    CASE(forks_in_tasks);
    CASE(scribbles);
#endif
    CASE(map_with_crashes);
    CASE(imap_windows);
    CASE(imap_with_crashes);
    CASE(imap_closed_early);
    CASE(large_things);
    CASE(crowd);
    CASE(joins_in_callbacks);
    CASE(ends_at_random);
    CASE(kills_some);
    CASE(kills_and_stops);
    CASE(one_worker);
    CASE(few_tasks_each);
    CASE(map_in_a_storm);
    CASE(imap_in_a_storm);
    CASE(orphans);
#if !defined(_WIN32)
    CASE(sigchld_ignored);
    CASE(sigchld_handled);
    CASE(among_threads);
    CASE(few_descriptors);
    CASE(few_processes);
    CASE(interrupt);
#endif
}

#define REGISTER(fn) CHECK_OK(conc_process_register(#fn, fn))

int main(int argc, char **argv) {
    int i;
    open_book();
    emulated = getenv("CONC_TEST_EMULATED") != NULL;
    REGISTER(works);
    REGISTER(says_ready);
    REGISTER(one_misdeed);
    REGISTER(tells_pid);
    REGISTER(adds_one);
    REGISTER(holds);
    REGISTER(echoes_more);
    REGISTER(takes_all_memory);
    REGISTER(fails_to_begin);
    REGISTER(fails_once);
    REGISTER(crashes_at_first);
    REGISTER(delivers);
    REGISTER(turns);
    REGISTER(has_pool);
    REGISTER(never_ends);
#if !defined(_WIN32)
    REGISTER(waits_for_flag);
#endif
    CHECK_OK(conc_procpool_register_map("maps", maps));
    /* (An emulated program that is started anew would be one of the machine below.) */
    if (!emulated) conc_process_main(argc, argv);
    plenty = getenv("CONC_TEST_LONG") != NULL;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "long") == 0) plenty = true;
        else wanted = argv[i];
    }
    check_begin("procpool_storm");
#if !defined(_WIN32)
    {
        struct rlimit none;
        none.rlim_cur = none.rlim_max = 0;
        (void)setrlimit(RLIMIT_CORE, &none); /* there would be many */
    }
#if defined(__linux__)
    adopts = prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L) == 0;
#endif
    method = CONC_PROCESS_FORK;
    printf("forked:\n");
    all();
#endif
    if (!emulated) {
        method = CONC_PROCESS_SPAWN;
        printf("spawned:\n");
        all();
    }
    return check_end();
}
