#include "cuda_kind.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "cublaslt.h"
#include "cuda_backend.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// The memory that the driver keeps on a card for each process. It was not measured on a card; other sources report half as much.
constexpr uint64_t kContextBytes = uint64_t{1} << 30;
constexpr int kLeastMajor = 8;   // older cards lack bf16 products and copies to shared memory that bypass the registers
constexpr int kLatestMajor = 9;  // for newer cards the driver translates the code of compute_80 when it is loaded

std::string capability(const Card& card) { return std::to_string(card.major) + "." + std::to_string(card.minor); }

std::string code_for(const Card& card) {
  if (card.major > kLatestMajor) return "compute_80";
  return card.major == 9 ? "sm_90" : "sm_80";
}

DeviceDescription describe(const Card& card, int number) {
  DeviceDescription d;
  d.name = "cuda:" + std::to_string(number);
  d.model = card.model;
  d.kernels = {code_for(card)};
  d.kernels_in_use = d.kernels.back();
  d.threads = static_cast<int>(std::thread::hardware_concurrency());
  d.memory_bytes = card.memory_bytes;
  d.memory_available_bytes = std::min(card.free_bytes, card.memory_bytes - std::min(card.memory_bytes, kContextBytes));
  d.products = cublaslt()->description();
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

  // The runtime is linked in, so the compiler's version determines the runtime's. The driver decides bits where it translates the code.
  std::string fingerprint(const BackendSpec& spec) const override {
    const Cards found = list_cards();
    const Card& card = found.cards.at(static_cast<size_t>(spec.device));
    const char* tf32 = std::getenv("NVIDIA_TF32_OVERRIDE");
    return card.model + " " + capability(card) + " with " + std::to_string(card.multiprocessors) + " multiprocessors, " + code_for(card) +
           (card.major > kLatestMajor ? " by the driver for CUDA " + found.driver : "") + ", TF32 override " + (tf32 ? tf32 : "none") +
           ", " + cublaslt()->fingerprint();
  }

  uint64_t scratch_bytes(const BackendSpec&, const ModelConfig& config, const ScratchShape& shape) const override {
    return CudaBackend::scratch_bytes(config, shape);
  }

  StepForm step_form() const override { return CudaBackend::step_form(); }
  bool has_own_memory() const override { return true; }
  std::unique_ptr<Backend> make(const BackendSpec& spec) const override { return std::make_unique<CudaBackend>(spec.device); }
};

}  // namespace

const BackendKind& cuda_kind() {
  static const CudaKind kind;
  return kind;
}

}  // namespace espalier::cuda::ESPALIER_TARGET
