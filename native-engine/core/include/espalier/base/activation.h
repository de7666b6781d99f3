// The activation functions of an MLP's gate.
#pragma once

namespace espalier {

enum class Activation { kSilu, kGeluTanh };

}  // namespace espalier
