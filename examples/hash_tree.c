/* hash_tree.c: the checksum of each file under a directory, computed by all processors.
 *
 * A task looks at one name. If it is a directory's, it starts a task for each name in it; if it is a file's, it reads
 * that. All of them are in one group, and main waits for the group.
 *
 * Prints, in the order of the paths, what cksum(1) prints for each: CRC, size, path. What is named .git or build is
 * left out; symbolic links are not followed. What cannot be read is reported, and then the program ends with 1. On a
 * terminal, it says now and then how far it is.
 *
 * Compile and run:  cc -O2 -I.. hash_tree.c -pthread -o hash_tree && ./hash_tree ..
 */
#define _POSIX_C_SOURCE 200809L
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct file {
    char *path;
    uint64_t size;
    uint32_t crc;
} file;

static conc_pool_group tasks;
static uint32_t table[256]; /* of the CRC: one byte at a time */

static conc_mutex lock; /* guards what has been found: */
static file *files;
static size_t count, room, unread;

static void need(bool ok) { /* for what fails only if the machine has no memory left */
    if (ok) return;
    fprintf(stderr, "hash_tree: %s\n", conc_error_result() ? conc_error_detail() : strerror(errno));
    exit(2);
}

/* ---- a file ---- */

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i << 24;
        for (int bit = 0; bit < 8; bit++) table[i] = table[i] << 1 ^ (table[i] >> 31 ? 0x04c11db7u : 0);
    }
}

static uint32_t update(uint32_t crc, unsigned char byte) {
    return crc << 8 ^ table[crc >> 24 ^ byte];
}

static bool read_file(const char *path) {
    unsigned char buffer[16384];
    size_t n;
    file it = {NULL, 0, 0};
    FILE *f = fopen(path, "rb");
    if (f == NULL) return false;
    setvbuf(f, NULL, _IONBF, 0); /* our own buffer is enough */
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0) {
        for (size_t i = 0; i < n; i++) it.crc = update(it.crc, buffer[i]);
        it.size += n;
    }
    bool failed = ferror(f) != 0;
    fclose(f);
    if (failed) return false;
    for (uint64_t rest = it.size; rest > 0; rest >>= 8) it.crc = update(it.crc, rest & 255); /* its size, too */
    it.crc = ~it.crc;
    need((it.path = strdup(path)) != NULL);
    CONC_WITH_LOCK(&lock) {
        if (count == room) need((files = realloc(files, (room = 2 * room + 64) * sizeof *files)) != NULL);
        files[count++] = it;
    }
    return true;
}

/* ---- a directory ---- */

static int look_at(void *arg);

static bool read_directory(const char *path) {
    struct dirent *e;
    DIR *d = opendir(path);
    if (d == NULL) return false;
    while (errno = 0, (e = readdir(d)) != NULL) {
        const char *name = e->d_name;
        if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, ".git") || !strcmp(name, "build")) continue;
        size_t length = strlen(path) + strlen(name) + 2;
        char *child = malloc(length);
        need(child != NULL);
        snprintf(child, length, "%s/%s", path, name);
        need(conc_pool_group_run(&tasks, look_at, child) == CONC_OK);
    }
    int error = errno;
    closedir(d);
    errno = error;
    return error == 0;
}

/* ---- a task ---- */

static int look_at(void *arg) {
    char *path = arg; /* the task's own */
    struct stat s;
    bool done = lstat(path, &s) == 0;
    if (done && S_ISREG(s.st_mode)) done = read_file(path);
    else if (done && S_ISDIR(s.st_mode)) done = read_directory(path);
    if (!done) {
        fprintf(stderr, "hash_tree: cannot read %s: %s\n", path, strerror(errno));
        CONC_WITH_LOCK(&lock) unread++;
    }
    free(path);
    return 0;
}

static int progress(void *arg) {
    (void)arg;
    CONC_WITH_LOCK(&lock) fprintf(stderr, "\r%zu files ", count);
    return 0;
}

/* ---- all together ---- */

static int by_path(const void *a, const void *b) {
    return strcmp(((const file *)a)->path, ((const file *)b)->path);
}

int main(int argc, char **argv) {
    bool terminal = isatty(STDERR_FILENO);
    conc_pool *pool = conc_pool_new(NULL);
    char *top = strdup(argc > 1 ? argv[1] : ".");
    need(pool != NULL && top != NULL);
    make_table();
    if (terminal) /* nobody will ask for the future: it is given back at once */
        conc_future_release(conc_pool_every(pool, progress, NULL, conc_after(0.1), 0.1, false));

    need(conc_pool_group_begin(&tasks, pool) == CONC_OK);
    need(conc_pool_group_run(&tasks, look_at, top) == CONC_OK);
    conc_pool_group_end(&tasks); /* all that they have started, too, has ended */
    conc_pool_finish(pool); /* which ends what is done every 0.1 s */

    if (terminal) fputs("\r", stderr);
    if (count > 0) qsort(files, count, sizeof *files, by_path);
    for (size_t i = 0; i < count; i++) {
        printf("%lu %llu %s\n", (unsigned long)files[i].crc, (unsigned long long)files[i].size, files[i].path);
        free(files[i].path);
    }
    free(files);
    return unread > 0 ? 1 : 0;
}
