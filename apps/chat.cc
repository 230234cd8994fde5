#include "apps/chat.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "apps/terminal_answer.h"

namespace quire {

namespace {

constexpr char kHelp[] = "/exit ends, /reset forgets the conversation, Ctrl-C cancels an answer.\n";

// Standard input by lines. Not std::getline: Ctrl-C must bring the prompt back, not end the input.
class LineReader {
 public:
  enum class Outcome { kLine, kEnd, kInterrupted };

  explicit LineReader(Interrupt& interrupt) : interrupt_(interrupt) {}

  Outcome Read(std::string& line) {
    for (;;) {
      if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
        line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return Outcome::kLine;
      }
      constexpr int kTimeoutMs = 100;
      pollfd waiting{STDIN_FILENO, POLLIN, 0};
      const int ready = poll(&waiting, 1, kTimeoutMs);
      if (interrupt_.Take()) return Outcome::kInterrupted;
      if (ready <= 0) continue;
      char bytes[4096];
      const ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));
      if (count <= 0) {
        line = std::exchange(buffer_, "");
        return line.empty() ? Outcome::kEnd : Outcome::kLine;
      }
      buffer_.append(bytes, static_cast<size_t>(count));
    }
  }

 private:
  Interrupt& interrupt_;
  std::string buffer_;
};

class Chat {
 public:
  Chat(EngineClient& engine, const ChatOptions& options, Interrupt& interrupt)
      : engine_(engine), options_(options), interrupt_(interrupt), seed_(options.sampling.seed) {
    Reset();
  }

  int Run() {
    const bool interactive = isatty(STDIN_FILENO) != 0;
    if (interactive) std::printf("%s. %s", engine_.model().id.c_str(), kHelp);
    LineReader input(interrupt_);
    std::string line;
    for (;;) {
      if (interactive) std::printf("> ");
      std::fflush(stdout);
      switch (input.Read(line)) {
        case LineReader::Outcome::kEnd:
          if (interactive) std::printf("\n");
          return 0;
        case LineReader::Outcome::kInterrupted: std::printf("\n(/exit ends)\n"); continue;
        case LineReader::Outcome::kLine: break;
      }
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line == "/exit" || line == "/quit") return 0;
      if (line == "/reset") {
        Reset();
      } else if (line == "/help") {
        std::printf("%s", kHelp);
      } else if (line.starts_with('/')) {
        std::printf("unknown command %s. %s", line.c_str(), kHelp);
      } else if (!line.empty()) {
        Ask(line);
      }
    }
  }

 private:
  void Reset() {
    messages_ = nlohmann::ordered_json::array();
    if (!options_.system_prompt.empty()) Add("system", options_.system_prompt);
  }

  void Add(std::string_view role, const std::string& content) {
    messages_.push_back({{"role", role}, {"content", content}});
  }

  void Ask(const std::string& line) {
    Add("user", line);
    const auto answer = Answer();
    if (!answer.ok()) {
      messages_.erase(messages_.size() - 1);  // as if it had not been asked
      std::fprintf(stderr, "%s (/reset begins anew)\n", answer.status().message().c_str());
      return;
    }
    std::printf("\n");
    Add("assistant", *answer);
  }

  Result<std::string> Answer() {
    AnswerRequest request;
    request.id = ++last_id_;
    request.sampling = options_.sampling;
    request.sampling.seed = seed_++;
    request.max_tokens = options_.max_tokens;
    QUIRE_ASSIGN_OR_RETURN(request.prompt, EncodeMessages(engine_.model(), messages_));
    return PrintAnswer(engine_, std::move(request), interrupt_);
  }

  EngineClient& engine_;
  const ChatOptions& options_;
  Interrupt& interrupt_;
  uint64_t seed_;
  uint64_t last_id_ = 0;
  nlohmann::ordered_json messages_;
};

}  // namespace

int RunChat(EngineClient& engine, const ChatOptions& options) {
  Interrupt interrupt;
  if (const Status status = WaitUntilReady(engine, interrupt); !status.ok()) {
    std::fprintf(stderr, "quire chat: %s\n", status.message().c_str());
    return 1;
  }
  return Chat(engine, options, interrupt).Run();
}

}  // namespace quire
