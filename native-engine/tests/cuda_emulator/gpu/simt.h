// The language of kernels for g++: the names of backends/cuda/gpu/simt.h, on the emulator.
#pragma once
#include <cmath>
#include <cstdint>
#include <tuple>
#include <utility>

#include "counters.h"
#include "emulator.h"
#include "espalier/base/error.h"

#define __global__ static
#define __device__ inline
#define __host__
#define __forceinline__ __attribute__((always_inline))
#define __launch_bounds__(...)
#define threadIdx (::espalier::cuda::emulator::thread_index)
#define blockIdx (::espalier::cuda::emulator::block_index)
#define blockDim (::espalier::cuda::emulator::block_size)
#define gridDim (::espalier::cuda::emulator::grid_size)

namespace espalier::cuda::ESPALIER_TARGET {

using dim3 = emulator::Dim3;
using emulator::Site;
inline constexpr unsigned kWholeWarp = 0xffffffffu;

// Keeps the arguments until the stream reaches the kernel, as a real launch does.
template <class... P, class... A>
void launch_kernel(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, uint32_t shared_bytes, StreamHandle stream, A&&... args) {
  add_launch(stream, {name, grid, block, shared_bytes, must_ask_for_shared(shared_bytes) ? shared_most() : kSharedUnasked},
             [kernel, values = std::tuple<P...>(static_cast<P>(args)...)] { std::apply(kernel, values); });
}

inline void __syncthreads(const Site& site = Site::current()) { emulator::barrier(site); }
inline void __syncwarp(unsigned mask = kWholeWarp, const Site& site = Site::current()) {
  emulator::meet(mask, nullptr, site, [](void* const*) {});
}

#define SIMT_UNROLL
#define SIMT_ROLLED

#define SIMT_SHARED(type, name, count)                                              \
  type(&name)[count] = *reinterpret_cast<type(*)[count]>([] {                       \
    static const char key = 0;                                                      \
    return ::espalier::cuda::emulator::static_shared(&key, sizeof(type) * (count)); \
  }())

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulator::dynamic_shared_memory());
}

template <class T>
T shuffle(T v, int lane, const Site& site = Site::current()) {
  struct Given {
    T value;
    int from;
    T result;
  } mine{v, lane & 31, v};
  emulator::meet(kWholeWarp, &mine, site, [](void* const* by_lane) {
    for (int l = 0; l < emulator::kWarp; l++) {
      auto* to = static_cast<Given*>(by_lane[l]);
      to->result = static_cast<Given*>(by_lane[to->from])->value;
    }
  });
  return mine.result;
}
template <class T>
T shuffle_xor(T v, int mask, const Site& site = Site::current()) {
  return shuffle(v, emulator::lane_of_thread() ^ mask, site);
}
inline unsigned ballot(bool v, const Site& site = Site::current()) {
  struct Given {
    bool value;
    unsigned result;
  } mine{v, 0};
  emulator::meet(kWholeWarp, &mine, site, [](void* const* by_lane) {
    unsigned bits = 0;
    for (int l = 0; l < emulator::kWarp; l++) bits |= static_cast<unsigned>(static_cast<Given*>(by_lane[l])->value) << l;
    for (int l = 0; l < emulator::kWarp; l++) static_cast<Given*>(by_lane[l])->result = bits;
  });
  return mine.result;
}

namespace aligned {
// Fails where an address is not a multiple of the access's size. The device refuses such an access too.
__forceinline__ inline void check(const void* p, uint64_t bytes, const Site& site) {
  if (reinterpret_cast<uint64_t>(p) % bytes != 0) [[unlikely]]
    emulator::fail_unaligned(bytes, site);
}
}  // namespace aligned

template <class T>
T load(const T* p, const Site& site = Site::current()) {
  aligned::check(p, alignof(T), site);
  emulator::touch(emulator::Space::kGlobal, p, sizeof(T), site);
  return *p;
}
template <class T>
void store(T* p, std::type_identity_t<T> v, const Site& site = Site::current()) {
  aligned::check(p, alignof(T), site);
  emulator::touch(emulator::Space::kGlobal, p, sizeof(T), site);
  *p = v;
}
template <class T>
T shared_load(const T* p, const Site& site = Site::current()) {
  aligned::check(p, alignof(T), site);
  emulator::touch(emulator::Space::kShared, p, sizeof(T), site);
  return *p;
}
template <class T>
void shared_store(T* p, std::type_identity_t<T> v, const Site& site = Site::current()) {
  aligned::check(p, alignof(T), site);
  emulator::touch(emulator::Space::kShared, p, sizeof(T), site);
  *p = v;
}

inline void count_flops(int64_t count) { emulator::note_flops(count); }

}  // namespace espalier::cuda::ESPALIER_TARGET
