# The table of operator implementations. An operator is a folder src/ops/<name> with <name>.h; a
# platform file in it (<platform>.cc or .cu) defines
#     namespace quire::ops::<name> { Implementations <Platform>Implementations(); }
# and reference.cc defines ReferenceImplementations(). Per operator this writes a file that defines
# ImplementationsOf(PlatformKind): the platform's list followed by the reference; and one file for
# all of them that defines AllOperators() of ops/operator_index.h.
function(quire_add_operator_tables target)
  set(index_includes "")
  set(index_rows "")
  set(platform_kinds "")
  foreach(platform ${QUIRE_PLATFORMS})
    string(SUBSTRING ${platform} 0 1 first)
    string(TOUPPER ${first} first)
    string(SUBSTRING ${platform} 1 -1 rest)
    list(APPEND platform_kinds "PlatformKind::k${first}${rest}")
  endforeach()
  list(JOIN platform_kinds ", " platform_kinds)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/ops/*/reference.cc)
  foreach(header ${headers})
    get_filename_component(folder ${header} DIRECTORY)
    get_filename_component(op ${folder} NAME)
    set(declarations "Implementations ReferenceImplementations();\n")
    set(cases "")
    foreach(platform ${QUIRE_PLATFORMS})
      if(EXISTS ${folder}/${platform}.cc OR EXISTS ${folder}/${platform}.cu)
        string(SUBSTRING ${platform} 0 1 first)
        string(TOUPPER ${first} first)
        string(SUBSTRING ${platform} 1 -1 rest)
        string(APPEND declarations "Implementations ${first}${rest}Implementations();\n")
        string(APPEND cases "    case PlatformKind::k${first}${rest}: {\n"
          "      static const Implementations list =\n"
          "          Join(${first}${rest}Implementations(), ReferenceImplementations());\n"
          "      return list;\n    }\n")
      endif()
    endforeach()
    set(file ${CMAKE_CURRENT_BINARY_DIR}/operators/${op}_table.cc)
    file(CONFIGURE OUTPUT ${file} CONTENT
"// Made by cmake/quire_operators.cmake.
#include \"ops/${op}/${op}.h\"

namespace quire::ops::${op} {

${declarations}
const Implementations& ImplementationsOf(PlatformKind platform) {
  switch (platform) {
${cases}    default: {
      static const Implementations list = ReferenceImplementations();
      return list;
    }
  }
}

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

std::vector<PlatformKind> EnabledPlatforms() {
  return {${platform_kinds}};
}

}  // namespace quire::ops
" @ONLY)
  target_sources(${target} PRIVATE ${file})
endfunction()

