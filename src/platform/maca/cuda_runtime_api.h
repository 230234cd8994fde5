// The runtime calls of the CUDA platform's sources under the names that MACA has for them. This
// folder comes before all others on the include path of a build for MACA.
#pragma once

#include <mc_runtime_api.h>

#define QUIRE_GPU_PLATFORM kMaca
#define QUIRE_CUDA_ARCHITECTURES "100"
#define OpenCudaDevice OpenMacaDevice
#define CudaImplementations MacaImplementations

#define cudaDeviceProp mcDeviceProp_t
#define cudaDriverGetVersion mcDriverGetVersion
#define cudaErrorAssert mcErrorAssert
#define cudaErrorECCUncorrectable mcErrorECCUncorrectable
#define cudaErrorHardwareStackError mcErrorHardwareStackError
#define cudaErrorIllegalAddress mcErrorIllegalAddress
#define cudaErrorIllegalInstruction mcErrorIllegalInstruction
#define cudaErrorInsufficientDriver mcErrorInsufficientDriver
#define cudaErrorInvalidAddressSpace mcErrorInvalidAddressSpace
#define cudaErrorInvalidPc mcErrorInvalidPc
#define cudaErrorLaunchFailure mcErrorLaunchFailure
#define cudaErrorLaunchTimeout mcErrorLaunchTimeout
#define cudaErrorMemoryAllocation mcErrorMemoryAllocation
#define cudaErrorMisalignedAddress mcErrorMisalignedAddress
#define cudaErrorNoDevice mcErrorNoDevice
#define cudaErrorNotReady mcErrorNotReady
#define cudaErrorNvlinkUncorrectable mcErrorNvlinkUncorrectable
#define cudaError_t mcError_t
#define cudaEventCreateWithFlags mcEventCreateWithFlags
#define cudaEventDestroy mcEventDestroy
#define cudaEventDisableTiming mcEventDisableTiming
#define cudaEventQuery mcEventQuery
#define cudaEventRecord mcEventRecord
#define cudaEventSynchronize mcEventSynchronize
#define cudaEvent_t mcEvent_t
#define cudaFree mcFree
#define cudaFreeHost mcFreeHost
#define cudaGetDeviceCount mcGetDeviceCount
#define cudaGetDeviceProperties mcGetDeviceProperties
#define cudaGetErrorName mcGetErrorName
#define cudaGetErrorString mcGetErrorString
#define cudaGetLastError mcGetLastError
#define cudaGraphDestroy mcGraphDestroy
#define cudaGraphExecDestroy mcGraphExecDestroy
#define cudaGraphExec_t mcGraphExec_t
#define cudaGraphLaunch mcGraphLaunch
#define cudaGraph_t mcGraph_t
#define cudaHostAlloc mcMallocHost
#define cudaHostAllocMapped mcMallocHostMapped
#define cudaHostAllocPortable mcMallocHostPortable
#define cudaMalloc mcMalloc
#define cudaMemGetInfo mcMemGetInfo
#define cudaMemcpyAsync mcMemcpyAsync
#define cudaMemcpyDeviceToDevice mcMemcpyDeviceToDevice
#define cudaMemcpyDeviceToHost mcMemcpyDeviceToHost
#define cudaMemcpyHostToDevice mcMemcpyHostToDevice
#define cudaMemcpyHostToHost mcMemcpyHostToHost
#define cudaMemcpyKind mcMemcpyKind
#define cudaMemoryTypeHost mcMemoryTypeHost
#define cudaPointerAttributes mcPointerAttribute_t
#define cudaPointerGetAttributes mcPointerGetAttributes
#define cudaRuntimeGetVersion mcRuntimeGetVersion
#define cudaSetDevice mcSetDevice
#define cudaStreamBeginCapture mcStreamBeginCapture
#define cudaStreamCaptureModeRelaxed mcStreamCaptureModeRelaxed
#define cudaStreamCreateWithFlags mcStreamCreateWithFlags
#define cudaStreamDestroy mcStreamDestroy
#define cudaStreamEndCapture mcStreamEndCapture
#define cudaStreamNonBlocking mcStreamNonBlocking
#define cudaStreamSynchronize mcStreamSynchronize
#define cudaStream_t mcStream_t
#define cudaSuccess mcSuccess

// With the arguments that the CUDA runtime gives it since version 12.
#define cudaGraphInstantiate(executable, graph, flags) \
  mcGraphInstantiate(executable, graph, nullptr, nullptr, 0)
