// The numerics fingerprint: a text of everything that decides the bits of a result. Equal fingerprints give equal bits.
#include <gnu/libc-version.h>

#include "device/registry.h"
#include "espalier/training/fingerprint.h"
#include "training/build_id.h"

namespace espalier {

std::string engine_build() { return std::string("sources ") + kStepSources + ", " + kCompiler; }
std::string sources_of_bits() { return kSourcesOfBits; }

std::string numerics_fingerprint(const TrainerOptions& options) {
  const BackendSpec spec = resolve_backend(options.backend);
  std::string backend = spec.name;
  for (const BackendSources& of : backend_sources())
    if (of.name == spec.name) backend += " " + of.digest;
  return "espalier-numerics 4; " + engine_build() + "; " + backend + " " + kind_of(spec).fingerprint(spec) + "; libc " +
         gnu_get_libc_version() + "; " + (options.dtype == ComputeDType::kF32 ? "f32" : "bf16");
}

}  // namespace espalier
