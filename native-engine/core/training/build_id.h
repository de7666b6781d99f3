// The identity of the build, for the numerics fingerprint (build_id.cmake writes it).
#pragma once
#include <string>
#include <vector>

namespace espalier {

struct BackendSources {
  std::string name, digest;
};

extern const char* const kStepSources;  // digest of the step's sources and the compiler's options for them
extern const char* const kCompiler;     // with version and options
const std::vector<BackendSources>& backend_sources();
extern const char* const kSourcesOfBits;  // the files in these digests, a line each

}  // namespace espalier
