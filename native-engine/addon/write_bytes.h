// writeBytes: the digest of a result's bytes and their file, made on a thread of libuv's pool.
#pragma once
#include <napi.h>

namespace espalier::addon {

Napi::Value write_bytes(const Napi::CallbackInfo& info);

}  // namespace espalier::addon
