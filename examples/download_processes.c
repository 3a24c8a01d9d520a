/* download_processes.c: fetch images with processes: a crash in one of them, in whatever library it fetches with, costs one attempt,
 * and the program goes on.
 *
 * In Python:
 *     start = time.time()
 *     with Pool(4) as pool: pool.map(download, urls)
 *     print(time.time() - start)
 *
 * The same with threads: download_threads.c (and what is done better here than by `download` is told there); with coroutines in one
 * thread: download_coroutines.c.
 *
 * Compile:  cc -I.. download_processes.c -pthread -lcurl -o download_processes
 * Usage:    download_processes URL...          into the directory where it is called
 *
 * Prints a line for each image, and in the end "all N images in ... s; one after another: ... s".
 */
#define CONC_IMPLEMENTATION
#define CONC_WITH_CURL
#include "conc.h"

#include <stdio.h>
#include <stdlib.h>

/* Called for each as it ends, one at a time, in this process. */
static void show(const conc_download_item *item, void *user) {
    const conc_download_record *r = &item->record;
    (void)user;
    if (r->result != CONC_OK) printf("%s: %s\n", item->path, r->error);
    else printf("%s: %llu bytes in %.3f s\n", item->path, (unsigned long long)r->bytes, r->total);
}

int main(int argc, char **argv) {
    conc_process_main(argc, argv); /* where processes are spawned, this is where they begin: see process.c */

    size_t n = (size_t)argc - 1;
    conc_download_item *items = calloc(n + 1, sizeof *items);
    char(*names)[256] = calloc(n + 1, sizeof *names);
    if (argc < 2 || items == NULL || names == NULL) return fputs("usage: download_processes URL...\n", stderr), 2;
    for (size_t i = 0; i < n; i++) {
        items[i].url = argv[1 + i];
        items[i].path = names[i];
        if (conc_download_name(items[i].url, names[i], sizeof names[i]) == CONC_OK) continue; /* ".../a/1.png": "1.png" */
        return fprintf(stderr, "download_processes: %s: %s\n", items[i].url, conc_error_detail()), 2;
    }

    double start = conc_clock();
    conc_result r = conc_download_all(items, n, &(conc_download_desc){.engine = CONC_DOWNLOAD_PROCESSES,
                                                                      .max_parallel = 4,
                                                                      .allow_http = true, /* else https alone */
                                                                      .done = show});
    double took = conc_clock() - start, each = 0;
    for (size_t i = 0; i < n; i++) each += items[i].record.total;
    if (r == CONC_OK) printf("all %zu images in %.3f s; one after another: %.3f s\n", n, took, each);
    else fprintf(stderr, "download_processes: %s\n", conc_explain(r));
    free(items);
    free(names);
    return r == CONC_OK ? 0 : 1;
}
