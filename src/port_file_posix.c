/* ============================================================================================
 * port, POSIX: the files of downloads. Nothing but for CONC_WITH_CURL.
 *
 * As in port_posix.c, what strict C99 hides is declared here under names of our own.
 * ========================================================================================== */

#include "internal.h"

#if defined(CONC_WITH_CURL) && !CONC_OS_WINDOWS

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

#if CONC_OS_LINUX
#if defined(__USE_FILE_OFFSET64) && !defined(__LP64__) /* glibc, 32 bits, with an off_t of 64 */
#define CONC__PF_64 "64"
#else
#define CONC__PF_64
#endif
#if defined(__cplusplus)
extern "C" {
#endif
int conc__pf_open(const char *path, int how, ...) __asm__("open" CONC__PF_64);
int conc__pf_close(int fd) __asm__("close");
long conc__pf_pwrite(int fd, const void *data, size_t size, off_t offset) __asm__("pwrite" CONC__PF_64);
long conc__pf_pread(int fd, void *data, size_t size, off_t offset) __asm__("pread" CONC__PF_64);
int conc__pf_ftruncate(int fd, off_t size) __asm__("ftruncate" CONC__PF_64);
int conc__pf_fallocate(int fd, int how, off_t from, off_t size) __asm__("fallocate" CONC__PF_64);
int conc__pf_fsync(int fd) __asm__("fsync");
int conc__pf_fchmod(int fd, mode_t mode) __asm__("fchmod");
int conc__pf_unlink(const char *path) __asm__("unlink");
int conc__pf_isatty(int fd) __asm__("isatty");
unsigned conc__pf_geteuid(void) __asm__("geteuid");
#if defined(__cplusplus)
}
#endif
#else
#include <unistd.h>
#define conc__pf_open open
#define conc__pf_close close
#define conc__pf_pwrite pwrite
#define conc__pf_pread pread
#define conc__pf_ftruncate ftruncate
#define conc__pf_fsync fsync
#define conc__pf_fchmod fchmod
#define conc__pf_unlink unlink
#define conc__pf_isatty isatty
#define conc__pf_geteuid (unsigned)geteuid
#endif

/* (Their numbers differ between machines; glibc has them under names that are not hidden.) */
#if defined(O_NOFOLLOW)
#define CONC__O_NOFOLLOW O_NOFOLLOW
#elif defined(__O_NOFOLLOW)
#define CONC__O_NOFOLLOW __O_NOFOLLOW
#else
#define CONC__O_NOFOLLOW 0
#endif
#if defined(O_CLOEXEC)
#define CONC__O_CLOEXEC O_CLOEXEC
#elif defined(__O_CLOEXEC)
#define CONC__O_CLOEXEC __O_CLOEXEC
#else
#define CONC__O_CLOEXEC 0
#endif
#define CONC__O_PLAIN                                                                                                  \
    (CONC__O_NOFOLLOW | CONC__O_CLOEXEC | O_NONBLOCK | O_NOCTTY) /* a fifo in its place does not hold us up */

static int conc__pf_end(long result, int saved) {
    int e = result < 0 ? errno : 0;
    errno = saved;
    return e;
}

conc__port_file_kind conc__port_file_kind_of(int error) {
    switch (error) {
    case ENOENT: return CONC__FILE_MISSING;
    case EACCES:
    case EPERM:
    case EINVAL:     /* see conc__pf_open_file() */
    case EISDIR:
    case ENXIO:      /* a socket; */
    case EOPNOTSUPP: /* BSD */
    case ELOOP:      /* a link, with O_NOFOLLOW; */
    case EMLINK:     /* FreeBSD; */
#if defined(EFTYPE)
    case EFTYPE:     /* NetBSD */
#endif
        return CONC__FILE_FOREIGN;
    case EWOULDBLOCK: return CONC__FILE_IN_USE;
    case ENOSPC: return CONC__FILE_DISK_FULL;
#if defined(EDQUOT)
    case EDQUOT: return CONC__FILE_DISK_FULL;
#endif
    default: return CONC__FILE_OTHER;
    }
}

/* A plain file of this user's, of one name. */
static bool conc__pf_is_ours(const struct stat *s) {
    return S_ISREG(s->st_mode) && s->st_nlink == 1 && (unsigned)s->st_uid == conc__pf_geteuid();
}

/* ---- the part -------------------------------------------------------------------------------------------- */

static void conc__pf_close_quietly(intptr_t fd) {
    int saved = errno;
    if (fd >= 0) (void)conc__pf_close((int)fd);
    errno = saved;
}

void conc__port_part_close(conc__port_part *part) {
    int saved = errno;
    /* A child of fork() that has it too does not keep it locked. */
    if (part->fd >= 0) (void)flock((int)part->fd, LOCK_UN);
    errno = saved;
    conc__pf_close_quietly(part->fd);
    part->fd = -1;
}

/* Opens what is there, or makes it; locks it; and looks whether it still has that name: who had it before may have
 * given it another one, or removed it, between the two. CONC__PART_AGAIN: so it was. */
#define CONC__PART_AGAIN (-1)
static int conc__part_try(const char *path, conc__port_part *part) {
    struct stat mine, there;
    int e = CONC__FAULT("open: part", EACCES, ENOSPC, EMFILE);
    if (e != 0) return e;
    part->is_new = true;
    part->fd = conc__pf_open(path, O_RDWR | O_CREAT | O_EXCL | CONC__O_PLAIN, 0600);
    if (part->fd < 0 && errno == EEXIST) {
        part->is_new = false;
        part->fd = conc__pf_open(path, O_RDWR | CONC__O_PLAIN);
        if (part->fd < 0 && errno == ENOENT) return CONC__PART_AGAIN;
    }
    if (part->fd < 0) return errno;
    e = CONC__FAULT("flock", EWOULDBLOCK);
    if (e == 0 && flock((int)part->fd, LOCK_EX | LOCK_NB) < 0) {
        e = errno == EWOULDBLOCK ? EWOULDBLOCK : 0; /* where there are no locks it goes without */
    }
    if (e != 0) return e;
    e = CONC__FAULT("fstat", EIO);
    if (e != 0) return e;
    if (fstat((int)part->fd, &mine) < 0) return errno;
    if (stat(path, &there) < 0) return errno == ENOENT ? CONC__PART_AGAIN : errno;
    if (mine.st_ino != there.st_ino || mine.st_dev != there.st_dev) return CONC__PART_AGAIN;
    if (!part->is_new && !conc__pf_is_ours(&mine)) return EEXIST;
    part->size = (uint64_t)mine.st_size;
    part->id = (uint64_t)mine.st_ino;
    return (mine.st_mode & 077) != 0 && conc__pf_fchmod((int)part->fd, 0600) < 0 ? errno : 0;
}

int conc__port_part_open(const char *path, conc__port_part *part) {
    int saved = errno, e = CONC__PART_AGAIN, turn;
    for (turn = 0; turn < 8 && e == CONC__PART_AGAIN; turn++) {
        part->fd = -1;
        part->size = part->id = 0;
        e = conc__part_try(path, part);
        if (e == 0) break;
        if (part->is_new && part->fd >= 0 && e != CONC__PART_AGAIN && e != EWOULDBLOCK) (void)conc__pf_unlink(path);
        conc__port_part_close(part);
    }
    errno = saved;
    return e == CONC__PART_AGAIN ? EWOULDBLOCK : e;
}

bool conc__port_part_is_at(const conc__port_part *part, const char *path) {
    struct stat mine, there;
    int saved = errno;
    bool is = part->fd >= 0 && CONC__FAULT("stat", ENOENT) == 0 && fstat((int)part->fd, &mine) == 0 &&
              stat(path, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
    errno = saved;
    return is;
}

int conc__port_part_write(const conc__port_part *part, const void *data, size_t size, uint64_t offset) {
    const char *at = (const char *)data;
    int saved = errno, e = CONC__FAULT("write: part", ENOSPC, EIO);
    while (size > 0 && e == 0) {
        off_t there = (off_t)offset;
        long n;
        if (there < 0 || (uint64_t)there != offset) {
            e = EFBIG;
            break;
        }
        n = (long)conc__pf_pwrite((int)part->fd, at, size, there);
        if (n < 0 && errno != EINTR) e = errno;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
            offset += (uint64_t)n;
        }
    }
    errno = saved;
    return e;
}

int conc__port_part_truncate(const conc__port_part *part, uint64_t size) {
    int saved = errno, e = CONC__FAULT("ftruncate", EIO);
    return e != 0 ? e : conc__pf_end(conc__pf_ftruncate((int)part->fd, (off_t)size), saved);
}

void conc__port_part_room(const conc__port_part *part, const char *path, uint64_t *held, uint64_t *free) {
    struct stat s;
    struct statvfs disk;
    int saved = errno;
    (void)path;
    *held = fstat((int)part->fd, &s) == 0 ? (uint64_t)s.st_blocks * 512 : 0;
    *free = UINT64_MAX;
    if (fstatvfs((int)part->fd, &disk) == 0 && disk.f_blocks != 0) { /* (some tell of no blocks at all) */
        uint64_t blocks = (uint64_t)(conc__pf_geteuid() == 0 ? disk.f_bfree : disk.f_bavail);
        if (disk.f_frsize != 0 && blocks <= UINT64_MAX / disk.f_frsize) *free = blocks * disk.f_frsize;
    }
    errno = saved;
}

int conc__port_part_reserve(const conc__port_part *part, uint64_t size) {
    int saved = errno, e = CONC__FAULT("fallocate", ENOSPC);
    if (e != 0) return e;
#if CONC_OS_LINUX
    if ((uint64_t)(off_t)size != size) return EFBIG;
    e = conc__pf_end(conc__pf_fallocate((int)part->fd, 1 /* FALLOC_FL_KEEP_SIZE */, 0, (off_t)size), saved);
#elif defined(F_PREALLOCATE)
    {
        fstore_t room;
        memset(&room, 0, sizeof room);
        room.fst_flags = F_ALLOCATEALL;
        room.fst_posmode = F_PEOFPOSMODE;
        room.fst_length = (off_t)size;
        e = conc__pf_end(fcntl((int)part->fd, F_PREALLOCATE, &room), saved);
    }
#else
    (void)part;
    (void)size;
    errno = saved;
#endif
    return conc__port_file_kind_of(e) == CONC__FILE_DISK_FULL ? e : 0;
}

int conc__port_part_sync(const conc__port_part *part) {
    int saved = errno, e = CONC__FAULT("fsync", EIO, ENOSPC);
    return e != 0 ? e : conc__pf_end(conc__pf_fsync((int)part->fd), saved);
}

/* The lock goes with the name, not before it. */
int conc__port_part_publish(conc__port_part *part, const char *path, const char *target, unsigned mode) {
    int saved = errno, e = CONC__FAULT("fchmod", EPERM);
    if (e == 0 && mode != 0) e = conc__pf_end(conc__pf_fchmod((int)part->fd, (mode_t)mode), saved);
    if (e == 0) e = CONC__FAULT("rename", EACCES, EISDIR, ENOSPC);
    if (e == 0) e = conc__pf_end(rename(path, target), saved);
    if (e == 0) conc__port_part_close(part);
    return e;
}

int conc__port_directory_sync(const char *path) {
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    char *directory = (char *)conc__alloc(n + 2, 1, "a directory's name");
    int saved = errno, e = CONC__FAULT("fsync: directory", EIO), fd;
    if (directory == NULL) return ENOMEM;
    if (slash == NULL) {
        directory[0] = '.';
    } else {
        memcpy(directory, path, n == 0 ? 1 : n); /* "/": the root */
    }
    if (e == 0) {
        fd = conc__pf_open(directory, O_RDONLY | CONC__O_CLOEXEC);
        e = conc__pf_end(fd, saved);
        if (e == 0) {
            e = conc__pf_end(conc__pf_fsync(fd), saved);
            if (e == EINVAL) e = 0; /* not for directories here */
            conc__pf_close_quietly(fd);
        }
    }
    conc__free(directory);
    errno = saved;
    return e;
}

/* ---- other files ----------------------------------------------------------------------------------------- */

bool conc__port_is_directory(const char *path) {
    struct stat s;
    int saved = errno;
    bool is = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
    if (is) { /* (lstat() is hidden) */
        int fd = conc__pf_open(path, O_RDONLY | CONC__O_PLAIN);
        /* ELOOP; BSD: EMLINK, EFTYPE */
        if (fd < 0 && errno != EACCES && errno != EMFILE && errno != ENFILE) is = false;
        conc__pf_close_quietly(fd);
    }
    errno = saved;
    return is;
}

int conc__port_file_remove(const char *path) {
    int saved = errno, e = CONC__FAULT("unlink", EACCES);
    return e != 0 ? e : conc__pf_end(conc__pf_unlink(path), saved);
}

/* `how`: in addition. */
static int conc__pf_open_file(const char *path, int how, intptr_t *fd, uint64_t *size) {
    struct stat s;
    int saved = errno, e = CONC__FAULT("open: read", EACCES, ENOENT, EMFILE);
    *fd = -1;
    if (e != 0) return e;
    *fd = conc__pf_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | CONC__O_CLOEXEC | how);
    e = conc__pf_end((long)*fd, saved);
    if (e == 0) {
        e = CONC__FAULT("fstat: file", EIO);
        if (e == 0) e = conc__pf_end(fstat((int)*fd, &s), saved);
        if (e == 0 && !S_ISREG(s.st_mode)) e = S_ISDIR(s.st_mode) ? EISDIR : EINVAL;
        if (e == 0 && how != 0 && !conc__pf_is_ours(&s)) e = EPERM;
        if (e == 0) *size = (uint64_t)s.st_size;
    }
    if (e != 0) {
        conc__port_file_close(*fd);
        *fd = -1;
    }
    return e;
}

int conc__port_file_open(const char *path, intptr_t *fd, uint64_t *size) {
    return conc__pf_open_file(path, 0, fd, size);
}

int conc__port_note_open(const char *path, intptr_t *fd, uint64_t *size) {
    return conc__pf_open_file(path, CONC__O_PLAIN, fd, size);
}

int conc__port_file_read(intptr_t fd, void *buffer, size_t size, uint64_t offset, size_t *done) {
    int saved = errno, e = CONC__FAULT("read: file", EIO);
    long n = 0;
    *done = 0;
    if (e != 0) return e;
    do {
        n = (long)conc__pf_pread((int)fd, buffer, size, (off_t)offset);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) *done = (size_t)n;
    return conc__pf_end(n, saved);
}

void conc__port_file_close(intptr_t fd) {
    conc__pf_close_quietly(fd);
}

/* In place. What is behind the note's end does not count; and where the death of the process has torn it, which
 * can be from page to page, its checksum says so. */
int conc__port_note_write(const char *path, const char *text, size_t size) {
    conc__port_part note;
    struct stat s;
    int saved = errno, e = CONC__FAULT("open: note", EACCES, ENOSPC, EMFILE);
    if (e != 0) return e;
    note.fd = conc__pf_open(path, O_WRONLY | O_CREAT | CONC__O_PLAIN, 0600);
    if (note.fd >= 0 && (fstat((int)note.fd, &s) < 0 || !conc__pf_is_ours(&s))) {
        conc__pf_close_quietly(note.fd);
        note.fd = -1;
        errno = EPERM;
    }
    if (note.fd < 0 && errno != ENOSPC && errno != EMFILE && errno != ENFILE && conc__pf_unlink(path) == 0) {
        /* a link, a fifo, another's: no note */
        note.fd = conc__pf_open(path, O_WRONLY | O_CREAT | O_EXCL | CONC__O_PLAIN, 0600);
    }
    e = conc__pf_end((long)note.fd, saved);
    if (e != 0) return e;
    e = conc__port_part_write(&note, text, size, 0);
    if (e == 0) (void)conc__port_part_truncate(&note, size);
    conc__port_part_close(&note);
    if (e != 0) (void)conc__pf_unlink(path);
    errno = saved;
    return e;
}

/* Linux tells; elsewhere it has to be changed for a moment, in which new files of other threads get fewer
 * permissions. */
unsigned conc__port_umask(void) {
    int saved = errno;
    unsigned mask = 022;
#if CONC_OS_LINUX
    char text[1024];
    const char *at;
    int fd = conc__pf_open("/proc/self/status", O_RDONLY | CONC__O_CLOEXEC);
    long n = fd >= 0 ? (long)conc__pf_pread(fd, text, sizeof text - 1, 0) : 0;
    if (fd >= 0) (void)conc__pf_close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strstr(text, "\nUmask:\t");
    if (at != NULL) {
        mask = (unsigned)strtoul(at + 8, NULL, 8);
        errno = saved;
        return mask & 0777;
    }
#endif
    mask = (unsigned)umask(077);
    (void)umask((mode_t)mask);
    errno = saved;
    return mask & 0777;
}

bool conc__port_terminal(unsigned *columns, unsigned *rows) {
    struct winsize size;
    int saved = errno;
    bool is = conc__pf_isatty(2) == 1;
    *columns = 80;
    *rows = 24;
    if (is && ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col != 0 && size.ws_row != 0) {
        *columns = size.ws_col;
        *rows = size.ws_row;
    }
    errno = saved;
    return is;
}

#endif
