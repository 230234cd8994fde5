// The command-line options of an engine, shared by all commands that run one.
#pragma once

#include <CLI/App.hpp>

#include "engine/engine_options.h"

namespace quire {

// Adds --model, --threads, --page-size ... to `command`; parsing writes `options`, which must
// outlive it.
void AddEngineFlags(CLI::App& command, EngineOptions& options);

}  // namespace quire
