/* tree.c: a recursive generator walks a tree in order.
 *
 * In Python:
 *     def walk(node):
 *         if node.left: yield from walk(node.left)
 *         yield node.key
 *         if node.right: yield from walk(node.right)
 *     print(*walk(root)); print(*itertools.islice(walk(root), 3))
 *
 * Compile and run:  cc -I.. tree.c -pthread -o tree && ./tree
 *
 * Prints:
 *     all: 1 2 3 4 5 6 7
 *     the first three: 1 2 3
 *     6 comes after 5
 */
#define CONC_IMPLEMENTATION
#include "conc.h"

#include <stdio.h>

typedef struct node {
    int key;
    const struct node *left, *right;
} node;

CONC_GENERATOR(walk, int, const node *at;) {
    CONC_BEGIN;
    if (self->at->left != NULL) CONC_YIELD_FROM(CONC_GEN_NEW(walk, .at = self->at->left));
    CONC_YIELD(self->at->key);
    if (self->at->right != NULL) CONC_YIELD_FROM(CONC_GEN_NEW(walk, .at = self->at->right));
    CONC_END;
}

int main(void) {
    node n1 = {1, NULL, NULL}, n3 = {3, NULL, NULL}, n5 = {5, NULL, NULL}, n7 = {7, NULL, NULL};
    node n2 = {2, &n1, &n3}, n6 = {6, &n5, &n7}, root = {4, &n2, &n6};
    int before = 0;

    printf("all:");
    CONC_FOR_GEN(walk, key, .at = &root) printf(" %d", key);
    printf("\nthe first three:");
    CONC_FOREACH(int, key, conc_take(CONC_GEN_NEW(walk, .at = &root), 3)) printf(" %d", key);
    puts("");
    CONC_FOREACH(int, key, CONC_GEN_NEW(walk, .at = &root)) {
        if (before == 5) {
            printf("%d comes after 5\n", key);
            break; /* closes all the walks that are still under way */
        }
        before = key;
    }
    return 0;
}
