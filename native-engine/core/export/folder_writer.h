// A folder that appears whole or not at all. Files are written into a hidden sibling and made durable, and the folder gets its name by one
// rename. A kill at any moment leaves at most the hidden sibling, which the next export removes.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "espalier/export/export.h"
#include "files/sha256.h"

namespace espalier {

class FolderWriter {
 public:
  // `out_folder` must not exist or must be an empty folder; its parent must exist. Throws Error(kInvalidArgument | kIo, "out_folder", ...).
  explicit FolderWriter(const std::string& out_folder);
  ~FolderWriter();  // removes everything unless it was published
  FolderWriter(const FolderWriter&) = delete;
  FolderWriter& operator=(const FolderWriter&) = delete;

  void begin_file(const std::string& name);
  void write(const void* data, size_t size_bytes);
  void end_file();  // the file is durable when this returns
  // Ends the file, but first replaces 64 bytes at the offset by the digest (SHA-256, hexadecimal) of the file as it was before.
  void end_sealed_file(uint64_t offset);
  void add_file(const std::string& name, const std::string& content);
  void publish();
  const std::vector<ExportedFile>& files() const { return files_; }
  // Throws Error(kIo) when the disk has no room for this many bytes, before an hour is spent on writing them.
  void require_space(uint64_t size_bytes) const;

 private:
  [[noreturn]] void fail(const std::string& what, int error) const;
  void flush();
  void overwrite(uint64_t offset, const std::string& bytes);
  std::string digest_of_file();
  void close_file(const std::string& sha256);
  void remove_abandoned() const;
  void discard();

  std::string out_folder_, parent_, partial_;
  int lock_fd_ = -1, file_fd_ = -1;
  std::vector<uint8_t> buffer_;
  Sha256 hash_;
  std::vector<ExportedFile> files_;
  bool published_ = false;
};

}  // namespace espalier
