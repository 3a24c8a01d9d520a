/* What conc.h costs at compile time and in the linked program. The protocol is told in bench.h; besides:
 *     BENCH_CC    the C compiler (default cc)
 *     BENCH_CONC  the directory of conc.h
 *     BENCH_DIR   where files may be written
 * Times are the best of five, less that of an empty file compiled in turn with it. */

#define _POSIX_C_SOURCE 200809L
#include "bench.h"

static const char *text_env(const char *name, const char *otherwise) {
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? text : otherwise;
}

static void write_file(const char *name, const char *text) {
    char path[1000];
    FILE *f;
    snprintf(path, sizeof path, "%s/%s", text_env("BENCH_DIR", "."), name);
    f = fopen(path, "w");
    BENCH_CHECK(f != NULL);
    BENCH_CHECK(fputs(text, f) >= 0);
    BENCH_CHECK(fclose(f) == 0);
}

/* Seconds that `cc options NAME` takes. */
static double compile(const char *options, const char *name) {
    char command[4000];
    double start;
    snprintf(command, sizeof command, "cd '%s' && %s -std=gnu99 -I'%s' %s %s", text_env("BENCH_DIR", "."),
             text_env("BENCH_CC", "cc"), text_env("BENCH_CONC", "."), options, name);
    start = bench_clock();
    BENCH_CHECK(system(command) == 0);
    return bench_clock() - start;
}

static double best_time(const char *options, const char *text) {
    double best = 1e9, empty = 1e9, t;
    int i;
    write_file("size_one.c", text);
    write_file("size_empty.c", "int size_empty;\n");
    for (i = 0; i < 5; i++) {
        t = compile(options, "size_empty.c");
        if (t < empty) empty = t;
        t = compile(options, "size_one.c");
        if (t < best) best = t;
    }
    return best - empty;
}

static void include_run(const bench_case *c) {
    static const char *const texts[] = {"#include \"conc.h\"\nint x;\n", "#include <pthread.h>\nint x;\n",
                                        "#include <stdio.h>\n#include <stdlib.h>\nint x;\n"};
    bench_print(c, best_time("-c -O2 -o size_one.o", texts[c->a]) * 1e3, "ms", "");
}

static void implementation_run(const bench_case *c) {
    bench_print(c, best_time(c->a == 2 ? "-c -O2 -o size_one.o" : "-c -O0 -o size_one.o",
                             "#define CONC_IMPLEMENTATION\n#include \"conc.h\"\n") * 1e3, "ms", "");
}

/* text + data of a linked program */
static double linked(const char *options, const char *text) {
    char command[2000], line[500];
    double code = 0, data = 0;
    int found = 0;
    FILE *f;
    write_file("size_one.c", text);
    snprintf(line, sizeof line, "%s -pthread -o size_one", options);
    compile(line, "size_one.c");
    snprintf(command, sizeof command, "size '%s/size_one'", text_env("BENCH_DIR", "."));
    f = popen(command, "r");
    BENCH_CHECK(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) found |= sscanf(line, "%lf %lf", &code, &data) == 2;
    BENCH_CHECK(pclose(f) == 0 && found);
    return code + data;
}

#define SIZE_GC "-O2 -ffunction-sections -fdata-sections -Wl,--gc-sections"
#define SIZE_MUTEX                                                                                 \
    "#define CONC_IMPLEMENTATION\n#include \"conc.h\"\n"                                           \
    "static conc_mutex m;\nint n;\n"                                                               \
    "int main(void) {\n    if (conc_mutex_lock(&m, CONC_FOREVER) != CONC_OK) return 1;\n"                           \
    "    n++;\n    return conc_mutex_unlock(&m);\n}\n"
#define SIZE_NOTHING "int n;\nint main(void) { n++; return 0; }\n"

static void linked_run(const bench_case *c) {
    const char *options = c->a ? SIZE_GC : "-O2";
    bench_print(c, (linked(options, SIZE_MUTEX) - linked(options, SIZE_NOTHING)) / 1024, "KiB", "");
}

static const bench_case cases[] = {
    {"size", "compile the #include", "conc", include_run, 0, 0},
    {"size", "compile the #include", "pthread.h", include_run, 1, 0},
    {"size", "compile the #include", "stdio.h and stdlib.h", include_run, 2, 0},
    {"size", "compile the implementation, -O2", "conc", implementation_run, 2, 0},
    {"size", "compile the implementation, -O0", "conc", implementation_run, 0, 0},
    {"size", "linked, only a mutex used, sections collected", "conc", linked_run, 1, 0},
    {"size", "linked, everything", "conc", linked_run, 0, 0},
};

BENCH_MAIN(cases)
