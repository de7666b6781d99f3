// A training session on one backend: it runs the steps of NutePrune.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "espalier/method/model_masks.h"
#include "espalier/method/segment_plan.h"
#include "espalier/method/train_state.h"
#include "espalier/model/model_weights.h"
#include "espalier/on_device/trainer_options.h"
#include "espalier/step/token_data.h"
#include "espalier/training/step_report.h"

namespace espalier {

// The explicit inputs and the results of one step without sampling or update, for reference vectors (f32 masters in, f32 out).
struct StepProbe : StepLosses {
  std::vector<int64_t> input_ids;  // [B, T]
  Masks student, teacher;
  Masks log_alpha;
  // The results.
  double loss = 0;
  Masks grad_z, grad_log_alpha;
  std::vector<float> grad_lora;  // the LoRA part in the layout of TrainState::params()
};

// A teacher that a session keeps, in host memory from which the device copies by itself. It must be destroyed before its trainer.
class Teacher {
 public:
  virtual ~Teacher() = default;
};

struct DeviceHome;  // in core/training/device_home.h
class SliceWriter;  // in core/files/sliced_file.h

class Trainer {
 public:
  static std::unique_ptr<Trainer> create(std::shared_ptr<const ModelWeights> model, const LoraSpec& lora, const TrainerOptions& options);
  // Makes a trainer for states of this layout.
  static std::unique_ptr<Trainer> create(std::shared_ptr<const ModelWeights> model, const StateLayout& layout,
                                         const TrainerOptions& options);
  virtual ~Trainer() = default;

  // The trainable state lies on the device. The host has its scalars and the log-alphas.
  // The state must be of the session's model and layout. Its memory is freed bit by bit.
  virtual void import_state(TrainState state) = 0;
  virtual void import_state(const StateReader& state) = 0;  // reads it tensor by tensor
  virtual TrainState export_state() = 0;
  virtual TrainState export_snapshot() = 0;  // without Adam's moments, which a teacher does not have
  // Makes the same as export_state().serialize() in the memory of `file`, without a copy of the state in between.
  virtual void serialize(FileBytes& file) = 0;
  virtual uint64_t state_bytes() const = 0;           // the size of these bytes
  virtual void write_state(SliceWriter& slices) = 0;  // writes them piece by piece; no more than two pieces are in memory
  FileBytes serialize() {
    FileBytes file;
    serialize(file);
    return file;
  }
  virtual const StateLayout& layout() const = 0;
  virtual int64_t step() const = 0;
  virtual LogAlphas log_alphas() const = 0;

  virtual void set_data(TrainingText train) = 0;

  // These set the teacher of the next steps: the intact model, or the masks and LoRA of a snapshot.
  virtual void use_intact_teacher() = 0;
  virtual void use_teacher(const std::shared_ptr<const Teacher>& teacher) = 0;
  void use_teacher(const TrainState& snapshot) { use_teacher(keep_teacher(snapshot)); }
  virtual std::shared_ptr<const Teacher> keep_teacher(const TrainState& snapshot) = 0;
  // Keeps the present state as a teacher. `masks` are its deterministic masks.
  virtual std::shared_ptr<const Teacher> keep_student(Masks masks) = 0;
  // Announces the next teacher. A device with its own memory copies it there while the present teacher's steps run. Only the time depends
  // on this call.
  virtual void expect_teacher(const std::shared_ptr<const Teacher>& teacher) = 0;

  // Runs the steps of the plan from step() on and calls back after each step; `cancel` is checked between steps. Returns the number of
  // steps done. It is deterministic: the state after n steps does not depend on how they were divided into segments.
  virtual int64_t run_segment(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step,
                              const std::atomic<bool>& cancel) = 0;

  virtual const std::optional<RefitReport>& last_refit() const = 0;  // the refit of the last segment, where it had one
  virtual const std::vector<LayerScan>& last_scans() const = 0;      // the layers that the last segment scored

  virtual void probe(StepProbe& probe, const LossWeights& losses) = 0;

  virtual uint64_t peak_bytes() const = 0;

  // Returns the weights and the memory that evaluations of the model on such a device can share with this session between two of its
  // steps, and `with_state` also the state that the session then has. nullptr where there is nothing to share: the device is another one,
  // or is the host and no state is asked for.
  virtual std::shared_ptr<const DeviceHome> home(const BackendSpec& spec, bool with_state = false) const = 0;
};

}  // namespace espalier
