// SHA-256 (FIPS 180-4). It is our own, because the addon lives inside Node, which exports its own libcrypto symbols: a second OpenSSL that
// is linked there would silently bind to Node's. It uses the SHA extensions of x86 where the CPU has them.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace espalier {

class Sha256 {
 public:
  Sha256();
  void update(const void* data, size_t size_bytes);
  void update(std::span<const uint8_t> bytes) { update(bytes.data(), bytes.size()); }
  // Ends the message. The object must not be used afterwards.
  std::array<uint8_t, 32> finish();
  std::string finish_hex();

 private:
  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> block_{};
  size_t block_used_ = 0;
  uint64_t total_bytes_ = 0;
};

// Returns the digest of one piece in hexadecimal.
std::string sha256_hex(std::span<const uint8_t> bytes);

namespace sha256_detail {
// Both compress `count` blocks of 64 bytes into `state`. They are public so that a test can compare them.
void compress_portable(uint32_t state[8], const uint8_t* blocks, size_t count);
bool has_sha_extensions();
void compress_sha_extensions(uint32_t state[8], const uint8_t* blocks, size_t count);
}  // namespace sha256_detail

}  // namespace espalier
