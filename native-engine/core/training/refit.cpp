#include "training/refit.h"

#include <algorithm>
#include <cmath>

#include "espalier/base/error.h"
#include "files/number_formats.h"
#include "model/tensor_names.h"
#include "step/layer_buffers.h"
#include "step/step.h"
#include "training/trainer_impl.h"

namespace espalier {

namespace {

// Weighs the change of LoRA against the error on the text, since the text is only a sample.
constexpr double kRidge = 1e-2;

std::vector<float> download_stream(Backend& backend, const Tensor& t) {
  return download<float>(backend, t.data.as<const float>(), t.rows * t.cols);
}

double squares(const Matrix& m) {
  double sum = 0;
  for (const double v : m.values) sum += v * v;
  return sum;
}

}  // namespace

void check_refit(const ModelConfig& c, const StateLayout& layout, const TrainerOptions& options) {
  if (options.recover_refit_batches < 0) throw Error(ErrorCode::kInvalidArgument, "recover_refit_batches", "must be at least 0");
  if (options.recover_refit_batches == 0) return;
  if (options.recover_weights == RecoverWeights::kLora && !(layout.lora().targets[kO] && layout.lora().targets[kDown]))
    throw Error(ErrorCode::kInvalidArgument, "recover_refit_batches", "needs o_proj and down_proj among the projections with LoRA");
  if (c.post_norms)
    throw Error(ErrorCode::kNotSupported, "recover_refit_batches",
                "is above 0, but " + c.architecture + " has norms behind attention and MLP, through which nothing is fitted: it must be 0");
}

Refit::Refit(PassContext& context, DeviceState& state, const Role& student, int threads)
    : context_(context),
      state_(state),
      threads_(threads),
      before_(download<float>(*context.backend, DevicePtr<const float>(state.params()), state.layout().lora_size())),
      learnt_(before_),
      teacher_block_(*context.backend),
      student_block_(*context.backend),
      teacher_(compile_role(make_intact_role(context.model->weights()), {}, teacher_block_)),
      student_(compile_role(student, state.lora(), student_block_)) {}

void Refit::embed(const std::vector<TokenRows>& text) {
  UploadBlock block(*context_.backend);
  const int64_t n = context_.rows();
  const Tensor student = context_.ws->student_x.reshaped(n, student_.hidden_width),
               teacher = context_.ws->teacher_x.reshaped(n, teacher_.hidden_width);
  for (const TokenRows& rows : text) {
    block.begin(UploadBlock::room_for(rows.ids));
    const auto ids = block.add(rows.ids);
    block.send();
    embed_tokens(context_, student_, ids, student);
    embed_tokens(context_, teacher_, ids, teacher);
    pieces_.push_back({download_stream(*context_.backend, student), download_stream(*context_.backend, teacher)});
  }
}

Refit::Open Refit::open_part(int64_t layer, Half half) const {
  const ModelConfig& c = context_.config();
  const RoleLayer& r = student_.layers[layer];
  const bool heads = half == Half::kAttention;
  const std::vector<int32_t>& inputs = heads ? r.q_rows : r.unit_index;
  const float* masks = heads ? student_.z.head.data() + layer * c.head_count : student_.z.intermediate.data() + layer * c.intermediate_size;
  Open open;
  for (size_t i = 0; i < inputs.size(); i++) {
    if (inputs[i] < 0 || masks[heads ? inputs[i] / c.head_dim : inputs[i]] == 0.0f) continue;
    open.columns.push_back(static_cast<int64_t>(i));
    open.inputs.push_back(inputs[i]);
  }
  for (size_t i = 0; i < student_.hidden_index.size(); i++) {
    const int32_t unit = student_.hidden_index[i];
    if (unit < 0 || student_.z.hidden[unit] == 0.0f) continue;
    open.places.push_back(static_cast<int64_t>(i));
    open.outputs.push_back(unit);
    open.masks.push_back(student_.z.hidden[unit] * c.residual_multiplier);
  }
  return open;
}

std::vector<float> Refit::advance(const DeviceRole& role, int64_t layer, Half half, const std::vector<float>& stream) {
  const Tensor x = context_.ws->student_x.reshaped(context_.rows(), role.hidden_width);
  upload_now<float>(*context_.backend, x.data.as<float>(), stream);
  forward_half(context_, role, layer, half, x, context_.ws->teacher);
  return download_stream(*context_.backend, x);
}

Matrix Refit::inputs_of(int64_t layer, Half half, const Open& open) const {
  const int64_t n = context_.rows();
  const Tensor t =
      half == Half::kAttention ? shaped(context_, student_, layer, context_.ws->teacher).heads : shaped_units(context_, student_, layer);
  const auto bytes = download<std::byte>(*context_.backend, t.data, ((n - 1) * t.stride + t.cols) * dtype_bytes(t.dtype));
  Matrix out(n, static_cast<int64_t>(open.columns.size()));
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < out.cols; j++) out.row(i)[j] = decode(bytes.data(), t.dtype, i * t.stride + open.columns[j]);
  return out;
}

// Returns the teacher's stream minus the student's. Both are those after the half, so the projection also corrects earlier errors, as far
// as its inputs allow.
Matrix Refit::errors(const Open& open, const std::vector<float>& teacher, const std::vector<float>& student) const {
  const int64_t n = context_.rows();
  Matrix out(n, static_cast<int64_t>(open.outputs.size()));
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < out.cols; j++)
      out.row(i)[j] = static_cast<double>(teacher[i * teacher_.hidden_width + open.outputs[j]]) -
                      static_cast<double>(student[i * student_.hidden_width + open.places[j]]);
  return out;
}

// Returns LoRA as it adds to the residual stream: `out` includes its scale and the hidden masks.
Factors Refit::factors(int64_t layer, Projection p, const Open& open) const {
  const StateLayout::Entry &a = *state_.layout().lora_a(layer, p), &b = *state_.layout().lora_b(layer, p);
  const int64_t rank = a.shape[0];
  const double scale = state_.layout().lora().scale();
  Factors out{Matrix(static_cast<int64_t>(open.outputs.size()), rank), Matrix(rank, static_cast<int64_t>(open.inputs.size()))};
  for (int64_t i = 0; i < out.out.rows; i++)
    for (int64_t k = 0; k < rank; k++) out.out.row(i)[k] = scale * open.masks[i] * learnt_[b.offset + open.outputs[i] * rank + k];
  for (int64_t k = 0; k < rank; k++)
    for (int64_t j = 0; j < out.in.cols; j++) out.in.row(k)[j] = learnt_[a.offset + k * a.shape[1] + open.inputs[j]];
  return out;
}

// Writes the fitted factors to LoRA. Each row of A and column of B get the same norm, so that both learn at the same rate from there.
// Closed rows and columns become 0. A column that is not needed is 0 in B, and keeps its row of A so that it can learn.
void Refit::place(int64_t layer, Projection p, const Open& open, const Factors& found) {
  const StateLayout::Entry &a = *state_.layout().lora_a(layer, p), &b = *state_.layout().lora_b(layer, p);
  const int64_t rank = a.shape[0];
  const double scale = state_.layout().lora().scale();
  std::fill_n(learnt_.begin() + b.offset, b.size, 0.0f);
  for (int64_t k = 0; k < rank; k++) {
    double in = 0, out = 0;
    std::vector<double> column(open.outputs.size());
    for (size_t i = 0; i < column.size(); i++) {
      column[i] = found.out.row(static_cast<int64_t>(i))[k] / (scale * open.masks[i]);
      out += column[i] * column[i];
    }
    for (int64_t j = 0; j < found.in.cols; j++) in += found.in.row(k)[j] * found.in.row(k)[j];
    if (!(in > 0 && out > 0)) continue;
    const double balance = std::pow(out / in, 0.25);
    for (size_t i = 0; i < column.size(); i++) learnt_[b.offset + open.outputs[i] * rank + k] = static_cast<float>(column[i] / balance);
    std::fill_n(learnt_.begin() + a.offset + k * a.shape[1], a.shape[1], 0.0f);
    for (int64_t j = 0; j < found.in.cols; j++)
      learnt_[a.offset + k * a.shape[1] + open.inputs[j]] = static_cast<float>(found.in.row(k)[j] * balance);
  }
  upload_now<float>(*context_.backend, state_.params() + a.offset, std::span(learnt_).subspan(a.offset, a.size));
  upload_now<float>(*context_.backend, state_.params() + b.offset, std::span(learnt_).subspan(b.offset, b.size));
}

// Adds a change of the projection to the student's own weight. `change` is as it adds to the residual stream.
void Refit::add_to_own(int64_t layer, Projection p, const Open& open, const Matrix& change) {
  const StateLayout::Entry& e = *state_.layout().find(projection_name(layer, p));
  const int64_t width = e.shape[1];
  for (int64_t i = 0; i < change.rows; i++)
    for (int64_t j = 0; j < change.cols; j++)
      learnt_[e.offset + open.places[i] * width + open.columns[j]] += static_cast<float>(change.row(i)[j] / open.masks[i]);
  upload_now<float>(*context_.backend, state_.params() + e.offset, std::span(learnt_).subspan(e.offset, e.size));
}

void Refit::refit(int64_t layer, Half half) {
  const Projection p = half == Half::kAttention ? kO : kDown;
  for (Piece& piece : pieces_) piece.teacher = advance(teacher_, layer, half, piece.teacher);
  const Open open = open_part(layer, half);
  if (open.inputs.empty() || open.outputs.empty()) {
    for (Piece& piece : pieces_) piece.student = advance(student_, layer, half, piece.student);
    return;
  }
  RefittedProjection& done = refitted_.emplace_back(RefittedProjection{layer, p});
  LowRankFit fit(static_cast<int64_t>(open.outputs.size()), static_cast<int64_t>(open.inputs.size()), threads_);
  for (const Piece& piece : pieces_) {
    const std::vector<float> student = advance(student_, layer, half, piece.student);
    const Matrix error = errors(open, piece.teacher, student);
    done.error_before += squares(error);
    fit.add(inputs_of(layer, half, open), error);
  }
  if (state_.layout().has_own_weights()) {
    if (const Matrix change = fit.solve_whole(kRidge); change.rows > 0) add_to_own(layer, p, open, change);
  } else if (const Factors found = fit.solve(factors(layer, p, open), kRidge); found.in.rows > 0) {
    place(layer, p, open, found);
  }
  for (Piece& piece : pieces_) {
    piece.student = advance(student_, layer, half, piece.student);
    done.error_after += squares(errors(open, piece.teacher, piece.student));
  }
}

void Refit::undo() { upload_now<float>(*context_.backend, state_.params(), before_); }

uint64_t Refit::bytes(const ModelConfig& c, int64_t learnt, int64_t rank, const TrainerOptions& options) {
  if (options.recover_refit_batches == 0) return 0;
  const int64_t rows = options.batch_size * options.sequence_length, piece = rows / options.micro_shards;
  int64_t widest = 0;
  for (const LayerShape& l : c.layers) widest = std::max({widest, l.heads * c.head_dim, l.intermediate});
  const int64_t streams = options.recover_refit_batches * rows * 2 * padded_width(c.hidden_size),
                pass = piece * (padded_width(widest) + 3 * padded_width(c.hidden_size)), examples = piece * 2 * (widest + c.hidden_size);
  return static_cast<uint64_t>(streams + pass + 2 * learnt) * sizeof(float) + static_cast<uint64_t>(examples) * sizeof(double) +
         LowRankFit::bytes(c.hidden_size, widest, rank);
}

bool Refit::run(const std::vector<TokenRows>& text, const std::function<void(double share)>& on_progress, const std::atomic<bool>& cancel) {
  const int64_t count = context_.config().layer_count;
  embed(text);
  for (int64_t l = 0; l < count; l++) {
    context_.model->enter(l);
    for (const Half half : {Half::kAttention, Half::kMlp}) {
      if (cancel.load()) return false;
      refit(l, half);
    }
    context_.model->fetch((l + 1) % count);
    if (on_progress) on_progress(static_cast<double>(l + 1) / static_cast<double>(count));
  }
  return true;
}

// Each projection comes nearer to the intact model, yet weights that were trained as a whole may be better as a whole. So the fit is kept
// only if it lowers the losses of the phase on the same text.
bool TrainerImpl::refit(const SegmentPlan& plan, const std::atomic<bool>& cancel) {
  const Masks z = deterministic_masks(model_.config(), log_alphas());
  const auto loss = [&] {
    double sum = 0;
    for (int64_t i = 0; i < options_.recover_refit_batches && !cancel.load(); i++)
      sum += loss_of(context_, send_request(request_for(z, plan.losses, batch(plan.seed, step() + i), {}), state_.lora(), teacher_,
                                            student_block_, student_));
    return sum;
  };
  const double before = loss();
  std::vector<TokenRows> text;
  const int64_t begin = step() * options_.batch_size, end = begin + options_.recover_refit_batches * options_.batch_size;
  for (int64_t first = begin; first < end; first += context_.batch)
    text.push_back(token_rows(data_, plan.seed, first, context_.batch, options_.sequence_length));
  const int threads = options_.backend.threads > 0 ? options_.backend.threads : describe_device(options_.backend).threads;
  const bool own = layout().has_own_weights();
  Role student = make_role(model_.weights(), z, options_.exact_sparse || own);
  if (own) take_own_vectors(model_.config(), layout(), state_.own_vectors(), student);
  Refit refit(context_, state_, student, threads);
  bool done = refit.run(text, plan.on_calibrated, cancel);
  const double after = done ? loss() : before;
  done = done && !cancel.load();
  const bool kept = done && after < before;
  if (done) last_refit_ = {refit.projections(), before, after, kept};
  if (!kept) refit.undo();
  return done;
}

}  // namespace espalier
