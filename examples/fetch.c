/* fetch.c: a small download manager, like `curl -Z` or aria2.
 *
 *     fetch https://example.org/a.iso https://example.org/b.iso
 *     fetch -d isos -j 4 -i list.txt
 *     fetch -x 8 -o big.iso --sha256 9f86d081... https://example.org/big.iso
 *
 * At each target there is the whole file or nothing. Ctrl-C ends it, and so may anything else: what has come is kept
 * beside the target, in a file that is called .part, and the next call goes on with that.
 *
 *     -j N           so many transfers at a time (16)
 *     -x N           a file of 16 MiB or more in so many pieces at a time (1)
 *     -o FILE        what to call it: there is one address only
 *     -d DIR         where to put the files; made if it is not there
 *     -i LIST        addresses from a file (-: the standard input): on each line one, and perhaps, after blanks, what to call the
 *                    file and its checksum ("sha256:...", "sha512:...", "md5:..."; for a checksum alone the name is -).
 *                    Names lead to DIR, or below it. Lines that begin with # are skipped
 *     -c             files that are there already are left alone, if their checksum, where one was given, is right
 *     -q             nothing is shown but what went wrong; else a terminal sees bars, and a file a line for each download
 *     -l BYTES       so many bytes a second at most, of all together (k, m, g after the number)
 *     -m BYTES       no file of more
 *     -r N           each is tried again so often, as long as nothing of it comes (4)
 *     -t S           so many seconds without a byte are a failure, which may be tried again (30)
 *     -T S           so many seconds for one file, with all attempts (no limit)
 *     -e ENGINE      threads, processes, or coroutines
 *     --sha256 HEX, --sha512 HEX, --md5 HEX       of the one address
 *
 * Ends with 0: all are there; 1: some are not, and a table says why; 2: the arguments are wrong, and nothing was fetched.
 *
 * Compile:  cc -DCONC_WITH_OPENSSL -I.. fetch.c -pthread -lcurl -lcrypto -o fetch
 * (or, without checksums:  cc -I.. fetch.c -pthread -lcurl -o fetch)
 */
#define _POSIX_C_SOURCE 200809L
#define CONC_IMPLEMENTATION
#define CONC_WITH_CURL
#include "conc.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static conc_download_item *items;
static size_t count, room;
static const char *directory;

static void wrong(const char *format, ...) { /* for what is wrong with the arguments */
    va_list args;
    va_start(args, format);
    fputs("fetch: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n(the top of fetch.c tells all)\n", stderr);
    va_end(args);
    exit(2);
}

static void *need(void *p) {
    if (p == NULL) wrong("out of memory");
    return p;
}

static char *join(const char *a, const char *b, const char *c) { /* a new string */
    char *s = need(malloc(strlen(a) + strlen(b) + strlen(c) + 1));
    return strcat(strcat(strcpy(s, a), b), c);
}

/* ---- what to fetch -------------------------------------------------------------------------------------- */

/* An address without the name and password that may be in it; a new string. */
static char *shown(const char *url) {
    const char *host = strstr(url, "://"), *from = host == NULL ? url : host + 3, *s;
    char *text = join(url, "", "");
    size_t n = (size_t)(from - url);
    for (host = s = from; *s != '\0' && strchr("/?#", *s) == NULL; s++) {
        if (*s == '@') host = s + 1;
    }
    memmove(text + n, host, strlen(host) + 1);
    return text;
}

/* A name of a list, which may be somebody else's: it must not lead out of the directory. */
static bool leads_below(const char *name) {
    if (*name == '/' || *name == '\0') return false;
    for (const char *s = name; *s != '\0'; s += strspn(s, "/")) {
        size_t n = strcspn(s, "/");
        if (n == 2 && s[0] == '.' && s[1] == '.') return false;
        s += n;
    }
    return true;
}

/* `name`: NULL, "" or "-": from the address. */
static void add(const char *url, const char *name, const char *checksum) {
    char own[256];
    if (name == NULL || *name == '\0' || strcmp(name, "-") == 0) {
        if (conc_download_name(url, own, sizeof own) != CONC_OK) wrong("%s: %s: say -o", shown(url), conc_error_detail());
        name = own;
    }
    if (count == room) {
        room = room * 2 + 64;
        items = need(realloc(items, room * sizeof *items));
    }
    conc_download_item *it = &items[count++];
    memset(it, 0, sizeof *it);
    it->url = join(url, "", "");
    it->path = directory != NULL && *name != '/' ? join(directory, "/", name) : join(name, "", "");
    if (checksum != NULL && *checksum != '\0') it->checksum = join(checksum, "", "");
}

static void add_list(const char *path) {
    char line[8192];
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f == NULL) wrong("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, f) != NULL) {
        char *rest = NULL, *url = strtok_r(line, " \t\r\n", &rest);
        if (url == NULL || *url == '#') continue;
        const char *name = strtok_r(NULL, " \t\r\n", &rest);
        if (name != NULL && !leads_below(name)) wrong("%s: %s: leads out of the directory", path, name);
        add(url, name, strtok_r(NULL, " \t\r\n", &rest));
    }
    if (ferror(f)) wrong("%s: %s", path, strerror(errno));
    if (f != stdin) fclose(f);
}

static int by_path(const void *a, const void *b) {
    return strcmp((*(conc_download_item *const *)a)->path, (*(conc_download_item *const *)b)->path);
}

/* Two files of one name: one of them would be lost. */
static void check_names(void) {
    conc_download_item **sorted = need(malloc((count + 1) * sizeof *sorted));
    for (size_t i = 0; i < count; i++) sorted[i] = &items[i];
    qsort(sorted, count, sizeof *sorted, by_path);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(sorted[i - 1]->path, sorted[i]->path) != 0) continue;
        wrong("%s and %s would both be called %s: list them with names", shown(sorted[i - 1]->url), shown(sorted[i]->url), sorted[i]->path);
    }
    free(sorted);
}

/* ---- the arguments ----------------------------------------------------------------------------------------- */

static double number(const char *option, const char *text, double least) {
    char *end;
    double x = strtod(text, &end), unit = 1;
    const char *units = "kmg";
    if (*end != '\0' && strchr(units, *end) != NULL) {
        for (const char *u = units; u <= strchr(units, *end); u++) unit *= 1024;
        end++;
    }
    if (end == text || *end != '\0' || !(x >= least) || x * unit > 1e18) {
        wrong("%s %s: not a number that goes there", option, text);
    }
    return x * unit;
}

/* The argument of an option, in the same word or in the next one. */
static const char *argument(char **argv, int *i, const char *option) {
    size_t n = strlen(option);
    if (n == 2 && argv[*i][n] != '\0') return argv[*i] + n;
    if (argv[*i + 1] == NULL) wrong("%s wants something after it", option);
    return argv[++*i];
}

static bool parse(char **argv, conc_download_desc *desc) { /* returns whether to be quiet */
    char *checksum = NULL;
    const char *name = NULL, *engines[] = {"coroutines", "threads", "processes"};
    size_t list_count = 0, url_count = 0;
    bool quiet = false;
    int n = 0;
    while (argv[n] != NULL) n++;
    const char **urls = need(calloc((size_t)n + 1, sizeof *urls)), **lists = need(calloc((size_t)n + 1, sizeof *lists));
    for (int i = 1; i < n; i++) {
        const char *a = argv[i], *kinds[] = {"--sha256", "--sha512", "--md5"};
        if (*a != '-') {
            urls[url_count++] = argv[i];
            continue;
        }
        if (strcmp(a, "-c") == 0) desc->keep_existing = true;
        else if (strcmp(a, "-q") == 0) quiet = true;
        else if (strncmp(a, "-j", 2) == 0) desc->max_parallel = (unsigned)number("-j", argument(argv, &i, "-j"), 1);
        else if (strncmp(a, "-x", 2) == 0) desc->segments = (unsigned)number("-x", argument(argv, &i, "-x"), 1);
        else if (strncmp(a, "-l", 2) == 0) desc->bandwidth = (uint64_t)number("-l", argument(argv, &i, "-l"), 1);
        else if (strncmp(a, "-m", 2) == 0) desc->max_bytes = (uint64_t)number("-m", argument(argv, &i, "-m"), 1);
        else if (strncmp(a, "-t", 2) == 0) desc->stall_timeout = number("-t", argument(argv, &i, "-t"), 0.001);
        else if (strncmp(a, "-T", 2) == 0) desc->total_timeout = number("-T", argument(argv, &i, "-T"), 0.001);
        else if (strncmp(a, "-o", 2) == 0) name = argument(argv, &i, "-o");
        else if (strncmp(a, "-d", 2) == 0) directory = argument(argv, &i, "-d");
        else if (strncmp(a, "-i", 2) == 0) lists[list_count++] = argument(argv, &i, "-i");
        else if (strncmp(a, "-r", 2) == 0) {
            desc->retries = (int)number("-r", argument(argv, &i, "-r"), 0);
            if (desc->retries == 0) desc->retries = -1; /* none; 0 would be as many as usual */
        } else if (strncmp(a, "-e", 2) == 0) {
            int e = 0;
            a = argument(argv, &i, "-e");
            while (e < 3 && strcmp(a, engines[e]) != 0) e++;
            if (e == 3) wrong("-e %s: threads, processes, or coroutines", a);
            desc->engine = (conc_download_engine)e;
        } else {
            int k = 0;
            while (k < 3 && strcmp(a, kinds[k]) != 0) k++;
            if (k == 3) wrong("%s: there is no such option", a);
            free(checksum);
            checksum = join(kinds[k] + 2, ":", argument(argv, &i, kinds[k]));
        }
    }
    if (directory != NULL && mkdir(directory, 0777) != 0 && errno != EEXIST) wrong("%s: %s", directory, strerror(errno));
    if ((name != NULL || checksum != NULL) && (url_count != 1 || list_count > 0)) wrong("-o and checksums are for one address");
    for (size_t i = 0; i < url_count; i++) add(urls[i], name, checksum);
    for (size_t i = 0; i < list_count; i++) add_list(lists[i]);
    if (url_count + list_count == 0) wrong("no address");
    check_names();
    free(urls);
    free(lists);
    free(checksum);
    return quiet;
}

/* ---- Ctrl-C ------------------------------------------------------------------------------------------------ */

static conc_cancel token; /* fired: everything ends, and parts are kept */
static int wake[2];       /* a pipe: a signal's handler may write a byte, and hardly anything else */

static void on_signal(int signal_number) {
    int e = errno;
    if (write(wake[1], "", 1) < 0) _exit(128 + signal_number);
    errno = e;
}

static int fire_when_told(void *arg) {
    (void)arg;
    if (conc_wait(conc_op_readable(wake[0]), CONC_FOREVER) == CONC_OK) conc_cancel_fire(&token);
    return 0;
}

static void listen_to_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND; /* who is in a hurry says it twice */
    if (pipe(wake) != 0) return; /* then Ctrl-C does what it always does */
    if (conc_thread_start(fire_when_told, NULL, &(conc_thread_desc){.daemon = true, .name = "signals"}) == NULL) return;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

/* ---- all together ---------------------------------------------------------------------------------------------- */

/* A line for each that is not there: with many, the first hundred. */
static void tell(size_t failed) {
    size_t told = 0;
    fprintf(stderr, "%zu of %zu are not there:\n", failed, count);
    for (size_t i = 0; i < count; i++) {
        const conc_download_record *r = &items[i].record;
        if (r->result == CONC_OK) continue;
        if (++told > 100) {
            fprintf(stderr, "  and %zu more\n", failed - 100);
            break;
        }
        fprintf(stderr, "  %s: %s", items[i].path, r->error);
        if (r->attempts > 1) fprintf(stderr, " (%u attempts)", r->attempts);
        if (r->bytes > 0) fprintf(stderr, " (%llu bytes kept)", (unsigned long long)r->bytes);
        fputs("\n", stderr);
    }
    if (conc_cancel_fired(&token)) fputs("interrupted: the same call again, with -c, goes on\n", stderr);
}

int main(int argc, char **argv) {
    conc_process_main(argc, argv); /* for -e processes, where they are spawned */
    conc_download_desc desc;
    memset(&desc, 0, sizeof desc);
    bool quiet = parse(argv, &desc);
    desc.allow_http = true; /* who says http:// means it; redirects from https to http are refused all the same */
    desc.cancel = &token;
    if (!quiet) desc.progress = conc_download_bars;
    listen_to_signals();

    conc_result r = conc_download_all(items, count, &desc);
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) failed += items[i].record.result != CONC_OK;
    if (r != CONC_OK && r != CONC_FAILED && r != CONC_CANCELED) fprintf(stderr, "fetch: %s\n", conc_explain(r));
    if (failed > 0) tell(failed);
    return r == CONC_OK ? 0 : 1;
}
