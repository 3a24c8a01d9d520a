/* How much memory the process has in use (resident), in bytes; 0 where there is no /proc. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H
#include <stdio.h>
#include <unistd.h>
static double memory_rss(void) {
    double size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) return 0;
    if (fscanf(f, "%lf %lf", &size, &resident) != 2) resident = 0;
    fclose(f);
    return resident * (double)sysconf(_SC_PAGESIZE);
}
#endif
