/* The vector layer on AArch64 NEON: 4 words at a time. */
#include <arm_neon.h>
#include <stdint.h>

enum { LANES = 4 };

typedef uint32x4_t V;
typedef uint64x2_t W;
typedef float32x4_t F;

static inline W w_set1(uint64_t a) { return vdupq_n_u64(a); }
static inline W w_iota(void) { return vcombine_u64(vcreate_u64(0), vcreate_u64(1)); }
static inline W w_add(W a, W b) { return vaddq_u64(a, b); }
static inline W w_mul(W a, W b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
static inline W w_high(W a) { return vshrq_n_u64(a, 32); }
static inline W w_xor(W a, W b) { return veorq_u64(a, b); }
static inline W w_xor3(W a, W b, W c) { return veorq_u64(veorq_u64(a, b), c); }
static inline void w_pack(W a, W b, W c, W d, V out[2]) {
  V ab = vtrn1q_u32(vreinterpretq_u32_u64(a), vreinterpretq_u32_u64(b));
  V cd = vtrn1q_u32(vreinterpretq_u32_u64(c), vreinterpretq_u32_u64(d));
  out[0] = vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(ab), vreinterpretq_u64_u32(cd)));
  out[1] = vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(ab), vreinterpretq_u64_u32(cd)));
}

static inline V v_set1(uint32_t a) { return vdupq_n_u32(a); }
static inline V v_load(const uint32_t *p) { return vld1q_u32(p); }
static inline V v_add(V a, V b) { return vaddq_u32(a, b); }
static inline V v_or(V a, V b) { return vorrq_u32(a, b); }
static inline V v_xor(V a, V b) { return veorq_u32(a, b); }
static inline V v_and(V a, V b) { return vandq_u32(a, b); }
static inline V v_shl(V a, V n) { return vshlq_u32(a, vreinterpretq_s32_u32(n)); }
static inline V v_sign(V a) { return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a), 31)); }
static inline V v_negate_where(V a, V w) {
  V negated = vreinterpretq_u32_s32(vnegq_s32(vreinterpretq_s32_u32(a)));
  return vbslq_u32(v_sign(w), negated, a);
}
static inline V v_mulhi(V a, V b) {
  int32x4_t x = vreinterpretq_s32_u32(a), y = vreinterpretq_s32_u32(b);
  int64x2_t low = vmull_s32(vget_low_s32(x), vget_low_s32(y)), high = vmull_high_s32(x, y);
  return vuzp2q_u32(vreinterpretq_u32_s64(low), vreinterpretq_u32_s64(high));
}
static inline V v_mulhi_u(V a, V b) {
  uint64x2_t low = vmull_u32(vget_low_u32(a), vget_low_u32(b)), high = vmull_high_u32(a, b);
  return vuzp2q_u32(vreinterpretq_u32_u64(low), vreinterpretq_u32_u64(high));
}
static inline V v_clz(V a) { return vclzq_u32(a); }
static inline int v_near(V row) { (void)row; return 1; }
static inline V v_lookup(const int32_t table[32], V row) {
  uint32_t r[4];
  vst1q_u32(r, row);
  const int32_t found[4] = {table[r[0]], table[r[1]], table[r[2]], table[r[3]]};
  return vreinterpretq_u32_s32(vld1q_s32(found));
}
#define v_lookup_far v_lookup

static inline F f_set1(float a) { return vdupq_n_f32(a); }
static inline F f_from(V a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }
static inline F f_mul(F a, F b) { return vmulq_f32(a, b); }
static inline F f_add(F a, F b) { return vaddq_f32(a, b); }
static inline F f_max(F a, F b) { return vmaxq_f32(a, b); }
static inline F f_min(F a, F b) { return vminq_f32(a, b); }

static inline void v_store(uint32_t *p, V a) { vst1q_u32(p, a); }
static inline void f_store(float *p, F a) { vst1q_f32(p, a); }
static inline uint16x4_t bfloat16_of(F a) {
  V b = vreinterpretq_u32_f32(a), odd = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));
  return vshrn_n_u32(vaddq_u32(b, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
}
static inline void f_store_bfloat16(uint16_t *p, F a, F b) { vst1q_u16(p, vcombine_u16(bfloat16_of(a), bfloat16_of(b))); }
static inline void f_store_float16(uint16_t *p, F a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }

typedef struct { double unit, mean, low, high; } D4;
static inline void d_store(double *p, V a, const D4 *d) {
  for (int half = 0; half < 2; half++) {
    int32x4_t n = vreinterpretq_s32_u32(a);
    float64x2_t v = vcvtq_f64_s64(vmovl_s32(half ? vget_high_s32(n) : vget_low_s32(n)));
    v = vmulq_f64(v, vdupq_n_f64(d->unit));
    if (d->mean != 0) v = vaddq_f64(v, vdupq_n_f64(d->mean));
    v = vminq_f64(vmaxq_f64(v, vdupq_n_f64(d->low)), vdupq_n_f64(d->high));
    vst1q_f64(p + 2 * half, v);
  }
}
