// The emulated card with a stand-in for cuBLASLt, which computes on the emulator.
#pragma once
#include <dlfcn.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cublaslt.h"
#include "cuda_emulator/emulator.h"

namespace espalier::test {

using cuda::emulated::Cublaslt;

inline constexpr const char* kStandIn = ESPALIER_STAND_IN_CUBLASLT;

// Queues run(argument) on the emulator. Its threads come in warps; only the first thread calls the function.
inline void enqueue_on_emulator(void* stream, void (*run)(void*), void* argument) {
  cuda::emulated::add_launch(static_cast<cuda::emulated::StreamHandle>(stream), {"cublaslt", {1}, {32}, 0}, [=] {
    if (cuda::emulator::thread_index.x == 0) run(argument);
  });
}

template <class F>
F of_stand_in(const char* name) {
  void* library = dlopen(kStandIn, RTLD_NOW | RTLD_LOCAL);
  return library ? reinterpret_cast<F>(dlsym(library, name)) : nullptr;
}

inline int64_t products_made() { return of_stand_in<int64_t (*)()>("stand_in_products")(); }
// From now on the stand-in fails to start this many times.
inline void refuse_to_start(int64_t times) { of_stand_in<void (*)(int64_t)>("stand_in_refuse")(times); }
inline int64_t questions_asked() { return of_stand_in<int64_t (*)()>("stand_in_questions")(); }

// While this object lives, new backends have this library, use it for products of any size, and finish sums for 128 columns at a time.
class WithLibrary {
 public:
  explicit WithLibrary(std::shared_ptr<const Cublaslt> library)
      : library_(std::exchange(cuda::emulated::cublaslt(), std::move(library))),
        limits_(std::exchange(cuda::emulated::library_limits(), {1, 1, 1})) {
    of_stand_in<void (*)(void (*)(void*, void (*)(void*), void*))>("stand_in_run_by")(enqueue_on_emulator);
  }
  WithLibrary() : WithLibrary(std::make_shared<const Cublaslt>(std::vector<std::string>{"/no/such/library", kStandIn})) {}
  ~WithLibrary() {
    cuda::emulated::cublaslt() = library_;
    cuda::emulated::library_limits() = limits_;
  }

 private:
  std::shared_ptr<const Cublaslt> library_;
  cuda::emulated::LibraryLimits limits_;
};

}  // namespace espalier::test
