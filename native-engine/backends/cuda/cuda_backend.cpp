#include "cuda_backend.h"

#include <algorithm>

#include "espalier/base/error.h"
#include "rows/row_parts.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {
int chosen(int card) {
  use_card(card);
  return card;
}
}  // namespace

CudaBackend::CudaBackend(int card) : card_(chosen(card)), library_(start_library_products()) {}

// The queued work must be done before its memory is freed. A failure was reported by the last synchronize, or no caller needs to know it.
CudaBackend::~CudaBackend() {
  try {
    synchronize();
  } catch (const Error&) {
  }
}

void CudaBackend::attach_thread() { use_card(card_); }

void CudaBackend::upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) {
  staging_.upload(stream_, to.address(), static_cast<const std::byte*>(from), bytes);
}

void CudaBackend::download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) {
  staging_.download(stream_, static_cast<std::byte*>(to), from.address(), bytes);
}

void CudaBackend::synchronize() {
  stream_.synchronize();
  copies_.synchronize();
}

void CudaBackend::fetch(DevicePtr<std::byte> to, const Backend& other, DevicePtr<const std::byte> from, uint64_t bytes) {
  const int source = dynamic_cast<const CudaBackend&>(other).card_;
  stream_.copy_between_cards({to.address(), card_}, {from.address(), source}, bytes);
}

namespace {

class CudaMoment final : public Moment {
 public:
  explicit CudaMoment(Stream& stream) : event_(stream) {}
  double seconds_since(const Moment& earlier) const override {
    return event_.seconds_since(dynamic_cast<const CudaMoment&>(earlier).event_);
  }

 private:
  TimedEvent event_;
};

}  // namespace

std::unique_ptr<Moment> CudaBackend::moment() { return std::make_unique<CudaMoment>(stream_); }

void CudaBackend::copy_ahead(DevicePtr<std::byte> to, const HostBuffer& from) { copies_.upload(to.address(), from.data(), from.bytes()); }

void CudaBackend::ops_wait_for_copies() {
  copies_.record(copies_so_far_);
  stream_.wait_for(copies_so_far_);
}

void CudaBackend::copies_wait_for_ops() {
  stream_.record(ops_so_far_);
  copies_.wait_for(ops_so_far_);
}

DevicePtr<std::byte> CudaBackend::take(uint64_t bytes) {
  const DevicePtr<std::byte> data(take_device_memory(std::max<uint64_t>(bytes, 1)));
  if (bytes > 0) stream_.clear(data.address(), bytes);
  return data;
}

void CudaBackend::give_back(DevicePtr<std::byte> data, uint64_t bytes) { give_back_device_memory(data.address(), bytes); }

uint64_t CudaBackend::scratch_address(Slot slot, uint64_t bytes) {
  if (scratch_[slot].bytes() < bytes) {
    synchronize();
    scratch_[slot] = {};
    scratch_[slot] = allocate(bytes);
  }
  return scratch_[slot].data().address();
}

uint64_t CudaBackend::scratch_bytes(const ModelConfig& config, const ScratchShape& shape) {
  const int64_t widest = padded_width(std::max({config.hidden_size, config.intermediate_size, config.head_count * config.head_dim})),
                rows = shape.batch * shape.tokens;
  const int64_t parts = row_parts(rows) * widest * 4, deltas = config.head_count * rows * 4;
  const int64_t sums =
      std::max({row_parts(rows) * column_blocks(widest), config.head_count * shape.batch * (shape.tokens / 32 + 1), kMostSquareParts}) * 8;
  return std::max(static_cast<uint64_t>(parts), factor_parts_bytes(config, shape)) + static_cast<uint64_t>(deltas + sums) +
         product_scratch_bytes(config, shape);
}

// Widths and chunks are rounded so that products have few and large shapes, which suits a library. Each term that is computed as a separate
// product reads and writes all sums once more, and so does a scale of columns.
StepForm CudaBackend::step_form() {
  StepForm form;
  form.narrow_beside = true;
  form.scales_when_read = true;
  form.attention_gradient_apart = true;
  form.masks_on_host = true;
  form.width_multiple = 64;
  form.least_chunk = form.most_chunk = 2048;
  return form;
}

void CudaBackend::launch(const Clear& op) {
  if (op.size > 0) stream_.clear(op.data.address(), static_cast<uint64_t>(op.size) * sizeof(float));
}

}  // namespace espalier::cuda::ESPALIER_TARGET
