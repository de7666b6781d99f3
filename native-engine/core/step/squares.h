// Sums of squares of activations, in double, over all rows of a batch. Calibration on text needs them.
#pragma once
#include <vector>

#include "device/backend.h"

namespace espalier {

// sums[j] += the squares of column j. Columns beyond the sums are padding. Waits for the queue.
void add_squares(Backend& backend, const Tensor& activations, std::span<double> sums);

}  // namespace espalier
