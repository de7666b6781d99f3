// The devices that this program can compute on, and how one is chosen.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace espalier {

// "auto" is the first device of list_devices() that can be used. With a number it is that one of the usable devices of the same backend,
// counted around: so several engines of one machine share out its cards.
struct BackendSpec {
  std::string name = "auto";  // of a backend
  int device = 0;             // which of its devices
  int threads = 0;            // of the host; 0: all cores that the process may use
  std::string kernels;        // one of the device's sets of kernels; empty: its best
};

// "auto", a backend's name, or one of these with a number of a device, as in "name:1".
// Throws Error(kInvalidArgument, "device", ...) on any other form.
BackendSpec parse_device(const std::string& text, int threads);

// The devices of one engine, joined by "+", as in "cuda:0+cuda:1", each with this number of threads. They must be alike, and a card is
// named once. With 0 threads, devices without memory of their own share out the cores. A text that names one device is not looked up.
std::vector<BackendSpec> parse_devices(const std::string& text, int threads);

struct DeviceDescription {
  std::string name;                  // as parse_device takes it
  std::string model;                 // processor or card, in words
  std::vector<std::string> kernels;  // sets of kernels that it can run, the best one last
  std::string kernels_in_use;        // unless a spec names others
  std::string products;              // of a card: which library makes its matrix products, or why none does, in words
  int threads = 0;                   // of the host, where a spec names none
  uint64_t memory_bytes = 0, memory_available_bytes = 0;
  std::string problem;  // why it can't be used now; empty: it can
};

// Every device of every backend of this build, preferred ones first. Asking starts no thread and takes no device memory.
std::vector<DeviceDescription> list_devices();

// The device that the spec chooses. Throws Error(kNotSupported, "device", ...) where it is not there, or can't be used now.
DeviceDescription describe_device(const BackendSpec& spec);

}  // namespace espalier
