// The whole trainable state of a run: everything that a resume needs besides the recipe and the base model.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "espalier/method/file_bytes.h"
#include "espalier/model/model_weights.h"

namespace espalier {

struct LoraSpec {
  int64_t rank = 8;
  double alpha = 8.0;  // the product B*A is scaled by alpha / rank
  std::array<bool, kProjectionCount> targets{true, true, true, true, true, true, true};
  double scale() const { return alpha / static_cast<double>(rank); }
};

// The numbers of open parts in a student whose own weights are trained: its heads and the key/value heads that they read, its units, its
// hidden units. Its embedding and lm_head either learn too or stay the model's.
struct OpenWidths {
  struct Layer {
    int64_t heads = 0, kv_heads = 0, units = 0;
    bool operator==(const Layer&) const = default;
  };
  int64_t hidden = 0;
  std::vector<Layer> layers;
  bool own_embeddings = true;
  bool operator==(const OpenWidths&) const = default;
};

// The gates of blocks that a state has besides those of heads, units and hidden units: one for each key/value head with the query heads
// that read it, one for each layer's attention, one for each layer's MLP. The mask of a head is the product of its own gate, its group's
// and its layer's; the mask of a unit is the product of its own gate and its layer's.
struct BlockGates {
  bool kv_group = false, attention = false, mlp = false;

  bool any() const { return kv_group || attention || mlp; }
  bool operator==(const BlockGates&) const = default;
};

// Where each trainable tensor lies in one flat f32 buffer, in canonical order: LoRA of layer 0..L-1 in projection order, A before B;
// then mask.head [L,H], mask.intermediate [L,I], mask.hidden [D]; then, where the state has such gates, mask.kv_group [L,G],
// mask.attention [L], mask.mlp [L]: all log-alphas.
//
// A student whose own weights are trained has these in place of LoRA: the open rows and columns of all projections and, where they learn
// too, of the embedding and lm_head, under the names of the model's tensors; then the vectors, which are the norms, biases and norms of
// heads. Columns of matrices and entries of norms are padded to a multiple of kWidthMultiple (core/device/memory.h) with zeros, as the
// device reads them.
class StateLayout {
 public:
  struct Entry {
    std::string name;  // "model.layers.0.self_attn.q_proj.lora_A", "mask.head", ...
    std::vector<int64_t> shape;
    int64_t offset = 0;  // in floats
    int64_t size = 0;
  };

  StateLayout(const ModelConfig& config, const LoraSpec& lora, const BlockGates& gates = {});
  StateLayout(const ModelConfig& config, const OpenWidths& widths, const BlockGates& gates = {});

  const BlockGates& gates() const { return gates_; }
  const LoraSpec& lora() const { return lora_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const Entry* find(const std::string& name) const;
  const Entry* lora_a(int64_t layer, Projection p) const;  // nullptr where p is not a target
  const Entry* lora_b(int64_t layer, Projection p) const;
  bool has_own_weights() const { return !widths_.layers.empty(); }
  const OpenWidths& widths() const { return widths_; }      // the open parts of own weights
  int64_t vectors_begin() const { return vectors_begin_; }  // the offset of the first vector; without own weights the offset of the masks
  int64_t lora_size() const { return lora_size_; }          // the floats of LoRA or of own weights; masks follow them
  int64_t mask_size() const { return size_ - lora_size_; }
  int64_t size() const { return size_; }

 private:
  int32_t add(std::string name, std::vector<int64_t> shape);
  void add_masks(const ModelConfig& config);

  LoraSpec lora_;
  BlockGates gates_;
  OpenWidths widths_;
  std::vector<Entry> entries_;
  std::map<std::string, int32_t, std::less<>> by_name_;
  std::vector<int32_t> lora_index_;  // [L * 7 * 2], an index into entries_, or -1
  int64_t vectors_begin_ = 0, lora_size_ = 0, size_ = 0;
};

// The cost of a layer's parts of one kind, by how many are open: a layer with `widths[i]` open parts costs as much as `parts[i]` of them do
// in an intact layer. The curve is straight between these points and from (0, 0) to the first. Empty: every part costs the same, however
// many are open.
struct WidthCurve {
  std::vector<double> widths, parts;  // both rise; the last width is that of the intact layer, and equals its number of parts

  double at(double width) const;
  double slope(double width) const;
  bool operator==(const WidthCurve&) const = default;
};

// The cost of a model by its open parts, in the unit of a run's budget: parameters, bytes, multiplications or seconds. Sparsity is the
// share of the cost that is gone. A key/value head is read where one of its query heads is open.
struct Cost {
  // The costs that are proportional to the number of open hidden units, given for all of them: one query head, one intermediate unit, one
  // key/value head that is read, and the rest (embeddings, norms).
  double head = 0, unit = 0, kv = 0, rest = 0;
  // The costs of the same parts that do not depend on hidden units (biases, the cache), and of the rest.
  double head_alone = 0, unit_alone = 0, kv_alone = 0, rest_alone = 0;
  // Used where the cost, as seconds do, does not grow in proportion to widths. Then the numbers above are those of a part in an intact
  // layer.
  WidthCurve head_curve, unit_curve, kv_curve;

  bool straight() const { return head_curve.widths.empty() && unit_curve.widths.empty() && kv_curve.widths.empty(); }
  bool operator==(const Cost&) const = default;
};
// Returns the numbers of a cost: first kCostNumbers numbers in the order of the members. Where the cost has curves, each follows: the
// number of its points, then the width and the parts of each point.
inline constexpr size_t kCostNumbers = 8;
std::vector<double> numbers_of(const Cost& cost);
// Returns nothing where sparsity can't be a share of the cost: a number is below 0 or not finite, heads or units cost nothing, or a curve
// falls.
std::optional<Cost> cost_from(std::span<const double> numbers);

// The shapes that the masks of a run must keep, so that programs made for such shapes gain by them, and how the masks' counts are rounded.
// It is part of a state from the first step on.
struct ShapeTarget {
  int64_t multiple_of = 1;       // divides the open intermediate units of each layer, and the open hidden units
  bool uniform = false;          // all layers have the same number of open heads, and of open units
  bool whole_attention = false;  // a layer has all its heads or none; the first layer has all
  // Without shapes: the number of open parameters is the one that the probabilities give, to within half a unit, though each group of gates
  // is rounded.
  bool exact_size = false;
  // Sparsity is the removed share of this cost. Without it, sparsity is the removed share of the prunable parameters.
  std::optional<Cost> cost = std::nullopt;

  // Returns true where the target asks for certain widths.
  bool any() const { return multiple_of != 1 || uniform || whole_attention; }
  bool operator==(const ShapeTarget&) const = default;
};

// The numbers of a state that are not tensors.
struct StateScalars {
  int64_t step = 0;                // the number of steps done
  std::array<double, 2> lambda{};  // the Lagrange multipliers
  std::array<double, 2> lambda_m{}, lambda_v{};
  ShapeTarget shape;
};

enum class StateValues { kParams, kAdamM, kAdamV };

// A state in the host's memory, which can be read, written and compared. Adam's moments lie in two buffers with the layout of the
// parameters.
class TrainState : public StateLayout, public StateScalars {
 public:
  TrainState(const ModelConfig& config, const LoraSpec& lora, const BlockGates& gates = {})
      : TrainState(StateLayout(config, lora, gates)) {}
  explicit TrainState(const StateLayout& layout, bool with_moments = true);  // all values are 0, and the step is 0

  // Sets A of LoRA kaiming-uniform, B to zero, log-alphas as in the method, and lambdas to 0. A pure function of the seed.
  void initialise(uint64_t seed);

  std::span<float> params() { return params_; }
  std::span<float> adam_m() { return adam_m_; }
  std::span<float> adam_v() { return adam_v_; }
  std::span<const float> params() const { return params_; }
  std::span<const float> adam_m() const { return adam_m_; }
  std::span<const float> adam_v() const { return adam_v_; }
  std::vector<float> take(StateValues values) { return std::move(values_of(values)); }  // the state has these values no longer
  std::span<const float> view(const Entry& e) const { return std::span<const float>(params_).subspan(e.offset, e.size); }
  std::span<float> view(const Entry& e) { return std::span<float>(params_).subspan(e.offset, e.size); }

  // Returns the state as one safetensors file with a canonical header (entries sorted by name, no timestamps). Equal states give equal
  // bytes, so the SHA-256 of the file is the state's digest.
  FileBytes serialize() const;
  // Throws Error(kStateCorrupt, field, ...) where the bytes do not fit the model or the LoRA. A state with own weights has no LoRA, so any
  // LoRA fits it.
  static TrainState deserialize(std::span<const uint8_t> bytes, const ModelConfig& config, const LoraSpec& lora, bool with_moments = true);
  std::string digest() const;  // the SHA-256 of serialize(), in hexadecimal

  // Returns a state of the same model whose LoRA has a higher rank and the same scale: A has more rows, which (seed, step) decide at
  // random, and B as many columns of zeros. LoRA's moments are 0.
  TrainState widened(const ModelConfig& config, int64_t more_rank, uint64_t seed) const;

 private:
  std::vector<float>& values_of(StateValues values) {
    return values == StateValues::kParams ? params_ : values == StateValues::kAdamM ? adam_m_ : adam_v_;
  }

  std::vector<float> params_, adam_m_, adam_v_;
};

// Makes the file of a state whose values may lie anywhere, whole or in pieces: the same bytes as those of TrainState::serialize. `copy`
// copies values from an offset of the layout on to `to`, which stays where it is, so `copy` may do so later.
using CopyValues = std::function<void(StateValues, int64_t offset, std::span<float> to)>;
class StateBytes {
 public:
  StateBytes(const StateLayout& layout, const StateScalars& scalars);  // the layout must outlive it
  ~StateBytes();
  uint64_t size() const;
  // Makes the bytes of the file from `from` on, as many as `to` has. Both limits must be multiples of 4, and the first byte of `to` must be
  // aligned for floats.
  void read(uint64_t from, std::span<uint8_t> to, const CopyValues& copy) const;

 private:
  struct Contents;
  std::unique_ptr<const Contents> contents_;
};

// Reads a state from the bytes of its file, which must outlive it, without a copy of the whole state. Every value is checked before the
// first one is read.
class StateReader {
 public:
  // Throws as TrainState::deserialize does.
  StateReader(std::span<const uint8_t> bytes, const ModelConfig& config, const LoraSpec& lora, bool with_moments = true);
  ~StateReader();
  const StateLayout& layout() const;
  const StateScalars& scalars() const;
  void read(StateValues values, const StateLayout::Entry& entry, std::span<float> to) const;  // to: entry.size floats

 private:
  struct Contents;
  std::unique_ptr<const Contents> contents_;
};

// Returns which gates of blocks a state has. Throws Error(kStateCorrupt, ...).
BlockGates read_block_gates(std::span<const uint8_t> state_bytes);

// Returns the LoRA that a state was made with, so that a caller who has only the bytes can read them. Throws Error(kStateCorrupt, ...).
LoraSpec read_lora_spec(std::span<const uint8_t> state_bytes);

// The log-alphas of a state: [L, H], [L, I] and [D]; [L, G], [L] and [L] where it has gates of blocks, else empty; and the shape target of
// the masks.
struct LogAlphas {
  std::span<const float> head, intermediate, hidden, kv_group, attention, mlp;
  BlockGates gates;
  ShapeTarget shape;

  LogAlphas(const TrainState& state);
  LogAlphas(const StateLayout& layout, std::span<const float> masks, const ShapeTarget& shape);  // masks: the part of the layout after LoRA
};

}  // namespace espalier
