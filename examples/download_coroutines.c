/* download_coroutines.c: fetch images with coroutines, in one thread: one for each image, and another that does something else
 * meanwhile.
 *
 * In Python, with gevent:
 *     monkey.patch_all()
 *     start = time.time()
 *     gevent.joinall([gevent.spawn(download, url) for url in urls])
 *     print(time.time() - start)
 *
 * A download is a future, and its end an op like everything else: a coroutine awaits it, or races it against others. Who needs no
 * coroutine of his own calls conc_download_all(), as in download_threads.c; without an engine it works as this program does.
 *
 * Compile:  cc -I.. download_coroutines.c -pthread -lcurl -o download_coroutines
 * Usage:    download_coroutines URL...          into the directory where it is called
 *
 * Prints a line for each image, and in the end "all N images in ... s; one after another: ... s".
 */
#define CONC_IMPLEMENTATION
#define CONC_WITH_CURL
#include "conc.h"

#include <stdio.h>

static conc_downloader *session; /* the queue, the connections, the limits that all downloads share */
static size_t good, ended, ticks;
static double each; /* the times of all, together */

/* Fetches one image. Returns 0, or 1. */
CONC_CORO(fetch, const char *url; char name[256]; conc_future *f;) {
    CO_BEGIN;
    if (conc_download_name(self->url, self->name, sizeof self->name) != CONC_OK) { /* ".../a/1.png": "1.png" */
        fprintf(stderr, "%s: %s\n", self->url, conc_error_detail());
        CO_RETURN(1);
    }
    conc_download_item item = {.url = self->url, .path = self->name};
    self->f = conc_downloader_add(session, &item); /* which takes a copy */
    if (self->f == NULL) CO_RETURN(1);
    CO_AWAIT(conc_op_future(self->f));

    const conc_download_record *r = conc_download_record_of(self->f);
    if (r->result != CONC_OK) printf("%s: %s\n", self->name, r->error);
    else printf("%s: %llu bytes in %.3f s\n", self->name, (unsigned long long)r->bytes, r->total);
    good += r->result == CONC_OK;
    each += r->total;
    CO_FINALLY;
    conc_future_release(self->f);
    ended++;
    CO_END;
}

/* What else there is to do. */
CONC_CORO(ticker, size_t until;) {
    CO_BEGIN;
    while (ended < self->until) {
        ticks++;
        CO_AWAIT(conc_op_sleep(0.001));
    }
    conc_downloader_close(session); /* no more of them: its own tasks end, and so does the loop */
    CO_END;
}

int main(int argc, char **argv) {
    size_t n = (size_t)argc - 1;
    if (argc < 2) return fputs("usage: download_coroutines URL...\n", stderr), 2;
    double start = conc_clock();
    conc_loop *loop = conc_loop_new(NULL);
    session = conc_downloader_new(&(conc_download_desc){.loop = loop, .max_parallel = 8, .allow_http = true});
    if (loop == NULL || session == NULL) return fprintf(stderr, "download_coroutines: %s\n", conc_error_detail()), 1;
    for (size_t i = 0; i < n; i++) CONC_GO(loop, fetch, .url = argv[1 + i]);
    CONC_GO(loop, ticker, .until = n);
    conc_loop_run(loop, CONC_FOREVER);

    if (good == n) printf("all %zu images in %.3f s; one after another: %.3f s\n", n, conc_clock() - start, each);
    printf("meanwhile the ticker has ticked %zu times\n", ticks);
    conc_downloader_finish(session);
    conc_loop_free(loop);
    return good == n ? 0 : 1;
}
