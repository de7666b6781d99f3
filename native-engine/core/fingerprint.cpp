// What the bits of a result depend on, in words: equal words, equal bits.
#include <gnu/libc-version.h>

#include "build_id.h"
#include "device/registry.h"
#include "espalier/trainer.h"

namespace espalier {

std::string engine_build() { return ESPALIER_BUILD_ID; }

std::string numerics_fingerprint(const TrainerOptions& options) {
  const BackendSpec backend = resolve_backend(options.backend);
  return "espalier-numerics 2; " + engine_build() + "; " + backend.name + " " + kind_of(backend).fingerprint(backend) + "; libc " +
         gnu_get_libc_version() + "; " + (options.dtype == ComputeDType::kF32 ? "f32" : "bf16");
}

}  // namespace espalier
