// The grammar of types and typed literals.
#pragma once

#include <memory>

#include "lexer.h"
#include "mil/graph.h"
#include "tensor_type.h"

namespace ane::mil {

// "fp16(0x1p-3)", "tensor<int32, [2]>([1, 1])", "tensor<fp16, [8, 8, 1, 1]>(BLOBFILE(...))".
struct Literal {
    TensorType type;
    Location where;
    std::shared_ptr<const Constant> constant;
};

// "tensor<fp16, [1, 8]>" or "fp16"; or "state<...>", "list<...>", "tuple<...>" or "dict<...>", whose contents
// are skipped: the engine computes on none of them.
struct DeclaredType {
    TensorType type;
    std::string_view container;  // "state", "list", "tuple", "dict", or nothing
};

DeclaredType read_declared_type(Lexer& text);
// Takes a tensor type alone.
TensorType read_type(Lexer& text);
Literal read_literal(Lexer& text);
// The literal whose first word, `head`, has been taken.
Literal read_literal(Lexer& text, const Token& head);
// True if the word before is the head of a typed literal, and not a name.
inline bool at_literal(Lexer& text) { return text.at("(") || text.at("<"); }

// Refuses a literal without a type and says how to write it, or any other token where a value should be.
[[noreturn]] void refuse_bare_literal(const Token& found);
inline bool is_truth(const Token& token) { return token.text == "true" || token.text == "false"; }

}  // namespace ane::mil
