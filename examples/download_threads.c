/* download_threads.c: fetch images with threads: each of them fetches one after another, from a list that they share.
 *
 * In Python:
 *     def download(url):
 *         r = requests.get(url)
 *         with open(url.rsplit("/")[-1], "wb") as f: f.write(r.content)
 *
 *     start = time.time()
 *     with ThreadPoolExecutor(8) as pool: pool.map(download, urls)
 *     print(time.time() - start)
 * In Python a connection that breaks leaves a part of an image in place of the image. Here the image is whole, or not there, and
 * what can be had by trying again is tried again.
 *
 * The same with processes: download_processes.c; with coroutines in one thread: download_coroutines.c.
 *
 * Compile:  cc -I.. download_threads.c -pthread -lcurl -o download_threads
 * Usage:    download_threads URL...          into the directory where it is called
 *
 * Prints a line for each image, and in the end "all N images in ... s; one after another: ... s".
 */
#define CONC_IMPLEMENTATION
#define CONC_WITH_CURL
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>

/* Called for each as it ends, one at a time. */
static void show(const conc_download_item *item, void *user) {
    const conc_download_record *r = &item->record;
    (void)user;
    if (r->result != CONC_OK) printf("%s: %s\n", item->path, r->error);
    else printf("%s: %llu bytes in %.3f s\n", item->path, (unsigned long long)r->bytes, r->total);
}

int main(int argc, char **argv) {
    size_t n = (size_t)argc - 1;
    conc_download_item *items = calloc(n + 1, sizeof *items);
    char(*names)[256] = calloc(n + 1, sizeof *names);
    if (argc < 2 || items == NULL || names == NULL) return fputs("usage: download_threads URL...\n", stderr), 2;
    for (size_t i = 0; i < n; i++) {
        items[i].url = argv[1 + i];
        items[i].path = names[i];
        if (conc_download_name(items[i].url, names[i], sizeof names[i]) == CONC_OK) continue; /* ".../a/1.png": "1.png" */
        return fprintf(stderr, "download_threads: %s: %s\n", items[i].url, conc_error_detail()), 2;
    }

    double start = conc_clock();
    conc_result r = conc_download_all(items, n, &(conc_download_desc){.engine = CONC_DOWNLOAD_THREADS,
                                                                      .max_parallel = 8,
                                                                      .allow_http = true, /* else https alone */
                                                                      .done = show});
    double took = conc_clock() - start, each = 0;
    for (size_t i = 0; i < n; i++) each += items[i].record.total;
    if (r == CONC_OK) printf("all %zu images in %.3f s; one after another: %.3f s\n", n, took, each);
    else fprintf(stderr, "download_threads: %s\n", conc_explain(r));
    free(items);
    free(names);
    return r == CONC_OK ? 0 : 1;
}
