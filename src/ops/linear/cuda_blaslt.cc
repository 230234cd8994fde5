#include "ops/linear/cuda_blaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "ops/linear/cuda_chain.h"
#include "platform/cuda/cuda_error.h"
#include "platform/device.h"

namespace quire::ops::linear {

namespace {

constexpr const char* kLibrary = "libcublasLt.so.13";
constexpr int kCandidates = 8;
constexpr int kRuns = 3;
constexpr int64_t kRowsCompared = 64;  // with RunChain()
// For fewer rows most algorithms that are proposed cut K; those for so many serve them too.
constexpr int64_t kChainRows = 128;

cudaDataType_t TypeOf(DType type) {
  return type == DType::kF16 ? CUDA_R_16F : type == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
}

MatmulKind KindOf(const Matmul& matmul) {
  return {matmul.in,
          matmul.out,
          static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(matmul.m))),
          matmul.n,
          matmul.k,
          matmul.x_stride,
          matmul.w_stride,
          matmul.result_stride,
          matmul.accumulate,
          matmul.chain};
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
const char* FindAll(void* library, BlasLtFunctions& lt) {
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

class EventPair {
 public:
  EventPair() {
    cudaEventCreate(&begin_);
    cudaEventCreate(&end_);
  }
  ~EventPair() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  EventPair(const EventPair&) = delete;
  EventPair& operator=(const EventPair&) = delete;

  cudaEvent_t begin() const { return begin_; }
  cudaEvent_t end() const { return end_; }

 private:
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

}  // namespace

// A matmul's descriptors. The library knows columns: there W^T is the first operand, x the second,
// and out their product, all as they lie here.
class BlasLt::Operation {
 public:
  Operation(const BlasLtFunctions& lt, const Matmul& matmul) : lt_(lt) {
    const cudaDataType_t in = TypeOf(matmul.in);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    Keep(lt.create_operation(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    Keep(
        lt.set_operation(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)));
    Keep(lt.create_layout(&w_, in, static_cast<uint64_t>(matmul.k), static_cast<uint64_t>(matmul.n),
                          matmul.w_stride));
    Keep(lt.create_layout(&x_, in, static_cast<uint64_t>(matmul.k), static_cast<uint64_t>(matmul.m),
                          matmul.x_stride));
    Keep(lt.create_layout(&out_, TypeOf(matmul.out), static_cast<uint64_t>(matmul.n),
                          static_cast<uint64_t>(matmul.m), matmul.result_stride));
  }
  ~Operation() {
    for (const cublasLtMatrixLayout_t layout : {w_, x_, out_}) {
      if (layout != nullptr) {
        lt_.destroy_layout(layout);
      }
    }
    if (operation_ != nullptr) {
      lt_.destroy_operation(operation_);
    }
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  cublasStatus_t status() const { return status_; }

  cublasStatus_t Run(cublasLtHandle_t handle, const Matmul& matmul,
                     const cublasLtMatmulAlgo_t& algorithm, void* workspace,
                     cudaStream_t stream) const {
    const float alpha = 1.0f;
    const float beta = matmul.accumulate ? 1.0f : 0.0f;
    return lt_.matmul(handle, operation_, &alpha, matmul.w, w_, matmul.x, x_, &beta, matmul.result,
                      out_, matmul.result, out_, &algorithm, workspace, kWorkspaceBytes, stream);
  }

  // Whether the library takes `algorithm` for this.
  bool Takes(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm) const {
    cublasLtMatmulHeuristicResult_t found;
    return lt_.check_algorithm(handle, operation_, w_, x_, out_, out_, &algorithm, &found) ==
               CUBLAS_STATUS_SUCCESS &&
           found.workspaceSize <= kWorkspaceBytes;
  }

  // The library's proposals, best first; for a chain none that cuts K.
  std::vector<cublasLtMatmulHeuristicResult_t> Candidates(cublasLtHandle_t handle,
                                                          bool chain) const {
    std::vector<cublasLtMatmulHeuristicResult_t> results(kCandidates);
    cublasLtMatmulPreference_t preference = nullptr;
    if (lt_.create_preference(&preference) != CUBLAS_STATUS_SUCCESS) {
      return {};
    }
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      lt_.set_preference(preference, attribute, &value, sizeof(value));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kWorkspaceBytes});
    if (chain) {
      set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    }
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(attribute, uint32_t{16});
    }
    int count = 0;
    lt_.get_heuristic(handle, operation_, w_, x_, out_, out_, preference, kCandidates,
                      results.data(), &count);
    lt_.destroy_preference(preference);
    results.resize(static_cast<size_t>(count));
    std::erase_if(results, [](const auto& r) { return r.state != CUBLAS_STATUS_SUCCESS; });
    return results;
  }

 private:
  void Keep(cublasStatus_t status) {
    status_ = status_ == CUBLAS_STATUS_SUCCESS ? status : status_;
  }

  const BlasLtFunctions& lt_;
  cublasStatus_t status_ = CUBLAS_STATUS_SUCCESS;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t w_ = nullptr;
  cublasLtMatrixLayout_t x_ = nullptr;
  cublasLtMatrixLayout_t out_ = nullptr;
};

Result<std::unique_ptr<BlasLt>> BlasLt::Open(const CudaDevice& device) {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Unavailable("linear: ", kLibrary, " cannot be opened: ", dlerror(),
                       "; install cuBLAS of CUDA 13, or put its folder into LD_LIBRARY_PATH");
  }
  BlasLtFunctions functions;
  if (const char* missing = FindAll(library, functions); missing != nullptr) {
    dlclose(library);
    return Unavailable("linear: ", kLibrary, " has no function ", missing,
                       "; install cuBLAS of CUDA 13");
  }
  std::unique_ptr<BlasLt> blas(new BlasLt(library, functions));
  QUIRE_RETURN_IF_ERROR(blas->StatusOf(functions.create(&blas->handle_), "cublasLtCreate"));
  blas->file_ = OpenChoices(device, functions.version());
  return blas;
}

BlasLt::~BlasLt() {
  if (handle_ != nullptr) {
    lt_.destroy(handle_);
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
  const Operation operation(lt_, matmul);
  QUIRE_RETURN_IF_ERROR(StatusOf(operation.status(), "cublasLtMatmulDescCreate"));
  const MatmulKind kind = KindOf(matmul);
  const std::lock_guard lock(mutex_);
  auto found = chosen_.find(kind);
  if (found == chosen_.end()) {
    if (const std::optional<Choice> stored = Stored(operation, kind)) {
      found = chosen_.emplace(kind, *stored).first;
    }
  }
  if (found != chosen_.end() && Run(operation, matmul, found->second, workspace, stream).ok()) {
    return OkStatus();
  }
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  QUIRE_RETURN_IF_ERROR(
      CudaStatus(cudaStreamIsCapturing(stream, &capture), "cudaStreamIsCapturing"));
  std::vector<cublasLtMatmulHeuristicResult_t> candidates =
      operation.Candidates(handle_, matmul.chain);
  if (matmul.chain && matmul.m < kChainRows) {
    Matmul more = matmul;
    more.m = kChainRows;
    const auto others = Operation(lt_, more).Candidates(handle_, true);
    candidates.insert(candidates.end(), others.begin(), others.end());
  }
  if (candidates.empty() && !matmul.chain) {
    return Unsupported("linear: cuBLASLt has no algorithm for ", matmul.m, " x ", matmul.n, " x ",
                       matmul.k, " of ", InfoOf(matmul.in).name, " to ", InfoOf(matmul.out).name);
  }
  Choice best;
  if (!matmul.chain) {
    best = candidates[0].algo;
  }
  if (capture == cudaStreamCaptureStatusNone) {
    QUIRE_RETURN_IF_ERROR(TakeFastest(operation, matmul, candidates, workspace, stream, best));
    chosen_[kind] = best;
    file_.Put(TextOf(kind), BytesOf(best));
  }
  return Run(operation, matmul, best, workspace, stream);
}

std::optional<BlasLt::Choice> BlasLt::Stored(const Operation& operation,
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
  return operation.Takes(handle_, algorithm) ? std::optional<Choice>(algorithm) : std::nullopt;
}

Status BlasLt::Run(const Operation& operation, const Matmul& matmul, const Choice& choice,
                   void* workspace, cudaStream_t stream) const {
  return choice ? StatusOf(operation.Run(handle_, matmul, *choice, workspace, stream),
                           "cublasLtMatmul")
                : CudaStatus(RunChain(matmul, stream), "linear: ChainKernel");
}

Status BlasLt::TakeFastest(const Operation& operation, const Matmul& matmul,
                           const std::vector<cublasLtMatmulHeuristicResult_t>& candidates,
                           void* workspace, cudaStream_t stream, Choice& best) const {
  // Products of few rows wait for their weights, which must not come from a cache that a model's
  // next layer does not have.
  constexpr size_t kFlushBytes = size_t{128} << 20;
  const size_t bytes =
      kFlushBytes + static_cast<size_t>(BytesOf(matmul.out, matmul.m * matmul.result_stride));
  void* scratch = nullptr;
  QUIRE_RETURN_IF_ERROR(CudaStatus(cudaMalloc(&scratch, bytes), "cudaMalloc"));
  const Buffer owner(scratch, bytes, {}, [](void* data, size_t) { cudaFree(data); });
  Matmul trial = matmul;
  trial.result = static_cast<uint8_t*>(scratch) + kFlushBytes;
  trial.accumulate = false;
  const EventPair events;
  const auto time = [&](const Choice& choice) {
    float least = std::numeric_limits<float>::infinity();
    for (int run = 0; run < kRuns; ++run) {
      cudaMemsetAsync(scratch, 0, kFlushBytes, stream);
      cudaEventRecord(events.begin(), stream);
      const bool ran = Run(operation, trial, choice, workspace, stream).ok();
      cudaEventRecord(events.end(), stream);
      float elapsed = 0;
      if (!ran || cudaEventSynchronize(events.end()) != cudaSuccess ||
          cudaEventElapsedTime(&elapsed, events.begin(), events.end()) != cudaSuccess) {
        return std::numeric_limits<float>::infinity();
      }
      least = std::min(least, elapsed);
    }
    return least;
  };
  float best_time = std::numeric_limits<float>::infinity();
  for (const cublasLtMatmulHeuristicResult_t& candidate : candidates) {
    const float candidate_time = time(candidate.algo);
    if (candidate_time < best_time &&
        (!matmul.chain || IsChain(trial, static_cast<int*>(scratch), stream))) {
      best_time = candidate_time;
      best = candidate.algo;
    }
  }
  return OkStatus();
}

}  // namespace quire::ops::linear
