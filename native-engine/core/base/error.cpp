#include "espalier/base/error.h"

namespace espalier {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case ErrorCode::kModelNotFound:
      return "MODEL_NOT_FOUND";
    case ErrorCode::kModelCorrupt:
      return "MODEL_CORRUPT";
    case ErrorCode::kModelUnsupported:
      return "MODEL_UNSUPPORTED";
    case ErrorCode::kWeightNotFinite:
      return "WEIGHT_NOT_FINITE";
    case ErrorCode::kFileNotRegular:
      return "FILE_NOT_REGULAR";
    case ErrorCode::kFileTooLarge:
      return "FILE_TOO_LARGE";
    case ErrorCode::kStateCorrupt:
      return "STATE_CORRUPT";
    case ErrorCode::kOutOfMemory:
      return "OUT_OF_MEMORY";
    case ErrorCode::kCancelled:
      return "CANCELLED";
    case ErrorCode::kIo:
      return "IO_ERROR";
    case ErrorCode::kDiskFull:
      return "ENGINE_DISK_FULL";
    case ErrorCode::kNotSupported:
      return "NOT_SUPPORTED";
    case ErrorCode::kSessionNotFound:
      return "SESSION_NOT_FOUND";
    case ErrorCode::kTeacherNotLoaded:
      return "TEACHER_NOT_LOADED";
    case ErrorCode::kDeviceLost:
      return "DEVICE_LOST";
    case ErrorCode::kInternal:
      return "INTERNAL";
  }
  return "INTERNAL";
}

}  // namespace espalier
