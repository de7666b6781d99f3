#include "hopper.h"

#include <cstdlib>
#include <cstring>

#include "tile_map.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

bool is_asked_for() {
  const char* const asked = std::getenv("ESPALIER_HOPPER_PRODUCTS");
  return asked && std::strcmp(asked, "on") == 0;
}

}  // namespace

bool takes_hopper_products(const Card& card) { return is_asked_for() && card.major == 9 && card.minor == 0 && has_tile_maps(); }

int multiprocessors_for_hopper_products(int card) {
  if (!is_asked_for()) return 0;
  const Cards found = list_cards();
  const Card& one = found.cards.at(static_cast<size_t>(card));
  return takes_hopper_products(one) ? one.multiprocessors : 0;
}

HopperLimits& hopper_limits() {
  static HopperLimits limits;
  return limits;
}

}  // namespace espalier::cuda::ESPALIER_TARGET
