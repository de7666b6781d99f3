#include "step/step_sums.h"

#include <algorithm>
#include <limits>

#include "base/chunks.h"
#include "step/token_losses.h"

namespace espalier {

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// Returns the number by which the sums of all layers' losses are divided. A relative loss is a mean over tokens and layers, a squared one
// over tokens and the student's open hidden units.
double layer_loss_count(const PassContext& c, const StepInput& in) {
  if (in.weights.layer_scale == LayerLossScale::kRelative) return static_cast<double>(in.shards * c.rows() * c.config().layer_count);
  int64_t open = 0;
  for (float z : in.student->z.hidden) open += z != 0.0f;
  return static_cast<double>(in.shards * c.rows() * open);
}

// Returns the sums of the shards in `place`, `count` values each. They are added in the order of the shards, whichever device computed
// them.
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

// Returns the hidden units' sums. A unit takes part in the residual stream's gradient and in every layer's loss. With norms behind the
// blocks, its sum is made from the gradients of the stream, which already contain these losses.
std::vector<double> hidden_sums(const PassContext& c, const StepInput& in, const StepResults& results) {
  const Workspace& ws = *c.ws;
  const int64_t open = in.student->hidden_open, padded = padded_width(c.config().hidden_size);
  const double scale = layer_scale(c, in);
  std::vector<double> sums = sum_of_shards(ws, results, &ShardSums::hidden_dot, open);
  if (!in.teacher || c.config().post_norms) return sums;
  for (const ShardSums& shard : ws.shards)
    for (int64_t l = 0; l < c.config().layer_count; l++) {
      const auto dots = results.at(shard.layer_dots + l * padded, open);
      for (int64_t j = 0; j < open; j++) sums[j] += scale * dots[j];
    }
  return sums;
}

double sum_of_rows(const PassContext& c, const StepResults& results, DevicePtr<double> ShardSums::* rows) {
  double sum = 0;
  for (const ShardSums& shard : c.ws->shards)
    for (const double v : results.at(shard.*rows, c.rows())) sum += v;
  return sum;
}

}  // namespace

float layer_scale(const PassContext& c, const StepInput& in) {
  const double count = layer_loss_count(c, in);
  return in.teacher && count > 0 ? static_cast<float>(2.0 * in.weights.layer / count) : 0.0f;
}

// For each mask, ops have summed gradient * value over everything that the mask scales. This sum divided by the mask is the mask's
// gradient.
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
  for_each_in_chunks(config.layer_count, std::max<int64_t>(1, kGatesTogether / units), [&](int64_t l) {
    const RoleLayer& r = role.layers[l];
    for (int64_t i = 0; i < r.heads; i++) {
      const int64_t at = l * config.head_count + r.head_index[i];
      g.head[at] = divide(head_dots[l * config.head_count + i], role.z.head[at]);
    }
    for (int64_t i = 0; i < r.units; i++) {
      const int64_t at = l * config.intermediate_size + r.unit_index[i];
      g.intermediate[at] = divide(unit_dots[l * units + i], role.z.intermediate[at]);
    }
  });
  for (int64_t j = 0; j < role.hidden_open; j++)
    g.hidden[role.hidden_index[j]] = divide(hidden_dots[j], role.z.hidden[role.hidden_index[j]]);
  return g;
}

void read_losses(const PassContext& c, const StepInput& in, const StepResults& results, StepOutput& out) {
  const Workspace& ws = *c.ws;
  const bool kl = in.teacher && in.weights.kl != 0, lm = in.weights.lm != 0;
  double layer_sum = 0, kl_sum = 0, lm_sum = 0;
  if (const double count = layer_loss_count(c, in); in.teacher && count > 0)
    for (const double sum : sum_of_shards(ws, results, &ShardSums::layer_sums, c.config().layer_count)) layer_sum += sum / count;
  if (kl) kl_sum = sum_of_rows(c, results, &ShardSums::kl_rows) * (in.weights.temperature * in.weights.temperature / tokens_of(c, in));
  if (lm && in.predictions > 0) lm_sum = sum_of_rows(c, results, &ShardSums::lm_rows) / static_cast<double>(in.predictions);
  out.layer_loss = in.teacher ? layer_sum : kNotANumber;
  out.kl_loss = kl ? kl_sum : kNotANumber;
  out.lm_loss = lm ? lm_sum : kNotANumber;
  out.loss = in.weights.layer * layer_sum + in.weights.kl * kl_sum + in.weights.lm * lm_sum;
}

}  // namespace espalier
