// Tile maps are made by the driver. Its function is asked for by name, since no library of the driver is linked.
#include "tile_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <cstring>

#include "espalier/base/error.h"

namespace espalier::cuda::ESPALIER_TARGET {

namespace {

[[maybe_unused]] constexpr unsigned kSince = 12000;  // the version of CUDA that brought tile maps

PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const PFN_cuTensorMapEncodeTiled_v12000 found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult status{};
#if CUDART_VERSION < 12050
    // These versions of cudart ask for the form that the function had when they were released. That form has never changed.
    const cudaError_t code = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &status);
#else
    const cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince, cudaEnableDefault, &status);
#endif
    if (code != cudaSuccess || status != cudaDriverEntryPointSuccess) function = nullptr;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return found;
}

}  // namespace

bool has_tile_maps() { return encoder() != nullptr; }

TileMap make_tile_map(const void* values, int64_t rows, int64_t cols, int64_t stride, int box_rows) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[] = {kBoxCols, static_cast<cuuint32_t>(box_rows)}, every[] = {1, 1};
  CUtensorMap map;
  static_assert(sizeof(map) == sizeof(TileMap));
  const CUresult code = encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(values), sizes, row_bytes, box, every,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (code != CUDA_SUCCESS) throw Error(ErrorCode::kInternal, "device", "the driver makes no tile map, error " + std::to_string(code));
  TileMap made;
  std::memcpy(&made, &map, sizeof(made));
  return made;
}

}  // namespace espalier::cuda::ESPALIER_TARGET
