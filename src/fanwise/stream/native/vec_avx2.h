/* The vector layer on AVX2 and F16C: 8 words at a time. */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 8 };

typedef __m256i V;
typedef __m256i W;
typedef __m256 F;

static inline W w_set1(uint64_t a) { return _mm256_set1_epi64x((long long)a); }
static inline W w_iota(void) { return _mm256_set_epi64x(3, 2, 1, 0); }
static inline W w_add(W a, W b) { return _mm256_add_epi64(a, b); }
static inline W w_mul(W a, W b) { return _mm256_mul_epu32(a, b); }
static inline W w_high(W a) { return _mm256_shuffle_epi32(a, 0xf5); }
static inline W w_xor(W a, W b) { return _mm256_xor_si256(a, b); }
static inline W w_xor3(W a, W b, W c) {
  W early = _mm256_xor_si256(b, c); /* before `a` is there; a compiler that reorders it makes each round longer */
#if defined(__GNUC__)
  __asm__("" : "+x"(early));
#endif
  return _mm256_xor_si256(a, early);
}
static inline void w_pack(W a, W b, W c, W d, V out[2]) {
  W ab = _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xaa), cd = _mm256_blend_epi32(c, _mm256_slli_epi64(d, 32), 0xaa);
  W even = _mm256_unpacklo_epi64(ab, cd), odd = _mm256_unpackhi_epi64(ab, cd); /* blocks 0, 2 and 1, 3 */
  out[0] = _mm256_permute2x128_si256(even, odd, 0x20);
  out[1] = _mm256_permute2x128_si256(even, odd, 0x31);
}

static inline V v_set1(uint32_t a) { return _mm256_set1_epi32((int)a); }
static inline V v_load(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline V v_add(V a, V b) { return _mm256_add_epi32(a, b); }
static inline V v_or(V a, V b) { return _mm256_or_si256(a, b); }
static inline V v_xor(V a, V b) { return _mm256_xor_si256(a, b); }
static inline V v_and(V a, V b) { return _mm256_and_si256(a, b); }
static inline V v_shl(V a, V n) { return _mm256_sllv_epi32(a, n); }
static inline V v_sign(V a) { return _mm256_srai_epi32(a, 31); }
static inline V v_negate_where(V a, V w) { return _mm256_sign_epi32(a, _mm256_or_si256(w, _mm256_set1_epi32(1))); }
static inline V v_interleave_high(V even, V odd) { return _mm256_blend_epi32(odd, _mm256_shuffle_epi32(even, 0xf5), 0x55); }
static inline V v_mulhi(V a, V b) {
  V even = _mm256_mul_epi32(a, b), odd = _mm256_mul_epi32(_mm256_shuffle_epi32(a, 0xf5), _mm256_shuffle_epi32(b, 0xf5));
  return v_interleave_high(even, odd);
}
static inline V v_mulhi_u(V a, V b) {
  V even = _mm256_mul_epu32(a, b), odd = _mm256_mul_epu32(_mm256_shuffle_epi32(a, 0xf5), _mm256_shuffle_epi32(b, 0xf5));
  return v_interleave_high(even, odd);
}
/* From the exponent of a float; a & ~(a >> 1) keeps the leading bit and cannot round up to the next power. */
static inline V v_clz(V a) {
  V single = _mm256_andnot_si256(_mm256_srli_epi32(a, 1), a);
  V exponent = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(single)), 23); /* above 255 if bit 31 is set */
  return _mm256_max_epi32(_mm256_sub_epi32(_mm256_set1_epi32(158), exponent), _mm256_setzero_si256());
}
static inline int v_near(V row) {
  return _mm256_movemask_epi8(_mm256_cmpgt_epi32(row, _mm256_set1_epi32(7))) == 0;
}
static inline V v_lookup(const int32_t table[32], V row) {
  return _mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i *)table), row);
}
/* All 32 rows by four permutes: a gather is microcoded on some processors, and slower than these on all. */
static inline V v_lookup_far(const int32_t table[32], V row) {
  const __m256 eight = _mm256_castsi256_ps(_mm256_slli_epi32(row, 28)), sixteen = _mm256_castsi256_ps(_mm256_slli_epi32(row, 27));
  __m256 a = _mm256_castsi256_ps(v_lookup(table, row)), b = _mm256_castsi256_ps(v_lookup(table + 8, row));
  __m256 c = _mm256_castsi256_ps(v_lookup(table + 16, row)), d = _mm256_castsi256_ps(v_lookup(table + 24, row));
  return _mm256_castps_si256(_mm256_blendv_ps(_mm256_blendv_ps(a, b, eight), _mm256_blendv_ps(c, d, eight), sixteen));
}

static inline F f_set1(float a) { return _mm256_set1_ps(a); }
static inline F f_from(V a) { return _mm256_cvtepi32_ps(a); }
static inline F f_mul(F a, F b) { return _mm256_mul_ps(a, b); }
static inline F f_add(F a, F b) { return _mm256_add_ps(a, b); }
static inline F f_max(F a, F b) { return _mm256_max_ps(a, b); }
static inline F f_min(F a, F b) { return _mm256_min_ps(a, b); }

static inline void v_store(uint32_t *p, V a) { _mm256_storeu_si256((__m256i *)p, a); }
static inline void f_store(float *p, F a) { _mm256_storeu_ps(p, a); }
static inline V bfloat16_of(F a) {
  V b = _mm256_castps_si256(a), odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
  return _mm256_srli_epi32(_mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}
static inline void f_store_bfloat16(uint16_t *p, F a, F b) {
  V mixed = _mm256_packus_epi32(bfloat16_of(a), bfloat16_of(b)); /* halves of a, b, a, b */
  _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(mixed, 0xd8));
}
static inline void f_store_float16(uint16_t *p, F a) {
  _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

typedef struct { double unit, mean, low, high; } D4;
static inline void d_store(double *p, V a, const D4 *d) {
  for (int half = 0; half < 2; half++) {
    __m128i n = half ? _mm256_extracti128_si256(a, 1) : _mm256_castsi256_si128(a);
    __m256d v = _mm256_mul_pd(_mm256_cvtepi32_pd(n), _mm256_set1_pd(d->unit));
    if (d->mean != 0) v = _mm256_add_pd(v, _mm256_set1_pd(d->mean));
    v = _mm256_min_pd(_mm256_max_pd(v, _mm256_set1_pd(d->low)), _mm256_set1_pd(d->high));
    _mm256_storeu_pd(p + 4 * half, v);
  }
}
