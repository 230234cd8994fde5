// Declarations of the MACA runtime as far as this platform uses it, written from the names that the
// vendor publishes: so that the platform compiles where the vendor's kit is not. No values, no
// library: nothing made with them can be linked.
#pragma once

#include <cstddef>

enum mcError_t : int {
  mcSuccess,
  mcErrorAssert,
  mcErrorECCUncorrectable,
  mcErrorHardwareStackError,
  mcErrorIllegalAddress,
  mcErrorIllegalInstruction,
  mcErrorInsufficientDriver,
  mcErrorInvalidAddressSpace,
  mcErrorInvalidPc,
  mcErrorLaunchFailure,
  mcErrorLaunchTimeout,
  mcErrorMemoryAllocation,
  mcErrorMisalignedAddress,
  mcErrorNoDevice,
  mcErrorNotReady,
  mcErrorNvlinkUncorrectable,
};
enum mcMemcpyKind : int {
  mcMemcpyHostToHost,
  mcMemcpyHostToDevice,
  mcMemcpyDeviceToHost,
  mcMemcpyDeviceToDevice,
};
enum mcMemoryType : int { mcMemoryTypeUnregistered, mcMemoryTypeHost };
enum mcStreamCaptureMode : int { mcStreamCaptureModeRelaxed };

struct mcDeviceProp_t {
  char name[256];
  size_t totalGlobalMem;
  int major;
  int minor;
  int multiProcessorCount;
};

struct mcPointerAttribute_t {
  mcMemoryType type;
};

using mcStream_t = struct MacaStream*;
using mcEvent_t = struct MacaEvent*;
using mcGraph_t = struct MacaGraph*;
using mcGraphExec_t = struct MacaGraphExec*;
using mcGraphNode_t = struct MacaGraphNode*;

inline constexpr unsigned mcEventDisableTiming = 2;
inline constexpr unsigned mcStreamNonBlocking = 1;
inline constexpr unsigned mcMallocHostPortable = 1;
inline constexpr unsigned mcMallocHostMapped = 2;

const char* mcGetErrorName(mcError_t error);
const char* mcGetErrorString(mcError_t error);
mcError_t mcGetLastError();
mcError_t mcDriverGetVersion(int* version);
mcError_t mcRuntimeGetVersion(int* version);
mcError_t mcGetDeviceCount(int* count);
mcError_t mcGetDeviceProperties(mcDeviceProp_t* properties, int device);
mcError_t mcSetDevice(int device);
mcError_t mcMalloc(void** data, size_t bytes);
mcError_t mcFree(void* data);
mcError_t mcMallocHost(void** data, size_t bytes, unsigned flags);
mcError_t mcFreeHost(void* data);
mcError_t mcMemGetInfo(size_t* available, size_t* total);
mcError_t mcMemcpyAsync(void* to, const void* from, size_t bytes, mcMemcpyKind kind,
                        mcStream_t stream);
mcError_t mcPointerGetAttributes(mcPointerAttribute_t* attributes, const void* data);
mcError_t mcStreamCreateWithFlags(mcStream_t* stream, unsigned flags);
mcError_t mcStreamDestroy(mcStream_t stream);
mcError_t mcStreamSynchronize(mcStream_t stream);
mcError_t mcStreamBeginCapture(mcStream_t stream, mcStreamCaptureMode mode);
mcError_t mcStreamEndCapture(mcStream_t stream, mcGraph_t* graph);
mcError_t mcEventCreateWithFlags(mcEvent_t* event, unsigned flags);
mcError_t mcEventDestroy(mcEvent_t event);
mcError_t mcEventRecord(mcEvent_t event, mcStream_t stream);
mcError_t mcEventQuery(mcEvent_t event);
mcError_t mcEventSynchronize(mcEvent_t event);
mcError_t mcGraphInstantiate(mcGraphExec_t* executable, mcGraph_t graph, mcGraphNode_t* failed,
                             char* log, size_t log_bytes);
mcError_t mcGraphLaunch(mcGraphExec_t executable, mcStream_t stream);
mcError_t mcGraphDestroy(mcGraph_t graph);
mcError_t mcGraphExecDestroy(mcGraphExec_t executable);
