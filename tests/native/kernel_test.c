/* The kernel alone: every path against the portable one, in exact heap blocks, so that a sanitizer sees a byte too far. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

static int failures;

static fw_law law_of(int map, int dtype, double mean) {
  fw_law law = {{0x12345678u, 0x9abcdef0u, 0xdeadbeefu, 0x0badf00du}, map, dtype, 0x1p-30, mean, -INFINITY, INFINITY, 0, 1};
  if (map == FW_TRUNCATED) law.first_cell = 1u << 26, law.cells = 0xf0000000u, law.low = -0.5, law.high = 0.75;
  if (map == FW_UNIFORM) law.unit = 0x1p-34, law.low = -0.125, law.high = 0.125;
  return law;
}

/* `count` elements from `first` on, one run, against the portable path. */
static void check_run(int isa, const fw_law *law, uint64_t first, uint64_t count) {
  size_t bytes = (size_t)count * (size_t)fw_item_size(law->dtype);
  char *found = malloc(bytes), *expected = malloc(bytes);
  fanwise_path(isa)->run(law, first, count, found);
  fanwise_path(FW_PORTABLE)->run(law, first, count, expected);
  if (bytes && memcmp(found, expected, bytes)) {
    printf("%s map %d dtype %d first %llu count %llu differs\n", fanwise_isa_name(isa), law->map, law->dtype,
           (unsigned long long)first, (unsigned long long)count);
    failures++;
  }
  free(found), free(expected);
}

/* A strided box of a 3-D shape by several threads, against its elements one by one. */
static void check_box(int isa, const fw_law *law, int threads) {
  enum { A = 7, B = 300, C = 301, GAP = 3 };
  const int size = fw_item_size(law->dtype);
  const size_t bytes = (size_t)(((A - 1) * B * C * GAP + (B - 1) * C * GAP + (C - 1) * GAP + 1) * size);
  const fw_axis axes[3] = {{A, 1000 * 1000, (int64_t)B * C * GAP * size}, {B, 1000, (int64_t)C * GAP * size}, {C, 1, GAP * size}};
  const uint64_t origin = 5;
  char *target = calloc(bytes, 1), one[8];
  fanwise_fill(fanwise_path(isa), law, origin, axes, 3, target, threads);
  for (int a = 0; a < A; a++)
    for (int b = 0; b < B; b += 37)
      for (int c = 0; c < C; c += 29) {
        uint64_t element = origin + (uint64_t)a * 1000000 + (uint64_t)b * 1000 + (uint64_t)c;
        fanwise_path(FW_PORTABLE)->run(law, element, 1, one);
        if (memcmp(target + (((size_t)a * B + (size_t)b) * C + (size_t)c) * GAP * (size_t)size, one, (size_t)size)) failures++;
      }
  free(target);
}

static void check_law(int isa, const fw_law *law) {
  const uint64_t starts[] = {0, 1, 2, 3, 61, ((uint64_t)1 << 34) - 70, ((uint64_t)1 << 34) - 1, ((uint64_t)1 << 62) + 3};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
    for (uint64_t count = 0; count < 300; count += count < 20 ? 1 : 13) check_run(isa, law, starts[i], count);
  check_run(isa, law, 12345, 100003);
}

int main(void) {
  for (int isa = 0; isa < FW_ISAS; isa++) {
    if (!fanwise_path(isa)) continue;
    fw_law words = law_of(FW_WORDS, FW_UINT32, 0);
    check_law(isa, &words);
    for (int map = FW_UNIFORM; map < FW_MAPS; map++)
      for (int dtype = FW_FLOAT64; dtype < FW_DTYPES; dtype++)
        for (int shifted = 0; shifted < 2; shifted++) {
          fw_law law = law_of(map, dtype, shifted ? 0.375 : 0);
          check_law(isa, &law);
          if (shifted) check_box(isa, &law, 4);
        }
    fw_law single = law_of(FW_NORMAL, FW_FLOAT32, 0);
    check_box(isa, &single, 1), check_box(isa, &single, 64);
  }
  printf("%d failures\n", failures);
  return failures != 0;
}
