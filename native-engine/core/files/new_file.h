// A new file that is written from front to back.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace espalier {

// Opens a new file, or returns -1 with errno. Writes bypass the kernel's page cache where the file system allows it: filling that cache
// takes more processor time than a digest. Only memory that begins at a page can be written so.
int open_new(const std::string& path);

// Writes all bytes, or returns false with errno.
bool write_all(int file, std::span<const uint8_t> bytes);

}  // namespace espalier
