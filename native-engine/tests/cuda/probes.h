// Single instructions, each run by one warp on a stream of its own, on the emulator and on a card where there is one. Most inputs are small
// integers, so results are exact and must be equal on both.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace espalier::test {

// The probes of one backend target. Matrices are stored row by row.
struct Probes {
  const char* name;
  bool (*usable)();
  std::pair<int, int> (*capability)();  // the compute capability of the first card: 9, 0 for an H100
  // a [16, 16] b [16, 8] + c [16, 8], of numbers that bf16 can hold.
  std::vector<float> (*multiply)(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c);
  // Loads four 8 x 8 matrices of 16 bits, which are stored one after the other, and returns the registers of each lane: [32, 4].
  std::vector<uint32_t> (*load_matrices)(const std::vector<uint16_t>& matrices, bool transposed);
  // Copies the first `bytes` of each of 32 pieces of 16 bytes through shared memory and returns them: [512].
  std::vector<uint8_t> (*copy)(const std::vector<uint8_t>& from, int bytes);
  std::vector<uint16_t> (*to_bf16)(const std::vector<float>& values);
  // Both return one value for each lane, [32]: the sum over the warp, and the mask of the lanes whose value is negative.
  std::vector<float> (*warp_sum)(const std::vector<float>& values);
  std::vector<uint32_t> (*negative)(const std::vector<float>& values);
};

}  // namespace espalier::test

namespace espalier::cuda::emulated {
extern const test::Probes probes;
}
namespace espalier::cuda::gpu {
extern const test::Probes probes;
}
