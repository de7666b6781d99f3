// The only implementation of Trainer. Tests and benchmarks use it directly.
#pragma once
#include "espalier/training/trainer.h"
#include "method/masks/masks.h"
#include "method/one_shot.h"
#include "step/step.h"
#include "training/device_home.h"
#include "training/more_devices.h"
#include "training/refit.h"
#include "training/scan.h"

namespace espalier {

class TrainerImpl final : public Trainer {
 public:
  TrainerImpl(std::shared_ptr<const ModelWeights> model, const StateLayout& layout, const TrainerOptions& options);
  TrainerImpl(const std::shared_ptr<const ModelWeights>& model, const LoraSpec& lora, const TrainerOptions& options)
      : TrainerImpl(model, StateLayout(model->config(), lora, options.gates), options) {}
  ~TrainerImpl() override;  // waits, because a teacher may be on its way
  TrainerImpl(const TrainerImpl&) = delete;
  TrainerImpl& operator=(const TrainerImpl&) = delete;

  void import_state(TrainState state) override { state_.import_state(std::move(state)); }
  void import_state(const StateReader& state) override { state_.import_state(state); }
  TrainState export_state() override { return state_.export_state(); }
  TrainState export_snapshot() override { return state_.export_snapshot(); }
  using Trainer::serialize;
  void serialize(FileBytes& file) override;
  uint64_t state_bytes() const override { return state_.state_file().size(); }
  void write_state(SliceWriter& slices) override;
  const StateLayout& layout() const override { return state_.layout(); }
  int64_t step() const override { return state_.step; }
  LogAlphas log_alphas() const override { return state_.log_alphas(); }
  void set_data(TrainingText train) override;
  void use_intact_teacher() override;
  using Trainer::use_teacher;
  void use_teacher(const std::shared_ptr<const Teacher>& teacher) override;
  std::shared_ptr<const Teacher> keep_teacher(const TrainState& snapshot) override;
  std::shared_ptr<const Teacher> keep_student(Masks masks) override;
  void expect_teacher(const std::shared_ptr<const Teacher>& teacher) override;
  int64_t run_segment(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step,
                      const std::atomic<bool>& cancel) override;
  void probe(StepProbe& probe, const LossWeights& losses) override;
  uint64_t peak_bytes() const override;
  std::shared_ptr<const DeviceHome> home(const BackendSpec& spec, bool with_state = false) const override;

  const StepTimes& last_times() const { return last_times_; }
  const std::optional<RefitReport>& last_refit() const override { return last_refit_; }
  const std::vector<LayerScan>& last_scans() const override { return last_scans_; }
  // For benchmarks: measured_step runs a timed step on given masks and tokens with its update; set_teacher_masks sets a teacher that has
  // these masks and no LoRA.
  void measured_step(const Masks& student_masks, const LossWeights& losses, std::vector<int32_t> ids);
  void set_teacher_masks(const Masks& masks);

 private:
  struct KeptTeacher final : Teacher {
    Masks masks;
    HostBuffer lora;
  };
  std::shared_ptr<KeptTeacher> new_teacher(Masks masks);  // leaves its LoRA unset
  int next_place() const { return ahead_ ? 1 - place_ : 0; }
  void bring(const Teacher& teacher);
  // Runs the step's passes on all devices. `meanwhile` is called while they compute.
  StepOutput step_on(const Masks& student_masks, const LossWeights& losses, const TokenRows& tokens, bool timed,
                     const LoraDropping& dropping = {}, const std::function<void()>& meanwhile = {});
  void prepare_update(uint64_t seed);
  StepRequest request_for(const Masks& student_masks, const LossWeights& losses, const TokenRows& tokens, const LoraDropping& dropping);
  void set_teacher(Role role, const HostBuffer* lora);  // the role's LoRA is already on the device, or it has none
  TokenRows batch(uint64_t seed, int64_t step) const;
  TokenRows rows_of(std::vector<int32_t> ids) const;
  StepReport one_step(const SegmentPlan& plan, int64_t index);
  // `gates` are the sampled ones, with those of blocks separate.
  StepReport one_step(const SegmentPlan& plan, int64_t index, const Masks& gates, const TokenRows& tokens, bool timed);

  bool refit(const SegmentPlan& plan, const std::atomic<bool>& cancel);  // false where it was cancelled; then the state is as it was

  // Returns nothing where it was cancelled; then the state is as it was.
  std::optional<StepReport> prune_at_once(const SegmentPlan& plan, const std::atomic<bool>& cancel);
  std::optional<GateImportance> wanda_ratings(const SegmentPlan& plan, const std::atomic<bool>& cancel);
  std::optional<std::vector<double>> layer_ratings(const SegmentPlan& plan, const std::atomic<bool>& cancel);
  std::optional<GateImportance> slope_ratings(const SegmentPlan& plan, const std::atomic<bool>& cancel, double& loss);
  // Takes the log-alphas, and tells in the report what they leave open.
  void end_untrained_step(const Masks& log_alphas, double scheduled_sparsity, StepReport& report);
  // Scores a layer in each step. Returns the number of steps done.
  int64_t scan_layers(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step, const std::atomic<bool>& cancel);
  bool begin_scan(const SegmentPlan& plan, const std::atomic<bool>& cancel);  // false where it was cancelled

  bool calibrate(const SegmentPlan& plan, int64_t batch_size, const std::atomic<bool>& cancel,
                 const std::function<void(const TokenRows& tokens)>& pass);

  TrainerOptions options_;
  TrainingText data_;
  std::shared_ptr<Backend> backend_;  // owns the memory of all members below
  std::shared_ptr<const DeviceModel> weights_;
  const DeviceModel& model_;
  DeviceState state_;
  UploadBlock student_block_, teacher_block_;
  // The LoRA of the teacher in use, and beside it that of the next one.
  bool ahead_;
  std::array<DeviceBuffer, 2> teacher_lora_;
  int place_ = 0;
  std::shared_ptr<const Teacher> in_use_, expected_;  // kept because their copies may be under way
  DeviceRole teacher_, student_;
  const HostBuffer* teacher_on_host_ = nullptr;  // the LoRA of the teacher in use
  int64_t teacher_version_ = 0;
  std::shared_ptr<const DeviceBuffer> memory_;
  Workspace workspace_;
  PassContext context_;
  MoreDevices more_;
  StepTimes last_times_;
  std::optional<RefitReport> last_refit_;
  // The scan of the layers, and what it began with. It lasts over segments, since what it knows follows from the text and the seed.
  std::unique_ptr<Scan> scan_;
  uint64_t scan_seed_ = 0;
  int64_t scan_calibration_ = 0;
  std::vector<LayerScan> last_scans_;
  MaskNoise noise_;  // for the next step's masks, where it has been drawn
};

WorkspaceShape training_shape(const TrainerOptions& options);
bool streams_weights(const TrainerOptions& options);  // true where streaming was asked for and the device gains by it

}  // namespace espalier
