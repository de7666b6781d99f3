// Writes a Hugging Face tokenizer as llama.cpp's metadata, so that llama.cpp cuts text into the same tokens.
#pragma once
#include <string>
#include <vector>

#include "espalier/model/model_config.h"
#include "files/gguf_metadata.h"

namespace espalier {

// Reads tokenizer.json and its companions in `source_folder`. Without a tokenizer.json, the metadata says that the file has no vocabulary.
// Throws Error(kNotSupported, "tokenizer.json.<field>", ...) for a tokenizer that has no equal in llama.cpp, and Error(kModelCorrupt,
// "tokenizer.json...") for one that contradicts itself or the model.
void add_gguf_tokenizer(GgufMetadata& out, const std::string& source_folder, const ModelConfig& config);

// Returns sentences for people that say what llama.cpp does differently with a tokenizer that add_gguf_tokenizer accepted.
std::vector<std::string> gguf_tokenizer_notes(const std::string& source_folder);

}  // namespace espalier
