// The addon's exports: some functions and the class Session. Their shapes are declared in native.ts.
#include <napi.h>

#include <fstream>

#include "backend.h"
#include "espalier/error.h"
#include "espalier/trainer.h"
#include "js_error.h"
#include "js_reader.h"
#include "memory_use.h"
#include "options.h"
#include "session.h"

namespace espalier::addon {
namespace {

// "model name : AMD EPYC 9R14" of /proc/cpuinfo.
std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

Napi::Value describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Object out = Napi::Object::New(env);
    const std::string fingerprint = make_backend("cpu", 0)->fingerprint();
    Napi::Array backends = Napi::Array::New(env, 1);
    backends.Set(0u, "cpu");
    out.Set("build", engine_build());
    out.Set("backends", backends);
    out.Set("device", processor_name());
    out.Set("backendFingerprint", fingerprint);
    out.Set("memoryAvailableBytes", static_cast<double>(available_bytes()));
    out.Set("peakResidentBytes", static_cast<double>(peak_resident_bytes()));
    return out;
  });
}

// The identity of everything that can change a bit of a result with these options.
Napi::Value fingerprint(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), numerics_fingerprint(read_trainer_options(JsObject(info[0], ""))));
  });
}

// The bytes of a result lie outside the JavaScript heap: the collector, which does not know how many they are, leaves them lying.
Napi::Value release_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const bool is_bytes = info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    // One that is not all of its buffer shares it with what is not ours.
    if (!is_bytes || info[0].As<Napi::Uint8Array>().ByteLength() != info[0].As<Napi::Uint8Array>().ArrayBuffer().ByteLength())
      throw Error(ErrorCode::kInvalidArgument, "bytes", "bytes must be a Uint8Array that is all of its buffer");
    Napi::ArrayBuffer buffer = info[0].As<Napi::Uint8Array>().ArrayBuffer();
    if (!buffer.IsDetached()) buffer.Detach();
    return info.Env().Undefined();
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("describe", Napi::Function::New(env, describe, "describe"));
  exports.Set("numericsFingerprint", Napi::Function::New(env, fingerprint, "numericsFingerprint"));
  exports.Set("releaseBytes", Napi::Function::New(env, release_bytes, "releaseBytes"));
  exports.Set("Session", Session::define(env));
  return exports;
}

}  // namespace
}  // namespace espalier::addon

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return espalier::addon::init(env, exports); }
NODE_API_MODULE(espalier_native, init_addon)
