// JSON text in and out, made safe for what strangers send.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace quire {

using Json = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 64;  // nested arrays and objects
inline constexpr int kMaxJsonMembers =
    1024;  // of one object; look-up in an ordered object is linear

// Errors: invalid_argument with line and column: not JSON, invalid UTF-8, nested deeper than
// kMaxJsonDepth, an object with more than kMaxJsonMembers members, a number out of range.
Result<Json> ParseJsonText(std::string_view text);

// One line; bytes that are no UTF-8 become U+FFFD, so this cannot fail.
std::string JsonText(const Json& value);

// "a string", "a number", "null", ... for messages.
std::string_view JsonTypeName(const Json& value);

}  // namespace quire
