#include "base/choice_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace quire {
namespace {

using testing::HasSubstr;

class ChoiceFileTest : public testing::Test {
 protected:
  ~ChoiceFileTest() override { std::filesystem::remove_all(root_); }

  ChoiceFile Open(const std::string& conditions = "device, version 1") const {
    return {folder_, "choices.txt", conditions};
  }
  // What opening warns of.
  std::string WarningOf(const std::string& conditions = "device, version 1") const {
    testing::internal::CaptureStderr();
    Open(conditions);
    return testing::internal::GetCapturedStderr();
  }
  std::string path() const { return folder_ + "/choices.txt"; }
  std::string Content() const {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  void SetContent(const std::string& content) const {
    std::ofstream(path(), std::ios::binary) << content;
  }

  // What a file with `content` has for "key".
  std::optional<std::string> FoundIn(const std::string& content) const {
    SetContent(content);
    testing::internal::CaptureStderr();
    const std::optional<std::string> found = Open().Find("key");
    testing::internal::GetCapturedStderr();
    return found;
  }

  std::string root_ = StrCat(testing::TempDir(), "quire_choices_", ::getpid());
  std::string folder_ = root_ + "/a/b";  // does not exist
};

TEST_F(ChoiceFileTest, KeepsChoicesForTheNextProcess) {
  EXPECT_EQ(WarningOf(), "");  // there is no file yet
  {
    ChoiceFile choices = Open();
    EXPECT_EQ(choices.Find("bf16 256"), std::nullopt);
    choices.Put("bf16 256", "slow");
    choices.Put("bf16 256", "fast");
    choices.Put("f16 8", "");
    choices.Put("", std::string("\0\n\t\xff", 4));
    EXPECT_EQ(choices.Find("bf16 256"), "fast");
  }
  EXPECT_EQ(WarningOf(), "");
  const ChoiceFile again = Open();
  EXPECT_EQ(again.Find("bf16 256"), "fast");
  EXPECT_EQ(again.Find("f16 8"), "");
  EXPECT_EQ(again.Find(""), std::string("\0\n\t\xff", 4));
  EXPECT_EQ(again.Find("bf16"), std::nullopt);
}

// The bytes that other versions read.
TEST_F(ChoiceFileTest, HasItsFormat) {
  Open().Put("key", "value");
  EXPECT_EQ(Content(),
            "quire choices 1\ndevice, version 1\nkey\t76616c7565\nseal 16c73ddd75fb159f\n");
  SetContent("quire choices 2\ndevice, version 1\nkey\t76616c7565\nseal 390fe55b10b16a86\n");
  EXPECT_THAT(WarningOf(), HasSubstr("another version"));
  SetContent("quire choices 1\ndevice, version 1\nkey 76616c7565\nseal ed4a9c0262629e85\n");
  EXPECT_THAT(WarningOf(), HasSubstr("have the line 'key 76616c7565'"));
}

TEST_F(ChoiceFileTest, WithoutAFolderWritesNothing) {
  ChoiceFile choices;
  choices.Put("key", "value");
  EXPECT_EQ(choices.Find("key"), "value");
  EXPECT_EQ(ChoiceFile().Find("key"), std::nullopt);
}

TEST_F(ChoiceFileTest, LeavesNoOtherFile) {
  ChoiceFile choices = Open();
  choices.Put("a", "1");
  choices.Put("b", "2");
  const std::filesystem::directory_iterator files(folder_);
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST_F(ChoiceFileTest, ProcessesShareAFile) {
  ChoiceFile one = Open();
  ChoiceFile other = Open();
  one.Put("a", "of one");
  one.Put("both", "of one");
  other.Put("b", "of other");
  other.Put("both", "of other");
  one.Put("c", "of one");
  const ChoiceFile all = Open();
  EXPECT_EQ(all.Find("a"), "of one");
  EXPECT_EQ(all.Find("b"), "of other");
  EXPECT_EQ(all.Find("c"), "of one");
  EXPECT_EQ(all.Find("both"), "of one");  // the last that was written
}

TEST_F(ChoiceFileTest, ChoicesOfOtherConditionsAreReplaced) {
  Open().Put("key", "old");
  EXPECT_THAT(WarningOf("device, version 2"),
              HasSubstr("are for 'device, version 1', not 'device, version 2'"));
  ChoiceFile choices = Open("device, version 2");
  EXPECT_EQ(choices.Find("key"), std::nullopt);
  choices.Put("other", "new");
  EXPECT_EQ(WarningOf("device, version 2"), "");
  EXPECT_EQ(Open("device, version 2").Find("key"), std::nullopt);
  EXPECT_EQ(Open("device, version 2").Find("other"), "new");
}

TEST_F(ChoiceFileTest, AFileCutAnywhereIsReplaced) {
  Open().Put("key", "value");
  const std::string whole = Content();
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(FoundIn(whole.substr(0, length)), std::nullopt) << length;
    EXPECT_THAT(WarningOf(), HasSubstr(path())) << length;
  }
  Open().Put("key", "value");
  EXPECT_EQ(Content(), whole);
}

TEST_F(ChoiceFileTest, AFileWithAnyByteChangedIsReplaced) {
  Open().Put("key", "value");
  const std::string whole = Content();
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] ^= 1;
    EXPECT_EQ(FoundIn(damaged), std::nullopt) << at;
  }
  EXPECT_EQ(FoundIn(whole + "more\n"), std::nullopt);
  EXPECT_EQ(FoundIn(whole), "value");
}

TEST_F(ChoiceFileTest, AFolderThatCannotBeWrittenIsNamedOnce) {
  std::filesystem::create_directories(folder_);
  SetContent("");
  ChoiceFile choices(path(), "below_a_file.txt", "device");
  testing::internal::CaptureStderr();
  choices.Put("a", "1");
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr(StrCat(path(), "/below_a_file.txt: Not a directory")));
  testing::internal::CaptureStderr();
  choices.Put("b", "2");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(choices.Find("a"), "1");
  EXPECT_EQ(choices.Find("b"), "2");
}

}  // namespace
}  // namespace quire
