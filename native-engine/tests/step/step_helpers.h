// Makes a training session on a small model with random tokens, and reads the reference vectors.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "espalier/training/trainer.h"
#include "files/safetensors.h"
#include "files/sha256.h"
#include "files/test_files.h"
#include "method/philox.h"

namespace espalier::test {

inline std::shared_ptr<const TokenData> random_tokens(int64_t vocab, int64_t count) {
  auto data = std::make_shared<TokenData>();
  for (int64_t i = 0; i < count; i++) data->ids.push_back(static_cast<uint32_t>(random_uniform(5, 0, 99, i) * static_cast<double>(vocab)));
  return data;
}

inline BackendSpec on_threads(int threads) {
  BackendSpec spec;
  spec.threads = threads;
  return spec;
}

// The losses as published, for sequences of this length: the divergence was a sum over the tokens of a sequence.
inline LossWeights published_losses(int64_t sequence_length) {
  return {0.9, 0.1 * static_cast<double>(sequence_length), 0.0, 2.0 / 3.0, LayerLossScale::kSquared};
}

// Returns the layer loss of one sequence: its layers' outputs against the teacher's, in the columns that each has of the same units.
template <class Rows>
double mean_layer_loss(LayerLossScale scale, const std::vector<Rows>& layers, const std::vector<Rows>& teacher,
                       const std::vector<size_t>& columns, const std::vector<size_t>& teacher_columns) {
  double total = 0;
  for (size_t l = 0; l < layers.size(); l++)
    for (size_t t = 0; t < layers[l].size(); t++) {
      double squares = 0, energy = 0;
      for (size_t j = 0; j < columns.size(); j++) {
        const double of_teacher = teacher[l][t][teacher_columns[j]], d = layers[l][t][columns[j]] - of_teacher;
        squares += d * d;
        energy += of_teacher * of_teacher;
      }
      total += scale == LayerLossScale::kRelative ? squares / energy / static_cast<double>(layers.size())
                                                  : squares / static_cast<double>(columns.size());
    }
  return total / static_cast<double>(layers.front().size());
}

// Takes the state off the device, changes it and puts it back.
template <class F>
void change_state(Trainer& trainer, F&& change) {
  TrainState state = trainer.export_state();
  change(state);
  trainer.import_state(state);
}

inline std::string digest_of(Trainer& trainer) { return sha256_hex(trainer.serialize()); }

inline std::unique_ptr<Trainer> tiny_session(TrainerOptions options, const std::shared_ptr<const ModelWeights>& model) {
  options.batch_size = 2;
  options.sequence_length = 24;
  options.backend.threads = 2;
  auto trainer = Trainer::create(model, LoraSpec{}, options);
  change_state(*trainer, [](TrainState& state) { state.initialise(11); });
  trainer->set_data(random_tokens(model->config().vocab_size, 24 * 31));
  return trainer;
}

// Makes the plan of steps [first, first + count) of one fixed recipe of 40 steps.
inline SegmentPlan segment(int64_t first, int64_t count) {
  SegmentPlan plan;
  plan.seed = 3;
  for (int64_t s = first; s < first + count; s++) {
    plan.lora_learning_rate.push_back(1e-3 * (1.0 - static_cast<double>(s) / 40.0));
    plan.scheduled_sparsity.push_back(std::min(0.5, 0.05 * static_cast<double>(s)));
  }
  return plan;
}

inline void run(Trainer& trainer, const SegmentPlan& plan) {
  const std::atomic<bool> cancel{false};
  trainer.run_segment(plan, nullptr, cancel);
}

// Moves the log-alphas to the clamp, so that a sample closes many gates.
inline void loosen_masks(TrainState& state) {
  for (const char* name : {"mask.head", "mask.intermediate", "mask.hidden"})
    for (float& a : state.view(*state.find(name))) a = a * 0.2f - 0.6f;
}

class VectorFile {
 public:
  explicit VectorFile(const std::string& model)
      : bytes_(read_file(repository() / ("testdata/vectors/step-" + model + ".safetensors"))),
        file_(parse_safetensors({reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size()}, ErrorCode::kInvalidArgument, "vector")) {}
  std::vector<float> floats(const std::string& name) const {
    const TensorView& t = file_.tensors.at(name);
    std::vector<float> v(t.elements());
    std::memcpy(v.data(), t.bytes.data(), t.bytes.size());
    return v;
  }
  std::vector<int64_t> ids() const {
    const TensorView& t = file_.tensors.at("input_ids");
    std::vector<int64_t> v(t.elements());
    std::memcpy(v.data(), t.bytes.data(), t.bytes.size());
    return v;
  }
  Masks masks(const std::string& prefix) const {
    return {floats(prefix + ".head"), floats(prefix + ".intermediate"), floats(prefix + ".hidden")};
  }

 private:
  std::string bytes_;
  Safetensors file_;
};

inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, reference = 0;
  for (size_t i = 0; i < b.size(); i++) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    reference += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / reference);
}

}  // namespace espalier::test
