/* ============================================================================================
 * port, POSIX: processes. Their ends are told by pidfds on Linux; elsewhere, and with CONC_PORT_PORTABLE, by a pipe
 * whose other end the process alone holds.
 *
 * As in port_posix.c, what strict C99 hides is declared here under names of our own.
 * ========================================================================================== */

#include "internal.h"

#if !CONC_OS_WINDOWS

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

#if CONC_OS_LINUX
#include <sys/syscall.h>
#if defined(__cplusplus)
extern "C" {
#endif
long conc__ps_syscall(long number, ...) __asm__("syscall");
int conc__ps_fork(void) __asm__("fork");
int conc__ps_waitpid(int pid, int *status, int how) __asm__("waitpid");
int conc__ps_kill(int pid, int number) __asm__("kill");
int conc__ps_getpid(void) __asm__("getpid");
void conc__ps_exit(int code) __asm__("_exit");
int conc__ps_fcntl(int fd, int what, ...) __asm__("fcntl");
int conc__ps_open(const char *path, int how, ...) __asm__("open");
int conc__ps_pipe2(int *fds, int flags) __asm__("pipe2");
int conc__ps_socketpair(int family, int type, int protocol, int *fds) __asm__("socketpair");
int conc__ps_poll(struct pollfd *fds, unsigned long n, int ms) __asm__("poll");
long conc__ps_read(int fd, void *data, size_t size) __asm__("read");
void conc__ps_purge(FILE *stream) __asm__("__fpurge"); /* (glibc, musl, uClibc, Bionic) */
extern char **conc__ps_environ __asm__("environ");
#if defined(__cplusplus)
}
#endif
#else
#include <unistd.h>
#define conc__ps_fork fork
#define conc__ps_waitpid waitpid
#define conc__ps_kill kill
#define conc__ps_getpid getpid
#define conc__ps_exit _exit
#define conc__ps_fcntl fcntl
#define conc__ps_socketpair socketpair
#define conc__ps_read read
#define conc__ps_environ environ
#if defined(__sun)
#include <stdio_ext.h>
#define conc__ps_purge __fpurge
#else
#define conc__ps_purge (void)fpurge
#endif
extern char **environ;
#endif

/* (SOCK_CLOEXEC is O_CLOEXEC on Linux, and is not hidden.) The same numbers everywhere: */
#define CONC__SIGKILL 9
#define CONC__SIGTERM 15
#if defined(SIGCONT)
#define CONC__SIGCONT SIGCONT
#else
#define CONC__SIGCONT 18
#endif

/* Whether the numbers of conc__port_life_watch() are this machine's: these have their own. */
#if CONC_OS_LINUX && !CONC_PORT_PORTABLE && !defined(__mips__) && !defined(__alpha__) && !defined(__sparc__) && \
        !defined(__hppa__)
#define CONC__ASYNC_PIPES 1
#else
#define CONC__ASYNC_PIPES 0
#endif

#if CONC_OS_LINUX && !CONC_PORT_PORTABLE
#define CONC__PIDFD 1
#define CONC__SYS_PIDFD_SEND_SIGNAL 424L /* the same on all architectures */
#define CONC__SYS_PIDFD_OPEN 434L
#else
#define CONC__PIDFD 0
#endif

static int conc__ps_end(long result, int saved) {
    int e = result < 0 ? errno : 0;
    errno = saved;
    return e;
}

/* ---- pipes and sockets, close-on-exec -------------------------------------------------------------- */

/* A descriptor just made, on another number if it is 0, 1 or 2: a program that has closed these reads and prints there all
 * the same. (If there is no other it stays.) */
static void conc__ps_not_standard(intptr_t *fd) {
    int saved = errno, other;
    if (*fd < 0 || *fd > 2) return;
#if CONC_OS_LINUX
    other = conc__ps_fcntl((int)*fd, 1030 /* F_DUPFD_CLOEXEC */, 3);
#else
    other = fcntl((int)*fd, F_DUPFD, 3);
#endif
    if (other >= 0) {
        conc__port_socket_close(*fd);
        *fd = other;
    }
    errno = saved;
}

#if !CONC_OS_LINUX
static int conc__ps_dress(int fd, bool waits) {
    int flags = fcntl(fd, F_GETFL, 0);
    if (flags < 0 || (!waits && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) return errno;
#if defined(SO_NOSIGPIPE)
    if (!waits) {
        const int on = 1;
        if (setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, (socklen_t)sizeof on) < 0) return errno;
    }
#endif
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? errno : 0;
}
#endif

static int conc__ps_pipe(intptr_t fd[2]) {
    int fds[2], saved = errno, e;
    fd[0] = fd[1] = -1;
#if CONC_OS_LINUX
    e = conc__ps_end(conc__ps_pipe2(fds, (int)SOCK_CLOEXEC), saved);
#else
    e = conc__ps_end(pipe(fds), saved);
#endif
    if (e != 0) return e;
    fd[0] = fds[0];
    fd[1] = fds[1];
    conc__ps_not_standard(&fd[0]);
    conc__ps_not_standard(&fd[1]);
#if !CONC_OS_LINUX
    e = conc__ps_dress((int)fd[0], true);
    if (e == 0) e = conc__ps_dress((int)fd[1], true);
    errno = saved;
    if (e != 0) {
        conc__port_socket_close(fd[0]);
        conc__port_socket_close(fd[1]);
        fd[0] = fd[1] = -1;
    }
#endif
    return e;
}

int conc__port_socket_pair(intptr_t fd[2]) {
    int fds[2], saved = errno, e = CONC__FAULT("socketpair", EMFILE, ENFILE, ENOBUFS);
    fd[0] = fd[1] = -1;
    if (e != 0) return e;
#if CONC_OS_LINUX
    e = (int)SOCK_STREAM | (int)SOCK_NONBLOCK | (int)SOCK_CLOEXEC;
    e = conc__ps_end(conc__ps_socketpair(AF_UNIX, e, 0, fds), saved);
#else
    e = conc__ps_end(conc__ps_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), saved);
#endif
    if (e != 0) return e;
    fd[0] = fds[0];
    fd[1] = fds[1];
    conc__ps_not_standard(&fd[0]);
    conc__ps_not_standard(&fd[1]);
#if !CONC_OS_LINUX
    e = conc__ps_dress((int)fd[0], false);
    if (e == 0) e = conc__ps_dress((int)fd[1], false);
    errno = saved;
    if (e != 0) {
        conc__port_socket_close(fd[0]);
        conc__port_socket_close(fd[1]);
        fd[0] = fd[1] = -1;
    }
#endif
    return e;
}

/* ---- the lifeline ------------------------------------------------------------------------------------- */

int conc__port_life_open(intptr_t life[2]) {
    int e = CONC__FAULT("pipe: life", EMFILE, ENFILE);
    life[0] = life[1] = -1;
    return e != 0 ? e : conc__ps_pipe(life);
}

void conc__port_life_close(intptr_t fd) {
    conc__port_socket_close(fd);
}

/* The parent is gone. */
static void conc__ps_orphaned(void) {
    (void)conc__ps_kill(conc__ps_getpid(), CONC__SIGKILL);
}

/* A thread that does nothing but wait for it. */
static void conc__life_main(void *fd) {
    char c;
    for (;;) {
        long n = (long)conc__ps_read((int)(intptr_t)fd, &c, 1);
        if (n == 0 || (n < 0 && errno != EINTR)) break;
    }
    if (errno != EBADF) conc__ps_orphaned(); /* a task that closes all descriptors has cut its lifeline */
}

/* On Linux the kernel itself does it: the last writer's end of a pipe is an input event, for which a descriptor can
 * ask for any signal, SIGKILL as well. It needs a description of its own, as the owner is a property of that.
 * (PR_SET_PDEATHSIG would kill the process when the *thread* ends that made it.) */
int conc__port_life_watch(intptr_t life) {
    static conc__port_thread thread;
    int saved = errno, e = 0;
#if CONC__ASYNC_PIPES
    char path[40];
    intptr_t own;
    int fd;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", (int)life);
    own = conc__ps_open(path, O_RDONLY | (int)SOCK_CLOEXEC | O_NONBLOCK); /* without /proc: a thread */
    conc__ps_not_standard(&own);
    fd = (int)own;
    if (fd >= 0) {
        if (conc__ps_fcntl(fd, 8 /* F_SETOWN */, conc__ps_getpid()) == 0 &&
            conc__ps_fcntl(fd, 10 /* F_SETSIG */, CONC__SIGKILL) == 0 &&
            conc__ps_fcntl(fd, F_SETFL, O_NONBLOCK | 020000 /* O_ASYNC */) == 0) {
            struct pollfd look;
            look.fd = fd;
            look.events = POLLIN;
            look.revents = 0;
            /* it was over before */
            if (conc__ps_poll(&look, 1, 0) > 0 && (look.revents & POLLHUP) != 0) conc__ps_orphaned();
            conc__port_socket_close(life);
            errno = saved;
            return 0;
        }
        conc__port_socket_close(fd);
    }
#endif
    e = conc__port_thread_start(&thread, conc__life_main, (void *)life, 65536);
    if (e == 0) conc__port_thread_detach(&thread);
    errno = saved;
    return e;
}

/* ---- starting -------------------------------------------------------------------------------------------- */

#if CONC__PIDFD
static int conc__ps_pidfd(int pid, intptr_t *fd) {
    int saved = errno;
    long n = conc__ps_syscall(CONC__SYS_PIDFD_OPEN, (long)pid, 0L);
    *fd = n >= 0 ? (intptr_t)n : -1;
    conc__ps_not_standard(fd);
    return conc__ps_end(n, saved);
}
#endif

/* Before: makes sure that the end can be told. `keep`: what the child is to hold until its end; -1: nothing. */
static int conc__ps_begin(conc__port_process *p, intptr_t *keep) {
    intptr_t pipe[2];
    int e;
    p->pid = 0;
    p->end = *keep = -1;
    p->early = false;
#if CONC__PIDFD
    e = CONC__FAULT("pidfd_open", EMFILE, ENOSYS);
    if (e == 0) e = conc__ps_pidfd(conc__ps_getpid(), &p->end); /* its place in the table is kept for the child's */
    if (e == 0 || (e != ENOSYS && e != EPERM)) return e;
#endif
    e = CONC__FAULT("pipe: end", EMFILE, ENFILE);
    if (e == 0) e = conc__ps_pipe(pipe);
    if (e != 0) return e;
    p->end = pipe[0];
    p->early = true;
    *keep = pipe[1];
    return 0;
}

/* After, in the parent: there is a child, or `e` says why not. */
static int conc__ps_begun(conc__port_process *p, int pid, intptr_t keep, int e) {
    int saved = errno;
    conc__port_socket_close(keep);
    p->pid = pid;
#if CONC__PIDFD
    if (!p->early) {
        conc__port_socket_close(p->end);
        p->end = -1;
        if (e == 0) {
            int none = CONC__FAULT("pidfd_open: child", EMFILE);
            if (none == 0) none = conc__ps_pidfd(pid, &p->end);
            /* ESRCH: it has ended, and nobody is to be told. Else others have taken the place: nobody tells us. */
            p->early = none != 0 && none != ESRCH;
        }
    }
#endif
    if (e != 0) conc__port_process_close(p);
    errno = saved;
    return e;
}

int conc__port_process_fork(conc__port_process *p, bool *child, intptr_t *keep) {
    int saved = errno, pid = -1, e = conc__ps_begin(p, keep);
    *child = false;
    if (e != 0) return e;
    e = CONC__FAULT("fork", EAGAIN, ENOMEM);
    if (e == 0) {
        pid = (int)conc__ps_fork();
        e = conc__ps_end(pid, saved);
    }
    if (pid == 0) {
        conc__port_process_close(p);
        /* What other threads have printed since the flush is theirs to write. */
        conc__ps_purge(stdout);
        conc__ps_purge(stderr);
        *child = true;
        return 0;
    }
    return conc__ps_begun(p, pid, *keep, e);
}

/* There, and nowhere else, a descriptor loses its close-on-exec: by being duplicated on another number, and back.
 * (That on itself it loses it as well is not so with glibc before 2.29.) */
static int conc__ps_hand_on(posix_spawn_file_actions_t *actions, intptr_t fd, intptr_t between) {
    int e;
    if (fd < 0) return 0;
    e = posix_spawn_file_actions_adddup2(actions, (int)fd, (int)between);
    return e != 0 ? e : posix_spawn_file_actions_adddup2(actions, (int)between, (int)fd);
}

int conc__port_process_spawn(conc__port_process *p, const char *program, const char *option, const char *argument,
                             const intptr_t *inherit, size_t n, intptr_t socket, void *passed) {
    posix_spawn_file_actions_t actions;
    char *argv[5], kept[24];
    intptr_t keep;
    pid_t pid = -1;
    size_t i;
    int saved = errno, e = conc__ps_begin(p, &keep);
    if (e != 0) return e;
    memcpy(passed, &socket, sizeof socket);
    argv[0] = (char *)(uintptr_t)program;
    argv[1] = (char *)(uintptr_t)option;
    argv[2] = (char *)(uintptr_t)argument;
    argv[3] = kept;
    argv[4] = NULL;
    (void)snprintf(kept, sizeof kept, "%ld", (long)keep);
    e = CONC__FAULT("posix_spawn", EAGAIN, ENOMEM, ENOENT);
    if (e == 0) e = posix_spawn_file_actions_init(&actions);
    if (e == 0) {
        /* `end` is nothing there */
        for (i = 0; i < n && e == 0; i++) e = conc__ps_hand_on(&actions, inherit[i], p->end);
        if (e == 0) e = conc__ps_hand_on(&actions, socket, p->end);
        if (e == 0) e = conc__ps_hand_on(&actions, keep, p->end);
        if (e == 0) e = posix_spawn_file_actions_addclose(&actions, (int)p->end);
        if (e == 0) {
#if CONC_OS_LINUX
            e = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, conc__ps_environ);
            if (e == ENOENT)
#endif
                e = posix_spawnp(&pid, program, &actions, NULL, argv, conc__ps_environ);
        }
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    errno = saved;
    return conc__ps_begun(p, (int)pid, keep, e);
}

int conc__port_socket_passed(const void *passed, intptr_t *fd) {
    memcpy(fd, passed, sizeof *fd);
    conc__port_inherited(*fd);
    return 0;
}

void conc__port_inherited(intptr_t fd) {
    int saved = errno;
    if (fd >= 0) (void)conc__ps_fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    errno = saved;
}

/* ---- ending -------------------------------------------------------------------------------------------------- */

/* ECHILD: SIGCHLD is ignored, or somebody else has waited for any child. */
bool conc__port_process_reap(conc__port_process *p, conc__port_ending *ending) {
    int saved = errno, status = 0, got;
    memset(ending, 0, sizeof *ending);
#if CONC__PIDFD
    if (!p->early && p->end >= 0) { /* so that nobody's pid but ours is asked for */
        struct pollfd look;
        look.fd = (int)p->end;
        look.events = POLLIN;
        look.revents = 0;
        if (conc__ps_poll(&look, 1, 0) <= 0) {
            errno = saved;
            return false;
        }
    }
#endif
    do {
        got = (int)conc__ps_waitpid((int)p->pid, &status, WNOHANG);
    } while (got < 0 && errno == EINTR);
    errno = saved;
    if (got == 0) return false;
    if (got > 0) {
        ending->known = true;
        ending->signaled = WIFSIGNALED(status);
        ending->code = ending->signaled ? WTERMSIG(status) : WEXITSTATUS(status);
    }
    return true;
}

static int conc__ps_send(conc__port_process *p, int number) {
    int saved = errno, e;
#if CONC__PIDFD
    if (!p->early) {
        if (p->end < 0) return 0;
        e = conc__ps_end(conc__ps_syscall(CONC__SYS_PIDFD_SEND_SIGNAL, (long)p->end, (long)number, NULL, 0L), saved);
        return e == ESRCH ? 0 : e;
    }
#endif
    e = conc__ps_end(conc__ps_kill((int)p->pid, number), saved);
    return e == ESRCH ? 0 : e;
}

int conc__port_process_signal(conc__port_process *p, bool kill) {
    int e = CONC__FAULT("kill", EPERM);
    if (e == 0) e = conc__ps_send(p, kill ? CONC__SIGKILL : CONC__SIGTERM);
    if (e == 0 && !kill) e = conc__ps_send(p, CONC__SIGCONT);
    return e;
}

void conc__port_process_close(conc__port_process *p) {
    conc__port_socket_close(p->end);
    p->end = -1;
}

long conc__port_pid(void) {
    return (long)conc__ps_getpid();
}

void conc__port_exit(int code) {
    for (;;) conc__ps_exit(code);
}

void conc__port_ignore_interrupt(void) {
    (void)signal(2 /* SIGINT */, SIG_IGN);
}

/* What it has is the size of its address space, which is what the limit is about. */
int conc__port_limit_memory(uint64_t more) {
#if CONC_OS_LINUX
    struct rlimit limit;
    unsigned long long has = 0;
    char line[128];
    int saved = errno, e = CONC__FAULT("setrlimit", EPERM);
    FILE *f = e == 0 ? fopen("/proc/self/status", "r") : NULL;
    if (e == 0 && f == NULL) e = errno;
    while (f != NULL && fgets(line, (int)sizeof line, f) != NULL) {
        if (sscanf(line, "VmSize: %llu", &has) == 1) break;
    }
    if (f != NULL) (void)fclose(f);
    has *= 1024;
    if (e == 0 && getrlimit(RLIMIT_AS, &limit) != 0) e = errno;
    if (e == 0 && more < UINT64_MAX - has && (uint64_t)(rlim_t)(has + more) == has + more &&
        (limit.rlim_max == RLIM_INFINITY || (rlim_t)(has + more) < limit.rlim_max)) { /* else what there is is less */
        limit.rlim_cur = limit.rlim_max = (rlim_t)(has + more);
        if (setrlimit(RLIMIT_AS, &limit) != 0) e = errno;
    }
    errno = saved;
    return e;
#else
    (void)more;
    return conc__port_unsupported();
#endif
}

const char *conc__port_signal_name(int number) {
    switch (number) {
    case 1: return "SIGHUP";
    case 2: return "SIGINT";
    case 3: return "SIGQUIT";
    case 4: return "SIGILL";
    case 5: return "SIGTRAP";
    case 6: return "SIGABRT";
    case 8: return "SIGFPE";
    case 9: return "SIGKILL";
    case 11: return "SIGSEGV";
    case 13: return "SIGPIPE";
    case 14: return "SIGALRM";
    case 15: return "SIGTERM";
    default: break;
    }
#if defined(SIGBUS)
    if (number == SIGBUS) return "SIGBUS";
#endif
#if defined(SIGXCPU)
    if (number == SIGXCPU) return "SIGXCPU";
#endif
#if defined(SIGSYS)
    if (number == SIGSYS) return "SIGSYS";
#endif
    return NULL;
}

/* ---- shared memory ------------------------------------------------------------------------------------------------ */

#if defined(MAP_ANONYMOUS)
#define CONC__MAP_ANONYMOUS MAP_ANONYMOUS
#elif defined(MAP_ANON)
#define CONC__MAP_ANONYMOUS MAP_ANON
#elif defined(__mips__)
#define CONC__MAP_ANONYMOUS 0x800
#elif defined(__alpha__) || defined(__hppa__)
#define CONC__MAP_ANONYMOUS 0x10
#else
#define CONC__MAP_ANONYMOUS 0x20
#endif

/* A file without a name, of `size` zeros. (Beyond the limit to files' sizes there would be SIGXFSZ.) */
static int conc__ps_file(size_t size, intptr_t *fd) {
    struct rlimit limit;
    int saved = errno, e;
    *fd = -1;
    if (size > (size_t)INT64_MAX || size > SIZE_MAX / 2) return ENOMEM;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        (uint64_t)size > (uint64_t)limit.rlim_cur) {
        return EFBIG;
    }
#if CONC_OS_LINUX
#if defined(SYS_memfd_create) && defined(SYS_ftruncate)
    *fd = (intptr_t)conc__ps_syscall(SYS_memfd_create, "conc", 1UL /* MFD_CLOEXEC */);
    e = conc__ps_end((long)*fd, saved);
    if (e == 0) e = conc__ps_end(conc__ps_syscall(SYS_ftruncate, (long)*fd, (long)size), saved);
#else
    e = ENOSYS;
    (void)saved;
#endif
#else
    {
        static uint32_t count; /* atomic */
        char name[40];
        (void)snprintf(name, sizeof name, "/conc-%ld-%u", (long)getpid(),
                       (unsigned)conc__add32(&count, 1, CONC__RELAXED));
        *fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600); /* is close-on-exec */
        e = *fd < 0 ? errno : 0;
        if (e == 0 && shm_unlink(name) < 0) e = errno;
        if (e == 0 && ftruncate((int)*fd, (off_t)size) < 0) e = errno;
        errno = saved;
    }
#endif
    if (e != 0) {
        conc__port_socket_close(*fd);
        *fd = -1;
    }
    conc__ps_not_standard(fd);
    return e;
}

static int conc__ps_map(conc__port_block *b) {
    int saved = errno, flags = b->fd >= 0 ? MAP_SHARED : MAP_SHARED | CONC__MAP_ANONYMOUS;
    void *p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, flags, (int)b->fd, 0);
    int e = p == MAP_FAILED ? errno : 0;
    errno = saved;
    b->data = e == 0 ? p : NULL;
    if (e != 0) conc__port_block_free(b);
    return e;
}

int conc__port_block_new(conc__port_block *b, size_t size, bool spawns) {
    int e = 0;
    b->data = NULL;
    b->size = size;
    b->fd = -1;
    if (spawns) e = CONC__FAULT("memfd_create", EMFILE, ENOMEM);
    if (e == 0 && spawns) e = conc__ps_file(size, &b->fd);
    if (e == 0) e = CONC__FAULT("mmap", ENOMEM);
    if (e != 0) {
        conc__port_block_free(b);
        return e;
    }
    return conc__ps_map(b);
}

int conc__port_block_open(conc__port_block *b, intptr_t fd, size_t size) {
    struct stat file;
    int saved = errno, e = CONC__FAULT("mmap: open", ENOMEM);
    b->data = NULL;
    b->size = size;
    b->fd = fd;
    if (e == 0) e = conc__ps_end(fstat((int)fd, &file), saved);
    if (e == 0 && (file.st_size < 0 || (uint64_t)file.st_size < size)) e = EINVAL; /* the numbers were a stranger's */
    return e != 0 ? e : conc__ps_map(b);
}

void conc__port_block_free(conc__port_block *b) {
    int saved = errno;
    if (b->data != NULL) (void)munmap(b->data, b->size);
    conc__port_socket_close(b->fd);
    errno = saved;
    b->data = NULL;
    b->fd = -1;
}

#endif /* !CONC_OS_WINDOWS */
