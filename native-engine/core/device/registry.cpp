#include "device/registry.h"

#include <charconv>

#include "espalier/error.h"

namespace espalier {

namespace {

constexpr const char* kAuto = "auto";
constexpr int kDevicesMax = 4096;

std::vector<const BackendKind*>& kinds() {
  static std::vector<const BackendKind*> all = compiled_backends();
  return all;
}

std::string known_devices() {
  std::string text = kAuto;
  for (const DeviceDescription& d : list_devices()) text += ", " + d.name + (d.problem.empty() ? "" : " (" + d.problem + ")");
  return text;
}

}  // namespace

const std::vector<const BackendKind*>& backend_kinds() { return kinds(); }
void add_backend(const BackendKind& kind) { kinds().push_back(&kind); }

std::vector<DeviceDescription> list_devices() {
  std::vector<DeviceDescription> all;
  for (const BackendKind* kind : kinds())
    for (DeviceDescription& d : kind->devices()) all.push_back(std::move(d));
  return all;
}

BackendSpec parse_device(const std::string& text, int threads) {
  BackendSpec spec;
  spec.threads = threads;
  const size_t colon = text.find(':');
  spec.name = text.substr(0, colon);
  const char *from = text.data() + (colon == std::string::npos ? text.size() : colon + 1), *end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(from, end, spec.device);
  const bool number =
      colon == std::string::npos || (problem == std::errc{} && rest == end && spec.device >= 0 && spec.device < kDevicesMax);
  if (spec.name.empty() || !number || (spec.name == kAuto && colon != std::string::npos))
    throw Error(ErrorCode::kInvalidArgument, "device",
                "device must be \"auto\", a backend's name or that with a number, as in name:0, not '" + text + "'");
  return spec;
}

BackendSpec resolve_backend(BackendSpec spec) {
  for (const BackendKind* kind : kinds()) {
    if (spec.name != kAuto && spec.name != kind->name()) continue;
    const std::vector<DeviceDescription> devices = kind->devices();
    for (size_t i = 0; i < devices.size(); i++) {
      if (spec.name == kAuto ? !devices[i].problem.empty() : static_cast<int>(i) != spec.device) continue;
      if (!devices[i].problem.empty())
        throw Error(ErrorCode::kNotSupported, "device", "device '" + devices[i].name + "' can't be used: " + devices[i].problem);
      spec.name = kind->name();
      spec.device = static_cast<int>(i);
      return spec;
    }
  }
  const std::string wanted = spec.name + (spec.device > 0 ? ":" + std::to_string(spec.device) : "");
  throw Error(ErrorCode::kNotSupported, "device", "device '" + wanted + "' is not there; known are " + known_devices());
}

DeviceDescription describe_device(const BackendSpec& spec) {
  const BackendSpec resolved = resolve_backend(spec);
  return kind_of(resolved).devices().at(static_cast<size_t>(resolved.device));
}

const BackendKind& kind_of(const BackendSpec& resolved) {
  for (const BackendKind* kind : kinds())
    if (kind->name() == resolved.name) return *kind;
  throw Error(ErrorCode::kInternal, "device", "the spec names no backend");
}

std::unique_ptr<Backend> make_backend(const BackendSpec& spec) {
  const BackendSpec resolved = resolve_backend(spec);
  return kind_of(resolved).make(resolved);
}

}  // namespace espalier
