#include <algorithm>
#include <functional>
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

// Their blocks are skipped in whatever form they are written, since the engine runs no control flow.
bool is_control_flow(std::string_view op) { return op == "cond" || op == "while_loop"; }

std::string at_line(Location where) { return "line " + std::to_string(where.line); }

// Recursive descent, one token ahead. Its depth is bounded: only lists nest, and no deeper than a rank. After
// a refusal that is listed, it goes on at the next statement.
class Parser {
   public:
    Parser(std::string_view text, Refusals& refusals) : text_(text), refusals_(refusals) {}
    void read(Module& program);

   private:
    // The function being read.
    struct Scope {
        Function function;
        std::unordered_map<std::string_view, ValueId> names;
        std::unordered_set<std::string_view> lost;  // the words of refused statements
    };
    using Results = std::vector<std::pair<DeclaredType, Token>>;

    void header(Module& program);
    std::vector<std::pair<std::string, std::string>> build_info();
    Function function(const Token& name);
    void inputs();
    void body();
    void statement();
    Results results();
    void constant(const Results& results, const Token& op);
    void outputs();
    // An attribute that says nothing to the engine, up to the ',' or ']' behind it.
    void skip_attribute();
    void skip_blocks();
    void end_statement();
    // Runs `read`, and after a refusal goes on at the first word or character that `is_next`.
    bool attempt(auto read, const std::function<bool(std::string_view)>& is_next);
    // "(name = ..., ...)[name = ..., ...];": `read(name, is_attribute)` reads what follows a "name =".
    void call(const Token& op, auto read);
    Argument argument(const Token& name);
    Argument literal_argument(const Token& name, Literal literal);
    void name_attribute();

    ValueId add(Value value);
    ValueId define(const Token& name, DeclaredType type, std::shared_ptr<const Constant> constant = nullptr);
    ValueId find(const Token& name);
    // Refuses a text that is too large, and reads no more of it.
    [[noreturn]] void stop(Location where, const char* what) {
        ended_ = true;
        refuse(where, what);
    }

    Lexer text_;
    Refusals& refusals_;
    Scope scope_;
    std::string_view op_ = "program";  // what a refusal is about
    bool has_blocks_ = false;          // the statement's
    bool ended_ = false;               // nothing is left to read after a refusal
    int64_t statements_ = 0;
    int64_t values_ = 0;
};

bool Parser::attempt(auto read, const std::function<bool(std::string_view)>& is_next) {
    const Lexer::Mark start = text_.mark();
    if (refusals_.attempt(op_, read)) return true;
    ended_ = ended_ || !text_.seek(start, [&](std::string_view found) {
        if (is_next(found)) return true;
        scope_.lost.insert(found);
        return false;
    });
    return false;
}

void Parser::read(Module& program) {
    if (!attempt([&] { header(program); }, [](std::string_view found) { return found == "func"; }))
        program.version.clear();
    std::unordered_map<std::string_view, Location> names;
    while (!ended_) {
        text_.expect("func", "to begin a function");
        const Token name = text_.identifier("the name of a function");
        const auto [first, is_new] = names.emplace(name.text, name.where);
        if (!is_new)
            refuse(name.where,
                   "duplicate function " + quote(name.text) + ", first at " + at_line(first->second));
        program.functions.push_back(function(name));
        if (!ended_ && text_.accept("}")) break;
    }
    if (!ended_ && text_.peek().kind != TokenKind::end)
        refuse_token(text_.peek(), "the end of the text after the program");
}

void Parser::header(Module& program) {
    text_.expect("program", "to begin the text");
    text_.expect("(", "after 'program'");
    const Token version = text_.take();
    if (version.text.empty() || version.text.find_first_not_of("0123456789.") != std::string_view::npos)
        refuse_token(version, "a version such as 1.3");
    program.version = version.text;
    text_.expect(")", "after the version");
    if (text_.accept("[")) {
        do {
            if (text_.at("buildInfo"))
                program.build_info = build_info();
            else
                skip_attribute();
        } while (text_.accept(","));
        text_.expect("]", "to close the program's attributes");
    }
    text_.expect("{", "to open the program");
}

void Parser::skip_attribute() {
    const Token name = text_.identifier("the name of an attribute");
    text_.expect("=", "after", name.text);
    int types = 0;  // a comma between the types of a dict ends no attribute
    while (types > 0 || !(text_.at(",") || text_.at("]"))) {
        types += text_.at("<") ? 1 : text_.at(">") ? -1 : 0;
        text_.skip_group();
    }
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
    text_.take();
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
    return entries;
}

Function Parser::function(const Token& name) {
    scope_ = Scope();
    Function& function = scope_.function;
    function.name = name.text;
    char before = ' ';  // a '{' of an attribute's value follows another bracket, a comma or '='
    if (!attempt([&] { inputs(); },
                 [&](std::string_view found) {
                     const bool opens_body =
                         found == "{" && std::string_view("([{,=").find(before) == std::string_view::npos;
                     before = found.back();
                     return opens_body;
                 }))
        function.inputs.push_back(add({.where = name.where, .is_unknown = true}));  // those that are lost
    if (ended_) return std::move(function);
    text_.expect("{", "to open the body of", name.text);
    body();
    op_ = "program";
    if (ended_) return std::move(function);
    attempt(
        [&] {
            text_.expect("->", "after the body of", name.text);
            outputs();
            text_.expect(";", "to end the function", name.text);
        },
        [](std::string_view found) { return found == "}" || found == "func"; });
    return std::move(function);
}

void Parser::inputs() {
    Function& function = scope_.function;
    text_.expect("<", "to open the opset of", function.name);
    function.opset = text_.identifier("an opset such as ios18").text;
    text_.expect(">", "to close the opset of", function.name);
    text_.expect("(", "to open the inputs of", function.name);
    if (!text_.at(")")) {
        do {
            const DeclaredType type = read_declared_type(text_);
            function.inputs.push_back(define(text_.identifier("the name of an input"), type));
        } while (text_.accept(","));
    }
    text_.expect(")", "to close the inputs of", function.name);
    if (text_.accept("[")) {
        do skip_attribute();
        while (text_.accept(","));
        text_.expect("]", "to close the attributes of", function.name);
    }
    if (!text_.at("{")) text_.expect("{", "to open the body of", function.name);
}

void Parser::body() {
    bool is_open = true;
    while (is_open && !ended_) {
        int groups = 0, blocks = 0;
        const auto ends_statement = [&](std::string_view found) {
            const char c = found.front();
            if (blocks == 0 && (c == ';' || (c == '}' && groups == 0))) return true;
            if (c == ';') groups = 0;  // a bracket that was not closed
            if (c == '(' || c == '[') ++groups;
            if (c == ')' || c == ']') groups = std::max(groups - 1, 0);
            if (groups == 0) blocks += c == '{' ? 1 : c == '}' ? -1 : 0;
            return false;
        };
        op_ = "program";
        const bool is_read = attempt(
            [&] {
                is_open = !text_.accept("}");
                if (is_open) statement();
            },
            ends_statement);
        if (!is_read && !ended_) text_.accept(";");
    }
}

void Parser::outputs() {
    Function& function = scope_.function;
    std::unordered_set<ValueId> returned;
    const auto output = [&](const Token& name) {
        const ValueId id = find(name);
        const bool is_input = static_cast<size_t>(id) < function.inputs.size();
        if (is_input || function.values[id].constant)
            refuse(name.where, "output " + quote(name.text) + " must be produced by an operation, but is " +
                                   (is_input ? "an input" : "a constant"));
        if (!returned.insert(id).second) refuse(name.where, "duplicate output " + quote(name.text));
        function.outputs.push_back(id);
        function.output_places.push_back(name.where);
    };
    text_.expect("(", "to open the outputs of", function.name);
    do {
        const Token name = text_.identifier("the name of an output");
        refusals_.attempt("port", [&] { output(name); });
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
    if (text_.at("{") || is_control_flow(op.text)) skip_blocks();
    end_statement();
}

void Parser::skip_blocks() {
    while (!text_.at(";")) {
        if (text_.peek().kind == TokenKind::end) refuse_token(text_.peek(), "';' to end the statement");
        text_.skip_group();
    }
    has_blocks_ = true;
}

// Where the next line begins another statement, only the ';' is missing.
void Parser::end_statement() {
    if (text_.accept(";")) return;
    const Token found = text_.peek();
    const auto refuse_end = [&] { refuse_token(found, "';' to end the statement"); };
    if (found.kind != TokenKind::identifier || !text_.begins_line()) refuse_end();
    refusals_.attempt(op_, refuse_end);
}

Parser::Results Parser::results() {
    Results results;
    do {
        const DeclaredType type = read_declared_type(text_);
        results.emplace_back(type, text_.identifier("the name of a result"));
    } while (text_.accept(","));
    text_.expect("=", "after", results.back().second.text);
    return results;
}

void Parser::statement() {
    if (++statements_ > max_statements) stop(text_.peek().where, "more than 1,000,000 statements");
    // Only what changes a state has no result: "write_state(data = y, input = x);".
    const Results results = text_.begins_call() ? Results() : this->results();
    const Token op = text_.identifier("an operation");
    op_ = op.text;
    if (op.text == "const") return constant(results, op);

    Operation operation{std::string(op.text), {}, {}, op.where};
    has_blocks_ = false;
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
    operation.has_blocks = has_blocks_;
    for (const auto& [type, name] : results) operation.results.push_back(define(name, type));
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
    if (results.empty()) refuse(op.where, "const has one result");
    if (results.size() > 1) refuse(results[1].second.where, "const has one result");
    const auto& [declared, name] = results.front();
    if (!value) refuse(op.where, "constant " + quote(name.text) + " has no val");
    if (value->type != declared.type || !declared.container.empty())
        refuse(value->where,
               "constant " + quote(name.text) + " is declared " +
                   (declared.container.empty() ? to_string(declared.type) : std::string(declared.container)) +
                   ", but its val is " + to_string(value->type));
    define(name, declared, std::move(value->constant));
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
    const ValueId id = add(
        {.type = std::move(literal.type), .where = literal.where, .constant = std::move(literal.constant)});
    return {std::string(name.text), {id}, false, name.where};
}

void Parser::name_attribute() {
    const Literal name = read_literal(text_);
    if (name.type != TensorType{DType::string, {}})
        refuse(name.where, "name must be a string, not " + to_string(name.type));
}

ValueId Parser::add(Value value) {
    if (++values_ > max_values) stop(value.where, "more than 4,000,000 values");
    scope_.function.values.push_back(std::move(value));
    return static_cast<ValueId>(scope_.function.values.size() - 1);
}

ValueId Parser::define(const Token& name, DeclaredType type, std::shared_ptr<const Constant> constant) {
    const auto id = static_cast<ValueId>(scope_.function.values.size());
    const auto [first, is_new] = scope_.names.emplace(name.text, id);
    if (!is_new)
        refuse(name.where, "duplicate name " + quote(name.text) + ", first defined at " +
                               at_line(scope_.function.values[first->second].where));
    return add(
        {std::string(name.text), std::move(type.type), name.where, std::move(constant), type.container});
}

ValueId Parser::find(const Token& name) {
    const auto found = scope_.names.find(name.text);
    if (found != scope_.names.end()) return found->second;
    if (!scope_.lost.contains(name.text))
        refuse(name.where, "unknown name " + quote(name.text) + ": nothing before this place defines it");
    const ValueId id = add({.name = std::string(name.text), .where = name.where, .is_unknown = true});
    scope_.names.emplace(name.text, id);
    return id;
}

}  // namespace

Module parse(std::string_view text, Refusals& refusals) {
    Module module;
    refusals.attempt("program", [&] { Parser(text, refusals).read(module); });
    return module;
}

Module parse(std::string_view text) {
    Refusals refusals(Refusals::Mode::throw_first);
    return parse(text, refusals);
}

}  // namespace ane::mil
