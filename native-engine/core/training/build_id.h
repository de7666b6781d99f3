// The digests of the build, for the numerics fingerprint. build_id.cmake writes their values.
#pragma once
#include <string>
#include <vector>

namespace espalier {

struct BackendSources {
  std::string name, digest;
};

extern const char* const kStepSources;  // the digest of the step's sources and of the compiler's options for them
extern const char* const kCompiler;     // the compiler with its version and options
const std::vector<BackendSources>& backend_sources();
extern const char* const kSourcesOfBits;  // the files in these digests, one on each line

}  // namespace espalier
