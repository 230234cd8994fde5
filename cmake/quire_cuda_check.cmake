# Where the CUDA toolkit and FlashInfer's headers are: tests that build the command with all CUDA
# code, for every architecture, in a folder of their own, and run what needs no GPU.
function(quire_add_cuda_check)
  find_program(QUIRE_NVCC nvcc PATHS /usr/local/cuda/bin)
  if(cuda IN_LIST QUIRE_PLATFORMS OR QUIRE_SANITIZE OR NOT QUIRE_NVCC
      OR NOT EXISTS ${CMAKE_SOURCE_DIR}/.deps/flashinfer/include)
    return()
  endif()
  set(folder ${CMAKE_BINARY_DIR}/cuda)
  set(quire ${folder}/apps/quire generate hello --max-tokens 4 --model
    ${QUIRE_MODEL_DIR}/SmolLM2-135M-Instruct.Q4_1.gguf)
  set(print "${folder}/tools/operators_page '${CMAKE_SOURCE_DIR}/src/ops' cuda")
  set(page ${CMAKE_SOURCE_DIR}/docs/operators_cuda.md)

  add_test(NAME cuda.configure
    COMMAND ${CMAKE_COMMAND} -S . --preset cuda-all -B ${folder} -DCMAKE_CUDA_COMPILER=${QUIRE_NVCC}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  # Two at a time: the largest compiles take 3.4 GB each.
  add_test(NAME cuda.build COMMAND ${CMAKE_COMMAND} --build ${folder} --parallel 2
    --target quire quire_platform_test operators_page)
  add_test(NAME cuda.platform COMMAND ${folder}/src/quire_platform_test)
  add_test(NAME cuda.docs COMMAND sh -c "${print} | diff -u '${page}' -")
  # With or without a GPU: the CPU serves where no other device does.
  add_test(NAME cuda.device_auto COMMAND ${quire} --device auto)
  add_test(NAME cuda.device_missing COMMAND ${quire} --device cuda:99)

  set_tests_properties(cuda.configure cuda.build cuda.platform cuda.docs cuda.device_auto
    cuda.device_missing PROPERTIES LABELS cuda FIXTURES_REQUIRED cuda_built)
  set_tests_properties(cuda.configure PROPERTIES
    FIXTURES_REQUIRED "" FIXTURES_SETUP cuda_configured)
  set_tests_properties(cuda.build PROPERTIES TIMEOUT 2400 COST 1000 PROCESSORS 2
    FIXTURES_REQUIRED cuda_configured FIXTURES_SETUP cuda_built)
  set_tests_properties(cuda.device_missing PROPERTIES
    PASS_REGULAR_EXPRESSION "quire generate: cuda(:99)?[: ]")
endfunction()
