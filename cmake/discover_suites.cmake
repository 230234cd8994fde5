# Writes a file of ctests, one for each test suite of a GoogleTest program. Run after its link by
# quire_add_test(... PER_SUITE): a program of thousands of cases starts once for a suite, not for
# each case.
#   cmake -D PROGRAM=... -D OUTPUT=... -D LABEL=... -D TIMEOUT=... -P discover_suites.cmake
execute_process(COMMAND ${PROGRAM} --gtest_list_tests OUTPUT_VARIABLE listed
  COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," listed "${listed}")
string(REPLACE "\n" ";" lines "${listed}")
set(suites "")
foreach(line IN LISTS lines)
  if(line MATCHES "^([A-Za-z0-9_]+/)?([A-Za-z0-9_]+)(/[0-9]+)?\\.")
    list(APPEND suites ${CMAKE_MATCH_2})
    list(APPEND filter_of_${CMAKE_MATCH_2} "${CMAKE_MATCH_1}${CMAKE_MATCH_2}${CMAKE_MATCH_3}.*")
  endif()
endforeach()
list(REMOVE_DUPLICATES suites)
set(text "")
foreach(suite IN LISTS suites)
  list(JOIN filter_of_${suite} ":" filter)
  string(APPEND text
    "add_test([=[${suite}]=] [=[${PROGRAM}]=] [=[--gtest_filter=${filter}]=] --gtest_brief=1)\n"
    "set_tests_properties([=[${suite}]=] PROPERTIES LABELS ${LABEL} TIMEOUT ${TIMEOUT})\n")
endforeach()
file(WRITE ${OUTPUT} "${text}")
