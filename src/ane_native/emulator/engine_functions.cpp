// Why: a function of fp16 has 65,536 values. They are computed once, in fp64 and one by one, so that the
// rules stand here plainly and every machine gets the same bits; a program then looks them up.
//
// Sources: 751K/...-Study-M6 (tables and errors on M6), ane-guide (record of a table, M1), ANEForge (M1 to
// M6). docs/emulator.md says what is sure.
#include "engine_functions.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "engine_numbers.h"

namespace ane::emulator {

namespace functions {
namespace {

using cpu::Parameters;
using cpu::Unary;

constexpr double infinite = 65536.0;  // as the engine reads it

double rounded(double x) { return engine_number(engine_half(x)); }

// Straight lines between points that are evenly spaced from `low` to `high`, each an fp16.
class Table {
   public:
    static constexpr int lines = 32;

    template <typename Function>
    Table(double low, double high, Function function) : low_(low), scale_(lines / (high - low)) {
        for (int i = 0; i <= lines; ++i) points_[i] = rounded(function(low + i / scale_));
    }
    Table(double low, double high, const std::array<double, lines + 1>& points)
        : low_(low), scale_(lines / (high - low)) {
        std::ranges::transform(points, points_.begin(), rounded);
    }

    double at(double x) const {
        const double place = (x - low_) * scale_;
        const int i = std::clamp(static_cast<int>(place), 0, lines - 1);
        return points_[i] + (place - i) * (points_[i + 1] - points_[i]);
    }

   private:
    double low_, scale_;
    std::array<double, lines + 1> points_;
};

// x = significand * 2^exponent, the significand being in [1/2, 1).
struct Parts {
    double significand;
    int exponent;
};
Parts parts(double x) {
    Parts p;
    p.significand = std::frexp(x, &p.exponent);
    return p;
}

// From (x0, y0) to (x1, y1).
double line(double x, double x0, double y0, double x1, double y1) {
    return y0 + (x - x0) * (y1 - y0) / (x1 - x0);
}

double sigmoid(double x) {
    static const Table table(-8, 8, [](double v) { return 1 / (1 + std::exp(-v)); });
    constexpr double zero_below = -9.9375, one_from = 8.3203125;
    if (x < zero_below) return 0;
    if (x < -8) return line(x, zero_below, 0, -8, table.at(-8));
    if (x < 8) return table.at(x);
    return x < one_from ? line(x, 8, table.at(8), one_from, 1) : 1;
}

double tanh(double x) {
    static const Table table(0, 4, [](double v) { return std::tanh(v); });
    const double magnitude = std::abs(x);
    return std::copysign(magnitude < 4 ? table.at(magnitude) : 1, x);
}

double erf(double x) {
    static const Table table(0, 2, [](double v) { return std::erf(v); });
    constexpr double one_from = 2.375;  // inferred: the published largest error allows 2.365 to 2.38
    const double magnitude = std::abs(x);
    return std::copysign(magnitude < 2          ? table.at(magnitude)
                         : magnitude < one_from ? line(magnitude, 2, table.at(2), one_from, 1)
                                                : 1,
                         x);
}

// sin(x + quarters * pi / 2). pi / 2 has 16 bits behind the point.
double sine(double x, int quarters) {
    constexpr double quarter = 102943.0 / 65536.0;
    static const Table table(0, quarter, [](double v) { return std::sin(v); });
    if (std::abs(x) >= infinite) return 0;
    const double turns = std::floor(x / quarter), rest = x - turns * quarter;
    const int turn = (static_cast<int>(turns) + quarters) & 3;
    const double y = table.at(turn & 1 ? quarter - rest : rest);
    return turn & 2 ? -y : y;
}

double exp2(double x) {
    static const Table table(0, 1, [](double v) { return std::exp2(v); });
    const double whole = std::floor(x);
    return std::ldexp(table.at(x - whole), static_cast<int>(std::clamp(whole, -64.0, 64.0)));
}

double exp(double x) { return exp2(rounded(x * 1.4423828125)); }

double log(double x) {
    static const Table table(0.5, 1, [](double v) { return std::log2(v); });
    if (x < 0 || x >= infinite) return 0;
    const auto [significand, exponent] = parts(x);
    const double log2 = x == 0 ? -infinite : rounded(exponent + rounded(table.at(significand)));
    return log2 * 0.693359375;
}

double inverse(double x) {
    static const Table table(0.5, 1, [](double v) { return 1 / v; });
    if (x == 0) return infinite;
    if (std::abs(x) >= infinite) return 0;
    const auto [significand, exponent] = parts(std::abs(x));
    return std::copysign(std::ldexp(table.at(significand), -exponent), x);
}

// function(f) scaled by 2^(exponent / 2 * sign), where x = f * 2^exponent, f is in [1/2, 2) and the exponent
// is even.
double of_root(const Table& table, double x, int sign) {
    const auto [significand, exponent] = parts(x);
    const int odd = exponent & 1;
    return std::ldexp(table.at(std::ldexp(significand, odd)), sign * (exponent - odd) / 2);
}

double sqrt(double x) {
    static const Table table(0.5, 2.5, [](double v) { return std::sqrt(v); });
    if (x <= 0) return 0;
    return x < infinite ? of_root(table, x, 1) : infinite;
}

double rsqrt(double x) {
    static const Table table(0.5, 2.5, [](double v) { return 1 / std::sqrt(v); });
    if (x == 0) return infinite;
    return x < 0 || x >= infinite ? 0 : of_root(table, x, -1);
}

// The points of gelu and silu are fitted, not sampled. These are derived: continuous straight lines, fitted
// by least squares to the function at every normal fp16 of the interval. They are right to about one step of
// fp16; gelu(0) is measured.
double gelu(double x) {
    static const Table table(-4, 4,
                             {-0.00011551380,
                              -0.00031018257,
                              -0.00076818466,
                              -0.0017862320,
                              -0.0038890839,
                              -0.0079345703,
                              -0.0151367188,
                              -0.0269927979,
                              -0.044921875,
                              -0.0696411133,
                              -0.100036621,
                              -0.132446289,
                              -0.159912109,
                              -0.172363281,
                              -0.156738281,
                              -0.106384277,
                              -0.00075387954711914,
                              0.1435546875,
                              0.343261719,
                              0.577636719,
                              0.83984375,
                              1.1171875,
                              1.40039063,
                              1.68066406,
                              1.95507813,
                              2.22265625,
                              2.484375,
                              2.7421875,
                              2.99609375,
                              3.24804688,
                              3.5,
                              3.75,
                              4.0});
    if (x < -4) return 0;
    return x < 4 ? table.at(x) : x;
}

double silu(double x) {
    static const Table table(
        -8, 8, {-0.0026378632, -0.0040855408, -0.0062828064, -0.0096206665, -0.0146331787, -0.0220947266,
                -0.0330505371, -0.0488891602, -0.0712280273, -0.101806641,  -0.141601563,  -0.189453125,
                -0.239379883,  -0.27734375,   -0.2734375,    -0.203613281,  -0.0017042160, 0.296386719,
                0.7265625,     1.22265625,    1.76074219,    2.31054688,    2.859375,      3.3984375,
                3.9296875,     4.44921875,    4.96875,       5.4765625,     5.984375,      6.4921875,
                6.9921875,     7.49609375,    7.99609375});
    // The line through the two zeros of the error that are published for this side.
    constexpr double zero_below = -10.203125;
    if (x < -8) return x < zero_below ? 0 : line(x, zero_below, 0, -8, -0.002351);
    return x < 8 ? table.at(x) : x;
}

double value(Unary kind, Parameters p, double x) {
    const double alpha = p.alpha, beta = p.beta;
    switch (kind) {
        case Unary::abs: return std::abs(x);
        case Unary::atan: return std::atan(x);
        case Unary::ceil: return std::ceil(x);
        case Unary::clamped_relu: return std::min(beta, x < 0 ? alpha * x : x);
        case Unary::clip: return std::min(std::max(x, alpha), beta);
        case Unary::cos: return sine(x, 1);
        case Unary::elu: return x < 0 ? alpha * std::expm1(x) : x;
        case Unary::erf: return erf(x);
        case Unary::exp: return exp(x);
        case Unary::exp2: return exp2(x);
        case Unary::floor: return std::floor(x);
        case Unary::gelu_exact:
        case Unary::gelu_tanh: return gelu(x);
        case Unary::gelu_sigmoid: return x / (1 + std::exp(-1.702 * x));
        case Unary::inverse: return inverse(x + alpha);
        case Unary::leaky_relu: return x < 0 ? alpha * x : x;
        case Unary::linear_activation: return alpha * x + beta;
        case Unary::log: return log(x + alpha);
        case Unary::relu: return std::max(x, 0.0);
        case Unary::round: return std::copysign(std::floor(rounded(std::abs(x) + 0.5)), x);
        case Unary::rsqrt: return rsqrt(x + alpha);
        case Unary::scaled_tanh: return alpha * rounded(tanh(rounded(beta * x)));
        case Unary::sigmoid: return sigmoid(x);
        case Unary::sigmoid_hard: return std::clamp(alpha * x + beta, 0.0, 1.0);
        case Unary::sign: return x > 0 ? 1 : x < 0 ? -1 : 0;
        case Unary::silu: return silu(x);
        case Unary::sin: return sine(x, 0);
        // Their parts, each rounded: so softplus is 0 where exp is infinite, and softsign of infinity as
        // well.
        case Unary::softplus: return log(rounded(1 + rounded(exp(x))));
        case Unary::softsign: return x * rounded(inverse(rounded(1 + std::abs(x))));
        case Unary::sqrt: return sqrt(x);
        case Unary::square: return x * x;
        case Unary::tanh: return tanh(x);
        case Unary::threshold: return std::max(x, alpha);
        case Unary::thresholded_relu: return x < alpha ? 0 : x;
    }
    return 0;
}

}  // namespace
}  // namespace functions

std::shared_ptr<const FunctionTable> engine_function(cpu::Unary kind, cpu::Parameters parameters) {
    using Key = std::tuple<cpu::Unary, uint32_t, uint32_t>;
    static std::mutex mutex;
    static std::map<Key, std::weak_ptr<const FunctionTable>> tables;
    const std::scoped_lock lock(mutex);
    auto& known =
        tables[{kind, std::bit_cast<uint32_t>(parameters.alpha), std::bit_cast<uint32_t>(parameters.beta)}];
    if (auto table = known.lock()) return table;
    const auto table = std::make_shared<FunctionTable>();
    for (size_t bits = 0; bits < table->size(); ++bits)
        (*table)[bits] =
            engine_half(functions::value(kind, parameters, engine_number(static_cast<cpu::half>(bits))));
    known = table;
    return table;
}

cpu::half engine_rsqrt(double x) { return engine_half(functions::rsqrt(x)); }

}  // namespace ane::emulator
