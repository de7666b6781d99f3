#include "cpu_backend.h"

#include <sys/mman.h>

#include <cstring>

#include "espalier/error.h"
#include "parallel.h"

namespace espalier::cpu {

namespace {
constexpr int64_t kLine = 16;  // floats of a cache line
enum Slot { kParts, kSums, kRows, kFactor, kHeadDot, kAttention, kLoraWords, kLoraProduct, kLoraPack, kSlotCount };
constexpr uint64_t kLargePage = 2 << 20;
uint64_t whole_pages(uint64_t bytes) { return (bytes + kLargePage - 1) / kLargePage * kLargePage; }
}  // namespace

CpuBackend::CpuBackend(int threads, const Kernels& kernels)
    : threads_(threads > 0 ? threads : omp_get_num_procs()), k_(kernels), scratch_(kSlotCount) {
  attach_thread();
}

void CpuBackend::attach_thread() {
  omp_set_dynamic(0);
  omp_set_num_threads(threads_);
}

std::string CpuBackend::fingerprint() const {
  return std::string("cpu ") + k_.name + " threads " + std::to_string(threads_) + " onednn " + MatmulCache::version();
}

void* CpuBackend::allocate(uint64_t bytes) {
  void* p = mmap(nullptr, whole_pages(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw Error(ErrorCode::kOutOfMemory, "memory", "cannot reserve " + std::to_string(bytes) + " bytes");
  madvise(p, whole_pages(bytes), MADV_HUGEPAGE);
  return p;
}

void CpuBackend::release(void* memory, uint64_t bytes) {
  if (memory) munmap(memory, whole_pages(bytes));
}

uint64_t CpuBackend::scratch_bytes(const ModelConfig& config, int64_t tokens_per_row) const {
  return static_cast<uint64_t>(threads_) * k_.attention_scratch_bytes(tokens_per_row, config.head_dim);
}

template <class T>
T* CpuBackend::scratch(int slot, int64_t count) {
  std::vector<char>& s = scratch_[slot];
  const uint64_t bytes = static_cast<uint64_t>(count) * sizeof(T) + 64;
  if (s.size() < bytes) s.resize(bytes);
  return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(s.data()) + 63) / 64 * 64);
}

void CpuBackend::copy(Tensor to, Tensor from) {
  parallel_parts(threads_, from.rows, 1, [&](int, Range r) {
    for (int64_t n = r.begin; n < r.end; n++)
      std::memcpy(to.row_range(n, 1).data, from.row_range(n, 1).data, from.cols * dtype_bytes(from.dtype));
  });
}

void CpuBackend::clear(float* data, int64_t size) { std::memset(data, 0, size * 4); }

// sums[j] += the parts in their order.
void CpuBackend::add_parts(float* sums, const float* parts, int64_t cols, int64_t stride) {
  for (int part = 0; part < threads_; part++)
    for (int64_t j = 0; j < cols; j++) sums[j] += parts[part * stride + j];
}

void CpuBackend::gather_weights(std::span<const GatherWeights> ops) {
  int64_t widest = 0, factors = 0;
  std::vector<float*>& a = factor_of_;
  a.assign(ops.size(), nullptr);
  for (const GatherWeights& op : ops) {
    widest = std::max(widest, op.out.cols);
    factors += op.lora_a ? op.rank * op.out.cols : 0;
  }
  float* next = scratch<float>(kFactor, factors);
  for (size_t i = 0; i < ops.size(); i++)
    if (ops[i].lora_a) {
      a[i] = next;
      next += ops[i].rank * ops[i].out.cols;
    }
  const int64_t stride = 4 * padded_width(widest);
  float* rows = scratch<float>(kRows, threads_ * stride);
  if (factors > 0)
    parallel_all(threads_, [&](int part) {
      for (size_t i = 0; i < ops.size(); i++)
        if (const Range r = part_of(ops[i].out.cols, threads_, part, kLine); a[i]) k_.scale_lora_a(ops[i], a[i], r.begin, r.end);
    });
  parallel_all(threads_, [&](int part) {
    for (size_t i = 0; i < ops.size(); i++) {
      const Range r = part_of(ops[i].out.rows, threads_, part, 4);
      k_.gather_rows(ops[i], a[i], r.begin, r.end, rows + part * stride);
    }
  });
}

void CpuBackend::embed(const Embed& op) {
  parallel_parts(threads_, op.out.rows, 1, [&](int, Range r) { k_.embed(op, r.begin, r.end); });
}

void CpuBackend::matmul(Tensor c, Tensor a, Tensor b, bool b_transposed, bool accumulate) {
  products_.run(c, a, b, b_transposed, accumulate);
}

void CpuBackend::rmsnorm(const RmsNorm& op) {
  parallel_parts(threads_, op.x.rows, 1, [&](int, Range r) { k_.rmsnorm(op, r.begin, r.end); });
}

void CpuBackend::rmsnorm_backward(const RmsNormBackward& op) {
  const int64_t stride = op.dx.cols + kLine;
  float* parts = scratch<float>(kParts, threads_ * stride);
  std::memset(parts, 0, threads_ * stride * 4);
  parallel_parts(threads_, op.dx.rows, 1,
                 [&](int part, Range r) { k_.rmsnorm_backward(op, r.begin, r.end, parts + part * stride); });
  add_parts(op.mask_dot, parts, op.dx.cols, stride);
}

void CpuBackend::attention(const Attention& op) {
  const int64_t bytes = (k_.attention_scratch_bytes(op.shape.tokens, op.shape.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  parallel_items(threads_, op.shape.batch * op.shape.kv_heads, [&](int64_t item, int thread) {
    k_.attention(op, item / op.shape.kv_heads, item % op.shape.kv_heads, areas + thread * bytes);
  });
}

void CpuBackend::attention_backward(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t bytes = (k_.attention_scratch_bytes(s.tokens, s.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  double* head_dot = scratch<double>(kHeadDot, s.batch * s.heads);
  parallel_items(threads_, s.batch * s.kv_heads, [&](int64_t item, int thread) {
    const int64_t row = item / s.kv_heads;
    k_.attention_backward(op, row, item % s.kv_heads, areas + thread * bytes, head_dot + row * s.heads);
  });
  for (int64_t h = 0; h < s.heads; h++) {
    op.head_dot[h] = 0;
    for (int64_t row = 0; row < s.batch; row++) op.head_dot[h] += head_dot[row * s.heads + h];
  }
}

void CpuBackend::swiglu(const Swiglu& op) {
  parallel_parts(threads_, op.out.rows, 1, [&](int, Range r) { k_.swiglu(op, r.begin, r.end); });
}

void CpuBackend::swiglu_backward(const SwigluBackward& op) {
  parallel_parts(threads_, op.out.cols, 16, [&](int, Range r) { k_.swiglu_backward(op, r.begin, r.end); });
}

void CpuBackend::layer_loss(const LayerLoss& op) {
  const int64_t cols = op.student.cols, stride = cols + kLine;
  float* parts = scratch<float>(kParts, threads_ * stride);
  double* sums = scratch<double>(kSums, threads_ * kLine);
  std::memset(parts, 0, threads_ * stride * 4);
  std::memset(sums, 0, threads_ * kLine * 8);
  parallel_parts(threads_, op.student.rows, 1, [&](int part, Range r) {
    k_.layer_loss(op, r.begin, r.end, sums + part * kLine, parts + part * stride);
  });
  for (int64_t j = 0; j < cols; j++) op.mask_dot[j] = 0;
  add_parts(op.mask_dot, parts, cols, stride);
  *op.sum = 0;
  for (int part = 0; part < threads_; part++) *op.sum += sums[part * kLine];
}

void CpuBackend::token_loss(const TokenLoss& op) {
  parallel_parts(threads_, op.student.rows, 1, [&](int, Range r) {
    for (int64_t n = r.begin; n < r.end; n++) k_.token_loss(op, n);
  });
}

void CpuBackend::add_loss_gradient(Tensor dx, Tensor diff, float scale, Tensor dx_compute) {
  parallel_parts(threads_, dx.rows, 1,
                 [&](int, Range r) { k_.add_loss_gradient(dx, diff, scale, dx_compute, r.begin, r.end); });
}

void CpuBackend::spread_columns(Tensor to, Tensor from, const int32_t* cols) {
  parallel_parts(threads_, to.rows, 1, [&](int, Range r) { k_.spread_columns(to, from, cols, r.begin, r.end); });
}

void CpuBackend::select_columns(Tensor to, Tensor from, const int32_t* cols) {
  parallel_parts(threads_, to.rows, 1, [&](int, Range r) { k_.select_columns(to, from, cols, r.begin, r.end); });
}

double CpuBackend::square_sum(const float* data, int64_t size) {
  double* sums = scratch<double>(kSums, threads_ * kLine);
  std::memset(sums, 0, threads_ * kLine * 8);
  parallel_parts(threads_, size, 1024, [&](int part, Range r) { sums[part * kLine] = k_.square_sum(data, r.begin, r.end); });
  double total = 0;
  for (int part = 0; part < threads_; part++) total += sums[part * kLine];
  return total;
}

void CpuBackend::adamw(const AdamW& op) {
  parallel_parts(threads_, op.size, 1024, [&](int, Range r) { k_.adamw(op, r.begin, r.end); });
}

namespace {

// Where the pieces of one LoRA gradient lie. Factors and narrow products of all outputs stand side by side.
struct LoraLayout {
  int64_t rank, rank_padded, total, total_padded, in, stride;
  std::array<int64_t, 4> factor_at{}, column_at{};  // of dy i: its factor's words; its columns after those of x
  int64_t word_count = 0;

  LoraLayout(const LoraGradient& op, int64_t pair) {
    // Half a vector will do for eight columns, where words are pairs.
    const auto narrow_width = [&](int64_t k) { return pair == 2 && k % 16 != 0 && k % 16 <= 8 ? k / 16 * 16 + 8 : padded_width(k); };
    rank = op.rank;
    rank_padded = narrow_width(rank);
    total = rank * op.count;
    total_padded = narrow_width(total);
    in = op.x.cols;
    stride = padded_width((op.x.rows + pair - 1) / pair);
    int64_t words = in / pair * total_padded, columns = in;
    for (int i = 0; i < op.count; i++) {
      factor_at[i] = words;
      column_at[i] = columns;
      words += op.outputs[i].dy.cols / pair * rank_padded;
      columns += op.outputs[i].dy.cols;
    }
    column_at[op.count] = columns;
    word_count = words;
  }
};

}  // namespace

// dA = narrow(dy B)^T x, dB = (narrow(x A^T)^T dy)^T, both for open columns, then scattered with their scales.
void CpuBackend::lora_gradient(const LoraGradient& op) {
  const LoraLayout at(op, k_.pair_size(op.x.dtype));
  const DType t = op.x.dtype;
  uint32_t* factors = scratch<uint32_t>(kFactor, at.word_count + kLine);
  uint32_t* x_narrow = scratch<uint32_t>(kLoraWords, (at.total_padded + op.count * at.rank_padded) * at.stride);
  uint32_t* dy_narrow = x_narrow + at.total_padded * at.stride;
  if (at.rank_padded != at.rank || at.total_padded != at.total) std::memset(factors, 0, at.word_count * 4);
  parallel_all(threads_, [&](int part) {
    for (int i = 0; i < op.count; i++) {
      const LoraOutput& o = op.outputs[i];
      const Range a = part_of(at.in, threads_, part, kLine), b = part_of(o.dy.cols, threads_, part, kLine);
      k_.pack_factor(t, {o.lora_a, op.in_full, 1, op.cols, op.col_scale, at.rank, i * at.rank, op.in_full}, a.begin, a.end, factors,
                     at.total_padded);
      k_.pack_factor(t, {o.lora_b, 1, at.rank, o.rows, o.row_scale, at.rank, 0, o.dy.cols}, b.begin, b.end, factors + at.factor_at[i],
                     at.rank_padded);
    }
  });
  parallel_parts(threads_, op.x.rows, 64, [&](int, Range r) {
    k_.narrow_product(op.x, factors, at.total_padded, r.begin, r.end, x_narrow, at.stride);
    for (int i = 0; i < op.count; i++)
      k_.narrow_product(op.outputs[i].dy, factors + at.factor_at[i], at.rank_padded, r.begin, r.end,
                        dy_narrow + i * at.rank_padded * at.stride, at.stride);
  });
  lora_outer_products(op, x_narrow, dy_narrow, at.stride, at.rank_padded, at.column_at);
}

void CpuBackend::lora_outer_products(const LoraGradient& op, const uint32_t* x_narrow, const uint32_t* dy_narrow, int64_t stride,
                                     int64_t rank_padded, const std::array<int64_t, 4>& column_at) {
  const int64_t rank = op.rank, in = op.x.cols, all = column_at[op.count], dy_rank = (op.count - 1) * rank_padded + rank;
  float* da = scratch<float>(kLoraProduct, dy_rank * in + rank * (all - in));
  uint32_t* packs = scratch<uint32_t>(kLoraPack, threads_ * 64 * 64);
  parallel_parts(threads_, all, 16, [&](int part, Range r) {
    uint32_t* pack = packs + part * 64 * 64;
    if (r.begin < in) {
      const int64_t end = std::min(r.end, in);
      k_.outer_product(op.x, dy_narrow, stride, dy_rank, r.begin, end, da, in, pack);
      for (int i = 0; i < op.count; i++)
        for (int64_t k = 0; k < rank; k++)
          for (int64_t j = r.begin; j < end; j++)
            if (const int64_t c = op.cols ? op.cols[j] : j < op.in_full ? j : -1; c >= 0)
              op.outputs[i].da[k * op.in_full + c] = da[(i * rank_padded + k) * in + j] * op.lora_scale * (op.col_scale ? op.col_scale[j] : 1.0f);
    }
    for (int i = 0; i < op.count; i++) {
      const LoraOutput& o = op.outputs[i];
      const int64_t begin = std::max(r.begin, column_at[i]) - column_at[i], end = std::min(r.end, column_at[i + 1]) - column_at[i];
      if (begin >= end) continue;
      float* db = da + dy_rank * in + rank * (column_at[i] - in);
      k_.outer_product(o.dy, x_narrow + i * rank * stride, stride, rank, begin, end, db, o.dy.cols, pack);
      for (int64_t j = begin; j < end; j++)
        if (const int64_t row = o.rows ? o.rows[j] : j; row >= 0)
          for (int64_t k = 0; k < rank; k++)
            o.db[row * rank + k] = db[k * o.dy.cols + j] * op.lora_scale * (o.row_scale ? o.row_scale[j] : 1.0f);
    }
  });
}

}  // namespace espalier::cpu

namespace espalier {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  if (name != "cpu") throw Error(ErrorCode::kNotSupported, "backend", "backend '" + name + "' is not in this build; available: cpu");
  return std::make_unique<cpu::CpuBackend>(threads);
}

}  // namespace espalier
