/* The files of downloads on Windows: port_file_win32.c by itself, as it wants no libcurl. */

#define CONC__SPLIT
#define CONC_WITH_CURL
#include "../src/port_file_win32.c"

#include <stdio.h>
#include <stdlib.h>

void *conc__alloc(size_t count, size_t size, const char *what) {
    (void)what;
    return calloc(count, size);
}

void conc__free(void *p) {
    free(p);
}

static int failures;
#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #cond);                                                          \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

/* Names with a letter that is two bytes in UTF-8. */
#define TARGET "w\xc3\xa4h"
#define TARGET_W L"w\u00e4h"
#define PART TARGET ".part"
#define NOTE TARGET ".part.info"
#define NOTE_W L"w\u00e4h.part.info"

static bool file_is(const char *path, const char *bytes, size_t n) {
    char text[100];
    intptr_t fd;
    uint64_t size;
    size_t done = 0;
    if (conc__port_file_open(path, &fd, &size) != 0) return false;
    if (conc__port_file_read(fd, text, sizeof text, 0, &done) != 0) done = sizeof text + 1;
    conc__port_file_close(fd);
    return size == n && done == n && memcmp(text, bytes, n) == 0;
}

static void parts(void) {
    static const char bytes[] = "a\nb\r\n\x1a"; /* nothing of this is translated */
    conc__port_part p, q;
    uint64_t held, room;
    FILE *f;
    CHECK(conc__port_part_open(PART, &p) == 0 && p.is_new && p.size == 0);
    CHECK(conc__port_file_kind_of(conc__port_part_open(PART, &q)) == CONC__FILE_IN_USE);
    CHECK(conc__port_part_write(&p, bytes, sizeof bytes, 0) == 0);
    conc__port_part_room(&p, PART, &held, &room);
    CHECK(room > 0 && room < UINT64_MAX);
    conc__port_part_room(&p, "C:\\file", &held, &room);
    CHECK(room > 0 && room < UINT64_MAX);
    CHECK(conc__port_part_reserve(&p, 10000000) == 0);
    conc__port_part_close(&p);
    CHECK(conc__port_part_open(PART, &p) == 0 && !p.is_new && p.size == sizeof bytes); /* what is reserved is no length */
    CHECK(conc__port_part_write(&p, "far", 3, 5000000000u) == 0);
    CHECK(conc__port_part_truncate(&p, sizeof bytes) == 0);
    CHECK(conc__port_part_sync(&p) == 0);
    f = _wfopen(TARGET_W, L"wb"); /* it takes the place of another one */
    CHECK(f != NULL);
    fputs("old", f);
    fclose(f);
    CHECK(conc__port_part_publish(&p, PART, TARGET, 0) == 0);
    CHECK(file_is(TARGET, bytes, sizeof bytes));
    CHECK(!conc__port_is_directory(TARGET));
    CHECK(conc__port_file_remove(TARGET) == 0);
    CHECK(conc__port_part_open("none\\file", &p) != 0);
    CHECK(CreateDirectoryW(L"directory", NULL));
    CHECK(conc__port_is_directory("directory"));
    CHECK(!conc__port_is_directory("none"));
    CHECK(conc__port_part_open("directory", &p) != 0);
    CHECK(RemoveDirectoryW(L"directory"));
}

static void notes(void) {
    conc__port_part p;
    intptr_t fd;
    uint64_t size;
    CHECK(conc__port_file_kind_of(conc__port_note_open(NOTE, &fd, &size)) == CONC__FILE_MISSING);
    CHECK(conc__port_note_write(NOTE, "a long one\n", 11) == 0);
    CHECK(conc__port_note_write(NOTE, "short\n", 6) == 0);
    CHECK(file_is(NOTE, "short\n", 6));
    CHECK(conc__port_note_open(NOTE, &fd, &size) == 0 && size == 6);
    conc__port_file_close(fd);
    CHECK(CreateHardLinkW(L"other", NOTE_W, NULL)); /* another file's: neither read nor written to */
    CHECK(conc__port_file_kind_of(conc__port_note_open(NOTE, &fd, &size)) == CONC__FILE_FOREIGN);
    CHECK(conc__port_part_open(NOTE, &p) != 0);
    CHECK(conc__port_note_write(NOTE, "new\n", 4) == 0);
    CHECK(file_is("other", "short\n", 6));
    CHECK(file_is(NOTE, "new\n", 4));
    CHECK(conc__port_file_remove("other") == 0);
    CHECK(conc__port_file_remove(NOTE) == 0);
}

int main(void) {
    FILE *f = _wfopen(TARGET_W, L"wb");
    if (f == NULL) {
        printf("windows_files: skipped: no file of such a name can be made here\n"); /* wine, where all is ASCII */
        return 77;
    }
    (void)fclose(f);
    (void)conc__port_file_remove(TARGET);
    (void)conc__port_file_remove(PART);
    (void)conc__port_file_remove(NOTE);
    parts();
    notes();
    printf("windows_files: %s\n", failures == 0 ? "ok" : "FAILED");
    return failures != 0;
}
