#include "literals.h"

#include <algorithm>
#include <string>

#include "numbers.h"

namespace ane::mil {

namespace {

constexpr size_t max_literal_rank = 7;  // of a lookup table; what is computed has 5 at most
constexpr uint64_t max_dim = (uint64_t{1} << 31) - 1;
constexpr int64_t max_tensor_bytes = int64_t{1} << 40;
// Element types of MIL that no operation of the engine takes.
constexpr std::string_view foreign_dtypes[] = {"bf16", "fp64", "fp8e4m3fn", "fp8e5m2", "int64"};
constexpr std::string_view containers[] = {"state", "list", "tuple", "dict"};

DType element_type(const Token& name) {
    if (const auto dtype = dtype_from_name(name.text)) return *dtype;
    if (std::ranges::find(foreign_dtypes, name.text) != std::end(foreign_dtypes))
        throw CompileError("CompilationFailure",
                           "the engine has no " + std::string(name.text) + ": convert to fp16 or int32",
                           name.where);
    refuse(name.where,
           "unknown type " + quote(name.text) +
               ": the types are tensor<TYPE, [...]>, fp16, fp32, int8, uint8, int16, uint16, int32, "
               "uint32, uint64, int4, uint6, uint4, uint3, uint2, uint1, bool and string");
}

int64_t read_dim(Lexer& text) {
    if (text.accept("?")) return flexible;
    const Token token = text.take();
    if (token.kind != TokenKind::integer) refuse_token(token, "a dimension, an integer from 1 or ?");
    const uint64_t dim = token.text[0] == '-' ? 0 : element_bits(token, DType::uint64);
    if (dim < 1 || dim > max_dim)
        refuse(token.where, "dimension " + quote(token.text) + " is not in 1 to " + std::to_string(max_dim));
    return static_cast<int64_t>(dim);
}

TensorType read_type(Lexer& text, const Token& head) {
    if (head.text != "tensor") return {element_type(head), {}};
    TensorType type;
    text.expect("<", "after 'tensor'");
    type.dtype = element_type(text.identifier("an element type"));
    text.expect(",", "after the element type");
    text.expect("[", "to open the shape");
    if (!text.at("]")) {
        do {
            if (type.shape.size() == max_literal_rank) refuse(text.peek().where, "a rank above 7");
            type.shape.push_back(read_dim(text));
        } while (text.accept(","));
    }
    text.expect("]", "to close the shape");
    text.expect(">", "to close the tensor type");
    if (std::ranges::find(type.shape, flexible) == type.shape.end() && type.bytes() > max_tensor_bytes)
        refuse(head.where, to_string(type) + " is larger than 2^40 bytes");
    return type;
}

// Reads the elements of `type` from `axis` on, a list for each axis.
void read_elements(Lexer& text, const TensorType& type, size_t axis, PackedElements& data) {
    if (axis == type.shape.size()) return data.append(text.take());
    const int64_t count = type.shape[axis];
    const auto refuse_length = [&](const std::string& expected) {
        refuse_token(text.peek(),
                     expected + " along axis " + std::to_string(axis) + " of " + to_string(type));
    };
    if (!text.accept("[")) refuse_length("'[' to open the " + std::to_string(count) + " elements");
    for (int64_t i = 0; i < count; ++i) {
        if (i > 0 && !text.accept(","))
            refuse_length("',' after " + std::to_string(i) + " of " + std::to_string(count) + " elements");
        read_elements(text, type, axis + 1, data);
    }
    if (!text.accept("]")) refuse_length("']' after " + std::to_string(count) + " elements");
}

// The value of a typed scalar, one of the parts of a BLOBFILE.
Token read_part(Lexer& text, const char* of, DType dtype) {
    const Location where = text.peek().where;
    if (read_type(text) != TensorType{dtype, {}})
        refuse(where, std::string(of) + " must be a " + std::string(dtype_name(dtype)));
    text.expect("(", "to open a part of a BLOBFILE");
    const Token value = text.take();
    text.expect(")", "to close a part of a BLOBFILE");
    return value;
}

BlobReference read_blob_reference(Lexer& text) {
    text.expect("(", "after 'BLOBFILE'");
    text.expect("path", "as the first part of a BLOBFILE");
    text.expect("=", "after 'path'");
    const Token path = read_part(text, "the path of a BLOBFILE", DType::string);
    if (path.kind != TokenKind::string) refuse_token(path, "a path in double quotes");
    text.expect(",", "after the path of a BLOBFILE");
    text.expect("offset", "as the second part of a BLOBFILE");
    text.expect("=", "after 'offset'");
    const Token offset = read_part(text, "the offset of a BLOBFILE", DType::uint64);
    text.expect(")", "to close a BLOBFILE");
    return {unescape(path), element_bits(offset, DType::uint64), text.place_of(path), text.place_of(offset)};
}

std::shared_ptr<const Constant> read_value(Lexer& text, const TensorType& type) {
    Constant constant;
    if (text.at("BLOBFILE")) {
        const Token word = text.take();
        if (type.dtype == DType::string) refuse(word.where, "a string cannot come from a weight file");
        constant.blob = read_blob_reference(text);
    } else if (type.dtype == DType::string && type.rank() > 0) {  // labels, which no operation here takes
        if (!text.at("[")) refuse_token(text.peek(), "'[' to open the strings");
        text.skip_group();
    } else if (type.dtype == DType::string) {
        const Token string = text.take();
        if (string.kind != TokenKind::string) refuse_token(string, "a string in double quotes");
        constant.text = unescape(string);
    } else {
        // An element takes two characters or more: a declared size asks for no memory that the text cannot
        // fill.
        const auto in_text = static_cast<int64_t>(text.remaining() / 2) + 1;
        PackedElements data(type.dtype, std::min(type.elements(), in_text));
        read_elements(text, type, 0, data);
        return data.take_constant();
    }
    return std::make_shared<const Constant>(std::move(constant));
}

}  // namespace

DeclaredType read_declared_type(Lexer& text) {
    const Token head = text.identifier("a type");
    const auto container = std::ranges::find(containers, head.text);
    if (container == std::end(containers)) return {read_type(text, head), {}};
    if (!text.at("<")) refuse_token(text.peek(), "'<' after " + quote(head.text));
    int depth = 0;
    do {
        const Token token = text.take();
        if (token.kind == TokenKind::end || token.text == ";") refuse_token(token, "'>' to close a type");
        depth += token.text == "<" ? 1 : token.text == ">" ? -1 : 0;
    } while (depth > 0);
    return {{}, *container};
}

TensorType read_type(Lexer& text) { return read_type(text, text.identifier("a type")); }

Literal read_literal(Lexer& text) {
    if (text.peek().kind != TokenKind::identifier) refuse_bare_literal(text.peek());
    const Token head = text.take();
    if (at_literal(text)) return read_literal(text, head);
    if (is_truth(head)) refuse_bare_literal(head);
    refuse_token(head, "a typed literal such as int32(1)");
}

Literal read_literal(Lexer& text, const Token& head) {
    Literal literal{read_type(text, head), head.where, nullptr};
    if (std::ranges::find(literal.type.shape, flexible) != literal.type.shape.end())
        refuse(head.where, "the shape of a literal has no '?', but this is " + to_string(literal.type));
    text.expect("(", "to open the value of a literal");
    literal.constant = read_value(text, literal.type);
    text.expect(")", "to close the value of a literal");
    return literal;
}

void refuse_bare_literal(const Token& found) {
    const std::string text(found.text.substr(0, 40));
    std::string typed;
    switch (found.kind) {
        case TokenKind::integer: typed = "int32(" + text + ")"; break;
        case TokenKind::decimal:
        case TokenKind::hex_float:
        case TokenKind::hex_word: typed = "fp16(" + text + ")"; break;
        case TokenKind::string: typed = "string(\"...\")"; break;
        case TokenKind::identifier: typed = "bool(" + text + ")"; break;
        case TokenKind::punctuation:
        case TokenKind::end:
            if (found.text != "[") refuse_token(found, "a name or a typed literal");
            typed = "tensor<int32, [2]>([0, 1])";
    }
    refuse(found.where, "literal " + quote(found.text) + " has no type: write it as in " + typed);
}

}  // namespace ane::mil
