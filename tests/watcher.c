/* watcher TARGET RIGHT COMMAND [ARGUMENT...]
 *
 * Runs the command, and looks at TARGET all the time until it has ended: what is there must be the whole of the file RIGHT, each time.
 * Prints when it was first there, and how often it was looked at while it was not whole. Ends with 0: never; 1: it was, or in the end it
 * is not there; 2: it could not be found out. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *right;
static size_t right_length;

static char *read_file(const char *path, size_t *length) { /* NULL: there is none */
    size_t room = 1 << 20;
    char *at;
    FILE *f = fopen(path, "rb");
    if (f == NULL) return NULL;
    at = malloc(room);
    *length = 0;
    while (at != NULL) {
        size_t n = fread(at + *length, 1, room - *length, f);
        *length += n;
        if (n == 0) break;
        if (*length == room) at = realloc(at, room *= 2);
    }
    fclose(f);
    return at;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double begun = now(), first = -1;
    long looks = 0, there = 0, wrong = 0;
    size_t least = 0;
    int status = 0;
    if (argc < 4 || (right = read_file(argv[2], &right_length)) == NULL) return 2;
    pid_t pid = fork();
    if (pid < 0) return 2;
    if (pid == 0) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    for (int ended = 0; !ended;) {
        ended = waitpid(pid, &status, WNOHANG) != 0; /* and once more when it has */
        size_t length = 0;
        char *at = read_file(argv[1], &length);
        looks++;
        if (at != NULL) {
            if (there++ == 0) first = now() - begun;
            if (length != right_length || memcmp(at, right, length) != 0) {
                if (wrong++ == 0) least = length;
            }
        }
        free(at);
        nanosleep(&(struct timespec){0, 500000}, NULL); /* so as to leave the others a processor */
    }
    if (there == 0) printf("never there (%ld looks, %.2f s)\n", looks, now() - begun);
    else printf("there after %.2f of %.2f s; of %ld looks at it %ld saw what is not the whole file%s", first, now() - begun, there, wrong,
                wrong == 0 ? "\n" : "");
    if (wrong > 0) printf(" (the first: %lu of %lu bytes)\n", (unsigned long)least, (unsigned long)right_length);
    free(right);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && there > 0 && wrong == 0 ? 0 : 1;
}
