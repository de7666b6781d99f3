// Runs steps as a run has them, with data in the order of an epoch. In steps of pruning masks are sampled from log-alphas that learn under
// tracking, some hidden units are closed, and student and teacher have LoRA. In steps of recovery the masks are frozen, and the student's
// own weights learn from the intact model.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "espalier/method/train_state.h"
#include "espalier/training/trainer.h"
#include "method/philox.h"
#include "session/state_on_the_way.h"
#include "training/own_weights.h"

namespace espalier::bench {

constexpr int64_t kDataRows = 64;

enum class RealPhase { kPruning, kRecovery };

class RealSteps {
 public:
  RealSteps(std::shared_ptr<const ModelWeights> model, const LoraSpec& lora, const TrainerOptions& options, double closed, RealPhase phase)
      : model_(std::move(model)), phase_(phase) {
    TrainState state = state_on_the_way(StateLayout(model_->config(), lora, options.gates), closed, 1);
    if (phase_ == RealPhase::kRecovery) state = with_own_weights(*model_, state);
    const StateLayout& layout = state;
    trainer_ = Trainer::create(model_, layout, options);
    auto data = std::make_shared<TokenData>();
    const int64_t rows = std::max(kDataRows, options.batch_size);
    for (int64_t i = 0; i < rows * options.sequence_length; i++)
      data->ids.push_back(static_cast<uint32_t>(random_uniform(3, 0, 9, i) * static_cast<double>(model_->config().vocab_size)));
    trainer_->set_data(data);
    trainer_->import_state(state);
    if (phase_ == RealPhase::kRecovery) return;
    // The teacher is an earlier state, so more of its gates are open.
    teacher_ = trainer_->keep_teacher(state_on_the_way(trainer_->layout(), closed * 0.8, 1));
    trainer_->use_teacher(teacher_);
    target_ = hard_sparsity(model_->config(), trainer_->log_alphas()).expected_sparsity;
  }
  // Runs one step. A step of pruning asks for a little more sparsity than the step before.
  StepReport step() {
    SegmentPlan plan;
    plan.seed = 42;
    if (phase_ == RealPhase::kRecovery) {
      plan.train_masks = false;
      plan.losses.kl = plan.losses.layer = 1;
    }
    plan.sparsity_control = SparsityControl::kTracking;
    plan.lambda_learning_rate = 0.02;
    plan.lora_learning_rate.assign(1, 1e-3);
    target_ = std::min(target_ + 1e-4, 0.95);
    plan.scheduled_sparsity.assign(1, target_);
    StepReport report;
    const std::atomic<bool> cancel{false};
    trainer_->run_segment(plan, [&](const StepReport& r) { report = r; }, cancel);
    return report;
  }
  const StateLayout& layout() const { return trainer_->layout(); }

 private:
  std::shared_ptr<const ModelWeights> model_;
  RealPhase phase_;
  std::unique_ptr<Trainer> trainer_;
  std::shared_ptr<const Teacher> teacher_;
  double target_ = 0;
};

}  // namespace espalier::bench
