#include "cpu_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "espalier/base/error.h"
#include "parallel.h"

namespace espalier::cpu {

namespace {
constexpr uint64_t kPage = 4 << 10, kLargePage = 2 << 20;
uint64_t whole_pages(uint64_t bytes) {
  const uint64_t page = bytes < kLargePage ? kPage : kLargePage;
  return (bytes + page - 1) / page * page;
}

struct HostCopy {
  std::byte* to;
  const std::byte* from;
  uint64_t bytes;
};

// Copies with all threads, since one thread can't use the whole bandwidth of the memory. A piece takes far longer than its hand-out.
void copy_in_pieces(int threads, const std::vector<HostCopy>& copies) {
  constexpr uint64_t kPiece = 256 << 10;
  std::vector<HostCopy> pieces;
  for (const auto& [to, from, bytes] : copies)
    for (uint64_t at = 0; at < bytes; at += kPiece) pieces.push_back({to + at, from + at, std::min(kPiece, bytes - at)});
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (pieces.size() > 1)
  for (const HostCopy& piece : pieces) std::memcpy(piece.to, piece.from, piece.bytes);
}
}  // namespace

CpuBackend::CpuBackend(int threads, const Kernels& kernels) : threads_(threads), k_(kernels), barriers_(threads_), scratch_(kSlotCount) {
  attach_thread();
}

void CpuBackend::attach_thread() {
  omp_set_dynamic(0);
  omp_set_num_threads(threads_);
  // Threads wait for each other within an op, so OpenMP must give as many threads as were asked for.
  int there = 0;
#pragma omp parallel num_threads(threads_)
#pragma omp single
  there = omp_get_num_threads();
  if (there < threads_)
    throw Error(ErrorCode::kInvalidArgument, "threads",
                "must be at most " + std::to_string(there) + ", which is what OMP_THREAD_LIMIT allows this process, not " +
                    std::to_string(threads_));
}

std::string CpuBackend::fingerprint(int threads, const Kernels& kernels) {
  return std::string(kernels.name) + " threads " + std::to_string(threads);
}

DeviceBuffer CpuBackend::share(const void* host, uint64_t bytes) {
  return {nullptr, device(static_cast<std::byte*>(const_cast<void*>(host))), bytes};
}

void CpuBackend::upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) {
  copy_in_pieces(threads_, {{host(to), static_cast<const std::byte*>(from), bytes}});
}

void CpuBackend::download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) {
  copy_in_pieces(threads_, {{static_cast<std::byte*>(to), host(from), bytes}});
}

void CpuBackend::download_all(std::span<const Download> blocks) {
  std::vector<HostCopy> copies;
  for (const Download& block : blocks) copies.push_back({block.to, host(block.from), block.bytes});
  copy_in_pieces(threads_, copies);
}

void CpuBackend::fetch(DevicePtr<std::byte> to, const Backend&, DevicePtr<const std::byte> from, uint64_t bytes) {
  std::memcpy(host(to), host(from), bytes);
}

DevicePtr<std::byte> CpuBackend::take(uint64_t bytes) {
  void* p = mmap(nullptr, whole_pages(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw Error(ErrorCode::kOutOfMemory, "memory", "cannot reserve " + std::to_string(bytes) + " bytes");
  if (bytes >= kLargePage) madvise(p, whole_pages(bytes), MADV_HUGEPAGE);
  return device(static_cast<std::byte*>(p));
}

void CpuBackend::give_back(DevicePtr<std::byte> data, uint64_t bytes) { munmap(host(data), whole_pages(bytes)); }

uint64_t CpuBackend::scratch_bytes(int thread_count, const Kernels& k, const ModelConfig& config, const ScratchShape& shape) {
  const int64_t hidden = padded_width(config.hidden_size), units = padded_width(config.intermediate_size), n = shape.batch * shape.tokens;
  const int64_t heads = padded_width(config.head_count * config.head_dim), kv = padded_width(config.kv_head_count * config.head_dim);
  const auto threads = static_cast<uint64_t>(thread_count);
  const uint64_t attention = threads * k.attention_scratch_bytes(shape.tokens, config.head_dim);
  const int64_t lora = 3 * narrow_width(shape.lora_rank);
  const int64_t token_parts = std::min<int64_t>(thread_count, kMostTokenParts);
  const uint64_t narrow = static_cast<uint64_t>(lora * (2 * units + thread_count * 2 * n + token_parts * (hidden + 2 * units))) * 4;
  const auto panels = [&](int64_t depth, DType c) { return k.product_panel_bytes(shape.dtype, depth, c, 0); };
  const int64_t deepest = std::max(2 * units, heads + 2 * kv) + 2 * lora;
  const bool widened = shape.dtype == DType::kBF16 && k.pair_size(DType::kBF16) == 1;
  return attention + narrow + threads * kMostBlockRows * std::max(heads, kv) * 4 +
         threads * std::max({panels(hidden + lora, shape.dtype), panels(deepest, DType::kF32), panels(n, DType::kF32)}) +
         (widened ? std::min<uint64_t>(kWidenedBytes, std::max(n, hidden) * deepest * 4) : 0);
}

void CpuBackend::launch(const Copy& op) {
  parallel_parts(threads_, op.from.rows, 1, [&](int, Range r) {
    for (int64_t n = r.begin; n < r.end; n++)
      std::memcpy(host(op.to.row_range(n, 1).data), host(op.from.row_range(n, 1).data), op.from.cols * dtype_bytes(op.from.dtype));
  });
}

void CpuBackend::launch(const Clear& op) { std::memset(host(op.data), 0, op.size * 4); }

// Calls f(part, its rows, its sums of columns) on each thread and adds the sums to `to` in the order of the parts.
template <class F>
void CpuBackend::add_column_sums(int64_t rows, int64_t cols, DevicePtr<float> to, F&& f) {
  const int64_t stride = cols + kLine;
  float* parts = scratch<float>(kParts, threads_ * stride);
  std::memset(parts, 0, threads_ * stride * 4);
  parallel_parts(threads_, rows, 1, [&](int part, Range r) { f(part, r, parts + part * stride); });
  float* sums = host(to);
  for (int part = 0; part < threads_; part++)
    for (int64_t j = 0; j < cols; j++) sums[j] += parts[part * stride + j];
}

// Returns a zeroed sum for each thread. The sums lie kLine apart, so no two share a cache line.
double* CpuBackend::part_sums() {
  double* sums = scratch<double>(kSums, threads_ * kLine);
  std::memset(sums, 0, threads_ * kLine * 8);
  return sums;
}

void CpuBackend::launch(const Embed& op) {
  parallel_parts(threads_, op.out.rows, 1, [&](int, Range r) { k_.embed(op, r.begin, r.end); });
}

void CpuBackend::launch(const RmsNorm& op) {
  parallel_parts(threads_, op.x.rows, 1, [&](int, Range r) { k_.rmsnorm(op, r.begin, r.end); });
}

void CpuBackend::launch(const RmsNormBackward& op) {
  add_column_sums(op.dx.rows, op.dx.cols, op.mask_dot, [&](int, Range r, float* sums) { k_.rmsnorm_backward(op, r.begin, r.end, sums); });
}

void CpuBackend::launch(const Attention& op) {
  const int64_t bytes = (k_.attention_scratch_bytes(op.shape.tokens, op.shape.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  parallel_items(threads_, op.shape.batch * op.shape.kv_heads, op.shape.kv_heads, [&](int64_t item, int thread) {
    k_.attention(op, item / op.shape.kv_heads, item % op.shape.kv_heads, areas + thread * bytes);
  });
}

void CpuBackend::launch(const PathAttention& op) {
  const int64_t bytes = (k_.attention_scratch_bytes(op.longest, op.shape.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  parallel_items(threads_, op.pieces * op.shape.kv_heads, op.shape.kv_heads, [&](int64_t item, int thread) {
    k_.path_attention(op, item / op.shape.kv_heads, item % op.shape.kv_heads, areas + thread * bytes);
  });
}

void CpuBackend::launch(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t bytes = (k_.attention_scratch_bytes(s.tokens, s.head_dim) + 4095) / 4096 * 4096;
  char* areas = scratch<char>(kAttention, threads_ * bytes);
  double* head_dot = scratch<double>(kHeadDot, s.batch * s.heads);
  parallel_items(threads_, s.batch * s.kv_heads, s.kv_heads, [&](int64_t item, int thread) {
    const int64_t row = item / s.kv_heads;
    k_.attention_backward(op, row, item % s.kv_heads, areas + thread * bytes, head_dot + row * s.heads);
  });
  double* sums = host(op.head_dot);
  for (int64_t h = 0; h < s.heads; h++) {
    sums[h] = 0;
    for (int64_t row = 0; row < s.batch; row++) sums[h] += head_dot[row * s.heads + h];
  }
}

void CpuBackend::launch(const HeadNormBackward& op) {
  parallel_parts(threads_, op.dqkv.rows, 1, [&](int, Range r) { k_.head_norm_backward(op, r.begin, r.end); });
}

void CpuBackend::launch(const CachedAttention& op) {
  const AttentionShape& s = op.shape;
  const int64_t floats = padded_width(op.capacity);
  float* areas = scratch<float>(kScores, threads_ * floats);
  parallel_items(threads_, op.operands.rows * s.kv_heads, 1,
                 [&](int64_t item, int thread) { k_.cached_attention(op, item / s.kv_heads, item % s.kv_heads, areas + thread * floats); });
}

void CpuBackend::launch(const Swiglu& op) {
  parallel_parts(threads_, op.out.rows, 1, [&](int, Range r) { k_.swiglu(op, r.begin, r.end); });
}

void CpuBackend::launch(const SwigluBackward& op) {
  launch(Clear{op.unit_dot, op.out.cols});
  add_column_sums(op.out.rows, op.out.cols, op.unit_dot, [&](int, Range r, float* sums) { k_.swiglu_backward(op, r.begin, r.end, sums); });
}

void CpuBackend::launch(const LayerLoss& op) {
  double* sums = part_sums();
  launch(Clear{op.mask_dot, op.student.cols});
  add_column_sums(op.student.rows, op.student.cols, op.mask_dot,
                  [&](int part, Range r, float* dots) { k_.layer_loss(op, r.begin, r.end, sums + part * kLine, dots); });
  double& total = *host(op.sum) = 0;
  for (int part = 0; part < threads_; part++) total += sums[part * kLine];
}

void CpuBackend::launch(const SoftCap& op) {
  parallel_parts(threads_, op.x.rows, 1, [&](int, Range r) { k_.soft_cap(op, r.begin, r.end); });
}

void CpuBackend::launch(const TokenLoss& op) {
  parallel_parts(threads_, op.student.rows, 1, [&](int, Range r) {
    for (int64_t n = r.begin; n < r.end; n++) k_.token_loss(op, n);
  });
}

void CpuBackend::launch(const LoraDropout& op) {
  parallel_parts(threads_, op.x.rows, 1, [&](int, Range r) { k_.lora_dropout(op, r.begin, r.end); });
}

void CpuBackend::launch(const Transpose& op) {
  parallel_parts(threads_, op.to.rows, kLine, [&](int, Range r) { k_.transpose(op, r.begin, r.end); });
}

void CpuBackend::launch(const ColumnDot& op) {
  parallel_parts(threads_, op.fold, kLine, [&](int, Range r) { k_.column_dot(op, r.begin, r.end); });
}

void CpuBackend::launch(const EmbedGradient& op) {
  parallel_parts(threads_, op.dx.cols, kLine, [&](int, Range r) { k_.embed_gradient(op, r.begin, r.end); });
}

void CpuBackend::launch(const AddLossGradient& op) {
  parallel_parts(threads_, op.dx.rows, 1, [&](int, Range r) { k_.add_loss_gradient(op, r.begin, r.end); });
}

void CpuBackend::launch(const Add& op) {
  float* to = host(op.to);
  const float* from = host(op.from);
  parallel_parts(threads_, op.size, 1024, [&](int, Range r) {
    for (int64_t i = r.begin; i < r.end; i++) to[i] += from[i];
  });
}

void CpuBackend::launch(const SquareSum& op) {
  double* sums = part_sums();
  parallel_parts(threads_, op.size, 1024, [&](int part, Range r) { sums[part * kLine] = k_.square_sum(host(op.data), r.begin, r.end); });
  double& total = *host(op.sum) = 0;
  for (int part = 0; part < threads_; part++) total += sums[part * kLine];
}

void CpuBackend::launch(const AdamW& op) {
  parallel_parts(threads_, op.size, 1024, [&](int, Range r) { k_.adamw(op, r.begin, r.end); });
}

}  // namespace espalier::cpu
