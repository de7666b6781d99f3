// Quantizes a GGUF file with llama.cpp's own quantizer, which it loads from llama.cpp's built library:
//
//   llama_quantize LIBRARY IN OUT TYPE THREADS
//
// TYPE is llama.cpp's number for a kind of file. No header of llama.cpp is needed to build this program. It sets two of the library's
// parameters, which have been the first two in every release; the others keep the library's defaults. It is a program of its own, because a
// failed assertion in llama.cpp ends the process.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// The library's parameters, in a struct that is longer than the library's own: the bytes behind the end of the library's struct are not
// touched.
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
