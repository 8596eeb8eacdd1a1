// The binary form of weight files. Layout: coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp.
#pragma once

#include <cstdint>
#include <optional>

#include "tensor_type.h"

namespace ane::mil {

constexpr uint64_t header_bytes = 64;  // of the file, and of each chunk
constexpr uint32_t file_version = 2;
constexpr uint32_t chunk_sentinel = 0xDEADBEEF;

// The first fields of the file's header, little-endian as all machines are that this runs on.
struct FileHeader {
    uint32_t chunks;
    uint32_t version;
};

// The first fields of a chunk's header.
struct ChunkHeader {
    uint32_t sentinel;
    uint32_t dtype_code;
    uint64_t payload_bytes;
    uint64_t payload_offset;  // from the beginning of the file
    uint64_t padding_bits;    // behind the elements, where they take fewer than 8 bits
};
static_assert(sizeof(FileHeader) == 8 && sizeof(ChunkHeader) == 32);

// The code of a dtype in a chunk's header; nothing if weight files cannot hold it.
std::optional<uint32_t> dtype_code(DType dtype);

}  // namespace ane::mil
