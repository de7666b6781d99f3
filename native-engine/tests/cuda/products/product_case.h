// Products and a small session on the emulated card, for the tests of the ways in which a card computes products.
#pragma once
#include <string>
#include <vector>

#include "backend_ops/op_fixture.h"
#include "cuda_emulator/emulated_kind.h"
#include "files/small_models.h"
#include "method/masks/masks.h"
#include "step/step_helpers.h"

namespace espalier::test {

// A product in bf16 with one term, or with a term of LoRA as well.
struct ProductCase {
  bool transposed, f32_result, accumulate, scaled, lora;
  DType type = DType::kBF16;
  int64_t rows = 40;
  bool by_shape = true;
  int64_t cols = 304, depth = 96, rank = 8;
};

// Computes a product of one or two terms and returns c.
inline std::vector<double> product_on(const std::string& behaviour, const ProductCase& z) {
  Device device(emulated_card(behaviour));
  const int64_t cols = z.cols, depth = z.depth, rank = z.rank;
  const Buffer a(device, z.type, z.rows, depth, depth, Random(1)), narrow(device, z.type, z.rows, rank, rank, Random(2));
  const List<float> b(device, random_floats(cols * depth, 3)), lora(device, random_floats(cols * rank, 4)),
      scale(device, random_floats(cols, 5));
  Buffer c(device, z.f32_result ? DType::kF32 : z.type, z.rows, cols, cols, Random(6));
  Product op;
  op.c = c.tensor();
  op.transposed = z.transposed;
  op.accumulate = z.accumulate;
  op.by_shape = z.by_shape;
  if (z.scaled) op.column_scale = scale.data();
  const auto term = [&](const Buffer& x, const List<float>& values, int64_t deep) {
    const int64_t down = z.transposed ? cols : deep, across = z.transposed ? deep : cols;
    op.add(x.tensor(), {{values.data().as<const std::byte>(), DType::kF32, down, across}, down, across, nullptr, nullptr, 0.5f});
  };
  term(a, b, depth);
  if (z.lora) term(narrow, lora, rank);
  device.run(op);
  c.expect_untouched_outside();
  std::vector<double> values;
  for (int64_t i = 0; i < z.rows; i++)
    for (int64_t j = 0; j < cols; j++) values.push_back(c.get(i, j));
  return values;
}

inline TrainerOptions library_options(const char* behaviour) {
  TrainerOptions options;
  options.backend = emulated_card(behaviour);
  return options;
}

inline std::string digest_of_session(const char* behaviour) {
  const auto trainer = tiny_session(library_options(behaviour), light_model());
  change_state(*trainer, loosen_masks);
  run(*trainer, segment(0, 2));
  return digest_of(*trainer);
}

}  // namespace espalier::test
