// Says which memory each op touches, and how much of it: move(pointer, count of values) moves every pointer of an op to another place. A
// move that accepts tensors gets whole tensors.
#pragma once
#include <algorithm>

#include "device/ops.h"

namespace espalier::test {

template <class Move>
void move_memory(Tensor& t, Move&& move) {
  if constexpr (requires { move(t); }) {
    move(t);
    return;
  }
  const int64_t bytes = t.rows > 0 ? ((t.rows - 1) * t.stride + t.cols) * dtype_bytes(t.dtype) : 0;
  t.data = move(t.data, bytes);
}

template <class Move>
void move_memory(StoredMatrix& m, Move&& move) {
  m.data = move(m.data, m.rows * m.cols * dtype_bytes(m.dtype));
}

template <class Move>
void move_memory(Product& op, Move&& move) {
  move_memory(op.c, move);
  for (int i = 0; i < op.count; i++) {
    Selection& b = op.terms[i].b;
    move_memory(op.terms[i].a, move);
    move_memory(b.stored, move);
    b.row_index = move(b.row_index, b.rows);
    b.col_index = move(b.col_index, b.cols);
  }
  op.column_scale = move(op.column_scale, op.c.cols);
}

template <class Move>
void move_memory(Copy& op, Move&& move) {
  move_memory(op.to, move);
  move_memory(op.from, move);
}

template <class Move>
void move_memory(Clear& op, Move&& move) {
  op.data = move(op.data, op.size);
}

template <class Move>
void move_memory(Embed& op, Move&& move) {
  move_memory(op.out, move);
  move_memory(op.table, move);
  op.ids = move(op.ids, op.out.rows);
  op.cols = move(op.cols, op.out.cols);
  op.scale = move(op.scale, op.out.cols);
}

template <class Move>
void move_memory(RmsNorm& op, Move&& move) {
  move_memory(op.x, move);
  move_memory(op.out, move);
  op.rstd = move(op.rstd, op.x.rows);
  op.weight = move(op.weight, op.x.cols);
  op.scale = move(op.scale, op.x.cols);
}

template <class Move>
void move_memory(RmsNormBackward& op, Move&& move) {
  for (Tensor* t : {&op.dout, &op.saved, &op.dx, &op.loss_diff, &op.dx_compute}) move_memory(*t, move);
  op.rstd = move(op.rstd, op.dx.rows);
  for (auto* list : {&op.weight, &op.weight_inverse, &op.compute_scale, &op.saved_scale}) *list = move(*list, op.dx.cols);
  op.mask_dot = move(op.mask_dot, op.dx.cols);
}

template <class Move>
void move_memory(AttentionShape& s, Move&& move) {
  s.kv_of_head = move(s.kv_of_head, s.heads);
  s.rope_cos = move(s.rope_cos, s.tokens * (s.head_dim / 2));
  s.rope_sin = move(s.rope_sin, s.tokens * (s.head_dim / 2));
  s.bias = move(s.bias, s.width());
}

template <class Move>
void move_memory(HeadNorms& norms, const AttentionShape& shape, Move&& move) {
  norms.query = move(norms.query, norms.query_size(shape));
  norms.key = move(norms.key, norms.key_size(shape));
}

template <class Move>
void move_memory(AttentionOperands& op, Move&& move) {
  move_memory(op.shape, move);
  for (Product& product : op.products) move_memory(product, move);
  move_memory(op.space, move);
  move_memory(op.operands, move);
  move_memory(op.norms, op.shape, move);
  move_memory(op.normed, move);
  op.rstd = move(op.rstd, op.operands.rows * (op.norms.query_norms(op.shape) + op.norms.key_norms(op.shape)));
}

template <class Move>
void move_memory(HeadNormBackward& op, Move&& move) {
  move_memory(op.shape, move);
  move_memory(op.norms, op.shape, move);
  move_memory(op.normed, move);
  move_memory(op.dqkv, move);
  op.rstd = move(op.rstd, op.dqkv.rows * (op.norms.query_norms(op.shape) + op.norms.key_norms(op.shape)));
}

template <class Move>
void move_memory(Attention& op, Move&& move) {
  move_memory(op.shape, move);
  move_memory(op.operands, move);
  move_memory(op.out, move);
  op.lse = move(op.lse, op.shape.heads * op.operands.rows);
  op.column_scale = move(op.column_scale, op.shape.query_width);
}

template <class Move>
void move_memory(PathAttention& op, Move&& move) {
  move_memory(op.shape, move);
  move_memory(op.operands, move);
  move_memory(op.out, move);
  op.column_scale = move(op.column_scale, op.shape.query_width);
  op.bounds = move(op.bounds, 4 * op.pieces);
  op.path = move(op.path, op.path_size);
}

template <class Move>
void move_memory(AttentionBackward& op, Move&& move) {
  move_memory(op.shape, move);
  for (Tensor* t : {&op.operands, &op.dout, &op.dqkv}) move_memory(*t, move);
  op.lse = move(op.lse, op.shape.heads * op.operands.rows);
  op.head_dot = move(op.head_dot, op.shape.heads);
  op.dout_scale = move(op.dout_scale, op.shape.query_width);
}

template <class Move>
void move_memory(CachedAttention& op, Move&& move) {
  move_memory(op.shape, move);
  for (Tensor* t : {&op.operands, &op.cache, &op.out}) move_memory(*t, move);
  op.sequences = move(op.sequences, op.operands.rows);
  op.positions = move(op.positions, op.operands.rows);
  op.column_scale = move(op.column_scale, op.shape.query_width);
}

template <class Move>
void move_memory(Swiglu& op, Move&& move) {
  move_memory(op.gate_up, move);
  move_memory(op.out, move);
  op.unit_scale = move(op.unit_scale, op.out.cols);
}

template <class Move>
void move_memory(SwigluBackward& op, Move&& move) {
  for (Tensor* t : {&op.gate_up, &op.dout, &op.dgate_up, &op.out}) move_memory(*t, move);
  op.unit_dot = move(op.unit_dot, op.out.cols);
  op.unit_scale = move(op.unit_scale, op.out.cols);
}

template <class Move>
void move_memory(LayerLoss& op, Move&& move) {
  for (Tensor* t : {&op.student, &op.teacher, &op.diff}) move_memory(*t, move);
  op.teacher_cols = move(op.teacher_cols, op.student.cols);
  op.student_scale = move(op.student_scale, op.student.cols);
  op.sum = move(op.sum, 1);
  op.mask_dot = move(op.mask_dot, op.student.cols);
  op.student_factor = move(op.student_factor, op.student.cols);
  op.teacher_factor = move(op.teacher_factor, op.teacher.cols);
}

template <class Move>
void move_memory(SoftCap& op, Move&& move) {
  move_memory(op.x, move);
}

template <class Move>
void move_memory(TokenLoss& op, Move&& move) {
  for (Tensor* t : {&op.student, &op.teacher, &op.dlogits}) move_memory(*t, move);
  op.targets = move(op.targets, op.student.rows);
  op.kl_rows = move(op.kl_rows, op.student.rows);
  op.lm_rows = move(op.lm_rows, op.student.rows);
  op.best = move(op.best, op.student.rows);
}

template <class Move>
void move_memory(LoraNarrow& op, Move&& move) {
  move_memory(op.out, move);
  for (int i = 0; i < op.count; i++) {
    Selection& b = op.terms[i].b;
    move_memory(op.terms[i].a, move);
    move_memory(b.stored, move);
    b.row_index = move(b.row_index, b.rows);
    b.col_index = move(b.col_index, b.cols);
  }
}

template <class Move>
void move_memory(LoraGradient& op, Move&& move) {
  for (Tensor* t : {&op.x, &op.x_narrow, &op.dy_narrow}) move_memory(*t, move);
  op.cols = move(op.cols, op.x.cols);
  for (int i = 0; i < op.count; i++) {
    LoraOutput& o = op.outputs[i];
    move_memory(o.dy, move);
    o.rows = move(o.rows, o.dy.cols);
    o.da = move(o.da, op.rank * op.in_full);
    o.db = move(o.db, o.out_full * op.rank);
  }
}

template <class Move>
void move_memory(LoraDropout& op, Move&& move) {
  for (Tensor* t : {&op.x, &op.out}) move_memory(*t, move);
  op.cols = move(op.cols, op.x.cols);
}

template <class Move>
void move_memory(Transpose& op, Move&& move) {
  move_memory(op.to, move);
  move_memory(op.from, move);
}

template <class Move>
void move_memory(ColumnDot& op, Move&& move) {
  move_memory(op.a, move);
  move_memory(op.b, move);
  op.row_scale = move(op.row_scale, op.a.rows);
  op.column_scale = move(op.column_scale, op.a.cols);
  op.out = move(op.out, op.fold);
}

template <class Move>
void move_memory(EmbedGradient& op, Move&& move) {
  move_memory(op.dx, move);
  move_memory(op.table, move);
  op.ids = move(op.ids, op.dx.rows);
  op.scale = move(op.scale, op.dx.cols);
}

template <class Move>
void move_memory(AddLossGradient& op, Move&& move) {
  for (Tensor* t : {&op.dx, &op.diff, &op.dx_compute}) move_memory(*t, move);
  op.compute_scale = move(op.compute_scale, op.dx.cols);
}

template <class Move>
void move_memory(Add& op, Move&& move) {
  op.to = move(op.to, op.size);
  op.from = move(op.from, op.size);
}

template <class Move>
void move_memory(SquareSum& op, Move&& move) {
  op.data = move(op.data, op.size);
  op.sum = move(op.sum, 1);
}

template <class Move>
void move_memory(AdamW& op, Move&& move) {
  for (auto* p : {&op.param, &op.m, &op.v}) *p = move(*p, op.size);
  op.gradient = move(op.gradient, op.size);
}

}  // namespace espalier::test
