#include "on_device/device_state.h"

#include <algorithm>
#include <array>
#include <vector>

#include "espalier/base/error.h"

namespace espalier {

namespace {

void read(Backend& backend, DevicePtr<const float> from, std::span<float> to) {
  backend.download(to.data(), from.as<const std::byte>(), to.size_bytes());
}

constexpr std::array kAllValues{StateValues::kParams, StateValues::kAdamM, StateValues::kAdamV};

}  // namespace

StoredMatrix DeviceLora::own_weight(const std::string& name) const {
  const StateLayout::Entry* e = has_own_weights() ? layout->find(name) : nullptr;
  return e ? StoredMatrix{(params + e->offset).as<const std::byte>(), DType::kF32, e->shape[0], e->shape[1]} : StoredMatrix{};
}

DeviceState::DeviceState(Backend& backend, StateLayout layout, bool masks_on_host)
    : backend_(&backend),
      layout_(std::move(layout)),
      memory_(backend.allocate(static_cast<uint64_t>(3 * layout_.size() + layout_.mask_size()) * sizeof(float))),
      host_(layout_.size() - layout_.vectors_begin(), 0.0f),
      mask_m_(masks_on_host ? layout_.mask_size() : 0, 0.0f),
      mask_v_(mask_m_) {}

void DeviceState::import_state(TrainState state) {
  begin_import(state, state);
  if (state.adam_m().empty()) throw Error(ErrorCode::kInternal, "state", "the state has no moments");
  for (const StateValues values : kAllValues) {
    const std::vector<float> from = state.take(values);
    put(values, 0, from);
  }
  read_host_copies();
}

void DeviceState::import_state(const StateReader& state) {
  begin_import(state.layout(), state.scalars());
  std::vector<float> entry;
  for (const StateValues values : kAllValues)
    for (const StateLayout::Entry& e : layout_.entries()) {
      entry.resize(static_cast<size_t>(e.size));
      state.read(values, e, entry);
      put(values, e.offset, entry);
    }
  read_host_copies();
}

void DeviceState::begin_import(const StateLayout& layout, const StateScalars& scalars) {
  if (!(layout.gates() == layout_.gates()))
    throw Error(ErrorCode::kStateCorrupt, "state:mask", "the state has other kinds of gates than the session was opened with");
  if (layout.size() != layout_.size()) throw Error(ErrorCode::kInternal, "state", "the state has another layout than the session");
  static_cast<StateScalars&>(*this) = scalars;
}

// Puts values from an offset of the layout on in their place, and those of masks that the host keeps in its own one.
void DeviceState::put(StateValues values, int64_t offset, std::span<const float> from) {
  const DevicePtr<float> to = values == StateValues::kParams ? params() : values == StateValues::kAdamM ? adam_m() : adam_v();
  upload_now(*backend_, to + offset, from);
  if (!masks_on_host()) return;
  const std::span<float> log_alphas = std::span(host_).last(mask_m_.size()), moments = values == StateValues::kAdamM ? mask_m_ : mask_v_;
  const std::span<float> on_host = values == StateValues::kParams ? log_alphas : moments;
  const int64_t first = std::max(offset, layout_.lora_size()), end = offset + static_cast<int64_t>(from.size());
  for (int64_t i = first; i < end; i++) on_host[static_cast<size_t>(i - layout_.lora_size())] = from[static_cast<size_t>(i - offset)];
}

TrainState DeviceState::export_state() const {
  TrainState state(layout_);
  static_cast<StateScalars&>(state) = *this;
  read(*backend_, params(), state.params());
  read(*backend_, adam_m(), state.adam_m());
  read(*backend_, adam_v(), state.adam_v());
  if (masks_on_host()) {
    std::ranges::copy(masks(), state.params().last(mask_m_.size()).begin());
    std::ranges::copy(mask_m_, state.adam_m().last(mask_m_.size()).begin());
    std::ranges::copy(mask_v_, state.adam_v().last(mask_v_.size()).begin());
  }
  return state;
}

TrainState DeviceState::export_snapshot() const {
  TrainState state(layout_, false);
  static_cast<StateScalars&>(state) = *this;
  read(*backend_, params(), state.params());
  if (masks_on_host()) std::ranges::copy(masks(), state.params().last(mask_m_.size()).begin());
  return state;
}

void DeviceState::serialize(const StateBytes& file, uint64_t from, std::span<uint8_t> to) const {
  std::vector<Download> downloads;
  file.read(from, to, [&](StateValues values, int64_t offset, std::span<float> place) {
    const int64_t mask = offset - layout_.lora_size();
    if (masks_on_host() && mask >= 0) {
      const std::span<const float> kept = values == StateValues::kParams ? masks() : values == StateValues::kAdamM ? mask_m_ : mask_v_;
      std::ranges::copy(kept.subspan(static_cast<size_t>(mask), place.size()), place.begin());
    } else {
      const DevicePtr<const float> kept = values == StateValues::kParams ? params() : values == StateValues::kAdamM ? adam_m() : adam_v();
      downloads.push_back({reinterpret_cast<std::byte*>(place.data()), (kept + offset).as<const std::byte>(), place.size_bytes()});
    }
  });
  backend_->download_all(downloads);
}

void DeviceState::write_log_alphas(std::span<const float> masks) {
  if (sent_) backend_->synchronize();
  const auto log_alphas = std::span(host_).last(masks.size());
  std::copy(masks.begin(), masks.end(), log_alphas.begin());
  expected_.reset();
  if (masks_on_host()) return;
  backend_->upload((params() + layout_.lora_size()).as<std::byte>(), log_alphas.data(), log_alphas.size_bytes());
  sent_ = true;
}

void DeviceState::read_host_copies() {
  read(*backend_, params() + layout_.vectors_begin(), std::span(host_).first(host_.size() - mask_m_.size()));
  sent_ = false;
  expected_.reset();
}

const ExpectedSparsity& DeviceState::expected_sparsity(const ModelConfig& config) const {
  if (!expected_) expected_ = std::make_unique<const ExpectedSparsity>(config, log_alphas());
  return *expected_;
}

}  // namespace espalier
