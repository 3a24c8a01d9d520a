/* ============================================================================================
 * net: sockets, in the vocabulary of all waits.
 * ========================================================================================== */

#ifndef CONC__NET_H
#define CONC__NET_H

#include "wait.h"

/* An address of the internet: a host's number and a port. A plain value; all zero is none. */
typedef struct conc_address {
    uint8_t ip[16];  /* as on the wire; of version 4 the first four count, the rest is 0 */
    uint32_t scope;  /* version 6: the interface of a link-local address; else 0 */
    uint16_t port;
    uint8_t family;  /* 4 or 6, the version of the internet protocol; 0: none */
    uint8_t conc__unused;
} conc_address;

#endif
