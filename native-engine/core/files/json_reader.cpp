#include "files/json_reader.h"

#include <cmath>
#include <set>

namespace espalier {
namespace {

constexpr int kDepthMax = 64;

std::string number_text(double value) {
  std::string text = Json(value).dump();
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string without_library_prefix(const std::string& what) {
  const size_t end = what.find("] ");
  return what.starts_with("[json.exception") && end != std::string::npos ? what.substr(end + 2) : what;
}

}  // namespace

std::string json_excerpt(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array() && value.size() > 8) return "an array of " + std::to_string(value.size()) + " values";
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);  // ASCII, so that cutting it is safe
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

Json parse_json(std::string_view text, ErrorCode corrupt, const std::string& source) {
  std::vector<std::set<std::string>> open_objects;  // the keys seen so far of each object being read
  const Json::parser_callback_t check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth > kDepthMax) {
        throw Error(corrupt, source, source + ": nested deeper than " + std::to_string(kDepthMax) + " levels");
      }
      if (event == Event::object_start) open_objects.emplace_back();
    } else if (event == Event::object_end) {
      open_objects.pop_back();
    } else if (event == Event::key && !open_objects.back().insert(parsed.get<std::string>()).second) {
      throw Error(corrupt, source, source + ": key " + json_excerpt(parsed) + " appears twice in one object");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), check);
  } catch (const Json::exception& e) {
    throw Error(corrupt, source, source + " is not valid JSON: " + without_library_prefix(e.what()));
  }
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
  // A number beyond int64 parses as unsigned and must not wrap around.
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
