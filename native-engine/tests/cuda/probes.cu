#include "probes.h"

#include <cstring>
#include <utility>

#include "hopper_instructions.h"
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

// Returns the first place of dynamic shared memory at a multiple of 1024.
__device__ __forceinline__ std::byte* boxes() {
  std::byte* const all = dynamic_shared<std::byte>();
  return all + (1024 - shared_address(all) % 1024) % 1024;
}
constexpr uint32_t kBox = 64 * 128, kBoxesBytes = 6 * kBox + 1024;  // room for a box of a, and four of b or one of 256 rows

__global__ void copy_box_kernel(const __grid_constant__ TileMap map, int32_t row, int32_t col, uint16_t* out) {
  SIMT_SHARED(PhaseBarrier, filled, 1);
  std::byte* const box = boxes();
  if (threadIdx.x == 0) {
    start_barrier(filled, 1);
    show_barriers();
    arrive_expecting(filled, kBox);
    copy_box(box, map, row, col, filled);
  }
  __syncthreads();
  wait_for_phase(filled, 0);
  for (int i = static_cast<int>(threadIdx.x); i < 64 * 64; i += static_cast<int>(blockDim.x)) out[i] = reinterpret_cast<uint16_t*>(box)[i];
}

template <bool across>
__global__ void __launch_bounds__(128)
    multiply_group_kernel(const __grid_constant__ TileMap a, const __grid_constant__ TileMap b, float* out) {
  SIMT_SHARED(PhaseBarrier, filled, 1);
  std::byte *const a_box = boxes(), *const b_boxes = a_box + kBox;
  if (threadIdx.x == 0) {
    start_barrier(filled, 1);
    show_barriers();
    arrive_expecting(filled, 5 * kBox);
    copy_box(a_box, a, 0, 0, filled);
    for (int i = 0; i < (across ? 4 : 1); i++) copy_box(b_boxes + i * kBox, b, 0, i * kBoxCols, filled);
  }
  __syncthreads();
  wait_for_phase(filled, 0);
  float c[128];
  begin_group();
  multiply_group_bf16<across>(c, describe_factor(a_box, 0, 1024), describe_factor(b_boxes, across ? kBox : 0, 1024), false);
  end_group();
  wait_for_groups<0>(c);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  SIMT_UNROLL
  for (int i = 0; i < 128; i++) out[(warp * 16 + lane / 4 + i % 4 / 2 * 8) * 256 + i / 4 * 8 + lane % 4 * 2 + i % 2] = c[i];
}

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
  // Runs a kernel that keeps boxes in shared memory.
  template <class... P, class... A>
  void run_with_boxes(unsigned threads, void (*kernel)(P...), A... args) {
    launch_kernel("probe", kernel, dim3(1), dim3(threads), kBoxesBytes, stream_.handle(), args...);
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

std::vector<uint16_t> copied_box(const std::vector<uint16_t>& matrix, int64_t rows, int64_t cols, int32_t row, int32_t col) {
  Bench bench;
  const TileMap map = make_tile_map(bench.up(matrix), rows, cols, cols, 64);
  bench.run_with_boxes(32, copy_box_kernel, map, row, col, bench.up(std::vector<uint16_t>(64 * 64)));
  return bench.down<uint16_t>();
}
std::vector<float> multiply_group(const std::vector<float>& a, const std::vector<float>& b, bool across) {
  Bench bench;
  const TileMap left = make_tile_map(bench.up(upper_halves(a)), 64, 16, 16, 64);
  const auto* const factor = bench.up(upper_halves(b));
  const TileMap right = across ? make_tile_map(factor, 16, 256, 256, 64) : make_tile_map(factor, 256, 16, 16, 256);
  bench.run_with_boxes(128, across ? multiply_group_kernel<true> : multiply_group_kernel<false>, left, right,
                       bench.up(std::vector<float>(64 * 256)));
  return bench.down<float>();
}

#define PROBES_TEXT_OF(name) #name
#define PROBES_NAME(name) PROBES_TEXT_OF(name)

}  // namespace

extern const test::Probes probes = {
    PROBES_NAME(ESPALIER_TARGET), usable, capability, multiply, matrices, copy, to_bf16, sum, negative, copied_box, multiply_group};

}  // namespace espalier::cuda::ESPALIER_TARGET
