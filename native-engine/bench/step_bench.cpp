// step_bench --model DIR | --shape NAME  [--batch B] [--seq T] [--dtype f32|bf16] [--mask-sparsity P] [--device D] [--threads N]
//            [--lora-rank R] [--seconds S] [--checkpoint] [--stream-weights] [--micro-shards N] [--dense-products] [--real] [--recovery]
//            [--ops N] [--masks]
// Times whole steps with the update and prints one JSON line. Shapes: tiny, heads-128, factbook-llama-3m, mid, 1b, 7b (random weights).
// --mask-sparsity closes heads and intermediate units at random with that probability, in student and teacher, in every step. --lora-rank
// is the rank of the student. Where one of them is a list, as in 0,0.5 or 8,64, the program runs steps of each pair of the two in turn and
// prints a line for each pair: a machine whose speed drifts slows all pairs alike. "ratio" is the median over the turns of the time of a
// step divided by the time of the first pair's step.
// On a card the peak is measured with larger products, and copying is timed too; --product-sizes names other sizes.
// --real times steps as a run has them instead (real_steps.h): masks are sampled and learn, the teacher has LoRA, and hidden units close
// too. --recovery times real steps of recovery, in which the student's own weights learn.
// --masks times no step, but the part of a step in which the host computes the masks (mask_arithmetic.h). It needs no weights.
// --ops N adds a line for each of the N ops that take the longest (op_profile.h): its seconds in a step, and the shares of the best product
// and the best copy that its FLOPs and bytes reach. "lora_gflop" is the work of LoRA's products in a step; "added_s" is the median over the
// turns of the time that a step takes beyond the first pair's step.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "base/memory_use.h"
#include "bench_models.h"
#include "command_line.h"
#include "device/registry.h"
#include "espalier/base/error.h"
#include "espalier/training/fingerprint.h"
#include "espalier/training/memory_plan.h"
#include "mask_arithmetic.h"
#include "op_profile.h"
#include "peaks.h"
#include "real_steps.h"
#include "training/more_devices.h"
#include "training/trainer_impl.h"

namespace {

using namespace espalier;
using namespace espalier::bench;

// Returns the processor time of all threads, including threads that spin while they wait. On a machine with other work this is the cost of
// one thread's step.
double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

struct Options {
  std::string model, shape, dtype, device;
  int64_t batch, seq, micro_shards;
  int threads;
  std::vector<double> mask_sparsity;
  std::vector<int64_t> lora_rank, product_sizes;
  double seconds;
  bool checkpoint, stream_weights, dense_products, real, recovery, masks;
  int64_t ops;
};

std::vector<int64_t> whole(const std::vector<double>& numbers) { return {numbers.begin(), numbers.end()}; }

Options parse(int argc, char** argv) {
  CommandLine line(argc, argv, {"--checkpoint", "--stream-weights", "--dense-products", "--real", "--recovery", "--masks"});
  Options o = {
      .model = line.text("--model", ""),
      .shape = line.text("--shape", "factbook-llama-3m"),
      .dtype = line.dtype(),
      .device = line.text("--device", "auto"),
      .batch = line.whole("--batch", 8),
      .seq = line.whole("--seq", 128),
      .micro_shards = line.whole("--micro-shards", 1),
      .threads = static_cast<int>(line.whole("--threads", 0, 0)),
      .mask_sparsity = line.list("--mask-sparsity", {0}, 0, 1),
      .lora_rank = whole(line.list("--lora-rank", {8}, 1, 4096)),
      .product_sizes = whole(line.list("--product-sizes", {}, 16, 65536)),
      .seconds = line.number("--seconds", 12, 0),
      .checkpoint = line.flag("--checkpoint"),
      .stream_weights = line.flag("--stream-weights"),
      .dense_products = line.flag("--dense-products"),
      .real = line.flag("--real"),
      .recovery = line.flag("--recovery"),
      .masks = line.flag("--masks"),
      .ops = line.whole("--ops", 0, 0),
  };
  o.real = o.real || o.recovery;
  line.refuse_others();
  return o;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.empty() ? 0 : v[v.size() / 2];
}

LoraSpec lora_of(int64_t rank) {
  LoraSpec lora;
  lora.rank = rank;
  return lora;
}

int64_t widest_rank(const Options& o) { return *std::max_element(o.lora_rank.begin(), o.lora_rank.end()); }

// The forward pass computes x A and (x A) B, the backward pass dy B, (dy B) A, dA and dB: six multiply-adds for each token and element of A
// and B.
double lora_flops(const StateLayout& state, int64_t tokens) { return 6.0 * static_cast<double>(state.lora_size() * tokens); }

// Makes random weights, which takes long. So it first checks whether the run fits. Random weights stay in memory, while the weights of a
// file can be dropped and read again. So the limit is the memory that was free before they were made.
std::shared_ptr<const ModelWeights> make_model(const Options& o, TrainerOptions& options) {
  if (!o.model.empty()) return load_model(o.model);
  const ModelConfig config = shape_config(o.shape);
  const DType dtype = o.dtype == "f32" ? DType::kF32 : DType::kBF16;
  const MemoryPlan plan = plan_memory(config, random_model_bytes(config, dtype), lora_of(widest_rank(o)), options);
  if (plan.total > plan.available)
    throw Error(ErrorCode::kOutOfMemory, "memory",
                "shape " + o.shape + " needs " + std::to_string(plan.total) + " bytes (weights " + std::to_string(plan.weights) +
                    ", activations " + std::to_string(plan.activations) + "), available are " + std::to_string(plan.available));
  options.memory_limit_bytes = plan.available;
  return random_model(config, dtype, 1);
}

struct Measured {
  double sparsity;
  TrainerImpl* trainer;  // nullptr where real steps are timed
  std::shared_ptr<RealSteps> real;
  std::vector<double> times, processor_times, ratios, added;  // ratios and added compare with the first entry's step of the same turn
  std::vector<StepTimes> parts;
  std::vector<OpTotal> ops;  // the ops of the last step
};

// The values that all lines of one call have in common.
struct Environment {
  BackendSpec spec;
  int64_t devices = 1;  // those that compute a part of a step
  std::string numerics;
  double peak = 0, copied = 0;  // FLOPs a second of products, and bytes a second of copies
  double parameters = 0;        // the parameters of the model's matrices without the embedding
  uint64_t peak_bytes = 0, planned_bytes = 0;
  // By how much the free memory of a card fell, including what its driver takes. 0 on the processor, whose memory other programs take too.
  int64_t device_bytes = 0;
  std::vector<double> round_trips_ns;
};

void print(const Options& o, const Measured& m, const Environment& e) {
  const StateLayout& layout = o.real ? m.real->layout() : m.trainer->layout();
  const double tokens = static_cast<double>(o.batch * o.seq), s = median(m.times), flops = 6.0 * e.parameters * tokens / s;
  const auto part = [&](double StepTimes::* member) {
    std::vector<double> v;
    for (const StepTimes& t : m.parts) v.push_back(t.*member);
    return median(v);
  };
  std::printf(
      "{\"model\":\"%s\",\"real\":%s,\"batch\":%lld,\"seq\":%lld,\"dtype\":\"%s\",\"mask_sparsity\":%g,\"lora_rank\":%lld,\"lora_gflop\":"
      "%.3f,"
      "\"added_s\":%.6f,\"threads\":%d,\"steps\":%zu,"
      "\"s_per_step\":%.6f,\"s_per_step_min\":%.6f,\"processor_s_min\":%.6f,\"ratio\":%.4f,\"tokens_per_s\":%.1f,\"model_flops_per_s\":%."
      "4g,\"matmul_peak_flops_"
      "per_s\":%.4g,"
      "\"peak_share\":%.4f,\"parts\":{\"teacher_forward\":%.6f,\"student_forward\":%.6f,\"backward\":%.6f,\"losses\":%.6f,\"update\":%."
      "6f},"
      "\"copy_bytes_per_s\":%.4g,\"device\":\"%s\",\"devices\":%lld,\"products\":\"%s\",\"checkpoint\":%s,\"streamed\":%s,\"thread_round_"
      "trip_ns\":%.0f,"
      "\"peak_bytes\":%llu,\"planned_bytes\":%llu,\"device_bytes\":%lld,\"numerics\":"
      "\"%s\"}\n",
      o.model.empty() ? o.shape.c_str() : o.model.c_str(), o.real ? "true" : "false", static_cast<long long>(o.batch),
      static_cast<long long>(o.seq), o.dtype.c_str(), m.sparsity, static_cast<long long>(layout.lora().rank),
      lora_flops(layout, o.batch * o.seq) / 1e9, median(m.added), o.threads, m.times.size(), s,
      *std::min_element(m.times.begin(), m.times.end()), *std::min_element(m.processor_times.begin(), m.processor_times.end()),
      median(m.ratios), tokens / s, flops, e.peak, flops / e.peak, part(&StepTimes::teacher_forward), part(&StepTimes::student_forward),
      part(&StepTimes::backward), part(&StepTimes::losses), part(&StepTimes::update), e.copied, describe_device(e.spec).model.c_str(),
      static_cast<long long>(e.devices), describe_device(e.spec).products.c_str(), o.checkpoint ? "true" : "false",
      o.stream_weights ? "true" : "false", median(e.round_trips_ns), static_cast<unsigned long long>(e.peak_bytes),
      static_cast<unsigned long long>(e.planned_bytes), static_cast<long long>(e.device_bytes), e.numerics.c_str());
  for (size_t i = 0; i < m.ops.size() && static_cast<int64_t>(i) < o.ops; i++) {
    const OpTotal& op = m.ops[i];
    std::printf(
        "{\"op\":\"%s\",\"mask_sparsity\":%g,\"count\":%lld,\"s\":%.6f,\"flops\":%.4g,\"bytes\":%.4g,\"matmul_peak_share\":%.4f,"
        "\"copy_share\":%.4f}\n",
        op.name.c_str(), m.sparsity, static_cast<long long>(op.count), op.seconds, op.flops, op.bytes, op.flops / op.seconds / e.peak,
        op.bytes / op.seconds / e.copied);
  }
}

// Runs a step of each entry in turn, so that a machine whose speed drifts slows all entries alike. Returns the round trips between threads.
std::vector<double> time_steps(const Options& o, const ModelConfig& config, std::vector<Measured>& measured) {
  std::vector<int32_t> ids(o.batch * o.seq);
  for (size_t i = 0; i < ids.size(); i++)
    ids[i] = static_cast<int32_t>(random_uniform(3, 0, 9, static_cast<int64_t>(i)) * static_cast<double>(config.vocab_size));
  std::vector<double> round_trips;
  const auto begin = Clock::now();
  constexpr int64_t warm_up = 2;  // these turns are not counted, because memory is touched for the first time in them
  const double seconds = o.seconds * static_cast<double>(measured.size());
  for (int64_t turn = 0; turn < warm_up + 3 || (seconds_since(begin) < seconds && turn < 400); turn++)
    for (Measured& m : measured) {
      if (o.ops > 0) OpProfile::one().begin();
      // Closes gates at random: the student gets a new sample in each step, the teacher keeps the same masks.
      const Masks student = o.real ? Masks{} : random_masks(config, m.sparsity, turn);
      if (!o.real && (turn == 0 || measured.size() > 1)) m.trainer->set_teacher_masks(random_masks(config, m.sparsity, -1));
      const double processor_start = processor_seconds();
      const auto start = Clock::now();
      if (o.real)
        m.real->step();
      else
        m.trainer->measured_step(student, LossWeights{}, ids);
      if (turn < warm_up) continue;
      m.times.push_back(seconds_since(start));
      m.processor_times.push_back(processor_seconds() - processor_start);
      m.ratios.push_back(m.times.back() / measured.front().times.back());
      m.added.push_back(m.times.back() - measured.front().times.back());
      if (!o.real) m.parts.push_back(m.trainer->last_times());
      if (o.ops > 0) m.ops = OpProfile::one().end();
      round_trips.push_back(thread_round_trip_ns(o.threads > 0 ? o.threads : omp_get_num_procs()));
    }
  return round_trips;
}

void run(const Options& o) {
  if (o.masks) {
    for (const double closed : o.mask_sparsity) time_mask_arithmetic(o.shape, closed, o.threads);
    return;
  }
  TrainerOptions options;
  options.dtype = o.dtype == "f32" ? ComputeDType::kF32 : ComputeDType::kBF16;
  options.batch_size = o.batch;
  options.sequence_length = o.seq;
  const std::vector<BackendSpec> devices = parse_devices(o.device, o.threads);
  options.backend = devices.front();
  options.more_devices.assign(devices.begin() + 1, devices.end());
  options.exact_sparse = !o.dense_products;
  options.checkpoint_activations = o.checkpoint;
  options.stream_weights = o.stream_weights;
  options.micro_shards = o.micro_shards;
  if (o.ops > 0 && devices.size() > 1)
    throw Error(ErrorCode::kInvalidArgument, "--ops", "measures the ops of one device, not of " + std::to_string(devices.size()));
  if (o.ops > 0) profile_backends();
  const std::shared_ptr<const ModelWeights> model = make_model(o, options);
  const uint64_t free_before = describe_device(resolve_backend(options.backend)).memory_available_bytes;
  const ModelConfig& c = model->config();
  const MemoryPlan plan = plan_memory(c, model->bytes(), lora_of(widest_rank(o)), options);
  std::vector<Measured> measured;
  std::vector<std::unique_ptr<TrainerImpl>> trainers;
  for (const int64_t rank : o.lora_rank) {
    if (o.real) {
      for (const double p : o.mask_sparsity)
        measured.push_back(
            {p,
             nullptr,
             std::make_shared<RealSteps>(model, lora_of(rank), options, p, o.recovery ? RealPhase::kRecovery : RealPhase::kPruning),
             {},
             {},
             {},
             {},
             {},
             {}});
      continue;
    }
    trainers.push_back(std::make_unique<TrainerImpl>(model, lora_of(rank), options));
    TrainState state(trainers.back()->layout());
    state.initialise(1);
    trainers.back()->import_state(state);
    for (const double p : o.mask_sparsity) measured.push_back({p, trainers.back().get(), nullptr, {}, {}, {}, {}, {}, {}});
  }
  Environment e;
  e.round_trips_ns = time_steps(o, c, measured);
  e.peak_bytes = peak_resident_bytes();
  e.planned_bytes = plan.total;
  e.numerics = numerics_fingerprint(options);
  e.spec = resolve_backend(options.backend);
  e.devices = devices_at_work(options, o.recovery);
  const bool on_card = kind_of(e.spec).has_own_memory();
  if (on_card) e.device_bytes = static_cast<int64_t>(free_before) - static_cast<int64_t>(describe_device(e.spec).memory_available_bytes);
  const std::unique_ptr<Backend> backend = make_backend(e.spec);
  const std::vector<int64_t> usual = on_card ? std::vector<int64_t>{2048, 4096, 8192} : std::vector<int64_t>{1024, 2048};
  e.peak = matmul_peak(o.dtype, backend.get(), o.product_sizes.empty() ? usual : o.product_sizes);
  e.copied = copy_rate(backend.get(), uint64_t{1} << (on_card && o.product_sizes.empty() ? 30 : 26));
  e.parameters = static_cast<double>(c.vocab_size * c.hidden_size);
  for (const LayerShape& l : c.layers)
    e.parameters +=
        static_cast<double>(c.hidden_size) * static_cast<double>((2 * l.heads + 2 * l.kv_heads) * c.head_dim + 3 * l.intermediate);
  for (const Measured& m : measured) print(o, m, e);
}
}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const espalier::Error& e) {
    std::cerr << "step_bench: " << espalier::error_code_name(e.code()) << " " << e.field() << ": " << e.what() << "\n";
  } catch (const std::exception& e) {
    std::cerr << "step_bench: " << e.what() << "\n";
  }
  return 1;
}
