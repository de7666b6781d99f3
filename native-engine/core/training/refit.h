// The refit at the beginning of recovery: o_proj and down_proj of the pruned model are fitted in closed form to the outputs of the intact
// model on the same text. It changes LoRA's factors of these projections, or the student's own weights where these learn.
#pragma once
#include <atomic>
#include <functional>
#include <vector>

#include "espalier/on_device/trainer_options.h"
#include "espalier/training/step_report.h"
#include "method/low_rank/low_rank_fit.h"
#include "step/layer_pass.h"
#include "step/token_rows.h"

namespace espalier {

// Throws Error(kInvalidArgument | kNotSupported, "recover_refit_batches", ...) where the options ask for a refit that is not possible.
void check_refit(const ModelConfig& config, const StateLayout& layout, const TrainerOptions& options);

class Refit {
 public:
  // The context's batch must be that of each piece of the text. `student`: the student's role, whose LoRA or own weights are in the state.
  Refit(PassContext& context, DeviceState& state, const Role& student, int threads);

  // Fits layer by layer, attention before the MLP, so that each fit sees the results of the fits before it. Returns false where it was
  // cancelled.
  bool run(const std::vector<TokenRows>& text, const std::function<void(double share)>& on_progress, const std::atomic<bool>& cancel);

  void undo();  // puts LoRA or the own weights back as they were
  const std::vector<RefittedProjection>& projections() const { return refitted_; }

  // Returns the most memory that the refit takes on the host: the streams of all batches, one projection's sums and their factors.
  // `learnt`: the floats of LoRA, whose rank is `rank`, or of own weights, whose rank is 0.
  static uint64_t bytes(const ModelConfig& config, int64_t learnt, int64_t rank, const TrainerOptions& options);

 private:
  // The residual streams of a part of the text, [rows, width], between two halves of a layer.
  struct Piece {
    std::vector<float> student, teacher;
  };
  // The open part of a projection: its places in the student's buffers, and in the whole matrix.
  struct Open {
    std::vector<int64_t> columns, inputs;
    std::vector<int64_t> places, outputs;
    std::vector<double> masks;  // the masks of the outputs
  };

  void embed(const std::vector<TokenRows>& text);
  Open open_part(int64_t layer, Half half) const;
  void refit(int64_t layer, Half half);
  std::vector<float> advance(const DeviceRole& role, int64_t layer, Half half, const std::vector<float>& stream);
  Matrix inputs_of(int64_t layer, Half half, const Open& open) const;  // from the last pass
  Matrix errors(const Open& open, const std::vector<float>& teacher, const std::vector<float>& student) const;
  Factors factors(int64_t layer, Projection p, const Open& open) const;
  void place(int64_t layer, Projection p, const Open& open, const Factors& found);
  void add_to_own(int64_t layer, Projection p, const Open& open, const Matrix& change);

  PassContext& context_;
  DeviceState& state_;
  int threads_;
  std::vector<float> before_;  // LoRA or own weights before the refit
  std::vector<float> learnt_;  // the same as they are on the device
  UploadBlock teacher_block_, student_block_;
  DeviceRole teacher_, student_;
  std::vector<Piece> pieces_;
  std::vector<RefittedProjection> refitted_;
};

}  // namespace espalier
