#include "step/squares.h"

#include "files/number_formats.h"

namespace espalier {

void add_squares(Backend& backend, const Tensor& t, std::span<double> sums) {
  const auto values = download<std::byte>(backend, t.data, t.rows * t.stride * dtype_bytes(t.dtype));
  for (int64_t r = 0; r < t.rows; r++)
    for (size_t j = 0; j < sums.size(); j++) {
      const double v = decode(values.data(), t.dtype, r * t.stride + static_cast<int64_t>(j));
      sums[j] += v * v;
    }
}

}  // namespace espalier
