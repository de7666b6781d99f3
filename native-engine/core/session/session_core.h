// The contents of a session: the base model, the trainer, the teachers used last. It is plain C++, and one thread at a time uses it.
#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "espalier/evaluation/evaluate.h"
#include "espalier/evaluation/scorer.h"
#include "espalier/evaluation/unstructured.h"
#include "espalier/export/export.h"
#include "espalier/generation/generate.h"
#include "espalier/generation/speed.h"
#include "espalier/training/memory_plan.h"
#include "espalier/training/trainer.h"
#include "files/sliced_file.h"
#include "session/teacher_files.h"

namespace espalier {

// A session keeps teachers in memory besides the one in use, so that a run's own snapshots need not be sent back to it. They may take
// kTeacherBytesKept together; at least kTeachersKeptMin and at most kTeachersKeptMax are kept.
constexpr uint64_t kTeacherBytesKept = uint64_t{512} << 20;
constexpr size_t kTeachersKeptMax = 64;
constexpr size_t kTeachersKeptMin = 2;
size_t teachers_kept(uint64_t teacher_bytes);  // teacher_bytes: the bytes of one teacher

// The kind of a tensor, by which a budget counts it: which types files store it in, and whether a token is multiplied by it.
enum class TensorKind {
  kEmbedding,   // the embedding, where it is not lm_head as well
  kLmHead,      // lm_head, or an embedding that is lm_head too
  kProjection,  // queries, keys, gate and up
  kValue,
  kOutput,
  kDown,
  kNorm,    // a norm of hidden units
  kVector,  // every other vector: biases, and norms of heads. It does not shrink with the hidden units, and all other tensors do
};

// The gates with which a tensor shrinks, beside those of hidden units.
enum class TensorPart { kNone, kHead, kKvHead, kUnit };

// The parameters of all tensors of one kind that shrink with the same gates.
struct TensorCount {
  TensorKind kind;
  TensorPart part;
  uint64_t parameters = 0;
  uint64_t bytes = 0;  // as the model stores them
};

struct ModelDescription {
  ModelConfig config;
  std::vector<TensorCount> tensors;   // all parameters of the model; tied ones count once
  uint64_t parameter_count = 0;       // tied parameters count once
  uint64_t body_parameter_count = 0;  // the parameters of all projections; sparsity is a share of them
  uint64_t weight_bytes = 0;
  std::string digest;
  std::string dtype;  // the type of the embedding: "F32", "F16", "BF16"
};

struct StateSummary {
  int64_t step = 0;
  std::string digest;
  HardSparsity sparsity;
  std::string masks_digest;
  std::vector<uint8_t> open_units;  // one bit for each gate; see method/masks/open_units.h
  ExportSize size;                  // the size of its compacted export in the model's own dtype
};

// A teacher that instructs from this step on.
struct TeacherStretch {
  int64_t first_step = 0;
  std::string digest;  // a teacher in memory; empty for the intact model
};

struct SegmentTeachers {
  std::vector<TeacherStretch> stretches;  // in order
  // The teacher after the stretches, where it is known. It is read from its file while the segment is trained.
  std::string next;
  TeacherFileNames files;  // the files of teachers that need not be in memory
};

struct SegmentResult {
  StateSummary state;
  std::shared_ptr<FileBytes> state_bytes;  // null unless it was asked for, and where the state is in slices
  std::string state_folder;                // the folder of a state in slices; empty where it was not asked for
  uint64_t state_size = 0;                 // the size of the state's file, or of all slices
  double state_seconds = 0;                // the seconds that writing slices took
  std::vector<std::string> teachers;       // the names of the teachers in memory: digests, and names like kept_as
  // The name of the state as a teacher for as long as its digest is not known; empty where it was kept by its digest, or not kept.
  std::string kept_as;
  int64_t steps_done = 0;
  bool cancelled = false;
  double seconds = 0;
  std::vector<uint8_t> open_units_before;  // the open gates of the state with which the segment began
  std::optional<RefitReport> refit;        // the refit with which recovery began
  std::vector<LayerScan> scans;            // the layers that were scored
};

struct EvaluateOptions {
  std::vector<uint32_t> ids;
  int64_t window = 256;
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
  bool intact = false;
  std::string model_folder;  // a model other than the session's, with its own weights and no masks
  // Evaluates the session's intact model with single weights set to 0. Text, sequence length and backend are the session's.
  std::optional<UnstructuredOptions> unstructured;
};

struct ScorerOptions {
  ComputeDType dtype = ComputeDType::kF32;
  BackendSpec backend;
  bool intact = false;
  std::string model_folder;  // as in EvaluateOptions
};

struct GenerateOptions {
  GenerateRequest request;
  bool intact = false;
  std::string model_folder;  // as in EvaluateOptions
};

// Sequences one after another: their tokens, and for each sequence its number of tokens and how many of the last ones are scored.
struct ScoreBatch {
  std::vector<uint32_t> ids, lengths, scored;
};

struct MeasureOptions {
  SpeedOptions speed;
  std::string model_folder;  // a model that is measured instead of the session's state; without a session it is measured alone
  ExportRequest sized_as;    // the export whose sizes are reported; its folders are ignored
};

struct MeasureResult {
  SpeedResult speed;
  std::vector<ExportSize> sizes;  // the same models' sizes: the first in the container's dense form, the second in the form of the request
};

std::vector<TensorCount> count_tensors(const ModelWeights& model);
// Describes a model. Reading the weights takes as long as the disk needs; without `read_weights` they get no digest and are not checked.
ModelDescription describe_model(const ModelWeights& model, bool read_weights, const std::atomic<bool>& cancel);
MemoryPlan plan_session_memory(const ModelWeights& model, const LoraSpec& lora, const TrainerOptions& options, uint64_t slice_bytes);

// Whether a trained segment hands back the bytes of its state beside the summary. The digest of a large state takes a second, so a caller
// that computes it while the next steps run asks for none. A state that is larger than a slice is not handed back: it goes to a folder
// whose path is `folder`, "-" and the state's step, and has its digest.
enum class ReturnedBytes { kNone, kBytes, kBytesWithoutDigest };
struct ReturnedState {
  ReturnedBytes bytes = ReturnedBytes::kNone;
  std::string folder;
};

class SessionCore {
 public:
  const ModelWeights& load(const std::string& folder, const std::atomic<bool>& cancel);
  // Call after load. Returns how many teachers can stay in memory. slice_bytes: a state that is larger is kept in slices of this size.
  size_t open(const LoraSpec& lora, const TrainerOptions& options, uint64_t slice_bytes = kSliceBytes);
  void close();

  int64_t set_data(TrainingText text);  // returns the number of rows
  // closed: 0, or for measurements the share of heads and units that a state on its way has closed
  void initialise(uint64_t seed, const ShapeTarget& shape = {}, double closed = 0);
  // Takes the state in a file or a folder of slices, which must have the digest; an empty digest is not compared.
  void import_state(const std::string& path, const std::string& digest);
  FileBytes export_state() const;
  StateSummary summary() const;
  // Describes the state in a file, without its digest. Call after load; the session need not be open.
  StateSummary summary_in(const std::string& state_file) const;

  // `digest` must be that of the state in the file or folder, which is found out where `compared` is set. Returns the digests of the
  // teachers in memory.
  std::vector<std::string> load_teacher(const std::string& digest, const std::string& path, bool compared);

  // Trains. The first of the teachers must begin at `first_step`. A state that reaches the plan's sparsity is kept as a teacher, where
  // snapshots instruct. Its digest is its name; where the digest was not asked for, the caller names the teacher by `name_teacher` later.
  SegmentResult train(const SegmentPlan& plan, int64_t first_step, const SegmentTeachers& teachers, const ReturnedState& returned,
                      const std::function<void(const StepReport&)>& on_step, const std::atomic<bool>& cancel);
  // Names a teacher that was kept without a name. Any thread may call this at any time.
  void name_teacher(const std::string& kept_as, const std::string& digest);
  EvaluationResult evaluate(const EvaluateOptions& options, const std::function<void(double)>& on_progress,
                            const std::atomic<bool>& cancel);
  // Opens a scorer for many batches under one model and state. It stays open until close_scorer, or until the session is closed or opened
  // again.
  void open_scorer(const ScorerOptions& options);
  std::vector<SequenceScore> score(const ScoreBatch& batch, const std::function<void(double)>& on_progress,
                                   const std::atomic<bool>& cancel);
  void close_scorer() { scorer_.reset(); }
  GenerationResult generate(const GenerateOptions& options, const std::function<void(const GeneratedToken&)>& on_token,
                            const std::function<bool(int64_t prompt)>& stopped, const std::atomic<bool>& cancel);
  // Measures the speed of the model before pruning, and that of the state's pruned model or of a model in another folder. A session
  // without a model measures that of the folder alone.
  MeasureResult measure_speed(const MeasureOptions& options, const std::function<void(double)>& on_progress,
                              const std::atomic<bool>& cancel);
  // Exports the state in a file, which need not be the session's, or the model as it is where the file's name is empty. Call after load;
  // the session need not be open.
  ExportResult export_to(const std::string& state_file, ExportRequest request, const std::function<void(double)>& on_progress,
                         const std::atomic<bool>& cancel);

 private:
  struct NamedTeacher {
    std::string digest;
    std::shared_ptr<const Teacher> teacher;
  };
  Trainer& trainer() const;
  std::shared_ptr<const ModelWeights> model_in(const std::string& folder) const;  // an empty folder stands for the session's model
  // An evaluation or a scorer reads no state of a model of another folder or of the intact model. Otherwise it reads the session's state in
  // its place, or a copy of it where the evaluation is on another device.
  struct Evaluated {
    std::shared_ptr<const DeviceHome> home;
    std::optional<TrainState> state;
  };
  Evaluated evaluated(const std::string& folder, bool intact, const BackendSpec& backend) const;
  StateSummary summary_of(std::string digest, const Masks& masks) const;
  std::string digest_of_state() const;
  std::string hand_out(const ReturnedState& returned, SegmentResult& out);
  Masks masks_of_state() const;  // the deterministic ones
  std::vector<uint8_t> take_open_units();
  EvaluationResult evaluate_unstructured(const EvaluateOptions& options, const std::function<void(double)>& on_progress,
                                         const std::atomic<bool>& cancel);
  std::shared_ptr<const ModelWeights> compacted(ComputeDType dtype);
  void reopen(const StateLayout& layout, uint64_t held_bytes = 0);  // held_bytes: see TrainerOptions
  std::optional<TrainState> change_where_recovery_begins(const SegmentPlan& plan);
  void hold(TrainState state);
  void take_shape_of(const StateLayout& layout, uint64_t held_bytes = 0);
  void state_changes();                          // closes the scorer and frees the small model of the trainer's state
  bool find_teacher(const std::string& digest);  // moves the teacher to the front
  void keep_teacher(const std::string& digest, const std::function<std::shared_ptr<const Teacher>()>& keep);
  void take_names();
  std::vector<std::string> teacher_digests();
  void use_teacher(const std::string& digest, const TeacherFileNames& files);
  void expect_teacher(const std::string& digest, const TeacherFileNames& files);
  void check_stretches(const SegmentPlan& plan, int64_t first_step, const SegmentTeachers& teachers);

  std::string folder_;
  std::shared_ptr<const ModelWeights> model_;
  std::unique_ptr<Trainer> trainer_;
  LoraSpec lora_;  // the LoRA with which the session was opened
  TrainerOptions options_;
  uint64_t slice_bytes_ = kSliceBytes;
  TrainingText data_;
  std::unique_ptr<Scorer> scorer_;
  int64_t sequence_length_ = 0;
  std::list<NamedTeacher> teachers_;  // the one used last is in front
  int64_t unnamed_ = 0;               // counts the teachers that were kept without a name
  std::mutex names_mutex_;
  std::vector<std::pair<std::string, std::string>> names_;  // guarded by names_mutex_: names that no job has taken yet, by kept_as
  std::string teacher_in_use_;                              // empty for the intact model
  TeacherFiles teacher_files_;
  ReusedFileBytes state_files_;      // the memory of the states that are handed out
  std::vector<uint8_t> open_units_;  // the open units of the trainer's state; empty where they are not known
  // The trainer's state as a small model. It is kept until the state changes, so that several generations can use it.
  std::shared_ptr<const ModelWeights> compacted_;
  ComputeDType compacted_dtype_ = ComputeDType::kF32;
};

}  // namespace espalier
