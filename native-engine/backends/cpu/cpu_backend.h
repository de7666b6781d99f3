// The CPU backend: runs the kernels of the processor's instruction set on all its threads.
#pragma once
#include <string>
#include <vector>

#include "device/registry.h"
#include "kernel_table.h"
#include "parallel.h"

namespace espalier::cpu {

inline constexpr int64_t kLine = 16;  // the number of floats in a cache line

class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, const Kernels& kernels);
  void attach_thread() override;
  DeviceBuffer share(const void* host, uint64_t) override;
  void upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) override;
  void download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) override;
  void download_all(std::span<const Download> blocks) override;
  void fetch(DevicePtr<std::byte> to, const Backend& other, DevicePtr<const std::byte> from, uint64_t bytes) override;
  void synchronize() override {}  // ops are done when they return

  static std::string fingerprint(int threads, const Kernels& kernels);
  static uint64_t scratch_bytes(int threads, const Kernels& kernels, const ModelConfig& config, const ScratchShape& shape);

 protected:
  DevicePtr<std::byte> take(uint64_t bytes) override;
  void give_back(DevicePtr<std::byte> data, uint64_t bytes) override;

#define ESPALIER_LAUNCH(Op) void launch(const Op& op) override;
  ESPALIER_OPS(ESPALIER_LAUNCH)
#undef ESPALIER_LAUNCH

 private:
  enum Slot {
    kParts,
    kSums,
    kRows,
    kFactor,
    kHeadDot,
    kAttention,
    kScores,
    kLoraWords,
    kLoraProduct,
    kLoraPack,
    kPanel,
    kWidened,
    kSlotCount
  };
  static constexpr uint64_t kWidenedBytes = uint64_t{16} << 20;
  static constexpr int64_t kLeastRows = 128;  // a product gives each thread at least these rows before it divides the columns too
  // LoRA's gradients are summed over the tokens in at most kMostTokenParts parts, each of at least kLeastTokens tokens.
  static constexpr int64_t kMostTokenParts = 4, kLeastTokens = 256;
  // Returns memory for `count` values. A slot only grows; its contents do not survive the next call with the same slot.
  template <class T>
  T* scratch(Slot slot, int64_t count) {
    std::vector<char>& s = scratch_[slot];
    const uint64_t bytes = static_cast<uint64_t>(count) * sizeof(T) + 64;
    if (s.size() < bytes) s.resize(bytes);
    return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(s.data()) + 63) / 64 * 64);
  }
  bool is_wide(int64_t rows, DType t) const;
  int64_t panel_words(const Product& op, int64_t whole) const;
  struct Grid {
    int64_t rows, columns;  // the numbers of parts
  };
  Grid grid_of(int64_t rows) const;
  template <class F>
  void parallel_grid(int64_t rows, int64_t room, F&& f);
  void multiply(const Product& op);
  void multiply_widened(const Product& op);
  template <class F>
  void add_column_sums(int64_t rows, int64_t cols, DevicePtr<float> sums, F&& f);
  double* part_sums();

  int threads_;
  const Kernels& k_;
  std::vector<Barrier> barriers_;  // one for each set of threads that share panels
  std::vector<std::vector<char>> scratch_;
};

}  // namespace espalier::cpu
