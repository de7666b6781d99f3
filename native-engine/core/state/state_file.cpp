// The state file: one canonical safetensors file. Its tensors, sorted by name:
//   <entry>, <entry>.adam_m, <entry>.adam_v   F32, for each entry of TrainState
//   lambda, lambda.adam_m, lambda.adam_v      F64 [2]
//   lora.alpha F64 [1], lora.rank I64 [1], lora.targets I64 [7] (0 or 1, in projection order)
//   step I64 [1]
//   shape I64 [3], exact_size I64 [1], cost F64 [8 or more], where a run has such targets
// A state with own weights has no LoRA: its rank and alpha are 1, and its targets 0. The entries mask.kv_group, mask.attention and mask.mlp
// tell which gates of blocks a state has.
#include "espalier/method/train_state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "espalier/method/state_gates.h"
#include "files/safetensors.h"
#include "files/sha256.h"
#include "method/masks/masks.h"
#include "model/tensor_names.h"

namespace espalier {
namespace {

constexpr const char* kSource = "state";
constexpr int64_t kRankMax = 1024;
constexpr int64_t kMultipleMax = 1024;

// One tensor of the file: the values of an entry, or scalars, which lie in memory.
struct Part {
  TensorSpec spec;
  const void* scalars = nullptr;
  const StateLayout::Entry* entry = nullptr;
  StateValues values = StateValues::kParams;
};

// The scalars of a state in the types of the file.
struct Scalars {
  int64_t step = 0, rank = 0;
  double alpha = 0;
  std::array<int64_t, kProjectionCount> targets{};
  std::array<double, 2> lambda{}, lambda_m{}, lambda_v{};
  std::array<int64_t, 3> shape{1, 0, 0};  // multiple_of, uniform, whole_attention; in the file where a run has such a target
  int64_t exact_size = 0;                 // in the file where it is 1
  std::vector<double> cost;               // in the file where there are numbers

  Scalars() = default;
  Scalars(const LoraSpec& lora, const StateScalars& s)
      : step(s.step), rank(lora.rank), alpha(lora.alpha), lambda(s.lambda), lambda_m(s.lambda_m), lambda_v(s.lambda_v) {
    shape = {s.shape.multiple_of, s.shape.uniform ? 1 : 0, s.shape.whole_attention ? 1 : 0};
    exact_size = s.shape.exact_size ? 1 : 0;
    if (s.shape.cost) cost = numbers_of(*s.shape.cost);
    std::copy(lora.targets.begin(), lora.targets.end(), targets.begin());
  }

  void append_parts(std::vector<Part>& parts) const {
    parts.push_back({{"step", TensorType::kI64, {1}}, &step});
    parts.push_back({{"lora.rank", TensorType::kI64, {1}}, &rank});
    parts.push_back({{"lora.alpha", TensorType::kF64, {1}}, &alpha});
    parts.push_back({{"lora.targets", TensorType::kI64, {kProjectionCount}}, targets.data()});
    parts.push_back({{"lambda", TensorType::kF64, {2}}, lambda.data()});
    parts.push_back({{"lambda.adam_m", TensorType::kF64, {2}}, lambda_m.data()});
    parts.push_back({{"lambda.adam_v", TensorType::kF64, {2}}, lambda_v.data()});
    if (target().any()) parts.push_back({{"shape", TensorType::kI64, {3}}, shape.data()});
    if (exact_size == 1) parts.push_back({{"exact_size", TensorType::kI64, {1}}, &exact_size});
    if (!cost.empty()) parts.push_back({{"cost", TensorType::kF64, {static_cast<int64_t>(cost.size())}}, cost.data()});
  }

  ShapeTarget target() const {
    ShapeTarget target{shape[0], shape[1] == 1, shape[2] == 1, exact_size == 1};
    target.cost = cost_from(cost);
    return target;
  }
};

std::vector<Part> sorted_parts(const StateLayout& layout, const Scalars& scalars) {
  std::vector<Part> parts;
  scalars.append_parts(parts);
  for (const StateLayout::Entry& e : layout.entries()) {
    parts.push_back({{e.name, TensorType::kF32, e.shape}, nullptr, &e, StateValues::kParams});
    parts.push_back({{e.name + ".adam_m", TensorType::kF32, e.shape}, nullptr, &e, StateValues::kAdamM});
    parts.push_back({{e.name + ".adam_v", TensorType::kF32, e.shape}, nullptr, &e, StateValues::kAdamV});
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.spec.name < b.spec.name; });
  return parts;
}

std::string header_of(const std::vector<Part>& parts) {
  std::vector<TensorSpec> specs;
  for (const Part& part : parts) specs.push_back(part.spec);
  return safetensors_header(specs, {{"format", "espalier.train_state"}, {"format_version", "1"}});
}

[[noreturn]] void corrupt(const std::string& name, const std::string& message) {
  throw Error(ErrorCode::kStateCorrupt, "state:" + name, "state: " + message);
}

const TensorView& take(const Safetensors& file, const std::string& name, TensorType type, const std::vector<int64_t>& shape) {
  const auto it = file.tensors.find(name);
  const std::string expected = std::string(tensor_type_name(type)) + " " + shape_text(shape);
  if (it == file.tensors.end()) corrupt(name, "tensor " + name + " is missing; the model and the LoRA ask for " + expected);
  if (it->second.type != type || it->second.shape != shape) {
    corrupt(name, "tensor " + name + " is " + tensor_type_name(it->second.type) + " " + shape_text(it->second.shape) +
                      "; the model and the LoRA ask for " + expected);
  }
  return it->second;
}

template <typename T>
void copy_out(const TensorView& from, T* to) {
  std::memcpy(to, from.bytes.data(), from.bytes.size());
}

Safetensors parse_state(std::span<const uint8_t> bytes) {
  Safetensors file = parse_safetensors(bytes, ErrorCode::kStateCorrupt, kSource);
  const auto format = file.metadata.find("format");
  if (format == file.metadata.end() || format->second != "espalier.train_state") {
    corrupt("__metadata__.format", "metadata format must be espalier.train_state: this is some other safetensors file");
  }
  const auto version = file.metadata.find("format_version");
  if (version == file.metadata.end() || version->second != "1") {
    corrupt("__metadata__.format_version", "metadata format_version must be 1");
  }
  return file;
}

Scalars read_scalars(const Safetensors& file) {
  Scalars s;
  copy_out(take(file, "step", TensorType::kI64, {1}), &s.step);
  copy_out(take(file, "lora.rank", TensorType::kI64, {1}), &s.rank);
  copy_out(take(file, "lora.alpha", TensorType::kF64, {1}), &s.alpha);
  copy_out(take(file, "lora.targets", TensorType::kI64, {kProjectionCount}), s.targets.data());
  copy_out(take(file, "lambda", TensorType::kF64, {2}), s.lambda.data());
  copy_out(take(file, "lambda.adam_m", TensorType::kF64, {2}), s.lambda_m.data());
  copy_out(take(file, "lambda.adam_v", TensorType::kF64, {2}), s.lambda_v.data());
  if (file.tensors.contains("shape")) {
    copy_out(take(file, "shape", TensorType::kI64, {3}), s.shape.data());
    const bool flags = (s.shape[1] | s.shape[2]) <= 1 && s.shape[1] >= 0 && s.shape[2] >= 0;
    if (!flags || s.shape[0] < 1 || s.shape[0] > kMultipleMax || !s.target().any())
      corrupt("shape", "shape is no target that a run can have");
  }
  if (file.tensors.contains("exact_size")) {
    copy_out(take(file, "exact_size", TensorType::kI64, {1}), &s.exact_size);
    if (s.exact_size != 1) corrupt("exact_size", "exact_size is " + std::to_string(s.exact_size) + "; a state has 1 there, or nothing");
  }
  if (file.tensors.contains("cost")) {
    const std::vector<int64_t>& found = file.tensors.at("cost").shape;
    const int64_t count = found.size() == 1 ? std::max(found[0], static_cast<int64_t>(kCostNumbers)) : static_cast<int64_t>(kCostNumbers);
    const TensorView& tensor = take(file, "cost", TensorType::kF64, {count});
    s.cost.resize(static_cast<size_t>(count));
    copy_out(tensor, s.cost.data());
    if (!cost_from(s.cost)) corrupt("cost", "sparsity can't be a share of this cost");
  }
  if (s.step < 0) corrupt("step", "step is " + std::to_string(s.step) + "; it counts from 0");
  if (s.rank < 1 || s.rank > kRankMax) {
    corrupt("lora.rank", "lora.rank is " + std::to_string(s.rank) + "; allowed are 1 to " + std::to_string(kRankMax));
  }
  if (!(std::isfinite(s.alpha) && s.alpha > 0)) corrupt("lora.alpha", "lora.alpha must be a finite number above 0");
  for (const int64_t t : s.targets) {
    if (t != 0 && t != 1) corrupt("lora.targets", "lora.targets holds " + std::to_string(t) + "; allowed are 0 and 1");
  }
  for (const auto* pair : {&s.lambda, &s.lambda_m, &s.lambda_v}) {
    for (const double value : *pair) {
      if (!std::isfinite(value)) corrupt("lambda", "lambda and its moments must be finite");
    }
  }
  return s;
}

LoraSpec lora_of(const Scalars& s) {
  LoraSpec lora;
  lora.rank = s.rank;
  lora.alpha = s.alpha;
  for (size_t p = 0; p < kProjectionCount; ++p) lora.targets[p] = s.targets[p] == 1;
  return lora;
}

void check_lora(const LoraSpec& found, const LoraSpec& expected) {
  if (found.rank != expected.rank) {
    corrupt("lora.rank", "lora.rank is " + std::to_string(found.rank) + "; the session has " + std::to_string(expected.rank));
  }
  if (found.alpha != expected.alpha) {
    corrupt("lora.alpha", "lora.alpha is " + std::to_string(found.alpha) + "; the session has " + std::to_string(expected.alpha));
  }
  for (size_t p = 0; p < kProjectionCount; ++p) {
    if (found.targets[p] != expected.targets[p]) {
      corrupt("lora.targets", std::string("lora.targets ") + (found.targets[p] ? "holds " : "lacks ") + kProjectionNames[p] +
                                  "; the session " + (expected.targets[p] ? "trains it" : "does not"));
    }
  }
}

std::string name_in_file(const StateLayout::Entry& e, StateValues values) {
  return e.name + (values == StateValues::kParams ? "" : values == StateValues::kAdamM ? ".adam_m" : ".adam_v");
}

void read_entry(const Safetensors& file, const StateLayout::Entry& e, StateValues values, std::span<float> to) {
  copy_out(take(file, name_in_file(e, values), TensorType::kF32, e.shape), to.data());
}

void check_entry(const Safetensors& file, const StateLayout::Entry& e, StateValues values) {
  const std::string name = name_in_file(e, values);
  const std::span<const uint8_t> bytes = take(file, name, TensorType::kF32, e.shape).bytes;
  const bool squares = values == StateValues::kAdamV;
  for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    if (!std::isfinite(value)) corrupt(name, "tensor " + name + " holds a value that is not finite");
    if (squares && value < 0) corrupt(name, "tensor " + name + " holds a negative mean of squares");
  }
}

}  // namespace

StateBytes::StateBytes(const StateLayout& layout, const StateScalars& state) : contents_(std::make_unique<Contents>(layout, state)) {}
StateBytes::~StateBytes() = default;

struct StateBytes::Contents {
  Contents(const StateLayout& layout, const StateScalars& state)
      : scalars(layout.lora(), state), parts(sorted_parts(layout, scalars)), header(header_of(parts)), size(header.size()) {
    for (const Part& part : parts) size += part.spec.size_bytes();
  }

  Scalars scalars;
  std::vector<Part> parts;
  std::string header;
  uint64_t size;
};

uint64_t StateBytes::size() const { return contents_->size; }

void StateBytes::read(uint64_t from, std::span<uint8_t> to, const CopyValues& copy) const {
  const uint64_t end = from + to.size();
  // Calls use(offset in the part, place) for the bytes of a part of the file at `begin` that are asked for.
  const auto within = [&](uint64_t begin, uint64_t size, const auto& use) {
    const uint64_t first = std::max(begin, from), last = std::min(begin + size, end);
    if (first < last) use(first - begin, to.subspan(first - from, last - first));
  };
  const auto copied = [](const void* bytes) {
    return [bytes](uint64_t offset, std::span<uint8_t> place) {
      std::memcpy(place.data(), static_cast<const uint8_t*>(bytes) + offset, place.size());
    };
  };
  const auto& [scalars, parts, header, size] = *contents_;
  within(0, header.size(), copied(header.data()));
  uint64_t begin = header.size();
  for (const Part& part : parts) {
    if (part.entry) {
      within(begin, part.spec.size_bytes(), [&](uint64_t offset, std::span<uint8_t> place) {
        copy(part.values, part.entry->offset + static_cast<int64_t>(offset / sizeof(float)),
             {reinterpret_cast<float*>(place.data()), place.size() / sizeof(float)});
      });
    } else {
      within(begin, part.spec.size_bytes(), copied(part.scalars));
    }
    begin += part.spec.size_bytes();
  }
}

FileBytes TrainState::serialize() const {
  const StateBytes state(*this, *this);
  FileBytes file(state.size());
  state.read(0, file, [&](StateValues values, int64_t offset, std::span<float> to) {
    const std::vector<float>& from = values == StateValues::kParams ? params_ : values == StateValues::kAdamM ? adam_m_ : adam_v_;
    std::copy_n(from.begin() + offset, to.size(), to.begin());
  });
  return file;
}

std::string TrainState::digest() const { return sha256_hex(serialize()); }

namespace {

BlockGates gates_of(const Safetensors& file) {
  return {file.tensors.contains("mask.kv_group"), file.tensors.contains("mask.attention"), file.tensors.contains("mask.mlp")};
}

TrainState gates_alone(const Safetensors& file, const Scalars& scalars, const ModelConfig& config) {
  TrainState gates(StateLayout(config, LoraSpec{1, 1.0, {}}, gates_of(file)), false);
  gates.step = scalars.step;
  gates.shape = scalars.target();
  for (const TrainState::Entry& e : gates.entries()) {
    check_entry(file, e, StateValues::kParams);
    read_entry(file, e, StateValues::kParams, gates.view(e));
  }
  return gates;
}

// Returns the layout of a state with own weights, which follows from its masks, and from whether it has an embedding.
StateLayout own_layout(const Safetensors& file, const Scalars& scalars, const ModelConfig& config) {
  check_lora(lora_of(scalars), {1, 1.0, {}});
  const TrainState gates = gates_alone(file, scalars, config);
  OpenWidths widths = open_widths(config, deterministic_masks(config, gates));
  widths.own_embeddings = file.tensors.contains(kEmbeddingName);
  return StateLayout(config, widths, gates.gates());
}

}  // namespace

TrainState read_gates(std::span<const uint8_t> state_bytes, const ModelConfig& config) {
  const Safetensors file = parse_state(state_bytes);
  return gates_alone(file, read_scalars(file), config);
}

BlockGates read_block_gates(std::span<const uint8_t> state_bytes) { return gates_of(parse_state(state_bytes)); }

LoraSpec read_lora_spec(std::span<const uint8_t> state_bytes) { return lora_of(read_scalars(parse_state(state_bytes))); }

struct StateReader::Contents {
  Contents(std::span<const uint8_t> bytes, const ModelConfig& config, const LoraSpec& lora)
      : file(parse_state(bytes)), numbers(read_scalars(file)), layout(layout_of(config, lora)) {
    scalars.step = numbers.step;
    scalars.lambda = numbers.lambda;
    scalars.lambda_m = numbers.lambda_m;
    scalars.lambda_v = numbers.lambda_v;
    scalars.shape = numbers.target();
  }

  StateLayout layout_of(const ModelConfig& config, const LoraSpec& lora) const {
    if (file.tensors.contains(kFinalNormName)) return own_layout(file, numbers, config);
    check_lora(lora_of(numbers), lora);
    return StateLayout(config, lora, gates_of(file));
  }

  Safetensors file;
  Scalars numbers;
  StateLayout layout;
  StateScalars scalars;
};

StateReader::StateReader(std::span<const uint8_t> bytes, const ModelConfig& config, const LoraSpec& lora, bool with_moments)
    : contents_(std::make_unique<Contents>(bytes, config, lora)) {
  for (const StateLayout::Entry& e : layout().entries())
    for (const StateValues values : {StateValues::kParams, StateValues::kAdamM, StateValues::kAdamV})
      if (with_moments || values == StateValues::kParams) check_entry(contents_->file, e, values);
  // A state has only one file. Otherwise two files with different digests could hold the same state, or a file could carry tensors that no
  // reader looks at. Every value has its place by the header, so it is enough to compare the header.
  const std::string header = header_of(sorted_parts(layout(), contents_->numbers));
  if (bytes.size() < header.size() || std::memcmp(bytes.data(), header.data(), header.size()) != 0) {
    corrupt("header", "the header is not in the canonical form of a state of this model (order, spelling or extra tensors)");
  }
}
StateReader::~StateReader() = default;

const StateLayout& StateReader::layout() const { return contents_->layout; }
const StateScalars& StateReader::scalars() const { return contents_->scalars; }
void StateReader::read(StateValues values, const StateLayout::Entry& entry, std::span<float> to) const {
  read_entry(contents_->file, entry, values, to);
}

TrainState TrainState::deserialize(std::span<const uint8_t> bytes, const ModelConfig& config, const LoraSpec& lora, bool with_moments) {
  const StateReader reader(bytes, config, lora, with_moments);
  TrainState state(reader.layout(), with_moments);
  static_cast<StateScalars&>(state) = reader.scalars();
  for (const StateValues values : {StateValues::kParams, StateValues::kAdamM, StateValues::kAdamV}) {
    const std::span<float> all = state.values_of(values);
    if (all.empty()) continue;
    for (const Entry& e : state.entries()) reader.read(values, e, all.subspan(static_cast<size_t>(e.offset), static_cast<size_t>(e.size)));
  }
  return state;
}

}  // namespace espalier
