#include "session/session_core.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/method/state_gates.h"
#include "export/export_size.h"
#include "files/sha256.h"
#include "method/masks/masks_digest.h"
#include "method/masks/open_units.h"
#include "model/weights_digest.h"
#include "session/state_on_the_way.h"

namespace espalier {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Returns steps [begin, end) of the plan, counted from its first step.
SegmentPlan part_of(const SegmentPlan& plan, int64_t begin, int64_t end) {
  SegmentPlan part = plan;
  part.lora_learning_rate.assign(plan.lora_learning_rate.begin() + begin, plan.lora_learning_rate.begin() + end);
  part.scheduled_sparsity.assign(plan.scheduled_sparsity.begin() + begin, plan.scheduled_sparsity.begin() + end);
  return part;
}

}  // namespace

const ModelWeights& SessionCore::load(const std::string& folder, const std::atomic<bool>& cancel) {
  close();
  model_ = load_model(folder, cancel);
  folder_ = folder;
  return *model_;
}

size_t SessionCore::open(const LoraSpec& lora, const TrainerOptions& options, uint64_t slice_bytes) {
  if (!model_) throw Error(ErrorCode::kSessionNotFound, "", "no model is loaded in this session");
  if (slice_bytes < kPageBytes || slice_bytes > kSliceBytesMax || slice_bytes % kPageBytes != 0)
    throw Error(ErrorCode::kInvalidArgument, "slice_bytes",
                "must be a multiple of 4096 up to 2147483648, not " + std::to_string(slice_bytes));
  teachers_.clear();
  teacher_files_.forget();
  teacher_in_use_.clear();
  state_changes();
  scorer_.reset();
  data_ = {};
  trainer_.reset();  // frees its memory before the new one takes its own
  lora_ = lora;
  options_ = options;
  slice_bytes_ = slice_bytes;
  trainer_ = Trainer::create(model_, lora, options);
  sequence_length_ = options.sequence_length;
  return teachers_kept(static_cast<uint64_t>(trainer_->layout().size()) * sizeof(float));
}

void SessionCore::close() {
  teachers_.clear();
  teacher_files_.forget();
  teacher_in_use_.clear();
  state_changes();
  scorer_.reset();
  data_ = {};
  trainer_.reset();
  model_.reset();
  state_files_ = {};
}

Trainer& SessionCore::trainer() const {
  if (!trainer_) throw Error(ErrorCode::kSessionNotFound, "", "this session is not open");
  return *trainer_;
}

int64_t SessionCore::set_data(TrainingText text) {
  for (size_t s = 0; s < text.sources.size(); s++)
    if (const int64_t tokens = text.sources[s].text->size(); trainer_ && tokens < sequence_length_)
      throw Error(ErrorCode::kInvalidArgument, "sources[" + std::to_string(s) + "]",
                  "the data holds " + std::to_string(tokens) + " tokens: fewer than one row of " + std::to_string(sequence_length_));
  trainer().set_data(text);
  data_ = std::move(text);
  return data_.row_count(sequence_length_);
}

void SessionCore::initialise(uint64_t seed, const ShapeTarget& shape, double closed) {
  if (!(closed >= 0 && closed < 1)) throw Error(ErrorCode::kInvalidArgument, "closed", "must be from 0 to below 1");
  const StateLayout& here = trainer().layout();
  if (here.lora().rank != lora_.rank || here.has_own_weights()) reopen(StateLayout(model_->config(), lora_, options_.gates));
  TrainState state = closed > 0 ? state_on_the_way(trainer().layout(), closed, seed) : TrainState(trainer().layout());
  if (closed == 0) state.initialise(seed);
  state.shape = shape;
  state_changes();
  trainer().import_state(std::move(state));
}

FileBytes SessionCore::export_state() const { return trainer().serialize(); }

StateSummary SessionCore::summary() const { return summary_of(digest_of_state(), masks_of_state()); }

std::string SessionCore::digest_of_state() const {
  if (trainer().state_bytes() <= slice_bytes_) return sha256_hex(export_state());
  SliceWriter digests("", slice_bytes_);
  trainer().write_state(digests);
  return digests.finish();
}

// Makes the state's bytes or slices where they were asked for. Returns the digest, which is empty where the caller makes it.
std::string SessionCore::hand_out(const ReturnedState& returned, SegmentResult& out) {
  out.state_size = trainer().state_bytes();
  if (out.state_size > slice_bytes_) {
    if (returned.bytes != ReturnedBytes::kNone) {
      if (returned.folder.empty()) throw Error(ErrorCode::kInvalidArgument, "state_folder", "must be set for a state in slices");
      out.state_folder = returned.folder + "-" + std::to_string(trainer().step());
    }
    const auto start = std::chrono::steady_clock::now();
    SliceWriter slices(out.state_folder, slice_bytes_);
    trainer().write_state(slices);
    std::string digest = slices.finish();
    out.state_seconds = seconds_since(start);
    return digest;
  }
  const std::shared_ptr<FileBytes> state = state_files_.take();
  trainer().serialize(*state);
  if (returned.bytes != ReturnedBytes::kNone) out.state_bytes = state;
  return returned.bytes == ReturnedBytes::kBytesWithoutDigest ? "" : sha256_hex(*state);
}

Masks SessionCore::masks_of_state() const { return deterministic_masks(model_->config(), trainer().log_alphas()); }

static StateSummary described(const ModelWeights& model, int64_t step, const LogAlphas& log_alphas, const Masks& masks) {
  StateSummary out;
  out.step = step;
  out.sparsity = hard_sparsity(model.config(), log_alphas, masks);
  out.masks_digest = masks_digest(model.config(), masks);
  out.open_units = open_units(masks);
  out.size = compacted_size(model, masks);
  return out;
}

StateSummary SessionCore::summary_of(std::string digest, const Masks& masks) const {
  StateSummary out = described(*model_, trainer().step(), trainer().log_alphas(), masks);
  out.digest = std::move(digest);
  return out;
}

StateSummary SessionCore::summary_in(const std::string& state_file) const {
  if (!model_) throw Error(ErrorCode::kSessionNotFound, "", "no model is loaded in this session");
  const MappedState mapped(state_file, ErrorCode::kStateCorrupt, "state_file");
  const TrainState gates = read_gates(mapped.bytes(), model_->config());
  return described(*model_, gates.step, gates, deterministic_masks(model_->config(), gates));
}

void SessionCore::state_changes() {
  scorer_.reset();
  open_units_.clear();
  compacted_.reset();
}

// Returns the open units of the trainer's state and forgets them, because that state may change from now on.
std::vector<uint8_t> SessionCore::take_open_units() {
  std::vector<uint8_t> known = std::exchange(open_units_, {});
  return known.empty() ? open_units(masks_of_state()) : known;
}

// Checks all teachers of the plan before its first step.
void SessionCore::check_stretches(const SegmentPlan& plan, int64_t first_step, const SegmentTeachers& teachers) {
  const int64_t end = first_step + static_cast<int64_t>(plan.lora_learning_rate.size());
  const std::vector<TeacherStretch>& stretches = teachers.stretches;
  for (size_t i = 0; i < stretches.size(); ++i) {
    const auto& [from, digest] = stretches[i];
    if (i == 0 ? from != first_step : from <= stretches[i - 1].first_step || from >= end) {
      throw Error(ErrorCode::kInvalidArgument, "teachers",
                  "teachers must start at first_step, " + std::to_string(first_step) + ", and go up to a step below " +
                      std::to_string(end) + ", not at step " + std::to_string(from));
    }
    if (!digest.empty() && !teachers.files.contains(digest) && !find_teacher(digest))
      throw Error(ErrorCode::kTeacherNotLoaded, "", "teacher " + digest + " is not loaded in this session");
  }
}

SegmentResult SessionCore::train(const SegmentPlan& plan, int64_t first_step, const SegmentTeachers& teachers,
                                 const ReturnedState& returned, const std::function<void(const StepReport&)>& on_step,
                                 const std::atomic<bool>& cancel) {
  const auto start = std::chrono::steady_clock::now();
  const int64_t step = trainer().step();
  if (first_step != step) {
    throw Error(ErrorCode::kInvalidArgument, "first_step",
                "first_step is " + std::to_string(first_step) + ", but the state is at step " + std::to_string(step));
  }
  const std::optional<TrainState> before = change_where_recovery_begins(plan);
  check_stretches(plan, first_step, teachers);
  const auto steps = static_cast<int64_t>(plan.lora_learning_rate.size());
  SegmentResult out;
  out.open_units_before = take_open_units();
  state_changes();
  bool reached = false;
  double step_seconds = 0;
  const auto note = [&](const StepReport& report) {
    reached = plan.stop_at_expected_sparsity && report.expected_sparsity >= *plan.stop_at_expected_sparsity;
    step_seconds = report.seconds;
    on_step(report);
  };
  const std::vector<TeacherStretch>& stretches = teachers.stretches;
  size_t next = 0;
  do {
    use_teacher(stretches.empty() ? "" : stretches[next].digest, teachers.files);
    ++next;
    expect_teacher(next < stretches.size() ? stretches[next].digest : teachers.next, teachers.files);
    const int64_t end = next < stretches.size() ? stretches[next].first_step - first_step : steps;
    const int64_t done = trainer().run_segment(part_of(plan, out.steps_done, end), note, cancel);
    out.steps_done += done;
    if (trainer().last_refit()) out.refit = trainer().last_refit();
    out.scans.insert(out.scans.end(), trainer().last_scans().begin(), trainer().last_scans().end());
    if (reached || out.steps_done < end || !plan.has_time_for_another(step_seconds)) break;
  } while (next < stretches.size());
  out.cancelled = cancel.load() && !reached && out.steps_done < steps;
  // A wider LoRA or own weights begin with the first step, since the seed of these steps decides LoRA's new rows. A run that reads the
  // state at this step, perhaps with another seed, must find it as it was. So without a step done it is put back.
  if (before && out.steps_done == 0) hold(*before);
  Masks masks = masks_of_state();
  out.state = summary_of(hand_out(returned, out), masks);
  open_units_ = out.state.open_units;
  const bool instructs = reached && options_.teachers > 0;
  if (instructs && out.state.digest.empty()) out.kept_as = "unnamed " + std::to_string(++unnamed_);
  if (instructs)
    keep_teacher(out.kept_as.empty() ? out.state.digest : out.kept_as, [&] { return trainer().keep_student(std::move(masks)); });
  out.teachers = teacher_digests();
  out.seconds = seconds_since(start);
  return out;
}

std::shared_ptr<const ModelWeights> SessionCore::model_in(const std::string& folder) const {
  if (!folder.empty()) return load_model(folder);
  if (!model_) throw Error(ErrorCode::kSessionNotFound, "", "this session has no model: open it, or name a model folder");
  return model_;
}

SessionCore::Evaluated SessionCore::evaluated(const std::string& folder, bool intact, const BackendSpec& backend) const {
  const bool own = folder.empty() && !intact;
  if (own) trainer();  // throws where the session is not open
  Evaluated out{trainer_ ? trainer_->home(backend, own) : nullptr, std::nullopt};
  if (own && !out.home) out.state = trainer().export_snapshot();
  return out;
}

void SessionCore::open_scorer(const ScorerOptions& options) {
  scorer_.reset();  // frees its memory before the new one takes its own
  const auto model = model_in(options.model_folder);
  Evaluated with = evaluated(options.model_folder, options.intact, options.backend);
  scorer_ = Scorer::create(model, std::move(with.state), options.dtype, options.backend, with.home);
}

std::vector<SequenceScore> SessionCore::score(const ScoreBatch& batch, const std::function<void(double)>& on_progress,
                                              const std::atomic<bool>& cancel) {
  if (!scorer_) throw Error(ErrorCode::kSessionNotFound, "", "this session has no open scorer");
  const auto refuse = [](const char* field, const std::string& what) { throw Error(ErrorCode::kInvalidArgument, field, what); };
  if (batch.lengths.size() != batch.scored.size()) refuse("scored", "has another number of sequences than lengths");
  std::vector<ScoredSequence> sequences;
  sequences.reserve(batch.lengths.size());
  const std::span<const uint32_t> ids(batch.ids);
  size_t first = 0;
  for (size_t i = 0; i < batch.lengths.size(); i++) {
    const size_t length = batch.lengths[i];
    if (length > ids.size() - first) refuse("lengths", "name more tokens than the " + std::to_string(ids.size()) + " there are");
    sequences.push_back({ids.subspan(first, length), batch.scored[i]});
    first += length;
  }
  if (first != ids.size()) refuse("lengths", "name " + std::to_string(first) + " of the " + std::to_string(ids.size()) + " tokens");
  return scorer_->score(sequences, on_progress, cancel);
}

EvaluationResult SessionCore::evaluate(const EvaluateOptions& options, const std::function<void(double)>& on_progress,
                                       const std::atomic<bool>& cancel) {
  if (options.unstructured) return evaluate_unstructured(options, on_progress, cancel);
  const auto model = model_in(options.model_folder);
  const Evaluated with = evaluated(options.model_folder, options.intact, options.backend);
  return espalier::evaluate(model, with.state ? &*with.state : nullptr, options.ids, options.window, options.dtype, options.backend,
                            on_progress, cancel, with.home);
}

GenerationResult SessionCore::generate(const GenerateOptions& options, const std::function<void(const GeneratedToken&)>& on_token,
                                       const std::function<bool(int64_t prompt)>& stopped, const std::atomic<bool>& cancel) {
  const bool pruned = options.model_folder.empty() && !options.intact;
  const auto model = pruned ? compacted(options.request.dtype) : model_in(options.model_folder);
  return espalier::generate(model, options.request, on_token, stopped, cancel);
}

ExportResult SessionCore::export_to(const std::string& state_file, ExportRequest request, const std::function<void(double)>& on_progress,
                                    const std::atomic<bool>& cancel) {
  if (!model_) throw Error(ErrorCode::kSessionNotFound, "", "no model is loaded in this session");
  request.source_folder = folder_;
  if (state_file.empty()) return export_model(*model_, nullptr, {}, request, on_progress, cancel);
  const MappedState mapped(state_file, ErrorCode::kStateCorrupt, "state_file");
  const TrainState state = TrainState::deserialize(mapped.bytes(), model_->config(), read_lora_spec(mapped.bytes()), false);
  return export_model(*model_, &state, deterministic_masks(model_->config(), state), request, on_progress, cancel);
}

}  // namespace espalier
