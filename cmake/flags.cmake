# One interface target for our own code: warnings are errors, and the hardening or the sanitizers of the preset.
add_library(joblet_flags INTERFACE)
target_compile_options(joblet_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fno-strict-aliasing)
# -Wconversion through libstdc++ 12's own templates is silent because system headers are; -Wno-missing-field-initializers lets
# kernel structs be written with the fields that matter.
target_compile_options(joblet_flags INTERFACE -Wno-missing-field-initializers)
target_include_directories(joblet_flags INTERFACE ${CMAKE_SOURCE_DIR})

# Programs are static: they start faster, and nothing privileged loads a library at run time. Sanitizers need dynamic ones.
add_library(joblet_program INTERFACE)
if(JOBLET_FUZZ)
  # Warnings are g++'s business. The assertions of libstdc++ see an index beyond a span or an array, which is no heap's end
  target_compile_options(joblet_flags INTERFACE -w)
  add_compile_options(-O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
                      -D_GLIBCXX_ASSERTIONS)
  add_link_options(-fsanitize=address,undefined)
elseif(JOBLET_SANITIZE)
  # Warnings are g++'s business; clang is here because it compiles this in half the time. Lines are enough for a stack
  target_compile_options(joblet_flags INTERFACE -w)
  add_compile_options(-g1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  target_compile_definitions(joblet_flags INTERFACE JOBLET_SANITIZE=1)
else()
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  target_link_options(joblet_program INTERFACE -static-pie)
  string(REPLACE -O3 -O2 CMAKE_CXX_FLAGS_RELEASE "${CMAKE_CXX_FLAGS_RELEASE}")
endif()
if(JOBLET_HARDEN)
  add_compile_options(-fstack-protector-strong -fstack-clash-protection -fcf-protection=full -D_FORTIFY_SOURCE=2)
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)
endif()
