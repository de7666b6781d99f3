#include "cpu_kind.h"

#include <fstream>

#include "base/memory_use.h"
#include "cpu_backend.h"

namespace espalier::cpu {

namespace {

// Returns the processor's name from the line "model name : AMD EPYC 9R14" of /proc/cpuinfo.
std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

int threads_of(const BackendSpec& spec) { return spec.threads > 0 ? spec.threads : omp_get_num_procs(); }
const Kernels& kernels_of(const BackendSpec& spec) { return spec.kernels.empty() ? select_kernels() : kernels_named(spec.kernels); }

class CpuKind final : public BackendKind {
 public:
  std::string name() const override { return "cpu"; }

  std::vector<DeviceDescription> devices() const override {
    DeviceDescription d;
    d.name = name();
    d.model = processor_name();
    for (const Kernels* k : available_kernels()) d.kernels.emplace_back(k->name);
    d.kernels_in_use = select_kernels().name;
    d.threads = omp_get_num_procs();
    d.memory_bytes = machine_bytes();
    d.memory_available_bytes = available_bytes();
    return {d};
  }

  std::string fingerprint(const BackendSpec& spec) const override { return CpuBackend::fingerprint(threads_of(spec), kernels_of(spec)); }

  uint64_t scratch_bytes(const BackendSpec& spec, const ModelConfig& config, const ScratchShape& shape) const override {
    return CpuBackend::scratch_bytes(threads_of(spec), kernels_of(spec), config, shape);
  }

  StepForm step_form() const override { return {}; }
  bool has_own_memory() const override { return false; }

  std::unique_ptr<Backend> make(const BackendSpec& spec) const override {
    return std::make_unique<CpuBackend>(threads_of(spec), kernels_of(spec));
  }
};

}  // namespace

const BackendKind& cpu_kind() {
  static const CpuKind kind;
  return kind;
}

}  // namespace espalier::cpu
