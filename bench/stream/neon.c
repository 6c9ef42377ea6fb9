/* The kernel's NEON path by itself: answers the requests of python -m bench neon from stdin with the memory they filled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* A fill of a box by `ndim` axes, or the values of `words` words; the axes, or the words, follow it. */
typedef struct {
  fw_law law;
  uint64_t origin, bytes, offset, words; /* the target stands `offset` bytes into a memory of `bytes` */
  int32_t filler, threads, ndim, unused; /* every byte of the memory is `filler` before */
} Request;

static void *allocated(uint64_t bytes) {
  void *memory = malloc(bytes ? (size_t)bytes : 1);
  if (!memory) exit(2);
  return memory;
}

static void read_exactly(void *target, size_t bytes) {
  if (fread(target, 1, bytes, stdin) != bytes) exit(3);
}

static void convert(const fw_path *path, const Request *request, char *target) {
  const size_t bytes = (size_t)request->words * sizeof(uint32_t);
  uint32_t *words = allocated(bytes);
  read_exactly(words, bytes);
  path->convert(&request->law, words, request->words, target);
  free(words);
}

static void fill(const fw_path *path, const Request *request, char *target) {
  fw_axis axes[FW_MAX_DIMS];
  read_exactly(axes, (size_t)request->ndim * sizeof *axes);
  fanwise_fill(path, &request->law, request->origin, axes, request->ndim, target, request->threads);
}

int main(void) {
  const fw_path *path = fanwise_path(FW_NEON);
  Request request;
  while (path && fread(&request, sizeof request, 1, stdin) == 1) {
    char *memory = allocated(request.bytes);
    memset(memory, request.filler, (size_t)request.bytes);
    (request.words ? convert : fill)(path, &request, memory + request.offset);
    if (fwrite(memory, 1, (size_t)request.bytes, stdout) != request.bytes || fflush(stdout)) return 4;
    free(memory);
  }
  return path ? 0 : 1;
}
