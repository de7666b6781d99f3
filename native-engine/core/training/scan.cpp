#include "training/scan.h"

#include <algorithm>

#include "espalier/base/error.h"
#include "files/number_formats.h"
#include "step/layer_buffers.h"
#include "step/step_sums.h"
#include "step/token_losses.h"
#include "training/trainer_impl.h"

namespace espalier {

namespace {

constexpr double kScanRidge = 1e-2;  // weighs the change of a projection against its error on the text, since the text is only a sample
constexpr int64_t kWidthSteps = 8;   // of which a scan keeps each number
constexpr int64_t kWidthBlock = 32;  // large widths are multiples of it, as the quantized types of files want them
constexpr std::array<Half, 2> kHalves{Half::kAttention, Half::kMlp};

int64_t parts_of(const ModelConfig& c, Half half) { return half == Half::kAttention ? c.kv_head_count : c.intermediate_size; }
int64_t inputs_of_part(const ModelConfig& c, Half half) {
  return half == Half::kAttention ? c.head_count / c.kv_head_count * c.head_dim : 1;
}
Projection projection_of(Half half) { return half == Half::kAttention ? kO : kDown; }

// Returns the projection as it adds to the residual stream, with the model's multiplier.
Matrix decoded(const ModelConfig& c, const WeightView& w) {
  Matrix out(w.rows, w.cols);
  for (int64_t i = 0; i < w.rows * w.cols; i++) out.values[i] = decode(w.data, w.dtype, i) * c.residual_multiplier;
  return out;
}

int64_t predictions_of(const TokenRows& rows) {
  return std::count_if(rows.targets.begin(), rows.targets.end(), [](int32_t t) { return t >= 0; });
}

double mean(double sum, int64_t count) { return count > 0 ? sum / static_cast<double>(count) : 0; }

}  // namespace

void check_scan(const ModelConfig& c, const TrainerOptions& options) {
  if (options.scan_sequences < 0) throw Error(ErrorCode::kInvalidArgument, "scan_sequences", "must be at least 0");
  if (options.scan_sequences > 0 && c.post_norms)
    throw Error(ErrorCode::kNotSupported, "scan_sequences",
                "is above 0, but " + c.architecture + " has norms behind attention and MLP, through which nothing is fitted: it must be 0");
}

std::vector<int64_t> scanned_widths(int64_t count) {
  std::vector<int64_t> widths;
  for (int64_t k = kWidthSteps - 1; k >= 0; k--) {
    int64_t width = count * k / kWidthSteps;
    if (width > 2 * kWidthBlock) width = width / kWidthBlock * kWidthBlock;
    if (widths.empty() || width < widths.back()) widths.push_back(width);
  }
  return widths;
}

Scan::Scan(PassContext& context, GateImportance ratings, const Texts& texts, int threads)
    : context_(context),
      ratings_(std::move(ratings)),
      threads_(threads),
      role_block_(*context.backend),
      token_block_(*context.backend),
      intact_(compile_role(make_intact_role(context.model->weights()), {}, role_block_)) {
  for (const bool scored : {false, true})
    for (const TokenRows& rows : scored ? texts.scored : texts.fitted) {
      Piece piece{rows, {}, {}};
      context_.batch = static_cast<int64_t>(rows.ids.size()) / context_.tokens;
      token_block_.begin(UploadBlock::room_for(rows.ids));
      const auto ids = token_block_.add(rows.ids);
      token_block_.send();
      const Tensor x = context_.ws->student_x.reshaped(context_.rows(), intact_.hidden_width);
      embed_tokens(context_, intact_, ids, x);
      piece.stream = taken(x);
      if (scored) {
        forward_layers(context_, intact_, x, context_.ws->teacher);
        piece.last = taken(x);
        lm_sum_ += losses_of(piece, piece.last).lm_loss;
        tokens_ += context_.rows();
        predictions_ += predictions_of(rows);
      }
      (scored ? scored_ : fitted_).push_back(std::move(piece));
    }
}

Tensor Scan::place(const Piece& piece, const std::vector<float>& stream) {
  context_.batch = static_cast<int64_t>(piece.rows.ids.size()) / context_.tokens;
  const Tensor x = context_.ws->student_x.reshaped(context_.rows(), intact_.hidden_width);
  upload_now<float>(*context_.backend, x.data.as<float>(), stream);
  return x;
}

std::vector<float> Scan::taken(const Tensor& stream) const {
  return download<float>(*context_.backend, stream.data.as<const float>(), stream.rows * stream.cols);
}

void Scan::advance(Piece& piece, Half half) {
  const Tensor x = place(piece, piece.stream);
  forward_half(context_, intact_, layer_, half, x, context_.ws->teacher);
  piece.stream = taken(x);
}

void Scan::skip() {
  context_.model->enter(layer_);
  for (std::vector<Piece>* pieces : {&fitted_, &scored_})
    for (Piece& piece : *pieces)
      for (const Half half : kHalves) advance(piece, half);
  layer_++;
}

Tensor Scan::inputs_of(Half half) const {
  return half == Half::kAttention ? shaped(context_, intact_, layer_, context_.ws->teacher).heads : shaped_units(context_, intact_, layer_);
}

// Fits the half's projection for each number of kept parts. The pieces to fit on go through the half.
std::vector<Matrix> Scan::fit(Half half, const std::vector<int64_t>& kept) {
  const ModelConfig& c = context_.config();
  const Matrix map = decoded(c, context_.model->weights().layer(layer_).proj[projection_of(half)]);
  ColumnFits fits(map.cols, threads_);
  for (Piece& piece : fitted_) {
    advance(piece, half);
    const Tensor t = inputs_of(half);
    const auto bytes = download<std::byte>(*context_.backend, t.data, ((t.rows - 1) * t.stride + t.cols) * dtype_bytes(t.dtype));
    Matrix x(t.rows, map.cols);
    for (int64_t i = 0; i < x.rows; i++)
      for (int64_t j = 0; j < x.cols; j++) x.row(i)[j] = decode(bytes.data(), t.dtype, i * t.stride + j);
    fits.add(x);
  }
  const bool heads = half == Half::kAttention;
  const int64_t width = inputs_of_part(c, half);
  std::vector<int32_t> order;
  for (const int32_t part : heads ? groups_by_rating(c, ratings_, layer_) : units_by_rating(c, ratings_, layer_))
    for (int64_t i = 0; i < width; i++) order.push_back(static_cast<int32_t>(part * width + i));
  const bool found = fits.prepare(map, order, kScanRidge);
  std::vector<Matrix> out;
  for (const int64_t parts : kept) {
    if (found) {
      out.push_back(fits.fit(parts * width));
      continue;
    }
    Matrix& cut = out.emplace_back(map);  // without a fit the columns that are left stay as they are
    for (int64_t o = 0; o < cut.rows; o++)
      for (size_t i = static_cast<size_t>(parts * width); i < order.size(); i++) cut.row(o)[order[i]] = 0;
  }
  return out;
}

// Takes the scored pieces through the half, and returns their streams with each projection in place of the intact one. The inputs of the
// projection do not depend on which of them are used.
Scan::Streams Scan::streams_behind(Half half, const std::vector<Matrix>& projections) {
  Backend& backend = *context_.backend;
  std::vector<DeviceBuffer> maps;
  for (const Matrix& m : projections) {
    const std::vector<float> values(m.values.begin(), m.values.end());
    maps.push_back(backend.allocate(values.size() * sizeof(float)));
    upload_now<float>(backend, maps.back().data().as<float>(), values);
  }
  Streams out(projections.size());
  for (Piece& piece : scored_) {
    const std::vector<float> before = piece.stream;
    advance(piece, half);
    const Tensor inputs = inputs_of(half);
    for (size_t k = 0; k < projections.size(); k++) {
      Product op;
      op.c = place(piece, before);
      op.transposed = op.accumulate = true;
      const Matrix& m = projections[k];
      op.add(inputs, {{maps[k].data(), DType::kF32, m.rows, m.cols}, op.c.cols, inputs.cols, nullptr, nullptr});
      backend.run(op);
      out[k].push_back(taken(op.c));
    }
  }
  return out;
}

// Returns the sums over a piece's tokens and predictions of its losses, where the stream is that after the last layer.
StepLosses Scan::losses_of(const Piece& piece, const std::vector<float>& stream) {
  place(piece, stream);
  upload_now<float>(*context_.backend, context_.ws->teacher_x.reshaped(context_.rows(), intact_.hidden_width).data.as<float>(), piece.last);
  token_block_.begin(UploadBlock::room_for(piece.rows.targets));
  StepInput in;
  in.student = in.teacher = &intact_;
  in.weights = {.layer = 0, .kl = 1, .lm = 1};
  in.targets = token_block_.add(piece.rows.targets);
  token_block_.send();
  in.predictions = predictions_of(piece.rows);
  context_.ws->sums = context_.ws->shards[0];
  token_losses(context_, in, false);
  StepOutput out;
  read_losses(context_, in, StepResults(*context_.backend, *context_.ws), out);
  return {0, out.kl_loss * static_cast<double>(context_.rows()), out.lm_loss * static_cast<double>(in.predictions)};
}

// Returns the same where the stream is that behind a half of the layer: the rest of the intact model follows.
StepLosses Scan::losses_behind(Half half, const Piece& piece, const std::vector<float>& stream) {
  const Tensor x = place(piece, stream);
  const int64_t count = context_.config().layer_count;
  context_.model->enter(layer_);
  if (half == Half::kAttention) forward_half(context_, intact_, layer_, Half::kMlp, x, context_.ws->teacher);
  for (int64_t l = layer_ + 1; l < count; l++) {
    context_.model->enter(l);
    forward_layer(context_, intact_, l, x, context_.ws->teacher, false);
    context_.model->fetch(l + 1 < count ? l + 1 : layer_);
  }
  return losses_of(piece, taken(x));
}

double Scan::intact_loss() const { return mean(lm_sum_, predictions_); }

bool Scan::score(LayerScan& out, const std::function<void(double)>& on_progress, const std::atomic<bool>& cancel) {
  const ModelConfig& c = context_.config();
  out.layer = layer_;
  out.forms.clear();
  int64_t done = 0, all = 0;
  for (const Half half : kHalves) all += static_cast<int64_t>(scanned_widths(parts_of(c, half)).size());
  for (const Half half : kHalves) {
    context_.model->enter(layer_);
    const std::vector<int64_t> kept = scanned_widths(parts_of(c, half));
    const Streams streams = streams_behind(half, fit(half, kept));
    for (size_t k = 0; k < kept.size(); k++) {
      if (cancel.load()) return false;
      StepLosses sums;
      for (size_t i = 0; i < scored_.size(); i++) {
        const StepLosses losses = losses_behind(half, scored_[i], streams[k][i]);
        sums.kl_loss += losses.kl_loss;
        sums.lm_loss += losses.lm_loss;
      }
      const bool heads = half == Half::kAttention;
      out.forms.push_back({heads, heads ? kept[k] * (c.head_count / c.kv_head_count) : kept[k], mean(sums.kl_loss, tokens_),
                           mean(sums.lm_loss, predictions_) - intact_loss()});
      if (on_progress) on_progress(static_cast<double>(++done) / static_cast<double>(all));
    }
  }
  layer_++;
  return true;
}

uint64_t Scan::bytes(const ModelConfig& c, const TrainerOptions& options) {
  if (options.scan_sequences == 0) return 0;
  const int64_t stream = options.sequence_length * padded_width(c.hidden_size),
                inputs = std::max(c.head_count * c.head_dim, c.intermediate_size),
                piece = options.batch_size / options.micro_shards * options.sequence_length;
  const int64_t floats = (options.calibration_sequences + (kWidthSteps + 2) * options.scan_sequences) * stream + 3 * c.hidden_size * inputs;
  return static_cast<uint64_t>(floats) * sizeof(float) +
         static_cast<uint64_t>(2 * piece * inputs + (kWidthSteps + 1) * c.hidden_size * inputs) * sizeof(double) +
         ColumnFits::bytes(c.hidden_size, inputs);
}

}  // namespace espalier
