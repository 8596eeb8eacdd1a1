#include "one_file.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <tuple>

namespace ane::mil {

namespace {

// The engine keeps 32 bits of a payload's offset (a Qwen project's notes on macOS 27).
constexpr uint64_t offset_limit = uint64_t{1} << 32;

// A chunk as the text refers to it. Lenient reading may take one header for tensors of several types.
using ChunkKey = std::tuple<std::string, uint64_t, DType, int64_t>;

ChunkKey key_of(const Value& value) {
    const BlobReference& blob = *value.constant->blob;
    return {blob.path, blob.offset, value.type.dtype, value.type.elements()};
}

uint64_t aligned(uint64_t offset) { return (offset + header_bytes - 1) / header_bytes * header_bytes; }

std::vector<const Value*> blob_values(const Module& module) {
    std::vector<const Value*> values;
    for (const Function& function : module.functions)
        for (const Value& value : function.values)
            if (value.constant && value.constant->blob) values.push_back(&value);
    return values;
}

}  // namespace

OneFile::OneFile(std::string_view text, const Module& module, const Weights& weights) {
    std::vector<const Value*> values = blob_values(module);
    std::map<ChunkKey, const Value*> distinct;  // in an order that depends on the old files alone
    for (const Value* value : values) distinct.emplace(key_of(*value), value);

    std::map<ChunkKey, uint64_t> offsets;
    uint64_t end = header_bytes;
    for (const auto& [key, value] : distinct) {
        const auto& [old_path, offset, dtype, elements] = key;
        const auto file = weights.find(old_path)->second;
        const std::span<const std::byte> data = value->constant->data;
        Chunk chunk;
        chunk.path = old_path;
        chunk.old_header_at = offset;
        chunk.old_payload_at = static_cast<uint64_t>(data.data() - file.data());
        chunk.header_at = aligned(end);
        const uint64_t payload = chunk.header_at + header_bytes;
        if (payload >= offset_limit)
            throw CompileError("InvalidWeights",
                               "in one file, the weights reach beyond the 4 GiB that the engine can address: "
                               "split the program",
                               value->where);
        std::memcpy(&chunk.old_header, file.data() + offset, sizeof chunk.old_header);
        const auto padding = data.size() * 8 - static_cast<uint64_t>(elements * dtype_bits(dtype));
        chunk.header = {chunk_sentinel, *dtype_code(dtype), data.size(), payload, padding};
        offsets[key] = chunk.header_at;
        end = payload + data.size();
        chunks_.push_back(std::move(chunk));
    }
    if (!chunks_.empty()) bytes_ = end;

    std::ranges::sort(values, {}, [](const Value* value) { return value->constant->blob->path_place.begin; });
    size_t copied = 0;
    const auto put = [&](const TextRange& range, const std::string& literal) {
        text_ += text.substr(copied, range.begin - copied);
        text_ += literal;
        copied = range.end;
    };
    for (const Value* value : values) {
        put(value->constant->blob->path_place, '"' + std::string(path) + '"');
        put(value->constant->blob->offset_place, std::to_string(offsets.at(key_of(*value))));
    }
    text_ += text.substr(copied);
}

void OneFile::copy(const Chunk& chunk, std::span<const std::byte> from, std::span<std::byte> to) const {
    std::memcpy(to.data() + chunk.header.payload_offset, from.data() + chunk.old_payload_at,
                chunk.header.payload_bytes);
}

void OneFile::write(const Weights& weights, std::span<std::byte> file) const {
    const FileHeader header{static_cast<uint32_t>(chunks_.size()), file_version};
    std::memset(file.data(), 0, header_bytes);
    std::memcpy(file.data(), &header, sizeof header);
    uint64_t end = header_bytes;
    for (const Chunk& chunk : chunks_) {
        std::memset(file.data() + end, 0, chunk.header.payload_offset - end);
        std::memcpy(file.data() + chunk.header_at, &chunk.header, sizeof chunk.header);
        copy(chunk, weights.find(chunk.path)->second, file);
        end = chunk.header.payload_offset + chunk.header.payload_bytes;
    }
}

void OneFile::replace(const Weights& weights, std::span<std::byte> file) const {
    std::set<std::string> known;
    for (const Chunk& chunk : chunks_) known.insert(chunk.path);
    for (const auto& [path, bytes] : weights)
        if (!known.contains(path)) throw no_such_weight(path);
    for (const Chunk& chunk : chunks_) {
        const auto found = weights.find(chunk.path);
        if (found == weights.end()) continue;
        const auto from = found->second;
        const bool fits = from.size() >= chunk.old_header_at + header_bytes &&
                          from.size() >= chunk.old_payload_at + chunk.header.payload_bytes;
        if (!fits ||
            std::memcmp(from.data() + chunk.old_header_at, &chunk.old_header, sizeof chunk.old_header) != 0)
            throw ArgumentError("weight '" + chunk.path +
                                "': the file is laid out in another way than the one " +
                                "that was compiled; compile a new program");
        copy(chunk, from, file);
    }
}

}  // namespace ane::mil
