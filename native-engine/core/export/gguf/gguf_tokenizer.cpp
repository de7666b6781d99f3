#include "export/gguf/gguf_tokenizer.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "export/gguf/bpe_tokenizer.h"
#include "files/mapped_file.h"

namespace espalier {
namespace {

constexpr size_t kJsonBytesMax = 256 << 20;
constexpr const char* kSpaceMark = "▁";  // SentencePiece's mark of a space
constexpr const char* kComposing = "NFC";
enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

[[noreturn]] void unsupported(const std::string& part, const std::string& message) {
  const std::string field = "tokenizer.json." + part;
  throw Error(ErrorCode::kNotSupported, field, field + " " + message + "; the safetensors formats take the tokenizer as it is");
}

std::string type_of(const Json& node) { return node.is_object() ? node.value("type", "") : ""; }

// Returns the parts of a Sequence, or the node itself as the only part; an absent node has no parts.
std::vector<Json> parts_of(const Json& node, const char* list) {
  if (node.is_null()) return {};
  if (type_of(node) == "Sequence" && node.contains(list)) return node[list].get<std::vector<Json>>();
  return {node};
}

struct SplitRule {
  const char* regex;
  bool ignore_merges;
  const char* name;  // llama.cpp's name of the rule
};
// The regular expressions of the tokenizer.json files for which llama.cpp's rules were written.
constexpr std::array kSplitRules = {
    SplitRule{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
              true, "llama-bpe"},
    SplitRule{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
              false, "dbrx"},
    SplitRule{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)", false,
              "qwen2"},
    // The rule of Mistral Nemo.
    SplitRule{R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
              R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
              R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
              true, "tekken"},
};

// Returns llama.cpp's name of the rule by which a byte-level tokenizer cuts text into words.
std::string split_rule(const BpeTokenizer& tokenizer) {
  bool digits_alone = false, has_bytes = false, own_words = true;
  std::string regex;
  for (const Json& part : parts_of(tokenizer.pre_tokenizer, "pretokenizers")) {
    const std::string type = type_of(part);
    if (type == "ByteLevel") {
      has_bytes = true;
      own_words = part.value("use_regex", true);
      if (part.value("add_prefix_space", false))
        unsupported("pre_tokenizer.add_prefix_space", "is true: llama.cpp's byte-level BPE adds no space");
    } else if (type == "Digits" && part.value("individual_digits", false)) {
      digits_alone = true;
    } else if (type == "Split" && part.contains("pattern") && part["pattern"].contains("Regex") && !part.value("invert", false)) {
      regex = part["pattern"]["Regex"].get<std::string>();
    } else {
      unsupported("pre_tokenizer", "has a part of type \"" + type + "\" that llama.cpp has no equal of");
    }
  }
  if (!has_bytes) unsupported("pre_tokenizer", "is neither byte-level nor SentencePiece's");
  if (regex.empty() && own_words && !tokenizer.ignore_merges) return digits_alone ? "smollm" : "gpt-2";
  for (const SplitRule& rule : kSplitRules) {
    if (regex == rule.regex && !own_words && !digits_alone && tokenizer.ignore_merges == rule.ignore_merges) return rule.name;
  }
  unsupported("pre_tokenizer", "cuts words in a way that llama.cpp has no rule for");
}

// Tells whether a token continues after a space. Without such tokens nothing merges across words, whether or not text is cut into words.
bool merges_across_words(const BpeTokenizer& tokenizer) {
  std::unordered_set<std::string> added;
  for (const AddedToken& token : tokenizer.added) added.insert(token.text);
  return std::any_of(tokenizer.tokens.begin(), tokenizer.tokens.end(),
                     [&](const std::string& token) { return token.find(kSpaceMark, 1) != std::string::npos && !added.contains(token); });
}

// Tells whether text gets a space in front, as SentencePiece adds one.
bool space_in_front(const BpeTokenizer& tokenizer) {
  bool space = false, marks = false;
  for (const Json& part : parts_of(tokenizer.normalizer, "normalizers")) {
    const std::string type = type_of(part);
    if (type == "Prepend" && part.value("prepend", "") == kSpaceMark) {
      space = true;
    } else if (type == "Replace" && part.value("content", "") == kSpaceMark && part.contains("pattern") &&
               part["pattern"].value("String", "") == " ") {
      marks = true;
    } else {
      unsupported("normalizer", "has a part of type \"" + type + "\" that llama.cpp has no equal of");
    }
  }
  for (const Json& part : parts_of(tokenizer.pre_tokenizer, "pretokenizers")) {
    // Gemma's tokenizer cuts at spaces, but its normalizer has left none.
    if (marks && type_of(part) == "Split" && part.contains("pattern") && part["pattern"].value("String", "") == " ") continue;
    if (type_of(part) != "Metaspace") unsupported("pre_tokenizer", "has a part of type \"" + type_of(part) + "\" beside byte fallback");
    if (part.value("split", true) && merges_across_words(tokenizer)) {
      unsupported("pre_tokenizer.split",
                  "is true, and tokens go on behind a space: llama.cpp's SentencePiece tokenizer merges across words");
    }
    marks = true;
    space = part.contains("prepend_scheme") ? part["prepend_scheme"] != "never" : part.value("add_prefix_space", true);
  }
  if (!marks) unsupported("normalizer", "does not write spaces as ▁, as SentencePiece does");
  return space;
}

// Returns scores by which SentencePiece merges like the tokenizer. SentencePiece joins the two neighbours whose union has the best score;
// BPE goes by the order of merges. They agree if that order is an order of the unions: all merges that make the same token stand together,
// and the vocabulary allows no other merges.
std::vector<float> scores_of(const BpeTokenizer& tokenizer) {
  std::vector<float> scores(tokenizer.tokens.size(), 0.0f);
  std::unordered_map<std::string, size_t> ids;
  for (size_t id = 0; id < tokenizer.tokens.size(); ++id) ids.emplace(tokenizer.tokens[id], id);
  std::unordered_map<std::string, size_t> merges_of;
  std::string last;
  float rank = 0;
  for (const auto& [left, right] : tokenizer.merges) {
    const std::string both = left + right;
    if (!ids.contains(both)) unsupported("model.merges", "makes " + json_excerpt(Json(both)) + ", which is no token");
    if (both != last) {
      if (merges_of.contains(both)) unsupported("model.merges", "makes " + json_excerpt(Json(both)) + " at two places: no score says that");
      scores[ids[both]] = -(rank += 1);
    }
    ++merges_of[both];
    last = both;
  }
  std::unordered_set<std::string> added;
  for (const AddedToken& token : tokenizer.added) added.insert(token.text);
  for (const std::string& token : tokenizer.tokens) {
    if (added.contains(token)) continue;
    size_t splits = 0;
    for (size_t at = 1; at < token.size(); ++at) {
      const bool between = (static_cast<uint8_t>(token[at]) & 0xc0) != 0x80;  // not within a code point
      splits += between && ids.contains(token.substr(0, at)) && ids.contains(token.substr(at)) ? 1 : 0;
    }
    const bool is_byte = token.size() == 6 && token.starts_with("<0x");
    const size_t merges = merges_of.contains(token) ? merges_of[token] : 0;
    if (!is_byte && splits != merges) {
      unsupported("model.merges", "makes " + json_excerpt(Json(token)) + " in " + std::to_string(merges) + " ways, SentencePiece in " +
                                      std::to_string(splits));
    }
  }
  return scores;
}

std::vector<int32_t> types_of(const BpeTokenizer& tokenizer) {
  std::vector<int32_t> types;
  for (const std::string& token : tokenizer.tokens) {
    const bool is_byte = tokenizer.byte_fallback && token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
    types.push_back(token.empty() ? kUnused : is_byte ? kByte : kNormal);
  }
  for (const AddedToken& token : tokenizer.added) types[static_cast<size_t>(token.id)] = token.special ? kControl : kUserDefined;
  for (size_t id = 0; id < types.size() && tokenizer.byte_fallback; ++id) {
    if (!tokenizer.unknown.empty() && tokenizer.tokens[id] == tokenizer.unknown) types[id] = kUnknown;
  }
  return types;
}

// Returns a name for every row of the embedding. A row that the tokenizer does not name gets a name of its own.
std::vector<std::string> names_of(const BpeTokenizer& tokenizer) {
  std::vector<std::string> names = tokenizer.tokens;
  for (size_t id = 0; id < names.size(); ++id) {
    if (names[id].empty()) names[id] = "[PAD" + std::to_string(id) + "]";
  }
  return names;
}

bool exists(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0;
}

Json read_json(const std::string& folder, const std::string& name) {
  if (!exists(folder + "/" + name)) return Json::object();
  const std::string text = read_text_file(folder + "/" + name, kJsonBytesMax, ErrorCode::kModelNotFound, name);
  return parse_json(text, ErrorCode::kModelCorrupt, name, kTableLimits);
}

// tokenizer_config.json names a special token by its text, either directly or as an object's content.
std::optional<uint32_t> id_named(const BpeTokenizer& tokenizer, const Json& settings, const std::string& name) {
  if (!settings.contains(name)) return std::nullopt;
  const Json& node = settings[name];
  const std::string text = node.is_string() ? node.get<std::string>() : node.is_object() ? node.value("content", "") : "";
  for (size_t id = 0; id < tokenizer.tokens.size() && !text.empty(); ++id) {
    if (tokenizer.tokens[id] == text) return static_cast<uint32_t>(id);
  }
  return std::nullopt;
}

std::optional<uint32_t> id_given(const Json& config, const char* key) {
  if (!config.contains(key)) return std::nullopt;
  const Json& node = config[key].is_array() && !config[key].empty() ? config[key][0] : config[key];
  return node.is_number_unsigned() ? std::optional(node.get<uint32_t>()) : std::nullopt;
}

// Tells whether the template of the post-processor has a special token before (or after) the text.
bool template_adds(const BpeTokenizer& tokenizer, bool before) {
  for (const Json& part : parts_of(tokenizer.post_processor, "processors")) {
    if (type_of(part) != "TemplateProcessing" || !part.contains("single") || part["single"].empty()) continue;
    return (before ? part["single"].front() : part["single"].back()).contains("SpecialToken");
  }
  return false;
}

void add_special_tokens(GgufMetadata& out, const BpeTokenizer& tokenizer, const std::string& folder) {
  const Json settings = read_json(folder, "tokenizer_config.json"), config = read_json(folder, "config.json");
  const auto add = [&](const char* key, const char* name, const char* given) {
    auto id = id_named(tokenizer, settings, name);
    if (!id) id = id_given(config, given);
    if (id) out.add(std::string("tokenizer.ggml.") + key, *id);
  };
  add("bos_token_id", "bos_token", "bos_token_id");
  add("eos_token_id", "eos_token", "eos_token_id");
  add("unknown_token_id", "unk_token", "unk_token_id");
  add("padding_token_id", "pad_token", "pad_token_id");
  out.add("tokenizer.ggml.add_bos_token", template_adds(tokenizer, true));
  out.add("tokenizer.ggml.add_eos_token", template_adds(tokenizer, false));
  std::string chat;
  if (settings.contains("chat_template") && settings["chat_template"].is_string()) chat = settings["chat_template"].get<std::string>();
  if (chat.empty() && exists(folder + "/chat_template.jinja")) {
    chat = read_text_file(folder + "/chat_template.jinja", 1 << 20, ErrorCode::kModelNotFound, "chat_template.jinja");
  }
  if (!chat.empty()) out.add("tokenizer.chat_template", chat);
}

}  // namespace

// llama.cpp does not normalize; most text is already composed.
std::vector<std::string> gguf_tokenizer_notes(const std::string& source_folder) {
  if (source_folder.empty()) return {};
  const Json tokenizer = read_json(source_folder, "tokenizer.json");
  if (!tokenizer.is_object()) return {};
  const std::vector<Json> parts = parts_of(tokenizer.value("normalizer", Json()), "normalizers");
  if (std::none_of(parts.begin(), parts.end(), [](const Json& part) { return type_of(part) == kComposing; })) return {};
  return {
      "The tokenizer composes characters first (NFC), which llama.cpp does not do: text with decomposed characters, as a letter and an "
      "accent apart, gets other tokens there unless its caller composes it."};
}

void add_gguf_tokenizer(GgufMetadata& out, const std::string& source_folder, const ModelConfig& config) {
  if (source_folder.empty() || !exists(source_folder + "/tokenizer.json")) {
    out.add("tokenizer.ggml.model", "no_vocab");
    return;
  }
  const BpeTokenizer tokenizer = read_bpe_tokenizer(read_json(source_folder, "tokenizer.json"), config.vocab_size);
  if (tokenizer.byte_fallback) {
    const bool space = space_in_front(tokenizer);
    out.add("tokenizer.ggml.model", "llama");
    out.add("tokenizer.ggml.pre", "default");
    out.add("tokenizer.ggml.tokens", names_of(tokenizer));
    out.add("tokenizer.ggml.scores", scores_of(tokenizer));
    out.add("tokenizer.ggml.token_type", types_of(tokenizer));
    out.add("tokenizer.ggml.add_space_prefix", space);
  } else {
    for (const Json& part : parts_of(tokenizer.normalizer, "normalizers")) {
      if (type_of(part) != kComposing)
        unsupported("normalizer", "has a part of type \"" + type_of(part) + "\" that llama.cpp has no equal of");
    }
    out.add("tokenizer.ggml.model", "gpt2");
    out.add("tokenizer.ggml.pre", split_rule(tokenizer));
    out.add("tokenizer.ggml.tokens", names_of(tokenizer));
    out.add("tokenizer.ggml.token_type", types_of(tokenizer));
    std::vector<std::string> merges;
    for (const auto& [left, right] : tokenizer.merges) merges.push_back(left + " " + right);
    out.add("tokenizer.ggml.merges", merges);
    out.add("tokenizer.ggml.add_space_prefix", false);
  }
  add_special_tokens(out, tokenizer, source_folder);
}

}  // namespace espalier
