#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/test_seed.h"
#include "engine/test_tokenizer.h"
#include "tokenizer/unicode.h"

namespace quire {
namespace {

const Tokenizer& TestTokenizer() {
  static const std::unique_ptr<Tokenizer> tokenizer = MakeTestTokenizer();
  return *tokenizer;
}

struct Outcome {
  std::string text;
  bool stopped = false;
  bool operator==(const Outcome&) const = default;
};

// Everything that comes out for the bytes of `text`, and that no piece breaks a promise on the way.
Outcome Decode(std::string_view text, std::vector<std::string> stops) {
  TextStream stream(TestTokenizer(), std::move(stops), {kTestEndToken});
  Outcome outcome;
  for (const int32_t token : ByteTokens(text)) {
    const std::string piece = stream.Append(token);
    EXPECT_EQ(RepairUtf8(piece), piece) << "a piece that is no UTF-8";
    outcome.text += piece;
    EXPECT_EQ(stream.length(), CountCodePoints(outcome.text));
  }
  outcome.text += stream.Flush();
  outcome.stopped = stream.stopped();
  EXPECT_EQ(stream.length(), CountCodePoints(outcome.text));
  return outcome;
}

// What the header promises, told plainly: byte by byte, the first complete stop string cuts.
Outcome Expected(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(TextStreamTest, PassesTextThroughWithoutStops) {
  EXPECT_EQ(Decode("hello, world", {}), (Outcome{"hello, world", false}));
}

TEST(TextStreamTest, GivesCertainTextAtOnce) {
  TextStream stream(TestTokenizer(), {"STOP"}, {});
  EXPECT_EQ(stream.Append('a'), "a");
  EXPECT_EQ(stream.Append('S'), "");
  EXPECT_EQ(stream.Append('T'), "");
  EXPECT_EQ(stream.Append('x'), "STx");
  EXPECT_EQ(stream.Append('S'), "");
  EXPECT_EQ(stream.Append('S'), "S");
  EXPECT_EQ(stream.Flush(), "S");
  EXPECT_FALSE(stream.stopped());
}

TEST(TextStreamTest, CutsBeforeTheStopString) {
  EXPECT_EQ(Decode("one STOP two", {"STOP"}), (Outcome{"one ", true}));
  EXPECT_EQ(Decode("STOP", {"STOP"}), (Outcome{"", true}));
  EXPECT_EQ(Decode("STO", {"STOP"}), (Outcome{"STO", false}));
  EXPECT_EQ(Decode("SSTOP", {"STOP"}), (Outcome{"S", true}));
}

TEST(TextStreamTest, FindsStopsThatOverlapThemselves) {
  EXPECT_EQ(Decode("aaabaaab", {"aab"}), (Outcome{"a", true}));
  EXPECT_EQ(Decode("ababac", {"abac"}), (Outcome{"ab", true}));
}

TEST(TextStreamTest, TheStopCompleteFirstWins) {
  EXPECT_EQ(Decode("xabcd", {"abcd", "bc"}), (Outcome{"xa", true}));
  EXPECT_EQ(Decode("xabcd", {"bc", "abcd"}), (Outcome{"xa", true}));
  EXPECT_EQ(Decode("xabc", {"bc", "abc"}),
            (Outcome{"x", true}));  // the longer if they end together
}

TEST(TextStreamTest, NothingComesAfterAStop) {
  TextStream stream(TestTokenizer(), {"."}, {});
  EXPECT_EQ(stream.Append('a'), "a");
  EXPECT_EQ(stream.Append('.'), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.Append('b'), "");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(TextStreamTest, CodePointsComeWhole) {
  const std::string text = "é€😀";
  TextStream stream(TestTokenizer(), {}, {});
  std::vector<std::string> pieces;
  for (const int32_t token : ByteTokens(text)) pieces.push_back(stream.Append(token));
  EXPECT_EQ(pieces, (std::vector<std::string>{"", "é", "", "", "€", "", "", "", "😀"}));
}

TEST(TextStreamTest, StopStringsOfManyByteCharacters) {
  EXPECT_EQ(Decode("a€😀b", {"😀"}), (Outcome{"a€", true}));
  EXPECT_EQ(Decode("a€€", {"€😀"}), (Outcome{"a€€", false}));
  EXPECT_EQ(Decode("\xe2\x82", {"€"}), (Outcome{"\xef\xbf\xbd", false}));
}

TEST(TextStreamTest, AnUnfinishedCodePointCanCompleteAStopAtTheEnd) {
  EXPECT_EQ(Decode("ab\xf0\x9f", {"b\xef\xbf\xbd"}), (Outcome{"a", true}));
}

TEST(TextStreamTest, EndTokensGiveNoText) {
  TextStream stream(TestTokenizer(), {}, {kTestEndToken, 'z'});
  EXPECT_EQ(stream.Append('a'), "a");
  EXPECT_EQ(stream.Append('z'), "");
  EXPECT_EQ(stream.Append(kTestEndToken), "");
  EXPECT_TRUE(stream.IsSilent(kTestEndToken));
  EXPECT_FALSE(stream.IsSilent('a'));
  EXPECT_EQ(stream.Flush(), "");
}

TEST(TextStreamTest, CountsWhereTokensBegin) {
  TextStream stream(TestTokenizer(), {"ab"}, {});
  std::vector<int64_t> begins;
  for (const int32_t token : ByteTokens("€xab")) {
    stream.Append(token);
    begins.push_back(stream.token_begin());
  }
  EXPECT_EQ(begins, (std::vector<int64_t>{0, 0, 0, 1, 2, 3}));
  EXPECT_EQ(stream.length(), 2);  // so the tokens that begin at 2 and 3 were cut away
}

// What comes out when `text` is one token per part, with the cuts at bytes i and j.
Outcome DecodeInThree(const Tokenizer& tokenizer, const std::string& text, size_t i, size_t j,
                      const std::vector<std::string>& stops) {
  TextStream stream(tokenizer, stops, {});
  Outcome outcome;
  for (const std::string& part : {text.substr(0, i), text.substr(i, j - i), text.substr(j)}) {
    if (part.empty()) continue;
    const int32_t token =
        part.size() == 1 ? static_cast<unsigned char>(part[0]) : tokenizer.FindToken(part);
    EXPECT_GE(token, 0) << part;
    outcome.text += stream.Append(token);
  }
  outcome.text += stream.Flush();
  outcome.stopped = stream.stopped();
  return outcome;
}

TEST(TextStreamTest, EveryCutOfTheTextGivesTheSame) {
  const std::string text = "so é END of ENDING";
  std::set<std::string> parts;
  for (size_t i = 0; i < text.size(); ++i) {
    for (size_t size = 2; i + size <= text.size(); ++size) parts.insert(text.substr(i, size));
  }
  const auto tokenizer = MakeTestTokenizer({parts.begin(), parts.end()});
  const std::vector<std::vector<std::string>> stop_lists = {
      {"ENDING"}, {"END"},           {"é"}, {"ENDING", "END o", "xEND"}, {"of ENDx", "f"},
      {"ING"},    {"é END", "é ENx"}};
  for (const auto& stops : stop_lists) {
    for (size_t i = 0; i <= text.size(); ++i) {
      for (size_t j = i; j <= text.size(); ++j) {
        ASSERT_EQ(DecodeInThree(*tokenizer, text, i, j, stops), Expected(text, stops))
            << i << " " << j;
      }
    }
  }
}

TEST(TextStreamTest, RandomTextsAndStopsMatchThePlainRule) {
  std::mt19937_64 random(TestSeed());
  const std::vector<std::string> alphabet = {"a", "b", "é", "😀"};
  const auto make = [&](size_t max_length, size_t min_length) {
    std::string text;
    const size_t length = min_length + random() % (max_length - min_length + 1);
    for (size_t i = 0; i < length; ++i) text += alphabet[random() % alphabet.size()];
    return text;
  };
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = make(4, 1);
    const std::string text = make(24, 0);
    ASSERT_EQ(Decode(text, stops), Expected(text, stops)) << text;
  }
}

}  // namespace
}  // namespace quire
