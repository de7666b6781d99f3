// A file that is mapped read-only into memory. If another process truncates it meanwhile, reading the lost part raises SIGBUS. So model
// folders must not be changed in place while a session uses them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "espalier/base/error.h"

namespace espalier {

class MappedFile {
 public:
  // Never blocks, for any kind of file. Throws Error(not_found, field) when there is no such file, Error(kFileNotRegular, field) when it is
  // not a regular file, and Error(kIo, field) when it cannot be read.
  MappedFile(const std::string& path, ErrorCode not_found, const std::string& field);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const uint8_t> bytes() const { return {static_cast<const uint8_t*>(data_), size_bytes_}; }

 private:
  void* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Returns the whole of a small text file; `limit_bytes` guards against a mistaken path. Throws the errors of MappedFile, and
// Error(kFileTooLarge) beyond the limit.
std::string read_text_file(const std::string& path, size_t limit_bytes, ErrorCode not_found, const std::string& field);

}  // namespace espalier
