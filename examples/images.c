/* images.c: makes pictures to serve and to fetch: Julia sets in a directory, 01.png, 02.png and so on, drawn by all processors.
 *
 * They are computed in whole numbers, so they are the same on every machine.
 *
 * In Python:
 *     with Pool() as pool: pool.map(draw, range(n))
 *
 * Compile and run:  cc -O2 -I.. images.c -pthread -o images && ./images pictures
 * Usage:            images DIR [HOW-MANY]
 *
 * Prints:
 *     12 images, 633444 bytes
 */
#define _POSIX_C_SOURCE 200809L
#define CONC_IMPLEMENTATION
#include "conc.h"

#include "write_png.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ONE = 1 << 24, MOST = 255 }; /* what stands for 1.0; steps, and then a point counts as one of the set */

static const char *directory;
static size_t count;

static int64_t times(int64_t a, int64_t b) {
    return a * b / ONE;
}

static unsigned char color_of(int64_t x, int64_t y, int64_t cx, int64_t cy) { /* z = z * z + c, until it is far away */
    int n = 0;
    for (; n < MOST; n++) {
        int64_t xx = times(x, x), yy = times(y, y);
        if (xx + yy > 4 * (int64_t)ONE) break;
        y = 2 * times(x, y) + cy;
        x = xx - yy + cx;
    }
    return (unsigned char)n;
}

/* Picture k of them. Its c lies on a quarter of a circle, where the sets are pretty: (1 - t * t, 2 * t) / (1 + t * t) are its points. */
static int draw(size_t k, const char *path) {
    size_t width = 160 + 32 * (k % 8), height = width * 3 / 4;
    int64_t t = (int64_t)(k + 1) * ONE / (int64_t)(count + 1), tt = times(t, t), radius = (int64_t)ONE * 7885 / 10000;
    int64_t cx = -radius * (ONE - tt) / (ONE + tt), cy = 2 * radius * t / (ONE + tt), step = 3 * (int64_t)ONE / (int64_t)width;
    unsigned char colors[256][3], *rows = malloc(height * (width + 1));
    if (rows == NULL) return -1;
    for (int i = 0; i < 256; i++) {
        colors[i][0] = (unsigned char)(i * 9 > 255 ? 255 : i * 9);
        colors[i][1] = (unsigned char)(i * 4 > 255 ? 255 : i * 4);
        colors[i][2] = (unsigned char)(i == MOST ? 0 : 255 - i);
    }
    for (size_t i = 0; i < height; i++) {
        unsigned char *row = rows + i * (width + 1);
        row[0] = 0;
        for (size_t j = 0; j < width; j++) {
            row[1 + j] = color_of(((int64_t)j - (int64_t)width / 2) * step, ((int64_t)height / 2 - (int64_t)i) * step, cx, cy);
        }
    }
    int e = write_png(path, width, height, rows, colors);
    free(rows);
    return e;
}

static const char *path_of(size_t k, char *path, size_t size) {
    snprintf(path, size, "%s/%02zu.png", directory, k + 1);
    return path;
}

static int make(size_t first, size_t end, void *arg) { /* the pictures [first, end) */
    char path[4096];
    (void)arg;
    for (size_t k = first; k < end; k++) {
        if (draw(k, path_of(k, path, sizeof path)) == 0) continue;
        fprintf(stderr, "images: %s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    char path[4096];
    struct stat st;
    long long bytes = 0;
    if (argc < 2 || argc > 3) return fputs("usage: images DIR [HOW-MANY]\n", stderr), 2;
    directory = argv[1];
    count = argc > 2 ? strtoul(argv[2], NULL, 10) : 12;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) return perror(directory), 1;

    conc_pool *pool = conc_pool_new(NULL);
    conc_result r = pool != NULL ? conc_pool_for(pool, 0, count, 1, make, NULL) : CONC_NO_MEMORY;
    conc_pool_finish(pool);
    if (r != CONC_OK) return fprintf(stderr, "images: %s\n", conc_explain(r)), 1;

    for (size_t k = 0; k < count; k++) {
        if (stat(path_of(k, path, sizeof path), &st) == 0) bytes += st.st_size;
    }
    printf("%zu images, %lld bytes\n", count, bytes);
    return 0;
}
