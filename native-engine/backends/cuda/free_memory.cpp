#include "free_memory.h"

#include <dlfcn.h>

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

// The needed part of nvml.h. These functions and this structure are unchanged since the library's version 5.
struct Memory {
  unsigned long long total, free, used;
};
using Device = struct DeviceOf*;

class ManagementLibrary {
 public:
  ManagementLibrary() {
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
    find_ = reinterpret_cast<int (*)(const char*, Device*)>(dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
    memory_ = reinterpret_cast<int (*)(Device, Memory*)>(dlsym(library, "nvmlDeviceGetMemoryInfo"));
    usable_ = init && find_ && memory_ && init() == 0;
  }
  std::optional<uint64_t> free_memory_of(const std::string& pci_bus_id) const {
    Device device = nullptr;
    Memory memory{};
    if (!usable_ || find_(pci_bus_id.c_str(), &device) != 0 || memory_(device, &memory) != 0) return std::nullopt;
    return memory.free;
  }

 private:
  int (*find_)(const char*, Device*) = nullptr;
  int (*memory_)(Device, Memory*) = nullptr;
  bool usable_ = false;
};

}  // namespace

std::optional<uint64_t> free_memory_of(const std::string& pci_bus_id) {
  static const ManagementLibrary library;  // never unloaded: the driver's libraries are not made for that
  return library.free_memory_of(pci_bus_id);
}

}  // namespace espalier::cuda::ESPALIER_TARGET
