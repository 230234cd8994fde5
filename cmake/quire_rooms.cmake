# A room of src/ is a static library quire_<room>; files are picked by name:
#   *_test.cc   into the test program quire_<room>_test
#   *_bench.cc  into the benchmark program quire_<room>_bench
#   all others  into the library
# Folders and files named after a platform are left out where that platform is not enabled; so are
# .cu files, the kernels of the platforms whose compilers take them.
include(GoogleTest)

# quire_add_room(NAME [LIBRARIES lib...] [TEST_LIBRARIES lib...] [TEST_LABEL label]
#   [TESTS_PER_SUITE])
function(quire_add_room name)
  cmake_parse_arguments(ARG "TESTS_PER_SUITE" "TEST_LABEL" "LIBRARIES;TEST_LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS
    ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cu)
  foreach(platform cpu cuda musa maca ascend)
    if(NOT platform IN_LIST QUIRE_PLATFORMS)
      list(FILTER sources EXCLUDE REGEX "/${platform}(_[a-z0-9_]+)?\\.cc$|/platform/${platform}/")
    endif()
  endforeach()
  if(NOT cuda IN_LIST QUIRE_PLATFORMS)
    list(FILTER sources EXCLUDE REGEX "\\.cu$")
  endif()
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  set(benches ${sources})
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cc$")

  add_library(quire_${name} STATIC ${sources})
  target_link_libraries(quire_${name} PUBLIC quire_options ${ARG_LIBRARIES})

  if(QUIRE_BUILD_TESTS AND tests)
    if(NOT ARG_TEST_LABEL)
      set(ARG_TEST_LABEL unit)
    endif()
    set(per_suite "")
    if(ARG_TESTS_PER_SUITE)
      set(per_suite PER_SUITE)
    endif()
    quire_add_test(quire_${name}_test LABEL ${ARG_TEST_LABEL} SOURCES ${tests}
      LIBRARIES quire_${name} ${ARG_TEST_LIBRARIES} ${per_suite})
  endif()
  if(QUIRE_BUILD_BENCHMARKS AND benches)
    add_executable(quire_${name}_bench ${benches})
    target_link_libraries(quire_${name}_bench PRIVATE quire_${name} ${ARG_TEST_LIBRARIES}
      benchmark::benchmark_main)
  endif()
endfunction()

# quire_add_test(NAME LABEL label SOURCES file... LIBRARIES lib... [TIMEOUT seconds] [PER_SUITE]):
# one GoogleTest program; each of its cases, or with PER_SUITE each of its suites, is a ctest of
# that label.
function(quire_add_test name)
  cmake_parse_arguments(ARG "PER_SUITE" "LABEL;TIMEOUT" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(QUIRE_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 8")
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  if(ARG_PER_SUITE)
    set(list ${CMAKE_CURRENT_BINARY_DIR}/${name}_suites.cmake)
    add_custom_command(TARGET ${name} POST_BUILD BYPRODUCTS ${list}
      COMMAND ${CMAKE_COMMAND} -D PROGRAM=$<TARGET_FILE:${name}> -D OUTPUT=${list}
        -D LABEL=${ARG_LABEL} -D TIMEOUT=${ARG_TIMEOUT}
        -P ${PROJECT_SOURCE_DIR}/cmake/discover_suites.cmake)
    set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${list})
    return()
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()
