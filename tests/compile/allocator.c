/* The user's own allocator, in a program that wants neither assertions nor stdio before it. */
#define NDEBUG
#include <stddef.h>

extern void *user_malloc(size_t size);
extern void *user_realloc(void *p, size_t size);
extern void user_free(void *p);

#define CONC_MALLOC(size) user_malloc(size)
#define CONC_REALLOC(p, size) user_realloc(p, size)
#define CONC_FREE(p) user_free(p)
#define CONC_IMPLEMENTATION
#include "../../conc.h"
