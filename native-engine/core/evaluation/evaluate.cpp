// Perplexity: windows by themselves, forward only.
#include <algorithm>
#include <cmath>

#include "device/registry.h"
#include "espalier/error.h"
#include "method/masks.h"
#include "step/step.h"

namespace espalier {

namespace {

constexpr int64_t kTokensAtOnce = 2048;

// Sum of the negative log-likelihoods of the context's windows.
double windows_loss(PassContext& c, const DeviceRole& role, const std::vector<int32_t>& ids, UploadBlock& block) {
  Workspace& ws = *c.ws;
  const int64_t n = c.rows();
  const Tensor x = ws.teacher_x.reshaped(n, role.hidden_width);
  const std::vector<int32_t> targets = next_tokens(ids, c.tokens);
  block.begin(UploadBlock::room_for(ids) + UploadBlock::room_for(targets));
  const auto device_ids = block.add(ids), device_targets = block.add(targets);
  block.send();
  embed_tokens(c, role, device_ids, x);
  forward_layers(c, role, x, ws.teacher);
  for (int64_t first = 0; first < n; first += ws.chunk) {
    TokenLoss op;
    const int64_t count = std::min(ws.chunk, n - first);
    op.student = ws.logits.row_range(0, count).columns(0, c.config().vocab_size);
    op.targets = device_targets + first;
    op.lm_rows = ws.sums.lm_rows + first;
    const Tensor h = ws.h.reshaped(ws.h.rows, role.hidden_width).row_range(0, count);
    norm_forward(c, x.row_range(first, count), h, nullptr, role.lists.final_norm);
    multiply_by_head(c, role, op.student, h, true);
    c.backend->run(op);
  }
  double sum = 0;
  const StepResults results(*c.backend, ws);
  for (const double loss : results.at(ws.sums.lm_rows, n)) sum += loss;
  return sum;
}

void check_input(const ModelConfig& config, std::span<const uint32_t> ids, int64_t window) {
  if (window < 2 || (config.max_positions > 0 && window > config.max_positions))
    throw Error(ErrorCode::kInvalidArgument, "window",
                "must be between 2 and the model's max_position_embeddings, " + std::to_string(config.max_positions) + ", not " +
                    std::to_string(window));
  if (static_cast<int64_t>(ids.size()) < window)
    throw Error(ErrorCode::kInvalidArgument, "data",
                "holds " + std::to_string(ids.size()) + " tokens, fewer than one window of " + std::to_string(window));
  for (uint32_t id : ids)
    if (static_cast<int64_t>(id) >= config.vocab_size)
      throw Error(ErrorCode::kInvalidArgument, "data",
                  "token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(config.vocab_size));
}

}  // namespace

EvaluationResult evaluate(const std::shared_ptr<const ModelWeights>& model, const TrainState* state, std::span<const uint32_t> ids,
                          int64_t window, ComputeDType dtype, const BackendSpec& spec, const std::function<void(double)>& on_progress,
                          const std::atomic<bool>& cancel) {
  const ModelConfig& config = model->config();
  check_input(config, ids, window);
  const std::unique_ptr<Backend> backend = make_backend(spec);
  const DeviceModel weights(*backend, model, weights_crowd(spec, *model));
  DeviceBuffer lora_memory;
  if (state) lora_memory = backend->share(state->params().data(), static_cast<uint64_t>(state->lora_size()) * sizeof(float));
  UploadBlock role_block(*backend), token_block(*backend);
  const DeviceRole role = compile_role(state ? make_role(*model, deterministic_masks(config, *state), true) : make_intact_role(*model),
                                       state ? DeviceLora{state, lora_memory.data().as<float>()} : DeviceLora{}, role_block);
  WorkspaceShape shape;
  shape.tokens = window;
  shape.dtype = dtype;
  shape.training = false;
  const int64_t windows = static_cast<int64_t>(ids.size()) / window;
  const int64_t at_once = std::clamp<int64_t>(kTokensAtOnce / window, 1, windows);
  shape.batch = at_once;
  const LoraSpec lora = state ? state->lora() : LoraSpec{};
  const DeviceBuffer memory = backend->allocate(lay_out_workspace(config, lora, shape, nullptr).total_bytes);
  Workspace ws = lay_out_workspace(config, lora, shape, memory.data());
  PassContext c = make_pass_context(*backend, weights, ws, dtype, at_once, window);
  double sum = 0;
  for (int64_t first = 0; first < windows; first += at_once) {
    if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the evaluation was cancelled");
    c.batch = std::min(at_once, windows - first);
    sum += windows_loss(c, role, {ids.begin() + first * window, ids.begin() + (first + c.batch) * window}, token_block);
    if (on_progress) on_progress(static_cast<double>(first + c.batch) / static_cast<double>(windows));
  }
  EvaluationResult r;
  r.predictions = windows * (window - 1);
  r.negative_log_likelihood = sum / static_cast<double>(r.predictions);
  r.perplexity = std::exp(r.negative_log_likelihood);
  return r;
}

}  // namespace espalier
