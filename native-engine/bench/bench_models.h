// Makes the models and masks of the benchmarks.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/method/model_masks.h"
#include "method/masks/masks.h"
#include "method/philox.h"

namespace espalier {

inline ModelConfig shape_config(const std::string& name) {
  struct Shape {
    int64_t d, l, h, g, i, v;
  };
  const std::map<std::string, Shape> shapes = {
      {"factbook-llama-3m", {192, 6, 6, 6, 512, 2048}}, {"tiny", {32, 2, 2, 1, 32, 64}},  // for rehearsals on an emulated card
      {"heads-128", {256, 2, 2, 1, 512, 512}},                                            // small, with heads of LLaMA's size
      {"mid", {768, 12, 12, 12, 2048, 8192}},           {"1b", {2048, 22, 32, 4, 5632, 32000}}, {"7b", {4096, 32, 32, 32, 11008, 32000}}};
  const auto found = shapes.find(name);
  if (found == shapes.end())
    throw Error(ErrorCode::kInvalidArgument, "--shape", "unknown; known are tiny, heads-128, factbook-llama-3m, mid, 1b, 7b");
  const Shape s = found->second;
  ModelConfig c;
  c.architecture = "LlamaForCausalLM";
  c.hidden_size = s.d;
  c.layer_count = s.l;
  c.head_count = s.h;
  c.kv_head_count = s.g;
  c.head_dim = s.d / s.h;
  c.intermediate_size = s.i;
  c.vocab_size = s.v;
  c.max_positions = 4096;
  c.rms_norm_eps = 1e-5;
  LayerShape layer{s.h, s.g, s.i, {}};
  for (int64_t h = 0; h < s.h; h++) layer.kv_head_of_query.push_back(static_cast<int32_t>(h * s.g / s.h));
  c.layers.assign(s.l, layer);
  return c;
}

// Makes masks in which each head and each unit is closed with probability p and otherwise fully open.
inline Masks random_masks(const ModelConfig& c, double p, int64_t step) {
  Masks z = open_masks(c);
  const auto close = [&](std::vector<float>& values, uint32_t stream) {
    for (size_t i = 0; i < values.size(); i++)
      if (random_uniform(7, step, stream, static_cast<int64_t>(i)) < p) values[i] = 0.0f;
  };
  close(z.head, 1);
  close(z.intermediate, 2);
  return z;
}

}  // namespace espalier
