// Inverses in the field of secp256k1: what signature recovery spends its time on.
#include "start.h"

typedef struct { u64 n[4]; } fe;
#define C 0x1000003d1ul

static fe mul(fe a, fe b) {
    u64 t[8] = {0};
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u64 carry = 0;
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            u128 p = (u128)a.n[i] * b.n[j] + t[i + j] + carry;
            t[i + j] = p;
            carry = p >> 64;
        }
        t[i + 4] = carry;
    }
    fe r;
    u64 carry = 0;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u128 p = (u128)t[i + 4] * C + t[i] + carry;
        r.n[i] = p;
        carry = p >> 64;
    }
    u128 p = (u128)carry * C + r.n[0];
    r.n[0] = p;
    carry = p >> 64;
    for (int i = 1; i < 4; i++) {
        p = (u128)r.n[i] + carry;
        r.n[i] = p;
        carry = p >> 64;
    }
    r.n[0] += carry * C;
    return r;
}

static fe inverse(fe a) {
    fe r = {{1, 0, 0, 0}};
    u64 e[4] = {0xfffffffefffffc2dul, ~0ul, ~0ul, ~0ul};
    for (int i = 255; i >= 0; i--) {
        r = mul(r, r);
        if (e[i / 64] >> (i % 64) & 1) r = mul(r, a);
    }
    return r;
}

int run(void) {
    fe a = {{next(), next(), next(), next()}};
    for (int i = 0; i < ROUNDS; i++) {
        fe b = inverse(a);
        a = mul(b, b);
        a.n[0] ^= i;
    }
    for (int i = 0; i < 4; i++) print(a.n[i]);
    return a.n[0] & 127;
}
