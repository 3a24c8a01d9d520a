/* ============================================================================================
 * net: sockets, in the vocabulary of all waits.
 *
 * A conc_socket is a connection, a listener for connections, or a socket for datagrams. Each of its operations is an op, for
 * threads and coroutines alike, and a call that blocks the thread on that op. It may be used by several at once: one receives
 * while another sends, several accept on one listener. (Two that send on one connection mix their bytes where one send ends
 * in parts; two that receive share them.)
 *
 * Ending: conc_socket_close() is for everybody and at any time: all who wait on the socket, now or later, get
 * CONC_CLOSED. conc_socket_free() is for the last who uses it, when all others have done so; the descriptor's number stays
 * taken until then, so that no wait can land on another socket.
 *
 * Buffers are the caller's; the library copies nothing. No write raises SIGPIPE. Descriptors are not inherited by
 * programs that this one starts. Inside a simulation there are no sockets.
 * ========================================================================================== */

#ifndef CONC__NET_H
#define CONC__NET_H

#include "wait.h"

/* ---- addresses -------------------------------------------------------------------------------- */

/* An address of the internet: a host's number and a port. A plain value; all zero is none. */
typedef struct conc_address {
    uint8_t ip[16];  /* as on the wire; of version 4 the first four count, the rest is 0 */
    uint32_t scope;  /* version 6: the interface of a link-local address; else 0 */
    uint16_t port;
    uint8_t family;  /* 4 or 6, the version of the internet protocol; 0: none */
    uint8_t conc__unused;
} conc_address;

/* From text, in numbers: "127.0.0.1", "::1", "fe80::1%2"; with "127.0.0.1:80" and "[::1]:80" the text's port counts, else
 * `port`. CONC_INVALID: it is none, or NULL, or port is over 65535. Does not block. */
CONC_API conc_result conc_address_parse(const char *text, unsigned port, conc_address *address);
/* Into text that conc_address_parse() reads: "127.0.0.1:80", "[::1]:80"; "none". Returns `buffer`, cut where it is
 * too short. Does not block. */
#define CONC_ADDRESS_TEXT 64 /* enough for every address */
CONC_API const char *conc_address_text(const conc_address *address, char *buffer, size_t size);
CONC_API unsigned conc_address_port(const conc_address *address);
CONC_API bool conc_address_equal(const conc_address *a, const conc_address *b);

/* The addresses of a host, by name or in numbers, in the order in which to try them. *found: how many of them are in `list`,
 * at most `n` (and 16). CONC_OK (one or more), CONC_TIMEOUT, CONC_CANCELED, CONC_INVALID (NULL, n is 0, port over 65535, a name
 * over 255 bytes), CONC_NO_MEMORY, CONC_NO_THREADS, CONC_SYSTEM with what the system says ("no such host"). The system's own
 * look-up cannot be interrupted: so where there is a deadline or a token, it is offloaded (see loop.h). */
CONC_API conc_result conc_lookup(const char *host, unsigned port, conc_address *list, size_t n, size_t *found,
                                 conc_deadline deadline);

/* The same as an op: name and port in, `found` of `list` out. Must live as long as the op. */
typedef struct conc_host {
    char name[256];
    unsigned port;
    size_t found;
    conc_address list[16];
    int conc__answer;
    char conc__text[160];
} conc_host;
CONC_API conc_op conc_op_lookup(conc_host *host);

/* ---- making sockets --------------------------------------------------------------------------------
 * Each gives a socket, or NULL with the reason in conc_error_result() and conc_error_detail(): CONC_INVALID,
 * CONC_NO_MEMORY, CONC_SYSTEM ("cannot listen on 127.0.0.1:8080: Address already in use"), CONC_REJECTED (this process or the
 * machine has no more descriptors), and what conc_lookup() gives for `host`. */

typedef struct conc_socket conc_socket;

typedef struct conc_listen_desc {
    int backlog;     /* connections that the system holds until they are accepted; 0: 128 */
    bool reuse_port; /* several listeners on this port, which share its connections; not on Windows */
    bool v6_only;    /* host NULL: version 6 alone; else both where the system can */
} conc_listen_desc;

/* Listens for connections. host NULL: on all of this machine's addresses. port 0: the system chooses, and
 * conc_socket_address() tells. Blocks as conc_lookup() does if `host` is a name. */
CONC_API conc_socket *conc_tcp_listen(const char *host, unsigned port, const conc_listen_desc *desc);
/* Connects; of several addresses of a host it tries one after the other, each for its share of the time that is left. Blocks.
 * Also CONC_TIMEOUT, CONC_CANCELED. */
CONC_API conc_socket *conc_tcp_connect(const char *host, unsigned port, conc_deadline deadline);
/* For conc_op_connect(): `family` 4 or 6. Does not block. */
CONC_API conc_socket *conc_tcp_open(unsigned family);

/* For datagrams, at an address of this machine; host and port as for conc_tcp_listen(). */
CONC_API conc_socket *conc_udp_bind(const char *host, unsigned port);
/* The same without an address: the first send gives it one. 6 can send to 4 too. Does not block. */
CONC_API conc_socket *conc_udp_open(unsigned family);

/* ---- what they have in common -------------------------------------------------------------------------
 * None of these blocks. CONC_INVALID: no socket, or not one that this can be asked of. */

/* Its own address (with the port that the system chose), and that of the other side of a connection. CONC_SYSTEM: it has
 * none. */
CONC_API conc_result conc_socket_address(const conc_socket *s, conc_address *address);
CONC_API conc_result conc_socket_peer(const conc_socket *s, conc_address *address);

typedef enum conc_socket_option {
    CONC_NO_DELAY,      /* 1: small packets are sent at once (TCP_NODELAY) */
    CONC_KEEP_ALIVE,    /* 1: a silent connection is tested from time to time */
    CONC_BROADCAST,     /* 1: datagrams may be sent to all of a network */
    CONC_SEND_BUFFER,   /* bytes that the system holds for us; it may take another number */
    CONC_RECEIVE_BUFFER
} conc_socket_option;
CONC_API conc_result conc_socket_set(conc_socket *s, conc_socket_option option, int value);

/* The system's descriptor (an int; on Windows a SOCKET), which remains the socket's; -1: no socket. */
CONC_API intptr_t conc_socket_fd(const conc_socket *s);

/* We send no more: the other side reads what was sent and then the end. Receiving goes on. CONC_OK, CONC_CLOSED, or
 * CONC_SYSTEM (not connected). */
CONC_API conc_result conc_socket_shutdown(conc_socket *s);
/* By anybody, also while others use it: every wait on it ends, now and later, with CONC_CLOSED. What was sent still arrives.
 * Again is harmless. */
CONC_API conc_result conc_socket_close(conc_socket *s);
/* Closes it if it is not yet, and gives it back. CONC_BUSY: somebody waits on it; nothing was done but the closing, which ends
 * that. Nobody may use it any more. */
CONC_API conc_result conc_socket_free(conc_socket *s);

/* ---- connections ------------------------------------------------------------------------------------- */

/* Waits for a connection and makes *conn of it. CONC_OK; CONC_CLOSED: the listener was closed. After any other result the
 * listener goes on, and *conn is NULL:
 *   CONC_BROKEN     one came and was gone again
 *   CONC_REJECTED   this process, or the machine, has no more descriptors. The connection was accepted with one that the
 *                   listener keeps for that, and closed, so that nobody waits at the other end in vain, and the next one gets
 *                   its turn. (If others took that one too, the connection stays with the system until there is one.)
 *   CONC_NO_MEMORY  of ours (the connection was closed) or of the system's
 *   CONC_SYSTEM     anything else */
CONC_API conc_result conc_accept(conc_socket *listener, conc_socket **conn, conc_deadline deadline);
CONC_API conc_op conc_op_accept(conc_socket *listener, conc_socket **conn);

/* Connects it to *address, which must live as long as the op. CONC_OK; CONC_SYSTEM ("cannot connect to 127.0.0.1:1: Connection
 * refused"), after which the socket is good for nothing but being freed; CONC_CLOSED. If the wait ends otherwise, the
 * connecting goes on, and another op waits for it. For datagrams: the address that conc_op_send() sends to, and the only one
 * that is heard; at once. */
CONC_API conc_op conc_op_connect(conc_socket *s, const conc_address *address);

/* A piece of memory to receive into, or to send from, and how much of it was done. Must live as long as the op. */
typedef struct conc_io {
    void *data;
    size_t size;
    size_t done;
} conc_io;
typedef struct conc_out {
    const void *data;
    size_t size;
    size_t done;
} conc_out;

/* Some bytes, as many as are there: CONC_OK with `done` 1 or more (0 only if size is 0). CONC_CLOSED: the other side has sent
 * all, or the socket was closed. CONC_BROKEN: the connection was cut; what that means for what was sent is not
 * known. CONC_NO_MEMORY and CONC_SYSTEM, of the system. *done is set whatever the result. */
CONC_API conc_result conc_receive(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline);
CONC_API conc_op conc_op_receive(conc_socket *s, conc_io *io);
/* All `size` bytes: with any other result than CONC_OK, *done (NULL: not wanted) tells how many came before. */
CONC_API conc_result conc_receive_full(conc_socket *s, void *buffer, size_t size, size_t *done, conc_deadline deadline);
/* The same as an op. It sets `done` to 0 when it is made; what was received before the wait ended otherwise is not lost, but
 * in the buffer: `done` tells. */
CONC_API conc_op conc_op_receive_full(conc_socket *s, conc_io *io);

/* All of it into the system's hands: with any other result than CONC_OK, *done (NULL: not wanted) tells how much was. The op:
 * some of it, 1 byte or more. Results as above; CONC_BROKEN: the other side is gone. */
CONC_API conc_result conc_send_all(conc_socket *s, const void *data, size_t size, size_t *done, conc_deadline deadline);
CONC_API conc_op conc_op_send(conc_socket *s, conc_out *out);
/* All of it, as an op. It sets `done` to 0 when it is made; with any other result than CONC_OK, and if another op of a select
 * won, `done` tells how much has gone. */
CONC_API conc_op conc_op_send_all(conc_socket *s, conc_out *out);

/* ---- datagrams ----------------------------------------------------------------------------------------- */

typedef struct conc_datagram {
    void *data;           /* where it goes */
    size_t size;          /* of that */
    size_t done;          /* of the datagram */
    conc_address address; /* who sent it */
    bool truncated;       /* it was longer than size: the rest is lost */
} conc_datagram;
typedef struct conc_datagram_out {
    const void *data;
    size_t size;
    size_t done;
    conc_address address; /* to whom; family 0: to whom the socket is connected */
} conc_datagram_out;

/* One datagram. CONC_OK; CONC_CLOSED: the socket was closed; CONC_BROKEN: nobody is there at the connected address (some
 * systems tell that to the next call, some never); CONC_NO_MEMORY and CONC_SYSTEM, of the system. Delivery is not
 * promised: that is what datagrams are. */
CONC_API conc_result conc_receive_from(conc_socket *s, conc_datagram *d, conc_deadline deadline);
CONC_API conc_op conc_op_receive_from(conc_socket *s, conc_datagram *d);
CONC_API conc_result conc_send_to(conc_socket *s, const void *data, size_t size, const conc_address *to,
                                  conc_deadline deadline);
CONC_API conc_op conc_op_send_to(conc_socket *s, conc_datagram_out *d);

/* ---- any descriptor ---------------------------------------------------------------------------------------
 * Completes with CONC_OK when the descriptor can be read from / written to without waiting, or is at its end, or has an error
 * to tell. For what is not a conc_socket: pipes, terminals, the sockets of other libraries (on Windows, those alone). Files on
 * disk are always ready. CONC_INVALID: it is not open. The descriptor is to stay open while it is waited for. */
CONC_API conc_op conc_op_readable(intptr_t fd);
CONC_API conc_op conc_op_writable(intptr_t fd);

#endif
