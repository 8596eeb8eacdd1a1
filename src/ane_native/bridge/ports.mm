#include "ports.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "framework.h"

namespace ane {

namespace {

constexpr int64_t max_surface = int64_t{1} << 40;

// Symbols of a side in the order of modelAttributes: each name with its index in the request.
struct Symbols {
    std::vector<std::string> names;
    std::vector<int64_t> indices;
};

id lookup(id dictionary, NSString* key) {
    return [dictionary isKindOfClass:[NSDictionary class]] ? [(NSDictionary*)dictionary objectForKey:key]
                                                           : nil;
}

id first(id array) {
    return [array isKindOfClass:[NSArray class]] && [(NSArray*)array count] > 0
               ? [(NSArray*)array objectAtIndex:0]
               : nil;
}

std::string port_name(id symbol) {
    std::string name = text_of(symbol);
    if (name.ends_with("@output")) name.resize(name.size() - std::strlen("@output"));
    return name;
}

Symbols read_symbols(id attributes, NSString* names_key, NSString* indices_key) {
    Symbols symbols;
    id description = lookup(attributes, @"ANEFModelDescription");
    id names = lookup(description, names_key);
    id indices = lookup(first(lookup(description, @"ANEFModelProcedures")), indices_key);
    if (![names isKindOfClass:[NSArray class]] || ![indices isKindOfClass:[NSArray class]]) return {};
    for (id entry in (NSArray*)indices) {
        const NSUInteger index =
            [entry isKindOfClass:[NSNumber class]] ? [entry unsignedIntegerValue] : NSNotFound;
        if (index >= [(NSArray*)names count]) return {};
        symbols.names.push_back(port_name([(NSArray*)names objectAtIndex:index]));
        symbols.indices.push_back(static_cast<int64_t>(index));
    }
    return symbols;
}

id live_list(id attributes, bool inputs) {
    return lookup(first(lookup(attributes, @"NetworkStatusList")),
                  inputs ? @"LiveInputList" : @"LiveOutputList");
}

int64_t port_extent(id port, NSString* axis, int64_t most) {
    id extent = lookup(port, axis);
    const int64_t value = [extent isKindOfClass:[NSNumber class]] ? [extent longLongValue] : 0;
    if (value < 1 || value > most)
        throw CompileError("LoadFailure", "the loaded program does not tell the " + text_of(axis) +
                                              " of its port '" + port_name(lookup(port, @"Name")) + "'");
    return value;
}

DType port_dtype(id port) {
    const std::string type = text_of(lookup(port, @"Type"));
    if (type == "Float16") return DType::fp16;
    if (type == "Float32") return DType::fp32;
    throw CompileError("LoadFailure", "the loaded program's port '" + port_name(lookup(port, @"Name")) +
                                          "' is of the type '" + type + "', which is not known");
}

}  // namespace

std::vector<Port> read_ports(id attributes, bool inputs) {
    id live = live_list(attributes, inputs);
    if (![live isKindOfClass:[NSArray class]] || [(NSArray*)live count] == 0)
        throw CompileError("LoadFailure", "the loaded program does not tell its ports");
    std::vector<Port> ports;
    for (id entry in (NSArray*)live) {
        int64_t most = max_surface;
        Shape shape;
        for (NSString* axis in @[ @"Batches", @"Channels", @"Depth", @"Height", @"Width" ]) {
            const int64_t extent = port_extent(entry, axis, most);
            most /= extent;
            if (extent > 1 || ![axis isEqualToString:@"Depth"]) shape.push_back(extent);
        }
        ports.push_back({port_name(lookup(entry, @"Name")), {port_dtype(entry), std::move(shape)}});
    }
    return ports;
}

std::vector<int64_t> settle_ports(std::vector<Port>& ports, id attributes, bool inputs) {
    std::ranges::sort(ports, {}, &Port::name);
    std::vector<int64_t> indices(ports.size());
    for (size_t i = 0; i < ports.size(); ++i) indices[i] = static_cast<int64_t>(i);

    const Symbols symbols = inputs ? read_symbols(attributes, @"kANEFModelInputSymbolsArrayKey",
                                                  @"ANEFModelInputSymbolIndexArray")
                                   : read_symbols(attributes, @"kANEFModelOutputSymbolsArrayKey",
                                                  @"ANEFModelOutputSymbolIndexArray");
    std::vector<Port> ordered;
    for (const std::string& name : symbols.names) {
        const auto port = std::ranges::find(ports, name, &Port::name);
        const bool repeated = std::ranges::find(ordered, name, &Port::name) != ordered.end();
        if (port != ports.end() && !repeated) ordered.push_back(*port);
    }
    if (ordered.size() != ports.size() || symbols.names.size() != ports.size()) return indices;
    ports = std::move(ordered);

    id live = live_list(attributes, inputs);
    for (size_t i = 0; i < ports.size(); ++i) {
        if (![live isKindOfClass:[NSArray class]] || [(NSArray*)live count] != ports.size()) break;
        id width = lookup([(NSArray*)live objectAtIndex:i], @"Width");
        id pitch = lookup([(NSArray*)live objectAtIndex:i], @"RowStride");
        if (![width isKindOfClass:[NSNumber class]] || ![pitch isKindOfClass:[NSNumber class]]) continue;
        Layout& layout = ports[i].layout;
        if ([width longLongValue] == layout.width() && [pitch longLongValue] >= layout.row_bytes() &&
            [pitch longLongValue] <= max_surface / layout.rows())
            layout.pitch = [pitch longLongValue];
    }
    return symbols.indices;
}

}  // namespace ane
