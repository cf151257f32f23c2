#include <malloc.h>
#include <stdlib.h>

// TensorFlow takes a tensor's memory from glibc and gives it back as soon as the
// tensor is used up, some megabytes at a time. As it comes, glibc hands what is
// that large on to the kernel, which then clears each page anew for the next
// tensor: a fifth of what EfficientNetB3 takes. Kept in the process, the memory
// is used again. One arena for all threads, as the others, of 64 MiB each, are
// given back whatever the limits.
//
// This runs before Go does, and so before any thread has an arena. Whoever sets
// GLIBC_TUNABLES decides himself.
__attribute__((constructor)) static void captioner_keep_memory(void) {
  if (getenv("GLIBC_TUNABLES") != NULL) return;
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
}
