// The asynchronous copies of one thread, which are done by the end of the wait that covers their group.
#pragma once
#include <cstring>
#include <utility>
#include <vector>

#include "blocks/block.h"

namespace espalier::cuda::emulator {

class LaneCopies {
 public:
  bool empty() const { return copies_.empty(); }

  void clear() {
    copies_.clear();
    groups_ = 0;
  }

  // late: the copy is done only when it is waited for. Until then its place holds bytes that no thread wrote.
  void issue(const AsyncCopy& copy, bool late) {
    if (!late) return finish(copy);
    std::memset(copy.to, 0xff, 16);
    copies_.emplace_back(groups_, copy);
  }

  void commit() { groups_++; }

  // Waits until at most the `pending` newest groups are not done.
  void wait(int pending) {
    size_t kept = 0;
    for (const auto& [group, copy] : copies_)
      if (group < groups_ - pending)
        finish(copy);
      else
        copies_[kept++] = {group, copy};
    copies_.resize(kept);
  }

 private:
  static void finish(const AsyncCopy& copy) {
    if (copy.bytes > 0) std::memcpy(copy.to, copy.from, copy.bytes);
    if (copy.bytes < 16) std::memset(copy.to + copy.bytes, 0, 16 - copy.bytes);
  }

  std::vector<std::pair<int, AsyncCopy>> copies_;  // each with the number of its group
  int groups_ = 0;                                 // the groups that are committed so far
};

}  // namespace espalier::cuda::emulator
