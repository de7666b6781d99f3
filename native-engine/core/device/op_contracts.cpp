// Checks the preconditions of the ops, also in release builds: a wrong op would write over other memory.
#include <algorithm>
#include <initializer_list>
#include <string>

#include "device/ops.h"
#include "espalier/base/error.h"

namespace espalier {

namespace {

[[noreturn]] void refuse(const char* op, const char* what) {
  throw Error(ErrorCode::kInternal, "backend", std::string("op ") + op + ": " + what);
}

void require(bool holds, const char* op, const char* what) {
  if (!holds) [[unlikely]]
    refuse(op, what);
}

bool is_matrix(const Tensor& t, int64_t rows, int64_t cols) { return t && t.rows == rows && t.cols == cols && t.stride >= cols; }
bool same_shape(const Tensor& a, const Tensor& b) { return is_matrix(a, b.rows, b.cols); }
bool is_wide(const Tensor& t) { return t.cols % kWidthMultiple == 0; }

uint64_t end_of(const Tensor& t) {
  return t.data.address() + static_cast<uint64_t>(((t.rows - 1) * t.stride + t.cols) * dtype_bytes(t.dtype));
}

// Columns of one buffer that lie side by side don't overlap, though one lies between the other's first and last byte.
bool overlap(const Tensor& a, const Tensor& b) {
  if (!a || !b || a.rows * a.cols == 0 || b.rows * b.cols == 0) return false;
  if (end_of(a) <= b.data.address() || end_of(b) <= a.data.address()) return false;
  const int64_t stride = a.stride * dtype_bytes(a.dtype);
  if (a.rows == 1 || b.rows == 1 || stride != b.stride * dtype_bytes(b.dtype)) return true;
  const int64_t difference = static_cast<int64_t>(b.data.address() - a.data.address()), offset = ((difference % stride) + stride) % stride;
  return offset < a.cols * dtype_bytes(a.dtype) || offset + b.cols * dtype_bytes(b.dtype) > stride;
}

bool same_place(const Tensor& a, const Tensor& b) { return a.data == b.data && a.dtype == b.dtype && a.stride == b.stride; }

void apart(const char* op, const Tensor& made, std::initializer_list<const Tensor*> others) {
  for (const Tensor* other : others)
    if (overlap(made, *other)) [[unlikely]]
      refuse(op, "a result lies over another tensor");
}

// Refuses a result that overlaps one of `places`, unless it lies exactly there.
void apart_or_in_place(const char* op, const Tensor& made, std::initializer_list<const Tensor*> places) {
  for (const Tensor* place : places)
    if (overlap(made, *place) && !same_place(made, *place)) [[unlikely]]
      refuse(op, "a result lies over part of what it may replace");
}

void check_term(const char* op, const ProductTerm& term, const Tensor& out, int64_t out_columns, bool transposed) {
  const Selection& b = term.b;
  require(is_matrix(term.a, out.rows, transposed ? b.cols : b.rows), op, "a factor's depth is not its selection's");
  require((transposed ? b.rows : b.cols) == out_columns, op, "a selection is not as wide as the result");
  require(b.stored && b.stored.rows > 0 && b.stored.cols > 0, op, "a selection of nothing");
  apart(op, out, {&term.a});
}

void check_shape(const char* op, const AttentionShape& s, const Tensor& operands) {
  require(s.batch > 0 && s.tokens > 0 && s.heads > 0 && s.kv_heads > 0 && s.head_dim > 0 && s.head_dim % 2 == 0, op, "an empty shape");
  require(s.query_width >= s.heads * s.head_dim && s.kv_width >= s.kv_heads * s.head_dim, op, "heads wider than their columns");
  require(is_matrix(operands, s.batch * s.tokens, s.width()), op, "operands of another shape");
  require(s.kv_of_head && static_cast<bool>(s.rope_cos) == static_cast<bool>(s.rope_sin), op, "a list is missing");
}

}  // namespace

void Product::add(Tensor a, const Selection& b) {
  require(count < static_cast<int>(terms.size()), "product", "more terms than there is room for");
  terms[count++] = {a, b};
}

void check(const Copy& op) {
  require(same_shape(op.to, op.from) && op.from.stride >= op.from.cols && op.to.dtype == op.from.dtype, "copy", "shapes differ");
  apart("copy", op.to, {&op.from});
}

void check(const Clear& op) { require(op.size >= 0 && (op.data || op.size == 0), "clear", "no memory"); }

void check(const Embed& op) {
  require(op.out && op.out.dtype == DType::kF32 && op.out.stride >= op.out.cols, "embed", "the result must be f32");
  require(op.table && op.ids, "embed", "table or ids are missing");
  require(!op.scale || is_wide(op.out), "embed", "a scaled width must be padded");
}

void check(const Product& op) {
  constexpr const char* name = "product";
  require(op.c && op.c.stride >= op.c.cols, name, "no result");
  require(op.count > 0 && op.count <= static_cast<int>(op.terms.size()), name, "no terms");
  require(!op.accumulate || op.c.dtype == DType::kF32, name, "sums are added to f32 only");
  for (int i = 0; i < op.count; i++) check_term(name, op.terms[i], op.c, op.c.cols, op.transposed);
}

void check(const RmsNorm& op) {
  constexpr const char* name = "rmsnorm";
  require(op.x && same_shape(op.out, op.x) && op.x.dtype == DType::kF32 && op.x.stride >= op.x.cols, name, "x and out differ");
  require(is_wide(op.x) && op.width > 0, name, "widths must be padded");
  apart(name, op.out, {&op.x});
}

void check(const RmsNormBackward& op) {
  constexpr const char* name = "rmsnorm_backward";
  require(op.dx && op.dx.dtype == DType::kF32 && is_wide(op.dx) && op.dx.stride >= op.dx.cols && op.width > 0, name, "dx must be f32");
  require(same_shape(op.dout, op.dx) && op.dout.dtype == DType::kF32, name, "dout must be f32 and as large as dx");
  require(same_shape(op.saved, op.dx) && same_shape(op.dx_compute, op.dx), name, "tensors of another shape than dx");
  require(op.weight_inverse ? op.saved.dtype == op.dx_compute.dtype : op.saved.dtype == DType::kF32, name, "saved has the wrong dtype");
  require(!op.loss_diff || (same_shape(op.loss_diff, op.dx) && op.loss_diff.dtype == op.dx_compute.dtype), name, "loss_diff differs");
  require(op.rstd && op.weight && op.mask_dot, name, "a list is missing");
  require(!op.saved_scale || !op.weight_inverse, name, "what the norm made has no factors");
  apart(name, op.dx, {&op.dout, &op.saved, &op.loss_diff, &op.dx_compute});
  apart(name, op.dx_compute, {&op.dout});
  apart_or_in_place(name, op.dx_compute, {&op.saved, &op.loss_diff});
}

void check(const AttentionOperands& op) {
  constexpr const char* name = "attention_operands";
  const AttentionShape& s = op.shape;
  check_shape(name, s, op.operands);
  require(op.space && op.space.dtype == DType::kF32 && op.space.rows * op.space.cols >= op.operands.rows * s.width(), name, "no space");
  apart(name, op.space, {&op.operands});
  require(static_cast<bool>(op.norms.query) == static_cast<bool>(op.norms.key), name, "one of the norms is missing");
  require(!op.norms || !s.bias, name, "what is normed has no bias");
  require(!op.normed || (op.norms && op.rstd && is_matrix(op.normed, op.operands.rows, s.query_width + s.kv_width) &&
                         op.normed.dtype == op.operands.dtype),
          name, "normed differs");
  apart(name, op.normed, {&op.operands, &op.space});
  for (size_t p = 0; p < op.products.size(); p++) {
    const Product& product = op.products[p];
    require(product.transposed && product.count > 0 && product.count <= static_cast<int>(product.terms.size()), name,
            "a product is missing");
    for (int i = 0; i < product.count; i++) {
      check_term(name, product.terms[i], op.operands, p == 0 ? s.query_width : s.kv_width, true);
      apart(name, op.space, {&product.terms[i].a});
    }
  }
}

void check(const Attention& op) {
  check_shape("attention", op.shape, op.operands);
  require(is_matrix(op.out, op.operands.rows, op.shape.query_width) && op.out.dtype == op.operands.dtype, "attention", "out differs");
  apart("attention", op.out, {&op.operands});
}

void check(const PathAttention& op) {
  constexpr const char* name = "path_attention";
  check_shape(name, op.shape, op.operands);
  require(op.shape.batch == 1, name, "sequences lie in one row of the batch");
  require(is_matrix(op.out, op.operands.rows, op.shape.query_width) && op.out.dtype == op.operands.dtype, name, "out differs");
  require(op.pieces > 0 && op.bounds && op.longest > 0 && (op.path || op.path_size == 0), name, "a list is missing");
  apart(name, op.out, {&op.operands});
}

void check(const AttentionBackward& op) {
  constexpr const char* name = "attention_backward";
  check_shape(name, op.shape, op.operands);
  require(is_matrix(op.dout, op.operands.rows, op.shape.query_width) && op.dout.dtype == op.operands.dtype, name, "dout differs");
  require(same_shape(op.dqkv, op.operands) && op.dqkv.dtype == op.operands.dtype, name, "dqkv differs");
  require(op.lse && op.head_dot, name, "a list is missing");
  apart(name, op.dqkv, {&op.dout});
  apart_or_in_place(name, op.dqkv, {&op.operands});
}

void check(const HeadNormBackward& op) {
  constexpr const char* name = "head_norm_backward";
  check_shape(name, op.shape, op.dqkv);
  require(op.norms.query && op.norms.key && op.rstd, name, "a list is missing");
  require(is_matrix(op.normed, op.dqkv.rows, op.shape.query_width + op.shape.kv_width) && op.normed.dtype == op.dqkv.dtype, name,
          "normed differs");
  apart(name, op.dqkv, {&op.normed});
}

void check(const CachedAttention& op) {
  constexpr const char* name = "cached_attention";
  check_shape(name, op.shape, op.operands);
  require(op.shape.batch == 1 && op.capacity > 0, name, "an empty cache");
  require(op.cache && op.cache.dtype == op.operands.dtype && is_matrix(op.cache, op.cache.rows, op.shape.head_dim) &&
              op.cache.rows >= op.operands.rows * op.shape.kv_heads * 2 * op.capacity,
          name, "the cache differs");
  require(is_matrix(op.out, op.operands.rows, op.shape.query_width) && op.out.dtype == op.operands.dtype, name, "out differs");
  require(op.sequences && op.positions, name, "a list is missing");
  apart(name, op.out, {&op.operands, &op.cache});
  apart(name, op.cache, {&op.operands});
}

void check(const Swiglu& op) {
  require(op.out && is_wide(op.out) && is_matrix(op.gate_up, op.out.rows, 2 * op.out.cols) && op.gate_up.dtype == op.out.dtype, "swiglu",
          "gate_up differs");
  apart("swiglu", op.out, {&op.gate_up});
}

void check(const SwigluBackward& op) {
  constexpr const char* name = "swiglu_backward";
  require(op.out && is_wide(op.out) && is_matrix(op.gate_up, op.out.rows, 2 * op.out.cols), name, "gate_up differs");
  require(same_shape(op.dgate_up, op.gate_up) && same_shape(op.dout, op.out), name, "shapes differ");
  require(op.gate_up.dtype == op.out.dtype && op.dout.dtype == op.out.dtype && op.dgate_up.dtype == op.out.dtype, name, "dtypes differ");
  require(static_cast<bool>(op.unit_dot), name, "a list is missing");
  apart(name, op.out, {&op.gate_up, &op.dgate_up});
  apart(name, op.dgate_up, {&op.dout});
  apart_or_in_place(name, op.dgate_up, {&op.gate_up});
  apart_or_in_place(name, op.out, {&op.dout});
}

void check(const LayerLoss& op) {
  constexpr const char* name = "layer_loss";
  require(op.student && is_wide(op.student) && same_shape(op.diff, op.student), name, "diff differs");
  require(op.teacher && op.teacher.rows == op.student.rows && (op.teacher_cols || op.teacher.cols == op.student.cols), name,
          "teacher differs");
  require(op.student.dtype == DType::kF32 && op.teacher.dtype == DType::kF32, name, "streams must be f32");
  require(op.student_scale && op.sum && op.mask_dot, name, "a list is missing");
  apart(name, op.diff, {&op.student, &op.teacher});
}

void check(const SoftCap& op) {
  require(op.x && op.x.dtype == DType::kF32 && op.x.stride >= op.x.cols, "soft_cap", "x must be f32");
  require(op.cap > 0, "soft_cap", "no cap");
}

void check(const TokenLoss& op) {
  constexpr const char* name = "token_loss";
  require(op.student && op.student.dtype == DType::kF32 && op.student.stride >= op.student.cols, name, "logits must be f32");
  require(!op.teacher || (same_shape(op.teacher, op.student) && op.teacher.dtype == DType::kF32), name, "the teacher's logits differ");
  require(!op.dlogits || same_shape(op.dlogits, op.student), name, "dlogits differ");
  require((!op.teacher || op.kl_rows) && (!op.targets || op.lm_rows), name, "no room for the losses");
  apart(name, op.dlogits, {&op.student, &op.teacher});
}

void check(const LoraNarrow& op) {
  constexpr const char* name = "lora_narrow";
  require(op.rank > 0 && op.count > 0 && op.count <= static_cast<int>(op.terms.size()), name, "no projections");
  require(op.out && op.out.cols == op.count * narrow_width(op.rank) && op.out.stride >= op.out.cols, name, "out has another width");
  for (int i = 0; i < op.count; i++) {
    require(op.terms[i].b.stored.dtype == DType::kF32, name, "factors must be f32");
    check_term(name, op.terms[i], op.out, narrow_width(op.rank), op.transposed);
  }
}

void check(const LoraGradient& op) {
  constexpr const char* name = "lora_gradient";
  require(op.rank > 0 && op.count > 0 && op.count <= static_cast<int>(op.outputs.size()), name, "no projections");
  const int64_t narrow = op.count * narrow_width(op.rank);
  require(op.x && is_matrix(op.x_narrow, op.x.rows, narrow) && is_matrix(op.dy_narrow, op.x.rows, narrow), name, "narrow products differ");
  require(op.cols || op.in_full <= op.x.cols, name, "columns are missing");
  for (int i = 0; i < op.count; i++) {
    const LoraOutput& o = op.outputs[i];
    require(o.dy && o.dy.rows == op.x.rows && o.da && o.db, name, "an output is missing");
    require(o.rows || o.dy.cols == o.out_full, name, "rows are missing");
  }
}

void check(const LoraDropout& op) {
  constexpr const char* name = "lora_dropout";
  require(op.x && is_wide(op.x) && op.x.stride >= op.x.cols && same_shape(op.out, op.x), name, "x and out differ");
  require(op.probability >= 0 && op.probability < 1 && op.in_full > 0, name, "no such dropout");
  apart(name, op.out, {&op.x});
}

void check(const Transpose& op) {
  constexpr const char* name = "transpose";
  require(op.from && op.from.stride >= op.from.cols && op.to && op.to.stride >= op.to.cols, name, "no matrix");
  require(op.to.rows == op.from.cols && op.to.cols >= op.from.rows && is_wide(op.to), name, "shapes differ");
  require(op.to.dtype == op.from.dtype, name, "dtypes differ");
  apart(name, op.to, {&op.from});
}

void check(const ColumnDot& op) {
  constexpr const char* name = "column_dot";
  require(op.a && op.a.stride >= op.a.cols && op.out, name, "no matrix");
  require(!op.b || same_shape(op.b, op.a), name, "b differs");
  require(op.fold > 0 && op.a.cols % op.fold == 0, name, "columns don't fold");
}

void check(const EmbedGradient& op) {
  constexpr const char* name = "embed_gradient";
  require(op.dx && op.dx.dtype == DType::kF32 && op.dx.stride >= op.dx.cols, name, "dx must be f32");
  require(op.table && op.table.dtype == DType::kF32 && op.table.cols == op.dx.cols && op.table.stride >= op.table.cols, name,
          "table differs");
  require(static_cast<bool>(op.ids), name, "ids are missing");
  apart(name, op.table, {&op.dx});
}

void check(const AddLossGradient& op) {
  constexpr const char* name = "add_loss_gradient";
  require(op.dx && op.dx.dtype == DType::kF32 && is_wide(op.dx) && same_shape(op.dx_compute, op.dx), name, "dx must be f32");
  require(!op.diff || (same_shape(op.diff, op.dx) && op.diff.dtype == op.dx_compute.dtype), name, "diff differs");
  apart(name, op.dx, {&op.diff, &op.dx_compute});
  apart_or_in_place(name, op.dx_compute, {&op.diff});
}

void check(const Add& op) {
  require(op.size >= 0 && (op.size == 0 || (op.to && op.from)), "add", "no memory");
  const Tensor to{op.to.as<std::byte>(), DType::kF32, 1, op.size, op.size};
  const Tensor from{DevicePtr<std::byte>(op.from.address()), DType::kF32, 1, op.size, op.size};
  apart("add", to, {&from});
}

void check(const SquareSum& op) { require(op.size >= 0 && (op.data || op.size == 0) && op.sum, "square_sum", "no memory"); }

void check(const AdamW& op) { require(op.size >= 0 && (op.size == 0 || (op.param && op.m && op.v && op.gradient)), "adamw", "no memory"); }

}  // namespace espalier
