// Log-likelihoods of token sequences. Sequences are sorted, so that a common beginning is computed once, and packed one after another.
#include "espalier/evaluation/scorer.h"

#include <algorithm>
#include <numeric>

#include "espalier/base/error.h"
#include "step/rope.h"
#include "step/step.h"
#include "training/device_home.h"

namespace espalier {

namespace {

// The rows of a pass. A sequence that is longer has a pass of its own size.
constexpr int64_t kRowsAtOnce = 2048;

// The rows of a pass in the form of PathAttention: runs of new rows, each with the rows before it in its sequence.
struct Packing {
  std::vector<int32_t> ids, positions;
  std::vector<int32_t> bounds, path;
  int64_t longest = 0;
  // The predictions to compute: the row that predicts, the token that follows, and the sequence that it belongs to.
  std::vector<int32_t> rows, targets;
  std::vector<size_t> of;

  int64_t pieces() const { return static_cast<int64_t>(bounds.size() / 4); }
};

size_t common_length(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<int64_t>(std::min(a.size(), b.size())), b.begin()).first -
                             a.begin());
}

// Adds sequences one by one, in sorted order. Each continues the rows that it shares with the sequence before it.
class Packer {
 public:
  bool fits(const ScoredSequence& s, int64_t rows_at_most) const {
    const int64_t rows = static_cast<int64_t>(packing_.ids.size() + s.input().size() - shared(s));
    return packing_.ids.empty() || (rows <= rows_at_most && static_cast<int64_t>(packing_.rows.size()) + s.scored <= rows_at_most);
  }

  void add(const ScoredSequence& s, size_t index) {
    const std::span<const uint32_t> input = s.input();
    const size_t before = shared(s);
    row_of_.resize(before);
    if (before < input.size()) {
      for (const size_t bound : {packing_.ids.size(), input.size() - before, packing_.path.size(), before})
        packing_.bounds.push_back(static_cast<int32_t>(bound));
      packing_.path.insert(packing_.path.end(), row_of_.begin(), row_of_.end());
      packing_.longest = std::max(packing_.longest, static_cast<int64_t>(input.size()));
    }
    for (size_t t = before; t < input.size(); t++) {
      row_of_.push_back(static_cast<int32_t>(packing_.ids.size()));
      packing_.ids.push_back(static_cast<int32_t>(input[t]));
      packing_.positions.push_back(static_cast<int32_t>(t));
    }
    for (size_t t = input.size() - static_cast<size_t>(s.scored); t < input.size(); t++) {
      packing_.rows.push_back(row_of_[t]);
      packing_.targets.push_back(static_cast<int32_t>(s.ids[t + 1]));
      packing_.of.push_back(index);
    }
    last_ = input;
  }

  const Packing& packing() const { return packing_; }

 private:
  size_t shared(const ScoredSequence& s) const { return common_length(last_, s.input()); }

  Packing packing_;
  std::span<const uint32_t> last_;
  std::vector<int32_t> row_of_;  // the row of each token of the last sequence
};

void check_sequences(const ModelConfig& config, std::span<const ScoredSequence> sequences) {
  for (size_t i = 0; i < sequences.size(); i++) {
    const ScoredSequence& s = sequences[i];
    const auto refuse = [&](const std::string& what) {
      throw Error(ErrorCode::kInvalidArgument, "sequences", "sequence " + std::to_string(i) + " " + what);
    };
    const auto length = static_cast<int64_t>(s.ids.size());
    if (s.scored < 1 || s.scored >= length)
      refuse("asks for " + std::to_string(s.scored) + " of its " + std::to_string(length) + " tokens; from 1 to one below are allowed");
    if (config.max_positions > 0 && length > config.max_positions + 1)
      refuse("has " + std::to_string(length) + " tokens; at most max_position_embeddings + 1, " + std::to_string(config.max_positions + 1) +
             ", are allowed");
    for (const uint32_t id : s.ids)
      if (static_cast<int64_t>(id) >= config.vocab_size)
        refuse("has token id " + std::to_string(id) + ", outside the vocabulary of " + std::to_string(config.vocab_size));
  }
}

}  // namespace

class ScorerImpl final : public Scorer {
 public:
  ScorerImpl(const std::shared_ptr<const ModelWeights>& model, std::optional<TrainState> state, ComputeDType dtype, const BackendSpec& spec,
             const std::shared_ptr<const DeviceHome>& beside)
      : state_(std::move(state)),
        dtype_(dtype),
        in_place_(beside ? beside->state : nullptr),
        lora_(in_place_ ? in_place_->layout->lora()
              : state_  ? state_->lora()
                        : LoraSpec{}),
        home_(home_for(model, spec, beside)),
        backend_(home_.backend.get()),
        role_block_(*backend_),
        block_(*backend_) {
    if (in_place_) {
      role_ = compile_role(in_place_->role, {in_place_->layout, in_place_->params}, role_block_);
      return;
    }
    DeviceLora lora;
    if (state_) {
      lora_memory_ = backend_->share(state_->params().data(), static_cast<uint64_t>(state_->lora_size()) * sizeof(float));
      lora = {&*state_, lora_memory_.data().as<float>()};
    }
    role_ = compile_role(state_ ? role_of_state(*model, *state_) : make_intact_role(*model), lora, role_block_);
  }

  std::vector<SequenceScore> score(std::span<const ScoredSequence> sequences, const std::function<void(double)>& on_progress,
                                   const std::atomic<bool>& cancel) override {
    const ModelConfig& config = home_.model->config();
    check_sequences(config, sequences);
    backend_->attach_thread();
    std::vector<size_t> order(sequences.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const auto x = sequences[a].input(), y = sequences[b].input();
      const auto compared = std::lexicographical_compare_three_way(x.begin(), x.end(), y.begin(), y.end());
      return compared == 0 ? a < b : compared < 0;
    });
    int64_t longest = 0;
    for (const ScoredSequence& s : sequences) longest = std::max(longest, static_cast<int64_t>(s.input().size()));
    make_room(std::max(kRowsAtOnce, longest), longest);
    std::vector<SequenceScore> scores(sequences.size(), {0.0, true});
    for (size_t next = 0; next < order.size();) {
      if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the evaluation was cancelled");
      Packer packer;
      for (; next < order.size() && packer.fits(sequences[order[next]], rows_); next++) packer.add(sequences[order[next]], order[next]);
      run(packer.packing(), scores);
      if (on_progress) on_progress(static_cast<double>(next) / static_cast<double>(order.size()));
    }
    return scores;
  }

 private:
  void make_room(int64_t rows, int64_t longest) {
    const ModelConfig& config = home_.model->config();
    if (longest > static_cast<int64_t>(rope_.usual.cos.size()) / std::max<int64_t>(config.head_dim / 2, 1))
      rope_ = make_rope_tables(config, longest);
    if (rows <= rows_) return;
    rows_ = rows;
    WorkspaceShape shape;
    shape.batch = 1;
    shape.tokens = rows;
    shape.dtype = dtype_;
    shape.training = false;
    ws_ = memory_.lay_out(home_, lora_, shape);
    const auto width = static_cast<uint64_t>(role_.hidden_width);
    gathered_ = {};
    gathered_ = backend_->allocate(static_cast<uint64_t>(ws_.chunk) * width * sizeof(float));
    best_ = {};
    best_ = backend_->allocate(static_cast<uint64_t>(rows) * sizeof(int32_t));
  }

  void run(const Packing& p, std::vector<SequenceScore>& scores) {
    const int64_t n = static_cast<int64_t>(p.ids.size());
    const RopeTables rope = at_positions(rope_, home_.model->config().head_dim, p.positions);
    block_.begin(UploadBlock::room_for(p.ids) + UploadBlock::room_for(p.bounds) + UploadBlock::room_for(p.path) +
                 UploadBlock::room_for(p.rows) + UploadBlock::room_for(p.targets) + rope_room(rope));
    const auto ids = block_.add(p.ids), bounds = block_.add(p.bounds), path = block_.add(p.path), rows = block_.add(p.rows),
               targets = block_.add(p.targets);
    PassContext c;
    c.backend = backend_;
    c.model = home_.model.get();
    c.ws = &ws_;
    c.dtype = dtype_ == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
    c.batch = 1;
    c.tokens = n;
    place_rope(c, rope, block_);
    c.paths = {p.pieces(), p.longest, bounds, path, static_cast<int64_t>(p.path.size())};
    block_.send();
    const Tensor x = ws_.teacher_x.reshaped(n, role_.hidden_width);
    embed_tokens(c, role_, ids, x);
    forward_layers(c, role_, x, ws_.teacher);
    predict(c, x, rows, targets, static_cast<int64_t>(p.rows.size()));
    collect(p, scores);
  }

  // Computes the losses and the likeliest tokens of the rows that predict.
  void predict(PassContext& c, Tensor x, DevicePtr<const int32_t> rows, DevicePtr<const int32_t> targets, int64_t total) {
    for (int64_t first = 0; first < total; first += ws_.chunk) {
      const int64_t count = std::min(ws_.chunk, total - first), width = role_.hidden_width;
      const Tensor taken{gathered_.data(), DType::kF32, count, width, width};
      backend_->run(Embed{taken, {x.data, DType::kF32, x.rows, width}, rows + first, nullptr, nullptr});
      const Tensor h = ws_.h.reshaped(ws_.h.rows, width).row_range(0, count);
      norm_forward(c, role_, taken, h, nullptr, role_.lists.final_norm);
      TokenLoss op;
      op.student = ws_.logits.row_range(0, count).columns(0, c.config().vocab_size);
      op.targets = targets + first;
      op.lm_rows = ws_.sums.lm_rows + first;
      op.best = best_.data().as<int32_t>() + first;
      make_logits(c, role_, op.student, h);
      backend_->run(op);
    }
  }

  void collect(const Packing& p, std::vector<SequenceScore>& scores) {
    const auto total = static_cast<int64_t>(p.of.size());
    const std::vector<double> losses = download<double>(*backend_, ws_.sums.lm_rows, total);
    const std::vector<int32_t> best = download<int32_t>(*backend_, best_.data().as<int32_t>(), total);
    for (size_t i = 0; i < p.of.size(); i++) {
      SequenceScore& score = scores[p.of[i]];
      score.log_likelihood -= losses[i];
      score.greedy = score.greedy && best[i] == p.targets[i];
    }
  }

  const std::optional<TrainState> state_;
  const ComputeDType dtype_;
  const std::shared_ptr<const StateInPlace> in_place_;
  const LoraSpec lora_;
  const DeviceHome home_;
  Backend* const backend_;
  WorkspaceMemory memory_;
  DeviceBuffer lora_memory_, gathered_, best_;
  UploadBlock role_block_, block_;
  DeviceRole role_;
  Workspace ws_;
  int64_t rows_ = 0;
  RopeTables rope_;
};

std::unique_ptr<Scorer> Scorer::create(const std::shared_ptr<const ModelWeights>& model, std::optional<TrainState> state,
                                       ComputeDType dtype, const BackendSpec& backend, const std::shared_ptr<const DeviceHome>& beside) {
  return std::make_unique<ScorerImpl>(model, std::move(state), dtype, backend, beside);
}

}  // namespace espalier
