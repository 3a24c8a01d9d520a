/* Peer: master and worker with MPI: two processes, of which one hands out. They never sleep. The program starts itself anew under mpirun. */

#define _POSIX_C_SOURCE 200809L
#include "procpool_cases.h"

#include <mpi.h>
#include <unistd.h>

enum { STOP = 9 };
static char block[PROCPOOL_BYTES];
static int window, answers[16];

static void worker(void) { /* gives back what it gets */
    MPI_Status s;
    for (;;) {
        int n;
        MPI_Recv(block, sizeof block, MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &s);
        if (s.MPI_TAG == STOP) return;
        MPI_Get_count(&s, MPI_BYTE, &n);
        MPI_Send(block, n, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    }
}

static double windows(void) {
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_TRIPS + window; i++) {
        if (i >= window) MPI_Recv(&answers[i % window], sizeof(int), MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        if (i < PROCPOOL_TRIPS) MPI_Send(&i, sizeof i, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
    }
    return bench_clock() - start;
}
static double bytes(void) {
    double start = bench_clock();
    int i;
    for (i = 0; i < PROCPOOL_BLOCKS; i++) {
        MPI_Send(block, sizeof block, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
        MPI_Recv(block, sizeof block, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    return bench_clock() - start;
}

static char *program;
static char *command(char **arguments) { /* under mpirun */
    static char line[1000];
    size_t n = (size_t)snprintf(line, sizeof line, "mpirun --oversubscribe -np 2 %s", program);
    for (; *arguments != NULL && n < sizeof line; arguments++) n += (size_t)snprintf(line + n, sizeof line - n, " '%s'", *arguments);
    return n < sizeof line ? line : NULL;
}
static double start_stop(void) {
    static char start_word[] = "start";
    char *arguments[] = {start_word, NULL};
    double start = bench_clock();
    BENCH_CHECK(system(command(arguments)) == 0);
    return bench_clock() - start;
}

static void one_run(const bench_case *c) {
    window = 1;
    procpool_print_trip(c, PROCPOOL_TRIPS, bench_turns(windows));
}
static void window_run(const bench_case *c) {
    window = 16;
    procpool_print_rate(c, PROCPOOL_TRIPS, bench_turns(windows));
}
static void trip_run(const bench_case *c) { procpool_print_bytes(c, bench_turns(bytes)); }
static void start_run(const bench_case *c) { bench_print(c, bench_turns(start_stop) * 1e3, "ms", ""); }

static const bench_case cases[] = {
    PROCPOOL_ONE_CASE("Open MPI", one_run, 0),
    PROCPOOL_WINDOW_CASE("Open MPI", window_run, 0, 0),
    PROCPOOL_TRIP_CASE(1, "Open MPI", trip_run),
    PROCPOOL_START_CASE("Open MPI", start_run, 0),
};

int main(int argc, char **argv) {
    int rank, i = 0, code;
    program = argv[0];
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    if (getenv("OMPI_COMM_WORLD_RANK") == NULL) {
        if (argc != 5 || strncmp(argv[3], "start", 5) == 0) return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
        return system(command(argv + 1)) != 0;
    }
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank != 0) {
        worker();
        code = 0;
    } else {
        if (argc == 2) { /* "start": one task */
            MPI_Send(&i, sizeof i, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
            MPI_Recv(&i, sizeof i, MPI_BYTE, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            code = 0;
        } else {
            code = bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
        }
        MPI_Send(&i, sizeof i, MPI_BYTE, 1, STOP, MPI_COMM_WORLD);
    }
    MPI_Finalize();
    return code;
}
