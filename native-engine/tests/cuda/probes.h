// Single instructions, run by one warp on a stream of their own: on the emulator, and where there is a card on that. Most inputs are
// small integers, so results are exact and must be equal on both.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace espalier::test {

// The probes of one backend target. Matrices lie row by row.
struct Probes {
  const char* name;
  bool (*usable)();
  std::pair<int, int> (*capability)();  // of the first card: 9, 0 for an H100
  // a [16, 16] b [16, 8] + c [16, 8], of numbers that bf16 holds
  std::vector<float> (*multiply)(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& c);
  // The registers of each lane after four 8 x 8 matrices of 16 bits, one behind the other, were loaded: [32, 4]
  std::vector<uint32_t> (*load_matrices)(const std::vector<uint16_t>& matrices, bool transposed);
  // 32 pieces of 16 bytes through shared memory, the first `bytes` of each: [512]
  std::vector<uint8_t> (*copy)(const std::vector<uint8_t>& from, int bytes);
  std::vector<uint16_t> (*to_bf16)(const std::vector<float>& values);
  // [32]: the sum over the warp, and the lanes whose value is negative
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
