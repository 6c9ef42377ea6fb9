/* The stream kernel: the numbers of docs/stream-v1.md, written into any box of any tensor. Plain C11, no Python. */
#ifndef FANWISE_KERNEL_H
#define FANWISE_KERNEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define FW_EXPORT __declspec(dllexport)
#else
#define FW_EXPORT __attribute__((visibility("default")))
#endif

enum fw_map { FW_WORDS, FW_UNIFORM, FW_NORMAL, FW_TRUNCATED, FW_MAPS };
enum fw_dtype { FW_UINT32, FW_FLOAT64, FW_FLOAT32, FW_FLOAT16, FW_BFLOAT16, FW_DTYPES };
enum fw_isa { FW_PORTABLE, FW_NEON, FW_AVX2, FW_AVX512, FW_ISAS };

enum { FW_MAX_DIMS = 64 };

/* Bytes of an item of a dtype; 0 for none of them. */
static inline int fw_item_size(int dtype) {
  if (dtype == FW_FLOAT64) return 8;
  if (dtype == FW_FLOAT32 || dtype == FW_UINT32) return 4;
  return dtype == FW_FLOAT16 || dtype == FW_BFLOAT16 ? 2 : 0;
}

/* value = round(clamp(map(word) * unit + mean)); see docs/stream-v1.md, section 3. */
typedef struct {
  uint32_t key[4];     /* Philox key words 0 and 1, counter words 2 and 3 */
  int32_t map;         /* enum fw_map */
  int32_t dtype;       /* enum fw_dtype of the target */
  double unit;         /* in float64; rounded to the working type */
  double mean;         /* added where it is not 0 */
  double low, high;    /* numbers of the dtype; +-infinity for none */
  uint64_t first_cell; /* of a truncated normal */
  uint64_t cells;      /* 1 .. 2**32 */
} fw_law;

/* One axis of a box: how many elements, how far apart they are in the global C order and in the target. */
typedef struct {
  uint64_t extent;
  uint64_t element_stride;
  int64_t byte_stride;
} fw_axis;

/* Elements `count` from `first` on, written one after the other; the same of given words. */
typedef void (*fw_run)(const fw_law *law, uint64_t first, uint64_t count, void *out);
typedef void (*fw_convert)(const fw_law *law, const uint32_t *words, uint64_t count, void *out);

typedef struct {
  fw_run run;
  fw_convert convert;
} fw_path;

/* The path of an instruction set; NULL where it was not compiled or this processor lacks it. */
FW_EXPORT const fw_path *fanwise_path(int isa);
FW_EXPORT const char *fanwise_isa_name(int isa);
/* The fastest path of this processor. */
FW_EXPORT int fanwise_best_isa(void);

/* Fills a box. `origin` is the global index of its first element, `target` that element's address.
   Uses up to `threads` threads, each with FW_THREAD_SHARE elements or more, so a small fill starts none. */
FW_EXPORT void fanwise_fill(const fw_path *path, const fw_law *law, uint64_t origin, const fw_axis *axes, int ndim, void *target,
                            int threads);

/* For tests of the stream in other programs: words, and standard normals, first .. first + count - 1. */
FW_EXPORT void fanwise_words(const uint32_t key[4], uint64_t first, uint64_t count, uint32_t *out);
FW_EXPORT void fanwise_normals(const uint32_t key[4], uint64_t first, uint64_t count, float *out);

/* A thread takes tens of microseconds to start: as long as it needs for this many elements. */
enum { FW_THREAD_SHARE = 131072 };

#ifdef __cplusplus
}
#endif
#endif
