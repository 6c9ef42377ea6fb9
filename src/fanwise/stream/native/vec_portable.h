/* The vector layer without vectors: two words at a time in plain C. */
#include <string.h>
#include <stdint.h>

enum { LANES = 2 };

typedef struct { uint32_t x[2]; } V; /* 32-bit words */
typedef uint64_t W;                  /* a 64-bit lane for each two words */
typedef struct { float x[2]; } F;

#define EACH for (int i = 0; i < 2; i++)

static inline W w_set1(uint64_t a) { return a; }
static inline W w_iota(void) { return 0; }
static inline W w_add(W a, W b) { return a + b; }
static inline W w_mul(W a, W b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
static inline W w_high(W a) { return a >> 32; }
static inline W w_xor(W a, W b) { return a ^ b; }
static inline W w_xor3(W a, W b, W c) { return a ^ b ^ c; }
static inline void w_pack(W a, W b, W c, W d, V out[2]) {
  out[0].x[0] = (uint32_t)a, out[0].x[1] = (uint32_t)b, out[1].x[0] = (uint32_t)c, out[1].x[1] = (uint32_t)d;
}

static inline V v_set1(uint32_t a) { return (V){{a, a}}; }
static inline V v_load(const uint32_t *p) { V v; memcpy(&v, p, sizeof v); return v; }
static inline V v_add(V a, V b) { EACH a.x[i] += b.x[i]; return a; }
static inline V v_or(V a, V b) { EACH a.x[i] |= b.x[i]; return a; }
static inline V v_xor(V a, V b) { EACH a.x[i] ^= b.x[i]; return a; }
static inline V v_and(V a, V b) { EACH a.x[i] &= b.x[i]; return a; }
static inline V v_shl(V a, V n) { EACH a.x[i] <<= n.x[i]; return a; }
static inline V v_sign(V a) { EACH a.x[i] = a.x[i] >> 31 ? 0xffffffffu : 0; return a; }
static inline V v_negate_where(V a, V w) { EACH a.x[i] = w.x[i] >> 31 ? 0u - a.x[i] : a.x[i]; return a; }
static inline V v_mulhi(V a, V b) {
  EACH a.x[i] = (uint32_t)((uint64_t)((int64_t)(int32_t)a.x[i] * (int32_t)b.x[i]) >> 32);
  return a;
}
static inline V v_mulhi_u(V a, V b) { EACH a.x[i] = (uint32_t)((uint64_t)a.x[i] * b.x[i] >> 32); return a; }
static inline uint32_t leading_zeros(uint32_t a) { /* a is not 0 */
#if defined(__GNUC__)
  return (uint32_t)__builtin_clz(a);
#else
  uint32_t n = 0;
  while (!(a >> 31)) a <<= 1, n++;
  return n;
#endif
}
static inline V v_clz(V a) { EACH a.x[i] = leading_zeros(a.x[i]); return a; }
static inline int v_near(V row) { (void)row; return 1; }
static inline V v_lookup(const int32_t table[32], V row) { EACH row.x[i] = (uint32_t)table[row.x[i]]; return row; }
#define v_lookup_far v_lookup

static inline F f_set1(float a) { return (F){{a, a}}; }
static inline F f_from(V a) { F f; EACH f.x[i] = (float)(int32_t)a.x[i]; return f; }
static inline F f_mul(F a, F b) { EACH a.x[i] *= b.x[i]; return a; }
static inline F f_add(F a, F b) { EACH a.x[i] += b.x[i]; return a; }
static inline F f_max(F a, F b) { EACH a.x[i] = a.x[i] > b.x[i] ? a.x[i] : b.x[i]; return a; }
static inline F f_min(F a, F b) { EACH a.x[i] = a.x[i] < b.x[i] ? a.x[i] : b.x[i]; return a; }

static inline void v_store(uint32_t *p, V a) { memcpy(p, &a, sizeof a); }
static inline void f_store(float *p, F a) { memcpy(p, &a, sizeof a); }

static inline uint32_t bits_of(float a) { uint32_t b; memcpy(&b, &a, sizeof b); return b; }

static inline uint16_t bfloat16_of(float a) { /* nearest even; a is finite */
  uint32_t b = bits_of(a);
  return (uint16_t)((b + 0x7fffu + (b >> 16 & 1)) >> 16);
}

static inline uint16_t float16_of(float a) { /* nearest even; |a| < 65520 */
  uint32_t b = bits_of(a), sign = b >> 16 & 0x8000u, magnitude = b & 0x7fffffffu;
  if (magnitude < 0x38800000u) { /* below 2**-14: the integer it is in steps of 2**-24, rounded by the addition */
    float shifted;
    memcpy(&shifted, &magnitude, sizeof shifted);
    shifted += 0.5f; /* 2**-1 has steps of 2**-24 */
    return (uint16_t)(sign | (bits_of(shifted) - 0x3f000000u));
  }
  return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13));
}

static inline void f_store_bfloat16(uint16_t *p, F a, F b) {
  const uint16_t h[4] = {bfloat16_of(a.x[0]), bfloat16_of(a.x[1]), bfloat16_of(b.x[0]), bfloat16_of(b.x[1])};
  memcpy(p, h, sizeof h);
}
static inline void f_store_float16(uint16_t *p, F a) {
  uint16_t h[2];
  EACH h[i] = float16_of(a.x[i]);
  memcpy(p, h, sizeof h);
}

typedef struct { double unit, mean, low, high; } D4;
static inline void d_store(double *p, V a, const D4 *d) {
  double y[2];
  EACH {
    double v = (double)(int32_t)a.x[i] * d->unit;
    if (d->mean != 0) v += d->mean;
    v = v > d->low ? v : d->low;
    y[i] = v < d->high ? v : d->high;
  }
  memcpy(p, y, sizeof y);
}
#undef EACH
