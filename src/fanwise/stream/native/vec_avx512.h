/* The vector layer on AVX-512 (F, BW, CD, DQ, VL): 16 words at a time. */
#include <immintrin.h>
#include <stdint.h>

enum { LANES = 16 };

typedef __m512i V;
typedef __m512i W;
typedef __m512 F;

/* The odd 16-bit halves of one vector, then of another: the high ones. */
static const _Alignas(64) uint16_t ODD_HALVES[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                                      33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

static inline W w_set1(uint64_t a) { return _mm512_set1_epi64((long long)a); }
static inline W w_iota(void) { return _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0); }
static inline W w_add(W a, W b) { return _mm512_add_epi64(a, b); }
static inline W w_mul(W a, W b) { return _mm512_mul_epu32(a, b); }
static inline W w_high(W a) { return _mm512_srli_epi64(a, 32); }
static inline W w_xor(W a, W b) { return _mm512_xor_si512(a, b); }
static inline W w_xor3(W a, W b, W c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
static inline void w_pack(W a, W b, W c, W d, V out[2]) {
  const W low = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), high = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
  W ab = _mm512_mask_shuffle_epi32(a, 0xaaaa, b, 0xa0), cd = _mm512_mask_shuffle_epi32(c, 0xaaaa, d, 0xa0);
  out[0] = _mm512_permutex2var_epi64(ab, low, cd);
  out[1] = _mm512_permutex2var_epi64(ab, high, cd);
}

static inline V v_set1(uint32_t a) { return _mm512_set1_epi32((int)a); }
static inline V v_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
static inline V v_add(V a, V b) { return _mm512_add_epi32(a, b); }
static inline V v_or(V a, V b) { return _mm512_or_si512(a, b); }
static inline V v_xor(V a, V b) { return _mm512_xor_si512(a, b); }
static inline V v_and(V a, V b) { return _mm512_and_si512(a, b); }
static inline V v_shl(V a, V n) { return _mm512_sllv_epi32(a, n); }
static inline V v_sign(V a) { return _mm512_srai_epi32(a, 31); }
static inline V v_negate_where(V a, V w) {
  return _mm512_mask_sub_epi32(a, _mm512_movepi32_mask(w), _mm512_setzero_si512(), a);
}
static inline V v_interleave_high(V even, V odd) { return _mm512_mask_shuffle_epi32(odd, 0x5555, even, 0xf5); }
static inline V v_mulhi(V a, V b) {
  V even = _mm512_mul_epi32(a, b), odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
  return v_interleave_high(even, odd);
}
static inline V v_mulhi_u(V a, V b) {
  V even = _mm512_mul_epu32(a, b), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
  return v_interleave_high(even, odd);
}
static inline V v_clz(V a) { return _mm512_lzcnt_epi32(a); }
static inline int v_near(V row) { return _mm512_cmpgt_epi32_mask(row, _mm512_set1_epi32(15)) == 0; }
static inline V v_lookup(const int32_t table[32], V row) {
  return _mm512_permutexvar_epi32(row, _mm512_loadu_si512(table));
}
static inline V v_lookup_far(const int32_t table[32], V row) {
  return _mm512_permutex2var_epi32(_mm512_loadu_si512(table), row, _mm512_loadu_si512(table + 16));
}

static inline F f_set1(float a) { return _mm512_set1_ps(a); }
static inline F f_from(V a) { return _mm512_cvtepi32_ps(a); }
static inline F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F f_add(F a, F b) { return _mm512_add_ps(a, b); }
static inline F f_max(F a, F b) { return _mm512_max_ps(a, b); }
static inline F f_min(F a, F b) { return _mm512_min_ps(a, b); }

static inline void v_store(uint32_t *p, V a) { _mm512_storeu_si512(p, a); }
static inline void f_store(float *p, F a) { _mm512_storeu_ps(p, a); }
static inline void f_store_bfloat16(uint16_t *p, F a, F b) {
  const V odd = _mm512_load_si512(ODD_HALVES), even = _mm512_sub_epi16(odd, _mm512_set1_epi16(1));
  const V one = _mm512_set1_epi16(1), half = _mm512_set1_epi16((short)0x8000);
  V high = _mm512_permutex2var_epi16(_mm512_castps_si512(a), odd, _mm512_castps_si512(b));
  V low = _mm512_permutex2var_epi16(_mm512_castps_si512(a), even, _mm512_castps_si512(b));
  __mmask32 up = _mm512_cmpgt_epu16_mask(_mm512_adds_epu16(low, _mm512_and_si512(high, one)), half);
  _mm512_storeu_si512(p, _mm512_mask_add_epi16(high, up, high, one));
}
static inline void f_store_float16(uint16_t *p, F a) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

typedef struct { double unit, mean, low, high; } D4;
static inline void d_store(double *p, V a, const D4 *d) {
  for (int half = 0; half < 2; half++) {
    __m256i n = half ? _mm512_extracti64x4_epi64(a, 1) : _mm512_castsi512_si256(a);
    __m512d v = _mm512_mul_pd(_mm512_cvtepi32_pd(n), _mm512_set1_pd(d->unit));
    if (d->mean != 0) v = _mm512_add_pd(v, _mm512_set1_pd(d->mean));
    v = _mm512_min_pd(_mm512_max_pd(v, _mm512_set1_pd(d->low)), _mm512_set1_pd(d->high));
    _mm512_storeu_pd(p + 8 * half, v);
  }
}
