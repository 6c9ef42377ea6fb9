/* The algorithm, written once over the vector layer that the including file chose. FW_PATH names the path. */
#include <math.h>
#include <string.h>

#include "kernel.h"
#include "table.h"

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#else
#define INLINE static inline
#define UNROLL
#endif
#define EACH_VECTOR UNROLL for (int j = 0; j < 4; j++)

/* Words of one batch: two sets of LANES / 2 blocks, four vectors. Below FEW words a block at a time is faster. The
   words of AHEAD batches are made before the first is stored: alike work side by side keeps the processor full. */
enum { BATCH = 4 * LANES, BATCH_BLOCKS = LANES, ROUNDS = 10, FEW = 12, AHEAD = 8 };

/* The last low counter word whose batch does not wrap. */
static const uint32_t LAST_LOW = 0xffffffffu - (BATCH_BLOCKS - 1);

static const uint32_t M0 = 0xD2511F53u, M1 = 0xCD9E8D57u, WEYL0 = 0x9E3779B9u, WEYL1 = 0xBB67AE85u;

/* What the first three rounds do to the words that are equal in all blocks of a run: words 1, 2 and 3 of the counter.
   Round 1 needs one product a block instead of two, and so does round 2. */
typedef struct {
  W k0[ROUNDS], k1[ROUNDS];
  W word2_after1;  /* added by xor to hi(M0 c0) */
  W word0_after2;  /* added by xor to hi(M1 c2) */
  W word2_after2;  /* added by xor to lo(M0 c0) */
  W word2_after3;  /* added by xor to hi(M0 c0) */
} Rounds;

typedef struct {
  F unit, mean, low, high;
  D4 wide;
  V first_cell, cells;
  int shifted, bounded, all_cells;
} Values;

INLINE Rounds rounds_of(const uint32_t key[4], uint32_t block_high) {
  Rounds r;
  uint32_t k0 = key[0], k1 = key[1], k[ROUNDS][2];
  for (int i = 0; i < ROUNDS; i++) {
    k[i][0] = k0, k[i][1] = k1;
    r.k0[i] = w_set1(k0), r.k1[i] = w_set1(k1);
    k0 += WEYL0, k1 += WEYL1;
  }
  uint64_t product1 = (uint64_t)M1 * key[2];
  uint32_t word0 = (uint32_t)(product1 >> 32) ^ block_high ^ k[0][0], word1 = (uint32_t)product1; /* after round 1 */
  uint64_t product0 = (uint64_t)M0 * word0;
  r.word2_after1 = w_set1(key[3] ^ k[0][1]);
  r.word0_after2 = w_set1(word1 ^ k[1][0]);
  r.word2_after2 = w_set1((uint32_t)(product0 >> 32) ^ k[1][1]);
  r.word2_after3 = w_set1((uint32_t)product0 ^ k[2][1]);
  return r;
}

/* Philox4x32-10 of BATCH_BLOCKS blocks from `low` on, whose high counter word is that of the rounds. Each 32-bit word
   stands in the low half of a 64-bit lane, with anything above it. */
INLINE void words_of(const Rounds *r, uint32_t low, V out[4]) {
  const W m0 = w_set1(M0), m1 = w_set1(M1);
  W a[2], b[2], c[2], d[2];
  UNROLL for (int h = 0; h < 2; h++) {
    W counter = w_add(w_set1((uint64_t)low + (uint64_t)(h * LANES / 2)), w_iota());
    W p0 = w_mul(counter, m0);
    W p1 = w_mul(w_xor(w_high(p0), r->word2_after1), m1);
    a[h] = w_xor(w_high(p1), r->word0_after2), b[h] = p1;
    c[h] = w_xor(p0, r->word2_after2);
    p0 = w_mul(a[h], m0), p1 = w_mul(c[h], m1);
    a[h] = w_xor3(w_high(p1), b[h], r->k0[2]), b[h] = p1;
    c[h] = w_xor(w_high(p0), r->word2_after3), d[h] = p0;
  }
  UNROLL for (int i = 3; i < ROUNDS; i++) {
    UNROLL for (int h = 0; h < 2; h++) {
      W p0 = w_mul(a[h], m0), p1 = w_mul(c[h], m1);
      a[h] = w_xor3(w_high(p1), b[h], r->k0[i]), b[h] = p1;
      c[h] = w_xor3(w_high(p0), d[h], r->k1[i]), d[h] = p0;
    }
  }
  w_pack(a[0], b[0], c[0], d[0], out);
  w_pack(a[1], b[1], c[1], d[1], out + 2);
}

static void block_words(const uint32_t key[4], uint64_t block, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = key[2], c3 = key[3], k0 = key[0], k1 = key[1];
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t p0 = (uint64_t)M0 * c0, p1 = (uint64_t)M1 * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
    k0 += WEYL0, k1 += WEYL1;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* The four in step: one polynomial alone waits for its products, and a processor does not look far enough ahead to
   fill the time with the next vector's. */
INLINE void normal_integers(V w[4]) {
  V y[4], row[4], a[4], rows = v_set1(0);
  EACH_VECTOR {
    V u = v_or(v_add(w[j], w[j]), v_set1(1));
    row[j] = v_clz(u), rows = v_or(rows, row[j]);
    u = v_shl(u, row[j]);
    y[j] = v_xor(v_add(u, u), v_set1(0x80000000u));
  }
  if (v_near(rows)) {
    EACH_VECTOR a[j] = v_lookup(FW_TABLE[7], row[j]);
    UNROLL for (int d = 6; d >= 0; d--)
      EACH_VECTOR a[j] = v_add(v_mulhi(a[j], y[j]), v_lookup(FW_TABLE[d], row[j]));
  } else {
    EACH_VECTOR a[j] = v_lookup_far(FW_TABLE[7], row[j]);
    UNROLL for (int d = 6; d >= 0; d--)
      EACH_VECTOR a[j] = v_add(v_mulhi(a[j], y[j]), v_lookup_far(FW_TABLE[d], row[j]));
  }
  EACH_VECTOR w[j] = v_negate_where(a[j], w[j]);
}

/* Words whose normal values are those of the cells first .. first + cells - 1. */
INLINE V truncated_words(V w, const Values *v) {
  V cell = v->all_cells ? w : v_add(v->first_cell, v_mulhi_u(w, v->cells));
  return v_xor(v_xor(cell, v_set1(0x80000000u)), v_and(v_sign(cell), v_set1(0x7fffffffu)));
}

INLINE void integers_of(V w[4], const Values *v, const int map) {
  if (map == FW_UNIFORM) EACH_VECTOR w[j] = v_or(v_xor(w[j], v_set1(0x80000000u)), v_set1(1));
  if (map == FW_TRUNCATED) EACH_VECTOR w[j] = truncated_words(w[j], v);
  if (map == FW_NORMAL || map == FW_TRUNCATED) normal_integers(w);
}

INLINE F single_of(V n, const Values *v) {
  F f = f_mul(f_from(n), v->unit);
  if (v->shifted) f = f_add(f, v->mean);
  if (v->bounded) f = f_min(f_max(f, v->low), v->high);
  return f;
}

INLINE void store_singles(const V n[4], const Values *v, void *out, const int dtype) {
  if (dtype == FW_FLOAT32) EACH_VECTOR f_store((float *)out + j * LANES, single_of(n[j], v));
  if (dtype == FW_FLOAT16) EACH_VECTOR f_store_float16((uint16_t *)out + j * LANES, single_of(n[j], v));
  if (dtype == FW_BFLOAT16)
    UNROLL for (int j = 0; j < 4; j += 2)
      f_store_bfloat16((uint16_t *)out + j * LANES, single_of(n[j], v), single_of(n[j + 1], v));
}

INLINE void store_batch(V w[4], const Values *v, void *out, const int map, const int dtype) {
  integers_of(w, v, map);
  if (dtype == FW_UINT32) EACH_VECTOR v_store((uint32_t *)out + j * LANES, w[j]);
  else if (dtype == FW_FLOAT64) EACH_VECTOR d_store((double *)out + j * LANES, w[j], &v->wide);
  else store_singles(w, v, out, dtype);
}

INLINE Values values_of(const fw_law *law) {
  Values v;
  v.unit = f_set1((float)law->unit), v.mean = f_set1((float)law->mean);
  v.low = f_set1((float)law->low), v.high = f_set1((float)law->high);
  v.wide = (D4){law->unit, law->mean, law->low, law->high};
  v.shifted = law->mean != 0;
  v.bounded = !isinf(law->low) || !isinf(law->high);
  v.all_cells = law->cells >> 32 != 0;
  v.first_cell = v_set1((uint32_t)law->first_cell), v.cells = v_set1((uint32_t)law->cells);
  return v;
}

/* Up to BATCH elements from any index on, by way of a buffer: the ends of a run, and where the low counter word wraps. */
INLINE void edge(const fw_law *law, const Rounds *r, const Values *v, uint64_t first, int count, char *out,
                 const int map, const int dtype) {
  uint32_t words[BATCH + 4];
  union {
    double align;
    char bytes[BATCH * 8];
  } buffer;
  const int skip = (int)(first & 3), end = skip + count;
  const uint64_t block = first >> 2;
  V w[4];
  int done = 0;
  if (end > FEW && (uint32_t)block <= LAST_LOW) {
    words_of(r, (uint32_t)block, w);
    for (; done < BATCH; done += LANES) v_store(words + done, w[done / LANES]);
  }
  for (; done < end; done += 4) block_words(law->key, block + (uint64_t)done / 4, words + done);
  memset(words + done, 0, sizeof words - sizeof *words * (size_t)done);
  for (int j = 0; j < 4; j++) w[j] = v_load(words + skip + j * LANES);
  store_batch(w, v, buffer.bytes, map, dtype);
  memcpy(out, buffer.bytes, (size_t)count * (size_t)fw_item_size(dtype));
}

INLINE void store_batches(const Rounds *r, const Values *v, uint32_t low, int batches, char *out, const int map,
                          const int dtype) {
  V w[AHEAD][4];
  for (int i = 0; i < batches; i++) words_of(r, low + (uint32_t)i * BATCH_BLOCKS, w[i]);
  for (int i = 0; i < batches; i++) store_batch(w[i], v, out + i * (BATCH * (int)fw_item_size(dtype)), map, dtype);
}

INLINE void run_of(const fw_law *law, uint64_t first, uint64_t count, char *out, const int map, const int dtype) {
  const Values v = values_of(law);
  uint32_t high = (uint32_t)(first >> 34);
  Rounds r = rounds_of(law->key, high);
  while (count) {
    uint64_t block = first >> 2, done;
    if (high != (uint32_t)(block >> 32)) high = (uint32_t)(block >> 32), r = rounds_of(law->key, high);
    if ((first & 3) || count < BATCH || (uint32_t)block > LAST_LOW) {
      done = BATCH - (first & 3) < count ? BATCH - (first & 3) : count;
      edge(law, &r, &v, first, (int)done, out, map, dtype);
    } else {
      uint64_t batches = count / BATCH, room = (LAST_LOW - (uint32_t)block) / BATCH_BLOCKS + 1;
      if (batches > room) batches = room;
      for (uint64_t i = 0; i < batches; i += AHEAD) {
        const int some = batches - i < AHEAD ? (int)(batches - i) : AHEAD;
        const uint64_t step = (uint64_t)BATCH * fw_item_size(dtype);
        store_batches(&r, &v, (uint32_t)block + (uint32_t)i * BATCH_BLOCKS, some, out + i * step, map, dtype);
      }
      done = batches * BATCH;
    }
    first += done, count -= done, out += done * (uint64_t)fw_item_size(dtype);
  }
}

/* The same law on words that are given, for exhaustive tests. */
INLINE void convert_of(const fw_law *law, const uint32_t *words, uint64_t count, char *out, const int map,
                       const int dtype) {
  const Values v = values_of(law);
  for (uint64_t i = 0; i < count; i += BATCH) {
    uint32_t part[BATCH] = {0};
    char bytes[BATCH * 8];
    const size_t n = count - i < BATCH ? (size_t)(count - i) : BATCH;
    V w[4];
    memcpy(part, words + i, n * sizeof *words);
    for (int j = 0; j < 4; j++) w[j] = v_load(part + j * LANES);
    store_batch(w, &v, bytes, map, dtype);
    memcpy(out + i * (uint64_t)fw_item_size(dtype), bytes, n * (size_t)fw_item_size(dtype));
  }
}

#define ONE(MAP, DTYPE)                                                                                   \
  static void run_##MAP##_##DTYPE(const fw_law *law, uint64_t first, uint64_t count, void *out) {         \
    run_of(law, first, count, out, FW_##MAP, FW_##DTYPE);                                                 \
  }                                                                                                       \
  static void convert_##MAP##_##DTYPE(const fw_law *law, const uint32_t *words, uint64_t n, void *out) {  \
    convert_of(law, words, n, out, FW_##MAP, FW_##DTYPE);                                                 \
  }
#define ALL(MAP) ONE(MAP, FLOAT64) ONE(MAP, FLOAT32) ONE(MAP, FLOAT16) ONE(MAP, BFLOAT16)

ONE(WORDS, UINT32)
ALL(UNIFORM)
ALL(NORMAL)
ALL(TRUNCATED)

#define ROW(VERB, MAP) \
  {0, VERB##_##MAP##_FLOAT64, VERB##_##MAP##_FLOAT32, VERB##_##MAP##_FLOAT16, VERB##_##MAP##_BFLOAT16}
#define ROWS(VERB)                                                                                    \
  {[FW_WORDS] = {VERB##_WORDS_UINT32}, [FW_UNIFORM] = ROW(VERB, UNIFORM), [FW_NORMAL] = ROW(VERB, NORMAL), \
   [FW_TRUNCATED] = ROW(VERB, TRUNCATED)}

static void run(const fw_law *law, uint64_t first, uint64_t count, void *out) {
  static const fw_run runs[FW_MAPS][FW_DTYPES] = ROWS(run);
  runs[law->map][law->dtype](law, first, count, out);
}

static void convert(const fw_law *law, const uint32_t *words, uint64_t count, void *out) {
  static const fw_convert converts[FW_MAPS][FW_DTYPES] = ROWS(convert);
  converts[law->map][law->dtype](law, words, count, out);
}

const fw_path FW_PATH = {run, convert};
