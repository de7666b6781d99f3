#include "espalier/generation/generate.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "device/registry.h"
#include "espalier/base/error.h"
#include "generation/decoder.h"
#include "generation/pass_bytes.h"
#include "generation/sampler.h"

namespace espalier {

namespace {

constexpr int64_t kMostTogether = 16;  // on every backend, up to this number of rows the results of a row do not depend on the others

[[noreturn]] void refuse(size_t prompt, const char* field, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "prompts[" + std::to_string(prompt) + "]" + field, what);
}

void check_prompt(const ModelConfig& config, const Prompt& p, size_t number) {
  if (p.ids.empty()) refuse(number, "", "holds no token: at least one is needed to go on from");
  if (config.max_positions > 0 && static_cast<int64_t>(p.ids.size()) >= config.max_positions)
    refuse(number, "",
           "has " + std::to_string(p.ids.size()) + " tokens: the model has " + std::to_string(config.max_positions) +
               " positions, and at least one is needed for what follows");
  for (const uint32_t id : p.ids)
    if (static_cast<int64_t>(id) >= config.vocab_size)
      refuse(number, "", "has token " + std::to_string(id) + ", outside the vocabulary of " + std::to_string(config.vocab_size));
  if (p.max_tokens < 1) refuse(number, ".max_tokens", "must be at least 1, not " + std::to_string(p.max_tokens));
  if (!std::isfinite(p.sampling.temperature) || p.sampling.temperature < 0)
    refuse(number, ".temperature", "must be 0 or more, not " + std::to_string(p.sampling.temperature));
  if (!(p.sampling.top_p > 0 && p.sampling.top_p <= 1))
    refuse(number, ".top_p", "must be above 0 and at most 1, not " + std::to_string(p.sampling.top_p));
}

// Returns the most tokens that the prompt and its text can have.
int64_t longest(const ModelConfig& config, const Prompt& p) {
  const int64_t tokens = static_cast<int64_t>(p.ids.size()) + p.max_tokens;
  return config.max_positions > 0 ? std::min(tokens, config.max_positions) : tokens;
}

// Chooses the number of sequences that are decoded together: the requested number, or fewer, so that they fit into the device's memory.
DecoderShape shape_of(const ModelConfig& config, const GenerateRequest& request) {
  DecoderShape shape;
  shape.dtype = request.dtype;
  for (const Prompt& p : request.prompts) {
    shape.prompt = std::max(shape.prompt, static_cast<int64_t>(p.ids.size()));
    shape.tokens = std::max(shape.tokens, longest(config, p));
  }
  const uint64_t available = describe_device(request.backend).memory_available_bytes;
  shape.sequences = std::clamp<int64_t>(request.together, 1, std::min(kMostTogether, static_cast<int64_t>(request.prompts.size())));
  while (shape.sequences > 1 && Decoder::bytes(config, shape) > available) shape.sequences--;
  if (const uint64_t needed = Decoder::bytes(config, shape); needed > available)
    throw Error(ErrorCode::kOutOfMemory, "max_tokens",
                "a text of " + std::to_string(shape.tokens) + " tokens needs " + std::to_string(needed) +
                    " bytes for its keys and values, " + std::to_string(available) + " are free: ask for fewer tokens");
  return shape;
}

// A prompt whose text is being generated.
struct Text {
  int64_t prompt = 0, sequence = 0;
  int64_t made = 0;
  uint32_t last = 0;
};

class Generation {
 public:
  Generation(Decoder& decoder, const ModelConfig& config, const GenerateRequest& request, const DecoderShape& shape,
             const std::function<void(const GeneratedToken&)>& on_token, const std::function<bool(int64_t)>& stopped,
             const std::atomic<bool>& cancel)
      : decoder_(decoder), config_(config), request_(request), on_token_(on_token), stopped_(stopped), cancel_(cancel) {
    for (int64_t s = shape.sequences; s > 0; s--) free_.push_back(s - 1);
  }

  GenerationResult run() {
    for (size_t next = 0; next < request_.prompts.size() || !texts_.empty();) {
      while (!free_.empty() && next < request_.prompts.size()) begin(static_cast<int64_t>(next++));
      advance();
    }
    return result_;
  }

 private:
  void begin(int64_t number) {
    const Prompt& prompt = request_.prompts[static_cast<size_t>(number)];
    const auto start = std::chrono::steady_clock::now();
    Text text{number, free_.back()};
    const std::vector<float> logits = decoder_.start(text.sequence, prompt.ids, cancel_);
    result_.prefill_seconds += since(start);
    result_.prompt_tokens += static_cast<int64_t>(prompt.ids.size());
    if (!choose(text, logits)) return;
    free_.pop_back();
    texts_.push_back(text);
  }

  void advance() {
    std::erase_if(texts_, [&](const Text& text) {
      if (!stopped_(text.prompt)) return false;
      free_.push_back(text.sequence);
      return true;
    });
    if (cancel_.load()) throw Error(ErrorCode::kCancelled, "", "the generation was cancelled");
    if (texts_.empty()) return;
    std::vector<NextToken> next;
    for (const Text& text : texts_) next.push_back({text.sequence, text.last});
    const auto start = std::chrono::steady_clock::now();
    const std::vector<float> logits = decoder_.advance(next);
    result_.decode_passes++;
    const size_t vocabulary = static_cast<size_t>(config_.vocab_size);
    size_t row = 0;
    std::vector<Text> going_on;
    for (Text text : texts_) {
      if (choose(text, {logits.data() + vocabulary * row++, vocabulary}))
        going_on.push_back(text);
      else
        free_.push_back(text.sequence);
    }
    texts_ = std::move(going_on);
    result_.decode_seconds += since(start);
  }

  // Chooses the next token. Returns true where the text goes on.
  bool choose(Text& text, std::span<const float> logits) {
    const Prompt& prompt = request_.prompts[static_cast<size_t>(text.prompt)];
    text.last = choose_token(logits, prompt.sampling, text.made++);
    result_.generated_tokens++;
    GeneratedToken token{text.prompt, text.last};
    const auto& ends = request_.end_tokens;
    const int64_t room = longest(config_, prompt) - static_cast<int64_t>(prompt.ids.size());
    if (std::find(ends.begin(), ends.end(), text.last) != ends.end())
      token.finish = Finish::kEnd;
    else if (text.made == room)
      token.finish = Finish::kLength;
    on_token_(token);
    return token.finish == Finish::kNone;
  }

  static double since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  Decoder& decoder_;
  const ModelConfig& config_;
  const GenerateRequest& request_;
  const std::function<void(const GeneratedToken&)>& on_token_;
  const std::function<bool(int64_t)>& stopped_;
  const std::atomic<bool>& cancel_;
  std::vector<int64_t> free_;
  std::vector<Text> texts_;
  GenerationResult result_;
};

}  // namespace

GenerationResult generate(const std::shared_ptr<const ModelWeights>& model, const GenerateRequest& request,
                          const std::function<void(const GeneratedToken&)>& on_token, const std::function<bool(int64_t prompt)>& stopped,
                          const std::atomic<bool>& cancel) {
  const ModelConfig& config = model->config();
  if (request.prompts.empty()) throw Error(ErrorCode::kInvalidArgument, "prompts", "is empty: at least one prompt is required");
  for (size_t i = 0; i < request.prompts.size(); i++) check_prompt(config, request.prompts[i], i);
  const DecoderShape shape = shape_of(config, request);
  const std::unique_ptr<Backend> backend = make_backend(request.backend);
  Decoder decoder(*backend, model, shape);
  GenerationResult result = Generation(decoder, config, request, shape, on_token, stopped, cancel).run();
  result.weight_bytes = pass_bytes(*model);
  result.cache_bytes = Decoder::cache_bytes(config, shape);
  return result;
}

}  // namespace espalier
