// decode_bench --model DIR | --shape NAME  [--dtype f32|bf16] [--mask-sparsity P,P] [--batch B,B] [--prompt T] [--tokens N] [--rounds R]
//              [--device D] [--threads N]
// Times prefill and decode of the dense model and of compacted ones, in turns, and prints a JSON line for each. The shapes are those of
// step_bench. --mask-sparsity closes heads and intermediate units at random with that probability; the open ones are compacted. "share" is
// the rate at which a pass reads the open weights, divided by the rate of the device's own copy in the same run, which counts reads and
// writes together. "ratio" is the median over the rounds of a time divided by the time of the first line.
#include <cstdio>
#include <iostream>

#include "bench_models.h"
#include "command_line.h"
#include "espalier/generation/speed.h"
#include "export/compacted_model.h"

namespace {

using namespace espalier;

struct Options {
  std::string model, shape, dtype, device;
  std::vector<double> mask_sparsity, batch;
  int threads;
  SpeedOptions speed;
};

Options parse(int argc, char** argv) {
  CommandLine line(argc, argv, {});
  Options o = {
      .model = line.text("--model", ""),
      .shape = line.text("--shape", "mid"),
      .dtype = line.dtype(),
      .device = line.text("--device", "auto"),
      .mask_sparsity = line.list("--mask-sparsity", {0, 0.5}, 0, 1),
      .batch = line.list("--batch", {1}, 1, 16),
      .threads = static_cast<int>(line.whole("--threads", 0, 0)),
      .speed = {},
  };
  o.speed.prompt = line.whole("--prompt", o.speed.prompt);
  o.speed.tokens = line.whole("--tokens", o.speed.tokens);
  o.speed.rounds = line.whole("--rounds", o.speed.rounds);
  line.refuse_others();
  return o;
}

void run(Options o) {
  const DType stored = o.dtype == "f32" ? DType::kF32 : DType::kBF16;
  o.speed.dtype = o.dtype == "f32" ? ComputeDType::kF32 : ComputeDType::kBF16;
  o.speed.backend = parse_device(o.device, o.threads);
  const auto dense = o.model.empty() ? random_model(shape_config(o.shape), stored, 1) : load_model(o.model);
  std::vector<std::shared_ptr<const ModelWeights>> models;
  for (const double p : o.mask_sparsity)
    models.push_back(p == 0 ? dense : compacted_model(*dense, nullptr, random_masks(dense->config(), p, 0), stored));
  const std::atomic<bool> cancel{false};
  for (const double batch : o.batch) {
    o.speed.sequences = static_cast<int64_t>(batch);
    const SpeedResult result = measure_speed(models, o.speed, nullptr, cancel);
    for (size_t i = 0; i < models.size(); i++) {
      const Speed& s = result.models[i];
      const double rate = static_cast<double>(s.weight_bytes) / s.pass_seconds;
      std::printf(
          "{\"model\": \"%s\", \"dtype\": \"%s\", \"mask_sparsity\": %g, \"batch\": %g, \"weight_mb\": %.2f, \"prefill_s\": %.5f, "
          "\"prefill_ratio\": %.3f, \"tokens_per_s\": %.1f, \"ratio\": %.3f, \"weights_gb_per_s\": %.2f, \"copy_gb_per_s\": %.2f, "
          "\"share\": %.3f}\n",
          (o.model.empty() ? o.shape : o.model).c_str(), o.dtype.c_str(), o.mask_sparsity[i], batch,
          static_cast<double>(s.weight_bytes) / 1e6, s.prefill_seconds, s.prefill_ratio.median, batch / s.pass_seconds, s.pass_ratio.median,
          rate / 1e9, result.copy_bytes_per_second / 1e9, rate / result.copy_bytes_per_second);
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const espalier::Error& e) {
    std::cerr << "decode_bench: " << e.field() << ": " << e.what() << "\n";
  } catch (const std::exception& e) {
    std::cerr << "decode_bench: " << e.what() << "\n";
  }
  return 1;
}
