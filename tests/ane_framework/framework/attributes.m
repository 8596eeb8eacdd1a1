// modelAttributes: the engine's order of the ports, and how each lies in its surface. (IM)
#import "program.h"

// The engine calls an output "name@output". (IM; whether an input's name has a suffix too is not said)
static NSString* symbol(const AneEnginePort* port, AneEngineSide side) {
    return [NSString stringWithFormat:side == ANE_ENGINE_OUTPUTS ? @"%s@output" : @"%s", port->name];
}

static NSDictionary* port_attributes(const AneEnginePort* port, AneEngineSide side) {
    return @{
        @"Name" : symbol(port, side),
        @"Symbol" : symbol(port, side),
        @"Type" : @(port->dtype),
        @"Batches" : @(port->batches),
        @"Channels" : @(port->channels),
        @"Depth" : @(port->depth),
        @"Height" : @(port->height),
        @"Width" : @(port->width),
        @"PlaneCount" : @(port->channels),
        @"RowStride" : @(port->row_stride),
        @"DepthStride" : @(port->depth_stride),
        @"PlaneStride" : @(port->plane_stride),
        @"BatchStride" : @(port->batch_stride),
        @"Interleave" : @1
    };
}

NSDictionary* ane_model_attributes(const AneEngineProgram* engine) {
    NSMutableArray *symbols[2], *indices[2], *alignments[2], *ports[2];
    for (AneEngineSide side = ANE_ENGINE_INPUTS; side <= ANE_ENGINE_OUTPUTS; ++side) {
        symbols[side] = [NSMutableArray array];
        indices[side] = [NSMutableArray array];
        alignments[side] = [NSMutableArray array];
        ports[side] = [NSMutableArray array];
        for (size_t i = 0; i < ane_engine_port_count(engine, side); ++i) {
            const AneEnginePort* const port = ane_engine_port(engine, side, i);
            [symbols[side] addObject:symbol(port, side)];
            [indices[side] addObject:@(i)];
            [alignments[side] addObject:@0];
            [ports[side] addObject:port_attributes(port, side)];
        }
    }
    NSDictionary* const procedure = @{
        @"ANEFModelProcedureID" : @0,
        @"ANEFModelInputSymbolIndexArray" : indices[ANE_ENGINE_INPUTS],
        @"ANEFModelOutputSymbolIndexArray" : indices[ANE_ENGINE_OUTPUTS]
    };
    NSDictionary* const description = @{
        @"ANEFModelProcedures" : @[ procedure ],
        @"kANEFModelProcedureNameToIDMapKey" : @{@"main" : @0},
        @"kANEFModelInputSymbolsArrayKey" : symbols[ANE_ENGINE_INPUTS],
        @"kANEFModelOutputSymbolsArrayKey" : symbols[ANE_ENGINE_OUTPUTS],
        @"ANEFModelInput16KAlignmentArray" : alignments[ANE_ENGINE_INPUTS],
        @"ANEFModelOutput16KAlignmentArray" : alignments[ANE_ENGINE_OUTPUTS]
    };
    NSDictionary* const status = @{
        @"Name" : @"main",
        @"LiveInputList" : ports[ANE_ENGINE_INPUTS],
        @"LiveOutputList" : ports[ANE_ENGINE_OUTPUTS]
    };
    return @{@"ANEFModelDescription" : description, @"NetworkStatusList" : @[ status ]};
}
