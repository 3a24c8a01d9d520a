/* write_png.h: a picture into a PNG file, for mandelbrot.c and images.c. It is not compressed, so no library is needed.
 *
 * write_png(path, width, height, rows, colors): `rows` as PNG wants them: for each row a 0, and then a byte for each point, an
 * index into the 256 `colors` (red, green, blue). Returns 0, or -1, and errno tells why.
 */
#ifndef WRITE_PNG_H
#define WRITE_PNG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A file is a row of chunks, each with its length before it and its CRC-32 after it. */
typedef struct png {
    FILE *file;
    uint32_t crc;
} png;

static uint32_t png_crc(uint32_t crc, const unsigned char *bytes, size_t n) {
    for (crc = ~crc; n > 0; n--) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static uint32_t png_adler(const unsigned char *bytes, size_t n) {
    uint32_t a = 1, b = 0;
    for (; n > 0; n--) {
        a = (a + *bytes++) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static void png_put(png *p, const void *bytes, size_t n) {
    fwrite(bytes, 1, n, p->file);
    p->crc = png_crc(p->crc, bytes, n);
}

static void png_put32(png *p, uint32_t x) {
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++) bytes[i] = (unsigned char)(x >> (24 - 8 * i));
    png_put(p, bytes, 4);
}

static void png_begin(png *p, const char *type, size_t size) {
    png_put32(p, (uint32_t)size);
    p->crc = 0;
    png_put(p, type, 4);
}

static void png_end(png *p) {
    png_put32(p, p->crc);
}

static int write_png(const char *path, size_t width, size_t height, const unsigned char *rows, unsigned char colors[256][3]) {
    size_t row = width + 1;
    png out = {fopen(path, "wb"), 0};
    if (out.file == NULL) return -1;
    png_put(&out, "\x89PNG\r\n\x1a\n", 8);

    png_begin(&out, "IHDR", 13);
    png_put32(&out, (uint32_t)width);
    png_put32(&out, (uint32_t)height);
    png_put(&out, "\x08\x03\0\0", 5); /* 8 bits a point, with a palette; nothing out of the ordinary */
    png_end(&out);

    png_begin(&out, "PLTE", 3 * 256);
    png_put(&out, colors, 3 * 256);
    png_end(&out);

    png_begin(&out, "IDAT", 2 + height * (5 + row) + 4); /* zlib's format, not compressed: each row is a block */
    png_put(&out, "\x78\x01", 2);
    for (size_t i = 0; i < height; i++) {
        unsigned char low = row & 255, high = (unsigned char)(row >> 8);
        unsigned char head[5] = {i + 1 == height, low, high, (unsigned char)~low, (unsigned char)~high};
        png_put(&out, head, 5); /* is it the last; its length, twice */
        png_put(&out, rows + i * row, row);
    }
    png_put32(&out, png_adler(rows, height * row));
    png_end(&out);

    png_begin(&out, "IEND", 0);
    png_end(&out);
    bool failed = ferror(out.file) != 0;
    return fclose(out.file) != 0 || failed ? -1 : 0;
}

#endif
