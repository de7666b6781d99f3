// Matrix products by oneDNN: each shape has one primitive, which is made once and kept.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "device/memory.h"

namespace espalier::cpu {

class MatmulCache {
 public:
  MatmulCache();
  ~MatmulCache();
  void run(Tensor c, Tensor a, Tensor b, bool b_transposed, bool accumulate);
  static std::string version();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace espalier::cpu
