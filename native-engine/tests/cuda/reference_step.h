// A step on a card against the reference vectors of the tiny model.
#pragma once
#include "cuda_emulator/emulated_kind.h"
#include "files/small_models.h"
#include "step/step_helpers.h"

namespace espalier::test {

inline void expect_reference_vectors(const BackendSpec& card, ComputeDType dtype) {
  const VectorFile file("gqa-random-tiny");
  const double tolerance = dtype == ComputeDType::kF32 ? 1e-4 : 7e-2;
  TrainerOptions options;
  options.dtype = dtype;
  options.backend = card;
  options.batch_size = 2;
  options.sequence_length = 64;
  const auto trainer = Trainer::create(load_model(tiny_model()), LoraSpec{}, options);
  TrainState state(trainer->layout());
  StepProbe probe;
  probe.input_ids = file.ids();
  probe.student = file.masks("z");
  probe.teacher = file.masks("teacher_z");
  for (const TrainState::Entry& e : state.entries())
    if (e.offset < state.lora_size()) {
      const auto v = file.floats(e.name);
      std::copy(v.begin(), v.end(), state.view(e).begin());
    }
  trainer->import_state(state);
  trainer->probe(probe, published_losses(64));
  probe.kl_loss *= 64;  // the file has the sum over a sequence
  for (const auto& [name, ours] : {std::pair{"loss", probe.loss}, {"layer_loss", probe.layer_loss}, {"kl_loss", probe.kl_loss}})
    EXPECT_NEAR(ours / file.floats(name)[0], 1.0, dtype == ComputeDType::kF32 ? 1e-5 : 1e-2) << name;
  EXPECT_LT(relative_error(probe.grad_log_alpha.head, file.floats("grad_loga.head")), tolerance);
  EXPECT_LT(relative_error(probe.grad_log_alpha.intermediate, file.floats("grad_loga.intermediate")), tolerance);
  EXPECT_LT(relative_error(probe.grad_log_alpha.hidden, file.floats("grad_loga.hidden")), tolerance);
  for (const TrainState::Entry& e : state.entries())
    if (e.offset < state.lora_size()) {
      const std::vector<float> ours(probe.grad_lora.begin() + e.offset, probe.grad_lora.begin() + e.offset + e.size);
      EXPECT_LT(relative_error(ours, file.floats("grad." + e.name)), tolerance) << e.name;
    }
}

}  // namespace espalier::test
