#include "base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string_view>

namespace quire {
namespace {

using testing::HasSubstr;

// A path of this process and test; whatever is there is deleted on destruction.
class TestPath {
 public:
  TestPath()
      : path_(StrCat(testing::TempDir(), "quire_mapped_file_", ::getpid(), "_",
                     testing::UnitTest::GetInstance()->current_test_info()->name())) {}
  ~TestPath() { ::unlink(path_.c_str()); }
  TestPath(const TestPath&) = delete;
  TestPath& operator=(const TestPath&) = delete;

  const std::string& str() const { return path_; }
  void Write(std::string_view text) const { std::ofstream(path_, std::ios::binary) << text; }

 private:
  std::string path_;
};

std::string_view Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFileTest, ShowsTheBytes) {
  const TestPath path;
  path.Write("some bytes");
  const Result<MappedFile> file = MappedFile::Open(path.str());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(Text(*file), "some bytes");
  EXPECT_EQ(file->path(), path.str());
}

TEST(MappedFileTest, EmptyFileIsFine) {
  const TestPath path;
  path.Write("");
  const Result<MappedFile> file = MappedFile::Open(path.str());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(file->bytes().empty());
}

TEST(MappedFileTest, OutlivesItsName) {
  const TestPath path;
  path.Write("still here");
  const Result<MappedFile> file = MappedFile::Open(path.str());
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(::unlink(path.str().c_str()), 0);
  EXPECT_EQ(Text(*file), "still here");
}

TEST(MappedFileTest, MovesKeepTheMapping) {
  const TestPath path;
  path.Write("bytes");
  Result<MappedFile> opened = MappedFile::Open(path.str());
  Result<MappedFile> again = MappedFile::Open(path.str());
  ASSERT_TRUE(opened.ok() && again.ok());
  const std::byte* data = opened->bytes().data();
  MappedFile moved = *std::move(opened);
  EXPECT_EQ(moved.bytes().data(), data);
  EXPECT_TRUE(opened->bytes().empty());
  moved = *std::move(again);
  EXPECT_NE(moved.bytes().data(), data);
  EXPECT_EQ(Text(moved), "bytes");
}

TEST(MappedFileTest, AbsentFile) {
  const Status status = MappedFile::Open("/nonexistent/file").status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("'/nonexistent/file'"));
}

TEST(MappedFileTest, DirectoryIsNotAFile) {
  const Status status = MappedFile::Open(testing::TempDir()).status();
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr("is not a regular file"));
}

TEST(MappedFileTest, FifoIsRefusedWithoutWaiting) {
  const TestPath path;
  ASSERT_EQ(::mkfifo(path.str().c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::Open(path.str()).status().code(), StatusCode::kIoError);
}

TEST(MappedFileTest, FileWithoutPermission) {
  if (::geteuid() == 0) {
    GTEST_SKIP() << "root may read everything";
  }
  const TestPath path;
  path.Write("secret");
  ASSERT_EQ(::chmod(path.str().c_str(), 0), 0);
  const Status status = MappedFile::Open(path.str()).status();
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_THAT(status.message(), HasSubstr("Permission denied"));
}

}  // namespace
}  // namespace quire
