// quire: serve, chat, generate, bench, inspect.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "apps/bench.h"
#include "apps/chat.h"
#include "apps/engine_flags.h"
#include "apps/generate.h"
#include "apps/inspect.h"
#include "apps/serve.h"
#include "base/log.h"
#include "engine/engine_thread.h"

namespace quire {

namespace {

// Runs `body` with a loading engine. Returns its exit code, or 1 if the engine cannot start.
template <typename Body>
int WithEngine(const EngineOptions& options, const Body& body) {
  SetLogLevel(LogLevel::kWarning);
  auto engine = EngineThread::Start(options);
  if (!engine.ok()) {
    std::fprintf(stderr, "quire: %s\n", engine.status().message().c_str());
    return 1;
  }
  return body(**engine);
}

void AddSamplingFlags(CLI::App& command, SamplingParams& sampling) {
  command.add_option("--temperature", sampling.temperature, "0 = greedy")->capture_default_str();
  command.add_option("--top-k", sampling.top_k, "0 = off")->capture_default_str();
  command.add_option("--top-p", sampling.top_p, "1 = off")->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "0 = off")->capture_default_str();
  command
      .add_option("--repetition-penalty", sampling.repetition_penalty,
                  "divides the logits of tokens seen; 1 = off")
      ->capture_default_str();
  command
      .add_option("--presence-penalty", sampling.presence_penalty,
                  "taken from the logits of tokens in the output; 0 = off")
      ->capture_default_str();
  command
      .add_option("--frequency-penalty", sampling.frequency_penalty,
                  "the same, for each time that a token came; 0 = off")
      ->capture_default_str();
  command.add_option("--seed", sampling.seed, "of the draws")->capture_default_str();
}

// The options of all commands; parsing fills them, then one command runs.
struct Options {
  EngineOptions engine;
  ServerOptions server;
  ChatOptions chat;
  GenerateOptions generate;
  BenchOptions bench;
  std::string inspect_path;
  bool inspect_json = false;
};

void AddServe(CLI::App& app, Options& options, int& exit_code) {
  CLI::App& command = *app.add_subcommand("serve", "Serve an OpenAI-compatible HTTP API");
  AddEngineFlags(command, options.engine);
  command.add_option("--host", options.server.host, "address to listen on")->capture_default_str();
  command.add_option("-p,--port", options.server.port, "port to listen on; 0 = any free one")
      ->capture_default_str();
  command.callback([&] { exit_code = RunServe(options.engine, options.server); });
}

void AddChat(CLI::App& app, Options& options, int& exit_code) {
  CLI::App& command = *app.add_subcommand("chat", "Chat in the terminal");
  AddEngineFlags(command, options.engine);
  AddSamplingFlags(command, options.chat.sampling);
  command.add_option("-n,--max-tokens", options.chat.max_tokens, "of an answer")
      ->capture_default_str();
  command.add_option("--system", options.chat.system_prompt, "the system prompt");
  command.callback([&] {
    exit_code = WithEngine(options.engine,
                           [&](EngineClient& client) { return RunChat(client, options.chat); });
  });
}

void AddGenerate(CLI::App& app, Options& options, int& exit_code) {
  CLI::App& command = *app.add_subcommand("generate", "Complete one prompt on standard output");
  AddEngineFlags(command, options.engine);
  AddSamplingFlags(command, options.generate.sampling);
  command.add_option("prompt", options.generate.prompt, "the text to continue")->required();
  command.add_option("-n,--max-tokens", options.generate.max_tokens, "of the completion")
      ->capture_default_str();
  command.add_flag("--chat", options.generate.chat, "take the prompt as a user's message");
  command.callback([&] {
    exit_code = WithEngine(options.engine, [&](EngineClient& client) {
      return RunGenerate(client, options.generate);
    });
  });
}

void AddBenchFlags(CLI::App& command, Options& options, int& exit_code) {
  AddEngineFlags(command, options.engine);
  BenchOptions& bench = options.bench;
  command.add_option("--prompt-tokens", bench.prompt_tokens, "computed per stream")
      ->capture_default_str();
  command.add_option("--output-tokens", bench.output_tokens, "drawn per stream")
      ->capture_default_str();
  command.add_option("--batch", bench.batch, "streams; default 1 for latency, 32 for throughput");
  command.add_option("--context", bench.context, "tokens in the cache before the prompt")
      ->capture_default_str();
  command.add_option("--rounds", bench.rounds, "counted rounds")->capture_default_str();
  command.add_flag("--json", bench.json, "print one JSON object");
  command.callback([&] { exit_code = RunBench(options.engine, options.bench); });
}

void AddBench(CLI::App& app, Options& options, int& exit_code) {
  CLI::App& command = *app.add_subcommand("bench", "Measure the engine's step loop");
  command.require_subcommand(1);
  AddBenchFlags(*command.add_subcommand("latency", "One stream"), options, exit_code);
  CLI::App& throughput = *command.add_subcommand("throughput", "Many streams");
  AddBenchFlags(throughput, options, exit_code);
  throughput.preparse_callback([&](size_t) { options.bench.batch = 32; });
}

void AddInspect(CLI::App& app, Options& options, int& exit_code) {
  CLI::App& command = *app.add_subcommand("inspect", "Show what a model file holds");
  command.add_option("file", options.inspect_path, "GGUF file")->required();
  command.add_flag("--json", options.inspect_json, "print one JSON object");
  command.callback([&] { exit_code = RunInspect(options.inspect_path, options.inspect_json); });
}

int Main(int argc, char** argv) {
  CLI::App app("Quire serves large language models from a paged key/value cache.", "quire");
  app.set_version_flag("--version", QUIRE_VERSION);
  app.require_subcommand(1);
  Options options;
  int exit_code = 0;
  AddServe(app, options, exit_code);
  AddChat(app, options, exit_code);
  AddGenerate(app, options, exit_code);
  AddBench(app, options, exit_code);
  AddInspect(app, options, exit_code);
  CLI11_PARSE(app, argc, argv);
  return exit_code;
}

}  // namespace

}  // namespace quire

int main(int argc, char** argv) {
  return quire::Main(argc, argv);
}
