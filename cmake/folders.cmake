# The folders of src/ane_native as libraries that see only what they may use.
set(native_dir ${CMAKE_CURRENT_SOURCE_DIR}/src/ane_native)

# add_folder(NAME [SOURCES ...] [HEADERS ...] [USES ...]): library ane_NAME of the folder NAME, or of SOURCES.
#
# The library's include root, in the build tree, holds a link to the folder, or to each of HEADERS, and nothing else.
# Thus a source can include headers of its own folder and of the folders in USES; any other does not compile. A file
# that lies above the folders could reach all of them from its own place, as `../` could: both fail here.
function(add_folder name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;HEADERS;USES")
  file(GLOB_RECURSE found RELATIVE ${native_dir} CONFIGURE_DEPENDS ${native_dir}/${name}/*)
  foreach(file IN LISTS found arg_SOURCES arg_HEADERS)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${native_dir}/${file})
    file(STRINGS ${native_dir}/${file} includes REGEX "^#include \"[^\"]*/")
    foreach(include IN LISTS includes)
      string(REGEX REPLACE "^#include \"([^/]*)/.*" "\\1" folder "${include}")
      if(NOT folder IN_LIST arg_USES AND NOT folder STREQUAL name)
        message(FATAL_ERROR "src/ane_native/${file}: ${include}: ${name} may include of other folders: ${arg_USES}")
      endif()
    endforeach()
  endforeach()

  set(root ${CMAKE_BINARY_DIR}/include/${name})
  file(MAKE_DIRECTORY ${root})
  if(found)
    set(arg_HEADERS ${name})
  endif()
  foreach(file IN LISTS arg_HEADERS)
    file(CREATE_LINK ${native_dir}/${file} ${root}/${file} SYMBOLIC)
  endforeach()

  if(NOT arg_SOURCES)
    set(arg_SOURCES ${found})
    list(FILTER arg_SOURCES INCLUDE REGEX "\\.cpp$")
  endif()
  list(TRANSFORM arg_SOURCES PREPEND ${native_dir}/)
  add_library(ane_${name} STATIC ${arg_SOURCES})
  set_target_properties(ane_${name} PROPERTIES UNITY_BUILD ${ANEPERF_UNITY} UNITY_BUILD_BATCH_SIZE 16)
  target_include_directories(ane_${name} PUBLIC ${root})
  list(TRANSFORM arg_USES PREPEND ane_)
  target_link_libraries(ane_${name} PUBLIC ane_options ${arg_USES})
endfunction()

# add_simd_level(NAME [FLAGS ...] [PARTS ...]): the parts of cpu/simd, all of them unless told, as part of ane_cpu,
# compiled with FLAGS. The widest level that the CPU runs is chosen at run time.
function(add_simd_level level)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "FLAGS;PARTS")
  if(NOT arg_PARTS)
    set(arg_PARTS kernels products fixed_products integers vectors)
  endif()
  list(TRANSFORM arg_PARTS REPLACE "(.+)" "${native_dir}/cpu/simd/\\1.cpp")
  add_library(ane_simd_${level} OBJECT ${arg_PARTS})
  target_compile_definitions(ane_simd_${level} PRIVATE ANEPERF_SIMD_LEVEL=${level})
  set(optimization -O3)
  if(ANEPERF_SANITIZE)  # With its checks, loops of vectors take three times as long to compile at -O3 as at -O1.
    set(optimization -O1)
  endif()
  target_compile_options(ane_simd_${level} PRIVATE ${optimization} -fno-math-errno -fno-trapping-math -ffp-contract=off
                         ${arg_FLAGS})
  target_link_libraries(ane_simd_${level} PRIVATE ane_options)
  target_sources(ane_cpu PRIVATE $<TARGET_OBJECTS:ane_simd_${level}>)
endfunction()
# Matrix products gain from fused multiply-adds; everything else must round alike at every level.
set_source_files_properties(${native_dir}/cpu/simd/products.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=fast)
