#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <string>

#include "tokenizer/classified_text.h"

namespace quire {

namespace {

using Stage = PreTokenizer::Stage;

constexpr Stage kDefault[] = {Stage::kPunctuationRun, Stage::kGpt2, Stage::kDigitRun,
                              Stage::kThreeDigits};
constexpr Stage kFalcon[] = {Stage::kPunctuationOrTickRun, Stage::kGpt2, Stage::kThreeDigits};
constexpr Stage kGpt2[] = {Stage::kGpt2};
constexpr Stage kLlama3[] = {Stage::kLlama3};
constexpr Stage kQwen2[] = {Stage::kQwen2};
constexpr Stage kQwen35[] = {Stage::kQwen35};
constexpr Stage kSingleDigits[] = {Stage::kDigit, Stage::kGpt2};

struct NamedPattern {
  std::string_view name;
  std::span<const Stage> stages;
  PreTokenizer::Traits traits;
};

constexpr NamedPattern kPatterns[] = {
    {"command-r", kSingleDigits, {false, false}},
    {"dbrx", kLlama3, {false, false}},
    {"deepseek-r1-qwen", kQwen2, {false, false}},
    {"default", kDefault, {false, false}},
    {"falcon", kFalcon, {false, false}},
    {"gpt-2", kGpt2, {false, false}},
    {"llama-bpe", kLlama3, {true, true}},
    {"llama-v3", kLlama3, {true, true}},
    {"llama3", kLlama3, {true, true}},
    {"mpt", kGpt2, {false, false}},
    {"olmo", kGpt2, {false, false}},
    {"qwen2", kQwen2, {false, false}},
    {"qwen35", kQwen35, {false, false}},
    {"refact", kSingleDigits, {false, false}},
    {"smaug-bpe", kLlama3, {false, false}},
    {"smollm", kSingleDigits, {false, false}},
    {"stablelm2", kQwen2, {false, false}},
    {"starcoder", kSingleDigits, {false, false}},
};

// Matches one pattern on the characters [begin, end) of a text, which look-ahead does not leave.
class Matcher {
 public:
  Matcher(const ClassifiedText& text, size_t end) : text_(text), end_(end) {}

  // The end of the word that starts at `begin`, by `stage`; more than `begin`. What a pattern that
  // does not cover every text leaves out between two matches is a word too.
  size_t WordEnd(Stage stage, size_t begin) const;

 private:
  bool Is(size_t p, uint8_t classes) const { return p < end_ && text_.Is(p, classes); }
  bool IsByte(size_t p, char byte) const { return p < end_ && text_.FirstByte(p) == byte; }
  bool IsNewline(size_t p) const { return IsByte(p, '\n') || IsByte(p, '\r'); }
  // A character of none of `classes`.
  bool IsOther(size_t p, uint8_t classes) const { return p < end_ && !text_.Is(p, classes); }

  size_t RunEnd(size_t p, uint8_t classes) const {
    while (Is(p, classes)) ++p;
    return p;
  }
  size_t OtherRunEnd(size_t p, uint8_t classes) const {
    while (IsOther(p, classes)) ++p;
    return p;
  }

  // Words of characters for which `inside` holds, and the gaps between them.
  template <typename Predicate>
  size_t RunOrGapEnd(size_t p, const Predicate& inside) const {
    const bool first = inside(p);
    while (p < end_ && inside(p) == first) ++p;
    return p;
  }

  bool IsAsciiDigit(size_t p) const {
    return p < end_ && text_.FirstByte(p) >= '0' && text_.FirstByte(p) <= '9';
  }
  bool IsPunctuationRunChar(size_t p, std::string_view symbols) const {
    return Is(p, kPunctuation) || (p < end_ && symbols.find(text_.FirstByte(p)) != symbols.npos);
  }

  size_t ContractionEnd(size_t p, bool ignore_case) const;
  size_t SpacesEnd(size_t p) const;
  size_t Gpt2WordEnd(size_t p) const;
  size_t CasedWordEnd(size_t p, uint8_t word_classes, size_t most_digits) const;
  size_t ThreeDigitsOrGapEnd(size_t p) const;

  const ClassifiedText& text_;
  size_t end_;
};

size_t Matcher::WordEnd(Stage stage, size_t begin) const {
  switch (stage) {
    case Stage::kDigit: return Is(begin, kNumber) ? begin + 1 : OtherRunEnd(begin, kNumber);
    case Stage::kDigitRun: return RunOrGapEnd(begin, [this](size_t p) { return Is(p, kNumber); });
    case Stage::kThreeDigits: return ThreeDigitsOrGapEnd(begin);
    case Stage::kPunctuationRun:
      return RunOrGapEnd(begin, [this](size_t p) { return IsPunctuationRunChar(p, "$+<=>^~|"); });
    case Stage::kPunctuationOrTickRun:
      return RunOrGapEnd(begin, [this](size_t p) { return IsPunctuationRunChar(p, "$+<=>^~|`"); });
    case Stage::kGpt2: return Gpt2WordEnd(begin);
    case Stage::kLlama3: return CasedWordEnd(begin, kLetter, 3);
    case Stage::kQwen2: return CasedWordEnd(begin, kLetter, 1);
    case Stage::kQwen35: return CasedWordEnd(begin, kLetter | kMark, 1);
  }
  QUIRE_CHECK(false) << "stage " << static_cast<int>(stage);
  return end_;
}

// 's|'t|'re|'ve|'m|'ll|'d. Returns `p` if none matches.
size_t Matcher::ContractionEnd(size_t p, bool ignore_case) const {
  if (!IsByte(p, '\'')) {
    return p;
  }
  const auto letter = [&](size_t i, char lower) {
    return IsByte(i, lower) || (ignore_case && IsByte(i, static_cast<char>(lower - 'a' + 'A')));
  };
  for (const char single : {'s', 't', 'm', 'd'}) {
    if (letter(p + 1, single)) {
      return p + 2;
    }
  }
  // U+017F, the long s, is an s to a pattern that ignores case.
  if (ignore_case && p + 1 < end_ && text_.Slice(p + 1, p + 2) == "\xC5\xBF") {
    return p + 2;
  }
  if ((letter(p + 1, 'r') && letter(p + 2, 'e')) || (letter(p + 1, 'v') && letter(p + 2, 'e')) ||
      (letter(p + 1, 'l') && letter(p + 2, 'l'))) {
    return p + 3;
  }
  return p;
}

// \s+(?!\S)|\s+ : all spaces, but the last one is left for the word that follows. REQUIRES: Is(p,
// kSpace).
size_t Matcher::SpacesEnd(size_t p) const {
  const size_t run_end = RunEnd(p, kSpace);
  return run_end == end_ || run_end - p == 1 ? run_end : run_end - 1;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
size_t Matcher::Gpt2WordEnd(size_t p) const {
  if (const size_t end = ContractionEnd(p, false); end > p) {
    return end;
  }
  const size_t start = IsByte(p, ' ') ? p + 1 : p;
  for (const uint8_t classes : {kLetter, kNumber}) {
    if (Is(start, classes)) {
      return RunEnd(start, classes);
    }
  }
  constexpr uint8_t kNotOther = kSpace | kLetter | kNumber;
  return IsOther(start, kNotOther) ? OtherRunEnd(start, kNotOther) : SpacesEnd(p);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?W+|\p{N}{1,most_digits}| ?[^\sW\p{N}]+[\r\n]*|
// \s*[\r\n]+|\s+(?!\S)|\s+ where W is `word_classes`.
size_t Matcher::CasedWordEnd(size_t p, uint8_t word_classes, size_t most_digits) const {
  if (const size_t end = ContractionEnd(p, true); end > p) {
    return end;
  }
  if (!IsNewline(p) && IsOther(p, kLetter | kNumber) && Is(p + 1, word_classes)) {
    return RunEnd(p + 1, word_classes);
  }
  if (Is(p, word_classes)) {
    return RunEnd(p, word_classes);
  }
  if (Is(p, kNumber)) {
    return std::min(RunEnd(p, kNumber), p + most_digits);
  }
  const uint8_t not_other = kSpace | kNumber | word_classes;
  const size_t start = IsByte(p, ' ') ? p + 1 : p;
  if (IsOther(start, not_other)) {
    size_t end = OtherRunEnd(start, not_other);
    while (IsNewline(end)) ++end;
    return end;
  }
  for (size_t q = RunEnd(p, kSpace); q > p; --q) {
    if (IsNewline(q - 1)) {
      return q;
    }
  }
  return SpacesEnd(p);
}

size_t Matcher::ThreeDigitsOrGapEnd(size_t p) const {
  const auto three_at = [this](size_t i) {
    return IsAsciiDigit(i) && IsAsciiDigit(i + 1) && IsAsciiDigit(i + 2);
  };
  if (three_at(p)) {
    return p + 3;
  }
  while (p < end_ && !three_at(p)) ++p;
  return p;
}

void SplitFrom(const ClassifiedText& text, size_t begin, size_t end, const Stage* stage,
               const Stage* last, std::vector<std::string_view>* words) {
  const Matcher matcher(text, end);
  while (begin < end) {
    const size_t word_end = matcher.WordEnd(*stage, begin);
    if (stage == last) {
      words->push_back(text.Slice(begin, word_end));
    } else {
      SplitFrom(text, begin, word_end, stage + 1, last, words);
    }
    begin = word_end;
  }
}

}  // namespace

Result<PreTokenizer> PreTokenizer::FromName(std::string_view name) {
  std::string known;
  for (const NamedPattern& pattern : kPatterns) {
    if (pattern.name == name) {
      return PreTokenizer(pattern.stages, pattern.traits);
    }
    known += StrCat(known.empty() ? "" : ", ", pattern.name);
  }
  return Unsupported("tokenizer.ggml.pre '", name, "' is not supported; known are ", known);
}

void PreTokenizer::Split(std::string_view text, std::vector<std::string_view>* words) const {
  const ClassifiedText classified(text);
  SplitFrom(classified, 0, classified.size(), &stages_.front(), &stages_.back(), words);
}

}  // namespace quire
