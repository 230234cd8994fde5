#include "ops/linear/cuda/cuda_blaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "ops/linear/cuda/cuda_blaslt_search.h"
#include "ops/linear/cuda/cuda_chain.h"
#include "ops/linear/cuda/cuda_matmul_trial.h"
#include "ops/linear/row_bucket.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::linear {

namespace {

constexpr const char* kLibrary = "libcublasLt.so.13";
constexpr int64_t kRowsCompared = 64;  // with RunChain()
// For more rows a search that takes a tenth of a second finds algorithms that are 7 % faster, for
// fewer none.
constexpr int64_t kQuickRows = 512;

MatmulKind KindOf(const Matmul& matmul) {
  return {matmul.in,       matmul.out,      RowBucket(matmul.m),  matmul.n,          matmul.k,
          matmul.x_stride, matmul.w_stride, matmul.result_stride, matmul.accumulate, matmul.chain};
}

// As a file of choices names it.
std::string TextOf(const MatmulKind& kind) {
  return StrCat(InfoOf(kind.in).name, " to ", InfoOf(kind.out).name, ", ", kind.bucket, " x ",
                kind.n, " x ", kind.k, ", strides ", kind.x_stride, " ", kind.w_stride, " ",
                kind.result_stride, kind.accumulate ? ", added" : "", kind.chain ? ", chain" : "");
}

// An algorithm as a file of choices has it; nothing for RunChain().
std::string BytesOf(const std::optional<cublasLtMatmulAlgo_t>& choice) {
  return choice ? std::string(reinterpret_cast<const char*>(&*choice), sizeof(*choice)) : "";
}

// The choices that hold for `device` and the library of `version`.
ChoiceFile OpenChoices(const CudaDevice& device, size_t version) {
  if (device.cache_folder().empty()) {
    return {};
  }
  int driver = 0;
  cudaDriverGetVersion(&driver);
  const DeviceProperties& properties = device.properties();
  std::string name = StrCat("cublaslt_", properties.name, ".txt");
  std::replace(name.begin(), name.end(), ' ', '_');
  std::replace(name.begin(), name.end(), '/', '_');
  return {device.cache_folder(), name,
          StrCat(properties.name, ", ", properties.instruction_set, ", ", properties.compute_units,
                 " multiprocessors, driver ", driver, ", cublasLt ", version)};
}

// Whether matmul.result has the bits of RunChain(). Waits for the stream.
bool IsChain(const Matmul& matmul, int* differences, cudaStream_t stream) {
  Matmul first_rows = matmul;
  first_rows.m = std::min(matmul.m, kRowsCompared);
  int found = 1;
  return CompareWithChain(first_rows, differences, stream) == cudaSuccess &&
         cudaMemcpyAsync(&found, differences, sizeof(found), cudaMemcpyDeviceToHost, stream) ==
             cudaSuccess &&
         cudaStreamSynchronize(stream) == cudaSuccess && found == 0;
}

// Sets *function to the library's `name`.
template <typename Function>
bool Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// The name of the first function that is missing, or null.
const char* FindAll(void* library, BlasLtLibrary& lt) {
  const char* missing = nullptr;
  const auto find = [&](const char* name, auto& function) {
    if (!Find(library, name, function) && missing == nullptr) {
      missing = name;
    }
  };
  find("cublasLtCreate", lt.create);
  find("cublasLtDestroy", lt.destroy);
  find("cublasLtGetStatusName", lt.status_name);
  find("cublasLtGetVersion", lt.version);
  find("cublasLtMatmul", lt.matmul);
  find("cublasLtMatmulAlgoCheck", lt.check_algorithm);
  find("cublasLtMatmulAlgoConfigSetAttribute", lt.set_algorithm);
  find("cublasLtMatmulAlgoGetHeuristic", lt.get_heuristic);
  find("cublasLtMatmulDescCreate", lt.create_operation);
  find("cublasLtMatmulDescDestroy", lt.destroy_operation);
  find("cublasLtMatmulDescSetAttribute", lt.set_operation);
  find("cublasLtMatrixLayoutCreate", lt.create_layout);
  find("cublasLtMatrixLayoutDestroy", lt.destroy_layout);
  find("cublasLtMatmulPreferenceCreate", lt.create_preference);
  find("cublasLtMatmulPreferenceDestroy", lt.destroy_preference);
  find("cublasLtMatmulPreferenceSetAttribute", lt.set_preference);
  return missing;
}

}  // namespace

Result<std::unique_ptr<BlasLt>> BlasLt::Open(CudaDevice& device) {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Unavailable("linear: ", kLibrary, " cannot be opened: ", dlerror(),
                       "; install cuBLAS of CUDA 13, or put its folder into LD_LIBRARY_PATH");
  }
  BlasLtLibrary lt;
  if (const char* missing = FindAll(library, lt); missing != nullptr) {
    dlclose(library);
    return Unavailable("linear: ", kLibrary, " has no function ", missing,
                       "; install cuBLAS of CUDA 13");
  }
  std::unique_ptr<BlasLt> blas(new BlasLt(device, library, lt));
  QUIRE_RETURN_IF_ERROR(blas->StatusOf(lt.create(&blas->lt_.handle), "cublasLtCreate"));
  blas->file_ = OpenChoices(device, lt.version());
  return blas;
}

BlasLt::~BlasLt() {
  if (lt_.handle != nullptr) {
    lt_.destroy(lt_.handle);
  }
  dlclose(library_);
}

Status BlasLt::StatusOf(cublasStatus_t status, const char* call) const {
  return status == CUBLAS_STATUS_SUCCESS
             ? OkStatus()
             : InternalError("linear: ", call, " failed: ", lt_.status_name(status), " (",
                             static_cast<int>(status), ")");
}

Status BlasLt::Multiply(const Matmul& matmul, void* workspace, cudaStream_t stream) {
  const BlasLtOperation operation(lt_, matmul);
  QUIRE_RETURN_IF_ERROR(StatusOf(operation.status(), "cublasLtMatmulDescCreate"));
  const MatmulKind kind = KindOf(matmul);
  const std::lock_guard lock(mutex_);
  auto found = chosen_.find(kind);
  if (found == chosen_.end()) {
    if (const std::optional<Choice> stored = Stored(operation, kind)) {
      found = chosen_.emplace(kind, *stored).first;
    }
  }
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing"));
  if (found == chosen_.end() && capture == cudaStreamCaptureStatusNone) {
    found = chosen_.emplace(kind, Measured(operation, matmul, workspace, stream)).first;
  }
  // What was chosen for the bucket's number of rows may not take fewer.
  if (found != chosen_.end() && (found->second || matmul.chain) &&
      Run(operation, matmul, found->second, workspace, stream).ok()) {
    return OkStatus();
  }
  const Choice proposed = FirstProposal(operation, matmul);
  if (!proposed && !matmul.chain) {
    return Unsupported("linear: cuBLASLt has no algorithm for ", matmul.m, " x ", matmul.n, " x ",
                       matmul.k, " of ", InfoOf(matmul.in).name, " to ", InfoOf(matmul.out).name);
  }
  return Run(operation, matmul, proposed, workspace, stream);
}

BlasLt::Choice BlasLt::FirstProposal(const BlasLtOperation& operation, const Matmul& matmul) {
  if (matmul.chain) {
    return std::nullopt;
  }
  const std::vector<cublasLtMatmulAlgo_t> proposals = operation.Proposals(kWorkspaceBytes, false);
  return proposals.empty() ? Choice() : proposals[0];
}

BlasLt::Choice BlasLt::Measured(const BlasLtOperation& operation, const Matmul& matmul,
                                void* workspace, cudaStream_t stream) {
  const MatmulKind kind = KindOf(matmul);
  const auto trial = MatmulTrial::Create(device_, matmul, kind.bucket, stream);
  if (!trial.ok()) {  // there is no memory for it
    return FirstProposal(operation, matmul);
  }
  AlgorithmSearch search(lt_, **trial, matmul.chain, workspace, kWorkspaceBytes, stream);
  // Without a file each start would pay for it.
  const bool thorough = !device_.cache_folder().empty() && kind.bucket > kQuickRows;
  const Choice best = search.Fastest(thorough, [&] {
    return !matmul.chain || IsChain((*trial)->matmul(), (*trial)->number(), stream);
  });
  if (best || matmul.chain) {
    file_.Put(TextOf(kind), BytesOf(best));
  }
  return best;
}

std::optional<BlasLt::Choice> BlasLt::Stored(const BlasLtOperation& operation,
                                             const MatmulKind& kind) const {
  const std::optional<std::string> bytes = file_.Find(TextOf(kind));
  if (!bytes) {
    return std::nullopt;
  }
  if (bytes->empty() && kind.chain) {
    return Choice();
  }
  cublasLtMatmulAlgo_t algorithm;
  if (bytes->size() != sizeof(algorithm)) {
    return std::nullopt;
  }
  std::memcpy(&algorithm, bytes->data(), sizeof(algorithm));
  return operation.Takes(algorithm, kWorkspaceBytes) ? std::optional<Choice>(algorithm)
                                                     : std::nullopt;
}

Status BlasLt::Run(const BlasLtOperation& operation, const Matmul& matmul, const Choice& choice,
                   void* workspace, cudaStream_t stream) const {
  return choice ? StatusOf(operation.Run(matmul, *choice, workspace, kWorkspaceBytes, stream),
                           "cublasLtMatmul")
                : CudaStatus(RunChain(matmul, stream), "linear: ChainKernel");
}

}  // namespace quire::ops::linear
