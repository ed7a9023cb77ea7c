// Keccak-f over and over.
#include "start.h"

static const u8 rotation[24] = {1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44};
static const u8 place[24] = {10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1};
#define ROL(x, n) ((x) << (n) | (x) >> (64 - (n)))

static void permute(u64 a[25]) {
    u64 lfsr = 1;
    for (int round = 0; round < 24; round++) {
        u64 c[5];
#pragma GCC unroll 5
        for (int x = 0; x < 5; x++) c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
#pragma GCC unroll 5
        for (int x = 0; x < 5; x++) {
            u64 d = c[(x + 4) % 5] ^ ROL(c[(x + 1) % 5], 1);
#pragma GCC unroll 5
            for (int y = 0; y < 25; y += 5) a[x + y] ^= d;
        }
        u64 last = a[1];
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++) {
            u64 t = a[place[i]];
            a[place[i]] = ROL(last, rotation[i]);
            last = t;
        }
#pragma GCC unroll 5
        for (int y = 0; y < 25; y += 5) {
            u64 b[5];
#pragma GCC unroll 5
            for (int x = 0; x < 5; x++) b[x] = a[x + y];
#pragma GCC unroll 5
            for (int x = 0; x < 5; x++) a[x + y] = b[x] ^ (~b[(x + 1) % 5] & b[(x + 2) % 5]);
        }
        for (int j = 0; j < 7; j++) {
            if (lfsr & 1) a[0] ^= 1ul << ((1 << j) - 1);
            lfsr = lfsr << 1 ^ (lfsr >> 7) * 0x171;
        }
    }
}

int run(void) {
    u64 a[25];
    for (int i = 0; i < 25; i++) a[i] = next();
    for (int i = 0; i < ROUNDS; i++) permute(a);
    for (int i = 0; i < 25; i++) print(a[i]);
    return a[0] & 127;
}
