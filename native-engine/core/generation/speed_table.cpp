#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "device/registry.h"
#include "device/watched_backend.h"
#include "espalier/base/error.h"
#include "espalier/generation/speed.h"
#include "generation/decoder.h"

namespace espalier {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMostSequences = 16, kMostRounds = 1000, kMostContext = 1 << 20;
constexpr int64_t kFewestRounds = 7, kManyRounds = 200;
constexpr double kSecondsPerWidth = 2;
// The weights of the measured layers have together at least these bytes, or as many as the model has. A cache does not hold them.
constexpr uint64_t kLayerBytes = uint64_t{512} << 20;
constexpr int64_t kWidths = 8;  // a full layer is measured in this number of widths, in equal steps
constexpr uint64_t kSeed = 1;

// Records the ops of one pass and the moments after them.
class PassWatch {
 public:
  void begin() {
    ops_.clear();
    start_ = nullptr;
    on_ = true;
  }
  void end() { on_ = false; }
  void before_op(Backend& backend) {
    if (on_ && !start_) start_ = backend.moment();
  }
  template <class Op>
  void after_op(const char* name, const Op&, Backend& backend) {
    if (on_) ops_.push_back({name, backend.moment()});
  }
  // Returns the seconds of each part of a layer, and of the rest. The ops of a layer always come in the same order (step/layer_pass.cpp).
  std::map<std::string, double> seconds_by_part(int64_t layers) const {
    std::map<std::string, double> seconds;
    const Moment* before = start_.get();
    int64_t layer = -1;
    int products = 0;
    bool in_mlp = false;
    for (const auto& [name, moment] : ops_) {
      if (name == "RmsNorm" && layer < 0) layer = 0;
      seconds[part_of(name, layer >= 0 && layer < layers, in_mlp, products)] += moment->seconds_since(*before);
      before = moment.get();
      if (name != "Product" || layer < 0 || layer >= layers) continue;
      products++;
      if (!in_mlp || products == 3) {
        layer += in_mlp ? 1 : 0;
        in_mlp = !in_mlp;
        products = 0;
      }
    }
    return seconds;
  }

 private:
  static std::string part_of(const std::string& name, bool in_layer, bool in_mlp, int products) {
    if (!in_layer) return "fixed";
    if (in_mlp) return name == "RmsNorm" ? "mlp_rest" : name == "Product" && products == 2 ? "down" : "gate_up";
    if (name == "AttentionOperands") return "qkv";
    if (name == "Attention" || name == "CachedAttention" || name == "Copy") return "attention";
    return name == "Product" ? "o" : "attention_rest";
  }

  bool on_ = false;
  std::unique_ptr<Moment> start_;
  std::vector<std::pair<std::string, std::unique_ptr<Moment>>> ops_;
};

void check_between(int64_t value, int64_t low, int64_t high, const char* field) {
  if (value < low || value > high)
    throw Error(ErrorCode::kInvalidArgument, field,
                "must be from " + std::to_string(low) + " to " + std::to_string(high) + ", not " + std::to_string(value));
}

// Returns a layer that has this share, in eighths, of the heads, key/value heads and units of the intact layer.
LayerShape layer_at(const ModelConfig& config, int64_t eighths) {
  const auto part = [&](int64_t all) { return std::max<int64_t>(1, (all * eighths + kWidths - 1) / kWidths); };
  LayerShape layer;
  layer.kv_heads = part(config.kv_head_count);
  // Each key/value head has a whole number of queries, since a group closes together with its queries.
  layer.heads = std::max(layer.kv_heads, part(config.head_count) / layer.kv_heads * layer.kv_heads);
  layer.intermediate = part(config.intermediate_size);
  for (int64_t h = 0; h < layer.heads; h++) layer.kv_head_of_query.push_back(static_cast<int32_t>(h * layer.kv_heads / layer.heads));
  return layer;
}

ModelConfig narrowed(const ModelConfig& config, int64_t layers, int64_t eighths, int64_t hidden) {
  ModelConfig out = config;
  out.hidden_size = hidden;
  out.layer_count = layers;
  out.layers.assign(static_cast<size_t>(layers), layer_at(config, eighths));
  return out;
}

int64_t layers_to_measure(const ModelConfig& config, DType dtype) {
  const uint64_t fixed = random_model_bytes(narrowed(config, 1, kWidths, config.hidden_size), dtype);
  const uint64_t more = random_model_bytes(narrowed(config, 2, kWidths, config.hidden_size), dtype);
  const auto enough = static_cast<int64_t>(kLayerBytes / std::max<uint64_t>(1, more - fixed)) + 1;
  return std::min(config.layer_count, std::max<int64_t>(2, enough));
}

// The times of one width, with one value for each round.
struct WidthTimes {
  std::map<std::string, std::vector<double>> parts;
  std::vector<double> whole;   // the times of the whole pass, whose ops are not watched
  std::vector<double> shares;  // the whole pass as a share of the intact model's pass in the same round
};

class WidthMeasurement {
 public:
  WidthMeasurement(const ModelConfig& config, const SpeedTableOptions& options, const std::atomic<bool>& cancel)
      : options_(options),
        cancel_(cancel),
        layers_(config.layer_count),
        plain_(make_backend(options.backend)),
        watched_(make_backend(options.backend), watch_),
        model_(random_model(config, options.dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16, kSeed)),
        plain_decoder_(*plain_, model_, shape()),
        watched_decoder_(watched_, model_, shape()) {
    for (int64_t i = 0; i < options.context; i++) prompt_.push_back(static_cast<uint32_t>((i * i * 31 + 7 * i + 1) % config.vocab_size));
  }

  // The intact model takes turns with this one, since the speed of a machine drifts in the minutes that all widths take.
  // intact: nullptr where this model is the intact one
  WidthTimes measure(WidthMeasurement* intact) {
    WidthTimes times;
    const Clock::time_point begin = Clock::now();
    const int64_t most = options_.rounds > 0 ? options_.rounds : kManyRounds;
    const auto is_enough = [&](int64_t round) {
      if (round > most) return true;
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      return options_.rounds == 0 && round > kFewestRounds && seconds > kSecondsPerWidth;
    };
    for (int64_t round = 0; !is_enough(round); round++) {  // the first round only warms up
      const double beside = intact ? intact->whole_pass() : 0, whole = whole_pass();
      watch_.begin();
      timed_pass(watched_decoder_, watched_);
      watch_.end();
      if (round == 0) continue;
      times.whole.push_back(whole);
      times.shares.push_back(intact ? whole / beside : 1.0);
      for (const auto& [part, seconds] : watch_.seconds_by_part(layers_)) times.parts[part].push_back(seconds);
    }
    return times;
  }

 private:
  // Returns the seconds of a pass that follows another one, so that the caches hold as much of this model as they can.
  double whole_pass() {
    timed_pass(plain_decoder_, *plain_);
    return timed_pass(plain_decoder_, *plain_);
  }

  DecoderShape shape() const {
    const int64_t prompt = options_.decode ? 1 : options_.context;
    return {options_.sequences, prompt, options_.context + 1, options_.dtype};
  }

  double timed_pass(Decoder& decoder, Backend& backend) {
    if (cancel_.load()) throw Error(ErrorCode::kCancelled, "", "the measurement was cancelled");
    std::vector<NextToken> next;
    if (options_.decode)
      for (int64_t s = 0; s < options_.sequences; s++) {
        decoder.set_length(s, options_.context);
        next.push_back({s, prompt_[static_cast<size_t>(s) % prompt_.size()]});
      }
    backend.synchronize();
    const Clock::time_point begin = Clock::now();
    if (options_.decode)
      decoder.advance(next);
    else
      decoder.start(0, prompt_, cancel_);
    backend.synchronize();
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

  const SpeedTableOptions& options_;
  const std::atomic<bool>& cancel_;
  int64_t layers_;
  PassWatch watch_;
  std::unique_ptr<Backend> plain_;
  WatchedBackend<PassWatch> watched_;
  std::shared_ptr<const ModelWeights> model_;
  Decoder plain_decoder_, watched_decoder_;
  std::vector<uint32_t> prompt_;
};

// Adds the times of one width to the table, all scaled; the times of a layer are those of a single layer. Queries and keys with values are
// one op, so its time is divided by their rows.
void add_times(SpeedTable& table, const ModelConfig& measured, const WidthTimes& times, double scale) {
  const auto layers = static_cast<double>(measured.layer_count);
  const LayerShape& layer = measured.layers.front();
  const auto add = [&](const std::string& part, int64_t width, double share, const MedianInterval& seconds) {
    table.times.push_back(
        {part, width, measured.hidden_size, scale * seconds.median * share, seconds.median > 0 ? seconds.half_width() : 0.0});
  };
  const double kv_share = 2.0 * static_cast<double>(layer.kv_heads) / static_cast<double>(layer.heads + 2 * layer.kv_heads);
  for (const auto& [part, seconds] : times.parts) {
    const MedianInterval median = median_interval(seconds);
    if (part == "fixed") {
      add(part, 0, 1.0, median);
    } else if (part == "qkv") {
      add("q", layer.heads, (1 - kv_share) / layers, median);
      add("kv", layer.kv_heads, kv_share / layers, median);
    } else {
      const bool of_units = part == "gate_up" || part == "down", rest = part == "attention_rest" || part == "mlp_rest";
      add(part, rest ? 0 : of_units ? layer.intermediate : layer.heads, 1 / layers, median);
    }
  }
  table.rounds =
      table.rounds == 0 ? static_cast<int64_t>(times.whole.size()) : std::min(table.rounds, static_cast<int64_t>(times.whole.size()));
}

}  // namespace

SpeedTable measure_speed_table(const ModelConfig& config, const SpeedTableOptions& options,
                               const std::function<void(double done_share)>& on_progress, const std::atomic<bool>& cancel) {
  check_between(options.context, 1, std::min(kMostContext, config.max_positions > 0 ? config.max_positions - 1 : kMostContext), "context");
  check_between(options.sequences, 1, kMostSequences, "sequences");
  check_between(options.rounds, 0, kMostRounds, "rounds");
  const DType dtype = options.dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
  const int64_t layers = layers_to_measure(config, dtype);
  // The intact width is measured first, then the same width with half of the hidden units, then narrower layers. Watching the ops makes a
  // pass slower, and the machine may become slower between two widths. So the parts of each width are scaled until they add up to the time
  // of its whole pass. This time is the intact model's time, multiplied by the ratio of the two passes when they ran in turn.
  std::vector<std::pair<int64_t, int64_t>> widths{{kWidths, std::max<int64_t>(1, config.hidden_size / 2)}};
  for (int64_t eighths = kWidths - 1; eighths > 0; eighths--) widths.emplace_back(eighths, config.hidden_size);
  SpeedTable table;
  double whole_seconds = 0;
  const auto add_width = [&](const ModelConfig& narrow, const WidthTimes& times) {
    double parts = 0;
    for (const auto& [part, seconds] : times.parts) parts += median_interval(seconds).median;
    add_times(table, narrow, times, whole_seconds * median_interval(times.shares).median / parts);
  };
  const auto progress = [&](size_t done) {
    if (on_progress) on_progress(static_cast<double>(done) / static_cast<double>(widths.size() + 1));
  };
  const ModelConfig whole_width = narrowed(config, layers, kWidths, config.hidden_size);
  WidthMeasurement intact(whole_width, options, cancel);
  {
    const WidthTimes times = intact.measure(nullptr);
    const MedianInterval whole = median_interval(times.whole);
    whole_seconds = whole.median;
    table.spread = whole.half_width();
    add_width(whole_width, times);
    for (const PartTime& time : table.times)
      table.pass_seconds += time.seconds * (time.part == "fixed" ? 1.0 : static_cast<double>(config.layer_count));
    progress(1);
  }
  for (size_t i = 0; i < widths.size(); i++) {
    const ModelConfig narrow = narrowed(config, layers, widths[i].first, widths[i].second);
    add_width(narrow, WidthMeasurement(narrow, options, cancel).measure(&intact));
    progress(i + 2);
  }
  // Where there are few key/value heads, two steps may have the same width. The table keeps the first measurement.
  std::vector<PartTime> once;
  for (const PartTime& time : table.times) {
    const auto same = [&](const PartTime& o) { return o.part == time.part && o.width == time.width && o.hidden == time.hidden; };
    if (std::none_of(once.begin(), once.end(), same)) once.push_back(time);
  }
  table.times = std::move(once);
  return table;
}

}  // namespace espalier
