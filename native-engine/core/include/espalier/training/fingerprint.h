// The fingerprint of everything that decides the bits of a result.
#pragma once
#include <string>

#include "espalier/on_device/trainer_options.h"

namespace espalier {

// Returns the digest of the sources that a step and an evaluation are made from and of the compiler's options, with the compiler's name. It
// contains no paths and no time.
std::string engine_build();
std::string sources_of_bits();  // the files in this digest and in those of the backends, one on each line

// Returns the fingerprint of everything that can change a bit of a result: engine build, backend with the digest of its sources,
// instruction set, math libraries, caches, number of threads, dtype. Equal fingerprints give equal bits.
std::string numerics_fingerprint(const TrainerOptions& options);

}  // namespace espalier
