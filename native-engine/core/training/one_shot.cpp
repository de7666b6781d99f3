// The step that prunes at once: calibration on the training text, then masks, without training.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "espalier/base/error.h"
#include "method/masks/masks.h"
#include "method/one_shot.h"
#include "method/sparsity/sparsity.h"
#include "step/layer_buffers.h"
#include "step/squares.h"
#include "training/trainer_impl.h"

namespace espalier {

namespace {

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

// The report of a step that trains nothing: its losses have no value unless the step computes them.
StepReport untrained_report() {
  StepReport report;
  report.loss = kNotANumber;
  for_each_loss([&](const char*, auto, auto value) { report.*value = kNotANumber; });
  return report;
}

// While this object lives, a step has one shard, and `context` rates units as it is told.
class RatingSteps {
 public:
  RatingSteps(Workspace& ws, TrainerOptions& options, PassContext& context, bool rates_units)
      : ws_(ws), options_(options), context_(context), shards_(ws.shards), count_(options.micro_shards), batch_(context.batch) {
    ws.shards.resize(1);
    options.micro_shards = 1;
    context.rates_units = rates_units;
  }
  RatingSteps(const RatingSteps&) = delete;
  RatingSteps& operator=(const RatingSteps&) = delete;
  ~RatingSteps() {
    ws_.shards = shards_;
    options_.micro_shards = count_;
    context_.rates_units = false;
    context_.batch = batch_;
  }

 private:
  Workspace& ws_;
  TrainerOptions& options_;
  PassContext& context_;
  std::vector<ShardSums> shards_;
  int64_t count_, batch_;
};

// Returns a sequence that has its first half twice. The last token before the copy has no target. An odd number keeps its last token.
TokenRows repeated_half(TokenRows text) {
  const auto half = static_cast<std::ptrdiff_t>(text.ids.size() / 2);
  if (half == 0) return text;
  text.targets[static_cast<size_t>(half) - 1] = -1;
  for (std::vector<int32_t>* tokens : {&text.ids, &text.targets}) std::copy_n(tokens->begin(), half, tokens->begin() + half);
  return text;
}

}  // namespace

// Calls `pass` for one batch of the calibration rows after the other. Returns false where it was cancelled.
bool TrainerImpl::calibrate(const SegmentPlan& plan, int64_t batch_size, const std::atomic<bool>& cancel,
                            const std::function<void(const TokenRows& tokens)>& pass) {
  const int64_t tokens = options_.sequence_length, row_count = data_.row_count(tokens);
  const int64_t count = std::min(plan.one_shot->calibration_sequences, row_count);
  const int64_t batch_before = context_.batch;
  bool done = true;
  for (int64_t first = 0; first < count && done; first += batch_size) {
    context_.batch = std::min(batch_size, count - first);
    pass(token_rows(data_, plan.seed, first, context_.batch, tokens));
    if (plan.on_calibrated) plan.on_calibrated(static_cast<double>(first + context_.batch) / static_cast<double>(count));
    done = !cancel.load();
  }
  context_.batch = batch_before;
  return done;
}

// Rates by the inputs of o_proj and down_proj in the intact model.
std::optional<GateImportance> TrainerImpl::wanda_ratings(const SegmentPlan& plan, const std::atomic<bool>& cancel) {
  const ModelConfig& c = model_.config();
  const int64_t head_columns = c.head_count * c.head_dim;
  InputSquares squares{std::vector<double>(c.layer_count * head_columns), std::vector<double>(c.layer_count * c.intermediate_size)};
  UploadBlock role_block(*backend_), token_block(*backend_);
  const DeviceRole role = compile_role(make_intact_role(model_.weights()), {}, role_block);
  const bool done = calibrate(plan, context_.batch, cancel, [&](const TokenRows& text) {
    const int64_t n = context_.rows();
    const Tensor x = workspace_.teacher_x.reshaped(n, role.hidden_width);
    token_block.begin(UploadBlock::room_for(text.ids));
    const auto device_ids = token_block.add(text.ids);
    token_block.send();
    embed_tokens(context_, role, device_ids, x);
    for (int64_t l = 0; l < c.layer_count; l++) {
      model_.enter(l);
      forward_layer(context_, role, l, x, workspace_.teacher, false);
      model_.fetch((l + 1) % c.layer_count);
      add_squares(*backend_, shaped(context_, role, l, workspace_.teacher).heads,
                  std::span(squares.heads).subspan(l * head_columns, head_columns));
      add_squares(*backend_, shaped_units(context_, role, l),
                  std::span(squares.units).subspan(l * c.intermediate_size, c.intermediate_size));
    }
  });
  if (!done) return std::nullopt;
  return wanda_importance(model_.weights(), squares);
}

// Rates each layer by how much it changes the residual stream: 1 - the cosine between its input and its output, averaged over the text's
// tokens.
std::optional<std::vector<double>> TrainerImpl::layer_ratings(const SegmentPlan& plan, const std::atomic<bool>& cancel) {
  const ModelConfig& c = model_.config();
  std::vector<double> ratings(static_cast<size_t>(c.layer_count));
  UploadBlock role_block(*backend_), token_block(*backend_);
  const DeviceRole role = compile_role(make_intact_role(model_.weights()), {}, role_block);
  const bool done = calibrate(plan, context_.batch, cancel, [&](const TokenRows& text) {
    const int64_t n = context_.rows(), width = role.hidden_width;
    const Tensor x = workspace_.teacher_x.reshaped(n, width);
    token_block.begin(UploadBlock::room_for(text.ids));
    const auto device_ids = token_block.add(text.ids);
    token_block.send();
    embed_tokens(context_, role, device_ids, x);
    std::vector<float> before = download<float>(*backend_, x.data.as<float>(), n * width);
    for (int64_t l = 0; l < c.layer_count; l++) {
      model_.enter(l);
      forward_layer(context_, role, l, x, workspace_.teacher, false);
      model_.fetch((l + 1) % c.layer_count);
      std::vector<float> after = download<float>(*backend_, x.data.as<float>(), n * width);
      for (int64_t row = 0; row < n; row++) {
        double dot = 0, in = 0, out = 0;
        for (int64_t i = row * width; i < (row + 1) * width; i++) {
          dot += static_cast<double>(before[i]) * after[i];
          in += static_cast<double>(before[i]) * before[i];
          out += static_cast<double>(after[i]) * after[i];
        }
        if (in > 0 && out > 0) ratings[l] += 1.0 - dot / std::sqrt(in * out);
      }
      before.swap(after);
    }
  });
  if (!done) return std::nullopt;
  return ratings;  // sums over the same tokens give the same order as means
}

// Rates by the slope of the loss along a mask of 1 in front of a head or unit: by its absolute value, or by its square. To first order the
// absolute value is how much the loss changes when the mask becomes 0. The mean square is the diagonal of the Fisher information, half of
// which is the change to second order. The rating is the mean over sequences, each computed by itself. Squares are compared between heads
// and units, so they are those of slopes along the outputs of both.
std::optional<GateImportance> TrainerImpl::slope_ratings(const SegmentPlan& plan, const std::atomic<bool>& cancel, double& loss) {
  const bool squared = plan.one_shot->importance == Importance::kFisher;
  const auto rating = [&](float slope) {
    const auto v = static_cast<double>(slope);
    return squared ? v * v : std::abs(v);
  };
  const RatingSteps steps(workspace_, options_, context_, squared);
  const Masks open = open_masks(model_.config());
  GateImportance sums{
      .head = std::vector<double>(open.head.size()), .intermediate = std::vector<double>(open.intermediate.size()), .over_layers = squared};
  int64_t sequences = 0;
  loss = 0;
  const bool done = calibrate(plan, 1, cancel, [&](const TokenRows& text) {
    // Short documents never ask for a copy from the context. So each second sequence repeats its first half.
    const bool repeats = squared && sequences % 2 == 1;
    const StepOutput out = step_on(open, {0.0, 0.0, 1.0, 1.0}, repeats ? repeated_half(text) : text, false);
    for (size_t i = 0; i < sums.head.size(); i++) sums.head[i] += rating(out.grad_z.head[i]);
    for (size_t i = 0; i < sums.intermediate.size(); i++) sums.intermediate[i] += rating(out.grad_z.intermediate[i]);
    if (!repeats) loss += out.lm_loss;
    sequences++;
  });
  if (!done) return std::nullopt;
  const double scale = 1.0 / static_cast<double>(sequences);
  loss /= static_cast<double>(squared ? (sequences + 1) / 2 : sequences);
  for (auto* part : {&sums.head, &sums.intermediate})
    for (double& v : *part) v *= scale;
  return sums;
}

void TrainerImpl::end_untrained_step(const Masks& log_alphas, double scheduled_sparsity, StepReport& report) {
  state_.write_log_alphas(in_a_row(log_alphas));
  report.step = state_.step++;
  report.scheduled_sparsity = scheduled_sparsity;
  report.expected_sparsity = expected_sparsity(model_.config(), state_.log_alphas());
  Masks signs = log_alphas;
  for (std::vector<float>* part : kinds_of(signs))
    for (float& a : *part) a = a > 0 ? 1.0f : 0.0f;
  const Masks z = with_blocks(model_.config(), signs);
  report.open_heads = std::count(z.head.begin(), z.head.end(), 1.0f);
  report.open_units = std::count(z.intermediate.begin(), z.intermediate.end(), 1.0f);
  report.open_hidden = std::count(z.hidden.begin(), z.hidden.end(), 1.0f);
}

std::optional<StepReport> TrainerImpl::prune_at_once(const SegmentPlan& plan, const std::atomic<bool>& cancel) {
  const auto begin = std::chrono::steady_clock::now();
  StepReport report = untrained_report();
  std::optional<GateImportance> ratings;
  switch (plan.one_shot->importance) {
    case Importance::kMagnitude:
      ratings = magnitude_importance(model_.weights());
      break;
    case Importance::kWanda:
      ratings = wanda_ratings(plan, cancel);
      break;
    case Importance::kTaylor:
    case Importance::kFisher:
      ratings = slope_ratings(plan, cancel, report.lm_loss);
      report.loss = report.lm_loss;
      break;
  }
  if (!ratings) return std::nullopt;
  const BlockGates& gates = layout().gates();
  if (gates.kv_group && ratings->kv_group.empty())
    ratings->kv_group.assign(model_.config().layer_count * model_.config().kv_head_count, 0.0);
  if ((gates.attention || gates.mlp) && !ratings->over_layers) {
    const auto layers = layer_ratings(plan, cancel);
    if (!layers) return std::nullopt;
    ratings->layer = *layers;
  }
  const std::vector<KeptParts>& layers = plan.one_shot->layers;
  const Masks log_alphas = layers.empty() ? one_shot_log_alphas(model_.config(), state_.shape, gates, *ratings, plan.scheduled_sparsity[0])
                                          : log_alphas_of_widths(model_.config(), gates, *ratings, layers);
  end_untrained_step(log_alphas, plan.scheduled_sparsity[0], report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

// Makes the scan of this text and seed, and takes it to the state's step. Both may take as long as the scan of a layer.
bool TrainerImpl::begin_scan(const SegmentPlan& plan, const std::atomic<bool>& cancel) {
  const int64_t calibration = plan.one_shot->calibration_sequences;
  if (scan_ && (scan_->layer() > step() || scan_seed_ != plan.seed || scan_calibration_ != calibration)) scan_.reset();
  if (!scan_) {
    double loss = 0;
    SegmentPlan rating = plan;
    rating.one_shot->importance = Importance::kFisher;
    std::optional<GateImportance> ratings = slope_ratings(rating, cancel, loss);
    if (!ratings) return false;
    const auto pieces = [&](int64_t begin, int64_t end) {
      std::vector<TokenRows> out;
      for (int64_t first = begin; first < end; first += context_.batch)
        out.push_back(token_rows(data_, plan.seed, first, std::min(context_.batch, end - first), options_.sequence_length));
      return out;
    };
    const int threads = options_.backend.threads > 0 ? options_.backend.threads : describe_device(options_.backend).threads;
    const Scan::Texts texts{pieces(0, calibration), pieces(calibration, calibration + options_.scan_sequences)};
    scan_ = std::make_unique<Scan>(context_, std::move(*ratings), texts, threads);
    scan_seed_ = plan.seed;
    scan_calibration_ = calibration;
  }
  while (scan_->layer() < step() && !cancel.load()) scan_->skip();
  return !cancel.load();
}

int64_t TrainerImpl::scan_layers(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step,
                                 const std::atomic<bool>& cancel) {
  const auto steps = static_cast<int64_t>(plan.scheduled_sparsity.size());
  if (step() + steps > model_.config().layer_count)
    throw Error(ErrorCode::kInvalidArgument, "scheduled_sparsity",
                "asks for " + std::to_string(step() + steps) + " steps: a scan has one for each of the " +
                    std::to_string(model_.config().layer_count) + " layers");
  const RatingSteps alone(workspace_, options_, context_, false);
  int64_t done = 0;
  while (done < steps && !cancel.load()) {
    const auto begin = std::chrono::steady_clock::now();
    LayerScan scanned;
    if (!begin_scan(plan, cancel)) break;
    if (!scan_->score(scanned, plan.on_calibrated, cancel)) {
      scan_.reset();
      break;
    }
    StepReport report = untrained_report();
    report.loss = report.lm_loss = scan_->intact_loss();
    // All gates stay open, so the run's model is the intact one.
    end_untrained_step(open_log_alphas(model_.config(), layout().gates()), plan.scheduled_sparsity[static_cast<size_t>(done++)], report);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    last_scans_.push_back(std::move(scanned));
    if (on_step) on_step(report);
    if (!plan.has_time_for_another(report.seconds)) break;
  }
  return done;
}

}  // namespace espalier
