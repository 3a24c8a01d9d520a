/* ============================================================================================
 * download: files from the web, many at a time, each whole and verified or not there. With libcurl: CONC_WITH_CURL.
 *
 *     conc_download("https://example.org/1.jpg", "1.jpg", NULL);
 *
 * At `path` there is, at every moment, what was there before or the whole new file, never a part: the bytes go
 * to path.part beside it, which is renamed when it is whole. Whole means: as long as the server said, with the
 * checksum that you gave. Everything that is worth it is tried again, with growing pauses, from where it broke
 * off.
 *
 * WHAT IT DOES. libcurl speaks with the servers; queue, files, retries and limits are ours. Items wait in a
 * queue of ours, one for each host, and are handed to curl only when their turn comes: so none times out before
 * it starts. Turns go round the hosts, the most urgent items first, at most max_parallel at a time, at most
 * max_per_host of one host. Connections are kept and used again, HTTP/2 with many files on one connection where
 * the server has it and there is TLS.
 *
 * THE PART. path.part is created exclusively, follows no link, is locked, and readable by its owner alone until
 * it is whole. When a transfer takes long, and when it is broken off, a note beside it, path.part.info, keeps
 * what has to be known to go on: address, ETag or date, length. So a later call, also of another program, also
 * after kill -9, goes on where this one ended, give or take the last 256 KiB: Range with If-Range, by a strong
 * ETag, or a Last-Modified that stands for one (RFC 9110). If the file has changed at the server it begins
 * anew, and so it does where the server gives neither, unless a checksum will tell. (When the machine itself
 * goes down, what was on its way to the disk may be missing in a part; that too only a checksum tells.) A note
 * that is a link, or not this user's alone, is none. A part that nobody can go on with is removed; so are both
 * files after success, and if the disk is full. One target is written by one download at a time: a second one,
 * here or in another process, gets CONC_BUSY.
 *
 * THE DISK. That the part cannot be made, as the directory is not there or not writable, and that the target is
 * a directory, is found before the server is asked. A length from 8 MiB on, of which more is to come than the
 * disk has free, is CONC_SYSTEM before a byte of it is written (but where the pieces of an earlier call are gone
 * on with: then, as with less, when the disk is full). Room is reserved if as much again stays free: a length is
 * only what a server says (see max_bytes).
 *
 * WHAT IT REFUSES. http, unless allow_http; every other scheme; redirects out of that set, or from https to
 * http, or more than max_redirects; a certificate or a host's name that is not right; control characters in
 * addresses and headers; bytes beyond max_bytes. Headers of yours go to the address's own host only. A user's
 * name and password in an address go to its server, and into no record, error or note. Names that a server
 * gives are never used, and nothing is decompressed. What comes with an answer that is not the file, a
 * redirect's or an error's, is thrown away, and not waited for if it is long.
 *
 * THREE ENGINES, one interface:
 *   CONC_DOWNLOAD_COROUTINES  all in one thread, as tasks of a loop (the default)
 *   CONC_DOWNLOAD_THREADS     max_parallel threads of a pool, each with one file at a time
 *   CONC_DOWNLOAD_PROCESSES   max_parallel processes, each with one transfer at a time; one that dies is replaced, and
 *                             its transfer tried again. How they are started: see process.h, as CONC_PROCESS_DEFAULT
 *
 * `#define CONC_WITH_CURL` wherever the header is included and downloads are used; link with -lcurl. Checksums
 * want, beside the implementation, `#define CONC_WITH_OPENSSL` and -lcrypto. In a child of fork() a session of
 * the parent's says CONC_FORKED. Not in a simulation.
 * ========================================================================================== */

#ifndef CONC__DOWNLOAD_H
#define CONC__DOWNLOAD_H

#include "loop.h"
#include "process.h"

#if defined(CONC_WITH_CURL)

typedef struct conc_downloader conc_downloader;

/* ---- what is asked for, and what came of it --------------------------------------------------------------- */

/* How it went. All of it is in the struct: it may be copied and kept. Times are in seconds. */
typedef struct conc_download_record {
    conc_result result;      /* CONC_PENDING until it has ended; then:
                                  CONC_OK        the file is there, whole
                                  CONC_FAILED    the server said no (http_code), or could not be reached
                                  CONC_BROKEN    what came was cut off, not as long as it should be, or not of
                                                 the checksum
                                  CONC_TIMEOUT   one of the limits in time
                                  CONC_REJECTED  refused: a scheme, a redirect, a certificate, more than max_bytes
                                  CONC_SYSTEM    the file: no such directory, no permission, the disk is full, ...
                                  CONC_BUSY      the target is another download's
                                  CONC_CANCELED, CONC_INVALID, CONC_NO_MEMORY, CONC_NO_THREADS,
                                  CONC_CRASHED   (processes) each attempt's process died */
    int http_code;           /* of the last answer; 0: there was none */
    unsigned attempts;       /* how often it was begun; 0: never, or the file was there (keep_existing) */
    unsigned redirects;      /* followed in the last attempt */
    uint64_t bytes;          /* of the file: all of it, or how much of it has been kept in the part */
    uint64_t resumed_from;   /* how much of that was there before this call */
    uint64_t received;       /* over the net, in all attempts, bodies alone */
    double queued;           /* waited for its turn, with the pauses between attempts */
    double connect;          /* of the last attempt, until the connection was ready; 0: an open one was used */
    double first_byte;       /* and until the first byte of the answer, */
    double total;            /* all attempts together, with all pauses */
    char error[256];         /* one sentence; "" if all is well */
    char final_url[512];     /* where it came from, after redirects, without a user's name and password; cut if
                                it is longer */
} conc_download_record;

/* All zero but for url and path is right. */
typedef struct conc_download_item {
    const char *url;
    const char *path;              /* the target. Its directory has to exist */
    const char *checksum;          /* "sha256:9f86...", "sha512:...", "md5:...", or the hexadecimal digits
                                      alone; NULL: none */
    uint64_t size;                 /* how long it has to be; 0: as the server says */
    uint64_t max_bytes;            /* of this one, instead of the desc's; 0: that */
    int priority;                  /* higher first */
    void *user;                    /* yours: given to `done` and `progress` by way of the item */
    conc_download_record record;   /* set by conc_download_all(), when it is done */
} conc_download_item;

/* ---- options ------------------------------------------------------------------------------------------------ */

typedef enum conc_download_engine {
    CONC_DOWNLOAD_COROUTINES,
    CONC_DOWNLOAD_THREADS,
    CONC_DOWNLOAD_PROCESSES
} conc_download_engine;

struct conc_download_progress;

/* All zero is right. Times are in seconds. Strings are copied. */
typedef struct conc_download_desc {
    conc_download_engine engine;
    unsigned max_parallel;         /* transfers at a time; 0: 16; at most 1000 */
    unsigned max_per_host;         /* of them, to one host (name and port); 0: as many as there may be */
    unsigned segments;             /* a file of segment_min or more is fetched in so many pieces at a time, each
                                      of which counts in the two limits above. 0 or 1: in one; at most 64. Not
                                      with processes */
    uint64_t segment_min;          /* 0: 16 MiB */

    /* Which, and where from. */
    bool allow_http;               /* http:// too; else https:// alone */
    int max_redirects;             /* 0: 10; -1: none */
    bool keep_existing;            /* a target that is there (and has the checksum and size, if they are given) is left
                                      alone, and nothing is fetched: CONC_OK. Else it is replaced. (Checksums of files
                                      are computed in threads of their own) */
    uint64_t max_bytes;            /* of one file; 0: no limit */
    uint64_t bandwidth;            /* bytes a second, of all together; 0: no limit */
    const char *const *headers;    /* "Name: value", NULL at the end; for the item's own host alone */
    const char *user_agent;        /* NULL: "conc/" CONC_VERSION */
    const char *proxy;             /* as curl takes it; "": none; NULL: as the environment says (https_proxy, ...) */
    const char *ca_file;           /* certificates to trust, PEM; NULL: the system's */
    bool no_http2;

    /* Trying again: what may go away by itself: no connection, a broken or stalled one, answers 408, 429, 500,
     * 502, 503, 504. */
    int retries;                   /* in a row without any new byte; 0: 4; -1: none */
    double retry_delay;            /* before the first; each next is twice as long, and all are shortened by up
                                      to a half, by chance. 0: 0.5 */
    double retry_delay_max;        /* 0: 30 */
    double retry_after_max;        /* a server's Retry-After is heeded if it is no longer; else the item fails.
                                      0: 120 */

    /* Limits. Time in the queue counts in none of them but the deadline. */
    double connect_timeout;        /* for name, connection and TLS; 0: 15 */
    double stall_timeout;          /* so long without a byte of the body, or until an answer's head has come
                                      whole; 0: 30 */
    uint64_t min_speed;            /* bytes a second; one that was slower over all of a stall_timeout has
                                      stalled, and what came meanwhile is no reason to try once more (see
                                      retries). 0: 10; 1: hardly any limit. (A server that is a little faster
                                      may go on as long as it likes: total_timeout) */
    double total_timeout;          /* of one item, from its first start, with all attempts; 0: none */
    conc_deadline deadline;        /* of everything; all zero: none */
    conc_cancel *cancel;           /* fired: as conc_downloader_cancel(). Must outlive the session */

    /* Files. */
    bool discard_parts;            /* what is not whole is removed at the end, also if one could go on with it */
    bool sync;                     /* a file is on the disk, also what another call has fetched of it, before it
                                      gets its name, and its name before it has ended. (If that last step alone
                                      fails, it is there, and the result is CONC_SYSTEM) */
    unsigned mode;                 /* its permissions, once whole; 0: 0666 less the umask. Not on Windows */

    /* Watching. All are called in one thread at a time, none at the same time as another: in the loop's thread,
     * the session's, or that of conc_download_all(). They must not block for long, and not call this session,
     * but for conc_downloader_add() and conc_downloader_cancel(). */
    void (*done)(const conc_download_item *item, void *user);  /* one has ended: item->record. Until it returns */
    void (*progress)(const struct conc_download_progress *progress, void *user); /* or conc_download_bars */
    double progress_every;         /* 0: 0.1 */
    void *user;                    /* handed to both */

    conc_loop *loop;               /* CONC_DOWNLOAD_COROUTINES: whose tasks are to do it. It must be run, and
                                      outlive the session. NULL: a thread of the session's own */
    bool forget;                   /* a session does not keep what has ended for conc_downloader_results() */
} conc_download_desc;

/* ---- one call ------------------------------------------------------------------------------------------------- */

/* Fetches `url` into the file at `path`. Blocks until that is done or given up: the record's result, and on
 * failure its sentence in conc_error_detail(). Also CONC_DEADLOCK: called by a coroutine (there: a
 * conc_downloader). The calling thread's cancel token cancels it: CONC_CANCELED; what came is kept, and the
 * next call goes on. `desc` NULL: https alone, the defaults. */
CONC_API conc_result conc_download(const char *url, const char *path, const conc_download_desc *desc);

/* Fetches n items, and sets the record of each. CONC_OK: all are there. CONC_FAILED: some are not, as their
 * records say; conc_error_detail() counts them and tells the first's. CONC_CANCELED, CONC_TIMEOUT (the desc's
 * deadline): some are not for that reason. CONC_DEADLOCK as above, CONC_INVALID, CONC_NO_MEMORY,
 * CONC_NO_THREADS, CONC_FORKED, CONC_SYSTEM (libcurl cannot begin): nothing was fetched, as each record says
 * too. With coroutines all is done in the calling thread. */
CONC_API conc_result conc_download_all(conc_download_item *items, size_t n, const conc_download_desc *desc);

/* ---- a session: items are added while it runs ------------------------------------------------------------------- */

/* NULL, with conc_error_result(): CONC_INVALID (conc_error_detail() says what), CONC_NO_MEMORY,
 * CONC_NO_THREADS, CONC_SYSTEM. */
CONC_API conc_downloader *conc_downloader_new(const conc_download_desc *desc);

/* Adds a copy of the item (and of its strings). The future stands for it: conc_op_future(f) waits for it in any
 * world, conc_future_cancel(f) cancels it alone (what came is kept in the part), conc_future_result(f) is its
 * record's result. It is the caller's to release; the download goes on without it. What is wrong with one item
 * ends its future, not this call. NULL: CONC_INVALID (NULL), CONC_NO_MEMORY, CONC_CLOSED, CONC_FORKED. Any
 * thread; does not block. */
CONC_API conc_future *conc_downloader_add(conc_downloader *d, const conc_download_item *item);
/* The record of a future that conc_downloader_add() gave; final once that has ended, and it lives as long as
 * that. NULL: another's future. */
CONC_API const conc_download_record *conc_download_record_of(const conc_future *f);
/* Likewise the item, with its record. */
CONC_API const conc_download_item *conc_download_item_of(const conc_future *f);

/* What has ended, in that order: an iterator over conc_download_item, each with its record and strings that
 * live until the next one is asked for. next() waits; it ends with CONC_CLOSED when the session is closed and
 * all have been given. One such iterator at a time has each item once; close it before the session is freed.
 * Failures that it gives have been seen (see future.h).
 *     CONC_FOREACH(conc_download_item, i, conc_downloader_results(d)) printf("%s: %s\n", i.path, i.record.error); */
CONC_API conc_iter *conc_downloader_results(conc_downloader *d);

/* No more items: CONC_OK, or CONC_CLOSED. Those added go on. Any thread; does not block. */
CONC_API conc_result conc_downloader_close(conc_downloader *d);
/* Closes it and cancels what has not ended: it ends soon, with CONC_CANCELED, parts kept. Any thread; does not
 * block. */
CONC_API conc_result conc_downloader_cancel(conc_downloader *d);
/* Waits until it is closed and all have ended. CONC_OK, CONC_TIMEOUT, CONC_CANCELED, CONC_FORKED, CONC_INVALID
 * (NULL, or not closed). If the session is in a loop that nobody runs, the caller runs that meanwhile. And as
 * an op. */
CONC_API conc_result conc_downloader_join(conc_downloader *d, conc_deadline deadline);
CONC_API conc_op conc_op_downloader_end(conc_downloader *d);
/* Frees it. CONC_BUSY, and nothing happens: it has not ended (close or cancel it and join it first). Futures
 * stay. NULL is CONC_OK. */
CONC_API conc_result conc_downloader_free(conc_downloader *d);
/* Closes, joins for as long as it takes, and frees. CONC_OK; CONC_CANCELED (the thread's token fired: it is
 * closed and not freed). */
CONC_API conc_result conc_downloader_finish(conc_downloader *d);

/* ---- progress ---------------------------------------------------------------------------------------------------- */

/* A transfer under way, or one whose next attempt is waited for. */
typedef struct conc_download_active {
    const conc_download_item *item;
    uint64_t bytes, size;     /* of the file; size 0: not known */
    double speed;             /* bytes a second, lately */
    unsigned attempt;         /* from 1 */
    double pause;             /* seconds until that begins; 0: it is under way */
} conc_download_active;

/* How things stand; good until the function returns. Called every progress_every seconds while something goes on, when
 * one has ended, and at the end. */
typedef struct conc_download_progress {
    size_t items;             /* so far; of them, */
    size_t done, failed;      /* ended well, ended otherwise, */
    size_t running, waiting;  /* under way, not begun or between attempts */
    uint64_t bytes;           /* received, and found in parts, of all */
    uint64_t size;            /* of all whose length is known */
    bool size_is_known;       /* those are all */
    double seconds;           /* since the session's first item */
    double speed;             /* bytes a second, lately */
    double left;              /* seconds, if it goes on so; < 0: not known */
    const conc_download_active *active; /* in the order of their starts */
    size_t active_count;
    const conc_download_item *ended;    /* the one that has just ended; NULL: none */
    bool last;                /* the session has ended: the last call */
    uint64_t *scratch;        /* 16 words for the function's own use, zero at first */
} conc_download_progress;

/* Bars on stderr: one for each active file, as many as fit, the rest in a line, and one in total, with speed
 * and time left, as wide as the terminal is at the moment. If stderr is no terminal: a line for each file that
 * has ended, no codes. */
CONC_API void conc_download_bars(const conc_download_progress *progress, void *user);

/* ---- names --------------------------------------------------------------------------------------------- */

/* A file's name from an address: the last part of its path, decoded, "index.html" if that is empty.
 * CONC_INVALID: it would be no plain name: "..", separators, control characters, a leading dot, what Windows
 * reserves, over 255 bytes; or `size` is too small. */
CONC_API conc_result conc_download_name(const char *url, char *name, size_t size);

#endif

#endif
