#include "files/json_reader.h"

#include <cmath>
#include <utility>

namespace espalier {
namespace {

constexpr size_t kDepthMax = 64;

std::string number_text(double value) {
  std::string text = Json(value).dump();
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string without_library_prefix(const std::string& what) {
  const size_t end = what.find("] ");
  return what.starts_with("[json.exception") && end != std::string::npos ? what.substr(end + 2) : what;
}

// Builds a document while it is read. (The library's own callback would go through a whole object each time one of its values ends.)
class Builder final : public nlohmann::json_sax<Json> {
 public:
  Builder(ErrorCode corrupt, const std::string& source, const JsonLimits& limits, const std::atomic<bool>& cancel)
      : corrupt_(corrupt), source_(source), limits_(limits), cancel_(cancel) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // JSON text has no binary values
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    Json& object = *open_.back();
    if (object.size() == limits_.keys) too_large("an object has more than " + std::to_string(limits_.keys) + " keys");
    const auto [place, is_new] = object.get_ref<Json::object_t&>().emplace(std::move(value), nullptr);
    if (!is_new) throw Error(corrupt_, source_, source_ + ": key " + json_excerpt(Json(place->first)) + " appears twice in one object");
    place_ = &place->second;
    return true;
  }

  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    throw Error(corrupt_, source_, source_ + " is not valid JSON: " + without_library_prefix(error.what()));
  }

 private:
  static constexpr size_t kValuesBetweenLooks = 4096;

  [[noreturn]] void too_large(const std::string& what) const { throw Error(ErrorCode::kFileTooLarge, source_, source_ + ": " + what); }

  // Puts a value into the document and returns its place.
  Json& put(Json value) {
    if (values_ == limits_.values) too_large("holds more than " + std::to_string(limits_.values) + " values");
    values_ += 1;
    if (values_ % kValuesBetweenLooks == 0 && cancel_) throw Error(ErrorCode::kCancelled, source_, source_ + ": reading was stopped");
    if (open_.empty()) return root_ = std::move(value);
    if (open_.back()->is_object()) return *place_ = std::move(value);
    return open_.back()->get_ref<Json::array_t&>().emplace_back(std::move(value));
  }

  bool add(Json value) {
    put(std::move(value));
    return true;
  }

  // The addresses of open objects and arrays stay valid, since nothing is added beside one before it is closed.
  bool open(Json value) {
    if (open_.size() > kDepthMax) throw Error(corrupt_, source_, source_ + ": nested deeper than " + std::to_string(kDepthMax) + " levels");
    open_.push_back(&put(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const ErrorCode corrupt_;
  const std::string& source_;
  const JsonLimits limits_;
  const std::atomic<bool>& cancel_;
  Json root_;
  std::vector<Json*> open_;  // objects and arrays that are being read, the innermost last
  Json* place_ = nullptr;    // the place of the key that was read last
  size_t values_ = 0;
};

}  // namespace

std::string json_excerpt(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array() && value.size() > 8) return "an array of " + std::to_string(value.size()) + " values";
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);  // ASCII, so that it can be cut anywhere
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

Json parse_json(std::string_view text, ErrorCode corrupt, const std::string& source, const JsonLimits& limits,
                const std::atomic<bool>& cancel) {
  Builder builder(corrupt, source, limits, cancel);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

JsonObject::JsonObject(const Json& node, std::string path, ErrorCode corrupt) : node_(&node), path_(std::move(path)), corrupt_(corrupt) {
  if (!node.is_object()) {
    throw Error(corrupt, path_, path_ + " must be an object, not " + json_excerpt(node));
  }
}

void JsonObject::fail(const std::string& key, const std::string& message) const {
  throw Error(corrupt_, path_of(key), path_of(key) + " " + message);
}

const Json* JsonObject::find(const char* key) const {
  const auto it = node_->find(key);
  return it == node_->end() || it->is_null() ? nullptr : &*it;
}

int64_t JsonObject::integer(const char* key, int64_t min, int64_t max) const {
  const std::string range = "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  const Json* value = find(key);
  if (value == nullptr) fail(key, "is missing: " + range + " is required");
  // A number beyond int64 is parsed as unsigned and must not wrap around.
  const bool fits =
      value->is_number_integer() && !(value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
  if (!fits || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    fail(key, "is " + json_excerpt(*value) + ": it must be " + range);
  }
  return value->get<int64_t>();
}

int64_t JsonObject::integer_or(const char* key, int64_t min, int64_t max, int64_t fallback) const {
  return find(key) == nullptr ? fallback : integer(key, min, max);
}

double JsonObject::number(const char* key, double min, double max) const {
  const std::string range = "a number from " + number_text(min) + " to " + number_text(max);
  const Json* value = find(key);
  if (value == nullptr) fail(key, "is missing: " + range + " is required");
  if (!value->is_number() || !(value->get<double>() >= min && value->get<double>() <= max)) {
    fail(key, "is " + json_excerpt(*value) + ": it must be " + range);
  }
  return value->get<double>();
}

double JsonObject::number_or(const char* key, double min, double max, double fallback) const {
  return find(key) == nullptr ? fallback : number(key, min, max);
}

bool JsonObject::boolean_or(const char* key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) fail(key, "is " + json_excerpt(*value) + ": it must be true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonObject::string(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "is " + json_excerpt(*value) + ": it must be a string");
  return value->get<std::string>();
}

std::vector<int64_t> JsonObject::integers(const char* key, int64_t min, int64_t max, size_t count_max) const {
  const Json* value = find(key);
  if (value == nullptr) fail(key, "is missing: an array of integers is required");
  if (!value->is_array() || value->size() > count_max) {
    fail(key, "is " + json_excerpt(*value) + ": it must be an array of at most " + std::to_string(count_max) + " integers");
  }
  std::vector<int64_t> out;
  for (const Json& item : *value) {
    const bool fits = item.is_number_integer() && !(item.is_number_unsigned() && item.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX));
    if (!fits || item.get<int64_t>() < min || item.get<int64_t>() > max) {
      fail(key, "holds " + json_excerpt(item) + ": allowed are integers from " + std::to_string(min) + " to " + std::to_string(max));
    }
    out.push_back(item.get<int64_t>());
  }
  return out;
}

std::optional<JsonObject> JsonObject::object(const char* key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return JsonObject(*value, path_of(key), corrupt_);
}

}  // namespace espalier
