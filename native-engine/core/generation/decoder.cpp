#include "generation/decoder.h"

#include "espalier/base/error.h"
#include "step/rope.h"
#include "step/step.h"

namespace espalier {

namespace {

constexpr uint64_t kLayerAlignment = 128;

// A query sees nothing behind the window, so no keys and values are kept there.
int64_t rows_kept(const ModelConfig& config, const LayerShape& layer, int64_t tokens) {
  const int64_t window = config.window_of(layer);
  return window > 0 ? std::min(window, tokens) : tokens;
}

// Returns the rows of a layer's cache in the form of CachedAttention: keys and values of the layer's own key/value heads.
int64_t cache_rows(const ModelConfig& config, const LayerShape& layer, const DecoderShape& shape) {
  return layer.heads > 0 ? shape.sequences * layer.kv_heads * 2 * rows_kept(config, layer, shape.tokens) : 0;
}

uint64_t layer_cache_bytes(const ModelConfig& config, const LayerShape& layer, const DecoderShape& shape) {
  const int64_t values = cache_rows(config, layer, shape) * padded_width(config.head_dim);
  const uint64_t bytes = static_cast<uint64_t>(values) * (shape.dtype == ComputeDType::kF32 ? 4 : 2);
  return (bytes + kLayerAlignment - 1) / kLayerAlignment * kLayerAlignment;
}

WorkspaceShape workspace_shape(const DecoderShape& shape) {
  WorkspaceShape s;
  s.batch = 1;
  s.tokens = std::max(shape.prompt, shape.sequences);
  s.dtype = shape.dtype;
  s.training = false;
  s.chunk = shape.sequences;
  return s;
}

std::vector<int32_t> device_ids(std::span<const uint32_t> ids) { return {ids.begin(), ids.end()}; }

}  // namespace

Decoder::Decoder(Backend& backend, std::shared_ptr<const ModelWeights> model, const DecoderShape& shape)
    : backend_(backend),
      shape_(shape),
      model_(backend, std::move(model)),
      role_block_(backend),
      token_block_(backend),
      role_(compile_role(make_intact_role(model_.weights()), {}, role_block_)),
      lengths_(static_cast<size_t>(shape.sequences), 0) {
  const ModelConfig& config = model_.config();
  const WorkspaceShape space = workspace_shape(shape);
  memory_ = backend.allocate(lay_out_workspace(config, LoraSpec{}, space, nullptr).total_bytes);
  ws_ = lay_out_workspace(config, LoraSpec{}, space, memory_.data());
  cache_memory_ = backend.allocate(cache_bytes(config, shape));
  int64_t used = 0;
  for (const LayerShape& layer : config.layers) {
    const DType dtype = shape.dtype == ComputeDType::kF32 ? DType::kF32 : DType::kBF16;
    cache_.push_back(
        {cache_memory_.data() + used, dtype, cache_rows(config, layer, shape), config.head_dim, padded_width(config.head_dim)});
    used += static_cast<int64_t>(layer_cache_bytes(config, layer, shape));
  }
  prompt_pass_ = make_pass_context(backend, model_, ws_, shape.dtype, 1, shape.prompt);
  token_pass_ = make_pass_context(backend, model_, ws_, shape.dtype, 1, 1);
  rope_ = make_rope_tables(config, shape.tokens);
}

// Returns the rows of the cache that a sequence has in a layer.
int64_t Decoder::capacity(int64_t layer) const { return rows_kept(model_.config(), model_.config().layers[layer], shape_.tokens); }

uint64_t Decoder::cache_bytes(const ModelConfig& config, const DecoderShape& shape) {
  uint64_t bytes = kLayerAlignment;
  for (const LayerShape& layer : config.layers) bytes += layer_cache_bytes(config, layer, shape);
  return bytes;
}

uint64_t Decoder::bytes(const ModelConfig& config, const DecoderShape& shape) {
  return cache_bytes(config, shape) + lay_out_workspace(config, LoraSpec{}, workspace_shape(shape), nullptr).total_bytes;
}

// Returns the logits of rows [first, first + count) of x.
std::vector<float> Decoder::logits(PassContext& c, Tensor x, int64_t first, int64_t count) {
  const int64_t vocabulary = model_.config().vocab_size;
  const Tensor h = ws_.h.reshaped(ws_.h.rows, role_.hidden_width).row_range(0, count);
  const Tensor out = ws_.logits.columns(0, vocabulary).row_range(0, count);
  norm_forward(c, role_, x.row_range(first, count), h, nullptr, role_.lists.final_norm);
  make_logits(c, role_, out, h);
  std::vector<float> rows = download(backend_, out.data.as<const float>(), count * out.stride);
  for (int64_t n = 1; n < count; n++) std::copy_n(rows.begin() + n * out.stride, vocabulary, rows.begin() + n * vocabulary);
  rows.resize(static_cast<size_t>(count * vocabulary));
  return rows;
}

// Stores the newest keys and values of a prompt in the cache, where the next tokens look for them.
void Decoder::keep_prompt(int64_t layer, int64_t sequence, const AttentionShape& shape, const Tensor& operands) {
  const int64_t tokens = operands.rows, rows = capacity(layer);
  for (int64_t from = std::max<int64_t>(0, tokens - rows); from < tokens;) {
    const int64_t place = from % rows, count = std::min(tokens - from, rows - place);
    for (int64_t kv = 0; kv < shape.kv_heads; kv++) {
      const int64_t keys = CachedAttention::first_row(sequence, kv, shape.kv_heads, rows), values = keys + rows;
      const Tensor key = operands.columns(shape.query_width + kv * shape.head_dim, shape.head_dim);
      const Tensor value = operands.columns(shape.query_width + shape.kv_width + kv * shape.head_dim, shape.head_dim);
      backend_.run(Copy{cache_[layer].row_range(keys + place, count), key.row_range(from, count)});
      backend_.run(Copy{cache_[layer].row_range(values + place, count), value.row_range(from, count)});
    }
    from += count;
  }
}

std::vector<float> Decoder::start(int64_t sequence, std::span<const uint32_t> ids, const std::atomic<bool>& cancel) {
  PassContext& c = prompt_pass_;
  c.tokens = static_cast<int64_t>(ids.size());
  const std::vector<int32_t> list = device_ids(ids);
  token_block_.begin(UploadBlock::room_for(list));
  const auto place = token_block_.add(list);
  token_block_.send();
  const Tensor x = ws_.teacher_x.reshaped(c.rows(), role_.hidden_width);
  embed_tokens(c, role_, place, x);
  for (int64_t l = 0; l < c.config().layer_count; l++) {
    if (cancel.load()) throw Error(ErrorCode::kCancelled, "", "the generation was cancelled");
    forward_layer(c, role_, l, x, ws_.teacher, [&](const auto& shape, const auto& operands, const auto& out, auto head_scale) {
      backend_.run(Attention{shape, operands, out, nullptr, head_scale});
      keep_prompt(l, sequence, shape, operands);
    });
  }
  lengths_.at(static_cast<size_t>(sequence)) = c.tokens;
  return logits(c, x, c.tokens - 1, 1);
}

std::vector<float> Decoder::advance(std::span<const NextToken> next) {
  PassContext& c = token_pass_;
  c.tokens = static_cast<int64_t>(next.size());
  std::vector<int32_t> ids, sequences, positions;
  for (const NextToken& token : next) {
    const int64_t position = lengths_.at(static_cast<size_t>(token.sequence))++;
    if (position >= shape_.tokens) throw Error(ErrorCode::kInvalidArgument, "tokens", "no position is left");
    ids.push_back(static_cast<int32_t>(token.id));
    sequences.push_back(static_cast<int32_t>(token.sequence));
    positions.push_back(static_cast<int32_t>(position));
  }
  const auto room = [](const auto&... lists) { return (UploadBlock::room_for(lists) + ...); };
  const RopeTables rope = at_positions(rope_, c.config().head_dim, positions);
  token_block_.begin(room(ids, sequences, positions) + rope_room(rope));
  const auto ids_there = token_block_.add(ids), sequences_there = token_block_.add(sequences),
             positions_there = token_block_.add(positions);
  place_rope(c, rope, token_block_);
  token_block_.send();
  const Tensor x = ws_.teacher_x.reshaped(c.rows(), role_.hidden_width);
  embed_tokens(c, role_, ids_there, x);
  for (int64_t l = 0; l < c.config().layer_count; l++)
    forward_layer(c, role_, l, x, ws_.teacher, [&](const auto& shape, const auto& operands, const auto& out, auto head_scale) {
      backend_.run(CachedAttention{shape, operands, cache_[l], sequences_there, positions_there, capacity(l), out, head_scale});
    });
  return logits(c, x, 0, c.tokens);
}

}  // namespace espalier
