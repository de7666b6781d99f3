// Perplexity: each window by itself, forward pass only.
#include <algorithm>
#include <cmath>

#include "espalier/base/error.h"
#include "espalier/evaluation/evaluate.h"
#include "step/step.h"
#include "training/device_home.h"

namespace espalier {

namespace {

constexpr int64_t kTokensAtOnce = 2048;

// Adds the negative log-likelihoods of the windows in the context to `sum`, one window after the other.
void add_windows_loss(PassContext& c, const DeviceRole& role, const std::vector<int32_t>& ids, UploadBlock& block, double& sum) {
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
    norm_forward(c, role, x.row_range(first, count), h, nullptr, role.lists.final_norm);
    make_logits(c, role, op.student, h);
    c.backend->run(op);
  }
  const StepResults results(*c.backend, ws);
  for (const double loss : results.at(ws.sums.lm_rows, n)) sum += loss;
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

Role role_for(const ModelWeights& model, const TrainState* state) { return state ? role_of_state(model, *state) : make_intact_role(model); }

}  // namespace

EvaluationResult evaluate(const std::shared_ptr<const ModelWeights>& model, const TrainState* state, std::span<const uint32_t> ids,
                          int64_t window, ComputeDType dtype, const BackendSpec& spec, const std::function<void(double)>& on_progress,
                          const std::atomic<bool>& cancel, const std::shared_ptr<const DeviceHome>& beside) {
  const ModelConfig& config = model->config();
  check_input(config, ids, window);
  const DeviceHome home = home_for(model, spec, beside);
  Backend& backend = *home.backend;
  DeviceBuffer lora_memory;
  if (state) lora_memory = backend.share(state->params().data(), static_cast<uint64_t>(state->lora_size()) * sizeof(float));
  const StateInPlace* const in_place = beside ? beside->state.get() : nullptr;
  const StateLayout* const layout = in_place ? in_place->layout : state;
  const DeviceLora learnt = in_place ? DeviceLora{layout, in_place->params}
                            : state  ? DeviceLora{layout, lora_memory.data().as<float>()}
                                     : DeviceLora{};
  UploadBlock role_block(backend), token_block(backend);
  const DeviceRole role = compile_role(in_place ? in_place->role : role_for(*model, state), learnt, role_block);
  const LoraSpec lora = layout ? layout->lora() : LoraSpec{};
  const int64_t windows = static_cast<int64_t>(ids.size()) / window;
  // The sums of `together` windows are added at a time: as many as the home has room for, at least one.
  const int64_t together = std::clamp<int64_t>(kTokensAtOnce / window, 1, windows);
  WorkspaceShape shape;
  shape.tokens = window;
  shape.dtype = dtype;
  shape.training = false;
  shape.batch = together;
  while (home.memory && shape.batch > 1 && !home.has_room_for(lay_out_workspace(config, lora, shape, nullptr).total_bytes)) shape.batch--;
  WorkspaceMemory memory;
  Workspace ws = memory.lay_out(home, lora, shape);
  PassContext c = make_pass_context(backend, *home.model, ws, dtype, shape.batch, window);
  double sum = 0;
  for (int64_t first = 0; first < windows; first += together) {
    const int64_t end = std::min(first + together, windows);
    double part = 0;
    for (int64_t next = first; next < end; next += c.batch) {
      if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the evaluation was cancelled");
      c.batch = std::min(shape.batch, end - next);
      add_windows_loss(c, role, {ids.begin() + next * window, ids.begin() + (next + c.batch) * window}, token_block, part);
    }
    sum += part;
    if (on_progress) on_progress(static_cast<double>(end) / static_cast<double>(windows));
  }
  EvaluationResult r;
  r.predictions = windows * (window - 1);
  r.negative_log_likelihood = sum / static_cast<double>(r.predictions);
  r.perplexity = std::exp(r.negative_log_likelihood);
  return r;
}

}  // namespace espalier
