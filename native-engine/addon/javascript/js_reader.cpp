#include "javascript/js_reader.h"

#include <cmath>
#include <cstring>

#include "espalier/base/error.h"

namespace espalier::addon {
namespace {

constexpr double kExactMax = 9007199254740991.0;  // 2^53 - 1

Napi::Object checked_object(const Napi::Value& value, const std::string& path) {
  if (!value.IsObject()) {
    const std::string name = path.empty() ? "the argument" : path;
    throw Error(ErrorCode::kInvalidArgument, path, name + " must be an object");
  }
  return value.As<Napi::Object>();
}

}  // namespace

JsObject::JsObject(const Napi::Value& value, std::string path) : object_(checked_object(value, path)), path_(std::move(path)) {}

void JsObject::fail(const char* key, const std::string& allowed) const {
  throw Error(ErrorCode::kInvalidArgument, path_of(key), path_of(key) + " must be " + allowed);
}

Napi::Value JsObject::get(const char* key) const { return object_.Get(key); }

bool JsObject::has(const char* key) const {
  const Napi::Value value = get(key);
  return !value.IsUndefined() && !value.IsNull();
}

std::string JsObject::string(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsString()) fail(key, "a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) fail(key, "a string without zero characters");
  return text;
}

bool JsObject::boolean(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsBoolean()) fail(key, "true or false");
  return value.As<Napi::Boolean>().Value();
}

int64_t JsObject::integer(const char* key, int64_t min, int64_t max) const {
  const Napi::Value value = get(key);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  const bool whole = std::fabs(number) <= kExactMax && number == std::floor(number);
  if (!whole || number < static_cast<double>(min) || number > static_cast<double>(max)) {
    fail(key, "an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return static_cast<int64_t>(number);
}

uint64_t JsObject::unsigned64(const char* key) const {
  const Napi::Value value = get(key);
  bool lossless = false;
  uint64_t number = 0;
  if (value.IsBigInt()) number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) fail(key, "a bigint from 0 to 2^64 - 1");
  return number;
}

double JsObject::number(const char* key) const {
  const Napi::Value value = get(key);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!std::isfinite(number)) fail(key, "a finite number");
  return number;
}

std::optional<double> JsObject::optional_number(const char* key) const { return has(key) ? std::optional(number(key)) : std::nullopt; }

std::vector<double> JsObject::numbers(const char* key) const {
  const Napi::Value value = get(key);
  std::vector<double> out;
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_float64_array) {
    const auto array = value.As<Napi::Float64Array>();
    out.assign(array.Data(), array.Data() + array.ElementLength());
  } else if (value.IsArray()) {
    const auto array = value.As<Napi::Array>();
    const uint32_t length = array.Length();
    for (uint32_t i = 0; i < length; ++i) {
      const Napi::Value item = array.Get(i);
      out.push_back(item.IsNumber() ? item.As<Napi::Number>().DoubleValue() : NAN);
    }
  } else {
    fail(key, "an array of numbers");
  }
  for (const double number : out) {
    if (!std::isfinite(number)) fail(key, "an array of finite numbers");
  }
  return out;
}

std::vector<std::string> JsObject::strings(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsArray()) fail(key, "an array of strings");
  const auto array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  std::vector<std::string> out;
  for (uint32_t i = 0; i < length; ++i) {
    const Napi::Value item = array.Get(i);
    if (!item.IsString()) fail(key, "an array of strings");
    out.push_back(item.As<Napi::String>().Utf8Value());
  }
  return out;
}

JsObject JsObject::object(const char* key) const { return {get(key), path_of(key)}; }

std::vector<JsObject> JsObject::objects(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsArray()) fail(key, "an array of objects");
  const auto array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  std::vector<JsObject> out;
  for (uint32_t i = 0; i < length; ++i) out.emplace_back(array.Get(i), path_of(key) + "[" + std::to_string(i) + "]");
  return out;
}

std::vector<std::string> JsObject::keys() const {
  const Napi::Array names = object_.GetPropertyNames();
  const uint32_t length = names.Length();
  std::vector<std::string> out;
  for (uint32_t i = 0; i < length; ++i) out.push_back(Napi::Value(names.Get(i)).ToString().Utf8Value());
  return out;
}

std::vector<uint8_t> JsObject::bytes(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) fail(key, "a Uint8Array");
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

std::vector<uint32_t> JsObject::words(const char* key) const {
  const Napi::Value value = get(key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) fail(key, "a Uint32Array");
  const auto array = value.As<Napi::Uint32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

}  // namespace espalier::addon
