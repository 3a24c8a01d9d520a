/* ============================================================================================
 * downloads: files and checksums. A target's part is beside it; a note beside the part says what the part is of, so
 * that a later call can go on with it:
 *
 *     conc download 2
 *     file 1234567                     the part's own number: a note does not outlive its part
 *     url https://example.org/big
 *     etag "5f3-2a"
 *     date Sun, 06 Nov 1994 08:49:37 GMT
 *     length 104857600
 *     piece 1048576 52428800           still to come: from here, to before there
 *     end 5874063259178273265          a checksum of all before this line
 *
 * A note is written when a transfer breaks off, and while it goes on as soon as it is long enough for that to
 * be worth it. A part without a note that is whole and fits is nobody's, and is written anew.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL)

#include <stdio.h>
#include <stdlib.h>

#if defined(CONC_WITH_OPENSSL)
#if defined(__has_include)
#if !__has_include(<openssl/evp.h>)
#error                                                                                                                 \
    "conc.h: CONC_WITH_OPENSSL needs OpenSSL's headers: install libssl-dev (Debian, Ubuntu), openssl-devel (Fedora), openssl-dev (Alpine), openssl (Homebrew), or do not define it"
#endif
#endif
#include <openssl/evp.h>
#endif

/* ---- checksums ------------------------------------------------------------------------------------------- */

static int conc__hash_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Whether `text` begins with `word` and a colon, in letters of any size. */
static bool conc__is_called(const char *text, const char *word) {
    size_t i;
    for (i = 0; word[i] != '\0'; i++) {
        char c = text[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (c != word[i]) return false;
    }
    return text[i] == ':';
}

static size_t conc__hash_size(conc__hash_kind kind) {
    return kind == CONC__HASH_MD5 ? 16 : kind == CONC__HASH_SHA256 ? 32 : kind == CONC__HASH_SHA512 ? 64 : 0;
}

conc_result conc__hash_parse(const char *text, conc__hash_kind *kind, uint8_t bytes[CONC__HASH_BYTES]) {
    static const char *const names[] = {"md5", "sha256", "sha-256", "sha512", "sha-512"};
    static const conc__hash_kind kinds[] = {CONC__HASH_MD5, CONC__HASH_SHA256, CONC__HASH_SHA256, CONC__HASH_SHA512,
                                            CONC__HASH_SHA512};
    const char *digits = text, *colon;
    size_t i, n;
    *kind = CONC__HASH_NONE;
    if (text == NULL || text[0] == '\0') return CONC_OK;
    colon = strchr(text, ':');
    if (colon != NULL) {
        for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            if (conc__is_called(text, names[i])) *kind = kinds[i];
        }
        if (*kind == CONC__HASH_NONE)
            return conc__fail(CONC_INVALID, "a checksum is md5:, sha256: or sha512:, not \"%.40s\"", text);
        digits = colon + 1;
    }
    n = strlen(digits);
    if (colon == NULL) *kind = n == 32 ? CONC__HASH_MD5 : n == 64 ? CONC__HASH_SHA256 : CONC__HASH_SHA512;
    if (n != 2 * conc__hash_size(*kind))
        return conc__fail(CONC_INVALID, "a checksum of %zu digits: 32, 64 or 128 are right", n);
    for (i = 0; i < n / 2; i++) {
        int high = conc__hash_digit(digits[2 * i]), low = conc__hash_digit(digits[2 * i + 1]);
        if (high < 0 || low < 0)
            return conc__fail(CONC_INVALID, "a checksum with a character that is no hexadecimal digit");
        bytes[i] = (uint8_t)(high * 16 + low);
    }
#if !defined(CONC_WITH_OPENSSL)
    return conc__fail(CONC_INVALID,
                      "a checksum wants #define CONC_WITH_OPENSSL before the implementation, and -lcrypto");
#else
    return CONC_OK;
#endif
}

#if defined(CONC_WITH_OPENSSL)
conc_result conc__hash_begin(conc__hash *h, conc__hash_kind kind) {
    const EVP_MD *md = kind == CONC__HASH_MD5 ? EVP_md5() : kind == CONC__HASH_SHA256 ? EVP_sha256() : EVP_sha512();
    int e = CONC__FAULT("EVP_DigestInit_ex", EIO);
    conc__hash_drop(h);
    h->kind = kind;
    h->context = CONC__FAULT("EVP_MD_CTX_new", ENOMEM) != 0 ? NULL : EVP_MD_CTX_new();
    if (h->context == NULL) return conc__fail(CONC_NO_MEMORY, "no memory for a checksum");
    if (e == 0 && EVP_DigestInit_ex((EVP_MD_CTX *)h->context, md, NULL) == 1) return CONC_OK;
    conc__hash_drop(h);
    return conc__fail(CONC_SYSTEM, "OpenSSL does not compute this kind of checksum");
}

conc_result conc__hash_add(conc__hash *h, const void *data, size_t size) {
    int e = CONC__FAULT("EVP_DigestUpdate", EIO);
    if (e == 0 && EVP_DigestUpdate((EVP_MD_CTX *)h->context, data, size) == 1) return CONC_OK;
    return conc__fail(CONC_SYSTEM, "OpenSSL could not go on with a checksum");
}

conc_result conc__hash_check(conc__hash *h, const uint8_t bytes[CONC__HASH_BYTES]) {
    uint8_t found[EVP_MAX_MD_SIZE];
    size_t n = conc__hash_size(h->kind);
    int e = CONC__FAULT("EVP_DigestFinal_ex", EIO);
    bool done = e == 0 && EVP_DigestFinal_ex((EVP_MD_CTX *)h->context, found, NULL) == 1;
    conc__hash_drop(h);
    if (!done) return conc__fail(CONC_SYSTEM, "OpenSSL could not end a checksum");
    return memcmp(found, bytes, n) == 0
               ? CONC_OK
               : conc__fail(CONC_BROKEN, "the file came whole, but has not the checksum that was given");
}

void conc__hash_drop(conc__hash *h) {
    EVP_MD_CTX_free((EVP_MD_CTX *)h->context);
    h->context = NULL;
    h->kind = CONC__HASH_NONE;
}
#else /* conc__hash_parse() has refused it */
conc_result conc__hash_begin(conc__hash *h, conc__hash_kind kind) {
    h->kind = kind;
    return CONC_OK;
}

conc_result conc__hash_add(conc__hash *h, const void *data, size_t size) {
    (void)h;
    (void)data;
    (void)size;
    return CONC_OK;
}

conc_result conc__hash_check(conc__hash *h, const uint8_t bytes[CONC__HASH_BYTES]) {
    (void)h;
    (void)bytes;
    return CONC_OK;
}

void conc__hash_drop(conc__hash *h) {
    h->kind = CONC__HASH_NONE;
}
#endif

conc_result conc__hash_file(intptr_t fd, uint64_t size, conc__download *dl) {
    enum { BLOCK = 65536 };
    conc__hash h;
    conc_result r;
    uint64_t at = 0;
    char *block = (char *)conc__alloc(BLOCK, 1, "a checksum");
    if (block == NULL) return CONC_NO_MEMORY;
    memset(&h, 0, sizeof h);
    r = conc__hash_begin(&h, dl->hash);
    while (r == CONC_OK && at < size) {
        size_t n = size - at < BLOCK ? (size_t)(size - at) : (size_t)BLOCK, done;
        int e = conc__port_file_read(fd, block, n, at, &done);
        if (e != 0) {
            r = conc__fail_system(CONC_SYSTEM, e, "cannot read what was written, for its checksum");
        } else if (done == 0) {
            r = conc__fail(CONC_BROKEN, "a file has become shorter under its checksum");
        } else {
            r = conc__hash_add(&h, block, done);
        }
        at += done;
        if (r == CONC_OK && at < size) r = conc__dl_stopped(dl);
    }
    if (r == CONC_OK) r = conc__hash_check(&h, dl->digest);
    conc__hash_drop(&h);
    conc__free(block);
    return r;
}

uint64_t conc__bytes_hash(const char *bytes, size_t n) {
    uint64_t h = 14695981039346656037u;
    size_t i;
    for (i = 0; i < n; i++) h = (h ^ (uint8_t)bytes[i]) * 1099511628211u;
    return h;
}

/* ---- the part -------------------------------------------------------------------------------------------- */

#define CONC__PATH_SHOWN 124u

/* A path as a sentence has it: of a long one the last `most` bytes, at most 120. */
static const char *conc__path_shown(const char *path, size_t most, char text[CONC__PATH_SHOWN]) {
    size_t n = strlen(path);
    (void)snprintf(text, CONC__PATH_SHOWN, "%s%s", n > most ? "..." : "", n > most ? path + n - most : path);
    return text;
}

static conc_result conc__dl_file_failed(int error, const char *what, const char *path) {
    char text[160], shown[CONC__PATH_SHOWN];
    if (conc__port_file_kind_of(error) == CONC__FILE_IN_USE) {
        return conc__fail(CONC_BUSY, "%s is being written by another download", path);
    }
    (void)snprintf(text, sizeof text, "cannot %s %s", what, conc__path_shown(path, 120, shown));
    return conc__fail_system(CONC_SYSTEM, error, text);
}

/* A line "key value" of the note, into `value`; NULL: that line is another one. Returns the next line. */
static char *conc__note_line(char *line, char **value) {
    char *end = strchr(line, '\n');
    char *space = strchr(line, ' ');
    if (end == NULL) return NULL; /* cut: it does not count */
    *end = '\0';
    *value = end;
    if (space != NULL) {
        *space = '\0';
        *value = space + 1;
    }
    return end + 1;
}

static bool conc__note_number(const char *text, uint64_t *n, const char **end) {
    *n = 0;
    if (*text < '0' || *text > '9') return false;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (*n > (UINT64_MAX - 9) / 10) return false;
        *n = *n * 10 + (uint64_t)(*text - '0');
    }
    *end = text;
    return true;
}

static bool conc__note_url_is(const char *noted, const char *url) {
    const char *host;
    size_t n = conc__url_bare(url, &host);
    return strncmp(noted, url, n) == 0 && strcmp(noted + n, host) == 0;
}

/* As it was written: a long one may be torn where its writer was killed, the new one in front and an older one
 * behind. */
static bool conc__note_is_whole(const char *text) {
    const char *last = strstr(text, "\nend "), *end;
    uint64_t hash;
    return last != NULL && conc__note_number(last + 5, &hash, &end) && *end == '\n' &&
           hash == conc__bytes_hash(text, (size_t)(last + 1 - text));
}

/* What the note says, if it is whole, of this part, and of this URL. Nothing in it is believed that cannot be. */
static bool conc__note_parse(conc__dl_file *file, char *text, const char *url) {
    char *line = text, *value = NULL, *next;
    bool head = false, url_fits = false, file_fits = false, ended = false, sane = true;
    const char *end;
    uint64_t n;
    unsigned i;
    if (!conc__note_is_whole(text)) return false;
    for (; !ended && (next = conc__note_line(line, &value)) != NULL; line = next) {
        if (!head) {
            if (strcmp(line, "conc") != 0 || strcmp(value, "download 2") != 0) return false;
            head = true;
        } else if (strcmp(line, "file") == 0) {
            file_fits = conc__note_number(value, &n, &end) && *end == '\0' && n == file->part.id;
        } else if (strcmp(line, "url") == 0) {
            url_fits = conc__note_url_is(value, url);
        } else if (strcmp(line, "etag") == 0 && value[0] == '"') {
            (void)snprintf(file->etag, sizeof file->etag, "%s", value);
        } else if (strcmp(line, "date") == 0) {
            (void)snprintf(file->date, sizeof file->date, "%s", value);
        } else if (strcmp(line, "length") == 0) {
            file->has_length = conc__note_number(value, &file->length, &end) && *end == '\0';
        } else if (strcmp(line, "piece") == 0) {
            conc__piece *p = &file->pieces[file->piece_count];
            sane = sane && file->piece_count < CONC__PIECES && conc__note_number(value, &p->at, &end) && *end == ' ' &&
                   conc__note_number(end + 1, &p->end, &end) && *end == '\0' && p->at < p->end;
            if (!sane) return false;
            file->piece_count++;
        } else if (strcmp(line, "end") == 0) {
            ended = true;
        }
    }
    if (!ended || !url_fits || !file_fits) return false;
    for (i = 0, n = 0; i < file->piece_count; i++) { /* `n`: what is before it has been looked at */
        const conc__piece *p = &file->pieces[i];
        if (!file->has_length || p->end > file->length || p->at < n || (p->at > n && p->at > file->part.size))
            return false;
        n = p->end;
    }
    if (file->piece_count != 0 && n < file->length && file->part.size < file->length) return false;
    return true;
}

static void conc__dl_file_forget(conc__dl_file *file) {
    file->kept = file->length = 0;
    file->has_length = file->is_note_right = false;
    file->etag[0] = file->date[0] = '\0';
    file->piece_count = 0;
}

/* Reads the note of a part that was there before. CONC_OK, and nothing known: there is none, or none of ours, or
 * it does not fit. An error: nobody knows, and both are to stay as they are. */
static conc_result conc__dl_file_recall(conc__dl_file *file, const char *url) {
    enum { NOTE = 16384 };
    intptr_t fd;
    uint64_t size;
    size_t done = 0;
    char *text;
    bool fits = false;
    int e = conc__port_note_open(file->note, &fd, &size);
    conc__port_file_kind kind = conc__port_file_kind_of(e);
    if (e != 0 && kind != CONC__FILE_MISSING && kind != CONC__FILE_FOREIGN)
        return conc__dl_file_failed(e, "read", file->note);
    if (e != 0) {
        (void)conc__port_file_remove(file->note); /* another's would outlive its part */
        return CONC_OK;
    }
    file->is_noted = true;
    text = (char *)conc__alloc(NOTE, 1, "a download's note");
    if (text != NULL && size < NOTE) {
        e = conc__port_file_read(fd, text, NOTE - 1, 0, &done);
        text[done] = '\0';
        fits = e == 0 && conc__note_parse(file, text, url);
    }
    conc__port_file_close(fd);
    if (text == NULL) return CONC_NO_MEMORY;
    conc__free(text);
    if (e != 0) return conc__dl_file_failed(e, "read", file->note);
    if (!fits || (file->has_length && file->part.size > file->length)) {
        conc__dl_file_forget(file);
        return CONC_OK;
    }
    file->kept = file->part.size;
    if (file->piece_count != 0) {
        unsigned i;
        file->kept = file->length;
        for (i = 0; i < file->piece_count; i++) file->kept -= file->pieces[i].end - file->pieces[i].at;
    }
    file->is_note_right = true;
    return CONC_OK;
}

conc_result conc__dl_file_open(conc__dl_file *file, const char *target, const char *url) {
    size_t n = strlen(target);
    conc_result r;
    bool stays = true;
    int e;
    memset(file, 0, sizeof *file);
    file->part.fd = -1;
    file->target = target;
    if (n > SIZE_MAX / 4) return conc__fail(CONC_INVALID, "a path that is too long");
    if (conc__port_is_directory(target)) { /* else that would be found out at the end */
        char shown[CONC__PATH_SHOWN];
        return conc__fail(CONC_SYSTEM, "a file cannot be put in place of the directory %s",
                          conc__path_shown(target, 120, shown));
    }
    file->name = (char *)conc__alloc(2 * n + 32, 1, "a download's part");
    if (file->name == NULL) return CONC_NO_MEMORY;
    file->note = file->name + n + 8;
    memcpy(file->name, target, n);
    memcpy(file->name + n, ".part", 6);
    memcpy(file->note, target, n);
    memcpy(file->note + n, ".part.info", 11);
    e = conc__port_part_open(file->name, &file->part);
    if (e != 0) {
        r = conc__dl_file_failed(e, "make", file->name);
        conc__free(file->name);
        file->name = NULL;
        return r;
    }
    if (file->part.is_new) {
        (void)conc__port_file_remove(file->note); /* one that has outlived its part */
        return CONC_OK;
    }
    r = conc__dl_file_recall(file, url);
    if (r == CONC_OK && file->kept == 0 && (file->part.size > 0 || file->is_noted)) {
        r = conc__dl_file_restart(file);
        stays = file->is_noted; /* its note cannot be removed; without one it is nobody's */
    }
    if (r != CONC_OK) {
        file->is_note_right = true; /* whatever is there stays as it is */
        (void)conc__dl_file_close(file, url, stays);
    }
    return r;
}

conc_result conc__dl_file_write(conc__dl_file *file, const void *data, size_t size, uint64_t offset) {
    int e = conc__port_part_write(&file->part, data, size, offset);
    return e == 0 ? CONC_OK : conc__dl_file_failed(e, "write to", file->name);
}

/* The note first: what it says is not true of what is written from now on. */
conc_result conc__dl_file_restart(conc__dl_file *file) {
    int e = file->is_noted ? conc__port_file_remove(file->note) : 0;
    conc__dl_file_forget(file);
    if (e != 0 && conc__port_file_kind_of(e) != CONC__FILE_MISSING)
        return conc__dl_file_failed(e, "remove", file->note);
    file->is_noted = false;
    return conc__dl_file_cut(file, 0);
}

conc_result conc__dl_file_cut(conc__dl_file *file, uint64_t size) {
    int e = conc__port_part_truncate(&file->part, size);
    if (e != 0) return conc__dl_file_failed(e, "cut", file->name);
    file->part.size = size;
    return CONC_OK;
}

conc_result conc__dl_file_reserve(conc__dl_file *file) {
    uint64_t held, room, wanted;
    int e;
    conc__port_part_room(&file->part, file->name, &held, &room);
    wanted = file->length > held ? file->length - held : 0;
    if (wanted > room) {
        char shown[CONC__PATH_SHOWN];
        return conc__fail(CONC_SYSTEM, "the disk is full: %llu bytes more are wanted, and %llu are free, for %s",
                          (unsigned long long)wanted, (unsigned long long)room,
                          conc__path_shown(file->name, 100, shown));
    }
    if (wanted > room / 2) return CONC_OK; /* it may be a lie, and others want to write, too */
    e = conc__port_part_reserve(&file->part, file->length);
    return e == 0 ? CONC_OK : conc__dl_file_failed(e, "get room for", file->name);
}

conc_result conc__dl_file_note(conc__dl_file *file, const char *url) {
    size_t size = strlen(url) + sizeof file->etag + sizeof file->date + 200 + file->piece_count * 48u;
    const char *host;
    size_t n;
    unsigned i;
    int e;
    char *text = (char *)conc__alloc(size, 1, "a download's note");
    if (text == NULL) return CONC_NO_MEMORY;
    n = conc__url_bare(url, &host);
    n = (size_t)snprintf(text, size, "conc download 2\nfile %llu\nurl %.*s%s\n", (unsigned long long)file->part.id,
                         (int)n, url, host);
    if (file->etag[0] != '\0') n += (size_t)snprintf(text + n, size - n, "etag %s\n", file->etag);
    if (file->date[0] != '\0') n += (size_t)snprintf(text + n, size - n, "date %s\n", file->date);
    if (file->has_length) n += (size_t)snprintf(text + n, size - n, "length %llu\n", (unsigned long long)file->length);
    for (i = 0; i < file->piece_count; i++) {
        if (file->pieces[i].at >= file->pieces[i].end) continue;
        n += (size_t)snprintf(text + n, size - n, "piece %llu %llu\n", (unsigned long long)file->pieces[i].at,
                              (unsigned long long)file->pieces[i].end);
    }
    n += (size_t)snprintf(text + n, size - n, "end %llu\n", (unsigned long long)conc__bytes_hash(text, n));
    e = conc__port_note_write(file->note, text, n);
    conc__free(text);
    if (e != 0) return conc__dl_file_failed(e, "write", file->note);
    file->is_noted = file->is_note_right = true;
    return CONC_OK;
}

bool conc__dl_file_close(conc__dl_file *file, const char *url, bool keep) {
    if (file->name == NULL) return false;
    if (file->part.fd == -1) keep = false; /* Windows: it could not be renamed */
    if (keep && !file->is_note_right && conc__dl_file_note(file, url) != CONC_OK) keep = false;
    if (!keep) { /* while it is locked */
        if (file->is_noted) (void)conc__port_file_remove(file->note);
        if (conc__port_part_is_at(&file->part, file->name)) (void)conc__port_file_remove(file->name);
    }
    conc__port_part_close(&file->part);
    conc__free(file->name);
    file->name = file->note = NULL;
    return keep;
}

conc_result conc__dl_file_publish(conc__dl_file *file, unsigned mode, bool sync) {
    int e = sync ? conc__port_part_sync(&file->part) : 0;
    if (e != 0) return conc__dl_file_failed(e, "bring to the disk", file->name);
    if (!conc__port_part_is_at(&file->part, file->name))
        return conc__fail(CONC_SYSTEM, "%s was removed or replaced", file->name);
    if (file->is_noted && conc__port_file_remove(file->note) == 0) file->is_noted = file->is_note_right = false;
    e = conc__port_part_publish(&file->part, file->name, file->target, mode);
    if (e != 0) return conc__dl_file_failed(e, "make", file->target);
    conc__free(file->name);
    file->name = file->note = NULL;
    if (sync) e = conc__port_directory_sync(file->target);
    return e == 0 ? CONC_OK : conc__dl_file_failed(e, "bring to the disk the directory of", file->target);
}

#endif
