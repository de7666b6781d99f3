#include "cpu_backend.h"

#include <sys/mman.h>

#include <cstring>

#include "espalier/error.h"
#include "parallel.h"

namespace espalier::cpu {

namespace {
constexpr uint64_t kLargePage = 2 << 20;
uint64_t whole_pages(uint64_t bytes) { return (bytes + kLargePage - 1) / kLargePage * kLargePage; }
}  // namespace

CpuBackend::CpuBackend(int threads, const Kernels& kernels)
    : threads_(threads > 0 ? threads : omp_get_num_procs()),
      k_(kernels),
      own_products_(!MatmulCache::has_tiles()),
      barriers_(threads_),
      scratch_(kSlotCount) {
  attach_thread();
}

void CpuBackend::attach_thread() {
  omp_set_dynamic(0);
  omp_set_num_threads(threads_);
  // Threads wait for each other within an op, so all must be there.
  int there = 0;
#pragma omp parallel num_threads(threads_)
#pragma omp single
  there = omp_get_num_threads();
  if (there < threads_)
    throw Error(ErrorCode::kInvalidArgument, "threads",
                "must be at most " + std::to_string(there) + ", which is what OMP_THREAD_LIMIT allows this process, not " +
                    std::to_string(threads_));
}

std::string CpuBackend::fingerprint() const {
  return std::string("cpu ") + k_.name + " threads " + std::to_string(threads_) + (own_products_ ? " own products, onednn " : " onednn ") +
         MatmulCache::version();
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

uint64_t CpuBackend::scratch_bytes(const ModelConfig& config, const ScratchShape& shape) const {
  const int64_t hidden = padded_width(config.hidden_size), units = padded_width(config.intermediate_size), n = shape.batch * shape.tokens;
  const auto threads = static_cast<uint64_t>(threads_);
  const uint64_t attention = threads * k_.attention_scratch_bytes(shape.tokens, config.head_dim);
  const int64_t lora = 3 * narrow_width(shape.lora_rank);
  const int64_t token_parts = std::min<int64_t>(threads_, kMostTokenParts);
  const uint64_t narrow = static_cast<uint64_t>(lora * (2 * units + threads_ * 2 * n + token_parts * (hidden + 2 * units))) * 4;
  if (own_products_ && shape.dtype == DType::kBF16)
    return attention + narrow +
           threads * std::max({k_.product_panel_bytes(hidden + lora, DType::kBF16, 0),
                               k_.product_panel_bytes(2 * (units + lora), DType::kF32, 0), k_.product_panel_bytes(n, DType::kF32, 0)});
  const int64_t sums = shape.dtype == DType::kF32 ? hidden : std::max(hidden, units);
  const int64_t widest = std::max({hidden, units, config.vocab_size}) * std::max(hidden, units);
  const uint64_t selected = std::min(kSelectedBytes, static_cast<uint64_t>(widest * dtype_bytes(shape.dtype)));
  return attention + narrow + selected + kGeneratedKernelBytes + static_cast<uint64_t>(n * sums) * 4;
}

void CpuBackend::copy(Tensor to, Tensor from) {
  parallel_parts(threads_, from.rows, 1, [&](int, Range r) {
    for (int64_t n = r.begin; n < r.end; n++)
      std::memcpy(to.row_range(n, 1).data, from.row_range(n, 1).data, from.cols * dtype_bytes(from.dtype));
  });
}

void CpuBackend::clear(float* data, int64_t size) { std::memset(data, 0, size * 4); }

// f(part, its rows, its sums of columns) on each thread; the sums are added to `sums` in the order of the parts.
template <class F>
void CpuBackend::add_column_sums(int64_t rows, int64_t cols, float* sums, F&& f) {
  const int64_t stride = cols + kLine;
  float* parts = scratch<float>(kParts, threads_ * stride);
  std::memset(parts, 0, threads_ * stride * 4);
  parallel_parts(threads_, rows, 1, [&](int part, Range r) { f(part, r, parts + part * stride); });
  for (int part = 0; part < threads_; part++)
    for (int64_t j = 0; j < cols; j++) sums[j] += parts[part * stride + j];
}

void CpuBackend::embed(const Embed& op) {
  parallel_parts(threads_, op.out.rows, 1, [&](int, Range r) { k_.embed(op, r.begin, r.end); });
}

void CpuBackend::rmsnorm(const RmsNorm& op) {
  parallel_parts(threads_, op.x.rows, 1, [&](int, Range r) { k_.rmsnorm(op, r.begin, r.end); });
}

void CpuBackend::rmsnorm_backward(const RmsNormBackward& op) {
  add_column_sums(op.dx.rows, op.dx.cols, op.mask_dot, [&](int, Range r, float* sums) { k_.rmsnorm_backward(op, r.begin, r.end, sums); });
}

void CpuBackend::attention(const Attention& op) {
  const int64_t bytes = (k_.attention_scratch_bytes(op.shape.tokens, op.shape.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  parallel_items(threads_, op.shape.batch * op.shape.kv_heads, op.shape.kv_heads, [&](int64_t item, int thread) {
    k_.attention(op, item / op.shape.kv_heads, item % op.shape.kv_heads, areas + thread * bytes);
  });
}

void CpuBackend::attention_backward(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t bytes = (k_.attention_scratch_bytes(s.tokens, s.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  double* head_dot = scratch<double>(kHeadDot, s.batch * s.heads);
  parallel_items(threads_, s.batch * s.kv_heads, s.kv_heads, [&](int64_t item, int thread) {
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
  clear(op.unit_dot, op.out.cols);
  add_column_sums(op.out.rows, op.out.cols, op.unit_dot, [&](int, Range r, float* sums) { k_.swiglu_backward(op, r.begin, r.end, sums); });
}

void CpuBackend::layer_loss(const LayerLoss& op) {
  double* sums = scratch<double>(kSums, threads_ * kLine);
  std::memset(sums, 0, threads_ * kLine * 8);
  clear(op.mask_dot, op.student.cols);
  add_column_sums(op.student.rows, op.student.cols, op.mask_dot,
                  [&](int part, Range r, float* dots) { k_.layer_loss(op, r.begin, r.end, sums + part * kLine, dots); });
  *op.sum = 0;
  for (int part = 0; part < threads_; part++) *op.sum += sums[part * kLine];
}

void CpuBackend::token_loss(const TokenLoss& op) {
  parallel_parts(threads_, op.student.rows, 1, [&](int, Range r) {
    for (int64_t n = r.begin; n < r.end; n++) k_.token_loss(op, n);
  });
}

void CpuBackend::add_loss_gradient(Tensor dx, Tensor diff, float scale, Tensor dx_compute, const float* compute_scale) {
  parallel_parts(threads_, dx.rows, 1,
                 [&](int, Range r) { k_.add_loss_gradient(dx, diff, scale, dx_compute, compute_scale, r.begin, r.end); });
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

}  // namespace espalier::cpu

namespace espalier {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  if (name != "cpu") throw Error(ErrorCode::kNotSupported, "backend", "backend '" + name + "' is not in this build; available: cpu");
  return std::make_unique<cpu::CpuBackend>(threads);
}

}  // namespace espalier
