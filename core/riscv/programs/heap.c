// A heap that grows and is never freed: allocation, sorting, copying, bytes, halves and words.
#include "start.h"

static u8 heap[32 << 20];
static u64 used;
static void *allocate(u64 size) {
    used = (used + 15) & ~15ul;
    void *at = heap + used;
    used += size;
    if (used > sizeof heap) call(93, 255, 0, 0);
    return at;
}

typedef struct node { struct node *left, *right; u64 key; u32 count; short weight; signed char tag; } node;

static node *insert(node *root, u64 key) {
    if (!root) {
        node *n = allocate(sizeof *n);
        n->left = n->right = 0;
        n->key = key;
        n->count = 1;
        n->weight = key;
        n->tag = key >> 16;
        return n;
    }
    if (key == root->key) root->count++;
    else if (key < root->key) root->left = insert(root->left, key);
    else root->right = insert(root->right, key);
    return root;
}

static u64 sum(node *n) {
    if (!n) return 7;
    return sum(n->left) * 31 + n->key + n->count * (n->weight / 3) + n->tag % 5 + sum(n->right) * 17;
}

static void sort(int *a, int n) {
    if (n < 2) return;
    int pivot = a[n / 2], i = 0, j = n - 1;
    while (i <= j) {
        while (a[i] < pivot) i++;
        while (a[j] > pivot) j--;
        if (i <= j) { int t = a[i]; a[i++] = a[j]; a[j--] = t; }
    }
    sort(a, j + 1);
    sort(a + i, n - i);
}

int run(void) {
    u64 total = 0;
    for (int round = 0; round < ROUNDS; round++) {
        node *root = 0;
        for (int i = 0; i < 1000; i++) root = insert(root, next() >> 50);
        total = total * 13 + sum(root);
        int *numbers = allocate(4000);
        for (int i = 0; i < 1000; i++) numbers[i] = next();
        sort(numbers, 1000);
        u8 *copy = allocate(4000);
        memcpy(copy, numbers, 4000);
        for (int i = 0; i < 4000; i++) total = total * 33 + copy[i];
    }
    print(total);
    print(used);
    return total & 127;
}
