// What the bits of a result depend on, in words: equal words, equal bits.
#include <gnu/libc-version.h>
#include <unistd.h>

#include "backend.h"
#include "build_id.h"
#include "espalier/trainer.h"

namespace espalier {

namespace {

// oneDNN cuts its sums to the caches, so their sizes can change the order of additions.
std::string cache_sizes() {
  std::string text = "caches";
  for (const int level : {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE})
    text += " " + std::to_string(sysconf(level) / 1024) + "K";
  return text;
}

}  // namespace

std::string engine_build() { return ESPALIER_BUILD_ID; }

std::string numerics_fingerprint(const TrainerOptions& options) {
  return "espalier-numerics 2; " + engine_build() + "; " + make_backend(options.backend, options.threads)->fingerprint() + "; libc " +
         gnu_get_libc_version() + ", " + cache_sizes() + "; " + (options.dtype == ComputeDType::kF32 ? "f32" : "bf16");
}

}  // namespace espalier
