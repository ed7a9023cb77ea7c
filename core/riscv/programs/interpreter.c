// A bytecode interpreter over a stack, with a hash table for storage: branches that are hard to
// predict, bytes, tables of jumps.
#include "start.h"

enum { PUSH, ADD, MUL, DUP, SWAP, LOAD, STORE, JUMPI, LT, XOR, DIV, POP, KINDS };
static u8 code[4096];
static u64 keys[4096], values[4096];
static u64 stack[64];

static u64 *slot(u64 key) {
    u64 at = key * 0x9e3779b97f4a7c15ul >> 52;
    while (keys[at] && keys[at] != key) at = (at + 1) & 4095;
    keys[at] = key;
    return &values[at];
}

int run(void) {
    for (int i = 0; i < 4096; i++) code[i] = next();
    u64 pc = 0, sp = 0, gas = ROUNDS;
    while (gas--) {
        u64 *top = &stack[sp & 31];
        switch (code[pc++ & 4095] % KINDS) {
        case PUSH: sp++; stack[sp & 31] = code[pc++ & 4095]; break;
        case ADD: top[0] += stack[(sp - 1) & 31]; break;
        case MUL: top[0] *= stack[(sp - 1) & 31] | 1; break;
        case DUP: sp++; stack[sp & 31] = top[0]; break;
        case SWAP: { u64 t = top[0]; top[0] = stack[(sp - 3) & 31]; stack[(sp - 3) & 31] = t; break; }
        case LOAD: top[0] = *slot((top[0] & 1023) + 1); break;
        case STORE: *slot((top[0] & 1023) + 1) += stack[(sp - 1) & 31]; sp--; break;
        case JUMPI: if (top[0] & 1) pc = top[0] >> 8 & 4095; sp--; break;
        case LT: top[0] = top[0] < stack[(sp - 1) & 31]; break;
        case XOR: top[0] ^= next(); break;
        case DIV: top[0] = top[0] / (stack[(sp - 1) & 31] | 1) + (int)top[0] % 77; break;
        case POP: sp--; break;
        }
    }
    u64 sum = 0;
    for (int i = 0; i < 4096; i++) sum = sum * 31 + (keys[i] ^ values[i]);
    for (int i = 0; i < 32; i++) sum = sum * 31 + stack[i];
    print(sum);
    print(pc);
    return sum & 127;
}
