// MIL text as tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "errors.h"

namespace ane::mil {

enum class TokenKind : uint8_t {
    identifier,
    string,
    integer,
    hex_word,
    decimal,
    hex_float,
    punctuation,
    end
};

struct Token {
    TokenKind kind = TokenKind::end;
    std::string_view text;  // as written, a string with its quotes: so the text alone tells "func" from func
    Location where;
};

// Throws CompileError("InvalidMILProgram").
[[noreturn]] void refuse(Location where, const std::string& what);
// Refuses `found` where the grammar wants `expected`.
[[noreturn]] void refuse_token(const Token& found, const std::string& expected);
// `text` in single quotes for a message: shortened, and printable ASCII whatever it holds.
std::string quote(std::string_view text);
// The value of a string token.
std::string unescape(const Token& string);

inline bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Reads tokens one ahead. Every error is a CompileError with its place.
class Lexer {
   public:
    explicit Lexer(std::string_view text);

    const Token& peek() const { return token_; }
    bool at(std::string_view text) const { return token_.text == text; }
    // Returns the token ahead and moves on.
    Token take();
    // Moves past `text` if it is ahead.
    bool accept(std::string_view text);
    // Moves past `text`, or refuses what is there: "expected ')' to close the inputs of 'main', found ';'".
    void expect(std::string_view text, const char* purpose, std::string_view of = {});
    Token identifier(const char* what);
    // Bytes not yet read.
    size_t remaining() const { return text_.size() - at_; }

   private:
    Token read();
    Token number();
    Token string();
    Token identifier();
    void skip_space();
    [[noreturn]] void refuse_character() const;
    char ahead(size_t distance) const { return remaining() > distance ? text_[at_ + distance] : '\0'; }
    Location here() const { return {line_, static_cast<int>(at_ - line_start_) + 1}; }
    Token advance(TokenKind kind, size_t length);

    std::string_view text_;
    size_t at_ = 0;
    size_t line_start_ = 0;
    int line_ = 1;
    Token token_;
};

}  // namespace ane::mil
