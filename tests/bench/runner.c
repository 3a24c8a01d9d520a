/* Runs one measurement and looks whether the machine was quiet meanwhile:
 *     runner SECONDS program argument ...
 * passes on what the program prints, with " others=X" at the end of the line: how many processors somebody else
 * kept busy during it. If that is more than BENCH_OTHERS (default 0.2) it is measured again, at most BENCH_TRIES
 * (default 3) times in all and not after BENCH_UNTIL (seconds since 1970), and the quietest one counts. Before it
 * does it again it waits for 0.1 s of quiet, at most BENCH_PATIENCE (default 2) seconds. The program is killed
 * after SECONDS. Where there is no /proc/stat it is measured once. */

#define _DEFAULT_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double env(const char *name, double otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? atof(text) : otherwise;
}

/* Processor seconds that the whole machine has been busy; < 0: unknown. */
static double machine_busy(void) {
    double v[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    int n;
    if (f == NULL) return -1;
    n = fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    fclose(f);
    return n < 4 ? -1 : (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double)sysconf(_SC_CLK_TCK);
}

/* Into `text`; 0 if it went well. */
static int run(char **command, double limit, char *text, size_t size) {
    double end = now() + limit;
    size_t length = 0;
    int ends[2], status = 1, killed = 0;
    pid_t child;
    if (pipe(ends) != 0) return 1;
    child = fork();
    if (child < 0) return 1;
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    close(ends[1]);
    for (;;) {
        struct pollfd p;
        double left = end - now();
        ssize_t n;
        p.fd = ends[0];
        p.events = POLLIN;
        if (left <= 0 || length + 1 >= size || poll(&p, 1, (int)(left * 1000) + 1) == 0) {
            kill(child, SIGKILL);
            killed = 1;
            break;
        }
        n = read(ends[0], text + length, size - 1 - length);
        if (n <= 0) break;
        length += (size_t)n;
    }
    text[length] = '\0';
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0) {
    }
    if (killed) fprintf(stderr, "runner: killed after %g s\n", limit);
    return killed || status != 0;
}

static void wait_for_quiet(double allowed, double patience) {
    double start = now(), busy, before;
    do {
        before = now();
        busy = machine_busy();
        usleep(100000);
    } while ((machine_busy() - busy) / (now() - before) > allowed && now() - start < patience);
}

static double children_cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

int main(int argc, char **argv) {
    static char text[4096], best[4096];
    double least = 1e9, allowed = env("BENCH_OTHERS", 0.2), until = env("BENCH_UNTIL", 1e18);
    int tries = (int)env("BENCH_TRIES", 3), i;
    if (argc < 3) {
        fprintf(stderr, "usage: runner SECONDS program argument ...\n");
        return 2;
    }
    for (i = 0; i < tries; i++) {
        double start, busy, cpu, others;
        if (i > 0) wait_for_quiet(allowed, env("BENCH_PATIENCE", 2));
        start = now();
        busy = machine_busy();
        cpu = children_cpu();
        if (run(argv + 2, atof(argv[1]), text, sizeof text) != 0) {
            fprintf(stderr, "runner: failed:");
            for (i = 2; i < argc; i++) fprintf(stderr, " '%s'", argv[i]);
            fprintf(stderr, "\n");
            return 1;
        }
        others = busy < 0 ? 0 : (machine_busy() - busy - (children_cpu() - cpu)) / (now() - start);
        if (others < 0) others = 0;
        if (others < least) {
            least = others;
            memcpy(best, text, sizeof best);
        }
        if (least <= allowed || (double)time(NULL) >= until) break;
    }
    best[strcspn(best, "\n")] = '\0';
    printf("%s%sothers=%.2f\n", best, strlen(best) > 0 && best[strlen(best) - 1] == '\t' ? "" : " ", least);
    return 0;
}
