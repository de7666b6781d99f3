// The scan of a model: what it loses where one layer alone has a narrower attention or MLP. The rest of the model is intact, and o_proj or
// down_proj is fitted in closed form to its own outputs from the inputs that are left.
#pragma once
#include <atomic>
#include <functional>
#include <vector>

#include "espalier/on_device/trainer_options.h"
#include "espalier/training/step_report.h"
#include "method/low_rank/low_rank_fit.h"
#include "method/one_shot.h"
#include "step/step.h"

namespace espalier {

// Throws Error(kInvalidArgument | kNotSupported, "scan_sequences", ...) where the options ask for a scan that is not possible.
void check_scan(const ModelConfig& config, const TrainerOptions& options);

// Returns the widths that a scan tries beside the intact one, which is `count` parts: eighths of it and none, the widest first. Large
// widths are multiples of 32.
std::vector<int64_t> scanned_widths(int64_t count);

class Scan {
 public:
  // The texts that the scan reads, in pieces that each are one pass.
  struct Texts {
    std::vector<TokenRows> fitted;  // the projections are fitted on these tokens
    std::vector<TokenRows> scored;  // the losses are those of these tokens
  };

  // The scan begins at the first layer. `ratings` decide which parts a narrower layer keeps. The workspace must have one shard, and the
  // context's batch changes.
  Scan(PassContext& context, GateImportance ratings, const Texts& texts, int threads);

  int64_t layer() const { return layer_; }  // the next one
  double intact_loss() const;               // the mean cross-entropy of the intact model on the scored tokens
  void skip();                              // goes on to the next layer without scores
  // Scores the next layer and goes on to the one after it. Returns false where it was cancelled; then the scan can't be used any more.
  bool score(LayerScan& out, const std::function<void(double share)>& on_progress, const std::atomic<bool>& cancel);

  // Returns the most memory that a scan takes on the host.
  static uint64_t bytes(const ModelConfig& config, const TrainerOptions& options);

 private:
  struct Piece {
    TokenRows rows;
    std::vector<float> stream;  // of the intact model, at the beginning of the next half of a layer
    std::vector<float> last;    // after the last layer; empty in pieces that are not scored
  };
  using Streams = std::vector<std::vector<std::vector<float>>>;  // for each alternative that of each scored piece

  Tensor place(const Piece& piece, const std::vector<float>& stream);  // as the stream of the next passes
  std::vector<float> taken(const Tensor& stream) const;
  void advance(Piece& piece, Half half);
  Tensor inputs_of(Half half) const;  // those of the half's last projection, from the last pass
  std::vector<Matrix> fit(Half half, const std::vector<int64_t>& kept);
  Streams streams_behind(Half half, const std::vector<Matrix>& projections);
  StepLosses losses_of(const Piece& piece, const std::vector<float>& stream);
  StepLosses losses_behind(Half half, const Piece& piece, const std::vector<float>& stream);

  PassContext& context_;
  GateImportance ratings_;
  int threads_;
  UploadBlock role_block_, token_block_;
  DeviceRole intact_;
  std::vector<Piece> fitted_, scored_;
  double lm_sum_ = 0;                     // the intact model's cross-entropy, summed over the scored predictions
  int64_t tokens_ = 0, predictions_ = 0;  // those that are scored
  int64_t layer_ = 0;
};

}  // namespace espalier
