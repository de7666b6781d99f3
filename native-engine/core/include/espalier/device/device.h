// The devices that this program can compute on, and how one is chosen.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

// "auto" is the first device of list_devices() that can be used. "auto:N" is the usable device number N of the same backend, counted round,
// so that several engines of one machine share out its cards.
struct BackendSpec {
  std::string name = "auto";  // a backend's name
  int device = 0;             // the number of one of its devices
  int threads = 0;            // the threads of the host; 0: all cores that the process may use
  std::string kernels;        // one of the device's sets of kernels; empty: its best
};

// Parses "auto", a backend's name, or one of these with the number of a device, as in "name:1". Throws Error(kInvalidArgument, "device",
// ...) on any other form.
BackendSpec parse_device(const std::string& text, int threads);

// Parses the devices of one engine, joined by "+", as in "cuda:0+cuda:1". Each has this number of threads; with 0 threads, devices without
// memory of their own share out the cores. The devices must be alike, and each card may be named only once. A text that names one device is
// not looked up.
std::vector<BackendSpec> parse_devices(const std::string& text, int threads);

struct DeviceDescription {
  std::string name;                  // in the form that parse_device reads
  std::string model;                 // the name of the processor or card
  std::vector<std::string> kernels;  // the sets of kernels that it can run, the best one last
  std::string kernels_in_use;        // the set that is used unless a spec names another
  std::string products;              // for a card: which library computes its matrix products, or why none does
  int threads = 0;                   // the threads of the host that are used where a spec names none
  uint64_t memory_bytes = 0, memory_available_bytes = 0;
  std::string problem;  // why it can't be used now; empty where it can
};

// Lists every device of every backend of this build, preferred ones first. This starts no thread and takes no device memory.
std::vector<DeviceDescription> list_devices();

// Describes the device that the spec chooses. Throws Error(kNotSupported, "device", ...) where it does not exist or can't be used now.
DeviceDescription describe_device(const BackendSpec& spec);

}  // namespace espalier
