// Declarations of the MUSA runtime as far as this platform uses it, written from the names that the
// vendor publishes: so that the platform compiles where the vendor's kit is not. No values, no
// library: nothing made with them can be linked.
#pragma once

#include <cstddef>

enum musaError_t : int {
  musaSuccess,
  musaErrorAssert,
  musaErrorECCUncorrectable,
  musaErrorHardwareStackError,
  musaErrorIllegalAddress,
  musaErrorIllegalInstruction,
  musaErrorInsufficientDriver,
  musaErrorInvalidAddressSpace,
  musaErrorInvalidPc,
  musaErrorLaunchFailure,
  musaErrorLaunchTimeout,
  musaErrorMemoryAllocation,
  musaErrorMisalignedAddress,
  musaErrorNoDevice,
  musaErrorNotReady,
  musaErrorNvlinkUncorrectable,
};
enum musaMemcpyKind : int {
  musaMemcpyHostToHost,
  musaMemcpyHostToDevice,
  musaMemcpyDeviceToHost,
  musaMemcpyDeviceToDevice,
};
enum musaMemoryType : int { musaMemoryTypeUnregistered, musaMemoryTypeHost };
enum musaStreamCaptureMode : int { musaStreamCaptureModeRelaxed };

struct musaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major;
  int minor;
  int multiProcessorCount;
};

struct musaPointerAttributes {
  musaMemoryType type;
};

using musaStream_t = struct MusaStream*;
using musaEvent_t = struct MusaEvent*;
using musaGraph_t = struct MusaGraph*;
using musaGraphExec_t = struct MusaGraphExec*;
using musaGraphNode_t = struct MusaGraphNode*;

inline constexpr unsigned musaEventDisableTiming = 2;
inline constexpr unsigned musaStreamNonBlocking = 1;
inline constexpr unsigned musaHostAllocPortable = 1;
inline constexpr unsigned musaHostAllocMapped = 2;

const char* musaGetErrorName(musaError_t error);
const char* musaGetErrorString(musaError_t error);
musaError_t musaGetLastError();
musaError_t musaDriverGetVersion(int* version);
musaError_t musaRuntimeGetVersion(int* version);
musaError_t musaGetDeviceCount(int* count);
musaError_t musaGetDeviceProperties(musaDeviceProp* properties, int device);
musaError_t musaSetDevice(int device);
musaError_t musaMalloc(void** data, size_t bytes);
musaError_t musaFree(void* data);
musaError_t musaHostAlloc(void** data, size_t bytes, unsigned flags);
musaError_t musaFreeHost(void* data);
musaError_t musaMemGetInfo(size_t* available, size_t* total);
musaError_t musaMemcpyAsync(void* to, const void* from, size_t bytes, musaMemcpyKind kind,
                            musaStream_t stream);
musaError_t musaPointerGetAttributes(musaPointerAttributes* attributes, const void* data);
musaError_t musaStreamCreateWithFlags(musaStream_t* stream, unsigned flags);
musaError_t musaStreamDestroy(musaStream_t stream);
musaError_t musaStreamSynchronize(musaStream_t stream);
musaError_t musaStreamBeginCapture(musaStream_t stream, musaStreamCaptureMode mode);
musaError_t musaStreamEndCapture(musaStream_t stream, musaGraph_t* graph);
musaError_t musaEventCreateWithFlags(musaEvent_t* event, unsigned flags);
musaError_t musaEventDestroy(musaEvent_t event);
musaError_t musaEventRecord(musaEvent_t event, musaStream_t stream);
musaError_t musaEventQuery(musaEvent_t event);
musaError_t musaEventSynchronize(musaEvent_t event);
musaError_t musaGraphInstantiate(musaGraphExec_t* executable, musaGraph_t graph,
                                 musaGraphNode_t* failed, char* log, size_t log_bytes);
musaError_t musaGraphLaunch(musaGraphExec_t executable, musaStream_t stream);
musaError_t musaGraphDestroy(musaGraph_t graph);
musaError_t musaGraphExecDestroy(musaGraphExec_t executable);
