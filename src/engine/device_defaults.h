// What an engine does unless told otherwise, by the kind of device that it runs on.
#pragma once

#include "engine/engine_options.h"
#include "model/model.h"
#include "platform/device.h"

namespace quire {

// The types in which a model is computed there.
ModelLoadOptions LoadOptionsFor(const Device& device, const EngineOptions& options);

// `options` with a value for each that was left to the device. Memory is left: it depends on what
// the weights leave free.
EngineOptions ResolveOptions(const Device& device, EngineOptions options);

// Bytes for the KV pool when `available` are free: of host memory a quarter, at most 4 GiB, for
// others use it too; of an accelerator's own all but a tenth, for scratch memory.
int64_t DefaultKvBytes(const Device& device, size_t available);

}  // namespace quire
