// The CPU backend: launches the kernels of the processor's instruction set over the threads.
#pragma once
#include <vector>

#include "kernel_table.h"
#include "matmul.h"
#include "parallel.h"

namespace espalier::cpu {

inline constexpr int64_t kLine = 16;  // floats of a cache line

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(int threads, const Kernels& kernels = select_kernels());
  std::string fingerprint() const override;
  void attach_thread() override;
  void* allocate(uint64_t bytes) override;
  void release(void* memory, uint64_t bytes) override;
  uint64_t scratch_bytes(const ModelConfig& config, const ScratchShape& shape) const override;
  const int32_t* stage(const std::vector<int32_t>& host) override { return host.data(); }
  const float* stage(const std::vector<float>& host) override { return host.data(); }
  void copy(Tensor to, Tensor from) override;
  void clear(float* data, int64_t size) override;

  void embed(const Embed& op) override;
  void multiply(const Product& op) override;
  void rmsnorm(const RmsNorm& op) override;
  void rmsnorm_backward(const RmsNormBackward& op) override;
  void attention_operands(const AttentionOperands& op) override;
  void attention(const Attention& op) override;
  void attention_backward(const AttentionBackward& op) override;
  void swiglu(const Swiglu& op) override;
  void swiglu_backward(const SwigluBackward& op) override;
  void layer_loss(const LayerLoss& op) override;
  void token_loss(const TokenLoss& op) override;
  void lora_narrow(const LoraNarrow& op) override;
  void lora_gradient(const LoraGradient& op) override;
  void add_loss_gradient(Tensor dx, Tensor diff, float scale, Tensor dx_compute, const float* compute_scale) override;
  double square_sum(const float* data, int64_t size) override;
  void adamw(const AdamW& op) override;

 private:
  enum Slot {
    kParts,
    kSums,
    kRows,
    kFactor,
    kHeadDot,
    kAttention,
    kLoraWords,
    kLoraProduct,
    kLoraPack,
    kPanel,
    kSelected,
    kProductSums,
    kSlotCount
  };
  static constexpr uint64_t kSelectedBytes = uint64_t{16} << 20;
  static constexpr int64_t kLeastRows = 128;  // of a product for each thread, as far as columns are left whole
  // LoRA's gradients: sums over the tokens in this many parts at most, each of so many tokens at least.
  static constexpr int64_t kMostTokenParts = 4, kLeastTokens = 256;
  // oneDNN generates a kernel for each width that masks leave; measured on factbook-llama-3m at mask sparsity 0.5.
  static constexpr uint64_t kGeneratedKernelBytes = uint64_t{13} << 20;
  // Grows only; contents do not survive the next call with the same slot.
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
    int64_t rows, columns;  // parts
  };
  Grid grid_of(int64_t rows) const;
  template <class F>
  void parallel_grid(int64_t rows, int64_t room, F&& f);
  void multiply_by_library(const Product& op);
  void add_term(const ProductTerm& term, bool transposed, Tensor sums, bool accumulate);
  template <class F>
  void add_column_sums(int64_t rows, int64_t cols, float* sums, F&& f);

  int threads_;
  const Kernels& k_;
  bool own_products_;  // where the processor has no matrix tiles, which only oneDNN uses
  MatmulCache products_;
  std::vector<Barrier> barriers_;  // of the threads that share panels
  std::vector<std::vector<char>> scratch_;
};

}  // namespace espalier::cpu
