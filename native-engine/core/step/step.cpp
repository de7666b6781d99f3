#include "step/step.h"

#include <algorithm>
#include <chrono>

#include "model/tensor_names.h"
#include "step/layer_buffers.h"
#include "step/projections.h"
#include "step/step_sums.h"
#include "step/token_losses.h"

namespace espalier {

namespace {

class Stopwatch {
 public:
  Stopwatch(Backend& backend, bool on) : backend_(backend), on_(on) {}
  // Waits until the queue is empty, and adds the time since the last call to `part`.
  void lap(double& part) {
    if (!on_) return;
    backend_.synchronize();
    const auto now = std::chrono::steady_clock::now();
    part += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

 private:
  Backend& backend_;
  bool on_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

const LayerActivations& activations(const PassContext& c, int64_t layer) { return c.ws->layers[layer]; }

// Computes layer l of the teacher, then layer l of the student, so that their difference is taken while both are in the cache.
void forward_in_lock_step(PassContext& c, const StepInput& in, StepTimes& times) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows();
  const Tensor student = ws.student_x.reshaped(n, in.student->hidden_width);
  const Tensor teacher = in.teacher ? ws.teacher_x.reshaped(n, in.teacher->hidden_width) : Tensor{};
  Stopwatch watch(*c.backend, in.timed);
  if (in.teacher) embed_tokens(c, *in.teacher, in.ids, teacher);
  watch.lap(times.teacher_forward);
  embed_tokens(c, *in.student, in.ids, student);
  watch.lap(times.student_forward);
  for (int64_t l = 0; l < c.config().layer_count; l++) {
    c.model->enter(l);
    if (in.teacher) forward_layer(c, *in.teacher, l, teacher, ws.teacher, false);
    watch.lap(times.teacher_forward);
    if (in.checkpoint) c.backend->run(Copy{ws.inputs[l].reshaped(n, in.student->hidden_width), student});
    forward_layer(c, *in.student, l, student, activations(c, l), true);
    watch.lap(times.student_forward);
    if (in.teacher)
      c.backend->run(LayerLoss{student, teacher, in.hidden_match, in.student->lists.hidden_mask,
                               with_room(c, ws.diffs[l], in.student->hidden_width, 1), ws.sums.layer_sums + l,
                               ws.sums.layer_dots + l * padded_width(c.config().hidden_size), in.student->lists.stream_scale,
                               in.teacher->lists.stream_scale, in.weights.layer_scale == LayerLossScale::kRelative});
    c.model->fetch(std::min(l + 1, c.config().layer_count - 1));
    watch.lap(times.losses);
  }
}

// Returns the loss of this layer's output; empty where there is no teacher or no such layer.
LowerLoss layer_loss_after(const PassContext& c, const StepInput& in, float scale, int64_t layer) {
  if (!in.teacher || layer < 0) return {};
  return {with_room(c, c.ws->diffs[layer], in.student->hidden_width, 1), scale};
}

// Carries the gradient from the normed hidden state back to the residual stream after the last layer.
void final_norm_backward(PassContext& c, const StepInput& in, bool has_token_loss, const LowerLoss& loss, Tensor dx_compute) {
  Workspace& ws = *c.ws;
  const DeviceRole& role = *in.student;
  const int64_t n = c.rows(), width = role.hidden_width;
  if (!has_token_loss) c.backend->run(Clear{ws.dnorm.data.as<float>(), n * width});
  if (const DevicePtr<float> own = own_vector_gradient(ws, role.lora, kFinalNormName))
    c.backend->run(
        ColumnDot{ws.dnorm.reshaped(n, width), ws.student_x.reshaped(n, width), ws.final_rstd, role.lists.final_norm_scale, width, own});
  RmsNormBackward op;
  op.dout = ws.dnorm.reshaped(n, width);
  op.saved = ws.student_x.reshaped(n, width);
  op.rstd = ws.final_rstd;
  op.weight = role.lists.final_norm;
  op.width = c.config().hidden_size;
  op.dx = ws.dx.reshaped(n, width);
  op.accumulate = false;
  op.loss_diff = loss.diff;
  op.loss_scale = loss.scale;
  op.dx_compute = dx_compute;
  op.compute_scale = role.lists.addend_scale;
  op.mask_dot = c.config().post_norms ? ws.sums.unused_dot : ws.sums.hidden_dot;
  op.saved_scale = role.lists.stream_scale;
  c.backend->run(op);
}

// Runs the backward pass, from the last layer to the first. A layer's gradient (dx_compute) overwrites the layer's differences, which the
// loss needs only once, at that moment.
void backward(PassContext& c, const StepInput& in, bool has_token_loss) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = in.student->hidden_width, last = c.config().layer_count - 1;
  const float scale = layer_scale(c, in);
  Tensor dx_compute = with_room(c, ws.diffs[last], width, 1);
  final_norm_backward(c, in, has_token_loss, layer_loss_after(c, in, scale, last), dx_compute);
  for (int64_t l = last; l >= 0; l--) {
    c.model->enter(l);
    if (in.checkpoint) {
      const Tensor x = ws.student_x.reshaped(n, width);
      c.backend->run(Copy{x, ws.inputs[l].reshaped(n, width)});
      forward_layer(c, *in.student, l, x, activations(c, l), true);
    }
    const Tensor space =
        l > 0 ? with_room(c, ws.diffs[l - 1], width, 1) : with_room(c, ws.layers[0].norm1, width, 3);  // the first layer's is not read
    backward_layer(c, *in.student, l, activations(c, l), layer_loss_after(c, in, scale, l - 1), dx_compute, space);
    c.model->fetch(std::max<int64_t>(l - 1, 0));
  }
  if (c.config().post_norms) {
    // Adds the embeddings' part to the sums of the hidden masks. The norms behind the blocks have added the other parts.
    const Tensor x = ws.student_x.reshaped(n, width);
    embed_tokens(c, *in.student, in.ids, x);
    c.backend->run(ColumnDot{ws.dx.reshaped(n, width), x, nullptr, nullptr, width, ws.sums.hidden_dot});
  }
  if (in.student->lora.own_weight(kEmbeddingName))
    c.backend->run(EmbedGradient{ws.dx.reshaped(n, width), own_gradient(ws, *in.student->lora.layout, kEmbeddingName), in.ids,
                                 in.student->lists.embedding_scale});
}

bool has_token_loss(const StepInput& in) { return (in.teacher && in.weights.kl != 0) || in.weights.lm != 0; }

// Computes the forward pass and the losses of one shard.
void run_forward(PassContext& c, const StepInput& in, bool gradients, StepTimes& times) {
  forward_in_lock_step(c, in, times);
  Stopwatch watch(*c.backend, in.timed);
  if (has_token_loss(in)) token_losses(c, in, gradients);
  watch.lap(times.losses);
}

// Runs after the forward pass, whose losses have begun the gradient of the student's own lm_head, if it has one.
void run_backward(PassContext& c, const StepInput& in, StepTimes& times) {
  Stopwatch watch(*c.backend, in.timed);
  c.backend->run(Clear{c.ws->sums.hidden_dot, in.student->hidden_width});
  backward(c, in, has_token_loss(in));
  watch.lap(times.backward);
}

// Calls `pass` with the input of one shard.
template <class F>
void with_shard(PassContext& c, const StepInput& in, int64_t index, F&& pass) {
  const int64_t row = index * c.rows();
  StepInput shard = in;
  shard.ids = shard.ids + row;
  if (shard.targets) shard.targets = shard.targets + row;
  c.ws->sums = c.ws->shards[static_cast<size_t>(index)];
  c.first_row = row;
  pass(shard);
  c.first_row = 0;
}

// Adds the gradients of shards in places of the workspace.
class ShardGradients {
 public:
  ShardGradients(PassContext& c, const StepInput& in, StepTimes& times)
      : c_(c), in_(in), times_(times), size_(in.student->lora ? in.student->lora.layout->lora_size() : 0) {}

  // Computes all shards into one place, to which each adds its gradient while it is computed.
  void in_place(int64_t first, int64_t count) {
    clear(0);
    for (int64_t i = first; i < first + count; i++) run(i, 0);
  }
  // Computes the sum of two halves into `place`. Where the halves are not equal, the first is the larger one.
  void in_tree(int64_t first, int64_t count, size_t place) {
    if (count == 1) {
      clear(place);
      return run(first, place);
    }
    const int64_t half = (count + 1) / 2;
    in_tree(first, half, place);
    in_tree(first + half, count - half, place + 1);
    add(place, place + 1);
  }

 private:
  DevicePtr<float> at(size_t place) const { return c_.ws->gradients[place]; }
  void clear(size_t place) { c_.backend->run(Clear{at(place), size_}); }
  void add(size_t to, size_t from) {
    Stopwatch watch(*c_.backend, in_.timed);
    c_.backend->run(Add{at(to), at(from), size_});
    watch.lap(times_.backward);
  }
  void run(int64_t shard, size_t place) {
    c_.ws->shard_gradient = at(place);
    with_shard(c_, in_, shard, [&](const StepInput& input) {
      run_forward(c_, input, true, times_);
      run_backward(c_, input, times_);
    });
  }

  PassContext& c_;
  const StepInput& in_;
  StepTimes& times_;
  int64_t size_;
};

}  // namespace

int64_t gradient_places(int64_t shards) {
  int64_t places = 1;
  for (int64_t largest = shards; largest > 1; largest = (largest + 1) / 2) places++;
  return places;
}

void run_shards(PassContext& c, const StepInput& in, int64_t first, int64_t count, StepTimes& times) {
  ShardGradients gradients(c, in, times);
  if (in.student->lora.has_own_weights() || in.shards == 1) return gradients.in_place(first, count);
  gradients.in_tree(first, count, 0);
}

StepOutput finish_step(PassContext& c, const StepInput& in, const std::vector<OtherShards>& others, const StepTimes& times) {
  Workspace& ws = *c.ws;
  StepOutput out;
  out.times = times;
  Stopwatch watch(*c.backend, in.timed);
  const int64_t size = in.student->lora ? in.student->lora.layout->lora_size() : 0;
  c.backend->run(SquareSum{ws.gradients[0], size, ws.gradient_squares});
  StepResults results(*c.backend, ws);
  for (const OtherShards& other : others) results.take_shards(other.results, other.first, other.count);
  out.gradient_squares = results.at(ws.gradient_squares, 1)[0];
  out.grad_z = mask_gradients(c, in, results);
  read_losses(c, in, results, out);
  watch.lap(out.times.backward);
  return out;
}

double loss_of(PassContext& c, const StepInput& in) {
  StepOutput out;
  for (int64_t i = 0; i < in.shards; i++) with_shard(c, in, i, [&](const StepInput& shard) { run_forward(c, shard, false, out.times); });
  read_losses(c, in, StepResults(*c.backend, *c.ws), out);
  return out.loss;
}

void embed_tokens(PassContext& c, const DeviceRole& role, DevicePtr<const int32_t> ids, Tensor x) {
  Embed op;
  op.out = x;
  const StoredMatrix own = role.lora.own_weight(kEmbeddingName);
  op.table = own ? own : c.model->embedding();
  op.ids = ids;
  if (!own) op.cols = role.lists.hidden_index;
  op.scale = role.lists.embedding_scale;
  c.backend->run(op);
}

void multiply_by_head(PassContext& c, const DeviceRole& role, Tensor out, Tensor in, bool transposed) {
  Product op;
  op.c = out;
  op.transposed = transposed;
  op.by_shape = c.by_shape;
  if (const StoredMatrix own = role.lora.own_weight(head_name(c.config())))
    op.add(in, {own, c.config().vocab_size, role.hidden_width, nullptr, nullptr});
  else
    op.add(in, {c.model->lm_head(), c.config().vocab_size, role.hidden_width, nullptr, role.lists.hidden_index});
  c.backend->run(op);
}

void make_logits(PassContext& c, const DeviceRole& role, Tensor logits, Tensor h) {
  multiply_by_head(c, role, logits, h, true);
  if (const double cap = c.config().logits_cap; cap > 0) c.backend->run(SoftCap{logits, static_cast<float>(cap)});
}

}  // namespace espalier
