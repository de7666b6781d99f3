// The addon's exports: some functions and the class Session. Their shapes are declared in native.ts.
#include <napi.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "base/memory_use.h"
#include "espalier/base/error.h"
#include "espalier/device/device.h"
#include "espalier/training/fingerprint.h"
#include "javascript/js_error.h"
#include "javascript/js_reader.h"
#include "javascript/options.h"
#include "javascript/settings.h"
#include "sessions/session.h"
#include "sessions/session_jobs.h"
#include "write_bytes.h"

extern const char* const kInterface;  // interface.cmake writes it

namespace espalier::addon {
namespace {

Napi::Value device_to_js(Napi::Env env, const DeviceDescription& device) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("name", device.name);
  out.Set("model", device.model);
  out.Set("instructionSet", device.kernels_in_use + (device.products.empty() ? "" : ", " + device.products));
  out.Set("threads", device.threads);
  out.Set("memoryBytes", Napi::BigInt::New(env, device.memory_bytes));
  out.Set("memoryAvailableBytes", Napi::BigInt::New(env, device.memory_available_bytes));
  out.Set("problem", device.problem);
  return out;
}

Napi::Value describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Array devices = Napi::Array::New(env);
    for (const DeviceDescription& device : list_devices()) devices.Set(devices.Length(), device_to_js(env, device));
    Napi::Object out = Napi::Object::New(env);
    out.Set("build", engine_build());
    out.Set("devices", devices);
    out.Set("peakResidentBytes", static_cast<double>(peak_resident_bytes()));
    return out;
  });
}

// Returns the device that a name chooses: the first of the devices that the name joins, with its number of threads.
Napi::Value device(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsString()) throw Error(ErrorCode::kInvalidArgument, "device", "device must be a string");
    const BackendSpec spec = parse_devices(info[0].As<Napi::String>().Utf8Value(), 0).front();
    DeviceDescription described = describe_device(spec);
    if (spec.threads > 0) described.threads = spec.threads;
    return device_to_js(info.Env(), described);
  });
}

// Returns the fingerprint of everything that can change a bit of a result with these options.
Napi::Value fingerprint(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), numerics_fingerprint(read_session_options(JsObject(info[0], "")).trainer));
  });
}

Napi::Value in_effect(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return settings_in_effect(info.Env(), JsObject(info[0], "")); });
}

// Frees the bytes of a result at once. They lie outside the JavaScript heap, and the collector does not know their size, so it would free
// them late.
Napi::Value release_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const bool is_bytes = info[0].IsTypedArray() && info[0].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array;
    // An array that covers only a part of its buffer shares the buffer with other data, so its buffer must not be freed.
    if (!is_bytes || info[0].As<Napi::Uint8Array>().ByteLength() != info[0].As<Napi::Uint8Array>().ArrayBuffer().ByteLength())
      throw Error(ErrorCode::kInvalidArgument, "bytes", "bytes must be a Uint8Array that is all of its buffer");
    Napi::ArrayBuffer buffer = info[0].As<Napi::Uint8Array>().ArrayBuffer();
    if (!buffer.IsDetached()) buffer.Detach();
    return info.Env().Undefined();
  });
}

// Locks a file, which Node can't do. The kernel drops the lock when the process ends, however it ends. The call never waits; it returns
// false where another process holds the lock.
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsNumber() || !info[1].IsBoolean())
      throw Error(ErrorCode::kInvalidArgument, "descriptor", "descriptor must be a number, and exclusive a boolean");
    const int descriptor = info[0].As<Napi::Number>().Int32Value();
    const bool exclusive = info[1].As<Napi::Boolean>().Value();
    if (::flock(descriptor, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return Napi::Boolean::New(info.Env(), true);
    if (errno == EWOULDBLOCK) return Napi::Boolean::New(info.Env(), false);
    throw Error(ErrorCode::kIo, "descriptor", std::string("the file can't be locked: ") + std::strerror(errno));
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("interface", kInterface);
  exports.Set("describe", Napi::Function::New(env, describe, "describe"));
  exports.Set("device", Napi::Function::New(env, device, "device"));
  exports.Set("numericsFingerprint", Napi::Function::New(env, fingerprint, "numericsFingerprint"));
  exports.Set("settingsInEffect", Napi::Function::New(env, in_effect, "settingsInEffect"));
  exports.Set("releaseBytes", Napi::Function::New(env, release_bytes, "releaseBytes"));
  exports.Set("writeBytes", Napi::Function::New(env, write_bytes, "writeBytes"));
  exports.Set("lockFile", Napi::Function::New(env, lock_file, "lockFile"));
  exports.Set("endJobs", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { end_jobs(info.Env()); }, "endJobs"));
  exports.Set("Session", Session::define(env));
  return exports;
}

}  // namespace
}  // namespace espalier::addon

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return espalier::addon::init(env, exports); }
NODE_API_MODULE(espalier_native, init_addon)
