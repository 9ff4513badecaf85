# Compiler options for every target. Warnings are errors; sanitizers are a build, chosen by OUTRIGGER_SANITIZE.
option(OUTRIGGER_TESTS "Build the tests" ON)
set(OUTRIGGER_SANITIZE "" CACHE STRING "address,undefined | thread")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# A layer finds its own packages, and the tests link the layer from another folder.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_compile_options(-Wall -Wextra -Wno-missing-field-initializers -Wconversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
include_directories(${CMAKE_SOURCE_DIR})

if(OUTRIGGER_SANITIZE)
  add_compile_options(-fsanitize=${OUTRIGGER_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${OUTRIGGER_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)  # given wrongly for instrumented standard library code
    if(OUTRIGGER_SANITIZE STREQUAL "thread")
      add_compile_options(-Wno-tsan)  # Asio's fences, which GCC 12 says it does not model
    endif()
  endif()
endif()
