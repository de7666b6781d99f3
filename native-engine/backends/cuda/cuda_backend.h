// The CUDA backend: the memory and the queue of one card. Each op is defined beside its kernels, in kernels/FOLDER/NAME.cu.
#pragma once
#include <array>
#include <string>

#include "cublaslt.h"
#include "device/registry.h"
#include "runtime.h"
#include "staging.h"

namespace espalier::cuda::ESPALIER_TARGET {

struct bf16;
template <class T, class C>
struct ProductArguments;
template <class T>
struct ProductPart;

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int card);
  ~CudaBackend() override;
  void attach_thread() override;
  void upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) override;
  void download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) override;
  void synchronize() override;
  void fetch(DevicePtr<std::byte> to, const Backend& other, DevicePtr<const std::byte> from, uint64_t bytes) override;
  std::unique_ptr<Moment> moment() override;
  void copy_ahead(DevicePtr<std::byte> to, const HostBuffer& from) override;
  void ops_wait_for_copies() override;
  void copies_wait_for_ops() override;

  // Returns the bytes that the ops need besides the tensors that they are given.
  static uint64_t scratch_bytes(const ModelConfig& config, const ScratchShape& shape);
  static StepForm step_form();

 protected:
  DevicePtr<std::byte> take(uint64_t bytes) override;
  void give_back(DevicePtr<std::byte> data, uint64_t bytes) override;
  std::byte* take_host(uint64_t bytes) override { return take_pinned_memory(bytes); }
  void give_back_host(std::byte* data) override { give_back_pinned_memory(data); }

#define ESPALIER_LAUNCH(Op) void launch(const Op& op) override;
  ESPALIER_OPS(ESPALIER_LAUNCH)
#undef ESPALIER_LAUNCH

 private:
  // Memory that an op needs for itself. Its contents do not survive the next op that uses the same slot.
  enum Slot { kParts, kSums, kRowWeights, kDelta, kDquery, kFactors, kActivations, kWorkspace, kLibrarySums, kSlotCount };
  template <class T>
  T* scratch(Slot slot, int64_t count) {
    const uint64_t bytes = static_cast<uint64_t>(count) * sizeof(T);
    return reinterpret_cast<T*>(kernel_address(scratch_address(slot, bytes), bytes));
  }
  uint64_t scratch_address(Slot slot, uint64_t bytes);  // a slot only grows
  // to[j] += the sum over the parts in their order; parts: [count, cols].
  void add_parts(const float* parts, int64_t count, int64_t cols, DevicePtr<float> to);
  // *to = the sum of the doubles.
  void add_sums(const double* sums, int64_t count, DevicePtr<double> to);

  // The place of a LoRA factor's gradient (lora_gradient.cu): the gradient of column j of the wide matrix and column k of the narrow matrix
  // goes to to[k * rank_stride + list[j] * col_stride].
  struct FactorPlace {
    DevicePtr<float> to;
    DevicePtr<const int32_t> list;  // nullptr: identity
    int64_t rank, full, rank_stride, col_stride;
    float scale;
  };
  // Returns the parts of narrow^T wide, one for each part of the rows: [parts, narrow.cols, wide.cols] in scratch memory.
  template <class T>
  const float* factor_sums(const Tensor& narrow, const Tensor& wide);
  // Adds the parts of the first place.rank of the ranks in `sums`, and writes the gradient to its place.
  void set_factor_gradient(const float* sums, int64_t ranks, const Tensor& wide, const FactorPlace& place);
  static uint64_t factor_parts_bytes(const ModelConfig& config, const ScratchShape& shape);
  static uint64_t product_scratch_bytes(const ModelConfig& config, const ScratchShape& shape);
  // Norms the queries and keys among the products of attention, in place (head_norm.cu).
  void norm_heads(const AttentionOperands& op, const Tensor& sums);
  // Computes a product of activations of type T (product.cu).
  template <class T>
  void multiply(const Product& op);
  // Computes the columns [from, from + count) of a product from packed parts.
  template <class T>
  void multiply_parts(const Product& op, const ProductPart<T>* parts, int part_count, int64_t from, int64_t count);
  // Computes a product whose activations lie side by side as one product of one factor; returns false where it is not such a product, or
  // where this does not pay.
  bool multiply_side_by_side(const Product& op);
  // Computes LoRA's narrow products of one dense x as one product (lora_narrow.cu).
  template <class T>
  void multiply_of_one_x(const LoraNarrow& op);
  // Computes a product by cuBLASLt (product_library.cu); returns false where cuBLASLt can't compute it.
  template <class C>
  bool multiply_by_library(const ProductArguments<bf16, C>& g, bool transposed);
  static uint64_t library_scratch_bytes(const ModelConfig& config, const ScratchShape& shape);

  int card_;
  Stream stream_;
  Staging staging_;
  std::array<DeviceBuffer, kSlotCount> scratch_;
  std::unique_ptr<LibraryProducts> library_;  // nullptr: all products are computed by the own kernels
  Stream copies_;
  Event ops_so_far_, copies_so_far_;
};

}  // namespace espalier::cuda::ESPALIER_TARGET
