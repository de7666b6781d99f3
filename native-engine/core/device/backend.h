// A device: its memory and a queue of ops. The algorithm (step, trainer, evaluation) is written once over this interface; a
// backend knows the ops and nothing of the method.
//
// All calls but download and synchronize only join the queue. Until one of these two returns, the inputs of the queued calls must not
// change or be freed: neither a buffer nor the host memory of an upload. UploadBlock and upload_now keep this rule by themselves.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/ops.h"

namespace espalier {

// Bytes to copy from a device to the host.
struct Download {
  std::byte* to;
  DevicePtr<const std::byte> from;
  uint64_t bytes;
};

// A point in a device's queue, whose time benchmarks measure.
class Moment {
 public:
  virtual ~Moment() = default;
  // Waits until the queue has reached both moments. `earlier` must come from the same backend.
  virtual double seconds_since(const Moment& earlier) const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual void attach_thread() = 0;  // call before a host thread issues ops

  // Returns memory that is zeroed and 64-byte aligned. Pages that are never touched may cost nothing.
  DeviceBuffer allocate(uint64_t bytes) { return {this, take(bytes), bytes}; }
  // Returns a device's view of host memory, which must live longer and never change. Where the device is the host, the memory is mapped,
  // otherwise copied.
  virtual DeviceBuffer share(const void* host, uint64_t bytes);

  virtual void upload(DevicePtr<std::byte> to, const void* from, uint64_t bytes) = 0;
  virtual void download(void* to, DevicePtr<const std::byte> from, uint64_t bytes) = 0;  // returns when the bytes have arrived
  // Does the same for many blocks of memory, which a device may copy side by side.
  virtual void download_all(std::span<const Download> blocks) {
    for (const Download& block : blocks) download(block.to, block.from, block.bytes);
  }
  virtual void synchronize() = 0;  // returns when both queues are empty
  // Copies from the memory of a backend of the same kind whose queue is empty, even while the other backend's thread is at work. The copy
  // joins this queue, so the source must stay unchanged until synchronize() returns.
  virtual void fetch(DevicePtr<std::byte> to, const Backend& other, DevicePtr<const std::byte> from, uint64_t bytes);

  template <class Op>
  void run(const Op& op) {
    check(op);
    launch(op);
  }
  // Returns the moment after all ops that have joined. A device that runs ops at once takes the time of the clock.
  virtual std::unique_ptr<Moment> moment();

 protected:
  friend class DeviceBuffer;
  friend class HostBuffer;
  virtual DevicePtr<std::byte> take(uint64_t bytes) = 0;
  virtual void give_back(DevicePtr<std::byte> data, uint64_t bytes) = 0;

#define ESPALIER_LAUNCH(Op) virtual void launch(const Op& op) = 0;
  ESPALIER_OPS(ESPALIER_LAUNCH)
#undef ESPALIER_LAUNCH

 public:
  // A second queue copies to the device beside the ops. Each of the two queues runs in its own order, and only the two waits set an order
  // between them. A device without a second queue puts copies into its only one.
  HostBuffer allocate_host(uint64_t bytes) { return {this, take_host(bytes), bytes}; }
  virtual void copy_ahead(DevicePtr<std::byte> to, const HostBuffer& from) { upload(to, from.data(), from.bytes()); }
  virtual void ops_wait_for_copies() {}  // ops that are queued later run after the copies that are queued now
  virtual void copies_wait_for_ops() {}  // copies that are queued later run after the ops that are queued now

 protected:
  virtual std::byte* take_host(uint64_t bytes) { return new std::byte[bytes]; }
  virtual void give_back_host(std::byte* data) { delete[] data; }
};

inline DeviceBuffer::~DeviceBuffer() {
  if (owner_ && data_) owner_->give_back(data_, bytes_);
}

inline HostBuffer::~HostBuffer() {
  if (owner_ && data_) owner_->give_back_host(data_);
}

// Uploads and waits, so that the caller may free the host memory.
template <class T>
void upload_now(Backend& backend, DevicePtr<T> to, std::span<const T> from) {
  backend.upload(to.template as<std::byte>(), from.data(), from.size_bytes());
  backend.synchronize();
}

template <class T>
std::vector<T> download(Backend& backend, DevicePtr<const T> from, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  backend.download(values.data(), from.template as<const std::byte>(), values.size() * sizeof(T));
  return values;
}

// Lists that a step needs on the device. They are gathered on the host and sent together. begin() waits for everything that is queued, so
// lists in use are never overwritten; it skips the wait if read() has told that they are no longer in use.
class UploadBlock {
 public:
  explicit UploadBlock(Backend& backend) : backend_(&backend) {}

  // Makes room for lists of `bytes` bytes in all; room_for gives the bytes of each list.
  void begin(uint64_t bytes);
  // Tells that the caller has waited for all ops that read the lists.
  void read() { in_use_ = false; }
  template <class T>
  static uint64_t room_for(const std::vector<T>& list) {
    return (list.size() * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }
  // Returns where the list will be on the device; nullptr where it is empty.
  template <class T>
  DevicePtr<const T> add(const std::vector<T>& list) {
    return place(list.data(), list.size() * sizeof(T), room_for(list)).template as<const T>();
  }
  void send();

 private:
  static constexpr uint64_t kAlignment = 64;
  DevicePtr<std::byte> place(const void* list, uint64_t bytes, uint64_t room);

  Backend* backend_;
  DeviceBuffer device_;
  std::vector<std::byte> host_;
  uint64_t used_ = 0;
  bool in_use_ = true;
};

}  // namespace espalier
