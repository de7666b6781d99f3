// The training session around the steps: order of the data, sampling, update, teachers, skipped steps.
#include "espalier/training/trainer.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "base/memory_use.h"
#include "device/registry.h"
#include "espalier/base/error.h"
#include "espalier/training/memory_plan.h"
#include "method/masks/hard_concrete.h"
#include "method/masks/masks.h"
#include "method/sparsity/sparsity.h"
#include "training/refit.h"
#include "training/scan.h"
#include "training/trainer_impl.h"
#include "training/update.h"

namespace espalier {

namespace {

void check_options(const ModelConfig& c, const StateLayout& layout, const TrainerOptions& options) {
  if (options.batch_size < 1) throw Error(ErrorCode::kInvalidArgument, "batch_size", "must be at least 1");
  if (options.sequence_length < 1 || (c.max_positions > 0 && options.sequence_length > c.max_positions))
    throw Error(ErrorCode::kInvalidArgument, "sequence_length",
                "must be between 1 and the model's max_position_embeddings, " + std::to_string(c.max_positions) + ", not " +
                    std::to_string(options.sequence_length));
  if (!(options.recover_lora_dropout >= 0 && options.recover_lora_dropout < 1))
    throw Error(ErrorCode::kInvalidArgument, "recover_lora_dropout", "must be from 0 to below 1");
  check_refit(c, layout, options);
  check_scan(c, options);
  for (const LayerShape& l : c.layers)
    if (l.heads != c.head_count || l.intermediate != c.intermediate_size)
      throw Error(ErrorCode::kModelUnsupported, "model", "a compacted model can be evaluated, not trained; train its dense origin");
}

std::string in_words(const std::optional<MemoryChange>& change, const TrainerOptions& options) {
  if (!change) return "no smaller batch or sequence would fit";
  std::string text;
  const auto say = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (change->checkpoint_activations && !options.checkpoint_activations) say("checkpoint_activations");
  if (change->stream_weights && !options.stream_weights) say("stream_weights");
  if (change->batch_size != options.batch_size) say("batch_size " + std::to_string(change->batch_size));
  if (change->sequence_length != options.sequence_length) say("sequence_length " + std::to_string(change->sequence_length));
  return "it would fit with " + text + ": " + std::to_string(change->total) + " bytes";
}

// Makes the backend, after it has checked the options and that the run fits into memory.
std::unique_ptr<Backend> backend_for(const ModelWeights& model, const StateLayout& layout, const TrainerOptions& options) {
  check_options(model.config(), layout, options);
  const auto planned = [&](const TrainerOptions& with) {
    return layout.has_own_weights() ? plan_memory(model.config(), model.bytes(), layout, with)
                                    : plan_memory(model.config(), model.bytes(), layout.lora(), with);
  };
  const MemoryPlan plan = planned(options);
  const uint64_t limit = options.memory_limit_bytes ? options.memory_limit_bytes : plan.available;
  if (plan.total > limit)
    throw Error(ErrorCode::kOutOfMemory, "memory_limit_bytes",
                "the run needs " + std::to_string(plan.total) + " bytes (weights " + std::to_string(plan.weights) + ", activations " +
                    std::to_string(plan.activations) + "), allowed are " + std::to_string(limit) + "; " +
                    in_words(smallest_change(options, limit, planned), options));
  if (!plan.fits(limit))
    throw Error(ErrorCode::kOutOfMemory, "memory_limit_bytes",
                "beside its device the run needs " + std::to_string(plan.host) + " bytes of this machine, free are " +
                    std::to_string(plan.host_available));
  return make_backend(options.backend);
}

}  // namespace

TrainerImpl::TrainerImpl(std::shared_ptr<const ModelWeights> model, const StateLayout& layout, const TrainerOptions& options)
    : options_(options),
      backend_(backend_for(*model, layout, options)),
      weights_(std::make_shared<const DeviceModel>(*backend_, model, streams_weights(options))),
      model_(*weights_),
      state_(*backend_, layout, kind_of(resolve_backend(options.backend)).step_form().masks_on_host),
      student_block_(*backend_),
      teacher_block_(*backend_),
      ahead_(kind_of(resolve_backend(options.backend)).has_own_memory()),
      more_(model, state_.layout(), options) {
  WorkspaceShape shape = training_shape(options_);
  if (layout.has_own_weights()) shape.own_weights = layout.lora_size();
  const LoraSpec& lora = layout.lora();
  memory_ = std::make_shared<const DeviceBuffer>(backend_->allocate(lay_out_workspace(model_.config(), lora, shape, nullptr).total_bytes));
  workspace_ = lay_out_workspace(model_.config(), lora, shape, memory_->data());
  context_ = make_pass_context(*backend_, model_, workspace_, options_.dtype, shape.batch, options_.sequence_length);
  context_.by_shape = true;
  use_intact_teacher();
}

TrainerImpl::~TrainerImpl() {
  try {
    backend_->synchronize();
  } catch (const Error&) {  // the last synchronize has reported the failure, or no caller needs to know it
  }
}

void TrainerImpl::set_data(TrainingText train) {
  if (static_cast<int64_t>(train.largest_id()) >= model_.config().vocab_size)
    throw Error(
        ErrorCode::kInvalidArgument, "data",
        "token id " + std::to_string(train.largest_id()) + " is outside the vocabulary of " + std::to_string(model_.config().vocab_size));
  data_ = std::move(train);
  scan_.reset();
}

void TrainerImpl::use_intact_teacher() { set_teacher(make_intact_role(model_.weights()), nullptr); }

// Sets the teacher. Waits until both queues are empty before it uploads the lists.
void TrainerImpl::set_teacher(Role role, const HostBuffer* lora) {
  const DeviceLora there{&layout(), teacher_lora_[place_].data().as<float>(), {}};
  if (workspace_.form.scales_when_read) scale_when_read(model_.config(), role);
  teacher_ = compile_role(std::move(role), lora ? there : DeviceLora{}, teacher_block_);
  teacher_on_host_ = lora;
  teacher_version_++;
}

std::shared_ptr<const Teacher> TrainerImpl::keep_teacher(const TrainState& snapshot) {
  if (snapshot.size() != layout().size() || !(snapshot.gates() == layout().gates()))
    throw Error(ErrorCode::kInvalidArgument, "teacher", "a teacher has LoRA and gates of the session's shape");
  const std::shared_ptr<KeptTeacher> kept = new_teacher(deterministic_masks(model_.config(), snapshot));
  std::memcpy(kept->lora.data(), snapshot.params().data(), kept->lora.bytes());
  return kept;
}

std::shared_ptr<const Teacher> TrainerImpl::keep_student(Masks masks) {
  const std::shared_ptr<KeptTeacher> kept = new_teacher(std::move(masks));
  backend_->download(kept->lora.data(), state_.params().as<const std::byte>(), kept->lora.bytes());
  return kept;
}

std::shared_ptr<TrainerImpl::KeptTeacher> TrainerImpl::new_teacher(Masks masks) {
  if (layout().has_own_weights()) throw Error(ErrorCode::kInvalidArgument, "teacher", "own weights learn from the intact model alone");
  auto kept = std::make_shared<KeptTeacher>();
  backend_->attach_thread();
  kept->masks = std::move(masks);
  kept->lora = backend_->allocate_host(static_cast<uint64_t>(layout().lora_size()) * sizeof(float));
  return kept;
}

// Copies a teacher's LoRA to the next place. No op reads this place: those that did were queued before the last change of teachers, which
// waited for them. Runs without numerous teachers never need a place.
void TrainerImpl::bring(const Teacher& teacher) {
  DeviceBuffer& place = teacher_lora_[next_place()];
  if (place.bytes() == 0) {
    place = backend_->allocate(static_cast<uint64_t>(layout().lora_size()) * sizeof(float));
    backend_->synchronize();  // the memory is cleared in another queue than that of the copy
  }
  backend_->copy_ahead(place.data(), static_cast<const KeptTeacher&>(teacher).lora);
}

void TrainerImpl::expect_teacher(const std::shared_ptr<const Teacher>& teacher) {
  if (!ahead_ || teacher == expected_ || teacher == in_use_) return;
  backend_->attach_thread();
  if (expected_) backend_->synchronize();  // the copy must be done, since this may be the last pointer to its source
  bring(*teacher);
  expected_ = teacher;
}

void TrainerImpl::use_teacher(const std::shared_ptr<const Teacher>& teacher) {
  backend_->attach_thread();
  if (teacher != expected_) bring(*teacher);
  place_ = next_place();
  const auto& kept = static_cast<const KeptTeacher&>(*teacher);
  set_teacher(make_role(model_.weights(), kept.masks, options_.exact_sparse, workspace_.form.width_multiple), &kept.lora);
  in_use_ = teacher;
  expected_ = nullptr;
}

TokenRows TrainerImpl::batch(uint64_t seed, int64_t step) const {
  return token_rows(data_, seed, step * options_.batch_size, options_.batch_size, options_.sequence_length);
}

TokenRows TrainerImpl::rows_of(std::vector<int32_t> ids) const {
  std::vector<int32_t> targets = next_tokens(ids, options_.sequence_length);
  return {std::move(ids), std::move(targets)};
}

StepReport TrainerImpl::one_step(const SegmentPlan& plan, int64_t index) {
  const auto begin = std::chrono::steady_clock::now();
  if (plan.train_masks && !noise_.is_of(plan.seed, step())) noise_ = mask_noise(log_alphas(), plan.seed, step());
  const Masks z =
      plan.train_masks ? sample_masks(log_alphas(), noise_, plan.mask_noise) : deterministic_masks(model_.config(), log_alphas());
  StepReport report = one_step(plan, index, z, batch(plan.seed, step()), false);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

StepReport TrainerImpl::one_step(const SegmentPlan& plan, int64_t index, const Masks& gates, const TokenRows& tokens, bool timed) {
  const auto begin = std::chrono::steady_clock::now();
  const Masks z = with_blocks(model_.config(), gates);
  StepReport report;
  report.step = state_.step;
  report.scheduled_sparsity = plan.scheduled_sparsity[index];
  const StepOutput out =
      step_on(z, plan.losses, tokens, timed, {plan.train_masks ? 0.0 : options_.recover_lora_dropout, plan.seed, step()}, [&] {
        if (plan.train_masks) prepare_update(plan.seed);
      });
  const UpdateResult update = apply_update(*backend_, model_.config(), state_, {plan, index, gates, out, workspace_.gradients[0]});
  state_.step++;
  report.loss = out.loss + update.lagrangian;
  static_cast<StepLosses&>(report) = out;
  report.lagrangian = update.lagrangian;
  report.gradient_norm = update.gradient_norm;
  report.skipped = update.skipped;
  report.expected_sparsity = state_.expected_sparsity(model_.config()).value();
  report.lambda1 = state_.lambda[0];
  report.lambda2 = state_.lambda[1];
  for (float v : z.head) report.open_heads += v != 0.0f;
  for (float v : z.intermediate) report.open_units += v != 0.0f;
  for (float v : z.hidden) report.open_hidden += v != 0.0f;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  last_times_ = out.times;
  last_times_.update = seconds - (out.times.teacher_forward + out.times.student_forward + out.times.losses + out.times.backward);
  return report;
}

// Computes what the update needs of the present log-alphas, and the part of the next step's masks that does not depend on them.
void TrainerImpl::prepare_update(uint64_t seed) {
  state_.expected_sparsity(model_.config());
  noise_ = mask_noise(log_alphas(), seed, step() + 1);
}

void TrainerImpl::measured_step(const Masks& student_masks, const LossWeights& losses, std::vector<int32_t> ids) {
  SegmentPlan plan;
  plan.losses = losses;
  plan.lora_learning_rate.assign(1, 1e-3);
  plan.scheduled_sparsity.assign(1, 0.0);
  backend_->attach_thread();
  one_step(plan, 0, student_masks, rows_of(std::move(ids)), true);
}

void TrainerImpl::set_teacher_masks(const Masks& masks) {
  set_teacher(make_role(model_.weights(), masks, options_.exact_sparse, workspace_.form.width_multiple), nullptr);
}

int64_t TrainerImpl::run_segment(const SegmentPlan& plan, const std::function<void(const StepReport&)>& on_step,
                                 const std::atomic<bool>& cancel) {
  const size_t steps = plan.lora_learning_rate.size();
  if (plan.scheduled_sparsity.size() != steps)
    throw Error(ErrorCode::kInvalidArgument, "scheduled_sparsity", "must hold one value for each step, as lora_learning_rate does");
  if (!data_) throw Error(ErrorCode::kInvalidArgument, "data", "no training data was set");
  if (plan.moments_from_step > step())
    throw Error(ErrorCode::kInvalidArgument, "moments_from_step",
                "is " + std::to_string(plan.moments_from_step) + ", after the state's step " + std::to_string(step()));
  if (!(plan.losses.temperature > 0)) throw Error(ErrorCode::kInvalidArgument, "temperature", "must be above 0");
  if (!(plan.mask_noise > 0)) throw Error(ErrorCode::kInvalidArgument, "mask_noise", "must be above 0");  // no gradient without noise
  backend_->attach_thread();
  last_scans_.clear();
  if (plan.one_shot) {
    if (plan.one_shot->calibration_sequences < 1)
      throw Error(ErrorCode::kInvalidArgument, "one_shot.calibration_sequences", "must be at least 1");
    if (options_.scan_sequences > 0) return scan_layers(plan, on_step, cancel);
    if (steps != 1) throw Error(ErrorCode::kInvalidArgument, "one_shot", "pruning at once is one step, not " + std::to_string(steps));
    const std::optional<StepReport> report = cancel.load() ? std::nullopt : prune_at_once(plan, cancel);
    if (report && on_step) on_step(*report);
    return report ? 1 : 0;
  }
  last_refit_.reset();
  bool begun = false;
  if (layout().has_own_weights() && plan.train_masks)
    throw Error(ErrorCode::kInvalidArgument, "train_masks",
                "must be false: a student whose own weights were trained has its masks for good");
  if (options_.recover_refit_batches > 0 && steps > 0 && !plan.train_masks && step() == plan.moments_from_step) {
    if (cancel.load() || !refit(plan, cancel)) return 0;
    begun = true;  // The refit belongs to the step: a state at this step is as it was before the refit, and a state after it has both.
  }
  int64_t done = 0;
  while (done < static_cast<int64_t>(steps) && (std::exchange(begun, false) || !cancel.load())) {
    const StepReport report = one_step(plan, done++);
    if (on_step) on_step(report);
    if (plan.stop_at_expected_sparsity && report.expected_sparsity >= *plan.stop_at_expected_sparsity) break;
    if (!plan.has_time_for_another(report.seconds)) break;
  }
  return done;
}

void TrainerImpl::probe(StepProbe& probe, const LossWeights& losses) {
  for (const int64_t id : probe.input_ids)
    if (id < 0 || id >= model_.config().vocab_size)
      throw Error(ErrorCode::kInvalidArgument, "input_ids",
                  "input_ids holds " + std::to_string(id) + ", outside the vocabulary of " + std::to_string(model_.config().vocab_size));
  backend_->attach_thread();
  UploadBlock block(*backend_);
  std::swap(block, teacher_block_);
  DeviceRole kept = std::move(teacher_);
  const HostBuffer* const kept_lora = teacher_on_host_;
  set_teacher_masks(probe.teacher);
  const StepOutput out = step_on(probe.student, losses, rows_of({probe.input_ids.begin(), probe.input_ids.end()}), false);
  std::swap(block, teacher_block_);
  teacher_ = std::move(kept);
  teacher_on_host_ = kept_lora;
  teacher_version_++;
  probe.loss = out.loss;
  static_cast<StepLosses&>(probe) = out;
  probe.grad_z = out.grad_z;
  probe.grad_log_alpha = log_alpha_gradient(probe.student, out.grad_z);
  probe.grad_lora = download<float>(*backend_, workspace_.gradients[0], layout().lora_size());
}

uint64_t TrainerImpl::peak_bytes() const { return peak_resident_bytes(); }

std::unique_ptr<Trainer> Trainer::create(std::shared_ptr<const ModelWeights> model, const LoraSpec& lora, const TrainerOptions& options) {
  return create(model, StateLayout(model->config(), lora, options.gates), options);
}

std::unique_ptr<Trainer> Trainer::create(std::shared_ptr<const ModelWeights> model, const StateLayout& layout,
                                         const TrainerOptions& options) {
  return std::make_unique<TrainerImpl>(std::move(model), layout, options);
}

}  // namespace espalier
