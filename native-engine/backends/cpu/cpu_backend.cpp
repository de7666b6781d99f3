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
    : threads_(threads > 0 ? threads : omp_get_num_procs()), k_(kernels), own_products_(!MatmulCache::has_tiles()), scratch_(kSlotCount) {
  attach_thread();
}

void CpuBackend::attach_thread() {
  omp_set_dynamic(0);
  omp_set_num_threads(threads_);
}

std::string CpuBackend::fingerprint() const {
  return std::string("cpu ") + k_.name + " threads " + std::to_string(threads_) + (own_products_ ? " own products, onednn " : " onednn ") + MatmulCache::version();
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
  const uint64_t panels = std::max(k_.product_panel_bytes(padded_width(config.hidden_size), DType::kBF16),
                                   k_.product_panel_bytes(2 * padded_width(config.intermediate_size), DType::kF32));
  return static_cast<uint64_t>(threads_) * (k_.attention_scratch_bytes(tokens_per_row, config.head_dim) + panels);
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
  int64_t widest = 0, factors = 0, rank = 0;
  std::vector<float*>& a = factor_of_;
  a.assign(ops.size(), nullptr);
  for (const GatherWeights& op : ops) {
    widest = std::max(widest, op.out.cols);
    rank = std::max(rank, op.rank);
    factors += op.lora_a ? op.rank * op.out.cols : 0;
  }
  float* next = scratch<float>(kFactor, factors);
  for (size_t i = 0; i < ops.size(); i++)
    if (ops[i].lora_a) {
      a[i] = next;
      next += ops[i].rank * ops[i].out.cols;
    }
  const int64_t stride = 4 * (padded_width(widest) + padded_width(rank));
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
  const Product op{c, a, b, b_transposed, accumulate};
  if (!own_products_ || !k_.product_fits(op)) return products_.run(c, a, b, b_transposed, accumulate);
  // Columns first: each thread packs panels of its own. Rows as well where there are more threads than columns.
  const int64_t column_parts = std::min<int64_t>(threads_, (c.cols + kLine - 1) / kLine), row_parts = threads_ / column_parts;
  const int64_t panel = static_cast<int64_t>(k_.product_panel_bytes(a.cols, c.dtype) / sizeof(uint32_t));
  uint32_t* panels = scratch<uint32_t>(kPanel, threads_ * panel);
  parallel_all(threads_, [&](int part) {
    if (part >= column_parts * row_parts) return;
    const Range rows = part_of(c.rows, row_parts, part / column_parts), columns = part_of(c.cols, column_parts, part % column_parts, kLine);
    Product mine = op;
    mine.c = c.row_range(rows.begin, rows.end - rows.begin);
    mine.a = a.row_range(rows.begin, rows.end - rows.begin);
    k_.product(mine, columns.begin, columns.end, panels + part * panel);
  });
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

namespace {

// Heads first, first + 1, ... of the list of query, key and value heads that lie side by side and are made by one weight.
struct HeadRun {
  int64_t column = 0, heads = 0;
  Tensor weight;
};
HeadRun head_run(const AttentionOperands& op, int64_t first, int64_t end) {
  const AttentionShape& s = op.shape;
  const int64_t keys = s.heads, values = s.heads + s.kv_heads;
  const int64_t base = first < keys ? 0 : first < values ? keys : values;
  HeadRun run;
  run.column = (first < keys ? 0 : first < values ? s.query_width : s.query_width + s.kv_width) + (first - base) * s.head_dim;
  run.heads = std::min(end, first < keys ? keys : first < values ? values : values + s.kv_heads) - first;
  for (const ProductPart& p : op.parts)
    if (run.column >= p.column) run.weight = p.weight.row_range(run.column - p.column, run.heads * s.head_dim);
  return run;
}

// Heads that are multiplied at a time: their sums stay in a core's cache until they are rounded.
int64_t heads_at_once(int64_t head_dim) {
  int64_t heads = 1;
  while (heads * head_dim < 128 || (heads * head_dim % 64 != 0 && heads * head_dim < 256)) heads++;
  return heads;
}

}  // namespace

void CpuBackend::attention_operands(const AttentionOperands& op) {
  const AttentionShape& s = op.shape;
  const int64_t rows = op.x.rows, all = s.heads + 2 * s.kv_heads;
  const auto sums_of = [&](int64_t columns, int64_t slot) {
    return Tensor{static_cast<float*>(op.space.data) + slot * rows, DType::kF32, rows, columns, columns};
  };
  if (!own_products_ || !k_.product_fits({sums_of(s.head_dim, 0), op.x, op.parts[0].weight, true, false})) {
    for (int64_t first = 0; first < all;) {
      const HeadRun run = head_run(op, first, all);
      const Tensor sums = sums_of(run.heads * s.head_dim, 0);
      products_.run(sums, op.x, run.weight, true, false);
      parallel_parts(threads_, rows, 1, [&](int, Range r) { k_.attention_operands(op, sums, run.column, r.begin, r.end); });
      first += run.heads;
    }
    return;
  }
  const int64_t panel = static_cast<int64_t>(k_.product_panel_bytes(op.x.cols, DType::kF32) / sizeof(uint32_t));
  uint32_t* panels = scratch<uint32_t>(kPanel, threads_ * panel);
  // Each thread has its own heads and a slot of its own for their sums; heads that do not divide by the threads are cut by rows.
  const int64_t each = all / threads_, at_once = std::min(heads_at_once(s.head_dim), std::max<int64_t>(each, 1));
  parallel_all(threads_, [&](int part) {
    const auto make = [&](int64_t begin, int64_t end, int64_t most, int64_t slot, Range r) {
      while (begin < end && r.begin < r.end) {
        const HeadRun run = head_run(op, begin, std::min(end, begin + most));
        const Tensor sums = sums_of(run.heads * s.head_dim, slot);
        const int64_t count = r.end - r.begin;
        k_.product({sums.row_range(r.begin, count), op.x.row_range(r.begin, count), run.weight, true, false}, 0, sums.cols, panels + part * panel);
        k_.attention_operands(op, sums, run.column, r.begin, r.end);
        begin += run.heads;
      }
    };
    make(part * each, (part + 1) * each, at_once, part * at_once * s.head_dim, {0, rows});
    make(threads_ * each, all, 1, each > 0 ? part * at_once * s.head_dim : 0, part_of(rows, threads_, part));
  });
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

}  // namespace espalier::cpu

namespace espalier {

std::unique_ptr<Backend> make_backend(const std::string& name, int threads) {
  if (name != "cpu") throw Error(ErrorCode::kNotSupported, "backend", "backend '" + name + "' is not in this build; available: cpu");
  return std::make_unique<cpu::CpuBackend>(threads);
}

}  // namespace espalier
