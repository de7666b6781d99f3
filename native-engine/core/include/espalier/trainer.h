// One training session on one backend: the algorithm of a NutePrune step, its evaluation and its memory plan.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "espalier/device.h"
#include "espalier/model_weights.h"
#include "espalier/train_state.h"

namespace espalier {

enum class ComputeDType { kF32, kBF16 };

// The parameters that learn under frozen masks: LoRA, or the student's own weights, into which LoRA is folded where these steps begin.
enum class RecoverWeights { kLora, kAll };

struct TrainerOptions {
  ComputeDType dtype = ComputeDType::kBF16;
  int64_t batch_size = 8;         // B
  int64_t sequence_length = 128;  // T
  int64_t micro_shards = 1;       // of the batch, one after the other; gradients are added in their order
  bool exact_sparse = true;       // closed heads and units take no part in a step
  bool checkpoint_activations = false;
  // Steps under frozen masks: the probability that LoRA does not see an entry of its input, from 0 to below 1; and the rank that a session
  // adds to LoRA where these steps begin.
  double recover_lora_dropout = 0;
  int64_t recover_lora_rank = 0;
  // Batches of the text that recovery begins with, in the order of its steps: LoRA of o_proj and down_proj is fitted to the intact model on
  // them before the first of these steps. 0: no refit.
  int64_t recover_refit_batches = 0;
  RecoverWeights recover_weights = RecoverWeights::kLora;
  BlockGates gates;  // that the states of the session have
  // The share of the prunable parameters that is gone when own weights begin to learn. The plan of memory goes by it, and nothing else.
  double planned_sparsity = 0;
  bool stream_weights = false;      // layer by layer from the host's memory; without effect where the device is the host
  uint64_t memory_limit_bytes = 0;  // 0: what the device has free
  BackendSpec backend;
};

struct LossWeights {
  double layer = 0.9;
  double kl = 0.1;
  double lm = 0.0;  // next-token cross-entropy, mean over the predictions
  double temperature = 2.0 / 3.0;
};

// How the expected sparsity is held to the scheduled one. kMultipliers: Lagrange multipliers that learn, as published. kTracking: the
// tracker (core/method/tracking.h); every step ends at its scheduled sparsity.
enum class SparsityControl { kMultipliers, kTracking };

// How pruning at once rates heads and units, on the model as it is (core/method/one_shot.h).
enum class Importance { kMagnitude, kWanda, kTaylor };

struct OneShot {
  Importance importance = Importance::kMagnitude;
  int64_t calibration_sequences = 128;  // rows of the training text, each once; those that there are
};

// The options that stay the same over the steps of one segment.
struct SegmentPlan {
  uint64_t seed = 0;
  LossWeights losses;
  double mask_learning_rate = 0.1;
  double lambda_learning_rate = 1.0;
  SparsityControl sparsity_control = SparsityControl::kMultipliers;
  double gradient_clip_norm = 1.0;
  bool train_masks = true;  // else the deterministic masks hold, and only LoRA learns
  // The one step of this plan trains nothing: it closes heads and units at once, down to the scheduled sparsity.
  std::optional<OneShot> one_shot;
  std::function<void(double share)> on_calibrated;  // while a pruning at once or a refit looks at the text; may be empty
  // LoRA's moments count from this step on, at which they are 0: they hold nothing of earlier losses.
  int64_t moments_from_step = 0;
  std::vector<double> lora_learning_rate;  // one for each step of the segment
  std::vector<double> scheduled_sparsity;  // one for each step; same length
  // The segment ends early after the first step whose expected sparsity (after the update) reaches this value.
  std::optional<double> stop_at_expected_sparsity;
  // No step begins that would end after this time, if it took as long as the step before it. The first step always runs.
  std::optional<std::chrono::steady_clock::time_point> end_by;

  bool has_time_for_another(double step_seconds) const {
    return !end_by || std::chrono::steady_clock::now() + std::chrono::duration<double>(step_seconds) <= *end_by;
  }
};

struct StepReport {
  int64_t step = 0;                                                           // number of this step, from 0
  double loss = 0, layer_loss = 0, kl_loss = 0, lm_loss = 0, lagrangian = 0;  // NaN where a loss has no part
  double scheduled_sparsity = 0;
  double expected_sparsity = 0;  // of the log-alphas after the update
  double gradient_norm = 0;      // of LoRA or of own weights, before clipping
  double lambda1 = 0, lambda2 = 0;
  double seconds = 0;
  int64_t open_heads = 0, open_units = 0, open_hidden = 0;  // gates of this step's sample that are not exactly 0
  bool skipped = false;                                     // loss or gradient was not finite: state unchanged but for the step number
};

// Sums over the text of the squared differences between the intact model's residual stream after the projection and the student's.
struct RefittedProjection {
  int64_t layer = 0;
  Projection projection = kO;
  double error_before = 0, error_after = 0;
};

// The refit that recovery began with, and whether it stayed: it does where the loss of the phase is lower by it.
struct RefitReport {
  std::vector<RefittedProjection> projections;
  double loss_before = 0, loss_after = 0;  // summed over the refit's batches
  bool kept = false;
};

struct HardSparsity {
  double sparsity = 0;  // share of the prunable parameters gone, by the deterministic masks
  double expected_sparsity = 0;
  std::vector<int32_t> heads_open;  // [L]
  std::vector<int32_t> units_open;  // [L]
  int32_t hidden_open = 0;
};

// Masks of heads, units and hidden units, as a pass, a teacher and an export use them. Where gates of blocks are held apart, as a step
// samples them, those of heads and units are their own gates' alone.
struct Masks {
  std::vector<float> head;            // [L, H]
  std::vector<float> intermediate;    // [L, I]
  std::vector<float> hidden;          // [D]
  std::vector<float> kv_group = {};   // [L, G], or none
  std::vector<float> attention = {};  // [L], or none
  std::vector<float> mlp = {};        // [L], or none
};
// The masks of a state. Gates of blocks are part of those of heads and units.
Masks deterministic_masks(const ModelConfig& config, const LogAlphas& log_alphas);
HardSparsity hard_sparsity(const ModelConfig& config, const LogAlphas& log_alphas);

// Options under which a run fits, and its memory then.
struct MemoryChange {
  int64_t batch_size = 0, sequence_length = 0;
  bool checkpoint_activations = false, stream_weights = false;
  uint64_t total = 0;
};

struct MemoryPlan {  // bytes, on the device
  uint64_t weights = 0, lora = 0, optimizer = 0, activations = 0, teachers = 0, scratch = 0, total = 0;
  uint64_t available = 0;
  uint64_t state = 0, own_state = 0;  // of a state's file while LoRA learns, and where own weights learn; 0: they don't
  // Memory of this machine, where the device has memory of its own; else 0.
  uint64_t host = 0, host_available = 0;
  std::optional<MemoryChange> change;  // where `total` is too much: the smallest that would help, if any does

  bool fits(uint64_t limit) const { return total <= limit && host <= host_available; }
};
// weight_bytes: of the model as it is stored. Where the device is the host its files are mapped and read as they are.
// Where own weights are to learn after LoRA, the larger one of both plans.
MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const LoraSpec& lora, const TrainerOptions& options);
// For a state of this layout alone.
MemoryPlan plan_memory(const ModelConfig& config, uint64_t weight_bytes, const StateLayout& layout, const TrainerOptions& options);

// The first of these plans that fits: with checkpointing, with streamed weights (where the device has memory of its own), with both, which
// change no result; else with the largest batch that fits, without or with them; else the longest sequence of the smallest batch, a
// sequence for each shard. `plan` is asked a few times.
std::optional<MemoryChange> smallest_change(const TrainerOptions& options, uint64_t limit,
                                            const std::function<MemoryPlan(const TrainerOptions&)>& plan);

struct EvaluationResult {
  double negative_log_likelihood = 0;  // mean, nats per prediction
  double perplexity = 0;
  int64_t predictions = 0;
  double zero_share = 0;  // of the projections' weights, where single ones were set to 0
};

// Token ids of a data split, flat; rows of `sequence_length` are cut from its start, the remainder is dropped.
struct TokenData {
  std::vector<uint32_t> ids;
  std::vector<bool> context;  // of each token: it is read, and no loss counts its prediction; empty: of none
};
// From words of 32 bits, as data are stored: an id, and in the highest bit whether the token is context.
TokenData token_data(std::vector<uint32_t> words);

// Row indices of the batch of step `step`: each epoch visits every row once in an order keyed by (seed, epoch); pure.
std::vector<int64_t> batch_rows(uint64_t seed, int64_t step, int64_t batch_size, int64_t row_count);

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

struct DeviceHome;  // core/step/device_home.h

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

  virtual void set_data(std::shared_ptr<const TokenData> train) = 0;

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

// Perplexity of a model under the deterministic masks and LoRA of `state` (nullptr: the model as it is), over
// non-overlapping windows, each by itself from position 0, in f32 arithmetic (or bf16 products when asked). `beside`: of a session on the
// same device, whose steps wait meanwhile; no bit depends on it.
EvaluationResult evaluate(const std::shared_ptr<const ModelWeights>& model, const TrainState* state, std::span<const uint32_t> ids,
                          int64_t window, ComputeDType dtype, const BackendSpec& backend,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel,
                          const std::shared_ptr<const DeviceHome>& beside = nullptr);

// Digest of the sources that a step and an evaluation are made from, and of the compiler's options; with the compiler in words. No paths,
// no time.
std::string engine_build();
std::string sources_of_bits();  // the files in this digest and in those of the backends, a line each

// Identity of everything that can change a bit of a result: engine build, backend with the digest of its sources, instruction set used,
// math libraries, caches, thread count, dtype. Equal fingerprints give equal bits.
std::string numerics_fingerprint(const TrainerOptions& options);

}  // namespace espalier
