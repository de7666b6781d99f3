// A step that is measured op by op is the same step: the device's form, its memory and its bits.
#include <deque>
#include <map>

#include "cuda_emulator/emulated_kind.h"
#include "device/watched_backend.h"
#include "files/small_models.h"
#include "op_profile.h"
#include "step/step_helpers.h"

namespace espalier::test {

namespace {

// While this object lives, all devices are profiled.
class WithProfiledKinds {
 public:
  WithProfiledKinds() {
    std::vector<const BackendKind*> kinds;
    for (const BackendKind* kind : plain_) kinds.push_back(&profiled_.emplace_back(*kind));
    set_backend_kinds(std::move(kinds));
  }
  ~WithProfiledKinds() { set_backend_kinds(plain_); }
  WithProfiledKinds(const WithProfiledKinds&) = delete;
  WithProfiledKinds& operator=(const WithProfiledKinds&) = delete;

 private:
  const std::vector<const BackendKind*> plain_ = backend_kinds();
  std::deque<bench::ProfiledKind> profiled_;
};

struct TwoSteps {
  std::string digest;
  std::map<std::string, int64_t> ops;  // how often each ran, where they were watched
};
TwoSteps two_steps_on(const BackendSpec& device) {
  TrainerOptions options;
  options.backend = device;
  const auto trainer = tiny_session(options, light_model());
  change_state(*trainer, loosen_masks);
  bench::OpProfile::one().begin();
  run(*trainer, segment(0, 2));
  TwoSteps made;
  for (const bench::OpTotal& op : bench::OpProfile::one().end()) made.ops[op.name] = op.count;
  made.digest = digest_of(*trainer);
  return made;
}

struct NoWatcher {
  void before_op(Backend&) {}
  template <class Op>
  void after_op(const char*, const Op&, Backend&) {}
};

}  // namespace

TEST(OpProfile, AProfiledKindIsItsDevice) {
  for (const BackendKind* kind : backend_kinds()) {
    const bench::ProfiledKind profiled(*kind);
    EXPECT_EQ(profiled.name(), kind->name());
    EXPECT_EQ(profiled.step_form(), kind->step_form()) << kind->name();
    EXPECT_EQ(profiled.has_own_memory(), kind->has_own_memory()) << kind->name();
  }
}

TEST(OpProfile, AProfiledStepLeavesTheBitsOfAPlainOne) {
  std::vector<BackendSpec> devices{emulated_card("early")};
  for (const DeviceDescription& d : list_devices())
    if (d.name == "cpu") devices.push_back(parse_device(d.name, 2));
  for (const BackendSpec& device : devices) {
    const TwoSteps plain = two_steps_on(device);
    EXPECT_TRUE(plain.ops.empty());
    const WithProfiledKinds profiled;
    TwoSteps watched = two_steps_on(device);
    EXPECT_EQ(watched.digest, plain.digest) << device.name;
    const int64_t layers = light_model()->config().layer_count;
    EXPECT_EQ(watched.ops["AttentionBackward"], 2 * layers) << device.name;
    EXPECT_EQ(watched.ops["Attention"], 2 * 2 * layers) << "of both roles, on " << device.name;
  }
}

// The other device of a copy is watched as well.
TEST(OpProfile, WatchedCardsReadEachOthersMemory) {
  NoWatcher watcher;
  WatchedBackend<NoWatcher> first(make_backend(emulated_card("early", 0)), watcher),
      second(make_backend(emulated_card("early", 1)), watcher);
  const std::vector<float> values{1, 2, 3};
  const DeviceBuffer from = first.allocate(12), to = second.allocate(12);
  upload_now<float>(first, from.data().as<float>(), values);
  second.attach_thread();
  second.fetch(to.data(), first, from.data(), 12);
  EXPECT_EQ(download<float>(second, to.data().as<const float>(), 3), values);
}

}  // namespace espalier::test
