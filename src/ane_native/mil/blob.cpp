#include "blob.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "blob_format.h"
#include "mil/text/lexer.h"

namespace ane::mil {

std::optional<uint32_t> dtype_code(DType dtype) {
    switch (dtype) {
        case DType::fp16: return 1;
        case DType::fp32: return 2;
        case DType::uint8: return 3;
        case DType::int8: return 4;
        case DType::int16: return 6;
        case DType::uint16: return 7;
        case DType::int4: return 8;
        case DType::uint1: return 9;
        case DType::uint2: return 10;
        case DType::uint4: return 11;
        case DType::uint3: return 12;
        case DType::uint6: return 13;
        case DType::int32: return 14;
        case DType::uint32: return 15;
        case DType::uint64:
        case DType::boolean:
        case DType::string: break;
    }
    return std::nullopt;
}

namespace {

constexpr size_t max_path = 1024;

template <class T>
T read_at(std::span<const std::byte> file, uint64_t offset) {
    T value;
    std::memcpy(&value, file.data() + offset, sizeof value);
    return value;
}

// Names the kind of a file that has no weight file's header; empty if its bytes do not tell.
std::string_view other_kind(std::span<const std::byte> file) {
    constexpr size_t head_bytes = 512;
    std::string head(reinterpret_cast<const char*>(file.data()), std::min(file.size(), head_bytes));
    if (head.starts_with("version https://git-lfs.github.com/spec/"))
        return "a Git LFS pointer: fetch the file with git lfs pull";
    for (const auto& [magic, kind] : std::initializer_list<std::pair<std::string_view, std::string_view>>{
             {"\x1f\x8b", "compressed with gzip: decompress it"},
             {"PK\x03\x04", "a zip archive: extract the weight file from it"},
             {"BZh", "compressed with bzip2: decompress it"},
             {"\xfd\x37zXZ", "compressed with xz: decompress it"},
             {"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it"},
             {"\x93NUMPY", "a NumPy array: give a weight file"},
             {"GGUF", "a GGUF model: give a weight file"},
             {"program(", "MIL text: give the weight file beside it"}})
        if (head.starts_with(magic)) return kind;
    if (head.size() > 8 && head[8] == '{') return "a safetensors file: give a weight file";
    head.erase(0, std::min(head.find_first_not_of(" \t\r\n\xef\xbb\xbf"), head.size()));
    std::ranges::transform(head, head.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? char(c | 0x20) : c; });
    if (head.starts_with("<!doctype html") || head.starts_with("<html"))
        return "an HTML page: download the file itself";
    return head.starts_with("<?xml") ? "an XML document: download the file itself" : "";
}

// Why `path` cannot name a weight file; empty if it can.
std::string_view path_fault(std::string_view path) {
    constexpr std::string_view root = "@model_path/";
    if (!path.starts_with(root)) return "it must begin with @model_path/";
    if (path.size() > max_path) return "it is longer than 1024 bytes";
    for (char c : path)
        if (c == '\\' || is_control(c)) return "it holds a backslash or a control character";
    for (size_t at = root.size(); at <= path.size();) {
        const size_t end = std::min(path.find('/', at), path.size());
        const std::string_view part = path.substr(at, end - at);
        if (part.empty()) return "one of its parts is empty";
        if (part == "." || part == "..") return "one of its parts is . or ..";
        at = end + 1;
    }
    return {};
}

std::string present(const Weights& weights) {
    if (weights.empty()) return "no weight files were given";
    constexpr size_t shown = 5;
    std::string names = "the files given are ";
    size_t count = 0;
    for (const auto& [name, file] : weights) {
        if (count == shown) return names + " and " + std::to_string(weights.size() - shown) + " more";
        names += (count++ ? ", " : "") + quote(name);
    }
    return names;
}

std::string hex(uint32_t word) {
    char text[11];
    std::snprintf(text, sizeof text, "0x%08X", word);
    return text;
}

std::string path_message(std::string_view path, std::string_view fault) {
    return "weight path " + quote(path) + ": " + std::string(fault);
}

// Checks the file that a constant names, whatever its chunks are.
void check_file(const Value& value, const Weights& weights) {
    const std::string& path = value.constant->blob->path;
    const auto refuse = [&](const std::string& what) {
        throw CompileError("InvalidWeights", what, value.where);
    };
    if (const auto fault = path_fault(path); !fault.empty()) refuse(path_message(path, fault));
    const auto found = weights.find(path);
    if (found == weights.end()) return refuse(path + ": no such weight file; " + present(weights));
    const auto file = found->second;
    if (file.empty()) refuse(path + ": the file is empty");
    const bool has_version = file.size() >= 8 && read_at<uint32_t>(file, 4) == file_version;
    if (const auto kind = other_kind(file); !has_version && !kind.empty())
        refuse(path + ": not a weight file, but " + std::string(kind));
    if (file.size() < header_bytes)
        refuse(path + ": a file of " + std::to_string(file.size()) +
               " bytes has no room for its 64-byte header");
    if (!has_version)
        refuse(path + ": file version " + std::to_string(read_at<uint32_t>(file, 4)) +
               ", where 2 is expected at byte 4");
}

// Reads the chunk of one constant.
class ChunkReader {
   public:
    ChunkReader(const Value& value, std::span<const std::byte> file, bool lenient)
        : value_(value), blob_(*value.constant->blob), lenient_(lenient), file_(file) {}

    std::span<const std::byte> read();
    // Notes about what was read leniently.
    std::string note() const { return note_.empty() ? note_ : place() + note_; }

   private:
    void check_dtype(uint32_t code);
    uint64_t payload_offset(const ChunkHeader& header);

    std::string place() const { return blob_.path + " at " + std::to_string(blob_.offset) + ": "; }
    [[noreturn]] void refuse(const std::string& what) const {
        throw CompileError("InvalidWeights", place() + what, value_.where);
    }
    void add_note(const std::string& what) { note_ += (note_.empty() ? "" : "; ") + what; }

    const Value& value_;
    const BlobReference& blob_;
    const bool lenient_;
    const std::span<const std::byte> file_;
    std::string note_;
};

std::span<const std::byte> ChunkReader::read() {
    const std::string file_size = "a file of " + std::to_string(file_.size()) + " bytes";
    if (blob_.offset < header_bytes)
        refuse("the offset lies in the 64-byte file header; the first chunk header is at 64 or later");
    if (blob_.offset > file_.size() || file_.size() - blob_.offset < header_bytes)
        refuse("the 64-byte chunk header runs past the end of " + file_size);
    const auto header = read_at<ChunkHeader>(file_, blob_.offset);
    if (header.sentinel != chunk_sentinel)
        refuse("no chunk header here: " + hex(header.sentinel) + " where " + hex(chunk_sentinel) +
               " is expected");
    check_dtype(header.dtype_code);
    const uint64_t start = payload_offset(header);
    const auto bytes = static_cast<uint64_t>(value_.type.bytes());
    if (start > file_.size() || file_.size() - start < bytes)
        refuse("the payload of " + std::to_string(bytes) + " bytes at " + std::to_string(start) +
               " runs past the end of " + file_size);
    return file_.subspan(start, bytes);
}

void ChunkReader::check_dtype(uint32_t code) {
    const std::string name(dtype_name(value_.type.dtype));
    const auto expected = dtype_code(value_.type.dtype);
    if (!expected) refuse("weight files cannot hold " + name);
    if (code == *expected) return;
    // The published int8 benchmarks leave the fp16 writer's 1 here, or nothing.
    const bool is_unset = code == 0 || (code == 1 && value_.type.dtype == DType::int8);
    if (!lenient_ || !is_unset)
        refuse("dtype code " + std::to_string(code) + ", but " + name + " is declared, whose code is " +
               std::to_string(*expected));
    add_note("dtype code " + std::to_string(code) + " ignored, read as " + name);
}

uint64_t ChunkReader::payload_offset(const ChunkHeader& header) {
    const auto bytes = static_cast<uint64_t>(value_.type.bytes());
    const uint64_t header_end = blob_.offset + header_bytes;
    if (lenient_ && header.payload_offset == 0) {
        const bool wrong_size = header.payload_bytes != bytes;
        add_note((wrong_size ? "size field " + std::to_string(header.payload_bytes) : "payload offset 0") +
                 " ignored, read " + std::to_string(bytes) + " bytes that follow the chunk header");
        return header_end;
    }
    const std::string hint =
        header.payload_offset == 0 ? "; lenient_weights reads headers whose payload offset is unset" : "";
    if (header.payload_bytes != bytes)
        refuse("size field " + std::to_string(header.payload_bytes) + ", but " + to_string(value_.type) +
               " takes " + std::to_string(bytes) + " bytes" + hint);
    if (header.payload_offset < header_end)
        refuse("payload offset " + std::to_string(header.payload_offset) + ", but the chunk header ends at " +
               std::to_string(header_end) + hint);
    return header.payload_offset;
}

}  // namespace

void read_weights(Module& module, const Weights& weights, bool lenient, std::vector<std::string>& notes,
                  Refusals& refusals) {
    std::map<std::string, std::optional<std::span<const std::byte>>> files;  // nothing if it is refused
    const auto open = [&](const Value& value) {
        const auto [known, is_new] = files.try_emplace(value.constant->blob->path);
        if (is_new && refusals.attempt("const", [&] { check_file(value, weights); }))
            known->second = weights.find(value.constant->blob->path)->second;
        return known->second;
    };
    for (Function& function : module.functions) {
        for (Value& value : function.values) {
            if (!value.constant || !value.constant->blob) continue;
            const auto file = open(value);
            if (!file) continue;
            refusals.attempt("const", [&] {
                ChunkReader chunk(value, *file, lenient);
                auto constant = std::make_shared<Constant>(*value.constant);
                constant->data = chunk.read();
                if (std::string note = chunk.note(); !note.empty()) notes.push_back(std::move(note));
                value.constant = std::move(constant);
            });
        }
    }
}

void read_weights(Module& module, const Weights& weights, bool lenient, std::vector<std::string>& notes) {
    Refusals refusals(Refusals::Mode::throw_first);
    read_weights(module, weights, lenient, notes, refusals);
}

void check_weight_path(const std::string& path) {
    if (const auto fault = path_fault(path); !fault.empty()) throw ArgumentError(path_message(path, fault));
}

}  // namespace ane::mil
