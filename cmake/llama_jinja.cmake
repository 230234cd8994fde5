# quire_jinja: the Jinja engine of chat templates, from llama.cpp's common/jinja (MIT), as it is in
# the pinned source distribution of llama-cpp-python that ./dev unpacks into .deps/.
#
# A template comes with a model file, so it is untrusted. The engine has no limits of its own: its
# sources are copied into the build folder and a handful of lines there charge
# src/tokenizer/jinja_limits.h. Each edit must apply, so that another version of the engine cannot
# lose one silently.
set(QUIRE_JINJA_ROOT ${CMAKE_SOURCE_DIR}/.deps/llama_cpp_python-0.3.36/vendor/llama.cpp/common)
set(QUIRE_JINJA_COPY ${CMAKE_BINARY_DIR}/llama_jinja)

if(NOT EXISTS ${QUIRE_JINJA_ROOT}/jinja/runtime.cpp)
  message(FATAL_ERROR "The Jinja engine is missing: ${QUIRE_JINJA_ROOT}/jinja. "
    "Run ./dev once (./dev build cpu-release): it downloads and unpacks it.")
endif()

# Replaces `from` by `to` wherever it stands in the variable `text`.
function(quire_edit_jinja from to)
  string(REPLACE "${from}" "${to}" edited "${text}")
  if(edited STREQUAL text)
    message(FATAL_ERROR "cmake/llama_jinja.cmake: '${from}' is not in ${QUIRE_JINJA_ROOT}/${file}")
  endif()
  set(text "${edited}" PARENT_SCOPE)
endfunction()

# The edits of `file` to the variable `text`, its content.
macro(quire_limit_jinja file)
  set(step "const ::quire::JinjaStep step;")
  set(element "::quire::ChargeJinja(::quire::kJinjaElementCost);")
  set(include "#pragma once\n#include \"tokenizer/jinja_limits.h\"\n")
  if(${file} STREQUAL jinja/runtime.cpp)
    quire_edit_jinja("return execute_impl(ctx);" "${step} return execute_impl(ctx);")
  elseif(${file} STREQUAL jinja/value.h)
    quire_edit_jinja("#pragma once" "${include}")
    foreach(function "push_back(const value & val) {" "push_back(value && val) {")
      quire_edit_jinja("void ${function}" "void ${function} ${element}")
    endforeach()
  elseif(${file} STREQUAL jinja/string.cpp)
    quire_edit_jinja("parts.push_back(part);"
      "${element} ::quire::ChargeJinja(part.val.size()); parts.push_back(part);")
  elseif(${file} STREQUAL jinja/runtime.h)
    quire_edit_jinja("gather_string_parts_recursive(const value & val, value_string & parts) {"
      "gather_string_parts_recursive(const value & val, value_string & parts) { ${step}")
  elseif(${file} STREQUAL jinja/value.cpp)
    quire_edit_jinja("new_res.reserve("
      "::quire::ChargeJinja(str.size() + (str.size() + 1) * new_str.size()); new_res.reserve(")
    # Each replacement moves the rest of the string.
    quire_edit_jinja("str.replace(pos,"
      "::quire::ChargeJinja(1 + new_str.size() + str.size() / 256); str.replace(pos,")
    quire_edit_jinja("indent.assign(val_width"
      "::quire::ChargeJinja(static_cast<uint64_t>(val_width->as_int())); indent.assign(val_width")
    quire_edit_jinja("indented += indent;"
      "::quire::ChargeJinja(1 + indent.size()); indented += indent;")
    quire_edit_jinja("result += delim;" "::quire::ChargeJinja(delim.size()); result += delim;")
    quire_edit_jinja("    auto indent_str = ["
      "${step} ::quire::ChargeJinja(uint64_t(indent > 0 ? indent : 0) * (curr_lvl + 1));
    auto indent_str = [")
    quire_edit_jinja("std::string value_to_string_repr(const value & val) {"
      "std::string value_to_string_repr(const value & val) { ${step}")
  elseif(${file} STREQUAL jinja/parser.cpp)
    foreach(function "any()" "if_statement(size_t start_pos)" "if_expression()" "unary_expression()"
                     "logical_negation_expression()" "call_expression(statement_ptr callee)")
      quire_edit_jinja("statement_ptr parse_${function} {"
        "statement_ptr parse_${function} { ${step}")
    endforeach()
  endif()
endmacro()

foreach(file json.h json.cpp unicode.h unicode.cpp jinja/caps.h jinja/lexer.h jinja/lexer.cpp
             jinja/parser.h jinja/parser.cpp jinja/runtime.h jinja/runtime.cpp jinja/string.h
             jinja/string.cpp jinja/utils.h jinja/value.h jinja/value.cpp)
  file(READ ${QUIRE_JINJA_ROOT}/${file} text)
  quire_limit_jinja(${file})
  set(old "")
  if(EXISTS ${QUIRE_JINJA_COPY}/${file})
    file(READ ${QUIRE_JINJA_COPY}/${file} old)
  endif()
  if(NOT old STREQUAL text)
    file(WRITE ${QUIRE_JINJA_COPY}/${file} "${text}")
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${QUIRE_JINJA_ROOT}/${file})
endforeach()

# All that the engine takes from ggml is an assertion; a broken one is a template error here.
file(CONFIGURE OUTPUT ${QUIRE_JINJA_COPY}/ggml.h CONTENT
"#pragma once
#include <stdexcept>
#define GGML_ASSERT(x) do { if (!(x)) throw std::logic_error(#x); } while (false)
" @ONLY)

add_library(quire_jinja STATIC
  ${QUIRE_JINJA_COPY}/json.cpp
  ${QUIRE_JINJA_COPY}/unicode.cpp
  ${QUIRE_JINJA_COPY}/jinja/lexer.cpp
  ${QUIRE_JINJA_COPY}/jinja/parser.cpp
  ${QUIRE_JINJA_COPY}/jinja/runtime.cpp
  ${QUIRE_JINJA_COPY}/jinja/string.cpp
  ${QUIRE_JINJA_COPY}/jinja/value.cpp)
target_include_directories(quire_jinja SYSTEM PUBLIC ${QUIRE_JINJA_COPY})
target_include_directories(quire_jinja PRIVATE ${CMAKE_SOURCE_DIR}/src)
# Its assertions check what a template says, so they must not stop the server.
target_compile_definitions(quire_jinja PRIVATE NDEBUG)
target_compile_options(quire_jinja PRIVATE -w)
target_link_libraries(quire_jinja PRIVATE nlohmann_json::nlohmann_json)
if(QUIRE_SANITIZE)
  target_compile_options(quire_jinja PRIVATE -fsanitize=${QUIRE_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
endif()
