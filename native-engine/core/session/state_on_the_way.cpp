#include "session/state_on_the_way.h"

#include <string>
#include <utility>

#include "method/philox.h"

namespace espalier {

TrainState state_on_the_way(const StateLayout& layout, double closed, uint64_t seed) {
  TrainState state(layout);
  state.initialise(seed);
  for (int64_t i = 0; i < state.lora_size(); i++)
    state.params()[static_cast<size_t>(i)] += static_cast<float>(0.01 * random_normal(seed, 0, 1, i));
  uint32_t stream = 2;
  for (const auto& [name, share] : {std::pair{"mask.head", closed}, {"mask.intermediate", closed}, {"mask.hidden", closed / 4}}) {
    const auto log_alphas = state.view(*state.find(name));
    for (size_t i = 0; i < log_alphas.size(); i++) {
      const auto at = static_cast<int64_t>(i);
      const double side = random_uniform(seed, 0, stream, at) < share ? -3 : 3;
      log_alphas[i] = static_cast<float>(side + random_normal(seed, 1, stream, at));
    }
    stream++;
  }
  return state;
}

}  // namespace espalier
