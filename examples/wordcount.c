/* wordcount.c: how often each word occurs in all the files under a directory, counted by all processors.
 *
 * One thread (main) walks the tree and puts the names of the files into a bounded queue; the others take them
 * out and count, each into a table of its own, so that nothing has to be locked; then the tables are merged.
 *
 * A word is a run of letters A-Z and a-z, case ignored: what this prints for each file:
 *     tr -cs A-Za-z '\n' < file | tr A-Z a-z
 * What is named .git, or as said with -x, is left out; symbolic links are not followed. What cannot be read
 * is reported, and then the program ends with 1.
 *
 * Compile and run:  cc -O2 -I.. wordcount.c -pthread -o wordcount && ./wordcount ..
 * Usage:            wordcount [-a] [-x NAME]... [DIRECTORY]
 *                   -a: all words, in order, instead of the top ten. Default directory: .
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

static void need(bool ok) { /* for what fails only if the machine has no memory left */
    if (ok) return;
    fprintf(stderr, "wordcount: %s\n", conc_error_result() ? conc_error_detail() : strerror(errno));
    exit(2);
}

/* ---- a table of words: open addressing, a power of two of places, at most half of them used ---- */

typedef struct entry {
    char *word; /* NULL: a free place */
    size_t count;
} entry;

typedef struct table {
    entry *at;
    size_t places, used;
} table;

static entry *find(const table *t, const char *word, size_t length) {
    size_t h = 2166136261u;
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)word[i]) * 16777619u;
    for (h ^= h >> 15;; h++) {
        entry *e = &t->at[h & (t->places - 1)];
        if (e->word == NULL || (strncmp(e->word, word, length) == 0 && e->word[length] == '\0')) return e;
    }
}

static void add(table *t, const char *word, size_t length, size_t count) {
    if (t->used >= t->places / 2) {
        table bigger = {.places = t->places > 0 ? t->places * 2 : 1024, .used = t->used};
        need((bigger.at = calloc(bigger.places, sizeof(entry))) != NULL);
        for (size_t i = 0; i < t->places; i++)
            if (t->at[i].word != NULL) *find(&bigger, t->at[i].word, strlen(t->at[i].word)) = t->at[i];
        free(t->at);
        *t = bigger;
    }
    entry *e = find(t, word, length);
    if (e->word == NULL) {
        need((e->word = malloc(length + 1)) != NULL);
        memcpy(e->word, word, length);
        e->word[length] = '\0';
        t->used++;
    }
    e->count += count;
}

/* ---- what could not be read: any thread says so, main reports ---- */

typedef struct failure {
    char *path;
    int error;
} failure;

static conc_queue *paths, *failures;

static void failed(const char *path, int error) {
    failure f = {strdup(path), error};
    need(f.path != NULL && conc_queue_put(failures, &f, CONC_FOREVER) == CONC_OK);
}

/* ---- the counting threads ---- */

typedef struct counter {
    conc_thread *thread;
    table words;
    size_t files, total;
    char *word; /* the one being read, of any length */
    size_t length, room;
} counter;

static void end_of_word(counter *c) {
    if (c->length == 0) return;
    add(&c->words, c->word, c->length, 1);
    c->total++;
    c->length = 0;
}

static void count_file(counter *c, const char *path) {
    char buffer[16384];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        failed(path, errno);
        return;
    }
    setvbuf(f, NULL, _IONBF, 0); /* our own buffer is enough */
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0) {
        for (size_t i = 0; i < n; i++) {
            int letter = buffer[i] | 32; /* in ASCII: makes A-Z a-z, and makes nothing else a-z */
            if (letter < 'a' || letter > 'z') {
                end_of_word(c);
                continue;
            }
            if (c->length == c->room) need((c->word = realloc(c->word, c->room = 2 * c->room + 64)) != NULL);
            c->word[c->length++] = (char)letter;
        }
    }
    if (ferror(f)) failed(path, errno);
    end_of_word(c);
    fclose(f);
    c->files++;
}

static int count(void *arg) {
    counter *c = arg;
    CONC_FOR_QUEUE(char *, path, paths) {
        count_file(c, path);
        free(path); /* main made it; what comes out of a queue belongs to the one who took it */
    }
    free(c->word);
    return 0;
}

/* ---- the walking thread ---- */

static const char **skip; /* names to leave out; ends with NULL */

static bool skipped(const char *name) {
    for (const char **s = skip; *s != NULL; s++)
        if (strcmp(name, *s) == 0) return true;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void walk(const char *directory) {
    DIR *d = opendir(directory);
    if (d == NULL) {
        failed(directory, errno);
        return;
    }
    struct dirent *e;
    while (errno = 0, (e = readdir(d)) != NULL) {
        if (skipped(e->d_name)) continue;
        struct stat s;
        size_t room = strlen(directory) + strlen(e->d_name) + 2;
        char *path = malloc(room);
        need(path != NULL);
        snprintf(path, room, "%s/%s", directory, e->d_name);
        if (lstat(path, &s) != 0) {
            failed(path, errno);
        } else if (S_ISDIR(s.st_mode)) {
            walk(path);
        } else if (S_ISREG(s.st_mode)) {
            need(conc_queue_put(paths, &path, CONC_FOREVER) == CONC_OK); /* waits while it is full */
            continue;
        }
        free(path);
    }
    if (errno != 0) failed(directory, errno);
    closedir(d);
}

/* ---- all together ---- */

static int by_word(const void *a, const void *b) {
    return strcmp(((const entry *)a)->word, ((const entry *)b)->word);
}

static int by_count(const void *a, const void *b) {
    const entry *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : by_word(a, b);
}

int main(int argc, char **argv) {
    const char *directory = ".";
    bool all = false;
    size_t skips = 1;
    need((skip = calloc((size_t)argc + 2, sizeof *skip)) != NULL);
    skip[0] = ".git";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-a") == 0) all = true;
        else if (strcmp(argv[i], "-x") == 0 && i + 1 < argc) skip[skips++] = argv[++i];
        else if (argv[i][0] != '-' && i == argc - 1) directory = argv[i];
        else {
            fprintf(stderr, "usage: wordcount [-a] [-x NAME]... [DIRECTORY]\n");
            return 2;
        }
    }

    unsigned n = conc_cpu_count();
    counter *counters = calloc(n, sizeof *counters);
    need(counters != NULL);
    need((paths = conc_queue_new(sizeof(char *), 64)) != NULL);
    need((failures = conc_queue_new(sizeof(failure), 0)) != NULL);
    for (unsigned i = 0; i < n; i++)
        need((counters[i].thread = conc_thread_start(count, &counters[i], NULL)) != NULL);
    walk(directory);
    conc_queue_close(paths);

    table words = {0};
    size_t files = 0, total = 0, unread = 0;
    for (unsigned i = 0; i < n; i++) {
        counter *c = &counters[i];
        need(conc_thread_join(c->thread, NULL, CONC_FOREVER) == CONC_OK);
        for (size_t k = 0; k < c->words.places; k++) {
            entry *e = &c->words.at[k];
            if (e->word != NULL) add(&words, e->word, strlen(e->word), e->count);
            free(e->word);
        }
        free(c->words.at);
        files += c->files;
        total += c->total;
    }
    failure f;
    while (conc_queue_get(failures, &f, CONC_NOW) == CONC_OK) {
        fprintf(stderr, "wordcount: cannot read %s: %s\n", f.path, strerror(f.error));
        free(f.path);
        unread++;
    }
    if (unread > 0) fprintf(stderr, "wordcount: %zu not read to the end: words are missing\n", unread);

    size_t shown = 0;
    for (size_t k = 0; k < words.places; k++) /* the used places to the front, to sort them */
        if (words.at[k].word != NULL) words.at[shown++] = words.at[k];
    if (shown > 0) qsort(words.at, shown, sizeof(entry), all ? by_word : by_count);
    if (!all) printf("%zu files, %zu words, %zu different, %u threads\n", files, total, words.used, n);
    for (size_t k = 0; k < shown; k++) {
        if (all || k < 10) printf(all ? "%zu %s\n" : "%7zu %s\n", words.at[k].count, words.at[k].word);
        free(words.at[k].word);
    }
    free(words.at);
    free(counters);
    free(skip);
    conc_queue_free(paths);
    conc_queue_free(failures);
    return unread > 0 ? 1 : 0;
}
