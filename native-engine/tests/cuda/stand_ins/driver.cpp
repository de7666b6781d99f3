// A libcuda.so.1 that is older than this build needs or sees no card, as STAND_IN_VERSION and STAND_IN_INIT say. It has the functions that
// cudart calls before all others.
#include <cstdlib>

namespace {
int number(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : 0;
}
}  // namespace

extern "C" {
int cuInit(unsigned) { return number("STAND_IN_INIT"); }
int cuDriverGetVersion(int* version) {
  *version = number("STAND_IN_VERSION");
  return 0;
}
}
