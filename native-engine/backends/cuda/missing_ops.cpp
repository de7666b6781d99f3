// Ops whose kernels are not written yet. As long as this file is here, no build but that of the tests offers the backend.
#include "cuda_backend.h"
#include "espalier/error.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {
[[noreturn]] void missing(const char* op) {
  throw Error(ErrorCode::kNotSupported, "op", std::string("the CUDA backend has no kernel for ") + op + " yet");
}
}  // namespace

void CudaBackend::launch(const LoraNarrow&) { missing("LoraNarrow"); }
void CudaBackend::launch(const LoraGradient&) { missing("LoraGradient"); }

}  // namespace espalier::cuda::ESPALIER_TARGET
