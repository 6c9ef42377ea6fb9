/* Which path, which elements, which thread. */
#include "kernel.h"

#include <math.h>
#include <string.h>

#if !defined(_WIN32)
#include <pthread.h>
#endif

extern const fw_path fanwise_path_portable, fanwise_path_neon, fanwise_path_avx2, fanwise_path_avx512;

#if defined(FW_HAVE_X86)
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
static int bit(int word, int n) { return word >> n & 1; }
static int has_avx2(void) {
  int a[4], b[4];
  __cpuid(a, 1), __cpuidex(b, 7, 0);
  return bit(a[2], 27) && bit(a[2], 28) && bit(a[2], 29) && bit(b[1], 5) && (_xgetbv(0) & 6) == 6;
}
static int has_avx512(void) {
  int b[4];
  __cpuidex(b, 7, 0);
  return has_avx2() && bit(b[1], 16) && bit(b[1], 17) && bit(b[1], 28) && bit(b[1], 30) && bit(b[1], 31) &&
         (_xgetbv(0) & 0xe6) == 0xe6;
}
#else
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"); }
static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

const fw_path *fanwise_path(int isa) {
  if (isa == FW_PORTABLE) return &fanwise_path_portable;
#if defined(FW_HAVE_X86)
  if (isa == FW_AVX2 && has_avx2()) return &fanwise_path_avx2;
  if (isa == FW_AVX512 && has_avx512()) return &fanwise_path_avx512;
#endif
#if defined(FW_HAVE_NEON)
  if (isa == FW_NEON) return &fanwise_path_neon;
#endif
  return 0;
}

const char *fanwise_isa_name(int isa) {
  static const char *const names[FW_ISAS] = {"portable", "neon", "avx2", "avx512"};
  return isa >= 0 && isa < FW_ISAS ? names[isa] : 0;
}

int fanwise_best_isa(void) {
  for (int isa = FW_ISAS - 1; isa > 0; isa--)
    if (fanwise_path(isa)) return isa;
  return FW_PORTABLE;
}

/* A box as rows: `run` consecutive elements each, `rows` of them, found by counting through the outer axes. */
typedef struct {
  const fw_path *path;
  const fw_law *law;
  uint64_t origin, rows, run;
  int64_t step;          /* bytes from one element of a row to the next */
  int outer;             /* number of outer axes */
  fw_axis axes[FW_MAX_DIMS];
  char *target;
} Box;

/* Drops axes of one element and joins neighbours that are one axis in the global order and in the target. */
static int joined(const fw_axis *axes, int ndim, fw_axis *out) {
  int n = 0;
  for (int i = 0; i < ndim; i++) {
    if (axes[i].extent == 1) continue;
    fw_axis *outer = n ? &out[n - 1] : 0;
    if (outer && outer->element_stride == axes[i].extent * axes[i].element_stride &&
        outer->byte_stride == (int64_t)axes[i].extent * axes[i].byte_stride) {
      *outer = (fw_axis){outer->extent * axes[i].extent, axes[i].element_stride, axes[i].byte_stride};
    } else {
      out[n++] = axes[i];
    }
  }
  return n;
}

static Box box_of(const fw_path *path, const fw_law *law, uint64_t origin, const fw_axis *axes, int ndim, void *target) {
  Box box = {path, law, origin, 1, 1, fw_item_size(law->dtype), 0, {{0}}, target};
  box.outer = joined(axes, ndim, box.axes);
  if (box.outer && box.axes[box.outer - 1].element_stride == 1) {
    box.outer--;
    box.run = box.axes[box.outer].extent, box.step = box.axes[box.outer].byte_stride;
  }
  for (int i = 0; i < box.outer; i++) box.rows *= box.axes[i].extent;
  return box;
}

/* `count` elements of a row; those of a strided target go through a buffer. */
static void fill_row(const Box *box, uint64_t first, uint64_t count, char *target) {
  enum { CHUNK = 1024 };
  const int size = fw_item_size(box->law->dtype);
  if (box->step == size) {
    box->path->run(box->law, first, count, target);
    return;
  }
  char buffer[CHUNK * 8];
  while (count) {
    uint64_t part = count < CHUNK ? count : CHUNK;
    box->path->run(box->law, first, part, buffer);
    for (uint64_t i = 0; i < part; i++) memcpy(target + (int64_t)i * box->step, buffer + i * (uint64_t)size, (size_t)size);
    first += part, count -= part, target += (int64_t)part * box->step;
  }
}

/* Elements from..to - 1 of a box, counted row by row. */
static void fill_part(const Box *box, uint64_t from, uint64_t to) {
  while (from < to) {
    uint64_t row = from / box->run, skip = from % box->run, element = box->origin + skip;
    char *target = box->target + (int64_t)skip * box->step;
    for (int i = box->outer - 1; i >= 0; i--) {
      uint64_t at = row % box->axes[i].extent;
      row /= box->axes[i].extent;
      element += at * box->axes[i].element_stride, target += (int64_t)at * box->axes[i].byte_stride;
    }
    uint64_t count = box->run - skip < to - from ? box->run - skip : to - from;
    fill_row(box, element, count, target);
    from += count;
  }
}

#if defined(_WIN32)
static void fill_threaded(const Box *box, uint64_t total, int threads) {
  (void)threads;
  fill_part(box, 0, total);
}
#else
typedef struct {
  const Box *box;
  uint64_t from, to;
} Part;

static void *fill_thread(void *argument) {
  const Part *part = argument;
  fill_part(part->box, part->from, part->to);
  return 0;
}

enum { MAX_THREADS = 256, ALIGNED = 1024 };

/* Threads live for one call: nothing is left that a fork could break. One that cannot start is done here. */
static void fill_threaded(const Box *box, uint64_t total, int threads) {
  pthread_t started[MAX_THREADS];
  Part parts[MAX_THREADS];
  int count = 0;
  uint64_t each = (total / (uint64_t)threads + ALIGNED) / ALIGNED * ALIGNED, from = 0;
  for (; from + each < total && count < threads - 1; from += each) {
    parts[count] = (Part){box, from, from + each};
    if (pthread_create(&started[count], 0, fill_thread, &parts[count])) break;
    count++;
  }
  fill_part(box, from, total);
  for (int i = 0; i < count; i++) pthread_join(started[i], 0);
}
#endif

void fanwise_fill(const fw_path *path, const fw_law *law, uint64_t origin, const fw_axis *axes, int ndim, void *target,
                  int threads) {
  Box box = box_of(path, law, origin, axes, ndim, target);
  uint64_t total = box.rows * box.run, most = total / FW_THREAD_SHARE;
  if ((uint64_t)threads > most) threads = (int)most;
#if !defined(_WIN32)
  if (threads > MAX_THREADS) threads = MAX_THREADS;
#endif
  if (threads > 1)
    fill_threaded(&box, total, threads);
  else
    fill_part(&box, 0, total);
}

static void plain(const uint32_t key[4], int map, int dtype, uint64_t first, uint64_t count, void *out) {
  fw_law law = {{key[0], key[1], key[2], key[3]}, map, dtype, 1.0 / 268435456.0, 0.0, -INFINITY, INFINITY, 0, 1};
  fanwise_path(fanwise_best_isa())->run(&law, first, count, out);
}

void fanwise_words(const uint32_t key[4], uint64_t first, uint64_t count, uint32_t *out) {
  plain(key, FW_WORDS, FW_UINT32, first, count, out);
}

void fanwise_normals(const uint32_t key[4], uint64_t first, uint64_t count, float *out) {
  plain(key, FW_NORMAL, FW_FLOAT32, first, count, out);
}
