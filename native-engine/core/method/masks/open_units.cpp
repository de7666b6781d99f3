#include "method/masks/open_units.h"

namespace espalier {

std::vector<uint8_t> open_units(const Masks& masks) {
  std::vector<uint8_t> bits((masks.head.size() + masks.intermediate.size() + masks.hidden.size() + 7) / 8);
  size_t gate = 0;
  for (const auto* values : {&masks.head, &masks.intermediate, &masks.hidden}) {
    for (float value : *values) {
      if (value != 0.0f) bits[gate / 8] |= static_cast<uint8_t>(1u << (gate % 8));
      ++gate;
    }
  }
  return bits;
}

}  // namespace espalier
