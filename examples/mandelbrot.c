/* mandelbrot.c: a picture of the Mandelbrot set's Seahorse Valley, drawn by one thread, and by all processors.
 *
 * Some rows take many times as long as others, so cutting the picture into equal parts would leave most processors
 * waiting for one. conc_pool_for() hands out the rows as they are asked for.
 *
 * In Python:
 *     with ProcessPoolExecutor() as pool:
 *         picture = list(pool.map(draw_row, range(height)))
 *
 * Compile and run:  cc -O2 -I.. mandelbrot.c -pthread -o mandelbrot && ./mandelbrot seahorses.png 1920
 * Usage:            mandelbrot [PICTURE.png [WIDTH]]
 *
 * Prints (each time is another one; the checksum depends on how the compiler rounds):
 *     640 x 480
 *     one thread:     checksum ... in ... s
 *     all processors: checksum ... in ... s
 *     ... times as fast
 *     the same picture
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include "write_png.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 500 }; /* steps, and then a point counts as one of the set */

typedef struct picture {
    size_t width, height;
    unsigned char *rows; /* as PNG wants them: a 0, and then a byte for each point, an index into the colors */
} picture;

/* ---- drawing ---- */

static unsigned char color_of(double x, double y) { /* 0: in the set */
    double a = 0, b = 0, aa = 0, bb = 0;
    for (int n = 0; n < MOST; n++) { /* z = z * z + c, until it is far away */
        b = 2 * a * b + y;
        a = aa - bb + x;
        aa = a * a;
        bb = b * b;
        if (aa + bb > 16) return (unsigned char)(1 + n % 255);
    }
    return 0;
}

static int draw(size_t first, size_t end, void *arg) { /* the rows [first, end) */
    const picture *p = arg;
    double step = 0.06 / (double)p->width;
    double left = -0.75 - step * (double)p->width / 2, top = 0.1 + step * (double)p->height / 2;
    for (size_t i = first; i < end; i++) {
        unsigned char *row = p->rows + i * (p->width + 1);
        row[0] = 0;
        for (size_t k = 0; k < p->width; k++) row[1 + k] = color_of(left + step * (double)k, top - step * (double)i);
    }
    return 0;
}

static int save(const picture *p, const char *path) {
    unsigned char colors[256][3] = {{0, 0, 0}};
    for (int i = 1; i < 256; i++) {
        for (int c = 0; c < 3; c++) { /* each goes up and down, red the slowest */
            int t = i * (1 + c) % 256;
            colors[i][c] = (unsigned char)(t < 128 ? 2 * t : 511 - 2 * t);
        }
    }
    return write_png(path, p->width, p->height, p->rows, colors);
}

/* ---- all together ---- */

int main(int argc, char **argv) {
    size_t width = argc > 2 ? strtoul(argv[2], NULL, 10) : 640;
    if (argc > 3 || width < 1 || width > 20000) return fputs("usage: mandelbrot [PICTURE.png [WIDTH]]\n", stderr), 2;
    picture one = {width, (width * 3 + 3) / 4, NULL}, all = one;
    size_t bytes = one.height * (width + 1);
    one.rows = malloc(bytes);
    all.rows = malloc(bytes);
    conc_pool *pool = conc_pool_new(NULL);
    if (one.rows == NULL || all.rows == NULL || pool == NULL) return fputs("out of memory\n", stderr), 2;
    printf("%zu x %zu\n", one.width, one.height);

    double begun = conc_clock();
    draw(0, one.height, &one);
    double serial = conc_clock() - begun;
    printf("one thread:     checksum %08lx in %.3f s\n", (unsigned long)png_crc(0, one.rows, bytes), serial);

    begun = conc_clock();
    conc_result r = conc_pool_for(pool, 0, all.height, 1, draw, &all); /* 1: row by row */
    double parallel = conc_clock() - begun;
    printf("all processors: checksum %08lx in %.3f s\n", (unsigned long)png_crc(0, all.rows, bytes), parallel);
    printf("%.2f times as fast\n", serial / parallel);
    bool same = r == CONC_OK && memcmp(one.rows, all.rows, bytes) == 0;
    puts(same ? "the same picture" : "NOT the same picture");

    if (argc > 1 && save(&all, argv[1]) != 0) {
        perror(argv[1]);
        same = false;
    }
    conc_pool_finish(pool);
    free(one.rows);
    free(all.rows);
    return same ? 0 : 1;
}
