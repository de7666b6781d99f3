#include "emulated_kind.h"

#include "cuda_backend.h"
#include "emulator.h"

namespace espalier::test {

namespace {

cuda::emulator::Behaviour behaviour_of(const std::string& kernels) {
  if (kernels == "early") return {};
  const size_t colon = kernels.find(':');
  return {true, colon == std::string::npos ? 1 : std::stoull(kernels.substr(colon + 1))};
}

class EmulatedCudaKind final : public BackendKind {
 public:
  EmulatedCudaKind(std::string name, std::vector<std::string> devices) : name_(std::move(name)), devices_(std::move(devices)) {}
  std::string name() const override { return name_; }
  std::vector<DeviceDescription> devices() const override {
    const cuda::emulated::Card card = cuda::emulated::list_cards().cards.at(0);
    DeviceDescription d;
    d.model = card.model;
    d.kernels = {"early", "late"};
    d.kernels_in_use = d.kernels.back();
    d.threads = 1;
    d.memory_bytes = d.memory_available_bytes = card.memory_bytes;
    std::vector<DeviceDescription> all(devices_.size(), d);
    for (size_t i = 0; i < all.size(); i++) all[i].name = devices_[i];
    return all;
  }
  std::string fingerprint(const BackendSpec&) const override { return "emulated"; }
  uint64_t scratch_bytes(const BackendSpec&, const ModelConfig& config, const ScratchShape& shape) const override {
    return cuda::emulated::CudaBackend::scratch_bytes(config, shape);
  }
  StepForm step_form() const override { return cuda::emulated::CudaBackend::step_form(); }
  bool has_own_memory() const override { return true; }
  std::unique_ptr<Backend> make(const BackendSpec& spec) const override {
    const auto late = [&](const char* queue) { return spec.kernels == std::string("late-") + queue ? "late" : "early"; };
    if (spec.kernels.starts_with("late-"))
      cuda::emulated::behave(behaviour_of(late("ops")), behaviour_of(late("copies")));
    else
      cuda::emulated::behave(behaviour_of(spec.kernels));
    return std::make_unique<cuda::emulated::CudaBackend>(spec.device);
  }

 private:
  std::string name_;
  std::vector<std::string> devices_;
};

}  // namespace

const BackendKind& emulated_cuda_kind() {
  static const EmulatedCudaKind kind(kEmulatedCuda, {kEmulatedCuda, "emulated:1", "emulated:2", "emulated:3"});
  return kind;
}

const BackendKind& rehearsed_cuda_kind() {
  static const EmulatedCudaKind kind("cuda", {"cuda:0", "cuda:1", "cuda:2", "cuda:3"});
  return kind;
}

}  // namespace espalier::test
