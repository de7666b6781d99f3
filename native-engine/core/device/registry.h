// The backends of this build and their devices. No backend object is needed to ask about them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "device/backend.h"
#include "device/step_form.h"
#include "espalier/device/device.h"
#include "espalier/model/model_config.h"

namespace espalier {

struct ScratchShape {
  int64_t batch = 0, tokens = 0, lora_rank = 0;
  DType dtype = DType::kBF16;  // the compute dtype
};

class BackendKind {
 public:
  virtual ~BackendKind() = default;
  virtual std::string name() const = 0;
  virtual std::vector<DeviceDescription> devices() const = 0;  // in the order of their numbers
  // Names all properties of the spec's device that can change a bit, besides sources and compiler.
  virtual std::string fingerprint(const BackendSpec& spec) const = 0;
  // Returns the bytes that the ops need besides the tensors that they are given, for the widest layer of `config`.
  virtual uint64_t scratch_bytes(const BackendSpec& spec, const ModelConfig& config, const ScratchShape& shape) const = 0;
  virtual StepForm step_form() const = 0;
  virtual bool has_own_memory() const = 0;  // otherwise the device's memory is the host's
  virtual std::unique_ptr<Backend> make(const BackendSpec& spec) const = 0;
};

// Returns the backends of compiled_backends(), or those by which tests replaced them.
const std::vector<const BackendKind*>& backend_kinds();
void set_backend_kinds(std::vector<const BackendKind*> kinds);
void add_backend(const BackendKind& kind);
// Returns the backends that are linked in, preferred ones first (backends/compiled_backends.cpp).
std::vector<const BackendKind*> compiled_backends();

// Returns the spec with a backend's name in place of "auto". Throws Error(kNotSupported, "device", ...) where this build has no such
// backend or device, or where the device can't be used now.
BackendSpec resolve_backend(BackendSpec spec, const std::vector<const BackendKind*>& among = backend_kinds());
const BackendKind& kind_of(const BackendSpec& resolved);
std::unique_ptr<Backend> make_backend(const BackendSpec& spec);

}  // namespace espalier
