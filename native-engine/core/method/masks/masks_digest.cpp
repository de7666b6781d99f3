#include "method/masks/masks_digest.h"

#include "files/sha256.h"

namespace espalier {

std::string masks_digest(const ModelConfig& c, const Masks& masks) {
  Sha256 hash;
  const std::string line = "espalier.masks 1 " + std::to_string(c.layer_count) + " " + std::to_string(c.head_count) + " " +
                           std::to_string(c.intermediate_size) + " " + std::to_string(c.hidden_size) + "\n";
  hash.update(line.data(), line.size());
  for (const auto* values : {&masks.head, &masks.intermediate, &masks.hidden}) {
    hash.update(values->data(), values->size() * sizeof(float));
  }
  return hash.finish_hex();
}

}  // namespace espalier
