// An error that leaves the core. It has a stable code, the field at fault, and a text that names the mistake and the allowed values.
#pragma once
#include <stdexcept>
#include <string>

namespace espalier {

// Codes are part of the public contract: they pass unchanged from the addon through engine process and orchestrator to the client.
enum class ErrorCode {
  kInvalidArgument,   // INVALID_ARGUMENT         a request field has a value outside what is allowed
  kModelNotFound,     // MODEL_NOT_FOUND          folder or file is missing
  kModelCorrupt,      // MODEL_CORRUPT            truncated or malformed file, missing tensor, wrong shape or dtype
  kModelUnsupported,  // MODEL_UNSUPPORTED        an architecture, activation, rope type ... that the engine cannot run
  kWeightNotFinite,   // WEIGHT_NOT_FINITE        a tensor of the model holds NaN or an infinity
  kFileNotRegular,    // FILE_NOT_REGULAR         a FIFO, a device, a folder where a file is needed
  kFileTooLarge,      // FILE_TOO_LARGE           a file that is read whole is beyond its limit
  kStateCorrupt,      // STATE_CORRUPT            state bytes that do not parse or do not match the model and LoRA
  kOutOfMemory,       // OUT_OF_MEMORY            the planned bytes exceed the limit
  kCancelled,         // CANCELLED                stopped at a step boundary on request
  kIo,                // IO_ERROR                 the operating system refused a read or a write
  kDiskFull,          // ENGINE_DISK_FULL         no room is left for a file that the engine writes
  kNotSupported,      // NOT_SUPPORTED            a backend or dtype that this build or device lacks
  kSessionNotFound,   // SESSION_NOT_FOUND        a session that is not open, or has no model
  kTeacherNotLoaded,  // TEACHER_NOT_LOADED       a teacher that is not in memory
  kDeviceLost,        // DEVICE_LOST              a card's kernel failed: this process can use the card no more
  kInternal,          // INTERNAL                 a broken invariant of ours
};

const char* error_code_name(ErrorCode code);

class Error : public std::runtime_error {
 public:
  // `field` is the dotted path of the field at fault in a request or file ("config.rope_scaling.rope_type"); it may be empty.
  Error(ErrorCode code, std::string field, const std::string& message)
      : std::runtime_error(message), code_(code), field_(std::move(field)) {}
  ErrorCode code() const { return code_; }
  const std::string& field() const { return field_; }

 private:
  ErrorCode code_;
  std::string field_;
};

}  // namespace espalier
