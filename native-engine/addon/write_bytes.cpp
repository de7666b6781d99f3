#include "write_bytes.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>

#include "espalier/base/error.h"
#include "files/new_file.h"
#include "files/sha256.h"
#include "javascript/js_error.h"
#include "javascript/js_reader.h"

namespace espalier::addon {
namespace {

// Node's own functions would read the bytes twice, once for the digest and once for the file, and would come back to the event loop for
// each half MiB.
constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kAlignment = 4096;

struct Freed {
  void operator()(uint8_t* memory) const { std::free(memory); }
};
using Piece = std::unique_ptr<uint8_t, Freed>;

class WriteBytes final : public Napi::AsyncWorker {
 public:
  WriteBytes(Napi::Env env, const Napi::Uint8Array& bytes, std::string path)
      : AsyncWorker(env),
        deferred_(env),
        kept_(Napi::Persistent(bytes)),
        bytes_(bytes.Data(), bytes.ByteLength()),
        path_(std::move(path)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  // Makes the digest even if the file can't be written. A file that already has this name is left alone.
  void Execute() override {
    // A write that bypasses the cache needs memory that begins at a page, as the engine's own files do. Other bytes are copied to such
    // memory.
    const bool is_aligned = reinterpret_cast<uintptr_t>(bytes_.data()) % kAlignment == 0;
    const Piece piece(is_aligned ? nullptr : static_cast<uint8_t*>(std::aligned_alloc(kAlignment, kPieceBytes)));
    if (!is_aligned && !piece) throw std::bad_alloc();
    const int file = path_.empty() ? -1 : open_new(path_);
    const bool opened = file >= 0;
    written_ = opened;
    Sha256 hash;
    for (size_t at = 0; at < bytes_.size(); at += kPieceBytes) {
      const auto part = bytes_.subspan(at, std::min(kPieceBytes, bytes_.size() - at));
      hash.update(part);
      if (!written_) continue;
      if (piece) std::ranges::copy(part, piece.get());
      written_ = write_all(file, {piece ? piece.get() : part.data(), part.size()});
    }
    digest_ = hash.finish_hex();
    if (!opened) return;
    written_ = ::close(file) == 0 && written_;
    if (!written_) ::unlink(path_.c_str());
  }

  void OnOK() override {
    Napi::Object out = Napi::Object::New(Env());
    out.Set("digest", digest_);
    out.Set("written", written_);
    deferred_.Resolve(out);
  }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  Napi::Reference<Napi::Uint8Array> kept_;  // so that the bytes are not freed meanwhile
  std::span<const uint8_t> bytes_;
  std::string path_;
  std::string digest_;
  bool written_ = false;
};

}  // namespace

Napi::Value write_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const JsObject options(info[0], "");
    const Napi::Value bytes = info[0].As<Napi::Object>().Get("bytes");
    if (!bytes.IsTypedArray() || bytes.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) options.fail("bytes", "a Uint8Array");
    auto* worker = new WriteBytes(info.Env(), bytes.As<Napi::Uint8Array>(), options.string("path"));  // it deletes itself when it is done
    const Napi::Promise promise = worker->promise();
    worker->Queue();
    return promise;
  });
}

}  // namespace espalier::addon
