// The kernels of the SIMD level being compiled: loops that load a vector, compute, and store it, so that the
// result may replace an operand.
#include "half.h"
#include "level.h"
#include "reductions.h"
#include "vector.h"
#include "vector_functions.h"
#include "vector_math.h"

namespace ane::cpu::ANEPERF_SIMD_LEVEL {
namespace {

void to_float(const half* x, float* y, size_t n) {
    map<Halves>(x, y, n, [](Halves v) { return widen(v); });
}

void decode(const half* x, float* y, size_t n) {
    map<Halves>(x, y, n, [](Halves v) { return decode(v); });
}

void to_half(const float* x, half* y, size_t n, Rounding rounding) {
    if (rounding.overflow == Rounding{}.overflow)
        with_numbers(rounding.numbers, [=](auto, auto round) { map<Floats>(x, y, n, round); });
    else
        map<Floats>(x, y, n, [=](Floats v) { return narrow(v, rounding); });
}

// Calls apply(function), `function` being the operation on a vector.
template <class Apply>
inline void unary_with(Unary op, Parameters p, Apply apply) {
    const float alpha = p.alpha, beta = p.beta;
    switch (op) {
        case Unary::abs: return apply([](Floats v) { return abs(v); });
        case Unary::atan: return apply([](Floats v) { return atan(v); });
        case Unary::ceil: return apply([](Floats v) { return ceil(v); });
        case Unary::clamped_relu:
            return apply([=](Floats v) { return minimum(splat(beta), v < 0.0f ? alpha * v : v); });
        case Unary::clip:
            return apply([=](Floats v) { return minimum(maximum(v, splat(alpha)), splat(beta)); });
        case Unary::cos: return apply([](Floats v) { return sine(v, 1); });
        case Unary::elu: return apply([=](Floats v) { return v < 0.0f ? alpha * exp_minus_1(v) : v; });
        case Unary::erf: return apply([](Floats v) { return erf(v); });
        case Unary::exp: return apply([](Floats v) { return exp(v); });
        case Unary::exp2: return apply([](Floats v) { return exp2(clamp(v, -200.0f, 200.0f), Floats{}); });
        case Unary::floor: return apply([](Floats v) { return floor(v); });
        case Unary::gelu_exact: return apply([](Floats v) { return gelu_exact(v); });
        case Unary::gelu_sigmoid: return apply([](Floats v) { return gelu_sigmoid(v); });
        case Unary::gelu_tanh: return apply([](Floats v) { return gelu_tanh(v); });
        case Unary::inverse: return apply([=](Floats v) { return 1.0f / (v + alpha); });
        case Unary::leaky_relu: return apply([=](Floats v) { return v < 0.0f ? alpha * v : v; });
        case Unary::linear_activation: return apply([=](Floats v) { return alpha * v + beta; });
        case Unary::log: return apply([=](Floats v) { return log(v + alpha); });
        case Unary::relu: return apply([](Floats v) { return maximum(v, Floats{}); });
        case Unary::round: return apply([](Floats v) { return round_half_even(v); });
        case Unary::rsqrt: return apply([=](Floats v) { return 1.0f / sqrt(v + alpha); });
        case Unary::scaled_tanh: return apply([=](Floats v) { return alpha * tanh(beta * v); });
        case Unary::sigmoid: return apply([](Floats v) { return sigmoid(v); });
        case Unary::sigmoid_hard: return apply([=](Floats v) { return clamp(alpha * v + beta, 0.0f, 1.0f); });
        case Unary::sign: return apply([](Floats v) { return sign(v); });
        case Unary::silu: return apply([](Floats v) { return silu(v); });
        case Unary::sin: return apply([](Floats v) { return sine(v, 0); });
        case Unary::softplus: return apply([](Floats v) { return softplus(v); });
        case Unary::softsign: return apply([](Floats v) { return softsign(v); });
        case Unary::sqrt: return apply([](Floats v) { return sqrt(v); });
        case Unary::square: return apply([](Floats v) { return v * v; });
        case Unary::tanh: return apply([](Floats v) { return tanh(v); });
        case Unary::threshold: return apply([=](Floats v) { return maximum(v, splat(alpha)); });
        case Unary::thresholded_relu: return apply([=](Floats v) { return v < alpha ? Floats{} : v; });
    }
}

void unary(Unary op, const float* x, Parameters p, float* y, size_t n) {
    unary_with(op, p, [=](auto function) { map<Floats>(x, y, n, function); });
}

void unary_halves(Unary op, const half* x, Parameters p, half* y, size_t n) {
    unary_with(op, p, [=](auto function) {
        map<Halves>(x, y, n, [=](Halves v) { return narrow_any(function(widen(v))); });
    });
}

void look_up(const half* table, const half* x, half* y, size_t n) {
    for (size_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

// Loads vectors of an operand. If one element stands for all, every vector repeats it.
template <class Vector, class T>
class Operand {
   public:
    explicit Operand(Elements<T> x) : x_(x.data), step_(x.step) {
        if (step_ != 0) return;
        for (T& element : repeated_) element = *x.data;
        x_ = repeated_;
    }
    Operand(const Operand&) = delete;
    Vector at(size_t i, size_t count) const { return load<Vector>(x_ + i * step_, count); }

   private:
    const T* x_;
    size_t step_;
    T repeated_[lanes];
};

// y[i] = function(x[i]...)
template <class U, class Function, class... X>
inline void map(U* y, size_t n, Function function, const X&... x) {
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) store(y + i, function(x.at(i, lanes)...));
    if (i < n) store(y + i, function(x.at(i, n - i)...), n - i);
}

// Calls apply(relation), which gives a mask.
template <class Apply>
inline void compare_with(Binary op, Apply apply) {
    switch (op) {
        case Binary::equal: return apply([](Floats u, Floats v) { return u == v; });
        case Binary::greater: return apply([](Floats u, Floats v) { return u > v; });
        case Binary::greater_equal: return apply([](Floats u, Floats v) { return u >= v; });
        case Binary::less: return apply([](Floats u, Floats v) { return u < v; });
        case Binary::less_equal: return apply([](Floats u, Floats v) { return u <= v; });
        default: return apply([](Floats u, Floats v) { return u != v; });
    }
}

template <class Apply>
inline void binary_with(Binary op, Apply apply) {
    switch (op) {
        case Binary::add: return apply([](Floats u, Floats v) { return u + v; });
        case Binary::sub: return apply([](Floats u, Floats v) { return u - v; });
        case Binary::mul: return apply([](Floats u, Floats v) { return u * v; });
        case Binary::real_div: return apply([](Floats u, Floats v) { return u / v; });
        case Binary::floor_div: return apply([](Floats u, Floats v) { return floor(u / v); });
        case Binary::maximum: return apply([](Floats u, Floats v) { return maximum(u, v); });
        case Binary::minimum: return apply([](Floats u, Floats v) { return minimum(u, v); });
        case Binary::pow: return apply([](Floats u, Floats v) { return pow(u, v); });
        case Binary::prelu: return apply([](Floats u, Floats v) { return u < 0.0f ? v * u : u; });
        default:
            return compare_with(op, [=](auto relation) {
                apply([=](Floats u, Floats v) { return relation(u, v) ? splat(1.0f) : Floats{}; });
            });
    }
}

void binary(Binary op, Elements<float> a, Elements<float> b, float* y, size_t n) {
    const Operand<Floats, float> x(a), z(b);
    binary_with(op, [&](auto function) { map(y, n, function, x, z); });
}

// Sums of fp16 are rounded to fp32 only where the smaller term is far below a tie of fp16 from the larger
// one, and products are exact: as if rounded once.
void binary_halves(Binary op, Elements<half> a, Elements<half> b, half* y, size_t n, Numbers numbers) {
    const Operand<Halves, half> x(a), z(b);
    with_numbers(numbers, [&](auto read, auto round) {
        binary_with(op, [&](auto function) {
            map(y, n, [=](Halves u, Halves v) { return round(function(read(u), read(v))); }, x, z);
        });
    });
}

void compare(Binary op, Elements<half> a, Elements<half> b, uint8_t* y, size_t n, Numbers numbers) {
    const Operand<Halves, half> x(a), z(b);
    with_numbers(numbers, [&](auto read, auto) {
        compare_with(op, [&](auto relation) {
            map(
                y, n,
                [=](Halves u, Halves v) {
                    return __builtin_convertvector(relation(read(u), read(v)) & 1, Bytes);
                },
                x, z);
        });
    });
}

void select(Elements<uint8_t> condition, Elements<half> a, Elements<half> b, half* y, size_t n) {
    const Operand<Bytes, uint8_t> chooses(condition);
    const Operand<Halves, half> x(a), z(b);
    map(
        y, n, [](Bytes c, Halves u, Halves v) { return __builtin_convertvector(c, Halves) != 0 ? u : v; },
        chooses, x, z);
}

void logical_not(const uint8_t* x, uint8_t* y, size_t n) {
    map<Bytes>(x, y, n, [](Bytes v) { return __builtin_bit_cast(Bytes, v == 0) & 1; });
}

void nan_to_infinity(const float* x, float* y, size_t n) {
    map<Floats>(x, y, n, [](Floats v) { return v == v ? v : splat(infinity); });
}

void quantize(const half* x, Elements<float> scale, Elements<float> zero_point, bool is_signed, uint8_t* y,
              size_t n, Numbers numbers) {
    const int32_t low = is_signed ? -128 : 0, high = low + 255;
    const auto rounded = [=](Floats quotient, Floats zero) {
        // An undefined quotient counts as zero, and the bounds keep the conversion to integers defined.
        const Floats q = clamp(quotient == quotient ? quotient : 0.0f, -0x1p22f, 0x1p22f);
        // Toward zero after adding the number just below a half: ties, whose sums round up, go away from
        // zero, and no smaller fraction reaches the next integer.
        const Floats sum = q + as_floats(sign_of(q) | as_words(0x1.fffffep-2f));
        const Ints integer = __builtin_convertvector(sum, Ints) + __builtin_convertvector(zero, Ints);
        const Ints least = integer < low ? low : integer;
        const Ints bounded = least > high ? high : least;
        return __builtin_convertvector(__builtin_convertvector(bounded, Halves), Bytes);
    };
    const Operand<Halves, half> values(x);
    const Operand<Floats, float> zero_points(zero_point);
    // By a power of two the product is the quotient.
    const float inverse = 1.0f / *scale.data;
    if (scale.step == 0 && (as_words(*scale.data) & 0x007fffffu) == 0) {
        with_numbers(numbers, [&](auto read, auto) {
            map(
                y, n, [=](Halves v, Floats zero) { return rounded(read(v) * inverse, zero); }, values,
                zero_points);
        });
        return;
    }
    const Operand<Floats, float> scales(scale);
    with_numbers(numbers, [&](auto read, auto) {
        map(
            y, n, [=](Halves v, Floats s, Floats zero) { return rounded(read(v) / s, zero); }, values, scales,
            zero_points);
    });
}

void dequantize(const uint8_t* x, Elements<float> scale, Elements<float> zero_point, bool is_signed, half* y,
                size_t n, Numbers numbers) {
    const Operand<Bytes, uint8_t> values(x);
    const Operand<Floats, float> scales(scale), zero_points(zero_point);
    const auto dequantized = [=](Bytes v, Floats s, Floats zero) {
        const Ints q = __builtin_convertvector(v, Ints);
        const Ints integer = is_signed ? (q ^ 128) - 128 : q;
        return (__builtin_convertvector(integer, Floats) - zero) * s;
    };
    with_numbers(numbers, [&](auto, auto round) {
        map(
            y, n, [=](Bytes v, Floats s, Floats zero) { return round(dequantized(v, s, zero)); }, values,
            scales, zero_points);
    });
}

void scale_integers(const int32_t* x, Elements<float> scale, Elements<float> bias, half* y, size_t n,
                    Numbers numbers) {
    constexpr int64_t dropped = (int64_t{1} << 29) - 1;  // bits of fp64 that fp32 lacks
    const Operand<Ints, int32_t> integers(x);
    const Operand<Floats, float> scales(scale), biases(bias);
    with_numbers(numbers, [&](auto, auto round) {
        map(
            y, n,
            [=](Ints v, Floats s, Floats b) {
                const Doubles value =
                    __builtin_convertvector(v, Doubles) * __builtin_convertvector(s, Doubles) +
                    __builtin_convertvector(b, Doubles);
                Longs bits = __builtin_bit_cast(Longs, value);
                // Cut off, no number reaches a tie from below. Where ties go to even, none may from above
                // either: all that is dropped carries into the last bit that stays.
                if (numbers == Numbers::ieee) bits |= (bits & dropped) + dropped;
                return round(__builtin_convertvector(__builtin_bit_cast(Doubles, bits & ~dropped), Floats));
            },
            integers, scales, biases);
    });
}

}  // namespace

constinit const Kernels kernels = {
    .level = level,
    .to_float = to_float,
    .decode = decode,
    .to_half = to_half,
    .unary = unary,
    .binary = binary,
    .unary_halves = unary_halves,
    .binary_halves = binary_halves,
    .look_up = look_up,
    .compare = compare,
    .select = select,
    .logical_not = logical_not,
    .nan_to_infinity = nan_to_infinity,
    .reduce = reduce,
    .reduce_columns = reduce_columns,
    .largest_magnitude_columns = largest_magnitude_columns,
    .sum_square_columns = sum_square_columns,
    .sum_exactly = sum_exactly,
    .add_exactly = add_exactly,
    .sum_of_squares = sum_of_squares,
    .exponentials = exponentials,
    .softmax = softmax,
    .quantize = quantize,
    .dequantize = dequantize,
    .scale_integers = scale_integers,
    .products = &products,
    .fixed_products = &fixed_products,
    .integers = &integers,
    .vectors = &vectors,
};

}  // namespace ane::cpu::ANEPERF_SIMD_LEVEL
