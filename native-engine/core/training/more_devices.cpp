#include "training/more_devices.h"

#include <cstring>

#include "device/registry.h"
#include "training/trainer_impl.h"

namespace espalier {

namespace {

// Adds the other device's gradient. That device's queue must be empty, and its gradient must stay unchanged until this queue is empty.
void add_gradient(Backend& backend, Workspace& ws, const Backend& other, const Workspace& from, int64_t size) {
  backend.fetch(ws.gradients[1].as<std::byte>(), other, from.gradients[0].as<const std::byte>(),
                static_cast<uint64_t>(size) * sizeof(float));
  backend.run(Add{ws.gradients[0], ws.gradients[1], size});
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
          teacher_lora(backend->allocate(bytes)),
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
        backend->upload(teacher_lora.data(), given.lora->data(), bytes);
        of_teacher = {&layout, teacher_lora.data().as<float>(), {}};
      }
      teacher = compile_role(*given.role, of_teacher, teacher_block);
      teacher_version = given.version;
    }

    StepResults run(const StepRequest& request, const TeacherOfStep& given, const Backend& first, DevicePtr<const float> params,
                    int64_t first_shard, int64_t count) {
      backend->attach_thread();
      if (request.taught) take_teacher(given);
      backend->fetch(lora.data(), first, params.as<const std::byte>(), bytes);
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
  const int64_t part = request.shards / (count() + 1);
  for (int64_t i = 0; i < count(); i++) {
    Device* device = devices_[static_cast<size_t>(i)].get();
    device->thread.start([=, &request, &first] {
      const int64_t from = (i + 1) * part;
      device->done.reset();
      device->done =
          std::make_unique<OtherShards>(OtherShards{from, part, device->place->run(request, teacher, first, params, from, part)});
    });
  }
}

void MoreDevices::settle() noexcept {
  for (const auto& device : devices_) device->thread.settle();
}

std::vector<OtherShards> MoreDevices::add_up(PassContext& first) {
  for (const auto& device : devices_) device->thread.wait();
  const int64_t all = count() + 1, size = layout_.lora_size();
  const auto device = [&](int64_t number) { return devices_[static_cast<size_t>(number - 1)].get(); };
  for (int64_t apart = 1; apart < all; apart *= 2) {
    for (int64_t to = 2 * apart; to < all; to += 2 * apart)
      device(to)->thread.start([here = device(to)->place.get(), there = device(to + apart)->place.get(), size] {
        add_gradient(*here->backend, here->workspace, *there->backend, there->workspace, size);
        here->backend->synchronize();
      });
    const Device::Place& there = *device(apart)->place;
    add_gradient(*first.backend, *first.ws, *there.backend, there.workspace, size);
    for (const auto& one : devices_) one->thread.wait();
  }
  std::vector<OtherShards> results;
  for (const auto& one : devices_) results.push_back(std::move(*one->done));
  return results;
}

int64_t devices_at_work(const TrainerOptions& options, bool own_weights) {
  const auto there = static_cast<int64_t>(options.more_devices.size()) + 1;
  if (own_weights || options.gradient_sum != GradientSum::kTree) return 1;
  int64_t count = 1;
  while (2 * count <= there && options.micro_shards % (2 * count) == 0) count *= 2;
  return count;
}

}  // namespace espalier
