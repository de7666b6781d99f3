// A Hugging Face tokenizer as llama.cpp's metadata, so that llama.cpp cuts text into the same tokens.
#pragma once
#include <string>
#include <vector>

#include "espalier/model_config.h"
#include "files/gguf_metadata.h"

namespace espalier {

// Reads tokenizer.json and its companions in `source_folder`. Without a tokenizer.json the file says that it has no vocabulary.
// Throws Error(kNotSupported, "tokenizer.json.<field>", ...) for a tokenizer that llama.cpp has no equal of, and
// Error(kModelCorrupt, "tokenizer.json...") for one that contradicts itself or the model.
void add_gguf_tokenizer(GgufMetadata& out, const std::string& source_folder, const ModelConfig& config);

// Sentences for people: what llama.cpp does otherwise with a tokenizer that add_gguf_tokenizer took.
std::vector<std::string> gguf_tokenizer_notes(const std::string& source_folder);

}  // namespace espalier
