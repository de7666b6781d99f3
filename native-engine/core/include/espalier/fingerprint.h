// The identity of all that decides the bits of a result.
#pragma once
#include <string>

#include "espalier/trainer_options.h"

namespace espalier {

// Digest of the sources that a step and an evaluation are made from, and of the compiler's options; with the compiler in words. No paths,
// no time.
std::string engine_build();
std::string sources_of_bits();  // the files in this digest and in those of the backends, a line each

// Identity of everything that can change a bit of a result: engine build, backend with the digest of its sources, instruction set used,
// math libraries, caches, thread count, dtype. Equal fingerprints give equal bits.
std::string numerics_fingerprint(const TrainerOptions& options);

}  // namespace espalier
