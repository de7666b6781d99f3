// One training session on one backend: the algorithm of a NutePrune step.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "espalier/model_masks.h"
#include "espalier/model_weights.h"
#include "espalier/segment_plan.h"
#include "espalier/step_report.h"
#include "espalier/token_data.h"
#include "espalier/train_state.h"
#include "espalier/trainer_options.h"

namespace espalier {

// Explicit inputs and results of one step without sampling or update, for reference vectors (f32 masters in, f32 out).
struct StepProbe {
  std::vector<int64_t> input_ids;  // [B, T]
  Masks student, teacher;
  Masks log_alpha;
  // results
  double loss = 0, layer_loss = 0, kl_loss = 0;
  Masks grad_z, grad_log_alpha;
  std::vector<float> grad_lora;  // layout of TrainState::params(), LoRA part
};

// A teacher that a session keeps, in host memory that the device copies from by itself. It must go before its trainer.
class Teacher {
 public:
  virtual ~Teacher() = default;
};

struct DeviceHome;  // core/training/device_home.h

class Trainer {
 public:
  static std::unique_ptr<Trainer> create(std::shared_ptr<const ModelWeights> model, const LoraSpec& lora, const TrainerOptions& options);
  // For states of this layout.
  static std::unique_ptr<Trainer> create(std::shared_ptr<const ModelWeights> model, const StateLayout& layout,
                                         const TrainerOptions& options);
  virtual ~Trainer() = default;

  // The trainable state lies on the device; the host has its scalars and the log-alphas.
  virtual void import_state(const TrainState& state) = 0;  // of the session's model and LoRA
  virtual TrainState export_state() = 0;
  virtual TrainState export_snapshot() = 0;  // without Adam's moments, as teachers are
  virtual const StateLayout& layout() const = 0;
  virtual int64_t step() const = 0;
  virtual LogAlphas log_alphas() const = 0;

  virtual void set_data(TrainingText train) = 0;

  // Sets the teacher of the following steps: the intact model, or the masks and LoRA of a snapshot.
  virtual void use_intact_teacher() = 0;
  virtual void use_teacher(const std::shared_ptr<const Teacher>& teacher) = 0;
  void use_teacher(const TrainState& snapshot) { use_teacher(keep_teacher(snapshot)); }
  virtual std::shared_ptr<const Teacher> keep_teacher(const TrainState& snapshot) = 0;
  // Announces the next teacher: a device with memory of its own gets it while the present teacher's steps run. Only the time depends on it.
  virtual void expect_teacher(const std::shared_ptr<const Teacher>& teacher) = 0;

  // Runs the steps of the plan from step() on; calls back after each step; `cancel` is looked at between steps.
  // Returns the number of steps done. Deterministic: the state after n steps does not depend on how they were cut.
  virtual int64_t run_segment(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step,
                              const std::atomic<bool>& cancel) = 0;

  virtual const std::optional<RefitReport>& last_refit() const = 0;  // of the last segment, where it had one

  virtual void probe(StepProbe& probe, const LossWeights& losses) = 0;

  virtual uint64_t peak_bytes() const = 0;

  // Weights and memory that evaluations of the model on such a device share with this session, between two of its steps. nullptr: none,
  // where it is another device or the host.
  virtual std::shared_ptr<const DeviceHome> home(const BackendSpec& spec) const = 0;
};

}  // namespace espalier
