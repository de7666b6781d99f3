#include "step/token_losses.h"

#include <algorithm>

#include "model/tensor_names.h"
#include "step/projections.h"

namespace espalier {

double tokens_of(const PassContext& c, const StepInput& in) { return static_cast<double>(in.shards * c.rows()); }

namespace {

// Computes the logits of both roles for a chunk of tokens, the student's first. One product makes both where the roles have the same open
// hidden units and the same lm_head. The student's normed rows stay at the start of ws.h.
void chunk_logits(PassContext& c, const StepInput& in, bool kl, int64_t first, int64_t count) {
  Workspace& ws = *c.ws;
  const auto normed = [&](const DeviceRole& role, Tensor x, int64_t row, DevicePtr<float> rstd) {
    const Tensor h = ws.h.reshaped(ws.h.rows, role.hidden_width).row_range(row, count);
    norm_forward(c, role, x.reshaped(c.rows(), role.hidden_width).row_range(first, count), h, rstd, role.lists.final_norm);
    return h;
  };
  const Tensor student_h = normed(*in.student, ws.student_x, 0, ws.final_rstd + first);
  const Tensor logits = ws.logits.columns(0, c.config().vocab_size);
  if (kl && !in.hidden_match && !in.student->lora.own_weight(head_name(c.config()))) {
    normed(*in.teacher, ws.teacher_x, count, nullptr);
    return make_logits(c, *in.student, logits.row_range(0, 2 * count),
                       ws.h.reshaped(ws.h.rows, in.student->hidden_width).row_range(0, 2 * count));
  }
  make_logits(c, *in.student, logits.row_range(0, count), student_h);
  // The teacher's normed rows lie behind the student's, since the gradient of the student's own lm_head still needs those. The intact
  // teacher's rows are at least as wide.
  if (kl) make_logits(c, *in.teacher, logits.row_range(count, count), normed(*in.teacher, ws.teacher_x, ws.chunk, nullptr));
}

}  // namespace

void token_losses(PassContext& c, const StepInput& in, bool gradients) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), vocab = c.config().vocab_size;
  const bool kl = in.teacher && in.weights.kl != 0, lm = in.weights.lm != 0;
  const double tokens = tokens_of(c, in);
  const Tensor dh = ws.dnorm.reshaped(n, in.student->hidden_width);
  for (int64_t first = 0; first < n; first += ws.chunk) {
    const int64_t count = std::min(ws.chunk, n - first);
    chunk_logits(c, in, kl, first, count);
    TokenLoss op;
    op.student = ws.logits.row_range(0, count).columns(0, vocab);
    op.dlogits = ws.dlogits.row_range(0, count).columns(0, vocab);
    op.temperature = static_cast<float>(in.weights.temperature);
    op.logits_cap = static_cast<float>(c.config().logits_cap);
    op.kl_rows = ws.sums.kl_rows + first;
    op.lm_rows = ws.sums.lm_rows + first;
    if (kl) {
      op.teacher = ws.logits.row_range(count, count).columns(0, vocab);
      op.kl_gradient_scale = static_cast<float>(in.weights.kl * in.weights.temperature / tokens);
    }
    if (lm) {
      op.targets = in.targets + first;
      if (in.predictions > 0) op.lm_gradient_scale = static_cast<float>(in.weights.lm / static_cast<double>(in.predictions));
    }
    c.backend->run(op);
    if (!gradients) continue;
    multiply_by_head(c, *in.student, dh.row_range(first, count), op.dlogits, false);
    if (in.student->lora.own_weight(head_name(c.config())))
      add_own_gradient(c, own_gradient(ws, *in.student->lora.layout, head_name(c.config())),
                       ws.h.reshaped(ws.h.rows, in.student->hidden_width).row_range(0, count), op.dlogits);
  }
}

}  // namespace espalier
