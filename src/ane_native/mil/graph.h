// A MIL program as data: what the parser produces, the checker types and the emulator compiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "refusals.h"
#include "tensor_type.h"

namespace ane::mil {

// Bytes of the text.
struct TextRange {
    size_t begin = 0, end = 0;
};

// The place of a weight: BLOBFILE(path = string("..."), offset = uint64(n)), where n is its chunk header.
struct BlobReference {
    std::string path;
    uint64_t offset = 0;
    TextRange path_place, offset_place;  // of the two literals
};

// A constant tensor, row-major and little-endian. Until its weight file is read, a blob has no data.
struct Constant {
    std::shared_ptr<const void> owner;  // keeps `data` alive where the constant owns it
    std::span<const std::byte> data;    // bool: a byte each; fewer bits: packed, the lowest bits first
    std::string text;                   // the value of a string
    std::optional<BlobReference> blob;
};

using ValueId = int32_t;

struct Value {
    std::string name = {};  // empty for a literal written as an argument
    TensorType type = {};
    Location where = {};
    std::shared_ptr<const Constant> constant = {};  // null for a computed value
    std::string_view container = {};  // "state", "list", "tuple" or "dict", and no tensor; usually empty
    bool is_unknown = false;          // its definition was refused, so nothing is said about it

    bool is_flexible() const { return std::ranges::find(type.shape, flexible) != type.shape.end(); }
};

struct Argument {
    std::string name;
    std::vector<ValueId> values;  // one, or the elements of a tuple
    bool is_tuple = false;
    Location where;
};

// `const` is not an operation: it makes a Value with a constant.
struct Operation {
    std::string op;
    std::vector<Argument> arguments;  // in the order of the text
    std::vector<ValueId> results;
    Location where;           // of the op's name
    bool has_blocks = false;  // the bodies of control flow, which are skipped
};

struct Function {
    std::string name;
    std::string opset;
    std::vector<Value> values;  // indexed by ValueId, in order of definition
    std::vector<ValueId> inputs;
    std::vector<Operation> operations;
    std::vector<ValueId> outputs;
    std::vector<Location> output_places;
};

struct Module {
    std::string version;
    std::optional<std::vector<std::pair<std::string, std::string>>> build_info;
    std::vector<Function> functions;
};

// Parses text: syntax, names and literals. Types are as declared, not yet checked. Where `refusals` lists, a
// refused statement is left out, and the names that it defines are unknown values.
Module parse(std::string_view text, Refusals& refusals);
// Throws CompileError.
Module parse(std::string_view text);

}  // namespace ane::mil
