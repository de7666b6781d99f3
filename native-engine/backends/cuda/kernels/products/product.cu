// Products of activations and stored weights: c [N, out] (+)= column_scale * the sum over the terms of a b.
//
// Factors that are not dense, aligned and of the compute dtype are packed first (pack.cu), for as many columns of the result at a time as
// the packed factors have room for. This changes no bit: each value is one sum, over the terms in their order and along each term.
#include <algorithm>

#include "cuda_backend.h"
#include "espalier/model/model_config.h"
#include "products/pack.h"
#include "products/product.h"

namespace espalier::cuda::ESPALIER_TARGET {

ProductLimits& product_limits() {
  static ProductLimits limits;
  return limits;
}

namespace {

constexpr int64_t kColumnMultiple = 128;

// Returns the number of values of the packed factors for this number of columns of the result.
template <class T>
int64_t packed_values(const Product& op, int64_t columns) {
  int64_t values = 0;
  for (int i = 0; i < op.count; i++) {
    const Selection& b = op.terms[i].b;
    if (!is_dense<T>(b)) values += op.transposed ? columns * packed_stride(b.cols) : b.rows * packed_stride(columns);
  }
  return values;
}

// Returns how many columns of the result are computed at a time.
template <class T>
int64_t columns_at_a_time(const Product& op) {
  if (packed_values<T>(op, op.c.cols) <= product_limits().packed_values) return op.c.cols;
  const int64_t each = packed_values<T>(op, kColumnMultiple);
  return std::max<int64_t>(product_limits().packed_values / each, 1) * kColumnMultiple;
}

}  // namespace

// Counts the widest products of a layer, which are those backward through all projections of a group at once, and the logits, each with
// LoRA beside it.
uint64_t CudaBackend::product_scratch_bytes(const ModelConfig& config, const ScratchShape& shape) {
  const int64_t hidden = padded_width(config.hidden_size), units = padded_width(config.intermediate_size);
  const int64_t heads = padded_width(config.head_count * config.head_dim) + 2 * padded_width(config.kv_head_count * config.head_dim);
  const int64_t narrow = shape.lora_rank > 0 ? 3 * packed_stride(narrow_width(shape.lora_rank)) : 0;
  const int64_t widest = std::max({heads, 2 * units, config.vocab_size}) + narrow;
  const int64_t factors = std::min(widest * (hidden + narrow), product_limits().packed_values);
  return static_cast<uint64_t>(factors + shape.batch * shape.tokens * narrow) * dtype_bytes(shape.dtype) +
         library_scratch_bytes(config, shape);
}

namespace {

// Makes the arguments for the columns [from, from + count) of c.
template <class C, class T>
ProductArguments<T, C> arguments(const Product& op, const ProductPart<T>* parts, int part_count, int64_t from, int64_t count) {
  ProductArguments<T, C> g{};
  std::copy(parts, parts + part_count, g.parts);
  g.count = part_count;
  const int64_t values = (op.c.rows - 1) * op.c.stride + op.c.cols;
  g.c = reinterpret_cast<C*>(kernel_address(op.c.data.address(), values * sizeof(C))) + from;
  g.c_stride = static_cast<int32_t>(op.c.stride);
  g.rows = static_cast<int32_t>(op.c.rows);
  g.cols = static_cast<int32_t>(count);
  g.column_scale = list(op.column_scale, op.c.cols);
  if (g.column_scale) g.column_scale += from;
  g.accumulate = op.accumulate;
  return g;
}

}  // namespace

template <class T>
void CudaBackend::multiply(const Product& op) {
  ProductPart<T> parts[6];
  int64_t beside = 0;
  for (int i = 0; i < op.count; i++) beside += is_dense<T>(op.terms[i].a) ? 0 : op.c.rows * packed_stride(op.terms[i].a.cols);
  T* copy = beside == 0 ? nullptr : scratch<T>(kActivations, beside);
  for (int i = 0; i < op.count; i++) {
    const Tensor& a = op.terms[i].a;
    if (a.dtype != op.terms[0].a.dtype) throw Error(ErrorCode::kInternal, "backend", "activations of a product differ in their dtype");
    const Packing as_it_is = packing_of(a);
    parts[i] = {reinterpret_cast<const T*>(as_it_is.from), static_cast<int32_t>(a.stride), nullptr, 0, static_cast<int32_t>(a.cols)};
    if (is_dense<T>(a)) continue;
    pack(stream_.handle(), as_it_is, copy);
    parts[i].a = copy;
    parts[i].a_stride = static_cast<int32_t>(packed_stride(a.cols));
    copy += a.rows * packed_stride(a.cols);
  }
  const int64_t step = columns_at_a_time<T>(op), values = packed_values<T>(op, step);
  T* const packed = values == 0 ? nullptr : scratch<T>(kFactors, values);
  for (int64_t from = 0; from < op.c.cols; from += step) {
    const int64_t count = std::min(step, op.c.cols - from);
    T* to = packed;
    for (int i = 0; i < op.count; i++) {
      const Packing p = packing_of(op.terms[i].b, op.transposed, from, count);
      parts[i].b = reinterpret_cast<const T*>(p.from);
      parts[i].b_stride = static_cast<int32_t>(p.stride);
      if (is_dense<T>(op.terms[i].b)) continue;
      pack(stream_.handle(), p, to);
      parts[i].b = to;
      parts[i].b_stride = static_cast<int32_t>(packed_stride(p.cols));
      to += p.rows * packed_stride(p.cols);
    }
    multiply_parts(op, parts, op.count, from, count);
  }
}

// Where the terms of a product are products of their own, each but the first reads and writes the sums in f32 once more, and a rounded
// result needs a last pass over them. So LoRA costs as many bytes as its weight's product. But its narrow activations lie beside the wide
// ones (StepForm), so one packed factor with its part beside or below the weight, [W | s B] or [W; s A], makes all one product. Packing
// takes twice the bytes of a weight that could be read in place.
bool CudaBackend::multiply_side_by_side(const Product& op) {
  const ProductTerm& first = op.terms[0];
  if (!op.by_shape || !library_ || op.count < 2 || op.c.rows < library_limits().rows || op.c.cols < library_limits().cols) return false;
  std::array<int64_t, 7> begin{};  // the first column of each term's activations, and the end of the last
  int64_t copied = 0;
  for (int i = 0; i < op.count; i++) {
    const Tensor& a = op.terms[i].a;
    const int64_t at = static_cast<int64_t>(a.data.address() - first.a.data.address()) / static_cast<int64_t>(sizeof(bf16));
    if (!is_dense<bf16>(a) || a.stride != first.a.stride || at < begin[i] || at + a.cols > a.stride || at % kPackMultiple != 0)
      return false;
    if (!op.transposed && at != begin[i]) return false;
    begin[i] = at;
    begin[i + 1] = at + a.cols;
    if (is_dense<bf16>(op.terms[i].b)) copied += op.terms[i].b.rows * op.terms[i].b.cols;
  }
  const bool has_last_pass = op.c.dtype != DType::kF32 && !op.column_scale;  // a single product needs no such pass
  const int64_t depth = begin[op.count], spared = op.c.rows * op.c.cols * 8 * (op.count - (has_last_pass ? 0 : 1));
  if (depth % kPackMultiple != 0 || 4 * copied > spared) return false;
  const int64_t fitting = std::max<int64_t>(product_limits().packed_values / depth / kColumnMultiple, 1) * kColumnMultiple;
  const int64_t step = std::min(fitting, op.c.cols);
  bf16* const packed = scratch<bf16>(kFactors, op.transposed ? step * depth : depth * packed_stride(step));
  for (int64_t from = 0; from < op.c.cols; from += step) {
    const int64_t count = std::min(step, op.c.cols - from), stride = op.transposed ? depth : packed_stride(count);
    for (int i = 0; i < op.count; i++) {
      // The columns between two terms belong to other projections, so they meet zeros.
      const int64_t end = i + 1 < op.count ? begin[i + 1] : depth;
      pack(stream_.handle(), packing_of(op.terms[i].b, op.transposed, from, count), packed + begin[i] * (op.transposed ? 1 : stride),
           {op.transposed ? end - begin[i] : stride, stride});
    }
    const ProductPart<bf16> part{list(first.a.data.as<const bf16>(), (op.c.rows - 1) * first.a.stride + depth),
                                 static_cast<int32_t>(first.a.stride), packed, static_cast<int32_t>(stride), static_cast<int32_t>(depth)};
    multiply_parts(op, &part, 1, from, count);
  }
  return true;
}

template <class T>
void CudaBackend::multiply_parts(const Product& op, const ProductPart<T>* parts, int part_count, int64_t from, int64_t count) {
  const auto run = [&](const auto& g) {
    if constexpr (sizeof(T) == 2)
      if (op.by_shape && multiply_by_library(g, op.transposed)) return;
    multiply_dense(stream_.handle(), g, op.transposed);
  };
  if (op.c.dtype == DType::kF32)
    run(arguments<float>(op, parts, part_count, from, count));
  else if constexpr (sizeof(T) == 2)
    run(arguments<bf16>(op, parts, part_count, from, count));
}

void CudaBackend::launch(const Product& op) {
  if (op.c.rows == 0 || op.c.cols == 0) return;
  with_compute_type(op.terms[0].a.dtype, [&](auto t) {
    if (op.c.dtype != DType::kF32 && op.c.dtype != op.terms[0].a.dtype)
      throw Error(ErrorCode::kInternal, "backend", "a product's result is f32 or of the compute dtype");
    using T = decltype(t);
    if constexpr (sizeof(T) == 2)
      if (multiply_side_by_side(op)) return;
    multiply<T>(op);
  });
}

}  // namespace espalier::cuda::ESPALIER_TARGET
