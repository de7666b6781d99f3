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

CpuBackend::CpuBackend(int threads)
    : threads_(threads > 0 ? threads : omp_get_num_procs()), k_(select_kernels()), scratch_(kSlotCount) {
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

void CpuBackend::gather_weights(const GatherWeights& op) {
  const int64_t width = op.out.cols, stride = padded_width(width);
  float* a = nullptr;
  if (op.lora_a) {
    a = scratch<float>(kFactor, op.rank * width);
    for (int64_t k = 0; k < op.rank; k++)
      for (int64_t j = 0; j < width; j++) {
        const int64_t c = op.cols ? op.cols[j] : j < op.weight.cols ? j : -1;
        a[k * width + j] = c < 0 ? 0 : op.lora_a[k * op.weight.cols + c] * op.lora_scale * (op.col_scale ? op.col_scale[j] : 1.0f);
      }
  }
  float* rows = scratch<float>(kRows, threads_ * stride);
  parallel_parts(threads_, op.out.rows, 1, [&](int part, Range r) { k_.gather_rows(op, a, r.begin, r.end, rows + part * stride); });
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

// dA = narrow(dy B)^T x, dB = (narrow(x A^T)^T dy)^T, both for open columns, then scattered with their scales.
void CpuBackend::lora_gradient(const LoraGradient& op) {
  const int64_t rank = op.rank, rank_padded = padded_width(rank), in = op.x.cols, out = op.dy.cols, pair = k_.pair_size(op.x.dtype);
  const int64_t stride = padded_width((op.x.rows + pair - 1) / pair);
  float* factors = scratch<float>(kFactor, rank * (in + out));
  float* a = factors;
  float* b = factors + rank * in;
  const auto row_of = [&](int64_t i) { return op.rows ? static_cast<int64_t>(op.rows[i]) : i; };
  const auto col_of = [&](int64_t j) { return op.cols ? static_cast<int64_t>(op.cols[j]) : j < op.in_full ? j : -1; };
  const auto row_scale = [&](int64_t i) { return op.row_scale ? op.row_scale[i] : 1.0f; };
  const auto col_scale = [&](int64_t j) { return op.col_scale ? op.col_scale[j] : 1.0f; };
  for (int64_t k = 0; k < rank; k++) {
    for (int64_t j = 0; j < in; j++) a[k * in + j] = col_of(j) < 0 ? 0 : op.lora_a[k * op.in_full + col_of(j)] * col_scale(j);
    for (int64_t i = 0; i < out; i++) b[k * out + i] = row_of(i) < 0 ? 0 : op.lora_b[row_of(i) * rank + k] * row_scale(i);
  }
  uint32_t* words = scratch<uint32_t>(kLoraWords, rank_padded * (in + out + 2 * stride));
  uint32_t* a_words = words;
  uint32_t* b_words = a_words + rank_padded * in;
  uint32_t* x_narrow = b_words + rank_padded * out;
  uint32_t* dy_narrow = x_narrow + rank_padded * stride;
  k_.pack_factor(op.x.dtype, a, in, rank, rank_padded, a_words);
  k_.pack_factor(op.x.dtype, b, out, rank, rank_padded, b_words);
  parallel_parts(threads_, op.x.rows, 64, [&](int, Range r) {
    k_.narrow_product(op.x, a_words, rank_padded, r.begin, r.end, x_narrow, stride);
    k_.narrow_product(op.dy, b_words, rank_padded, r.begin, r.end, dy_narrow, stride);
  });
  float* da = scratch<float>(kLoraProduct, rank * (in + out));
  float* db = da + rank * in;
  uint32_t* packs = scratch<uint32_t>(kLoraPack, threads_ * 64 * 64);
  parallel_parts(threads_, in + out, 16, [&](int part, Range r) {
    uint32_t* pack = packs + part * 64 * 64;
    if (r.begin < in) k_.outer_product(op.x, dy_narrow, stride, rank, r.begin, std::min(r.end, in), da, in, pack);
    if (r.end > in) k_.outer_product(op.dy, x_narrow, stride, rank, std::max(r.begin, in) - in, r.end - in, db, out, pack);
  });
  for (int64_t k = 0; k < rank; k++) {
    for (int64_t j = 0; j < in; j++)
      if (const int64_t c = col_of(j); c >= 0) op.da[k * op.in_full + c] = da[k * in + j] * op.lora_scale * col_scale(j);
    for (int64_t i = 0; i < out; i++)
      if (const int64_t r = row_of(i); r >= 0) op.db[r * rank + k] = db[k * out + i] * op.lora_scale * row_scale(i);
  }
}

}  // namespace espalier::cpu

namespace espalier {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  if (name != "cpu") throw Error(ErrorCode::kNotSupported, "backend", "backend '" + name + "' is not in this build; available: cpu");
  return std::make_unique<cpu::CpuBackend>(threads);
}

}  // namespace espalier
