#include "device/registry.h"

#include <algorithm>
#include <charconv>

#include "espalier/base/error.h"

namespace espalier {

namespace {

constexpr const char* kAuto = "auto";
constexpr int kDevicesMax = 4096;

std::vector<const BackendKind*>& kinds() {
  static std::vector<const BackendKind*> all = compiled_backends();
  return all;
}

std::vector<DeviceDescription> devices_of(const std::vector<const BackendKind*>& among) {
  std::vector<DeviceDescription> all;
  for (const BackendKind* kind : among)
    for (DeviceDescription& d : kind->devices()) all.push_back(std::move(d));
  return all;
}

std::string known_devices(const std::vector<const BackendKind*>& among) {
  std::string text = kAuto;
  for (const DeviceDescription& d : devices_of(among)) text += ", " + d.name + (d.problem.empty() ? "" : " (" + d.problem + ")");
  return text;
}

}  // namespace

const std::vector<const BackendKind*>& backend_kinds() { return kinds(); }
void set_backend_kinds(std::vector<const BackendKind*> all) { kinds() = std::move(all); }
void add_backend(const BackendKind& kind) { kinds().push_back(&kind); }

std::vector<DeviceDescription> list_devices() { return devices_of(kinds()); }

BackendSpec parse_device(const std::string& text, int threads) {
  BackendSpec spec;
  spec.threads = threads;
  const size_t colon = text.find(':');
  spec.name = text.substr(0, colon);
  const char *from = text.data() + (colon == std::string::npos ? text.size() : colon + 1), *end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(from, end, spec.device);
  const bool number =
      colon == std::string::npos || (problem == std::errc{} && rest == end && spec.device >= 0 && spec.device < kDevicesMax);
  if (spec.name.empty() || !number)
    throw Error(ErrorCode::kInvalidArgument, "device",
                "device must be \"auto\", a backend's name or one of these with a number, as in name:0, not '" + text + "'");
  return spec;
}

std::vector<BackendSpec> parse_devices(const std::string& text, int threads) {
  std::vector<BackendSpec> all;
  for (size_t from = 0, plus = 0; plus != std::string::npos; from = plus + 1) {
    plus = text.find('+', from);
    all.push_back(parse_device(text.substr(from, plus == std::string::npos ? plus : plus - from), threads));
  }
  if (all.size() == 1) return all;
  const auto refuse = [&](const std::string& why) { throw Error(ErrorCode::kInvalidArgument, "device", "'" + text + "': " + why); };
  for (BackendSpec& spec : all) {
    spec = resolve_backend(spec);
    if (spec.name != all[0].name) refuse("the devices of one engine must be alike, and " + spec.name + " is not " + all[0].name);
  }
  const BackendKind& kind = kind_of(all[0]);
  if (!kind.has_own_memory()) {
    const int shared = describe_device(all[0]).threads / static_cast<int>(all.size());
    for (BackendSpec& spec : all) spec.threads = threads > 0 ? threads : std::max(1, shared);
  }
  for (size_t i = 1; i < all.size(); i++) {
    for (size_t j = 0; j < i && kind.has_own_memory(); j++)
      if (all[i].device == all[j].device) refuse("a card can be named once, and " + describe_device(all[i]).name + " is named twice");
    if (kind.fingerprint(all[i]) != kind.fingerprint(all[0]))
      refuse("the devices of one engine must be alike, and " + describe_device(all[i]).name + " computes other bits than " +
             describe_device(all[0]).name);
  }
  return all;
}

BackendSpec resolve_backend(BackendSpec spec, const std::vector<const BackendKind*>& among) {
  for (const BackendKind* kind : among) {
    if (spec.name != kAuto && spec.name != kind->name()) continue;
    const std::vector<DeviceDescription> devices = kind->devices();
    std::vector<int> usable;
    for (size_t i = 0; i < devices.size(); i++)
      if (devices[i].problem.empty()) usable.push_back(static_cast<int>(i));
    if (spec.name == kAuto) {
      if (usable.empty()) continue;
      spec.device = usable[static_cast<size_t>(spec.device) % usable.size()];
    } else {
      if (static_cast<size_t>(spec.device) >= devices.size()) break;
      const DeviceDescription& chosen = devices[static_cast<size_t>(spec.device)];
      if (!chosen.problem.empty())
        throw Error(ErrorCode::kNotSupported, "device", "device '" + chosen.name + "' can't be used: " + chosen.problem);
    }
    spec.name = kind->name();
    return spec;
  }
  const std::string wanted = spec.name + (spec.device > 0 ? ":" + std::to_string(spec.device) : "");
  throw Error(ErrorCode::kNotSupported, "device", "device '" + wanted + "' is not there; known are " + known_devices(among));
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
