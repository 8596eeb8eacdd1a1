#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lexer.h"
#include "literals.h"
#include "mil/graph.h"

namespace ane::mil {

namespace {

// Beyond any real program; they bound the memory that a text may ask for.
constexpr int64_t max_statements = 1'000'000;
constexpr int64_t max_values = 4'000'000;
constexpr size_t max_arguments = 64;

std::string at_line(Location where) { return "line " + std::to_string(where.line); }

// Recursive descent, one token ahead. Its depth is bounded: only lists nest, and no deeper than a rank.
class Parser {
   public:
    explicit Parser(std::string_view text) : text_(text) {}
    Module program();

   private:
    // The function being read.
    struct Scope {
        Function function;
        std::unordered_map<std::string_view, ValueId> names;
    };
    using Results = std::vector<std::pair<TensorType, Token>>;

    std::vector<std::pair<std::string, std::string>> build_info();
    Function function(const Token& name);
    void statement();
    void constant(const Results& results, const Token& op);
    void outputs();
    // "(name = ..., ...)[name = ..., ...];": `read(name, is_attribute)` reads what follows a "name =".
    void call(const Token& op, auto read);
    Argument argument(const Token& name);
    Argument literal_argument(const Token& name, Literal literal);
    void name_attribute();

    ValueId add(Value value);
    ValueId define(const Token& name, TensorType type, std::shared_ptr<const Constant> constant = nullptr);
    ValueId find(const Token& name) const;

    Lexer text_;
    Scope scope_;
    int64_t statements_ = 0;
    int64_t values_ = 0;
};

Module Parser::program() {
    Module program;
    text_.expect("program", "to begin the text");
    text_.expect("(", "after 'program'");
    const Token version = text_.take();
    if (version.text.empty() || version.text.find_first_not_of("0123456789.") != std::string_view::npos)
        refuse_token(version, "a version such as 1.3");
    program.version = version.text;
    text_.expect(")", "after the version");
    if (text_.accept("[")) program.build_info = build_info();
    text_.expect("{", "to open the program");
    std::unordered_map<std::string_view, Location> names;
    do {
        text_.expect("func", "to begin a function");
        const Token name = text_.identifier("the name of a function");
        const auto [first, is_new] = names.emplace(name.text, name.where);
        if (!is_new)
            refuse(name.where,
                   "duplicate function " + quote(name.text) + ", first at " + at_line(first->second));
        program.functions.push_back(function(name));
    } while (!text_.accept("}"));
    if (text_.peek().kind != TokenKind::end)
        refuse_token(text_.peek(), "the end of the text after the program");
    return program;
}

std::vector<std::pair<std::string, std::string>> Parser::build_info() {
    const auto string_type = [&] {
        const Location where = text_.peek().where;
        if (read_type(text_) != TensorType{DType::string, {}})
            refuse(where, "buildInfo is a dict<string, string>");
    };
    const auto string = [&](const char* what) {
        if (text_.peek().kind != TokenKind::string) refuse_token(text_.peek(), what);
        return text_.take();
    };
    text_.expect("buildInfo", "as the program's only attribute");
    text_.expect("=", "after 'buildInfo'");
    text_.expect("dict", "to begin the value of 'buildInfo'");
    text_.expect("<", "after 'dict'");
    string_type();
    text_.expect(",", "between the types of a dict");
    string_type();
    text_.expect(">", "to close the type of a dict");
    text_.expect("(", "to open the value of a dict");
    text_.expect("{", "to open the entries of a dict");
    std::vector<std::pair<std::string, std::string>> entries;
    std::unordered_set<std::string_view> keys;
    if (!text_.at("}")) {
        do {
            text_.expect("{", "to open an entry of a dict");
            const Token key = string("a key in double quotes");
            text_.expect(",", "between a key and its value");
            const Token value = string("a value in double quotes");
            text_.expect("}", "to close an entry of a dict");
            if (!keys.insert(key.text).second) refuse(key.where, "duplicate key " + quote(key.text));
            entries.emplace_back(unescape(key), unescape(value));
        } while (text_.accept(","));
    }
    text_.expect("}", "to close the entries of a dict");
    text_.expect(")", "to close the value of a dict");
    text_.expect("]", "to close the program's attributes");
    return entries;
}

Function Parser::function(const Token& name) {
    scope_ = Scope();
    Function& function = scope_.function;
    function.name = name.text;
    text_.expect("<", "to open the opset of", name.text);
    function.opset = text_.identifier("an opset such as ios18").text;
    text_.expect(">", "to close the opset of", name.text);
    text_.expect("(", "to open the inputs of", name.text);
    if (!text_.at(")")) {
        do {
            TensorType type = read_type(text_);
            function.inputs.push_back(define(text_.identifier("the name of an input"), std::move(type)));
        } while (text_.accept(","));
    }
    text_.expect(")", "to close the inputs of", name.text);
    text_.expect("{", "to open the body of", name.text);
    while (!text_.accept("}")) statement();
    text_.expect("->", "after the body of", name.text);
    outputs();
    text_.expect(";", "to end the function", name.text);
    return std::move(function);
}

void Parser::outputs() {
    Function& function = scope_.function;
    std::vector<bool> returned(function.values.size());
    text_.expect("(", "to open the outputs of", function.name);
    do {
        const Token name = text_.identifier("the name of an output");
        const ValueId id = find(name);
        const bool is_input = static_cast<size_t>(id) < function.inputs.size();
        if (is_input || function.values[id].constant)
            refuse(name.where, "output " + quote(name.text) + " must be produced by an operation, but is " +
                                   (is_input ? "an input" : "a constant"));
        if (returned[id]) refuse(name.where, "duplicate output " + quote(name.text));
        returned[id] = true;
        function.outputs.push_back(id);
        function.output_places.push_back(name.where);
    } while (text_.accept(","));
    text_.expect(")", "to close the outputs of", function.name);
}

void Parser::call(const Token& op, auto read) {
    std::vector<Token> seen;
    const auto items = [&](bool are_attributes) {
        do {
            const Token name =
                text_.identifier(are_attributes ? "the name of an attribute" : "the name of an argument");
            const auto first = std::ranges::find(seen, name.text, &Token::text);
            if (first != seen.end())
                refuse(name.where, "duplicate argument " + quote(name.text) + " of " + quote(op.text) +
                                       ", first at " + at_line(first->where));
            if (seen.size() == max_arguments)
                refuse(name.where, "more than 64 arguments of " + quote(op.text));
            seen.push_back(name);
            text_.expect("=", "after", name.text);
            read(name, are_attributes);
        } while (text_.accept(","));
    };
    text_.expect("(", "to open the arguments of", op.text);
    if (!text_.at(")")) items(false);
    text_.expect(")", "to close the arguments of", op.text);
    if (text_.accept("[")) {
        items(true);
        text_.expect("]", "to close the attributes of", op.text);
    }
    text_.expect(";", "to end the statement");
}

void Parser::statement() {
    if (++statements_ > max_statements) refuse(text_.peek().where, "more than 1,000,000 statements");
    Results results;
    do {
        TensorType type = read_type(text_);
        results.emplace_back(std::move(type), text_.identifier("the name of a result"));
    } while (text_.accept(","));
    text_.expect("=", "after", results.back().second.text);
    const Token op = text_.identifier("an operation");
    if (op.text == "const") return constant(results, op);

    Operation operation{std::string(op.text), {}, {}, op.where};
    call(op, [&](const Token& name, bool is_attribute) {
        if (!is_attribute) {
            operation.arguments.push_back(argument(name));
        } else if (name.text == "name") {
            name_attribute();
        } else if (op.text.starts_with("constexpr_")) {
            operation.arguments.push_back(literal_argument(name, read_literal(text_)));
        } else {
            refuse(name.where, quote(op.text) + " has no attribute " + quote(name.text) +
                                   ": arguments belong in its parentheses, only name in its brackets");
        }
    });
    for (auto& [type, name] : results) operation.results.push_back(define(name, std::move(type)));
    scope_.function.operations.push_back(std::move(operation));
}

void Parser::constant(const Results& results, const Token& op) {
    std::optional<Literal> value;
    call(op, [&](const Token& name, bool is_attribute) {
        if (name.text == "val") {
            value = read_literal(text_);
        } else if (is_attribute && name.text == "name") {
            name_attribute();
        } else {
            refuse(name.where, "const has no " + quote(name.text) + ", only the attributes name and val");
        }
    });
    if (results.size() > 1) refuse(results[1].second.where, "const has one result");
    const auto& [type, name] = results.front();
    if (!value) refuse(op.where, "constant " + quote(name.text) + " has no val");
    if (value->type != type)
        refuse(value->where, "constant " + quote(name.text) + " is declared " + to_string(type) +
                                 ", but its val is " + to_string(value->type));
    define(name, type, std::move(value->constant));
}

Argument Parser::argument(const Token& name) {
    Argument argument{std::string(name.text), {}, false, name.where};
    if (text_.accept("(")) {
        argument.is_tuple = true;
        do {
            argument.values.push_back(find(text_.identifier("a name, since a tuple holds only names")));
        } while (text_.accept(","));
        text_.expect(")", "to close the tuple", name.text);
        return argument;
    }
    if (text_.peek().kind != TokenKind::identifier) refuse_bare_literal(text_.peek());
    const Token word = text_.take();
    if (at_literal(text_)) return literal_argument(name, read_literal(text_, word));
    if (is_truth(word) && !scope_.names.contains(word.text)) refuse_bare_literal(word);
    argument.values = {find(word)};
    return argument;
}

Argument Parser::literal_argument(const Token& name, Literal literal) {
    const ValueId id = add({"", std::move(literal.type), literal.where, std::move(literal.constant)});
    return {std::string(name.text), {id}, false, name.where};
}

void Parser::name_attribute() {
    const Literal name = read_literal(text_);
    if (name.type != TensorType{DType::string, {}})
        refuse(name.where, "name must be a string, not " + to_string(name.type));
}

ValueId Parser::add(Value value) {
    if (++values_ > max_values) refuse(value.where, "more than 4,000,000 values");
    scope_.function.values.push_back(std::move(value));
    return static_cast<ValueId>(scope_.function.values.size() - 1);
}

ValueId Parser::define(const Token& name, TensorType type, std::shared_ptr<const Constant> constant) {
    const auto id = static_cast<ValueId>(scope_.function.values.size());
    const auto [first, is_new] = scope_.names.emplace(name.text, id);
    if (!is_new)
        refuse(name.where, "duplicate name " + quote(name.text) + ", first defined at " +
                               at_line(scope_.function.values[first->second].where));
    return add({std::string(name.text), std::move(type), name.where, std::move(constant)});
}

ValueId Parser::find(const Token& name) const {
    const auto found = scope_.names.find(name.text);
    if (found == scope_.names.end())
        refuse(name.where, "unknown name " + quote(name.text) + ": nothing before this place defines it");
    return found->second;
}

}  // namespace

Module parse(std::string_view text) { return Parser(text).program(); }

}  // namespace ane::mil
