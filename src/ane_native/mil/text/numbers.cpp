#include "numbers.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace ane::mil {

namespace {

bool is_number(const Token& token) {
    return token.kind == TokenKind::integer || token.kind == TokenKind::hex_word ||
           token.kind == TokenKind::decimal || token.kind == TokenKind::hex_float;
}

uint32_t hex_value(char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }

// An IEEE binary format.
struct Format {
    int fraction_bits;
    int min_exponent;
    int max_exponent;
    const char* largest;

    // Every number of the format, and every midpoint between two, is a multiple of 2^-resolution().
    int resolution() const { return fraction_bits - min_exponent + 1; }
    uint32_t infinity() const {
        return static_cast<uint32_t>(max_exponent - min_exponent + 2) << fraction_bits;
    }
};

constexpr Format binary16{10, -14, 15, "65504"};
constexpr Format binary32{23, -126, 127, "3.4028235e38"};

// |x| = (mantissa + something below 1 if inexact) * 2^exponent
struct Magnitude {
    uint64_t mantissa = 0;
    int64_t exponent = 0;
    bool inexact = false;
};

// The bits of the nearest number of `format`, without sign; nothing if that is infinite.
// An inexact mantissa must be wider than the format's, or its unit be at most 2^-resolution.
std::optional<uint32_t> round_to(const Format& format, const Magnitude& x) {
    if (x.mantissa == 0) return 0;
    const int64_t leading = std::bit_width(x.mantissa) - 1 + x.exponent;
    if (leading > format.max_exponent) return std::nullopt;
    const int64_t binade = std::max<int64_t>(leading, format.min_exponent);
    const int64_t dropped = binade - format.fraction_bits - x.exponent;
    uint64_t kept = 0;
    if (dropped <= 0) {
        kept = x.mantissa << -dropped;
    } else if (dropped <= 64) {
        kept = dropped == 64 ? 0 : x.mantissa >> dropped;
        const uint64_t half = uint64_t{1} << (dropped - 1);
        const uint64_t rest = x.mantissa & (half | (half - 1));
        const bool above = rest > half || (rest == half && x.inexact);
        if (above || (rest == half && kept % 2 == 1)) ++kept;
    }
    // The leading bit of a normal number, and a carry out of the fraction, each add one to the exponent
    // field.
    const uint64_t bits =
        (static_cast<uint64_t>(binade - format.min_exponent) << format.fraction_bits) + kept;
    return bits < format.infinity() ? std::optional(static_cast<uint32_t>(bits)) : std::nullopt;
}

// An unsigned integer of at most 1024 bits. std::from_chars would round twice on the way to fp16, and has no
// floats in the C++ library of systems before macOS 26.
class Wide {
   public:
    bool zero() const { return size_ == 0; }

    void multiply_add(uint32_t factor, uint32_t carry) {
        for (int i = 0; i < size_; ++i) {
            const uint64_t sum = uint64_t{limbs_[i]} * factor + carry;
            limbs_[i] = static_cast<uint32_t>(sum);
            carry = static_cast<uint32_t>(sum >> 32);
        }
        if (carry != 0) limbs_[size_++] = carry;
    }

    // Returns the remainder.
    uint32_t divide(uint32_t divisor) {
        uint64_t rest = 0;
        for (int i = size_ - 1; i >= 0; --i) {
            rest = rest << 32 | limbs_[i];
            limbs_[i] = static_cast<uint32_t>(rest / divisor);
            rest %= divisor;
        }
        while (size_ > 0 && limbs_[size_ - 1] == 0) --size_;
        return static_cast<uint32_t>(rest);
    }

    // The leading two limbs, at least 33 bits where more follow.
    Magnitude leading() const {
        Magnitude x;
        const int first = std::max(size_ - 2, 0);
        for (int i = size_ - 1; i >= first; --i) x.mantissa = x.mantissa << 32 | limbs_[i];
        x.exponent = 32 * first;
        x.inexact =
            std::any_of(limbs_.begin(), limbs_.begin() + first, [](uint32_t limb) { return limb != 0; });
        return x;
    }

   private:
    std::array<uint32_t, 32> limbs_;  // those from size_ on are not set
    int size_ = 0;
};

// "e-5", "p+3" or nothing. Far outside every format, the value stops growing.
int64_t read_exponent(std::string_view text) {
    if (text.empty()) return 0;
    int64_t value = 0;
    for (char c : text.substr(1))
        if (c >= '0' && value < int64_t{1} << 40) value = value * 10 + (c - '0');
    return text[1] == '-' ? -value : value;
}

// Exact: the digits down to 10^-resolution, as one integer, are multiplied by 2^resolution and divided by
// their power of ten. No midpoint of the format has later digits, so of those it only matters whether any is
// not zero.
Magnitude read_decimal(std::string_view text, int resolution) {
    constexpr int64_t overflow_place = 40;  // 10^40 is beyond every format
    const std::string_view digits = text.substr(0, text.find_first_of("eE"));
    int64_t place = static_cast<int64_t>(std::min(digits.find('.'), digits.size())) +
                    read_exponent(text.substr(digits.size()));
    int64_t last_place = 0;
    bool inexact = false;
    Wide value;
    for (char c : digits) {
        if (c == '.') continue;
        --place;
        if (c != '0' && place >= overflow_place) return {1, 1 << 20, false};
        if (place < -resolution) {
            inexact |= c != '0';
        } else if (c != '0' || !value.zero()) {
            value.multiply_add(10, c - '0');
            last_place = place;
        }
    }
    if (value.zero()) return {0, 0, inexact};
    for (; last_place > 0; --last_place) value.multiply_add(10, 0);
    for (int bits = resolution; bits > 0; bits -= 25) value.multiply_add(1u << std::min(bits, 25), 0);
    for (; last_place <= -9; last_place += 9) inexact |= value.divide(1'000'000'000) != 0;
    for (; last_place < 0; ++last_place) inexact |= value.divide(10) != 0;
    Magnitude x = value.leading();
    x.exponent -= resolution;
    x.inexact |= inexact;
    return x;
}

Magnitude read_hex_float(std::string_view text) {
    const std::string_view digits = text.substr(2, text.find('p') - 2);
    Magnitude x;
    bool fraction = false;
    for (char c : digits) {
        if (c == '.') {
            fraction = true;
            continue;
        }
        const bool fits = x.mantissa >> 60 == 0;
        if (fits) x.mantissa = x.mantissa << 4 | hex_value(c);
        if (!fits) x.inexact |= c != '0';
        x.exponent += (fits ? 0 : 4) - (fraction ? 4 : 0);
    }
    x.exponent += read_exponent(text.substr(2 + digits.size()));
    return x;
}

bool is_special(std::string_view text) { return text == "inf" || text == "nan"; }

std::optional<uint32_t> magnitude_bits(const Token& literal, std::string_view text, const Format& format) {
    if (text == "inf") return format.infinity();
    if (text == "nan") return format.infinity() | 1u << (format.fraction_bits - 1);
    if (literal.kind == TokenKind::hex_float) return round_to(format, read_hex_float(text));
    return round_to(format, read_decimal(text, format.resolution()));
}

uint32_t float_bits(const Token& literal, const Format& format, DType dtype) {
    const bool negative = literal.text[0] == '-';
    const std::optional<uint32_t> bits =
        magnitude_bits(literal, literal.text.substr(negative ? 1 : 0), format);
    if (!bits)
        refuse(literal.where, quote(literal.text) + " is outside " + std::string(dtype_name(dtype)) +
                                  ", whose largest value is " + format.largest);
    const int sign_bit = dtype_bits(dtype) - 1;
    return *bits | (negative ? 1u << sign_bit : 0);
}

uint32_t fp16_word(const Token& literal) {
    if (literal.text.size() != 6)
        refuse(literal.where, quote(literal.text) +
                                  " is not an fp16: a bit pattern has four hexadecimal digits, "
                                  "a hexadecimal float an exponent such as p+0");
    uint32_t bits = 0;
    for (char c : literal.text.substr(2)) bits = bits << 4 | hex_value(c);
    return bits;
}

uint64_t integer_bits(const Token& literal, DType dtype) {
    const int width = dtype_bits(dtype);
    const bool is_signed = is_signed_integer(dtype);
    const uint64_t all_ones = std::numeric_limits<uint64_t>::max() >> (64 - width);
    const uint64_t largest = is_signed ? all_ones >> 1 : all_ones;
    const uint64_t most_negative = is_signed ? largest + 1 : 0;  // as a magnitude

    const bool negative = literal.text[0] == '-';
    const uint32_t base = literal.kind == TokenKind::hex_word ? 16 : 10;
    const uint64_t limit = negative ? most_negative : largest;
    uint64_t magnitude = 0;
    for (char c : literal.text.substr(base == 16 ? 2 : negative ? 1 : 0)) {
        if (__builtin_mul_overflow(magnitude, base, &magnitude) ||
            __builtin_add_overflow(magnitude, hex_value(c), &magnitude) || magnitude > limit)
            refuse(literal.where, quote(literal.text) + " is outside " + std::string(dtype_name(dtype)) +
                                      ", which holds " + (is_signed ? "-" : "") +
                                      std::to_string(most_negative) + " to " + std::to_string(largest));
    }
    return (negative ? -magnitude : magnitude) & all_ones;
}

[[noreturn]] void refuse_literal(const Token& found, DType dtype) {
    const std::string name(dtype_name(dtype));
    if (dtype == DType::boolean) refuse_token(found, "true or false");
    if (dtype == DType::fp16 || dtype == DType::fp32) refuse_token(found, "an " + name + " number");
    refuse_token(found, "an integer for " + name);
}

}  // namespace

uint64_t element_bits(const Token& literal, DType dtype) {
    if (dtype == DType::boolean) {
        if (literal.text == "true") return 1;
        if (literal.text == "false") return 0;
        refuse_literal(literal, dtype);
    }
    const bool is_float = dtype == DType::fp16 || dtype == DType::fp32;
    if (!is_number(literal) && !(is_float && is_special(literal.text))) refuse_literal(literal, dtype);
    if (dtype == DType::fp16)
        return literal.kind == TokenKind::hex_word ? fp16_word(literal)
                                                   : float_bits(literal, binary16, dtype);
    if (dtype == DType::fp32) {
        if (literal.kind == TokenKind::hex_word)
            refuse(literal.where, "bit patterns are for fp16 only: write " + quote(literal.text) +
                                      " as a decimal or as a hexadecimal float such as 0x1.8p-3");
        return float_bits(literal, binary32, dtype);
    }
    if (literal.kind != TokenKind::integer && literal.kind != TokenKind::hex_word)
        refuse_literal(literal, dtype);
    return integer_bits(literal, dtype);
}

PackedElements::PackedElements(DType dtype, int64_t expected) : dtype_(dtype) {
    data_.reserve(static_cast<size_t>(TensorType{dtype, {expected}}.bytes()));
}

void PackedElements::append(const Token& literal) {
    const uint64_t bits = element_bits(literal, dtype_);
    const int width = dtype_bits(dtype_);
    for (int i = 0; i < width / 8; ++i) data_.push_back(static_cast<std::byte>(bits >> 8 * i));
    if (width < 8) {  // an element of 3 or 6 bits may lie in two bytes
        const int offset = static_cast<int>(count_ * width % 8);
        if (offset == 0) data_.push_back({});
        data_.back() |= static_cast<std::byte>(bits << offset);
        if (offset + width > 8) data_.push_back(static_cast<std::byte>(bits >> (8 - offset)));
    }
    ++count_;
}

std::shared_ptr<const Constant> PackedElements::take_constant() {
    const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(data_));
    auto constant = std::make_shared<Constant>();
    constant->owner = owner;
    constant->data = *owner;
    return constant;
}

}  // namespace ane::mil
