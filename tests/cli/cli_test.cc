// The quire command as a user runs it: exit codes, messages, and a served request.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace quire {
namespace {

using testing::HasSubstr;

struct Outcome {
  int exit_code = -1;
  std::string output;  // standard output and error
};

// Runs "quire <arguments>" through the shell.
Outcome Quire(const std::string& arguments) {
  Outcome outcome;
  const std::string command = std::string(QUIRE_BINARY) + " " + arguments + " 2>&1 < /dev/null";
  FILE* pipe = ::popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (const size_t size = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    outcome.output.append(buffer.data(), size);
  }
  const int status = ::pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

std::string Model() {
  return QUIRE_SMOLLM2_GGUF;
}

// A file in the test's temporary folder, removed at the end.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& content)
      : path_(testing::TempDir() + "quire_cli_" + std::to_string(::getpid()) + ".gguf") {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Cli, HelpNamesTheCommands) {
  const Outcome outcome = Quire("--help");
  EXPECT_EQ(outcome.exit_code, 0);
  for (const char* command : {"serve", "chat", "generate", "bench", "inspect"}) {
    EXPECT_THAT(outcome.output, HasSubstr(command));
  }
}

TEST(Cli, UnknownCommandFails) {
  EXPECT_NE(Quire("frobnicate").exit_code, 0);
}

TEST(Cli, MissingModelIsNamed) {
  const Outcome outcome = Quire("generate --model /nowhere/model.gguf hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("/nowhere/model.gguf"));
}

// A CPU has nothing to measure.
TEST(Cli, ACacheFolderIsMadeOnlyForWhatIsMeasured) {
  const std::string folder = testing::TempDir() + "quire_cli_cache_" + std::to_string(::getpid());
  const Outcome outcome = Quire("generate --device cpu --max-tokens 1 --model " + Model() +
                                " --cache-dir " + folder + " hi");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_THAT(Quire("serve --help").output, HasSubstr("--cache-dir"));
}

TEST(Cli, NotAGgufIsRefused) {
  const TemporaryFile file("this is no model");
  const Outcome outcome = Quire("generate --model " + file.path() + " hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("GGUF"));
}

TEST(Cli, TruncatedModelIsRefused) {
  std::string head(1 << 20, '\0');
  std::ifstream(Model(), std::ios::binary)
      .read(head.data(), static_cast<std::streamsize>(head.size()));
  const TemporaryFile file(head);
  const Outcome outcome = Quire("generate --model " + file.path() + " hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr(file.path()));
}

TEST(Cli, PageSizeThatIsNoPowerOfTwoIsRefused) {
  const Outcome outcome = Quire("generate --page-size 48 --model " + Model() + " hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("48"));
}

TEST(Cli, KvMemoryBelowOnePageIsRefused) {
  const Outcome outcome = Quire("generate --kv-memory 1000 --model " + Model() + " hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("1000"));
}

TEST(Cli, KvMemoryBeyondTheMachineSaysWhatWouldFit) {
  const Outcome outcome = Quire("generate --kv-memory 900TiB --model " + Model() + " hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("fit"));
}

TEST(Cli, UnknownAttentionBackendListsTheKnown) {
  const Outcome outcome = Quire("generate --attention-backend nope --model " + Model() + " hello");
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("paged_cpu"));
}

TEST(Cli, ADraftModelMustBeGivenAndFit) {
  const std::string arguments = "generate --speculative draft --model " + Model();
  const Outcome missing = Quire(arguments + " hello");
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.output, HasSubstr("--draft-model"));
  const Outcome other = Quire(arguments + " --draft-model " + QUIRE_GEMMA3_GGUF + " hello");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.output, HasSubstr("vocabulary of 262144 tokens, the model one of 49152"));
}

TEST(Cli, InspectShowsTensorsAndKvBytes) {
  const Outcome outcome = Quire("inspect " + Model());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.output, HasSubstr("blk.29.ffn_down.weight"));
  EXPECT_THAT(outcome.output, HasSubstr("llama.context_length"));
}

TEST(Cli, GenerateIsReproducible) {
  const std::string arguments =
      "generate --temperature 0 --max-tokens 5 --model " + Model() + " 'The capital of France is'";
  const Outcome first = Quire(arguments);
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_THAT(first.output, HasSubstr("Paris"));
  EXPECT_EQ(Quire(arguments).output, first.output);
  EXPECT_EQ(Quire(arguments + " --deterministic").output, first.output);
}

TEST(Cli, BenchPrintsJson) {
  const Outcome outcome = Quire(
      "bench latency --prompt-tokens 16 --output-tokens 4 --rounds 1 --json --model " + Model());
  ASSERT_EQ(outcome.exit_code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_GT(json["prefill_tok_s"].get<double>(), 0);
  EXPECT_GT(json["decode_tok_s"].get<double>(), 0);
  // SmolLM2-135M has 134.5 million weights, each two operations a token; the output head's 28.3
  // million work for a prompt's last token alone.
  const double token_gop =
      1e-3 * json["decode_step_ms"].get<double>() * json["decode_gop_s"].get<double>();
  EXPECT_NEAR(token_gop, 0.2689, 0.0001);
  EXPECT_NEAR(json["prefill_gop_s"].get<double>() / json["prefill_tok_s"].get<double>(),
              0.2689 - 0.0566 * 15 / 16, 0.0001);
  EXPECT_GT(json["host_us_per_step"].get<double>(), 0);
  EXPECT_LT(json["host_of_step"].get<double>(), 0.5);
  for (const char* share : {"decode_of_read", "decode_of_peak", "prefill_of_peak"}) {
    EXPECT_GT(json[share].get<double>(), 0) << share;
    EXPECT_LT(json[share].get<double>(), 2) << share;
  }
}

}  // namespace
}  // namespace quire
