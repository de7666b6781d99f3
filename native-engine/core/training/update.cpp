#include "training/update.h"

#include <cmath>
#include <limits>

#include "base/chunks.h"
#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/sparsity/shape_target.h"
#include "method/sparsity/sparsity.h"
#include "method/sparsity/tracking.h"

namespace espalier {

namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
// The decay of the mean of squares of own weights' gradients. It is short, because recovery has a few thousand steps at most, in which
// gradients shrink.
constexpr double kOwnWeightsBeta2 = 0.95;

// Tells whether all values are finite. The loop never ends early, so that it checks many values at once.
bool all_finite(const std::vector<float>& values) {
  bool finite = true;
  for (float v : values) finite &= std::abs(v) <= std::numeric_limits<float>::max();
  return finite;
}

AdamW adam_for(const DeviceState& state, int64_t offset, int64_t size, DevicePtr<const float> gradient, double learning_rate,
               int64_t moments_from_step = 0) {
  const auto steps = static_cast<double>(state.step - moments_from_step + 1);
  const double beta2 = state.layout().has_own_weights() ? kOwnWeightsBeta2 : kBeta2;
  AdamW op;
  op.param = state.params() + offset;
  op.m = state.adam_m() + offset;
  op.v = state.adam_v() + offset;
  op.gradient = gradient;
  op.size = size;
  op.learning_rate = static_cast<float>(learning_rate);
  op.beta1 = static_cast<float>(kBeta1);
  op.beta2 = static_cast<float>(beta2);
  op.eps = static_cast<float>(kEps);
  op.bias_correction1 = static_cast<float>(1.0 - std::pow(kBeta1, steps));
  op.bias_correction2 = static_cast<float>(1.0 - std::pow(beta2, steps));
  return op;
}

// Does what a device does for the same op, without contracting anything.
void adamw_on_host(const AdamW& op, const std::vector<float>& gradient, std::vector<float>& params, DeviceState::Moments moments) {
  const float step = op.learning_rate / op.bias_correction1;
  for_each_in_chunks(op.size, kGatesTogether, [&](int64_t i) {
    const float g = gradient[i] * op.gradient_scale;
    moments.m[i] = moments.m[i] * op.beta1 + g * (1.0f - op.beta1);
    moments.v[i] = moments.v[i] * op.beta2 + g * g * (1.0f - op.beta2);
    const float moved = params[i] - step * (moments.m[i] / (std::sqrt(moments.v[i] / op.bias_correction2) + op.eps));
    params[i] = std::min(std::max(moved, op.low), op.high);
  });
}

// Updates the log-alphas, on the device or on the host. The gradients of the kinds of gates lie one after the other, in the order of a
// state. Waits for the device if it computes the update, since the gradient is freed when this returns.
void update_log_alphas(Backend& backend, DeviceState& state, const Masks& gradient, double learning_rate) {
  const std::vector<float> all = in_a_row(gradient);
  const StateLayout& layout = state.layout();
  AdamW op = adam_for(state, layout.lora_size(), layout.mask_size(), state.mask_gradient(), learning_rate);
  op.low = static_cast<float>(hard_concrete::kMinLogAlpha);
  op.high = static_cast<float>(hard_concrete::kMaxLogAlpha);
  if (const DeviceState::Moments moments = state.mask_moments(); !moments.m.empty()) {
    std::vector<float> masks(state.masks().begin(), state.masks().end());
    adamw_on_host(op, all, masks, moments);
    return state.write_log_alphas(masks);
  }
  backend.upload(state.mask_gradient().as<std::byte>(), all.data(), all.size() * sizeof(float));
  backend.run(op);
  state.read_host_copies();
}

// Updates the multipliers, which ascend. The gradient of the Lagrangian by the two multipliers is the excess and its square.
void update_lambdas(StateScalars& state, double excess, double learning_rate) {
  const auto steps = static_cast<double>(state.step + 1);
  const std::array<double, 2> gradient{excess, excess * excess};
  for (int i = 0; i < 2; i++) {
    state.lambda_m[i] = kBeta1 * state.lambda_m[i] + (1.0 - kBeta1) * gradient[i];
    state.lambda_v[i] = kBeta2 * state.lambda_v[i] + (1.0 - kBeta2) * gradient[i] * gradient[i];
    const double m = state.lambda_m[i] / (1.0 - std::pow(kBeta1, steps)), v = state.lambda_v[i] / (1.0 - std::pow(kBeta2, steps));
    state.lambda[i] += learning_rate * m / (std::sqrt(v) + kEps);
  }
}

Masks zeros_like(const Masks& m) {
  Masks zeros = m;
  for (std::vector<float>* part : kinds_of(zeros)) std::fill(part->begin(), part->end(), 0.0f);
  return zeros;
}

// Returns the price in the state. It estimates a new one where the state has none yet, or where multipliers left it with the wrong sign.
double price_of(const ModelConfig& config, const DeviceState& state, const Masks& loss_gradient) {
  if (state.lambda[0] < 0) return state.lambda[0];
  Masks sparsity_gradient = zeros_like(loss_gradient);
  state.expected_sparsity(config).add_gradient(1.0, sparsity_gradient);
  return starting_price(loss_gradient, sparsity_gradient);
}

void tilt(const ModelConfig& config, DeviceState& state, std::vector<float>& before, double price, const UpdateInput& in) {
  for (float& a : before) a = static_cast<float>(std::clamp<double>(a, hard_concrete::kMinLogAlpha, hard_concrete::kMaxLogAlpha));
  std::vector<float> after(state.masks().begin(), state.masks().end());
  keep_shape(config, state.shape, state.layout(), after);
  const double by = tilt_moves(config, state.shape, state.layout(), before, after, in.plan.scheduled_sparsity[in.index]);
  state.write_log_alphas(after);
  state.lambda[0] = next_price(price, by, in.plan.lambda_learning_rate);
}

// Clears LoRA's moments at the step from which they count. This happens even before a skipped step, since the next step counts from there
// too.
void begin_moments(Backend& backend, const DeviceState& state, const SegmentPlan& plan) {
  if (plan.moments_from_step == 0 || state.step != plan.moments_from_step) return;
  for (const DevicePtr<float> moments : {state.adam_m(), state.adam_v()}) backend.run(Clear{moments, state.layout().lora_size()});
}

}  // namespace

UpdateResult apply_update(Backend& backend, const ModelConfig& config, DeviceState& state, const UpdateInput& in) {
  UpdateResult r;
  begin_moments(backend, state, in.plan);
  Masks mask_gradient;
  const bool tracked = in.plan.sparsity_control == SparsityControl::kTracking;
  double excess = 0, price = 0;
  if (in.plan.train_masks) {
    mask_gradient = log_alpha_gradient(in.z, gradient_of_gates(config, in.z, in.step.grad_z));
    excess = state.expected_sparsity(config).value() - in.plan.scheduled_sparsity[in.index];
    price = tracked ? price_of(config, state, mask_gradient) : state.lambda[0];
    const double curvature = tracked ? 0.0 : state.lambda[1];
    r.lagrangian = price * excess + curvature * excess * excess;
    state.expected_sparsity(config).add_gradient(price + 2.0 * curvature * excess, mask_gradient);
  }
  r.gradient_norm = std::sqrt(in.step.gradient_squares);
  r.skipped = !std::isfinite(in.step.loss + r.lagrangian) || !std::isfinite(r.gradient_norm);
  for (const std::vector<float>* part : kinds_of(mask_gradient)) r.skipped = r.skipped || !all_finite(*part);
  if (r.skipped) return r;
  AdamW lora =
      adam_for(state, 0, state.layout().lora_size(), in.lora_gradient, in.plan.lora_learning_rate[in.index], in.plan.moments_from_step);
  const double clip = in.plan.gradient_clip_norm;
  if (clip > 0) lora.gradient_scale = static_cast<float>(std::min(1.0, clip / (r.gradient_norm + 1e-6)));
  // A device updates LoRA while the host goes on. Where the device updates the log-alphas as well, the host waits only for these few
  // values, so LoRA's ops join the queue behind them.
  std::vector<float> before;
  const bool on_host = !state.mask_moments().m.empty();
  if (on_host) backend.run(lora);
  if (in.plan.train_masks) {
    before.assign(state.masks().begin(), state.masks().end());
    update_log_alphas(backend, state, mask_gradient, in.plan.mask_learning_rate);
  }
  if (!on_host) backend.run(lora);
  if (state.layout().has_own_weights()) state.read_host_copies();
  if (in.plan.train_masks && tracked) {
    tilt(config, state, before, price, in);
  } else if (in.plan.train_masks) {
    if (state.shape.any()) {
      std::vector<float> kept(state.masks().begin(), state.masks().end());
      keep_shape(config, state.shape, state.layout(), kept);
      state.write_log_alphas(kept);
    }
    update_lambdas(state, excess, in.plan.lambda_learning_rate);
  }
  return r;
}

}  // namespace espalier
