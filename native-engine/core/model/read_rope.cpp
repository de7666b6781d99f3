#include "model/read_rope.h"

#include <cmath>

#include "model/architecture.h"

namespace espalier {

double default_attention_factor(double factor) { return factor > 1 ? 0.1 * std::log(factor) + 1.0 : 1.0; }

namespace {

constexpr double kPositive = 1e-30;  // the smallest allowed value where zero or less makes no sense
constexpr double kFactorMax = 1e6;
constexpr int64_t kPositionsMax = int64_t{1} << 31;

[[noreturn]] void unsupported(const std::string& field, const std::string& message) {
  throw Error(ErrorCode::kModelUnsupported, field, field + " " + message);
}

void read_llama3(const JsonObject& rope, RopeScaling& out) {
  out.type = RopeType::kLlama3;
  out.factor = rope.number("factor", 1, kFactorMax);
  out.low_freq_factor = rope.number("low_freq_factor", kPositive, kFactorMax);
  out.high_freq_factor = rope.number("high_freq_factor", kPositive, kFactorMax);
  out.original_max_positions = rope.integer("original_max_position_embeddings", 1, kPositionsMax);
  if (out.high_freq_factor <= out.low_freq_factor) {
    rope.fail("high_freq_factor", "must be greater than low_freq_factor");
  }
}

// Returns the field's value; an absent or zero field has its default, as in transformers.
double nonzero_or(const JsonObject& rope, const char* key, double fallback) {
  const double value = rope.number_or(key, 0, kFactorMax, fallback);
  return value == 0 ? fallback : value;
}

void read_yarn(const JsonObject& rope, int64_t max_positions, RopeScaling& out) {
  out.type = RopeType::kYarn;
  out.factor = rope.number("factor", 1, kFactorMax);
  out.original_max_positions = rope.integer_or("original_max_position_embeddings", 1, kPositionsMax, max_positions);
  out.beta_fast = nonzero_or(rope, "beta_fast", 32);
  out.beta_slow = nonzero_or(rope, "beta_slow", 1);
  out.truncate = rope.boolean_or("truncate", true);
  if (out.beta_fast <= out.beta_slow) rope.fail("beta_fast", "must be greater than beta_slow");
  const double scale = rope.number_or("mscale", 0, kFactorMax, 0), all = rope.number_or("mscale_all_dim", 0, kFactorMax, 0);
  const auto attention = [&](double by) { return out.factor > 1 ? 0.1 * by * std::log(out.factor) + 1.0 : 1.0; };
  const double computed = scale != 0 && all != 0 ? attention(scale) / attention(all) : default_attention_factor(out.factor);
  out.attention_factor = rope.number_or("attention_factor", kPositive, kFactorMax, computed);
}

RopeScaling read_scaling(const JsonObject& rope, const ModelConfig& model) {
  RopeScaling out;
  const std::string type = rope.string("rope_type").value_or(rope.string("type").value_or("default"));
  const std::string type_field = rope.path_of(rope.find("rope_type") != nullptr ? "rope_type" : "type");
  if (rope.find("mrope_section") != nullptr) {
    unsupported(rope.path_of("mrope_section"), "is set: positions of several dimensions (mrope) are not supported");
  }
  if (rope.number_or("partial_rotary_factor", 0, 1, 1.0) != 1.0) {
    unsupported(rope.path_of("partial_rotary_factor"), "is not 1: rotary embedding of a part of a head is not supported");
  }
  if (rope.find("llama_4_scaling_beta") != nullptr) {
    unsupported(rope.path_of("llama_4_scaling_beta"), "is set: queries that are scaled by their position are not supported");
  }
  if (type == "linear") {
    out.type = RopeType::kLinear;
    out.factor = rope.number("factor", 1, kFactorMax);
  } else if (type == "llama3") {
    read_llama3(rope, out);
  } else if (type == "yarn") {
    read_yarn(rope, model.max_positions, out);
  } else if (type != "default") {
    unsupported(type_field, "is \"" + type + "\": supported are default, linear, llama3, yarn");
  }
  return out;
}

}  // namespace

// Reads the form in which Gemma rotates the layers with a sliding window by another base, without scaling.
static void read_rope_of_kinds(const JsonObject& config, ModelConfig& out) {
  const auto scaling = config.object("rope_scaling"), parameters = config.object("rope_parameters");
  const auto full = parameters ? parameters->object("full_attention") : scaling;
  const auto sliding = parameters ? parameters->object("sliding_attention") : std::nullopt;
  out.rope_theta = config.number_or("rope_theta", kPositive, 1e15, architecture_of(out).absent_rope_theta);
  out.local_rope_theta = config.number_or("rope_local_base_freq", kPositive, 1e15, 10000);
  if (full) out.rope_theta = full->number_or("rope_theta", kPositive, 1e15, out.rope_theta);
  if (full) out.rope_scaling = read_scaling(*full, out);
  if (!sliding) return;
  out.local_rope_theta = sliding->number_or("rope_theta", kPositive, 1e15, out.local_rope_theta);
  if (read_scaling(*sliding, out).type != RopeType::kDefault) {
    unsupported(sliding->path_of("rope_type"), "scales the layers with a sliding window: supported is default");
  }
}

// Older files have rope_theta and rope_scaling side by side, newer ones a single rope_parameters object with both.
void read_rope(const JsonObject& config, ModelConfig& out) {
  if (architecture_of(out).local_rope) return read_rope_of_kinds(config, out);
  const auto scaling = config.object("rope_scaling");
  const auto parameters = config.object("rope_parameters");
  out.rope_theta = config.number_or("rope_theta", kPositive, 1e15, architecture_of(out).absent_rope_theta);
  if (parameters) {
    for (const char* kind : {"full_attention", "sliding_attention"}) {
      if (parameters->object(kind)) unsupported(parameters->path_of(kind), "is set: rope per kind of layer is not supported");
    }
    out.rope_theta = parameters->number_or("rope_theta", kPositive, 1e15, out.rope_theta);
  }
  if (scaling) {
    out.rope_scaling = read_scaling(*scaling, out);
  } else if (parameters) {
    out.rope_scaling = read_scaling(*parameters, out);
  }
}

}  // namespace espalier
