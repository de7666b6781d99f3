#include "espalier/evaluation/unstructured.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "device/registry.h"
#include "espalier/base/error.h"
#include "files/number_formats.h"
#include "model/weight_table.h"
#include "step/squares.h"
#include "step/step.h"

namespace espalier {

namespace {

// A model that has its own projections and shares all other tensors with the source.
class PrunedCopy final : public WeightTable {
 public:
  explicit PrunedCopy(const std::shared_ptr<const ModelWeights>& source) : WeightTable(source->config()), source_(source) {
    embedding_ = source->embedding();
    final_norm_ = source->final_norm();
    lm_head_ = source->lm_head();
    for (int64_t l = 0; l < config_.layer_count; l++) {
      LayerWeights layer = source->layer(l);
      for (WeightView& w : layer.proj) {
        if (!w) continue;
        const size_t bytes = static_cast<size_t>(w.rows * w.cols * dtype_bytes(w.dtype));
        storage_.push_back(std::make_unique_for_overwrite<uint8_t[]>(bytes));
        std::memcpy(storage_.back().get(), w.data, bytes);
        w.data = storage_.back().get();
      }
      layers_.push_back(layer);
    }
  }

  void* weights(int64_t layer, int projection) { return const_cast<void*>(layers_[layer].proj[projection].data); }

 private:
  std::shared_ptr<const ModelWeights> source_;
  std::vector<std::unique_ptr<uint8_t[]>> storage_;
};

// One layer of a model, as a model of its own.
class OneLayer final : public WeightTable {
 public:
  OneLayer(const std::shared_ptr<const ModelWeights>& model, int64_t layer)
      : WeightTable(config_of(model->config(), layer)), model_(model) {
    embedding_ = model->embedding();
    final_norm_ = model->final_norm();
    lm_head_ = model->lm_head();
    layers_.push_back(model->layer(layer));
  }

 private:
  static ModelConfig config_of(ModelConfig config, int64_t layer) {
    config.layers = {config.layers[layer]};
    config.layer_count = 1;
    return config;
  }

  std::shared_ptr<const ModelWeights> model_;
};

// Orders non-negative floats as integers. Equal floats are ordered by their indices.
uint64_t sort_key(float score, int64_t index) {
  return static_cast<uint64_t>(std::bit_cast<uint32_t>(score)) << 32 | static_cast<uint64_t>(index);
}

// Sets the `count` weights with the smallest scores to 0. A score is |weight|, times the norm of its column where `norms` is not empty.
void zero_smallest(void* data, DType dtype, int64_t first, int64_t size, int64_t count, const std::vector<double>& norms) {
  std::vector<uint64_t> keys(size);
  for (int64_t i = 0; i < size; i++) {
    const double weight = std::abs(static_cast<double>(decode(data, dtype, first + i)));
    keys[i] = sort_key(static_cast<float>(norms.empty() ? weight : weight * norms[i]), i);
  }
  std::nth_element(keys.begin(), keys.begin() + count, keys.end());
  for (int64_t i = 0; i < count; i++) {
    const int64_t at = first + static_cast<int64_t>(keys[i] & 0xffffffffu);
    std::memset(static_cast<uint8_t*>(data) + at * dtype_bytes(dtype), 0, static_cast<size_t>(dtype_bytes(dtype)));
  }
}

int64_t share_of(double sparsity, int64_t size) { return std::llround(sparsity * static_cast<double>(size)); }

// Prunes one projection. squares: the sums of squares of its input's features; empty for magnitude.
void prune(PrunedCopy& copy, int64_t layer, int projection, double sparsity, const std::vector<double>& squares) {
  const WeightView& w = copy.layer(layer).proj[projection];
  if (!w) return;
  void* data = copy.weights(layer, projection);
  if (squares.empty()) return zero_smallest(data, w.dtype, 0, w.rows * w.cols, share_of(sparsity, w.rows * w.cols), {});
  std::vector<double> norms(squares.size());
  std::transform(squares.begin(), squares.end(), norms.begin(), [](double v) { return std::sqrt(v); });
  for (int64_t r = 0; r < w.rows; r++) zero_smallest(data, w.dtype, r * w.cols, w.cols, share_of(sparsity, w.cols), norms);
}

// Carries the calibration text through the layers. The residual streams are kept on the host, in f32.
class Calibration {
 public:
  Calibration(const std::shared_ptr<const ModelWeights>& model, const TrainingText& text, const UnstructuredOptions& options)
      : options_(options), backend_(make_backend(options.backend)), tokens_(*backend_) {
    const int64_t sequences = std::min(options.calibration_sequences, text.row_count(options.sequence_length));
    WorkspaceShape shape;
    shape.batch = std::min<int64_t>(options.batch_size, sequences);
    shape.tokens = options.sequence_length;
    shape.dtype = options.dtype;
    shape.training = false;
    memory_ = backend_->allocate(lay_out_workspace(model->config(), LoraSpec{}, shape, nullptr).total_bytes);
    ws_ = lay_out_workspace(model->config(), LoraSpec{}, shape, memory_.data());
    for (int64_t first = 0; first < sequences; first += shape.batch) {
      const int64_t count = std::min<int64_t>(shape.batch, sequences - first);
      batches_.push_back({count, {}});
      ids_.push_back(token_rows(text, options.seed, first, count, options.sequence_length).ids);
    }
  }

  // Returns the sums of squares of the inputs of q, k and v; of o; of gate and up; of down. The residual streams are not changed.
  std::array<std::vector<double>, 4> input_squares(const std::shared_ptr<const ModelWeights>& model, int64_t layer,
                                                   const std::atomic<bool>& cancel) {
    const ModelConfig& c = model->config();
    const LayerShape& shape = c.layers[layer];
    std::array<std::vector<double>, 4> sums{std::vector<double>(c.hidden_size), std::vector<double>(shape.heads * c.head_dim),
                                            std::vector<double>(c.hidden_size), std::vector<double>(shape.intermediate)};
    pass(model, layer, false, cancel, [&](const DeviceRole& role, int64_t n) {
      const RoleLayer& r = role.layers[0];
      const Tensor inputs[] = {ws_.teacher.norm1.reshaped(n, role.hidden_width), ws_.teacher.heads.reshaped(n, r.head_width),
                               ws_.teacher.norm2.reshaped(n, role.hidden_width), ws_.units.reshaped(n, r.unit_width)};
      for (int i = 0; i < 4; i++) add_squares(*backend_, inputs[i], sums[i]);
    });
    return sums;
  }

  void go_through(const std::shared_ptr<const ModelWeights>& model, int64_t layer, const std::atomic<bool>& cancel) {
    pass(model, layer, true, cancel, [](const DeviceRole&, int64_t) {});
  }

 private:
  struct Batch {
    int64_t rows = 0;
    std::vector<float> stream;  // [rows * tokens, padded D]; empty before the first layer
  };

  void pass(const std::shared_ptr<const ModelWeights>& model, int64_t layer, bool keep, const std::atomic<bool>& cancel,
            const std::function<void(const DeviceRole&, int64_t n)>& look) {
    const auto one = std::make_shared<OneLayer>(model, layer);
    const DeviceModel weights(*backend_, one);
    UploadBlock block(*backend_);
    const DeviceRole role = compile_role(make_intact_role(*one), {}, block);
    PassContext c = make_pass_context(*backend_, weights, ws_, options_.dtype, options_.batch_size, options_.sequence_length);
    for (size_t i = 0; i < batches_.size(); i++) {
      if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the pruning was cancelled");
      Batch& batch = batches_[i];
      c.batch = batch.rows;
      const Tensor x = ws_.teacher_x.reshaped(c.rows(), role.hidden_width);
      if (batch.stream.empty()) {
        tokens_.begin(UploadBlock::room_for(ids_[i]));
        const auto ids = tokens_.add(ids_[i]);
        tokens_.send();
        embed_tokens(c, role, ids, x);
      } else {
        upload_now<float>(*backend_, x.data.as<float>(), batch.stream);
      }
      forward_layer(c, role, 0, x, ws_.teacher, false);
      look(role, c.rows());
      if (keep) batch.stream = download<float>(*backend_, x.data.as<const float>(), c.rows() * role.hidden_width);
    }
  }

  const UnstructuredOptions& options_;
  std::unique_ptr<Backend> backend_;
  UploadBlock tokens_;
  DeviceBuffer memory_;
  Workspace ws_;
  std::vector<Batch> batches_;
  std::vector<std::vector<int32_t>> ids_;
};

void check(const ModelConfig& config, const TrainingText& text, const UnstructuredOptions& options) {
  const auto refuse = [](const char* field, const std::string& what) { throw Error(ErrorCode::kInvalidArgument, field, what); };
  if (!(options.sparsity >= 0 && options.sparsity < 1)) refuse("sparsity", "must be from 0 to below 1");
  if (options.importance == Importance::kTaylor || options.importance == Importance::kFisher)
    refuse("importance", "must be magnitude or wanda for single weights");
  if (options.importance == Importance::kMagnitude) return;
  if (options.calibration_sequences < 1) refuse("calibration_sequences", "must be at least 1");
  if (text.row_count(options.sequence_length) < 1)
    refuse("data",
           "holds " + std::to_string(text.size()) + " tokens, fewer than one sequence of " + std::to_string(options.sequence_length));
  if (static_cast<int64_t>(text.largest_id()) >= config.vocab_size)
    refuse("data", "token id " + std::to_string(text.largest_id()) + " is outside the vocabulary of " + std::to_string(config.vocab_size));
}

// Returns the place of a projection's input among the results of Calibration::input_squares.
int input_of(int projection) { return projection <= kV ? 0 : projection == kO ? 1 : projection <= kUp ? 2 : 3; }

}  // namespace

std::shared_ptr<const ModelWeights> unstructured_model(const std::shared_ptr<const ModelWeights>& model, const TrainingText& text,
                                                       const UnstructuredOptions& options, const std::function<void(double)>& on_progress,
                                                       const std::atomic<bool>& cancel) {
  check(model->config(), text, options);
  const auto copy = std::make_shared<PrunedCopy>(model);
  std::optional<Calibration> calibration;
  if (options.importance == Importance::kWanda) calibration.emplace(model, text, options);
  const int64_t layers = model->config().layer_count;
  for (int64_t l = 0; l < layers; l++) {
    if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the pruning was cancelled");
    std::array<std::vector<double>, 4> squares;
    if (calibration) squares = calibration->input_squares(copy, l, cancel);
    for (int p = 0; p < kProjectionCount; p++) prune(*copy, l, p, options.sparsity, squares[input_of(p)]);
    if (calibration && l + 1 < layers) calibration->go_through(copy, l, cancel);
    if (on_progress) on_progress(static_cast<double>(l + 1) / static_cast<double>(layers));
  }
  return copy;
}

double zero_share(const ModelWeights& model) {
  int64_t zeros = 0, all = 0;
  for (int64_t l = 0; l < model.config().layer_count; l++)
    for (const WeightView& w : model.layer(l).proj) {
      if (!w) continue;
      all += w.rows * w.cols;
      for (int64_t i = 0; i < w.rows * w.cols; i++) zeros += decode(w.data, w.dtype, i) == 0.0f;
    }
  return static_cast<double>(zeros) / static_cast<double>(all);
}

}  // namespace espalier
