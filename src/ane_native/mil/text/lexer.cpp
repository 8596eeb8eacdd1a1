#include "lexer.h"

#include <algorithm>

namespace ane::mil {

namespace {

constexpr size_t max_text = size_t{256} << 20;
constexpr size_t max_identifier = 1024;
constexpr size_t max_string = 64 << 10;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex_digit(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_word(char c) { return is_letter(c) || is_digit(c); }

std::string hex_byte(char c) {
    constexpr char digits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    return {digits[byte >> 4], digits[byte & 15]};
}

// Bytes of the UTF-8 sequence that begins `text`; 0 if there is none.
size_t utf8_length(std::string_view text) {
    const auto byte = [&](size_t i) -> uint32_t {
        return i < text.size() ? static_cast<uint8_t>(text[i]) : 0;
    };
    const uint32_t lead = byte(0);
    const size_t length = lead < 0x80       ? 1
                          : lead >> 5 == 6  ? 2
                          : lead >> 4 == 14 ? 3
                          : lead >> 3 == 30 ? 4
                                            : 0;
    if (length < 2) return length;
    uint32_t code = lead & (0x7f >> length);
    for (size_t i = 1; i < length; ++i) {
        if (byte(i) >> 6 != 2) return 0;
        code = code << 6 | (byte(i) & 0x3f);
    }
    constexpr uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool surrogate = code >> 11 == 0x1b;
    return code < smallest[length] || code > 0x10ffff || surrogate ? 0 : length;
}

// Finds the number that begins `text` and its kind; TokenKind::end if none is well formed.
TokenKind scan_number(std::string_view text, size_t& length) {
    size_t at = text[0] == '-' ? 1 : 0;
    const auto ahead = [&] { return at < text.size() ? text[at] : '\0'; };
    const auto digits = [&](bool (*is)(char)) {
        const size_t start = at;
        while (is(ahead())) ++at;
        return at > start;
    };
    const auto exponent = [&] {
        ++at;
        if (ahead() == '+' || ahead() == '-') ++at;
        return digits(is_digit);
    };

    const bool hex = text.substr(at, 2) == "0x";
    if (hex) at += 2;
    const auto is = hex ? is_hex_digit : is_digit;
    TokenKind kind = hex ? TokenKind::hex_word : TokenKind::integer;
    bool well_formed = digits(is);
    if (ahead() == '.') {
        ++at;
        well_formed = well_formed && digits(is);
        kind = TokenKind::decimal;
    }
    if (hex ? ahead() == 'p' : ahead() == 'e' || ahead() == 'E') {
        well_formed = well_formed && exponent();
        kind = hex ? TokenKind::hex_float : TokenKind::decimal;
    }
    // A hexadecimal float needs its exponent, and a bit pattern has no sign.
    if (hex && (kind == TokenKind::decimal || (kind == TokenKind::hex_word && text[0] == '-')))
        well_formed = false;
    if (is_word(ahead()) || ahead() == '.') well_formed = false;
    length = at;
    return well_formed ? kind : TokenKind::end;
}

}  // namespace

void refuse(Location where, const std::string& what) { throw CompileError("InvalidMILProgram", what, where); }

void refuse_token(const Token& found, const std::string& expected) {
    if (found.kind == TokenKind::end) refuse(found.where, "unexpected end of text: expected " + expected);
    refuse(found.where, "expected " + expected + ", found " + quote(found.text));
}

std::string quote(std::string_view text) {
    constexpr size_t longest = 48;
    std::string quoted = "'";
    for (char c : text.substr(0, longest))
        quoted += c >= 0x20 && c < 0x7f ? std::string(1, c) : "\\x" + hex_byte(c);
    return quoted + (text.size() > longest ? "...'" : "'");
}

std::string unescape(const Token& string) {
    const std::string_view text = string.text.substr(1, string.text.size() - 2);
    std::string value;
    value.reserve(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
        char c = text[i];
        if (c == '\\') {
            c = text[++i];
            if (c == 'n') c = '\n';
            if (c == 't') c = '\t';
        }
        value += c;
    }
    return value;
}

Lexer::Lexer(std::string_view text) : text_(text) {
    if (text.size() > max_text)
        refuse({}, "a text of " + std::to_string(text.size()) +
                       " bytes, where at most 256 MiB are read: large constants belong in a weight file");
    if (text.starts_with("\xEF\xBB\xBF"))
        refuse({1, 1}, "a byte order mark: write the text as UTF-8 without one");
}

const Token& Lexer::peek() {
    if (!token_) {
        skip_space();
        ahead_ = now_;
        token_ = read();
    }
    return *token_;
}

Token Lexer::take() {
    const Token taken = peek();
    token_.reset();
    return taken;
}

bool Lexer::accept(std::string_view text) {
    if (!at(text)) return false;
    token_.reset();
    return true;
}

bool Lexer::begins_call() {
    if (peek().kind != TokenKind::identifier) return false;
    const size_t next = text_.find_first_not_of(" \t\r\n", now_.at);
    return next != std::string_view::npos && text_[next] == '(';
}

bool Lexer::begins_line() {
    peek();
    const std::string_view before = text_.substr(ahead_.line_start, ahead_.at - ahead_.line_start);
    return before.find_first_not_of(" \t\r") == std::string_view::npos;
}

void Lexer::skip_group() {
    int depth = 0;
    do {
        const Token token = take();
        if (token.kind == TokenKind::end) refuse_token(token, "a closing bracket");
        if (token.kind != TokenKind::punctuation) continue;
        if (std::string_view("([{").find(token.text) != std::string_view::npos) ++depth;
        if (std::string_view(")]}").find(token.text) != std::string_view::npos) --depth;
    } while (depth > 0);
}

bool Lexer::seek(const Mark& from, const std::function<bool(std::string_view)>& is_wanted) {
    token_.reset();
    now_ = from;
    for (;;) {
        skip_space();
        if (remaining() == 0) return false;
        size_t length = is_letter(ahead(0)) ? word_length() : 1;
        if (ahead(0) == '"') {  // up to the end of the line if it is not closed
            while (ahead(length) != '"' && ahead(length) != '\n' && length < remaining())
                length += ahead(length) == '\\' && ahead(length + 1) != '\n' ? 2 : 1;
            length = std::min(length + (ahead(length) == '"'), remaining());
        }
        if (is_wanted(text_.substr(now_.at, length))) return true;
        now_.at += length;
    }
}

void Lexer::expect(std::string_view text, const char* purpose, std::string_view of) {
    if (accept(text)) return;
    std::string expected = quote(text) + " " + purpose;
    if (!of.empty()) expected.append(" ").append(quote(of));
    refuse_token(peek(), expected);
}

Token Lexer::identifier(const char* what) {
    if (peek().kind != TokenKind::identifier) refuse_token(peek(), what);
    return take();
}

Token Lexer::read() {
    if (remaining() == 0) return advance(TokenKind::end, 0);
    const char c = ahead(0);
    if (is_letter(c)) return identifier();
    if (is_digit(c) || (c == '-' && is_digit(ahead(1)))) return number();
    for (const std::string_view word : {"-inf", "-nan"})
        if (text_.substr(now_.at, 4) == word && !is_word(ahead(4))) return advance(TokenKind::decimal, 4);
    if (c == '"') return string();
    if (c == '-' && ahead(1) == '>') return advance(TokenKind::punctuation, 2);
    if (c != '\0' && std::string_view("()[]{}<>,;=?").find(c) != std::string_view::npos)
        return advance(TokenKind::punctuation, 1);
    refuse_character();
}

Token Lexer::advance(TokenKind kind, size_t length) {
    const Token token{kind, text_.substr(now_.at, length), here()};
    now_.at += length;
    return token;
}

void Lexer::skip_space() {
    while (remaining() > 0) {
        const char c = ahead(0);
        if (c == '\n')
            advance_line();
        else if (c == ' ' || c == '\t' || c == '\r')
            ++now_.at;
        else
            return;
    }
}

size_t Lexer::word_length() const {
    size_t length = 1;
    while (is_word(ahead(length))) ++length;
    return length;
}

Token Lexer::identifier() {
    const size_t length = word_length();
    if (length > max_identifier)
        refuse(here(), "a name of " + std::to_string(length) + " characters; at most 1024");
    return advance(TokenKind::identifier, length);
}

Token Lexer::number() {
    size_t length = 0;
    const TokenKind kind = scan_number(text_.substr(now_.at), length);
    if (kind != TokenKind::end) return advance(kind, length);
    while (is_word(ahead(length)) || ahead(length) == '.') ++length;
    refuse(here(), "malformed number " + quote(text_.substr(now_.at, length)) +
                       ": write 1, -1.5, 1e-5, a hexadecimal float 0x1.8p-3, or an fp16 bit pattern 0x3c00");
}

Token Lexer::string() {
    const size_t start = now_.at;
    const Location where = here();
    for (++now_.at; ahead(0) != '"';) {
        const char c = ahead(0);
        if (remaining() == 0) refuse(where, "unexpected end of text: this string has no closing '\"'");
        if (now_.at - start > max_string) refuse(where, "a string of more than 64 KiB");
        if (is_control(c))
            refuse(here(),
                   "control character 0x" + hex_byte(c) + " in a string: " +
                       (c == '\n' || c == '\r' ? "close the string on its line" : "write \\n or \\t"));
        if (c == '\\') {
            const char escaped = ahead(1);
            if (escaped != '"' && escaped != '\\' && escaped != 'n' && escaped != 't')
                refuse(here(), "unknown escape in a string: only \\\", \\\\, \\n and \\t are known");
            now_.at += 2;
        } else {
            const size_t length = utf8_length(text_.substr(now_.at, 4));
            if (length == 0) refuse(here(), "byte 0x" + hex_byte(c) + " in a string is not valid UTF-8");
            now_.at += length;
        }
    }
    ++now_.at;
    return {TokenKind::string, text_.substr(start, now_.at - start), where};
}

void Lexer::refuse_character() const {
    const char c = ahead(0);
    if (c == '/' || c == '#')
        refuse(here(), "unexpected character " + quote({&c, 1}) + ": MIL text has no comments");
    if (c == '\'') refuse(here(), "unexpected character: strings are written in double quotes");
    if (c > 0x20 && c < 0x7f) refuse(here(), "unexpected character " + quote({&c, 1}));
    refuse(here(), "unexpected byte 0x" + hex_byte(c) + " outside a string");
}

}  // namespace ane::mil
