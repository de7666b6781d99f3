#include "espalier/generation/speed.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "device/registry.h"
#include "espalier/base/error.h"
#include "generation/decoder.h"
#include "generation/pass_bytes.h"

namespace espalier {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMostSequences = 16, kMostRounds = 1000;
// The limits where no number of rounds was requested: the least and the most rounds, the seconds after which no further round begins, and
// the width of the interval at which the ratios are certain enough.
constexpr int64_t kFewestRounds = 5, kManyRounds = 200;
constexpr double kSecondsAtMost = 10, kCertain = 0.02;
constexpr int64_t kCopyRounds = 5;
// This matrix is larger than the caches of common processors.
constexpr int64_t kCopyRows = 1 << 12, kCopyColumns = 1 << 13;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double median(std::vector<double> values) { return median_interval(std::move(values)).median; }

void check_between(int64_t value, int64_t low, int64_t high, const char* field) {
  if (value < low || value > high)
    throw Error(ErrorCode::kInvalidArgument, field,
                "must be from " + std::to_string(low) + " to " + std::to_string(high) + ", not " + std::to_string(value));
}

void check_options(const std::vector<std::shared_ptr<const ModelWeights>>& models, const SpeedOptions& o) {
  int64_t positions = int64_t{1} << 24;
  for (const auto& model : models)
    if (model->config().max_positions > 0) positions = std::min(positions, model->config().max_positions);
  check_between(o.prompt, 1, positions - 1, "prompt_tokens");
  check_between(o.tokens, 1, positions - o.prompt, "tokens");
  check_between(o.sequences, 1, kMostSequences, "sequences");
  check_between(o.rounds, 0, kMostRounds, "rounds");
}

// One model's decoder and its times.
struct Measured {
  std::unique_ptr<Decoder> decoder;
  int64_t vocabulary = 0;
  std::vector<double> prefill, pass;
};

double copy_speed(Backend& backend, int64_t rounds) {
  constexpr int64_t kValues = kCopyRows * kCopyColumns;
  const DeviceBuffer from = backend.allocate(kValues * 4), to = backend.allocate(kValues * 4);
  const auto tensor = [](const DeviceBuffer& b) { return Tensor{b.data(), DType::kF32, kCopyRows, kCopyColumns, kCopyColumns}; };
  backend.run(Clear{from.data().as<float>(), kValues});
  std::vector<double> seconds;
  for (int64_t round = 0; round <= rounds; round++) {
    backend.synchronize();
    const auto start = Clock::now();
    backend.run(Copy{tensor(to), tensor(from)});
    backend.synchronize();
    if (round > 0) seconds.push_back(since(start));
  }
  return 2.0 * kValues * 4 / median(seconds);
}

// Starts a prompt in each sequence, then adds tokens to all of them. The first round only warms up.
void take_turn(Measured& m, const SpeedOptions& o, bool counts, const std::atomic<bool>& cancel) {
  std::vector<uint32_t> prompt;
  for (int64_t i = 0; i < o.prompt; i++) prompt.push_back(static_cast<uint32_t>((i * i * 31 + 7 * i + 1) % m.vocabulary));
  auto start = Clock::now();
  for (int64_t s = 0; s < o.sequences; s++) m.decoder->start(s, prompt, cancel);
  if (counts) m.prefill.push_back(since(start) / static_cast<double>(o.sequences));
  start = Clock::now();
  for (int64_t t = 0; t < o.tokens; t++) {
    if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the measurement was cancelled");
    std::vector<NextToken> next;
    for (int64_t s = 0; s < o.sequences; s++) next.push_back({s, prompt[(t + s) % o.prompt]});
    m.decoder->advance(next);
  }
  if (counts) m.pass.push_back(since(start) / static_cast<double>(o.tokens));
}

MedianInterval ratio(const std::vector<double>& times, const std::vector<double>& first) {
  std::vector<double> ratios;
  for (size_t i = 0; i < times.size(); i++) ratios.push_back(times[i] / first[i]);
  return median_interval(std::move(ratios));
}

bool all_certain(const std::vector<Measured>& measured) {
  const Measured& first = measured.front();
  return std::all_of(measured.begin() + 1, measured.end(), [&](const Measured& m) {
    return ratio(m.prefill, first.prefill).half_width() <= kCertain && ratio(m.pass, first.pass).half_width() <= kCertain;
  });
}

// Runs rounds in which each model has its turn. Returns the number of rounds.
int64_t take_rounds(std::vector<Measured>& measured, const SpeedOptions& o, const std::function<void(double)>& on_progress,
                    const std::atomic<bool>& cancel) {
  const Clock::time_point start = Clock::now();
  const int64_t most = o.rounds > 0 ? o.rounds : kManyRounds;
  const auto share = [&](double rounds) {
    const double done = rounds / static_cast<double>(most + 1);
    return o.rounds > 0 ? done : std::min(1.0, std::max(done, since(start) / kSecondsAtMost));
  };
  for (int64_t round = 0;; round++) {
    for (size_t i = 0; i < measured.size(); i++) {
      take_turn(measured[i], o, round > 0, cancel);
      const double turns = static_cast<double>(i + 1) / static_cast<double>(measured.size());
      if (on_progress) on_progress(share(static_cast<double>(round) + turns));
    }
    if (round >= most) return round;
    if (o.rounds == 0 && round >= kFewestRounds && (since(start) >= kSecondsAtMost || all_certain(measured))) return round;
  }
}

}  // namespace

// Uses order statistics: the number of n values that lie below their true median is binomial.
MedianInterval median_interval(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size(), half = n / 2;
  const double below = (static_cast<double>(n) - 1.96 * std::sqrt(static_cast<double>(n))) / 2;
  const auto lowest = static_cast<size_t>(std::max(0.0, below));
  return {n % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2, values[lowest], values[n - 1 - lowest]};
}

SpeedResult measure_speed(const std::vector<std::shared_ptr<const ModelWeights>>& models, const SpeedOptions& options,
                          const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel) {
  check_options(models, options);
  const std::unique_ptr<Backend> backend = make_backend(options.backend);
  SpeedResult result;
  result.copy_bytes_per_second = copy_speed(*backend, kCopyRounds);
  std::vector<Measured> measured;
  for (const auto& model : models)
    measured.push_back(
        {std::make_unique<Decoder>(*backend, model,
                                   DecoderShape{options.sequences, options.prompt, options.prompt + options.tokens, options.dtype}),
         model->config().vocab_size,
         {},
         {}});
  result.rounds = take_rounds(measured, options, on_progress, cancel);
  for (size_t i = 0; i < models.size(); i++) {
    const Measured &m = measured[i], &first = measured.front();
    result.models.push_back(
        {median(m.prefill), median(m.pass), ratio(m.prefill, first.prefill), ratio(m.pass, first.pass), pass_bytes(*models[i])});
  }
  return result;
}

}  // namespace espalier
