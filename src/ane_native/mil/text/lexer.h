// MIL text as tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "errors.h"
#include "mil/graph.h"

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

// Reads tokens one ahead, and only when asked for. Every error is a CompileError with its place.
class Lexer {
   public:
    // A place to go back to.
    struct Mark {
        size_t at = 0, line_start = 0;
        int line = 1;
    };

    explicit Lexer(std::string_view text);

    const Token& peek();
    bool at(std::string_view text) { return peek().text == text; }
    // Returns the token ahead and moves on.
    Token take();
    // Moves past `text` if it is ahead.
    bool accept(std::string_view text);
    // Moves past `text`, or refuses what is there: "expected ')' to close the inputs of 'main', found ';'".
    void expect(std::string_view text, const char* purpose, std::string_view of = {});
    Token identifier(const char* what);
    // True if a name and "(" are ahead.
    bool begins_call();
    // True if the token ahead is the first one of its line.
    bool begins_line();
    // Moves past brackets, and what is inside, if an opening one is ahead; otherwise past one token.
    void skip_group();
    // The bytes that a token of this text takes.
    TextRange place_of(const Token& token) const {
        const auto begin = static_cast<size_t>(token.text.data() - text_.data());
        return {begin, begin + token.text.size()};
    }
    // Bytes not yet read.
    size_t remaining() const { return text_.size() - now_.at; }

    // The place of the token ahead.
    Mark mark() const { return token_ ? ahead_ : now_; }
    // Goes back to `from`, then on to the first word, string or character that `is_wanted`, whatever errors
    // lie between. Returns false if that is the end of the text.
    bool seek(const Mark& from, const std::function<bool(std::string_view)>& is_wanted);

   private:
    Token read();
    Token number();
    Token string();
    Token identifier();
    void skip_space();
    void advance_line() { now_ = {now_.at + 1, now_.at + 1, now_.line + 1}; }
    size_t word_length() const;
    [[noreturn]] void refuse_character() const;
    char ahead(size_t distance) const { return remaining() > distance ? text_[now_.at + distance] : '\0'; }
    Location here() const { return {now_.line, static_cast<int>(now_.at - now_.line_start) + 1}; }
    Token advance(TokenKind kind, size_t length);

    std::string_view text_;
    Mark now_;                    // behind the token ahead if it has been read
    std::optional<Token> token_;  // the token ahead
    Mark ahead_;                  // its place
};

}  // namespace ane::mil
