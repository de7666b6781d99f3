// The one implementation of Trainer, seen by tests and benchmarks.
#pragma once
#include <optional>

#include "step.h"

namespace espalier {

class TrainerImpl final : public Trainer {
 public:
  TrainerImpl(std::shared_ptr<const ModelWeights> model, const LoraSpec& lora, const TrainerOptions& options);
  ~TrainerImpl() override;
  TrainerImpl(const TrainerImpl&) = delete;
  TrainerImpl& operator=(const TrainerImpl&) = delete;

  TrainState& state() override { return state_; }
  void set_data(std::shared_ptr<const TokenData> train) override;
  void use_intact_teacher() override;
  void use_teacher(const TrainState& snapshot) override;
  int64_t run_segment(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step,
                      const std::atomic<bool>& cancel) override;
  void probe(StepProbe& probe, const LossWeights& losses) override;
  uint64_t peak_bytes() const override;

  const StepTimes& last_times() const { return last_times_; }
  // For benchmarks: a step on given masks and tokens with its update, and a teacher of given masks without LoRA.
  void measured_step(const Masks& student_masks, const LossWeights& losses, std::vector<int32_t> ids);
  void set_teacher_masks(const Masks& masks);

 private:
  void check_options() const;
  StepInput make_input(const Role& student, const LossWeights& losses, std::vector<int32_t> ids) const;
  std::vector<int32_t> batch_ids(uint64_t seed, int64_t step) const;
  StepReport one_step(const SegmentPlan& plan, int64_t index);
  StepReport one_step(const SegmentPlan& plan, int64_t index, const Masks& z, std::vector<int32_t> ids);

  std::shared_ptr<const ModelWeights> model_;
  TrainerOptions options_;
  TrainState state_;
  std::optional<TrainState> teacher_state_;  // what teacher_role_'s LoRA lives in
  Role teacher_role_;
  std::shared_ptr<const TokenData> data_;
  std::unique_ptr<Backend> backend_;
  char* memory_ = nullptr;
  uint64_t workspace_bytes_ = 0;
  Workspace workspace_;
  PassContext context_;
  StepTimes last_times_;
};

WorkspaceShape training_shape(const TrainerOptions& options);

}  // namespace espalier
