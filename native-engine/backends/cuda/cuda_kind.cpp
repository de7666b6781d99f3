#include "cuda_kind.h"

#include <thread>

#include "cuda_backend.h"

namespace espalier::cuda {

namespace {

using namespace ESPALIER_TARGET;

constexpr int kLeastMajor = 8;  // bf16 products and copies past the registers

std::string capability(const Card& card) { return std::to_string(card.major) + "." + std::to_string(card.minor); }

DeviceDescription describe(const Card& card, int number) {
  DeviceDescription d;
  d.name = "cuda:" + std::to_string(number);
  d.model = card.model;
  d.kernels = {card.major == 9 ? "sm_90a" : "sm_80"};
  d.kernels_in_use = d.kernels.back();
  d.threads = static_cast<int>(std::thread::hardware_concurrency());
  // The memory that other processes hold can't be asked for without taking some of it.
  d.memory_bytes = d.memory_available_bytes = card.memory_bytes;
  if (card.major < kLeastMajor)
    d.problem = "compute capability " + capability(card) + " is below " + std::to_string(kLeastMajor) + ".0, the least that is supported";
  return d;
}

class CudaKind final : public BackendKind {
 public:
  std::string name() const override { return "cuda"; }

  std::vector<DeviceDescription> devices() const override {
    const Cards found = list_cards();
    std::vector<DeviceDescription> all;
    for (const Card& card : found.cards) all.push_back(describe(card, static_cast<int>(all.size())));
    if (all.empty()) {
      all.emplace_back();
      all[0].name = name();
      all[0].problem = found.problem;
    }
    return all;
  }

  std::string fingerprint(const BackendSpec& spec) const override {
    const Card card = list_cards().cards.at(static_cast<size_t>(spec.device));
    return card.model + " " + capability(card) + " with " + std::to_string(card.multiprocessors) + " multiprocessors";
  }

  uint64_t scratch_bytes(const BackendSpec&, const ModelConfig& config, const ScratchShape& shape) const override {
    return CudaBackend::scratch_bytes(config, shape);
  }

  std::unique_ptr<Backend> make(const BackendSpec& spec) const override { return std::make_unique<CudaBackend>(spec.device); }
};

}  // namespace

const BackendKind& cuda_kind() {
  static const CudaKind kind;
  return kind;
}

}  // namespace espalier::cuda
