# The table of operator implementations. An operator is a folder src/ops/<name> with <name>.h; a
# platform file in it (<platform>.cc or .cu) defines
#     namespace quire::ops::<name> { Implementations <Platform>Implementations(); }
# and reference.cc defines ReferenceImplementations(); where the folder has packing.h the platform
# file also defines Packing <Platform>Packing(). Per operator this writes a file that defines
# ImplementationsOf(PlatformKind): the platform's list, on the CPU followed by the reference, which
# reads and writes from the host; PackingOf(PlatformKind) of packing.h; and one file for all of them
# that defines AllOperators() of ops/operator_index.h.
function(quire_add_operator_tables target)
  set(index_includes "")
  set(index_rows "")
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/ops/*/reference.cc)
  foreach(header ${headers})
    get_filename_component(folder ${header} DIRECTORY)
    get_filename_component(op ${folder} NAME)
    set(declarations "Implementations ReferenceImplementations();\n")
    set(cases "")
    set(packings "")
    foreach(platform ${QUIRE_PLATFORMS})
      quire_platform_name(${platform} name)
      set(list "")
      if(EXISTS ${folder}/${platform}.cc OR EXISTS ${folder}/${platform}.cu)
        set(list "${name}Implementations()")
        string(APPEND declarations "Implementations ${name}Implementations();\n")
      endif()
      if(platform STREQUAL cpu)
        if(list)
          set(list "Join(${list}, ReferenceImplementations())")
        else()
          set(list "ReferenceImplementations()")
        endif()
      endif()
      if(list)
        string(APPEND cases "    case PlatformKind::k${name}: {\n"
          "      static const Implementations list = ${list};\n"
          "      return list;\n    }\n")
        string(APPEND packings "    case PlatformKind::k${name}: return ${name}Packing();\n")
        if(EXISTS ${folder}/packing.h)
          string(APPEND declarations "Packing ${name}Packing();\n")
        endif()
      endif()
    endforeach()
    set(include "ops/${op}/${op}.h")
    set(packing_table "")
    if(EXISTS ${folder}/packing.h)
      set(include "ops/${op}/packing.h")
      set(packing_table "
Packing PackingOf(PlatformKind platform) {
  switch (platform) {
${packings}    default: return nullptr;
  }
}
")
    endif()
    set(file ${CMAKE_CURRENT_BINARY_DIR}/operators/${op}_table.cc)
    file(CONFIGURE OUTPUT ${file} CONTENT
"// Made by cmake/quire_operators.cmake.
#include \"${include}\"

namespace quire::ops::${op} {

${declarations}
const Implementations& ImplementationsOf(PlatformKind platform) {
  switch (platform) {
${cases}    default: {
      static const Implementations none;
      return none;
    }
  }
}
${packing_table}
}  // namespace quire::ops::${op}
" @ONLY)
    target_sources(${target} PRIVATE ${file})
    string(APPEND index_includes "#include \"ops/${op}/${op}.h\"\n")
    string(APPEND index_rows "      RowOf(\"${op}\", ${op}::ImplementationsOf(platform)),\n")
  endforeach()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/operators/operator_index.cc)
  file(CONFIGURE OUTPUT ${file} CONTENT
"// Made by cmake/quire_operators.cmake.
#include \"ops/operator_index.h\"

${index_includes}
namespace quire::ops {

std::vector<OperatorRow> AllOperators(PlatformKind platform) {
  return {
${index_rows}  };
}

}  // namespace quire::ops
" @ONLY)
  target_sources(${target} PRIVATE ${file})
  if(QUIRE_BUILD_BENCHMARKS AND cuda IN_LIST QUIRE_PLATFORMS)
    add_executable(quire_moe_cuda_bench ${PROJECT_SOURCE_DIR}/bench/moe_cuda.cc)
    target_link_libraries(quire_moe_cuda_bench PRIVATE ${target})
    add_executable(quire_linear_cuda_bench ${PROJECT_SOURCE_DIR}/bench/linear_cuda.cc)
    target_link_libraries(quire_linear_cuda_bench PRIVATE ${target})
  endif()
endfunction()
