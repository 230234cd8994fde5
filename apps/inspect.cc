#include "apps/inspect.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <variant>
#include <vector>

#include "model/loader/gguf.h"
#include "model/loader/gguf_types.h"

namespace quire {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownText = 60;       // bytes of a text in a table
constexpr uint64_t kShownElements = 6;  // elements of an array

struct TypeTotals {
  int64_t tensors = 0;
  int64_t parameters = 0;
  int64_t bytes = 0;
};

// By the name of the type, and of all together.
struct Totals {
  std::map<std::string_view, TypeTotals> by_type;
  TypeTotals all;
};

int64_t BytesOfTensor(const GgufTensor& tensor) {
  return BytesOf(tensor.view.dtype(), tensor.view.shape().elements());
}

Totals Sum(const GgufFile& file) {
  Totals totals;
  for (const GgufTensor& tensor : file.tensors()) {
    for (TypeTotals* sum : {&totals.by_type[InfoOf(tensor.view.dtype()).name], &totals.all}) {
      sum->tensors += 1;
      sum->parameters += tensor.view.shape().elements();
      sum->bytes += BytesOfTensor(tensor);
    }
  }
  return totals;
}

Status CheckSize(const std::string& key, int64_t value) {
  constexpr int64_t kMax = 1 << 16;  // keeps every product of sizes within 64 bits
  if (value < 0 || value > kMax) {
    return CorruptData("'", key, "' is ", value, ", outside 0 .. ", kMax);
  }
  return OkStatus();
}

// The value of `key` for every layer: one for all, or an array with one each.
Result<std::vector<int64_t>> PerLayer(const GgufFile& file, const std::string& key,
                                      int64_t layers) {
  std::vector<int64_t> values;
  const GgufValue* value = file.Find(key);
  if (value != nullptr && std::holds_alternative<GgufArray>(*value)) {
    QUIRE_ASSIGN_OR_RETURN(values, file.GetInts(key));
  } else {
    QUIRE_ASSIGN_OR_RETURN(const int64_t one, file.GetInt(key));
    values.assign(static_cast<size_t>(layers), one);
  }
  if (static_cast<int64_t>(values.size()) != layers) {
    return CorruptData("'", key, "' has ", values.size(), " values for ", layers, " layers");
  }
  for (const int64_t v : values) {
    QUIRE_RETURN_IF_ERROR(CheckSize(key, v));
  }
  return values;
}

// Elements of a query head where the file does not say how long keys are.
Result<int64_t> DefaultHeadDim(const GgufFile& file, const std::string& prefix) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t hidden, file.GetInt(prefix + "embedding_length"));
  QUIRE_ASSIGN_OR_RETURN(const int64_t heads, file.GetInt(prefix + "attention.head_count"));
  if (heads < 1) {
    return CorruptData("'", prefix, "attention.head_count' is ", heads);
  }
  return hidden / heads;
}

Result<int64_t> HeadDim(const GgufFile& file, const std::string& prefix, std::string_view key) {
  const std::string name = StrCat(prefix, "attention.", key);
  if (file.Find(name) == nullptr) {
    return DefaultHeadDim(file, prefix);
  }
  return file.GetInt(name);
}

// Key and value elements that one token adds to the cache, all layers together.
Result<int64_t> KvElementsPerToken(const GgufFile& file) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view architecture,
                         file.GetString("general.architecture"));
  const std::string prefix = StrCat(architecture, ".");
  QUIRE_ASSIGN_OR_RETURN(const int64_t layers, file.GetInt(prefix + "block_count"));
  QUIRE_RETURN_IF_ERROR(CheckSize(prefix + "block_count", layers));
  std::string heads_key = prefix + "attention.head_count_kv";
  if (file.Find(heads_key) == nullptr) {
    heads_key = prefix + "attention.head_count";
  }
  QUIRE_ASSIGN_OR_RETURN(const auto kv_heads, PerLayer(file, heads_key, layers));
  QUIRE_ASSIGN_OR_RETURN(const int64_t key_length, HeadDim(file, prefix, "key_length"));
  QUIRE_ASSIGN_OR_RETURN(const int64_t value_length, HeadDim(file, prefix, "value_length"));
  QUIRE_RETURN_IF_ERROR(CheckSize(prefix + "attention.key_length", key_length));
  QUIRE_RETURN_IF_ERROR(CheckSize(prefix + "attention.value_length", value_length));
  int64_t heads = 0;
  for (const int64_t count : kv_heads) {
    heads += count;
  }
  return heads * (key_length + value_length);
}

// `text` on one line and without control characters, at most `limit` bytes of it.
std::string OneLine(std::string_view text, size_t limit) {
  constexpr char kHex[] = "0123456789abcdef";
  size_t end = std::min(text.size(), limit);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;  // not inside a UTF-8 character
  }
  std::string out;
  for (const char c : text.substr(0, end)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += StrCat("\\x", kHex[byte >> 4], kHex[byte & 15]);
    } else {
      out += c;
    }
  }
  return end < text.size() ? StrCat(out, "... (", text.size(), " bytes)") : out;
}

// The first elements of the array `key`.
Json FirstElements(const GgufFile& file, const std::string& key, const GgufArray& array) {
  Json out = Json::array();
  const auto append = [&](const auto& values) {
    for (size_t i = 0; i < std::min<size_t>(values.size(), kShownElements); ++i) {
      out.push_back(values[i]);
    }
  };
  const auto type = static_cast<GgufValueType>(array.element_type);
  if (type == GgufValueType::kString) {
    const auto strings = file.GetStrings(key);
    append(*strings);
  } else if (type == GgufValueType::kFloat32 || type == GgufValueType::kFloat64) {
    const auto floats = file.GetFloats(key);
    append(*floats);
  } else if (const auto ints = file.GetInts(key); ints.ok()) {
    append(*ints);
  }
  return out;
}

Json ValueJson(const GgufFile& file, const std::string& key, const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value)) {
    return {{"element_type", GgufValueTypeName(array->element_type)},
            {"count", array->count},
            {"first", FirstElements(file, key, *array)}};
  }
  return std::visit(
      [](const auto& scalar) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(scalar)>, GgufArray>) {
          return nullptr;
        } else {
          return scalar;
        }
      },
      value);
}

// JSON text of `json`; bytes of the file that are not UTF-8 become U+FFFD.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string ValueText(const GgufFile& file, const std::string& key, const GgufValue& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) {
    return OneLine(*text, kShownText);
  }
  if (const auto* array = std::get_if<GgufArray>(&value)) {
    Json first = FirstElements(file, key, *array);
    std::string shown = Dump(first, -1);
    if (array->count > first.size() && !first.empty()) {
      shown.insert(shown.size() - 1, ", ...");
    }
    return StrCat(GgufValueTypeName(array->element_type), "[", array->count, "] ",
                  OneLine(shown, 2 * kShownText));
  }
  return Dump(ValueJson(file, key, value), -1);
}

// Rows of text cells, printed in columns; cells of the last `numbers` columns stand to the right.
class Table {
 public:
  explicit Table(size_t numbers) : numbers_(numbers) {}

  void Add(std::vector<std::string> cells) {
    widths_.resize(std::max(widths_.size(), cells.size()));
    for (size_t i = 0; i < cells.size(); ++i) {
      widths_[i] = std::max(widths_[i], cells[i].size());
    }
    rows_.push_back(std::move(cells));
  }

  std::string Text() const {
    std::string out;
    for (const auto& row : rows_) {
      for (size_t i = 0; i < row.size(); ++i) {
        const std::string padding(widths_[i] - row[i].size(), ' ');
        const bool number = i + numbers_ >= row.size();
        out += StrCat("  ", number ? padding : "", row[i]);
        out += number || i + 1 == row.size() ? "" : padding;
      }
      out += '\n';
    }
    return out;
  }

 private:
  size_t numbers_;
  std::vector<size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

std::string MetadataText(const GgufFile& file) {
  Table table(0);
  for (const auto& [key, value] : file.metadata()) {
    table.Add({OneLine(key, kShownText), ValueText(file, key, value)});
  }
  return StrCat("metadata (", file.metadata().size(), ")\n", table.Text());
}

std::string TensorsText(const GgufFile& file) {
  Table table(1);
  for (const GgufTensor& tensor : file.tensors()) {
    table.Add({OneLine(tensor.name, kShownText), std::string(InfoOf(tensor.view.dtype()).name),
               ShapeName(tensor.view.shape()), StrCat(BytesOfTensor(tensor))});
  }
  return StrCat("\ntensors (", file.tensors().size(), "): name, type, shape, bytes\n",
                table.Text());
}

std::string TotalsText(const Totals& totals) {
  Table table(3);
  const auto add = [&](std::string_view name, const TypeTotals& sum) {
    table.Add({std::string(name), StrCat(sum.tensors), StrCat(sum.parameters), StrCat(sum.bytes)});
  };
  for (const auto& [type, sum] : totals.by_type) {
    add(type, sum);
  }
  add("all", totals.all);
  return StrCat("\ntotals: type, tensors, parameters, bytes\n", table.Text());
}

std::string KvText(const GgufFile& file) {
  const Result<int64_t> elements = KvElementsPerToken(file);
  if (!elements.ok()) {
    return StrCat("\nkv cache bytes per token: unknown, ", elements.status().message(), "\n");
  }
  return StrCat("\nkv cache bytes per token: ", *elements * 2, " in f16, ", *elements * 4,
                " in f32\n");
}

std::string Text(const GgufFile& file) {
  return StrCat(OneLine(file.path(), file.path().size()), ", ", file.bytes().size(), " bytes\n\n") +
         MetadataText(file) + TensorsText(file) + TotalsText(Sum(file)) + KvText(file);
}

Json TotalsJson(const TypeTotals& sum) {
  return {{"tensors", sum.tensors}, {"parameters", sum.parameters}, {"bytes", sum.bytes}};
}

std::string JsonText(const GgufFile& file) {
  Json out = {{"file", file.path()},
              {"file_bytes", file.bytes().size()},
              {"metadata", Json::object()},
              {"tensors", Json::array()}};
  for (const auto& [key, value] : file.metadata()) {
    out["metadata"][key] = ValueJson(file, key, value);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    Json shape = Json::array();
    for (int axis = 0; axis < tensor.view.rank(); ++axis) {
      shape.push_back(tensor.view.dim(axis));
    }
    out["tensors"].push_back({{"name", tensor.name},
                              {"type", InfoOf(tensor.view.dtype()).name},
                              {"shape", shape},
                              {"bytes", BytesOfTensor(tensor)}});
  }
  const Totals totals = Sum(file);
  out["types"] = Json::object();
  for (const auto& [type, sum] : totals.by_type) {
    out["types"][std::string(type)] = TotalsJson(sum);
  }
  out["parameters"] = totals.all.parameters;
  out["bytes"] = totals.all.bytes;
  const Result<int64_t> elements = KvElementsPerToken(file);
  out["kv_bytes_per_token"] = nullptr;
  if (elements.ok()) {
    out["kv_bytes_per_token"] = {{"f16", *elements * 2}, {"f32", *elements * 4}};
  }
  return Dump(out, 2) + "\n";
}

}  // namespace

int RunInspect(const std::string& path, bool json) {
  const Result<GgufFile> file = GgufFile::Open(path);
  if (!file.ok()) {
    std::fprintf(stderr, "quire inspect: %s\n", file.status().message().c_str());
    return 1;
  }
  const std::string text = json ? JsonText(*file) : Text(*file);
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    std::fprintf(stderr, "quire inspect: cannot write to standard output\n");
    return 1;
  }
  return 0;
}

}  // namespace quire
