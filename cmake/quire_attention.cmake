# Attention backends: a platform that has some defines, in src/attention/<platform>_backends.cc,
#     namespace quire { std::vector<KnownBackend> <Platform>AttentionBackends(); }
# This writes the file that defines AllAttentionBackends() of attention/known_backends.h.
function(quire_add_attention_table target)
  set(declarations "")
  set(rows "")
  foreach(platform ${QUIRE_PLATFORMS})
    if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/attention/${platform}_backends.cc)
      quire_platform_name(${platform} name)
      string(APPEND declarations "std::vector<KnownBackend> ${name}AttentionBackends();\n")
      string(APPEND rows "      {PlatformKind::k${name}, ${name}AttentionBackends()},\n")
    endif()
  endforeach()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/attention/attention_table.cc)
  file(CONFIGURE OUTPUT ${file} CONTENT
"// Made by cmake/quire_attention.cmake.
#include \"attention/known_backends.h\"

namespace quire {

${declarations}
std::vector<PlatformBackends> AllAttentionBackends() {
  return {
${rows}  };
}

}  // namespace quire
" @ONLY)
  target_sources(${target} PRIVATE ${file})
  if(QUIRE_BUILD_BENCHMARKS AND cuda IN_LIST QUIRE_PLATFORMS)
    add_executable(quire_attention_cuda_bench ${PROJECT_SOURCE_DIR}/bench/attention_cuda.cu)
    target_link_libraries(quire_attention_cuda_bench PRIVATE ${target} quire_platform_libraries)
  endif()
endfunction()
