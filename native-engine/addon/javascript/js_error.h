// Turns C++ exceptions into JavaScript errors: each becomes an Error with `code` and `field`.
#pragma once
#include <napi.h>

#include <exception>
#include <string>

namespace espalier::addon {

// A failure of the addon itself, for which the core has no code.
class AddonError : public std::runtime_error {
 public:
  AddonError(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& error);

// Runs the body of an exported function and turns an exception of the body into a JavaScript exception.
template <typename Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;  // a getter or a callback of the caller threw this error, so it is passed on unchanged
  } catch (...) {
    throw to_js_error(env, std::current_exception());
  }
}

}  // namespace espalier::addon
