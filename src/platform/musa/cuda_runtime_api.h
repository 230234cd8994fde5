// The runtime calls of the CUDA platform's sources under the names that MUSA has for them. This
// folder comes before all others on the include path of a build for MUSA.
#pragma once

#include <musa_runtime_api.h>

#define QUIRE_GPU_PLATFORM kMusa
#define QUIRE_CUDA_ARCHITECTURES "22,31"
#define OpenCudaDevice OpenMusaDevice
#define CudaImplementations MusaImplementations

#define cudaDeviceProp musaDeviceProp
#define cudaDriverGetVersion musaDriverGetVersion
#define cudaErrorAssert musaErrorAssert
#define cudaErrorECCUncorrectable musaErrorECCUncorrectable
#define cudaErrorHardwareStackError musaErrorHardwareStackError
#define cudaErrorIllegalAddress musaErrorIllegalAddress
#define cudaErrorIllegalInstruction musaErrorIllegalInstruction
#define cudaErrorInsufficientDriver musaErrorInsufficientDriver
#define cudaErrorInvalidAddressSpace musaErrorInvalidAddressSpace
#define cudaErrorInvalidPc musaErrorInvalidPc
#define cudaErrorLaunchFailure musaErrorLaunchFailure
#define cudaErrorLaunchTimeout musaErrorLaunchTimeout
#define cudaErrorMemoryAllocation musaErrorMemoryAllocation
#define cudaErrorMisalignedAddress musaErrorMisalignedAddress
#define cudaErrorNoDevice musaErrorNoDevice
#define cudaErrorNotReady musaErrorNotReady
#define cudaErrorNvlinkUncorrectable musaErrorNvlinkUncorrectable
#define cudaError_t musaError_t
#define cudaEventCreateWithFlags musaEventCreateWithFlags
#define cudaEventDestroy musaEventDestroy
#define cudaEventDisableTiming musaEventDisableTiming
#define cudaEventQuery musaEventQuery
#define cudaEventRecord musaEventRecord
#define cudaEventSynchronize musaEventSynchronize
#define cudaEvent_t musaEvent_t
#define cudaFree musaFree
#define cudaFreeHost musaFreeHost
#define cudaGetDeviceCount musaGetDeviceCount
#define cudaGetDeviceProperties musaGetDeviceProperties
#define cudaGetErrorName musaGetErrorName
#define cudaGetErrorString musaGetErrorString
#define cudaGetLastError musaGetLastError
#define cudaGraphDestroy musaGraphDestroy
#define cudaGraphExecDestroy musaGraphExecDestroy
#define cudaGraphExec_t musaGraphExec_t
#define cudaGraphLaunch musaGraphLaunch
#define cudaGraph_t musaGraph_t
#define cudaHostAlloc musaHostAlloc
#define cudaHostAllocMapped musaHostAllocMapped
#define cudaHostAllocPortable musaHostAllocPortable
#define cudaMalloc musaMalloc
#define cudaMemGetInfo musaMemGetInfo
#define cudaMemcpyAsync musaMemcpyAsync
#define cudaMemcpyDeviceToDevice musaMemcpyDeviceToDevice
#define cudaMemcpyDeviceToHost musaMemcpyDeviceToHost
#define cudaMemcpyHostToDevice musaMemcpyHostToDevice
#define cudaMemcpyHostToHost musaMemcpyHostToHost
#define cudaMemcpyKind musaMemcpyKind
#define cudaMemoryTypeHost musaMemoryTypeHost
#define cudaPointerAttributes musaPointerAttributes
#define cudaPointerGetAttributes musaPointerGetAttributes
#define cudaRuntimeGetVersion musaRuntimeGetVersion
#define cudaSetDevice musaSetDevice
#define cudaStreamBeginCapture musaStreamBeginCapture
#define cudaStreamCaptureModeRelaxed musaStreamCaptureModeRelaxed
#define cudaStreamCreateWithFlags musaStreamCreateWithFlags
#define cudaStreamDestroy musaStreamDestroy
#define cudaStreamEndCapture musaStreamEndCapture
#define cudaStreamNonBlocking musaStreamNonBlocking
#define cudaStreamSynchronize musaStreamSynchronize
#define cudaStream_t musaStream_t
#define cudaSuccess musaSuccess

// With the arguments that the CUDA runtime gives it since version 12.
#define cudaGraphInstantiate(executable, graph, flags) \
  musaGraphInstantiate(executable, graph, nullptr, nullptr, 0)
