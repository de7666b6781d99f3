#include "javascript/js_error.h"

#include <new>

#include "espalier/base/error.h"

namespace espalier::addon {
namespace {

Napi::Error make(Napi::Env env, const std::string& code, const std::string& field, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  error.Set("field", Napi::String::New(env, field));
  return error;
}

}  // namespace

Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return make(env, error_code_name(e.code()), e.field(), e.what());
  } catch (const AddonError& e) {
    return make(env, e.code(), "", e.what());
  } catch (const std::bad_alloc&) {
    return make(env, error_code_name(ErrorCode::kOutOfMemory), "", "the process could not get more memory");
  } catch (const std::exception& e) {
    return make(env, error_code_name(ErrorCode::kInternal), "", e.what());
  } catch (...) {
    return make(env, error_code_name(ErrorCode::kInternal), "", "an unknown exception left the engine");
  }
}

}  // namespace espalier::addon
