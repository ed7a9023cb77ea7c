// Entry and system calls of the test programs. No libc: they run on QEMU and on the machine.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef __uint128_t u128;

static inline long call(long number, long a, long b, long c) {
    register long a0 asm("a0") = a;
    register long a1 asm("a1") = b;
    register long a2 asm("a2") = c;
    register long a7 asm("a7") = number;
    asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
    return a0;
}

static void print(u64 value) {
    char text[17];
    for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    text[16] = '\n';
    call(64, 1, (long)text, 17);
}

static u64 seed = 88172645463325252ul;
static u64 next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

void *memcpy(void *to, const void *from, u64 n) {
    for (u64 i = 0; i < n; i++) ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}
void *memset(void *to, int value, u64 n) {
    for (u64 i = 0; i < n; i++) ((u8 *)to)[i] = value;
    return to;
}

int run(void);
__attribute__((naked, used)) void _start(void) { asm("call enter"); }
__attribute__((used)) static void enter(void) {
    call(93, run(), 0, 0);
    __builtin_unreachable();
}
