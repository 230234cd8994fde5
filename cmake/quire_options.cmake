# Compiler and linker settings that every target of Quire shares.
add_library(quire_options INTERFACE)
target_compile_options(quire_options INTERFACE
  -Wall -Wextra $<$<COMPILE_LANGUAGE:CXX>:-Werror> $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>
  -fno-math-errno -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports the deliberately undefined operands inside its own AVX-512 intrinsics, and
  # overlaps in its own std::string (PR 105651).
  target_compile_options(quire_options INTERFACE -Wno-maybe-uninitialized -Wno-uninitialized
    -Wno-restrict)
endif()
target_include_directories(quire_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(QUIRE_SANITIZE)
  target_compile_options(quire_options INTERFACE -fsanitize=${QUIRE_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(quire_options INTERFACE -fsanitize=${QUIRE_SANITIZE})
  # The thread sanitizer does not know fences.
  target_compile_definitions(quire_options INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
