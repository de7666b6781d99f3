// Quantizes a GGUF file with llama.cpp's own quantizer, out of its library as it is built:
//
//   llama_quantize LIBRARY IN OUT TYPE THREADS
//
// TYPE is llama.cpp's number of a kind of file. No header of llama.cpp is needed to build this. Of its parameters two are set, which have
// been the first ones in every release; the others keep the library's own defaults. A process of its own, since an assertion of
// llama.cpp ends the process.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// Longer than the library's: what lies behind its end is not touched.
struct Parameters {
  int32_t threads;
  int32_t type;
  unsigned char others[2040];
};

template <class F>
F* function(void* library, const char* name) {
  auto* found = reinterpret_cast<F*>(dlsym(library, name));
  if (found == nullptr) std::fprintf(stderr, "the library has no %s\n", name);
  return found;
}

}  // namespace

int main(int count, char** words) {
  if (count != 6) {
    std::fprintf(stderr, "usage: llama_quantize LIBRARY IN OUT TYPE THREADS\n");
    return 2;
  }
  void* library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  auto* defaults = function<Parameters()>(library, "llama_model_quantize_default_params");
  auto* quantize = function<uint32_t(const char*, const char*, const Parameters*)>(library, "llama_model_quantize");
  if (defaults == nullptr || quantize == nullptr) return 1;
  Parameters parameters = defaults();
  parameters.type = std::atoi(words[4]);
  parameters.threads = std::atoi(words[5]);
  return quantize(words[2], words[3], &parameters) == 0 ? 0 : 1;
}
