#include "probes.h"

#include <cstring>
#include <utility>

#include "instructions.h"
#include "reduce.h"
#include "tensors/tensor_values.h"

namespace espalier::cuda::ESPALIER_TARGET {

__global__ void multiply_kernel(const uint16_t* a, const uint16_t* b, const float* c, float* out) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = 2 * (lane % 4);
  const auto pair = [](uint16_t first, uint16_t second) { return static_cast<uint32_t>(first) | static_cast<uint32_t>(second) << 16; };
  uint32_t left[4], right[2];
  float sums[4];
  for (int r = 0; r < 4; r++) {
    const uint16_t* at = a + (g + 8 * (r % 2)) * 16 + t + 8 * (r / 2);
    left[r] = pair(at[0], at[1]);
    sums[r] = c[(g + 8 * (r / 2)) * 8 + t + r % 2];
  }
  for (int r = 0; r < 2; r++) right[r] = pair(b[(t + 8 * r) * 8 + g], b[(t + 8 * r + 1) * 8 + g]);
  multiply_bf16(sums, left, right);
  for (int r = 0; r < 4; r++) out[(g + 8 * (r / 2)) * 8 + t + r % 2] = sums[r];
}

__global__ void load_matrices_kernel(const uint16_t* from, uint32_t* out, bool transposed) {
  SIMT_SHARED(uint16_t, matrices, 256);
  for (int i = 0; i < 8; i++) matrices[threadIdx.x * 8 + i] = from[threadIdx.x * 8 + i];
  __syncthreads();
  uint32_t got[4];
  if (transposed)
    load_matrices_transposed(got, matrices + threadIdx.x * 8);
  else
    load_matrices(got, matrices + threadIdx.x * 8);
  for (int i = 0; i < 4; i++) out[threadIdx.x * 4 + i] = got[i];
}

__global__ void copy_kernel(const uint8_t* from, uint8_t* out, int bytes) {
  SIMT_SHARED(uint8_t, space, 512);
  copy_async16(space + threadIdx.x * 16, from + threadIdx.x * 16, bytes);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  const unsigned other = 31 - threadIdx.x;
  for (int i = 0; i < 16; i++) out[other * 16 + i] = space[other * 16 + i];
}

__global__ void to_bf16_kernel(const float* values, uint16_t* out, int64_t size) {
  for (int64_t i = threadIdx.x; i < size; i += 32) out[i] = round_to_bf16(values[i]);
}

__global__ void warp_sum_kernel(const float* values, float* out) { out[threadIdx.x] = warp_sum(values[threadIdx.x]); }
__global__ void negative_kernel(const float* values, uint32_t* out) { out[threadIdx.x] = ballot(values[threadIdx.x] < 0); }

namespace {

bool usable() {
  const Cards found = list_cards();
  return !found.cards.empty() && found.cards[0].major >= 8;
}

std::pair<int, int> capability() {
  const Card card = list_cards().cards.at(0);
  return {card.major, card.minor};
}

// Takes memory of the device, fills it with what the host gives, and reads it back.
class Bench {
 public:
  Bench() : ready_((use_card(0), true)) {}
  ~Bench() {
    for (const auto& [address, bytes] : taken_) give_back_device_memory(address, bytes);
    for (std::byte* p : pinned_) give_back_pinned_memory(p);
  }
  template <class T>
  T* up(const std::vector<T>& values) {
    const uint64_t bytes = values.size() * sizeof(T), address = take_device_memory(bytes);
    taken_.emplace_back(address, bytes);
    std::byte* pinned = pinned_memory(bytes);
    std::memcpy(pinned, values.data(), bytes);
    stream_.upload(address, pinned, bytes);
    return reinterpret_cast<T*>(kernel_address(address, bytes));
  }
  // Returns the contents of the buffer that was taken last.
  template <class T>
  std::vector<T> down() {
    const auto [address, bytes] = taken_.back();
    std::byte* pinned = pinned_memory(bytes);
    stream_.download(pinned, address, bytes);
    stream_.synchronize();
    std::vector<T> values(bytes / sizeof(T));
    std::memcpy(values.data(), pinned, bytes);
    return values;
  }
  template <class... P, class... A>
  void run(void (*kernel)(P...), A... args) {
    launch_kernel("probe", kernel, dim3(1), dim3(32), 0, stream_.handle(), args...);
  }

 private:
  std::byte* pinned_memory(uint64_t bytes) {
    pinned_.push_back(take_pinned_memory(bytes));
    return pinned_.back();
  }
  bool ready_;
  Stream stream_;
  std::vector<std::pair<uint64_t, uint64_t>> taken_;
  std::vector<std::byte*> pinned_;
};

std::vector<uint16_t> upper_halves(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (const float v : values) {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    halves.push_back(static_cast<uint16_t>(bits >> 16));
  }
  return halves;
}

std::vector<float> multiply(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c) {
  Bench bench;
  const auto *left = bench.up(upper_halves(a)), *right = bench.up(upper_halves(b));
  const auto* sums = bench.up(c);
  bench.run(multiply_kernel, left, right, sums, bench.up(std::vector<float>(16 * 8)));
  return bench.down<float>();
}
std::vector<uint32_t> matrices(const std::vector<uint16_t>& from, bool transposed) {
  Bench bench;
  const auto* data = bench.up(from);
  bench.run(load_matrices_kernel, data, bench.up(std::vector<uint32_t>(128)), transposed);
  return bench.down<uint32_t>();
}
std::vector<uint8_t> copy(const std::vector<uint8_t>& from, int bytes) {
  Bench bench;
  const auto* data = bench.up(from);
  bench.run(copy_kernel, data, bench.up(std::vector<uint8_t>(512)), bytes);
  return bench.down<uint8_t>();
}
std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  Bench bench;
  const auto* data = bench.up(values);
  bench.run(to_bf16_kernel, data, bench.up(std::vector<uint16_t>(values.size())), values.size());
  return bench.down<uint16_t>();
}
std::vector<float> sum(const std::vector<float>& values) {
  Bench bench;
  const auto* data = bench.up(values);
  bench.run(warp_sum_kernel, data, bench.up(std::vector<float>(32)));
  return bench.down<float>();
}
std::vector<uint32_t> negative(const std::vector<float>& values) {
  Bench bench;
  const auto* data = bench.up(values);
  bench.run(negative_kernel, data, bench.up(std::vector<uint32_t>(32)));
  return bench.down<uint32_t>();
}

#define PROBES_TEXT_OF(name) #name
#define PROBES_NAME(name) PROBES_TEXT_OF(name)

}  // namespace

extern const test::Probes probes = {PROBES_NAME(ESPALIER_TARGET), usable, capability, multiply, matrices, copy, to_bf16, sum, negative};

}  // namespace espalier::cuda::ESPALIER_TARGET
