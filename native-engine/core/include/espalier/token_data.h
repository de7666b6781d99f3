// Tokens of a text as a session takes them.
#pragma once
#include <cstdint>
#include <vector>

namespace espalier {

// Token ids of a data split, flat; rows of `sequence_length` are cut from its start, the remainder is dropped.
struct TokenData {
  std::vector<uint32_t> ids;
  std::vector<bool> context;  // of each token: it is read, and no loss counts its prediction; empty: of none
};
// From words of 32 bits, as data are stored: an id, and in the highest bit whether the token is context.
TokenData token_data(std::vector<uint32_t> words);

}  // namespace espalier
