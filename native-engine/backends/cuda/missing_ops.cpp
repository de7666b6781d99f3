// Ops whose kernels are not written yet. As long as this file is here, no build but that of the tests offers the backend.
#include "cuda_backend.h"
#include "espalier/error.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {
[[noreturn]] void missing(const char* op) {
  throw Error(ErrorCode::kNotSupported, "op", std::string("the CUDA backend has no kernel for ") + op + " yet");
}
}  // namespace

void CudaBackend::launch(const Embed&) { missing("Embed"); }
void CudaBackend::launch(const AttentionOperands&) { missing("AttentionOperands"); }
void CudaBackend::launch(const Attention&) { missing("Attention"); }
void CudaBackend::launch(const AttentionBackward&) { missing("AttentionBackward"); }
void CudaBackend::launch(const Swiglu&) { missing("Swiglu"); }
void CudaBackend::launch(const SwigluBackward&) { missing("SwigluBackward"); }
void CudaBackend::launch(const LayerLoss&) { missing("LayerLoss"); }
void CudaBackend::launch(const TokenLoss&) { missing("TokenLoss"); }

}  // namespace espalier::cuda::ESPALIER_TARGET
