#include "training/more_devices.h"

#include <algorithm>

#include "device/registry.h"
#include "training/trainer_impl.h"

namespace espalier {

namespace {

// Devices send LoRA and its gradient to each other in slices, one for each device.
struct Slice {
  int64_t first = 0, size = 0;  // in floats
};

Slice slice_of(int64_t whole, int64_t number, int64_t count) {
  const int64_t even = (whole + count - 1) / count, each = (even + kSliceMultiple - 1) / kSliceMultiple * kSliceMultiple;
  const int64_t first = std::min(number * each, whole);
  return {first, std::min(each, whole - first)};
}

// Copies a slice of another device's floats to `to`. That device must have made them, and must keep them until this queue is empty.
void fetch(Backend& backend, DevicePtr<float> to, const Backend& other, DevicePtr<const float> whole, const Slice& slice) {
  if (slice.size == 0) return;
  backend.fetch(to.as<std::byte>(), other, (whole + slice.first).as<const std::byte>(), static_cast<uint64_t>(slice.size) * sizeof(float));
}

// Returns the numbers of the other devices in the order in which a device reads from them: the one after it first, and 0 after the last.
// So at each moment every device is read from by another one.
std::vector<int64_t> others_in_turn(int64_t number, int64_t count) {
  std::vector<int64_t> others;
  for (int64_t other = number + 1; other < count; other++) others.push_back(other);
  for (int64_t other = 0; other < number; other++) others.push_back(other);
  return others;
}

// A device that adds up one slice of the gradients of all devices. The workspace has two places for it: the first holds the gradient of the
// device's own shards, the second takes the slices that the device fetches from the others, in the order of their numbers.
struct Adder {
  Backend* backend;
  Workspace* ws;
  int64_t number;
  Slice slice;

  DevicePtr<const float> own_gradient() const { return ws->gradients[0]; }
  // Where the device has its slice of the gradient of `device`.
  DevicePtr<float> slice_from(int64_t device) const {
    if (device == number) return ws->gradients[0] + slice.first;
    const int64_t fetched_before = device < number ? device : device - 1;
    return ws->gradients[1] + fetched_before * slice.size;
  }
  // Where the sum lies when the device has added up its slice.
  DevicePtr<float> sum() const { return slice_from(0); }
};

// Adds up the slice of one device, as branches of one tree: 1 to 0 and 3 to 2, then 2 to 0.
void add_slice(const std::vector<Adder>& all, int64_t number) {
  const auto count = static_cast<int64_t>(all.size());
  const Adder& here = all[static_cast<size_t>(number)];
  for (const int64_t other : others_in_turn(number, count)) {
    const Adder& there = all[static_cast<size_t>(other)];
    fetch(*here.backend, here.slice_from(other), *there.backend, there.own_gradient(), here.slice);
  }
  for (int64_t apart = 1; apart < count; apart *= 2)
    for (int64_t to = 0; to < count; to += 2 * apart)
      here.backend->run(Add{here.slice_from(to), here.slice_from(to + apart), here.slice.size});
}

}  // namespace

struct MoreDevices::Device {
  // Everything that lies on the device. The device's thread makes it, uses it and frees it.
  struct Place {
    Place(const std::shared_ptr<const ModelWeights>& weights, const StateLayout& state, const TrainerOptions& options,
          const BackendSpec& spec)
        : backend(make_backend(spec)),
          model(*backend, weights, streams_weights(options)),
          layout(state),
          bytes(static_cast<uint64_t>(state.lora_size()) * sizeof(float)),
          lora(backend->allocate(bytes)),
          student_block(*backend),
          teacher_block(*backend) {
      const WorkspaceShape shape = training_shape(options);
      const uint64_t room = lay_out_workspace(model.config(), state.lora(), shape, nullptr).total_bytes;
      memory = backend->allocate(room);
      workspace = lay_out_workspace(model.config(), state.lora(), shape, memory.data());
      context = make_pass_context(*backend, model, workspace, options.dtype, shape.batch, options.sequence_length);
      context.by_shape = true;
    }

    void take_teacher(const TeacherOfStep& given) {
      if (given.version == teacher_version) return;
      DeviceLora of_teacher;
      if (given.lora) {
        if (teacher_lora.bytes() == 0) teacher_lora = backend->allocate(bytes);
        backend->upload(teacher_lora.data(), given.lora->data(), bytes);
        of_teacher = {&layout, teacher_lora.data().as<float>(), {}};
      }
      teacher = compile_role(*given.role, of_teacher, teacher_block);
      teacher_version = given.version;
    }

    void fetch_slice(const Backend& other, DevicePtr<const float> params, const Slice& slice) {
      fetch(*backend, lora.data().as<float>() + slice.first, other, params, slice);
    }

    StepResults run(const StepRequest& request, const TeacherOfStep& given, int64_t first_shard, int64_t count) {
      if (request.taught) take_teacher(given);
      DeviceRole student;
      const StepInput in = send_request(request, {&layout, lora.data().as<float>(), {}}, teacher, student_block, student);
      StepTimes times;
      run_shards(context, in, first_shard, count, times);
      StepResults results(*backend, workspace);
      backend->synchronize();
      return results;
    }

    std::shared_ptr<Backend> backend;  // owns the memory of all members below
    DeviceModel model;
    const StateLayout& layout;
    uint64_t bytes;
    DeviceBuffer lora, teacher_lora, memory;
    UploadBlock student_block, teacher_block;
    DeviceRole teacher;
    int64_t teacher_version = -1;
    Workspace workspace;
    PassContext context;
  };

  ~Device() {
    thread.settle();
    thread.start([this] {
      if (place) place->backend->attach_thread();
      place.reset();
    });
    thread.settle();
  }

  std::unique_ptr<Place> place;
  std::unique_ptr<OtherShards> done;
  WorkerThread thread;
};

MoreDevices::MoreDevices(const std::shared_ptr<const ModelWeights>& model, const StateLayout& layout, const TrainerOptions& options)
    : layout_(layout) {
  const int64_t count = devices_at_work(options, layout.has_own_weights()) - 1;
  for (int64_t i = 0; i < count; i++) {
    Device& device = *devices_.emplace_back(std::make_unique<Device>());
    const BackendSpec& spec = options.more_devices[static_cast<size_t>(i)];
    device.thread.run([&] { device.place = std::make_unique<Device::Place>(model, layout, options, spec); });
  }
}

MoreDevices::~MoreDevices() = default;

void MoreDevices::start(const StepRequest& request, const TeacherOfStep& teacher, const Backend& first, DevicePtr<const float> params) {
  const int64_t all = count() + 1, part = request.shards / all, size = layout_.lora_size();
  const auto place = [this](int64_t number) { return devices_[static_cast<size_t>(number - 1)]->place.get(); };
  {
    const Settled settled{*this};
    for (int64_t i = 1; i < all; i++)
      devices_[static_cast<size_t>(i - 1)]->thread.start([here = place(i), slice = slice_of(size, i, all), &first, params] {
        here->backend->attach_thread();
        here->fetch_slice(first, params, slice);
        here->backend->synchronize();
      });
  }
  for (const auto& device : devices_) device->thread.wait();
  for (int64_t i = 1; i < all; i++) {
    Device* const device = devices_[static_cast<size_t>(i - 1)].get();
    device->thread.start([=, this, &request, &first] {
      device->done.reset();
      for (const int64_t other : others_in_turn(i, all)) {
        const Slice slice = slice_of(size, other, all);
        if (other == 0)
          device->place->fetch_slice(first, params, slice);
        else
          device->place->fetch_slice(*place(other)->backend, place(other)->lora.data().as<const float>(), slice);
      }
      device->done = std::make_unique<OtherShards>(OtherShards{i * part, part, device->place->run(request, teacher, i * part, part)});
    });
  }
}

void MoreDevices::settle() noexcept {
  for (const auto& device : devices_) device->thread.settle();
}

std::vector<OtherShards> MoreDevices::add_up(PassContext& first) {
  for (const auto& device : devices_) device->thread.wait();
  first.backend->synchronize();  // the others read its gradient
  const int64_t devices = count() + 1, size = layout_.lora_size();
  std::vector<Adder> all{{first.backend, first.ws, 0, slice_of(size, 0, devices)}};
  for (int64_t i = 1; i < devices; i++) {
    Device::Place& place = *devices_[static_cast<size_t>(i - 1)]->place;
    all.push_back({place.backend.get(), &place.workspace, i, slice_of(size, i, devices)});
  }
  {
    const Settled settled{*this};
    for (int64_t i = 1; i < devices; i++)
      devices_[static_cast<size_t>(i - 1)]->thread.start([&all, i] {
        add_slice(all, i);
        all[static_cast<size_t>(i)].backend->synchronize();
      });
    add_slice(all, 0);
  }
  for (const auto& device : devices_) device->thread.wait();
  for (int64_t i = 1; i < devices; i++) {
    const Adder& there = all[static_cast<size_t>(i)];
    fetch(*first.backend, first.ws->gradients[0] + there.slice.first, *there.backend, there.sum(), {0, there.slice.size});
  }
  std::vector<OtherShards> results;
  for (const auto& one : devices_) results.push_back(std::move(*one->done));
  return results;
}

int64_t devices_at_work(const TrainerOptions& options, bool own_weights) {
  const auto there = static_cast<int64_t>(options.more_devices.size()) + 1;
  if (own_weights) return 1;
  int64_t count = 1;
  while (2 * count <= there && options.micro_shards % (2 * count) == 0) count *= 2;
  return count;
}

}  // namespace espalier
