#include "export/gguf/bpe_tokenizer.h"

#include <set>

namespace espalier {
namespace {

void place(BpeTokenizer& out, const std::string& text, int64_t id) {
  if (id < 0 || id >= static_cast<int64_t>(out.tokens.size())) {
    throw Error(
        ErrorCode::kModelCorrupt, "tokenizer.json.model.vocab",
        "tokenizer.json gives a token the id " + std::to_string(id) + "; the model has " + std::to_string(out.tokens.size()) + " tokens");
  }
  out.tokens[static_cast<size_t>(id)] = text;
}

void read_vocabulary(BpeTokenizer& out, const JsonObject& model, const JsonObject& root) {
  const Json* vocab = model.find("vocab");
  if (vocab == nullptr || !vocab->is_object()) model.fail("vocab", "must be an object that gives each token its id");
  for (const auto& [text, id] : vocab->items()) {
    if (!id.is_number_integer()) model.fail("vocab", "gives a token the id " + json_excerpt(id) + ": it must be an integer");
    place(out, text, id.get<int64_t>());
  }
  const Json* added = root.find("added_tokens");
  if (added == nullptr) return;
  for (const Json& token : *added) {
    const JsonObject node(token, "tokenizer.json.added_tokens", ErrorCode::kModelCorrupt);
    out.added.push_back({node.string("content").value_or(""), node.integer("id", 0, INT32_MAX), node.boolean_or("special", false)});
    place(out, out.added.back().text, out.added.back().id);
  }
}

// Older files write a merge as "a b", newer ones as ["a", "b"].
void read_merges(BpeTokenizer& out, const JsonObject& model) {
  const Json* merges = model.find("merges");
  if (merges == nullptr || !merges->is_array()) model.fail("merges", "must be an array");
  for (const Json& merge : *merges) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      out.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    const size_t gap = text.find(' ');
    if (gap == std::string::npos) model.fail("merges", "holds " + json_excerpt(merge) + ": it must be two tokens");
    out.merges.emplace_back(text.substr(0, gap), text.substr(gap + 1));
  }
}

void refuse_doubles(const BpeTokenizer& tokenizer) {
  std::set<std::string> seen;
  for (const std::string& token : tokenizer.tokens) {
    if (!token.empty() && !seen.insert(token).second) {
      throw Error(ErrorCode::kNotSupported, "tokenizer.json.model.vocab",
                  "tokenizer.json gives " + json_excerpt(Json(token)) + " two ids: llama.cpp needs each token once");
    }
  }
}

Json part(const JsonObject& root, const char* key) {
  const Json* found = root.find(key);
  return found == nullptr ? Json() : *found;
}

}  // namespace

BpeTokenizer read_bpe_tokenizer(const Json& document, int64_t vocab_size) {
  const JsonObject root(document, "tokenizer.json", ErrorCode::kModelCorrupt);
  const auto model = root.object("model");
  if (!model) root.fail("model", "is missing");
  const std::string type = model->string("type").value_or("BPE");
  if (type != "BPE") {
    throw Error(ErrorCode::kNotSupported, "tokenizer.json.model.type",
                "tokenizer.json.model.type is \"" + type + "\": GGUF exports know BPE");
  }
  BpeTokenizer out;
  out.tokens.resize(static_cast<size_t>(vocab_size));
  read_vocabulary(out, *model, root);
  read_merges(out, *model);
  refuse_doubles(out);
  out.byte_fallback = model->boolean_or("byte_fallback", false);
  out.ignore_merges = model->boolean_or("ignore_merges", false);
  out.unknown = model->string("unk_token").value_or("");
  out.normalizer = part(root, "normalizer");
  out.pre_tokenizer = part(root, "pre_tokenizer");
  out.post_processor = part(root, "post_processor");
  return out;
}

}  // namespace espalier
