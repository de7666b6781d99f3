// The settings of a run that the engine uses. Each has one line here: its name in the table of settings (proto/espalier/v1/common.proto;
// names as in JSON) and the value that it sets. Code that reads or writes settings visits these lines.
#pragma once
#include <array>
#include <utility>

#include "espalier/method/segment_plan.h"
#include "espalier/on_device/trainer_options.h"

namespace espalier {

// A setting that is the negation of the value.
struct Negated {
  bool& value;
};

// Visits the settings that a session is opened with: ENGINE_USE_SESSION in the table. `visit` gets a name, the value, and for a whole
// number the core's least value where that is not 1.
template <typename Visit>
void each_session_setting(TrainerOptions& trainer, LoraSpec& lora, Visit&& visit) {
  visit("batchSize", trainer.batch_size);
  visit("sequenceLength", trainer.sequence_length, 2);
  visit("loraRank", lora.rank);
  visit("loraAlpha", lora.alpha);
  visit("loraTargets", lora.targets);
  visit("computeDtype", trainer.dtype);
  visit("denseSteps", Negated{trainer.exact_sparse});
  visit("checkpointActivations", trainer.checkpoint_activations);
  visit("microShards", trainer.micro_shards);
  visit("streamWeights", trainer.stream_weights);
  visit("recoverLoraDropout", trainer.recover_lora_dropout);
  visit("recoverLoraRank", trainer.recover_lora_rank, 0);
  visit("recoverRefitBatches", trainer.recover_refit_batches, 0);
  visit("scanSequences", trainer.scan_sequences, 0);
  visit("calibrationSequences", trainer.calibration_sequences);
  visit("recoverWeights", trainer.recover_weights);
  visit("gates", trainer.gates);
}

// The words for the kinds of gates. Every state has the first three. The setting names them too, so that it is complete for its reader.
inline constexpr std::array<const char*, 3> kGatesOfAll{"head", "unit", "hidden"};
inline constexpr std::array<std::pair<const char*, bool BlockGates::*>, 3> kBlockGates{
    {{"kv-group", &BlockGates::kv_group}, {"attention", &BlockGates::attention}, {"mlp", &BlockGates::mlp}}};

// Visits the settings that each call of training has: ENGINE_USE_TRAINING in the table.
template <typename Visit>
void each_training_setting(SegmentPlan& plan, Visit&& visit) {
  visit("seed", plan.seed);
  visit("maskLearningRate", plan.mask_learning_rate);
  visit("maskNoise", plan.mask_noise);
  visit("lambdaLearningRate", plan.lambda_learning_rate);
  visit("gradientClipNorm", plan.gradient_clip_norm);
  visit("sparsityControl", plan.sparsity_control);
  visit("layerLossScale", plan.losses.layer_scale);
}

// The words of a setting that has a few values.
template <typename Enum>
struct Words;
template <>
struct Words<ComputeDType> {
  static constexpr std::array<std::pair<const char*, ComputeDType>, 2> all = {{{"f32", ComputeDType::kF32}, {"bf16", ComputeDType::kBF16}}};
};
template <>
struct Words<RecoverWeights> {
  static constexpr std::array<std::pair<const char*, RecoverWeights>, 3> all = {
      {{"lora", RecoverWeights::kLora}, {"layers", RecoverWeights::kLayers}, {"all", RecoverWeights::kAll}}};
};
template <>
struct Words<LayerLossScale> {
  static constexpr std::array<std::pair<const char*, LayerLossScale>, 2> all = {
      {{"relative", LayerLossScale::kRelative}, {"squared", LayerLossScale::kSquared}}};
};
template <>
struct Words<SparsityControl> {
  static constexpr std::array<std::pair<const char*, SparsityControl>, 2> all = {
      {{"multipliers", SparsityControl::kMultipliers}, {"tracking", SparsityControl::kTracking}}};
};

}  // namespace espalier
