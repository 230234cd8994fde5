// The MUSA platform: the CUDA platform's sources over the runtime that cuda_runtime_api.h in this
// folder renames. Compiled, never run on that hardware.
#include "platform/cuda/cuda_device.cc"
#include "platform/cuda/cuda_error.cc"
