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
        std::string name = text_of([(NSArray*)names objectAtIndex:index]);
        if (name.ends_with("@output")) name.resize(name.size() - std::strlen("@output"));
        symbols.names.push_back(std::move(name));
        symbols.indices.push_back(static_cast<int64_t>(index));
    }
    return symbols;
}

}  // namespace

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

    id live = lookup(first(lookup(attributes, @"NetworkStatusList")),
                     inputs ? @"LiveInputList" : @"LiveOutputList");
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
