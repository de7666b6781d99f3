#include "step/step.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "model/tensor_names.h"
#include "step/projections.h"
#include "step/token_losses.h"

namespace espalier {

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

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

// Layer l of the teacher, then layer l of the student, so that the difference is taken while both are in cache.
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
                               ws.diffs[l].reshaped(n, in.student->hidden_width), ws.sums.layer_sums + l,
                               ws.sums.layer_dots + l * padded_width(c.config().hidden_size)});
    c.model->fetch(std::min(l + 1, c.config().layer_count - 1));
    watch.lap(times.losses);
  }
}

// The mean of each layer's loss runs over the student's open hidden units.
double layer_loss_count(const PassContext& c, const StepInput& in) {
  int64_t open = 0;
  for (float z : in.student->z.hidden) open += z != 0.0f;
  return static_cast<double>(in.shards * c.rows() * open);
}

// d loss / d diff = layer_scale * diff, for each layer.
float layer_scale(const PassContext& c, const StepInput& in) {
  const double count = layer_loss_count(c, in);
  return in.teacher && count > 0 ? static_cast<float>(2.0 * in.weights.layer / count) : 0.0f;
}

// The loss of this layer's output; empty where there is no teacher or no such layer.
LowerLoss layer_loss_after(const PassContext& c, const StepInput& in, float scale, int64_t layer) {
  if (!in.teacher || layer < 0) return {};
  return {c.ws->diffs[layer].reshaped(c.rows(), in.student->hidden_width), scale};
}

// From the normed hidden state back to the residual stream after the last layer.
void final_norm_backward(PassContext& c, const StepInput& in, bool has_token_loss, const LowerLoss& loss, Tensor dx_compute) {
  Workspace& ws = *c.ws;
  const DeviceRole& role = *in.student;
  const int64_t n = c.rows(), width = role.hidden_width;
  if (!has_token_loss) c.backend->run(Clear{ws.dnorm.data.as<float>(), n * width});
  if (const DevicePtr<float> own = own_vector_gradient(ws, role.lora, kFinalNormName))
    c.backend->run(ColumnDot{ws.dnorm.reshaped(n, width), ws.student_x.reshaped(n, width), ws.final_rstd, nullptr, width, own});
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
  op.compute_scale = role.lists.hidden_scale;
  op.mask_dot = ws.sums.hidden_dot;
  c.backend->run(op);
}

// The backward pass, from the last layer to the first. A layer's gradient (dx_compute) is written over the layer's differences: the
// loss needs them once, at that moment.
void backward(PassContext& c, const StepInput& in, bool has_token_loss) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows(), width = in.student->hidden_width, last = c.config().layer_count - 1;
  const float scale = layer_scale(c, in);
  Tensor dx_compute = ws.diffs[last].reshaped(n, width);
  final_norm_backward(c, in, has_token_loss, layer_loss_after(c, in, scale, last), dx_compute);
  for (int64_t l = last; l >= 0; l--) {
    c.model->enter(l);
    if (in.checkpoint) {
      const Tensor x = ws.student_x.reshaped(n, width);
      c.backend->run(Copy{x, ws.inputs[l].reshaped(n, width)});
      forward_layer(c, *in.student, l, x, activations(c, l), true);
    }
    const Tensor space = l > 0 ? ws.diffs[l - 1] : ws.layers[0].norm1;  // the last one is not read
    backward_layer(c, *in.student, l, activations(c, l), layer_loss_after(c, in, scale, l - 1), dx_compute, space);
    c.model->fetch(std::max<int64_t>(l - 1, 0));
  }
  if (in.student->lora.has_own_weights())
    c.backend->run(EmbedGradient{ws.dx.reshaped(n, width), own_gradient(ws, *in.student->lora.layout, kEmbeddingName), in.ids,
                                 in.student->lists.hidden_scale});
}

// The sums of the shards in `place`, `count` values each, added up in their order.
template <class T>
std::vector<double> sum_of_shards(const Workspace& ws, const StepResults& results, DevicePtr<T> ShardSums::* place, int64_t count) {
  std::vector<double> sums;
  for (const ShardSums& shard : ws.shards) {
    const auto values = results.at(shard.*place, count);
    if (sums.empty())
      sums.assign(values.begin(), values.end());
    else
      for (int64_t i = 0; i < count; i++) sums[i] += values[i];
  }
  return sums;
}

// A hidden unit's sum takes part in the residual stream's gradient and in every layer's loss.
std::vector<double> hidden_sums(const PassContext& c, const StepInput& in, const StepResults& results) {
  const Workspace& ws = *c.ws;
  const int64_t open = in.student->hidden_open, padded = padded_width(c.config().hidden_size);
  const double scale = layer_scale(c, in);
  std::vector<double> sums = sum_of_shards(ws, results, &ShardSums::hidden_dot, open);
  if (!in.teacher) return sums;
  for (const ShardSums& shard : ws.shards)
    for (int64_t l = 0; l < c.config().layer_count; l++) {
      const auto dots = results.at(shard.layer_dots + l * padded, open);
      for (int64_t j = 0; j < open; j++) sums[j] += scale * dots[j];
    }
  return sums;
}

// For each mask the ops summed gradient * value over everything that the mask scales. Dividing that sum by the mask gives its gradient.
Masks mask_gradients(const PassContext& c, const StepInput& in, const StepResults& results) {
  const ModelConfig& config = c.config();
  const Role& role = *in.student;
  const int64_t units = padded_width(config.intermediate_size);
  const auto head_dots = sum_of_shards(*c.ws, results, &ShardSums::head_dots, config.layer_count * config.head_count);
  const auto unit_dots = sum_of_shards(*c.ws, results, &ShardSums::unit_dots, config.layer_count * units);
  const auto hidden_dots = hidden_sums(c, in, results);
  Masks g{std::vector<float>(role.z.head.size(), 0.0f), std::vector<float>(role.z.intermediate.size(), 0.0f),
          std::vector<float>(role.z.hidden.size(), 0.0f)};
  const auto divide = [](double sum, float z) { return z == 0.0f ? 0.0f : static_cast<float>(sum / z); };
  for (int64_t l = 0; l < config.layer_count; l++) {
    const RoleLayer& r = role.layers[l];
    for (int64_t i = 0; i < r.heads; i++) {
      const int64_t at = l * config.head_count + r.head_index[i];
      g.head[at] = divide(head_dots[l * config.head_count + i], role.z.head[at]);
    }
    for (int64_t i = 0; i < r.units; i++) {
      const int64_t at = l * config.intermediate_size + r.unit_index[i];
      g.intermediate[at] = divide(unit_dots[l * units + i], role.z.intermediate[at]);
    }
  }
  for (int64_t j = 0; j < role.hidden_open; j++)
    g.hidden[role.hidden_index[j]] = divide(hidden_dots[j], role.z.hidden[role.hidden_index[j]]);
  return g;
}

double sum_of_rows(const PassContext& c, const StepResults& results, DevicePtr<double> ShardSums::* rows) {
  double sum = 0;
  for (const ShardSums& shard : c.ws->shards)
    for (const double v : results.at(shard.*rows, c.rows())) sum += v;
  return sum;
}

void read_losses(const PassContext& c, const StepInput& in, const StepResults& results, StepOutput& out) {
  const Workspace& ws = *c.ws;
  const bool kl = in.teacher && in.weights.kl != 0, lm = in.weights.lm != 0;
  double layer_sum = 0, kl_sum = 0, lm_sum = 0;
  if (const double count = layer_loss_count(c, in); in.teacher && count > 0)
    for (const double sum : sum_of_shards(ws, results, &ShardSums::layer_sums, c.config().layer_count)) layer_sum += sum / count;
  if (kl) kl_sum = sum_of_rows(c, results, &ShardSums::kl_rows) * (in.weights.temperature * in.weights.temperature / batch_of(c, in));
  if (lm && in.predictions > 0) lm_sum = sum_of_rows(c, results, &ShardSums::lm_rows) / static_cast<double>(in.predictions);
  out.layer_loss = in.teacher ? layer_sum : kNotANumber;
  out.kl_loss = kl ? kl_sum : kNotANumber;
  out.lm_loss = lm ? lm_sum : kNotANumber;
  out.loss = in.weights.layer * layer_sum + in.weights.kl * kl_sum + in.weights.lm * lm_sum;
}

bool has_token_loss(const StepInput& in) { return (in.teacher && in.weights.kl != 0) || in.weights.lm != 0; }

// Forward and losses of one shard.
void run_forward(PassContext& c, const StepInput& in, bool gradients, StepTimes& times) {
  forward_in_lock_step(c, in, times);
  Stopwatch watch(*c.backend, in.timed);
  if (has_token_loss(in)) token_losses(c, in, gradients);
  watch.lap(times.losses);
}

// After its forward pass, whose losses have begun the gradient of an lm_head of the student's own.
void run_backward(PassContext& c, const StepInput& in, int64_t lora_size, StepTimes& times) {
  Workspace& ws = *c.ws;
  Stopwatch watch(*c.backend, in.timed);
  c.backend->run(Clear{ws.sums.hidden_dot, in.student->hidden_width});
  backward(c, in, has_token_loss(in));
  if (ws.shard_gradient != ws.lora_gradient) c.backend->run(Add{ws.lora_gradient, ws.shard_gradient, lora_size});
  watch.lap(times.backward);
}

// Calls `pass` with the input of each shard, in their order.
template <class F>
void each_shard(PassContext& c, const StepInput& in, F&& pass) {
  Workspace& ws = *c.ws;
  StepInput shard = in;
  for (const ShardSums& sums : ws.shards) {
    ws.sums = sums;
    pass(shard);
    shard.ids = shard.ids + c.rows();
    c.first_row += c.rows();
    if (shard.targets) shard.targets = shard.targets + c.rows();
  }
  c.first_row = 0;
}

}  // namespace

StepOutput run_step(PassContext& c, const StepInput& in) {
  Workspace& ws = *c.ws;
  StepOutput out;
  const int64_t lora_size = in.student->lora ? in.student->lora.layout->lora_size() : 0;
  c.backend->run(Clear{ws.lora_gradient, lora_size});
  each_shard(c, in, [&](const StepInput& shard) {
    if (ws.shard_gradient != ws.lora_gradient) c.backend->run(Clear{ws.shard_gradient, lora_size});
    run_forward(c, shard, true, out.times);
    run_backward(c, shard, lora_size, out.times);
  });
  Stopwatch watch(*c.backend, in.timed);
  c.backend->run(SquareSum{ws.lora_gradient, lora_size, ws.gradient_squares});
  const StepResults results(*c.backend, ws);
  out.gradient_squares = results.at(ws.gradient_squares, 1)[0];
  out.grad_z = mask_gradients(c, in, results);
  read_losses(c, in, results, out);
  watch.lap(out.times.backward);
  return out;
}

double loss_of(PassContext& c, const StepInput& in) {
  StepOutput out;
  each_shard(c, in, [&](const StepInput& shard) { run_forward(c, shard, false, out.times); });
  read_losses(c, in, StepResults(*c.backend, *c.ws), out);
  return out.loss;
}

void embed_tokens(PassContext& c, const DeviceRole& role, DevicePtr<const int32_t> ids, Tensor x) {
  Embed op;
  op.out = x;
  const bool own = role.lora.has_own_weights();
  op.table = own ? role.lora.own_weight(kEmbeddingName) : c.model->embedding();
  op.ids = ids;
  if (!own) op.cols = role.lists.hidden_index;
  op.scale = role.lists.hidden_scale;
  c.backend->run(op);
}

void multiply_by_head(PassContext& c, const DeviceRole& role, Tensor out, Tensor in, bool transposed) {
  Product op;
  op.c = out;
  op.transposed = transposed;
  op.by_shape = c.by_shape;
  if (role.lora.has_own_weights())
    op.add(in, {role.lora.own_weight(head_name(c.config())), c.config().vocab_size, role.hidden_width, nullptr, nullptr});
  else
    op.add(in, {c.model->lm_head(), c.config().vocab_size, role.hidden_width, nullptr, role.lists.hidden_index});
  c.backend->run(op);
}

}  // namespace espalier
