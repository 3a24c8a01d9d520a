/* Runs a program and says what it took.
 *
 *     downloads_meter SECONDS LOG program argument ...
 *
 * Prints the seconds it took, the processor's seconds of it and of its children (that it waited for), the most memory it had at a time
 * (MiB, of its largest process, "largest"), the most of all its processes together (MiB: sampled, shared pages in shares, "all"), and
 * how it ended: 0, or another number. After SECONDS it is killed with all of its group. What it says goes to LOG.
 * Small itself: what it has at the fork counts as the child's. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

/* The children of a process: KiB of their share of memory; how many. */
static long children_of(int pid, int *count) {
    char path[64], line[256];
    long sum = 0;
    int child;
    FILE *f, *g;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    f = fopen(path, "r");
    if (f == NULL) return 0;
    while (fscanf(f, "%d", &child) == 1) {
        ++*count;
        sum += children_of(child, count);
        (void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", child);
        g = fopen(path, "r");
        while (g != NULL && fgets(line, sizeof line, g) != NULL) {
            if (strncmp(line, "Pss:", 4) == 0) sum += atol(line + 4);
        }
        if (g != NULL) fclose(g);
    }
    fclose(f);
    return sum;
}

static void on_child(int signal_number) {
    (void)signal_number;
}

int main(int argc, char **argv) {
    struct rusage usage;
    double start, took;
    int child, status, killed = 0;
    long all = 0;
    struct sigaction action;
    sigset_t chld;
    if (argc < 4) return 2;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_child;
    sigaction(SIGCHLD, &action, NULL);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    start = now();
    child = fork();
    if (child == 0) {
        int log = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
        setpgid(0, 0);
        sigprocmask(SIG_UNBLOCK, &chld, NULL);
        if (log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(126);
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    if (child < 0) return 1;
    while (wait4(child, &status, WNOHANG, &usage) == 0) { /* (blocked, SIGCHLD does not come between this and the wait) */
        struct timespec tick = {0, 200000000};
        if (sigtimedwait(&chld, NULL, &tick) < 0) {
            int count = 0;
            long sum = children_of(child, &count);
            if (count > 0) { /* the program itself is one of ours */
                int ours = 0;
                sum = children_of((int)getpid(), &ours);
                if (sum > all) all = sum;
            }
            if (now() - start > atof(argv[1]) && !killed) {
                kill(-child, SIGKILL);
                killed = 1;
            }
        }
    }
    took = now() - start;
    if (all < usage.ru_maxrss) all = usage.ru_maxrss;
    printf("%.3f %.3f %.1f %.1f %d\n", took, seconds(usage.ru_utime) + seconds(usage.ru_stime),
           (double)usage.ru_maxrss / 1024, (double)all / 1024,
           killed              ? 998
           : WIFEXITED(status) ? WEXITSTATUS(status)
                               : 1000 + WTERMSIG(status));
    return 0;
}
