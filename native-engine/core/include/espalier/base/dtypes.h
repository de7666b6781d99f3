// The types of numbers: those of stored weights, and those of the operands of products.
#pragma once

namespace espalier {

enum class DType { kF32, kF16, kBF16 };
enum class ComputeDType { kF32, kBF16 };

}  // namespace espalier
