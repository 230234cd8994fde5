# Platforms: a folder src/platform/<platform> each, which defines
#     namespace quire {
#     Result<std::unique_ptr<Device>> Open<Platform>Device(int index, const DeviceOptions& options);
#     }

# quire_platform_name(cuda name): Cuda
function(quire_platform_name platform result)
  string(SUBSTRING ${platform} 0 1 first)
  string(TOUPPER ${first} first)
  string(SUBSTRING ${platform} 1 -1 rest)
  set(${result} ${first}${rest} PARENT_SCOPE)
endfunction()

# Writes the file that defines EnabledPlatforms() of platform/open_device.h.
function(quire_add_platform_table target)
  set(declarations "")
  set(rows "")
  foreach(platform ${QUIRE_PLATFORMS})
    quire_platform_name(${platform} name)
    string(APPEND declarations
      "Result<std::unique_ptr<Device>> Open${name}Device(int, const DeviceOptions&);\n")
    string(APPEND rows "      {PlatformKind::k${name}, Open${name}Device},\n")
  endforeach()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/platforms/platform_table.cc)
  file(CONFIGURE OUTPUT ${file} CONTENT
"// Made by cmake/quire_platforms.cmake.
#include \"platform/open_device.h\"

namespace quire {

${declarations}
std::vector<PlatformEntry> EnabledPlatforms() {
  return {
${rows}  };
}

}  // namespace quire
" @ONLY)
  target_sources(${target} PRIVATE ${file})
  list(JOIN QUIRE_CUDA_ARCHITECTURES "," architectures)
  target_compile_definitions(${target} PRIVATE QUIRE_CUDA_ARCHITECTURES="${architectures}")
  target_link_libraries(${target} PRIVATE quire_platform_libraries)
endfunction()

# Compiles the platforms whose runtime is another's under other names, against declarations of
# theirs, so that a change does not break them unseen. Nothing is linked.
function(quire_add_renamed_platform_checks)
  foreach(platform musa maca)
    set(folder ${CMAKE_SOURCE_DIR}/src/platform/${platform})
    add_library(quire_${platform}_check OBJECT ${folder}/${platform}_device.cc)
    # As the vendor's own: their names are not ours.
    target_include_directories(quire_${platform}_check SYSTEM BEFORE PRIVATE
      ${folder} ${folder}/declarations)
    target_link_libraries(quire_${platform}_check PRIVATE quire_options)
  endforeach()
endfunction()

# What the rooms link that have files of a platform.
add_library(quire_platform_libraries INTERFACE)

if(NOT cuda IN_LIST QUIRE_PLATFORMS)
  return()
endif()

set(QUIRE_CUDA_ARCHITECTURES 90a CACHE STRING "Compute capabilities of the CUDA kernels: 90a, 100a")
set(QUIRE_FLASHINFER_DIR ${CMAKE_SOURCE_DIR}/.deps/flashinfer CACHE PATH
  "The folder flashinfer/data of the package flashinfer-python")
if(NOT EXISTS ${QUIRE_FLASHINFER_DIR}/include/flashinfer)
  message(FATAL_ERROR "FlashInfer's headers are missing: ${QUIRE_FLASHINFER_DIR}. "
    "Run ./dev once (./dev build cuda-release): it downloads and unpacks them.")
endif()

# CMake 3.25 knows neither the newest architectures, which are options below, nor the C++20 flag.
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
find_package(CUDAToolkit 13.0 REQUIRED)
set(architectures "")
foreach(architecture ${QUIRE_CUDA_ARCHITECTURES})
  list(APPEND architectures -gencode=arch=compute_${architecture},code=sm_${architecture})
endforeach()
# 1444, 2908, 3287, 20012: warnings of CUTLASS and FlashInfer about themselves.
target_compile_options(quire_platform_libraries INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:${architectures};-lineinfo;--expt-relaxed-constexpr>"
  "$<$<COMPILE_LANGUAGE:CUDA>:--expt-extended-lambda;-diag-suppress=1444,2908,3287,20012>")
target_include_directories(quire_platform_libraries SYSTEM INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:${QUIRE_FLASHINFER_DIR}/cccl/libcudacxx/include>"
  "$<$<COMPILE_LANGUAGE:CUDA>:${QUIRE_FLASHINFER_DIR}/cccl/cub>"
  "$<$<COMPILE_LANGUAGE:CUDA>:${QUIRE_FLASHINFER_DIR}/cccl/thrust>"
  "$<$<COMPILE_LANGUAGE:CUDA>:${QUIRE_FLASHINFER_DIR}/include>"
  "$<$<COMPILE_LANGUAGE:CUDA>:${QUIRE_FLASHINFER_DIR}/cutlass/include>"
  "$<$<COMPILE_LANGUAGE:CUDA>:${QUIRE_FLASHINFER_DIR}/cutlass/tools/util/include>")
# One program runs wherever there is a driver; without one it still starts.
target_link_libraries(quire_platform_libraries INTERFACE CUDA::cudart_static)
