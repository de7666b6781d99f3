#include "files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace espalier {

namespace {
constexpr const char* kNotRegular = " is a FIFO, a device, a socket or a folder; a regular file, or a link to one, is allowed";
}

MappedFile::MappedFile(const std::string& path, ErrorCode not_found, const std::string& field) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // O_NONBLOCK: a FIFO must not block
  if (fd < 0) {
    const int error = errno;
    if (error == ENXIO) throw Error(ErrorCode::kFileNotRegular, field, path + kNotRegular);  // it is a socket
    const bool missing = error == ENOENT || error == ENOTDIR;
    throw Error(missing ? not_found : ErrorCode::kIo, field, "cannot open " + path + ": " + std::strerror(error));
  }
  struct stat info{};
  const bool usable = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (!usable) {
    ::close(fd);
    throw Error(ErrorCode::kFileNotRegular, field, path + kNotRegular);
  }
  size_bytes_ = static_cast<size_t>(info.st_size);
  if (size_bytes_ > 0) {  // an empty file can't be mapped
    data_ = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  }
  const int error = errno;
  ::close(fd);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    throw Error(ErrorCode::kIo, field, "cannot map " + path + ": " + std::strerror(error));
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

std::string read_text_file(const std::string& path, size_t limit_bytes, ErrorCode not_found, const std::string& field) {
  const MappedFile file(path, not_found, field);
  if (file.bytes().size() > limit_bytes) {
    throw Error(ErrorCode::kFileTooLarge, field,
                path + " has " + std::to_string(file.bytes().size()) + " bytes; at most " + std::to_string(limit_bytes) + " are allowed");
  }
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace espalier
