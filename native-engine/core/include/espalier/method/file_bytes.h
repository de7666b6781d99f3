// Memory for the bytes of a large file that is made in memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace espalier {

// Memory begins at a page, so that writing a file from it can bypass the kernel's cache. A vector that grows leaves new bytes unset, since
// its user writes them anyway.
template <class T>
struct FileAllocator {
  using value_type = T;
  static constexpr size_t kPage = 4096;

  FileAllocator() = default;
  template <class U>
  FileAllocator(const FileAllocator<U>&) {}

  T* allocate(size_t count) {
    void* memory = std::aligned_alloc(kPage, (count * sizeof(T) + kPage - 1) / kPage * kPage);
    if (!memory) throw std::bad_alloc();
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }

  template <class U>
  void construct(U* place) {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class... Args>
  void construct(U* place, Args&&... args) {
    ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
  }
  template <class U>
  bool operator==(const FileAllocator<U>&) const {
    return true;
  }
};

using FileBytes = std::vector<uint8_t, FileAllocator<uint8_t>>;

// Memory for files of one kind, one after another. It comes back when the last reader of a file lets it go: new memory has to be cleared by
// the system first, which takes longer than filling it. Any thread may let a file go.
class ReusedFileBytes {
 public:
  // Returns memory with any contents.
  std::shared_ptr<FileBytes> take() {
    std::unique_ptr<FileBytes> bytes;
    {
      const std::lock_guard lock(free_->mutex);
      bytes.swap(free_->bytes);
    }
    if (!bytes) bytes = std::make_unique<FileBytes>();
    return {bytes.release(), [free = std::weak_ptr(free_)](FileBytes* done) {
              std::unique_ptr<FileBytes> owned(done);
              const auto place = free.lock();
              if (!place) return;
              const std::lock_guard lock(place->mutex);
              if (!place->bytes) place->bytes.swap(owned);
            }};
  }

 private:
  struct Free {
    std::mutex mutex;
    std::unique_ptr<FileBytes> bytes;
  };
  std::shared_ptr<Free> free_ = std::make_shared<Free>();
};

}  // namespace espalier
