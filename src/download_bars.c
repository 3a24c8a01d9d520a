/* ============================================================================================
 * downloads: progress for people, on stderr. On a terminal a picture that is drawn anew in its place each time;
 * else a line for each file that has ended.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL)

#include <stdarg.h>
#include <stdio.h>

#define CONC__BARS_COLUMNS 200u
#define CONC__BARS_ROWS 64u

/* In the scratch words. */
enum { CONC__BARS_LINES, CONC__BARS_DRAWN };

typedef struct conc__bars {
    char text[CONC__BARS_ROWS * (CONC__BARS_COLUMNS + 8) + 2048];
    size_t n;
} conc__bars;

static void conc__bars_put(conc__bars *b, const char *format, ...) CONC__PRINTF(2, 3);
static void conc__bars_put(conc__bars *b, const char *format, ...) {
    va_list args;
    int n;
    va_start(args, format);
    n = vsnprintf(b->text + b->n, sizeof b->text - b->n, format, args);
    va_end(args);
    if (n > 0) b->n = (size_t)n < sizeof b->text - b->n ? b->n + (size_t)n : sizeof b->text - 1;
}

/* "1.23 MB", 7 characters. */
static const char *conc__bars_bytes(double bytes, char out[16]) {
    static const char *const units[] = {"B ", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    (void)snprintf(out, 16,
                   unit == 0       ? "%4.0f %s"
                   : bytes < 9.995 ? "%4.2f %s"
                   : bytes < 99.95 ? "%4.1f %s"
                                   : "%4.0f %s",
                   bytes, units[unit]);
    return out;
}

/* "1:02:03", "2:03"; at least 5 characters. */
static const char *conc__bars_time(double seconds, char out[24]) {
    unsigned long s = seconds > 0 && seconds < 3e6 ? (unsigned long)(seconds + 0.5) : 0;
    if (seconds < 0 || seconds >= 3e6) {
        (void)snprintf(out, 24, "   --");
    } else if (s >= 3600) {
        (void)snprintf(out, 24, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    } else {
        (void)snprintf(out, 24, "%2lu:%02lu", s / 60, s % 60);
    }
    return out;
}

/* Whether a terminal may obey it: one of ASCII's, or of those behind it, as one byte or in UTF-8. */
static bool conc__bars_is_control(unsigned char before, unsigned char c) {
    bool second = c >= 0x80 && c < 0xA0;
    return c < ' ' || c == 127 || (second && (before < 0x80 || before == 0xC2));
}

/* The last part of a path, with nothing in it that a terminal would obey, in exactly `width` columns (if its
 * characters are one byte each); what is too long loses its middle. */
static const char *conc__bars_name(const char *path, char *out, size_t size, size_t width) {
    const char *name = path, *c;
    size_t n, i;
    for (c = path; *c != '\0'; c++) {
        if (*c == '/' || (CONC_OS_WINDOWS && *c == '\\')) name = c + 1;
    }
    n = strlen(name);
    if (width + 1 > size) width = size - 1;
    for (i = 0; i < width; i++) {
        size_t at = i;
        if (n > width && i >= width / 2) at = n - (width - i);
        out[i] = at < n ? name[at] : ' ';
        if (n > width && i == width / 2) out[i] = '~';
        if (conc__bars_is_control(i > 0 ? (unsigned char)out[i - 1] : 0, (unsigned char)out[i])) out[i] = '?';
    }
    out[width] = '\0';
    return out;
}

static void conc__bars_bar(conc__bars *b, double share, size_t width) {
    size_t full = share < 0 ? 0 : share >= 1 ? width : (size_t)(share * (double)width), i;
    conc__bars_put(b, "[");
    for (i = 0; i < width; i++)
        conc__bars_put(b, "%c", i < full ? '=' : i == full && share >= 0 && share < 1 ? '>' : ' ');
    conc__bars_put(b, "]");
}

/* name [===>   ] 45%  1.23 MB/s  0:07: `fixed` columns beside name and bar. */
static void conc__bars_file(conc__bars *b, const conc_download_active *a, size_t columns) {
    enum { FIXED = 28 };
    char name[CONC__BARS_COLUMNS + 1], speed[16], left[24];
    size_t begin = b->n;
    size_t rest = columns > FIXED + 10 ? columns - FIXED : 10, width = rest / 2;
    double share = a->size != 0 ? (double)a->bytes / (double)a->size : -1;
    conc__bars_put(b, "%s ", conc__bars_name(a->item->path, name, sizeof name, width));
    conc__bars_bar(b, share, rest - width);
    if (a->pause > 0) {
        conc__bars_put(b, " again in %s, #%-3u", conc__bars_time(a->pause, left), a->attempt % 1000);
    } else if (a->size != 0) {
        conc__bars_put(b, " %3.0f%% %s/s %s", share * 100, conc__bars_bytes(a->speed, speed),
                       conc__bars_time(a->speed > 0 ? (double)(a->size - a->bytes) / a->speed : -1, left));
    } else {
        conc__bars_put(b, " %s %s/s", conc__bars_bytes((double)a->bytes, left), conc__bars_bytes(a->speed, speed));
    }
    if (b->n - begin > columns) b->n = begin + columns; /* a line that wraps is two */
}

static void conc__bars_total(conc__bars *b, const conc_download_progress *p, size_t columns) {
    char bytes[16], size[16], speed[16], left[24], head[120], tail[120];
    double share = p->size_is_known && p->size != 0
                       ? (double)p->bytes / (double)p->size
                       : (double)(p->done + p->failed) / (double)(p->items != 0 ? p->items : 1);
    size_t n, m;
    (void)snprintf(head, sizeof head, "%llu of %llu", (unsigned long long)(p->done + p->failed),
                   (unsigned long long)p->items);
    n = strlen(head);
    if (p->failed != 0) (void)snprintf(head + n, sizeof head - n, ", %llu failed", (unsigned long long)p->failed);
    if (p->size_is_known) {
        (void)snprintf(tail, sizeof tail, "%s of %s", conc__bars_bytes((double)p->bytes, bytes),
                       conc__bars_bytes((double)p->size, size));
    } else {
        (void)snprintf(tail, sizeof tail, "%s", conc__bars_bytes((double)p->bytes, bytes));
    }
    m = strlen(tail);
    if (p->last) {
        (void)snprintf(tail + m, sizeof tail - m, " %s/s in %s",
                       conc__bars_bytes(p->seconds > 0 ? (double)p->bytes / p->seconds : 0, speed),
                       conc__bars_time(p->seconds, left));
    } else {
        (void)snprintf(tail + m, sizeof tail - m, " %s/s %s", conc__bars_bytes(p->speed, speed),
                       conc__bars_time(p->left, left));
    }
    if (columns == 0) { /* no terminal: no bar */
        conc__bars_put(b, "%s: %s", head, tail);
        return;
    }
    n = strlen(head) + strlen(tail) + 4;
    conc__bars_put(b, "%.*s", (int)columns, head);
    if (columns > n + 8) {
        conc__bars_put(b, " ");
        conc__bars_bar(b, share, columns - n);
    }
    if (columns > n) conc__bars_put(b, " %s", tail);
}

/* What has ended: all of them where there is no terminal, on one those that failed. */
static void conc__bars_ended(conc__bars *b, const conc_download_item *item, bool plain) {
    const conc_download_record *r = &item->record;
    char name[CONC__BARS_COLUMNS + 1], bytes[16];
    size_t n = strlen(item->path);
    (void)conc__bars_name(item->path, name, sizeof name, n < 100 ? n : 100);
    while (n > 0 && n <= 100 && name[n - 1] == ' ') name[--n] = '\0';
    if (r->result != CONC_OK) {
        size_t i;
        conc__bars_put(b, "%s: ", name);
        for (i = 0; r->error[i] != '\0'; i++) { /* the path, a server's words */
            bool control = conc__bars_is_control(i > 0 ? (unsigned char)r->error[i - 1] : 0, (unsigned char)r->error[i]);
            conc__bars_put(b, "%c", control ? '?' : r->error[i]);
        }
        conc__bars_put(b, "\n");
    } else if (plain) {
        const char *size = conc__bars_bytes((double)r->bytes, bytes);
        while (*size == ' ') size++;
        conc__bars_put(b, "%s: %s in %.1f s\n", name, size, r->total);
    }
}

void conc_download_bars(const conc_download_progress *p, void *user) {
    conc__bars b;
    unsigned columns, rows;
    uint64_t now = (uint64_t)conc_clock_ns();
    size_t lines = 0, i, room;
    bool terminal = conc__port_terminal(&columns, &rows);
    (void)user;
    b.n = 0;
    if (!terminal) {
        if (p->ended != NULL) conc__bars_ended(&b, p->ended, true);
        if (p->last) {
            conc__bars_total(&b, p, 0);
            conc__bars_put(&b, "\n");
        }
        (void)fwrite(b.text, 1, b.n, stderr);
        return;
    }
    if (p->ended != NULL && p->ended->record.result == CONC_OK && !p->last &&
        now - p->scratch[CONC__BARS_DRAWN] < 50000000)
        return;
    if (columns > CONC__BARS_COLUMNS) columns = CONC__BARS_COLUMNS;
    columns = columns > 1 ? columns - 1 : 1; /* a full line would begin the next */
    room = rows > 4 ? rows - 3 : 1;
    if (room > CONC__BARS_ROWS - 2) room = CONC__BARS_ROWS - 2;
    if (p->scratch[CONC__BARS_LINES] > 1)
        conc__bars_put(&b, "\r\033[%lluA", (unsigned long long)p->scratch[CONC__BARS_LINES] - 1);
    conc__bars_put(&b, "\r\033[J");
    if (p->ended != NULL) conc__bars_ended(&b, p->ended, false);
    for (i = 0; i < p->active_count && !p->last; i++) {
        if (lines + 1 >= room && p->active_count - i > 1) {
            conc__bars_put(&b, "... and %llu more\n", (unsigned long long)(p->active_count - i));
            lines++;
            break;
        }
        conc__bars_file(&b, &p->active[i], columns);
        conc__bars_put(&b, "\n");
        lines++;
    }
    conc__bars_total(&b, p, columns);
    if (p->last) conc__bars_put(&b, "\n");
    p->scratch[CONC__BARS_LINES] = lines + 1;
    p->scratch[CONC__BARS_DRAWN] = now;
    (void)fwrite(b.text, 1, b.n, stderr);
    (void)fflush(stderr);
}

#endif
