/* image_filter.c: blurs pictures, each in a process: what reads files from anywhere may crash, and takes only its own
 * picture with it.
 *
 * Each FILE is a picture in the format PPM (P6, up to 255); the blurred one goes to FILE.blurred. A task gets a path, and
 * gives back as many bytes as its result has, which nobody knows before: conc_procpool_reply(). What goes wrong is one
 * of these results, too. No more than a few pictures are on their way at a time, however many there are.
 *
 * In Python:
 *     with Pool() as pool:
 *         for path, picture in zip(paths, pool.imap(blur_file, paths)): write(path + ".blurred", picture)
 *
 * Compile and run:  cc -O2 -I.. image_filter.c -pthread -o image_filter && ./image_filter FILE.ppm ...
 * With -s it does all of it itself, one after the other. Without a file it makes three pictures here, and takes these.
 * It ends with 1 if one could not be done.
 *
 * Prints, without a file:
 *     image_filter-1.ppm: 640 x 480, 921615 bytes
 *     image_filter-2.ppm: 33 x 1000, 99015 bytes
 *     image_filter-3.ppm: 1 x 1, 14 bytes
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RADIUS = 3, TIMES = 3, AHEAD = 16, LARGEST = 1 << 28 };

typedef struct picture {
    size_t width, height;
    unsigned char *rgb;
} picture;

/* ---- the format ---- */

static bool read_number(FILE *f, size_t *n) { /* after white space and comments; it ends with one white space */
    int c = getc(f);
    while (c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '#') {
        if (c == '#')
            while (c != '\n' && c != EOF) c = getc(f);
        c = getc(f);
    }
    for (*n = 0; c >= '0' && c <= '9' && *n < LARGEST; c = getc(f)) *n = *n * 10 + (size_t)(c - '0');
    return *n > 0 && (c == ' ' || c == '\n' || c == '\t' || c == '\r');
}

static const char *read_picture(const char *path, picture *p) { /* NULL, or what is wrong */
    size_t most;
    const char *wrong = NULL;
    FILE *f = fopen(path, "rb");
    if (f == NULL) return strerror(errno);
    if (getc(f) != 'P' || getc(f) != '6' || !read_number(f, &p->width) || !read_number(f, &p->height) ||
        !read_number(f, &most)) {
        wrong = "not a PPM picture";
    } else if (most != 255 || p->width > LARGEST / 3 / p->height) {
        wrong = "too large, or not with one byte for each colour";
    } else if ((p->rgb = malloc(3 * p->width * p->height)) == NULL) {
        wrong = "out of memory";
    } else if (fread(p->rgb, 3 * p->width, p->height, f) != p->height) {
        wrong = "cut off";
    }
    fclose(f);
    return wrong;
}

static bool write_file(const char *path, const void *data, size_t size) {
    FILE *f = fopen(path, "wb");
    if (f == NULL) return false;
    bool done = fwrite(data, 1, size, f) == size;
    return fclose(f) == 0 && done;
}

/* ---- the filter ---- */

/* One colour of a line of n pixels, `step` bytes apart: each becomes the mean of those around it. */
static void blur_line(const unsigned char *from, unsigned char *to, size_t n, size_t step) {
    unsigned sum = 0, count = 0;
    for (size_t i = 0; i < n + RADIUS; i++) {
        if (i < n) sum += from[i * step], count++;
        if (i > 2 * RADIUS) sum -= from[(i - 2 * RADIUS - 1) * step], count--;
        if (i >= RADIUS) to[(i - RADIUS) * step] = (unsigned char)((sum + count / 2) / count);
    }
}

static bool blur(picture *p) {
    size_t line = 3 * p->width;
    unsigned char *other = malloc(line * p->height);
    if (other == NULL) return false;
    for (int k = 0; k < TIMES; k++) {
        for (size_t y = 0; y < p->height; y++)
            for (size_t c = 0; c < 3; c++) blur_line(p->rgb + y * line + c, other + y * line + c, p->width, 3);
        for (size_t x = 0; x < line; x++) blur_line(other + x, p->rgb + x, p->height, line);
    }
    free(other);
    return true;
}

/* ---- one file ---- */

typedef conc_result (*give)(const void *data, size_t size); /* takes a part of a result */

static int blur_file(const char *path, give result) { /* 0: gives the new file; else a sentence */
    picture p = {0, 0, NULL};
    char head[64];
    const char *wrong = read_picture(path, &p);
    if (wrong == NULL && !blur(&p)) wrong = "out of memory";
    if (wrong != NULL) {
        result(wrong, strlen(wrong));
    } else {
        result(head, (size_t)snprintf(head, sizeof head, "P6\n%zu %zu\n255\n", p.width, p.height));
        result(p.rgb, 3 * p.width * p.height);
    }
    free(p.rgb);
    return wrong != NULL;
}

static int task(void *arg) {
    return blur_file(arg, conc_procpool_reply);
}

/* ---- all of them ---- */

static bool ended(const char *path, conc_result r, const char *data, size_t size, const char *detail) {
    char *name = malloc(strlen(path) + sizeof ".blurred"), head[32] = "";
    size_t width, height;
    bool done = false;
    if (r == CONC_FAILED && size > 0) {
        fprintf(stderr, "image_filter: %s: %.*s\n", path, (int)size, data);
    } else if (r != CONC_OK || name == NULL) {
        fprintf(stderr, "image_filter: %s: %s\n", path, r != CONC_OK ? detail : "out of memory");
    } else {
        strcat(strcpy(name, path), ".blurred");
        memcpy(head, data, size < sizeof head ? size : sizeof head - 1);
        done = sscanf(head, "P6 %zu %zu", &width, &height) == 2 && write_file(name, data, size);
        if (done) printf("%s: %zu x %zu, %zu bytes\n", path, width, height, size);
        else fprintf(stderr, "image_filter: cannot write %s: %s\n", name, strerror(errno));
    }
    free(name);
    return done;
}

static struct { /* for -s */
    char *data;
    size_t size;
} all;

static conc_result keep(const void *data, size_t size) {
    char *more = realloc(all.data, all.size + size);
    if (more == NULL) return CONC_NO_MEMORY;
    all.data = more;
    memcpy(all.data + all.size, data, size);
    all.size += size;
    return CONC_OK;
}

static bool in_turn(char **paths, int n) {
    bool good = true;
    for (int i = 0; i < n; i++) {
        int code = blur_file(paths[i], keep);
        good &= ended(paths[i], code == 0 ? CONC_OK : CONC_FAILED, all.data, all.size, "");
        free(all.data);
        all.data = NULL;
        all.size = 0;
    }
    return good;
}

static bool in_processes(char **paths, int n) {
    const conc_procpool_task path_only = {.copy = true}; /* nothing is to come back to the path */
    conc_future *futures[AHEAD];
    bool good = true;
    conc_procpool *pool = conc_procpool_new(0, NULL);
    if (pool == NULL) return fprintf(stderr, "image_filter: %s\n", conc_error_detail()), false;
    for (int i = 0; i < n + AHEAD; i++) {
        if (i >= AHEAD && i - AHEAD < n) { /* the result of the picture that is 16 before this one */
            conc_future *f = futures[i % AHEAD];
            size_t size = 0;
            conc_result r = conc_future_wait(f, CONC_FOREVER);
            const char *data = conc_procpool_replied(f, &size);
            good &= ended(paths[i - AHEAD], r, data, size, f != NULL ? conc_future_detail(f) : conc_strerror(r));
            conc_future_release(f); /* and with it what the task has replied */
        }
        if (i < n) futures[i % AHEAD] = conc_procpool_submit_ex(pool, task, paths[i], strlen(paths[i]) + 1, &path_only);
    }
    return conc_procpool_finish(pool) == CONC_OK && good;
}

/* ---- pictures to begin with ---- */

static bool make(const char *path, size_t width, size_t height) { /* rings */
    char head[64];
    size_t length = (size_t)snprintf(head, sizeof head, "P6\n%zu %zu\n255\n", width, height), at = length;
    unsigned char *file = malloc(length + 3 * width * height);
    if (file == NULL) return false;
    memcpy(file, head, length);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 1; c <= 3; c++) file[at++] = (unsigned char)((x * x + y * y) / (64 * c));
    bool done = write_file(path, file, at);
    free(file);
    return done;
}

int main(int argc, char **argv) {
    static char *samples[] = {"image_filter-1.ppm", "image_filter-2.ppm", "image_filter-3.ppm"};
    conc_process_register("task", task);
    conc_process_main(argc, argv);

    bool serial = argc > 1 && strcmp(argv[1], "-s") == 0;
    char **paths = argv + 1 + serial;
    int n = argc - 1 - serial;
    if (n == 0) {
        paths = samples;
        n = 3;
        if (!make(paths[0], 640, 480) || !make(paths[1], 33, 1000) || !make(paths[2], 1, 1)) {
            return fprintf(stderr, "image_filter: cannot make its pictures here: %s\n", strerror(errno)), 1;
        }
    }
    return (serial ? in_turn : in_processes)(paths, n) ? 0 : 1;
}
