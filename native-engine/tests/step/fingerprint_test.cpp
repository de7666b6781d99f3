// The numerics fingerprint covers what decides bits, and nothing else.
#include <fstream>
#include <sstream>

#include "espalier/training/fingerprint.h"
#include "step/step_helpers.h"

namespace espalier::test {

bool decides_bits(const std::string& file) { return ("\n" + sources_of_bits()).find("\n" + file + "\n") != std::string::npos; }

TEST(Fingerprint, CoversTheStepAndTheBackend) {
  for (const char* file :
       {"core/step/step.cpp", "core/training/update.cpp", "core/method/masks/masks.cpp", "core/method/batch_order.cpp",
        "core/method/philox.h", "core/state/train_state.cpp", "core/model/model_config.cpp", "core/files/number_formats.h",
        "core/evaluation/evaluate.cpp", "core/device/ops.h", "core/include/espalier/training/trainer.h", "backends/cpu/cpu_backend.cpp",
        "backends/cpu/kernels/products/product.h", "backends/cpu/kernels/instantiate.cpp"})
    EXPECT_TRUE(decides_bits(file)) << file;
}

TEST(Fingerprint, LeavesOutWhatDecidesNoBit) {
  std::istringstream files(sources_of_bits());
  for (std::string file; std::getline(files, file);) {
    EXPECT_FALSE(file.starts_with("core/export/") || file.starts_with("core/session/") || file.starts_with("addon/")) << file;
    EXPECT_TRUE(std::ifstream(std::string(ESPALIER_SOURCE_DIR) + "/" + file).good()) << file;
  }
  EXPECT_FALSE(decides_bits("core/include/espalier/export/export.h"));
}

TEST(Fingerprint, ChangesWithWhatTheResultDependsOn) {
  TrainerOptions options;
  options.backend.threads = 1;
  const std::string one = numerics_fingerprint(options);
  EXPECT_EQ(one, numerics_fingerprint(options));
  options.checkpoint_activations = true;
  EXPECT_EQ(one, numerics_fingerprint(options)) << "the same bits";
  for (const int64_t shards : {1, 2, 4}) {
    options.micro_shards = shards;
    options.more_devices.assign(static_cast<size_t>(shards) - 1, options.backend);
    EXPECT_EQ(one, numerics_fingerprint(options)) << "the number of devices decides no bit, and shards are a setting of the run";
  }
  options.backend.threads = 2;
  EXPECT_NE(one, numerics_fingerprint(options));
  options.backend.threads = 1;
  options.dtype = ComputeDType::kF32;
  EXPECT_NE(one, numerics_fingerprint(options));
}

}  // namespace espalier::test
